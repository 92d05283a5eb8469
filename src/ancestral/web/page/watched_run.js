/** One training: how far it is, its curves, what it generates, and how it stops and goes on. */

import { get, post } from "./api.js";
import { lineChart } from "./charts.js";
import { commandBox } from "./command.js";
import { button, fail, h, say } from "./elements.js";
import { checkbox, number, select } from "./fields.js";
import { ALONG, curve, followLog } from "./logs.js";
import { address } from "./route.js";
import { capital, counted, measured, minutesInWords, numbersOf, percent } from "./run_words.js";
import { stopControls } from "./stop_controls.js";
import { runOf, subscribe } from "./store.js";
import { previewWall } from "./wall.js";

/** @typedef {import("./store.js").Run} Run */
/** @typedef {import("./logs.js").LogRecord} LogRecord */
/** @typedef {import("./logs.js").Along} Along */
/** @typedef {import("./route.js").Params} Params */

const QUARTERS = ["t in the first quarter, little noise", "second", "third", "last, nearly all noise"];
const BUDGETS = { minutes: "minutes", images: "images", steps: "steps" };
const KNOWN = ["step", "images", "minutes", "loss", "held_out_loss", "grad_norm", "lr", "skipped", "missing"];
const STALE = 10_000; // ms after which what else is known of a run that is trained is asked again

/**
 * @param {import("./main.js").Place} place
 * @param {string} id
 * @returns {import("./main.js").Opened}
 */
export function watchedRun(place, id) {
  return runOf(id) ? knownRun(place, id) : awaitedRun(place, id);
}

/**
 * A run that is not there: shown once it is.
 *
 * @param {import("./main.js").Place} place
 * @param {string} id
 * @returns {import("./main.js").Opened}
 */
function awaitedRun(place, id) {
  let opened = /** @type {import("./main.js").Opened | null} */ (null);
  place.root.append(h("p", null, "There is no such run."));
  const leave = subscribe(["run", "state"], () => {
    if (!runOf(id)) return;
    leave();
    place.root.replaceChildren();
    opened = knownRun(place, id);
  });
  return {
    update: (params) => opened?.update?.((place.params = params)),
    close() {
      leave();
      opened?.close();
    },
  };
}

/**
 * @param {import("./main.js").Place} place
 * @param {string} id
 * @returns {import("./main.js").Opened}
 */
function knownRun({ root, params, go }, id) {
  const facts = factsOf(),
    controls = controlsOf(id),
    curves = curvesOf(params, (change) => {
      go("train", { ...asked, ...change }, { replace: true });
    });
  const wall = previewWall(id),
    warnings = h("ul", { class: "warnings" });
  const lines = h("ul"),
    said = h("details", null, h("summary", null, "What the training said"), lines);
  let asked = params,
    details = /** @type {any} */ (null),
    askedAt = 0,
    records = /** @type {LogRecord[]} */ ([]);

  root.append(
    h(
      "div",
      { class: "watched" },
      h("section", { "aria-label": "State" }, facts.element, warnings, controls.element, said),
      h(
        "section",
        { "aria-labelledby": "wall-title" },
        h("h2", { id: "wall-title" }, runOf(id)?.kind === "autoencoder" ? "What it makes of images" : "What it generates"),
        wall.element,
      ),
      curves.element,
    ),
  );
  const draw = () => {
    const run = runOf(id);
    if (!run) return;
    facts.show(run, details);
    controls.show(run);
    wall.show(run, details?.settings?.training?.sample_every_steps);
    showList(warnings, warningsOf(run, records));
    showList(lines, details?.said ?? []);
    said.hidden = !details?.said?.length;
    if (run.state !== known || (run.state === "training" && Date.now() - askedAt > STALE)) lookCloser(run.state);
  };
  let known = "";
  const lookCloser = (/** @type {string} */ state) => {
    known = state;
    askedAt = Date.now();
    get(`/api/runs/${id}`).then((found) => ((details = found), draw()), fail);
  };
  const leave = [
    subscribe(["state", "run", "grid", "connection"], draw),
    followLog(id, (all) => {
      records = all;
      curves.show(all);
      draw();
    }),
  ];
  draw();
  return {
    update(to) {
      asked = to;
      curves.ask(to);
    },
    close() {
      for (const each of leave) each();
      wall.close();
      curves.close();
    },
  };
}

