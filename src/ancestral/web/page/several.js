/** A field of which several choices may be made. */

import { h } from "./elements.js";

/**
 * A box for each choice.
 *
 * @param {string} label
 * @param {string[]} choices
 * @param {string[]} chosen at first
 * @param {string} help
 * @returns {{element: HTMLElement, value: string[]}}
 */
export function several(label, choices, chosen, help) {
  const boxes = choices.map((value) => {
    const input = h("input", { type: "checkbox", value });
    input.checked = chosen.includes(value);
    return input;
  });
  const labels = boxes.map((each) => h("label", null, each, ` ${each.value}`));
  const element = h("fieldset", { class: "several" }, h("legend", null, label), ...labels, h("small", null, help));
  return {
    element,
    get value() {
      return boxes.filter((each) => each.checked).map((each) => each.value);
    },
  };
}
