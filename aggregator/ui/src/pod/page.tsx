/**
 * One pod: what is known of it, its charts, its events and its log on one time axis. A drag over a
 * chart marks a span, to which the log below keeps until the mark is taken away. What a deleted pod
 * or a container before its restart wrote is there like everything else.
 */
import { useRef, useState } from "preact/hooks";
import { labelValues } from "../api";
import { Chart, type Line } from "../chart";
import { formatValue } from "../format";
import { useAsked } from "../hooks";
import { formatAgo, formatDate, t } from "../i18n";
import { podLines } from "../lines";
import { Detail } from "../logs/detail";
import { isWrapped, LogList } from "../logs/list";
import { loadHistogram, loadLines } from "../logs/load";
import { withField, withMatcher } from "../logs/logql";
import { RangeCache } from "../range_cache";
import { go, link, queryLink, withParams, zoomed, type State } from "../state";
import { chooseStep, formatMoment, formatNanoseconds, gridOf, rateWindow, type Grid } from "../time";
import { Card, FilterBox, Mount, Nothing, Problem } from "../widgets";
import {
  loadEvents,
  loadFacts,
  podLogQuery,
  podMatchers,
  troublesOf,
  type Container,
  type PodFacts,
  type Trouble,
} from "./load";
import { expressionOf, POD_PANELS, type PodPanel } from "./panels";

const LINES = 500;
const REFRESH_S = 5;
const FACTS_EVERY_S = 15;
const CHART_HEIGHT = 120;
const LEAST_STEP_S = 15;

interface Marked {
  start_s: number;
  end_s: number;
}

export function PodPage({ state }: { state: State }) {
  const { ns: namespace = "", pod = "" } = state.params;
  if (pod === "") return <Choose state={state} />;
  return <OnePod key={`${namespace}/${pod}`} state={state} namespace={namespace} pod={pod} />;
}

/** Without a pod in the address: all there are. */
function Choose({ state }: { state: State }) {
  const { data, error } = useAsked("pods", (run) => labelValues("loki/api", "pod", run.signal));
  return (
    <Nothing title={t("pod.choose")}>
      <Problem error={error} />
      <p>
        <a href={link("cluster", { tab: "pods" }, state)}>{t("pod.all", { n: data?.length ?? 0 })}</a>
      </p>
    </Nothing>
  );
}

function OnePod({ state, namespace, pod }: { state: State; namespace: string; pod: string }) {
  const window = JSON.stringify([state.range_s, state.end_s]);
  const step_s = chooseStep(state.range_s, 600, LEAST_STEP_S);
  const grid = (): Grid => gridOf(state, step_s, Date.now() / 1000);
  const facts = useAsked(
    `facts ${window}`,
    (run) => loadFacts(namespace, pod, grid(), rateWindow(step_s), run),
    {
      repeat: state.live,
      interval_s: FACTS_EVERY_S,
      quiet: true,
    },
  );
  const events = useAsked(`events ${window}`, (run) => loadEvents(namespace, pod, state, run), {
    repeat: state.live,
    interval_s: FACTS_EVERY_S,
    quiet: true,
  });
  const cache = useRef(new RangeCache());
  const charts = useAsked(
    `charts ${window}`,
    async (run) => {
      const own = grid();
      const matchers = podMatchers(namespace, pod);
      return Promise.all(
        POD_PANELS.map(async (panel) => {
          const all = await Promise.all(
            panel.queries.map((query) =>
              cache.current.fetch(expressionOf(query, matchers, rateWindow(step_s)), own, run),
            ),
          );
          const lines = podLines(panel.queries, all);
          return { grid: own, times: all[0]?.times ?? [], lines };
        }),
      );
    },
    { repeat: state.live, interval_s: REFRESH_S },
  );
  const from = Number(state.params.from);
  const to = Number(state.params.to);
  const marked: Marked | null = from > 0 && to > from ? { start_s: from, end_s: to } : null;
  const newest = useRef(state);
  newest.current = state;
  const mark = (start_s: number, end_s: number): void =>
    go(withParams(newest.current, { from: String(start_s), to: String(end_s) }));
  return (
    <div class="pod">
      <Head namespace={namespace} pod={pod} facts={facts.data} state={state} />
      <Problem error={facts.error ?? charts.error} />
      {facts.data !== null && isUnseen(facts.data) && <Unseen seen_s={facts.data.seen_s} state={state} />}
      {facts.data !== null && <Troubles troubles={troublesOf(facts.data, events.data ?? [])} />}
      {facts.data !== null && facts.data.containers.length > 0 && (
        <Containers containers={facts.data.containers} state={state} />
      )}
      <div class="grid charts">
        {POD_PANELS.map((panel, at) => (
          <PanelCard
            key={panel.title}
            panel={panel}
            data={charts.data?.[at] ?? null}
            marked={marked}
            mark={mark}
            namespace={namespace}
            pod={pod}
            state={state}
            step_s={step_s}
          />
        ))}
      </div>
      <Events events={events.data ?? []} error={events.error} />
      <PodLog
        state={state}
        namespace={namespace}
        pod={pod}
        marked={marked}
        mark={mark}
        containers={facts.data?.containers ?? []}
      />
    </div>
  );
}

