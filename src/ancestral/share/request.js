/**
 * What is asked of images: the form, the address after # in which it stands, and the command that asks the same.
 *
 * @typedef {{seed: bigint, told: Row, isTold: boolean, words: string}} Asked of an image; words say what it is told
 */

import { guided, planOf } from "./choice.js";
import { about, asNumber, element, part } from "./elements.js";

const MOST_SEED = 2n ** 63n - 1n;
const OF_SAMPLER = ["eta", "variance", "grid"]; // settings that belong to the sampler they were asked with
const OF_GUIDANCE = ["negative", "guidance_interval", "guidance_rescale"]; // that mean nothing without
const FIELDS = ["class", "prompt", "seed", "images", "sampler", "steps", "guidance"];

/** Fills the form with what there is to choose, as the model generates unless asked otherwise. */
export function offer() {
  const { classes, attributes, text, knows_null: free, usual } = about;
  part("class-field").hidden = !classes.length;
  part("class").append(new Option("each in turn", "all"), ...classes.map((name, i) => new Option(name, i)));
  if (free) part("class").append(new Option("none in particular", "none"));
  part("prompt-field").hidden = !text;
  part("prompt").value = about.prompts.join("\n");
  part("prompt").required = Boolean(text) && !free;
  part("attributes-field").hidden = !attributes.length;
  attributes.forEach(({ name }, i) => {
    const field = element("label", `${name} `), input = element("input"), placeholder = free ? "any" : "";
    Object.assign(input, { id: `attribute-${i}`, type: "number", step: "any", placeholder, required: !free });
    field.append(input);
    part("attributes").append(field);
  });
  const guided = classes.length || attributes.length || text;
  part("guidance-field").hidden = !(guided && about.can_guide);
  part("sampler").append(...Object.keys(about.samplers).map((name) => new Option(name)));
  part("seed").value = 0;
  part("images").value = about.images;
  part("guidance").max = Math.max(8, usual.guidance);
  part("guidance").value = usual.guidance;
  part("sampler").value = usual.sampler;
  offerSteps(usual.steps);
  showGuidance();
}

/** The numbers of steps of the sampler that is chosen, the one nearest to what is wanted chosen. */
export function offerSteps(wanted) {
  const counts = about.samplers[part("sampler").value];
  part("steps").replaceChildren(...counts.map((count) => new Option(count)));
  const nearest = [...counts].sort((a, b) => Math.abs(a - wanted) - Math.abs(b - wanted))[0];
  part("steps").value = nearest;
}

export function showGuidance() {
  part("guidance-value").textContent = asNumber("guidance") === 1 ? "1 (none)" : part("guidance").value;
}

/** The form as the address says. */
export function restore() {
  const kept = new URLSearchParams(location.hash.slice(1));
  for (const name of ["sampler", ...FIELDS.filter((each) => each !== "sampler")]) {
    const value = kept.get(name), field = part(name);
    if (value === null) continue;
    if (field.options && ![...field.options].some((option) => option.value === value)) continue;
    const before = field.value;
    field.value = value;
    if (!field.checkValidity()) field.value = before;
    if (name === "sampler") offerSteps(about.usual.steps);
  }
  about.attributes.forEach(({ name }, i) => {
    if (kept.has(`=${name}`)) part(`attribute-${i}`).value = kept.get(`=${name}`);
  });
  showGuidance();
}

/** The address as the form says. */
export function remember() {
  const kept = new URLSearchParams();
  for (const name of FIELDS) {
    if (!part(name).closest("[hidden]") && part(name).value !== "") kept.set(name, part(name).value);
  }
  about.attributes.forEach(({ name }, i) => kept.set(`=${name}`, part(`attribute-${i}`).value));
  history.replaceState(null, "", `#${kept}`);
}

