/**
 * The page of logs: a query, the histogram by level, fields beside the lines, patterns, live tail,
 * and files to take along. Every choice is in the address.
 */
import { useCallback, useEffect, useRef, useState } from "preact/hooks";
import { Meter } from "../api";
import { Chart } from "../chart";
import { QueryBox } from "../editor/query_box";
import { Empty } from "../empty";
import { remember } from "../history";
import { History } from "../history_menu";
import { useAsked } from "../hooks";
import { t } from "../i18n";
import { go, withParams, zoomed, type State } from "../state";
import { Mount, Nothing, Problem, Segmented } from "../widgets";
import { Detail } from "./detail";
import { merged, type Entry } from "./entries";
import { FORMATS, save, type Format } from "./export";
import { isWrapped, LogList } from "./list";
import { firstQuery, loadHistogram, loadLines, loadOlder, spanOf } from "./load";
import { findsOf, isLogQuery, selectorAndFilters, withField, withLineFilter, withMatcher } from "./logql";
import { Numbers } from "./numbers";
import { Patterns } from "./patterns";
import { SideBar, type Narrow } from "./side_bar";
import { Tail, type TailStatus } from "./tail";

const LIMITS = ["100", "500", "1000", "5000"] as const;
const LIMIT = "500";
/** Lines that the page holds: beyond it the oldest, or while tailing the older, are let go. */
const LINES_MAX = 100_000;
const HISTOGRAM_HEIGHT = 110;
const REFRESH_S = 5;

export function LogsPage({ state }: { state: State }) {
  const { params } = state;
  const tailing = params.tail === "1";
  const view = params.view === "patterns" ? "patterns" : "lines";
  const limit = LIMITS.find((known) => known === params.limit) ?? LIMIT;
  const first = useAsked(
    params.q ? "asked" : "none",
    (run) => (params.q ? Promise.resolve(params.q) : firstQuery(state, run)),
    { quiet: true },
  );
  const query = params.q ?? first.data ?? "";
  const set = (more: State["params"]): void => go(withParams(state, more));
  const ask = (text: string): void => {
    if (text === "") return;
    remember({ language: "logql", query: text });
    set({ q: text, at: "" });
  };
  const narrow: Narrow = ({ name, kind, parser }, operator, value) =>
    ask(
      kind === "stream"
        ? withMatcher(query, name, operator, value)
        : withField(query, parser, name, operator, value),
    );

  if (query === "" && first.data === null && !first.busy && first.error === null) return <Empty />;
  return (
    <div class="logs">
      <h1 class="unseen">{t("page.logs")}</h1>
      <QueryBox language="logql" query={query} run={ask} />
      <div class="toolbar">
        <Segmented
          label={t("logs.view")}
          values={["lines", "patterns"] as const}
          texts={[t("logs.lines"), t("logs.patterns")]}
          chosen={view}
          choose={(chosen) => set({ view: chosen === "lines" ? "" : chosen })}
        />
        <button
          type="button"
          aria-pressed={tailing}
          class="live"
          onClick={() => set({ tail: tailing ? "" : "1" })}
        >
          {t("logs.tail")}
        </button>
        <button
          type="button"
          aria-pressed={isWrapped(params.wrap)}
          onClick={() => set({ wrap: isWrapped(params.wrap) ? "0" : "1" })}
        >
          {t("logs.wrap")}
        </button>
        <select
          aria-label={t("logs.limit")}
          value={limit}
          onChange={(event) => set({ limit: event.currentTarget.value })}
        >
          {LIMITS.map((count) => (
            <option key={count} value={count}>
              {t("logs.count", { n: Number(count) })}
            </option>
          ))}
        </select>
        <History language="logql" choose={ask} />
      </div>
      {query === "" ? (
        <Problem error={first.error} />
      ) : (
        <>
          {isLogQuery(query) && <VolumeChart query={query} state={state} live={state.live || tailing} />}
          {view === "patterns" && isLogQuery(query) ? (
            <Patterns
              query={query}
              window={state}
              live={state.live}
              since={params.since ?? ""}
              setSince={(since) => set({ since })}
              narrow={(operator, pattern) => ask(withLineFilter(query, operator, pattern))}
            />
          ) : tailing && isLogQuery(query) ? (
            <Tailed key={query} query={query} state={state} narrow={narrow} />
          ) : (
            <Found query={query} state={state} limit={Number(limit)} narrow={narrow} />
          )}
        </>
      )}
    </div>
  );
}

