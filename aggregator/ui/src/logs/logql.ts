/**
 * The little of LogQL that the page must understand: where the stream selector and its line filters
 * end, and how to add a condition. Pure. Everything else is the aggregator's to judge.
 */
import { quote } from "../format";
import { formatDuration } from "../time";

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

interface Parts {
  /** Where `{` and the character behind `}` stand. */
  start: number;
  selectorEnd: number;
  /** Behind the last line filter that follows the selector at once. */
  filtersEnd: number;
  /** The texts of `|=` filters. */
  finds: string[];
}

function partsOf(query: string): Parts | null {
  const start = query.length - query.trimStart().length;
  const behind = selectorEnd(query, start);
  if (behind < 0) return null;
  let end = behind;
  const finds: string[] = [];
  let looking = false;
  for (;;) {
    const rest = query.slice(end);
    const operator = /^\s*(\|=|\|~|!=|!~|\|>|!>|or\b)\s*/.exec(rest);
    if (operator === null) break;
    const from = end + operator[0].length;
    const next = stringEnd(query, from);
    if (next < 0) break;
    if (operator[1] !== "or") looking = operator[1] === "|=";
    if (looking) finds.push(unquoted(query.slice(from, next)));
    end = next;
  }
  return { start, selectorEnd: behind, filtersEnd: end, finds };
}

function unquoted(literal: string): string {
  if (literal.startsWith("`")) return literal.slice(1, -1);
  try {
    return String(JSON.parse(literal));
  } catch {
    return literal.slice(1, -1);
  }
}

/** The stream selector and the line filters right behind it; null when `query` is not a log query. */
export function selectorAndFilters(query: string): string | null {
  const parts = partsOf(query);
  return parts === null ? null : query.slice(parts.start, parts.filtersEnd);
}

/** Whether a query gives lines and not numbers, as far as its first character tells. */
export function isLogQuery(query: string): boolean {
  return query.trimStart().startsWith("{");
}

/** Texts that the line filters ask for: they are marked in the lines. */
export function findsOf(query: string): string[] {
  return partsOf(query)?.finds ?? [];
}

/** The query with one more matcher in its stream selector. */
export function withMatcher(query: string, label: string, operator: "=" | "!=", value: string): string {
  const parts = partsOf(query);
  if (parts === null) return query;
  const inside = query.slice(parts.start + 1, parts.selectorEnd - 1).trim();
  const matcher = `${label}${operator}${quote(value)}`;
  if (splitMatchers(inside).includes(matcher)) return query;
  // The opposite was said before: the reader takes it back.
  const opposite = `${label}${operator === "=" ? "!=" : "="}${quote(value)}`;
  const kept = splitMatchers(inside).filter((text) => text !== opposite && text !== "");
  return `${query.slice(0, parts.start)}{${[...kept, matcher].join(", ")}}${query.slice(parts.selectorEnd)}`;
}

function splitMatchers(inside: string): string[] {
  const matchers: string[] = [];
  let from = 0;
  for (let i = 0; i < inside.length;) {
    const end = stringEnd(inside, i);
    if (end > 0) i = end;
    else {
      if (inside[i] === ",") {
        matchers.push(inside.slice(from, i).trim());
        from = i + 1;
      }
      i += 1;
    }
  }
  return [...matchers, inside.slice(from).trim()];
}

export type Parser = "json" | "logfmt" | "";

/** The query with a condition on a field, behind the parser that makes the field. */
export function withField(
  query: string,
  parser: Parser,
  name: string,
  operator: "=" | "!=",
  value: string,
): string {
  const parses = parser === "" || new RegExp(`\\|\\s*${parser}\\b`).test(query);
  const stage = `| ${name}${operator}${quote(value)}`;
  const opposite = `| ${name}${operator === "=" ? "!=" : "="}${quote(value)}`;
  const base = query.replace(opposite, "").trimEnd();
  if (base.includes(stage)) return base;
  return `${base}${parses ? "" : ` | ${parser}`} ${stage}`;
}

/** The query with one more line filter, right behind those it has. */
export function withLineFilter(query: string, operator: "|=" | "!=" | "|>" | "!>", text: string): string {
  const parts = partsOf(query);
  if (parts === null) return query;
  const filter = ` ${operator} ${quote(text)}`;
  return `${query.slice(0, parts.filtersEnd)}${filter}${query.slice(parts.filtersEnd)}`;
}

/** The word that tells a line's level, as a capture of `regexp`. */
const LEVEL =
  "(?i)(?:\\b|\u001b\\[[0-9;]*m)(?P<line_level>[EWIF]\\d{4} \\d\\d:|fatal|panic|emerg|emergency|alert|crit|critical|error|err|severe|warn|warning|info|notice|debug|dbug|dbg|trace|verbose)\\b?";

/** Lines that a parser could not read are counted like the others; a count would refuse them. */
const FORGIVE = "| drop __error__, __error_details__";

/** The number of lines per step and level that a log query selects. */
export function levelQuery(logQuery: string, step_s: number): string {
  return `sum by (level, detected_level, severity, line_level) (count_over_time(${logQuery.trim()} ${FORGIVE} | regexp ${quote(LEVEL)} [${formatDuration(step_s)}]))`;
}

/** The number of lines per step that a log query selects. */
export function volumeQuery(logQuery: string, step_s: number): string {
  return `sum(count_over_time(${logQuery.trim()} [${formatDuration(step_s)}]))`;
}
