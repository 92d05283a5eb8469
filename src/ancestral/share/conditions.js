/** What a network is told of an image beside its time: a class, attributes, a text. */

import { pooledText, textStates } from "./text.js";

/**
 * Vectors that are added to that of time, one after another, and the states of the text that are seen, (tokens, width)
 * one after another; null: there is no text. Plain arrays, which serve all calls.
 *
 * @typedef {{vectors: Float32Array[], states: Float32Array | null}} Told
 */

export class Conditions {
  /** @param {Kernels} kernels @param {object} about of the file */
  constructor(kernels, about) {
    this.kernels = kernels;
    this.about = about;
  }

  /** @returns {Told} of what is asked for; null or undefined: not told. RangeError: there is no such thing */
  read({ label = null, attributes = null, tokens = null }) {
    const { kernels, about } = this, vectors = [], keep = (map) => vectors.push(kernels.read(map).slice());
    const [row, numbers, words] = [this.labelled(label), this.attributed(attributes), this.worded(tokens)];
    kernels.clear();
    if (row !== null) vectors.push(kernels.row("class_embedding", row, this.width));
    if (numbers) keep(this.embedded(numbers));
    if (!words) return { vectors, states: null };
    const states = textStates(kernels, about.text, words);
    if (about.text.pooled) keep(pooledText(kernels, states));
    return { vectors, states: kernels.read(states).slice() };
  }

  /** Features of the embedding of time. */
  get width() {
    return this.kernels.tensor("time_embedding.linear_2", "bias").length;
  }

  /** The row of a class, or of none; null: the network knows no classes. */
  labelled(label) {
    const { num_classes: classes, null_class: knowsNull } = this.about;
    if (!classes && label === null) return null;
    const row = label ?? (knowsNull ? classes : NaN), rows = classes && classes + knowsNull;
    if (Number.isInteger(row) && row >= 0 && row < rows) return row;
    throw new RangeError(`expected ${classes ? `a label in 0..${classes - 1}` : "no label"}, got ${label}`);
  }

  /** The attributes; null: the network knows none. */
  attributed(attributes) {
    const { num_attributes: count } = this.about, numbers = attributes ?? Array(count).fill(NaN);
    if (numbers.length === count) return count ? [...numbers] : null;
    throw new RangeError(`expected ${count || "no"} attributes, got ${numbers.length}`);
  }

  /** The tokens, of no text those of the empty one; null: the network reads none. */
  worded(tokens) {
    const { vocab_size: vocabulary = 0, length = 0 } = this.about.text ?? {};
    const words = tokens ?? Array.from({ length }, (_, i) => vocabulary - (i ? 1 : 2));
    if (words.length !== length) throw new RangeError(`expected ${length || "no"} tokens, got ${words.length}`);
    const wrong = [...words].find((each) => !(Number.isInteger(each) && each >= 0 && each < vocabulary));
    if (wrong !== undefined) throw new RangeError(`expected tokens in 0..${vocabulary - 1}, got ${wrong}`);
    return length ? [...words] : null;
  }

  /** A vector of attributes, each 0 where it is not told, and of whether each is. */
  embedded(attributes) {
    const { kernels } = this, name = "attribute_embedding";
    const known = [...attributes.map((each) => each || 0), ...attributes.map((each) => +!Number.isNaN(each))];
    const hidden = kernels.activated(kernels.product(kernels.filled(1, 1, known), `${name}.linear_1`));
    return kernels.product(hidden, `${name}.linear_2`);
  }
}
