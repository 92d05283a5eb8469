/**
 * The jobs of the server, at the foot of every view: how far each is, and how to stop it. Where there is little room
 * they are one line, which unfolds.
 */

import { button, h, on, say } from "./elements.js";
import { hasEnded, kindOf, nameOf, wordsOf, stopJob } from "./job.js";
import { state, subscribe } from "./store.js";

/** @typedef {import("./store.js").Job} Job */

const SHOWN_AFTER = 8000; // ms for which an end is shown
const GONE =
  "The studio does not answer; trying again… If it was ended, start it again, and open the address that it prints.";
const QUIET = ["explain"]; // the views themselves say how far they are, and begin another at every move
const WORKERS = /** @type {Record<string, string>} */ ({
  none: "",
  loading: "Loading torch and the model…",
  ready: "",
  gone: "The worker ended; the next job starts another.",
});

/** @param {HTMLElement} root */
export function showJobs(root) {
  const lines = h("ul"),
    worker = h("p", { class: "soft" }),
    lost = h("p", { class: "fault" });
  const words = h("span", { class: "job-words" }),
    list = h("details", null, h("summary", null, words), lines),
    wide = matchMedia("(min-width: 60rem)");
  const unfold = () => (list.open = wide.matches);
  on(wide, "change", unfold);
  unfold();
  root.append(lost, worker, list);
  const sum = () => {
    const all = [...lines.children],
      first = lines.querySelector("li:has(progress:not([hidden]))") ?? all.at(-1),
      more = all.length > 1 ? `${all.length} jobs, ` : "";
    list.hidden = !first;
    words.textContent = `${more}${first?.firstChild?.textContent ?? ""}`;
  };
  new MutationObserver(sum).observe(lines, { childList: true, subtree: true });
  sum();
  const rows = /** @type {Map<string, Row>} */ (new Map());
  const show = (/** @type {Job} */ job) => {
    if (QUIET.includes(job.kind) || (!rows.has(job.id) && hasEnded(job))) return;
    const row = rows.get(job.id) ?? rowOf(job.id);
    if (!rows.has(job.id)) lines.append(row.element);
    rows.set(job.id, row);
    row.show(job);
    if (!hasEnded(job)) return;
    rows.delete(job.id);
    say(`${kindOf(job)} ${job.state}. ${job.why}`);
    if (job.state !== "failed") setTimeout(() => row.element.remove(), SHOWN_AFTER);
  };
  const showAll = () => {
    for (const [id, row] of rows) {
      if (!state.jobs.has(id)) (row.element.remove(), rows.delete(id));
    }
    for (const job of state.jobs.values()) show(job);
    showWorker();
  };
  const showWorker = () => (worker.textContent = WORKERS[state.worker.state] ?? "");
  subscribe(["state"], showAll);
  subscribe(["job", "result"], (_, { id }) => show(/** @type {Job} */ (state.jobs.get(id))));
  subscribe(["worker"], showWorker);
  subscribe(["connection"], (_, { connected, refused }) => {
    lost.textContent = connected || refused ? "" : GONE;
  });
  showAll();
}

/** @typedef {{element: HTMLElement, show: (job: Job) => void}} Row */

/**
 * @param {string} id
 * @returns {Row}
 */
function rowOf(id) {
  const words = h("span", { class: "job-words" }),
    bar = h("progress", { "aria-label": "Progress" });
  const stop = button("Stop", () => stopJob(id)),
    close = button("Close", () => element.remove());
  const element = h("li", null, words, bar, stop, close);
  return {
    element,
    show(job) {
      const name = kindOf(job),
        ended = hasEnded(job);
      const at = ended ? [job.state, job.why] : [wordsOf(job)];
      words.textContent = [nameOf(job), ...at].filter(Boolean).join(": ");
      element.className = job.state;
      bar.hidden = stop.hidden = ended;
      close.hidden = !ended;
      stop.setAttribute("aria-label", `Stop: ${name}`);
      close.setAttribute("aria-label", `Close: ${name}`);
      if (job.of) Object.assign(bar, { max: job.of, value: job.done });
      else bar.removeAttribute("value");
    },
  };
}
