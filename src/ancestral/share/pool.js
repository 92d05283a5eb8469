/** Workers that hold the network, and jobs that wait for one of them. */

const MOST_WORKERS = 8;
const MOST_BYTES = 2 ** 28; // of weights in all workers, which phones have too

export class Pool {
  /**
   * @param {string} script of a worker @param {{wasm: Uint8Array, file: ArrayBuffer}} model what each is sent
   * @param {number} parameters of the network, each of four bytes in a worker
   */
  constructor(script, model, parameters) {
    this.url = URL.createObjectURL(new Blob([script], { type: "text/javascript" }));
    this.model = model;
    this.idle = [];
    this.busy = new Map(); // worker -> its job
    this.waiting = [];
    const fit = Math.floor(MOST_BYTES / (4 * parameters));
    this.most = Math.max(1, Math.min(navigator.hardwareConcurrency ?? 2, MOST_WORKERS, fit));
  }

  /**
   * @param {object} image what a worker is asked @param {(step: object) => void} onStep called with each step
   * @returns {Promise<{cut: boolean}>} when it is done or cancelled
   */
  run(image, onStep) {
    return new Promise((resolve, reject) => {
      this.waiting.push({ image, onStep, resolve, reject });
      this.deal();
    });
  }

  /** Ends all jobs: those that wait at once, others after the network's call at hand. */
  cancel() {
    for (const job of this.waiting.splice(0)) job.resolve({ cut: false });
    for (const worker of this.busy.keys()) worker.postMessage({ cancel: true });
  }

  deal() {
    while (this.waiting.length && (this.idle.length || this.busy.size < this.most)) {
      const worker = this.idle.pop() ?? this.opened(), job = this.waiting.shift();
      this.busy.set(worker, job);
      worker.postMessage({ image: job.image });
    }
  }

  opened() {
    const worker = new Worker(this.url);
    worker.onmessage = ({ data }) => {
      if (data.step) this.busy.get(worker).onStep(data.step);
      if (data.done) this.ended(worker).resolve(data.done);
      if (data.failed) this.ended(worker).reject(new Error(data.failed));
    };
    worker.onerror = (event) => {
      worker.terminate();
      const job = this.busy.get(worker);
      this.busy.delete(worker);
      job?.reject(new Error(event.message || "a worker could not be started"));
      this.deal();
    };
    worker.postMessage({ open: this.model });
    return worker;
  }

  ended(worker) {
    const job = this.busy.get(worker);
    this.busy.delete(worker);
    this.idle.push(worker);
    this.deal();
    return job;
  }
}
