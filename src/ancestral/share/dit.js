/** The transformer on the patches of an image. */

const TOKEN_EPS = 1e-6; // of all normalisations but those before a perceptron
const GELU_SLOPE = 2 * Math.sqrt(2 / Math.PI); // of the approximation by a hyperbolic tangent
const GELU_CUBIC = 0.044715 * GELU_SLOPE;

export class DiT {
  /** @param {Kernels} kernels @param {object} settings @param {number[]} shape [C, H, W] of an image */
  constructor(kernels, settings, shape) {
    this.kernels = kernels;
    this.settings = settings;
    this.shape = shape;
    this.places = this.sinusoids();
  }

  /** The output (channels, H, W) for x (C, H, W). `embedding`: of time and what is told, through SiLU. */
  call(x, embedding, text) {
    const { kernels } = this, { patch, layers } = this.settings, [, height, width] = this.shape;
    const image = kernels.interleaved(x, height, width);
    let tokens = kernels.product(image, "patches", { stride: patch }), sums = kernels.read(tokens);
    this.places.forEach((each, i) => (sums[i] += each));
    for (let i = 0; i < layers; i++) tokens = this.block(tokens, `transformer_blocks.${i}`, embedding, text);
    const [shift, scale] = this.parts(embedding, "modulation", tokens.c);
    return this.unpatched(kernels.product(kernels.modulated(tokens, TOKEN_EPS, scale, shift), "pixels"));
  }

  block(x, name, embedding, text) {
    const { kernels } = this, { heads, norm_eps: eps } = this.settings;
    const product = (map, part, rest) => kernels.product(map, `${name}.${part}`, rest);
    return kernels.scoped(() => {
      const [shift1, scale1, gate1, shift2, scale2, gate2] = this.parts(embedding, `${name}.modulation`, x.c);
      const normed = kernels.modulated(x, TOKEN_EPS, scale1, shift1);
      const seen = kernels.attended(normed, heads, (letter) => `${name}.to_${letter}`);
      let h = kernels.gatedSum(x, gate1, product(seen, "to_out"));
      if (text) {
        const attention = (letter) => `${name}.attn2.to_${letter}`;
        const read = kernels.attended(kernels.modulated(h, TOKEN_EPS), heads, attention, { of: text });
        h = product(read, "attn2.to_out.0", { added: h });
      }
      const wide = product(kernels.modulated(h, eps, scale2, shift2), "widen");
      return kernels.gatedSum(h, gate2, product(kernels.activated(wide, GELU_SLOPE, GELU_CUBIC), "narrow"));
    });
  }

  /** The addresses of the parts, `width` numbers each, of what a layer makes of the embedding. */
  parts(embedding, name, width) {
    const { at, c } = this.kernels.product(embedding, name);
    return Array.from({ length: c / width }, (_, i) => at + 4 * width * i);
  }

  /** Of each token those of its column, then those of its row. */
  sinusoids() {
    const frequencies = this.kernels.tensor("places", "frequencies"), { patch, width } = this.settings;
    const [rows, columns] = this.shape.slice(1).map((side) => side / patch);
    const all = new Float32Array(rows * columns * width);
    for (let p = 0, at = 0; p < rows * columns; p++) {
      for (const place of [p % columns, Math.floor(p / columns)]) {
        const angles = frequencies.map((frequency) => place * frequency);
        for (const wave of [Math.sin, Math.cos]) angles.forEach((angle) => (all[at++] = wave(angle)));
      }
    }
    return all;
  }

  /** Tokens of the pixels of a patch, (p, p, channels) each, as (channels, H, W). */
  unpatched(tokens) {
    const { patch } = this.settings, channels = tokens.c / patch ** 2, h = tokens.h * patch, w = tokens.w * patch;
    const image = new Float32Array(channels * h * w);
    this.kernels.read(tokens).forEach((each, i) => {
      const p = Math.floor(i / tokens.c), inner = Math.floor((i % tokens.c) / channels);
      const y = Math.floor(p / tokens.w) * patch + Math.floor(inner / patch);
      const x = (p % tokens.w) * patch + (inner % patch);
      image[((i % channels) * h + y) * w + x] = each;
    });
    return image;
  }
}
