/** Which pixels of an image are painted, and what they were before, so that strokes can be taken back. */

/** @typedef {[number, number]} Pixel its column and row */

const MOST_UNDONE = 50; // strokes that are remembered

export class Mask {
  /** @param {number} height @param {number} width */
  constructor(height, width) {
    this.height = height;
    this.width = width;
    /** @type {Uint8Array} */
    this.painted = new Uint8Array(height * width);
    /** @type {Uint8Array[]} */
    this.before = [];
  }

  /** How many pixels are painted. */
  get count() {
    return this.painted.reduce((a, b) => a + b, 0);
  }

  get isEmpty() {
    return !this.painted.includes(1);
  }

  /** What follows is one stroke, which `undo` takes back whole. */
  begin() {
    this.before.push(this.painted.slice());
    if (this.before.length > MOST_UNDONE) this.before.shift();
  }

  undo() {
    this.painted = this.before.pop() ?? this.painted;
  }

  /** A box, the last column and row not in it, and what of it is outside left out; value 1 paints and 0 erases.
   * @param {number} left @param {number} top @param {number} right @param {number} bottom @param {number} value */
  box(left, top, right, bottom, value) {
    const from = Math.max(left, 0), to = Math.min(right, this.width);
    for (let row = Math.max(top, 0); from < to && row < Math.min(bottom, this.height); row++) {
      this.painted.fill(value, row * this.width + from, row * this.width + to);
    }
  }

  /** A square of side `size` with (x, y) in its middle, or above and left of it.
   * @param {number} x @param {number} y @param {number} size @param {number} value */
  dab(x, y, size, value) {
    const left = x - ((size - 1) >> 1), top = y - ((size - 1) >> 1);
    this.box(left, top, left + size, top + size, value);
  }

  /** Dabs at every pixel on the way from one to another.
   * @param {Pixel} from @param {Pixel} to @param {number} size @param {number} value */
  line([x0, y0], [x1, y1], size, value) {
    const steps = Math.max(Math.abs(x1 - x0), Math.abs(y1 - y0), 1);
    for (let i = 0; i <= steps; i++) {
      this.dab(Math.round(x0 + ((x1 - x0) * i) / steps), Math.round(y0 + ((y1 - y0) * i) / steps), size, value);
    }
  }

  invert() {
    this.begin();
    this.painted = this.painted.map((each) => 1 - each);
  }

  clear() {
    this.begin();
    this.painted.fill(0);
  }

  /** 1 where an image of so many channels is kept, (C, H, W). @param {number} channels */
  kept(channels) {
    const plane = this.painted.map((each) => 1 - each), keep = new Uint8Array(channels * plane.length);
    for (let c = 0; c < channels; c++) keep.set(plane, c * plane.length);
    return keep;
  }
}
