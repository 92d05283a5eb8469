/** What an autoencoder is worth, as `ancestral train-codec` and `ancestral rate` measured it. */

import { h } from "./elements.js";
import { charted, number, percent, table, withError } from "./figures.js";
import { counted } from "./run_words.js";

/** @typedef {[number, number | null]} Estimate a value and its standard error */

/**
 * @param {any} file
 * @returns {import("./numbers.js").Shown}
 */
export function showQuality(file) {
  const [z, height, width] = file.latents, { kl_bits_per_image: kl, codes_used: used, bits_per_code: bits } = file;
  /** @type {(string | false)[][]} */
  const rows = [
    ["PSNR, dB ↑", withError(file.psnr, file.psnr_error)],
    ["SSIM ↑", withError(file.ssim, file.ssim_error)],
    ["latents of an image", `${height} × ${width} × ${z}`],
  ];
  if (kl !== null) rows.push(["KL divergence, bits", `${number(kl)} for an image, ${number(kl / (z * height * width))} for a latent`]);
  if (used !== null) rows.push(["codes in use", percent(used)]);
  if (bits !== null) rows.push(["entropy of indices, bits", `${number(bits)} for an index, ${number(bits * height * width)} for an image`]);
  rows.push(["means of latent channels", `${ends(file.latent_means)}; 0 is right`]);
  rows.push(["their deviations", `${ends(file.latent_stds)}; 1 is right`]);
  const after = file.step === null ? "" : ` after step ${counted(file.step)}`;
  const caption = `Of ${counted(file.num_held_out)} held-out images${after}, with one standard error.`;
  return { element: table(["quantity", "measured"], rows, caption), close: () => {} };
}

/** @param {number[]} values */
function ends(values) {
  const said = [Math.min(...values), Math.max(...values)].map((each) => each.toFixed(3).replace("-", "−"));
  return said.join(" to ");
}

/**
 * @param {any} file
 * @returns {import("./numbers.js").Shown}
 */
export function showRate(file) {
  const count = `${counted(file.restored.num_images)} held-out images`;
  const charts = charted([curves(file, "psnr", "PSNR, dB"), curves(file, "ssim", "SSIM")]);
  const words = `Latents are rounded and coded to real bytes, steps and tables learned from ${counted(file.num_fitted)} training `
    + `images; means over ${count}, with one standard error.`;
  const names = file.curves.map((/** @type {any} */ each) => each.name);
  const rows = file.equal_bytes.map((/** @type {any} */ { bytes, psnr, ssim }) => [
    number(bytes), ...names.map((/** @type {string} */ name) => {
      return psnr[name] === null || psnr[name] === undefined ? "–" : `${number(psnr[name])} dB, ${number(ssim[name])}`;
    }),
  ]);
  const { psnr, ssim } = file.restored;
  const caption = `PSNR and SSIM at equal bytes of an image; – is beyond a curve's ends. Not rounded: PSNR ${withError(...pair(psnr))} dB, `
    + `SSIM ${withError(...pair(ssim))}.`;
  const element = h("div", null, h("p", null, words), charts.element, table(["bytes of an image", ...names], rows, caption));
  return { element, close: charts.close };
}

/**
 * @param {any} file
 * @param {"psnr" | "ssim"} of
 * @param {string} label
 * @returns {import("./charts.js").Chart}
 */
function curves({ curves: all }, of, label) {
  const series = all.map((/** @type {any} */ { name, points }) => ({
    name,
    x: points.map((/** @type {any} */ each) => pair(each.bytes)[0]),
    y: points.map((/** @type {any} */ each) => pair(each.quality[of])[0]),
    error: points.map((/** @type {any} */ each) => pair(each.quality[of])[1]),
  }));
  return { title: label, series, x: { label: "bytes of an image", log: true }, y: { label } };
}

/**
 * @param {Estimate} estimate
 * @returns {Estimate}
 */
function pair(estimate) {
  return estimate;
}
