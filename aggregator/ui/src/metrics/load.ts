/** Asks for the results of several queries, and of the same queries at an earlier time. */
import { queryInstant, queryRange, SERIES_MAX, type MetricResult, type Run } from "../api";
import type { Line } from "../chart";
import { shortNames } from "../format";
import { toColumns, type Columns } from "../matrix";
import { chooseStep, gridOf, parseDuration, type Grid, type Window } from "../time";

/** Letters by which the queries of the page are called. */
export const LETTERS = ["A", "B", "C", "D", "E"] as const;

/** One query's answer or the reason why there is none. */
export interface Answer<T> {
  query: string;
  letter: string;
  data: T | null;
  notes: string[];
  error: Error | null;
}

async function each<T>(
  queries: readonly string[],
  run: Run,
  ask: (query: string) => Promise<{ data: T; notes: string[] }>,
): Promise<Answer<T>[]> {
  return Promise.all(
    queries.map(async (query, at): Promise<Answer<T>> => {
      const letter = LETTERS[at] ?? "";
      try {
        return { query, letter, ...(await ask(query)), error: null };
      } catch (error) {
        if (run.signal.aborted) throw error;
        const known = error instanceof Error ? error : new Error(String(error));
        return { query, letter, data: null, notes: [], error: known };
      }
    }),
  );
}

export interface Ranges {
  grid: Grid;
  now: Answer<Columns>[];
  /** The same at the earlier time, laid over the window; empty when nothing is compared. */
  before: Answer<Columns>[];
}

/** All queries over the window; `compare` is how much earlier, such as `1d`. */
export async function loadRanges(
  queries: readonly string[],
  window: Window,
  compare: string,
  width_px: number,
  run: Run,
): Promise<Ranges> {
  const grid = gridOf(window, chooseStep(window.range_s, width_px), Date.now() / 1000);
  const now = each(queries, run, async (query) => {
    const { data, notes } = await queryRange(query, grid, run, SERIES_MAX);
    return { data: toColumns(grid, data), notes };
  });
  const shift_s = parseDuration(compare);
  if (shift_s === null) return { grid, now: await now, before: [] };
  // Whole steps, so that the earlier points fall on the same grid.
  const by_s = Math.max(1, Math.round(shift_s / grid.step_s)) * grid.step_s;
  const earlier = { ...grid, start_s: grid.start_s - by_s, end_s: grid.end_s - by_s };
  const before = each(queries, run, async (query) => {
    const { data, notes } = await queryRange(query, earlier, run, SERIES_MAX);
    const columns = toColumns(earlier, data);
    return { data: { ...columns, grid, times: columns.times.map((time_s) => time_s + by_s) }, notes };
  });
  return { grid, now: await now, before: await before };
}

/** All queries at one moment. */
export function loadInstants(
  queries: readonly string[],
  time_s: number,
  run: Run,
): Promise<Answer<MetricResult>[]> {
  return each(queries, run, (query) => queryInstant(query, time_s, run, SERIES_MAX));
}

/** Lines of all answers; the letter says whose they are when there are several. Pure. */
export function linesOf(
  now: readonly Answer<Columns>[],
  before: readonly Answer<Columns>[],
  compare: string,
): Line[] {
  const several = now.length > 1;
  const lines: Line[] = [];
  const colours = new Map<string, number>();
  const take = (answers: readonly Answer<Columns>[], dashed: boolean): void => {
    for (const { data, letter } of answers) {
      const series = data?.series ?? [];
      const names = shortNames(series.map(({ labels }) => labels));
      for (const [at, { labels, points }] of series.entries()) {
        const name = `${several ? `${letter} ` : ""}${names[at] ?? ""}`;
        const color = colours.get(name) ?? colours.size;
        colours.set(name, color);
        lines.push({
          name: dashed ? `${name} − ${compare}` : name,
          labels,
          points,
          color,
          ...(dashed ? { dashed } : {}),
        });
      }
    }
  };
  take(now, false);
  take(before, true);
  return lines;
}
