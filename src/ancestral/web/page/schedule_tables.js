/**
 * Noise schedules as tables, float64, by the formulas of ancestral.diffusion.schedules: alpha_bar[0] = 1 and falls.
 *
 * @typedef {Float64Array} Table alpha_bar at t = 0..T
 * @typedef {{name: string, num_timesteps: number, zero_terminal_snr?: boolean, [option: string]: any}} Schedule
 *   the settings diffusion.schedule of a run
 * @typedef {[u: number, logSnr: number]} Point of a curve of log-SNR; u = 0 is t = 1, u = 1 is t = T
 */

const MAX_BETA = 0.999;

/** Names, their options with what these are unless told otherwise, and whether their SNR can be made to end at 0. */
export const NAMED = /** @type {Record<string, {options: Record<string, number>, rescales: boolean}>} */ ({
  cosine: { options: {}, rescales: true },
  linear: { options: { beta_start: 1e-4, beta_end: 0.02 }, rescales: true },
  "scaled-linear": { options: { beta_start: 8.5e-4, beta_end: 0.012 }, rescales: true },
  sigmoid: { options: {}, rescales: true },
  "log-snr": { options: { log_snr_max: 13.3, log_snr_min: -5 }, rescales: true },
  rectified: { options: { shift: 1 }, rescales: false },
});

const FORMULAS = /** @type {Record<string, (T: number, given: Schedule) => Table>} */ ({
  linear: (T, { beta_start: first, beta_end: last }) =>
    fromBetas(evenly(first, last, T).map((beta) => capped((beta * 1000) / T))),
  "scaled-linear": (T, { beta_start: first, beta_end: last }) =>
    fromBetas(evenly(first ** 0.5, last ** 0.5, T).map((root) => capped((root ** 2 * 1000) / T))),
  cosine: (T) => fromCurve(T, (u) => Math.cos((((u + 0.008) / 1.008) * Math.PI) / 2) ** 2),
  sigmoid: (T) => fromCurve(T, (u) => sigmoid(-between(-3, 3, u)) - sigmoid(-3)),
  "log-snr": (T, { log_snr_max: most, log_snr_min: least }) => fromLogSnr(evenly(most, least, T)),
  rectified: (T, { shift }) =>
    Float64Array.from({ length: T + 1 }, (_, t) => {
      const signal = (T - t) ** 2;
      return signal / (signal + (shift * t) ** 2);
    }),
  betas: (_, { betas }) => fromBetas(betas),
});

/**
 * The table of settings. Raises RangeError where it does not fall.
 *
 * @param {Schedule} given
 * @returns {Table}
 */
export function tableOf(given) {
  const formula = FORMULAS[given.name];
  if (!formula)
    throw new RangeError(`expected a schedule out of ${Object.keys(FORMULAS).join(", ")}, got ${given.name}`);
  const table = formula(given.num_timesteps, { ...NAMED[given.name]?.options, ...given });
  return checked(given.zero_terminal_snr ? withoutEndSignal(table) : table);
}

/**
 * @param {ArrayLike<number>} levels log-SNR at t = 1..T
 * @returns {Table}
 */
export function fromLogSnr(levels) {
  const table = new Float64Array(levels.length + 1).fill(1);
  table.set(Float64Array.from(levels, sigmoid), 1);
  return table;
}

/**
 * The variance of each step t - 1 -> t, t = 1..T.
 * @param {Table} table
 */
export function betasOf(table) {
  return Float64Array.from({ length: table.length - 1 }, (_, i) => 1 - table[i + 1] / table[i]);
}

/**
 * Of the variance of q(x_t | x_s), and of that of q(x_s | x_t, x_0).
 *
 * @param {Table} table
 * @param {number} t
 * @param {number} s
 */
export function stepOf(table, t, s) {
  const beta = 1 - table[t] / table[s],
    rest = (1 - table[s]) / (1 - table[t]);
  return {
    beta,
    betaTilde: rest * beta,
    fromX0: (Math.sqrt(table[s]) * beta) / (1 - table[t]),
    fromXt: Math.sqrt(table[t] / table[s]) * rest,
  };
}

