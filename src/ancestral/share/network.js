/**
 * The U-Net of a file that `ancestral.share.weights` packed, one image at a time, by the kernels of net.wasm.
 *
 * A feature map lies in the kernels' memory as (pixels, channels), and is known by its address and shape. Memory is
 * handed out upwards, and handed back by going down again. Names are those of the tensors in torch; a part that a
 * network does without, a shortcut or an attention, is one whose tensors are not there.
 *
 * @typedef {{at: number, h: number, w: number, c: number}} FeatureMap address in bytes; height, width, channels
 */

const SLACK = 32; // bytes past the end of an array that kernels may touch
const PAGE = 65536; // bytes of WebAssembly's memory
const HALF_WAVES = 8; // of a cosine over a side, which say where a pixel is

export class Network {
  /** @param {BufferSource} wasm net.wasm @param {ArrayBuffer} file settings and weights @returns {Promise<Network>} */
  static async open(wasm, file) {
    return new Network((await WebAssembly.instantiate(wasm)).instance.exports, file);
  }

  constructor(kernels, file) {
    this.kernels = kernels;
    this.top = kernels.__heap_base.value;
    const { about, tensors } = parsed(file);
    this.about = about; // {network: its settings, shape: [C, H, W], num_classes, null_class: whether there is one}
    this.weights = {}; // of every tensor its address, how many numbers it has, and how many an output is made of
    for (const [name, rows, numbers] of tensors) {
      this.weights[name] = { at: this.filled(1, 1, numbers).at, count: numbers.length, rows };
    }
    this.bottom = this.top;
  }

  /**
   * The network's output, (channels, H, W).
   *
   * @param {Float32Array} x (C, H, W)
   * @param {number} time what the process tells the network of it, an index from 0 or a log-SNR
   * @param {number | null} label null: no class
   */
  call(x, time, label = null) {
    const { widths, layers, middle_layers: pairs } = this.about.network;
    this.top = this.bottom;
    this.embedding = this.embedded(Math.fround(time), label);
    let h = this.product(this.framed(this.seen(x)), "conv_in");
    const skips = [h];
    widths.forEach((_, level) => {
      if (level) skips.push((h = this.scoped(() => this.halved(h, `down_blocks.${level - 1}.downsamplers.0.conv`))));
      for (let i = 0; i < layers; i++) skips.push((h = this.block(h, `down_blocks.${level}`, i)));
    });
    h = this.resnet(h, "mid_block.resnets.0");
    for (let i = 0; i < pairs; i++) {
      h = this.resnet(this.attended(h, `mid_block.attentions.${i}`), `mid_block.resnets.${i + 1}`);
    }
    widths.forEach((_, up) => {
      const name = `up_blocks.${up - 1}.upsamplers.0.conv`;
      if (up) h = this.scoped(() => this.product(this.framed(h, skips.at(-1)), name));
      for (let i = 0; i <= layers; i++) h = this.block(this.joined(h, skips.pop()), `up_blocks.${up}`, i);
    });
    h = this.product(this.normed(h, "conv_norm_out", { border: 1, activates: true }), "conv_out");
    return this.planes(this.weights["mixer.weight"] ? this.product(h, "mixer") : h);
  }

  block(x, level, i) {
    return this.attended(this.resnet(x, `${level}.resnets.${i}`), `${level}.attentions.${i}`);
  }

  resnet(x, name) {
    return this.scoped(() => {
      const h = this.product(this.normed(x, `${name}.norm1`, { border: 1, activates: true }), `${name}.conv1`);
      const { at: time, c } = this.product(this.embedding, `${name}.time_emb_proj`);
      const told = c > h.c ? { scale: time, shift: time + 4 * h.c } : { added: time };
      const second = this.normed(h, `${name}.norm2`, { border: 1, activates: true, ...told });
      const shortcut = this.weights[`${name}.conv_shortcut.weight`];
      return this.product(second, `${name}.conv2`, shortcut ? this.product(x, `${name}.conv_shortcut`) : x);
    });
  }

