/**
 * Service level objectives: what is promised, how it is measured, and what follows from it. Pure.
 *
 * An objective counts events: bad (or good) ones and all of them, as two expressions in which `$window`
 * stands for a range. Rules and thresholds are those of Google's SRE workbook, chapter 5: an alert fires
 * when a part of the budget burns within a long window, and goes when a short one is fine again.
 */
import { bag, number, text, type Bag } from "../dashboards/read";
import { formatDuration } from "../time";

export interface Slo {
  title: string;
  description: string;
  language: "promql" | "logql";
  /** What `events` counts. */
  counts: "bad" | "good";
  events: string;
  total: string;
  /** Percent of good events that is promised. */
  target: number;
  window_days: number;
  /** The aggregator evaluates its rules. */
  evaluate: boolean;
}

export const WINDOW = "$window";
export const WINDOWS_DAYS = [7, 14, 28, 30, 90] as const;

/** An alert: so much of the budget within the long window. */
export interface Burn {
  severity: "page" | "ticket";
  long: string;
  short: string;
  /** Hours of the long window, and the part of the budget that may go in it. */
  hours: number;
  budget: number;
}

/** The four of the workbook; with 30 days they are 14.4, 6, 3 and 1 times the rate that just keeps the promise. */
export const BURNS: readonly Burn[] = [
  { severity: "page", long: "1h", short: "5m", hours: 1, budget: 0.02 },
  { severity: "page", long: "6h", short: "30m", hours: 6, budget: 0.05 },
  { severity: "ticket", long: "1d", short: "2h", hours: 24, budget: 0.1 },
  { severity: "ticket", long: "3d", short: "6h", hours: 72, budget: 0.1 },
];

/** All windows in which errors are counted. */
export const RULE_WINDOWS = ["5m", "30m", "1h", "2h", "6h", "1d", "3d"] as const;

/** How many times faster than promised the budget burns when the alert fires. */
export function factorOf({ hours, budget }: Burn, window_days: number): number {
  return Number(((budget * window_days * 24) / hours).toPrecision(6));
}

/** The part of events that may be bad. */
export function budgetOf({ target }: Slo): number {
  return Number((1 - target / 100).toPrecision(10));
}

export const EMPTY: Slo = {
  title: "",
  description: "",
  language: "promql",
  counts: "bad",
  events: 'sum(rate(http_requests_total{code=~"5.."}[$window]))',
  total: "sum(rate(http_requests_total[$window]))",
  target: 99.9,
  window_days: 30,
  evaluate: false,
};

/** What somebody kept, whatever it is. */
export function sloOf(value: unknown): Slo {
  const one: Bag = bag(value);
  return {
    title: text(one["title"]),
    description: text(one["description"]),
    language: one["language"] === "logql" ? "logql" : "promql",
    counts: one["counts"] === "good" ? "good" : "bad",
    events: text(one["events"]),
    total: text(one["total"]),
    target: number(one["target"]) ?? EMPTY.target,
    window_days: number(one["window_days"]) ?? EMPTY.window_days,
    evaluate: one["evaluate"] === true,
  };
}

/** What is wrong with an objective, as keys of words. */
export type Wrong = "slo.no_title" | "slo.no_window" | "slo.bad_target" | "slo.bad_days";

export function wrongWith(slo: Slo): Wrong[] {
  const wrong: Wrong[] = [];
  if (slo.title.trim() === "") wrong.push("slo.no_title");
  if (!slo.events.includes(WINDOW) || !slo.total.includes(WINDOW)) wrong.push("slo.no_window");
  if (!(slo.target > 0 && slo.target < 100)) wrong.push("slo.bad_target");
  if (!(Number.isInteger(slo.window_days) && slo.window_days >= 1 && slo.window_days <= 366))
    wrong.push("slo.bad_days");
  return wrong;
}

/** An expression over a range such as `5m`. */
export function over(expression: string, range: string): string {
  return expression.replaceAll(WINDOW, range);
}

/** The part of events that was bad. */
export function errorRatio(slo: Slo, events: number | null, total: number | null): number | null {
  if (total === null || !(total > 0)) return null;
  const part = (events ?? 0) / total;
  const bad = slo.counts === "bad" ? part : 1 - part;
  return Math.min(1, Math.max(0, bad));
}

/**
 * The budget that is left after each step of the window, of what the whole window's events allow. Steps
 * without events burn nothing.
 */
