/**
 * What the start page draws, written out by hand: the queries, their units and the names of their
 * lines. What a machine has once is asked for with `max`: an agent and the one that took its place both tell
 * of it for minutes. No code of drawing here; a new chart is a new entry in `CHARTS` or `RANKINGS`.
 */
import type { Labels, Unit } from "./format";
import { quote } from "./format";
import type { ChartOptions } from "./chart";
import { t, type Key } from "./i18n";

/** A machine that sends metrics. */
export interface Node {
  name: string;
  /** The matcher that selects its series, such as `node="a"`. */
  matcher: string;
}

export interface Query {
  /** The expression for series that `matcher` selects, with rates over `window`. */
  expression: (matcher: string, window: string) => string;
  name: (labels: Labels) => string;
  below?: boolean;
  faint?: boolean;
}

export interface ChartPanel {
  title: Key;
  unit: Unit;
  shape: ChartOptions["shape"];
  leastTop?: number;
  queries: readonly Query[];
  /** Names in the order of drawing, from the bottom up; others follow. */
  order: () => readonly string[];
  /** The metric that is missing when there is no series. */
  hint: string;
}

const named = (key: Key) => (): string => t(key);
const device =
  (suffix: Key) =>
  (labels: Labels): string =>
    `${labels["device"] ?? ""} ${t(suffix)}`;

const DISKS = 'device!~"(loop|ram|zram|sr|dm-|fd).*"';
const NETWORKS = 'device!~"lo|(veth|cali|lxc|cilium|tunl|cni|flannel|docker|br-|virbr|ifb|dummy).*"';

export const CHARTS: readonly ChartPanel[] = [
  {
    title: "measure.cpu",
    unit: "fraction",
    shape: "stacked",
    leastTop: 0.1,
    order: () => ["user", "system", "iowait", "nice", "irq", "softirq", "steal"],
    hint: "node_cpu_seconds_total",
    queries: [
      {
        expression: (m, w) => `avg by (mode) (rate(node_cpu_seconds_total{${m},mode!="idle"}[${w}]))`,
        name: (labels) => labels["mode"] ?? "",
      },
    ],
  },
  {
    title: "measure.memory",
    unit: "bytes",
    shape: "stacked",
    order: () => [t("line.used"), t("line.cache"), t("line.free")],
    hint: "node_memory_MemAvailable_bytes",
    queries: [
      {
        expression: (m) => `max(node_memory_MemTotal_bytes{${m}}) - max(node_memory_MemAvailable_bytes{${m}})`,
        name: named("line.used"),
      },
      {
        expression: (m) => `max(node_memory_MemAvailable_bytes{${m}}) - max(node_memory_MemFree_bytes{${m}})`,
        name: named("line.cache"),
      },
      { expression: (m) => `max(node_memory_MemFree_bytes{${m}})`, name: named("line.free"), faint: true },
    ],
  },
  {
    title: "measure.disk",
    unit: "bytes_per_second",
    shape: "lines",
    order: () => [],
    hint: "node_disk_read_bytes_total",
    queries: [
      {
        expression: (m, w) => `max by (device) (rate(node_disk_read_bytes_total{${m},${DISKS}}[${w}]))`,
        name: device("line.read"),
      },
      {
        expression: (m, w) => `max by (device) (rate(node_disk_written_bytes_total{${m},${DISKS}}[${w}]))`,
        name: device("line.write"),
        below: true,
      },
    ],
  },
  {
    title: "measure.network",
    unit: "bytes_per_second",
    shape: "lines",
    order: () => [],
    hint: "node_network_receive_bytes_total",
    queries: [
      {
        expression: (m, w) =>
          `max by (device) (rate(node_network_receive_bytes_total{${m},${NETWORKS}}[${w}]))`,
        name: device("line.in"),
      },
      {
        expression: (m, w) =>
          `max by (device) (rate(node_network_transmit_bytes_total{${m},${NETWORKS}}[${w}]))`,
        name: device("line.out"),
        below: true,
      },
    ],
  },
];

