/** What was measured of a run, each number with its error, and forms that measure it. */

import { get } from "./api.js";
import { fail, h } from "./elements.js";
import { showEvaluation, evaluationFields } from "./evaluation_numbers.js";
import { likelihoodFields, showLikelihood } from "./likelihood_numbers.js";
import { showQuality, showRate } from "./codec_numbers.js";
import { showSweep, sweepFields } from "./sweep_numbers.js";
import { jobForm } from "./job_form.js";
import { isThere, viewOfRun } from "./run_view.js";
import { subscribe } from "./store.js";

/** @typedef {any} Details of a run, as GET /api/runs/{id} has them */
/**
 * @typedef {{element: HTMLElement, close: () => void}} Shown
 * @typedef {{fields: {element: HTMLElement}[], settings: () => object}} Asked
 * @typedef {{name: string, title: string, about: string, kinds: string[], verb: string,
 *   show: (file: any, details: Details) => Shown, ask?: (details: Details) => Asked}} Measurement
 *   `kinds` of runs that it is a measurement of; without `ask` it is measured by the command line alone
 */

/** @type {Measurement[]} */
const MEASUREMENTS = [
  {
    name: "evaluation", title: "How good the images are", kinds: ["run"], verb: "evaluate",
    about: "Images are generated and compared with held-out ones, beside what real images score.",
    show: showEvaluation, ask: evaluationFields,
  },
  {
    name: "sweep", title: "Quality against network calls", kinds: ["run"], verb: "sweep",
    about: "Samplers generate the same images by few network calls each, and the cheapest good one is recommended.",
    show: showSweep, ask: sweepFields,
  },
  {
    name: "likelihood", title: "Likelihood", kinds: ["run"], verb: "likelihood",
    about: "How many bits the model needs at most to write down held-out images, with every term of the bound.",
    show: showLikelihood, ask: likelihoodFields,
  },
  {
    name: "quality", title: "What the autoencoder is worth", kinds: ["autoencoder"], verb: "train-codec",
    about: "How near restored held-out images come to what they were.", show: showQuality,
  },
  {
    name: "rate", title: "Bytes against quality", kinds: ["autoencoder"], verb: "rate",
    about: "What held-out images are worth, by the bytes that their latents take.", show: showRate,
  },
];

/** @type {import("./main.js").View} */
export const view = {
  name: "numbers",
  title: "Numbers",
  open: (place) => viewOfRun("numbers", place, (details) => opened(place.root, details), isThere),
};

/** @param {HTMLElement} root @param {Details} details @returns {import("./main.js").Opened} */
function opened(root, details) {
  const shown = MEASUREMENTS.filter((each) => each.kinds.includes(details.kind)).map((each) => section(each, details));
  root.append(...(shown.length ? shown.map((each) => each.element) : [unmeasured(details)]));
  const look = async () => {
    try {
      const now = await get(`/api/runs/${details.id}`);
      await Promise.all(shown.map((each) => each.look(now)));
    } catch (fault) {
      fail(fault);
    }
  };
  const leave = subscribe(["run", "result", "state"], (name, changed) => {
    if (name === "state" || changed.id === details.id || changed.run === details.id) look();
  });
  return {
    close() {
      leave();
      shown.forEach((each) => each.close());
    },
  };
}

/** @param {Details} details */
function unmeasured({ name }) {
  return h("p", null, `${name} is no run of its own: what it is measured on lies in a run. By the command line, `,
    h("code", null, `ancestral evaluate ${name}`), " measures it all the same, if its data are there.");
}

/** @typedef {{element: HTMLElement, look: (details: Details) => Promise<void>, close: () => void}} Section */

/** @param {Measurement} measurement @param {Details} details @returns {Section} */
function section({ name, title, about, verb, show, ask }, details) {
  const place = h("div"), id = `numbers-${name}`;
  const stale = h("p", { class: "warning", hidden: true }, h("strong", null, "Out of date. "),
    "The run has saved other weights since; these are numbers of those before.");
  const element = h("section", { "aria-labelledby": id }, h("h2", { id }, title), stale, place);
  let shown = /** @type {Shown | null} */ (null), text = "";
  const look = async (/** @type {Details} */ { numbers, outdated }) => {
    if (!numbers.includes(name)) return;
    stale.hidden = !outdated.includes(name);
    const file = await get(`/api/runs/${details.id}/numbers/${name}`), now = JSON.stringify(file);
    if (now === text) return;
    text = now;
    shown?.close();
    shown = show(file, details);
    place.replaceChildren(shown.element);
  };
  const own = ask?.(details);
  const asked = own && jobForm({ title, kind: verb, view: "numbers", run: details.id, start: "Measure", ...own });
  const form = asked && h("details", { class: "block" }, h("summary", null, "Measure"), asked.element);
  if (form) element.append(form);
  if (details.numbers.includes(name)) look(details).catch(fail);
  else {
    place.append(h("p", null, `Not measured yet. ${about}`));
    if (form) form.open = true;
    else place.append(h("p", null, "By the command line: ", h("code", null, `ancestral ${verb} ${details.place}`)));
  }
  return {
    element,
    look,
    close() {
      shown?.close();
      asked?.close();
    },
  };
}