/** What is asked of each image. @returns {Asked[]} */
export function asked() {
  const count = asNumber("images"), first = BigInt(part("seed").value), prompts = lines(part("prompt").value);
  const most = MOST_SEED - BigInt(count) + 1n;
  if (first > most) throw new RangeError(`expected a seed of at most ${most} for so many images, got ${first}`);
  const attributes = about.attributes.map(({ mean, std }, i) => (part(`attribute-${i}`).valueAsNumber - mean) / std);
  return Array.from({ length: count }, (_, i) => {
    const choice = part("class").value, index = choice === "all" ? i % about.classes.length : Number(choice);
    const label = about.classes.length && choice !== "none" ? index : null;
    const prompt = prompts.length ? prompts[i % prompts.length] : null;
    const told = { label, attributes: attributes.length ? attributes : null, prompt };
    const isTold = label !== null || prompt !== null || attributes.some((each) => !Number.isNaN(each));
    const words = [label === null ? "" : `class ${about.classes[label]}`, prompt].filter(Boolean).join(", ");
    return { seed: first + BigInt(i), told, isTold, words };
  });
}

/** The plan that was chosen; guidance pushes nothing where nothing is told. */
export function chosenPlan(plans, isTold) {
  const whole = planOf(plans, part("sampler").value, asNumber("steps")), guidance = asNumber("guidance");
  if (!isTold || part("guidance-field").hidden) return guided(whole, 1);
  return guidance === about.usual.guidance ? whole : guided(whole, guidance);
}

/** The form asks for other seeds, those that follow. */
export function askForNext() {
  const next = BigInt(part("seed").value) + BigInt(asNumber("images"));
  part("seed").value = String(next > MOST_SEED ? 0n : next);
  showCommand();
}

/** The form asks for what an image was told. @param {Row | null} told */
export function askFor(told) {
  if (Number.isInteger(told?.label)) part("class").value = told.label;
  if (told?.prompt) part("prompt").value = told.prompt;
  showCommand();
}

/** The command that generates the same images, or fills them where an image is painted over. */
export function showCommand() {
  const fills = !part("brush").hidden;
  const does = fills ? ["edit", "inpaint", "RUN", "IMAGE", "--mask", "MASK"] : ["sample", "RUN"];
  const words = ["ancestral", ...does, "--seed", part("seed").value, "--num-images", part("images").value];
  const choice = part("class").value, usually = fills ? "none" : "all";
  const chosen = about.classes.length ? (choice in about.classes ? className(about.classes[choice]) : choice) : usually;
  if (fills) words.push("--rounds", part("rounds").value);
  if (chosen !== usually) words.push(...valued("--classes", [chosen]));
  for (const prompt of lines(part("prompt").value)) words.push(...valued("--prompt", [prompt]));
  const values = about.attributes.map(({ name }, i) => [name, part(`attribute-${i}`).value]);
  const numbers = values.filter(([, value]) => value).map((each) => each.join("="));
  if (numbers.length) words.push(...valued("--attributes", [numbers.join(",")]));
  words.push("--sampler", part("sampler").value, "--steps", part("steps").value);
  if (!part("guidance-field").hidden) words.push("--guidance", part("guidance").value);
  const isUsual = part("sampler").value === about.usual.sampler;
  const isGuided = ![0, 1].includes(asNumber("guidance"));
  const isMeant = (name) => (isUsual || !OF_SAMPLER.includes(name)) && (isGuided || !OF_GUIDANCE.includes(name));
  const flags = about.flags.filter(([name]) => isMeant(name));
  words.push(...flags.flatMap(([name, values]) => valued(`--${name}`, values)));
  const quoted = (word) => (/^[\w.,:+-][\w.,:=+-]*$/.test(word) ? word : `'${word.replaceAll("'", "'\\''")}'`);
  part("command").textContent = words.map(quoted).join(" ");
  part("command-note").hidden = !fills;
}

/** An option and its values; one that looks like an option is bound to it. */
function valued(option, values) {
  return values.length === 1 && values[0].startsWith("-") ? [`${option}=${values[0]}`] : [option, ...values];
}

/** A class as the command line takes it, which means something else by some names. */
function className(name) {
  return ["all", "none"].includes(name) || name.startsWith("=") ? `=${name}` : name;
}

function lines(text) {
  return about.text ? text.split("\n").map((line) => line.trim()).filter(Boolean) : [];
}