/** Lines per level over the window; a drag narrows it. */
function VolumeChart({ query, state, live }: { query: string; state: State; live: boolean }) {
  const place = useRef<HTMLDivElement>(null);
  const counted = selectorAndFilters(query) ?? query;
  const { data, error } = useAsked(
    JSON.stringify(["volume", query, state.range_s, state.end_s]),
    (run) => loadHistogram(query, state, place.current?.clientWidth ?? 900, run),
    { repeat: live, interval_s: REFRESH_S, quiet: true },
  );
  const newest = useRef(state);
  newest.current = state;
  return (
    <section class="card volume" aria-label={t("logs.volume")} ref={place}>
      <Mount
        make={() =>
          new Chart({
            label: t("logs.volume"),
            unit: "plain",
            height: HISTOGRAM_HEIGHT,
            shape: "bars",
            stacked: true,
            legend: "inline",
            sums: true,
            onZoom: (start_s, end_s) => go(zoomed(withParams(newest.current, { tail: "" }), start_s, end_s)),
          })
        }
        update={(chart) => {
          if (data !== null) chart.show(data.grid, data.times, data.lines);
        }}
      />
      {error !== null && <p class="note bad">{error.message}</p>}
      {data === null && error === null && <p class="note">{t("logs.counting", { query: counted })}</p>}
    </section>
  );
}

/** Lines of the window, and older ones as the reader scrolls to the end. */
function Found({
  query,
  state,
  limit,
  narrow,
}: {
  query: string;
  state: State;
  limit: number;
  narrow: Narrow;
}) {
  const key = JSON.stringify([query, state.range_s, state.end_s, limit]);
  const { data, error, busy } = useAsked(key, (run) => loadLines(query, state, limit, run), {
    repeat: state.live,
    interval_s: REFRESH_S,
  });
  const [older, setOlder] = useState<{ key: string; entries: Entry[]; done: boolean }>({
    key,
    entries: [],
    done: false,
  });
  const loading = useRef(false);
  const known = older.key === key ? older : { key, entries: [], done: false };
  const entries = data === null ? [] : merged(data.entries, known.entries, LINES_MAX);
  const atEnd = useCallback(() => {
    const last = entries.at(-1);
    const full = data !== null && data.entries.length >= limit;
    if (last === undefined || !full || known.done || loading.current || entries.length >= LINES_MAX) return;
    loading.current = true;
    const { start_ns } = spanOf(state, Date.now() / 1000);
    const run = { meter: new Meter(), signal: new AbortController().signal };
    loadOlder(query, start_ns, last.time_ns, limit, run)
      .then(
        (found) => {
          const all = merged(found, entries, LINES_MAX);
          setOlder({ key, entries: all, done: found.length < limit || all.length === entries.length });
        },
        // The lines that are there stay; the next scroll to the end asks again.
        () => {},
      )
      .finally(() => (loading.current = false));
  }, [key, entries.length, known.done]);

  if (error !== null && data === null) return <Problem error={error} query={query} />;
  if (data === null) return <p class="note">{t("frame.loading")}</p>;
  if (data.numbers !== null)
    return <Numbers result={data.numbers} grid={data.grid} state={state} query={query} />;
  const more = data.entries.length >= limit && !known.done;
  const text = more ? t("logs.newest", { n: entries.length }) : t("logs.all", { n: entries.length });
  return (
    <>
      <Problem error={error} query={query} />
      {entries.length === 0 ? (
        <Nothing title={t("logs.none")}>
          <p>{t("logs.none_help")}</p>
          <button type="button" onClick={() => go({ ...state, range_s: state.range_s * 4 })}>
            {t("logs.wider")}
          </button>
        </Nothing>
      ) : (
        <Frame
          entries={entries}
          state={state}
          query={query}
          narrow={narrow}
          note={[text, ...data.notes].join(" · ")}
          onScrollEnd={atEnd}
          busy={busy}
        />
      )}
    </>
  );
}

