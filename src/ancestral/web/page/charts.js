/** Charts of lines, drawn as SVG in the colours of the page, with what they show as a table too. */

import { h, on, svg } from "./elements.js";

/**
 * @typedef {{name: string, x: (number | null)[], y: (number | null)[], error?: (number | null)[]}} Series
 *   null: a gap; `error`: the standard error, drawn as a bar
 */
/**
 * @typedef {{label: string, log?: boolean, format?: (value: number) => string, range?: [number, number]}} Axis
 *   `range`: what it reaches over at least, also where nothing is to be shown
 */
/**
 * @typedef {{series: Series[], x: Axis, y: Axis, ticks?: number[], marks?: {x: number, label: string}[],
 *   title?: string, height?: number, pick?: (x: number) => void}} Chart
 *   `ticks`: where the x axis is to be marked instead of at round numbers; `marks`: upright lines with words; `pick`:
 *   called with the place on the x axis that is clicked at
 */

const COLORS = 8; // there are as many of --series-1 and so on
export const MARGIN = { top: 10, right: 18, bottom: 38, left: 58 }; // px
const MOST_POINTS = 1500; // of a line that is drawn; more are seen as the least and largest of each place
const APART = 2; // px from the error bars of one line to those of the next
const MOST_ROWS = 25; // of the table

/**
 * A chart in an element.
 *
 * @param {HTMLElement} element
 * @param {Chart} chart
 * @returns {{update: (chart: Chart) => void, mark: (x: number | null) => void, close: () => void}} `mark` shows a place
 *   on the x axis, without drawing all anew
 */
export function lineChart(element, chart) {
  let shown = chart,
    marked = /** @type {number | null} */ (null),
    show = (/** @type {number | null} */ x) => {};
  const figure = h("figure", { class: "chart" }),
    plot = h("div", { class: "plot" });
  const legend = h("figcaption"),
    table = h("details", { class: "table" });
  figure.append(plot, legend, table);
  element.append(figure);
  on(table, "toggle", () => tabulate(table, shown));
  let width = 0; // kept: to ask for it makes the browser lay out the page
  const draw = () => {
    if (!width) return;
    const { whole, mark } = drawing(shown, width, legend);
    plot.replaceChildren(whole);
    (show = mark)(marked);
  };
  const watcher = new ResizeObserver(() => {
    if (plot.clientWidth === width) return;
    width = plot.clientWidth;
    draw();
  });
  watcher.observe(plot);
  const update = (/** @type {Chart} */ to) => {
    shown = to;
    draw();
    tabulate(table, shown);
  };
  update(chart);
  return {
    update,
    mark: (x) => show((marked = x)),
    close() {
      watcher.disconnect();
      figure.remove();
    },
  };
}

/**
 * A curve without axes, of a card.
 * @param {number[]} values
 * @param {string} label
 */
export function sparkline(values, label) {
  const [width, height] = [120, 32],
    all = values.filter(Number.isFinite),
    low = Math.min(...all),
    high = Math.max(...all);
  const at = (/** @type {number} */ value, /** @type {number} */ i) => [
    (i / Math.max(1, all.length - 1)) * width,
    2 + (1 - (value - low) / (high - low || 1)) * (height - 4),
  ];
  const line = svg("path", { d: path(all.map((value, i) => at(value, i))), class: "line series-1" });
  const about = { viewBox: `0 0 ${width} ${height}`, class: "sparkline", role: "img", "aria-label": label };
  return svg("svg", { ...about, preserveAspectRatio: "none" }, line);
}

/**
 * A number in few characters.
 * @param {number} value
 */
export function short(value) {
  const size = Math.abs(value);
  if (size >= 1e6) return `${trimmed((value / 1e6).toPrecision(3))}M`;
  if (size >= 1e4) return `${trimmed((value / 1e3).toPrecision(3))}k`;
  if (size && size < 1e-3) return Number(value.toPrecision(2)).toExponential().replaceAll("-", "−");
  return trimmed(value.toPrecision(4)).replace("-", "−");
}

/** @param {string} digits */
function trimmed(digits) {
  return digits.includes("e") ? String(Number(digits)) : digits.replace(/(\.\d*?)0+$/, "$1").replace(/\.$/, "");
}

/** @typedef {{toPixels: (value: number) => number, toValue: (pixels: number) => number, ticks: number[]}} Scale */

