/** Two films of the same seeds as one: either, a wipe from one to the other, their difference, or both beside each other. */

/** @typedef {import("./film.js").Film} Film */
/** @typedef {"a" | "b" | "wipe" | "difference"} Mode */

const BETWEEN = 128; // grey of what is between two images

/**
 * @param {Film} a
 * @param {Film} b
 * @param {() => Mode} mode
 * @param {() => number} share of each image that is the first's
 * @returns {Film}
 */
export function comparison(a, b, mode, share) {
  const inOther = (/** @type {number} */ position) =>
    Math.round((position / Math.max(1, a.length - 1)) * Math.max(0, b.length - 1));
  return {
    shape: a.shape,
    images: Math.min(a.images, b.images),
    get length() {
      return a.length;
    },
    image(position, which, image) {
      const one = a.image(position, which, image), other = b.image(inOther(position), which, image), chosen = mode();
      if (chosen === "a" || !other) return one;
      if (chosen === "b" || !one) return other;
      return chosen === "wipe" ? wiped(one, other, a.shape, share()) : one.map((each, i) => Math.abs(each - other[i]));
    },
    moment: (position) => (mode() === "b" ? b.moment(inOther(position)) : a.moment(position)),
    name: (image) => a.name(image),
  };
}

/**
 * @param {Uint8Array} one
 * @param {Uint8Array} other
 * @param {number[]} shape
 * @param {number} share
 */
function wiped(one, other, [, , width], share) {
  const mixed = other.slice(), edge = Math.round(share * width);
  for (let row = 0; row < mixed.length; row += width) mixed.set(one.subarray(row, row + edge), row);
  return mixed;
}

/**
 * Each image twice, as it is in one film and beside it in the other; both have as many positions.
 *
 * @param {Film} a
 * @param {Film} b
 * @returns {Film}
 */
export function beside(a, b) {
  const [channels, height, width] = a.shape, wide = 2 * width + 1;
  return {
    shape: [channels, height, wide],
    images: Math.min(a.images, b.images),
    get length() {
      return a.length;
    },
    image(position, which, image) {
      const both = new Uint8Array(channels * height * wide).fill(BETWEEN);
      for (const [film, left] of /** @type {[Film, number][]} */ ([[a, 0], [b, width + 1]])) {
        const pixels = position < film.length ? film.image(position, which, image) : null;
        for (let row = 0; pixels && row < channels * height; row++) both.set(pixels.subarray(row * width, (row + 1) * width), row * wide + left);
      }
      return both;
    },
    moment: (position) => a.moment(position),
    name: (image) => a.name(image),
  };
}

/**
 * How far the last images of two films are apart, in words.
 * @param {Film} a
 * @param {Film} b
 */
export function apart(a, b) {
  let most = 0, sum = 0, count = 0;
  for (let i = 0; i < Math.min(a.images, b.images); i++) {
    const one = a.image(a.length - 1, "x_0", i), other = b.image(b.length - 1, "x_0", i);
    if (!one || !other) continue;
    for (let k = 0; k < one.length; k++) {
      const by = Math.abs(one[k] - other[k]);
      most = Math.max(most, by);
      sum += by;
    }
    count += one.length;
  }
  if (!count) return "";
  return most ? `They differ by up to ${most} of 255 levels, ${(sum / count).toFixed(2)} on average.` : "They are equal, pixel for pixel.";
}
