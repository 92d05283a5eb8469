/**
 * How images are generated, and what they show, as fields. All that is asked is kept as texts by name, as an address
 * holds them; what is left out or empty is as the run says.
 */

import { get } from "./api.js";
import { fail, h } from "./elements.js";
import { number, select, text } from "./fields.js";
import { state } from "./store.js";

/** @typedef {import("./route.js").Params} Params */
/** @typedef {{element: HTMLElement, show: (params: Params) => void}} Part of a form: fields, and what fills them in */
/**
 * @typedef {{id: string, name: string, classes: string[], attributes: string[], reads_text: boolean, tells_noise: boolean, shape: [number, number, number],
 *   num_timesteps: number, sampling: Record<string, any>}} Details what GET /api/runs/{id} says, as far as it counts here
 */
/** @typedef {(name: string, value: string) => void} Change */

const GRIDS = ["trailing", "log-snr", "middle", "karras", "quadratic"];
const NOISY = ["ddim", "dpm++2m-sde"]; // samplers with an eta
const NUMBERS = ["steps", "eta", "guidance", "guidance_rescale"];
const WORDS = ["sampler", "grid", "negative"];
export const SAMPLING = [...NUMBERS, ...WORDS, "guidance_from", "guidance_to"];
const OF_GUIDANCE = ["guidance_from", "guidance_to", "guidance_rescale", "negative"];

/**
 * @param {Params} params
 * @param {string} [before] what names begin with
 */
function of(params, before = "") {
  return (/** @type {string} */ name) => params[before + name] ?? "";
}

/**
 * The settings that fields ask for, as a job takes them.
 * @param {Params} params
 * @param {string} [before]
 */
export function samplingOf(params, before) {
  const asked = of(params, before), found = /** @type {Record<string, any>} */ ({});
  for (const name of NUMBERS) if (asked(name)) found[name] = Number(asked(name));
  for (const name of WORDS) if (asked(name)) found[name] = asked(name);
  const [from, to] = [asked("guidance_from"), asked("guidance_to")];
  if (from || to) found.guidance_interval = [Number(from || 0), to ? Number(to) : 1e6];
  return found;
}

/**
 * The same way back.
 * @param {Record<string, any>} settings
 * @param {string} [before]
 * @returns {Params}
 */
export function asParams(settings, before = "") {
  const { guidance_interval: interval, ...rest } = settings, found = /** @type {Params} */ ({});
  for (const name of [...NUMBERS, ...WORDS]) if (rest[name] !== undefined) found[before + name] = String(rest[name]);
  if (interval) [found[`${before}guidance_from`], found[`${before}guidance_to`]] = interval.map(String);
  return found;
}

/**
 * In what two ways to generate differ, in words; "" where they do not. The names of the other's begin with `before`.
 *
 * @param {Params} params
 * @param {string} before
 * @param {Details} details
 */
export function differences(params, before, { sampling }) {
  const [from, to] = sampling.guidance_interval ?? [], usual = /** @type {Record<string, any>} */ ({ ...sampling, guidance_from: from, guidance_to: to });
  const words = (/** @type {string} */ name, /** @type {string} */ asked) => asked || String(usual[name] ?? "usual");
  const pairs = SAMPLING.map((name) => ({ name, one: words(name, of(params)(name)), other: words(name, of(params, before)(name)) }));
  const found = pairs.filter(({ one, other }) => one !== other);
  return found.map(({ name, one, other }) => `${name.replaceAll("_", " ")} ${other} instead of ${one}`).join(", ");
}

/**
 * Fields of sampling and of guidance.
 *
 * @param {Details} details
 * @param {Change} change
 * @param {string} [before] what names begin with
 * @returns {Part}
 */
export function samplingFields(details, change, before = "") {
  const { sampling, num_timesteps: most } = details, own = (/** @type {any} */ value) => `usual: ${value}`;
  const told = (/** @type {string} */ name) => ({ optional: true, change: (/** @type {any} */ to) => tell(name, to) });
  const usual = (/** @type {string} */ name) => String(sampling[name] ?? "");
  const fields = {
    sampler: select("Sampler", withOwn(state.samplers, own(sampling.sampler)), "", told("sampler")),
    steps: number("Steps", null, { ...told("steps"), min: 1, max: Math.min(1000, most), step: 1, placeholder: own(sampling.steps) }),
    grid: select("Grid of steps", withOwn(GRIDS, "usual"), "", told("grid")),
    eta: number("Eta", null, { ...told("eta"), min: 0, max: 1, placeholder: own(usual("eta") || "").replace(/: $/, ""), help: "noise added: 0 none, 1 as ancestral" }),
    guidance: number("Guidance", null, { ...told("guidance"), min: 0, placeholder: own(sampling.guidance), help: "1 is none, more follows what is asked more closely" }),
    guidance_from: number("Guide from", null, { ...told("guidance_from"), min: 0, placeholder: "0", help: "noise over signal" }),
    guidance_to: number("to", null, { ...told("guidance_to"), min: 0, placeholder: "all", help: "such as 0.3 to 3" }),
    guidance_rescale: number("Rescale", null, { ...told("guidance_rescale"), min: 0, max: 1, placeholder: "0", help: "1: all the contrast of unguided images" }),
    negative: text("Away from", "", { ...told("negative"), help: details.reads_text ? "a text" : "a class" }),
  };
  let now = /** @type {Params} */ ({});
  const show = (/** @type {Params} */ params) => {
    const asked = of((now = params), before);
    for (const [name, field] of Object.entries(fields)) {
      const value = asked(name), before = field.input instanceof HTMLInputElement ? field.input.value : field.value;
      if (value !== before) /** @type {any} */ (field).value = value;
    }
    const guidance = Number(asked("guidance") || sampling.guidance);
    fields.eta.element.hidden = !NOISY.includes(asked("sampler") || sampling.sampler);
    for (const name of OF_GUIDANCE) fields[/** @type {"negative"} */ (name)].element.hidden = [0, 1].includes(guidance);
  };
  const tell = (/** @type {string} */ name, /** @type {any} */ value) => {
    change(before + name, value === null ? "" : String(value));
    show(now);
  };
  const canGuide = details.classes.length > 0 || details.attributes.length > 0 || details.reads_text;
  const { sampler, steps, grid, eta, guidance, guidance_from, guidance_to, guidance_rescale, negative } = fields;
  const pair = (/** @type {{element: HTMLElement}[]} */ ...two) => h("div", { class: "pair two" }, ...two.map((each) => each.element));
  const element = h("div", { class: "form" }, pair(sampler, steps), pair(grid, eta));
  if (canGuide) element.append(guidance.element, pair(guidance_from, guidance_to), pair(guidance_rescale, negative));
  return { element, show };
}