  attended(x, name) {
    if (!this.weights[`${name}.to_q.weight`]) return x;
    return this.scoped(() => {
      const { heads, head_width: width, positions } = this.about.network;
      let pixels = this.weights[`${name}.group_norm.weight`] ? this.normed(x, `${name}.group_norm`) : x;
      if (positions) pixels = this.placed(pixels);
      const [q, k, v] = ["q", "k", "v"].map((each) => this.product(pixels, `${name}.to_${each}`).at);
      const count = heads ?? x.c / (width ?? x.c), length = x.h * x.w, y = this.map(x.h, x.w, x.c);
      const scratch = this.take((length + 3) * (x.c / count + 64));
      this.kernels.attend(y.at, q, k, v, scratch, length, x.c, count);
      return this.product(y, `${name}.to_out.0`, x);
    });
  }

  /** The place of each pixel in the image added to its features: cosines across and, in the second half, down. */
  placed(x) {
    const y = this.map(x.h, x.w, x.c), half = x.c / 2, to = this.read(y);
    const across = halfWaves(x.w, half), down = halfWaves(x.h, half);
    this.read(x).forEach((each, i) => {
      const p = Math.floor(i / x.c), c = i % x.c;
      to[i] = each + (c < half ? across[(p % x.w) * half + c] : down[Math.floor(p / x.w) * half + c - half]);
    });
    return y;
  }

  halved(x, name) {
    const even = this.about.network.downsample_padding === "even";
    const [below, right] = [x.h, x.w].map((side) => (even ? 1 : Math.max(1, 3 - side)));
    return this.product(this.framed(x, x, +even, below, right), name, null, 2);
  }

  /** The channels of one map, then those of another. */
  joined(a, b) {
    const y = this.map(a.h, a.w, a.c + b.c), row = a.w * y.c;
    this.kernels.place(y.at, a.at, a.h, a.w, a.h, a.w, a.c, row, y.c);
    this.kernels.place(y.at + 4 * a.c, b.at, a.h, a.w, a.h, a.w, b.c, row, y.c);
    return y;
  }

  /** A convolution of all that it is given, zeros around an image too, or a linear layer of each pixel; plus added. */
  product(x, name, added = null, stride = 1) {
    const { at, rows } = this.weights[`${name}.weight`], bias = this.weights[`${name}.bias`];
    const side = Math.sqrt(rows / x.c), [h, w] = [x.h, x.w].map((length) => Math.floor((length - side) / stride) + 1);
    const y = this.map(h, w, bias.count);
    this.kernels.convolve(y.at, x.at, at, bias.at, added?.at ?? 0, h, w, x.w, stride, side, x.c, y.c);
    return y;
  }

  /** Group normalisation of x + added, times 1 + scale, plus shift, these at addresses; in a border of zeros. */
  normed(x, name, { border = 0, activates = false, added = 0, scale = 0, shift = 0 } = {}) {
    const { norm_groups: groups, norm_eps: eps } = this.about.network;
    const gain = this.weights[`${name}.weight`].at, bias = this.weights[`${name}.bias`].at;
    const scratch = this.take(3 * (x.c + 4)), [y, inner] = this.bordered(x, x.c, border, border, border);
    const shape = [x.h, x.w, y.w * y.c, x.c];
    this.kernels.normalise(inner, x.at, added, gain, bias, scale, shift, scratch, ...shape, groups, eps, +activates);
    return y;
  }

  /** A map at the resolution of another, by the nearest pixels, in a border of zeros. */
  framed(x, like = x, before = 1, below = 1, right = 1) {
    const [y, inner] = this.bordered(like, x.c, before, below, right);
    this.kernels.place(inner, x.at, x.h, x.w, like.h, like.w, x.c, y.w * y.c, y.c);
    return y;
  }

  /** A map with zeros around it, `before` above and to the left, and the address of the first pixel within. */
  bordered({ h, w }, c, before, below, right) {
    const y = this.map(before + h + below, before + w + right, c);
    if (before || below || right) this.read(y).fill(0);
    return [y, y.at + 4 * c * before * (y.w + 1)];
  }

