/** The decoder of an autoencoder: images of latents. */

import { Blocks } from "./blocks.js";

const DECODER_EPS = 1e-6; // of all its normalisations
const CODES = "quantize.embedding";

export class Decoder {
  /** @param {Kernels} kernels @param {object} about of the file, whose `codec` are the settings of the autoencoder */
  constructor(kernels, { codec, shape, image }) {
    this.kernels = kernels;
    this.settings = codec;
    this.shape = shape;
    this.image = image;
    this.blocks = new Blocks(kernels, { norm_groups: codec.norm_groups, norm_eps: DECODER_EPS });
    const count = kernels.has(CODES) ? kernels.rows(CODES) : 0;
    this.codes = Array.from({ length: count }, (_, k) => kernels.row(CODES, k, shape[0]));
  }

  /** The image (C, H, W) of x0 (c, h, w), without what the encoder continued on the right and at the bottom. */
  decoded(x0) {
    const { kernels, blocks } = this, { widths, layers } = this.settings, [, height, width] = this.image;
    let h = kernels.product(kernels.framed(kernels.product(this.latents(x0), "post_quant_conv")), "decoder.conv_in");
    h = blocks.attended(blocks.resnet(h, "decoder.mid_block.resnets.0"), "decoder.mid_block.attentions.0");
    h = blocks.resnet(h, "decoder.mid_block.resnets.1");
    widths.forEach((_, up) => {
      const name = `decoder.up_blocks.${up}`, twice = { h: 2 * h.h, w: 2 * h.w };
      for (let i = 0; i <= layers; i++) h = blocks.resnet(h, `${name}.resnets.${i}`);
      if (up + 1 === widths.length) return;
      h = kernels.scoped(() => kernels.product(kernels.framed(h, twice), `${name}.upsamplers.0.conv`));
    });
    const normed = kernels.normed(h, "decoder.conv_norm_out", blocks.groups, { border: 1, activates: true });
    return kernels.planes(kernels.product(normed, "decoder.conv_out"), height, width);
  }

  /** What the decoder is given: x0 with the mean and deviation of its channels, or of vectors the nearest codes. */
  latents(x0) {
    const { kernels } = this, [, h, w] = this.shape, z = kernels.interleaved(x0, h, w), numbers = kernels.read(z);
    const mean = kernels.tensor("codec", "mean"), std = kernels.tensor("codec", "std");
    numbers.forEach((each, i) => (numbers[i] = Math.fround(each * std[i % z.c]) + mean[i % z.c]));
    if (!this.codes.length) return z;
    for (let at = 0; at < numbers.length; at += z.c) {
      let nearest = this.codes[0], least = Infinity;
      for (const code of this.codes) {
        let distance = 0;
        for (let c = 0; c < z.c; c++) distance += (code[c] - numbers[at + c]) ** 2;
        if (distance < least) [nearest, least] = [code, distance];
      }
      numbers.set(nearest, at);
    }
    return z;
  }
}
