/**
 * What networks are made of: the memory of net.wasm with the weights in it, and products, normalisations and attention.
 *
 * A feature map lies in memory as (pixels, channels), and is known by its address and shape; tokens are the pixels of
 * one row. Memory is handed out upwards, and handed back by going down again. Names are those of the tensors in torch.
 *
 * @typedef {{at: number, h: number, w: number, c: number}} FeatureMap address in bytes; height, width, channels
 */

const SLACK = 32; // bytes past the end of an array that kernels may touch
const PAGE = 65536; // bytes of WebAssembly's memory

export class Kernels {
  /** @param {object} compute the exports of net.wasm @param {Iterable} tensors of each [name, rows, numbers] */
  constructor(compute, tensors) {
    this.compute = compute;
    this.memory = compute.memory;
    this.top = compute.__heap_base.value;
    this.layers = {}; // of each its weight and bias: address, how many numbers, and how many an output is made of
    for (const [name, rows, numbers] of tensors) {
      const dot = name.lastIndexOf("."), layer = (this.layers[name.slice(0, dot)] ??= {});
      layer[name.slice(dot + 1)] = { at: this.filled(1, 1, numbers).at, count: numbers.length, rows };
    }
    this.bottom = this.top;
  }

  /** Hands back all that is no weight. */
  clear() {
    this.top = this.bottom;
  }

  has(layer) {
    return layer in this.layers;
  }

  tensor(layer, part) {
    const { at, count } = this.layers[layer][part];
    return this.numbers(at, count);
  }

  /** How many rows an embedding has. */
  rows(layer) {
    return this.layers[layer].weight.rows;
  }

  /** A row of an embedding; of a linear layer, the weights of one input. */
  row(layer, index, width) {
    const rows = this.rows(layer), table = this.tensor(layer, "weight");
    return Float32Array.from({ length: width }, (_, c) => table[(c >> 3) * 8 * rows + index * 8 + (c & 7)]);
  }

  /**
   * A convolution of all that it is given, zeros around an image too, or a linear layer of each pixel; plus `added`.
   * `outputs`: channels, of a layer without bias.
   */
  product(x, layer, { added = null, stride = 1, outputs = 0 } = {}) {
    const { weight, bias } = this.layers[layer], side = Math.sqrt(weight.rows / x.c);
    const h = Math.floor((x.h - side) / stride) + 1, w = Math.floor((x.w - side) / stride) + 1;
    const y = this.map(h, w, bias?.count ?? outputs), from = added?.at ?? 0;
    this.compute.convolve(y.at, x.at, weight.at, bias?.at ?? 0, from, h, w, x.w, stride, side, x.c, y.c);
    return y;
  }

  /** Group normalisation of x + added, times 1 + scale, plus shift, these at addresses; in a border of zeros. */
  normed(x, layer, { groups, eps }, { border = 0, activates = false, added = 0, scale = 0, shift = 0 } = {}) {
    const { weight, bias } = this.layers[layer], scratch = this.take(3 * (x.c + 4));
    const [y, inner] = this.bordered(x, x.c, border, border, border), shape = [x.h, x.w, y.w * y.c, x.c];
    const affine = [weight.at, bias.at, scale, shift];
    this.compute.normalise(inner, x.at, added, ...affine, scratch, ...shape, groups, eps, +activates);
    return y;
  }

  /** Layer normalisation. */
  layerNormed(x, layer, eps) {
    const y = this.map(x.h, x.w, x.c), { weight, bias } = this.layers[layer];
    this.compute.normalise_pixels(y.at, x.at, weight.at, bias.at, x.h * x.w, x.c, 0, eps);
    return y;
  }

  /** Layer normalisation without weights, times 1 + scale, plus shift, these at addresses. */
  modulated(x, eps, scale = 0, shift = 0) {
    const y = this.map(x.h, x.w, x.c);
    this.compute.normalise_pixels(y.at, x.at, scale, shift, x.h * x.w, x.c, 1, eps);
    return y;
  }

  /** x + gate h, the gate at an address. */
  gatedSum(x, gate, h) {
    const y = this.map(x.h, x.w, x.c);
    this.compute.add_gated(y.at, x.at, gate, h.at, x.h * x.w, x.c);
    return y;
  }

