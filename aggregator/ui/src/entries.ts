/** Log streams as one list of lines, newest first. Pure; lines keep every character but colours. */
import type { Stream } from "./api";
import type { Labels } from "./format";
import { keyOf } from "./matrix";

export interface Entry {
  /** Equal for the same line of the same stream in every refresh, and for no other. */
  key: string;
  /** Unix nanoseconds as decimal text: they do not fit a JavaScript number. */
  time_ns: string;
  labels: Labels;
  line: string;
}

/** Terminal colours mean nothing here; the escape character itself is kept out of the page. */
const COLOURS = /\u001b\[[0-9;]*[A-Za-z]/g;

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
      const labels = isLabels(metadata) ? { ...stream, ...metadata } : stream;
      entries.push({ key: `${times} ${key}`, time_ns, labels, line });
    }
  }
  entries.sort((a, b) => later(a.time_ns, b.time_ns));
  return entries.slice(0, limit);
}

/** The line as it is shown: no terminal colours, at most `chars` characters. */
export function displayed(line: string, chars: number): string {
  const text = line.length > chars ? `${line.slice(0, chars)}…` : line;
  return text.replace(COLOURS, "");
}

/** A few words that say where a line comes from: the pod and container, or the file. */
export function origin(labels: Labels): string {
  const { pod, container, filename, tag, job, service_name: service } = labels;
  if (pod !== undefined) return container === undefined ? pod : `${pod}/${container}`;
  if (filename !== undefined) return filename.slice(filename.lastIndexOf("/") + 1);
  return tag ?? job ?? service ?? container ?? Object.values(labels)[0] ?? "";
}
