/** Imported dashboards, kept in the browser as the JSON that they were. */

const KEY = "kansoku.dashboards";
/** A browser keeps some 5 MB of text for a page. */
const BOARDS_MAX = 20;
const BYTES_MAX = 4_000_000;

/** Names and JSON; odd things in the storage are left out. */
export function parseKept(stored: string | null): Record<string, string> {
  try {
    const value: unknown = JSON.parse(stored ?? "{}");
    if (typeof value !== "object" || value === null || Array.isArray(value)) return {};
    return Object.fromEntries(
      Object.entries(value).filter((pair): pair is [string, string] => typeof pair[1] === "string"),
    );
  } catch {
    return {};
  }
}

export function keptBoards(): Record<string, string> {
  try {
    return parseKept(localStorage.getItem(KEY));
  } catch {
    return {};
  }
}

/** Keeps a dashboard; false when there is no more room for it. */
export function keep(name: string, json: string): boolean {
  const next = { ...keptBoards(), [name]: json };
  const text = JSON.stringify(next);
  if (Object.keys(next).length > BOARDS_MAX || text.length > BYTES_MAX) return false;
  try {
    localStorage.setItem(KEY, text);
    return true;
  } catch {
    return false;
  }
}

export function forget(name: string): void {
  const { [name]: _, ...rest } = keptBoards();
  try {
    localStorage.setItem(KEY, JSON.stringify(rest));
  } catch {
    // What cannot be written was not kept either.
  }
}

/** A name for the address: letters, digits and dashes. */
export function slug(title: string): string {
  const text = title
    .toLowerCase()
    .replace(/[^\p{L}\p{N}]+/gu, "-")
    .replace(/^-|-$/g, "")
    .slice(0, 60);
  return text || "dashboard";
}
