/**
 * The start page: nodes, namespaces, workloads and pods with live measures, and above them what is
 * wrong. Metrics come every ten seconds, what must be counted out of logs every thirty.
 */
import { useMemo, useState } from "preact/hooks";
import { refusal, whoAmI } from "../access/session";
import { Empty } from "../empty";
import { useAsked } from "../hooks";
import { t, type Key } from "../i18n";
import { go, link, withParams, type State } from "../state";
import { tableGrid } from "../time";
import { FilterBox, Nothing, Problem, Segmented } from "../widgets";
import { loadNodes, loadPods, type Place } from "./load";
import { NODE_MEASURES, POD_MEASURES } from "./measures";
import { arrange, groupRows, withWriters, type Measured, type Pod, type Row } from "./rows";
import { MeasureTable } from "./table";

const TABS = ["nodes", "namespaces", "workloads", "pods"] as const;
type Tab = (typeof TABS)[number];

const NO_PODS: ReadonlyMap<string, Pod> = new Map();
/** Points of a sparkline: one every three pixels. */
const POINTS = 24;
/** Beside no more than these there is room for the workloads. */
const FEW_NODES = 5;
const METRICS_EVERY_S = 10;
const LOGS_EVERY_S = 30;

export function ClusterPage({ state }: { state: State }) {
  const { params } = state;
  const place: Place = { namespace: params.ns ?? "", node: params.node ?? "" };
  const narrowed = place.namespace !== "" || place.node !== "";
  // Nodes are in no namespace: who sees some namespaces only sees none of them.
  const hidden = refusal(whoAmI(), "read_all");
  const tab = TABS.find((known) => known === params.tab) ?? (narrowed || hidden !== null ? "pods" : "nodes");
  const step_s = Math.max(15, Math.ceil(state.range_s / POINTS));
  const grid = () => tableGrid(state, step_s);
  const key = JSON.stringify([place, state.range_s, state.end_s]);
  const repeat = state.live;
  const nodes = useAsked(`nodes ${key}`, (run) => loadNodes(false, grid(), run), {
    repeat,
    interval_s: METRICS_EVERY_S,
  });
  const nodeLogs = useAsked(`node logs ${key}`, (run) => loadNodes(true, grid(), run), {
    repeat,
    interval_s: LOGS_EVERY_S,
    quiet: true,
  });
  const pods = useAsked(`pods ${key}`, (run) => loadPods(place, false, grid(), run), {
    repeat,
    interval_s: METRICS_EVERY_S,
  });
  const podLogs = useAsked(`pod logs ${key}`, (run) => loadPods(place, true, grid(), run), {
    repeat,
    interval_s: LOGS_EVERY_S,
    quiet: true,
  });
  const nodeRows = useMemo(
    () => withCells(nodes.data?.rows ?? [], nodeLogs.data?.rows ?? []),
    [nodes.data, nodeLogs.data],
  );
  const measured = useMemo(
    () => new Map([...(pods.data?.measured ?? []), ...(podLogs.data?.measured ?? [])]),
    [pods.data, podLogs.data],
  );
  const all = useMemo(
    () => withWriters(pods.data?.pods ?? NO_PODS, podLogs.data?.pods ?? NO_PODS),
    [pods.data, podLogs.data],
  );
  const rows = useMemo(() => rowsOf(tab, nodeRows, all, measured), [tab, nodeRows, all, measured]);
  const [filter, setFilter] = useState(params.filter ?? "");
  const sort = params.sort ?? "status";
  const shown = arrange(rows, filter, sort);
  const workloads = arrange(
    useMemo(() => (tab === "nodes" ? rowsOf("workloads", [], all, measured) : []), [tab, all, measured]),
    filter,
    sort,
  );
  const failed = nodes.error ?? pods.error;

  if (nodes.data === null && pods.data === null && failed === null)
    return <p class="note">{t("frame.loading")}</p>;
  if (failed !== null && nodes.data === null) return <Problem error={failed} />;
  if (nodeRows.length === 0 && all.size === 0 && !nodes.busy && !pods.busy) {
    return hidden === null ? (
      <Empty />
    ) : (
      <Nothing title={t("cluster.no_pods")}>
        <p>{t(hidden.key, hidden.holes)}</p>
      </Nothing>
    );
  }
  return (
    <div class="cluster">
      <h1 class="unseen">{t("page.cluster")}</h1>
      <Problems nodes={nodeRows} pods={groupRows(all, POD_MEASURES, measured, podHead)} state={state} />
      <div class="toolbar">
        <Segmented
          label={t("cluster.show")}
          values={TABS}
          texts={TABS.map((name) => `${t(`cluster.${name}` as Key)} ${count(name, nodeRows, all)}`)}
          chosen={tab}
          choose={(name) => go(withParams(state, { tab: name }))}
        />
        <FilterBox
          label={t("cluster.filter")}
          value={filter}
          onInput={(text) => {
            setFilter(text);
            history.replaceState(null, "", link("cluster", { ...params, filter: text }, state));
          }}
        />
        {narrowed && (
          <a class="chip" href={link("cluster", { tab }, state)}>
            {[place.namespace, place.node].filter(Boolean).join(" · ")} <span aria-hidden="true">×</span>
            <span class="unseen">{t("cluster.all")}</span>
          </a>
        )}
      </div>
      {hidden !== null && tab === "nodes" && <p class="note">{t(hidden.key, hidden.holes)}</p>}
      <Problem error={failed ?? podLogs.error ?? nodes.data?.error ?? pods.data?.error ?? null} />
      {hidden !== null && tab === "nodes" ? null : shown.length === 0 ? (
        <p class="note">
          {rows.length === 0
            ? t(tab === "nodes" ? "cluster.no_nodes" : "cluster.no_pods")
            : t("cluster.no_match", { filter })}
        </p>
      ) : (
        <MeasureTable
          label={t(`cluster.${tab}` as Key)}
          head={t(`cluster.one_${tab}` as Key)}
          rows={shown}
          measures={tab === "nodes" ? NODE_MEASURES : POD_MEASURES}
          sort={sort}
          onSort={(next) => go(withParams(state, { sort: next }))}
          name={(row) => <Name tab={tab} row={row} state={state} />}
        />
      )}
      {tab === "nodes" && !narrowed && nodeRows.length <= FEW_NODES && workloads.length > 0 && (
        <>
          <h2 class="further">
            <a href={link("cluster", { tab: "workloads" }, state)}>{t("cluster.workloads")}</a>
          </h2>
          <MeasureTable
            label={t("cluster.workloads")}
            head={t("cluster.one_workloads")}
            rows={workloads}
            measures={POD_MEASURES}
            sort={sort}
            onSort={(next) => go(withParams(state, { sort: next }))}
            name={(row) => <Name tab="workloads" row={row} state={state} />}
          />
        </>
      )}
    </div>
  );
}

