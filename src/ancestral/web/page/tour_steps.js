/** Stations of the tour that the server computes, with the network: a step of training, one of sampling, the chain. */

import { lineChart } from "./charts.js";
import { commandBox, liveCommand } from "./command.js";
import { h } from "./elements.js";
import { explained, pictureRow } from "./explained.js";
import { range } from "./fields.js";
import { formula, shown } from "./math.js";
import { address } from "./route.js";
import { samplingFields, samplingOf, tellingFields, tellingOf } from "./sampling_fields.js";
import { equations, numberTable } from "./tour_noise.js";

/** @typedef {import("./tour.js").Walk} Walk */
/** @typedef {import("./tour.js").Station} Station */
/** @typedef {import("./store.js").Job} Job */

/** What a network is to answer, and what is made of the answer, by what it predicts. */
const ANSWERS = /** @type {Record<string, [target: string, estimate: string]>} */ ({
  eps: ["ε", String.raw`\hat{x}_0 = \frac{x_t−σ_t "output"}{α_t}`],
  x0: ["x_0", String.raw`\hat{x}_0 = "output"`],
  v: ["v = α_t ε−σ_t x_0", String.raw`\hat{x}_0 = α_t x_t−σ_t "output"`],
  flow: ["ε−x_0", String.raw`\hat{x}_0 = \frac{x_t−σ_t "output"}{α_t+σ_t}`],
  levels: ["x_0", String.raw`\hat{x}_0 = "output, the mean of the levels"`],
});
/** Of the vectors that a step is made of, the signs that stand for them. */
const SIGNS = /** @type {Record<string, string>} */ ({
  x: "x_t",
  x0: String.raw`\hat{x}_0`,
  eps: String.raw`\hat{ε}`,
  noise: "z",
});
const NONE = [{ value: "none", label: "none" }];

/**
 * @param {Walk} walk
 * @returns {Station}
 */
export function trainingStation(walk) {
  const { details } = walk,
    [target, estimate] = ANSWERS[details.prediction];
  const mix = formula("x_t = α_t x_0 + σ_t ε"),
    numbers = formula("[xt] = [alpha] × [x0] + [sigma] × [eps]");
  const answer = [`"output" = "network"(x_t, t) = [output]`, `"target" = ${target} = [target]`].map(formula),
    guess = formula(`${estimate} = [x0_estimate]`);
  const loss = [`"squared error" = {("target"−"output")}^2 = [squared_error]`, `"mean over the image" = [mean]`].map(
    formula,
  );
  const weighted = formula(`"weight" × "loss" = [weight] × [loss] = [weighted]`);
  const images = pictureRow({
    x0: "x₀",
    eps: "ε",
    x_t: "xₜ",
    output: "output",
    target: "target",
    x0_estimate: "x̂₀, its guess",
    squared_error: "squared error",
  });
  const box = commandBox(),
    named = h("p", { class: "soft" });
  const telling = tellingFields(details, (name, value) => walk.change({ [name]: value }), [
    { value: "", label: "nothing" },
  ]);
  const knows = details.classes.length || details.attributes.length || details.reads_text;
  const asked = explained(details.id, show),
    table = numberTable("Numbers of the pixel");
  const element = h(
    "div",
    { class: "station" },
    h(
      "p",
      null,
      "The network sees xₜ and t, never the image. Its answer is compared with what it should have been, and the " +
        "mean of the squares is the loss. Training repeats this for many images, times and noises, and changes the " +
        "weights a little so that the loss falls.",
    ),
    knows ? h("details", null, h("summary", null, "What the network is told of the image"), telling.element) : null,
    asked.element,
    equations(mix, numbers, answer, guess, loss, weighted),
    images.element,
    named,
    h("details", null, h("summary", null, "All numbers of the pixel"), table.element),
    box.element,
  );
  const settings = async () => ({
    task: "training-step",
    image: await walk.image.sent(),
    t: walk.t(),
    ...common(walk),
    ...toldOf(walk),
  });
  let known = /** @type {object | null} */ (null);
  const live = liveCommand(box, () => known && { kind: "explain", run: details.id, view: "tour", settings: known });

  /** @param {Job} job */
  function show(job) {
    const { level, pixel, loss: found, squared_error: mean, time } = job.result,
      { channel } = walk.pixel();
    const own = Object.fromEntries(Object.entries(pixel).map(([name, value]) => [name, value[channel]]));
    const values = {
      ...own,
      alpha: level.alpha,
      sigma: level.sigma,
      xt: own.x_t,
      mean,
      weight: found.weight,
      loss: found.value,
      weighted: found.weighted,
    };
    for (const each of [numbers, ...answer, guess, ...loss, weighted]) each.set(values);
    table.show(Object.entries(own));
    const words = [`Trained by the loss ${found.name}.`, `Of time the network is told ${shown(time)}.`];
    named.textContent = [...words, "These are the averaged weights, without dropout."].join(" ");
    images.show(job);
  }

  return {
    element,
    update() {
      telling.show(walk.params());
      asked.ask(async () => {
        known = await settings();
        live();
        return known;
      });
    },
    close: asked.close,
  };
}

