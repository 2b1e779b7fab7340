/**
 * Durations, steps and clock text. Pure: now is an argument. The one rule: seconds unless the name
 * says otherwise, and every window lies on the grid of its step so that refreshed data lines up.
 */

/** A span of time that ends at `end_s`, or now when that is null. */
export interface Window {
  range_s: number;
  end_s: number | null;
}

/** A window with its ends fixed to multiples of the step. */
export interface Grid {
  start_s: number;
  end_s: number;
  step_s: number;
  /** The window's own end, to the second: where something is asked for one moment. */
  at_s: number;
}

const UNITS: readonly ["w" | "d" | "h" | "m" | "s", number][] = [
  ["w", 604800],
  ["d", 86400],
  ["h", 3600],
  ["m", 60],
  ["s", 1],
];

/** Steps that people can read off an axis. */
const STEPS = [
  1, 2, 5, 10, 15, 20, 30, 60, 120, 300, 600, 900, 1800, 3600, 7200, 14400, 21600, 43200, 86400, 172800,
  604800,
];

/** `1h30m` in seconds; null when it is no duration. */
export function parseDuration(text: string): number | null {
  if (!/^(\d+[wdhms])+$/.test(text)) return null;
  let total = 0;
  for (const [, count, unit] of text.matchAll(/(\d+)([wdhms])/g)) {
    total += Number(count) * (UNITS.find(([name]) => name === unit)?.[1] ?? 0);
  }
  return total > 0 && Number.isSafeInteger(total) ? total : null;
}

/** Seconds as counts of days, hours, minutes and seconds, largest first and without zeros. */
export function unitsOf(seconds: number): { unit: "d" | "h" | "m" | "s"; count: number }[] {
  let rest = Math.max(1, Math.round(seconds));
  const parts: { unit: "d" | "h" | "m" | "s"; count: number }[] = [];
  for (const [unit, size] of UNITS) {
    if (unit === "w") continue;
    const count = Math.floor(rest / size);
    if (count > 0) parts.push({ unit, count });
    rest -= count * size;
  }
  return parts;
}

/** Seconds as `1h30m`, as queries and addresses write them. */
export function formatDuration(seconds: number): string {
  return unitsOf(seconds)
    .map(({ unit, count }) => `${count}${unit}`)
    .join("");
}

/** The smallest readable step that gives at most one point every three pixels. */
export function chooseStep(range_s: number, width_px: number, least_s = 1): number {
  const points = Math.max(50, Math.floor(width_px / 3));
  const wanted = Math.max(least_s, range_s / points);
  return STEPS.find((step) => step >= wanted) ?? Math.ceil(wanted / 604800) * 604800;
}

/**
 * The window on the grid of `step_s`: the last point is not in the future. It lies on a multiple of
 * `align_s`, so with one that is shorter than the step the points move along, and the last is fresh.
 */
export function gridOf(window: Window, step_s: number, now_s: number, align_s = step_s): Grid {
  const at_s = Math.floor(window.end_s ?? now_s);
  const end_s = Math.floor(at_s / align_s) * align_s;
  const start_s = end_s - Math.ceil(window.range_s / step_s) * step_s;
  return { start_s, end_s, step_s, at_s };
}

/** The grid of sparklines in tables: their last points show data that is only seconds old. */
export function tableGrid(window: Window, step_s: number): Grid {
  return gridOf(window, step_s, Date.now() / 1000, Math.min(step_s, 5));
}

/** The range of `rate(…[w])`: at least four scrapes of 15 s, and no gap between two steps. */
export function rateWindow(step_s: number): string {
  return formatDuration(Math.max(60, step_s + 15));
}

const two = (n: number): string => String(n).padStart(2, "0");

/** Local clock time of an axis tick that stands `increment_s` from its neighbours. */
export function formatTick(time_s: number, increment_s: number): string {
  const date = new Date(time_s * 1000);
  const clock = `${two(date.getHours())}:${two(date.getMinutes())}`;
  if (increment_s < 60) return `${clock}:${two(date.getSeconds())}`;
  if (increment_s < 86400 && (date.getHours() !== 0 || date.getMinutes() !== 0)) return clock;
  return `${two(date.getMonth() + 1)}-${two(date.getDate())}`;
}

/** The zone in which times are shown, such as `Asia/Tokyo, UTC+09:00`; they are the browser's. */
export function zoneName(date = new Date()): string {
  const ahead_min = -date.getTimezoneOffset();
  const off = Math.abs(ahead_min);
  const offset = off === 0 ? "UTC" : `UTC${ahead_min < 0 ? "−" : "+"}${two(Math.floor(off / 60))}:${two(off % 60)}`;
  const zone = Intl.DateTimeFormat().resolvedOptions().timeZone;
  return zone === undefined || /^(Etc\/)?(UTC|GMT|UCT|Zulu)$/.test(zone) ? offset : `${zone}, ${offset}`;
}

/** Local date and time to the second. */
export function formatMoment(time_s: number): string {
  const d = new Date(time_s * 1000);
  const day = `${d.getFullYear()}-${two(d.getMonth() + 1)}-${two(d.getDate())}`;
  return `${day} ${two(d.getHours())}:${two(d.getMinutes())}:${two(d.getSeconds())}`;
}

/** Local clock time of Unix nanoseconds (a decimal string, as Loki writes them) to the millisecond. */
export function formatNanoseconds(time_ns: string): string {
  const milliseconds = Number(BigInt(time_ns) / 1_000_000n);
  const d = new Date(milliseconds);
  const clock = `${two(d.getHours())}:${two(d.getMinutes())}:${two(d.getSeconds())}`;
  return `${clock}.${String(((milliseconds % 1000) + 1000) % 1000).padStart(3, "0")}`;
}

/** Unix nanoseconds as UTC with all nine digits. */
export function isoNanoseconds(time_ns: string): string {
  const time = BigInt(time_ns);
  const seconds = new Date(Number(time / 1_000_000n)).toISOString().slice(0, 19);
  return `${seconds}.${(time % 1_000_000_000n).toString().padStart(9, "0")}Z`;
}
