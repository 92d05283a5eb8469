/** The view of all runs: a card for each, and what several have come to beside one another. */

import { get } from "./api.js";
import { lineChart, sparkline } from "./charts.js";
import { button, fail, h } from "./elements.js";
import { checkbox, select } from "./fields.js";
import { ALONG, curve, followLog } from "./logs.js";
import { gridPath, picture } from "./pictures.js";
import { address } from "./route.js";
import { counted, minutesInWords, numbersOf, percent } from "./run_words.js";
import { flat, isSame, spelled } from "./settings.js";
import { state, subscribe } from "./store.js";

/** @typedef {import("./store.js").Run} Run */
/** @typedef {import("./logs.js").Along} Along */
/** @typedef {import("./route.js").Params} Params */
/**
 * @typedef {{element: HTMLElement, show: (run: Run) => void, choose: (isChosen: boolean) => void, close: () => void}}
 *   Card
 */

const CURVES = {
  loss: "training loss",
  held_out_loss: "held-out loss",
  grad_norm: "gradient norm",
  lr: "learning rate",
};

/** @type {import("./main.js").View} */
export const view = {
  name: "runs",
  title: "Runs",
  open({ root, params, go }) {
    let asked = params;
    const cards = /** @type {Map<string, Card>} */ (new Map()),
      list = h("ul", { class: "cards" });
    const none = h(
      "p",
      null,
      "There are no runs in this folder yet. ",
      h("a", { href: address("train") }, "Train one"),
      ".",
    );
    const chosen = () => (asked.compare ? asked.compare.split(",").filter((id) => state.runs.has(id)) : []);
    const ask = (/** @type {Params} */ change) => go("runs", { ...asked, ...change }, { replace: true });
    const toggle = (/** @type {string} */ id) => {
      const before = chosen(),
        after = before.includes(id) ? before.filter((each) => each !== id) : [...before, id];
      ask({ compare: after.join(",") });
    };
    const comparison = compared(ask);
    const said = h("p", { class: "soft" }),
      down = button("See the comparison", () => comparison.element.scrollIntoView());
    root.append(h("div", { class: "actions toolbar" }, said, down), none, list, comparison.element);

    const draw = () => {
      const runs = [...state.runs.values()].sort((a, b) => b.changed - a.changed);
      for (const [id, card] of cards) if (!state.runs.has(id)) (card.close(), cards.delete(id));
      none.hidden = runs.length > 0;
      runs.forEach((run, i) => {
        const card = cards.get(run.id) ?? cardOf(run.id, () => toggle(run.id));
        if (!cards.has(run.id)) list.insertBefore(card.element, list.children[i] ?? null);
        cards.set(run.id, card);
        card.show(run);
        card.choose(chosen().includes(run.id));
      });
      const names = chosen().map((id) => state.runs.get(id)?.name);
      said.textContent = names.length
        ? `Compared: ${names.join(", ")}.`
        : "Tick runs to compare their curves and settings.";
      down.hidden = names.length === 0;
      comparison.show(chosen(), asked);
    };
    const leave = subscribe(["state", "run", "gone", "grid", "connection"], draw);
    draw();
    return {
      update(to) {
        asked = to;
        draw();
      },
      close() {
        leave();
        for (const card of cards.values()) card.close();
        comparison.close();
      },
    };
  },
};

/** @param {string} id @param {() => void} toggle @returns {Card} */
function cardOf(id, toggle) {
  const link = h("a", { href: address("train", { run: id }) }),
    grid = picture(),
    facts = h("dl");
  const state = h("p", { class: "soft" }),
    bar = h("progress", { max: 1, "aria-label": "Progress" }),
    line = h("div", { class: "spark" });
  const fault = h("p", { class: "fault" }),
    box = checkbox("Compare", false, { change: toggle });
  const empty = h("div", { class: "no-grid soft" }, "no grid yet");
  const element = h(
    "li",
    { class: "card" },
    h("h2", null, link),
    h("div", { class: "card-grid" }, grid.element, empty),
    line,
    state,
    bar,
    fault,
    facts,
    box.element,
  );
  let leave = () => {};
  const seen = new IntersectionObserver((entries) => {
    if (!entries.some((each) => each.isIntersecting)) return;
    seen.disconnect();
    leave = followLog(id, (records) => {
      const { y } = curve(records, "step", "loss"),
        losses = /** @type {number[]} */ (y.filter((each) => each !== null));
      const ends = losses.length
        ? `Loss, from ${spelledLoss(losses[0])} to ${spelledLoss(losses[losses.length - 1])}`
        : "";
      line.replaceChildren(...(losses.length > 1 ? [sparkline(losses, ends)] : []));
    });
  });
  seen.observe(element);
  return {
    element,
    show(run) {
      link.textContent = run.name;
      box.input.setAttribute("aria-label", `Compare ${run.name}`);
      const isTraining = run.state === "training";
      const kind = run.kind === "run" ? "" : run.kind;
      state.textContent = [kind, run.size, isTraining ? `training, ${percent(run.fraction)}` : run.state]
        .filter(Boolean)
        .join(", ");
      bar.hidden = !isTraining;
      if (run.fraction !== null) bar.value = run.fraction;
      fault.textContent = run.fault;
      const last = run.grids.at(-1);
      grid.element.hidden = last === undefined;
      empty.hidden = last !== undefined;
      if (last !== undefined)
        grid.show(gridPath(id, last), `Images of ${run.name} after step ${counted(last)}`).catch(fail);
      /** @type {[string, string][]} */
      const seen = [["images", counted(run.images)], ["time", minutesInWords(run.minutes)], ...numbersOf(run)];
      facts.replaceChildren(
        ...seen
          .filter(([, said]) => said)
          .map(([name, said]) => h("div", null, h("dt", null, name), h("dd", null, said))),
      );
    },
    choose(isChosen) {
      box.value = isChosen;
    },
    close() {
      seen.disconnect();
      leave();
      element.remove();
    },
  };
}

