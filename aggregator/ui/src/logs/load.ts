/** Asks for lines, older lines and the histogram above them. */
import {
  ApiError,
  labelNames,
  queryLines,
  queryLogs,
  queryLogsInstant,
  type LogResult,
  type Run,
} from "../api";
import type { Line } from "../chart";
import { toColumns, type Series } from "../matrix";
import { logSelectors } from "../panels";
import { chooseStep, gridOf, type Grid, type Window } from "../time";
import { entriesOf, type Entry } from "./entries";
import { LEVELS, levelOfCount, type Level } from "./level";
import { isLogQuery, levelQuery, selectorAndFilters, volumeQuery } from "./logql";

/** Bars thinner than this cannot be told apart. */
const BAR_PX = 8;

/** The ends of a window in seconds; the newest second is not over yet and is looked into. */
function endsOf({ range_s, end_s }: Window, now_s: number): { start_s: number; end_s: number } {
  const end = end_s ?? Math.floor(now_s) + 2;
  return { start_s: end - range_s, end_s: end };
}

/** A window in nanoseconds: without its first moment and with its last, as everything that is counted. */
export function spanOf(window: Window, now_s: number): { start_ns: string; end_ns: string } {
  const { start_s, end_s } = endsOf(window, now_s);
  return { start_ns: `${start_s}000000001`, end_ns: `${end_s}000000001` };
}

/** The bars of a histogram: each is dated by its end, a multiple of the step. */
export interface Bars {
  /** The bars; what is drawn begins and ends with the window. */
  grid: Grid;
  drawn: Grid;
  /** Bars that lie within the window as a whole, null when there is none. */
  whole: Grid | null;
  /** Those of which only a part does: where they stand, when they are asked for and how much of them. */
  parts: readonly { bar_s: number; at_s: number; length_s: number }[];
}

/** Lays bars over a window, so that together they count its lines and no others. Pure. */
export function barsOf(window: Window, step_s: number, now_s: number): Bars {
  const { start_s, end_s } = endsOf(window, now_s);
  const first_s = (Math.floor(start_s / step_s) + 1) * step_s;
  const last_s = Math.ceil(end_s / step_s) * step_s;
  const grid = { start_s: first_s, end_s: last_s, step_s, at_s: last_s };
  const parts: { bar_s: number; at_s: number; length_s: number }[] = [];
  let { start_s: from_s, end_s: to_s } = grid;
  if (first_s - start_s < step_s) {
    const until_s = Math.min(first_s, end_s);
    parts.push({ bar_s: first_s, at_s: until_s, length_s: until_s - start_s });
    from_s += step_s;
  }
  // The newest bar of a window that goes on is not over, and nothing lies behind the window.
  const ends = window.end_s === null || end_s === last_s;
  if (!ends && last_s > first_s) {
    parts.push({ bar_s: last_s, at_s: end_s, length_s: end_s - last_s + step_s });
  }
  if (!ends) to_s -= step_s;
  return {
    grid,
    drawn: { ...grid, start_s, end_s: window.end_s === null ? last_s : end_s },
    whole: from_s > to_s ? null : { ...grid, start_s: from_s, end_s: to_s, at_s: to_s },
    parts,
  };
}

/**
 * A query that shows something when none was asked: all lines of the most telling label that lines of the window have.
 * Where it has no lines, of those that any lines have.
 */
export async function firstQuery(window: Window, run: Run): Promise<string | null> {
  for (const span of [spanOf(window, Date.now() / 1000), null]) {
    const names = await labelNames("loki/api", run.signal, "", span);
    const [selector] = logSelectors(
      names.filter((name) => !name.startsWith("__")),
      "",
    );
    if (selector !== undefined) return selector;
  }
  return null;
}

export interface Lines {
  query: string;
  entries: Entry[];
  /** Numbers instead of lines, when the query counts. */
  numbers: LogResult | null;
  grid: Grid;
  notes: string[];
}