  /**
   * What each pixel of x sees of those of another map. `named`: of q, k, v the name of the layer that makes it.
   * `causal`: of those up to its own place alone.
   */
  attended(x, heads, named, { of = x, causal = false } = {}) {
    const linear = (each, letter) => this.product(each, named(letter), { outputs: x.c }).at;
    const q = linear(x, "q"), k = linear(of, "k"), v = linear(of, "v");
    const seen = of.h * of.w, y = this.map(x.h, x.w, x.c), scratch = this.take((seen + 3) * (x.c / heads + 64));
    this.compute.attend(y.at, q, k, v, scratch, x.h * x.w, seen, x.c, heads, +causal);
    return y;
  }

  /** x / (1 + e^-(slope x + cubic x^3)) in place of x: SiLU, if nothing is said. */
  activated(x, slope = 1, cubic = 0) {
    this.compute.activate(x.at, x.h * x.w * x.c, slope, cubic);
    return x;
  }

  /** The first half of the channels times gelu of the second. */
  gated(x) {
    const y = this.map(x.h, x.w, x.c / 2);
    this.compute.gate(y.at, x.at, x.h * x.w, y.c);
    return y;
  }

  /** The channels of one map, then those of another. */
  joined(a, b) {
    const y = this.map(a.h, a.w, a.c + b.c), row = a.w * y.c;
    this.compute.place(y.at, a.at, a.h, a.w, a.h, a.w, a.c, row, y.c);
    this.compute.place(y.at + 4 * a.c, b.at, a.h, a.w, a.h, a.w, b.c, row, y.c);
    return y;
  }

  /** A map at the resolution of another, by the nearest pixels, in a border of zeros. */
  framed(x, like = x, before = 1, below = 1, right = 1) {
    const [y, inner] = this.bordered(like, x.c, before, below, right);
    this.compute.place(inner, x.at, x.h, x.w, like.h, like.w, x.c, y.w * y.c, y.c);
    return y;
  }

  /** A map at half the resolution, by means of pixels, in a border of zeros. */
  halved(x, border) {
    const half = { h: Math.ceil(x.h / 2), w: Math.ceil(x.w / 2) };
    const [y, inner] = this.bordered(half, x.c, border, border, border);
    this.compute.halve(inner, x.at, x.h, x.w, x.c, y.w * y.c);
    return y;
  }

  /** A map with zeros around it, `before` above and to the left, and the address of the first pixel within. */
  bordered({ h, w }, c, before, below, right) {
    const y = this.map(before + h + below, before + w + right, c);
    if (before || below || right) this.read(y).fill(0);
    return [y, y.at + 4 * c * before * (y.w + 1)];
  }

  /** A map of planes (channels, h, w). */
  interleaved(planes, h, w) {
    const size = h * w, y = this.map(h, w, planes.length / size), to = this.read(y);
    planes.forEach((each, i) => (to[(i % size) * y.c + Math.floor(i / size)] = each));
    return y;
  }

  /** The first rows and columns of a map as (channels, h, w). */
  planes(x, h = x.h, w = x.w) {
    const from = this.read(x), to = new Float32Array(x.c * h * w);
    for (let i = 0, at = 0; i < x.c; i++) {
      for (let y = 0; y < h; y++) {
        for (let p = y * x.w; p < y * x.w + w; p++) to[at++] = from[p * x.c + i];
      }
    }
    return to;
  }

  /** The map that `make` returns; the memory of all else that it took is handed back. */
  scoped(make) {
    const start = this.top, { at, h, w, c } = make();
    this.top = start;
    const kept = this.map(h, w, c);
    new Uint8Array(this.memory.buffer).copyWithin(kept.at, at, at + 4 * h * w * c);
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
    return this.numbers(at, h * w * c);
  }

  numbers(at, count) {
    return new Float32Array(this.memory.buffer, at, count);
  }

  /** The address of so many numbers. */
  take(count) {
    const at = (this.top + 15) & ~15;
    this.top = at + 4 * count + SLACK;
    const missing = this.top - this.memory.buffer.byteLength;
    if (missing > 0) this.memory.grow(Math.ceil(missing / PAGE));
    return at;
  }
}
