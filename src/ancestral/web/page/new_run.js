/** What a new run is to be: images, preset, budget and settings, which the server checks as they are typed. */

import { get, post } from "./api.js";
import { commandBox, liveCommand } from "./command.js";
import { dataCheck } from "./data_check.js";
import { fail, h, on, say } from "./elements.js";
import { number, select, text } from "./fields.js";
import { asLines, flat, fromLines, isSame, tree } from "./settings.js";
import { runOf, state } from "./store.js";

/** @typedef {Map<string, any>} Values by dotted names of settings */
/** @typedef {{input: HTMLElement, fault: (words: string) => void}} Place where a fault is said */
/** @typedef {Place & {key: string, element: HTMLElement, show: (values: Values, base: Values) => void}} SettingField */

const PLANS = "/api/plans"; // what a run would be
const BUDGETS = { minutes: "minutes", images: "images", steps: "steps" };
const TYPICAL = /** @type {Record<string, number>} */ ({ minutes: 5, images: 100_000, steps: 2000 });
const LIST = "expected numbers with commas between";
const OFFERED = {
  prediction: ["eps", "x0", "v", "flow", "levels"],
  codec: ["pixels", "kl", "vq"],
  text: ["none", "learned"],
};

/**
 * @param {import("./main.js").Place} place
 * @param {string | undefined} like a run whose settings are taken
 * @returns {import("./main.js").Opened}
 */
