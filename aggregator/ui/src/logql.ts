/**
 * The little of LogQL that the page must understand to ask for a volume histogram: where the
 * stream selector and its line filters end. Pure. Everything else is the aggregator's to judge.
 */
import { formatDuration } from "./time";

/** The end of the string literal that starts at `at`, or -1. */
function stringEnd(text: string, at: number): number {
  const mark = text[at];
  if (mark !== '"' && mark !== "`") return -1;
  for (let i = at + 1; i < text.length; i += 1) {
    if (text[i] === mark) return i + 1;
    if (text[i] === "\\" && mark === '"') i += 1;
  }
  return -1;
}

/** The end of the `{…}` that starts at `at`, or -1. */
function selectorEnd(text: string, at: number): number {
  if (text[at] !== "{") return -1;
  for (let i = at + 1; i < text.length;) {
    if (text[i] === "}") return i + 1;
    const end = stringEnd(text, i);
    i = end > 0 ? end : i + 1;
  }
  return -1;
}

/** The stream selector and the line filters right behind it; null when `query` is not a log query. */
export function selectorAndFilters(query: string): string | null {
  const start = query.length - query.trimStart().length;
  let end = selectorEnd(query, start);
  if (end < 0) return null;
  for (;;) {
    const filter = /^\s*(?:\|=|\|~|!=|!~|\|>|!>)\s*/.exec(query.slice(end));
    const alternative = /^\s*or\s*/.exec(query.slice(end));
    const operator = filter ?? alternative;
    if (operator === null) break;
    const next = stringEnd(query, end + operator[0].length);
    if (next < 0) break;
    end = next;
  }
  return query.slice(start, end);
}

/** The number of lines per step that a log query selects. */
export function volumeQuery(logQuery: string, step_s: number): string {
  return `sum(count_over_time(${logQuery.trim()} [${formatDuration(step_s)}]))`;
}
