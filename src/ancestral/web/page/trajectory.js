/** The view of a trajectory: every kept step of what was drawn, the schedule that it goes down, and a pixel's way. */

import { VIEW, branchForm, branchInWords } from "./branch.js";
import { lineChart } from "./charts.js";
import { apart, beside } from "./comparison.js";
import { fail, h } from "./elements.js";
import { select } from "./fields.js";
import { filmView } from "./film.js";
import { hasEnded } from "./job.js";
import { JobFilm } from "./job_film.js";
import { pixelCursor } from "./pixel_cursor.js";
import { address } from "./route.js";
import { viewOfRun } from "./run_view.js";
import { state, subscribe } from "./store.js";

/** @typedef {import("./route.js").Params} Params */
/** @typedef {import("./sampling_fields.js").Details} Details */
/** @typedef {import("./film.js").Film} Film */
/** @typedef {{number: number, t: number, s: number, alpha: number, sigma: number, log_snr: number}} Step */

const KINDS = ["sample", "edit"];
const COLORS = ["red", "green", "blue", "opacity"];
/** Along what a chart is: a name, the value of a step, and the value as it is read. Time runs from left to right. */
const AXES = /** @type {Record<string, {label: string, of: (step: Step, i: number) => number, format?: (x: number) => string}>} */ ({
  step: { label: "step", of: (_, i) => i + 1 },
  t: { label: "t", of: ({ t }) => -t, format: (x) => String(Math.round(-x)) },
  snr: { label: "log-SNR", of: ({ log_snr: value }) => value },
});

/** @type {import("./main.js").View} */
export const view = {
  name: "trajectory",
  title: "Trajectory",
  open: (place) => viewOfRun("trajectory", place, (details, params) => trajectory(place, details, params)),
};

/**
 * @param {import("./main.js").Place} place
 * @param {Details} details
 * @param {Params} first
 * @returns {import("./main.js").Opened}
 */
