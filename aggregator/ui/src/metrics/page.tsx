/**
 * The page of metrics: up to five queries as one chart, table or heat map, compared with an earlier
 * time when wanted, beside all metrics with their help texts. Every choice is in the address.
 */
import { useRef, useState } from "preact/hooks";
import { Chart } from "../chart";
import { QueryBox } from "../editor/query_box";
import { shortNames, unitOf } from "../format";
import { remember } from "../history";
import { History } from "../history_menu";
import { useAsked } from "../hooks";
import { formatSpan, t } from "../i18n";
import { go, link, withParams, zoomed, type State } from "../state";
import { VectorTable } from "../vector_table";
import { Mount, Nothing, Problem, Segmented } from "../widgets";
import { Finder } from "./finder";
import { HeatMap } from "./heat_map";
import { heatRows } from "./heat_rows";
import { LETTERS, linesOf, loadInstants, loadRanges } from "./load";

const VIEWS = ["graph", "table", "heat"] as const;
const COMPARE = ["", "1h", "1d", "7d"] as const;
const KEYS = ["q", "q2", "q3", "q4", "q5"] as const;
const HEIGHT = 340;
const REFRESH_S = 5;

export function MetricsPage({ state }: { state: State }) {
  const { params } = state;
  const view = VIEWS.find((known) => known === params.view) ?? "graph";
  const compare = COMPARE.find((known) => known === params.compare) ?? "";
  const asked = KEYS.map((key) => params[key] ?? "").filter(Boolean);
  const [drafts, setDrafts] = useState(0);
  const rows = Math.max(1, Math.min(KEYS.length, asked.length + drafts));
  const finding = params.find === undefined ? asked.length === 0 : params.find === "1";

  const setQueries = (queries: readonly string[], more: State["params"] = {}): void => {
    const kept = queries.filter(Boolean);
    const next = Object.fromEntries(KEYS.map((key, at) => [key, kept[at] ?? ""]));
    setDrafts(0);
    go(withParams(state, { ...more, ...next }));
  };
  const run = (at: number, query: string): void => {
    if (query !== "") remember({ language: "promql", query });
    const next = [...asked];
    next[at] = query;
    setQueries(next);
  };
  return (
    <div class={finding ? "metrics finding" : "metrics"}>
      <h1 class="unseen">{t("page.metrics")}</h1>
      {finding && <Finder choose={(query) => run(Math.max(0, asked.length === 0 ? 0 : rows - 1), query)} />}
      <div class="metrics-main">
        {Array.from({ length: rows }, (_, at) => (
          <div class="query-row" key={at}>
            {rows > 1 && <span class="letter">{LETTERS[at]}</span>}
            <QueryBox
              language="promql"
              query={asked[at] ?? ""}
              first={at === 0}
              label={rows > 1 ? `${t("editor.promql")} ${LETTERS[at]}` : t("editor.promql")}
              run={(query) => run(at, query)}
            />
            {rows > 1 && (
              <button
                type="button"
                aria-label={t("metrics.remove", { letter: LETTERS[at] ?? "" })}
                onClick={() =>
                  asked[at] === undefined
                    ? setDrafts(0)
                    : setQueries(asked.filter((_, other) => other !== at))
                }
              >
                ×
              </button>
            )}
          </div>
        ))}
        <div class="toolbar">
          <Segmented
            label={t("metrics.view")}
            values={VIEWS}
            texts={[t("metrics.graph"), t("metrics.table"), t("metrics.heat")]}
            chosen={view}
            choose={(chosen) => go(withParams(state, { view: chosen === "graph" ? "" : chosen }))}
          />
          {view === "graph" && (
            <select
              aria-label={t("metrics.compare")}
              value={compare}
              onChange={(event) => go(withParams(state, { compare: event.currentTarget.value }))}
            >
              {COMPARE.map((earlier) => (
                <option key={earlier} value={earlier}>
                  {earlier === "" ? t("metrics.no_compare") : t("metrics.compared", { time: earlier })}
                </option>
              ))}
            </select>
          )}
          <button
            type="button"
            disabled={rows >= KEYS.length || asked.length < rows}
            onClick={() => setDrafts(drafts + 1)}
          >
            {t("metrics.add")}
          </button>
          <button
            type="button"
            aria-pressed={finding}
            onClick={() => go(withParams(state, { find: finding ? "0" : "1" }))}
          >
            {t("finder.title")}
          </button>
          <History language="promql" choose={(query) => run(Math.max(0, rows - 1), query)} />
        </div>
        {asked.length === 0 ? (
          <Examples state={state} />
        ) : view === "table" ? (
          <Tables queries={asked} state={state} />
        ) : (
          <Graph queries={asked} state={state} compare={compare} heat={view === "heat"} />
        )}
      </div>
    </div>
  );
}

