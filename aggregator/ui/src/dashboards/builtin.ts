/** The dashboards that are always there, in the form in which others are imported. */

type Target = readonly [query: string, legend: string];

interface Made {
  title: string;
  type?: string;
  unit?: string;
  w?: number;
  h?: number;
  stack?: boolean;
  max?: number;
  thresholds?: readonly (readonly [number, string])[];
  logs?: boolean;
  targets: readonly Target[];
}

/** Panels in rows of 24 columns, one after the other. */
function board(title: string, variables: readonly object[], panels: readonly Made[]): string {
  let x = 0;
  let y = 0;
  let tall = 0;
  const placed = panels.map(
    (
      {
        title: name,
        type = "timeseries",
        unit = "short",
        w = 8,
        h = 8,
        stack = false,
        max,
        thresholds = [],
        logs = false,
        targets,
      },
      id,
    ) => {
      if (x + w > 24) {
        x = 0;
        y += tall;
        tall = 0;
      }
      const gridPos = { x, y, w, h };
      x += w;
      tall = Math.max(tall, h);
      const steps = [
        { value: null, color: "green" },
        ...thresholds.map(([value, color]) => ({ value, color })),
      ];
      return {
        id,
        title: name,
        type,
        gridPos,
        datasource: { type: logs ? "loki" : "prometheus" },
        fieldConfig: {
          defaults: {
            unit,
            ...(max === undefined ? {} : { max }),
            thresholds: { steps: thresholds.length === 0 ? [] : steps },
            custom: { stacking: { mode: stack ? "normal" : "none" } },
          },
        },
        targets: targets.map(([expr, legendFormat], at) => ({
          expr,
          legendFormat,
          refId: String.fromCharCode(65 + at),
          instant: ["table", "bargauge", "piechart"].includes(type),
        })),
      };
    },
  );
  return JSON.stringify(
    { title, schemaVersion: 39, templating: { list: variables }, panels: placed },
    null,
    1,
  );
}

const variable = (name: string, query: string, more = {}): object => ({
  name,
  type: "query",
  query,
  ...more,
});
const FULL: Made["thresholds"] = [
  [0.75, "orange"],
  [0.9, "red"],
];
const DISKS = 'device!~"(loop|ram|zram|sr|dm-|fd).*"';
const NETWORKS = 'device!~"lo|(veth|cali|lxc|cilium|tunl|cni|flannel|docker|br-|virbr|ifb|dummy).*"';
const FILE_SYSTEMS = 'fstype!~"tmpfs|devtmpfs|ramfs|squashfs|nsfs|iso9660|overlay"';

