/** The view of all runs. */

import { h } from "./elements.js";

/** @type {import("./main.js").View} */
export const view = {
  name: "runs",
  title: "Runs",
  open({ root }) {
    root.append(h("p", null, "All runs."));
    return { close: () => {} };
  },
};
