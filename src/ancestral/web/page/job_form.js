/** A form that begins a job on a run, says how far it is and can stop it; opened again, it finds the job again. */

import { commandBox, liveCommand } from "./command.js";
import { button, fail, h, on } from "./elements.js";
import { hasEnded, startJob, stopJob, watch, wordsOf } from "./job.js";
import { state } from "./store.js";

/** @typedef {import("./store.js").Job} Job */
/**
 * @typedef {{title: string, kind: string, view: string, run: string, fields: {element: HTMLElement}[], settings: () => object, start: string,
 *   progress?: (job: Job) => void, done?: (job: Job) => void}} Form
 *   `settings` is called whenever a field has changed; `title` is what it is about, `start` the words of
 *   the button
 */

/**
 * @param {Form} form
 * @returns {{element: HTMLElement, change: () => void, close: () => void}}
 */
export function jobForm({ title, kind, view, run, fields, settings, start, progress, done }) {
  const box = commandBox(`${title}, by the command line`), words = h("p", { role: "status" }), bar = h("progress", { "aria-label": "Progress" });
  const begin = h("button", { type: "submit", class: "main" }, start);
  let leave = () => {}, running = "";
  const stop = button("Stop", () => stopJob(running));
  const show = (/** @type {Job | null} */ job) => {
    const goesOn = Boolean(job && !hasEnded(job));
    begin.disabled = goesOn;
    stop.hidden = bar.hidden = !goesOn;
    words.textContent = job ? told(job) : "";
    words.classList.toggle("fault", job?.state === "failed");
    if (job?.of) Object.assign(bar, { max: job.of, value: job.done });
    else bar.removeAttribute("value");
  };
  const follow = (/** @type {string} */ id) => {
    leave();
    running = id;
    leave = watch(id, {
      progress(job) {
        show(job);
        progress?.(job);
      },
      done: (job) => done?.(job),
      lost: fail,
    });
  };
  const body = () => ({ kind, run, view, settings: settings() });
  const ask = liveCommand(box, body, { fault: (words) => (begin.disabled = Boolean(words) || !stop.hidden) });
  const actions = h("div", { class: "actions" }, begin, stop, bar);
  const inputs = h("div", { class: "fields" }, ...fields.map((each) => each.element));
  const element = h("form", null, inputs, actions, words, box.element);
  on(element, "input", ask);
  on(element, "submit", async (event) => {
    event.preventDefault();
    if (begin.disabled) return;
    begin.disabled = true;
    try {
      follow((await startJob(body())).id);
    } catch (fault) {
      begin.disabled = false;
      fail(fault);
    }
  });
  show(null);
  ask();
  const before = [...state.jobs.values()].filter((job) => job.kind === kind && job.run === run && job.view === view);
  if (before.length) follow(before.reduce((a, b) => (b.created > a.created ? b : a)).id);
  return { element, change: ask, close: () => leave() };
}

/** @param {Job} job */
function told(job) {
  if (job.state === "failed") return job.why;
  const said = hasEnded(job) ? [job.state, job.notes.join("; ")] : [wordsOf(job), job.notes.at(-1)];
  return said.filter(Boolean).join(": ");
}
