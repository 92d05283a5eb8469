/**
 * Pictures as PNG, several as a film (APNG): W3C's Portable Network Graphics, third edition. Pixels are compressed by
 * the browser.
 *
 * @typedef {{width: number, height: number, pixels: Uint8Array}} Picture RGBA, row after row
 */

const SIGNATURE = Uint8Array.of(137, 80, 78, 71, 13, 10, 26, 10);
const RGBA = 6;

/**
 * @param {Picture[]} pictures of one size; one is a plain PNG
 * @param {number[]} milliseconds how long each is shown
 * @returns {Promise<Blob>}
 */
export async function png(pictures, milliseconds = []) {
  const [{ width, height }] = pictures, parts = [SIGNATURE];
  parts.push(chunk("IHDR", [...big(width), ...big(height), 8, RGBA, 0, 0, 0]));
  if (pictures.length > 1) parts.push(chunk("acTL", [...big(pictures.length), ...big(0)]));
  let number = 0;
  for (const [i, picture] of pictures.entries()) {
    const data = await compressed(filtered(picture));
    if (pictures.length > 1) {
      const time = [...big(milliseconds[i], 2), ...big(1000, 2)], place = [...big(0), ...big(0)];
      parts.push(chunk("fcTL", [...big(number++), ...big(width), ...big(height), ...place, ...time, 0, 0]));
    }
    parts.push(i ? chunk("fdAT", big(number++), data) : chunk("IDAT", data));
  }
  parts.push(chunk("IEND", []));
  return new Blob(parts, { type: "image/png" });
}

/** The rows, each the difference to the one above, which of enlarged pixels is mostly 0. @param {Picture} picture */
function filtered({ width, height, pixels }) {
  const row = 4 * width, rows = new Uint8Array((row + 1) * height);
  for (let y = 0; y < height; y++) {
    rows[y * (row + 1)] = 2;
    for (let i = 0; i < row; i++) {
      const above = y ? pixels[(y - 1) * row + i] : 0;
      rows[y * (row + 1) + 1 + i] = pixels[y * row + i] - above;
    }
  }
  return rows;
}

/** @param {Uint8Array<ArrayBuffer>} bytes */
async function compressed(bytes) {
  const stream = new Blob([bytes]).stream().pipeThrough(new CompressionStream("deflate"));
  return new Uint8Array(await new Response(stream).arrayBuffer());
}

/** Length, kind, content, and a check of the last two. @param {string} kind @param {...(number[] | Uint8Array)} contents */
function chunk(kind, ...contents) {
  const length = contents.reduce((total, each) => total + each.length, 0), bytes = new Uint8Array(12 + length);
  bytes.set([...big(length), ...new TextEncoder().encode(kind)]);
  let at = 8;
  for (const each of contents) {
    bytes.set(each, at);
    at += each.length;
  }
  bytes.set(big(crc(bytes.subarray(4, at))), at);
  return bytes;
}

/** @param {Uint8Array} bytes */
function crc(bytes) {
  let rest = 0xffffffff;
  for (const byte of bytes) {
    rest ^= byte;
    for (let bit = 0; bit < 8; bit++) rest = (rest >>> 1) ^ (rest & 1 ? 0xedb88320 : 0);
  }
  return ~rest >>> 0;
}

/** The bytes of a whole number, the highest first. @param {number} number */
function big(number, bytes = 4) {
  return Array.from({ length: bytes }, (_, i) => (number >>> (8 * (bytes - 1 - i))) & 255);
}
