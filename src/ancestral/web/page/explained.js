/** Steps that the server computes with every number, and the pictures of what they are made of. */

import { fail, h } from "./elements.js";
import { hasEnded, startJob, stopJob, watch } from "./job.js";
import { picture } from "./pictures.js";
import { state } from "./store.js";

const PATIENCE = 120; // ms of no change before the server is asked
const SECOND = 1000; // ms

/**
 * Asks for a step whenever it is another, and hands over the numbers of the last that was asked for.
 *
 * @param {string} run
 * @param {(job: import("./store.js").Job) => void} done
 * @returns {{ask: (settings: () => Promise<object> | object) => void, element: HTMLElement, close: () => void}}
 */
export function explained(run, done) {
  const said = h("span"),
    seconds = h("span", { "aria-hidden": "true" }); // which nobody wants to be read out
  const element = h("p", { class: "soft explained", role: "status" }, said, seconds);
  let timer = 0,
    number = 0,
    leave = () => {},
    working = "", // the job that has not ended
    clock = 0; // runs while nothing is computed
  /** @param {() => Promise<object> | object} settings */
  function ask(settings) {
    clearTimeout(timer);
    const own = ++number;
    if (!clock) wait();
    timer = setTimeout(async () => {
      try {
        const asked = /** @type {any} */ (await settings());
        if (own !== number) return;
        const { id } = await startJob({
          kind: "explain",
          run,
          view: `tour-${asked.task}`,
          settings: asked,
          replace: true,
        });
        if (own !== number) return;
        leave();
        working = id;
        const lost = (/** @type {unknown} */ fault) => (begun(""), fail(fault));
        leave = watch(id, { progress: follow, done: (job) => own === number && end(job), lost });
      } catch (fault) {
        if (own === number) begun(/** @type {Error} */ (fault).message);
      }
    }, PATIENCE);
  }

  /** Says every second for what the step waits, and how long it has. */
  function wait() {
    const since = performance.now();
    clock = setInterval(() => {
      const what = state.worker.state === "loading" ? "Loading torch and the model" : "Waiting to be computed";
      if (said.textContent !== what) said.textContent = what;
      seconds.textContent = `, for ${Math.round((performance.now() - since) / SECOND)} s…`;
    }, SECOND);
  }

  /** @param {string} words of what no longer waits */
  function begun(words) {
    clearInterval(clock);
    clock = 0;
    said.textContent = words;
    seconds.textContent = "";
  }

  /** @param {import("./store.js").Job} job */
  function follow(job) {
    const { what, done: reached, of } = job;
    if (hasEnded(job)) working = "";
    else if (job.state === "running" && of) begun(`${what} ${reached} of ${of}`);
  }

  /** @param {import("./store.js").Job} job */
  function end(job) {
    begun(job.why);
    if (job.state === "done") done(job);
  }

  return {
    ask,
    element,
    close() {
      clearTimeout(timer);
      clearInterval(clock);
      number++;
      leave();
      if (working) stopJob(working).catch(fail);
    },
  };
}

/**
 * A row of pictures that a job wrote, each with words.
 * @param {Record<string, string>} words by the names of files
 */
export function pictureRow(words) {
  const shown = Object.entries(words).map(([name, said]) => ({ name, said, ...picture() }));
  const element = h(
    "div",
    { class: "moments large" },
    ...shown.map(({ element: img, said }) => h("figure", null, img, h("figcaption", null, said))),
  );
  return {
    element,
    /** @param {import("./store.js").Job} job */
    show({ id, files }) {
      for (const { name, said, show } of shown) {
        const place = files.findIndex((each) => each.name.replace(/^.*\//, "") === `${name}.png`);
        if (place >= 0) show(`/api/jobs/${id}/files/${place}`, said).catch(fail);
      }
    },
  };
}
