/** Dashboards that an earlier version kept in the browser: they can be moved into the aggregator. */

const KEY = "kansoku.dashboards";

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

export function forget(name: string): void {
  const { [name]: _, ...rest } = keptBoards();
  try {
    localStorage.setItem(KEY, JSON.stringify(rest));
  } catch {
    // What cannot be written was not kept either.
  }
}
