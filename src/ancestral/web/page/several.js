/** A field of which several choices may be made. */

import { h } from "./elements.js";
import { field } from "./fields.js";

/**
 * @param {string} label @param {string[]} choices @param {string[]} chosen at first @param {string} help
 * @returns {import("./fields.js").Field<string[]>}
 */
export function several(label, choices, chosen, help) {
  const options = choices.map((each) => h("option", { value: each, selected: chosen.includes(each) }, each));
  const input = h("select", { multiple: true, size: 6 }, ...options);
  return field(label, input, { help: `${help}; several by Ctrl or Shift` }, {
    read: () => [...input.selectedOptions].map((each) => each.value),
    write: (/** @type {string[]} */ to) => options.forEach((each) => (each.selected = to.includes(each.value))),
  });
}
