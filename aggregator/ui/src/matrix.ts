/**
 * Range results as columns over one time axis, and their refresh. Pure. The one rule: all points
 * lie on the grid of the step, so new points replace old ones by their place and nothing is sorted.
 */
import type { Labels } from "./format";
import type { Grid } from "./time";

/** One series as the query APIs write it. */
export interface Series {
  metric: Labels;
  values: readonly (readonly [number, string])[];
}

export type Point = number | null;

/** Series over a common time axis: `points[i]` belongs to `times[i]`. */
export interface Columns {
  grid: Grid;
  times: number[];
  series: { labels: Labels; points: Point[] }[];
}

/** A sample's value: the APIs write numbers as text, with `+Inf`, `-Inf` and `NaN`. */
export function parseValue(text: string): number {
  if (text === "+Inf" || text === "Inf") return Infinity;
  return text === "-Inf" ? -Infinity : Number(text);
}

function toPoint(text: string): Point {
  const value = parseValue(text);
  return Number.isFinite(value) ? value : null;
}

/** Lays series out on the grid; points off the grid go to the nearest place. */
export function toColumns(grid: Grid, series: readonly Series[]): Columns {
  const { start_s, end_s, step_s } = grid;
  const count = Math.max(0, Math.round((end_s - start_s) / step_s) + 1);
  const times = Array.from({ length: count }, (_, at) => start_s + at * step_s);
  return {
    grid,
    times,
    series: series.map(({ metric, values }) => {
      const points: Point[] = new Array<Point>(count).fill(null);
      for (const [time_s, text] of values) {
        const at = Math.round((time_s - start_s) / step_s);
        if (at >= 0 && at < count) points[at] = toPoint(text);
      }
      return { labels: metric, points };
    }),
  };
}

/** Points that are fetched again on a refresh: the newest may have been incomplete. */
export const OVERLAP_S = 90;

/**
 * Where a refresh of `old` to `grid` has to start, or null when everything must be fetched.
 */
export function tailStart(old: Columns | null, grid: Grid): number | null {
  if (old === null || old.grid.step_s !== grid.step_s) return null;
  if (old.grid.end_s > grid.end_s || old.grid.start_s > grid.start_s) return null;
  const overlap = Math.ceil(OVERLAP_S / grid.step_s) * grid.step_s;
  const start = old.grid.end_s - overlap;
  return start > grid.start_s ? start : null;
}

/** `old` moved on to `grid`, with everything from `tail_start_s` on taken from `tail`. */
export function mergeTail(old: Columns, tail: readonly Series[], tail_start_s: number, grid: Grid): Columns {
  const merged = toColumns(grid, tail);
  const shift = Math.round((grid.start_s - old.grid.start_s) / grid.step_s);
  const kept = Math.round((tail_start_s - grid.start_s) / grid.step_s);
  const byName = new Map(merged.series.map((series) => [keyOf(series.labels), series]));
  for (const before of old.series) {
    const points = before.points.slice(shift, shift + kept);
    if (points.every((point) => point === null)) continue;
    const key = keyOf(before.labels);
    let series = byName.get(key);
    if (series === undefined) {
      series = { labels: before.labels, points: merged.times.map(() => null) };
      byName.set(key, series);
      merged.series.push(series);
    }
    for (const [at, point] of points.entries()) series.points[at] = point;
  }
  return merged;
}

/** Text that is equal for equal label sets. */
export function keyOf(labels: Labels): string {
  return JSON.stringify(Object.entries(labels).sort(([a], [b]) => (a < b ? -1 : 1)));
}
