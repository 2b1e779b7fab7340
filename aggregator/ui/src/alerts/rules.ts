/** Rules and alerts as `/api/v1/rules` writes them, read with nothing taken on trust. Pure. */
import type { Labels } from "../format";
import type { Series } from "../matrix";

export type AlertState = "firing" | "pending" | "inactive";
export const ALERT_STATES: readonly AlertState[] = ["firing", "pending", "inactive"];

export interface Alert {
  labels: Labels;
  annotations: Labels;
  state: AlertState;
  /** Unix seconds. */
  active_s: number | null;
  value: string;
}

export interface Rule {
  name: string;
  query: string;
  kind: "alerting" | "recording";
  state: AlertState;
  labels: Labels;
  annotations: Labels;
  /** Seconds that the expression must hold before the alert fires. */
  for_s: number;
  /** `ok`, `err` or `unknown`. */
  health: string;
  error: string;
  evaluated_s: number | null;
  took_s: number | null;
  alerts: Alert[];
}

export interface Group {
  name: string;
  file: string;
  interval_s: number | null;
  rules: Rule[];
}

type Bag = Record<string, unknown>;

const bag = (value: unknown): Bag => (typeof value === "object" && value !== null ? (value as Bag) : {});
const list = (value: unknown): unknown[] => (Array.isArray(value) ? value : []);
const text = (value: unknown): string => (typeof value === "string" ? value : "");
const number = (value: unknown): number | null =>
  typeof value === "number" && Number.isFinite(value) ? value : null;

function labels(value: unknown): Labels {
  return Object.fromEntries(
    Object.entries(bag(value)).filter((pair): pair is [string, string] => typeof pair[1] === "string"),
  );
}

function stateOf(value: unknown): AlertState {
  return ALERT_STATES.find((known) => known === value) ?? "inactive";
}

/** A moment; Go writes the year 1 for "never". */
function moment(value: unknown): number | null {
  const time_ms = Date.parse(text(value));
  return Number.isFinite(time_ms) && time_ms > 0 ? time_ms / 1000 : null;
}

function alertOf(value: unknown): Alert {
  const one = bag(value);
  return {
    labels: labels(one["labels"]),
    annotations: labels(one["annotations"]),
    state: stateOf(one["state"]),
    active_s: moment(one["activeAt"]),
    value: text(one["value"]),
  };
}

function ruleOf(value: unknown): Rule {
  const one = bag(value);
  return {
    name: text(one["name"]),
    query: text(one["query"]),
    kind: one["type"] === "recording" ? "recording" : "alerting",
    state: stateOf(one["state"]),
    labels: labels(one["labels"]),
    annotations: labels(one["annotations"]),
    for_s: number(one["duration"]) ?? 0,
    health: text(one["health"]) || "unknown",
    error: text(one["lastError"]),
    evaluated_s: moment(one["lastEvaluation"]),
    took_s: number(one["evaluationTime"]),
    alerts: list(one["alerts"]).map(alertOf),
  };
}

/** The groups of an answer. */
export function groupsOf(data: unknown): Group[] {
  return list(bag(data)["groups"]).map((value): Group => {
    const one = bag(value);
    return {
      name: text(one["name"]),
      file: text(one["file"]),
      interval_s: number(one["interval"]),
      rules: list(one["rules"]).map(ruleOf),
    };
  });
}

/** Groups with only the rules that have every word of `filter` and are in `state` (empty: any). */
export function filtered(groups: readonly Group[], filter: string, state: string): Group[] {
  const words = filter.toLowerCase().split(/\s+/).filter(Boolean);
  return groups
    .map((group) => ({
      ...group,
      rules: group.rules.filter((rule) => {
        if (state !== "" && (rule.kind === "recording" || rule.state !== state)) return false;
        const all = [
          group.name,
          group.file,
          rule.name,
          rule.query,
          rule.error,
          ...Object.values(rule.labels),
          ...rule.alerts.flatMap((alert) => Object.values(alert.labels)),
        ]
          .join(" ")
          .toLowerCase();
        return words.every((word) => all.includes(word));
      }),
    }))
    .filter(({ rules }) => rules.length > 0);
}

/** A stretch of time in which an alert was pending or firing, as parts of the window from 0 to 1. */
export interface Stretch {
  from: number;
  to: number;
  state: "pending" | "firing";
}

/** When the alerts of each name were pending or firing: from the series `ALERTS`, firing drawn last. */
export function stretchesOf(
  series: readonly Series[],
  start_s: number,
  end_s: number,
  step_s: number,
): Map<string, Stretch[]> {
  const found = new Map<string, Stretch[]>();
  const place = (time_s: number): number => Math.min(1, Math.max(0, (time_s - start_s) / (end_s - start_s)));
  const inOrder = [...series].sort((a) => (a.metric["alertstate"] === "pending" ? -1 : 1));
  for (const { metric, values } of inOrder) {
    const name = metric["alertname"] ?? "";
    const state = metric["alertstate"] === "firing" ? "firing" : "pending";
    const own = found.get(name) ?? [];
    found.set(name, own);
    let from_s: number | null = null;
    let last_s = 0;
    for (const [time_s] of values) {
      if (from_s !== null && time_s - last_s > step_s * 1.5) {
        own.push({ from: place(from_s), to: place(last_s + step_s), state });
        from_s = null;
      }
      from_s ??= time_s;
      last_s = time_s;
    }
    if (from_s !== null) own.push({ from: place(from_s), to: place(last_s + step_s), state });
  }
  return found;
}