/**
 * The noise schedule, out of those that were stored, of a network that is told the log-SNR.
 *
 * @param {Details} details
 * @param {(value: string) => void} change
 * @returns {Part}
 */
export function scheduleField(details, change) {
  const own = { value: "", label: "the run's own" };
  const { element, offer, ...field } = select("Noise schedule", [own], "", { change });
  let asked = "", names = /** @type {string[]} */ ([]);
  const show = () => {
    offer([own, ...new Set([...names, ...(asked ? [asked] : [])])]);
    /** @type {HTMLSelectElement} */ (field.input).value = asked;
  };
  element.hidden = !details.tells_noise;
  if (details.tells_noise) get("/api/schedules").then((stored) => {
    names = stored.map((/** @type {{id: string}} */ { id }) => id);
    show();
  }, fail);
  return {
    element,
    show(params) {
      asked = params.schedule ?? "";
      show();
    },
  };
}

/**
 * @param {string[]} names
 * @param {string} own
 */
function withOwn(names, own) {
  return [{ value: "", label: own }, ...names.map((name) => ({ value: name, label: name }))];
}

/**
 * What images are to show, as a job takes it.
 * @param {Params} params
 * @param {Details} details
 */
export function tellingOf(params, details) {
  const found = /** @type {Record<string, any>} */ ({}), prompts = lines(params.prompt ?? "");
  if (params.classes) found.classes = params.classes;
  if (prompts.length) found.prompt = prompts;
  const told = details.attributes.filter((name) => params[`=${name}`]).map((name) => `${name}=${params[`=${name}`]}`);
  if (told.length) found.attributes = told.join(",");
  return found;
}

/** @param {string} text */
function lines(text) {
  return text.split("\n").map((line) => line.trim()).filter(Boolean);
}

/**
 * How a class is asked for by its name.
 * @param {string} name
 */
export function asAsked(name) {
  return ["none", "all"].includes(name) || name.startsWith("=") ? `=${name}` : name;
}

/**
 * Fields of classes, prompts and attributes, as far as the network is told any.
 *
 * @param {Details} details
 * @param {Change} change
 * @param {{value: string, label: string}[]} some what may be asked
 *   beside single classes, the first of "" is what is asked where nothing is
 * @returns {Part}
 */
export function tellingFields(details, change, some) {
  const { classes, attributes } = details, element = h("div", { class: "form" });
  const choices = [...some, ...classes.map((name) => ({ value: asAsked(name), label: name }))];
  const chosen = select("Class", choices, "", { change: (to) => change("classes", to) });
  const prompt = text("Prompt", "", { rows: 3, optional: true, change: (to) => change("prompt", to), help: "Each line is a prompt, and the images show them in turn." });
  const numbers = attributes.map((name) => {
    return { name: `=${name}`, field: number(name, null, { optional: true, placeholder: "any", change: (to) => change(`=${name}`, String(to ?? "")) }) };
  });
  if (classes.length) element.append(chosen.element);
  if (details.reads_text) element.append(prompt.element);
  if (numbers.length) {
    const legend = h("legend", null, "Attributes");
    element.append(h("fieldset", { class: "form" }, legend, ...numbers.map(({ field }) => field.element)));
  }
  return {
    element,
    show(params) {
      const asked = params.classes ?? "";
      const isNew = !choices.some((each) => each.value === asked);
      chosen.offer(isNew ? [...choices, { value: asked, label: asked }] : choices);
      chosen.value = asked;
      if (prompt.value !== (params.prompt ?? "")) prompt.value = params.prompt ?? "";
      for (const { name, field } of numbers) if (String(field.value ?? "") !== (params[name] ?? "")) field.value = params[name] ? Number(params[name]) : null;
    },
  };
}
