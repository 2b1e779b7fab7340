/** From query results to a chart's lines: names, colours and order. Pure. */
import type { Line } from "./chart";
import { shortNames, type Labels } from "./format";
import type { Columns, Point } from "./matrix";
import type { ChartPanel } from "./panels";

/** How the series of a query are drawn. */
interface LineQuery {
  name: (labels: Labels) => string;
  below?: boolean;
  faint?: boolean;
  dashed?: boolean;
}

/** Lines of a panel's queries, not coloured yet; `all` holds one result per query. */
function linesOf(queries: readonly LineQuery[], all: readonly Columns[]): Line[] {
  return all.flatMap(({ series }, at): Line[] => {
    const query = queries[at];
    if (query === undefined) return [];
    const { name, below, faint, dashed } = query;
    return series.map(({ labels, points }) => ({
      name: name(labels),
      labels,
      points,
      color: 0,
      ...(below === undefined ? {} : { below }),
      ...(faint === undefined ? {} : { faint }),
      ...(dashed === undefined ? {} : { dashed }),
    }));
  });
}

/** Gives lines about the same thing the same colour; above and below zero tell them apart. */
function paint(lines: readonly Line[], subjects: string[], subjectOf: (line: Line) => string): void {
  const mirrored = lines.some((line) => line.below === true);
  for (const line of lines) {
    const subject = subjectOf(line);
    if (!subjects.includes(subject)) subjects.push(subject);
    line.color = subjects.indexOf(subject);
    if (mirrored) line.below ??= false;
  }
}

/** Lines of a panel of the start page. */
export function orderLines(panel: ChartPanel, all: readonly Columns[]): Line[] {
  const lines = linesOf(panel.queries, all);
  const order = panel.order();
  const rank = ({ name }: Line): number => {
    const at = order.indexOf(name);
    return at < 0 ? order.length : at;
  };
  lines.sort((a, b) => rank(a) - rank(b) || (a.name < b.name ? -1 : 1));
  // What is read from and written to one device has one colour.
  const mirrored = lines.some((line) => line.below === true);
  paint(lines, [...order], ({ labels, name }) => (mirrored ? (labels["device"] ?? name) : name));
  return lines;
}

/** Lines of a pod's panel: a container has one colour, whatever of it is drawn. */
export function podLines(queries: readonly LineQuery[], all: readonly Columns[]): Line[] {
  const lines = linesOf(queries, all);
  const subjectOf = ({ labels }: Line): string => labels["container"] ?? labels["interface"] ?? "";
  paint(lines, [...new Set(lines.map(subjectOf))].sort(), subjectOf);
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
