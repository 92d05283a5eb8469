/** One image, large, of which a pixel is chosen: by pointer, or by the arrow keys. */

import { show } from "../../share/pictures.js";
import { h, on } from "./elements.js";

const MOVES = /** @type {Record<string, [number, number]>} */ ({
  ArrowLeft: [-1, 0], ArrowRight: [1, 0], ArrowUp: [0, -1], ArrowDown: [0, 1],
});

/** @param {() => void} changed called when another pixel is chosen */
export function pixelCursor(changed) {
  const canvas = h("canvas", { tabindex: 0, role: "application" }), mark = h("div", { class: "pixel" });
  const element = h("div", { class: "layers" }, canvas, mark);
  let at = [0, 0];

  /**
   * @param {number} x
   * @param {number} y
   */
  function choose(x, y) {
    at = [Math.min(Math.max(x, 0), canvas.width - 1), Math.min(Math.max(y, 0), canvas.height - 1)];
    const places = { left: at[0] / canvas.width, top: at[1] / canvas.height, width: 1 / canvas.width, height: 1 / canvas.height };
    for (const [name, value] of Object.entries(places)) mark.style.setProperty(name, `${100 * value}%`);
    canvas.setAttribute("aria-label", `Pixel in column ${at[0] + 1}, row ${at[1] + 1}; arrow keys choose another`);
    changed();
  }

  on(canvas, "click", (event) => {
    const box = canvas.getBoundingClientRect();
    const [x, y] = [(event.clientX - box.left) / box.width, (event.clientY - box.top) / box.height];
    choose(Math.floor(x * canvas.width), Math.floor(y * canvas.height));
  });
  on(canvas, "keydown", (event) => {
    const move = MOVES[event.key];
    if (!move) return;
    event.preventDefault();
    choose(at[0] + move[0], at[1] + move[1]);
  });
  return {
    element,
    choose,
    /**
     * @param {Uint8Array} image
     * @param {number[]} shape
     */
    show(image, shape) {
      const isNew = canvas.width !== shape[2] || canvas.height !== shape[1];
      show(canvas, image, shape);
      if (isNew) choose(Math.floor(shape[2] / 2), Math.floor(shape[1] / 2));
    },
    get at() {
      return at;
    },
  };
}
