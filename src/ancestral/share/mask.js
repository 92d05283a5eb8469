/** Which pixels of an image are painted, and what they were before, so that strokes can be taken back. */

const MOST_UNDONE = 50; // strokes that are remembered

export class Mask {
  constructor(height, width) {
    this.height = height;
    this.width = width;
    this.painted = new Uint8Array(height * width);
    this.before = [];
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

  /** A square of side `size` with (x, y) in its middle, or above and left of it; value 1 paints and 0 erases. */
  dab(x, y, size, value) {
    const back = (size - 1) >> 1;
    for (let row = Math.max(y - back, 0); row < Math.min(y - back + size, this.height); row++) {
      const from = Math.max(x - back, 0), to = Math.min(x - back + size, this.width);
      if (from < to) this.painted.fill(value, row * this.width + from, row * this.width + to);
    }
  }

  /** Dabs at every pixel on the way from one to another. */
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

  /** 1 where an image of so many channels is kept, (C, H, W). */
  kept(channels) {
    const plane = this.painted.map((each) => 1 - each), keep = new Uint8Array(channels * plane.length);
    for (let c = 0; c < channels; c++) keep.set(plane, c * plane.length);
    return keep;
  }
}
