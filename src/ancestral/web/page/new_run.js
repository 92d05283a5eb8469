/** What a new run is to be: images, preset, budget and settings, which the server checks as they are typed. */

import { get, post } from "./api.js";
import { commandBox, liveCommand } from "./command.js";
import { dataCheck } from "./data_check.js";
import { button, fail, h, on, say } from "./elements.js";
import { number, select, text } from "./fields.js";
import { asLines, flat, fromLines, isSame, tree } from "./settings.js";
import { runOf, state } from "./store.js";

/** @typedef {Map<string, any>} Values by dotted names of settings */
/** @typedef {{element: HTMLElement, show: (values: Values, base: Values) => void}} SettingField */

const PLANS = "/api/plans"; // what a run would be
const BUDGETS = { minutes: "minutes", images: "images", steps: "steps" };
const TYPICAL = /** @type {Record<string, number>} */ ({ minutes: 5, images: 100_000, steps: 2000 });
const OFFERED = {
  prediction: ["eps", "x0", "v", "flow", "levels"],
  codec: ["pixels", "kl", "vq"],
  text: ["none", "learned"],
};

/** @param {import("./main.js").Place} place @param {string | undefined} like a run whose settings are taken
 * @returns {import("./main.js").Opened} */
export function newRun({ root, go, params }, like) {
  const model = like ? runOf(like) : null;
  let base = /** @type {Values} */ (new Map()),
    now = /** @type {Values} */ (new Map()),
    baseOf = "",
    closed = false;
  const changes = /** @type {Values} */ (new Map());

  const ofPreset = { value: "", label: model ? "the same images" : "as the preset" };
  const data = select("Images", [ofPreset, ...state.data.map(({ id, name }) => ({ value: id, label: name }))], "", {
    help: state.data.length ? "" : "Start the studio with --data FOLDER to train on images of your own.",
    change: (id) => {
      preset.value = id || model ? "" : presets[0];
      check.look(id);
      suggestName();
      ask();
    },
  });
  const suggested = { value: "", label: "suited to the images" };
  const presets = state.presets.map(({ name }) => name);
  const preset = select("Preset", [suggested, ...presets], "", { change: () => (suggestName(), ask()) });
  const about = h("p", { class: "soft" });
  const name = text("Name", "", { help: "a-z, 0-9 and -", change: () => ((named = true), ask()) });
  const amount = number("Budget", null, { min: 0, optional: true, change: () => setBudget() });
  const unit = select(
    "counted in",
    Object.entries(BUDGETS).map(([value, label]) => ({ value, label })),
    "minutes",
    {
      change: () => {
        amount.value = TYPICAL[unit.value];
        setBudget();
      },
    },
  );
  const schedule = select("Noise schedule", [{ value: "", label: "as the preset" }], "", { change: () => ask() });
  let named = false;

  const set = (/** @type {string} */ key, /** @type {any} */ value) => {
    if (value === undefined || isSame(value, base.get(key))) changes.delete(key);
    else changes.set(key, value);
    ask();
  };
  const settings = [
    listSetting("Network width", "network.widths", set),
    numberSetting("Learning rate", "training.lr", set),
    numberSetting("Batch", "training.batch_size", set),
    numberSetting("Image side, px", "data.size", set),
    choiceSetting("It predicts", "diffusion.prediction", OFFERED.prediction, set),
    choiceSetting("It diffuses", "codec.name", OFFERED.codec, set),
    choiceSetting("Captions", "text.name", OFFERED.text, set),
  ];
  const lines = linesOf(
    changes,
    () => ({ base, now }),
    () => ask(),
  );
  const box = commandBox(),
    start = button("Train", begin, { class: "main" });
  const check = dataCheck((/** @type {Values} */ suggestion) => {
    for (const [key, value] of suggestion) set(key, value);
  });
  const form = h(
    "form",
    { "aria-label": "A new run" },
    model && h("p", null, `With the settings of ${model.name}, but for what is changed here.`),
    h("div", { class: "fields" }, data.element, model ? null : preset.element, name.element),
    about,
    check.element,
    h(
      "div",
      { class: "fields" },
      amount.element,
      unit.element,
      schedule.element,
      ...settings.map((each) => each.element),
    ),
    lines.element,
    h("div", { class: "actions" }, start),
    box.element,
  );
  root.append(form);
  on(form, "submit", (event) => event.preventDefault());

  /** What the server is asked.
   * @param {Values} changed */
  function body(changed) {
    const [settings, from] = [
      tree(changed),
      { data: data.value || null, preset: preset.value || null, like: like ?? null },
    ];
    return { name: name.value, ...from, settings, schedule: schedule.value || null };
  }
  const live = liveCommand(box, () => body(changes), {
    path: PLANS,
    fault: (fault) => lines.fault(fault),
    answer: (answer) => {
      now = new Map(flat(answer.settings ?? {}));
      showAll();
    },
  });

  function ask() {
    name.fault(isTaken(name.value) ? "There is a run of this name; choose another." : "");
    about.textContent = state.presets.find((each) => each.name === preset.value)?.about ?? "";
    const of = JSON.stringify([data.value, preset.value]);
    if (of === baseOf) return live();
    baseOf = of;
    post(PLANS, { ...body(new Map()), name: "new", schedule: null }).then(
      (answer) => {
        if (of !== baseOf || closed) return;
        base = new Map(flat(answer.settings ?? {}));
        now = new Map(base);
        for (const [key, value] of changes) if (isSame(value, base.get(key))) changes.delete(key);
        showAll();
        live();
      },
      (fault) => box.fault(fault.message),
    );
  }

  function showAll() {
    const all = new Map([...now, ...changes]);
    for (const each of settings) each.show(all, base);
    lines.show();
    const limit =
      Object.keys(BUDGETS).find((each) => changes.has(`training.${each}`)) ??
      Object.keys(BUDGETS).find((each) => now.get(`training.${each}`));
    if (limit && document.activeElement !== amount.input) {
      unit.value = limit;
      amount.value = all.get(`training.${limit}`);
    }
  }

  function setBudget() {
    for (const each of Object.keys(BUDGETS)) changes.delete(`training.${each}`);
    set(`training.${unit.value}`, amount.value ?? undefined);
  }

  function suggestName() {
    if (named) return;
    const from = model?.name ?? (preset.value || state.data.find(({ id }) => id === data.value)?.name || "run");
    const plain =
      from
        .toLowerCase()
        .replace(/[^a-z0-9]+/g, "-")
        .replace(/^-|-$/g, "")
        .slice(0, 58) || "run";
    let free = plain;
    for (let number = 2; isTaken(free); number++) free = `${plain}-${number}`;
    name.value = free;
  }

  async function begin() {
    fail("");
    const { run } = await post("/api/runs", body(changes));
    say("Training begins");
    if (!closed) go("train", { run });
  }

  if (!model) preset.value = presets[0] ?? "";
  suggestName();
  get("/api/schedules").then((stored) => {
    schedule.offer([
      { value: "", label: "as the preset" },
      ...stored.map((/** @type {{id: string, name: string}} */ each) => ({ value: each.id, label: each.name })),
    ]);
    if (!params.schedule) return;
    schedule.value = params.schedule;
    ask();
  }, fail);
  ask();
  return {
    close() {
      closed = true;
      check.close();
    },
  };
}

