/** Asks for lines, older lines and the histogram above them. */
import { ApiError, labelNames, queryLines, queryLogs, type LogResult, type Run } from "../api";
import type { Line } from "../chart";
import { toColumns } from "../matrix";
import { logSelectors } from "../panels";
import { chooseStep, gridOf, type Grid, type Window } from "../time";
import { entriesOf, type Entry } from "./entries";
import { LEVELS, levelOfCount, type Level } from "./level";
import { isLogQuery, levelQuery, selectorAndFilters, volumeQuery } from "./logql";

/** Bars thinner than this cannot be told apart. */
const BAR_PX = 8;

/** A window in nanoseconds; the newest second is not over yet and is looked into. */
export function spanOf({ range_s, end_s }: Window, now_s: number): { start_ns: string; end_ns: string } {
  const end = end_s ?? Math.floor(now_s) + 2;
  return { start_ns: `${end - range_s}000000000`, end_ns: `${end}000000000` };
}

/** A query that shows something when none was asked: all lines of the most telling label. */
export async function firstQuery(run: Run): Promise<string | null> {
  const names = (await labelNames("loki/api", run.signal)).filter((name) => !name.startsWith("__"));
  return logSelectors(names, "")[0] ?? null;
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
  const past = gridOf(window, step_s, Date.now() / 1000);
  // The newest bar counts a step that is not over: without it the newest lines had no bar.
  const grid = window.end_s === null ? { ...past, end_s: past.end_s + step_s } : past;
  // A whole pipeline may not be countable (lines that fail to parse); its filters always are.
  const attempts = [levelQuery(query, step_s), levelQuery(selected, step_s), volumeQuery(selected, step_s)];
  for (const text of new Set(attempts)) {
    try {
      const { data } = await queryLogs(text, grid, 1, run);
      if (data.resultType !== "matrix") continue;
      const columns = toColumns(grid, data.result);
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
      return { grid, times: columns.times, lines };
    } catch (error) {
      if (!(error instanceof ApiError) || error.kind === "network") throw error;
    }
  }
  return null;
}

function sum(a: number | null, b: number | null): number | null {
  return a === null ? b : b === null ? a : a + b;
}