/**
 * @param {number[]} values
 * @param {boolean} log
 * @param {[number, number]} pixels of the lowest and the highest
 * @param {boolean} [ends] whether it ends at ticks
 * @returns {Scale | null} null where there is nothing to show
 */
function scaleOf(values, log, [from, to], ends = false) {
  const usable = values.filter((each) => Number.isFinite(each) && (!log || each > 0));
  if (!usable.length) return null;
  const warp = log ? Math.log10 : (/** @type {number} */ x) => x,
    back = log ? (/** @type {number} */ x) => 10 ** x : warp;
  let low = Infinity,
    high = -Infinity;
  for (const each of usable) ((low = Math.min(low, each)), (high = Math.max(high, each)));
  if (low === high)
    [low, high] = log ? [low / 2, high * 2] : [low - (Math.abs(low) || 1) / 2, high + (Math.abs(high) || 1) / 2];
  const count = Math.max(2, Math.abs(to - from) / (ends ? 50 : 80)),
    ticks = log ? decades(low, high, ends) : rounds(low, high, count, ends);
  if (ends) [low, high] = [Math.min(low, ...ticks), Math.max(high, ...ticks)];
  const [a, b] = [warp(low), warp(high)];
  return {
    toPixels: (value) => from + ((warp(value) - a) / (b - a)) * (to - from),
    toValue: (at) => back(a + ((at - from) / (to - from)) * (b - a)),
    ticks,
  };
}

/**
 * Round numbers; no halves of what is counted.
 *
 * @param {number} low
 * @param {number} high
 * @param {number} count how many there are at most, about
 * @param {boolean} [around] whether they begin and end outside
 */
export function rounds(low, high, count, around = false) {
  const rough = (high - low) / count,
    power = 10 ** Math.floor(Math.log10(rough)),
    steps = power === 1 ? [1, 2, 5] : [1, 2, 2.5, 5];
  const step = power * (steps.find((each) => each * power >= rough) ?? 10);
  const [first, last] = [low / step - 1e-9, high / step + 1e-9],
    ends = around ? [Math.floor(first + 2e-9), Math.ceil(last - 2e-9)] : [Math.ceil(first), Math.floor(last)];
  return Array.from({ length: ends[1] - ends[0] + 1 }, (_, i) => Number(((ends[0] + i) * step).toPrecision(12)));
}

/**
 * @param {number} low
 * @param {number} high
 * @param {boolean} around
 */
function decades(low, high, around) {
  const found = [];
  for (let power = Math.floor(Math.log10(low)); power <= Math.ceil(Math.log10(high)); power++) {
    for (const each of high / low < 30 ? [1, 2, 5] : [1]) found.push(each * 10 ** power);
  }
  const [least, most] = [low * (1 + 1e-9), high * (1 - 1e-9)];
  const [first, last] = around
    ? [Math.max(...found.filter((each) => each <= least)), Math.min(...found.filter((each) => each >= most))]
    : [low * (1 - 1e-9), high * (1 + 1e-9)];
  const within = found.filter((each) => each >= first && each <= last);
  const spare = Math.ceil(within.length / 8);
  return within.length > 2 ? within.filter((_, i) => i % spare === 0) : rounds(low, high, 4, around);
}

/**
 * @param {Chart} chart
 * @param {number} width
 * @param {HTMLElement} legend
 */
