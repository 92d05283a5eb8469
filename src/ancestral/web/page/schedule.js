/** The view of noise schedules: named ones with their numbers, or one's own curve, and what they do to an image. */

import { get, post, save } from "./api.js";
import { lineChart } from "./charts.js";
import { commandBox } from "./command.js";
import { HIGHEST, LOWEST, curveEditor, timesOf } from "./curve_editor.js";
import { button, fail, h, on, say } from "./elements.js";
import { checkbox, number, select, text } from "./fields.js";
import { MOMENTS, forwardFilm } from "./forward_film.js";
import { noiseOf, ownImage } from "./own_image.js";
import {
  GRIDS,
  NAMED,
  alongPoints,
  asBetas,
  betasOf,
  fromLogSnr,
  logSnrOf,
  pointsOf,
  tableOf,
} from "./schedule_tables.js";

/** @typedef {import("./route.js").Params} Params */
/** @typedef {import("./schedule_tables.js").Point} Point */
/** @typedef {import("./schedule_tables.js").Schedule} Schedule */
/** @typedef {import("./schedule_tables.js").Table} Table */

const POINTS = 9;
const OWN = "points"; // in place of a name
const MOST_TIMESTEPS = 10_000; // that a page draws at every move
const MOST_DRAWN = 400; // points of a curve
const SIDE = 48; // of the picture where no run says one
const ENOUGH = 5; // ms of a frame, after which what is left is drawn in the next
const REMEMBERED = 300; // ms after the last change until the address says it

/** @type {import("./main.js").View} */
export const view = {
  name: "schedule",
  title: "Schedule",
  open(place) {
    let part = /** @type {{close: () => void} | null} */ (null),
      closed = false,
      run = place.params.run ?? "";
    const open = async (/** @type {Params} */ params) => {
      part?.close();
      place.root.replaceChildren();
      const details = run ? await get(`/api/runs/${run}`).catch(fail) : null;
      if (!closed) part = designer(place, params, details ?? null);
    };
    open(place.params);
    return {
      update(params) {
        if ((params.run ?? "") === run) return;
        run = params.run ?? "";
        open(params);
      },
      close() {
        closed = true;
        part?.close();
      },
    };
  },
};

/**
 * @param {import("./main.js").Place} place
 * @param {Params} params
 * @param {any} details of the run, if one is named
 */
