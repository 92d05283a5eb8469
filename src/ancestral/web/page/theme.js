/** Light or dark: as the system has it, until the button says otherwise. */

import { on, part } from "./elements.js";

const KEPT = "ancestral-theme";

export function offerTheme() {
  const isDark = matchMedia("(prefers-color-scheme: dark)");
  const chosen = () => localStorage.getItem(KEPT) ?? (isDark.matches ? "dark" : "light");
  const other = () => (chosen() === "dark" ? "light" : "dark");
  const show = () => {
    document.documentElement.dataset.theme = chosen();
    part("theme").textContent = `Switch to ${other()}`;
  };
  on(isDark, "change", show);
  on(part("theme"), "click", () => {
    localStorage.setItem(KEPT, other());
    show();
  });
  show();
}
