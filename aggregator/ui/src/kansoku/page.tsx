/** How kansoku itself is: its agents, what comes in, what is asked, what the store takes, and for whom. */
import { useState } from "preact/hooks";
import { askPrometheus, queryRange, queryVector, queryVolume, version, type Run } from "../api";
import { arrange, cellOf, type Cell, type Row } from "../cluster/rows";
import { MeasureTable } from "../cluster/table";
import { formatValue, type Labels, type Unit } from "../format";
import { useAsked } from "../hooks";
import { formatAge, t, type Key } from "../i18n";
import { parseValue, toColumns } from "../matrix";
import { PanelChart } from "../panel_chart";
import { link, queryLink, type State } from "../state";
import { tableGrid, rateWindow, type Grid } from "../time";
import { Card, Nothing, Problem } from "../widgets";
import { newestConfig, usualConfig } from "./configs";
import { AGENT_MEASURES, STORE_CHARTS } from "./measures";

const POINTS = 24;
const AGENTS_EVERY_S = 15;
const STORE_EVERY_S = 30;
/** An agent that said nothing for so long is silent. */
const SILENT_S = 120;

export function KansokuPage({ state }: { state: State }) {
  return (
    <div class="kansoku">
      <h1 class="unseen">{t("page.kansoku")}</h1>
      <StoreTiles state={state} />
      <Agents state={state} />
      <div class="grid charts">
        {STORE_CHARTS.map(({ title, unit, queries }) => (
          <PanelChart key={title} title={t(title)} unit={unit} queries={queries} state={state} />
        ))}
      </div>
      <Costs state={state} />
      <Cardinality />
    </div>
  );
}

const TILES: readonly { title: Key; query: string; unit: Unit }[] = [
  { title: "kansoku.disk", query: "sum(kansoku_store_disk_bytes) + sum(kansoku_store_wal_bytes)", unit: "bytes" },
  {
    title: "kansoku.ratio",
    // Nothing is compressed before the first part is written.
    query: "sum(kansoku_store_part_raw_bytes) / (sum(kansoku_store_disk_bytes) > 0)",
    unit: "plain",
  },
  { title: "kansoku.series", query: "sum(kansoku_store_active_series)", unit: "plain" },
  { title: "kansoku.streams", query: "sum(kansoku_store_active_streams)", unit: "plain" },
  {
    title: "kansoku.lines",
    query: "sum(kansoku_store_part_entries) + sum(kansoku_store_head_entries)",
    unit: "plain",
  },
  {
    title: "kansoku.samples",
    query: "sum(kansoku_store_part_samples) + sum(kansoku_store_head_samples)",
    unit: "plain",
  },
];

function StoreTiles({ state }: { state: State }) {
  const { data, error } = useAsked(
    `tiles ${state.end_s}`,
    async (run) => {
      const time_s = state.end_s ?? Math.floor(Date.now() / 1000);
      const all = await Promise.all(TILES.map(({ query }) => queryVector(query, time_s, run)));
      return { running: await version(run.signal), values: all.map((samples) => samples[0]?.value[1]) };
    },
    { repeat: state.live, interval_s: STORE_EVERY_S, quiet: true },
  );
  if (error !== null && data === null) return <Problem error={error} />;
  return (
    <dl class="tiles seven" aria-label={t("kansoku.store")}>
      <div>
        <dt>kansoku-aggregator</dt>
        <dd>{data?.running ?? "–"}</dd>
      </div>
      {TILES.map(({ title, unit }, at) => {
        const text = data?.values[at];
        return (
          <div key={title}>
            <dt>{t(title)}</dt>
            <dd>{text === undefined ? "–" : formatValue(parseValue(text), unit)}</dd>
          </div>
        );
      })}
    </dl>
  );
}

/** Where an agent is, and its name when it is not its node's. */
interface Place {
  node: string;
  agent: string;
}
const isAt = (labels: Labels, { node, agent }: Place): boolean =>
  labels["node"] === node && (labels["agent"] ?? "") === agent;

