/** A run as files for others: one page, ONNX, the folder that diffusers opens, and the report. */

import { download } from "./api.js";
import { button, h } from "./elements.js";
import { number as numberField, select, text } from "./fields.js";
import { size } from "./figures.js";
import { jobForm } from "./job_form.js";
import { isThere, viewOfRun } from "./run_view.js";
import { counted } from "./run_words.js";
import { several } from "./several.js";
import { state } from "./store.js";

/** @typedef {import("./store.js").Job} Job */
/** @typedef {import("./numbers.js").Details} Details */
/** @typedef {{element: HTMLElement, close: () => void}} Shown */

const OFFERED = ["ddim", "ancestral", "dpm++2m", "dpm++2m-sde", "heun", "unipc-2"]; // samplers of a page
const STEPS = "5 10 20 50"; // what `ancestral share` leaves to the model, which may have fewer timesteps
const BITS = ["32", "16", "8"]; // of a weight
const ENGINE = 110e3, STEP = 220, GRAPH = 60e3; // bytes, at most: a page without its model, a step of a plan, a graph without weights

/** @type {import("./main.js").View} */
export const view = {
  name: "share",
  title: "Share",
  open: (place) => viewOfRun("share", place, (details) => opened(place.root, details), isThere),
};

/**
 * @param {HTMLElement} root
 * @param {Details} details
 * @returns {import("./main.js").Opened}
 */
function opened(root, details) {
  const files = details.kind === "autoencoder" ? [] : [page(details), onnx(details), folder(details)];
  const shown = [...files, ...(["run", "autoencoder"].includes(details.kind) ? [report(details)] : [])];
  root.append(...shown.map((each) => each.element));
  return { close: () => shown.forEach((each) => each.close()) };
}

/**
 * @param {Details} details
 * @returns {Shown}
 */
function page(details) {
  const name = text("Title", "", { optional: true, placeholder: details.name }), bits = select("Bits of a weight", BITS, "16", { help: "8 halves the file; 32 are the numbers of the run" });
  const words = text("Words beneath it", "", { rows: 2, optional: true, help: "what the page says of the model, at most 500 letters" });
  const samplers = several("Samplers", state.samplers, OFFERED, "beside the one that is the run's own");
  const counts = text("Steps", STEPS, { help: "by how many each sampler generates" });
  const images = numberField("Images at first", null, { min: 1, max: 64, step: 1, optional: true, help: "as many as take seconds" });
  const prompts = text("Prompts at first", "", { rows: 2, optional: true, help: "a line each" });
  const steps = () => counts.value.split(/[\s,]+/).filter(Boolean).map(Number);
  const estimate = () => {
    const offered = (samplers.value.length + 1) * steps().reduce((sum, each) => sum + each, 0);
    return (4 / 3) * details.parameters * (Number(bits.value) / 8) + ENGINE + (details.sampling.steps + offered) * STEP;
  };
  return offer({
    title: "One page", estimate, details, kind: "share", start: "Write the page",
    about: [
      h("p", null, "One HTML file with the model in it, which generates in a browser: opened from disk, it asks the network for nothing,"
        + " and the same seed gives the image that the run gives with the same weights."),
      contents([
        ["In it", inside(details)],
        ["Not in it", "images, captions, the path of the run, the path of the data, your name"],
        ["Look at them first", details.classes.length ? `names of classes: ${details.classes.join(", ")}` : "what you write as title and words"],
      ]),
    ],
    fields: [name, words, bits, samplers, counts, images, ...(details.reads_text ? [prompts] : [])],
    settings: () => ({
      ...(name.value ? { name: name.value } : {}), words: words.value, weights: Number(bits.value), samplers: samplers.value,
      ...(counts.value === STEPS ? {} : { step_counts: steps() }), num_images: images.value, prompt: prompts.value.split("\n").filter(Boolean),
    }),
    after: "Save it and open it from where you saved it, or send it.",
  });
}

/**
 * @param {Details} details
 * @returns {Shown}
 */
