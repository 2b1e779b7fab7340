/** The numbers of an objective, asked for in PromQL or LogQL. */
import { queryLogs, queryLogsInstant, queryRange, queryVector, type Run } from "../api";
import { parseValue, toColumns, type Point, type Series } from "../matrix";
import type { Grid } from "../time";
import { BURNS, budgetLeft, budgetOf, errorRatio, over, RULE_WINDOWS, type Slo } from "./model";

async function instant(slo: Slo, expression: string, time_s: number, run: Run): Promise<number | null> {
  const ask = slo.language === "promql" ? queryVector : queryLogsInstant;
  const samples = await ask(expression, time_s, run);
  if (samples.length > 1) throw new Error(`${samples.length} series: ${expression}`);
  const value = samples[0] === undefined ? null : parseValue(samples[0].value[1]);
  return value !== null && Number.isFinite(value) ? value : null;
}

/** The part of events that was bad over a range until a moment; null where there were none. */
export async function ratioOver(slo: Slo, range: string, time_s: number, run: Run): Promise<number | null> {
  const [events, total] = await Promise.all(
    [slo.events, slo.total].map((expression) => instant(slo, over(expression, range), time_s, run)),
  );
  return errorRatio(slo, events ?? null, total ?? null);
}

export interface Standing {
  /** The part of events that was bad, by window. */
  ratios: ReadonlyMap<string, number | null>;
  /** How many times faster than promised the budget burns now, by window. */
  burns: ReadonlyMap<string, number | null>;
  /** The part of the budget that is left; negative when the promise is broken. */
  left: number | null;
  /** The alerts of the workbook that hold. */
  firing: readonly number[];
}

export function standingOf(slo: Slo, ratios: ReadonlyMap<string, number | null>, factors: readonly number[]): Standing {
  const budget = budgetOf(slo);
  const burns = new Map([...ratios].map(([window, ratio]) => [window, ratio === null ? null : ratio / budget]));
  const burn = burns.get(`${slo.window_days}d`) ?? null;
  const above = (window: string, factor: number): boolean => (burns.get(window) ?? 0) > factor;
  return {
    ratios,
    burns,
    left: burn === null ? null : 1 - burn,
    firing: BURNS.flatMap(({ long, short }, at) => {
      const factor = factors[at] ?? Infinity;
      return above(long, factor) && above(short, factor) ? [at] : [];
    }),
  };
}

/** The windows of the alerts and of the objective itself. */
export async function loadRatios(slo: Slo, time_s: number, run: Run): Promise<Map<string, number | null>> {
  const windows = [...new Set([...RULE_WINDOWS, `${slo.window_days}d`])];
  const all = await Promise.all(windows.map((window) => ratioOver(slo, window, time_s, run)));
  return new Map(windows.map((window, at) => [window, all[at] ?? null]));
}

export interface Past {
  grid: Grid;
  times: number[];
  /** The part of events that was bad within each step, and the budget that was left after it. */
  ratio: Point[];
  left: Point[];
}

/** How it went over a window, each step for itself. */
export async function loadPast(slo: Slo, grid: Grid, range: string, run: Run): Promise<Past> {
  const ask = async (expression: string): Promise<Point[]> => {
    const query = over(expression, range);
    const series: readonly Series[] =
      slo.language === "promql"
        ? (await queryRange(query, grid, run)).data
        : await queryLogs(query, grid, 1, run).then(({ data }) => (data.resultType === "matrix" ? data.result : []));
    if (series.length > 1) throw new Error(`${series.length} series: ${query}`);
    return toColumns(grid, series).series[0]?.points ?? [];
  };
  const [events = [], total = []] = await Promise.all([ask(slo.events), ask(slo.total)]);
  const { times } = toColumns(grid, []);
  const at = (points: readonly Point[]): Point[] => times.map((_, nth) => points[nth] ?? null);
  const [known, all] = [at(events), at(total)];
  return {
    grid,
    times,
    ratio: all.map((value, nth) => errorRatio(slo, known[nth] ?? null, value)),
    left: budgetLeft(slo, known, all),
  };
}