async function loadAgents(grid: Grid, run: Run): Promise<Row[]> {
  const window = rateWindow(grid.step_s);
  const past = `[${Math.max(600, grid.end_s - grid.start_s)}s]`;
  const [info, seen, uptime, configs, ...measured] = await Promise.all([
    queryVector(`last_over_time(fluentbit_build_info{node!=""}${past})`, grid.at_s, run),
    queryVector(
      // The second half finds those of long ago; its steps may all lie before a young one's first sample.
      `max by (node, agent) (timestamp(fluentbit_build_info{node!=""})) or max by (node, agent) (max_over_time(timestamp(fluentbit_build_info{node!=""})${past.replace("]", ":15s]")}))`,
      grid.at_s,
      run,
    ),
    queryVector('max by (node, agent) (fluentbit_uptime{node!=""})', grid.at_s, run),
    queryVector('timestamp(kansoku_agent_config_info{node!=""})', grid.at_s, run),
    ...AGENT_MEASURES.map(async ({ query }) =>
      toColumns(grid, (await queryRange(query.replaceAll("[W]", `[${window}]`), grid, run)).data),
    ),
  ]);
  const of = (samples: typeof info, place: Place): number | null => {
    const text = samples.find(({ metric }) => isAt(metric, place))?.value[1];
    return text === undefined ? null : parseValue(text);
  };
  // One that has a name of its own is the same on another node; it is where it was seen last.
  const newest = new Map<string, Place & { version: string; seen_s: number }>();
  for (const { metric } of info) {
    const place = { node: metric["node"] ?? "", agent: metric["agent"] ?? "" };
    const key = place.agent || place.node;
    const seen_s = of(seen, place) ?? 0;
    if ((newest.get(key)?.seen_s ?? -1) <= seen_s)
      newest.set(key, { ...place, version: metric["version"] ?? "", seen_s });
  }
  const usual = usualConfig(configs.filter(({ metric }) => (metric["agent"] ?? "") === ""));
  return [...newest].map(([key, place]): Row => {
    const config = newestConfig(configs.filter(({ metric }) => isAt(metric, place)));
    const differs = place.agent === "" && config !== null && usual !== null && config.sha256 !== usual;
    const cells = new Map<string, Cell>();
    for (const [at, measure] of AGENT_MEASURES.entries()) {
      const points = measured[at]?.series.find(({ labels }) => isAt(labels, place))?.points;
      const cell = points === undefined ? null : cellOf(measure, points);
      if (cell !== null) cells.set(measure.name, cell);
    }
    const silent = grid.at_s - place.seen_s > SILENT_S;
    const up_s = of(uptime, place);
    return {
      key,
      name: key,
      detail: place.version,
      state: silent ? "bad" : "ok",
      status: silent ? t("agent.silent") : up_s === null ? "" : t("agent.up", { age: formatAge(up_s) }),
      cells,
      labels: {
        node: place.node,
        ...(config === null ? {} : { config: config.sha256.slice(0, 7), file: config.file }),
        ...(differs ? { differs: "1" } : {}),
      },
    };
  });
}

function Agents({ state }: { state: State }) {
  const [sort, setSort] = useState("status");
  const step_s = Math.max(15, Math.ceil(state.range_s / POINTS));
  const { data, error } = useAsked(
    JSON.stringify(["agents", state.range_s, state.end_s]),
    (run) => loadAgents(tableGrid(state, step_s), run),
    { repeat: state.live, interval_s: AGENTS_EVERY_S },
  );
  if (error !== null && data === null) return <Problem error={error} />;
  if (data === null) return <p class="note">{t("frame.loading")}</p>;
  if (data.length === 0) {
    return (
      <Nothing title={t("agent.none")}>
        <p>
          {t("agent.none_help")} <code>-i fluentbit_metrics</code>
        </p>
      </Nothing>
    );
  }
  return (
    <MeasureTable
      label={t("agent.agents")}
      head={t("agent.agents")}
      rows={arrange(data, "", sort)}
      measures={AGENT_MEASURES}
      sort={sort}
      onSort={setSort}
      name={(row) => (
        <>
          <a href={link("node", { node: row.labels["node"] ?? row.name }, state)}>{row.name}</a>
          <span class="prefix"> {row.detail}</span>
          {row.labels["config"] !== undefined && (
            <span class="prefix" title={row.labels["file"]}>
              {` · ${t("agent.config", { hash: row.labels["config"] })}`}
            </span>
          )}
          {row.labels["differs"] !== undefined && (
            <>
              {" "}
              <span class="badge warn">{t("agent.config_differs")}</span>
            </>
          )}
        </>
      )}
    />
  );
}