function onnx(details) {
  const bits = select("Bits of a weight", BITS, "32", { help: "computed with are 32 in any case" });
  const about = [
    h("p", null, "For programs in other languages: the network, and how it samples in the file's metadata. It generates without torch."),
    contents([["In it", inside(details)], ["Not in it", "paths, stack traces, names of users, images"]]),
  ];
  const remedy = "expected onnx to be installed; run: pip install 'ancestral[onnxruntime]', and start the studio again";
  if (!details.writes_onnx) return plain("ONNX", ...about, h("p", { class: "warning" }, remedy));
  const estimate = () => details.parameters * (Number(bits.value) / 8) + GRAPH;
  return offer({
    title: "ONNX", estimate, details, about, kind: "export", start: "Write ONNX", fields: [bits],
    settings: () => ({ onnx: null, weights: Number(bits.value) }), after: "",
  });
}

/**
 * @param {Details} details
 * @returns {Shown}
 */
function folder({ kind, place, name }) {
  const where = kind === "run" ? `${place}/pipeline` : place;
  if (kind === "model") {
    return plain("Folder of diffusers", h("p", null, `${name} comes along with this package, as a folder that diffusers reads.`));
  }
  return plain("Folder of diffusers",
    h("p", null, "The run's pipeline is one already: it lies in the folder of the studio, at ", h("code", null, where), "."),
    h("pre", { tabindex: 0, "aria-label": "Program" }, h("code", null,
      `from ancestral import Pipeline\n\npipeline = Pipeline.load("${where}")`)),
    h("p", null, "diffusers opens it by the class that its model_index.json names; one that is named AncestralUNet there it refuses."));
}

/**
 * @param {Details} details
 * @returns {Shown}
 */
function report(details) {
  return offer({
    title: "Report", details, kind: "report", start: "Write the report", fields: [], settings: () => ({}), after: "",
    about: [h("p", null, "One HTML page that shows the run: its losses, images from fixed seeds, nearest training images, all numbers and"
      + " settings. It holds training images and the path of the data: look at it before you send it.")],
  });
}

/**
 * @param {string} title
 * @param {...import("./elements.js").Child} children
 * @returns {Shown}
 */
function plain(title, ...children) {
  return { element: h("section", { "aria-label": title }, h("h2", null, title), ...children), close: () => {} };
}

/**
 * A section with a form that writes files, which can be saved when they are there.
 *
 * @param {{title: string, about: import("./elements.js").Child[], details: Details, kind: string, start: string, after: string,
 *   fields: {element: HTMLElement}[], settings: () => object, estimate?: () => number}} offered
 * @returns {Shown}
 */
function offer({ title, about, details, kind, start, after, fields, settings, estimate }) {
  const files = h("div"), expected = h("p", { class: "soft" });
  const shown = () => {
    if (estimate) expected.textContent = `The file has at most about ${size(estimate())}.`;
    return settings();
  };
  const form = jobForm({
    title, kind, view: "share", run: details.id, start, fields, settings: shown,
    done: (job) => files.replaceChildren(...(job.state === "done" ? written(job, after) : [])),
  });
  shown();
  const element = h("section", { "aria-label": title }, h("h2", null, title), ...about, expected, form.element, files);
  element.addEventListener("input", shown);
  return { element, close: form.close };
}

/**
 * @param {Job} job
 * @param {string} after
 * @returns {HTMLElement[]}
 */
function written(job, after) {
  const places = /** @type {string[]} */ (job.result?.files ?? (job.result?.file ? [job.result.file] : []));
  const rows = job.files.map(({ name, bytes }, i) => {
    const save = button(`Save ${name}`, () => download(`/api/jobs/${job.id}/files/${i}`, name));
    const where = places[i] && h("span", { class: "soft" }, "It lies at ", h("code", null, places[i]));
    return h("div", { class: "actions" }, save, h("span", null, size(bytes)), where);
  });
  return [...rows, ...(after ? [h("p", null, after)] : [])];
}

/** @param {Details} details */
function inside({ parameters, classes, attributes, reads_text: reads, prediction, schedule }) {
  const names = [classes.length && "names of classes", attributes.length && "names of attributes", reads && "its tokenizer"];
  const noise = schedule ? `the ${schedule.name} schedule, what the network predicts (${prediction})` : "its noise";
  return [`a network of ${counted(parameters)} weights and their hash`, noise, ...names.filter(Boolean)].join("; ");
}

/** @param {[string, string][]} pairs */
function contents(pairs) {
  return h("dl", { class: "contents" }, ...pairs.map(([name, what]) => h("div", null, h("dt", null, name), h("dd", null, what))));
}
