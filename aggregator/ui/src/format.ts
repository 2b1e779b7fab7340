/**
 * Numbers and label sets as text. Pure. The one rule: what is written for people is short, what is
 * written as a query is exact and quoted.
 */

export type Labels = Readonly<Record<string, string>>;

export type KnownUnit = "plain" | "fraction" | "bytes" | "bytes_per_second" | "cores" | "seconds";

/** A unit that the page knows, or how to write a value. */
export type Unit = KnownUnit | ((value: number) => string);

const BINARY = ["B", "KiB", "MiB", "GiB", "TiB", "PiB", "EiB"];
const DECIMAL = ["", "k", "M", "G", "T", "P"];

function trim(value: number): string {
  const digits = value >= 100 ? 0 : value >= 10 ? 1 : 2;
  return String(Number(value.toFixed(digits)));
}

/** Bytes in powers of 1024. */
export function formatBytes(value: number): string {
  let size = Math.abs(value);
  let at = 0;
  while (size >= 1024 && at < BINARY.length - 1) {
    size /= 1024;
    at += 1;
  }
  return `${value < 0 ? "-" : ""}${trim(size)} ${BINARY[at]}`;
}

/** A number without unit: `1.2M`, `0.034`, `1e-9`. */
export function formatPlain(value: number): string {
  if (Number.isNaN(value)) return "NaN";
  if (!Number.isFinite(value)) return value > 0 ? "+Inf" : "-Inf";
  const size = Math.abs(value);
  if (size === 0) return "0";
  if (size < 1e-4 || size >= 1e18) return value.toExponential(2);
  if (size < 1) return String(Number(value.toPrecision(3)));
  let scaled = size;
  let at = 0;
  while (scaled >= 1000 && at < DECIMAL.length - 1) {
    scaled /= 1000;
    at += 1;
  }
  return `${value < 0 ? "-" : ""}${trim(scaled)}${DECIMAL[at]}`;
}

/** A span of time in the unit that reads best: `12 ms`, `3.4 s`, `5 min`. */
function formatSeconds(value: number): string {
  const size = Math.abs(value);
  if (size === 0) return "0 s";
  if (size < 1e-3) return `${trim(value * 1e6)} µs`;
  if (size < 1) return `${trim(value * 1e3)} ms`;
  if (size < 120) return `${trim(value)} s`;
  if (size < 7200) return `${trim(value / 60)} min`;
  return size < 172_800 ? `${trim(value / 3600)} h` : `${trim(value / 86_400)} d`;
}

/** A value in its unit. */
export function formatValue(value: number, unit: Unit): string {
  if (typeof unit === "function") return unit(value);
  if (!Number.isFinite(value)) return formatPlain(value);
  switch (unit) {
    case "fraction":
      return `${trim(value * 100)}%`;
    case "bytes":
      return formatBytes(value);
    case "bytes_per_second":
      return `${formatBytes(value)}/s`;
    case "cores":
      return value !== 0 && Math.abs(value) < 1 ? `${trim(value * 1000)}m` : trim(value);
    case "seconds":
      return formatSeconds(value);
    case "plain":
      return formatPlain(value);
  }
}

/** The text of a JSON string is also a PromQL and LogQL string. */
export function quote(text: string): string {
  return JSON.stringify(text);
}

/** `name{a="b", c="d"}`, labels in order of their names. */
export function formatLabels(labels: Labels): string {
  const { __name__: name = "", ...rest } = labels;
  const pairs = Object.entries(rest).sort(([a], [b]) => (a < b ? -1 : 1));
  if (pairs.length === 0) return name || "{}";
  return `${name}{${pairs.map(([key, value]) => `${key}=${quote(value)}`).join(", ")}}`;
}

/** Names for many label sets at once: what is equal in all of them is left out. */
export function shortNames(all: readonly Labels[]): string[] {
  const first = all[0];
  if (first === undefined) return [];
  if (all.length === 1) return [formatLabels(first)];
  const shared = new Set(
    Object.keys(first).filter((key) => all.every((labels) => labels[key] === first[key])),
  );
  return all.map((labels) => {
    const rest = Object.entries(labels).filter(([key]) => !shared.has(key));
    return formatLabels(Object.fromEntries(rest));
  });
}

/** A selector that matches exactly these labels. */
export function selector(labels: Labels): string {
  return formatLabels(labels).replace(/^[^{]*(?=\{)/, "");
}

/** The unit of a query's result, guessed from the names in it: metrics say their unit last. */
export function unitOf(query: string): KnownUnit {
  if (/\b(count|count_over_time|changes|resets)\b|\//.test(query)) return "plain";
  if (/\bbytes_rate\b/.test(query)) return "bytes_per_second";
  if (/_seconds\b/.test(query)) return "seconds";
  if (!/_bytes(_total)?\b|\bbytes_over_time\b/.test(query)) return "plain";
  return /\b(rate|irate|deriv)\b/.test(query) ? "bytes_per_second" : "bytes";
}
