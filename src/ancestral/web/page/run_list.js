/** The list of runs beside every view: choosing one shows it in the view that is open. */

import { h, on, part } from "./elements.js";
import { address, follow, route } from "./route.js";
import { state, subscribe } from "./store.js";
import { percent, progressOf } from "./run_words.js";

/** @typedef {import("./store.js").Run} Run */

/** @param {HTMLElement} root */
export function showRuns(root) {
  const wide = matchMedia("(min-width: 60rem)"),
    list = /** @type {HTMLDetailsElement} */ (part("runs-list"));
  const unfold = () => (list.open = wide.matches);
  on(wide, "change", unfold);
  unfold();
  let due = 0;
  const redraw = () => {
    cancelAnimationFrame(due);
    due = requestAnimationFrame(() => draw(root));
  };
  subscribe(["state", "run", "gone"], redraw);
  follow(() => {
    if (!wide.matches) list.open = false;
    redraw();
  });
  draw(root);
}

/** @param {HTMLElement} root */
function draw(root) {
  const { params, view } = route(),
    before = document.activeElement;
  const focused = before instanceof HTMLElement && root.contains(before) ? before.dataset.run : undefined;
  const runs = [...state.runs.values()].sort((a, b) => rank(b) - rank(a) || b.changed - a.changed);
  const make = (/** @type {Run} */ run) => entry(run, view === "runs" ? "train" : view, params.run);
  root.replaceChildren(
    h("ul", null, ...runs.map(make)),
    ...(runs.length ? [] : [h("p", { class: "soft" }, "No runs yet.")]),
    h("p", null, h("a", { href: address("train"), class: "new" }, "New run")),
    ...(state.models.size ? [h("h2", null, "Models"), h("ul", null, ...[...state.models.values()].map(make))] : []),
  );
  if (focused) /** @type {HTMLElement | null} */ (root.querySelector(`a[data-run="${CSS.escape(focused)}"]`))?.focus();
}

/** @param {Run} run */
function rank({ state: at }) {
  return at === "training" ? 1 : 0;
}

/**
 * @param {Run} run
 * @param {string} view
 * @param {string | undefined} current
 */
function entry(run, view, current) {
  const to = run.kind === "model" && view === "train" ? "draw" : view;
  const link = h(
    "a",
    { href: address(to, { run: run.id }), "data-run": run.id, "aria-current": run.id === current ? "true" : null },
    h("span", { class: "run-name" }, run.name),
    h("small", null, run.state === "training" ? `training, ${percent(run.fraction)}` : progressOf(run)),
  );
  return h("li", { class: run.state }, link);
}
