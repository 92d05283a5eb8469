/** The same by the command line: what every view shows of what it does. */

import { ApiError, post } from "./api.js";
import { button, h, say } from "./elements.js";

const PATIENCE = 150; // ms of no change before the server is asked

/** @typedef {{element: HTMLElement, show: (text: string) => void, fault: (words: string) => void}} CommandBox */

/**
 * @param {string} [title]
 * @returns {CommandBox}
 */
export function commandBox(title = "The same by the command line") {
  const code = h("code"),
    wrong = h("p", { class: "fault", role: "status" });
  const copy = button("Copy", async () => {
    await navigator.clipboard.writeText(code.textContent ?? "");
    say("Copied");
  });
  const pre = h("pre", { tabindex: 0, "aria-label": title }, code);
  const element = h(
    "section",
    { class: "command", "aria-label": title },
    h("p", { class: "title" }, title, copy),
    pre,
    wrong,
  );
  const show = (/** @type {string} */ text) => {
    code.textContent = text;
    wrong.textContent = "";
    element.hidden = !text;
    pre.hidden = copy.hidden = !text;
  };
  show("");
  return {
    element,
    show,
    fault(words) {
      wrong.textContent = words;
      element.hidden = !words && !code.textContent;
    },
  };
}

/**
 * Keeps a box at what a body would be by the command line. The server checks it without beginning anything: what is
 * wrong is shown in the box in place of the command, and told to `fault` ("": nothing is), the answer to `answer`.
 *
 * @param {CommandBox} box
 * @param {() => object | null} body as of POST /api/jobs; null: nothing to say yet
 * @param {{fault?: (words: string, fault: ApiError | null) => void, answer?: (answer: any) => void, path?: string}} [told]
 *   `path`: where else it is asked
 * @returns {() => void} to be called whenever what is asked has changed
 */
export function liveCommand(box, body, told = {}) {
  let timer = 0,
    number = 0;
  return () => {
    clearTimeout(timer);
    const own = ++number;
    timer = setTimeout(async () => {
      const asked = body();
      if (!asked) return box.show("");
      let wrong = /** @type {ApiError | null} */ (null);
      try {
        const answer = await post(told.path ?? "/api/commands", asked);
        if (own !== number) return;
        box.show(answer.command);
        told.answer?.(answer);
      } catch (fault) {
        if (own !== number || !(fault instanceof ApiError)) return;
        wrong = fault;
        box.show("");
      }
      box.fault(wrong?.message ?? "");
      told.fault?.(wrong?.message ?? "", wrong);
    }, PATIENCE);
  };
}