/**
 * alpha, sigma and log-SNR.
 *
 * @param {Table} table
 * @param {number} t
 */
export function levelOf(table, t) {
  return { alpha: Math.sqrt(table[t]), sigma: Math.sqrt(1 - table[t]), logSnr: logit(table[t]) };
}

/** @param {number} alphaBar */
export function logit(alphaBar) {
  return Math.log(alphaBar / (1 - alphaBar));
}

/**
 * Log-SNR at t = 1..T.
 * @param {Table} table
 */
export function logSnrOf(table) {
  return Array.from(table.subarray(1), logit);
}

/**
 * Settings of a schedule that is only its table.
 *
 * @param {Table} table
 * @returns {Schedule}
 */
export function asBetas(table) {
  return { name: "betas", num_timesteps: table.length - 1, betas: [...betasOf(table)] };
}

/**
 * Log-SNR at t = 1..T on the curve through points, which falls between them without bending back (Fritsch and Carlson
 * 1980).
 *
 * @param {Point[]} points from u = 0 to u = 1, falling
 * @param {number} T
 */
export function alongPoints(points, T) {
  const slopes = points.slice(1).map(([u, y], i) => (y - points[i][1]) / (u - points[i][0]));
  const tangents = points.map((_, i) => {
    if (i === 0 || i === slopes.length) return slopes[Math.min(i, slopes.length - 1)];
    const [before, after] = [slopes[i - 1], slopes[i]];
    const [a, b] = [points[i][0] - points[i - 1][0], points[i + 1][0] - points[i][0]];
    return before * after <= 0 ? 0 : (3 * (a + b)) / ((2 * b + a) / before + (b + 2 * a) / after);
  });
  let piece = 0;
  return Float64Array.from({ length: T }, (_, i) => {
    const u = T === 1 ? 0 : i / (T - 1);
    while (piece < slopes.length - 1 && u > points[piece + 1][0]) piece++;
    const [[from, y0], [to, y1]] = [points[piece], points[piece + 1]],
      width = to - from,
      x = (u - from) / width;
    const rises = width * (tangents[piece] * (x - 2 * x ** 2 + x ** 3) + tangents[piece + 1] * (x ** 3 - x ** 2));
    return y0 * (1 - 3 * x ** 2 + 2 * x ** 3) + y1 * (3 * x ** 2 - 2 * x ** 3) + rises;
  });
}

/**
 * Points of a table's curve, closer where it is steepest: at its ends.
 *
 * @param {Table} table
 * @param {number} count
 * @param {[number, number]} range that they are kept in, each below the last
 * @returns {Point[]}
 */
export function pointsOf(table, count, [low, high]) {
  const levels = logSnrOf(table),
    last = levels.length - 1;
  return Array.from({ length: count }, (_, i) => {
    const place = Math.round(last * 0.5 * (1 - Math.cos((Math.PI * i) / (count - 1)))),
      spare = 0.02;
    return [place / last, Math.min(high - spare * i, Math.max(low + spare * (count - 1 - i), levels[place]))];
  });
}

/** Where the steps of a sampler fall, from T down to 0, by the names of grids. */
export const GRIDS = /** @type {Record<string, (table: Table, steps: number) => number[]>} */ ({
  trailing: (table, steps) => evenly(table.length - 1, 0, steps + 1).map(rounded),
  "log-snr": (table, steps) => {
    const [first, last] = finiteEnds(table);
    return falling(
      table,
      evenly(0, 1, steps).map((u) => nearest(table, between(first, last, u))),
    );
  },
  middle: (table, steps) => {
    const [first, last] = finiteEnds(table),
      T = table.length - 1;
    const start = Math.max(first, -2 * Math.log(80)),
      end = Math.min(last, -2 * Math.log(0.03));
    const before = start > first && steps > 1 ? [T] : [];
    const inner = evenly(0, 1, steps - before.length).map((u) => nearest(table, between(start, end, u)));
    return falling(table, [...before, ...inner]);
  },
  karras: (table, steps) => {
    const power = 7,
      [first, last] = finiteEnds(table).map((each) => Math.exp((-0.5 * each) / power));
    return falling(
      table,
      evenly(0, 1, steps).map((u) => nearest(table, -2 * power * Math.log(between(first, last, u)))),
    );
  },
  quadratic: (table, steps) => {
    const T = table.length - 1;
    return falling(
      table,
      Array.from({ length: steps }, (_, i) => rounded(T * (1 - i / steps) ** 2)),
    );
  },
});