/** Cells of the same rows, asked for separately. */
function withCells(rows: readonly Row[], more: readonly Row[]): Row[] {
  const known = new Map(more.map((row) => [row.key, row.cells]));
  return rows.map((row) => ({ ...row, cells: new Map([...row.cells, ...(known.get(row.key) ?? [])]) }));
}

const podHead = ({ namespace, pod, node, workload }: Pod) => ({
  key: `${namespace}/${pod}`,
  name: pod,
  detail: namespace,
  labels: { namespace, pod, node, workload },
});

function rowsOf(tab: Tab, nodes: Row[], pods: ReadonlyMap<string, Pod>, measured: Measured): Row[] {
  const grouped = (group: Parameters<typeof groupRows>[3]): Row[] =>
    groupRows(pods, POD_MEASURES, measured, group);
  switch (tab) {
    case "nodes":
      return nodes;
    case "namespaces":
      return grouped(({ namespace }) => ({
        key: namespace,
        name: namespace,
        detail: "",
        labels: { namespace },
      }));
    case "workloads":
      return grouped(({ namespace, kind, workload }) => ({
        key: `${namespace}/${kind}/${workload}`,
        name: workload,
        detail: namespace,
        labels: { namespace, workload, kind },
      }));
    case "pods":
      return grouped(podHead);
  }
}

function count(tab: Tab, nodes: readonly Row[], pods: ReadonlyMap<string, Pod>): number {
  const all = [...pods.values()];
  switch (tab) {
    case "nodes":
      return nodes.length;
    case "namespaces":
      return new Set(all.map(({ namespace }) => namespace)).size;
    case "workloads":
      return new Set(all.map(({ namespace, kind, workload }) => `${namespace}/${kind}/${workload}`)).size;
    case "pods":
      return all.length;
  }
}

function Name({ tab, row, state }: { tab: Tab; row: Row; state: State }) {
  const { namespace = "", kind = "" } = row.labels;
  const href = {
    nodes: link("node", { node: row.name }, state),
    namespaces: link("cluster", { tab: "workloads", ns: row.name }, state),
    workloads: link("cluster", { tab: "pods", ns: namespace, filter: row.name }, state),
    pods: link("pod", { ns: namespace, pod: row.name }, state),
  }[tab];
  return (
    <>
      {tab !== "nodes" && row.detail !== "" && <span class="prefix">{row.detail} / </span>}
      <a href={href}>
        <bdi>{row.name}</bdi>
      </a>
      {tab === "nodes" && <span class="prefix"> {row.detail}</span>}
      {kind !== "" && <span class="prefix"> {kind}</span>}
    </>
  );
}

/** The few things that somebody has to look at, worst first. */
function Problems({ nodes, pods, state }: { nodes: readonly Row[]; pods: readonly Row[]; state: State }) {
  const found: { text: string; href: string }[] = [];
  const node = (row: Row): string => link("node", { node: row.name }, state);
  const pod = (row: Row): string => link("pod", { ns: row.detail, pod: row.name }, state);
  const value = (row: Row, name: string): number => row.cells.get(name)?.value ?? 0;
  for (const row of nodes) {
    if (row.state === "bad") found.push({ text: `${row.name}: ${row.status}`, href: node(row) });
    if (value(row, "fill") >= 0.85)
      found.push({
        text: t("cluster.disk_full", { name: row.name, percent: Math.round(value(row, "fill") * 100) }),
        href: node(row),
      });
  }
  for (const row of pods) {
    const oom = value(row, "oom");
    if (row.state === "bad") found.push({ text: `${row.name}: ${row.status}`, href: pod(row) });
    if (oom >= 1)
      found.push({ text: t("cluster.oom", { name: row.name, n: Math.round(oom) }), href: pod(row) });
    if (value(row, "throttled") >= 0.25)
      found.push({
        text: t("cluster.throttled", { name: row.name, percent: Math.round(value(row, "throttled") * 100) }),
        href: pod(row),
      });
  }
  if (found.length === 0) return null;
  return (
    <section class="problems" aria-label={t("cluster.problems")}>
      <h2>{t("cluster.problems")}</h2>
      <ul>
        {found.slice(0, 8).map(({ text, href }) => (
          <li key={text}>
            <a href={href}>{text}</a>
          </li>
        ))}
        {found.length > 8 && <li class="note">{t("cluster.more_problems", { n: found.length - 8 })}</li>}
      </ul>
    </section>
  );
}
