/** What views of one run have in common: they open with what the server says of it, the first usable one unless named. */

import { get } from "./api.js";
import { fail, h } from "./elements.js";
import { runOf, state, subscribe } from "./store.js";

/** @typedef {import("./route.js").Params} Params */
/** @typedef {import("./main.js").Place} Place */
/** @typedef {import("./sampling_fields.js").Details} Details */

/**
 * @param {string} name of the view
 * @param {Place} place
 * @param {(details: Details, params: Params) => import("./main.js").Opened} show fills `place.root`
 * @param {(run: import("./store.js").Run) => boolean} [fits] which runs it can show
 * @returns {import("./main.js").Opened}
 */
export function viewOfRun(name, place, show, fits = ({ usable }) => usable) {
  let run = "", shown = /** @type {import("./main.js").Opened | null} */ (null), latest = place.params, closed = false;
  const clear = () => {
    shown?.close();
    shown = null;
    place.root.replaceChildren();
  };
  const update = (/** @type {Params} */ params) => {
    latest = params;
    if (!params.run) {
      const first = all().find(fits);
      if (first) return place.go(name, { ...params, run: first.id }, { replace: true });
      clear();
      place.root.append(h("p", null, "No run generates images yet. Train one, and it is offered here."));
    } else if (params.run !== run) {
      clear();
      run = params.run;
      load(run);
    } else shown?.update?.(params);
  };
  const load = async (/** @type {string} */ id) => {
    try {
      const card = runOf(id);
      if (card && !fits(card)) return place.root.append(h("p", null, `${card.name} generates no images yet.`));
      const details = await get(`/api/runs/${id}`);
      if (!closed && id === run) shown = show(details, latest);
    } catch (fault) {
      fail(fault);
    }
  };
  const leave = subscribe(["run"], () => !latest.run && update(latest));
  queueMicrotask(() => !closed && update(latest)); // once the view is open: it may go elsewhere
  return {
    update,
    close() {
      closed = true;
      leave();
      clear();
    },
  };
}

/** Runs, then models that come along. */
function all() {
  return [...state.runs.values(), ...state.models.values()];
}

/**
 * What has numbers and can be shared: all but a run that has saved nothing yet.
 *
 * @type {(run: import("./store.js").Run) => boolean}
 */
export const isThere = ({ usable, kind }) => usable || kind === "autoencoder";
