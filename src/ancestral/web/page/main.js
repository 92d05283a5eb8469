/** The studio's page: shows the view that the address names, beside the runs and above the jobs. */

import { adoptToken, UNKNOWN_KEY } from "./api.js";
import { fail, h, on, part } from "./elements.js";
import { showJobs } from "./job_bar.js";
import { address, follow, go, route } from "./route.js";
import { askForKey } from "./key_form.js";
import { showRuns } from "./run_list.js";
import { runOf, start } from "./store.js";
import { offerTheme } from "./theme.js";

/** @typedef {import("./route.js").Params} Params */
/**
 * @typedef {{root: HTMLElement, params: Params, go: import("./route.js").Go,
 *   run: () => import("./store.js").Run | null}} Place
 *   `root` is empty and the view's own; `run` is the one that the address names
 */
/** @typedef {{update?: (params: Params) => void, close: () => void}} Opened */
/** @typedef {{name: string, title: string, open: (place: Place) => Opened}} View */

/** Each is the `view` of a module of its name, which is fetched when it is first shown. */
const VIEWS = {
  runs: "Runs",
  train: "Train",
  draw: "Draw",
  trajectory: "Trajectory",
  edit: "Edit",
  schedule: "Schedule",
  numbers: "Numbers",
  share: "Share",
  tour: "Tour",
};
const FIRST = "runs";
let open = /** @type {{name: string, opened: Opened} | null} */ (null);
let asked = 0; // how often another view was asked for

main().catch(fail);

async function main() {
  adoptToken();
  on(window, "hashchange", () => adoptToken() && location.reload());
  on(window, UNKNOWN_KEY, askForKey);
  offerTheme();
  on(document, "click", skip);
  const early = moduleOf(route().view); // beside what the server is asked
  await start();
  showRuns(part("runs"));
  showJobs(part("jobs"));
  follow(() => show().catch(fail));
  await early;
  await show();
}

/**
 * The module of a view.
 *
 * @param {string} name
 * @returns {Promise<{view: View}>}
 */
function moduleOf(name) {
  return import(`./${name in VIEWS ? name : FIRST}.js`);
}

/** Shows what the address names: the open view goes on where it is the same. */
async function show() {
  const { view: name, params } = route();
  if (!(name in VIEWS)) return go(FIRST, {}, { replace: true });
  const run = runOf(params.run),
    title = VIEWS[/** @type {keyof typeof VIEWS} */ (name)];
  showLinks(name, params);
  document.title = [title, run?.name, "Ancestral studio"].filter(Boolean).join(" · ");
  part("title").textContent = run && name !== FIRST ? `${title}: ${run.name}` : title;
  if (open?.name === name && open.opened.update) return open.opened.update(params);
  fail("");
  const own = ++asked,
    moved = Boolean(open),
    root = h("div");
  open?.opened.close();
  open = null;
  part("view").replaceChildren(root);
  const { view } = await moduleOf(name);
  if (own !== asked) return;
  const place = { root, params: route().params, go, run: () => runOf(route().params.run) };
  open = { name, opened: view.open(place) };
  if (moved) part("main").focus({ preventScroll: true });
}

/**
 * @param {string} current
 * @param {Params} params
 */
function showLinks(current, params) {
  /** @type {Params} */
  const kept = params.run ? { run: params.run } : {};
  const links = Object.entries(VIEWS).map(([name, title]) => {
    return h("a", { href: address(name, kept), "aria-current": name === current ? "page" : null }, title);
  });
  part("views").replaceChildren(...links);
}

/**
 * Goes to the view without an entry in the address, which names views.
 *
 * @param {Event} event
 */
function skip(event) {
  if (!(event.target instanceof Element && event.target.matches("a.skip"))) return;
  event.preventDefault();
  part("main").focus();
}
