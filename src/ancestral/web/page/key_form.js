/** What a page offers whose key the studio does not know: a field for the one that is printed now. */

import { button, h, on, part } from "./elements.js";
import { text } from "./fields.js";

/**
 * A form below the words that say what is wrong. The page is loaded anew with what is given, at the same view.
 *
 * @returns {HTMLElement}
 */
function keyForm() {
  const given = text("Address or key", "", {
    help: "Trainings that the studio began go on meanwhile.",
    check: (words) => (keyOf(words) ? "" : "expected the address that was printed, or what follows #token= in it"),
  });
  const open = button("Open", () => {
    if (keyOf(given.value)) location.hash = `token=${keyOf(given.value)}&${location.hash.replace(/^#/, "")}`;
    else given.fault(/** @type {HTMLInputElement} */ (given.input).validationMessage);
  });
  const form = h("form", { class: "key-form" }, given.element, h("div", { class: "actions" }, open));
  on(form, "submit", (event) => {
    event.preventDefault();
    open.click();
  });
  return form;
}

/**
 * The key in what was pasted; "": there is none.
 * @param {string} words
 */
function keyOf(words) {
  return /^(?:\S*#token=)?([\w-]{16,})\s*$/.exec(words.trim())?.[1] ?? "";
}

let shown = /** @type {HTMLElement | null} */ (null);

/** Asks for the key, once. */
export function askForKey() {
  if (shown) return;
  shown = keyForm();
  part("alert").after(shown);
}