/** Nothing was told of it in the window. */
const isUnseen = ({ info, containers }: PodFacts): boolean =>
  Object.keys(info).length === 0 && containers.length === 0;

/** The window, moved so that it ends just behind a moment. */
function endingAt(state: State, time_s: number): State {
  const behind_s = Math.ceil(time_s + state.range_s / 20);
  return { ...state, end_s: Math.min(behind_s, Math.floor(Date.now() / 1000)), live: false };
}

/** A pod that the window does not know: when it was there, and the way to that time. */
function Unseen({ seen_s, state }: { seen_s: number | null; state: State }) {
  if (seen_s === null) return null;
  return (
    <p class="note">
      {t("pod.unseen")}{" "}
      <button type="button" onClick={() => go(endingAt(state, seen_s))}>
        {t("pod.last_seen", { time: formatDate(seen_s) })}
      </button>
    </p>
  );
}

function Head({
  namespace,
  pod,
  facts,
  state,
}: {
  namespace: string;
  pod: string;
  facts: PodFacts | null;
  state: State;
}) {
  const node = facts?.info["node"] ?? "";
  const owner = facts?.info["created_by_name"] ?? "";
  const waiting = facts?.containers.find(({ bad }) => bad)?.state;
  const seen_s = facts?.gone === true ? facts.seen_s : null;
  const gone =
    seen_s === null ? t("cluster.gone") : t("pod.gone", { ago: formatAgo(Date.now() / 1000 - seen_s) });
  const badge = facts === null ? "" : facts.gone ? gone : (waiting ?? facts.phase);
  return (
    <div class="pod-head">
      <div class="toolbar">
        <h1>
          <a class="prefix" href={link("cluster", { tab: "pods", ns: namespace }, state)}>
            {namespace}
          </a>
          <span class="prefix"> / </span>
          <bdi>{pod}</bdi>
        </h1>
        {badge !== "" && (
          <span
            class={`badge ${facts?.gone ? "gone" : waiting === undefined ? "ok" : "bad"}`}
            {...(seen_s === null ? {} : { title: formatMoment(seen_s) })}
          >
            {badge}
          </span>
        )}
        {seen_s !== null && (
          <button type="button" onClick={() => go(endingAt(state, seen_s))}>
            {t("pod.show_end")}
          </button>
        )}
        {node !== "" && <a href={link("node", { node }, state)}>{`${t("page.node")} ${node}`}</a>}
        {owner !== "" && <span>{`${facts?.info["created_by_kind"] ?? ""} ${owner}`}</span>}
        {facts?.info["pod_ip"] !== undefined && <span>{facts.info["pod_ip"]}</span>}
        {facts?.started_s != null && (
          <span title={formatMoment(facts.started_s)}>
            {t("pod.started", { ago: formatAgo(Date.now() / 1000 - facts.started_s) })}
          </span>
        )}
      </div>
      {facts !== null && Object.keys(facts.labels).length > 0 && (
        <ul class="chips" aria-label={t("logs.stream")}>
          {Object.entries(facts.labels).map(([name, value]) => (
            <li key={name} class="chip">
              {`${name}=${value}`}
            </li>
          ))}
        </ul>
      )}
    </div>
  );
}

