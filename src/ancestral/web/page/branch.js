/** A form that lets drawn images go on in another way from a step on: by another class, sampler or other noise. */

import { button, fail, h, on, say } from "./elements.js";
import { commandBox, liveCommand } from "./command.js";
import { number, select, text } from "./fields.js";
import { startJob } from "./job.js";
import { asAsked } from "./sampling_fields.js";
import { state } from "./store.js";

/** @typedef {import("./store.js").Job} Job */

export const VIEW = "branch"; // of jobs that are branches
const AS_BEFORE = { value: "", label: "as before" };

/**
 * @param {import("./sampling_fields.js").Details} details
 * @param {{begun: (job: string) => void, ended: () => void}} told `begun` with the job of a branch; `ended`: the film is
 *   to be seen alone again
 */
export function branchForm(details, { begun, ended }) {
  let drawn = /** @type {Job | null} */ (null), shownBranch = "";
  const step = number("After step", 0, { min: 0, step: 1 });
  const classes = select("Class", [AS_BEFORE, ...details.classes.map((name) => ({ value: asAsked(name), label: name }))], "");
  const sampler = select("Sampler", [AS_BEFORE, ...state.samplers], "");
  const seed = text("Seed of the noise", "", { optional: true, placeholder: "as before" });
  const start = h("button", { type: "submit", class: "main" }, "Branch"), alone = button("Show the first alone", ended);
  const box = commandBox(), fields = [step, ...(details.classes.length ? [classes] : []), sampler, seed];
  const form = h("form", { "aria-label": "Another future" }, h("div", { class: "fields" }, ...fields.map((each) => each.element)),
    h("div", { class: "actions" }, start, alone), box.element);
  const element = h("section", { "aria-label": "Another future" }, h("h2", null, "Another future"),
    h("p", { class: "soft" }, "The images go on from a step in another way, and stand beside what they became."), form);

  /** The settings of the job, changed from the step on. */
  function settings() {
    const { arrays, ...rest } = drawn?.settings ?? {}, changed = { then_classes: classes.value, then_sampler: sampler.value, then_seed: seed.value };
    return { ...rest, branch: step.value, ...Object.fromEntries(Object.entries(changed).filter(([, value]) => value)) };
  }
  const body = () => drawn && { kind: "sample", run: details.id, view: VIEW, settings: settings(), replace: true };
  const ask = liveCommand(box, body, { fault: (words) => (start.disabled = Boolean(words)) });
  on(form, "input", ask);
  on(form, "submit", async (event) => {
    event.preventDefault();
    const asked = body();
    if (!asked || start.disabled) return;
    start.disabled = true;
    try {
      begun((await startJob(asked)).id);
      say("The branch begins");
      fail("");
    } catch (fault) {
      fail(fault);
    }
    start.disabled = false;
  });
  return {
    element,
    /**
     * Offers to branch what was drawn after the step that is shown; where there is a branch, in the same way.
     * @param {Job | null} job
     * @param {number} shown steps before what is shown
     * @param {Job | null} branch
     */
    show(job, shown, branch) {
      const last = (job?.frames?.steps.at(-1)?.number ?? 1) - 1, to = Math.min(shown, last), isNew = drawn !== job;
      element.hidden = job?.kind !== "sample" || !job.settings || job.settings.branch !== undefined;
      alone.hidden = !branch;
      step.input.setAttribute("max", String(last));
      drawn = job;
      const before = step.value;
      if (branch?.settings && branch.id !== shownBranch) {
        [shownBranch, step.value, classes.value] = [branch.id, branch.settings.branch, branch.settings.then_classes ?? ""];
        [sampler.value, seed.value] = [branch.settings.then_sampler ?? "", branch.settings.then_seed ?? ""];
      } else if (!branch) step.value = to;
      if (isNew || step.value !== before) ask();
    },
  };
}

/**
 * What a branch changed, in words.
 * @param {Job} job
 */
export function branchInWords({ settings }) {
  const { branch, then_classes: classes, then_sampler: sampler, then_seed: seed } = settings;
  const changed = [classes && `class ${classes}`, sampler, seed && `noise of seed ${seed}`].filter(Boolean).join(", ");
  return `Each image twice: left as it was drawn, right after step ${branch} by ${changed || "the same"}.`;
}
