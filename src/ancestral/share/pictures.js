/** Images as (C, H, W) bytes, of 1 to 4 channels, and as what a canvas shows. */

const SHOWN_AT_LEAST = 256; // pixels of a side of what is saved

/** RGBA, row after row.
 * @param {Uint8Array} image (C, H, W)
 * @param {number[]} shape */
export function rgba(image, [channels, height, width]) {
  const size = height * width, to = new Uint8ClampedArray(4 * size);
  const [green, blue] = channels > 2 ? [size, 2 * size] : [0, 0], alpha = channels % 2 ? -1 : (channels - 1) * size;
  for (let i = 0, at = 0; i < size; i++, at += 4) {
    to[at] = image[i];
    to[at + 1] = image[i + green];
    to[at + 2] = image[i + blue];
    to[at + 3] = alpha < 0 ? 255 : image[i + alpha];
  }
  return to;
}

/** An image from RGBA, grey by the weights of ITU-R BT.601. @param {Uint8ClampedArray} from @param {number[]} shape */
export function fromRgba(from, [channels, height, width]) {
  const size = height * width, colored = channels > 2, to = new Uint8Array(channels * size);
  for (let i = 0; i < size; i++) {
    const [r, g, b, a] = from.subarray(4 * i, 4 * i + 4);
    const overWhite = (/** @type {number} */ each) => (channels % 2 ? Math.round((each * a + 255 * (255 - a)) / 255) : each);
    const colors = colored ? [r, g, b].map(overWhite) : [overWhite(Math.round(0.299 * r + 0.587 * g + 0.114 * b))];
    [...colors, ...(channels % 2 ? [] : [a])].forEach((each, c) => (to[i + c * size] = each));
  }
  return to;
}

/** @param {HTMLCanvasElement} canvas @param {Uint8Array} image @param {number[]} shape */
export function show(canvas, image, shape) {
  const [, height, width] = shape;
  if (canvas.width !== width || canvas.height !== height) Object.assign(canvas, { width, height });
  canvas.getContext("2d")?.putImageData(new ImageData(rgba(image, shape), width, height), 0, 0);
}

/** One picture of images in rows, their pixels enlarged to be seen, with a pixel between.
 * @param {Uint8Array[]} images @param {number[]} shape */
export function gridOf(images, shape, columns = Math.ceil(Math.sqrt(images.length))) {
  const [, height, width] = shape, gap = images.length > 1 ? 1 : 0, rows = Math.ceil(images.length / columns);
  const factor = Math.max(1, Math.ceil(SHOWN_AT_LEAST / Math.max(height, width) / columns));
  const whole = [rows * (height + gap) - gap, columns * (width + gap) - gap].map((side) => side * factor);
  const pixels = new Uint8Array(4 * whole[0] * whole[1]);
  images.forEach((image, i) => {
    const from = new Uint32Array(rgba(image, shape).buffer), to = new Uint32Array(pixels.buffer);
    const top = Math.floor(i / columns) * (height + gap) * factor, left = (i % columns) * (width + gap) * factor;
    for (let y = 0; y < height * factor; y++) {
      for (let x = 0; x < width * factor; x++) {
        to[(top + y) * whole[1] + left + x] = from[Math.floor(y / factor) * width + Math.floor(x / factor)];
      }
    }
  });
  return { height: whole[0], width: whole[1], pixels };
}

/** A file's image, cut to the middle and scaled to the shape. @param {Blob} file @param {number[]} shape */
export async function opened(file, shape) {
  const [, height, width] = shape, bitmap = await createImageBitmap(file);
  const scale = Math.max(width / bitmap.width, height / bitmap.height), context = context2d(width, height);
  const [w, h] = [bitmap.width * scale, bitmap.height * scale];
  context.imageSmoothingQuality = "high";
  context.drawImage(bitmap, (width - w) / 2, (height - h) / 2, w, h);
  return fromRgba(context.getImageData(0, 0, width, height).data, shape);
}

/** @param {number} width @param {number} height */
function context2d(width, height) {
  const canvas = Object.assign(document.createElement("canvas"), { width, height });
  return /** @type {CanvasRenderingContext2D} */ (canvas.getContext("2d"));
}
