/**
 * What can be completed at the caret of a query, and what fits. Pure: names come from the caller.
 * It reads only the text before the caret and is content to offer nothing.
 */
import type { Language } from "./state";

export type Wanted =
  { kind: "name" } | { kind: "label"; metric: string } | { kind: "value"; label: string; metric: string };

export interface Context {
  wanted: Wanted;
  /** The part of the word before the caret. */
  prefix: string;
  /** Where that word begins. */
  start: number;
}

const PROMQL_WORDS =
  "abs absent absent_over_time avg avg_over_time bottomk by ceil changes clamp clamp_max clamp_min count count_over_time count_values delta deriv exp floor group group_left group_right histogram_quantile idelta ignoring increase irate label_join label_replace last_over_time ln log10 log2 max max_over_time min min_over_time offset on or and unless predict_linear quantile quantile_over_time rate resets round scalar sgn sort sort_desc sqrt stddev stddev_over_time stdvar sum sum_over_time time timestamp topk vector without";
const LOGQL_WORDS =
  "absent_over_time avg by bottomk bytes_over_time bytes_rate count count_over_time json label_format line_format logfmt max min pattern rate regexp sum topk unwrap without";

/** Words of the language itself. */
export function words(language: Language): string[] {
  return (language === "promql" ? PROMQL_WORDS : LOGQL_WORDS).split(" ");
}

interface Scan {
  /** Index of the innermost `{` that is not closed, or -1. */
  brace: number;
  /** Index of the opening mark of a string that is not closed, or -1. */
  quote: number;
}

function scan(text: string): Scan {
  let brace = -1;
  let quote = -1;
  for (let i = 0; i < text.length; i += 1) {
    const char = text[i];
    if (quote >= 0) {
      if (char === "\\" && text[quote] !== "`") i += 1;
      else if (char === text[quote]) quote = -1;
    } else if (char === '"' || char === "'" || char === "`") quote = i;
    else if (char === "{") brace = i;
    else if (char === "}") brace = -1;
  }
  return { brace, quote };
}

/** What the caret asks for; null where nothing can be completed. */
export function contextAt(text: string, caret: number): Context | null {
  const before = text.slice(0, caret);
  const { brace, quote } = scan(before);
  const metric = brace < 0 ? "" : (/([a-zA-Z_:][\w:]*)\s*$/.exec(before.slice(0, brace))?.[1] ?? "");
  if (quote >= 0) {
    const label = brace < 0 ? null : /(\w+)\s*(?:=~|!~|!=|=)\s*$/.exec(before.slice(brace, quote));
    if (label === null) return null;
    const wanted: Wanted = { kind: "value", label: label[1] ?? "", metric };
    return { wanted, prefix: before.slice(quote + 1), start: quote + 1 };
  }
  const word = /[a-zA-Z_:][\w:]*$/.exec(before)?.[0] ?? "";
  const start = caret - word.length;
  // Digits before the word make it a duration such as 5m.
  if (/[\w:]$/.test(before.slice(0, start))) return null;
  if (brace >= 0) {
    const inside = before.slice(brace + 1, start);
    return /(^|,)\s*$/.test(inside) ? { wanted: { kind: "label", metric }, prefix: word, start } : null;
  }
  const grouping = /\b(?:by|without|on|ignoring|group_left|group_right)\s*\(([^()]*)$/.exec(
    before.slice(0, start),
  );
  if (grouping !== null) {
    const named = /([a-zA-Z_:][\w:]*)\s*[{[]/.exec(text.slice(caret))?.[1] ?? "";
    return { wanted: { kind: "label", metric: named }, prefix: word, start };
  }
  return word === "" ? null : { wanted: { kind: "name" }, prefix: word, start };
}

/** At most this many candidates are shown: more is no help to a reader. */
const CANDIDATES_MAX = 12;

/** Candidates for a prefix: those that begin with it, then those that contain it. */
export function candidates(names: readonly string[], prefix: string): string[] {
  const wanted = prefix.toLowerCase();
  const begin: string[] = [];
  const within: string[] = [];
  for (const name of names) {
    const at = name.toLowerCase().indexOf(wanted);
    if (at === 0) begin.push(name);
    else if (at > 0) within.push(name);
  }
  const found = [...begin, ...within].slice(0, CANDIDATES_MAX);
  return found.length === 1 && found[0] === prefix ? [] : found;
}
