/** A film: a wall of images, and a slider through the steps that they came by. */

import { rgba } from "../../share/pictures.js";
import { h, on } from "./elements.js";

const FRAME = 16; // ms of a step that plays, at least
const WHOLE = 4000; // ms of a whole film that plays, about
const SMOOTH_FROM = 128; // pixels of a side from which on they are no longer shown as squares
const MOVES = /** @type {Record<string, [number, number]>} */ ({
  ArrowLeft: [-1, 0], ArrowRight: [1, 0], ArrowUp: [0, -1], ArrowDown: [0, 1],
});

/** @typedef {"x_t" | "x_0"} Which the state before a step, or the estimate made there */
/**
 * @typedef {object} Film
 * @property {number[]} shape of an image, (C, H, W)
 * @property {number} images
 * @property {number} length positions that there are by now
 * @property {(position: number, which: Which, image: number) => Uint8Array | null} image null: not there yet
 * @property {(position: number) => string} moment what a position is, in words
 * @property {(image: number) => string} name what an image was asked to be, in words
 */

let made = 0;

/**
 * The element of a film, and what changes it. A handle at the last position follows what comes.
 *
 * @param {{moved?: () => void, chose?: () => void}} [told] called when another moment, another image is shown
 */
export function filmView(told = {}) {
  const id = `film-${++made}`, canvas = h("canvas", { tabindex: 0, role: "application", "aria-describedby": `${id}-said` });
  const mark = h("div", { class: "chosen", hidden: true }), wall = h("div", { class: "film-wall" }, canvas, mark);
  const slider = h("input", { type: "range", id, min: 0, max: 0, step: 1, value: 0, "aria-describedby": `${id}-said` });
  const play = h("button", { type: "button" }, "Play");
  const said = h("p", { id: `${id}-said`, class: "moment" });
  const choice = h("fieldset", { class: "choice" }, h("legend", { class: "unseen" }, "What is shown of a step"));
  for (const [which, name] of [["x_0", "x₀ estimate"], ["x_t", "xₜ"]]) {
    const radio = h("input", { type: "radio", name: `${id}-which`, value: which, onchange: () => showMoment() });
    radio.checked = which === "x_0";
    choice.append(h("label", null, radio, h("span", null, name)));
  }
  const bar = h("div", { class: "film-bar" }, play, h("label", { for: id, class: "unseen" }, "Step"), slider, choice);
  const element = h("div", { class: "film-view" }, wall, bar, said);
  const context = /** @type {CanvasRenderingContext2D} */ (canvas.getContext("2d"));
  let film = /** @type {Film | null} */ (null), layout = "", columns = 1, chosen = 0, playing = 0, asked = 0;

  const position = () => Number(slider.value);
  const which = () => /** @type {Which} */ (element.querySelector(`input[name=${id}-which]:checked`)?.getAttribute("value"));

  function lay() {
    if (!film) return;
    const [, height, width] = film.shape, now = [film.images, height, width].join();
    if (now === layout) return;
    layout = now;
    columns = Math.ceil(Math.sqrt(film.images));
    canvas.width = columns * (width + 1) - 1;
    canvas.height = Math.ceil(film.images / columns) * (height + 1) - 1;
    canvas.classList.toggle("smooth", Math.min(width, height) >= SMOOTH_FROM);
    choose(Math.min(chosen, film.images - 1));
  }

  function draw() {
    asked = 0;
    if (!film) return;
    const [, height, width] = film.shape, shown = which(), at = position();
    for (let i = 0; i < film.images; i++) {
      const pixels = film.image(at, shown, i), x = (i % columns) * (width + 1), y = Math.floor(i / columns) * (height + 1);
      if (pixels) context.putImageData(new ImageData(rgba(pixels, film.shape), width, height), x, y);
    }
  }

  function showMoment() {
    asked ||= requestAnimationFrame(draw);
    if (!film) return;
    const moment = film.moment(position()), name = film.name(chosen);
    const count = film.images > 1 ? `image ${chosen + 1} of ${film.images}` : "";
    said.textContent = [count, name, moment].filter(Boolean).join(" · ");
    slider.setAttribute("aria-valuetext", moment);
    canvas.setAttribute("aria-label", film.images > 1 ? "Images; arrow keys choose one" : "Image");
    told.moved?.();
  }

  /** @param {number} image */
  function choose(image) {
    chosen = image;
    if (!film) return;
    const [, height, width] = film.shape, column = image % columns, row = Math.floor(image / columns);
    mark.hidden = film.images < 2;
    const share = { left: (column * (width + 1)) / canvas.width, top: (row * (height + 1)) / canvas.height };
    const size = { width: width / canvas.width, height: height / canvas.height };
    for (const [name, value] of Object.entries({ ...share, ...size })) mark.style.setProperty(name, `${100 * value}%`);
    showMoment();
    told.chose?.();
  }

  function pause() {
    cancelAnimationFrame(playing);
    playing = 0;
    play.textContent = "Play";
  }

  function start() {
    if (playing) return pause();
    const last = Number(slider.max), from = position() >= last ? 0 : position(), begun = performance.now();
    const each = Math.max(FRAME, WHOLE / Math.max(last, 1));
    play.textContent = "Pause";
    const next = (/** @type {number} */ now) => {
      slider.value = String(Math.min(from + Math.floor(Math.max(0, now - begun) / each), last));
      showMoment();
      if (position() < last) playing = requestAnimationFrame(next);
      else pause();
    };
    playing = requestAnimationFrame(next);
  }

  on(play, "click", start);
  on(slider, "input", () => (pause(), showMoment()));
  on(slider, "keydown", (event) => {
    if (event.key !== " ") return;
    event.preventDefault();
    start();
  });
  on(canvas, "click", (event) => {
    if (!film) return;
    const box = canvas.getBoundingClientRect(), [, height, width] = film.shape;
    const column = Math.floor((((event.clientX - box.left) / box.width) * canvas.width) / (width + 1));
    const row = Math.floor((((event.clientY - box.top) / box.height) * canvas.height) / (height + 1));
    if (row * columns + column < film.images) choose(row * columns + column);
  });
  on(canvas, "keydown", (event) => {
    const move = MOVES[event.key], to = move ? chosen + move[0] + move[1] * columns : chosen;
    if (event.key === " ") start();
    if (move || event.key === " ") event.preventDefault();
    if (move && film && to >= 0 && to < film.images) choose(to);
  });

  return {
    element,
    slider,
    /**
     * Shows a film, or what has come to it.
     * @param {Film} other
     */
    show(other) {
      const follows = other !== film || position() >= Number(slider.max);
      film = other;
      lay();
      slider.max = String(Math.max(0, film.length - 1));
      if (follows && !playing) slider.value = slider.max;
      showMoment();
    },
    /** @param {number} to */
    scrub(to) {
      pause();
      slider.value = String(to);
      showMoment();
    },
    get position() {
      return position();
    },
    get which() {
      return which();
    },
    get chosen() {
      return chosen;
    },
    set chosen(image) {
      if (film && image < film.images) choose(image);
    },
    close: pause,
  };
}
