/** Stations of the tour that the page computes: how an image becomes noise, and one step back where it is known. */

import { show } from "../../share/pictures.js";
import { lineChart } from "./charts.js";
import { h } from "./elements.js";
import { range } from "./fields.js";
import { MOMENTS, forwardFilm, noised } from "./forward_film.js";
import { formula, shown } from "./math.js";
import { asBytes } from "./own_image.js";
import { levelOf, stepOf } from "./schedule_tables.js";

/** @typedef {import("./tour.js").Walk} Walk */
/** @typedef {import("./tour.js").Station} Station */

const DENSITY = 161; // points of a curve

/**
 * @param {Walk} walk
 * @returns {Station}
 */
export function forwardStation(walk) {
  const law = formula(String.raw`q(x_t|x_0) = N(α_t x_0, σ_t^2 I)`);
  const level = [
    String.raw`α_t = \sqrt{\bar{α}_t} = [alpha]`,
    String.raw`σ_t = \sqrt{1−\bar{α}_t} = [sigma]`,
    `"log-SNR" = [snr]`,
  ].map(formula);
  const mix = formula(String.raw`x_t = α_t x_0 + σ_t ε`),
    numbers = formula("[xt] = [alpha] × [x0] + [sigma] × [eps]");
  const large = pictures({ x0: "x₀, the image", eps: "ε, the noise", xt: "xₜ, the mix" }),
    film = forwardFilm();
  const element = h(
    "div",
    { class: "station" },
    h(
      "p",
      null,
      "An image x₀ becomes noise in T small steps. Any of them can be reached at once: xₜ is the image times αₜ, " +
        "plus noise ε of the normal distribution times σₜ. Move t, and see how much of the image is left.",
    ),
    equations(law, level, mix, numbers),
    large.element,
    h("h3", null, "From the image to noise"),
    film.element,
  );
  return {
    element,
    update() {
      const { table, image, details } = walk,
        eps = walk.eps(),
        { x0 } = image,
        t = walk.t();
      const { alpha, sigma, logSnr: snr } = levelOf(table, t),
        xt = noised(table, t, x0, eps);
      const values = { alpha, sigma, snr, x0: walk.at(x0), eps: walk.at(eps), xt: walk.at(xt) };
      for (const each of [...level, numbers]) each.set(values);
      large.show({ x0, eps, xt }, details.shape);
      for (let i = 0; i < MOMENTS; i++) film.draw(i, table, x0, eps, details.shape);
    },
  };
}

/**
 * @param {Walk} walk
 * @returns {Station}
 */
export function posteriorStation(walk) {
  const s = range("Earlier timestep s", 0, {
    min: 0,
    max: walk.details.num_timesteps - 1,
    step: 1,
    change: (to) => walk.change({ s: String(to) }),
  });
  const step = [
    String.raw`q(x_t|x_s) = N(\frac{α_t}{α_s} x_s, β I)`,
    String.raw`β = 1−\frac{α_t^2}{α_s^2} = [beta]`,
  ].map(formula);
  const law = [
    String.raw`q(x_s|x_t, x_0) = N(\tilde{μ}, \tilde{β} I)`,
    String.raw`\tilde{β} = \frac{σ_s^2}{σ_t^2} β = [betaTilde]`,
  ].map(formula);
  const mean = formula(String.raw`\tilde{μ} = \frac{α_s β}{σ_t^2} x_0 + \frac{α_t σ_s^2}{α_s σ_t^2} x_t`);
  const numbers = formula("[mean] = [fromX0] × [x0] + [fromXt] × [xt]");
  const large = pictures({ xt: "xₜ", mean: "μ̃, the mean of xₛ", x0: "x₀" });
  const density = h("div"),
    certain = h("p", null, "At s = 0 it is the image's own, without any doubt.");
  const chart = lineChart(density, { series: [], x: { label: "" }, y: { label: "" } });
  const element = h(
    "div",
    { class: "station" },
    h(
      "p",
      null,
      "Who knows the image and xₜ knows by Bayes' rule where an earlier xₛ lay: around a mean between the two, " +
        "with less noise than before. A network that guesses x₀ can put its guess in the image's place. That is " +
        "sampling.",
    ),
    s.element,
    equations(step, law, mean, numbers),
    large.element,
    h("h3", null, "Where the pixel lies at s"),
    density,
    certain,
  );
  return {
    element,
    update() {
      const { table, image, details } = walk,
        t = walk.t(),
        { x0 } = image,
        eps = walk.eps(),
        asked = walk.params().s;
      s.value = Math.min(Math.max(0, Number(asked ?? Math.floor(0.8 * t))), t - 1);
      const xt = noised(table, t, x0, eps),
        found = stepOf(table, t, s.value),
        { fromX0, fromXt } = found;
      const means = xt.map((value, i) => fromX0 * x0[i] + fromXt * value);
      const values = { ...found, x0: walk.at(x0), xt: walk.at(xt), mean: walk.at(means) };
      for (const each of [...step, ...law, numbers]) each.set(values);
      large.show({ xt, mean: means, x0 }, details.shape);
      const { alpha, sigma } = levelOf(table, s.value);
      density.hidden = !(certain.hidden = s.value > 0);
      chart.update(densities(alpha * values.x0, sigma, values.mean, Math.sqrt(found.betaTilde)));
    },
    close: chart.close,
  };
}

