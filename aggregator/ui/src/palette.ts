/** Colours of series, one set for light and one for dark; told apart by hue and by lightness. */
import { isDark, onTheme } from "./theme";

const LIGHT = [
  "#0f766e",
  "#d9580d",
  "#2563eb",
  "#9333ea",
  "#b58900",
  "#db2777",
  "#15803d",
  "#0891b2",
  "#dc2626",
  "#64748b",
];
const DARK = [
  "#2dd4bf",
  "#fb923c",
  "#60a5fa",
  "#c084fc",
  "#facc15",
  "#f472b6",
  "#4ade80",
  "#22d3ee",
  "#f87171",
  "#94a3b8",
];

/** The colour of the series with this number. */
export function color(index: number): string {
  const colors = isDark() ? DARK : LIGHT;
  return colors[index % colors.length] ?? "#888888";
}

/** The same colour, thin enough to see the grid through. */
export function thin(hex: string, alpha: number): string {
  const byte = Math.round(alpha * 255);
  return `${hex}${byte.toString(16).padStart(2, "0")}`;
}

/** A variable of the style sheet. */
export function token(name: string): string {
  return getComputedStyle(document.documentElement).getPropertyValue(name).trim();
}

/** Calls back when the reader switches between light and dark. Returns how to stop that. */
export const onScheme = onTheme;
