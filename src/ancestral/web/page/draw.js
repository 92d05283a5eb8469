/** The view of drawing: what is asked on the left, the images as they come to be on the right. */

import { png } from "../../share/apng.js";
import { gridOf } from "../../share/pictures.js";
import { download, save, upload } from "./api.js";
import { commandBox, liveCommand } from "./command.js";
import { apart, comparison } from "./comparison.js";
import { button, fail, h, on, say } from "./elements.js";
import { checkbox, number, range, seed } from "./fields.js";
import { filmView } from "./film.js";
import { hasEnded, startJob, stopJob, wordsOf } from "./job.js";
import { JobFilm } from "./job_film.js";
import { address } from "./route.js";
import { viewOfRun } from "./run_view.js";
import { capital } from "./run_words.js";
import { SAMPLING, asParams, differences, samplingFields, scheduleField, samplingOf, tellingFields, tellingOf } from "./sampling_fields.js";
import { state } from "./store.js";

/** @typedef {import("./route.js").Params} Params */
/** @typedef {import("./sampling_fields.js").Details} Details */

const IMAGES = 16, MOST_IMAGES = 256;
const OTHER = "b."; // what names of the second settings begin with
const FEWER = 5; // times fewer steps are what the second settings begin with
const JOBS = [["job", "draw"], [`${OTHER}job`, "draw-b"]]; // where the address has a job's id, and the view it is of
const CLASSES = [{ value: "", label: "each in turn" }, { value: "none", label: "none in particular" }];
const NUMBERS = "steps.npz"; // the file of x_t and x_0 as they are computed
const FILM = 50, LAST = 2000; // ms that a saved film shows a step, and the image itself
const MOST_FRAMES = 120; // of a saved film
const last = /** @type {Map<string, Params>} */ (new Map()); // what was asked of each run

/** @type {import("./main.js").View} */
export const view = {
  name: "draw",
  title: "Draw",
  open: (place) => viewOfRun("draw", place, (details, params) => drawing(place, details, params)),
};

/** @param {string} differences "": there are none */
function words(differences) {
  return differences ? `The other has ${differences}.` : "The other is the same.";
}

/**
 * What a job of drawing is asked.
 * @param {Params} asked
 * @param {Details} details
 * @param {string} before
 */
function settingsOf(asked, details, before) {
  const shared = { num_images: Number(asked.images || IMAGES), seed: asked.seed || "0", each: true };
  return { ...shared, ...(asked.numbers ? { arrays: NUMBERS } : {}), ...(asked.schedule ? { schedule: asked.schedule } : {}), ...tellingOf(asked, details), sampling: samplingOf(asked, before) };
}

/**
 * What a job was asked, as the address has it.
 * @param {string} run
 * @param {Record<string, any>} settings
 * @returns {Params}
 */
function askedOf(run, { seed: from, num_images: images, classes, attributes, prompt, sampling, schedule }) {
  const told = /** @type {Params} */ ({ run, seed: String(from ?? 0), images: String(images ?? IMAGES) });
  if (schedule) told.schedule = schedule;
  if (classes) told.classes = classes;
  if (prompt?.length) told.prompt = prompt.join("\n");
  for (const each of (attributes ?? "").split(",").filter(Boolean)) {
    const [name, value] = each.split("=");
    told[`=${name}`] = value;
  }
  return { ...told, ...asParams(sampling ?? {}) };
}

/**
 * @param {import("./main.js").Place} place
 * @param {Details} details
 * @param {Params} first
 * @returns {import("./main.js").Opened}
 */