/**
 * Log-SNR at T, or at T - 1 where no signal is left, and at 1.
 * @param {Table} table
 */
function finiteEnds(table) {
  const T = table.length - 1;
  return [logit(table[T] || table[Math.max(1, T - 1)]), logit(table[1])];
}

/**
 * The timestep whose log-SNR is nearest.
 *
 * @param {Table} table
 * @param {number} level
 */
function nearest(table, level) {
  const T = table.length - 1,
    at = (/** @type {number} */ t) => (t === T ? finiteEnds(table)[0] : logit(table[t]));
  let low = 1,
    high = T; // the border between t and t + 1 lies halfway
  while (low < high) {
    const middle = (low + high) >> 1;
    if (level > 0.5 * (at(middle) + at(middle + 1))) high = middle;
    else low = middle + 1;
  }
  return low;
}

/**
 * A grid from T to 0, its neighbours at least one timestep apart.
 *
 * @param {Table} table
 * @param {number[]} wanted
 */
function falling(table, wanted) {
  let least = Infinity;
  const found = wanted.map((each, i) => Math.max((least = Math.min(least, each + i)) - i, wanted.length - i));
  found[0] = table.length - 1;
  return [...found, 0];
}

/**
 * @param {ArrayLike<number>} betas
 * @returns {Table}
 */
function fromBetas(betas) {
  const table = new Float64Array(betas.length + 1);
  table[0] = 1;
  for (let i = 0; i < betas.length; i++) table[i + 1] = table[i] * (1 - betas[i]);
  return table;
}

/**
 * @param {number} T
 * @param {(u: number) => number} curve
 */
function fromCurve(T, curve) {
  const values = evenly(0, 1, T + 1).map(curve);
  return fromBetas(values.slice(1).map((value, i) => capped(1 - value / values[i])));
}

/**
 * With alpha shifted and scaled so that nothing is left at T (Lin et al. 2023).
 *
 * @param {Table} table
 * @returns {Table}
 */
function withoutEndSignal(table) {
  const roots = table.map(Math.sqrt),
    [first, last] = [roots[1], roots[roots.length - 1]];
  return roots.map((alpha, t) => (t ? (((alpha - last) * first) / (first - last)) ** 2 : 1));
}

/** @param {Table} table */
function checked(table) {
  const T = table.length - 1;
  for (let t = 1; t <= T; t++) {
    if (!(table[t] < table[t - 1] && table[t] >= 0))
      throw new RangeError(`expected less signal at t = ${t} than before; lower T, or bring the ends closer`);
  }
  return table;
}

/** @param {number} beta */
function capped(beta) {
  return Math.min(beta, MAX_BETA);
}

/** @param {number} x */
function sigmoid(x) {
  return 1 / (1 + Math.exp(-x));
}

/**
 * From both ends, as torch does: the last number is exact too.
 *
 * @param {number} first
 * @param {number} last
 * @param {number} count
 */
function evenly(first, last, count) {
  const step = (last - first) / (count - 1);
  return Array.from({ length: count }, (_, i) =>
    2 * i < count ? first + (i ? step * i : 0) : last - step * (count - 1 - i),
  );
}

/**
 * @param {number} a
 * @param {number} b
 * @param {number} u
 */
function between(a, b, u) {
  return u < 0.5 ? a + u * (b - a) : b - (b - a) * (1 - u);
}

/**
 * To the nearest whole number, halves to an even one.
 * @param {number} value
 */
function rounded(value) {
  const near = Math.round(value);
  return near - value === 0.5 && near % 2 ? near - 1 : near;
}