function trajectory({ root, go }, details, first) {
  let params = first, film = /** @type {JobFilm | null} */ (null);
  let future = /** @type {JobFilm | null} */ (null), seen = /** @type {Film | null} */ (null), both = /** @type {Film | null} */ (null);
  let isShown = false, places = /** @type {number[]} */ ([]); // of the steps on the axis
  const change = (/** @type {Params} */ to) => go("trajectory", { ...params, ...to }, { replace: true });
  const wall = filmView({ moved: showStep, chose: () => (redraw(), remember()) });
  const large = pixelCursor(redraw), cursor = () => large.at;
  const axis = select("Along", Object.entries(AXES).map(([value, { label }]) => ({ value, label })), "", { change: (to) => change({ axis: to }) });
  const branch = branchForm(details, { begun: (job) => change({ branch: job }), ended: () => change({ branch: "" }) });
  const words = h("p", { role: "status" });
  const tour = h("a", { class: "button" }, "This step with its numbers"), draw = h("a", null, "Draw some");
  const nothing = h("p", null, "Nothing has been drawn with this run yet. ", draw);
  const level = h("p", { class: "moment" }), pixel = h("p", { class: "moment" });
  const [alphas, snrs, values] = ["Share of the signal", "Log of signal over noise", "The chosen pixel"].map((title) => h("section", { "aria-label": title }, h("h2", null, title)));
  values.append(pixel);
  const charts = {
    alpha: lineChart(alphas, { series: [], x: { label: "" }, y: { label: "" }, height: 180 }),
    snr: lineChart(snrs, { series: [], x: { label: "" }, y: { label: "" }, height: 180 }),
    pixel: lineChart(values, { series: [], x: { label: "" }, y: { label: "" } }),
  };
  const watched = h("div", { class: "trajectory" },
    h("div", null,
      h("section", { "aria-label": "The steps" }, wall.element, words, level, h("div", { class: "fields" }, axis.element)), branch.element, alphas, snrs,
    ),
    h("div", null,
      h("section", { "aria-label": "The chosen image" }, h("h2", null, "The chosen image"), large.element, h("p", { class: "actions" }, tour)), values,
    ),
  );
  root.append(nothing, watched);
  draw.href = address("draw", { run: details.id });

  const steps = () => /** @type {Step[]} */ (film?.job?.frames?.steps ?? []);
  const along = () => AXES[axis.value] ?? AXES.step;

  /** Shows the step that the handle is at. */
  function showStep() {
    const step = steps()[wall.position];
    if (!film || !step) return;
    const image = film.image(wall.position, wall.which, wall.chosen), x = places[wall.position];
    if (image) large.show(image, film.shape);
    for (const each of Object.values(charts)) each.mark(x);
    const { alpha, sigma, log_snr: snr } = step;
    level.textContent = `signal × ${alpha.toFixed(4)}, noise × ${sigma.toFixed(4)}, log-SNR ${snr === null ? (alpha > sigma ? "∞" : "−∞") : snr.toFixed(2)}`;
    const [i, j] = cursor(), at = `column ${i + 1}, row ${j + 1}`;
    pixel.textContent = `${at}: xₜ ${valuesAt(wall.position, "x_t").join(", ")}, x₀ estimate ${valuesAt(wall.position, "x_0").join(", ")} of 255`;
    branch.show(film.job, step.number, future?.job ?? null);
    tour.hidden = film.job?.kind !== "sample" || Boolean(film.job.settings?.schedule); // which the tour does not take up
    tour.href = address("tour", { run: details.id, job: film.id, image: String(wall.chosen), step: String(wall.position), x: String(i), y: String(j) });
  }

  /**
   * The pixel's value in each channel.
   * @param {number} position
   * @param {import("./film.js").Which} which
   */
  function valuesAt(position, which) {
    const image = film?.image(position, which, wall.chosen), [channels, height, width] = film?.shape ?? [0, 0, 0], [x, y] = cursor();
    return Array.from({ length: channels }, (_, c) => image?.[c * height * width + y * width + x] ?? 0);
  }

  /**
   * Goes to the step nearest to a place of the axis.
   * @param {number} x
   */
  function pick(x) {
    const apart = places.slice(0, film?.length).map((place) => Math.abs(place - x));
    wall.scrub(apart.indexOf(Math.min(...apart)));
  }

  /** Draws the charts anew, as far as the film goes. */
  function redraw() {
    if (!film?.length) return;
    const all = steps(), { label, of, format } = along(), channels = film.shape[0];
    places = ended(all.map(of));
    const x = places.slice(0, film.length);
    const names = channels === 1 ? [""] : channels === 2 ? ["grey", "opacity"] : COLORS.slice(0, channels);
    const ways = /** @type {["xₜ" | "x₀", import("./film.js").Which][]} */ ([["xₜ", "x_t"], ["x₀", "x_0"]]).flatMap(([name, which]) => {
      const each = x.map((_, i) => valuesAt(i, which));
      return names.map((color, c) => ({ name: `${name} ${color}`.trim(), x, y: each.map((row) => row[c]) }));
    });
    const shared = { x: { label, format }, pick };
    const alpha = { name: "ᾱ", x: places, y: all.map((step) => step.alpha ** 2) };
    const snr = { name: "log-SNR", x: places, y: all.map((step) => step.log_snr) };
    charts.pixel.update({ ...shared, title: "The chosen pixel", series: ways, y: { label: "level of 255" } });
    charts.alpha.update({ ...shared, title: "Share of the signal", series: [alpha], y: { label: "ᾱ" }, height: 180 });
    charts.snr.update({ ...shared, title: "Log of signal over noise", series: [snr], y: { label: "log-SNR" }, height: 180 });
    showStep();
  }

  function remember() {
    if (film?.length && isShown && String(wall.chosen) !== (params.image ?? "0")) change({ image: String(wall.chosen) });
  }

  function changed() {
    if (!film) return;
    nothing.hidden = true;
    watched.hidden = false;
    showWall();
    if (!isShown) wall.chosen = Number(params.image ?? 0);
    isShown = true;
    redraw();
  }

  /** Shows the film, and beside it that of the branch, at the same step. */
  function showWall() {
    if (!film) return;
    if (future?.length) both ??= beside(film, future);
    const now = both ?? film, at = wall.position, isOther = seen !== now && isShown;
    wall.show((seen = now));
    if (isOther) wall.scrub(at);
    const ended = future?.job && hasEnded(future.job) && future.length === film.length ? `At the end: ${apart(film, future)}` : "";
    words.textContent = [future?.job?.settings && branchInWords(future.job), ended].filter(Boolean).join(" ");
  }

  function attachBranch() {
    if ((params.branch || "") === (future?.id ?? "")) return;
    future?.close();
    future = both = null;
    if (params.branch) future = new JobFilm(params.branch, { changed: showWall, ended: branched, lost: () => change({ branch: "" }) });
    showWall();
  }

  /** @param {import("./store.js").Job} job */
  function branched(job) {
    if (job.state === "failed") fail(new Error(job.why));
    showWall();
  }

  /** The job that the address names, or the latest that has steps. */
  function find() {
    const there = [...state.jobs.values()].filter((each) => each.run === details.id && KINDS.includes(each.kind) && each.view !== VIEW);
    return params.job || there.at(-1)?.id;
  }

  function attach() {
    const id = find();
    if (!id || id === film?.id) return;
    film?.close();
    isShown = false;
    film = new JobFilm(id, { changed, lost: () => params.job && change({ job: "" }) });
  }

  function update(/** @type {Params} */ to) {
    params = to;
    axis.value = to.axis in AXES ? to.axis : "step";
    watched.hidden = !isShown;
    attach();
    attachBranch();
    redraw();
  }

  const leave = subscribe(["job"], () => !film && attach());
  update(first);
  return {
    update,
    close() {
      leave();
      for (const each of Object.values(charts)) each.close();
      film?.close();
      future?.close();
      wall.close();
    },
  };
}

/**
 * Values on an axis, infinite ones at its ends.
 * @param {(number | null)[]} values
 */
function ended(values) {
  const finite = /** @type {number[]} */ (values.filter((each) => each !== null && Number.isFinite(each)));
  const [low, high] = [Math.min(...finite), Math.max(...finite)];
  return values.map((each, i) => (each !== null && Number.isFinite(each) ? each : i < values.length / 2 ? low : high));
}
