/**
 * The images that are generated, each with its film: a grid of all, the chosen one large, and what is saved of them.
 *
 * @typedef {{seed: bigint | null, told: Row | null, words: string, frames: Frame[], whole: Uint8Array | null}} Picture
 * @typedef {{t: number, s: number, x_t: Uint8Array, x_0: Uint8Array}} Frame a step's images, (C, H, W)
 */

import { png } from "./apng.js";
import { CHANNELS, HEIGHT, WIDTH, about, asNumber, element, part } from "./elements.js";
import { gridOf, show } from "./pictures.js";

const FRAME = 50; // ms of a film, at least
const FILM = 4000; // ms of a whole film that plays, about
const LAST = 2000; // ms that a saved film shows the image itself
const MOST_FRAMES = 120; // of a saved film

let images = [], chosen = 0, follows = true, playing = 0;

/** @returns {Picture[]} */
export function allImages() {
  return images;
}

/** Shows these images in place of others. @param {Picture[]} others @param {number} at the one that is shown large */
export function showImages(others, at = chosen) {
  images = others;
  chosen = Math.min(at, images.length - 1);
  part("grid").replaceChildren(
    ...images.map(({ seed, words }, i) => {
      const usual = seed === null ? "your own" : `seed ${seed}`, button = element("button"), canvas = element("canvas");
      const name = element("span", words.replace(/^class /, "") || usual);
      button.type = "button";
      button.title = [seed === null ? "" : `seed ${seed}`, words].filter(Boolean).join(", ");
      button.append(canvas, name);
      button.addEventListener("click", () => choose(i));
      return button;
    }),
  );
  redrawAll();
  choose(chosen);
}

function choose(i) {
  chosen = i;
  follows = true;
  pause();
  [...part("grid").children].forEach((button, each) => button.setAttribute("aria-pressed", each === i));
  redraw(i);
}

/** The chosen image, and what is whole of it. @returns {[Picture, Uint8Array]} */
export function chosenImage() {
  return [images[chosen], seen(images[chosen], Infinity)];
}

/** Position n of a film is its step n, and the last one the image; until it is there, the latest step. */
function seen(image, position) {
  if (image.whole && position >= image.frames.length) return image.whole;
  const frame = image.frames[Math.min(position, image.frames.length - 1)];
  return frame ? frame[shows()] : blank();
}

/** Shows what there is by now of an image. */
export function redraw(i) {
  const image = images[i], latest = image.whole ? image.frames.length : Math.max(0, image.frames.length - 1);
  show(part("grid").children[i].firstChild, seen(image, latest), about.image);
  if (i !== chosen) return;
  const slider = part("position");
  slider.max = latest;
  if (follows) slider.value = latest;
  showMoment();
}

export function redrawAll() {
  images.forEach((_, i) => redraw(i));
}

/** Shows the step of the chosen image that the slider is at; at its end it follows what is generated. */
export function scrub() {
  pause();
  follows = asNumber("position") === Number(part("position").max);
  showMoment();
}

function showMoment() {
  const image = images[chosen], position = asNumber("position"), frame = image.frames[position];
  const last = image.frames.length, of = [image.seed === null ? "your own" : `seed ${image.seed}`, image.words];
  show(part("shown"), seen(image, position), about.image);
  part("shown").setAttribute("aria-label", `Image: ${of.filter(Boolean).join(", ")}`);
  const reached = image.whole ? (last ? `after ${last} steps` : "to be painted over") : "not begun";
  const where = frame ? `step ${position + 1}, t = ${frame.t}` : reached;
  part("moment").textContent = [...of, where].filter(Boolean).join(" · ");
}

function shows() {
  return document.querySelector("input[name=shows]:checked").value;
}

function blank() {
  return new Uint8Array(CHANNELS * HEIGHT * WIDTH).fill(127);
}

/** Plays the chosen film from where it is, or from its beginning where it is at its end. */
export function play() {
  if (playing) return pause();
  const slider = part("position"), last = Number(slider.max);
  const from = asNumber("position") >= last ? 0 : asNumber("position"), begun = performance.now();
  part("play").textContent = "Pause";
  follows = false;
  const each = Math.max(FRAME, FILM / Math.max(last, 1));
  const frame = (now) => {
    slider.value = Math.min(from + Math.floor(Math.max(0, now - begun) / each), last);
    showMoment();
    if (Number(slider.value) < last) playing = requestAnimationFrame(frame);
    else pause();
  };
  playing = requestAnimationFrame(frame);
}

export function pause() {
  cancelAnimationFrame(playing);
  playing = 0;
  part("play").textContent = "Play";
}

/** Saves the chosen image as it is seen, its film, or all images. @param {"image" | "film" | "grid"} kind */
export async function save(kind) {
  const image = images[chosen], name = `${about.file}-${image.seed === null ? "own" : image.seed}`;
  if (kind === "grid") {
    return download(await png([gridOf(images.map((each) => seen(each, Infinity)), about.image)]), `${about.file}-grid`);
  }
  if (kind === "image") return download(await png([gridOf([seen(image, asNumber("position"))], about.image)]), name);
  const every = Math.ceil(image.frames.length / MOST_FRAMES), steps = image.frames.filter((_, i) => i % every === 0);
  const frames = [...steps.map((frame) => frame[shows()]), ...(image.whole ? [image.whole] : [])];
  if (!frames.length) frames.push(blank());
  const times = frames.map((_, i) => (i === frames.length - 1 ? LAST : FRAME));
  return download(await png(frames.map((frame) => gridOf([frame], about.image)), times), `${name}-film`);
}

function download(blob, name) {
  const link = element("a"), url = URL.createObjectURL(blob);
  Object.assign(link, { href: url, download: `${name}.png` });
  link.click();
  setTimeout(() => URL.revokeObjectURL(url), 60_000);
}
