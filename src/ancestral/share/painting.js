/** Painting over an image, by pointer and by keyboard. */

import { Brush } from "./brush.js";
import { CHANNELS, HEIGHT, WIDTH, about, asNumber, fail, part } from "./elements.js";
import { allImages, chosenImage, showImages } from "./images.js";
import { Mask } from "./mask.js";
import { opened } from "./pictures.js";
import { askFor, showCommand } from "./request.js";

/** @type {Uint8Array} what is painted over, while the brush has a mask */
let source;
/** What is shown and asked again once painting has ended. */
let before;
const brush = new Brush(part("mask"), {
  size: () => asNumber("size"),
  erases: () => part("erase").getAttribute("aria-pressed") === "true",
  boxes: () => false,
  changed: () => {
    part("mask").classList.remove("filled");
    showButtons();
  },
});

/** Whether an image is painted over. */
export function isPainting() {
  return brush.mask !== null;
}

/** What a worker is to keep of the image; null: nothing is painted yet. The mask is hardly seen then, so that what is
 * filled is, until it is painted on. */
export function filling() {
  if (!brush.mask || brush.mask.isEmpty) return null;
  part("mask").classList.add("filled");
  return { pixels: source, keep: brush.mask.kept(CHANNELS), rounds: asNumber("rounds") };
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

/** Begins to paint over the chosen image, or is done with it: the images of before are there again, and the fillings
 * after them. */
export function paint() {
  if (brush.mask) {
    brush.take(null);
    part("class").value = before.choice;
    part("prompt").value = before.prompt;
    const fillings = allImages().filter(({ frames }) => frames.length);
    const { images, chosen } = before;
    showImages([...images, ...fillings], fillings.length ? images.length : images.indexOf(chosen));
  } else {
    const [chosen, pixels] = chosenImage();
    before = { images: allImages(), chosen, choice: part("class").value, prompt: part("prompt").value };
    takeUp(chosen, pixels);
  }
  part("brush").hidden = part("mask").hidden = !isPainting();
  showCommand();
  part("paint").setAttribute("aria-expanded", isPainting());
  part("paint").textContent = isPainting() ? "Done painting" : "Paint over it";
  part("generate").disabled = isPainting();
  if (isPainting()) part("mask").focus();
}

/** What is painted over from now on, with nothing painted yet. Fillings are told what the image was told. */
function takeUp({ seed, told, words }, pixels) {
  askFor(told);
  part("mask").classList.remove("filled");
  source = pixels;
  brush.take(new Mask(HEIGHT, WIDTH));
  showImages([{ seed, told, words, frames: [], whole: source }]);
  showButtons();
}

function showButtons() {
  part("fill").disabled = brush.mask.isEmpty;
  part("undo").disabled = !brush.mask.before.length;
}

/** Takes up an image of one's own. */
export async function openFile() {
  const [file] = part("file").files;
  part("file").value = "";
  const { mask } = brush;
  if (!file) return;
  try {
    const pixels = await opened(file, about.image);
    if (mask && brush.mask === mask) takeUp({ seed: null, told: null, words: "" }, pixels);
  } catch {
    fail(new Error(`expected an image that this browser reads, got ${file.name}; choose another`));
  }
}

/** Does to the mask what a button says. @param {"undo" | "invert" | "clear"} act */
export function change(act) {
  brush.change(act);
}

export function toggleEraser() {
  const button = part("erase");
  button.setAttribute("aria-pressed", button.getAttribute("aria-pressed") !== "true");
}

export function resize() {
  showValues();
  showCommand();
  brush.show();
}
