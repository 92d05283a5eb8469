/** The bound on bits per dimension, as `ancestral likelihood` measured it: the whole, its terms, and what bits buy. */

import { h } from "./elements.js";
import { costly } from "./evaluation_numbers.js";
import { checkbox, number as numberField, seed } from "./fields.js";
import { charted, facts, number, percent, table, withError } from "./figures.js";
import { counted } from "./run_words.js";
import { logit, tableOf } from "./schedule_tables.js";

/** @typedef {{value: number, standard_error: number}} Amount bits per dimension */

const UNCODED = 8; // bits of a number of a pixel that is written as it is

/**
 * @param {any} file
 * @param {import("./numbers.js").Details} details
 * @returns {import("./numbers.js").Shown}
 */
export function showLikelihood(file, details) {
  const few = file.too_few && h("p", { class: "warning" }, h("strong", null, "Too few images. "),
    `The figure says little: ${file.too_few}.`);
  const lead = h("p", null, h("strong", null, `${amount(file.total)} bits/dim`),
    `, the variational bound: by this model, a ${file.part} image takes at most that much to write down, `
    + `${file.total.value < UNCODED ? percent(file.total.value / UNCODED) : "more than all"} of its ${UNCODED} bits a number. Lower is better; the error is one standard error.`);
  const charts = charted(file.stretches.length ? [...overNoise(file, edgesOf(file, details)), ...(file.latents ? [] : [coding(file)])] : []);
  const element = h("div", null, few, lead, charts.element, terms(file), file.flow && flow(file), facts(measuredOn(file)));
  return { element, close: charts.close };
}

/** @param {Amount} amount */
function amount({ value, standard_error: error }) {
  return withError(value, error);
}

/**
 * Log-SNR where the stretches of the chain begin, rising from noise, and where the last one ends.
 *
 * @param {any} file
 * @param {import("./numbers.js").Details} details
 * @returns {number[]}
 */
export function edgesOf({ stretches, num_timesteps }, { schedule }) {
  const table = tableOf({ ...schedule, num_timesteps });
  const edges = [stretches[0].t, ...stretches.map((/** @type {any} */ each) => each.s)].map((t) => logit(table[t]));
  if (!Number.isFinite(edges[0])) edges[0] = edges[1] - 1; // where no signal is left
  return edges;
}

/**
 * The terms as a density, so that an area is bits, and their sum from L_T to the bound.
 *
 * @param {any} file
 * @param {number[]} edges
 * @returns {import("./charts.js").Chart[]}
 */
function overNoise({ stretches, prior, total, latents }, edges) {
  const width = (/** @type {number} */ i) => edges[i + 1] - edges[i], x = { label: "log-SNR, nats: noise left, data right" };
  let received = prior.value;
  const sums = [received, ...stretches.map((/** @type {any} */ each) => (received += each.bits))];
  const whole = latents ? latents.prior : total;
  const density = {
    name: "steps of the chain, ± one standard error",
    x: stretches.map((/** @type {any} */ each) => each.log_snr),
    y: stretches.map((/** @type {any} */ each, /** @type {number} */ i) => each.bits / width(i)),
    error: stretches.map((/** @type {any} */ each, /** @type {number} */ i) => each.standard_error / width(i)),
  };
  const bound = { name: "with L_0: the bound", x: [edges[edges.length - 1]], y: [whole.value], error: [whole.standard_error] };
  return [
    { title: "Where the bits go", series: [density], x, y: { label: "bits/dim per log-SNR" } },
    { title: "Their sum from noise to the image", series: [{ name: "received so far", x: edges, y: sums }, bound], x, y: { label: "bits/dim" } },
  ];
}

/**
 * Error of the predicted image against bits received: each stretch at the middle of its bits.
 * @param {any} file
 * @returns {import("./charts.js").Chart}
 */
function coding({ stretches, prior, total }) {
  let received = prior.value;
  const middles = stretches.map((/** @type {any} */ { bits }) => (received += bits) - bits / 2);
  const errors = stretches.map((/** @type {any} */ each) => each.rmse);
  return {
    title: "Error of the image against bits received",
    series: [{ name: "root mean square error; 0 once all bits are there", x: [...middles, total.value], y: [...errors, 0] }],
    x: { label: "bits/dim received so far" },
    y: { label: "levels of 0..255" },
  };
}