function drawing(chart, width, legend) {
  const height = chart.height ?? 240,
    { top, right, bottom, left } = MARGIN,
    [floor, end] = [height - bottom, width - right];
  const label = `${chart.title ?? chart.y.label} against ${chart.x.label}`;
  const whole = svg("svg", { viewBox: `0 0 ${width} ${height}`, width, height, role: "img", "aria-label": label });
  const xs = chart.series.flatMap((each) => finite(each.x)),
    ys = chart.series.flatMap(reach);
  const marks = (chart.marks ?? []).map((each) => each.x), bounds = xs.length ? (chart.x.range ?? []) : [];
  const x = scaleOf([...xs, ...marks, ...bounds], Boolean(chart.x.log), [left, end]);
  const y = scaleOf([...ys, ...(ys.length ? (chart.y.range ?? []) : [])], Boolean(chart.y.log), [floor, top], true);
  showLegend(legend, chart);
  if (!x || !y) {
    whole.append(svg("text", { x: width / 2, y: height / 2, class: "axis middle" }, "nothing to show yet"));
    return { whole, mark: () => {} };
  }
  const words = { x: chart.x.format ?? short, y: chart.y.format ?? short };
  for (const value of y.ticks) {
    const at = y.toPixels(value);
    whole.append(svg("line", { x1: left, x2: end, y1: at, y2: at, class: "grid" }));
    whole.append(svg("text", { x: left - 6, y: at + 4, class: "axis end" }, words.y(value)));
  }
  let free = -Infinity; // where the next label may begin
  for (const value of chart.ticks ?? x.ticks) {
    const at = x.toPixels(value),
      text = words.x(value),
      half = 4 * text.length;
    whole.append(svg("line", { x1: at, x2: at, y1: floor, y2: floor + 4, class: "grid" }));
    if (at - half < free) continue;
    whole.append(svg("text", { x: Math.min(at, width - half), y: floor + 17, class: "axis middle" }, text));
    free = at + half + 6;
  }
  whole.append(svg("text", { x: (left + end) / 2, y: height - 4, class: "axis middle" }, chart.x.label));
  for (const { x: value, label: said } of chart.marks ?? []) {
    const at = x.toPixels(value),
      late = at > (left + end) / 2;
    whole.append(svg("line", { x1: at, x2: at, y1: top, y2: floor, class: "mark" }));
    whole.append(svg("text", { x: at + (late ? -4 : 4), y: top + 10, class: late ? "axis end" : "axis" }, said));
  }
  chart.series.forEach((each, i) => drawSeries(whole, each, i, x, y));
  pointOut(whole, legend, chart, x, { left, end, top, floor });
  on(whole, "click", ({ clientX }) => chart.pick?.(x.toValue(clientX - whole.getBoundingClientRect().left)));
  const line = svg("line", { y1: top, y2: floor, class: "place", visibility: "hidden" });
  whole.append(line);
  const mark = (/** @type {number | null} */ value) => {
    const at = place(x, value);
    line.setAttribute("visibility", at === null ? "hidden" : "visible");
    for (const name of ["x1", "x2"]) line.setAttribute(name, String(at ?? 0));
  };
  return { whole, mark };
}

/**
 * @param {SVGElement} whole
 * @param {Series} series
 * @param {number} i
 * @param {Scale} x
 * @param {Scale} y
 */
function drawSeries(whole, series, i, x, y) {
  const color = `series-${(i % COLORS) + 1}`,
    points = series.x.map((value, n) => [place(x, value), place(y, series.y[n])]);
  const many = thinned(points);
  whole.append(svg("path", { d: path(many), class: `line ${color}` }));
  if (many.length < 40) {
    for (const [px, py] of many)
      if (px !== null && py !== null) whole.append(svg("circle", { cx: px, cy: py, r: 2.5, class: `dot ${color}` }));
  }
  series.error?.forEach((error, n) => {
    const [value, px] = [series.y[n], points[n][0]];
    if (error === null || value === null || px === null) return;
    const [low, high] = [place(y, value - error), place(y, value + error)],
      at = px + APART * i;
    if (low !== null && high !== null)
      whole.append(svg("line", { x1: at, x2: at, y1: low, y2: high, class: `line error ${color}` }));
  });
}

/**
 * @param {Scale} scale
 * @param {number | null} value
 */
function place(scale, value) {
  const found = value === null || value === undefined ? NaN : scale.toPixels(value);
  return Number.isFinite(found) ? found : null;
}

/**
 * The least and the largest of as many places as can be told apart.
 * @param {(number | null)[][]} points
 */
function thinned(points) {
  if (points.length <= MOST_POINTS) return points;
  const size = Math.ceil((2 * points.length) / MOST_POINTS),
    kept = [];
  for (let i = 0; i < points.length; i += size) {
    const some = points.slice(i, i + size).filter(([, y]) => y !== null);
    if (!some.length) continue;
    const low = some.reduce((a, b) => (Number(a[1]) < Number(b[1]) ? a : b));
    const high = some.reduce((a, b) => (Number(a[1]) > Number(b[1]) ? a : b));
    kept.push(...(Number(low[0]) < Number(high[0]) ? [low, high] : [high, low]));
  }
  return kept;
}

/** @param {(number | null)[][]} points */
function path(points) {
  let pen = "M";
  return points
    .map(([x, y]) => {
      if (x === null || y === null) return ((pen = "M"), "");
      const said = `${pen}${x.toFixed(1)} ${y.toFixed(1)}`;
      pen = "L";
      return said;
    })
    .join("");
}

/**
 * @param {(number | null)[]} values
 * @returns {number[]}
 */
