/** One number out of a series, its colour and its text. Pure. */
import type { Labels } from "../format";
import { formatLabels } from "../format";
import type { Point } from "../matrix";
import type { Override, Panel } from "./model";
import { formatUnit } from "./units";

/** A series' points as one number, by Grafana's names of calculations. */
export function reduced(points: readonly Point[], how: string): number | null {
  const known = points.filter((point) => point !== null);
  const first = known[0];
  const last = known.at(-1);
  if (first === undefined || last === undefined) return null;
  switch (how) {
    case "mean":
    case "avg":
      return known.reduce((a, b) => a + b, 0) / known.length;
    case "sum":
    case "total":
      return known.reduce((a, b) => a + b, 0);
    case "min":
      return known.reduce((a, b) => Math.min(a, b));
    case "max":
      return known.reduce((a, b) => Math.max(a, b));
    case "first":
    case "firstNotNull":
      return first;
    case "count":
      return known.length;
    case "range":
      return known.reduce((a, b) => Math.max(a, b)) - known.reduce((a, b) => Math.min(a, b));
    case "diff":
    case "delta":
      return last - first;
    default:
      return last;
  }
}

/** What a series is called: its template filled in, else its labels. */
export function seriesName(legend: string, labels: Labels, fallback: string): string {
  if (legend === "" || legend === "__auto") return fallback || formatLabels(labels);
  const named = legend.replace(/\{\{\s*([\w.]+)\s*\}\}/g, (_, name: string) => labels[name] ?? "");
  return named.trim() === "" ? fallback : named;
}

/** The overrides of a series as one. */
export function overridden(panel: Panel, name: string): Partial<Override> {
  const found = panel.overrides.filter((one) =>
    one.pattern === null ? one.name === name : one.pattern.test(name),
  );
  return Object.assign({}, ...found) as Partial<Override>;
}

const NAMED: Readonly<Record<string, string>> = {
  green: "#37872d",
  red: "#c4162a",
  orange: "#d9580d",
  yellow: "#b58900",
  blue: "#1f60c4",
  purple: "#8f3bb8",
  gray: "#64748b",
  white: "#94a3b8",
  black: "#334155",
  transparent: "#94a3b8",
  text: "#64748b",
};

/** A colour by Grafana's name for it, or as it is when it is one; null when it is neither. */
export function colorNamed(color: string): string | null {
  if (/^#[0-9a-f]{3,8}$/i.test(color) || /^rgba?\([\d.,%\s/]+\)$/.test(color)) return color;
  return NAMED[color.replace(/^(?:super-light|light|semi-dark|dark)-/, "")] ?? null;
}

/** The colour that the thresholds give a value. */
export function thresholdColor(panel: Panel, value: number): string | null {
  const low = panel.min ?? 0;
  const share = panel.percentages ? ((value - low) / ((panel.max ?? 100) - low)) * 100 : value;
  const step = panel.thresholds.findLast(({ from }) => from === null || share >= from);
  return step === undefined || panel.thresholds.length < 2 ? null : colorNamed(step.color);
}

/** A value as the panel writes it. */
export function valueText(
  panel: Panel,
  value: number | null,
  unit = panel.unit,
  decimals = panel.decimals,
): string {
  if (value === null) return panel.mappings.get("null") ?? "–";
  return panel.mappings.get(String(value)) ?? formatUnit(value, unit, decimals);
}
