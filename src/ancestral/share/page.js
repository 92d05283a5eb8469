/** The page that `ancestral share` writes: it generates what the form asks for, and does what is pressed. */

import { HEIGHT, WIDTH, about, asNumber, bytes, element, fail, part, say, unpacked } from "./elements.js";
import { pause, play, redraw, redrawAll, save, scrub, showImages } from "./images.js";
import { change, filling, isPainting, offerBrush, openFile, paint, resize, toggleEraser } from "./painting.js";
import { Pool } from "./pool.js";
import {
  askForNext, asked, chosenPlan, offer, offerSteps, remember, restore, showCommand, showGuidance,
} from "./request.js";

let plans, pool, run = 0;

start().catch(fail);

async function start() {
  describe();
  offer();
  offerBrush();
  restore();
  listen();
  const [weights, text] = await Promise.all([unpacked("weights"), unpacked("plans")]);
  plans = JSON.parse(new TextDecoder().decode(text));
  const model = { wasm: bytes(part("kernels").textContent), file: weights.buffer };
  pool = new Pool(part("worker").textContent, model, about.parameters);
  await generate();
}

function describe() {
  part("name").textContent = about.name;
  part("lead").textContent = about.lead;
  for (const [term, said] of about.facts) {
    const pair = element("div");
    pair.append(element("dt", term), element("dd", said));
    part("inside").append(pair);
  }
  part("shown").style.aspectRatio = part("mask").style.aspectRatio = `${WIDTH} / ${HEIGHT}`;
  for (const canvas of [part("shown"), part("mask")]) canvas.classList.toggle("smooth", Math.min(WIDTH, HEIGHT) > 128);
  const isDark = matchMedia("(prefers-color-scheme: dark)");
  showTheme(isDark.matches);
  isDark.addEventListener("change", () => showTheme(isDark.matches));
}

function showTheme(dark) {
  document.documentElement.dataset.theme = dark ? "dark" : "light";
  part("theme").textContent = `Switch to ${dark ? "light" : "dark"}`;
}

/** Generates what the form asks for; while it is painted, so many fillings. */
async function generate() {
  if (!part("request").reportValidity()) return;
  const rows = asked(), fill = filling();
  if (isPainting() && !fill) return say("Paint over what is to be filled anew first.");
  remember();
  stop();
  const number = ++run, begun = performance.now(), images = rows.map((row) => ({ ...row, frames: [], whole: null }));
  showImages(images);
  part("stop").disabled = false;
  part("alert").hidden = true;
  const steps = asNumber("steps"), total = rows.length * (fill ? (steps - 1) * fill.rounds + 1 : steps);
  let done = 0;
  const jobs = rows.map(({ seed, told, isTold }, i) => {
    const { away, text } = about, plan = chosenPlan(plans, isTold);
    return pool.run({ seed: String(seed), plan, told, away, text, fill }, ({ last, ...frame }) => {
      if (number !== run) return;
      images[i].frames.push(frame);
      images[i].whole = last ?? images[i].whole;
      redraw(i);
      sayProgress(++done, total, begun);
    });
  });
  const outcomes = await Promise.allSettled(jobs);
  if (number !== run) return;
  part("stop").disabled = true;
  const fault = outcomes.find(({ status }) => status === "rejected");
  if (fault) return fail(fault.reason);
  const cut = outcomes.filter(({ value }) => value.cut).length;
  sayResult(images, fill ? "filled" : "generated", cut, (performance.now() - begun) / 1000);
}

function sayProgress(done, total, begun) {
  const left = (((performance.now() - begun) / done) * (total - done)) / 1000;
  say(`${Math.round((100 * done) / total)} %${left > 1 ? `, ${Math.round(left)} s left` : ""}`);
}

function sayResult(images, verb, cut, seconds) {
  const count = images.filter(({ whole }) => whole).length;
  const asked = images.length, all = count < asked ? `Stopped: ${count} of ${asked}` : String(count);
  const unread = cut ? `; the end of ${cut === 1 ? "a prompt" : `${cut} prompts`} is not read: too many words` : "";
  say(`${all} image${asked === 1 ? "" : "s"} ${verb} in ${seconds.toFixed(1)} s${unread}`);
}

function stop() {
  pool?.cancel();
  pause();
}

/** Does what puts other images in the place of those that are generated. */
function abandoning(act) {
  run++;
  stop();
  part("stop").disabled = part("alert").hidden = true;
  if (part("status").textContent.includes("%")) say(""); // of what is abandoned
  return act();
}

function listen() {
  const on = (id, kind, act) => part(id).addEventListener(kind, act);
  on("request", "submit", (event) => {
    event.preventDefault();
    generate().catch(fail);
  });
  on("next", "click", () => {
    if (!part("request").reportValidity()) return;
    askForNext();
    generate().catch(fail);
  });
  on("stop", "click", stop);
  on("theme", "click", () => showTheme(document.documentElement.dataset.theme !== "dark"));
  on("sampler", "change", () => {
    offerSteps(asNumber("steps"));
    showCommand();
  });
  addEventListener("hashchange", () => {
    restore();
    showCommand();
    generate().catch(fail);
  });
  on("guidance", "input", showGuidance);
  on("position", "input", scrub);
  for (const radio of document.querySelectorAll("input[name=shows]")) {
    radio.addEventListener("change", redrawAll);
  }
  on("play", "click", play);
  for (const kind of ["image", "film", "grid"]) on(`save-${kind}`, "click", () => save(kind).catch(fail));
  on("paint", "click", () => abandoning(paint));
  on("erase", "click", toggleEraser);
  for (const act of ["undo", "invert", "clear"]) on(act, "click", () => change(act));
  for (const id of ["size", "rounds"]) on(id, "input", resize);
  on("fill", "click", () => generate().catch(fail));
  on("choose", "click", () => part("file").click());
  on("file", "change", () => abandoning(openFile));
  on("request", "input", showCommand);
  showCommand();
}
