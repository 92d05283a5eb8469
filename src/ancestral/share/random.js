/**
 * The normal numbers of an image's seed: those that `ancestral.rng.ImageNoise` draws by torch on a CPU.
 *
 * The seed and the stream are mixed by BLAKE2b (RFC 7693), the last 32 bits of which seed torch's generator, the
 * Mersenne Twister (Matsumoto and Nishimura 1998). From 16 numbers on, each has one draw of 24 bits, u in [0, 1), and
 * in every block of 16 the first eight and the last make pairs (Box and Muller 1958)
 *
 *     r = sqrt(-2 log(1 - u_i)),  theta = 2 pi u_(i + 8):    z_i = r cos theta,  z_(i + 8) = r sin theta
 *
 * where the count is no multiple of 16, the last 16 numbers are drawn anew. Fewer than 16 are made in pairs from draws
 * of 53 bits, the first of which gives theta, and what is left of a pair begins the next call.
 */

export class ImageNoise {
  /**
   * @param {bigint | number | string} seed a whole number; beyond 2^53 no `number`
   * @param {number} count numbers of an image
   */
  constructor(seed, count, stream = "sample") {
    this.twister = new Twister(Number(mix(`${seed}/${stream}`) & 0xffffffffn));
    this.count = count;
    this.left = [];
  }

  /** The next draw, float32: x_T first, then the noise of the steps. */
  next() {
    return this.count < 16 ? this.few() : this.many();
  }

  many() {
    const u = () => Math.fround((this.twister.next() & 0xffffff) / 2 ** 24);
    const draw = (length) => Float32Array.from({ length }, u);
    const z = draw(this.count), whole = this.count & ~15;
    for (let first = 0; first < whole; first += 16) paired(z.subarray(first, first + 16));
    if (whole < this.count) {
      const last = draw(16);
      paired(last);
      z.set(last, this.count - 16);
    }
    return z;
  }

  few() {
    const u = () => ((this.twister.next() & 0x1fffff) * 2 ** 32 + this.twister.next()) / 2 ** 53;
    while (this.left.length < this.count) {
      const theta = 2 * Math.PI * u(), radius = Math.sqrt(-2 * Math.log1p(-u()));
      this.left.push(radius * Math.cos(theta), radius * Math.sin(theta));
    }
    return Float32Array.from(this.left.splice(0, this.count));
  }
}

/** Turns 16 uniform numbers into normal ones; angles are rounded as torch's are, which shows in the result. */
function paired(u) {
  for (let i = 0; i < 8; i++) {
    const radius = Math.sqrt(-2 * Math.log(1 - u[i])), theta = Math.fround(Math.fround(2 * Math.PI) * u[i + 8]);
    u[i] = radius * Math.cos(theta);
    u[i + 8] = radius * Math.sin(theta);
  }
}

class Twister {
  constructor(seed) {
    this.state = new Uint32Array(624);
    this.state[0] = seed;
    for (let i = 1; i < 624; i++) {
      const before = this.state[i - 1] ^ (this.state[i - 1] >>> 30);
      this.state[i] = Math.imul(1812433253, before) + i;
    }
    this.at = 624;
  }

  /** 32 random bits, a whole number from 0. */
  next() {
    if (this.at === 624) this.twist();
    let y = this.state[this.at++];
    y ^= y >>> 11;
    y ^= (y << 7) & 0x9d2c5680;
    y ^= (y << 15) & 0xefc60000;
    return (y ^ (y >>> 18)) >>> 0;
  }

  twist() {
    for (let i = 0; i < 624; i++) {
      const y = (this.state[i] & 0x80000000) | (this.state[(i + 1) % 624] & 0x7fffffff);
      this.state[i] = this.state[(i + 397) % 624] ^ (y >>> 1) ^ (y & 1 ? 0x9908b0df : 0);
    }
    this.at = 0;
  }
}

const WORD = 2n ** 64n - 1n;
const START = [
  0x6a09e667f3bcc908n, 0xbb67ae8584caa73bn, 0x3c6ef372fe94f82bn, 0xa54ff53a5f1d36f1n,
  0x510e527fade682d1n, 0x9b05688c2b3e6c1fn, 0x1f83d9abfb41bd6bn, 0x5be0cd19137e2179n,
];
const ORDERS = [
  "0123456789abcdef", "ea489fd61c02b753", "b8c052fdae367194", "7931dcbe265a40f8", "905724afe1bc683d",
  "2c6a0b834d75fe19", "c51fed4a0763928b", "db7ec13950f4862a", "6fe9b308c2d714a5", "a2847615fb9e3cd0",
];

/** 63 bits, as `ancestral.rng.mix` makes them: BLAKE2b of 8 bytes, of a text of at most 128. */
export function mix(text) {
  const bytes = new TextEncoder().encode(text), block = new DataView(new ArrayBuffer(128));
  if (bytes.length > 128) throw new RangeError(`expected at most 128 bytes to mix, got ${bytes.length}`);
  bytes.forEach((byte, i) => block.setUint8(i, byte));
  const words = Array.from({ length: 16 }, (_, i) => block.getBigUint64(8 * i, true));
  const first = START[0] ^ 0x01010008n, v = [first, ...START.slice(1), ...START];
  v[12] ^= BigInt(bytes.length);
  v[14] ^= WORD;
  const turned = (x, by) => ((x >> by) | (x << (64n - by))) & WORD;
  for (let round = 0; round < 12; round++) {
    const order = [...ORDERS[round % 10]].map((digit) => parseInt(digit, 16));
    for (let i = 0; i < 8; i++) {
      const [a, b, c, d] = [0, 1, 2, 3].map((row) => 4 * row + ((i + (i < 4 ? 0 : row)) & 3));
      for (const [half, [far, near]] of [[32n, 24n], [16n, 63n]].entries()) {
        v[a] = (v[a] + v[b] + words[order[2 * i + half]]) & WORD;
        v[d] = turned(v[d] ^ v[a], far);
        v[c] = (v[c] + v[d]) & WORD;
        v[b] = turned(v[b] ^ v[c], near);
      }
    }
  }
  block.setBigUint64(0, first ^ v[0] ^ v[8], true);
  return block.getBigUint64(0) >> 1n;
}
