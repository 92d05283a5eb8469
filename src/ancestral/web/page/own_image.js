/** The image that a view works on: a drawing at first, then one of a file, or one that a run has generated. */

import { opened, rgba } from "../../share/pictures.js";
import { png } from "../../share/apng.js";
import { ImageNoise } from "../../share/random.js";
import { blob, upload } from "./api.js";
import { button, fail, h, on } from "./elements.js";
import { fetchFrames, imageOf, startJob, watch } from "./job.js";

/** @typedef {[channels: number, height: number, width: number]} Shape */

/**
 * @typedef {object} Sources
 * @property {string} view
 * @property {string} [run] that can generate one
 * @property {boolean} [hasData] whether the run has images that it was not trained on
 * @property {string} [known] what the server calls the image to begin with
 * @property {(id: string, told: string) => void} [kept] is told what the server calls another image, and its class
 */
/**
 * @param {Shape} shape of what it is fitted to
 * @param {() => void} changed called when there is another image
 * @param {Sources} sources
 */
export function ownImage(shape, changed, { view, run, hasData, known, kept }) {
  const input = h("input", { type: "file", accept: "image/*", "aria-label": "An image of your own" });
  const words = h("p", { class: "soft", role: "status" });
  const buttons = [run && button("One that the run generates", generate), run && hasData && button("One that it was not trained on", takeHeldOut)];
  const element = h("div", { class: "own-image" }, h("label", null, "An image of your own ", input), ...buttons, words);
  let pixels = /** @type {Uint8Array} */ (drawing(shape)), seed = 0, place = 0, sent = /** @type {Promise<string> | null} */ (null);
  let x0 = /** @type {Float32Array | null} */ (null), leave = () => {}, closed = false;

  /** @param {Uint8Array} other @param {string} said @param {string} [told] its class */
  function set(other, said, told = "") {
    if (closed) return;
    pixels = other;
    sent = x0 = null;
    words.textContent = said;
    changed();
    if (kept) send().then((id) => kept(id, told), fail);
  }

  /** The id that it has on the server, which is told it at the first call. @returns {Promise<string>} */
  function send() {
    sent ??= png([{ width: shape[2], height: shape[1], pixels: new Uint8Array(rgba(pixels, shape).buffer) }])
      .then(upload)
      .then(({ id }) => id);
    return sent;
  }

  /** The job once it is done; null where it was not. @param {string} kind @param {object} settings */
  async function finished(kind, settings) {
    leave();
    words.textContent = "Asking the run for an image…";
    const { id } = await startJob({ kind, run, view: `${view}-image`, settings, replace: true });
    const job = await new Promise((resolve, reject) => (leave = watch(id, { done: resolve, lost: reject })));
    if (job.state === "done") return job;
    words.textContent = job.why || "There is no image.";
    return null;
  }

  async function generate() {
    const own = seed++, job = await finished("sample", { num_images: 1, seed: own });
    if (!job?.frames) return;
    const { id, frames } = job, last = frames.count - 1, [label = ""] = frames.labels;
    const bytes = await fetchFrames(id, last, last + 1);
    set(imageOf(bytes, frames, 0, "x_0", 0).slice(), `Generated from the seed ${own}${label && `: ${label}`}`, label);
  }

  async function takeHeldOut() {
    const own = place++, job = await finished("explain", { task: "training-step", held_out: own });
    if (!job) return;
    const file = job.files.findIndex((/** @type {{name: string}} */ { name }) => name === "x0.png");
    const { class: label } = job.result;
    set(await opened(await blob(`/api/jobs/${job.id}/files/${file}`), shape), `Held-out image ${own}${label ? `: ${label}` : ""}`, label ?? "");
  }

  on(input, "change", async () => {
    const [file] = input.files ?? [];
    try {
      if (file) set(await opened(file, shape), `${file.name}, fitted to ${shape[1]}x${shape[2]}`);
    } catch {
      fail(`expected an image, got ${file?.name}, which this browser cannot open`);
    }
  });

  if (known) {
    blob(`/api/uploads/${known}.png`).then((file) => opened(file, shape)).then((found) => {
      if (closed) return;
      [pixels, x0, sent] = [found, null, Promise.resolve(known)];
      changed();
    }, () => (words.textContent = "The image of the address is no longer there."));
  }
  return {
    element,
    shape,
    get pixels() {
      return pixels;
    },
    /** In [-1, 1]. */
    get x0() {
      return (x0 ??= Float32Array.from(pixels, (each) => each / 127.5 - 1));
    },
    sent: send,
    close() {
      closed = true;
      leave();
    },
  };
}

/** @typedef {ReturnType<typeof ownImage>} OwnImage */

/** The noise that an image of a seed begins with, as the server draws it. @param {string} seed @param {Shape} shape @returns {Float32Array} */
export function noiseOf(seed, [channels, height, width]) {
  return new ImageNoise(BigInt(seed), channels * height * width).next();
}

/** Of numbers in [-1, 1] the bytes that a picture shows. @param {ArrayLike<number>} x */
export function asBytes(x) {
  const bytes = new Uint8ClampedArray(x.length); // which rounds
  for (let i = 0; i < bytes.length; i++) bytes[i] = (x[i] + 1) * 127.5;
  return new Uint8Array(bytes.buffer);
}

/** A ring, in the colours that there are. @param {Shape} shape */
function drawing([channels, height, width]) {
  const made = new Uint8Array(channels * height * width).fill(255), colors = channels % 2 ? channels : channels - 1;
  for (let y = 0; y < height; y++) {
    for (let x = 0; x < width; x++) {
      const [u, v] = [(2 * x + 1) / width - 1, (2 * y + 1) / height - 1], apart = Math.abs(Math.hypot(u, v) - 0.6);
      const ink = Math.max(0, 1 - apart / 0.3);
      for (let c = 0; c < colors; c++) made[(c * height + y) * width + x] = 255 * ink * (1 - 0.35 * c * (0.5 + 0.5 * u));
    }
  }
  return made;
}
