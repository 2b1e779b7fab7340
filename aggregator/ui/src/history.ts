/** Queries that were run, newest first, kept in the browser. It works on when storage is refused. */
import type { Language } from "./state";

export interface Past {
  language: Language;
  query: string;
}

const KEY = "kansoku.history";
const ENTRIES_MAX = 50;

/** What `text` (the stored JSON) holds; anything odd in it is left out. */
export function parseHistory(text: string | null): Past[] {
  let list: unknown;
  try {
    list = JSON.parse(text ?? "[]");
  } catch {
    return [];
  }
  if (!Array.isArray(list)) return [];
  return list
    .filter(
      (item): item is Past =>
        typeof item?.query === "string" && (item.language === "promql" || item.language === "logql"),
    )
    .slice(0, ENTRIES_MAX);
}

/** The history with `past` in front, once. */
export function withPast(history: readonly Past[], past: Past): Past[] {
  const others = history.filter(({ language, query }) => language !== past.language || query !== past.query);
  return [past, ...others].slice(0, ENTRIES_MAX);
}

export function loadHistory(): Past[] {
  try {
    return parseHistory(localStorage.getItem(KEY));
  } catch {
    return [];
  }
}

export function remember(past: Past): void {
  try {
    localStorage.setItem(KEY, JSON.stringify(withPast(loadHistory(), past)));
  } catch {
    // A browser that stores nothing has no history; that is its user's choice.
  }
}