function factsOf() {
  const state = h("p", { class: "state" }),
    bar = h("progress", { max: 1, "aria-label": "Progress" }),
    list = h("dl");
  return {
    element: h("div", null, state, bar, list),
    /**
     * @param {Run} run
     * @param {any} details
     */
    show(run, details) {
      const isTraining = run.state === "training",
        [name, limit] = Object.entries(run.budget ?? {})[0] ?? [];
      const of = limit ? ` of ${counted(limit)} ${name}` : "";
      state.textContent = isTraining
        ? `Training: ${percent(run.fraction)}${of}`
        : `${capital(run.state)}${of && `, budget${of.replace(" of", "")}`}`;
      bar.hidden = !isTraining;
      if (run.fraction !== null && run.fraction !== undefined) bar.value = run.fraction;
      const saved = details?.checkpoints?.at(-1),
        left = run.seconds_left;
      /** @type {[string, string][]} */
      const rows = [
        ["steps", counted(run.steps)],
        ["images seen", counted(run.images)],
        ["time", minutesInWords(run.minutes)],
        ["images a second", isTraining && run.images_per_second ? measured(run.images_per_second) : ""],
        ["time left", isTraining && left !== null && left !== undefined ? minutesInWords(left / 60) : ""],
        ["last checkpoint", saved === undefined ? "" : `step ${counted(saved)}`],
        ...numbersOf(run),
      ];
      list.replaceChildren(
        ...rows
          .filter(([, said]) => said)
          .map(([term, said]) => h("div", null, h("dt", null, term), h("dd", null, said))),
      );
    },
  };
}


/**
 * Items of a list, which is left alone where it has them already.
 * @param {HTMLElement} list
 * @param {string[]} items
 */
function showList(list, items) {
  if (items.join("\n") === list.dataset.items) return;
  list.dataset.items = items.join("\n");
  list.replaceChildren(...items.map((each) => h("li", null, each)));
}

/**
 * What is wrong, in words.
 * @param {Run} run
 * @param {LogRecord[]} records
 * @returns {string[]}
 */
function warningsOf(run, records) {
  const last = records.filter((each) => "loss" in each).at(-1),
    skipped = last?.skipped ?? 0;
  const diverged =
    last?.loss === null ? "It has diverged: the loss is no number any more. Train with a smaller training.lr." : "";
  const few = `${counted(skipped)} steps were skipped: their gradient was not finite. Lower training.lr.`;
  return [run.fault, diverged, skipped ? few : ""].filter(Boolean);
}

/**
 * Stopping, going on, and another like it.
 * @param {string} id
 */
function controlsOf(id) {
  const box = commandBox(),
    stopping = stopControls(id),
    more = number("More", 5, { min: 0, step: "any" });
  const unit = select("counted in", named(BUDGETS), "minutes");
  const send = async (/** @type {object | null} */ budget) => {
    fail("");
    box.show("");
    const { command } = await post(`/api/runs/${id}/continue`, { budget });
    box.show(command);
    say("Training goes on");
  };
  const goOn = button("Go on", () => send(null), { class: "main" });
  const extend = button("Go on for that much more", () => {
    const amount = more.value ?? 0;
    if (amount <= 0) return more.fault("expected more than 0");
    const run = runOf(id),
      name = /** @type {keyof typeof BUDGETS} */ (unit.value),
      total = (run?.[name] ?? 0) + amount;
    return send({ [name]: name === "minutes" ? Number(total.toFixed(3)) : Math.round(total) });
  });
  const extension = h(
    "fieldset",
    { class: "more" },
    h("legend", null, "A longer budget"),
    more.element,
    unit.element,
    extend,
  );
  const draw = h("a", { class: "button", href: address("draw", { run: id }) }, "Draw with it"),
    another = h("a", { class: "button", href: address("train", { like: id }) }, "Train another like it");

  /** @param {Run} run */
  function show(run) {
    const isTraining = run.state === "training";
    stopping.show(run);
    goOn.hidden = run.state !== "stopped";
    extension.hidden = isTraining || !["run", "autoencoder"].includes(run.kind) || run.steps === null;
    draw.hidden = !run.usable;
    another.hidden = run.kind === "autoencoder"; // the page begins none
  }
  return {
    element: h(
      "div",
      { class: "form" },
      stopping.element,
      h("div", { class: "actions" }, goOn),
      extension,
      h("p", { class: "actions" }, draw, another),
      box.element,
    ),
    show,
  };
}

