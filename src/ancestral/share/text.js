/** What is made of a text: the states of its tokens, and one vector of the whole. */

import { LAYER_EPS } from "./blocks.js";

const QUICK_SLOPE = 1.702; // of the quick approximation of gelu
const POOL_HEADS = 4;

/**
 * The states of those tokens that an image sees, a map of one row.
 *
 * @param {Kernels} kernels @param {object} shape vocab_size, length, width, heads, layers, masked, pooled
 * @param {ArrayLike<number>} tokens the last two of the vocabulary are start and end, and the end fills up a row
 */
export function textStates(kernels, { vocab_size: vocabulary, length, width, heads, layers, masked }, tokens) {
  const model = "text_encoder.text_model", embedding = `${model}.embeddings`;
  let x = kernels.map(1, length, width);
  [...tokens].forEach((token, place) => {
    const there = kernels.row(`${embedding}.position_embedding`, place, width);
    const state = kernels.row(`${embedding}.token_embedding`, token, width).map((each, c) => each + there[c]);
    kernels.read(x).set(state, place * width);
  });
  for (let i = 0; i < layers; i++) x = textLayer(kernels, x, `${model}.encoder.layers.${i}`, heads);
  const states = kernels.layerNormed(x, `${model}.final_layer_norm`, LAYER_EPS);
  return masked ? { ...states, w: tokens.indexOf(vocabulary - 1) + 1 || length } : states;
}

function textLayer(kernels, x, name, heads) {
  return kernels.scoped(() => {
    const normed = kernels.layerNormed(x, `${name}.layer_norm1`, LAYER_EPS);
    const seen = kernels.attended(normed, heads, (letter) => `${name}.self_attn.${letter}_proj`, { causal: true });
    const h = kernels.product(seen, `${name}.self_attn.out_proj`, { added: x });
    const wide = kernels.product(kernels.layerNormed(h, `${name}.layer_norm2`, LAYER_EPS), `${name}.mlp.fc1`);
    return kernels.product(kernels.activated(wide, QUICK_SLOPE), `${name}.mlp.fc2`, { added: h });
  });
}

/** One vector of all states: attention from their mean, in the text's own place, to the mean and to them. */
export function pooledText(kernels, states) {
  const name = "add_embedding", x = kernels.layerNormed(states, `${name}.norm1`, LAYER_EPS), { w: count, c: width } = x;
  const place = kernels.tensor(`${name}.pool`, "positional_embedding").filter((_, i) => i % 8 === 0); // of 8 outputs
  const read = kernels.read(x), mean = place.map((each, c) => {
    let sum = 0;
    for (let i = 0; i < count; i++) sum += read[i * width + c];
    return sum / count + each;
  });
  const tokens = kernels.map(1, count + 1, width);
  kernels.read(tokens).set(mean);
  kernels.read(tokens).set(kernels.read(x), width);
  const whole = { ...tokens, w: 1 };
  const y = kernels.attended(whole, POOL_HEADS, (letter) => `${name}.pool.${letter}_proj`, { of: tokens });
  return kernels.layerNormed(kernels.product(y, `${name}.proj`), `${name}.norm2`, LAYER_EPS);
}
