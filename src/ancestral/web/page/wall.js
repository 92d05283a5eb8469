/** The grids that a run kept, as a film: every one is a position of the slider. */

import { fail, h, on } from "./elements.js";
import { gridPath, picture, pictureUrl } from "./pictures.js";
import { counted } from "./run_words.js";

/** @typedef {import("./store.js").Run} Run */

const EACH = 250; // ms of a grid when it is played
let made = 0;

/**
 * @param {string} run
 * @returns {{element: HTMLElement, show: (run: Run, every?: number) => void, close: () => void}} `show` is told the run, which has all
 *   steps of which there is a grid: the handle stays at the step where it was put, and follows only from the end
 */
export function previewWall(run) {
  const shown = picture("pixels wall"),
    id = `wall-${++made}`;
  const slider = h("input", { type: "range", id, min: 0, max: 0, step: 1, value: 0 });
  const words = h("output", { for: id }),
    empty = h("p", { class: "soft" });
  const play = h("button", { type: "button", "aria-pressed": "false" }, "Play");
  const label = h("label", { for: id }, "Grid ", words);
  const film = h("div", { class: "film" }, play, h("div", null, label, slider));
  const element = h("div", null, shown.element, film, empty);
  let steps = /** @type {number[]} */ ([]),
    timer = 0;

  const at = () => Number(slider.value);
  const draw = () => {
    const step = steps[at()];
    if (step === undefined) return;
    const place = `step ${counted(step)}, ${at() + 1} of ${steps.length}`;
    words.textContent = place;
    slider.setAttribute("aria-valuetext", place);
    shown.show(gridPath(run, step), `Images generated after step ${counted(step)}`).catch(fail);
    for (const near of [at() - 1, at() + 1]) if (near in steps) pictureUrl(gridPath(run, steps[near])).catch(() => {});
  };
  const pause = () => {
    clearInterval(timer);
    timer = 0;
    play.setAttribute("aria-pressed", "false");
  };
  on(slider, "input", () => (pause(), draw()));
  on(play, "click", () => {
    if (timer) return pause();
    if (at() === steps.length - 1) slider.value = "0";
    play.setAttribute("aria-pressed", "true");
    draw();
    timer = setInterval(() => {
      slider.value = String(at() + 1);
      draw();
      if (at() === steps.length - 1) pause();
    }, EACH);
  });
  return {
    element,
    show({ grids: to, state, kind }, every) {
      const first = every && counted(Math.max(1, Math.floor(every / 16)));
      const after = first ? `: the first comes after step ${first}` : "";
      const instead = kind === "run" ? " Draw shows what it generates." : "";
      const none = state === "training" ? "No grid has been kept yet" : "It ended before it kept a grid";
      empty.textContent = `${none}${after}.${state === "finished" ? instead : ""}`;
      const before = steps[at()],
        followed = at() === steps.length - 1;
      const kept = followed || before === undefined ? to.length - 1 : to.filter((step) => step <= before).length - 1;
      steps = to;
      slider.max = String(Math.max(0, to.length - 1));
      slider.value = String(Math.max(0, kept));
      empty.hidden = to.length > 0;
      shown.element.hidden = film.hidden = !to.length;
      draw();
    },
    close: pause,
  };
}
