/** What is in a folder of images and what is wrong with it, before anything is trained on it. */

import { button, fail, h } from "./elements.js";
import { hasEnded, startJob, watch } from "./job.js";
import { counted } from "./run_words.js";

/** @typedef {import("./settings.js").Tree} Tree */

const LISTED = 12; // classes and files that are named

/**
 * @param {(suggestion: Map<string, any>) => void} take sets what is suggested, by names of settings
 * @returns {{element: HTMLElement, look: (data: string) => void, close: () => void}}
 */
export function dataCheck(take) {
  const state = h("p", { role: "status" }),
    found = h("div");
  const element = h(
    "section",
    { "aria-label": "What the images are", hidden: true, class: "data-check" },
    state,
    found,
  );
  let leave = () => {},
    asked = "";
  const look = async (/** @type {string} */ data, measure = false) => {
    leave();
    asked = data;
    if (!measure) found.replaceChildren();
    element.hidden = !data;
    if (!data) return;
    state.textContent = "Looking at the images…";
    try {
      const settings = { data, measure, no_measure: !measure };
      const { id } = await startJob({ kind: "check", run: null, view: "train", replace: true, settings });
      if (asked === data) leave = watch(id, { progress: follow, done: follow, lost: fail });
    } catch (fault) {
      state.textContent = "";
      fail(fault);
    }
  };
  /** @param {import("./store.js").Job} job */
  const follow = (job) => {
    const at = job.of ? `${job.what} ${counted(job.done)} of ${counted(job.of)}` : job.what || job.state;
    const end = job.state === "done" ? "" : job.why || "The look at the images was stopped.";
    state.textContent = hasEnded(job) ? end : `Looking at the images: ${at}`;
    if (!job.result) return;
    const time = button("Time it on this machine", () => look(asked, true));
    found.replaceChildren(report(job.result, take, job.result.recipe?.pace ? null : time));
  };
  return { element, look, close: () => leave() };
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
function suggestion({ suggested_size: size, suggested_fit: fit, recipe }, take, time) {
  if (!size) return null;
  const [height, width] = recipe?.size ?? [size, size],
    side = height === width ? height : [height, width];
  const pace = recipe?.pace,
    taken = new Map(
      /** @type {[string, any][]} */ ([
        ["data.size", side],
        ["data.fit", fit],
      ]),
    );
  const [minutes, visits] = [pace?.minutes, pace?.visits].map((each) => counted(Math.round(each ?? 0)));
  const takes = pace && `${minutes} minutes are ${counted(pace.steps)} steps here; each image is seen ${visits} times.`;
  const fits = { crop: "cut to the middle", pad: "padded", squash: "squashed" };
  const how = `Suggested: ${height}x${width} pixels, ${fits[/** @type {keyof typeof fits} */ (fit)] ?? fit}.`;
  const words = h("p", null, [how, takes, recipe?.note].filter(Boolean).join(" "));
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