export interface Ranking {
  title: Key;
  unit: Unit;
  /** Tried in turn until one gives a result. */
  queries: readonly ((matcher: string, window: string) => string)[];
  /** The chart behind one item. */
  detail: (selector: string, window: string) => string;
  hint: string;
}

const NAMES = "namespace, pod, container, name, id";
/** Series of one container each, in a cluster. */
const PODS = 'container!="",container!="POD"';
/** Without a cluster: control groups below the first level, which are services and containers. */
const GROUPS = 'id=~"/.+/.+"';
/** Where there is no second level either. */
const ANY = 'id!="/"';

export const RANKINGS: readonly Ranking[] = [
  {
    title: "node.containers_cpu",
    unit: "cores",
    queries: [PODS, GROUPS, ANY].map(
      (which) => (m, w) =>
        `topk(8, sum by (${NAMES}) (rate(container_cpu_usage_seconds_total{${m},${which}}[${w}])))`,
    ),
    detail: (s, w) => `rate(container_cpu_usage_seconds_total${s}[${w}])`,
    hint: "container_cpu_usage_seconds_total",
  },
  {
    title: "node.containers_memory",
    unit: "bytes",
    queries: [PODS, GROUPS, ANY].map(
      (which) => (m) => `topk(8, max by (${NAMES}) (container_memory_working_set_bytes{${m},${which}}))`,
    ),
    detail: (s) => `container_memory_working_set_bytes${s}`,
    hint: "container_memory_working_set_bytes",
  },
];

const FILE_SYSTEMS = 'fstype!~"tmpfs|devtmpfs|ramfs|squashfs|nsfs|iso9660"';

export const FILL = {
  available: (m: string): string => `node_filesystem_avail_bytes{${m},${FILE_SYSTEMS}}`,
  size: (m: string): string => `node_filesystem_size_bytes{${m},${FILE_SYSTEMS}}`,
  detail: (s: string): string => `1 - node_filesystem_avail_bytes${s} / node_filesystem_size_bytes${s}`,
  hint: "node_filesystem_avail_bytes",
};

/** One query for all numbers of the headline. */
export function headlineQuery(matcher: string): string {
  return `{__name__=~"node_load1|node_load5|node_load15|node_boot_time_seconds",${matcher}}`;
}

/** Series by which nodes are found. */
export const NODE_SELECTOR = "node_memory_MemTotal_bytes";

/** The node that a series belongs to. */
export function nodeOf(labels: Labels): Node {
  const label = labels["node"] === undefined ? "instance" : "node";
  const name = labels[label] ?? "";
  return { name, matcher: `${label}=${quote(name)}` };
}

/** Labels of log streams, one of which every stream has; the first that fits selects it. */
const STREAM_LABELS = ["namespace", "filename", "job", "service_name", "host", "tag", "container"];
/** More queries than this for one panel would slow the page. */
const LOG_QUERIES_MAX = 3;

/** Disjoint selectors that together cover streams with these label names, for one node or all. */
export function logSelectors(names: readonly string[], node: string): string[] {
  const known = STREAM_LABELS.filter((name) => names.includes(name));
  const used = (known.length > 0 ? known : names.slice(0, 1)).slice(0, LOG_QUERIES_MAX);
  return used.map((name, at) => {
    const earlier = used.slice(0, at).map((other) => `${other}=""`);
    const place = name === "namespace" || !names.includes("host") ? "node" : "host";
    const where = node !== "" && names.includes(place) ? [`${place}=${placeMatch(name, node)}`] : [];
    return `{${[`${name}=~".+"`, ...earlier, ...where].join(", ")}}`;
  });
}

/** Pods and files belong to a machine; what was pushed from elsewhere may name none and is shown. */
function placeMatch(name: string, node: string): string {
  if (name === "namespace" || name === "filename") return quote(node);
  return `~${quote(`|${node.replace(/[.*+?^${}()|[\]\\]/g, "\\$&")}`)}`;
}
