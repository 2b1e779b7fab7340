/**
 * Log streams as one list of lines, newest first, and what can be read out of a line. Pure; a line
 * keeps every character.
 */
import type { Stream } from "../api";
import type { Labels } from "../format";
import { keyOf } from "../matrix";
import type { Parser } from "./logql";

export interface Entry {
  /** Equal for the same line of the same stream in every refresh, and for no other. */
  key: string;
  /** Unix nanoseconds as decimal text: they do not fit a JavaScript number. */
  time_ns: string;
  /** Labels of the stream. */
  stream: Labels;
  /** What was sent beside the line, and what the query's parsers made of it. */
  fields: Labels;
  line: string;
}

function later(a: string, b: string): number {
  if (a.length !== b.length) return b.length - a.length;
  return a === b ? 0 : a < b ? 1 : -1;
}

function isLabels(value: unknown): value is Labels {
  return (
    typeof value === "object" &&
    value !== null &&
    Object.values(value).every((text) => typeof text === "string")
  );
}

/** Beside a line stand its labels, or two sets of them when the request asked to tell them apart. */
function fieldsOf(metadata: unknown): Labels {
  if (typeof metadata !== "object" || metadata === null) return {};
  const { structuredMetadata, parsed } = metadata as Record<string, unknown>;
  const sets = [structuredMetadata, parsed].filter(isLabels);
  if (sets.length > 0) return Object.assign({}, ...sets) as Labels;
  return isLabels(metadata) ? metadata : {};
}

/** All lines of all streams, newest first, at most `limit`. */
export function entriesOf(streams: readonly Stream[], limit: number): Entry[] {
  const entries: Entry[] = [];
  const seen = new Map<string, number>();
  for (const { stream, values } of streams) {
    const name = keyOf(stream);
    for (const [time_ns, line, metadata] of values) {
      const key = `${time_ns} ${name} ${line}`;
      const times = seen.get(key) ?? 0;
      seen.set(key, times + 1);
      entries.push({ key: `${times} ${key}`, time_ns, stream, fields: fieldsOf(metadata), line });
    }
  }
  entries.sort((a, b) => later(a.time_ns, b.time_ns));
  return entries.slice(0, limit);
}

/** `new` entries in front of `old` ones, none twice, at most `limit`. */
export function merged(fresh: readonly Entry[], old: readonly Entry[], limit: number): Entry[] {
  const known = new Set(old.map(({ key }) => key));
  const all = [...fresh.filter(({ key }) => !known.has(key)), ...old];
  all.sort((a, b) => later(a.time_ns, b.time_ns));
  return all.slice(0, limit);
}

/** A few words that say where a line comes from: the pod and container, or the file. */
export function origin(labels: Labels): string {
  const { pod, container, filename, tag, job, service_name: service } = labels;
  if (pod !== undefined) return container === undefined ? pod : `${pod}/${container}`;
  if (filename !== undefined) return filename.slice(filename.lastIndexOf("/") + 1);
  return tag ?? job ?? service ?? container ?? Object.values(labels)[0] ?? "";
}

/** A longer line is not taken apart: it would stall the page. */
const PARSED_MAX_CHARS = 200_000;

/** The JSON object or array that the line is, or undefined. */
export function jsonOf(line: string): object | undefined {
  const text = line.trim();
  if (!/^[{[]/.test(text) || text.length > PARSED_MAX_CHARS) return undefined;
  try {
    const value: unknown = JSON.parse(text);
    return typeof value === "object" && value !== null ? value : undefined;
  } catch {
    return undefined;
  }
}

const PAIR = /(?:^|\s)([A-Za-z_][\w.-]*)=("(?:[^"\\]|\\.)*"|[^\s"]*)/g;
/** More fields of one line help nobody. */
const FIELDS_MAX = 60;

/** A field as LogQL's parsers name it: what is no letter, digit or underscore becomes one. */
const fieldName = (name: string): string => name.replace(/[^A-Za-z0-9_]/g, "_");

function flatten(value: unknown, path: string, out: Map<string, string>): void {
  if (out.size >= FIELDS_MAX || Array.isArray(value)) return;
  if (typeof value === "object" && value !== null) {
    for (const [name, inner] of Object.entries(value))
      flatten(inner, path === "" ? fieldName(name) : `${path}_${fieldName(name)}`, out);
  } else if (path !== "" && value !== null) out.set(path, String(value));
}

/** What LogQL's parser for the line's form would make of it, and which parser that is. */
export function parsedFields(line: string): { parser: Parser; fields: Map<string, string> } {
  const fields = new Map<string, string>();
  const json = jsonOf(line);
  if (json !== undefined) {
    flatten(json, "", fields);
    return { parser: "json", fields };
  }
  if (line.length > PARSED_MAX_CHARS) return { parser: "", fields };
  for (const [, name = "", value = ""] of line.matchAll(PAIR)) {
    if (fields.size >= FIELDS_MAX) break;
    fields.set(fieldName(name), value.startsWith('"') ? unquoted(value) : value);
  }
  // One pair may be anything: an address, an equation. Two are a habit.
  return fields.size >= 2 ? { parser: "logfmt", fields } : { parser: "", fields: new Map() };
}

function unquoted(text: string): string {
  try {
    return String(JSON.parse(text));
  } catch {
    return text.slice(1, -1);
  }
}
