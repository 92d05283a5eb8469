/** How good generated images are, as `ancestral evaluate` measured it: every metric beside its floors. */

import { h, svg } from "./elements.js";
import { checkbox, number as numberField, seed } from "./fields.js";
import { number, percent, table, withError } from "./figures.js";
import { nearestPairs } from "./nearest_pairs.js";
import { counted } from "./run_words.js";

/** @typedef {{name: string, value: number, standard_error: number | null}} Measured */
/** @typedef {{name: string, num_left: number, num_right: number, numbers: Measured[], too_few: string}} Comparison */

const GENERATED = "generated against test";
const METRICS = /** @type {Record<string, string>} */ ({
  frechet: "Fréchet distance ↓", kernel: "kernel distance ↓", precision: "precision ↑", recall: "recall ↑",
  density: "density ↑", coverage: "coverage ↑",
});

/**
 * @param {any} file
 * @param {import("./numbers.js").Details} details
 * @returns {import("./numbers.js").Shown}
 */
export function showEvaluation(file, { id }) {
  const comparisons = /** @type {Comparison[]} */ (file.comparisons);
  const generated = comparisons.find((each) => each.name === GENERATED) ?? comparisons[0];
  const names = generated.numbers.map((each) => each.name);
  const charts = names.slice(0, 2).map((name) => bars(METRICS[name] ?? name, comparisons, name));
  const rows = comparisons.map((each) => [
    each.name, ...names.map((name) => amount(each.numbers.find((found) => found.name === name))),
  ]);
  const caption = "Every number with one standard error; what counts is generated against test, the others are its floors."
    + ` Each compares ${counted(generated.num_left)} images with ${counted(generated.num_right)}.`;
  const agreement = file.agreement && h("p", null,
    `The network sees the class that was asked for in ${percent(file.agreement.value)}`
    + `${file.agreement.standard_error === null ? "" : ` ± ${percent(file.agreement.standard_error)}`} of the images.`);
  const few = generated.too_few && h("p", { class: "warning" }, h("strong", null, "Too few images. "),
    `The numbers say nothing for or against the images: ${generated.too_few}.`);
  const seen = file.features.num_fitted === null && file.features.kind !== "inception"
    && h("p", { class: "warning" }, h("strong", null, "Of an earlier version. "),
      "The features had seen the training images, so train against test is no floor: measure again.");
  const element = h("div", null, few, seen, h("p", null, features(file)), agreement,
    h("div", { class: "charts" }, ...charts), table(["comparison", ...names.map((each) => METRICS[each] ?? each)], rows, caption),
    copies(file.nearness), nearestPairs({ pairs: [], ...file }, id));
  return { element, close: () => {} };
}

/** @param {any} file */
function features({ features: space, num_generated: count }) {
  const begin = `${counted(count)} images were generated and compared in ${space.width} features of `;
  if (space.accuracy === null) return `${begin}the Inception network. Lower distances are better; the floors say how low they can be.`;
  const task = space.kind === "labels" ? "the classes" : "which transform was applied";
  const apart = space.num_fitted === null ? "" : ` of ${counted(space.num_fitted)} training images that are not among those compared`;
  return `${begin}a small network trained to tell ${task}${apart}; it is right on ${percent(space.accuracy)} of `
    + `${counted(space.num_held_out)} test images. Lower distances are better; train against test is what real images score.`;
}

/** @param {Measured | undefined} found */
function amount(found) {
  return found ? withError(found.value, found.standard_error) : "–";
}

/**
 * A bar for each comparison, from zero, with its standard error.
 *
 * @param {string} title
 * @param {Comparison[]} comparisons
 * @param {string} name
 */
function bars(title, comparisons, name) {
  const found = comparisons.flatMap((each) => {
    const own = each.numbers.find((one) => one.name === name);
    return own ? [{ what: each.name, ...own }] : [];
  });
  const ends = found.flatMap(({ value, standard_error: error }) => [value - (error ?? 0), value + (error ?? 0)]);
  const low = Math.min(0, ...ends), most = Math.max(0, ...ends);
  const place = (/** @type {number} */ value) => (100 * (value - low)) / (most - low || 1);
  const rows = found.map(({ what, value, standard_error: error }, i) => {
    const [from, to] = [place(Math.min(0, value)), place(Math.max(0, value))];
    const bar = svg("svg", { viewBox: "0 0 100 12", preserveAspectRatio: "none", "aria-hidden": "true", class: "bar" },
      svg("rect", { x: from, y: 2, width: to - from, height: 8, class: i ? "floor" : "measured" }),
      svg("path", { d: `M${place(value - (error ?? 0))} 6H${place(value + (error ?? 0))}`, class: "error" }));
    return h("div", null, h("dt", null, what), h("dd", null, bar, withError(value, error)));
  });
  return h("section", { "aria-label": title }, h("h3", null, title), h("dl", { class: "bars" }, ...rows));
}

/** @param {any[]} nearness */
function copies(nearness) {
  const few = nearness.map((each) => each.too_few).find(Boolean);
  const caption = few
    ? `Too few images to tell copies by: ${few}.`
    : "A ratio far below 1 is a sign of copying. Suspiciously near are images no farther than the nearest 1 % of test"
      + " images: 1 % is to be expected.";
  const rows = nearness.map(({ space, generated_median, held_out_median, ratio, nearer }) => [
    space, number(generated_median), number(held_out_median), ratio === null ? "no telling" : number(ratio), percent(nearer),
  ]);
  const head = ["nearest training image, in", "median of generated", "median of test images", "ratio", "suspiciously near"];
  return table(head, rows, caption);
}

/** @returns {import("./numbers.js").Asked} */
export function evaluationFields() {
  const images = numberField("Images", 1000, { min: 2, step: 1, help: "to generate; more make errors smaller" });
  const first = seed("Seed", "0"), yes = costly();
  return {
    fields: [images, first, yes],
    settings: () => ({ num_images: images.value, seed: first.value, yes: yes.value }),
  };
}

/** What every measurement asks that may take long. */
export function costly() {
  return checkbox("Even for hours", false, { help: "without it, what takes more than an hour is not begun" });
}
