/** What the page of kansoku's own health measures: its agents, by their metrics, and its store. */
import type { Measure } from "../cluster/measures";
import type { Labels, Unit } from "../format";
import { type Key, t } from "../i18n";
import type { ChartQuery } from "../panel_chart";
import type { ChartOptions } from "../chart";

/** Agents tell these through their input `fluentbit_metrics`; one that is not its node's has a name, its label `agent`. */
export const AGENT_MEASURES: readonly Measure[] = [
  {
    name: "records",
    title: "agent.records",
    unit: "plain",
    query: 'sum by (node, agent) (rate(fluentbit_output_proc_records_total{node!=""}[W]))',
  },
  {
    name: "latency",
    title: "agent.latency",
    unit: "seconds",
    query:
      'sum by (node, agent) (rate(fluentbit_output_latency_seconds_sum{node!=""}[W])) / sum by (node, agent) (rate(fluentbit_output_latency_seconds_count{node!=""}[W]))',
    bad: 30,
  },
  {
    name: "lag",
    title: "agent.lag",
    unit: "bytes",
    query: 'sum by (node, agent) (kansoku_agent_input_lag_bytes{node!=""})',
  },
  {
    name: "waiting",
    title: "agent.waiting",
    unit: "count",
    query: 'sum by (node, agent) (fluentbit_storage_chunks{node!=""})',
  },
  {
    name: "retries",
    title: "agent.retries",
    unit: "count",
    query: 'sum by (node, agent) (fluentbit_output_retries_total{node!=""})',
    growth: true,
    bad: 10,
  },
  {
    name: "errors",
    title: "agent.errors",
    unit: "count",
    query: 'sum by (node, agent) (fluentbit_output_errors_total{node!=""})',
    growth: true,
    bad: 1,
  },
  {
    name: "dropped",
    title: "agent.dropped",
    unit: "count",
    query: 'sum by (node, agent) (fluentbit_output_dropped_records_total{node!=""})',
    growth: true,
    bad: 1,
  },
];

const by =
  (label: string) =>
  (labels: Labels): string =>
    labels[label] ?? "";
const named = (key: Key) => (): string => t(key);

export const STORE_CHARTS: readonly {
  title: Key;
  unit: Unit;
  shape?: ChartOptions["shape"];
  queries: ChartQuery[];
}[] = [
  {
    title: "kansoku.ingest_records",
    unit: "plain",
    queries: [
      { expression: "sum by (protocol) (rate(kansoku_ingest_records_total[W]))", name: by("protocol") },
    ],
  },
  {
    title: "kansoku.ingest_bytes",
    unit: "bytes_per_second",
    queries: [
      { expression: "sum by (protocol) (rate(kansoku_ingest_bytes_total[W]))", name: by("protocol") },
    ],
  },
  {
    title: "kansoku.refused",
    unit: "plain",
    queries: [
      { expression: "sum by (reason) (rate(kansoku_ingest_discarded_total[W]))", name: by("reason") },
      { expression: "sum(rate(kansoku_ingest_failed_requests_total[W]))", name: named("line.failed_requests") },
    ],
  },
  {
    title: "kansoku.queries",
    unit: "plain",
    queries: [
      {
        expression: "sum by (engine, kind) (rate(kansoku_query_duration_seconds_count[W]))",
        name: (labels) => `${labels["engine"] ?? ""} ${labels["kind"] ?? ""}`,
      },
    ],
  },
  {
    title: "kansoku.query_time",
    unit: "seconds",
    queries: [
      {
        expression:
          "histogram_quantile(0.95, sum by (engine, le) (rate(kansoku_query_duration_seconds_bucket[W])))",
        name: (labels) => `${labels["engine"] ?? ""} p95`,
      },
      {
        expression:
          "histogram_quantile(0.5, sum by (engine, le) (rate(kansoku_query_duration_seconds_bucket[W])))",
        name: (labels) => `${labels["engine"] ?? ""} p50`,
      },
    ],
  },
  {
    title: "kansoku.disk",
    unit: "bytes",
    queries: [
      { expression: "sum(kansoku_store_disk_bytes)", name: named("line.disk") },
      { expression: "sum(kansoku_store_wal_bytes)", name: () => "WAL" },
      { expression: "sum(kansoku_store_head_bytes)", name: named("line.head") },
    ],
  },
];
