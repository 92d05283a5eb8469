/** The view of editing: what is asked on the left, the image and what comes of it on the right. */

import { opened } from "../../share/pictures.js";
import { blob, download, get, save } from "./api.js";
import { commandBox, liveCommand } from "./command.js";
import { TASKS, askedOfTask, taskFields } from "./edit_tasks.js";
import { Source, asFile, editedImage } from "./edited_image.js";
import { button, fail, h, on, say } from "./elements.js";
import { number, seed } from "./fields.js";
import { filmView } from "./film.js";
import { fetchFrames, hasEnded, imageOf, startJob, stopJob, wordsOf } from "./job.js";
import { JobFilm } from "./job_film.js";
import { address } from "./route.js";
import { viewOfRun } from "./run_view.js";
import { capital } from "./run_words.js";
import { samplingFields, samplingOf, tellingFields, tellingOf } from "./sampling_fields.js";

/** @typedef {import("./route.js").Params} Params */
/** @typedef {import("./sampling_fields.js").Details} Details */

const CLASSES = [{ value: "", label: "none in particular" }, { value: "all", label: "each in turn" }];
const RESULTS = 4, MOST_RESULTS = 64;
const PLACES = ["a", "b"]; // where the address has the uploads of images
const NAMES = ["first", "second"];

/** @type {import("./main.js").View} */
export const view = {
  name: "edit",
  title: "Edit",
  open: (place) => viewOfRun("edit", place, (details, params) => editing(place, details, params)),
};

/**
 * @param {import("./main.js").Place} place
 * @param {Details} details
 * @param {Params} first
 * @returns {import("./main.js").Opened}
 */
