/**
 * From query results to the rows of the cluster page's tables. Pure. The one rule: pods are asked
 * for once, and workloads and namespaces are put together from them here.
 */
import type { Labels } from "../format";
import { formatPlain, formatValue } from "../format";
import type { Columns, Point } from "../matrix";
import type { Measure } from "./measures";

export interface Cell {
  value: number;
  points: Point[];
}

export interface Row {
  key: string;
  name: string;
  /** Stands fainter beside the name, such as a namespace. */
  detail: string;
  /** `ok`, `bad` or `gone`, and words for it. */
  state: "ok" | "bad" | "gone";
  status: string;
  cells: ReadonlyMap<string, Cell>;
  labels: Labels;
}

/** What is known of a pod besides its measures. */
export interface Pod {
  namespace: string;
  pod: string;
  node: string;
  kind: string;
  workload: string;
  state: Row["state"];
  status: string;
}

const podKey = (labels: Labels): string => `${labels["namespace"] ?? ""}/${labels["pod"] ?? ""}`;

/** The newest point. A value that is older than two steps is not of now. */
function newest(points: readonly Point[]): Point {
  return points.slice(-3).findLast((point) => point !== null) ?? null;
}

/** How much a counter grew, resets counted as growth from zero. */
export function growth(points: readonly Point[]): Point {
  let before: Point = null;
  let sum: Point = null;
  for (const point of points) {
    if (point === null) continue;
    sum = (sum ?? 0) + (before === null ? 0 : point >= before ? point - before : point);
    before = point;
  }
  return sum;
}

/** How much a counter grew from each point to the next. */
export function increases(points: readonly Point[]): Point[] {
  let before: Point = null;
  return points.map((point) => {
    if (point === null) return null;
    const grown = before === null ? 0 : point >= before ? point - before : point;
    before = point;
    return grown;
  });
}

/** The cell of a measure; null when nothing was measured. Where no line of a log matched, there were none. */
export function cellOf(measure: Measure, points: Point[]): Cell | null {
  if (measure.logs === true && points.some((point) => point !== null)) {
    const whole = points.map((point) => point ?? 0);
    return { value: whole.at(-1) ?? 0, points: whole };
  }
  const value = measure.growth === true ? growth(points) : newest(points);
  return value === null ? null : { value, points: measure.growth === true ? increases(points) : points };
}

export interface Meta {
  /** `kube_pod_info` within the window. */
  info: readonly Labels[];
  /** `kube_pod_info` now: pods that exist. */
  alive: readonly Labels[];
  owners: readonly Labels[];
  replicaSets: readonly Labels[];
  /** `kube_pod_status_phase` that is 1. */
  phases: readonly Labels[];
  /** `kube_pod_container_status_waiting_reason` that is 1. */
  waiting: readonly Labels[];
  /** `kube_pod_container_status_last_terminated_reason` that is 1. */
  ended: readonly Labels[];
}

/** All pods that were there within the window. */
export function podsOf(meta: Meta, measured: readonly Labels[]): Map<string, Pod> {
  const pods = new Map<string, Pod>();
  const alive = new Set(meta.alive.map(podKey));
  const stateKnown = meta.info.length > 0;
  const replicaSets = new Map(
    meta.replicaSets.map((labels) => [`${labels["namespace"]}/${labels["replicaset"]}`, labels]),
  );
  const owners = new Map(meta.owners.map((labels) => [podKey(labels), labels]));
  const phases = new Map(meta.phases.map((labels) => [podKey(labels), labels["phase"] ?? ""]));
  const waiting = new Map(meta.waiting.map((labels) => [podKey(labels), labels["reason"] ?? ""]));
  const ended = new Map(
    meta.ended.map((labels) => [`${podKey(labels)}/${labels["container"]}`, labels["reason"] ?? ""]),
  );
  // Why it ended says more than that it waits to be started again.
  for (const labels of meta.waiting) {
    const why = ended.get(`${podKey(labels)}/${labels["container"]}`);
    if (labels["reason"] === "CrashLoopBackOff" && why) waiting.set(podKey(labels), `CrashLoopBackOff (${why})`);
  }
  for (const labels of [...meta.info, ...measured]) {
    const key = podKey(labels);
    const { namespace = "", pod = "", node = "" } = labels;
    if (pod === "" || pods.has(key)) continue;
    const owner = owners.get(key);
    let kind = owner?.["owner_kind"] ?? "";
    let workload = owner?.["owner_name"] ?? "";
    if (kind === "ReplicaSet") {
      const above = replicaSets.get(`${namespace}/${workload}`);
      kind = above?.["owner_kind"] ?? kind;
      workload = above?.["owner_name"] ?? workload;
    }
    const gone = stateKnown && !alive.has(key);
    const phase = phases.get(key) ?? "";
    const reason = waiting.get(key) ?? "";
    const bad = !gone && (reason !== "" || ["Failed", "Pending", "Unknown"].includes(phase));
    pods.set(key, {
      namespace,
      pod,
      node,
      kind,
      workload: workload || pod,
      state: gone ? "gone" : bad ? "bad" : "ok",
      status: gone ? "" : reason || phase,
    });
  }
  return pods;
}

