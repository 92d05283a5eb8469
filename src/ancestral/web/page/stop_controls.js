/** How a training is stopped: it saves first, or ends at once, after a question that says what is lost. */

import { get, post } from "./api.js";
import { button, h, say } from "./elements.js";
import { counted } from "./run_words.js";
import { runOf } from "./store.js";

/** @typedef {import("./store.js").Run} Run */

/**
 * @param {string} id
 * @returns {{element: HTMLElement, show: (run: Run) => void}}
 */
export function stopControls(id) {
  const words = h("p", { class: "soft", role: "status" }),
    losing = h("p");
  let wasAsked = false, // by this page; others say it by the run
    wasStopping = false,
    isCut = false;
  const ask = (/** @type {boolean} */ now) => post(`/api/runs/${id}/stop`, { now });
  const lastSaved = async () => (await get(`/api/runs/${id}`)).checkpoints?.at(-1);
  const stop = button(
    "Stop and keep",
    async () => {
      await ask(false);
      wasAsked = true;
      say("Stopping: it saves first");
      showAgain();
    },
    { class: "main" },
  );
  const now = button("Stop without saving…", async () => {
    const saved = await lastSaved();
    losing.textContent = saved
      ? `What it learned after step ${counted(saved)}, its last checkpoint, is lost if it ends now.`
      : "It has saved nothing yet: all that it learned is lost if it ends now.";
    question.hidden = false;
    wait.focus();
  });
  const end = button("End it now", async () => {
    isCut = true;
    await ask(true);
    question.hidden = true;
  });
  const wait = button("Let it save", () => {
    question.hidden = true;
  });
  const question = h(
    "fieldset",
    { hidden: true },
    h("legend", null, "Stop without saving?"),
    losing,
    h("div", { class: "actions" }, end, wait),
  );
  const sayWhatIsLeft = async () => {
    isCut = false;
    const saved = await lastSaved();
    words.textContent = saved
      ? `It was ended at once. It goes on from step ${counted(saved)}, its last checkpoint.`
      : "It was ended at once, and had saved nothing. Going on, it begins anew.";
    element.hidden = false;
  };
  const showAgain = () => show(/** @type {Run} */ (runOf(id)));

  /** @param {Run} run */
  function show({ state, stopping }) {
    const isTraining = state === "training";
    wasAsked &&= isTraining;
    const isStopping = isTraining && (wasAsked || Boolean(stopping));
    stop.hidden = !isTraining || isStopping;
    now.hidden = !isStopping;
    if (!isStopping) question.hidden = true;
    if (isStopping) words.textContent = "It saves first, and goes on later as if it had never stopped.";
    else if (isTraining) words.textContent = "";
    else if (isCut) sayWhatIsLeft();
    else if (wasStopping) words.textContent = "";
    wasStopping = isStopping;
    element.hidden = !isTraining && !words.textContent;
  }
  const element = h("div", { class: "form" }, h("div", { class: "actions" }, stop, now), question, words);
  return { element, show };
}
