/** How good samplers are for their network calls, as `ancestral sweep` measured it, and what is recommended. */

import { button, h } from "./elements.js";
import { costly } from "./evaluation_numbers.js";
import { checkbox, number as numberField, seed, text } from "./fields.js";
import { charted, number, percent, table, withError } from "./figures.js";
import { startJob } from "./job.js";
import { address } from "./route.js";
import { counted } from "./run_words.js";
import { several } from "./several.js";
import { state } from "./store.js";

/** @typedef {{sampler: string, grid: string, budget: number, steps: number, calls: number}} Choice */
/** @typedef {[number, number[], number[]]} Jackknife a value, and the same without each group of either set of images */
/** @typedef {{choice: Choice, jackknife: Jackknife, to_flow: number | null, agreement: number | null}} Row */

const FAMILIAR = ["ancestral, trailing", "ddim, trailing"]; // what everybody knows: named beside the best
const NAMED = 6; // curves of the chart
const TOLERATED = 0.1; // share of the best distance by which fewer calls may be worse

/**
 * @param {any} file
 * @param {import("./numbers.js").Details} details
 * @returns {import("./numbers.js").Shown}
 */
export function showSweep(file, details) {
  const rows = /** @type {Row[]} */ (file.rows), best = recommended(rows);
  const few = file.settings.images < 200 && h("p", { class: "warning" }, h("strong", null, "Few images. "),
    `${counted(file.settings.images)} images of each are too few to choose by.`);
  const now = file.present && h("p", null, h("strong", null, "As it generated when it was swept: "), inWords(file.present.row), ".");
  const kept = file.made && h("p", null, h("strong", null, "Kept: "), `the run generates by ${file.made.sampler} on the grid ${file.made.grid}, ${file.made.steps} steps, since.`,
    " By the command line ", h("code", null, `ancestral sweep ${details.place} --restore`), " undoes it.");
  const curves = curvesOf(rows), names = named(rows, best), shown = names.map((name) => [name, curves.get(name) ?? []]);
  const pairs = /** @type {[string, Row[]][]} */ (shown);
  const charts = charted([quality(pairs, file), ...(rows.some((row) => row.to_flow) ? [toFlow(pairs)] : [])]);
  const element = h("div", null, few, h("p", null, h("strong", null, "Recommended: "), inWords(best), "."), now, kept, charts.element,
    all(rows, best, file, details));
  return { element, close: charts.close };
}

/**
 * The standard error of a jackknife that leaves out groups of both sets.
 *
 * @param {Jackknife} jackknife
 */
export function errorOf([, ...sets]) {
  const variances = sets.map((values) => {
    const mean = values.reduce((a, b) => a + b, 0) / values.length;
    return ((values.length - 1) / values.length) * values.reduce((sum, each) => sum + (each - mean) ** 2, 0);
  });
  return Math.sqrt(variances.reduce((a, b) => a + b, 0));
}

/**
 * The fewest calls that are hardly and not clearly worse than the best, as the command recommends them.
 * @param {Row[]} rows
 * @returns {Row}
 */
export function recommended(rows) {
  const least = (/** @type {Row[]} */ some) => some.reduce((a, b) => (b.jackknife[0] < a.jackknife[0] ? b : a));
  const best = least(rows);
  const enough = rows.filter(({ jackknife }) => {
    const apart = /** @type {Jackknife} */ ([jackknife[0] - best.jackknife[0], ...[1, 2].map((set) => {
      const [one, other] = [jackknife[set], best.jackknife[set]].map((each) => /** @type {number[]} */ (each));
      return one.map((each, i) => each - other[i]);
    })]);
    return apart[0] <= Math.min(errorOf(apart), TOLERATED * best.jackknife[0]);
  });
  const some = enough.length ? enough : [best], fewest = Math.min(...some.map(({ choice }) => choice.calls));
  return least(some.filter(({ choice }) => choice.calls === fewest));
}

/** @param {Row} row */
function frechet({ jackknife }) {
  return withError(jackknife[0], errorOf(jackknife));
}

/** @param {Row} row */
function inWords(row) {
  const { sampler, grid, steps, calls } = row.choice;
  return `${sampler} on the grid ${grid}, ${steps} steps, ${calls} network calls: Fréchet ${frechet(row)}`;
}

/** @param {Row} row */
function nameOf({ choice }) {
  return `${choice.sampler}, ${choice.grid}`;
}

/**
 * The rows of each sampler on each grid, by calls.
 *
 * @param {Row[]} rows
 * @returns {Map<string, Row[]>}
 */
function curvesOf(rows) {
  const found = /** @type {Map<string, Row[]>} */ (new Map());
  for (const row of rows) found.set(nameOf(row), [...(found.get(nameOf(row)) ?? []), row]);
  for (const each of found.values()) each.sort((a, b) => a.choice.calls - b.choice.calls);
  return found;
}

/**
 * Which curves a chart names: the recommended, what everybody knows, the best at each budget.
 * @param {Row[]} rows
 * @param {Row} best
 */