  /** The embedding of time and class, through SiLU, as every ResNet block takes it. */
  embedded(time, label) {
    const { num_classes: classes, null_class: knowsNull, network } = this.about;
    const angles = this.tensor("frequencies").map((frequency) => time * frequency);
    const halves = [[...angles.map(Math.sin)], [...angles.map(Math.cos)]];
    const waves = (network.time_order === "sin-cos" ? halves : halves.reverse()).flat();
    const hidden = this.read(this.product(this.filled(1, 1, waves), "time_embedding.linear_1")).map(silu);
    const y = this.product(this.filled(1, 1, hidden), "time_embedding.linear_2"), sums = this.read(y);
    if (classes) {
      const row = label ?? (knowsNull ? classes : NaN), { rows } = this.weights["class_embedding.weight"];
      if (!(row >= 0 && row < rows)) throw new RangeError(`expected a label in 0..${classes - 1}, got ${label}`);
      const table = this.tensor("class_embedding.weight");
      sums.forEach((each, c) => (sums[c] = each + table[(c >> 3) * 8 * rows + row * 8 + (c & 7)]));
    }
    sums.forEach((each, c) => (sums[c] = silu(each)));
    return y;
  }

  /** The image and its Fourier features, angles in float32 as torch's are. */
  seen(x) {
    const [channels, h, w] = this.about.shape, size = h * w;
    if (x.length !== channels * size) throw new RangeError(`expected ${channels * size} numbers, got ${x.length}`);
    const waves = this.about.network.fourier.flatMap((n) => {
      const factor = Math.fround(2 ** n * Math.PI), angles = x.map((each) => factor * each);
      return [angles.map(Math.sin), angles.map(Math.cos)];
    });
    const y = this.map(h, w, channels * (1 + waves.length)), to = this.read(y);
    [x, ...waves].forEach((each, part) => {
      for (let i = 0; i < x.length; i++) to[(i % size) * y.c + part * channels + Math.floor(i / size)] = each[i];
    });
    return y;
  }

  /** A map as (channels, H, W). */
  planes(x) {
    const size = x.h * x.w, to = new Float32Array(size * x.c);
    this.read(x).forEach((each, i) => (to[(i % x.c) * size + Math.floor(i / x.c)] = each));
    return to;
  }

  /** The map that `compute` returns; the memory of all else that it took is handed back. */
  scoped(compute) {
    const start = this.top, { at, h, w, c } = compute();
    this.top = start;
    const kept = this.map(h, w, c);
    new Uint8Array(this.kernels.memory.buffer).copyWithin(kept.at, at, at + 4 * h * w * c);
    return kept;
  }

  map(h, w, c) {
    return { at: this.take(h * w * c), h, w, c };
  }

  filled(h, w, numbers) {
    const y = this.map(h, w, numbers.length / h / w);
    this.read(y).set(numbers);
    return y;
  }

  read({ at, h, w, c }) {
    return new Float32Array(this.kernels.memory.buffer, at, h * w * c);
  }

  tensor(name) {
    const { at, count } = this.weights[name];
    return new Float32Array(this.kernels.memory.buffer, at, count);
  }

  /** The address of so many numbers. */
  take(count) {
    const at = (this.top + 15) & ~15, { memory } = this.kernels;
    this.top = at + 4 * count + SLACK;
    const missing = this.top - memory.buffer.byteLength;
    if (missing > 0) memory.grow(Math.ceil(missing / PAGE));
    return at;
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

const silu = (x) => x / (1 + Math.exp(-x));

/** cos(k pi u) at the middles u of so many parts of 0 to 1, in torch's steps of float32. */
function halfWaves(count, width) {
  return Float32Array.from({ length: count * width }, (_, i) => {
    const middle = Math.fround((Math.floor(i / width) + 0.5) / count);
    const angle = Math.fround(Math.fround(Math.PI) * middle);
    return Math.cos(Math.fround(angle * (((i % width) % HALF_WAVES) + 1)));
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
    tensors: Object.entries(entries).map(([name, { dtype, shape: [, rows] }]) => [name, rows, read[dtype](name, rows)]),
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