/** The newest lines of a window. */
export async function loadLines(query: string, window: Window, limit: number, run: Run): Promise<Lines> {
  const now_s = Date.now() / 1000;
  const grid = gridOf(window, chooseStep(window.range_s, 900), now_s);
  if (!isLogQuery(query)) {
    const { data, notes } = await queryLogs(query, grid, limit, run);
    if (data.resultType !== "streams") return { query, entries: [], numbers: data, grid, notes };
    return { query, entries: entriesOf(data.result, limit), numbers: null, grid, notes };
  }
  const { data, notes } = await queryLines(
    query,
    { ...spanOf(window, now_s), limit, direction: "backward" },
    run,
  );
  const entries = data.resultType === "streams" ? entriesOf(data.result, limit) : [];
  return { query, entries, numbers: null, grid, notes };
}

/** Lines before the oldest that is there. */
export async function loadOlder(
  query: string,
  start_ns: string,
  oldest_ns: string,
  limit: number,
  run: Run,
): Promise<Entry[]> {
  // The end is left out: one nanosecond on, the lines of the same moment come again and none is lost.
  const span = { start_ns, end_ns: String(BigInt(oldest_ns) + 1n), limit, direction: "backward" } as const;
  const { data } = await queryLines(query, span, run);
  return data.resultType === "streams" ? entriesOf(data.result, limit) : [];
}

/** Numbers of the colours of levels: those of the style sheet come by name. */
export const LEVEL_TOKENS: Readonly<Record<Level, string>> = {
  fatal: "--fatal",
  error: "--error",
  warn: "--warn",
  info: "--info",
  debug: "--debug",
  trace: "--trace",
  unknown: "--rest",
};

export interface Histogram {
  grid: Grid;
  times: number[];
  lines: Line[];
}

/** Lines per step and level, for a plot of this width. */
export async function loadHistogram(
  query: string,
  window: Window,
  width_px: number,
  run: Run,
): Promise<Histogram | null> {
  const selected = selectorAndFilters(query);
  if (selected === null) return null;
  const step_s = chooseStep(window.range_s, (width_px * 3) / BAR_PX);
  const { grid, drawn, whole, parts } = barsOf(window, step_s, Date.now() / 1000);
  // A whole pipeline may not be countable (lines that fail to parse); its filters always are.
  const attempts = [
    (length_s: number) => levelQuery(query, length_s),
    (length_s: number) => levelQuery(selected, length_s),
    (length_s: number) => volumeQuery(selected, length_s),
  ];
  const asked = new Set<string>();
  for (const text of attempts) {
    if (asked.has(text(step_s))) continue;
    asked.add(text(step_s));
    try {
      const [all, ...some] = await Promise.all([
        whole === null ? null : queryLogs(text(step_s), whole, 1, run),
        ...parts.map(({ at_s, length_s }) => queryLogsInstant(text(length_s), at_s, run)),
      ]);
      if (all !== null && all.data.resultType !== "matrix") continue;
      const series: Series[] = all?.data.resultType === "matrix" ? [...all.data.result] : [];
      some.forEach((samples, at) => {
        const bar_s = parts[at]?.bar_s ?? 0;
        series.push(...samples.map(({ metric, value }) => ({ metric, values: [[bar_s, value[1]] as const] })));
      });
      const columns = toColumns(grid, series);
      const byLevel = new Map<Level, (number | null)[]>();
      for (const { labels, points } of columns.series) {
        const level = levelOfCount(labels);
        const before = byLevel.get(level);
        byLevel.set(
          level,
          before === undefined ? points : points.map((point, at) => sum(point, before[at] ?? null)),
        );
      }
      const lines = LEVELS.flatMap((level, at): Line[] => {
        const points = byLevel.get(level);
        return points === undefined
          ? []
          : [{ name: level, labels: {}, points, color: at, token: LEVEL_TOKENS[level] }];
      });
      return { grid: drawn, times: columns.times, lines };
    } catch (error) {
      if (!(error instanceof ApiError) || error.kind === "network") throw error;
    }
  }
  return null;
}

function sum(a: number | null, b: number | null): number | null {
  return a === null ? b : b === null ? a : a + b;
}
