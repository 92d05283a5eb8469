/**
 * The runner of plans (docs/plans.md) for one image: it adds arrays, calls the network and clips; every number is in
 * the plan. `ancestral_lite.plans` is the same in NumPy, for many.
 *
 * @typedef {{t: number, s: number, x: Float32Array, xs: Float32Array, x0: Float32Array}} Step from x_t to x_s by way of
 *   the estimate of x0
 * @typedef {(x: Float32Array, time: number, away: boolean) => Float32Array} Predict the network told what is asked, or
 *   what guidance moves away from
 */

/** Every step from noise to an image, whose numbers are the last step's `xs`. */
export function sampled(plan, shape, predict, noise) {
  return walked(plan, shape, predict, noise, [plan.steps], (x) => x);
}

/**
 * The same with what `image` holds where `keep` is not 0 kept to the bit: each stretch of `jump` steps is gone down
 * `rounds` times, and back up between by q(x_t | x_s); the last step, onto 0, once (Lugmayr et al. 2022).
 */
export function inpainted(plan, shape, predict, noise, { image, keep, rounds, jump = 1 }) {
  const levels = byTimestep(plan), above = plan.steps.slice(0, -1), legs = [];
  for (let first = 0; first < above.length; first += jump) {
    for (let round = 0; round < rounds; round++) legs.push(above.slice(first, first + jump));
  }
  return walked(plan, shape, predict, noise, [...legs, plan.steps.slice(-1)], (x, t) => {
    const known = t ? sum([[levels[t].alpha, image], [levels[t].sigma, noise.next()]]) : image;
    return x.map((each, i) => (keep[i] ? known[i] : each));
  });
}

function* walked(plan, shape, predict, noise, legs, kept) {
  const levels = byTimestep(plan), memory = Math.max(...plan.steps.map((step) => step.moves.length));
  let now = plan.steps[0].t, x = kept(noise.next(), now), past = [];
  for (const leg of legs) {
    const { t } = leg[0];
    if (t > now) {
      const share = levels[t].alpha / levels[now].alpha;
      x = sum([[share, x], [Math.sqrt(1 - share ** 2), noise.next()]]);
      past = [];
    }
    for (const step of leg) {
      const move = step.moves[Math.min(past.length, step.moves.length - 1)], vectors = { x }, pairs = [];
      past.forEach((pair, i) => include(vectors, pair, i - past.length));
      move.calls.forEach((call, i) => {
        pairs.push(predicted(plan, levels[call.t], shape, predict, combined(call.x, vectors)));
        include(vectors, pairs[i], i);
      });
      const moved = combined(move.x, vectors);
      const next = kept(move.noise ? noisy(moved, move.noise, pairs[0].variance, noise.next()) : moved, step.s);
      if (!next.every(Number.isFinite)) throw new RangeError(`expected finite numbers, got others at t = ${step.s}`);
      past = [...past, { x0: combined(move.x0, vectors), eps: combined(move.eps, vectors) }].slice(-memory);
      now = step.s;
      yield { t: step.t, s: now, x, xs: next, x0: past.at(-1).x0 };
      x = next;
    }
  }
}

/** The pair of x0 and eps at x, guided and clipped, and what the network says of the variance, if anything. */
function predicted(plan, level, shape, predict, x) {
  const { guidance } = level, asked = (away) => answered(plan, level, shape, predict, x, away);
  let pair = asked(guidance === 0);
  if (guidance !== 0 && guidance !== 1) {
    const away = asked(true), told = pair.x0;
    const pushed = (kind) => sum([[guidance, pair[kind]], [1 - guidance, away[kind]]]);
    pair = { ...pair, x0: pushed("x0"), eps: pushed("eps") };
    if (plan.rescale) {
      const factor = 1 - plan.rescale + (plan.rescale * deviation(told)) / Math.max(deviation(pair.x0), 1e-38);
      pair = withX0(level, sum([[factor, pair.x0]]), x, pair.variance);
    }
  }
  if (plan.bound === null) return pair;
  const reach = plan.quantile === null ? 0 : quantile(pair.x0.map(Math.abs), plan.quantile);
  const most = Math.max(reach, plan.bound);
  const clipped = pair.x0.map((each) => (plan.bound * Math.min(Math.max(each, -most), most)) / most);
  return withX0(level, clipped, x, pair.variance);
}

function answered(plan, level, [channels, h, w], predict, x, away) {
  const size = h * w, numbers = channels * size * (plan.output === "levels" ? 256 : 1);
  const output = predict(sum([[level.scale, x]]), level.time, away), first = output.subarray(0, numbers);
  const answer = plan.output === "levels" ? expected(first, x, size, level.alpha, level.sigma) : first;
  const pair = ([ofX, ofAnswer]) => sum([[ofX, x], [ofAnswer, answer]]);
  return { x0: pair(level.x0), eps: pair(level.eps), variance: output.subarray(numbers) };
}

function withX0(level, x0, x, variance) {
  return { x0, eps: sum([[1 / level.sigma, x], [-level.alpha / level.sigma, x0]]), variance };
}

/** x plus new noise of a deviation between two, by what the network says of the variance where these differ. */
function noisy(x, [low, high], variance, z) {
  return x.map((each, i) => {
    const w = low === high ? 0 : (variance[i] + 1) / 2;
    return each + low ** (1 - w) * high ** w * z[i];
  });
}

/** Arrays times their factors, added in float64. @param {[number, Float32Array][]} terms */
function sum(terms) {
  return terms[0][1].map((_, i) => terms.reduce((total, [factor, x]) => total + factor * x[i], 0));
}

function combined(factors, vectors) {
  return sum(Object.entries(factors).map(([each, factor]) => [factor, vectors[each]]));
}

function include(vectors, { x0, eps }, number) {
  vectors[`x0.${number}`] = x0;
  vectors[`eps.${number}`] = eps;
}

/** The standard deviation, by n - 1. */
function deviation(x) {
  const mean = x.reduce((a, b) => a + b, 0) / x.length;
  return Math.sqrt(x.reduce((total, each) => total + (each - mean) ** 2, 0) / (x.length - 1));
}

/** The share of numbers below it, linearly between neighbours. */
function quantile(x, share) {
  const sorted = x.toSorted(), at = share * (x.length - 1), below = Math.floor(at);
  return sorted[below] + (at - below) * (sorted[Math.min(below + 1, x.length - 1)] - sorted[below]);
}

function byTimestep(plan) {
  return Object.fromEntries(plan.levels.map((level) => [level.t, level]));
}
