/** The tour: what training and sampling compute, in five stations, with the numbers of one's own image and network. */

import { opened } from "../../share/pictures.js";
import { blob, get } from "./api.js";
import { fail, h } from "./elements.js";
import { number, range, seed, select } from "./fields.js";
import { noiseOf, ownImage } from "./own_image.js";
import { pixelCursor } from "./pixel_cursor.js";
import { address } from "./route.js";
import { viewOfRun } from "./run_view.js";
import { asAsked, asParams } from "./sampling_fields.js";
import { tableOf } from "./schedule_tables.js";
import { forwardStation, posteriorStation } from "./tour_noise.js";
import { chainStation, samplingStation, trainingStation } from "./tour_steps.js";

/** @typedef {import("./route.js").Params} Params */
/**
 * @typedef {import("./sampling_fields.js").Details & {schedule: import("./schedule_tables.js").Schedule,
 *   prediction: string, settings: any}} Details
 */
/**
 * @typedef {object} Walk what all stations go by
 * @property {Details} details of the run
 * @property {import("./schedule_tables.js").Table} table
 * @property {import("./own_image.js").OwnImage} image
 * @property {() => Params} params as the address has them
 * @property {(changes: Params) => void} change the address, and what is shown
 * @property {() => Float32Array} eps the noise of the seed
 * @property {() => number} t
 * @property {() => {row: number, column: number, channel: number}} pixel
 * @property {(x: ArrayLike<number>) => number} at the pixel's number in an image
 * @property {boolean} ofPixels whether pixels are what the network sees, and not latents
 * @property {(job: import("./store.js").Job) => void} show the guess of a sampling step where the pixel is chosen
 */
/** @typedef {{element: HTMLElement, update: () => void, close?: () => void}} Station */
/** @typedef {{title: string, open: (walk: Walk) => Station, usesImage: boolean}} StationKind */

/** @type {StationKind[]} */
const STATIONS = [
  { title: "Noise", open: forwardStation, usesImage: true },
  { title: "One step back", open: posteriorStation, usesImage: true },
  { title: "A step of training", open: trainingStation, usesImage: true },
  { title: "A step of sampling", open: samplingStation, usesImage: false },
  { title: "The whole chain", open: chainStation, usesImage: false },
];
const COLORS = ["red", "green", "blue", "opacity"];
const REMEMBERED = 250; // ms after the last change until the address says it

/** @type {import("./main.js").View} */
export const view = {
  name: "tour",
  title: "Tour",
  open: (place) => viewOfRun("tour", place, (details, params) => tour(place, /** @type {Details} */ (details), params)),
};

/**
 * @param {import("./main.js").Place} place
 * @param {Details} details
 * @param {Params} first
 * @returns {import("./main.js").Opened}
 */
