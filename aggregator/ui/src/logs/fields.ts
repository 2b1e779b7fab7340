/** The fields of many lines with their most frequent values. Pure. */
import type { Entry } from "./entries";
import { parsedFields } from "./entries";
import type { Parser } from "./logql";

/** Only so many lines are looked at: taking a line apart costs time. */
export const LINES_MAX = 5000;
/** Distinct values that are counted; a field with more is an identifier of something. */
const VALUES_MAX = 2000;
/** Fields that are kept. */
const FIELDS_MAX = 120;

export interface Field {
  name: string;
  /** Where a condition on it goes: the stream selector, or behind a parser. */
  kind: "stream" | "field";
  parser: Parser;
  /** Lines that have it. */
  count: number;
  values: Map<string, number>;
  /** There are more values than were counted. */
  many: boolean;
}

/** All fields of the newest lines, labels of streams first. */
export function fieldsOf(entries: readonly Entry[]): Field[] {
  const fields = new Map<string, Field>();
  const add = (name: string, value: string, kind: Field["kind"], parser: Parser): void => {
    let field = fields.get(name);
    if (field === undefined) {
      if (fields.size >= FIELDS_MAX) return;
      field = { name, kind, parser, count: 0, values: new Map(), many: false };
      fields.set(name, field);
    }
    // A name that is both is the stream's; the parser's would be called NAME_extracted.
    if (field.kind !== kind) return;
    field.count += 1;
    const known = field.values.get(value);
    if (known !== undefined || field.values.size < VALUES_MAX) field.values.set(value, (known ?? 0) + 1);
    else field.many = true;
  };
  for (const { stream, fields: more, line } of entries.slice(0, LINES_MAX)) {
    for (const [name, value] of Object.entries(stream)) add(name, value, "stream", "");
    for (const [name, value] of Object.entries(more))
      if (!name.startsWith("__")) add(name, value, "field", "");
    const parsed = parsedFields(line);
    for (const [name, value] of parsed.fields)
      if (more[name] === undefined) add(name, value, "field", parsed.parser);
  }
  const rank = { stream: 0, field: 1 };
  return [...fields.values()].sort(
    (a, b) => rank[a.kind] - rank[b.kind] || b.count - a.count || (a.name < b.name ? -1 : 1),
  );
}

/** The most frequent values. */
export function topValues({ values }: Field, count: number): [string, number][] {
  return [...values].sort((a, b) => b[1] - a[1] || (a[0] < b[0] ? -1 : 1)).slice(0, count);
}
