/** The view and what it shows, as the address says it: `#/draw?run=1&sampler=ddim`. */

/** @typedef {Record<string, string>} Params */
/** @typedef {(view: string, params?: Params, options?: {replace?: boolean}) => void} Go */

/** @returns {{view: string, params: Params}} */
export function route() {
  const [view, query] = location.hash.replace(/^#\/?/, "").split("?");
  return { view, params: Object.fromEntries(new URLSearchParams(query ?? "")) };
}

/**
 * @param {string} view
 * @param {Params} [params] those of "" are left out
 */
export function address(view, params = {}) {
  const query = new URLSearchParams(Object.entries(params).filter(([, value]) => value !== "" && value !== undefined));
  return `#/${view}${String(query) ? `?${query}` : ""}`;
}

/**
 * Shows a view, by a new entry of the history or in place of the last.
 *
 * @type {Go}
 */
export function go(view, params = {}, { replace = false } = {}) {
  const to = address(view, params);
  if (to === location.hash) return;
  history[replace ? "replaceState" : "pushState"](null, "", to);
  dispatchEvent(new HashChangeEvent("hashchange"));
}

/** @param {() => void} act called whenever the address has changed */
export function follow(act) {
  addEventListener("hashchange", act);
}
