/** The logs of runs: fetched as far as they have grown, and kept for every view that shows them. */

import { get } from "./api.js";
import { fail } from "./elements.js";
import { runOf, subscribe } from "./store.js";

/**
 * A line of `log.jsonl` with the minutes of that of `timing.jsonl`; null: no finite number.
 *
 * @typedef {{step: number, images?: number, minutes?: number, skipped?: number, [name: string]: any}} LogRecord
 */
/** @typedef {"step" | "images" | "minutes"} Along what a curve runs along */

/** @type {Record<Along, string>} */
export const ALONG = { step: "step", images: "images seen", minutes: "minutes of training" };

const logs = /** @type {Map<string, Log>} */ (new Map());

/**
 * Follows the log of a run: calls `told` with all records whenever there are others.
 *
 * @param {string} run @param {(records: LogRecord[]) => void} told
 * @returns {() => void} stops following
 */
export function followLog(run, told) {
  const log = logs.get(run) ?? new Log(run);
  logs.set(run, log);
  log.listeners.add(told);
  if (log.records.length) told(log.records);
  log.fetch().catch(fail);
  return () => log.listeners.delete(told);
}

/** One curve out of records: those without the name are left out, what is no number is a gap.
 * @param {LogRecord[]} records @param {Along} along @param {string} name @param {number} [place] of a list */
export function curve(records, along, name, place) {
  const there = records.filter((each) => name in each && each[along] !== undefined);
  return {
    x: there.map((each) => /** @type {number} */ (each[along])),
    y: there.map(
      (each) => /** @type {number | null} */ (place === undefined ? each[name] : (each[name]?.[place] ?? null)),
    ),
  };
}

class Log {
  /** @param {string} run */
  constructor(run) {
    this.run = run;
    this.records = /** @type {LogRecord[]} */ ([]);
    this.next = { log: 0, timing: 0 };
    this.minutes = /** @type {Map<number, number>} */ (new Map());
    this.listeners = /** @type {Set<(records: LogRecord[]) => void>} */ (new Set());
    this.fetching = /** @type {Promise<void> | null} */ (null);
    this.again = false;
    let before = runOf(run)?.state;
    subscribe(["log", "state", "run", "connection"], (name, data) => {
      if (!this.listeners.size || (name === "log" && data.run !== run) || (name === "run" && data.id !== run)) return;
      const now = runOf(run)?.state;
      if (name === "run" && now === before) return;
      before = now;
      if (name !== "log") this.next.log = 0; // a run that goes on may have cut its log back to its checkpoint
      this.fetch().catch(fail);
    });
  }

  /** Fetches what is new; asked again meanwhile, once more after that.
   * @returns {Promise<void>} */
  fetch() {
    this.again = this.fetching !== null;
    this.fetching ??= this.read().finally(() => {
      this.fetching = null;
      if (this.again) this.fetch().catch(fail);
    });
    return this.fetching;
  }

  async read() {
    const { log: from, timing } = this.next,
      path = `/api/runs/${this.run}`;
    const [logged, timed] = await Promise.all([get(`${path}/log?from=${from}`), get(`${path}/timing?from=${timing}`)]);
    for (const { step, minutes } of timed.records) this.minutes.set(step, minutes);
    const whole = !from || logged.next < from,
      first = logged.records[0]?.step ?? Infinity;
    const added = logged.records.map((/** @type {LogRecord} */ each) => ({
      ...each,
      minutes: this.minutes.get(each.step),
    }));
    this.records = whole ? added : [...this.records.filter((each) => each.step < first), ...added];
    this.next = { log: logged.next, timing: timed.next };
    for (const told of [...this.listeners]) told(this.records);
  }
}