function Troubles({ troubles }: { troubles: readonly Trouble[] }) {
  if (troubles.length === 0) return null;
  return (
    <section class="problems" aria-label={t("cluster.problems")}>
      <h2>{t("cluster.problems")}</h2>
      <ul class="lines">
        {troubles.map(({ key, values }) => (
          <li key={`${key} ${values["name"]}`}>{t(key, values)}</li>
        ))}
      </ul>
    </section>
  );
}

function Containers({ containers, state }: { containers: readonly Container[]; state: State }) {
  const share = (value: number | null, limit: number | null, unit: "cores" | "bytes"): string => {
    if (value === null) return "–";
    if (limit === null) return formatValue(value, unit);
    return `${formatValue(value, unit)} · ${t("node.of", { part: formatValue(value / limit, "fraction"), whole: formatValue(limit, unit) })}`;
  };
  return (
    <div class="scroll" tabIndex={0} role="region" aria-label={t("pod.containers")}>
      <table class="measures containers">
        <thead>
          <tr>
            {[
              t("pod.container"),
              t("cluster.status"),
              t("measure.restarts"),
              t("pod.ended"),
              t("measure.cpu"),
              t("measure.memory"),
              t("pod.image"),
            ].map((text) => (
              <th key={text} scope="col">
                {text}
              </th>
            ))}
          </tr>
        </thead>
        <tbody>
          {containers.map((one) => {
            const chosen = state.params.container === one.name;
            return (
              <tr key={one.name}>
                <th scope="row">
                  <button
                    type="button"
                    aria-pressed={chosen}
                    title={t("pod.only_log")}
                    onClick={() => go(withParams(state, { container: chosen ? "" : one.name }))}
                  >
                    {one.name}
                  </button>
                </th>
                <td>
                  {one.state !== "" && <span class={one.bad ? "badge bad" : "badge ok"}>{one.state}</span>}
                </td>
                <td class={(one.restarts ?? 0) > 0 ? "bad" : ""}>{one.restarts ?? "–"}</td>
                <td>{one.ended || "–"}</td>
                <td>{share(one.cpu, one.cpuLimit, "cores")}</td>
                <td>{share(one.memory, one.memoryLimit, "bytes")}</td>
                <td class="prefix">{one.image}</td>
              </tr>
            );
          })}
        </tbody>
      </table>
    </div>
  );
}

function PanelCard({
  panel,
  data,
  marked,
  mark,
  namespace,
  pod,
  state,
  step_s,
}: {
  panel: PodPanel;
  data: { grid: Grid; times: number[]; lines: Line[] } | null;
  marked: Marked | null;
  mark: (start_s: number, end_s: number) => void;
  namespace: string;
  pod: string;
  state: State;
  step_s: number;
}) {
  const [first] = panel.queries;
  const query =
    first === undefined ? "" : expressionOf(first, podMatchers(namespace, pod), rateWindow(step_s));
  return (
    <Card
      title={t(panel.title)}
      href={queryLink("promql", query, state)}
      idle={data !== null && data.lines.length === 0}
    >
      {data !== null && data.lines.length === 0 ? (
        <p class="note">{t("metrics.none")}</p>
      ) : (
        <Mount
          make={() =>
            new Chart({
              label: t(panel.title),
              unit: panel.unit,
              height: CHART_HEIGHT,
              shape: panel.shape,
              legend: "inline",
              fromZero: true,
              leastTop: panel.leastTop ?? 0,
              ...(panel.whole === true ? { whole: true } : {}),
              keepsMark: true,
              onZoom: mark,
            })
          }
          update={(chart) => {
            if (data !== null) chart.show(data.grid, data.times, data.lines);
            chart.mark(marked);
          }}
        />
      )}
    </Card>
  );
}

function Events({
  events,
  error,
}: {
  events: readonly {
    key: string;
    time_ns: string;
    type: string;
    reason: string;
    message: string;
    count: number;
  }[];
  error: Error | null;
}) {
  if (error !== null) return <Problem error={error} />;
  if (events.length === 0) return null;
  return (
    <Card title={t("pod.events")}>
      <ul class="events" tabIndex={0} aria-label={t("pod.events")}>
        {events.map(({ key, time_ns, type, reason, message, count }) => (
          <li key={key}>
            <span class="time">{formatNanoseconds(time_ns).slice(0, 8)}</span>
            <span class={type === "Warning" ? "badge bad" : "badge ok"}>{reason || type}</span>
            <bdi>{message}</bdi>
            {count > 1 && <span class="count">{`×${count}`}</span>}
          </li>
        ))}
      </ul>
    </Card>
  );
}

