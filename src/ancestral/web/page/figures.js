/** Measured numbers as the report writes them: with their errors, in tables, beside their units. */

import { lineChart } from "./charts.js";
import { h } from "./elements.js";

const MINUS = "−", PLUS_MINUS = "\u00a0±\u00a0"; // with spaces at which no line breaks

/**
 * A number as it is read: thousands apart, few digits behind the point.
 *
 * @param {number | null | undefined} value
 * @param {number} [digits]
 */
export function number(value, digits = 3) {
  if (value === null || value === undefined || !Number.isFinite(value)) return "–";
  const size = Math.abs(value);
  const said = size >= 1000 ? Math.round(value).toLocaleString("en") : String(Number(value.toPrecision(digits)));
  return said.replaceAll("-", MINUS);
}

/**
 * A value ± one standard error, the error to two digits and the value to as many places.
 *
 * @param {number | null | undefined} value
 * @param {number | null | undefined} [error]
 */
export function withError(value, error) {
  if (!error || value === null || value === undefined) return number(value);
  if (Math.max(Math.abs(value), error) < 1e-4) {
    return [value.toExponential(2), error.toExponential(1)].map((each) => each.replaceAll("-", MINUS)).join(PLUS_MINUS);
  }
  const places = Math.min(20, Math.max(0, 1 - Math.floor(Math.log10(error))));
  const said = [value, error].map((each) => {
    const digits = { minimumFractionDigits: places, maximumFractionDigits: places };
    return each.toLocaleString("en", digits).replace("-", MINUS);
  });
  return said.join(PLUS_MINUS);
}

/**
 * @param {number} share of 1
 * @param {number} [places]
 */
export function percent(share, places = 1) {
  return `${(100 * share).toFixed(places)}\u00a0%`;
}

/** @param {number} bytes */
export function size(bytes) {
  if (bytes < 1e3) return `${bytes} bytes`;
  const [unit, of] = bytes < 1e6 ? ["kB", 1e3] : bytes < 1e9 ? ["MB", 1e6] : ["GB", 1e9];
  return `${Number((bytes / Number(of)).toPrecision(3))} ${unit}`;
}

/** @typedef {import("./elements.js").Child} Child */

/**
 * Charts beside each other, each beneath what it shows and in which unit.
 *
 * @param {import("./charts.js").Chart[]} charts
 */
export function charted(charts) {
  const element = h("div", { class: "charts" });
  const drawn = charts.map((each) => {
    const place = h("section", null, h("h3", null, each.title === each.y.label ? each.title : `${each.title}, ${each.y.label}`));
    element.append(place);
    return lineChart(place, each);
  });
  return { element, close: () => drawn.forEach((each) => each.close()) };
}

/**
 * A table that scrolls inside its own box; the first cell of a row names it.
 *
 * @param {string[]} head
 * @param {Child[][]} rows
 * @param {string} caption
 */
export function table(head, rows, caption) {
  const top = h("tr", null, ...head.map((each) => h("th", { scope: "col" }, each)));
  const body = rows.map(([first, ...rest]) => {
    return h("tr", null, h("th", { scope: "row" }, first), ...rest.map((each) => h("td", null, each)));
  });
  const whole = h("table", null, h("thead", null, top), h("tbody", null, ...body));
  const box = h("div", { class: "wide", tabindex: 0, role: "region", "aria-label": caption }, whole);
  return h("figure", { class: "block" }, h("figcaption", null, caption), box);
}

/**
 * A list of names and what they are.
 *
 * @param {[string, Child][]} pairs
 */
export function facts(pairs) {
  return h("dl", { class: "facts" }, ...pairs.map(([name, what]) => h("div", null, h("dt", null, name), h("dd", null, what))));
}