export function newRun({ root, go, params }, like) {
  const model = like ? runOf(like) : null;
  let base = /** @type {Values} */ (new Map()),
    now = /** @type {Values} */ (new Map()),
    baseOf = "",
    closed = false,
    isPlanned = false, // what is in the form, by the server
    isBeginning = false,
    suggested = /** @type {Values} */ (new Map()), // for the images
    wrong = /** @type {Place[]} */ ([]); // where the server refuses something
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
  const suited = { value: "", label: "suited to the images" };
  const presets = state.presets.map(({ name }) => name);
  const preset = select("Preset", [suited, ...presets], "", { change: () => (suggestName(), ask()) });
  const about = h("p", { class: "soft" });
  const name = text("Name", "", {
    help: "letters a to z, digits and hyphens",
    check: (words) => (isTaken(words) ? "There is a run of this name; choose another." : ""),
    change: () => ((named = true), ask()),
  });
  const amount = number("Budget", null, {
    optional: true,
    check: (count) => (count > 0 ? "" : "expected more than 0"),
    change: () => setBudget(),
  });
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
    listSetting("Image side, px", "data.size", (key, value) => set(key, value ?? suggested.get(key)), "the usual one"),
    choiceSetting("It predicts", "diffusion.prediction", OFFERED.prediction, set),
    choiceSetting("It diffuses", "codec.name", OFFERED.codec, set),
    choiceSetting("Captions", "text.name", OFFERED.text, set),
  ];
  const lines = linesOf(
    changes,
    () => ({ base, now }),
    () => ask(),
  );
  const places = new Map([
    /** @type {[string, Place]} */ (["name", name]),
    ...Object.keys(BUDGETS).map((each) => /** @type {[string, Place]} */ ([`training.${each}`, amount])),
    ...settings.map((each) => /** @type {[string, Place]} */ ([each.key, each])),
  ]);
  const box = commandBox(),
    start = h("button", { type: "button", class: "main" }, "Train"),
    why = h("p", { class: "soft", role: "status" });
  on(start, "click", begin);
  const take = (/** @type {Values} */ suggestion) => {
    for (const [key, value] of suggestion) set(key, value);
  };
  const check = dataCheck(take, (suggestion) => {
    const before = suggested,
      isFree = !changes.has("data.size") || isSame(changes.get("data.size"), before.get("data.size"));
    suggested = suggestion;
    for (const [key, value] of before) if (isFree && isSame(changes.get(key), value)) changes.delete(key);
    if (isFree) take(suggestion);
    settle();
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
    h("div", { class: "actions" }, start, why),
    box.element,
  );
  root.append(form);
  on(form, "submit", (event) => event.preventDefault());
  on(form, "input", () => {
    unsettle();
    live(); // also where a field is wrong, and says nothing of a change
  });

  /**
   * What the server is asked.
   * @param {Values} changed
   */
  function body(changed) {
    const [settings, from] = [
      tree(changed),
      { data: data.value || null, preset: preset.value || null, like: like ?? null },
    ];
    return { name: name.value, ...from, settings, schedule: schedule.value || null };
  }
  const live = liveCommand(box, () => (form.checkValidity() ? body(changes) : null), {
    path: PLANS,
    fault: (_, fault) => refuse(fault),
    answer: (answer) => {
      now = new Map(flat(answer.settings ?? {}));
      isPlanned = true;
      showAll();
      settle();
    },
  });

  /**
   * Says what the server refuses where it is typed: at its field, and in all settings where these are open.
   * @param {import("./api.js").ApiError | null} fault
   */
  function refuse(fault) {
    if (!fault) return;
    const own = places.get(fault.setting),
      words = [fault.setting, fault.contract].filter(Boolean).join(": ");
    own?.fault(fault.contract);
    if (lines.isOpen()) lines.fault(words);
    wrong = [...(own ? [own] : []), ...(lines.isOpen() ? [lines] : [])];
    box.fault(wrong.length ? "" : words);
    settle();
  }

  /** Once something has changed, nothing that was said before is of what is in the form. */
  function unsettle() {
    isPlanned = false;
    for (const each of wrong) if (each.input.matches(":valid")) each.fault("");
    wrong = [];
    if (!form.checkValidity()) box.show("");
    settle();
  }

  /** Whether the form can be trained, or why not, and what it takes. */
  function settle() {
    const isWrong = form.querySelector("[aria-invalid=true]") !== null;
    const missing = isWrong ? "Train is live once what is marked is mended." : check.missing();
    start.disabled = isBeginning || !isPlanned || Boolean(missing);
    why.textContent = missing;
    const others = [...changes.keys()].filter((key) => !["data.size", "data.fit", "training.minutes"].includes(key));
    const isTimed = isPlanned && !isWrong && !others.length && !preset.value && unit.value === "minutes";
    check.showPace(isTimed ? { side: now.get("data.size"), minutes: Number(amount.value) } : null);
  }

  function ask() {
    unsettle();
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
      refuse,
    );
  }

  function showAll() {
    const all = new Map([...now, ...changes]);
    for (const each of settings) each.show(all, new Map([...base, ...suggested]));
    lines.show();
    const limit =
      Object.keys(BUDGETS).find((each) => changes.has(`training.${each}`)) ??
      Object.keys(BUDGETS).find((each) => now.get(`training.${each}`));
    if (limit && idle(amount.input)) {
      unit.value = limit;
      amount.value = all.get(`training.${limit}`);
    }
  }

  function setBudget() {
    for (const each of Object.keys(BUDGETS)) changes.delete(`training.${each}`);
    set(`training.${unit.value}`, amount.value);
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
    isBeginning = true;
    settle();
    fail("");
    try {
      const { run } = await post("/api/runs", body(changes));
      say("Training begins");
      if (!closed) go("train", { run });
    } catch (fault) {
      fail(fault);
    } finally {
      isBeginning = false;
      settle();
    }
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

/**
 * All settings as lines.
 * @param {Values} changes
 * @param {() => {base: Values, now: Values}} known
 * @param {() => void} ask
 */
function linesOf(changes, known, ask) {
  const all = text("All settings", "", {
    rows: 16,
    optional: true,
    help: "A setting a line, name = value; `ancestral train --help` says what each means.",
    check: (words) => {
      try {
        fromLines(words);
        return "";
      } catch (fault) {
        return /** @type {Error} */ (fault).message;
      }
    },
    change: (words) => {
      const { base, now } = known(),
        lines = fromLines(words);
      for (const key of changes.keys()) if (!lines.has(key)) changes.delete(key);
      for (const [key, value] of lines) {
        if (isSame(value, changes.has(key) ? changes.get(key) : now.get(key))) continue;
        if (isSame(value, base.get(key))) changes.delete(key);
        else changes.set(key, value);
      }
      ask();
    },
  });
  all.input.classList.add("code");
  const summary = h("summary", null, "All settings"),
    element = h("details", { class: "all-settings" }, summary, all.element);
  const show = () => {
    if (!idle(all.input)) return;
    all.value = asLines(new Map([...known().now, ...changes]));
    const said = changes.size ? `: ${changes.size} changed` : "";
    summary.textContent = `All settings${said}`;
  };
  on(all.input, "blur", show);
  return {
    element,
    show,
    input: all.input,
    fault: all.fault,
    isOpen: () => element.open,
  };
}

/** @typedef {(key: string, value: any) => void} Set `undefined`: as the preset has it */

/**
 * @param {string} label
 * @param {string} key
 * @param {Set} set
 * @returns {SettingField}
 */
function numberSetting(label, key, set) {
  const made = number(label, null, { optional: true, min: 0, change: (value) => set(key, value ?? undefined) });
  return {
    ...settingOf(key, made),
    show(values, base) {
      /** @type {HTMLInputElement} */ (made.input).placeholder = String(base.get(key) ?? "");
      if (idle(made.input)) made.value = values.get(key) ?? null;
    },
  };
}

/**
 * Several numbers, or one where a setting may be one.
 * @param {string} label
 * @param {string} key
 * @param {Set} set
 * @param {string} [none] what the field says of a setting that may be none
 * @returns {SettingField}
 */
function listSetting(label, key, set, none) {
  const numbers = (/** @type {string} */ words) =>
    words
      .split(/[\s,]+/)
      .filter(Boolean)
      .map(Number);
  const valueOf = (/** @type {string} */ words) => {
    const all = numbers(words);
    return none !== undefined && all.length === 1 ? all[0] : all;
  };
  const made = text(label, "", {
    optional: true,
    check: (words) => (numbers(words).every(Number.isFinite) ? "" : `${LIST}, got ${words}`),
    change: (words) => set(key, words.trim() ? valueOf(words) : undefined),
  });
  const worded = (/** @type {any} */ value) => [value ?? []].flat().join(", ");
  return {
    ...settingOf(key, made),
    show(values, base) {
      made.element.hidden = !values.has(key);
      /** @type {HTMLInputElement} */ (made.input).placeholder = worded(base.get(key)) || (none ?? "");
      if (idle(made.input)) made.value = worded(values.get(key));
    },
  };
}

/**
 * @param {string} label
 * @param {string} key
 * @param {string[]} choices
 * @param {Set} set
 * @returns {SettingField}
 */
function choiceSetting(label, key, choices, set) {
  const made = select(label, choices, "", { change: (value) => set(key, value) });
  return {
    ...settingOf(key, made),
    show(values) {
      const value = values.get(key);
      if (value !== undefined && !choices.includes(value)) made.offer([...choices, value]);
      if (idle(made.input) && value !== undefined) made.value = value;
    },
  };
}

/**
 * @param {string} key
 * @param {import("./fields.js").Field<any>} made
 */
function settingOf(key, { element, input, fault }) {
  return { key, element, input, fault };
}

/**
 * Whether nobody types in a field, or has left what is wrong in it.
 * @param {HTMLElement} input
 */
function idle(input) {
  return document.activeElement !== input && input.getAttribute("aria-invalid") !== "true";
}
