/** Light or dark: as the system says, or as the reader chose. The choice is kept in the browser. */

export const THEMES = ["auto", "light", "dark"] as const;
export type Theme = (typeof THEMES)[number];

const STORED = "kansoku.theme";
const system = matchMedia("(prefers-color-scheme: dark)");
const listeners = new Set<() => void>();
let theme: Theme = read();

function read(): Theme {
  try {
    return THEMES.find((known) => known === localStorage.getItem(STORED)) ?? "auto";
  } catch {
    return "auto";
  }
}

export function chosenTheme(): Theme {
  return theme;
}

export function isDark(): boolean {
  return theme === "auto" ? system.matches : theme === "dark";
}

/** Puts the theme on the document; style sheets look at it. */
export function applyTheme(): void {
  document.documentElement.dataset["theme"] = isDark() ? "dark" : "light";
}

export function setTheme(chosen: Theme): void {
  theme = chosen;
  try {
    localStorage.setItem(STORED, chosen);
  } catch {
    // The choice lasts as long as the page.
  }
  changed();
}

/** Calls back when light becomes dark or dark light. Returns how to stop that. */
export function onTheme(change: () => void): () => void {
  listeners.add(change);
  return () => listeners.delete(change);
}

function changed(): void {
  applyTheme();
  for (const listener of listeners) listener();
}

system.addEventListener("change", changed);
