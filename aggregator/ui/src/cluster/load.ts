/** Asks for all that the cluster page shows. */
import { queryLogs, queryRange, queryVector, type Run } from "../api";
import type { Labels } from "../format";
import { quote } from "../format";
import { toColumns, type Columns, type Point } from "../matrix";
import { rateWindow, type Grid } from "../time";
import { NODE_MEASURES, POD_MEASURES, queryOf, type Measure } from "./measures";
import { cellOf, pointsBy, podsOf, type Measured, type Meta, type Pod, type Row } from "./rows";

/** What narrows the page to a part of the cluster. */
export interface Place {
  namespace: string;
  node: string;
}

async function columnsOf(measure: Measure, matchers: string, grid: Grid, run: Run): Promise<Columns> {
  const query = queryOf(measure, matchers, podOnly(matchers), rateWindow(grid.step_s));
  if (measure.logs !== true) return toColumns(grid, (await queryRange(query, grid, run)).data);
  const { data } = await queryLogs(query, grid, 1, run);
  return toColumns(grid, data.resultType === "matrix" ? data.result : []);
}

/** kube-state names pods without their node. */
const podOnly = (matchers: string): string => matchers.replace(/,node="(?:[^"\\]|\\.)*"/, "");

/** Columns of each measure; a measure that cannot be had is left out, and its error is told. */
async function measure(
  measures: readonly Measure[],
  matchers: string,
  grid: Grid,
  run: Run,
): Promise<{ columns: Map<string, Columns>; error: Error | null }> {
  const columns = new Map<string, Columns>();
  let error: Error | null = null;
  await Promise.all(
    measures.map(async (one) => {
      try {
        columns.set(one.name, await columnsOf(one, matchers, grid, run));
      } catch (failure) {
        if (run.signal.aborted) throw failure;
        error = failure instanceof Error ? failure : new Error(String(failure));
      }
    }),
  );
  // With nothing at all there is no page to show, only the reason.
  if (columns.size === 0 && error !== null) throw error;
  return { columns, error };
}

export function matchersOf({ namespace, node }: Place): string {
  return `${namespace === "" ? "" : `,namespace=${quote(namespace)}`}${node === "" ? "" : `,node=${quote(node)}`}`;
}

export interface Pods {
  pods: Map<string, Pod>;
  measured: Measured;
  error: Error | null;
}

/** Pods of a place: the log half or the metric half of their measures. */
export async function loadPods(place: Place, logs: boolean, grid: Grid, run: Run): Promise<Pods> {
  const matchers = matchersOf(place);
  const measures = POD_MEASURES.filter((one) => (one.logs === true) === logs);
  const [meta, { columns, error }] = await Promise.all([
    logs ? EMPTY : loadMeta(place, grid, run),
    measure(measures, matchers, grid, run),
  ]);
  const measured = new Map<string, Map<string, Point[]>>();
  const key = (labels: Labels): string => `${labels["namespace"] ?? ""}/${labels["pod"] ?? ""}`;
  for (const [name, found] of columns) measured.set(name, pointsBy(found, key));
  const seen = ["cpu", "memory", "logs"].flatMap(
    (name) => columns.get(name)?.series.map(({ labels }) => labels) ?? [],
  );
  const pods = podsOf(meta, seen);
  if (place.node !== "")
    for (const [name, pod] of pods) if (pod.node !== "" && pod.node !== place.node) pods.delete(name);
  return { pods, measured, error };
}

const EMPTY: Meta = { info: [], alive: [], owners: [], replicaSets: [], phases: [], waiting: [], ended: [] };

async function loadMeta(place: Place, grid: Grid, run: Run): Promise<Meta> {
  const matchers = podOnly(matchersOf(place));
  const range_s = Math.max(300, grid.end_s - grid.start_s);
  const ask = async (query: string): Promise<Labels[]> =>
    (await queryVector(query, grid.at_s, run)).map(({ metric }) => metric);
  const past = (name: string): Promise<Labels[]> =>
    ask(`last_over_time(${name}{namespace!=""${matchers}}[${Math.round(range_s)}s])`);
  const is = (name: string): Promise<Labels[]> => ask(`${name}{namespace!=""${matchers}} == 1`);
  const [info, alive, owners, replicaSets, phases, waiting, ended] = await Promise.all([
    past("kube_pod_info"),
    ask(`kube_pod_info{namespace!=""${matchers}}`),
    past("kube_pod_owner"),
    past("kube_replicaset_owner"),
    is("kube_pod_status_phase"),
    is("kube_pod_container_status_waiting_reason"),
    is("kube_pod_container_status_last_terminated_reason"),
  ]);
  return { info, alive, owners, replicaSets, phases, waiting, ended };
}

/** Nodes with their measures. */
export async function loadNodes(
  logs: boolean,
  grid: Grid,
  run: Run,
): Promise<{ rows: Row[]; error: Error | null }> {
  const measures = NODE_MEASURES.filter((one) => (one.logs === true) === logs);
  const [{ columns, error }, conditions, info] = await Promise.all([
    measure(measures, "", grid, run),
    logs ? [] : queryVector('kube_node_status_condition{condition="Ready"} == 1', grid.at_s, run),
    logs ? [] : queryVector("kube_node_info", grid.at_s, run),
  ]);
  const ready = new Map(conditions.map(({ metric }) => [metric["node"] ?? "", metric["status"] ?? ""]));
  const known = new Map(info.map(({ metric }) => [metric["node"] ?? "", metric]));
  const names = new Set<string>();
  for (const { series } of columns.values()) for (const { labels } of series) names.add(labels["node"] ?? "");
  for (const name of ready.keys()) names.add(name);
  names.delete("");
  const rows = [...names].map((name): Row => {
    const cells = new Map<string, NonNullable<ReturnType<typeof cellOf>>>();
    for (const one of measures) {
      const points = columns.get(one.name)?.series.find(({ labels }) => labels["node"] === name)?.points;
      const cell = points === undefined ? null : cellOf(one, points);
      if (cell !== null) cells.set(one.name, cell);
    }
    const status = ready.get(name);
    const bad = status !== undefined && status !== "true";
    const { kubelet_version: version = "" } = known.get(name) ?? {};
    return {
      key: name,
      name,
      detail: version,
      state: bad ? "bad" : "ok",
      status: status === undefined ? "" : bad ? "NotReady" : "Ready",
      cells,
      labels: {},
    };
  });
  return { rows, error };
}