/** @param {number} loss */
function spelledLoss(loss) {
  return loss.toPrecision(3);
}

/**
 * Several runs' curves in one chart, and a table of the settings in which they differ.
 *
 * @param {(change: Params) => void} ask
 */
function compared(ask) {
  const named = (/** @type {object} */ names) => Object.entries(names).map(([value, label]) => ({ value, label }));
  const shows = select("Curve", named(CURVES), "loss", { change: (curve) => ask({ curve }) });
  const along = select("Along", named(ALONG), "images", { change: (x) => ask({ x }) });
  const log = checkbox("Logarithmic", true, { change: (on) => ask({ log: on ? "" : "0" }) });
  const plot = h("div"),
    table = h("div", { class: "wide", tabindex: 0, role: "region", "aria-label": "Settings that differ" });
  const element = h(
    "section",
    { "aria-labelledby": "compared-title", class: "compared" },
    h("h2", { id: "compared-title" }, "Compared"),
    h("div", { class: "fields" }, shows.element, along.element, log.element),
    plot,
    h("h3", null, "Settings that differ"),
    table,
  );
  let followed = "",
    leave = /** @type {(() => void)[]} */ ([]),
    records = /** @type {Map<string, any>} */ (new Map());
  const drawn = lineChart(plot, chart());

  /** @returns {import("./charts.js").Chart} */
  function chart() {
    const by = /** @type {Along} */ (along.value),
      name = /** @type {keyof typeof CURVES} */ (shows.value);
    const series = [...records].map(([id, each]) => ({
      name: state.runs.get(id)?.name ?? id,
      ...curve(each, by, name),
    }));
    return { series, x: { label: ALONG[by] }, y: { label: CURVES[name], log: log.value }, height: 280 };
  }

  return {
    element,
    /** @param {string[]} ids @param {Params} params */
    show(ids, params) {
      element.hidden = !ids.length;
      shows.value = params.curve in CURVES ? params.curve : "loss";
      along.value = params.x in ALONG ? params.x : "images";
      log.value = params.log !== "0";
      if (followed !== ids.join()) {
        followed = ids.join();
        leave.forEach((each) => each());
        records = new Map(ids.map((id) => [id, []]));
        leave = ids.map((id) => followLog(id, (each) => (records.set(id, each), drawn.update(chart()))));
        differences(ids).then((made) => followed === ids.join() && table.replaceChildren(made), fail);
      }
      drawn.update(chart());
    },
    close() {
      leave.forEach((each) => each());
      drawn.close();
    },
  };
}

/** @param {string[]} ids */
async function differences(ids) {
  const runs = await Promise.all(ids.map((id) => get(`/api/runs/${id}`)));
  const settings = runs.map((each) => new Map(flat(each.settings ?? {})));
  const names = [...new Set(settings.flatMap((each) => [...each.keys()]))];
  const differing = names.filter((name) => settings.some((each) => !isSame(each.get(name), settings[0].get(name))));
  if (!differing.length)
    return h(
      "p",
      { class: "soft inside" },
      ids.length > 1 ? "They have the same settings." : "Choose another run to compare with.",
    );
  const head = ["setting", ...runs.map((each) => each.name)].map((each) => h("th", { scope: "col" }, each));
  const rows = differing.map((name) => {
    const cells = settings.map((each) => h("td", null, each.has(name) ? spelled(each.get(name)) : "–"));
    return h("tr", null, h("th", { scope: "row" }, name), ...cells);
  });
  return h("table", null, h("thead", null, h("tr", null, ...head)), h("tbody", null, ...rows));
}
