/** What a job generates on its way, fetched as it comes. */

import { ApiError } from "./api.js";
import { fetchFrames, imageOf, watch } from "./job.js";
import { subscribe } from "./store.js";

/** @typedef {import("./store.js").Job} Job */

const MOST_AT_ONCE = 2 ** 22; // bytes of a call, about

/** The film of a job, which grows until the job has ended. */
export class JobFilm {
  /** @type {Job | null} */
  job = null;
  /** @type {Uint8Array[]} each step's images, [x_t, x_0][image][C][H][W] */
  steps = [];
  there = 0; // steps that the server has
  /** @type {Set<number>} steps to which images have come since they were fetched */
  stale = new Set();
  isFetching = false;
  isClosed = false;
  hasEnded = false;

  /**
   * @param {string} id
   * @param {{changed: () => void, progress?: (job: Job) => void, ended?: (job: Job) => void,
   *   lost?: (fault: unknown) => void}} told `changed`: there are more steps; `ended`: all of them are here
   */
  constructor(id, told) {
    this.id = id;
    this.told = told;
    const learn = (/** @type {Job} */ job) => {
      const { frames, files } = { files: [], frames: null, ...this.job };
      this.job = { ...job, frames: job.frames ?? frames, files: job.files ?? files };
      this.grow(this.job.frames?.count ?? 0);
      told.progress?.(this.job);
    };
    const leave = watch(id, {
      progress: learn,
      frame: ({ i }) => {
        if (i < this.steps.length) this.stale.add(i);
        this.grow(i + 1);
      },
      done: () => {
        this.hasEnded = true;
        this.grow(0);
      },
      lost: told.lost,
    });
    const again = subscribe(["connection"], () => this.grow(0));
    this.leave = () => (leave(), again());
  }

  /** @param {number} count */
  grow(count) {
    this.there = Math.max(this.there, count);
    if (!this.isFetching) this.fetch();
  }

  async fetch() {
    this.isFetching = true;
    try {
      while (!this.isClosed && this.job?.frames && (this.stale.size || this.steps.length < this.there)) {
        await this.fetchSome();
      }
    } catch (fault) {
      if (!(fault instanceof ApiError && fault.status === 0)) this.told.lost?.(fault); // else once it answers again
    } finally {
      this.isFetching = false;
    }
    if (!this.hasEnded || this.isClosed || this.steps.length < this.there || !this.job) return;
    this.hasEnded = false; // is told once
    this.told.ended?.(this.job);
  }

  async fetchSome() {
    const { shape, images } = this, size = 2 * images * shape[0] * shape[1] * shape[2];
    const [old] = this.stale, from = old ?? this.steps.length;
    const to = old === undefined ? Math.min(this.there, from + Math.max(1, Math.floor(MOST_AT_ONCE / size))) : from + 1;
    this.stale.delete(from);
    const bytes = await fetchFrames(this.id, from, to);
    for (let i = 0; (i + 1) * size <= bytes.length; i++) this.steps[from + i] = bytes.subarray(i * size, (i + 1) * size);
    if (!this.isClosed) this.told.changed();
  }

  get shape() {
    return this.job?.frames?.shape ?? [1, 1, 1];
  }

  get images() {
    return this.job?.frames?.images ?? 0;
  }

  get length() {
    return this.steps.length;
  }

  /**
   * @param {number} position
   * @param {"x_t" | "x_0"} which
   * @param {number} image
   */
  image(position, which, image) {
    const step = this.steps[Math.min(position, this.steps.length - 1)], frames = this.job?.frames;
    return step && frames ? imageOf(step, frames, 0, which, image) : null;
  }

  /** @param {number} position */
  moment(position) {
    const step = this.job?.frames?.steps[position];
    if (!step) return "";
    const last = (this.job?.frames?.steps.length ?? 1) - 1;
    return position < last ? `step ${position + 1} of ${last}, t = ${step.t}` : `after ${last} steps`;
  }

  /** @param {number} image */
  name(image) {
    const { kind, settings, frames } = this.job ?? {}, label = frames?.labels?.[image] ?? "";
    if (kind !== "sample") return label; // which says the seed, of edits
    const told = label && !settings?.prompt?.length ? `class ${label}` : label; // beside a text a class needs no name
    return [`seed ${BigInt(settings?.seed ?? 0) + BigInt(image)}`, told].filter(Boolean).join(", ");
  }

  close() {
    this.isClosed = true;
    this.leave();
  }
}
