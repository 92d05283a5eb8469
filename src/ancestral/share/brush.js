/** A brush on a canvas that lies over an image: by mouse, pen and finger, and by keyboard. */

/** @typedef {import("./mask.js").Pixel} Pixel */
/** @typedef {import("./mask.js").Mask} Mask */

const BRUSH_SIDE = 640; // pixels of the canvas, about
const BRUSH_COLOR = [230, 60, 120, 153]; // of what is painted, RGBA
/** @type {Record<string, Pixel>} */
const MOVES = { ArrowLeft: [-1, 0], ArrowRight: [1, 0], ArrowUp: [0, -1], ArrowDown: [0, 1] };

/**
 * @typedef {object} BrushWays how it paints, asked when it does
 * @property {() => number} size the side of the square that it paints
 * @property {() => boolean} erases
 * @property {() => boolean} boxes whether a drag paints the box between where it begins and ends
 * @property {() => void} changed called when what is painted is another
 */

export class Brush {
  /** @type {Mask | null} */
  mask = null;
  /** @type {Pixel} */
  at = [0, 0]; // where the keyboard and a pointer that hovers are
  /** @type {Pixel | null} */
  from = null; // where the pointer was, while it is down

  /** @param {HTMLCanvasElement} canvas @param {BrushWays} ways */
  constructor(canvas, ways) {
    this.canvas = canvas;
    this.ways = ways;
    this.layer = document.createElement("canvas");
    for (const kind of ["pointerdown", "pointermove", "pointerup", "pointercancel"]) {
      canvas.addEventListener(kind, (event) => this.stroke(/** @type {PointerEvent} */ (event)));
    }
    canvas.addEventListener("keydown", (event) => this.key(event));
  }

  /** What is painted on from now on; null: nothing. @param {Mask | null} mask */
  take(mask) {
    this.mask = mask;
    this.from = null;
    if (!mask) return;
    const { width, height } = mask, scale = Math.max(1, Math.round(BRUSH_SIDE / Math.max(width, height)));
    this.at = [width >> 1, height >> 1];
    Object.assign(this.layer, { width, height });
    Object.assign(this.canvas, { width: width * scale, height: height * scale });
    this.show();
  }

  /** Does to the mask what a button says. @param {"undo" | "invert" | "clear"} act */
  change(act) {
    this.mask?.[act]();
    this.touched();
  }

  /** Paints a box, the last column and row not in it.
   * @param {number} left @param {number} top @param {number} right @param {number} bottom */
  box(left, top, right, bottom) {
    this.mask?.begin();
    this.mask?.box(left, top, right, bottom, this.value);
    this.touched();
  }

  /** Draws what is painted and where the brush is, and says both. */
  show() {
    const { mask, canvas, layer, at, from } = this;
    if (!mask) return;
    const { width, height, painted } = mask, context = canvas.getContext("2d"), scale = canvas.width / width;
    const color = new Uint32Array(Uint8Array.from(BRUSH_COLOR).buffer)[0];
    const pixels = new Uint32Array(painted.length);
    for (let i = 0; i < pixels.length; i++) pixels[i] = painted[i] * color;
    layer.getContext("2d")?.putImageData(new ImageData(new Uint8ClampedArray(pixels.buffer), width, height), 0, 0);
    if (!context) return;
    context.clearRect(0, 0, canvas.width, canvas.height);
    context.imageSmoothingEnabled = false;
    context.drawImage(layer, 0, 0, canvas.width, canvas.height);
    const [x, y, right, bottom] = from && this.ways.boxes() ? between(from, at) : around(at, this.ways.size());
    for (const [strokeStyle, lineWidth] of [["black", 4], ["white", 2]]) {
      Object.assign(context, { strokeStyle, lineWidth });
      context.strokeRect(x * scale, y * scale, (right - x) * scale, (bottom - y) * scale);
    }
    const said = `${mask.count} of ${width * height} pixels painted`;
    canvas.setAttribute("aria-label", `Mask: ${said}; brush at column ${at[0] + 1}, row ${at[1] + 1}`);
  }

  get value() {
    return Number(!this.ways.erases());
  }

  touched() {
    this.show();
    this.ways.changed();
  }

  /** @param {PointerEvent} event */
  stroke(event) {
    const { mask } = this;
    if (!mask) return;
    if (event.type === "pointerdown" && event.button === 0) {
      this.canvas.setPointerCapture(event.pointerId);
      this.from = this.at = this.pixelAt(event);
      if (this.ways.boxes()) return this.show();
      mask.begin();
      this.dab(this.at);
    } else if (event.type === "pointermove" && this.from && !this.ways.boxes()) {
      const several = event.getCoalescedEvents?.() ?? [];
      for (const each of several.length ? several : [event]) this.dab(this.pixelAt(each));
    } else if (event.type === "pointermove") {
      this.at = this.pixelAt(event);
      return this.show();
    } else {
      const [from, kind] = [this.from, event.type];
      this.from = null;
      if (from && kind === "pointerup" && this.ways.boxes()) this.box(...between(from, this.pixelAt(event)));
      return;
    }
    this.touched();
  }

  /** Paints from where the pointer was. @param {Pixel} to */
  dab(to) {
    this.mask?.line(this.from ?? to, to, this.ways.size(), this.value);
    this.at = to;
    if (this.from) this.from = to;
  }

  /** Arrows move, space paints, and arrows with shift held paint too. @param {KeyboardEvent} event */
  key(event) {
    const move = MOVES[event.key], { at, mask } = this;
    if (!mask || (!move && event.key !== " ")) return;
    event.preventDefault();
    const [x, y] = move ?? [0, 0], to = /** @type {Pixel} */ ([within(at[0] + x, mask.width), within(at[1] + y, mask.height)]);
    this.at = to;
    if (move && !event.shiftKey) return this.show();
    mask.begin();
    mask.line(move ? at : to, to, this.ways.size(), this.value);
    this.touched();
  }

  /** @param {PointerEvent} event @returns {Pixel} */
  pixelAt(event) {
    const box = this.canvas.getBoundingClientRect(), { width, height } = this.mask ?? { width: 1, height: 1 };
    const x = Math.floor(((event.clientX - box.left) / box.width) * width);
    return [within(x, width), within(Math.floor(((event.clientY - box.top) / box.height) * height), height)];
  }
}

/** @param {number} x @param {number} count */
function within(x, count) {
  return Math.min(Math.max(x, 0), count - 1);
}

/** Left, top, right and bottom of the square that a brush paints at a pixel, the last two not in it.
 * @param {Pixel} pixel @param {number} size @returns {[number, number, number, number]} */
function around([x, y], size) {
  const back = (size - 1) >> 1;
  return [x - back, y - back, x - back + size, y - back + size];
}

/** The same, of the box whose corners are two pixels. @param {Pixel} one @param {Pixel} other
 * @returns {[number, number, number, number]} */
function between([x, y], [u, v]) {
  return [Math.min(x, u), Math.min(y, v), Math.max(x, u) + 1, Math.max(y, v) + 1];
}
