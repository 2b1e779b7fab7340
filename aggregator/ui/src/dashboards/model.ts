/**
 * A dashboard as the page draws it, of whatever form it was written in. Pure data: what the reader
 * chose is in the address, and the original text is kept beside it for export.
 */

export const KINDS = [
  "timeseries",
  "stat",
  "gauge",
  "bargauge",
  "table",
  "heatmap",
  "piechart",
  "text",
  "logs",
  "row",
] as const;
export type Kind = (typeof KINDS)[number];

export interface Target {
  /** `A`, `B`, … */
  ref: string;
  query: string;
  language: "promql" | "logql";
  /** `{{label}}` is filled in; empty or `__auto` means the series' own name. */
  legend: string;
  /** Asked at one moment only. */
  instant: boolean;
}

export interface Threshold {
  /** From this value on; null for the first, which holds below all others. */
  from: number | null;
  color: string;
}

/** What a unit, a name or a colour of some of a panel's series is changed to. */
export interface Override {
  /** The name of a series, or a pattern of names. */
  name: string;
  pattern: RegExp | null;
  unit?: string;
  title?: string;
  color?: string;
  decimals?: number;
  below?: boolean;
  dashed?: boolean;
  hidden?: boolean;
}

export interface Panel {
  id: number;
  title: string;
  description: string;
  kind: Kind;
  /** Columns of 24 and rows of 30 px. */
  grid: { x: number; y: number; w: number; h: number };
  targets: Target[];
  unit: string;
  decimals: number | null;
  min: number | null;
  max: number | null;
  thresholds: Threshold[];
  /** Thresholds are parts of the way from `min` to `max`. */
  percentages: boolean;
  /** Texts in place of values. */
  mappings: ReadonlyMap<string, string>;
  overrides: Override[];
  stacked: boolean;
  bars: boolean;
  legend: "table" | "inline" | "none";
  /** How one number is made of a series. */
  reduce: string;
  /** Text of a text panel. */
  text: string;
  /** The type of a panel that is not drawn; else empty. */
  unknown: string;
  repeat: string;
  vertical: boolean;
  /** Panels of a row that is closed. */
  inside: Panel[];
  closed: boolean;
}

export interface Variable {
  name: string;
  label: string;
  kind: "query" | "custom" | "constant" | "textbox" | "interval";
  query: string;
  regex: string;
  options: string[];
  multi: boolean;
  all: boolean;
  /** What "all" stands for instead of all values. */
  allValue: string;
  chosen: string[];
  hidden: boolean;
}

export interface Dashboard {
  title: string;
  description: string;
  variables: Variable[];
  panels: Panel[];
  /** What is not drawn, or not as it was meant, in words. */
  unsupported: string[];
}