/** @param {any} file */
function terms({ latents, total, prior, diffusion, reconstruction, error_from_images, error_from_timesteps, dims }) {
  const errors = `with one standard error. That of the whole is ${number(error_from_images, 2)} from the choice of images and `
    + `${number(error_from_timesteps, 2)} from that of timesteps; their squares add.`;
  if (!latents) {
    /** @type {[string, Amount][]} */
    const named = [
      ["L_T, the end of the chain against noise", prior], ["steps of the chain", diffusion],
      ["L_0, the pixels", reconstruction], ["together", total],
    ];
    const rows = named.map(([name, each]) => [name, amount(each), percent(each.value / total.value)]);
    return table(["term", "bits/dim", "share"], rows, `The bound, term by term, ${errors}`);
  }
  /** @type {[string, Amount][]} */
  const named = [
    ["-log p(x|z), the pixels given their latents", latents.pixels], ["log q(z|x), a density", latents.posterior],
    ["the bound on -log p(z), a density", latents.prior], ["of which L_T, the end of the chain against noise", prior],
    ["of which steps of the chain", diffusion], ["of which L_0, the latents", reconstruction], ["together", total],
    ["the autoencoder alone, z from N(0, I)", latents.autoencoder], ["of which KL(q(z|x) || N(0, I))", latents.kl],
    ["what the diffusion model saves, image by image", latents.gain],
  ];
  const caption = `The bound of ${counted(dims)} numbers in ${counted(latents.dims)} latents, term by term, ${errors} A term of a`
    + " density may be negative; the two together, and the whole, are not.";
  return table(["term", "bits/dim"], named.map(([name, each]) => [name, amount(each)]), caption);
}

/** @param {any} file */
function flow({ flow: check, latents }) {
  const how = check.probes ? `${check.probes} probes of the divergence` : "exact divergence";
  const what = latents ? `the latents of ${counted(check.num_images)}` : counted(check.num_images);
  const caption = `Cross-check on ${what} images: the probability flow (${counted(check.steps)} steps, ${how}) has a density of `
    + "its own. It is expected below the bound, by what the chain's Gaussian steps miss.";
  const rows = [
    ["variational bound", amount(check.bound)], ["probability flow", amount(check.flow)],
    ["difference, image by image", amount(check.difference)],
  ];
  return table(["model", "bits/dim"], rows, caption);
}

/**
 * @param {any} file
 * @returns {[string, string][]}
 */
function measuredOn(file) {
  const every = file.timesteps >= file.steps - 1;
  return [
    ["images", `${counted(file.num_images)} of the ${file.part} part, ${counted(file.dims)} numbers each`],
    ["chain", `${counted(file.steps)} steps of T = ${counted(file.num_timesteps)}`],
    ["terms besides L_0", every ? "all" : `${counted(file.timesteps)} drawn for each image, without bias`],
    ["class", file.given_classes ? "told to the network" : "not told to the network"],
    ["weights", `averaged, SHA-256 ${file.weights}`],
    ["seed", String(file.seed)],
    ["time", `${(file.seconds / 60).toFixed(1)} minutes`],
  ];
}

/**
 * @param {import("./numbers.js").Details} details
 * @returns {import("./numbers.js").Asked}
 */
export function likelihoodFields({ classes, settings }) {
  const images = numberField("Images", null, { min: 2, step: 1, optional: true, help: "held-out ones; 1,000 where there are" });
  const drawn = numberField("Terms", 32, { min: 2, step: 1, help: "drawn for each image" });
  const given = checkbox("Tell classes", classes.length > 0 && settings?.training.label_dropout === 0, { help: "the bound on p(x | class)" });
  const first = seed("Seed", "0"), yes = costly();
  return {
    fields: [images, drawn, first, ...(classes.length ? [given] : []), yes],
    settings: () => ({
      num_images: images.value, timesteps: drawn.value, given_classes: given.value, seed: first.value, yes: yes.value,
    }),
  };
}
