/** Jobs of the server: begun, watched to their end, and what they generate on the way. */

import { bytes, del, get, post } from "./api.js";
import { counted } from "./run_words.js";
import { runOf, state, subscribe } from "./store.js";

/** @typedef {import("./store.js").Job} Job */
/** @typedef {import("./store.js").Frames} Frames */

const ENDS = ["done", "stopped", "failed"];
const BUSY = ["starting", "running", "stopping"];
const KINDS = /** @type {Record<string, string>} */ ({
  sample: "Draw",
  edit: "Edit",
  evaluate: "Evaluation",
  likelihood: "Likelihood",
  sweep: "Sweep",
  report: "Report",
  share: "Share page",
  export: "Export",
  check: "Check of the data",
});

/** @param {Pick<Job, "state">} job */
export function hasEnded(job) {
  return ENDS.includes(job.state);
}

/** @param {Pick<Job, "kind">} job */
export function kindOf(job) {
  return KINDS[job.kind] ?? job.kind;
}

/** @param {Job} job */
export function nameOf(job) {
  const run = runOf(job.run ?? undefined);
  return run ? `${kindOf(job)}, ${run.name}` : kindOf(job);
}

/**
 * How far a job is that has not ended; where it is queued, after what.
 * @param {Job} job
 */
export function wordsOf(job) {
  const first = job.state === "queued" && [...state.jobs.values()].find((each) => BUSY.includes(each.state));
  if (first) return `queued, after ${nameOf(first)}`;
  return job.of ? `${job.what} ${counted(job.done)} of ${counted(job.of)}` : job.what || job.state;
}

/**
 * @param {{kind: string, run?: string | null, view: string, settings: object, replace?: boolean}} body
 * @returns {Promise<{id: string, command: string}>}
 */
export function startJob(body) {
  return post("/api/jobs", body);
}

/**
 * Asks a job to stop; its end is told by the events.
 * @param {string} id
 */
export function stopJob(id) {
  return del(`/api/jobs/${id}`);
}

/**
 * Follows a job: `progress` with every state, `frame` with how many frames there are, `done` once with the whole job
 * when it has ended, also where it ended long ago. A page that lost events is told anew.
 *
 * @param {string} id
 * @param {{frame?: (frame: {job: string, i: number, t: number}) => void, progress?: (job: Job) => void,
 *   done?: (job: Job) => void, lost?: (fault: unknown) => void}} told
 * @returns {() => void} stops following, not the job
 */
export function watch(id, told) {
  let ended = false;
  const end = (/** @type {Job} */ job) => {
    if (ended) return;
    ended = true;
    leave();
    told.progress?.(job);
    told.done?.(job);
  };
  const look = async () => {
    try {
      const job = /** @type {Job} */ (await get(`/api/jobs/${id}`));
      if (ended) return;
      if (hasEnded(job)) return end(job);
      told.progress?.(job);
      if (job.frames?.count) told.frame?.({ job: id, i: job.frames.count - 1, t: job.frames.steps.at(-1)?.t ?? 0 });
    } catch (fault) {
      if (!ended) told.lost?.(fault);
    }
  };
  const leave = subscribe(["job", "frame", "result", "state"], (name, data) => {
    if (name === "state") look();
    else if (name === "frame" && data.job === id) told.frame?.(data);
    else if (name === "result" && data.id === id) end(data);
    else if (name === "job" && data.id === id)
      hasEnded(data) ? look() : told.progress?.({ ...state.jobs.get(id), ...data });
  });
  look();
  return () => {
    ended = true;
    leave();
  };
}

/**
 * The frames `from` to `to` (without it): bytes of [step][x_t, x_0][image][C][H][W].
 *
 * @param {string} id
 * @param {number} from
 * @param {number} to
 */
export function fetchFrames(id, from, to) {
  return bytes(`/api/jobs/${id}/frames?from=${from}&to=${to}`);
}

/**
 * One image out of fetched frames, without a copy.
 *
 * @param {Uint8Array} fetched
 * @param {Frames} frames
 * @param {number} step counted from the first that was fetched
 * @param {"x_t" | "x_0"} which
 * @param {number} image
 */
export function imageOf(fetched, { images, shape }, step, which, image) {
  const size = shape[0] * shape[1] * shape[2];
  const begin = ((2 * step + (which === "x_0" ? 1 : 0)) * images + image) * size;
  return fetched.subarray(begin, begin + size);
}