/** @param {string} name */
function isTaken(name) {
  return [...state.runs.values()].some((each) => each.place === name);
}

/** All settings as lines.
 * @param {Values} changes @param {() => {base: Values, now: Values}} known @param {() => void} ask */
function linesOf(changes, known, ask) {
  const all = text("All settings", "", {
    rows: 16,
    optional: true,
    help: "A setting a line, name = value; `ancestral train --help` says what each means.",
    change: () => {
      try {
        const { base, now } = known();
        const lines = fromLines(all.value);
        for (const key of changes.keys()) if (!lines.has(key)) changes.delete(key);
        for (const [key, value] of lines) {
          if (isSame(value, changes.has(key) ? changes.get(key) : now.get(key))) continue;
          if (isSame(value, base.get(key))) changes.delete(key);
          else changes.set(key, value);
        }
        ask();
      } catch (fault) {
        all.fault(/** @type {Error} */ (fault).message);
      }
    },
  });
  all.input.classList.add("code");
  const summary = h("summary", null, "All settings"),
    element = h("details", { class: "all-settings" }, summary, all.element);
  const show = () => {
    if (document.activeElement === all.input) return;
    all.value = asLines(new Map([...known().now, ...changes]));
    const said = changes.size ? `: ${changes.size} changed` : "";
    summary.textContent = `All settings${said}`;
  };
  on(all.input, "blur", show);
  return {
    element,
    show,
    /** @param {string} words */
    fault(words) {
      all.fault(words);
    },
  };
}

/** @typedef {(key: string, value: any) => void} Set `undefined`: as the preset has it */

/** @param {string} label @param {string} key @param {Set} set @returns {SettingField} */
function numberSetting(label, key, set) {
  const made = number(label, null, { optional: true, min: 0, change: (value) => set(key, value ?? undefined) });
  return {
    element: made.element,
    show: (values) => idle(made.input) && (made.value = typeof values.get(key) === "number" ? values.get(key) : null),
  };
}

/** @param {string} label @param {string} key @param {Set} set @returns {SettingField} */
function listSetting(label, key, set) {
  const numbers = (/** @type {string} */ words) =>
    words
      .split(/[\s,]+/)
      .filter(Boolean)
      .map(Number);
  const made = text(label, "", {
    optional: true,
    change: (words) => set(key, words.trim() ? numbers(words) : undefined),
  });
  return {
    element: made.element,
    show(values) {
      made.element.hidden = !values.has(key);
      if (idle(made.input)) made.value = (values.get(key) ?? []).join(", ");
    },
  };
}

/** @param {string} label @param {string} key @param {string[]} choices @param {Set} set @returns {SettingField} */
function choiceSetting(label, key, choices, set) {
  const made = select(label, choices, "", { change: (value) => set(key, value) });
  return {
    element: made.element,
    show(values) {
      const value = values.get(key);
      if (value !== undefined && !choices.includes(value)) made.offer([...choices, value]);
      if (idle(made.input) && value !== undefined) made.value = value;
    },
  };
}

/** @param {HTMLElement} input */
function idle(input) {
  return document.activeElement !== input;
}