function drawing({ root, go }, details, first) {
  let asked = first;
  const films = /** @type {(JobFilm | null)[]} */ ([null, null]), shown = filmView({ moved: showButtons });
  const run = details.id, box = commandBox(), otherBox = commandBox("The other by the command line");
  const sides = /** @type {const} */ ([["", box], [OTHER, otherBox]]).map(([before, shows]) => {
    return liveCommand(shows, () => (before && !asked.compare ? null : { kind: "sample", run, view: "draw", settings: settingsOf(asked, details, before) }));
  });

  const change = (/** @type {string} */ name, /** @type {string} */ value) => ask({ ...asked, [name]: value });
  const ask = (/** @type {Params} */ to) => go("draw", to, { replace: true });

  const telling = tellingFields(details, change, CLASSES);
  const from = seed("Seed", "0", { change: (to) => change("seed", to) });
  const count = number("Images", IMAGES, { min: 1, max: MOST_IMAGES, step: 1, change: (to) => change("images", String(to)) });
  const sampling = samplingFields(details, change), other = samplingFields(details, change, OTHER);
  const compares = checkbox("Compare with other settings", false, { change: (to) => compare(to) });
  const schedules = scheduleField(details, (to) => change("schedule", to));
  const numbers = checkbox("Keep every step as numbers, too", false, { change: (to) => change("numbers", to ? "1" : "") });
  const differing = h("p", { class: "soft", role: "status" });
  const second = h("fieldset", { class: "form" }, h("legend", null, "The other settings, for the same seeds"), differing, other.element);
  const start = h("button", { type: "submit", class: "main" }, "Draw"), stop = button("Stop", halt);
  const file = h("input", { type: "file", accept: "image/png", hidden: true, onchange: () => restore(file.files?.[0]) });
  const form = h("form", { class: "ask", "aria-label": "What to draw", onsubmit: draw },
    telling.element, h("div", { class: "pair two" }, from.element, count.element), sampling.element, schedules.element, numbers.element, compares.element, second,
    h("div", { class: "actions" }, start, button("Next seeds", next), stop),
    h("div", { class: "actions" }, button("Settings of a PNG", () => file.click()), file),
    h("p", { class: "soft" }, "A PNG that was drawn here may be dropped anywhere: its settings are taken up."), box.element, otherBox.element,
  );

  const modes = h("fieldset", { class: "choice" }, h("legend", { class: "unseen" }, "What is shown of the two"));
  for (const [value, name] of [["a", "First"], ["b", "Other"], ["wipe", "Wipe"], ["difference", "Difference"]]) {
    const radio = h("input", { type: "radio", name: "draw-mode", value, onchange: showFilm });
    radio.checked = value === "wipe";
    modes.append(h("label", null, radio, h("span", null, name)));
  }
  const share = range("Wipe", 0.5, { min: 0, max: 1, step: 0.01, format: (to) => `${Math.round(100 * to)} % the first`, change: showFilm });
  const facts = h("p", { class: "soft", role: "status" });
  const both = h("div", { class: "form compare" }, modes, share.element, facts);
  const mode = () => /** @type {import("./comparison.js").Mode} */ (modes.querySelector("input:checked")?.getAttribute("value"));
  const keep = {
    image: button("Save image", () => saveImage()),
    film: button("Save film", () => saveFilm()),
    grid: button("Save all", () => saveFile("grid.png")),
    numbers: button("Save numbers", () => saveFile(NUMBERS)),
  };
  const follow = h("a", { class: "button" }, "Follow its steps"), edit = h("a", { class: "button" }, "Edit this one");
  const nothing = h("p", { class: "soft" });
  const stage = h("section", { "aria-label": "What was drawn" }, nothing, both, shown.element,
    h("div", { class: "actions" }, ...Object.values(keep), follow, edit),
  );
  root.append(h("div", { class: "desk" }, form, stage));
  const leave = [
    on(root, "dragover", (event) => event.preventDefault()),
    on(root, "drop", (event) => (event.preventDefault(), restore(event.dataTransfer.files[0]))),
  ];

  /**
   * Begins what is asked, in place of what is drawn.
   * @param {Event} [event]
   */
  async function draw(event) {
    event?.preventDefault();
    if (!form.reportValidity()) return;
    start.disabled = true;
    say("");
    try {
      const befores = asked.compare ? ["", OTHER] : [""], begun = /** @type {Params} */ ({ job: "", [`${OTHER}job`]: "" });
      for (const [i, before] of befores.entries()) {
        const body = { kind: "sample", run, view: JOBS[i][1], settings: settingsOf(asked, details, before), replace: true };
        begun[JOBS[i][0]] = (await startJob(body)).id;
      }
      fail("");
      ask({ ...asked, ...begun });
      stage.scrollIntoView({ block: "nearest" });
    } catch (fault) {
      fail(fault);
    }
    start.disabled = false;
  }

  function next() {
    const to = BigInt(asked.seed || "0") + BigInt(asked.images || IMAGES);
    asked = { ...asked, seed: String(to > 2n ** 63n - 1n ? 0n : to) };
    from.value = asked.seed;
    return draw();
  }

  async function halt() {
    await Promise.all(films.map((each) => each?.job && !hasEnded(each.job) && stopJob(each.id)));
  }

  /**
   * The other settings begin as the first with fewer steps: what steps are for is seen at once.
   * @param {boolean} on
   */
  function compare(on) {
    const steps = Number(asked.steps || details.sampling.steps), fewer = steps > 1 ? Math.ceil(steps / FEWER) : 2;
    const copied = Object.fromEntries(SAMPLING.map((name) => [OTHER + name, on ? (asked[name] ?? "") : ""]));
    const begun = on ? { ...copied, [`${OTHER}steps`]: String(fewer), compare: "1" } : { ...copied, compare: "" };
    ask({ ...asked, ...begun, [`${OTHER}job`]: "" });
  }

  /**
   * Takes up the settings of a picture.
   * @param {File | undefined} given
   */
  async function restore(given) {
    file.value = "";
    if (!given) return;
    try {
      const { recipe } = await upload(given);
      if (!recipe) throw new Error(`expected a PNG that says how it was generated, by one chain and the run's own schedule, got ${given.name}; choose another`);
      const { settings: sampling, ...shared } = recipe, told = askedOf(run, { ...shared, sampling });
      fail("");
      ask({ ...told, job: asked.job ?? "" });
      say(`Settings of ${given.name}`);
    } catch (fault) {
      fail(fault);
    }
  }

  /**
   * Shows the jobs that the address names in place of others.
   * @param {number} i
   * @param {string | undefined} id
   */
  function attach(i, id) {
    if ((films[i]?.id ?? "") === (id ?? "")) return;
    films[i]?.close();
    films[i] = null;
    if (id) films[i] = new JobFilm(id, { changed: showFilm, progress: showButtons, ended: ended, lost: () => forget(i) });
    else showFilm();
  }

  /**
   * Of a job that the server no longer has.
   * @param {number} i
   */
  function forget(i) {
    films[i]?.close();
    films[i] = null;
    ask({ ...asked, [JOBS[i][0]]: "" });
  }

  /** @param {import("./store.js").Job} job */
  function ended(job) {
    if (job.state === "failed") fail(new Error(job.why));
    if (job.state === "done") say("Drawn");
    showFilm();
  }

  function showFilm() {
    const [one, two] = films, isBoth = Boolean(asked.compare && one?.length && two?.length);
    both.hidden = !isBoth;
    share.element.hidden = mode() !== "wipe";
    if (one?.length) shown.show(isBoth && two ? comparison(one, two, mode, () => share.value) : one);
    const jobs = [one?.job, two?.job].flatMap((each) => each && hasEnded(each) ? [each] : []);
    facts.textContent = isBoth && one && two && jobs.length === 2 ? `${drawnBy(jobs)} ${apart(one, two)}` : "";
    showButtons();
  }

  /**
   * In what the settings differed that two jobs were drawn by.
   * @param {import("./store.js").Job[]} jobs
   */
  function drawnBy(jobs) {
    const [one, other] = jobs.map(({ settings }, i) => asParams(settings.sampling ?? {}, i ? OTHER : ""));
    return words(differences({ ...one, ...other }, OTHER, details));
  }

  function showButtons() {
    const [one] = films, isThere = Boolean(one?.length), going = films.find((each) => each?.job && !hasEnded(each.job))?.job;
    nothing.hidden = isThere;
    nothing.textContent = going ? `${capital(wordsOf(going))}.` : "Nothing has been drawn yet.";
    for (const each of [shown.element, ...Object.values(keep), follow, edit]) each.hidden = !isThere;
    keep.grid.hidden = placeOf("grid.png") < 0;
    keep.numbers.hidden = placeOf(NUMBERS) < 0;
    stop.hidden = !going;
    const image = String(shown.chosen);
    follow.href = address("trajectory", { run, job: one?.id ?? "", image });
    edit.href = address("edit", { run, of: one?.id ?? "", image });
  }

  /** The chosen image as it is seen; a finished one as the file that says how it was made. */
  async function saveImage() {
    const [one] = films, name = `seed-${seedOf(shown.chosen)}.png`, pixels = one?.image(shown.position, shown.which, shown.chosen);
    if (one && shown.position >= one.length - 1 && placeOf(name) >= 0) return saveFile(name);
    if (one && pixels) save(await png([gridOf([pixels], one.shape)]), `${details.name}-${name}`);
  }

  async function saveFilm() {
    const [one] = films;
    if (!one) return;
    const every = Math.ceil(one.length / MOST_FRAMES), steps = Array.from({ length: one.length }, (_, i) => i);
    const kept = steps.filter((i) => i % every === 0 || i === one.length - 1);
    const pixels = kept.flatMap((i) => one.image(i, shown.which, shown.chosen) ?? []);
    const times = pixels.map((_, i) => (i === pixels.length - 1 ? LAST : FILM));
    save(await png(pixels.map((each) => gridOf([each], one.shape)), times), `${details.name}-seed-${seedOf(shown.chosen)}-film.png`);
  }

  /** @param {string} name */
  function placeOf(name) {
    return films[0]?.job?.files.findIndex((each) => each.name === name) ?? -1;
  }

  /** @param {string} name */
  function saveFile(name) {
    return download(`/api/jobs/${films[0]?.id}/files/${placeOf(name)}`, `${details.name}-${name}`);
  }

  /** @param {number} image */
  function seedOf(image) {
    return BigInt(films[0]?.job?.settings?.seed ?? 0) + BigInt(image);
  }

  function update(/** @type {Params} */ params) {
    asked = params;
    last.set(run, params);
    for (const part of [telling, sampling, other, schedules]) part.show(params);
    if (from.value !== (params.seed || "0")) from.value = params.seed || "0";
    if (count.value !== Number(params.images || IMAGES)) count.value = Number(params.images || IMAGES);
    compares.value = Boolean(params.compare);
    numbers.value = Boolean(params.numbers);
    second.hidden = !params.compare;
    differing.textContent = words(differences(params, OTHER, details));
    attach(0, params.job);
    attach(1, params.compare ? params[`${OTHER}job`] : "");
    showButtons();
    for (const live of sides) live();
  }

  /** What was asked last: here, or of the server, by another page. */
  function before() {
    const known = last.get(run), jobs = [...state.jobs.values()].filter((each) => each.view === "draw" && each.run === run);
    const job = jobs.at(-1);
    return known ?? (job ? { ...askedOf(run, job.settings ?? {}), job: job.id } : null);
  }

  const found = Object.keys(first).length > 1 ? null : before();
  if (found) ask(found);
  showFilm();
  update(found ?? first);
  return {
    update,
    close() {
      for (const each of leave) each();
      for (const each of films) each?.close();
      shown.close();
    },
  };
}
