/** Generated images beside the training images nearest to them, out of the picture that `ancestral evaluate` leaves. */

import { blob } from "./api.js";
import { fail, h } from "./elements.js";
import { number } from "./figures.js";
import { counted } from "./run_words.js";

/** @typedef {{generated: number, training: number, distance: number}} Pair */

/**
 * @param {{pairs: Pair[], nearness: any[]}} file
 * @param {string} run
 */
export function nearestPairs({ pairs, nearness }, run) {
  if (!pairs.length) return h("p", null, "An earlier version kept no pairs of them: measure again to see the nearest.");
  const { near, held_out_median: median, num_generated: count } = nearness.find(({ space }) => space === "pixels");
  const figures = pairs.map(({ distance }, i) => {
    const isNear = distance <= near, words = `${number(distance)}${isNear ? ", suspiciously near" : ""}`;
    const canvas = h("canvas", { role: "img", "aria-label": `Generated image and the training image nearest to it, pair ${i + 1}` });
    return { canvas, element: h("figure", { class: isNear ? "warning" : null }, canvas, h("figcaption", null, words)) };
  });
  const about = `The ${pairs.length} of ${counted(count)} generated images that lie nearest to a training image, nearest first: generated`
    + ` left, of training right. Distances are over pixels of 0 to 255; test images, which nobody trained on, have ${number(median)} in the`
    + ` median, and the nearest 1 % of them no more than ${number(near)}.`;
  show(figures.map(({ canvas }) => canvas), run).catch(fail);
  return h("section", { "aria-label": "Nearest training images" }, h("h3", null, "Nearest training images"), h("p", null, about),
    h("div", { class: "pairs" }, ...figures.map(({ element }) => element)));
}

/**
 * Draws each row of the picture on a canvas of its own, its two images apart.
 *
 * @param {HTMLCanvasElement[]} canvases
 * @param {string} run
 */
async function show(canvases, run) {
  const sheet = await createImageBitmap(await blob(`/api/runs/${run}/nearest.png`)), width = sheet.width / 2;
  const height = sheet.height / canvases.length, apart = Math.ceil(width / 16);
  for (const [i, canvas] of canvases.entries()) {
    Object.assign(canvas, { width: 2 * width + apart, height });
    for (const [from, to] of [[0, 0], [width, width + apart]]) {
      canvas.getContext("2d")?.drawImage(sheet, from, i * height, width, height, to, 0, width, height);
    }
  }
  sheet.close();
}
