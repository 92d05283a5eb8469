/**
 * Fields of forms, each with a label and a place for what is wrong with it.
 *
 * @typedef {{help?: string, change?: (value: any) => void, min?: number, max?: number, step?: number | "any",
 *   optional?: boolean, rows?: number, placeholder?: string, format?: (value: number) => string,
 *   check?: (value: any) => string}} Options
 *   `check` says what is wrong with a value, "" nothing; `change` is called with the value at every input that is none
 *   that is wrong
 */
/**
 * @template T
 * @typedef {{element: HTMLElement, input: HTMLElement, value: T, fault: (words: string) => void}} Field
 *   `value` may be set; `fault` says what is wrong, "" nothing
 */

import { h, on } from "./elements.js";

const LARGEST_SEED = 2n ** 63n - 1n;
let made = 0;

/**
 * @param {string} label
 * @param {number | null} value
 * @param {Options} [options]
 * @returns {Field<number | null>}
 */
export function number(label, value, options = {}) {
  const { min, max, step = "any", optional, placeholder } = options;
  const input = h("input", { type: "number", min, max, step, placeholder, required: !optional, value: value ?? "" });
  return field(label, input, options, {
    read: () => (input.value === "" ? null : Number(input.value)),
    write: (/** @type {number | null} */ to) => (input.value = to === null ? "" : String(to)),
  });
}

/**
 * @param {string} label
 * @param {string} value
 * @param {Options} [options] with `rows`: of several lines
 */
export function text(label, value, options = {}) {
  const { rows, placeholder, optional } = options;
  const shared = { spellcheck: "false", autocomplete: "off", placeholder, required: !optional, value };
  const input = rows ? h("textarea", { rows, ...shared }) : h("input", { type: "text", ...shared });
  return field(label, input, options, {
    read: () => input.value,
    write: (/** @type {string} */ to) => (input.value = to),
  });
}

/**
 * A whole number of up to 63 bits, as text: it may be larger than numbers of a page are exact. A call takes text too.
 * @param {string} label
 * @param {string} value
 * @param {Options} [options]
 */
export function seed(label, value, options = {}) {
  const input = h("input", { type: "text", inputmode: "numeric", autocomplete: "off", required: true, value });
  const check = (/** @type {string} */ value) => {
    const isSeed = /^\d{1,19}$/.test(value) && BigInt(value) <= LARGEST_SEED;
    return isSeed ? "" : `expected a whole number of 0 to ${LARGEST_SEED}`;
  };
  return field(label, input, { ...options, check }, {
    read: () => input.value,
    write: (/** @type {string} */ to) => (input.value = to),
  });
}

/**
 * @param {string} label
 * @param {(string | {value: string, label: string})[]} choices
 * @param {string} value
 * @param {Options} [options]
 * @returns {Field<string> & {offer: (choices: (string | {value: string, label: string})[]) => void}}
 */
export function select(label, choices, value, options = {}) {
  const input = h("select");
  /** @param {(string | {value: string, label: string})[]} offered */
  const offer = (offered) => {
    const before = input.value;
    const pairs = offered.map((each) => (typeof each === "string" ? { value: each, label: each } : each));
    input.replaceChildren(...pairs.map((each) => h("option", { value: each.value }, each.label)));
    if (pairs.some((each) => each.value === before)) input.value = before;
  };
  offer(choices);
  if (value) input.value = value;
  const made = field(label, input, options, {
    read: () => input.value,
    write: (/** @type {string} */ to) => (input.value = to),
  });
  return Object.assign(made, { offer });
}

/**
 * @param {string} label
 * @param {boolean} value
 * @param {Options} [options]
 * @returns {Field<boolean>}
 */
export function checkbox(label, value, options = {}) {
  const input = h("input", { type: "checkbox" });
  input.checked = value;
  return field(label, input, options, {
    read: () => input.checked,
    write: (/** @type {boolean} */ to) => (input.checked = to),
  });
}

/**
 * @param {string} label
 * @param {number} value
 * @param {Options} options
 * @returns {Field<number>}
 */
export function range(label, value, options) {
  const { min = 0, max = 1, step = "any", format = String } = options;
  const input = h("input", { type: "range", min, max, step, value });
  const output = h("output", null, format(value));
  const show = () => (output.textContent = format(Number(input.value)));
  on(input, "input", show);
  const found = field(label, input, options, {
    read: () => Number(input.value),
    write: (/** @type {number} */ to) => ((input.value = String(to)), show()),
  });
  found.element.querySelector("label")?.append(" ", output);
  return found;
}

/**
 * A field around an input of one's own.
 *
 * @template T
 * @param {string} label
 * @param {HTMLInputElement | HTMLSelectElement | HTMLTextAreaElement} input
 * @param {Options} options
 * @param {{read: () => T, write: (value: T) => void}} access
 * @returns {Field<T>}
 */
export function field(label, input, { help, change, check }, { read, write }) {
  const id = (input.id ||= `field-${++made}`),
    isBox = input.type === "checkbox";
  const error = h("small", { class: "fault", id: `${id}-fault`, hidden: true });
  const said = help ? h("small", { id: `${id}-help` }, help) : null;
  const name = h("label", { for: id }, label);
  input.setAttribute("aria-describedby", `${said ? said.id : ""} ${error.id}`.trim());
  const element = h(
    "div",
    { class: isBox ? "field box" : "field" },
    ...(isBox ? [input, name] : [name, input]),
    said,
    error,
  );
  /** @param {string} words */
  const fault = (words) => {
    error.textContent = words;
    error.hidden = !words;
    input.setAttribute("aria-invalid", String(Boolean(words)));
  };
  const look = () => check && input.setCustomValidity(check(read()));
  on(input, "input", () => {
    look();
    fault(input.validationMessage);
    if (!input.validationMessage) change?.(read());
  });
  return {
    element,
    input,
    fault,
    get value() {
      return read();
    },
    set value(to) {
      write(to);
      look();
      fault("");
    },
  };
}