export function budgetLeft(
  slo: Slo,
  events: readonly (number | null)[],
  total: readonly (number | null)[],
): (number | null)[] {
  const all = total.reduce<number>((sum, value) => sum + (value ?? 0), 0);
  const allowed = all * budgetOf(slo);
  let burnt = 0;
  let begun = false;
  return total.map((value, at) => {
    if (value !== null) begun = true;
    const ratio = errorRatio(slo, events[at] ?? null, value);
    burnt += ratio === null ? 0 : ratio * (value ?? 0);
    return begun && allowed > 0 ? 1 - burnt / allowed : null;
  });
}

/** Text as YAML reads it back, in quotes where it has to be. */
function scalar(value: string): string {
  return /^[A-Za-z][\w ./-]*[\w/]$/.test(value) && !/^(true|false|null|yes|no|on|off|y|n)$/i.test(value)
    ? value
    : JSON.stringify(value);
}

/** An expression as a block that reads as it was written. */
function block(expression: string, indent: string): string {
  const lines = expression.trim().split("\n").map((line) => line.trimEnd());
  if (lines.some((line) => /[^\x20-\x7e\u00a0-\ud7ff\ue000-\ufffd]/.test(line))) return JSON.stringify(expression);
  return `|-\n${lines.map((line) => (line === "" ? "" : indent + line)).join("\n")}`;
}

const recordName = (window: string): string => `slo:error_ratio:rate${window}`;

export interface RuleFile {
  name: string;
  language: Slo["language"];
  yaml: string;
}

/** The rules of an objective: one file, or for LogQL one of each language. */
export function ruleFiles(id: string, slo: Slo): RuleFile[] {
  const records = RULE_WINDOWS.map((window) => {
    const [events, total] = [over(slo.events, window).trim(), over(slo.total, window).trim()];
    const ratio = `(\n  ${events.replaceAll("\n", "\n  ")}\n)\n/\n(\n  ${total.replaceAll("\n", "\n  ")}\n)`;
    const expression = slo.counts === "bad" ? ratio : `1 - (\n  ${ratio.replaceAll("\n", "\n  ")}\n)`;
    return [
      `      - record: ${recordName(window)}`,
      `        expr: ${block(expression, "          ")}`,
      `        labels:`,
      `          slo: ${scalar(id)}`,
    ].join("\n");
  });
  const budget = budgetOf(slo);
  const alerts = (["page", "ticket"] as const).map((severity) => {
    const own = BURNS.filter((burn) => burn.severity === severity);
    const condition = own
      .map((burn) => {
        const bound = `${factorOf(burn, slo.window_days)} * ${budget}`;
        const side = (window: string): string => `  ${recordName(window)}{slo=${JSON.stringify(id)}} > (${bound})`;
        return `(\n${side(burn.long)}\n  and\n${side(burn.short)}\n)`;
      })
      .join("\nor\n");
    const windows = own.map(({ long }) => long).join(", ");
    return [
      `      - alert: ${severity === "page" ? "SLOBudgetBurnsFast" : "SLOBudgetBurnsSlowly"}`,
      `        expr: ${block(condition, "          ")}`,
      `        labels:`,
      `          severity: ${severity}`,
      `          slo: ${scalar(id)}`,
      `        annotations:`,
      `          summary: ${JSON.stringify(`The error budget of “${slo.title.replaceAll("{{", "{ {")}” burns too fast`)}`,
      `          description: ${JSON.stringify(
        `Over ${windows} the errors are so many that the budget of ${100 - slo.target >= 0.0001 ? Number((100 - slo.target).toPrecision(6)) : budget * 100} % for ${slo.window_days} days would not last. The ratio is {{ $value | humanizePercentage }}.`,
      )}`,
    ].join("\n");
  });
  const group = (name: string, rules: readonly string[]): string =>
    `  - name: ${scalar(name)}\n    rules:\n${rules.join("\n")}\n`;
  if (slo.language === "promql") {
    const yaml = `groups:\n${group(`slo-${id}-errors`, records)}${group(`slo-${id}-alerts`, alerts)}`;
    return [{ name: `slo-${id}.yaml`, language: "promql", yaml }];
  }
  return [
    { name: `slo-${id}-logs.yaml`, language: "logql", yaml: `groups:\n${group(`slo-${id}-errors`, records)}` },
    { name: `slo-${id}.yaml`, language: "promql", yaml: `groups:\n${group(`slo-${id}-alerts`, alerts)}` },
  ];
}

/** A range that holds at least two samples of each series, for a chart of so long a step. */
export function rangeOf(step_s: number): string {
  return formatDuration(Math.max(300, step_s));
}
