/**
 * What the cluster page measures, written out by hand: queries over kansoku's own metric names, with
 * `S` for further matchers and `W` for the window of a rate. A new column is a new entry here.
 */
import type { Unit } from "../format";
import type { Key } from "../i18n";

export interface Measure {
  name: string;
  title: Key;
  unit: Unit | "per_minute" | "count";
  /** PromQL, or LogQL when `logs`. */
  query: string;
  logs?: boolean;
  /** A counter: the cell tells how much it grew within the window. */
  growth?: boolean;
  /** Pods are put together by their greatest value instead of their sum. */
  greatest?: boolean;
  /** At or above this the cell warns. */
  bad?: number;
  /** The sparkline's top is never below this. */
  least?: number;
}

const CONTAINER = 'container!="",container!="POD"';
const BY_POD = "sum by (namespace, pod)";
/** Words by which lines without a level are taken for errors. */
const ERRORS = "(?i)\\\\b(error|err|fatal|panic|critical)\\\\b|\\\\b[EF]\\\\d{4} ";

export const POD_MEASURES: readonly Measure[] = [
  {
    name: "cpu",
    title: "measure.cpu",
    unit: "cores",
    query: `${BY_POD} (rate(container_cpu_usage_seconds_total{${CONTAINER}S}[W]))`,
  },
  {
    name: "memory",
    title: "measure.memory",
    unit: "bytes",
    query: `${BY_POD} (container_memory_working_set_bytes{${CONTAINER}S})`,
  },
  {
    name: "disk",
    title: "measure.disk",
    unit: "bytes_per_second",
    query: `${BY_POD} (rate(container_fs_reads_bytes_total{${CONTAINER}S}[W]) + rate(container_fs_writes_bytes_total{${CONTAINER}S}[W]))`,
  },
  {
    name: "network",
    title: "measure.network",
    unit: "bytes_per_second",
    query: `${BY_POD} (rate(container_network_receive_bytes_total{pod!=""S}[W]) + rate(container_network_transmit_bytes_total{pod!=""S}[W]))`,
  },
  {
    name: "throttled",
    title: "measure.throttled",
    unit: "fraction",
    query: `${BY_POD} (rate(container_cpu_cfs_throttled_periods_total{${CONTAINER}S}[W])) / ${BY_POD} (rate(container_cpu_cfs_periods_total{${CONTAINER}S}[W]))`,
    greatest: true,
    bad: 0.25,
    least: 0.25,
  },
  {
    name: "restarts",
    title: "measure.restarts",
    unit: "count",
    // The pod's own labels only: kube-state names the pod, the agent's node stands beside it.
    query: `${BY_POD} (kube_pod_container_status_restarts_total{pod!=""P})`,
    growth: true,
    bad: 1,
  },
  {
    name: "oom",
    title: "measure.oom",
    unit: "count",
    // Restarts of containers that ended so: the count of a container's own events is gone with it.
    query: `${BY_POD} (kube_pod_container_status_restarts_total{pod!=""P} * on (namespace, pod, container) group_left () kube_pod_container_status_last_terminated_reason{reason="OOMKilled"P}) or ${BY_POD} (container_oom_events_total{${CONTAINER}S})`,
    growth: true,
    bad: 1,
  },
  {
    name: "logs",
    title: "measure.logs",
    unit: "bytes_per_second",
    query: `${BY_POD} (bytes_rate({pod=~".+"S}[W]))`,
    logs: true,
  },
  {
    name: "errors",
    title: "measure.errors",
    unit: "per_minute",
    query: `${BY_POD} (rate({pod=~".+"S} |~ "${ERRORS}" [W])) * 60`,
    logs: true,
    bad: 1,
  },
];

const DISKS = 'device!~"(loop|ram|zram|sr|dm-|fd).*"';
const NETWORKS = 'device!~"lo|(veth|cali|lxc|cilium|tunl|cni|flannel|docker|br-|virbr|ifb|dummy).*"';
const FILE_SYSTEMS = 'fstype!~"tmpfs|devtmpfs|ramfs|squashfs|nsfs|iso9660|overlay"';

/** What a machine has once is asked for with `max`: an agent and the one that took its place both tell of it for minutes. */
export const NODE_MEASURES: readonly Measure[] = [
  {
    name: "cpu",
    title: "measure.cpu",
    unit: "fraction",
    query: '1 - avg by (node) (rate(node_cpu_seconds_total{mode="idle"S}[W]))',
    bad: 0.9,
    least: 0.25,
  },
  {
    name: "memory",
    title: "measure.memory",
    unit: "fraction",
    query:
      '1 - max by (node) (node_memory_MemAvailable_bytes{node!=""S}) / max by (node) (node_memory_MemTotal_bytes{node!=""S})',
    bad: 0.9,
    least: 1,
  },
  {
    name: "fill",
    title: "measure.fill",
    unit: "fraction",
    query: `max by (node) (1 - node_filesystem_avail_bytes{${FILE_SYSTEMS}S} / node_filesystem_size_bytes{${FILE_SYSTEMS}S})`,
    bad: 0.85,
    least: 1,
  },
  {
    name: "disk",
    title: "measure.disk",
    unit: "bytes_per_second",
    query: `sum by (node) (max by (node, device) (rate(node_disk_read_bytes_total{${DISKS}S}[W]) + rate(node_disk_written_bytes_total{${DISKS}S}[W])))`,
  },
  {
    name: "network",
    title: "measure.network",
    unit: "bytes_per_second",
    query: `sum by (node) (max by (node, device) (rate(node_network_receive_bytes_total{${NETWORKS}S}[W]) + rate(node_network_transmit_bytes_total{${NETWORKS}S}[W])))`,
  },
  { name: "load", title: "measure.load", unit: "plain", query: 'max by (node) (node_load1{node!=""S})' },
  {
    name: "oom",
    title: "measure.oom",
    unit: "count",
    query: 'max by (node) (node_vmstat_oom_kill{node!=""S})',
    growth: true,
    bad: 1,
  },
  {
    name: "logs",
    title: "measure.logs",
    unit: "bytes_per_second",
    query: 'sum by (node) (bytes_rate({node=~".+"S}[W]))',
    logs: true,
  },
  {
    name: "errors",
    title: "measure.errors",
    unit: "per_minute",
    query: `sum by (node) (rate({node=~".+"S} |~ "${ERRORS}" [W])) * 60`,
    logs: true,
    bad: 1,
  },
];

/** The query of a measure: `matchers` begin with a comma or are empty. */
export function queryOf({ query }: Measure, matchers: string, podMatchers: string, window: string): string {
  return query
    .replaceAll(/\[W\]/g, `[${window}]`)
    .replaceAll(/(")S\}/g, `$1${matchers}}`)
    .replaceAll(/(")P\}/g, `$1${podMatchers}}`);
}
