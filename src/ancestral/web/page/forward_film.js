/** An image on its way to noise: a few moments beside one another. */

import { show } from "../../share/pictures.js";
import { h } from "./elements.js";
import { asBytes } from "./own_image.js";
import { levelOf } from "./schedule_tables.js";

export const MOMENTS = 9;

/** @param {(t: number) => string} [caption] */
export function forwardFilm(caption = (t) => `t\u202f=\u202f${t}`) {
  const canvases = Array.from({ length: MOMENTS }, () => h("canvas", { role: "img" }));
  const words = canvases.map(() => h("figcaption"));
  const element = h("div", { class: "moments" }, ...canvases.map((canvas, i) => h("figure", null, canvas, words[i])));
  /**
   * Draws one of the moments.
   *
   * @param {number} i
   * @param {import("./schedule_tables.js").Table} table
   * @param {Float32Array} x0
   * @param {Float32Array} eps
   * @param {number[]} shape
   */
  function draw(i, table, x0, eps, shape) {
    const t = Math.round((i * (table.length - 1)) / (MOMENTS - 1));
    show(canvases[i], asBytes(noised(table, t, x0, eps)), shape);
    canvases[i].setAttribute("aria-label", `The image at t = ${t}`);
    words[i].textContent = caption(t);
  }
  return { element, draw };
}

/**
 * x_t = alpha_t x_0 + sigma_t eps.
 * @param {import("./schedule_tables.js").Table} table
 * @param {number} t
 * @param {Float32Array} x0
 * @param {Float32Array} eps
 */
export function noised(table, t, x0, eps) {
  const { alpha, sigma } = levelOf(table, t);
  const mixed = new Float64Array(x0.length);
  for (let i = 0; i < mixed.length; i++) mixed[i] = alpha * x0[i] + sigma * eps[i]; // faster than `from`
  return mixed;
}
