/** The image that is edited: shown, painted on where its task wants a mask, and sent to the server. */

import { png } from "../../share/apng.js";
import { Brush } from "../../share/brush.js";
import { Mask } from "../../share/mask.js";
import { opened, rgba, show } from "../../share/pictures.js";
import { upload } from "./api.js";
import { button, fail, h, on } from "./elements.js";
import { number, range } from "./fields.js";

/** @typedef {[number, number, number]} Shape */

/** An image, as it is seen here and as the file that it came in; each has a place on the server once it is asked for. */
export class Source {
  /** @type {Map<Blob | null, Promise<string>>} */
  places = new Map();

  /**
   * @param {Uint8Array} pixels (C, H, W)
   * @param {Shape} shape
   * @param {Blob | null} [file]
   */
  constructor(pixels, shape, file = null) {
    this.pixels = pixels;
    this.shape = shape;
    this.file = file;
  }

  /**
   * The id of its upload.
   * @param {boolean} asGiven as the file that it came in, not as it is seen
   */
  id(asGiven) {
    const file = asGiven ? this.file : null, known = this.places.get(file);
    if (known) return known;
    const made = (async () => (await upload(file ?? (await asFile(this.pixels, this.shape)))).id)();
    this.places.set(file, made);
    made.catch(() => this.places.delete(file));
    return made;
  }
}

/**
 * A PNG of an image, pixel by pixel.
 * @param {Uint8Array} pixels
 * @param {number[]} shape
 * @returns {Promise<Blob>}
 */
export function asFile(pixels, shape) {
  return png([{ width: shape[2], height: shape[1], pixels: new Uint8Array(rgba(pixels, shape).buffer) }]);
}

/**
 * @param {Shape} shape
 * @param {() => void} changed called when what is painted is another
 */
export function editedImage(shape, changed) {
  const [, height, width] = shape, least = Math.min(height, width);
  const canvas = h("canvas", { role: "img", "aria-label": "The image that is edited" });
  const over = h("canvas", { tabindex: 0, role: "application", "aria-describedby": "brush-keys" });
  const layers = h("div", { class: "layers" }, canvas, over);
  const size = range("Brush", Math.max(1, Math.round(least / 8)), { min: 1, max: Math.max(1, Math.round(least / 2)), step: 1, change: () => brush.show() });
  const [erase, box] = ["Erase", "Box"].map((name) => h("button", { type: "button", "aria-pressed": "false", onclick: toggle }, name));
  const corners = ["Top", "Left", "Bottom", "Right"].map((name, i) => number(name, i < 2 ? 0 : [height, width][i - 2], { min: 0, max: [height, width][i % 2], step: 1 }));
  const said = h("p", { class: "soft", role: "status" });
  const file = h("input", { type: "file", accept: "image/*", hidden: true, onchange: () => openMask(file.files?.[0]) });
  const brush = new Brush(over, {
    size: () => size.value,
    erases: () => isPressed(erase),
    boxes: () => isPressed(box),
    changed: () => {
      over.classList.remove("filled");
      said.textContent = "";
      undo.disabled = !brush.mask?.before.length;
      changed();
    },
  });
  const undo = button("Undo", () => brush.change("undo"));
  const boxed = h("fieldset", null, h("legend", null, "A box by numbers"),
    h("div", { class: "corners" }, ...corners.map((each) => each.element)),
    h("div", { class: "actions" }, button("Paint the box", () => {
      const [top, left, bottom, right] = corners.map((each) => each.value ?? 0);
      brush.box(left, top, right, bottom);
    })),
  );
  const tools = h("div", { class: "form" },
    h("p", { id: "brush-keys", class: "soft" }, "Drag, or move by the arrow keys and paint by space; with shift held, arrows paint."),
    size.element,
    h("div", { class: "actions" }, erase, box, undo, button("Invert", () => brush.change("invert")), button("Clear", () => brush.change("clear")), button("Open a mask", () => file.click()), file),
    boxed, said,
  );
  const element = h("div", { class: "form" }, layers, tools);
  show(canvas, new Uint8Array(shape[0] * height * width).fill(127), shape);
  canvas.classList.toggle("smooth", least >= 128);

  /** @param {Event} event */
  function toggle({ currentTarget: pressed }) {
    if (pressed instanceof Element) pressed.setAttribute("aria-pressed", String(!isPressed(pressed)));
  }

  /**
   * Takes up a mask: white is painted, and greys from the middle on.
   * @param {Blob | undefined} given
   */
  async function openMask(given) {
    file.value = "";
    if (!given || !brush.mask) return;
    try {
      const grey = await opened(given, [1, height, width]), mask = brush.mask;
      const between = grey.filter((each) => each > 0 && each < 255).length;
      mask.begin();
      mask.painted = grey.map((each) => Number(each >= 128));
      brush.touched();
      if (between) said.textContent = `${between} pixels of the mask are grey: those from 128 on are painted, darker ones are kept.`;
    } catch {
      fail(new Error("expected a mask that this browser reads as an image, got another file; choose a PNG"));
    }
  }

  return {
    element,
    openMask,
    /** @param {Source | null} source */
    show(source) {
      if (source) show(canvas, source.pixels, shape);
    },
    /** @param {boolean} masked whether the image is painted on */
    paints(masked) {
      over.hidden = tools.hidden = !masked;
      if (masked && !brush.mask) brush.take(new Mask(height, width));
    },
    /** What is painted, until it is painted on, hardly shows: what comes of it is to be seen. */
    recede: () => over.classList.add("filled"),
    /** @returns {Uint8Array | null} 1 where it is painted; null: nowhere */
    get painted() {
      return brush.mask && !brush.mask.isEmpty ? brush.mask.painted.slice() : null;
    },
  };
}

/** @param {Element} pressed */
function isPressed(pressed) {
  return pressed.getAttribute("aria-pressed") === "true";
}