/** @param {object} names */
function named(names) {
  return Object.entries(names).map(([value, label]) => ({ value, label }));
}

/**
 * The curves of the log.
 * @param {Params} params
 * @param {(change: Params) => void} change
 */
function curvesOf(params, change) {
  const along = select("Along", named(ALONG), "images", { change: (x) => change({ x }) });
  const log = checkbox("Logarithmic", true, { change: (on) => change({ log: on ? "" : "0" }) });
  const charts = h("div", { class: "charts" }),
    none = h("p", { class: "soft" }, "Nothing has been logged yet.");
  const drawn = /** @type {Map<string, ReturnType<typeof lineChart>>} */ (new Map());
  let records = /** @type {LogRecord[]} */ ([]);

  /**
   * @param {string} title
   * @param {[string, string, number?][]} lines a name, a key of records, a place
   * @param {boolean} isLog
   */
  const draw = (title, lines, isLog) => {
    const by = /** @type {Along} */ (along.value);
    const all = lines.map(([name, key, place]) => ({ name, ...curve(records, by, key, place) }));
    const series = all.filter((each) => each.x.length);
    if (!series.length) return;
    const chart = { title, series, x: { label: ALONG[by] }, y: { label: title, log: isLog } };
    const known = drawn.get(title);
    if (known) return known.update(chart);
    const box = h("section", { "aria-label": title }, h("h3", null, title));
    charts.append(box);
    drawn.set(title, lineChart(box, chart));
  };
  const drawAll = () => {
    none.hidden = records.length > 0;
    draw(
      "Loss",
      [
        ["training", "loss"],
        ["held out", "held_out_loss"],
      ],
      log.value,
    );
    draw(
      "Training loss by quarter of t",
      QUARTERS.map((name, i) => [name, "loss_by_quarter", i]),
      log.value,
    );
    draw("Gradient norm", [["gradient norm, before it is clipped", "grad_norm"]], log.value);
    draw("Learning rate", [["learning rate", "lr"]], false);
    for (const name of others(records)) draw(name.replaceAll("_", " "), [[name.replaceAll("_", " "), name]], false);
  };
  const ask = (/** @type {Params} */ to) => {
    along.value = to.x in ALONG ? to.x : "images";
    log.value = to.log !== "0";
    drawAll();
  };
  ask(params);
  return {
    element: h(
      "section",
      { class: "curves", "aria-labelledby": "curves-title" },
      h("h2", { id: "curves-title" }, "Curves"),
      h("div", { class: "fields" }, along.element, log.element),
      none,
      charts,
    ),
    ask,
    /** @param {LogRecord[]} to */
    show(to) {
      records = to;
      drawAll();
    },
    close() {
      for (const each of drawn.values()) each.close();
    },
  };
}

/**
 * What else was logged, of an autoencoder or a codec.
 * @param {LogRecord[]} records
 */
function others(records) {
  const names = new Set(records.flatMap((each) => Object.keys(each)));
  return [...names].filter((name) => !KNOWN.includes(name) && records.some((each) => typeof each[name] === "number"));
}
