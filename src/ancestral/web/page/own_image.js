/** The image that a view works on: a drawing at first, then one of a file, or one that a run has generated. */

import { opened, rgba } from "../../share/pictures.js";
import { png } from "../../share/apng.js";
import { ImageNoise } from "../../share/random.js";
import { upload } from "./api.js";
import { button, fail, h, on } from "./elements.js";
import { fetchFrames, imageOf, startJob, watch } from "./job.js";

/** @typedef {[channels: number, height: number, width: number]} Shape */

/**
 * @param {Shape} shape of what it is fitted to
 * @param {() => void} changed called when there is another image, and once at first
 * @param {{run?: string, view: string}} from `run`: that can generate one
 */
export function ownImage(shape, changed, { run, view }) {
  const input = h("input", { type: "file", accept: "image/*", "aria-label": "An image of your own" });
  const words = h("p", { class: "soft", role: "status" });
  const take = run ? button("One that the run generates", generate) : null;
  const element = h("div", { class: "own-image" }, h("label", null, "An image of your own ", input), take, words);
  let pixels = /** @type {Uint8Array} */ (drawing(shape)), seed = 0, sent = /** @type {Promise<string> | null} */ (null), leave = () => {};

  /** @param {Uint8Array} other @param {string} said */
  function set(other, said) {
    pixels = other;
    sent = null;
    words.textContent = said;
    changed();
  }

  async function generate() {
    leave();
    const { id } = await startJob({ kind: "sample", run, view, settings: { num_images: 1, seed: seed++ }, replace: true });
    words.textContent = "Generating an image…";
    await new Promise((resolve) => {
      leave = watch(id, { done: (job) => resolve(received(job).catch(fail)), lost: (fault) => (fail(fault), resolve(null)) });
    });
  }

  /** @param {import("./job.js").Job} job */
  async function received({ id, frames, state, why }) {
    if (state !== "done" || !frames) return void (words.textContent = why || "No image was generated.");
    const last = frames.count - 1, bytes = await fetchFrames(id, last, last + 1);
    set(imageOf(bytes, frames, 0, "x_0", 0).slice(), `Generated from the seed ${seed - 1}${frames.labels[0] ? `: ${frames.labels[0]}` : ""}`);
  }

  on(input, "change", async () => {
    const [file] = input.files ?? [];
    try {
      if (file) set(await opened(file, shape), `${file.name}, fitted to ${shape[1]}x${shape[2]}`);
    } catch {
      fail(`expected an image, got ${file?.name}, which this browser cannot open`);
    }
  });

  return {
    element,
    shape,
    generate,
    get pixels() {
      return pixels;
    },
    /** In [-1, 1]. */
    get x0() {
      return Float32Array.from(pixels, (each) => each / 127.5 - 1);
    },
    /** The id that it has on the server, which is told it at the first call. @returns {Promise<string>} */
    sent() {
      sent ??= png([{ width: shape[2], height: shape[1], pixels: new Uint8Array(rgba(pixels, shape).buffer) }])
        .then(upload)
        .then(({ id }) => id);
      return sent;
    },
    close: () => leave(),
  };
}

/** @typedef {ReturnType<typeof ownImage>} OwnImage */

/** The noise that an image of a seed begins with, as the server draws it. @param {string} seed @param {Shape} shape @returns {Float32Array} */
export function noiseOf(seed, [channels, height, width]) {
  return new ImageNoise(BigInt(seed), channels * height * width).next();
}

/** Of numbers in [-1, 1] the bytes that a picture shows. @param {ArrayLike<number>} x */
export function asBytes(x) {
  return Uint8Array.from(x, (each) => Math.min(255, Math.max(0, Math.round((each + 1) * 127.5))));
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