function designer({ root, go }, params, details) {
  const options = Object.fromEntries(
    [...new Set(Object.values(NAMED).flatMap((each) => Object.keys(each.options)))].map((name) => {
      return [name, number(name.replaceAll("_", " "), null, { change: changed })];
    }),
  );
  const fields = {
    name: select("Schedule", [...Object.keys(NAMED), { value: OWN, label: "points of your own" }], "cosine", {
      change: chooseName,
    }),
    T: number("Timesteps T", 1000, { min: 2, max: MOST_TIMESTEPS, step: 1, change: changed }),
    zero: checkbox("No signal left at T", false, {
      change: changed,
      help: "needs a network that predicts x0, v or flow",
    }),
    grid: select("The sampler's grid", Object.keys(GRIDS), "trailing", { change: changed }),
    steps: number("Its steps", 20, { min: 1, max: 1000, step: 1, change: changed }),
    stored: name("Name", details?.name),
  };
  const known = select("Stored before", [{ value: "", label: "choose one" }], "", {
    change: (id) => id && open(stored.get(id)),
  });
  const whyNot = cannotDraw(details),
    drawOn = h("button", { type: "button", disabled: Boolean(whyNot), "aria-describedby": whyNot && "why-not" }, "Draw on it");
  on(drawOn, "click", () => drawWith().catch(fail));
  const editor = curveEditor(draw),
    film = forwardFilm(),
    box = commandBox(),
    wrong = h("p", { class: "fault", role: "status" });
  const shape = /** @type {import("./own_image.js").Shape} */ (details?.shape ?? [3, SIDE, SIDE]);
  let own = params.own ?? "";
  const image = ownImage(shape, redraw, {
    ...{
      view: "schedule",
      run: details?.usable ? details.id : undefined,
      known: own,
      hasData: details?.kind === "run",
    },
    kept: (id) => ((own = id), remember()),
  });
  const eps = noiseOf("0", shape);
  const numbers = h("div", { class: "fields" }),
    asNumbers = h(
      "details",
      { class: "numbers", ontoggle: showNumbers },
      h("summary", null, "The points as numbers"),
      numbers,
    );
  const curves = h("div", { class: "charts" }),
    signal = chart("Share of the signal", "ᾱ"),
    noise = chart("Variance of each step", "β", true);
  const stored = /** @type {Map<string, Schedule>} */ (new Map());
  let points = /** @type {Point[]} */ ([]),
    table = /** @type {Table} */ (tableOf({ name: "cosine", num_timesteps: 1000 }));
  const moments = Array.from({ length: MOMENTS }, (_, i) => () => film.draw(i, table, image.x0, eps, shape));
  const parts = [drawSignal, drawNoise, ...moments]; // of what follows from the curve
  let isMoved = false,
    next = 0, // of the parts
    left = 0; // of them, until all show the curve
  let asked = 0,
    timer = 0,
    exact = /** @type {Schedule | null} */ (null); // a table that was opened, until it is changed

  root.append(
    h(
      "div",
      { class: "noise" },
      h(
        "form",
        { "aria-label": "The schedule", onsubmit: (/** @type {Event} */ event) => event.preventDefault() },
        fields.name.element,
        h("div", { class: "pair two" }, ...Object.values(options).map((each) => each.element)),
        fields.T.element,
        fields.zero.element,
        h("div", { class: "pair two" }, fields.grid.element, fields.steps.element),
        wrong,
        h("h2", null, "Keep it"),
        fields.stored.element,
        h(
          "div",
          { class: "actions" },
          button("Store it", store),
          button("Train with it", train, { class: "main" }),
          drawOn,
          button("Export JSON", exported),
        ),
        whyNot && h("p", { id: "why-not", class: "soft" }, whyNot),
        known.element,
        box.element,
      ),
      h(
        "div",
        null,
        h(
          "section",
          { "aria-label": "Log-SNR" },
          h("h2", null, "Log of signal over noise"),
          h(
            "p",
            { class: "soft" },
            "Drag the points, or choose one by Tab and move it by the arrow keys; Page Up and Page Down move it " +
              "further, Delete takes it away.",
          ),
          editor.element,
          h("div", { class: "actions" }, button("Add a point", addPoint)),
          asNumbers,
        ),
        h(
          "section",
          { "aria-label": "The image on its way" },
          h("h2", null, "The image on its way to noise"),
          film.element,
          image.element,
        ),
        curves,
      ),
    ),
  );

  /**
   * @param {string} title
   * @param {string} label
   * @param {boolean} [log]
   */
  function chart(title, label, log) {
    const section = h("section", { "aria-label": title }, h("h2", null, title));
    curves.append(section);
    const made = lineChart(section, { title, series: [], x: { label: "t" }, y: { label, log }, height: 200 });
    return {
      ...made,
      /**
       * @param {number[]} x
       * @param {number[]} y
       */
      draw(x, y) {
        const T = table.length - 1,
          along = { label: "t", range: /** @type {[number, number]} */ ([0, T]) };
        made.update({ title, series: [{ name: label, x, y }], x: along, ticks: timesOf(T), y: { label, log }, height: 200 });
      },
    };
  }

  /**
   * The settings that the fields say; null: the points say it.
   * @returns {Schedule | null}
   */
  function named() {
    if (exact || fields.name.value === OWN) return exact;
    const { options: own, rescales } = NAMED[fields.name.value],
      found = /** @type {Schedule} */ ({ name: fields.name.value, num_timesteps: fields.T.value ?? 0 });
    for (const each of Object.keys(own)) found[each] = options[each].value;
    return rescales && fields.zero.value ? { ...found, zero_terminal_snr: true } : found;
  }

  /** The settings to train by. */
  function settings() {
    return named() ?? asBetas(table);
  }

  function chooseName() {
    exact = null;
    if (fields.name.value !== OWN)
      for (const [each, value] of Object.entries(NAMED[fields.name.value].options)) options[each].value = value;
    changed();
  }

  function changed() {
    const own = NAMED[fields.name.value];
    for (const [name, { element }] of Object.entries(options)) element.hidden = !(own && name in own.options);
    fields.zero.element.hidden = Boolean(own && !own.rescales);
    exact = null;
    redraw();
  }

  /**
   * The curve is that of points, which were moved.
   * @param {Point[]} to
   */
  function draw(to) {
    points = to;
    exact = null;
    if (fields.name.value !== OWN) {
      fields.name.value = OWN;
      return changed();
    }
    redraw();
  }

  function addPoint() {
    const gaps = points.slice(1).map(([u], i) => u - points[i][0]),
      widest = gaps.indexOf(Math.max(...gaps));
    const [[u, level], [to, end]] = [points[widest], points[widest + 1]];
    draw([...points.slice(0, widest + 1), [(u + to) / 2, (level + end) / 2], ...points.slice(widest + 1)]);
  }

  /** Draws everything anew: the curve at the next frame, and what follows from it then, as far as there is time. */
  function redraw() {
    isMoved = true;
    asked ||= requestAnimationFrame(frame);
  }

  function frame() {
    const begun = performance.now();
    if (isMoved && compute()) left = parts.length;
    isMoved = false;
    for (let isTime = true; left && isTime; isTime = performance.now() - begun < ENOUGH) {
      parts[next]();
      next = (next + 1) % parts.length;
      left--;
    }
    asked = left ? requestAnimationFrame(frame) : 0;
    performance.measure("schedule", { start: begun, end: performance.now() });
  }

  /** The table of what is asked, and its curve; false where there is none. */
  function compute() {
    try {
      const T = fields.T.value ?? 0,
        given = named();
      if (!Number.isInteger(T) || T < 2 || T > MOST_TIMESTEPS)
        throw new RangeError(`expected a whole number T of 2 to ${MOST_TIMESTEPS}, got ${fields.T.value}`);
      if (given) points = pointsOf((table = tableOf(given)), POINTS, [LOWEST, HIGHEST]);
      else table = tableOf({ ...asBetas(fromLogSnr(alongPoints(points, T))), zero_terminal_snr: fields.zero.value });
      wrong.textContent = "";
    } catch (fault) {
      wrong.textContent = /** @type {Error} */ (fault).message;
      return false;
    }
    const steps = Math.min(fields.steps.value || 1, table.length - 1);
    editor.show({ levels: logSnrOf(table), points, ticks: GRIDS[fields.grid.value](table, steps) });
    if (asNumbers.open && !numbers.contains(document.activeElement)) showNumbers();
    showCommand();
    clearTimeout(timer);
    timer = setTimeout(remember, REMEMBERED);
    return true;
  }

  /** Some of the timesteps, T among them. */
  function timesShown() {
    const T = table.length - 1,
      every = Math.ceil(T / MOST_DRAWN);
    return Array.from({ length: Math.ceil(T / every) }, (_, i) => T - every * i).reverse();
  }

  function drawSignal() {
    const times = [0, ...timesShown()];
    signal.draw(
      times,
      times.map((t) => table[t]),
    );
  }

  function drawNoise() {
    const times = timesShown(),
      betas = betasOf(table);
    noise.draw(
      times,
      times.map((t) => betas[t - 1]),
    );
  }

  function showNumbers() {
    const last = table.length - 2,
      end = points.length - 1;
    numbers.replaceChildren(
      ...points.flatMap(([u, level], i) => {
        const set = (/** @type {Point} */ to) => isFalling(points.map((each, n) => (n === i ? to : each)));
        const t = number(`t of point ${i + 1}`, Math.round(1 + u * last), {
          min: 1,
          max: last + 1,
          step: 1,
          change: (to) => set([((to ?? 1) - 1) / last, points[i][1]]),
        });
        const snr = number(`log-SNR of point ${i + 1}`, Number(level.toFixed(3)), {
          min: LOWEST,
          max: HIGHEST,
          change: (to) => set([points[i][0], to ?? 0]),
        });
        /** @type {HTMLInputElement} */ (t.input).disabled = i === 0 || i === end;
        return [t.element, snr.element];
      }),
    );
  }

  /**
   * Draws points if they fall.
   * @param {Point[]} to
   */
  function isFalling(to) {
    const falls = to.every(([u, level], i) => i === 0 || (u > to[i - 1][0] && level < to[i - 1][1]));
    wrong.textContent = falls ? "" : "expected points of which each lies later and lower than the one before";
    if (falls) draw(to);
  }

  function showCommand() {
    const given = named(),
      own = given && NAMED[given.name]?.options;
    const usual =
      own && Object.entries(own).every(([name, value]) => given[name] === value) && !given.zero_terminal_snr;
    box.show(
      usual
        ? `ancestral show schedule ${given.name} --timesteps ${given.num_timesteps}`
        : `ancestral train digits --config ${fields.stored.value}.json`,
    );
  }

  function remember() {
    const kept = /** @type {Params} */ ({
      name: fields.name.value,
      T: String(fields.T.value),
      grid: fields.grid.value,
      steps: String(fields.steps.value),
    });
    if (details) kept.run = details.id;
    if (own) kept.own = own;
    if (fields.zero.value) kept.zero = "1";
    if (fields.name.value === OWN)
      kept.points = points.map((each) => each.map((value) => Number(value.toFixed(4))).join(":")).join(",");
    else for (const each of Object.keys(NAMED[fields.name.value].options)) kept[each] = String(options[each].value);
    if (!exact) go("schedule", kept, { replace: true });
  }

  /**
   * Shows a schedule of settings.
   * @param {Schedule | undefined} given
   */
  function open(given) {
    if (!given) return;
    fields.name.value = given.name in NAMED ? given.name : OWN;
    fields.T.value = given.num_timesteps;
    fields.zero.value = Boolean(given.zero_terminal_snr);
    for (const [each, usual] of Object.entries(NAMED[given.name]?.options ?? {}))
      options[each].value = given[each] ?? usual;
    changed();
    exact = given.name in NAMED ? null : given;
  }

  async function keep() {
    if (wrong.textContent) throw new Error(wrong.textContent);
    const { id } = await post("/api/schedules", { name: fields.stored.value, schedule: settings() });
    await list();
    say(`Stored as ${id}`);
    return id;
  }

  async function store() {
    known.value = await keep();
  }

  async function train() {
    go("train", { schedule: await keep() });
  }

  async function drawWith() {
    go("draw", { run: details.id, schedule: await keep() });
  }

  function exported() {
    const content = JSON.stringify({ diffusion: { schedule: asBetas(table) } }, null, 2);
    save(new Blob([content], { type: "application/json" }), `${fields.stored.value}.json`);
  }

  async function list() {
    stored.clear();
    for (const { id, schedule } of await get("/api/schedules")) stored.set(id, schedule);
    known.offer([{ value: "", label: stored.size ? "choose one" : "none yet" }, ...stored.keys()]);
  }

  function begin() {
    const own = details?.schedule;
    if (params.points)
      points = params.points.split(",").map((each) => /** @type {Point} */ (each.split(":").map(Number)));
    if (!params.name && own) open(own);
    else {
      const { name = "cosine" } = params,
        usual = NAMED[name]?.options ?? {};
      fields.name.value = name in NAMED || points.length > 1 ? name : "cosine";
      fields.T.value = Number(params.T ?? 1000);
      fields.zero.value = params.zero === "1";
      for (const each of Object.keys(usual)) options[each].value = Number(params[each] ?? usual[each]);
      changed();
    }
    fields.grid.value = params.grid in GRIDS ? params.grid : "trailing";
    fields.steps.value = Number(params.steps ?? 20);
    list().catch(fail);
  }

  begin();
  return {
    close() {
      cancelAnimationFrame(asked);
      clearTimeout(timer);
      for (const each of [editor, signal, noise, image]) each.close();
    },
  };
}

/**
 * Why images cannot be generated along another schedule; "": they can.
 * @param {any} details
 */
function cannotDraw(details) {
  if (!details?.usable) return "To draw on it, choose a run that generates images.";
  if (details.tells_noise) return "";
  return `${details.name} cannot be drawn on it: its network is told the number of the step, not the log-SNR, and knows its own schedule alone.`;
}

/**
 * @param {string} label
 * @param {string | undefined} run
 */
function name(label, run) {
  const plain = (run ?? "")
    .toLowerCase()
    .replace(/[^a-z0-9]+/g, "-")
    .replace(/^-|-$/g, "")
    .slice(0, 50);
  const made = text(label, plain ? `${plain}-schedule` : "schedule", { help: "Small letters, digits and -." });
  made.input.setAttribute("pattern", "[a-z0-9\\-]{1,64}");
  return made;
}