/**
 * Of the pixel at s: what is known by x_0 alone, and by x_0 and x_t.
 * @param {number} mean
 * @param {number} std
 * @param {number} later
 * @param {number} narrower
 * @returns {import("./charts.js").Chart}
 */
function densities(mean, std, later, narrower) {
  const reach = 4 * std || 1,
    low = Math.min(mean - reach, later - 4 * narrower),
    high = Math.max(mean + reach, later + 4 * narrower);
  const even = Array.from({ length: DENSITY }, (_, i) => low + (i / (DENSITY - 1)) * (high - low));
  // the later one may be thin
  const close = Array.from({ length: DENSITY }, (_, i) => later + (i / (DENSITY - 1) - 0.5) * 8 * narrower);
  const x = [...new Set([...even, ...close])].sort((a, b) => a - b);
  const normal = (/** @type {number} */ at, /** @type {number} */ std) =>
    x.map((each) => (std ? Math.exp(-0.5 * ((each - at) / std) ** 2) / (std * Math.sqrt(2 * Math.PI)) : 0));
  return {
    title: "Density of the pixel",
    series: [
      { name: "knowing x₀", x, y: normal(mean, std) },
      { name: "knowing x₀ and xₜ", x, y: normal(later, narrower) },
    ],
    x: { label: "the pixel's xₛ" },
    y: { label: "density" },
    height: 200,
  };
}

/**
 * Formulas below one another, those of a list beside one another where there is room.
 * @param {...(import("./math.js").Formula | import("./math.js").Formula[])} lines
 */
export function equations(...lines) {
  const rows = lines.map((line) =>
    h("div", null, ...[line].flat().map(({ element }) => /** @type {Node} */ (element))),
  );
  return h(
    "div",
    { class: "equations", tabindex: 0, role: "group", "aria-label": "Formulas with their numbers" },
    ...rows,
  );
}

/**
 * Canvases in a row, by names with words.
 * @param {Record<string, string>} words
 */
export function pictures(words) {
  const canvases = Object.entries(words).map(([name, said]) => ({
    name,
    canvas: h("canvas", { role: "img", "aria-label": said }),
    said,
  }));
  return {
    element: h(
      "div",
      { class: "moments large" },
      ...canvases.map(({ canvas, said }) => h("figure", null, canvas, h("figcaption", null, said))),
    ),
    /**
     * @param {Record<string, ArrayLike<number>>} images in [-1, 1]
     * @param {number[]} shape
     */
    show(images, shape) {
      for (const { name, canvas } of canvases) show(canvas, asBytes(images[name]), shape);
    },
  };
}

/**
 * Names with numbers, in rows.
 * @param {string} label
 */
export function numberTable(label) {
  const body = h("tbody");
  const element = h(
    "table",
    { "aria-label": label },
    h("thead", null, h("tr", null, h("th", { scope: "col" }, "of the pixel"), h("th", { scope: "col" }, "value"))),
    body,
  );
  return {
    element,
    /** @param {[string, number | null][]} rows */
    show(rows) {
      body.replaceChildren(
        ...rows.map(([name, value]) => h("tr", null, h("th", { scope: "row" }, name), h("td", null, shown(value)))),
      );
    },
  };
}
