/** A chart the height of a line of text. Its numbers are read aloud by the cell that holds it. */
import type { Point } from "./matrix";

const WIDTH = 72;
const HEIGHT = 18;

/** Corner points of the line, one list for each stretch without a gap. Pure. */
export function stretches(points: readonly Point[], least = 0): string[] {
  const known = points.filter((point) => point !== null);
  const top = Math.max(least, ...known);
  const across = WIDTH / Math.max(1, points.length - 1);
  const lines: string[] = [];
  let line: string[] = [];
  for (const [at, point] of points.entries()) {
    if (point === null) {
      if (line.length > 0) lines.push(line.join(" "));
      line = [];
      continue;
    }
    const y = top > 0 ? HEIGHT - 1 - (point / top) * (HEIGHT - 3) : HEIGHT - 1;
    line.push(`${Math.round(at * across * 10) / 10},${Math.round(y * 10) / 10}`);
  }
  if (line.length > 0) lines.push(line.join(" "));
  return lines;
}

export function Spark({
  points,
  least,
  bad = false,
}: {
  points: readonly Point[];
  least?: number;
  bad?: boolean;
}) {
  return (
    <svg class={bad ? "spark bad" : "spark"} viewBox={`0 0 ${WIDTH} ${HEIGHT}`} aria-hidden="true">
      {stretches(points, least).map((line, at) => (
        <polyline key={at} points={line} />
      ))}
    </svg>
  );
}
