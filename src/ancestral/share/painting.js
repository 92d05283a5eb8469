/** Painting over an image, by pointer and by keyboard. */

import { CHANNELS, HEIGHT, WIDTH, about, asNumber, fail, part } from "./elements.js";
import { chosenImage, showImages } from "./images.js";
import { Mask } from "./mask.js";
import { opened } from "./pictures.js";
import { askFor } from "./request.js";

const MASK_SIDE = 640; // pixels of the mask's canvas, about

let brush = null; // {mask, source, at: [x, y], last}: while it is painted

/** Whether an image is painted over. */
export function isPainting() {
  return brush !== null;
}

/** What a worker is to keep of the image; null: nothing is painted yet. The mask is hardly seen then, so that what is
 * filled is, until it is painted on. */
export function filling() {
  if (!brush || brush.mask.isEmpty) return null;
  part("mask").classList.add("filled");
  return { pixels: brush.source, keep: brush.mask.kept(CHANNELS), rounds: asNumber("rounds") };
}

export function offerBrush() {
  const least = Math.min(WIDTH, HEIGHT);
  part("paint").hidden = !about.in_pixels;
  part("size").max = Math.max(1, Math.round(least / 2));
  part("size").value = Math.max(1, Math.round(least / 8));
  showValues();
}

function showValues() {
  for (const id of ["size", "rounds"]) part(`${id}-value`).textContent = part(id).value;
}

/** Begins to paint over the chosen image, or is done with it. */
export function paint() {
  if (brush) brush = null;
  else takeUp(...chosenImage());
  part("brush").hidden = part("mask").hidden = !brush;
  part("paint").setAttribute("aria-expanded", Boolean(brush));
  part("paint").textContent = brush ? "Done painting" : "Paint over it";
  part("generate").disabled = Boolean(brush);
  if (brush) part("mask").focus();
}

/** What is painted over from now on, with nothing painted yet. Fillings are told what the image was told. */
function takeUp({ seed, told, words }, source) {
  askFor(told);
  part("mask").classList.remove("filled");
  brush = { mask: new Mask(HEIGHT, WIDTH), source, at: [WIDTH >> 1, HEIGHT >> 1], last: null };
  showImages([{ seed, told, words, frames: [], whole: source }]);
  showMask();
}

function showMask() {
  const canvas = part("mask"), scale = Math.max(1, Math.round(MASK_SIDE / Math.max(WIDTH, HEIGHT)));
  Object.assign(canvas, { width: WIDTH * scale, height: HEIGHT * scale });
  const context = canvas.getContext("2d"), { mask, at } = brush, size = asNumber("size"), back = (size - 1) >> 1;
  context.fillStyle = "rgb(230 60 120 / 60%)";
  mask.painted.forEach((each, i) => {
    if (each) context.fillRect((i % WIDTH) * scale, Math.floor(i / WIDTH) * scale, scale, scale);
  });
  for (const [color, width] of [["black", 4], ["white", 2]]) {
    Object.assign(context, { strokeStyle: color, lineWidth: width });
    context.strokeRect((at[0] - back) * scale, (at[1] - back) * scale, size * scale, size * scale);
  }
  const painted = `${mask.painted.reduce((a, b) => a + b, 0)} of ${WIDTH * HEIGHT} pixels painted`;
  canvas.setAttribute("aria-label", `Mask: ${painted}; brush at column ${at[0] + 1}, row ${at[1] + 1}`);
  part("fill").disabled = mask.isEmpty;
  part("undo").disabled = !mask.before.length;
}

function pixelAt(event) {
  const box = part("mask").getBoundingClientRect();
  const place = (at, from, length, count) => bounded(Math.floor(((at - from) / length) * count), count - 1);
  return [place(event.clientX, box.left, box.width, WIDTH), place(event.clientY, box.top, box.height, HEIGHT)];
}

function bounded(x, most) {
  return Math.min(Math.max(x, 0), most);
}

function dab(to) {
  part("mask").classList.remove("filled");
  const value = Number(part("erase").getAttribute("aria-pressed") !== "true");
  brush.mask.line(brush.last ?? to, to, asNumber("size"), value);
  brush.at = brush.last = to;
  showMask();
}

export function stroke(event) {
  if (event.type === "pointerdown" && event.button === 0) {
    event.currentTarget.setPointerCapture(event.pointerId);
    brush.mask.begin();
    dab(pixelAt(event));
  } else if (event.type === "pointermove" && brush.last) {
    for (const each of event.getCoalescedEvents?.() ?? [event]) dab(pixelAt(each));
  } else if (event.type !== "pointermove") {
    brush.last = null;
  } else {
    brush.at = pixelAt(event);
    showMask();
  }
}

export function strokeByKey(event) {
  const moves = { ArrowLeft: [-1, 0], ArrowRight: [1, 0], ArrowUp: [0, -1], ArrowDown: [0, 1] };
  const move = moves[event.key];
  if (!move && event.key !== " ") return;
  event.preventDefault();
  const [x, y] = move ?? [0, 0], from = brush.at;
  const to = [bounded(from[0] + x, WIDTH - 1), bounded(from[1] + y, HEIGHT - 1)];
  brush.last = null;
  if (move && !event.shiftKey) {
    brush.at = to;
    return showMask();
  }
  brush.mask.begin();
  if (move) brush.last = from;
  dab(to);
  brush.last = null;
}

/** Takes up an image of one's own. */
export async function openFile() {
  const [file] = part("file").files;
  part("file").value = "";
  if (!file) return;
  try {
    takeUp({ seed: null, told: null, words: "" }, await opened(file, about.image));
  } catch {
    fail(new Error(`expected an image that this browser reads, got ${file.name}; choose another`));
  }
}

/** Does to the mask what a button says. @param {"undo" | "invert" | "clear"} act */
export function change(act) {
  part("mask").classList.remove("filled");
  brush.mask[act]();
  showMask();
}

export function toggleEraser() {
  const button = part("erase");
  button.setAttribute("aria-pressed", button.getAttribute("aria-pressed") !== "true");
}

export function resize() {
  showValues();
  if (brush) showMask();
}
