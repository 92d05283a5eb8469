/** The tasks of editing: what each is asked beside images, as fields. Names are those of the settings of a job. */

import { h } from "./elements.js";
import { checkbox, number, range, select } from "./fields.js";

/** @typedef {import("./route.js").Params} Params */
/**
 * @typedef {{name: string, label: string, kind: "number" | "range" | "select" | "box", usual: number | string | boolean,
 *   min?: number, max?: number, step?: number | "any", choices?: string[], help?: string, some?: string[]}} Asked
 *   `some`: the value is a row of as many numbers, with these labels
 */
/**
 * @typedef {{title: string, about: string, images: number, masked?: boolean, single?: boolean, given?: boolean,
 *   asked: Asked[]}} Task
 *   `single`: one result an image; `given`: files count as they were given, not as they are shown here
 */

const rounds = numeric("rounds", "Rounds", 10, { kind: "range", min: 1, max: 20, help: "More fit what is generated better to what is kept; calls grow as it." });
const jump = numeric("jump", "Steps of a round", 1, { min: 1 });
const degrade = /** @type {Asked} */ ({ name: "degrade", label: "The image is a whole one: degrade it first, and keep both", kind: "box", usual: true });
const how = /** @type {Asked} */ ({ name: "how", label: "By", kind: "select", usual: "gradient", choices: ["projection", "gradient", "moments"], help: "each costs more than the one before" });
const noise = numeric("noise", "Noise in the image", 0.02, { min: 0, step: "any" });
const corrections = numeric("corrections", "Corrections", 1, { min: 0, help: "more calls a step up, for a truer way" });
const stride = numeric("stride", "Stride of windows", "", { min: 1, help: "half a window unless asked otherwise" });

export const TASKS = /** @type {Record<string, Task>} */ ({
  inpaint: { title: "Fill", about: "Generates what is painted anew, and keeps the rest to the bit.", images: 1, masked: true, asked: [rounds, jump] },
  outpaint: { title: "Continue", about: "Continues an image past its edges, and keeps it to the bit.", images: 1, asked: [
    { ...numeric("margins", "Pixels to add", 0, { min: 0, max: 1024 }), some: ["Top", "Right", "Bottom", "Left"] }, rounds, jump, stride,
  ] },
  vary: { title: "Vary", about: "Variations of an image, or what the model makes of a sketch.", images: 1, asked: [
    numeric("strength", "Strength", 0.6, { kind: "range", min: 0.05, max: 1, step: 0.01, help: "share of the image's contrast that is lost to noise" }),
  ] },
  interpolate: { title: "Interpolate", about: "The way from one image to another, through their noises.", images: 2, single: true, asked: [
    numeric("points", "Images on the way", 9, { min: 2, max: 64 }), corrections, numeric("grain", "Grain", 0.1, { min: 0, step: "any", help: "noise given to images before they are inverted" }),
  ] },
  invert: { title: "Invert", about: "The noise that an image comes from, and what that gives again.", images: 1, single: true, asked: [corrections] },
  colorize: { title: "Colour", about: "Colours a grey image.", images: 1, given: true, asked: [degrade, how, noise] },
  enlarge: { title: "Enlarge", about: "Makes a large image of a small one.", images: 1, given: true, asked: [
    numeric("factor", "Times larger", 2, { min: 2 }), degrade, how, noise,
  ] },
  deblur: { title: "Sharpen", about: "Sharpens an image of known blur.", images: 1, given: true, asked: [
    numeric("blur", "Deviation of the blur, in pixels", 1, { min: 0.1, step: "any" }), degrade, how, noise,
  ] },
  canvas: { title: "Canvas", about: "Images larger than those of training, through windows.", images: 0, asked: [
    { ...numeric("size", "Size", "", { min: 1, max: 1024 }), some: ["Height", "Width"] }, stride,
  ] },
  tile: { title: "Tile", about: "Textures that tile.", images: 0, asked: [
    { name: "by", label: "By", kind: "select", usual: "rolls", choices: ["rolls", "padding", "windows"] },
    { ...numeric("size", "Size", "", { min: 1, max: 1024 }), some: ["Height", "Width"] },
  ] },
});

/**
 * @param {string} name
 * @param {string} label
 * @param {number | ""} usual
 * @param {Partial<Asked>} [more]
 * @returns {Asked}
 */
function numeric(name, label, usual, more) {
  return { name, label, usual, kind: "number", step: 1, ...more };
}

/**
 * What a task is asked, as a job takes it: of the fields those that are filled in.
 * @param {Task} task
 * @param {Params} params
 */
export function askedOfTask(task, params) {
  const found = /** @type {Record<string, any>} */ ({});
  for (const { name, kind, usual, some } of task.asked) {
    const texts = (some ?? [""]).map((_, i) => params[some ? `${name}.${i}` : name] ?? String(usual));
    if (texts.every((each) => each === "")) continue;
    const values = texts.map((each) => (kind === "box" ? each === "true" : kind === "select" ? each : Number(each)));
    found[name] = some ? values : values[0];
  }
  return found;
}

/**
 * The fields of a task.
 *
 * @param {Task} task
 * @param {(name: string, value: string) => void} change
 * @returns {import("./sampling_fields.js").Part}
 */
export function taskFields(task, change) {
  const fields = task.asked.flatMap((asked) => {
    return (asked.some ?? [asked.label]).map((label, i) => fieldOf({ ...asked, label, name: asked.some ? `${asked.name}.${i}` : asked.name }, change));
  });
  const element = h("div", { class: "fields" }, ...fields.map(({ field }) => field.element));
  return {
    element,
    show(params) {
      for (const { name, usual, field } of fields) {
        const to = params[name] ?? String(usual);
        if (String(field.value ?? "") !== to) field.value = typeof usual === "boolean" ? to === "true" : to;
      }
    },
  };
}

/**
 * @param {Asked} asked
 * @param {(name: string, value: string) => void} change
 */
function fieldOf({ name, label, kind, usual, choices, ...more }, change) {
  const options = { ...more, optional: usual === "", change: (/** @type {any} */ to) => change(name, String(to ?? "")) };
  const made = () => {
    if (kind === "select") return select(label, choices ?? [], String(usual), options);
    if (kind === "box") return checkbox(label, Boolean(usual), options);
    if (kind === "range") return range(label, Number(usual), options);
    return number(label, usual === "" ? null : Number(usual), options);
  };
  return { name, usual, field: /** @type {import("./fields.js").Field<any>} */ (made()) };
}
