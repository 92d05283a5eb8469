/** ResNet blocks, and the attention that follows them, of a U-Net or a decoder. */

const HALF_WAVES = 8; // of a cosine over a side, which say where a pixel is
const TRANSFORMER_EPS = 1e-6; // before a transformer's block; elsewhere in it LAYER_EPS
export const LAYER_EPS = 1e-5;
const HEAD_WIDTH = 32; // of a transformer's block at least, where the settings do not say

export class Blocks {
  /** @param {Kernels} kernels @param {object} settings as those of a U-Net */
  constructor(kernels, settings) {
    this.kernels = kernels;
    this.settings = settings;
    this.groups = { groups: settings.norm_groups, eps: settings.norm_eps };
  }

  /**
   * `embedding`: of time and what is told, through SiLU; null: none. `resized`: of a map and a border the map at
   * another resolution, in a border of zeros; null: it stays as it is.
   */
  resnet(x, name, embedding = null, resized = null) {
    const { kernels } = this, active = { border: 1, activates: true };
    return kernels.scoped(() => {
      const first = kernels.normed(x, `${name}.norm1`, this.groups, { ...active, border: resized ? 0 : 1 });
      const h = kernels.product(resized ? resized(first, 1) : first, `${name}.conv1`);
      const same = resized ? resized(x, 0) : x;
      const { at: time, c } = embedding ? kernels.product(embedding, `${name}.time_emb_proj`) : { at: 0, c: 0 };
      const told = c > h.c ? { scale: time, shift: time + 4 * h.c } : { added: time };
      const second = kernels.normed(h, `${name}.norm2`, this.groups, { ...active, ...told });
      const shortcut = kernels.has(`${name}.conv_shortcut`);
      const added = shortcut ? kernels.product(same, `${name}.conv_shortcut`) : same;
      return kernels.product(second, `${name}.conv2`, { added });
    });
  }

  /** After attention of the pixels to each other, to a text too, or without any. */
  attended(x, name, text = null) {
    const { kernels } = this, { heads, head_width: width } = this.settings;
    if (text && kernels.has(`${name}.proj_in`)) return this.transformed(x, name, text);
    if (!kernels.has(`${name}.to_q`)) return x;
    return kernels.scoped(() => {
      const normalises = kernels.has(`${name}.group_norm`);
      const pixels = this.placed(normalises ? kernels.normed(x, `${name}.group_norm`, this.groups) : x);
      const y = kernels.attended(pixels, heads ?? x.c / (width ?? x.c), (letter) => `${name}.to_${letter}`);
      return kernels.product(y, `${name}.to_out.0`, { added: x });
    });
  }

  /** Attention of the pixels to each other and to a text, and a gated perceptron. */
  transformed(x, name, text) {
    const { kernels } = this, block = `${name}.transformer_blocks.0`, heads = this.headsOf(x.c);
    return kernels.scoped(() => {
      const normed = kernels.normed(x, `${name}.norm`, { ...this.groups, eps: TRANSFORMER_EPS });
      let h = this.placed(kernels.product(normed, `${name}.proj_in`));
      for (const [i, of] of [[1], [2, text]]) {
        const tokens = kernels.layerNormed(h, `${block}.norm${i}`, LAYER_EPS);
        const y = kernels.attended(tokens, heads, (letter) => `${block}.attn${i}.to_${letter}`, { of });
        h = kernels.product(y, `${block}.attn${i}.to_out.0`, { added: h });
      }
      const wide = kernels.product(kernels.layerNormed(h, `${block}.norm3`, LAYER_EPS), `${block}.ff.net.0.proj`);
      h = kernels.product(kernels.gated(wide), `${block}.ff.net.2`, { added: h });
      return kernels.product(h, `${name}.proj_out`, { added: x });
    });
  }

  /** Heads of a transformer's block: without settings, the most that are wide enough and divide the width. */
  headsOf(width) {
    const { heads, head_width: each } = this.settings;
    if (each) return Math.max(1, Math.floor(width / each));
    let usual = Math.max(1, Math.floor(width / HEAD_WIDTH));
    while (width % usual) usual -= 1;
    return heads ?? usual;
  }

  /** Where the settings say so, the place of each pixel added: cosines across and, in the second half, down. */
  placed(x) {
    if (!this.settings.positions) return x;
    const y = this.kernels.map(x.h, x.w, x.c), half = x.c / 2, to = this.kernels.read(y);
    const across = halfWaves(x.w, half), down = halfWaves(x.h, half);
    this.kernels.read(x).forEach((each, i) => {
      const p = Math.floor(i / x.c), c = i % x.c;
      to[i] = each + (c < half ? across[(p % x.w) * half + c] : down[Math.floor(p / x.w) * half + c - half]);
    });
    return y;
  }
}

/** cos(k pi u) at the middles u of so many parts of 0 to 1, in torch's steps of float32. */
function halfWaves(count, width) {
  return Float32Array.from({ length: count * width }, (_, i) => {
    const middle = Math.fround((Math.floor(i / width) + 0.5) / count);
    const angle = Math.fround(Math.fround(Math.PI) * middle);
    return Math.cos(Math.fround(angle * (((i % width) % HALF_WAVES) + 1)));
  });
}