/** Pods, and those of which nothing but lines is known: they lived shorter than it takes to be told of. */
export function withWriters(pods: ReadonlyMap<string, Pod>, writers: ReadonlyMap<string, Pod>): Map<string, Pod> {
  return new Map([...writers, ...pods]);
}

/** Measures by pod: `namespace/pod` to points, for each measure. */
export type Measured = ReadonlyMap<string, ReadonlyMap<string, Point[]>>;

/** Points of each series under the key of its labels. */
export function pointsBy(columns: Columns, key: (labels: Labels) => string): Map<string, Point[]> {
  return new Map(columns.series.map(({ labels, points }) => [key(labels), points]));
}

/** Several series as one: their sum, or at each time the greatest. */
export function together(all: readonly (readonly Point[])[], greatest: boolean): Point[] {
  const length = Math.max(0, ...all.map((points) => points.length));
  return Array.from({ length }, (_, at) => {
    let whole: Point = null;
    for (const points of all) {
      const point = points[at] ?? null;
      if (point === null) continue;
      whole = whole === null ? point : greatest ? Math.max(whole, point) : whole + point;
    }
    return whole;
  });
}

/** One row for each group of pods. */
export function groupRows(
  pods: ReadonlyMap<string, Pod>,
  measures: readonly Measure[],
  measured: Measured,
  group: (pod: Pod) => Omit<Row, "cells" | "state" | "status"> | null,
): (Row & { pods: Pod[] })[] {
  const groups = new Map<string, { head: Omit<Row, "cells" | "state" | "status">; keys: string[] }>();
  for (const [key, pod] of pods) {
    const head = group(pod);
    if (head === null) continue;
    const known = groups.get(head.key);
    if (known === undefined) groups.set(head.key, { head, keys: [key] });
    else known.keys.push(key);
  }
  return [...groups.values()].map(({ head, keys }) => {
    const members = keys.flatMap((key) => pods.get(key) ?? []);
    const cells = new Map<string, Cell>();
    for (const measure of measures) {
      const parts = keys.flatMap((key) => {
        const points = measured.get(measure.name)?.get(key);
        return points === undefined ? [] : [points];
      });
      const cell = groupCell(measure, parts);
      if (cell !== null) cells.set(measure.name, cell);
    }
    const alive = members.filter(({ state }) => state !== "gone");
    const bad = alive.find(({ state }) => state === "bad");
    const state = alive.length === 0 ? "gone" : bad === undefined ? "ok" : "bad";
    return { ...head, cells, state, status: (bad ?? alive[0])?.status ?? "", pods: members };
  });
}

/** Growth is counted for each counter: a sum falls when one of its counters goes. */
function groupCell(measure: Measure, parts: readonly Point[][]): Cell | null {
  if (parts.length === 0) return null;
  if (measure.growth !== true) return cellOf(measure, together(parts, measure.greatest === true));
  const grown = parts.map(growth).filter((value) => value !== null);
  const steps = together(parts.map(increases), false);
  return grown.length === 0 ? null : { value: grown.reduce((a, b) => a + b, 0), points: steps };
}

/** A measure's value in its unit. */
export function formatMeasure(value: number, unit: Measure["unit"]): string {
  if (unit === "count") return String(Math.round(value));
  if (unit === "per_minute") return formatPlain(Math.round(value * 100) / 100);
  return formatValue(value, unit);
}

/** Rows that contain every word of `filter`, in the order of `sort` (`-cpu` is falling). */
export function arrange<T extends Row>(rows: readonly T[], filter: string, sort: string): T[] {
  const words = filter.toLowerCase().split(/\s+/).filter(Boolean);
  const found = rows.filter(({ name, detail, status, labels }) => {
    const text = `${name} ${detail} ${status} ${Object.values(labels).join(" ")}`.toLowerCase();
    return words.every((word) => text.includes(word));
  });
  const falling = sort.startsWith("-");
  const column = sort.replace(/^-/, "");
  const byName = (a: Row, b: Row): number =>
    a.detail < b.detail ? -1 : a.detail > b.detail ? 1 : a.name < b.name ? -1 : a.name > b.name ? 1 : 0;
  const value = (row: Row): number => row.cells.get(column)?.value ?? -Infinity;
  const rank = (row: Row): number => ({ bad: 0, ok: 1, gone: 2 })[row.state];
  return found.sort((a, b) => {
    if (column === "status") return (rank(a) - rank(b)) * (falling ? -1 : 1) || byName(a, b);
    if (column === "name" || column === "") return byName(a, b) * (falling ? -1 : 1);
    const difference = value(a) - value(b);
    return (Number.isNaN(difference) ? 0 : difference) * (falling ? -1 : 1) || byName(a, b);
  });
}