/**
 * @param {Walk} walk
 * @returns {Station}
 */
export function samplingStation(walk) {
  const step = samplingStep(walk, show),
    sums = h("div"),
    images = pictureRow({ x_t: "xₜ", x0: "x̂₀", eps: "ε̂", x_s: "xₛ" });
  const level = ["α_t = [alpha]", "σ_t = [sigma]", "α_s = [alphaS]", "σ_s = [sigmaS]"].map(formula);
  const answer = [
    `"output" = "network"(x_t, t) = [output]`,
    String.raw`\hat{x}_0 = [unclipped]`,
    `"kept in −1 to 1" = [x0]`,
  ].map(formula);
  const posterior = [
    String.raw`\tilde{μ} = [fromX0] × [x0] + [fromXt] × [xt] = [mean]`,
    String.raw`\tilde{β} = [variance]`,
  ].map(formula);
  const said = h("p", { class: "moment" });
  const element = h(
    "div",
    { class: "station" },
    h(
      "p",
      null,
      "Sampling begins with noise alone and takes the same steps back, with the network's guess x̂₀ where the " +
        "image would stand. Every sampler makes xₛ of xₜ, of its guesses and sometimes of fresh noise z, each times " +
        "a factor that does not depend on the image.",
    ),
    step.element,
    step.status,
    said,
    equations(level, answer),
    h("h3", null, "The sampler's own step"),
    sums,
    h("h3", null, "The posterior of the station before, with the guess in the image's place"),
    equations(posterior),
    images.element,
    step.box.element,
  );

  /** @param {Job} job */
  function show(job) {
    const { level: from, next_level: to, calls, terms, posterior: found, pixel } = job.result,
      { channel } = walk.pixel();
    const of = (/** @type {any} */ value) => (Array.isArray(value) ? value[channel] : value),
      [call] = calls;
    const [noisy, clean] = [from.log_snr ?? -Infinity, to.log_snr ?? Infinity].map(shown);
    said.textContent = `t = ${from.t}, log-SNR ${noisy} → s = ${to.t}, log-SNR ${clean}`;
    setAll(level, { alpha: from.alpha, sigma: from.sigma, alphaS: to.alpha, sigmaS: to.sigma });
    setAll(answer, { output: call.output ? of(call.output) : null, unclipped: of(call.x0_unclipped), x0: of(call.x0) });
    walk.show(job);
    setAll(posterior, {
      fromX0: found.from_x0,
      fromXt: found.from_x_t,
      x0: of(pixel.x0),
      xt: of(pixel.x_t),
      mean: of(found.mean),
      variance: found.variance,
    });
    const later = calls
      .slice(1)
      .map((/** @type {any} */ each, /** @type {number} */ i) => sumOf(`x^{(${i + 2})}`, each.terms, of(each.x), of));
    sums.replaceChildren(...[...later, sumOf("x_s", terms, of(pixel.x_s), of)]);
    images.show(job);
  }

  return { element, update: step.update, close: step.close };
}

/**
 * A sum: its formula, and in rows every factor and what it is of.
 *
 * @param {string} sign
 * @param {{of: string, factor: any, value: number[]}[]} terms
 * @param {number} whole
 * @param {(value: any) => number} of the chosen channel
 */
function sumOf(sign, terms, whole, of) {
  const law = formula(`${sign} = ${terms.map((each, i) => `a_${i + 1} ${signOf(each.of)}`).join(" + ")}`);
  const cells = terms.map((each) =>
    [of(each.factor), of(each.value), of(each.factor) * of(each.value)].map((value) => h("td", null, shown(value))),
  );
  const rows = terms.map((each, i) =>
    h("tr", null, h("th", { scope: "row" }, `a${"₁₂₃₄₅₆₇₈₉"[i] ?? i + 1} of `, inline(signOf(each.of))), ...cells[i]),
  );
  const last = h(
    "tr",
    null,
    h("th", { scope: "row" }, "their sum, ", inline(sign)),
    h("td"),
    h("td"),
    h("td", null, h("b", null, shown(whole))),
  );
  const head = h(
    "tr",
    null,
    ...["", "factor", "value", "factor × value"].map((each) =>
      h("th", { scope: "col" }, each || h("span", { class: "unseen" }, "term")),
    ),
  );
  const table = h("table", { class: "sum" }, h("thead", null, head), h("tbody", null, ...rows, last));
  return h(
    "div",
    { class: "form" },
    equations(law),
    h("div", { class: "wide", tabindex: 0, role: "region", "aria-label": "The terms" }, table),
  );
}

/**
 * @param {import("./math.js").Formula[]} formulas
 * @param {Record<string, number | null>} values
 */
function setAll(formulas, values) {
  for (const each of formulas) each.set(values);
}

/**
 * A formula within a line.
 * @param {string} text
 */
function inline(text) {
  const { element } = formula(text);
  element.setAttribute("display", "inline");
  return element;
}