function tour(place, details, first) {
  const { root, go } = place;
  if (!details.schedule || !details.shape) {
    root.append(h("p", null, "What this network was trained with is not known here; choose another run."));
    return { close: () => {} };
  }
  const [channels, height, width] = details.shape,
    T = details.num_timesteps,
    table = tableOf(details.schedule);
  let params = first,
    timer = 0,
    open = -1,
    station = /** @type {Station | null} */ (null),
    drawn = "",
    eps = /** @type {Float32Array} */ (new Float32Array());
  const image = ownImage(details.shape, showImage, {
    ...{ view: "tour", run: details.id, known: first.own, hasData: place.run()?.kind === "run" },
    kept: (own) => change({ own }),
  });
  const cursor = pixelCursor(() => change({ x: String(cursor.at[0]), y: String(cursor.at[1]) }));
  const fields = {
    t: range("Timestep t", 1, { min: 1, max: T, step: 1, change: (to) => change({ t: String(to) }) }),
    seed: seed("Seed of the noise", "0", { change: (to) => change({ seed: to }) }),
    row: number("Row of the pixel", 0, {
      min: 0,
      max: height - 1,
      step: 1,
      change: (to) => cursor.choose(cursor.at[0], to ?? 0),
    }),
    column: number("Column", 0, {
      min: 0,
      max: width - 1,
      step: 1,
      change: (to) => cursor.choose(to ?? 0, cursor.at[1]),
    }),
    channel: select(
      "Color",
      COLORS.slice(0, channels).map((label, i) => ({ value: String(i), label })),
      "0",
      { change: (to) => change({ channel: to }) },
    ),
  };
  fields.channel.element.hidden = channels === 1;
  const stations = h("ol", { class: "stations" }),
    content = h("div"),
    steps = h("p", { class: "actions" });
  const latent = h(
    "p",
    { class: "warning" },
    "This network sees latents that an autoencoder makes of images. What the page computes itself is shown on " +
      "pixels; the numbers of the network are of the latent in the middle.",
  );
  const picture = h(
    "section",
    { "aria-label": "The image and the pixel" },
    h("h2", null, "The image and the pixel"),
    cursor.element,
    image.element,
  );
  root.append(
    h("nav", { "aria-label": "Stations of the tour" }, stations),
    h(
      "div",
      { class: "noise tour" },
      h(
        "div",
        { class: "form" },
        picture,
        h("div", { class: "pair two" }, fields.row.element, fields.column.element),
        fields.channel.element,
        fields.t.element,
        fields.seed.element,
      ),
      h("div", null, latent, content, steps),
    ),
  );

  /** @type {Walk} */
  const walk = {
    details,
    table,
    image,
    params: () => params,
    change,
    eps() {
      if (drawn !== fields.seed.value) eps = noiseOf((drawn = fields.seed.value), details.shape);
      return eps;
    },
    t: () => fields.t.value,
    pixel: () => ({ row: cursor.at[1], column: cursor.at[0], channel: Number(fields.channel.value) }),
    at(x) {
      const { row, column, channel } = walk.pixel();
      return x[(channel * height + row) * width + column];
    },
    ofPixels: !details.settings || details.settings.codec.name === "pixels",
    show({ id, files }) {
      const place = files.findIndex(({ name }) => name === "x0.png"),
        own = station;
      if (place >= 0)
        blob(`/api/jobs/${id}/files/${place}`)
          .then((file) => opened(file, details.shape))
          .then((pixels) => own === station && cursor.show(pixels, details.shape), fail);
    },
  };

  /** @param {Params} to */
  function change(to) {
    params = { ...params, ...to };
    fields.row.value = cursor.at[1];
    fields.column.value = cursor.at[0];
    station?.update();
    clearTimeout(timer);
    timer = setTimeout(() => go("tour", params, { replace: true }), REMEMBERED);
  }

  /** @param {string | null} told its class; null: as it was */
  function showImage(told) {
    showPicture();
    if (told === null) station?.update();
    else change({ own: "", classes: told && asAsked(told) });
  }

  function showPicture() {
    cursor.show(image.pixels, details.shape);
  }

  /** @param {number} to */
  function show(to) {
    if (to === open) return station?.update();
    if (open >= 0) fail("");
    station?.close?.();
    open = to;
    const { open: made, usesImage, title } = STATIONS[open];
    station = made(walk);
    content.replaceChildren(h("h2", null, `${open + 1}. ${title}`), station.element);
    image.element.hidden = fields.t.element.hidden = !usesImage;
    latent.hidden = walk.ofPixels;
    if (usesImage) showPicture();
    station.update();
  }

  function showLinks() {
    const link = (/** @type {number} */ to, /** @type {string} */ words, props = {}) =>
      h("a", { href: address("tour", { ...params, at: String(to + 1) }), ...props }, words);
    stations.replaceChildren(
      ...STATIONS.map(({ title }, i) => h("li", null, link(i, title, { "aria-current": i === open ? "step" : null }))),
    );
    const back = open > 0 ? [link(open - 1, `Back: ${STATIONS[open - 1].title}`, { class: "button" })] : [];
    const next = STATIONS[open + 1] && link(open + 1, `Next: ${STATIONS[open + 1].title}`, { class: "button main" });
    steps.replaceChildren(...back, ...(next ? [next] : []));
  }

  /**
   * Goes to a step of a job that drew images.
   * @param {Params} to
   */
  async function follow({ job, image: number = "0", step = "0", ...rest }) {
    const { settings } = await get(`/api/jobs/${job}`),
      { classes = "", prompt = [], sampling = {} } = settings;
    const own = { seed: String(BigInt(settings.seed ?? 0) + BigInt(number)), k: String(Number(step) + 1), at: "4" };
    const class_ = details.classes[Number(number) % details.classes.length] ?? "";
    const told = {
      classes: classes && !classes.includes(",") ? classes : class_,
      prompt: prompt[Number(number) % prompt.length] ?? "",
    };
    go("tour", { ...rest, ...asParams(sampling), ...told, ...own }, { replace: true });
  }

  /** @param {Params} to */
  function update(to) {
    clearTimeout(timer);
    if (to.job) return void follow(to).catch(fail);
    params = { ...to };
    fields.t.value = Math.min(Math.max(1, Number(params.t ?? Math.ceil(T / 3))), T);
    fields.seed.value = /^\d{1,18}$/.test(params.seed ?? "") ? params.seed : "0";
    fields.channel.value = Number(params.channel) < channels ? params.channel : "0";
    const [x, y] = [Number(params.x ?? Math.floor(width / 2)), Number(params.y ?? Math.floor(height / 2))];
    if (cursor.at[0] !== x || cursor.at[1] !== y) cursor.choose(x, y);
    clearTimeout(timer);
    show(Math.min(Math.max(0, Number(params.at ?? 1) - 1), STATIONS.length - 1));
    showLinks();
  }

  showPicture();
  update(first);
  return {
    update,
    close() {
      clearTimeout(timer);
      station?.close?.();
      image.close();
    },
  };
}
