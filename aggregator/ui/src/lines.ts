/** From query results to a chart's lines: names, colours and order. Pure. */
import type { Line } from "./chart";
import { shortNames } from "./format";
import type { Columns, Point } from "./matrix";
import type { ChartPanel } from "./panels";

/** Lines of a panel of the start page; `all` holds one result per query. */
export function orderLines(panel: ChartPanel, all: readonly Columns[]): Line[] {
  const lines = all.flatMap(({ series }, at): Line[] => {
    const query = panel.queries[at];
    if (query === undefined) return [];
    return series.map(({ labels, points }) => ({
      name: query.name(labels),
      labels,
      points,
      color: 0,
      ...(query.below === undefined ? {} : { below: query.below }),
      ...(query.faint === undefined ? {} : { faint: query.faint }),
    }));
  });
  const rank = ({ name }: Line): number => {
    const at = panel.order.indexOf(name);
    return at < 0 ? panel.order.length : at;
  };
  lines.sort((a, b) => rank(a) - rank(b) || (a.name < b.name ? -1 : 1));
  // What is read from and written to one device has one colour: above and below tell them apart.
  const subjects: string[] = [...panel.order];
  const mirrored = lines.some((line) => line.below === true);
  for (const line of lines) {
    const subject = mirrored ? (line.labels["device"] ?? line.name) : line.name;
    if (!subjects.includes(subject)) subjects.push(subject);
    line.color = subjects.indexOf(subject);
    if (mirrored) line.below ??= false;
  }
  return lines;
}

/** Lines of any query's result. */
export function plainLines({ series }: Columns): Line[] {
  const names = shortNames(series.map(({ labels }) => labels));
  return series.map(({ labels, points }, at) => ({ name: names[at] ?? "", labels, points, color: at }));
}

/** The newest point that is there. */
export function lastPoint({ points }: Line): Point {
  return points.findLast((point) => point !== null) ?? null;
}
