/** Asks for the options of variables and for the data of panels. */
import {
  labelNames,
  labelValues,
  queryInstant,
  queryLogs,
  queryRange,
  queryVector,
  SERIES_MAX,
  type LogResult,
  type MetricResult,
  type Run,
} from "../api";
import { formatLabels, shortNames, type Labels } from "../format";
import { entriesOf, type Entry } from "../logs/entries";
import { toColumns, parseValue, type Columns, type Point } from "../matrix";
import type { Grid } from "../time";
import type { Dashboard, Panel, Variable } from "./model";
import { seriesName } from "./values";
import {
  ALL,
  filteredValues,
  initial,
  interpolate,
  questionOf,
  windowValues,
  type Values,
} from "./variables";

/** Options of one variable that are offered; others can be typed. */
export const OPTIONS_MAX = 1000;
/** Values that its regular expression chooses from. */
const VALUES_MAX = 10_000;

export interface Resolved {
  values: Values;
  options: Values;
  notes: string[];
}

/** Options and choices of all variables, each with those before it filled in. */
export async function resolve(board: Dashboard, chosen: Values, grid: Grid, run: Run): Promise<Resolved> {
  const values: Record<string, readonly string[]> = {
    ...windowValues(grid.end_s - grid.start_s, grid.step_s, grid.end_s),
  };
  const options: Record<string, readonly string[]> = {};
  const notes: string[] = [];
  for (const variable of board.variables) {
    const found = await optionsOf(variable, values, grid, run).catch((error: unknown): string[] => {
      if (run.signal.aborted) throw error;
      notes.push(`${variable.name}: ${error instanceof Error ? error.message : String(error)}`);
      return [];
    });
    options[variable.name] = found.slice(0, OPTIONS_MAX);
    const wanted = chosen[variable.name]?.filter(
      (value) =>
        variable.kind === "textbox" || value === ALL || found.length > OPTIONS_MAX || found.includes(value),
    );
    const picked = wanted !== undefined && wanted.length > 0 ? wanted : initial(variable, found);
    values[variable.name] = picked.includes(ALL) && variable.allValue !== "" ? [variable.allValue] : picked;
  }
  return { values, options, notes };
}

async function optionsOf(variable: Variable, values: Values, grid: Grid, run: Run): Promise<string[]> {
  if (variable.kind !== "query") return variable.options;
  const question = questionOf(interpolate(variable.query, values, "promql"));
  if (question === null) throw new Error(`unknown query ${variable.query}`);
  const answer = async (): Promise<string[]> => {
    switch (question.kind) {
      case "values":
        return labelValues("api", question.label, run.signal, question.match, VALUES_MAX);
      case "labels":
        return labelNames("api", run.signal, question.match);
      case "names": {
        const pattern = new RegExp(question.pattern);
        return (await labelValues("api", "__name__", run.signal)).filter((name) => pattern.test(name));
      }
      case "query": {
        const samples = await queryVector(question.query, grid.at_s, run);
        return samples.map(({ metric, value }) => `${formatLabels(metric)} ${value[1]} ${value[0] * 1000}`);
      }
    }
  };
  return filteredValues(await answer(), variable.regex);
}

/** A series of a panel, named. */
export interface PanelSeries {
  ref: string;
  name: string;
  labels: Labels;
  points: Point[];
}

export interface PanelData {
  grid: Grid;
  times: number[];
  series: PanelSeries[];
  columns: Columns | null;
  entries: Entry[];
}

const LINES = 300;

/** The data of a panel. */
export async function loadPanel(panel: Panel, values: Values, grid: Grid, run: Run): Promise<PanelData> {
  const own: Values = {
    ...values,
    ...windowValues(grid.end_s - grid.start_s, grid.step_s, grid.end_s),
    ...(values["interval"] ? { interval: values["interval"] } : {}),
  };
  const data: PanelData = { grid, times: toColumns(grid, []).times, series: [], columns: null, entries: [] };
  const answers = await Promise.all(
    panel.targets.map(async (target) => {
      const query = interpolate(target.query, own, target.language);
      if (target.language === "logql") {
        const { data: found } = await queryLogs(query, grid, LINES, run);
        if (found.resultType === "streams")
          return { target, columns: null, entries: entriesOf(found.result, LINES) };
        if (found.resultType === "matrix")
          return { target, columns: toColumns(grid, found.result), entries: [] };
        return { target, columns: momentOf(grid, found), entries: [] };
      }
      if (target.instant || panel.kind === "table") {
        const { data: found } = await queryInstant(query, grid.at_s, run, SERIES_MAX);
        return { target, columns: momentOf(grid, found), entries: [] };
      }
      return { target, columns: toColumns(grid, (await queryRange(query, grid, run, SERIES_MAX)).data), entries: [] };
    }),
  );
  for (const { target, columns, entries } of answers) {
    data.entries.push(...entries);
    if (columns === null) continue;
    data.columns ??= columns;
    const names = shortNames(columns.series.map(({ labels }) => labels));
    const legend = interpolate(target.legend, own, "text");
    for (const [at, { labels, points }] of columns.series.entries())
      data.series.push({
        ref: target.ref,
        name: seriesName(legend, labels, names[at] ?? ""),
        labels,
        points,
      });
  }
  return data;
}

/** Values of one moment as columns of which only the last is filled. */
function momentOf(grid: Grid, result: MetricResult | LogResult): Columns {
  const empty = toColumns(grid, []);
  const points = (value: string): Point[] =>
    empty.times.map((_, at) => (at === empty.times.length - 1 ? finite(value) : null));
  if (result.resultType === "scalar" || result.resultType === "string")
    return { ...empty, series: [{ labels: {}, points: points(result.result[1]) }] };
  if (result.resultType === "matrix") return toColumns(grid, result.result);
  if (result.resultType !== "vector") return empty;
  return {
    ...empty,
    series: result.result.map(({ metric, value }) => ({ labels: metric, points: points(value[1]) })),
  };
}

function finite(text: string): Point {
  const value = parseValue(text);
  return Number.isFinite(value) ? value : null;
}