function named(rows, best) {
  const budgets = [...new Set(rows.map(({ choice }) => choice.budget))];
  const leaders = budgets.map((budget) => rows.filter(({ choice }) => choice.budget === budget)
    .reduce((a, b) => (b.jackknife[0] < a.jackknife[0] ? b : a)));
  const known = FAMILIAR.filter((name) => rows.some((row) => nameOf(row) === name));
  return [...new Set([nameOf(best), ...known, ...leaders.map(nameOf)])].slice(0, NAMED);
}

/**
 * @param {[string, Row[]][]} curves
 * @param {any} file
 * @returns {import("./charts.js").Chart}
 */
function quality(curves, { reference, floor }) {
  const calls = curves.flatMap(([, rows]) => rows.map(({ choice }) => choice.calls));
  const ends = [Math.min(...calls), Math.max(...calls)];
  const series = curves.map(([name, rows]) => ({
    name, x: rows.map(({ choice }) => choice.calls), y: rows.map(({ jackknife }) => jackknife[0]),
    error: rows.map(({ jackknife }) => errorOf(jackknife)),
  }));
  const lines = [["many steps", reference], ["training images", floor]].map(([name, y]) => ({ name, x: ends, y: [y, y] }));
  return {
    title: "Quality", series: [...series, ...lines], ticks: [...new Set(calls)].sort((a, b) => a - b),
    x: { label: "network calls for an image", log: true, format: String }, y: { label: "Fréchet distance to test images", log: true },
  };
}

/**
 * @param {[string, Row[]][]} curves
 * @returns {import("./charts.js").Chart}
 */
function toFlow(curves) {
  const series = curves.map(([name, rows]) => {
    const there = rows.filter((row) => row.to_flow !== null);
    return { name, x: there.map(({ choice }) => choice.calls), y: there.map((row) => row.to_flow) };
  });
  const calls = series.flatMap(({ x }) => x);
  return {
    title: "Nearness to many steps", series: series.filter(({ x }) => x.length),
    ticks: [...new Set(calls)].sort((a, b) => a - b),
    x: { label: "network calls for an image", log: true, format: String }, y: { label: "root mean square difference in levels of 0..255", log: true },
  };
}

/**
 * @param {Row[]} rows
 * @param {Row} best
 * @param {any} file
 * @param {import("./numbers.js").Details} details
 */
function all(rows, best, file, { id }) {
  const sorted = [...rows].sort((a, b) => a.choice.calls - b.choice.calls || a.jackknife[0] - b.jackknife[0]);
  const cells = sorted.map((row) => {
    const { sampler, grid, steps, calls } = row.choice, params = { run: id, sampler, grid, steps: String(steps) };
    const name = row === best ? h("strong", null, `${sampler}, recommended`) : sampler;
    return [
      name, grid, String(calls), String(steps), frechet(row), row.to_flow === null ? "noise is drawn" : number(row.to_flow, 2),
      row.agreement === null ? "–" : percent(row.agreement), h("a", { href: address("draw", params) }, "Draw by it"),
      button("Keep it", () => keep(id, row.choice), { "aria-label": `Keep ${nameOf(row)}, ${calls} calls` }),
    ];
  });
  const caption = `Fréchet distance to ${counted(file.num_test)} test images, of ${counted(file.settings.images)} images generated from the`
    + ` same seeds by each, with one standard error; how far they are from those of ${file.settings.reference} steps, in levels. Those`
    + ` have ${number(file.reference)}, training images ${number(file.floor)}.`;
  const head = ["sampler", "grid", "calls", "steps", "Fréchet ↓", "levels to many steps", "class as asked", "try", "generate so from now on"];
  return h("details", { class: "block" }, h("summary", null, `All ${rows.length} rows`), table(head, cells, caption));
}

/**
 * Makes a row how the run generates images.
 *
 * @param {string} run
 * @param {Choice} choice
 */
async function keep(run, { sampler, grid, budget }) {
  await startJob({ kind: "sweep", run, view: "keep", settings: { use: [sampler, grid, budget] } });
}

/** @returns {import("./numbers.js").Asked} */
export function sweepFields() {
  const samplers = several("Samplers", state.samplers, [], "all, where none is chosen");
  const calls = text("Network calls", "5 10 20", { help: "for an image, at most; a number for each budget" });
  const images = numberField("Images", 256, { min: 20, step: 1, help: "by each sampler; a choice needs 200" });
  const keep = checkbox("Measure only", false, { help: "without it, what is clearly better becomes how the run generates" });
  const first = seed("Seed", "0"), yes = costly();
  const counts = () => calls.value.split(/[\s,]+/).filter(Boolean).map(Number);
  return {
    fields: [samplers, calls, images, first, keep, yes],
    settings: () => ({
      ...(samplers.value.length ? { samplers: samplers.value } : {}),
      calls: counts(), images: images.value, keep: keep.value, seed: first.value, yes: yes.value,
    }),
  };
}
