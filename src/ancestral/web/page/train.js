/** The view of training: the run that the address names, or what a new one is to be. */

import { newRun } from "./new_run.js";
import { watchedRun } from "./watched_run.js";

/** @typedef {import("./route.js").Params} Params */

/** @type {import("./main.js").View} */
export const view = {
  name: "train",
  title: "Train",
  open(place) {
    const show = (/** @type {Params} */ { run, like }) => (run ? watchedRun(place, run) : newRun(place, like));
    const key = ({ run = "", like = "" }) => `${run} ${like}`;
    let shown = key(place.params),
      part = show(place.params);
    return {
      update(params) {
        if (key(params) === shown) return part.update?.(params);
        part.close();
        place.root.replaceChildren();
        place.params = params;
        shown = key(params);
        part = show(params);
      },
      close: () => part.close(),
    };
  },
};
