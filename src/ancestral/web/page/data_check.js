/** What is in a folder of images and what is wrong with it, before anything is trained on it. */

import { button, fail, h } from "./elements.js";
import { hasEnded, startJob, watch, wordsOf } from "./job.js";
import { counted } from "./run_words.js";
import { isSame } from "./settings.js";

/** @typedef {import("./settings.js").Tree} Tree */

const LISTED = 12; // classes and files that are named

/** @typedef {{steps: number, minutes: number, visits: number, note: string, side: any}} Pace of training at a side */

/**
 * @param {(suggestion: Map<string, any>) => void} take sets what is suggested, by names of settings
 * @param {(suggestion: Map<string, any>) => void} told what is suggested, whenever that or what `missing` says changes
 * @returns {{element: HTMLElement, look: (data: string) => void, missing: () => string,
 *   showPace: (asked: {side: any, minutes: number} | null) => void, close: () => void}} `missing`: why nothing can be
 *   trained yet, "" it can; `showPace`: what so many minutes are here, where steps at that side were timed
 */
export function dataCheck(take, told) {
  const state = h("p", { role: "status" }),
    found = h("div"),
    takes = h("p"),
    again = button("Look again", () => look(asked));
  let suggested = /** @type {Map<string, any>} */ (new Map()),
    pace = /** @type {Pace | null} */ (null),
    missing = "",
    shown = /** @type {{side: any, minutes: number} | null} */ (null);
  const element = h(
    "section",
    { "aria-label": "What the images are", hidden: true, class: "data-check" },
    state,
    h("div", { class: "actions" }, again),
    found,
    takes,
  );
  again.hidden = true;
  let leave = () => {},
    asked = "";
  const look = async (/** @type {string} */ data, measure = false) => {
    leave();
    asked = data;
    again.hidden = true;
    if (!measure) {
      found.replaceChildren();
      pace = null;
      missing = data ? "Train is live once the images have been looked at." : "";
      tell(new Map());
    }
    element.hidden = !data;
    if (!data) return;
    state.textContent = "Looking at the images…";
    try {
      const settings = { data, measure, no_measure: !measure };
      const { id } = await startJob({ kind: "check", run: null, view: "train", replace: true, settings });
      if (asked === data) leave = watch(id, { progress: follow, done: follow, lost });
    } catch (fault) {
      state.textContent = "";
      lost(fault);
    }
  };
  const lost = (/** @type {unknown} */ fault) => {
    again.hidden = false;
    fail(fault);
  };
  const tell = (/** @type {Map<string, any>} */ suggestion) => {
    suggested = suggestion;
    told(suggestion);
    showPace(shown);
  };
  const showPace = (/** @type {{side: any, minutes: number} | null} */ to) => {
    shown = to;
    takes.textContent = to && pace && isSame(to.side, pace.side) ? paceOf(pace, to.minutes) : "";
  };
  /** @param {import("./store.js").Job} job */
  const follow = (job) => {
    const end = job.state === "done" ? "" : job.why || "The look at the images was stopped.";
    state.textContent = hasEnded(job) ? end : `Looking at the images: ${wordsOf(job)}`;
    if (hasEnded(job)) again.hidden = job.state === "done";
    if (job.state === "stopped") missing = ""; // by the reader, who knows what they are
    else if (job.state === "failed" && missing) missing = "Train is live once the images can be read.";
    if (!job.result) return hasEnded(job) ? tell(suggested) : undefined;
    const { recipe } = job.result;
    missing = recipe ? "" : "Train is live once there are two images that can be used.";
    if (recipe?.pace) pace = { ...recipe.pace, note: recipe.note, side: sideOf(job.result) };
    const time = button("Time it on this machine", () => look(asked, true));
    found.replaceChildren(report(job.result, take, recipe?.pace ? null : time));
    tell(suggestionOf(job.result));
  };
  return { element, look, missing: () => missing, showPace, close: () => leave() };
}

/**
 * What so many minutes are.
 * @param {Pace} pace
 * @param {number} minutes
 */
