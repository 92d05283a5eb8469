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
  const state = h("p", { role: "status" }), found = h("div");
  const element = h("section", { "aria-label": "What the images are", hidden: true, class: "data-check" }, state, found);
  let leave = () => {}, asked = "";
  return {
    element,
    async look(data) {
      leave();
      asked = data;
      found.replaceChildren();
      element.hidden = !data;
      if (!data) return;
      state.textContent = "Looking at the images…";
      try {
        const { id } = await startJob({ kind: "check", run: null, view: "train", replace: true, settings: { data } });
        if (asked !== data) return;
        leave = watch(id, {
          progress(job) {
            if (!hasEnded(job)) state.textContent = `Looking at the images: ${[job.what, job.of && `${counted(job.done)} of ${counted(job.of)}`].filter(Boolean).join(" ") || job.state}`;
            if (job.result) found.replaceChildren(report(job.result, take));
          },
          done(job) {
            state.textContent = job.state === "done" ? "" : job.why || "The look at the images was stopped.";
            if (job.result) found.replaceChildren(report(job.result, take));
          },
          lost: fail,
        });
      } catch (fault) {
        state.textContent = "";
        fail(fault);
      }
    },
    close: () => leave(),
  };
}

/** @param {Tree} result as `ancestral data check --json` prints it @param {(suggestion: Map<string, any>) => void} take */
function report(result, take) {
  const classes = Object.entries(result.classes ?? {}).sort(([, a], [, b]) => b - a);
  const alike = (result.duplicates ?? []).reduce((/** @type {number} */ sum, /** @type {string[]} */ each) => sum + each.length - 1, 0);
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
  const bad = listed("Files that cannot be used", (result.bad ?? []).map((/** @type {[string, string]} */ [file, why]) => `${file}: ${why}`));
  const each = listed("Images of each class", classes.map(([name, count]) => `${name}: ${counted(count)}`));
  return h("div", null,
    h("dl", null, ...rows.map(([term, said]) => h("div", null, h("dt", null, term), h("dd", null, said)))),
    warnings.length > 0 && h("ul", { class: "warnings" }, ...warnings.map((words) => h("li", null, words))),
    each, bad, suggestion(result, take),
  );
}

/** @param {[number, number] | undefined} range */
function between(range) {
  return !range ? "" : range[0] === range[1] ? String(range[0]) : `${range[0]} to ${range[1]}`;
}

/** @param {string} title @param {string[]} words */
function listed(title, words) {
  if (!words.length) return null;
  const rest = words.length > LISTED ? [`and ${counted(words.length - LISTED)} more`] : [];
  return h("details", null, h("summary", null, title), h("ul", null, ...[...words.slice(0, LISTED), ...rest].map((each) => h("li", null, each))));
}

/** What suits the images. @param {Tree} result @param {(suggestion: Map<string, any>) => void} take */
function suggestion({ suggested_size: size, suggested_fit: fit, recipe }, take) {
  if (!size) return null;
  const [height, width] = recipe?.size ?? [size, size], side = height === width ? height : [height, width];
  const pace = recipe?.pace, taken = new Map(/** @type {[string, any][]} */ ([["data.size", side], ["data.fit", fit]]));
  const takes = pace && `${Math.round(pace.minutes)} minutes are ${counted(pace.steps)} steps here, and each image is seen ${counted(Math.round(pace.visits))} times.`;
  const fits = { crop: "cut to the middle", pad: "padded", squash: "squashed" };
  const how = `Suggested: ${height}x${width} pixels, ${fits[/** @type {keyof typeof fits} */ (fit)] ?? fit}.`;
  return h("div", null, h("p", null, [how, takes, recipe?.note].filter(Boolean).join(" ")), button("Take the suggestion", () => take(taken)));
}