/** Lines as they come. */
function Tailed({ query, state, narrow }: { query: string; state: State; narrow: Narrow }) {
  const [entries, setEntries] = useState<Entry[]>([]);
  const [status, setStatus] = useState<TailStatus>("connecting");
  const [dropped, setDropped] = useState(0);
  const [paused, setPaused] = useState(false);
  const waiting = useRef<Entry[]>([]);
  const held = useRef(false);
  held.current = paused;
  useEffect(() => {
    const tail = new Tail(query, {
      lines: (fresh) => {
        if (held.current) waiting.current = merged(fresh, waiting.current, LINES_MAX);
        else setEntries((before) => merged(fresh, before, LINES_MAX));
      },
      dropped: (count) => setDropped((before) => before + count),
      status: setStatus,
    });
    return () => tail.close();
  }, [query]);
  const go_on = (): void => {
    setEntries((before) => merged(waiting.current, before, LINES_MAX));
    waiting.current = [];
    setPaused(false);
  };
  const words = { connecting: t("tail.connecting"), open: t("tail.open"), broken: t("tail.broken") }[status];
  const note = [
    words,
    t("logs.count", { n: entries.length }),
    dropped > 0 ? t("tail.dropped", { n: dropped }) : "",
  ];
  return (
    <Frame
      entries={entries}
      state={state}
      query={query}
      narrow={narrow}
      note={note.filter(Boolean).join(" · ")}
      extra={
        <>
          <button type="button" aria-pressed={paused} onClick={() => (paused ? go_on() : setPaused(true))}>
            {paused ? t("tail.go_on") : t("tail.pause")}
          </button>
          <button type="button" onClick={() => setEntries([])}>
            {t("tail.clear")}
          </button>
        </>
      }
    />
  );
}

/** The lines with their fields and what can be done with all of them. */
function Frame({
  entries,
  state,
  query,
  narrow,
  note,
  extra,
  onScrollEnd,
  busy = false,
}: {
  entries: readonly Entry[];
  state: State;
  query: string;
  narrow: Narrow;
  note: string;
  extra?: preact.ComponentChildren;
  onScrollEnd?: () => void;
  busy?: boolean;
}) {
  const chosen =
    state.params.at === undefined
      ? undefined
      : entries.find(({ time_ns }) => time_ns === state.params.at)?.key;
  return (
    <div class="log-page" aria-busy={busy}>
      <SideBar entries={entries} narrow={narrow} />
      <div class="log-main">
        <div class="toolbar">
          <span class="note" role="status">
            {note}
          </span>
          {extra}
          <span class="export">
            {FORMATS.map((format: Format) => (
              <button
                key={format}
                type="button"
                disabled={entries.length === 0}
                onClick={() => save(entries, format)}
              >
                {format === "text" ? t("export.text") : format.toUpperCase()}
              </button>
            ))}
          </span>
        </div>
        <LogList
          label={t("logs.list")}
          entries={entries}
          wrap={isWrapped(state.params.wrap)}
          finds={findsOf(query)}
          height="max(360px, calc(100vh - 340px))"
          detail={(entry) => <Detail entry={entry} narrow={narrow} window={state} />}
          {...(chosen === undefined ? {} : { chosen })}
          {...(onScrollEnd === undefined ? {} : { onScrollEnd })}
        />
      </div>
    </div>
  );
}
