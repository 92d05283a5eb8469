/** The U-Net. A part that it does without, a shortcut or an attention, is one whose tensors are not there. */

import { Blocks } from "./blocks.js";

export class UNet {
  /** @param {Kernels} kernels @param {object} settings @param {number[]} shape [C, H, W] of an image */
  constructor(kernels, settings, shape) {
    this.kernels = kernels;
    this.settings = settings;
    this.shape = shape;
    this.blocks = new Blocks(kernels, settings);
    this.resamples = settings.resampling === "resnet";
  }

  /** The output (channels, H, W) for x (C, H, W). `embedding`: of time and what is told, through SiLU. */
  call(x, embedding, text) {
    const { kernels, blocks } = this, { widths, layers, middle_layers: pairs } = this.settings;
    const block = (h, level, i) =>
      blocks.attended(blocks.resnet(h, `${level}.resnets.${i}`, embedding), `${level}.attentions.${i}`, text);
    let h = kernels.product(kernels.framed(this.seen(x)), "conv_in");
    const skips = [h];
    widths.forEach((_, level) => {
      if (level) skips.push((h = this.halved(h, `down_blocks.${level - 1}.downsamplers.0`, embedding)));
      for (let i = 0; i < layers; i++) skips.push((h = block(h, `down_blocks.${level}`, i)));
    });
    h = blocks.resnet(h, "mid_block.resnets.0", embedding);
    for (let i = 0; i < pairs; i++) {
      h = blocks.attended(h, `mid_block.attentions.${i}`, text);
      h = blocks.resnet(h, `mid_block.resnets.${i + 1}`, embedding);
    }
    widths.forEach((_, up) => {
      if (up) h = this.enlarged(h, `up_blocks.${up - 1}.upsamplers.0`, embedding, skips.at(-1));
      for (let i = 0; i <= layers; i++) h = block(kernels.joined(h, skips.pop()), `up_blocks.${up}`, i);
    });
    const normed = kernels.normed(h, "conv_norm_out", blocks.groups, { border: 1, activates: true });
    h = kernels.product(normed, "conv_out");
    return kernels.planes(kernels.has("mixer") ? kernels.product(h, "mixer") : h);
  }

  /** At half the resolution, by a convolution or a ResNet block. */
  halved(x, name, embedding) {
    const { kernels, blocks } = this, even = this.settings.downsample_padding === "even";
    if (this.resamples) return blocks.resnet(x, name, embedding, (map, border) => kernels.halved(map, border));
    const [below, right] = [x.h, x.w].map((side) => (even ? 1 : Math.max(1, 3 - side)));
    const convolved = () => kernels.product(kernels.framed(x, x, +even, below, right), `${name}.conv`, { stride: 2 });
    return kernels.scoped(convolved);
  }

  /** At the resolution of another map, in the same ways. */
  enlarged(x, name, embedding, like) {
    const { kernels, blocks } = this, framed = (map, border) => kernels.framed(map, like, border, border, border);
    if (this.resamples) return blocks.resnet(x, name, embedding, framed);
    return kernels.scoped(() => kernels.product(framed(x, 1), `${name}.conv`));
  }

  /** The image and its Fourier features, angles in float32 as torch's are. */
  seen(x) {
    const [, h, w] = this.shape, { fourier } = this.settings;
    const planes = new Float32Array(x.length * (1 + 2 * fourier.length));
    planes.set(x);
    fourier.forEach((n, i) => {
      const factor = Math.fround(2 ** n * Math.PI), angles = x.map((each) => factor * each);
      planes.set(angles.map(Math.sin), x.length * (1 + 2 * i));
      planes.set(angles.map(Math.cos), x.length * (2 + 2 * i));
    });
    return this.kernels.interleaved(planes, h, w);
  }
}
