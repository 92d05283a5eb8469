/** Runs and their numbers in words. */

/** @typedef {import("./store.js").Run} Run */

/** @param {number | null | undefined} fraction of 1 */
export function percent(fraction) {
  return fraction === null || fraction === undefined ? "begun" : `${Math.floor(100 * fraction)} %`;
}

/** @param {number | null | undefined} count */
export function counted(count) {
  return count === null || count === undefined ? "" : count.toLocaleString("en");
}

/**
 * A number of a measurement.
 * @param {number} value
 */
export function measured(value) {
  return Number(value.toPrecision(4)).toString();
}

/** @param {number | null | undefined} minutes */
export function minutesInWords(minutes) {
  if (minutes === null || minutes === undefined) return "";
  if (minutes < 1) return `${Math.round(60 * minutes)} s`;
  if (minutes < 120) return `${minutes < 10 ? minutes.toFixed(1) : Math.round(minutes)} min`;
  return `${(minutes / 60).toFixed(1)} h`;
}

/**
 * What a run has come to, in a few words.
 * @param {Run} run
 */
export function progressOf(run) {
  if (run.kind === "model") return run.size || "comes along";
  const seen = run.images === null ? "" : `${counted(run.images)} images`;
  return [run.state, seen].filter(Boolean).join(", ");
}

/**
 * What was measured of a run, by name.
 * @param {Run} run
 * @returns {[string, string][]}
 */
export function numbersOf(run) {
  /** @type {[string, number | null | undefined][]} */
  const all = [
    ["loss", run.loss],
    ["bits/dim", run.bits_per_dim],
    ["Fréchet distance", run.frechet],
  ];
  return all.flatMap(([name, value]) => (value === null || value === undefined ? [] : [[name, measured(value)]]));
}

/** @param {string} words */
export function capital(words) {
  return words.charAt(0).toUpperCase() + words.slice(1);
}