/** @param {string} name as a plan has it: x0.0, eps.-1 */
function signOf(name) {
  const [kind, number] = name.split("."),
    sign = SIGNS[kind];
  if (number === undefined || number === "0") return sign;
  const which = Number(number) < 0 ? number.replace("-", "−") : String(Number(number) + 1);
  return `${sign}^{(${which})}`;
}

/**
 * @param {Walk} walk
 * @returns {Station}
 */
export function chainStation(walk) {
  const step = samplingStep(walk, show),
    images = pictureRow({ x_t: "xₜ", x0: "x̂₀", x_s: "xₛ" }),
    way = h("div");
  const chart = lineChart(way, { series: [], x: { label: "" }, y: { label: "" } });
  const draw = h("a", { class: "button" }, "Draw more with this run");
  const element = h(
    "div",
    { class: "station" },
    h(
      "p",
      null,
      "Step after step the noise goes and the guess settles: from T down to 0 the pixel of xₜ comes to meet that " +
        "of x̂₀, and at the end both are the image. Click into the chart, or move the step.",
    ),
    step.element,
    step.status,
    way,
    images.element,
    h("p", { class: "actions" }, draw),
    step.box.element,
  );

  /** @param {Job} job */
  function show(job) {
    const { chain, step: number } = job.result,
      { channel } = walk.pixel(),
      x = chain.t.map((/** @type {number} */ t) => -t);
    const series = [
      ["xₜ", "x_t"],
      ["x̂₀", "x0"],
      ["x̂₀ before clipping", "x0_unclipped"],
    ].map(([name, key]) => ({ name, x, y: chain[key].map((/** @type {number[]} */ each) => each[channel]) }));
    const differs = series[1].y.some(
      (/** @type {number} */ value, /** @type {number} */ i) => value !== series[2].y[i],
    );
    chart.update({
      title: "The pixel along the chain",
      series: differs ? series : series.slice(0, 2),
      x: { label: "t", format: (value) => String(Math.round(-value)) },
      y: { label: "the pixel" },
      pick: (at) => walk.change({ k: String(1 + nearest(x.slice(0, -1), at)) }),
    });
    chart.mark(x[number - 1]);
    walk.show(job);
    images.show(job);
  }

  return {
    element,
    update() {
      const { sampler = "", steps = "", guidance = "", seed = "", classes = "" } = walk.params();
      draw.href = address("draw", { run: walk.details.id, sampler, steps, guidance, seed, classes });
      step.update();
    },
    close() {
      step.close();
      chart.close();
    },
  };
}

/**
 * @param {number[]} values
 * @param {number} to
 */
function nearest(values, to) {
  const apart = values.map((each) => Math.abs(each - to));
  return apart.indexOf(Math.min(...apart));
}

/**
 * How images are generated, and which step is looked at.
 *
 * @param {Walk} walk
 * @param {(job: Job) => void} done
 */
function samplingStep(walk, done) {
  const { details } = walk,
    tell = (/** @type {string} */ name, /** @type {string} */ value) => walk.change({ [name]: value });
  const sampling = samplingFields(details, tell),
    telling = tellingFields(
      details,
      tell,
      details.classes.length ? [{ value: "", label: "the first" }, ...NONE] : NONE,
    );
  const k = range("Step of the chain", 1, { min: 1, max: 1, step: 1, change: (to) => walk.change({ k: String(to) }) });
  const asked = explained(details.id, done),
    box = commandBox();
  const steps = () => Number(walk.params().steps || details.sampling.steps);
  const settings = () => ({
    task: "sampling-step",
    step: k.value,
    ...common(walk),
    ...toldOf(walk),
    sampling: samplingOf(walk.params()),
  });
  const live = liveCommand(box, () => ({ kind: "explain", run: details.id, view: "tour", settings: settings() }));
  return {
    element: h(
      "div",
      { class: "form" },
      k.element,
      h(
        "details",
        null,
        h("summary", null, "Sampler, steps, guidance, class"),
        h("div", { class: "form" }, sampling.element, telling.element),
      ),
    ),
    status: asked.element,
    box,
    update() {
      sampling.show(walk.params());
      telling.show(walk.params());
      k.input.setAttribute("max", String(steps()));
      k.value = Math.min(Math.max(1, Number(walk.params().k ?? Math.ceil(steps() / 2))), steps());
      asked.ask(settings);
      live();
    },
    close: asked.close,
  };
}

/**
 * What the network is told, with one prompt.
 * @param {Walk} walk
 */
function toldOf(walk) {
  const { prompt, ...told } = tellingOf(walk.params(), walk.details);
  return prompt ? { ...told, prompt: prompt[0] } : told;
}

/**
 * What every step is asked; of latents, whose number the page does not know, the pixel in the middle.
 *
 * @param {Walk} walk
 */
function common(walk) {
  const { row, column } = walk.pixel(),
    seed = walk.params().seed || "0";
  return walk.ofPixels ? { seed, pixel: [row, column] } : { seed };
}
