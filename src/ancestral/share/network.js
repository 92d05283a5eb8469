/** The network of a file that `ancestral.share.weights` packed, one image at a time, by the kernels of net.wasm. */

import { Conditions } from "./conditions.js";
import { Decoder } from "./decoder.js";
import { DiT } from "./dit.js";
import { Kernels } from "./kernels.js";
import { UNet } from "./unet.js";

const NETWORKS = { unet: UNet, dit: DiT }; // by the names of their settings

export class Network {
  /** @param {BufferSource} wasm net.wasm @param {ArrayBuffer} file settings and weights @returns {Promise<Network>} */
  static async open(wasm, file) {
    return new Network((await WebAssembly.instantiate(wasm)).instance.exports, file);
  }

  constructor(compute, file) {
    const { about, tensors } = parsed(file);
    this.about = about; // its settings, shapes, and what it may be told: `packed` says what else
    this.kernels = new Kernels(compute, tensors);
    this.conditions = new Conditions(this.kernels, about);
    this.network = new NETWORKS[about.network.name](this.kernels, about.network, about.shape);
    this.decoder = about.codec && new Decoder(this.kernels, about); // null: x0 is pixels
  }

  /**
   * What a network makes of what it is told of an image: it serves all calls. What is null or left out is not told.
   *
   * @param {{label?: number, attributes?: ArrayLike<number>, tokens?: ArrayLike<number>}} asked attributes are
   *   standardised, NaN for one that is not told; tokens are as many as a text has
   * @returns {Told}
   */
  read(asked) {
    return this.conditions.read(asked);
  }

  /**
   * The network's output, (channels, H, W).
   *
   * @param {Float32Array} x (C, H, W)
   * @param {number} time what the process tells the network of it, an index from 0 or a log-SNR
   * @param {Told} told what `read` returns
   */
  call(x, time, { vectors, states }) {
    const { kernels, about } = this;
    this.begin(x);
    const embedding = this.embedded(Math.fround(time), vectors);
    return this.network.call(x, embedding, states && kernels.filled(1, states.length / about.text.width, states));
  }

  /** The image (C, H, W) of x0 (c, h, w), in [-1, 1] or a little beyond: of a network in pixels x0 itself. */
  decoded(x0) {
    this.begin(x0);
    return this.decoder ? this.decoder.decoded(x0) : x0;
  }

  /** Memory for what is made of x alone. */
  begin(x) {
    const count = this.about.shape.reduce((a, b) => a * b);
    if (x.length !== count) throw new RangeError(`expected ${count} numbers, got ${x.length}`);
    this.kernels.clear();
  }

  /** The embedding of time with the vectors added, through SiLU, as every block takes it. */
  embedded(time, vectors) {
    const { kernels } = this, angles = kernels.tensor("time", "frequencies").map((frequency) => time * frequency);
    const halves = [[...angles.map(Math.sin)], [...angles.map(Math.cos)]];
    const waves = (this.about.time_order === "sin-cos" ? halves : halves.reverse()).flat();
    const hidden = kernels.activated(kernels.product(kernels.filled(1, 1, waves), "time_embedding.linear_1"));
    const y = kernels.product(hidden, "time_embedding.linear_2"), sums = kernels.read(y);
    for (const vector of vectors) vector.forEach((each, c) => (sums[c] += each));
    return kernels.activated(y);
  }
}

/**
 * x0 of an output that says how likely each of the 256 levels c_k of a pixel is: the mean of
 * p(c_k | x_t) ~ exp(output_k) N(x_t; alpha c_k, sigma^2).
 *
 * @param {Float32Array} output (C * 256, H, W) @param {Float32Array} x x_t, (C, H, W) @param {number} size H * W
 */
export function expected(output, x, size, alpha, sigma) {
  const logs = new Float64Array(256), levels = logs.map((_, k) => k / 127.5 - 1);
  return x.map((each, i) => {
    const first = Math.floor(i / size) * 256 * size + (i % size);
    levels.forEach((level, k) => (logs[k] = output[first + k * size] - 0.5 * ((each - alpha * level) / sigma) ** 2));
    const most = logs.reduce((a, b) => Math.max(a, b)), weights = logs.map((log) => Math.exp(log - most));
    return levels.reduce((sum, level, k) => sum + level * weights[k], 0) / weights.reduce((a, b) => a + b);
  });
}

/** The settings and tensors of a safetensors file, in float32 whatever they are stored in. */
function parsed(file) {
  const start = 8 + Number(new DataView(file).getBigUint64(0, true));
  const { __metadata__: metadata, ...entries } = JSON.parse(new TextDecoder().decode(file.slice(8, start)));
  const bytes = (name) => file.slice(...entries[name].data_offsets.map((each) => start + each));
  const read = {
    F32: (name) => new Float32Array(bytes(name)),
    F16: (name) => singles(new Uint16Array(bytes(name))),
    I8: (name, rows) => scaled(new Int8Array(bytes(name)), new Float32Array(bytes(`${name}.scale`)), 8 * rows),
  };
  return {
    about: JSON.parse(metadata.ancestral),
    tensors: Object.entries(entries)
      .filter(([name]) => !name.endsWith(".scale"))
      .map(([name, { dtype, shape: [, rows] }]) => [name, rows, read[dtype](name, rows)]),
  };
}

/** IEEE half precision to single: the bits moved to where float32 has them, and the exponent set right by a factor. */
function singles(stored) {
  const bits = new Uint32Array(stored.length), numbers = new Float32Array(bits.buffer);
  for (let i = 0; i < stored.length; i++) {
    bits[i] = ((stored[i] & 0x8000) << 16) | ((stored[i] & 0x7fff) << 13);
    numbers[i] *= 2 ** 112;
  }
  return numbers;
}

/** Whole numbers times the factors of their outputs, of which a block has eight. */
function scaled(stored, scales, block) {
  const numbers = new Float32Array(stored.length);
  for (let i = 0; i < stored.length; i++) numbers[i] = stored[i] * scales[Math.floor(i / block) * 8 + (i & 7)];
  return numbers;
}