function Graph({
  queries,
  state,
  compare,
  heat,
}: {
  queries: readonly string[];
  state: State;
  compare: string;
  heat: boolean;
}) {
  const place = useRef<HTMLDivElement>(null);
  const newest = useRef(state);
  newest.current = state;
  const key = JSON.stringify([queries, state.range_s, state.end_s, compare]);
  const { data, error, busy } = useAsked(
    key,
    (run) => loadRanges(queries, state, heat ? "" : compare, place.current?.clientWidth ?? 900, run),
    { repeat: state.live, interval_s: REFRESH_S },
  );
  const units = new Set(queries.map(unitOf));
  const unit = units.size === 1 ? ([...units][0] ?? "plain") : "plain";
  const lines = data === null ? [] : linesOf(data.now, data.before, compare);
  const shown = data?.now.find((answer) => answer.data !== null)?.data ?? null;
  const notes = [...new Set((data?.now ?? []).flatMap((answer) => answer.notes))];
  return (
    <div ref={place}>
      <Problem error={error} />
      {data?.now.map(({ letter, query, error: failure }) => (
        <Problem key={letter} error={failure} query={query} />
      ))}
      {lines.length === 0 && shown !== null && (
        <Nothing title={t("metrics.none")}>{t("metrics.none_help")}</Nothing>
      )}
      {shown !== null && lines.length > 0 && (
        <section class="card result" aria-busy={busy} aria-label={t("metrics.result")}>
          {heat ? (
            <Mount
              key="heat"
              make={() => new HeatMap()}
              update={(map) =>
                map.show(shown, heatRows(shown, shortNames(shown.series.map(({ labels }) => labels))))
              }
            />
          ) : (
            <Mount
              key={`graph ${unit}`}
              make={() =>
                new Chart({
                  label: t("metrics.result"),
                  unit,
                  height: HEIGHT,
                  shape: "lines",
                  legend: "table",
                  onZoom: (start_s, end_s) => go(zoomed(newest.current, start_s, end_s)),
                })
              }
              update={(chart) => data !== null && chart.show(data.grid, shown.times, lines)}
            />
          )}
        </section>
      )}
      {data !== null && (
        <p class="note" role="status">
          {[t("metrics.drawn", { n: lines.length, step: formatSpan(data.grid.step_s) }), ...notes].join(
            " · ",
          )}
        </p>
      )}
    </div>
  );
}

function Tables({ queries, state }: { queries: readonly string[]; state: State }) {
  const { data, error } = useAsked(
    JSON.stringify([queries, state.end_s]),
    (run) => loadInstants(queries, state.end_s ?? Math.floor(Date.now() / 1000), run),
    { repeat: state.live, interval_s: REFRESH_S },
  );
  return (
    <div class="tables">
      <Problem error={error} />
      {data?.map(({ letter, query, data: result, error: failure, notes }) => (
        <section key={letter} class="card result" aria-label={`${t("metrics.result")} ${letter}`}>
          <Problem error={failure} query={query} />
          {result !== null && <Mount make={() => new VectorTable()} update={(table) => table.show(result)} />}
          {notes.length > 0 && <p class="note">{notes.join(" · ")}</p>}
        </section>
      ))}
    </div>
  );
}

const EXAMPLES: readonly [Parameters<typeof t>[0], string][] = [
  ["example.cpu", "avg by (node, mode) (rate(node_cpu_seconds_total[2m]))"],
  ["example.memory", "1 - node_memory_MemAvailable_bytes / node_memory_MemTotal_bytes"],
  ["example.network", "rate(node_network_receive_bytes_total[2m])"],
  ["example.containers", "topk(5, sum by (namespace, pod) (rate(container_cpu_usage_seconds_total[2m])))"],
  ["example.restarts", "topk(10, increase(kube_pod_container_status_restarts_total[1h]))"],
  ["example.queries", "sum by (le) (rate(kansoku_query_duration_seconds_bucket[5m]))"],
];

/** Queries to start from, shown while there is none. */
function Examples({ state }: { state: State }) {
  return (
    <section class="card examples" aria-label={t("example.title")}>
      <h2>{t("example.title")}</h2>
      <ul>
        {EXAMPLES.map(([title, query]) => (
          <li key={query}>
            <a
              href={link(
                "metrics",
                { ...state.params, q: query, view: title === "example.queries" ? "heat" : "" },
                state,
              )}
            >
              <span>{t(title)}</span>
              <code>{query}</code>
            </a>
          </li>
        ))}
      </ul>
      <p class="note">{t("example.help")}</p>
    </section>
  );
}
