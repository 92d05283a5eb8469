/** Light or dark: as the system has it, until the button says otherwise. */

import { on, part } from "./elements.js";

const KEPT = "ancestral-theme";

export function offerTheme() {
  const isDark = matchMedia("(prefers-color-scheme: dark)");
  const chosen = () => localStorage.getItem(KEPT) ?? (isDark.matches ? "dark" : "light");
  const show = () => {
    document.documentElement.dataset.theme = chosen();
    part("theme").setAttribute("aria-pressed", String(chosen() === "dark"));
  };
  on(isDark, "change", show);
  on(part("theme"), "click", () => {
    localStorage.setItem(KEPT, chosen() === "dark" ? "light" : "dark");
    show();
  });
  show();
}
