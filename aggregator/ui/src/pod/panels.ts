/** What the pod page draws, written out by hand. `S` stands for the pod's matchers, `W` for a rate's window. */
import type { ChartOptions } from "../chart";
import type { Labels, Unit } from "../format";
import { t, type Key } from "../i18n";

export interface PodQuery {
  expression: string;
  name: (labels: Labels) => string;
  below?: boolean;
  faint?: boolean;
  dashed?: boolean;
}

export interface PodPanel {
  title: Key;
  unit: Unit;
  shape: ChartOptions["shape"];
  /** Ticks lie on whole numbers. */
  whole?: boolean;
  /** The top of the axis is never below this. */
  leastTop?: number;
  queries: readonly PodQuery[];
}

const container = (labels: Labels): string => labels["container"] ?? "";
const suffixed =
  (suffix: Key) =>
  (labels: Labels): string =>
    `${labels["container"] ?? labels["interface"] ?? ""} ${t(suffix)}`.trim();
const CONTAINER = 'container!="",container!="POD",S';

export const POD_PANELS: readonly PodPanel[] = [
  {
    title: "measure.cpu",
    unit: "cores",
    shape: "lines",
    queries: [
      {
        expression: `sum by (container) (rate(container_cpu_usage_seconds_total{${CONTAINER}}[W]))`,
        name: container,
      },
      {
        expression: 'max by (container) (kube_pod_container_resource_limits{resource="cpu",S})',
        name: suffixed("line.limit"),
        dashed: true,
      },
    ],
  },
  {
    title: "measure.memory",
    unit: "bytes",
    shape: "lines",
    queries: [
      {
        expression: `max by (container) (container_memory_working_set_bytes{${CONTAINER}})`,
        name: container,
      },
      {
        expression: 'max by (container) (kube_pod_container_resource_limits{resource="memory",S})',
        name: suffixed("line.limit"),
        dashed: true,
      },
    ],
  },
  {
    title: "measure.network",
    unit: "bytes_per_second",
    shape: "lines",
    queries: [
      {
        expression: "sum by (interface) (rate(container_network_receive_bytes_total{S}[W]))",
        name: suffixed("line.in"),
      },
      {
        expression: "sum by (interface) (rate(container_network_transmit_bytes_total{S}[W]))",
        name: suffixed("line.out"),
        below: true,
      },
    ],
  },
  {
    title: "measure.disk",
    unit: "bytes_per_second",
    shape: "lines",
    queries: [
      {
        expression: `sum by (container) (rate(container_fs_reads_bytes_total{${CONTAINER}}[W]))`,
        name: suffixed("line.read"),
      },
      {
        expression: `sum by (container) (rate(container_fs_writes_bytes_total{${CONTAINER}}[W]))`,
        name: suffixed("line.write"),
        below: true,
      },
    ],
  },
  {
    title: "measure.throttled",
    unit: "fraction",
    shape: "lines",
    leastTop: 1,
    queries: [
      {
        expression: `sum by (container) (rate(container_cpu_cfs_throttled_periods_total{${CONTAINER}}[W])) / sum by (container) (rate(container_cpu_cfs_periods_total{${CONTAINER}}[W]))`,
        name: container,
      },
    ],
  },
  {
    title: "measure.restarts",
    unit: "plain",
    shape: "lines",
    whole: true,
    queries: [
      { expression: "max by (container) (kube_pod_container_status_restarts_total{S})", name: container },
      {
        // The count of a container's own events is gone with it: restarts of containers that ended so.
        expression: `max by (container) (kube_pod_container_status_restarts_total{S} * on (namespace, pod, container) group_left () kube_pod_container_status_last_terminated_reason{reason="OOMKilled",S}) or max by (container) (container_oom_events_total{${CONTAINER}} > 0)`,
        name: suffixed("line.oom"),
        dashed: true,
      },
    ],
  },
];

/** An expression for one pod. */
export function expressionOf({ expression }: PodQuery, matchers: string, window: string): string {
  return expression.replaceAll("[W]", `[${window}]`).replaceAll(/([{,])S\}/g, `$1${matchers}}`);
}
