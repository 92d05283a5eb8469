/** The studio's page: shows the view that the address names, beside the runs and above the jobs. */

import { adoptToken } from "./api.js";
import { fail, h, on, part } from "./elements.js";
import { showJobs } from "./job_bar.js";
import { address, follow, go, route } from "./route.js";
import { showRuns } from "./run_list.js";
import { runOf, start } from "./store.js";
import { offerTheme } from "./theme.js";
import { view as runs } from "./runs.js";
import { view as train } from "./train.js";
// of images
import { view as draw } from "./draw.js";
import { view as trajectory } from "./trajectory.js";
import { view as edit } from "./edit.js";
// of noise
import { view as schedule } from "./schedule.js";
import { view as tour } from "./tour.js";
// of measurements
import { view as numbers } from "./numbers.js";
import { view as share } from "./share.js";

/** @typedef {import("./route.js").Params} Params */
/**
 * @typedef {{root: HTMLElement, params: Params, go: import("./route.js").Go,
 *   run: () => import("./store.js").Run | null}} Place
 *   `root` is empty and the view's own; `run` is the one that the address names
 */
/** @typedef {{update?: (params: Params) => void, close: () => void}} Opened */
/** @typedef {{name: string, title: string, open: (place: Place) => Opened}} View */

/** @type {View[]} */
const views = [
  runs,
  train,
  // of images
  draw,
  trajectory,
  edit,
  // of noise
  schedule,
  // of measurements
  numbers,
  share,
  // the tour
  tour,
];
let open = /** @type {{view: View, opened: Opened} | null} */ (null);

main().catch(fail);

async function main() {
  adoptToken();
  offerTheme();
  on(document, "click", skip);
  await start();
  showRuns(part("runs"));
  showJobs(part("jobs"));
  follow(show);
  show();
}

/** Shows what the address names: the open view goes on where it is the same. */
function show() {
  const { view: name, params } = route(),
    view = views.find((each) => each.name === name);
  if (!view) return go(runs.name, {}, { replace: true });
  const run = runOf(params.run);
  showLinks(view, params);
  document.title = [view.title, run?.name, "Ancestral studio"].filter(Boolean).join(" · ");
  part("title").textContent = run && view !== runs ? `${view.title}: ${run.name}` : view.title;
  if (open?.view === view && open.opened.update) return open.opened.update(params);
  fail("");
  const moved = Boolean(open);
  open?.opened.close();
  open = null;
  const root = h("div");
  part("view").replaceChildren(root);
  const place = { root, params, go, run: () => runOf(route().params.run) };
  try {
    open = { view, opened: view.open(place) };
  } catch (fault) {
    fail(fault);
  }
  if (moved) part("main").focus({ preventScroll: true });
}

/** @param {View} view @param {Params} params */
function showLinks(view, params) {
  /** @type {Params} */
  const kept = params.run ? { run: params.run } : {};
  const links = views.map((each) => {
    const current = each === view ? "page" : null;
    return h("a", { href: address(each.name, kept), "aria-current": current }, each.title);
  });
  part("views").replaceChildren(...links);
}

/** Goes to the view without an entry in the address, which names views.
 * @param {Event} event */
function skip(event) {
  if (!(event.target instanceof Element && event.target.matches("a.skip"))) return;
  event.preventDefault();
  part("main").focus();
}
