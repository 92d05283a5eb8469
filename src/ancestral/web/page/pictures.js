/** Pictures of the server, which an <img> cannot fetch itself: it sends no key. */

import { blob } from "./api.js";
import { h } from "./elements.js";

const MOST = 200; // pictures kept
const kept = /** @type {Map<string, Promise<string>>} */ (new Map());

/** An address that an <img> shows.
 * @param {string} path under /api, of a picture that never changes */
export function pictureUrl(path) {
  const known = kept.get(path);
  if (known) {
    kept.delete(path);
    kept.set(path, known);
    return known;
  }
  const made = blob(path).then(URL.createObjectURL);
  kept.set(path, made);
  made.catch(() => kept.delete(path));
  if (kept.size > MOST) {
    const [oldest, url] = /** @type {[string, Promise<string>]} */ (kept.entries().next().value);
    kept.delete(oldest);
    url.then(URL.revokeObjectURL, () => {});
  }
  return made;
}

/**
 * An <img> and what shows another picture in it; the last one asked for is shown, in whatever order they arrive.
 *
 * @param {string} [className]
 * @returns {{element: HTMLImageElement, show: (path: string, alt: string) => Promise<void>}}
 */
export function picture(className = "pixels") {
  const element = h("img", { class: className, alt: "" });
  let asked = "";
  return {
    element,
    async show(path, alt) {
      if (path === asked) return;
      asked = path;
      const url = await pictureUrl(path).catch((fault) => {
        if (asked === path) asked = "";
        throw fault;
      });
      if (path !== asked) return;
      element.src = url;
      element.alt = alt;
    },
  };
}

/** The address of a grid of a run.
 * @param {string} run @param {number} step */
export function gridPath(run, step) {
  return `/api/runs/${run}/grids/${step}.png`;
}