function finite(values) {
  return /** @type {number[]} */ (values.filter((each) => each !== null && Number.isFinite(each)));
}

/**
 * @param {Series} series
 * @returns {number[]}
 */
function reach({ y, error }) {
  if (!error) return finite(y);
  return finite(y.flatMap((each, i) => (each === null ? [] : [each - (error[i] ?? 0), each + (error[i] ?? 0)])));
}

/**
 * @param {HTMLElement} legend
 * @param {Chart} chart
 * @param {(string | null)[]} [values]
 */
function showLegend(legend, chart, values = []) {
  const items = chart.series.map((each, i) => {
    const swatch = svg("svg", { viewBox: "0 0 20 8", width: 20, height: 8, "aria-hidden": "true" });
    swatch.append(svg("path", { d: "M0 4H20", class: `line series-${(i % COLORS) + 1}` }));
    return h("span", null, swatch, ` ${each.name}`, values[i] && h("b", null, ` ${values[i]}`));
  });
  legend.replaceChildren(...items);
}

/**
 * Shows what lies at the pointer in the legend.
 *
 * @param {SVGSVGElement} whole
 * @param {HTMLElement} legend
 * @param {Chart} chart
 * @param {Scale} x
 * @param {{left: number, end: number, top: number, floor: number}} box
 */
function pointOut(whole, legend, chart, x, { left, end, top, floor }) {
  const line = svg("line", { y1: top, y2: floor, class: "pointer", visibility: "hidden" });
  whole.append(line);
  const words = { x: chart.x.format ?? short, y: chart.y.format ?? short };
  on(whole, "pointermove", ({ clientX }) => {
    const at = clientX - whole.getBoundingClientRect().left;
    if (at < left - 4 || at > end + 4) return;
    const wanted = x.toValue(at),
      nearest = chart.series.map((each) => near(each, wanted));
    const px =
      nearest.map((n, i) => (n < 0 ? null : place(x, chart.series[i].x[n]))).find((each) => each !== null) ?? at;
    for (const name of ["x1", "x2"]) line.setAttribute(name, String(px));
    line.setAttribute("visibility", "visible");
    showLegend(
      legend,
      chart,
      nearest.map((n, i) => {
        const [found, value] = n < 0 ? [null, null] : [chart.series[i].x[n], chart.series[i].y[n]];
        return found === null || value === null ? null : `${words.y(value)} at ${words.x(found)}`;
      }),
    );
  });
  on(whole, "pointerleave", () => {
    line.setAttribute("visibility", "hidden");
    showLegend(legend, chart);
  });
}

/**
 * The place of the nearest point that is there; -1 where there is none.
 * @param {Series} series
 * @param {number} wanted
 */
function near(series, wanted) {
  let best = -1,
    least = Infinity;
  series.x.forEach((value, n) => {
    if (value === null || series.y[n] === null) return;
    const apart = Math.abs(value - wanted);
    if (apart < least) [best, least] = [n, apart];
  });
  return best;
}

/**
 * What a chart shows, in rows, once somebody asks for it.
 * @param {HTMLDetailsElement} table
 * @param {Chart} chart
 */
function tabulate(table, chart) {
  if (!table.firstChild) table.append(h("summary", null, "As a table"));
  if (!table.open) return;
  const words = { x: chart.x.format ?? short, y: chart.y.format ?? short };
  const xs = [...new Set(chart.series.flatMap((each) => finite(each.x)))].sort((a, b) => a - b);
  const every = Math.max(1, Math.ceil(xs.length / MOST_ROWS)),
    shown = xs.filter((_, i) => (xs.length - 1 - i) % every === 0);
  const rows = shown.map((value) => {
    const cells = chart.series.map((each) => {
      const n = each.x.indexOf(value),
        y = n < 0 ? null : each.y[n],
        error = each.error?.[n];
      return h("td", null, y === null ? "" : `${words.y(y)}${error ? ` ± ${words.y(error)}` : ""}`);
    });
    return h("tr", null, h("th", { scope: "row" }, words.x(value)), ...cells);
  });
  const head = [chart.x.label, ...chart.series.map((each) => each.name)].map((each) => h("th", { scope: "col" }, each));
  const body = h("table", null, h("thead", null, h("tr", null, ...head)), h("tbody", null, ...rows));
  table.replaceChildren(
    h("summary", null, "As a table"),
    h("div", { class: "wide", tabindex: 0, role: "region", "aria-label": `Table: ${chart.title ?? chart.y.label}` }, body),
  );
}