/** The pod's log: its histogram on the charts' axis, its lines within the marked span. */
function PodLog({
  state,
  namespace,
  pod,
  marked,
  mark,
  containers,
}: {
  state: State;
  namespace: string;
  pod: string;
  marked: Marked | null;
  mark: (start_s: number, end_s: number) => void;
  containers: readonly Container[];
}) {
  const { container = "", filter = "" } = state.params;
  const [text, setText] = useState(filter);
  const query = podLogQuery(namespace, pod, container, filter);
  const span = marked === null ? state : { range_s: marked.end_s - marked.start_s, end_s: marked.end_s };
  const repeat = state.live && marked === null;
  const volume = useAsked(
    JSON.stringify([query, state.range_s, state.end_s]),
    (run) => loadHistogram(query, state, 900, run),
    {
      repeat: state.live,
      interval_s: REFRESH_S,
      quiet: true,
    },
  );
  const lines = useAsked(
    JSON.stringify([query, span.range_s, span.end_s]),
    (run) => loadLines(query, span, LINES, run),
    {
      repeat,
      interval_s: REFRESH_S,
      quiet: true,
    },
  );
  const entries = lines.data?.entries ?? [];
  return (
    <Card title={t("page.logs")} href={queryLink("logql", query, span)}>
      <div class="toolbar">
        <form
          onSubmit={(event) => {
            event.preventDefault();
            go(withParams(state, { filter: text }));
          }}
        >
          <FilterBox label={t("pod.find")} value={text} onInput={setText} />
        </form>
        {containers.length > 1 && (
          <select
            aria-label={t("pod.container")}
            value={container}
            onChange={(event) => go(withParams(state, { container: event.currentTarget.value }))}
          >
            <option value="">{t("pod.all_containers")}</option>
            {containers.map(({ name }) => (
              <option key={name} value={name}>
                {name}
              </option>
            ))}
          </select>
        )}
        <button
          type="button"
          aria-pressed={state.params.to !== undefined && marked !== null}
          disabled={marked === null}
          class="mark-chip"
          onClick={() => go(withParams(state, { from: "", to: "" }))}
        >
          {marked === null
            ? t("pod.mark_help")
            : `${formatMoment(marked.start_s)} – ${formatMoment(marked.end_s)} ×`}
        </button>
        {marked !== null && (
          <button
            type="button"
            onClick={() => go(zoomed(withParams(state, { from: "", to: "" }), marked.start_s, marked.end_s))}
          >
            {t("pod.zoom")}
          </button>
        )}
        <span class="note" role="status">
          {lines.data === null
            ? t("frame.loading")
            : entries.length === LINES
              ? t("pod.newest", { n: LINES })
              : t("logs.count", { n: entries.length })}
        </span>
      </div>
      <Mount
        make={() =>
          new Chart({
            label: t("logs.volume"),
            unit: "plain",
            height: 70,
            shape: "bars",
            stacked: true,
            legend: "none",
            keepsMark: true,
            onZoom: mark,
          })
        }
        update={(chart) => {
          if (volume.data !== null) chart.show(volume.data.grid, volume.data.times, volume.data.lines);
          chart.mark(marked);
        }}
      />
      <Problem error={lines.error} query={query} />
      {lines.data !== null && entries.length === 0 && <p class="note">{t("logs.none")}</p>}
      <LogList
        label={t("logs.list")}
        entries={entries}
        wrap={isWrapped("")}
        finds={filter === "" ? [] : [filter]}
        from={(stream) => stream["container"] ?? ""}
        height="480px"
        detail={(entry) => (
          <Detail
            entry={entry}
            window={state}
            narrow={({ name, kind, parser }, operator, value) => {
              const next =
                kind === "stream"
                  ? withMatcher(query, name, operator, value)
                  : withField(query, parser, name, operator, value);
              location.hash = queryLink("logql", next, span);
            }}
          />
        )}
      />
    </Card>
  );
}