function editing({ root, go }, details, first) {
  const run = details.id, shape = details.shape, box = commandBox();
  let asked = first, film = /** @type {JobFilm | null} */ (null), task = "", current = 0;
  let used = /** @type {{source: Source, painted: Uint8Array | null, job: string} | null} */ (null);
  const sources = /** @type {(Source | null)[]} */ ([null, null]);
  const ask = (/** @type {Params} */ to) => go("edit", to, { replace: true });
  const change = (/** @type {string} */ name, /** @type {string} */ value) => ask({ ...asked, [name]: value });

  const image = editedImage(shape, live_), shown = filmView({ moved: showButtons });
  const tabs = h("nav", { class: "tabs", "aria-label": "Tasks" }), about = h("p");
  const telling = tellingFields(details, change, CLASSES), sampling = samplingFields(details, change);
  const from = seed("Seed", "0", { change: (to) => change("seed", to) });
  const count = number("Results", RESULTS, { min: 1, max: MOST_RESULTS, step: 1, change: (to) => change("images", String(to)) });
  const own = h("div");
  const files = button("Save the command's files", saveGiven);
  const start = h("button", { type: "submit", class: "main" }, "Generate"), stop = button("Stop", () => film && stopJob(film.id));
  const form = h("form", { class: "ask", "aria-label": "What to generate", onsubmit: generate },
    own, telling.element, h("div", { class: "pair two" }, from.element, count.element),
    h("details", null, h("summary", null, "How to generate"), sampling.element), h("div", { class: "actions" }, start, stop), box.element, files,
  );
  const file = h("input", { type: "file", accept: "image/*", hidden: true, onchange: () => open(file.files?.[0]) });
  const which = h("fieldset", { class: "choice" }, h("legend", null, "Image"));
  NAMES.forEach((name, i) => {
    const radio = h("input", { type: "radio", name: "edit-image", onchange: () => choose(i) });
    radio.checked = i === 0;
    which.append(h("label", null, radio, h("span", null, name)));
  });
  const given = h("section", { "aria-label": "The image" }, h("h2", null, "The image"),
    h("div", { class: "actions" }, which, button("Open an image", () => file.click()), file, h("a", { class: "button", href: address("draw", { run }) }, "Draw one")),
    image.element,
  );
  const kept = h("p", { role: "status" }), nothing = h("p", { class: "soft" });
  const keep = button("Save image", saveImage), again = button("Edit this one", takeResult);
  const results = h("section", { "aria-label": "Results" }, h("h2", null, "Results"), nothing, shown.element, kept, h("div", { class: "actions" }, keep, again));
  root.append(tabs, about, h("div", { class: "desk" }, form, h("div", { class: "pictures" }, given, results)));
  const leave = [
    on(root, "dragover", (event) => event.preventDefault()),
    on(root, "drop", (event) => (event.preventDefault(), open(event.dataTransfer.files[0]))),
  ];
  let parts = /** @type {import("./sampling_fields.js").Part[]} */ ([]);

  const kind = () => TASKS[task];
  const live = liveCommand(box, () => (known ? bodyOf(known) : null));
  let known = /** @type {Awaited<ReturnType<typeof sent>> | null} */ (null); // what is on the server

  /** @param {{images: string[], mask: string | null}} there */
  function bodyOf({ images, mask }) {
    const settings = { task, ...askedOfTask(kind(), asked), ...tellingOf(asked, details), seed: asked.seed || "0", sampling: samplingOf(asked) };
    const many = kind().single ? {} : { num_images: Number(asked.images || RESULTS) };
    const masked = mask ? { mask } : {}, given = images.length ? { images } : {};
    return { kind: "edit", run, view: "edit", settings: { ...settings, ...many, ...given, ...masked }, replace: true };
  }

  /** Sends what the task is given, unless it is there. Raises Error where it is not there. */
  async function sent() {
    const needed = sources.slice(0, kind().images), missing = needed.findIndex((each) => !each), painted = image.painted;
    const name = kind().images > 1 ? `the ${NAMES[missing]} image` : "an image";
    if (missing >= 0) throw new Error(`expected ${name}; draw one, or open a file`);
    if (kind().masked && !painted) throw new Error("expected a mask; paint over what is to be generated anew");
    const images = await Promise.all(needed.map((each) => /** @type {Source} */ (each).id(Boolean(kind().given))));
    const mask = kind().masked && painted ? await new Source(painted.map((each) => 255 * each), [1, shape[1], shape[2]]).id(false) : null;
    return { images, mask, painted };
  }

  /** Saves what the command reads, under the names that it has there. */
  async function saveGiven() {
    try {
      const { images, mask } = await sent();
      const named = images.map((id, i) => [id, images.length > 1 ? `image-${i + 1}.png` : "image.png"]);
      for (const [id, name] of mask ? [...named, [mask, "mask.png"]] : named) await download(`/api/uploads/${id}.png`, name);
    } catch (fault) {
      fail(fault);
    }
  }

  /** What is painted, or the task, is another: what is on the server is no longer what is asked for. */
  function live_() {
    known = null;
    box.show("");
    if (!kind() || kind().masked || sources.slice(0, kind().images).some((each) => !each)) return;
    const own = task;
    sent().then((there) => own === task && ((known = there), live()), fail);
  }

  /** @param {Event} event */
  async function generate(event) {
    event.preventDefault();
    if (!form.reportValidity()) return;
    start.disabled = true;
    say("");
    try {
      const there = (known = await sent()), { id } = await startJob(bodyOf(there)), [source] = sources;
      used = source ? { source, painted: there.painted, job: id } : null;
      fail("");
      kept.textContent = "";
      if (there.painted) image.recede();
      ask({ ...asked, job: id });
    } catch (fault) {
      fail(fault);
    }
    start.disabled = false;
  }

  /** @param {Source} source */
  async function take(source) {
    sources[current] = source;
    image.show(source);
    showButtons();
    try {
      const id = await source.id(false);
      if (sources[current] === source) ask({ ...asked, [PLACES[current]]: id, of: "", image: "" });
    } catch (fault) {
      fail(fault);
    }
    live_();
  }

  /** @param {File | undefined} chosen */
  async function open(chosen) {
    file.value = "";
    if (!chosen) return;
    try {
      await take(new Source(await opened(chosen, shape), shape, chosen));
      fail("");
    } catch {
      fail(new Error(`expected an image that this browser reads, got ${chosen.name}; choose another`));
    }
  }

  /** Takes up the chosen result. */
  function takeResult() {
    const pixels = film?.image(film.length - 1, "x_0", shown.chosen);
    if (film && pixels && film.shape.join() === shape.join()) return take(new Source(pixels.slice(), shape));
    fail(new Error("expected an image of the network's size; one of another size is not edited further"));
  }

  /**
   * Takes up what the address names: a result of a job, or uploads.
   * @param {Params} params
   */
  async function fetchSources({ of: job, image: number, ...uploads }) {
    try {
      if (job) {
        const { frames } = await get(`/api/jobs/${job}`), last = frames.count - 1;
        const pixels = imageOf(await fetchFrames(job, last, last + 1), frames, 0, "x_0", Number(number ?? 0));
        return void (await take(new Source(pixels, shape)));
      }
      for (const [i, place] of PLACES.entries()) {
        if (!uploads[place] || sources[i]) continue;
        const found = new Source(await opened(await blob(`/api/uploads/${uploads[place]}.png`), shape), shape);
        found.places.set(null, Promise.resolve(uploads[place]));
        sources[i] = found;
      }
    } catch {
      ask({ ...asked, of: "", a: "", b: "" }); // which the server no longer has
    }
    choose(current);
    live_();
  }

  /** @param {number} i */
  function choose(i) {
    current = i;
    image.show(sources[i]);
  }

  async function saveImage() {
    const pixels = film?.image(shown.position, shown.which, shown.chosen);
    if (!film || !pixels) return;
    const name = new RegExp(`^${task}-(\\d+-)?(seed|point|again)`), own = film.job?.files.findIndex((each) => name.test(each.name)) ?? -1;
    const isLast = shown.position >= film.length - 1;
    if (isLast && own >= 0) return download(`/api/jobs/${film.id}/files/${own + shown.chosen}`, `${details.name}-${task}-${shown.chosen}.png`);
    save(await asFile(pixels, film.shape), `${details.name}-${task}.png`);
  }

  /** @param {string | undefined} id */
  function attach(id) {
    if ((film?.id ?? "") === (id ?? "")) return;
    film?.close();
    film = null;
    if (id) film = new JobFilm(id, { changed: showFilm, progress: showButtons, ended, lost: () => ask({ ...asked, job: "" }) });
    showButtons();
  }

  /** @param {import("./store.js").Job} job */
  function ended(job) {
    if (job.state === "failed") fail(new Error(job.why));
    if (job.state === "done") say("Generated");
    showFilm();
  }

  function showFilm() {
    if (film?.length) shown.show(film);
    if (film?.job?.state === "done" && film.length >= film.there) kept.textContent = sayKept();
    showButtons();
  }

  /** Whether what was to be kept is kept, as it is found. */
  function sayKept() {
    if (!film || used?.job !== film.id || !used.painted || film.shape.join() !== shape.join()) return "";
    const { source, painted } = used, size = painted.length, wanted = painted.filter((each) => !each).length;
    let others = 0;
    for (let i = 0; i < film.images; i++) {
      const result = film.image(film.length - 1, "x_0", i);
      for (let k = 0; result && k < result.length; k++) others += Number(!painted[k % size] && result[k] !== source.pixels[k]);
    }
    const where = film.images === 1 ? "the result" : `all ${film.images} results`;
    return others ? `${others} values of kept pixels are others than in the image.` : `Kept to the bit: ${wanted} of ${size} pixels, in ${where}.`;
  }

  function showButtons() {
    const isThere = Boolean(film?.length);
    nothing.hidden = isThere;
    nothing.textContent = film?.job && !hasEnded(film.job) ? `${capital(wordsOf(film.job))}.` : "Nothing has been generated yet.";
    for (const each of [shown.element, kept, keep, again]) each.hidden = !isThere;
    stop.hidden = !film?.job || hasEnded(film.job);
  }

  /** @param {string} name */
  function showTask(name) {
    task = name;
    tabs.replaceChildren(...Object.entries(TASKS).map(([each, { title }]) => {
      return h("a", { class: "button", href: address("edit", { ...asked, task: each, job: "" }), "aria-current": each === task ? "page" : null }, title);
    }));
    about.textContent = kind().about;
    const fields = taskFields(kind(), change);
    own.replaceChildren(fields.element);
    parts = [telling, sampling, fields];
    count.element.hidden = Boolean(kind().single);
    given.hidden = files.hidden = !kind().images;
    which.hidden = kind().images < 2;
    if (kind().images < 2) choose(0);
    image.paints(Boolean(kind().masked));
    live_();
  }

  function update(/** @type {Params} */ params) {
    asked = params;
    const name = params.task in TASKS ? params.task : "inpaint";
    if (name !== task) showTask(name);
    for (const each of parts) each.show(params);
    if (from.value !== (params.seed || "0")) from.value = params.seed || "0";
    if (count.value !== Number(params.images || RESULTS)) count.value = Number(params.images || RESULTS);
    attach(params.job);
    live();
  }

  showButtons();
  update(first);
  fetchSources(first);
  return {
    update,
    close() {
      for (const each of leave) each();
      film?.close();
      shown.close();
    },
  };
}
