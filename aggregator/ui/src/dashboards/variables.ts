/** Variables in queries and texts, in all of Grafana's spellings. Pure. */
import { formatDuration } from "../time";
import type { Variable } from "./model";

/** The value that stands for all values. */
export const ALL = "$__all";

/** Values of the variables by name. */
export type Values = Readonly<Record<string, readonly string[]>>;

const escapeRegex = (text: string): string => text.replace(/[.*+?^${}()|[\]\\/]/g, "\\$&");

/** What a variable with these values becomes in a query. */
function formatted(values: readonly string[], format: string, language: "promql" | "logql" | "text"): string {
  // A label that nothing has is asked for as absent.
  if (values.length === 0) return "";
  switch (format) {
    case "csv":
    case "raw":
      return values.join(",");
    case "pipe":
      return values.join("|");
    case "regex":
      return values.length === 1 ? escapeRegex(values[0] ?? "") : `(${values.map(escapeRegex).join("|")})`;
    case "singlequote":
      return values.map((value) => `'${value}'`).join(",");
    case "doublequote":
      return values.map((value) => `"${value}"`).join(",");
    case "text":
      return values.join(" + ");
  }
  if (language === "text") return values.join(" + ");
  if (values.length === 1) return (values[0] ?? "").replace(/\\/g, "\\\\").replace(/"/g, '\\"');
  // Within a quoted pattern: escaped for the pattern, then for the string.
  return `(${values.map((value) => escapeRegex(value).replace(/\\/g, "\\\\").replace(/"/g, '\\"')).join("|")})`;
}

const SPELLINGS = /\$(\w+)|\$\{(\w+)(?:\.\w+)?(?::(\w+))?\}|\[\[(\w+)(?::(\w+))?\]\]/g;

/** The text with all variables filled in; unknown ones stay as they are. */
export function interpolate(text: string, values: Values, language: "promql" | "logql" | "text"): string {
  return text.replace(
    SPELLINGS,
    (whole, plain: string, braced: string, format: string, old: string, oldFormat: string) => {
      const name = plain ?? braced ?? old ?? "";
      const found = values[name];
      if (found === undefined) return whole;
      // Everything: any value, and none at all.
      if (found.includes(ALL)) return format === "text" || language === "text" ? "All" : ".*";
      return formatted(found, format ?? oldFormat ?? "", language);
    },
  );
}

/** Variables of the window itself. */
export function windowValues(
  range_s: number,
  step_s: number,
  end_s: number,
): Record<string, readonly string[]> {
  const step = formatDuration(step_s);
  return {
    __interval: [step],
    __interval_ms: [String(step_s * 1000)],
    __auto: [step],
    // At least four scrapes of 15 s, as Grafana does it.
    __rate_interval: [formatDuration(Math.max(60, step_s + 15))],
    __range: [formatDuration(range_s)],
    __range_s: [String(Math.round(range_s))],
    __range_ms: [String(Math.round(range_s * 1000))],
    __from: [String((end_s - range_s) * 1000)],
    __to: [String(end_s * 1000)],
    interval: [step],
  };
}

/** What a query variable asks for; null when it is of a form that we do not know. */
export type Question =
  | { kind: "values"; label: string; match: string }
  | { kind: "names"; pattern: string }
  | { kind: "labels"; match: string }
  | { kind: "query"; query: string };

export function questionOf(query: string): Question | null {
  const text = query.trim();
  const values = /^label_values\(\s*(?:(.+)\s*,)?\s*([a-zA-Z_]\w*)\s*\)$/s.exec(text);
  if (values !== null) return { kind: "values", label: values[2] ?? "", match: (values[1] ?? "").trim() };
  const names = /^metrics\((.*)\)$/s.exec(text);
  if (names !== null) return { kind: "names", pattern: (names[1] ?? "").trim() };
  const labels = /^label_names\((.*)\)$/s.exec(text);
  if (labels !== null) return { kind: "labels", match: (labels[1] ?? "").trim() };
  const result = /^query_result\((.*)\)$/s.exec(text);
  return result === null ? null : { kind: "query", query: result[1] ?? "" };
}

/** Values after the variable's `regex`, each once, in order. */
export function filteredValues(values: readonly string[], regex: string): string[] {
  let pattern: RegExp | null = null;
  if (regex !== "") {
    const parts = /^\/(.*)\/([a-z]*)$/s.exec(regex);
    try {
      pattern =
        parts === null
          ? new RegExp(`^${regex}$`)
          : new RegExp(parts[1] ?? "", (parts[2] ?? "").replace("g", ""));
    } catch {
      return [];
    }
  }
  const found = values.flatMap((value) => {
    if (pattern === null) return [value];
    const match = pattern.exec(value);
    return match === null ? [] : [match.groups?.["value"] ?? match[1] ?? match[0]];
  });
  return [...new Set(found)].sort((a, b) => a.localeCompare(b, "en", { numeric: true }));
}

/** What is chosen when the address says nothing: what the dashboard says, if it is there, else the first. */
export function initial({ chosen, all, kind }: Variable, options: readonly string[]): string[] {
  if (kind === "textbox" || kind === "constant") return chosen.length > 0 ? chosen : [options[0] ?? ""];
  if (chosen.some((value) => value === ALL || value === "All") && all) return [ALL];
  const there = chosen.filter((value) => options.includes(value));
  if (there.length > 0) return there;
  return all ? [ALL] : options.slice(0, 1);
}

/** The choices in the address, as `name=a&name=b`. */
export function parseChoices(text: string): Record<string, string[]> {
  const chosen: Record<string, string[]> = {};
  for (const [name, value] of new URLSearchParams(text)) (chosen[name] ??= []).push(value);
  return chosen;
}

export function formatChoices(chosen: Values): string {
  const search = new URLSearchParams();
  for (const [name, values] of Object.entries(chosen)) for (const value of values) search.append(name, value);
  return search.toString();
}