function paceOf({ steps, visits, note, ...timed }, minutes) {
  const of = (/** @type {number} */ count) => counted(Math.round((count * minutes) / timed.minutes));
  const are = `${counted(minutes)} minutes are ${of(steps)} steps here; each image is seen ${of(visits)} times.`;
  return [are, minutes === timed.minutes && note].filter(Boolean).join(" ");
}

/** @param {Tree} result */
function sideOf({ suggested_size: size, recipe }) {
  const [height, width] = recipe?.size ?? [size, size];
  return height === width ? height : [height, width];
}

/**
 * The settings that suit the images, by name; none where there are too few.
 * @param {Tree} result
 * @returns {Map<string, any>}
 */
function suggestionOf(result) {
  const { suggested_size: size, suggested_fit: fit } = result;
  return new Map(size ? /** @type {[string, any][]} */ ([["data.size", sideOf(result)], ["data.fit", fit]]) : []);
}

/**
 * @param {Tree} result as `ancestral data check --json` prints it
 * @param {(suggestion: Map<string, any>) => void} take
 * @param {Node | null} time what has training steps timed
 */
function report(result, take, time) {
  const classes = Object.entries(result.classes ?? {}).sort(([, a], [, b]) => b - a);
  const alike = (result.duplicates ?? []).reduce(
    (/** @type {number} */ sum, /** @type {string[]} */ each) => sum + each.length - 1,
    0,
  );
  const near = (result.near_duplicates ?? []).length;
  const rows = /** @type {[string, string][]} */ ([
    ["usable images", counted(result.num_images)],
    ["to train on", counted(result.parts?.train)],
    ["heights, px", between(result.heights)],
    ["widths, px", between(result.widths)],
    ["colours", result.channels === 1 ? "grey" : result.channels === 3 ? "RGB" : `${result.channels} channels`],
    ["classes", classes.length ? counted(classes.length) : "none"],
    ["captions", result.num_captions ? counted(result.num_captions) : ""],
    ["the same pixels as another", alike ? counted(alike) : ""],
    ["groups that look the same", near ? counted(near) : ""],
    ["cannot be used", result.bad?.length ? counted(result.bad.length) : ""],
  ]).filter(([, said]) => said);
  const warnings = [...(result.notes ?? []), ...(result.warnings ?? [])];
  const bad = listed(
    "Files that cannot be used",
    (result.bad ?? []).map((/** @type {[string, string]} */ [file, why]) => `${file}: ${why}`),
  );
  const each = listed(
    "Images of each class",
    classes.map(([name, count]) => `${name}: ${counted(count)}`),
  );
  return h(
    "div",
    null,
    h("dl", null, ...rows.map(([term, said]) => h("div", null, h("dt", null, term), h("dd", null, said)))),
    warnings.length > 0 && h("ul", { class: "warnings" }, ...warnings.map((words) => h("li", null, words))),
    each,
    bad,
    suggestion(result, take, time),
  );
}

/** @param {[number, number] | undefined} range */
function between(range) {
  return !range ? "" : range[0] === range[1] ? String(range[0]) : `${range[0]} to ${range[1]}`;
}

/**
 * @param {string} title
 * @param {string[]} words
 */
function listed(title, words) {
  if (!words.length) return null;
  const rest = words.length > LISTED ? [`and ${counted(words.length - LISTED)} more`] : [];
  return h(
    "details",
    null,
    h("summary", null, title),
    h("ul", null, ...[...words.slice(0, LISTED), ...rest].map((each) => h("li", null, each))),
  );
}

/**
 * What suits the images.
 * @param {Tree} result
 * @param {(suggestion: Map<string, any>) => void} take
 * @param {Node | null} time
 */
function suggestion(result, take, time) {
  const taken = suggestionOf(result),
    side = taken.get("data.size"),
    fit = taken.get("data.fit");
  if (!side) return null;
  const [height, width] = Array.isArray(side) ? side : [side, side];
  const fits = { crop: "cut to the middle", pad: "padded", squash: "squashed" };
  const how = `Suggested: ${height}x${width} pixels, ${fits[/** @type {keyof typeof fits} */ (fit)] ?? fit}.`;
  const words = h("p", null, how);
  return h(
    "div",
    null,
    words,
    h(
      "div",
      { class: "actions" },
      button("Take the suggestion", () => take(taken)),
      time,
    ),
  );
}
