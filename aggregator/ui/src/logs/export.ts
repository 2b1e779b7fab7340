/** Lines as a file: JSON lines, CSV or plain text. Pure but for the last function. */
import type { Entry } from "./entries";
import { isoNanoseconds } from "../time";

export const FORMATS = ["json", "csv", "text"] as const;
export type Format = (typeof FORMATS)[number];

const TYPES: Readonly<Record<Format, string>> = {
  json: "application/x-ndjson",
  csv: "text/csv",
  text: "text/plain",
};
const ENDINGS: Readonly<Record<Format, string>> = { json: "jsonl", csv: "csv", text: "txt" };

/** A spreadsheet takes text that begins so for a formula, and runs it. */
const FORMULA = /^[=+\-@\t\r]/;

function cell(text: string): string {
  const safe = FORMULA.test(text) ? `'${text}` : text;
  return /[",\r\n]/.test(safe) ? `"${safe.replaceAll('"', '""')}"` : safe;
}

/** The text of the file. */
export function exported(entries: readonly Entry[], format: Format): string {
  if (format === "text") return entries.map(({ line }) => `${line}\n`).join("");
  if (format === "json") {
    return entries
      .map(({ time_ns, stream, fields, line }) =>
        JSON.stringify({ time: isoNanoseconds(time_ns), line, stream, fields }),
      )
      .map((text) => `${text}\n`)
      .join("");
  }
  const names = [
    ...new Set(entries.flatMap(({ stream, fields }) => Object.keys({ ...stream, ...fields }))),
  ].sort();
  const rows = entries.map(({ time_ns, stream, fields, line }) => {
    const labels: Record<string, string> = { ...stream, ...fields };
    return [isoNanoseconds(time_ns), ...names.map((name) => labels[name] ?? ""), line];
  });
  return [["time", ...names, "line"], ...rows].map((row) => `${row.map(cell).join(",")}\r\n`).join("");
}

/** Has the browser save the file. */
export function save(entries: readonly Entry[], format: Format): void {
  const url = URL.createObjectURL(new Blob([exported(entries, format)], { type: TYPES[format] }));
  const anchor = document.createElement("a");
  anchor.href = url;
  anchor.download = `logs.${ENDINGS[format]}`;
  anchor.click();
  // The download has taken its own hold of the data by then.
  setTimeout(() => URL.revokeObjectURL(url), 10_000);
}
