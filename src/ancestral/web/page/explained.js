/** Steps that the server computes with every number, and the pictures of what they are made of. */

import { fail, h } from "./elements.js";
import { hasEnded, startJob, stopJob, watch } from "./job.js";
import { picture } from "./pictures.js";

const PATIENCE = 120; // ms of no change before the server is asked

/**
 * Asks for a step whenever it is another, and hands over the numbers of the last that was asked for.
 *
 * @param {string} run
 * @param {(job: import("./store.js").Job) => void} done
 * @returns {{ask: (settings: () => Promise<object> | object) => void, element: HTMLElement, close: () => void}}
 */
export function explained(run, done) {
  const element = h("p", { class: "soft", role: "status" });
  let timer = 0,
    number = 0,
    leave = () => {},
    working = ""; // the job that has not ended
  /** @param {() => Promise<object> | object} settings */
  function ask(settings) {
    clearTimeout(timer);
    const own = ++number;
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
        leave = watch(id, { progress: follow, done: (job) => own === number && end(job), lost: fail });
      } catch (fault) {
        if (own === number) element.textContent = /** @type {Error} */ (fault).message;
      }
    }, PATIENCE);
  }

  /** @param {import("./store.js").Job} job */
  function follow(job) {
    const { state, what, done: reached, of } = job;
    if (hasEnded(job)) working = "";
    element.textContent =
      state === "running" && of ? `${what} ${reached} of ${of}` : state === "done" ? "" : `${state}…`;
  }

  /** @param {import("./store.js").Job} job */
  function end(job) {
    element.textContent = job.why;
    if (job.state === "done") done(job);
  }

  return {
    ask,
    element,
    close() {
      clearTimeout(timer);
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
