/**
 * What can be completed at the caret of a LogQL query. Pure: names come from the caller. It reads
 * only the text before the caret and is content to offer nothing.
 */

export type Wanted = { kind: "name" } | { kind: "label" } | { kind: "value"; label: string };

export interface Context {
  wanted: Wanted;
  /** The part of the word before the caret. */
  prefix: string;
  /** Where that word begins. */
  start: number;
}

/** Words of the language itself. */
export const WORDS: readonly string[] =
  "absent_over_time avg avg_over_time bottomk by bytes_over_time bytes_rate count count_over_time decolorize drop first_over_time json keep label_format last_over_time line_format logfmt max max_over_time min min_over_time pattern quantile_over_time rate regexp sum sum_over_time topk unpack unwrap without".split(
    " ",
  );

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
    } else if (char === '"' || char === "`") quote = i;
    else if (char === "{") brace = i;
    else if (char === "}") brace = -1;
  }
  return { brace, quote };
}

/** What the caret asks for; null where nothing can be completed. */
export function contextAt(text: string, caret: number): Context | null {
  const before = text.slice(0, caret);
  const { brace, quote } = scan(before);
  if (quote >= 0) {
    const label = brace < 0 ? null : /(\w+)\s*(?:=~|!~|!=|=)\s*$/.exec(before.slice(brace, quote));
    if (label === null) return null;
    const wanted: Wanted = { kind: "value", label: label[1] ?? "" };
    return { wanted, prefix: before.slice(quote + 1), start: quote + 1 };
  }
  const word = /[a-zA-Z_]\w*$/.exec(before)?.[0] ?? "";
  const start = caret - word.length;
  // Digits before the word make it a duration such as 5m.
  if (/\w$/.test(before.slice(0, start))) return null;
  if (brace >= 0) {
    const inside = before.slice(brace + 1, start);
    return /(^|,)\s*$/.test(inside) ? { wanted: { kind: "label" }, prefix: word, start } : null;
  }
  if (/\b(?:by|without|on|ignoring|group_left|group_right)\s*\([^()]*$/.test(before.slice(0, start))) {
    return { wanted: { kind: "label" }, prefix: word, start };
  }
  return word === "" ? null : { wanted: { kind: "name" }, prefix: word, start };
}