/** Name in the address, and the JSON. */
export const BUILT_IN: Readonly<Record<string, string>> = {
  node: board(
    "Node",
    [variable("node", "label_values(node_load1, node)")],
    [
      {
        title: "CPU",
        type: "gauge",
        unit: "percentunit",
        w: 6,
        h: 5,
        max: 1,
        thresholds: FULL,
        targets: [['1 - avg(rate(node_cpu_seconds_total{mode="idle",node="$node"}[$__rate_interval]))', ""]],
      },
      {
        title: "Memory",
        type: "gauge",
        unit: "percentunit",
        w: 6,
        h: 5,
        max: 1,
        thresholds: FULL,
        targets: [
          ['1 - max(node_memory_MemAvailable_bytes{node="$node"}) / max(node_memory_MemTotal_bytes{node="$node"})', ""],
        ],
      },
      { title: "Load", type: "stat", w: 6, h: 5, targets: [['max(node_load1{node="$node"})', ""]] },
      {
        title: "Up for",
        type: "stat",
        unit: "s",
        w: 6,
        h: 5,
        targets: [['time() - max(node_boot_time_seconds{node="$node"})', ""]],
      },
      {
        title: "CPU by mode",
        unit: "percentunit",
        w: 12,
        stack: true,
        targets: [
          [
            'avg by (mode) (rate(node_cpu_seconds_total{mode!="idle",node="$node"}[$__rate_interval]))',
            "{{mode}}",
          ],
        ],
      },
      {
        title: "Memory",
        unit: "bytes",
        w: 12,
        stack: true,
        targets: [
          ['max(node_memory_MemTotal_bytes{node="$node"}) - max(node_memory_MemAvailable_bytes{node="$node"})', "used"],
          ['max(node_memory_MemAvailable_bytes{node="$node"})', "available"],
        ],
      },
      {
        title: "Disk",
        unit: "Bps",
        w: 12,
        targets: [
          [
            `max by (device) (rate(node_disk_read_bytes_total{${DISKS},node="$node"}[$__rate_interval]))`,
            "{{device}} read",
          ],
          [
            `max by (device) (rate(node_disk_written_bytes_total{${DISKS},node="$node"}[$__rate_interval]))`,
            "{{device}} write",
          ],
        ],
      },
      {
        title: "Network",
        unit: "Bps",
        w: 12,
        targets: [
          [
            `max by (device) (rate(node_network_receive_bytes_total{${NETWORKS},node="$node"}[$__rate_interval]))`,
            "{{device}} in",
          ],
          [
            `max by (device) (rate(node_network_transmit_bytes_total{${NETWORKS},node="$node"}[$__rate_interval]))`,
            "{{device}} out",
          ],
        ],
      },
      {
        title: "File systems",
        type: "bargauge",
        unit: "percentunit",
        w: 12,
        max: 1,
        thresholds: FULL,
        targets: [
          [
            `1 - node_filesystem_avail_bytes{${FILE_SYSTEMS},node="$node"} / node_filesystem_size_bytes{${FILE_SYSTEMS},node="$node"}`,
            "{{mountpoint}}",
          ],
        ],
      },
      { title: "Log", type: "logs", w: 12, logs: true, targets: [['{node="$node"}', ""]] },
    ],
  ),
  namespace: board(
    "Namespace",
    [variable("namespace", "label_values(container_cpu_usage_seconds_total, namespace)")],
    [
      {
        title: "Pods",
        type: "stat",
        w: 6,
        h: 4,
        targets: [['count(kube_pod_info{namespace="$namespace"})', ""]],
      },
      {
        title: "CPU",
        type: "stat",
        w: 6,
        h: 4,
        targets: [
          [
            'sum(rate(container_cpu_usage_seconds_total{container!="",namespace="$namespace"}[$__rate_interval]))',
            "",
          ],
        ],
      },
      {
        title: "Memory",
        type: "stat",
        unit: "bytes",
        w: 6,
        h: 4,
        targets: [['sum(container_memory_working_set_bytes{container!="",namespace="$namespace"})', ""]],
      },
      {
        title: "Restarts",
        type: "stat",
        w: 6,
        h: 4,
        thresholds: [[1, "red"]],
        targets: [
          ['sum(increase(kube_pod_container_status_restarts_total{namespace="$namespace"}[$__range]))', ""],
        ],
      },
      {
        title: "CPU by pod",
        w: 12,
        stack: true,
        targets: [
          [
            'sum by (pod) (rate(container_cpu_usage_seconds_total{container!="",namespace="$namespace"}[$__rate_interval]))',
            "{{pod}}",
          ],
        ],
      },
      {
        title: "Memory by pod",
        unit: "bytes",
        w: 12,
        stack: true,
        targets: [
          [
            'sum by (pod) (container_memory_working_set_bytes{container!="",namespace="$namespace"})',
            "{{pod}}",
          ],
        ],
      },
      {
        title: "Memory",
        type: "piechart",
        unit: "bytes",
        targets: [
          [
            'sum by (pod) (container_memory_working_set_bytes{container!="",namespace="$namespace"})',
            "{{pod}}",
          ],
        ],
      },
      {
        title: "Pods",
        type: "table",
        w: 16,
        targets: [['sum by (pod, node) (kube_pod_info{namespace="$namespace"})', ""]],
      },
      {
        title: "Log lines by pod",
        w: 12,
        logs: true,
        targets: [['sum by (pod) (count_over_time({namespace="$namespace"}[$__interval]))', "{{pod}}"]],
      },
      { title: "Log", type: "logs", w: 12, logs: true, targets: [['{namespace="$namespace"}', ""]] },
    ],
  ),
  pod: board(
    "Pod",
    [
      variable("namespace", "label_values(container_cpu_usage_seconds_total, namespace)"),
      variable("pod", 'label_values(container_cpu_usage_seconds_total{namespace="$namespace"}, pod)'),
    ],
    [
      {
        title: "CPU",
        w: 12,
        targets: [
          [
            'sum by (container) (rate(container_cpu_usage_seconds_total{container!="",namespace="$namespace",pod="$pod"}[$__rate_interval]))',
            "{{container}}",
          ],
          [
            'sum by (container) (kube_pod_container_resource_limits{resource="cpu",namespace="$namespace",pod="$pod"})',
            "{{container}} limit",
          ],
        ],
      },
      {
        title: "Memory",
        unit: "bytes",
        w: 12,
        targets: [
          [
            'sum by (container) (container_memory_working_set_bytes{container!="",namespace="$namespace",pod="$pod"})',
            "{{container}}",
          ],
          [
            'sum by (container) (kube_pod_container_resource_limits{resource="memory",namespace="$namespace",pod="$pod"})',
            "{{container}} limit",
          ],
        ],
      },
      {
        title: "Network",
        unit: "Bps",
        w: 12,
        targets: [
          [
            'sum(rate(container_network_receive_bytes_total{namespace="$namespace",pod="$pod"}[$__rate_interval]))',
            "in",
          ],
          [
            'sum(rate(container_network_transmit_bytes_total{namespace="$namespace",pod="$pod"}[$__rate_interval]))',
            "out",
          ],
        ],
      },
      {
        title: "Restarts",
        w: 12,
        targets: [
          [
            'sum by (container) (kube_pod_container_status_restarts_total{namespace="$namespace",pod="$pod"})',
            "{{container}}",
          ],
        ],
      },
      {
        title: "Log",
        type: "logs",
        w: 24,
        h: 10,
        logs: true,
        targets: [['{namespace="$namespace", pod="$pod"}', ""]],
      },
    ],
  ),
  kansoku: board(
    "Kansoku",
    [],
    [
      {
        title: "Active series",
        type: "stat",
        w: 6,
        h: 4,
        targets: [["sum(kansoku_store_active_series)", ""]],
      },
      {
        title: "On disk",
        type: "stat",
        unit: "bytes",
        w: 6,
        h: 4,
        targets: [["sum(kansoku_store_disk_bytes)", ""]],
      },
      {
        title: "Records in",
        type: "stat",
        unit: "wps",
        w: 6,
        h: 4,
        targets: [["sum(rate(kansoku_ingest_records_total[$__rate_interval]))", ""]],
      },
      { title: "Queries running", type: "stat", w: 6, h: 4, targets: [["sum(kansoku_query_running)", ""]] },
      {
        title: "Records in by protocol",
        w: 12,
        stack: true,
        targets: [
          ["sum by (protocol) (rate(kansoku_ingest_records_total[$__rate_interval]))", "{{protocol}}"],
        ],
      },
      {
        title: "Durations of queries",
        type: "heatmap",
        unit: "s",
        w: 12,
        h: 13,
        targets: [["sum by (le) (rate(kansoku_query_duration_seconds_bucket[$__rate_interval]))", "{{le}}"]],
      },
      {
        title: "Store",
        unit: "bytes",
        w: 12,
        targets: [
          ["sum(kansoku_store_disk_bytes)", "disk"],
          ["sum(kansoku_store_wal_bytes)", "WAL"],
          ["sum(kansoku_store_head_bytes)", "head"],
        ],
      },
    ],
  ),
};