/** What each namespace costs: bytes of its lines within the window, and series now. */
function Costs({ state }: { state: State }) {
  const { data, error } = useAsked(
    JSON.stringify(["costs", state.range_s, state.end_s]),
    async (run) => {
      const end_s = state.end_s ?? Math.floor(Date.now() / 1000);
      const [volume, series] = await Promise.all([
        queryVolume('{namespace=~".+"}', "namespace", end_s - state.range_s, end_s, run),
        queryVector('count by (namespace) ({namespace!=""})', end_s, run),
      ]);
      const rows = new Map<string, { bytes: number; series: number }>();
      const row = (name: string) => {
        const known = rows.get(name) ?? { bytes: 0, series: 0 };
        rows.set(name, known);
        return known;
      };
      for (const { metric, value } of volume) row(metric["namespace"] ?? "").bytes = parseValue(value[1]);
      for (const { metric, value } of series) row(metric["namespace"] ?? "").series = parseValue(value[1]);
      return [...rows].sort(([, a], [, b]) => b.bytes - a.bytes || b.series - a.series);
    },
    { repeat: state.live, interval_s: 60, quiet: true },
  );
  const most = Math.max(1, ...(data ?? []).map(([, { bytes }]) => bytes));
  return (
    <Card title={t("kansoku.costs")}>
      <Problem error={error} />
      {data !== null && data.length === 0 && <p class="note">{t("kansoku.no_namespaces")}</p>}
      <table class="costs">
        <thead>
          <tr>
            <th scope="col">{t("cluster.one_namespaces")}</th>
            <th scope="col">{t("kansoku.log_bytes")}</th>
            <th scope="col">{t("kansoku.series")}</th>
          </tr>
        </thead>
        <tbody>
          {data?.slice(0, 50).map(([name, { bytes, series }]) => (
            <tr key={name}>
              <th scope="row">
                <a href={link("cluster", { tab: "workloads", ns: name }, state)}>{name}</a>
              </th>
              <td class="number">
                <span
                  class="meter"
                  style={{ width: `${Math.round((60 * bytes) / most)}px` }}
                  aria-hidden="true"
                />
                <a href={queryLink("logql", `{namespace=${JSON.stringify(name)}}`, state)}>
                  {formatValue(bytes, "bytes")}
                </a>
              </td>
              <td class="number">{t("count", { n: series })}</td>
            </tr>
          ))}
        </tbody>
      </table>
    </Card>
  );
}

interface Counted {
  name: string;
  value: number;
}

/** The lists of `/api/v1/status/tsdb`, whatever else it holds. Pure. */
export function listsOf(
  data: unknown,
): Readonly<
  Record<"seriesCountByMetricName" | "labelValueCountByLabelName" | "seriesCountByLabelValuePair", Counted[]>
> {
  const all = typeof data === "object" && data !== null ? (data as Record<string, unknown>) : {};
  const list = (key: string): Counted[] => {
    const found = all[key];
    if (!Array.isArray(found)) return [];
    return found.filter(
      (one): one is Counted => typeof one?.name === "string" && typeof one.value === "number",
    );
  };
  return {
    seriesCountByMetricName: list("seriesCountByMetricName"),
    labelValueCountByLabelName: list("labelValueCountByLabelName"),
    seriesCountByLabelValuePair: list("seriesCountByLabelValuePair"),
  };
}

const LISTS = [
  ["seriesCountByMetricName", "kansoku.by_metric"],
  ["labelValueCountByLabelName", "kansoku.by_label"],
  ["seriesCountByLabelValuePair", "kansoku.by_pair"],
] as const;

/** Where the series come from. */
function Cardinality() {
  const { data, error } = useAsked(
    "tsdb",
    async (run) => listsOf(await askPrometheus("api/v1/status/tsdb", run)),
    { quiet: true },
  );
  return (
    <div class="grid lists">
      <Problem error={error} />
      {LISTS.map(([key, title]) => (
        <Card key={key} title={t(title)}>
          <table class="costs">
            <tbody>
              {data?.[key].map(({ name, value }) => (
                <tr key={name}>
                  <th scope="row">
                    <bdi>{name}</bdi>
                  </th>
                  <td class="number">{t("count", { n: value })}</td>
                </tr>
              ))}
            </tbody>
          </table>
        </Card>
      ))}
    </div>
  );
}
