/**
 * The rows of a heat map. Pure. Buckets of a histogram (label `le`) are put in order and told apart
 * from those below them.
 */
import { formatPlain } from "../format";
import { parseValue, type Columns, type Point } from "../matrix";

/** More rows are thinner than a pixel line. */
const ROWS_MAX = 120;

export interface HeatRow {
  name: string;
  points: Point[];
}

/** Rows from the bottom up. Pure. */
export function heatRows(columns: Columns, names: readonly string[]): HeatRow[] {
  const buckets =
    columns.series.length > 0 && columns.series.every(({ labels }) => labels["le"] !== undefined);
  if (!buckets)
    return columns.series.map(({ points }, at) => ({ name: names[at] ?? "", points })).slice(0, ROWS_MAX);
  // Buckets of several histograms with the same bound are one.
  const byBound = new Map<number, Point[]>();
  for (const { labels, points } of columns.series) {
    const bound = parseValue(labels["le"] ?? "");
    const before = byBound.get(bound);
    byBound.set(
      bound,
      before === undefined ? points : points.map((point, at) => add(point, before[at] ?? null)),
    );
  }
  const sorted = [...byBound].sort(([a], [b]) => a - b);
  return sorted.slice(0, ROWS_MAX).map(([bound, points], at) => {
    const below = sorted[at - 1]?.[1];
    // Counts are cumulative; what the scrape caught between two buckets may be a little negative.
    const own = points.map((point, column) =>
      point === null ? null : Math.max(0, point - (below?.[column] ?? 0)),
    );
    return { name: `≤ ${Number.isFinite(bound) ? formatPlain(bound) : "∞"}`, points: own };
  });
}

function add(a: Point, b: Point): Point {
  return a === null ? b : b === null ? a : a + b;
}
