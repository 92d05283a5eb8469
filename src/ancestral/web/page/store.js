/**
 * What the page knows of the studio: fetched once, then kept as the events say.
 *
 * Names to subscribe to are those of the events, with what each holds: run (Run), log ({run, record}), grid ({run,
 * step}), job (Job without files and result), frame ({job, i, t}), result (the whole Job), gone ({run}), worker
 * ({state, run}); and `state`, after all was fetched anew, and `connection` ({connected, refused}). Whoever keeps more than
 * `state` does fetches it again at `state`: events may have been missed.
 */

import { ApiError, get } from "./api.js";
import { fail } from "./elements.js";
import { listen } from "./stream.js";

/**
 * @typedef {{id: string, name: string, place: string, kind: "run" | "autoencoder" | "pipeline" | "model",
 *   state: "training" | "stopped" | "finished" | "damaged", steps: number | null, images: number | null,
 *   minutes: number | null, loss: number | null, bits_per_dim: number | null, frechet: number | null, size: string,
 *   changed: number, fault: string, fraction: number | null, images_per_second: number | null,
 *   seconds_left: number | null, stopping?: boolean, grids: number[], budget: Record<string, number | null>, usable: boolean}} Run
 */
/**
 * @typedef {{count: number, images: number, shape: [number, number, number], labels: string[],
 *   steps: {number: number, t: number, s: number, alpha: number, sigma: number, log_snr: number}[]}} Frames `count` are there so far
 */
/**
 * @typedef {{id: string, kind: string, run: string | null, view: string,
 *   state: "queued" | "starting" | "running" | "stopping" | "done" | "stopped" | "failed",
 *   settings: Record<string, any>, what: string, done: number, of: number, why: string, notes: string[], command: string, frames: Frames | null,
 *   files: {name: string, type: string, bytes: number}[], result: any, created: number, seconds: number}} Job
 */
/** @typedef {{id: string, name: string}} DataFolder */
/** @typedef {{name: string, about: string}} Preset */
/** @typedef {(name: string, data: any) => void} Listener */

export const state = {
  id: 0,
  version: "",
  folder: "",
  runs: /** @type {Map<string, Run>} */ (new Map()),
  models: /** @type {Map<string, Run>} */ (new Map()),
  jobs: /** @type {Map<string, Job>} */ (new Map()),
  data: /** @type {DataFolder[]} */ ([]),
  presets: /** @type {Preset[]} */ ([]),
  samplers: /** @type {string[]} */ ([]),
  trainingsAllowed: true,
  worker: { state: "none", run: /** @type {string | null} */ (null) },
  connected: false,
};

const MOST_JOBS = 64; // that the server keeps
const listeners = /** @type {Map<string, Set<Listener>>} */ (new Map());

/**
 * Calls a function on events of some names.
 *
 * @param {string[]} names
 * @param {Listener} listener
 * @returns {() => void} stops it
 */
export function subscribe(names, listener) {
  const sets = names.map((name) => listeners.get(name) ?? listeners.set(name, new Set()).get(name));
  for (const each of sets) each?.add(listener);
  return () => sets.forEach((each) => each?.delete(listener));
}

/**
 * A run or a model that comes along.
 * @param {string | undefined} id
 * @returns {Run | null}
 */
export function runOf(id) {
  return state.runs.get(id ?? "") ?? state.models.get(id ?? "") ?? null;
}

/** Fetches all and follows the events from there. */
export async function start() {
  await load();
  listen(
    () => state.id,
    receive,
    (connected, fault) => {
      const refused = fault instanceof ApiError && fault.status === 401; // for good: the key is another one now
      if (refused) fail(fault);
      if (connected === state.connected && !refused) return;
      state.connected = connected;
      publish("connection", { connected, refused });
    },
  );
}

async function load() {
  const { runs, models, jobs, trainings_allowed: trainingsAllowed, ...rest } = await get("/api/state");
  const byId = (/** @type {{id: string}[]} */ list) =>
    /** @type {Map<string, any>} */ (new Map(list.map((each) => [each.id, each])));
  Object.assign(state, rest, { runs: byId(runs), models: byId(models ?? []), jobs: byId(jobs), trainingsAllowed });
  publish("state", null);
}

/**
 * @param {number} id
 * @param {string} name
 * @param {any} data
 */
function receive(id, name, data) {
  if (name === "hello") {
    if (data.reload) return void load().catch(fail);
    return;
  }
  if (Number.isFinite(id) && id) state.id = id;
  if (name === "run") state.runs.set(data.id, { ...state.runs.get(data.id), ...data });
  else if (name === "gone") state.runs.delete(data.run);
  else if (name === "worker") state.worker = data;
  else if (name === "grid") addGrid(data);
  else if (name === "job") keepJob(data);
  else if (name === "result") keepJob((data = data.job));
  publish(name, name === "run" ? state.runs.get(data.id) : data);
}

/** @param {{run: string, step: number}} grid */
function addGrid({ run, step }) {
  const found = state.runs.get(run);
  if (found && !found.grids.includes(step)) found.grids = [...found.grids, step].sort((a, b) => a - b);
}

/** @param {Job} job */
function keepJob(job) {
  state.jobs.set(job.id, { ...state.jobs.get(job.id), ...job });
  while (state.jobs.size > MOST_JOBS) state.jobs.delete(state.jobs.keys().next().value ?? "");
}

/**
 * @param {string} name
 * @param {any} data
 */
function publish(name, data) {
  for (const each of [...(listeners.get(name) ?? [])]) {
    try {
      each(name, data);
    } catch (fault) {
      fail(fault);
    }
  }
}
