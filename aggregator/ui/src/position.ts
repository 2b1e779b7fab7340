/**
 * Where an error message points into a query. Pure. Knows the wording of Prometheus
 * (`1:5: parse error`) and Loki (`parse error at line 1, col 5`); a message without a place is
 * shown without a marker, never with a guessed one.
 */

export interface Position {
  /** Counted from 1. */
  line: number;
  column: number;
}

const FORMS = [
  /(\d+):(\d+): parse error/,
  /at line (\d+), col(?:umn)? (\d+)/,
  /line (\d+),? col(?:umn)?:? (\d+)/,
  /^(\d+):(\d+): /,
];

/** The place that `message` names, when `query` has such a place. */
export function findPosition(message: string, query: string): Position | null {
  for (const form of FORMS) {
    const match = form.exec(message);
    if (match === null) continue;
    const line = Number(match[1]);
    const column = Number(match[2]);
    const text = query.split("\n")[line - 1];
    if (text !== undefined && column >= 1 && column <= text.length + 1) return { line, column };
  }
  return null;
}

/** The line of `query` that is meant, and a line below it with `^` under the column. */
export function marker(query: string, { line, column }: Position): string {
  const text = query.split("\n")[line - 1] ?? "";
  // Tabs stay tabs, so that the marker stands where the character stands.
  const indent = text.slice(0, column - 1).replace(/[^\t]/g, " ");
  return `${text}\n${indent}^`;
}
