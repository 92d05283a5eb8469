/** The view of one training. */

import { h } from "./elements.js";

/** @type {import("./main.js").View} */
export const view = {
  name: "train",
  title: "Train",
  open({ root }) {
    root.append(h("p", null, "A training."));
    return { close: () => {} };
  },
};
