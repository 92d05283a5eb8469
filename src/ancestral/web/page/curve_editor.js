/** A falling curve that is drawn by its points: they are dragged, or moved by keys. */

import { MARGIN as SIDES, rounds } from "./charts.js";
import { h, on, svg } from "./elements.js";

/** @typedef {import("./schedule_tables.js").Point} Point */
/**
 * @typedef {{levels: ArrayLike<number>, points: Point[], ticks: number[]}} Shown log-SNR at t = 1..T, and steps of a
 *   sampler
 */

const HEIGHT = 320,
  MARGIN = { ...SIDES, top: 12, bottom: 40 }; // px
export const LOWEST = -20,
  HIGHEST = 16; // log-SNR
const APART = 0.02; // log-SNR between two points, at least
const STEPS = /** @type {Record<string, [number, number]>} */ ({
  ArrowUp: [0, 0.1],
  ArrowDown: [0, -0.1],
  PageUp: [0, 1],
  PageDown: [0, -1],
  ArrowRight: [0.01, 0],
  ArrowLeft: [-0.01, 0],
});

/**
 * Where an axis of t is marked.
 * @param {number} T
 */
export function timesOf(T) {
  return rounds(0, T, 4);
}

/** @param {(points: Point[]) => void} changed called with the points after one was moved */
export function curveEditor(changed) {
  const plot = svg("svg", {
    class: "curve",
    role: "group",
    "aria-label": "Log-SNR against t; its points are moved by dragging, or by arrow keys",
  });
  const axes = svg("g", { "aria-hidden": "true" }),
    line = svg("path", { class: "line series-1" });
  const steps = svg("path", { class: "steps" }),
    handles = svg("g");
  const element = h("div", { class: "chart curve-plot" });
  plot.append(axes, steps, line, handles);
  element.append(plot);
  let shown = /** @type {Shown} */ ({ levels: [0, 0], points: [], ticks: [] }),
    width = 0,
    held = -1,
    drawn = "";

  const along = (/** @type {number} */ t) => MARGIN.left + (t / T()) * (width - MARGIN.left - MARGIN.right);
  const x = (/** @type {number} */ u) => along(1 + u * (T() - 1));
  const y = (/** @type {number} */ level) => {
    const share = (HIGHEST - Math.min(HIGHEST, Math.max(LOWEST, level))) / (HIGHEST - LOWEST);
    return MARGIN.top + share * (HEIGHT - MARGIN.top - MARGIN.bottom);
  };
  const T = () => shown.levels.length,
    timeOf = (/** @type {number} */ u) => Math.round(1 + u * (T() - 1));

  function drawAxes() {
    const now = `${width} ${T()}`;
    if (now === drawn) return;
    drawn = now;
    plot.setAttribute("viewBox", `0 0 ${width} ${HEIGHT}`);
    plot.setAttribute("width", String(width));
    plot.setAttribute("height", String(HEIGHT));
    axes.replaceChildren();
    for (let level = LOWEST; level <= HIGHEST; level += 4) {
      const at = y(level);
      axes.append(svg("line", { x1: along(0), x2: x(1), y1: at, y2: at, class: "grid" }));
      axes.append(svg("text", { x: along(0) - 6, y: at + 4, class: "axis end" }, String(level).replace("-", "−")));
    }
    for (const t of timesOf(T())) axes.append(svg("text", { x: along(t), y: HEIGHT - 20, class: "axis middle" }, String(t)));
    axes.append(svg("text", { x: along(T() / 2), y: HEIGHT - 3, class: "axis middle" }, "t; ticks are the sampler's steps"));
    axes.append(svg("text", { x: along(0) + 6, y: MARGIN.top + 16, class: "axis" }, "log-SNR"));
  }

  function draw() {
    if (!width) return;
    drawAxes();
    const { levels, ticks, points } = shown,
      last = Math.max(1, T() - 1),
      every = Math.max(1, Math.floor(last / 400));
    let path = "";
    for (let i = 0; i <= last; i = i < last ? Math.min(i + every, last) : i + 1) {
      path += `${path ? "L" : "M"}${x(i / last).toFixed(1)} ${y(levels[i]).toFixed(1)}`;
    }
    line.setAttribute("d", path);
    const floor = HEIGHT - MARGIN.bottom;
    steps.setAttribute(
      "d",
      ticks
        .filter((t) => t > 0)
        .map((t) => `M${along(t).toFixed(1)} ${floor}v-9`)
        .join(""),
    );
    drawHandles(points);
  }

  /** @param {Point[]} points */
  function drawHandles(points) {
    while (handles.childElementCount > points.length) handles.lastElementChild?.remove();
    while (handles.childElementCount < points.length) {
      const handle = svg("circle", {
        r: 7,
        role: "slider",
        tabindex: 0,
        "aria-orientation": "vertical",
        "aria-valuemin": LOWEST,
        "aria-valuemax": HIGHEST,
      });
      const place = handles.childElementCount;
      on(handle, "keydown", (event) => pressed(event, place));
      on(handle, "pointerdown", (event) => hold(event, place));
      handles.append(handle);
    }
    points.forEach(([u, level], i) => {
      const value = level.toFixed(2),
        about = {
          cx: x(u),
          cy: y(level),
          "aria-valuenow": value,
          "aria-valuetext": `log-SNR ${value} at t = ${timeOf(u)}`,
        };
      const handle = handles.children[i];
      for (const [name, to] of Object.entries({ ...about, "aria-label": `Point ${i + 1} of ${points.length}` }))
        handle.setAttribute(name, String(to));
    });
  }

  /**
   * Moves a point as far as its neighbours let it.
   *
   * @param {number} i
   * @param {number} u
   * @param {number} level
   */
  function move(i, u, level) {
    const { points } = shown,
      end = points.length - 1,
      close = 1 / Math.max(1, T() - 1);
    const between = (/** @type {number} */ value, /** @type {number} */ low, /** @type {number} */ high) =>
      Math.min(Math.max(value, low), Math.max(low, high));
    const to = i === 0 ? 0 : i === end ? 1 : between(u, points[i - 1][0] + close, points[i + 1][0] - close);
    const low = i === end ? LOWEST : points[i + 1][1] + APART,
      high = i === 0 ? HIGHEST : points[i - 1][1] - APART;
    changed(points.map((each, n) => (n === i ? [to, between(level, low, high)] : each)));
  }

  /**
   * @param {KeyboardEvent} event
   * @param {number} i
   */
  function pressed(event, i) {
    const step = STEPS[event.key],
      [u, level] = shown.points[i];
    if (step) move(i, u + step[0], level + step[1]);
    else if (event.key === "Delete" && i > 0 && i < shown.points.length - 1)
      changed(shown.points.filter((_, n) => n !== i));
    else return;
    event.preventDefault();
  }

  /**
   * @param {PointerEvent} event
   * @param {number} i
   */
  function hold(event, i) {
    held = i;
    plot.setPointerCapture(event.pointerId);
  }

  on(plot, "pointermove", (event) => {
    if (held < 0) return;
    const box = plot.getBoundingClientRect();
    const share = (event.clientX - box.left - MARGIN.left) / (width - MARGIN.left - MARGIN.right);
    const u = (share * T() - 1) / Math.max(1, T() - 1);
    const depth = (event.clientY - box.top - MARGIN.top) / (HEIGHT - MARGIN.top - MARGIN.bottom);
    move(held, u, HIGHEST - depth * (HIGHEST - LOWEST));
  });
  on(plot, "pointerup pointercancel", () => (held = -1));
  const watcher = new ResizeObserver(() => {
    if (element.clientWidth === width) return;
    width = element.clientWidth;
    draw();
  });
  watcher.observe(element);
  return {
    element,
    /** @param {Shown} other */
    show(other) {
      shown = other;
      draw();
    },
    close: () => watcher.disconnect(),
  };
}
