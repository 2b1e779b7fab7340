/** How severe a log line is, from its labels or its text. Pure; it guesses only to colour. */
import type { Labels } from "../format";

export type Level = "fatal" | "error" | "warn" | "info" | "debug" | "trace" | "unknown";

const NAMES: readonly [RegExp, Level][] = [
  [/^(fatal|panic|emerg|emergency|alert|crit|critical)$/i, "fatal"],
  [/^(error|err|severe)$/i, "error"],
  [/^(warn|warning)$/i, "warn"],
  [/^(info|information|notice)$/i, "info"],
  [/^(debug|dbug|dbg)$/i, "debug"],
  [/^(trace|verbose)$/i, "trace"],
];

const LABELS = ["level", "detected_level", "severity", "severity_text", "lvl"];

/** From the most to the least severe. */
export const LEVELS: readonly Level[] = ["fatal", "error", "warn", "info", "debug", "trace", "unknown"];
const FIELD = /(?:"(?:level|severity|lvl)"\s*:\s*"|\b(?:level|severity|lvl)=["']?)([a-zA-Z]+)/;
const KLOG = /^([IWEF])\d{4} \d\d:\d\d/;
const WORD =
  /\b(FATAL|PANIC|EMERG|ALERT|CRIT|CRITICAL|ERROR|ERR|WARN|WARNING|INFO|NOTICE|DEBUG|TRACE|panic|fatal|error|warning)\b/;

const COLOURS = /\u001b\[[0-9;]*m/g;

/** Only the head of a line is looked at: levels stand there, and lines can be megabytes. */
const HEAD_MAX_CHARS = 300;

function named(name: string): Level | null {
  return NAMES.find(([pattern]) => pattern.test(name))?.[1] ?? null;
}

/** The level of a label set that a level query made. */
export function levelOfCount(labels: Labels): Level {
  const level = levelOf(labels, "");
  if (level !== "unknown") return level;
  const word = labels["line_level"] ?? "";
  const klog = /^[EWIF]\d{4}/i.test(word) ? `${word.toUpperCase()}` : "";
  return klog === "" ? (named(word) ?? "unknown") : levelOf({}, `${klog.slice(0, 5)} 00:00`);
}

/** The level of a line. */
export function levelOf(labels: Labels, line: string): Level {
  for (const label of LABELS) {
    const level = named(labels[label] ?? "");
    if (level !== null) return level;
  }
  // A colour right before the word would hide where the word begins.
  const head = line.slice(0, HEAD_MAX_CHARS).replace(COLOURS, " ");
  const klog = KLOG.exec(head)?.[1];
  if (klog !== undefined) {
    return klog === "E" ? "error" : klog === "W" ? "warn" : klog === "F" ? "fatal" : "info";
  }
  const name = FIELD.exec(head)?.[1] ?? WORD.exec(head)?.[1];
  return named(name ?? "") ?? "unknown";
}
