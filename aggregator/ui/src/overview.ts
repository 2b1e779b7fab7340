/**
 * The start page: one node's CPU, memory, disk and network, its containers and the newest log
 * lines. It asks, and hands answers to charts and lists; each panel fails alone, in its own place.
 */
import { findSeries, labelNames, Meter, queryLogs, queryVector, type Run, type Stream } from "./api";
import { showBars, type Bar } from "./bar_list";
import { Chart } from "./chart";
import { dropDown, fill, h, setText } from "./dom";
import { renderEmpty } from "./empty";
import { h as element, render } from "preact";
import { Detail } from "./logs/detail";
import { entriesOf } from "./logs/entries";
import { LogList } from "./logs/list";
import { withField, withMatcher } from "./logs/logql";
import { fileSystemBars, rankingBars } from "./bars";
import { formatPlain, formatValue } from "./format";
import { formatAge, t, type Key } from "./i18n";
import { Live } from "./live";
import { lastPoint, orderLines } from "./lines";
import {
  CHARTS,
  FILL,
  headlineQuery,
  logSelectors,
  NODE_SELECTOR,
  nodeOf,
  RANKINGS,
  type ChartPanel,
  type Node,
  type Ranking,
} from "./panels";
import { RangeCache } from "./range_cache";
import { setMeter } from "./meter";
import { go, link, queryLink, withParams, zoomed, type State } from "./state";
import { chooseStep, gridOf, rateWindow, type Grid } from "./time";

/** Lines in the log panel. */
const LOG_LINES = 100;
/** No source is read more often than this by default, so finer steps would only show gaps. */
const LEAST_STEP_S = 5;
const REFRESH_S = 5;
const CHART_HEIGHT = 150;
/** New nodes and new kinds of log streams are looked for once a minute, not on every refresh. */
const DISCOVER_EVERY = 12;

interface Card {
  root: HTMLElement;
  body: HTMLElement;
  note: HTMLElement;
  link: HTMLAnchorElement;
}

function card(title: string, extra = ""): Card {
  const note = h("p", { class: "note", attributes: { role: "status" } });
  const link = h("a", { attributes: { title: t("node.open") } }, title);
  const body = h("div", { class: "body" });
  const root = h(
    "section",
    { class: `card ${extra}`, attributes: { "aria-label": title } },
    h("h2", {}, link),
    body,
    note,
  );
  return { root, body, note, link };
}

export class Overview {
  readonly #state: State;
  readonly #head = h("div", { class: "toolbar" });
  readonly #live: Live;
  readonly #cache = new RangeCache();
  readonly #charts: { panel: ChartPanel; chart: Chart; card: Card }[];
  readonly #rankings: { ranking: Ranking; list: HTMLElement; card: Card }[];
  readonly #fill: { list: HTMLElement; card: Card };
  readonly #logs: { card: Card };
  readonly #tiles = h("dl", { class: "tiles", attributes: { "aria-label": t("node.now") } });
  readonly #page: HTMLElement;
  readonly #main: HTMLElement;
  #nodes: Node[] = [];
  #streamLabels: string[] = [];
  #refreshes = 0;
  #fullest = 0;

  constructor(main: HTMLElement, state: State) {
    this.#main = main;
    this.#state = state;
    this.#charts = CHARTS.map((panel) => {
      const chart = new Chart({
        label: t(panel.title),
        unit: panel.unit,
        height: CHART_HEIGHT,
        shape: panel.shape,
        legend: "inline",
        leastTop: panel.leastTop ?? 0,
        onZoom: (start_s, end_s) => this.#zoom(start_s, end_s),
      });
      const place = card(t(panel.title));
      place.body.append(chart.root);
      return { panel, chart, card: place };
    });
    this.#rankings = RANKINGS.map((ranking) => ({ ranking, ...listCard(t(ranking.title)) }));
    this.#fill = listCard(t("node.file_systems"));
    const place = card(t("node.newest"), "wide");
    this.#logs = { card: place };
    const lists = [...this.#rankings.map(({ card: { root } }) => root), this.#fill.card.root];
    this.#page = h(
      "div",
      { class: "overview" },
      this.#head,
      this.#tiles,
      h("div", { class: "grid charts" }, ...this.#charts.map(({ card: { root } }) => root)),
      h("div", { class: "grid lists" }, ...lists),
      place.root,
    );
    fill(main, this.#page);
    this.#live = new Live((signal) => this.#refresh(signal), REFRESH_S);
  }

  start(): void {
    this.#live.start(this.#state.live);
  }

  stop(): void {
    this.#live.stop();
    for (const { chart } of this.#charts) chart.destroy();
    render(null, this.#logs.card.body);
  }

  #zoom(start_s: number, end_s: number): void {
    go(zoomed(this.#state, start_s, end_s));
  }

  async #refresh(signal: AbortSignal): Promise<void> {
    const run: Run = { meter: new Meter(), signal };
    const now_s = Date.now() / 1000;
    const width = this.#charts[0]?.chart.root.clientWidth || 600;
    const step_s = chooseStep(this.#state.range_s, width, LEAST_STEP_S);
    const grid = gridOf(this.#state, step_s, now_s);
    this.#live.interval_s = Math.max(REFRESH_S, Math.min(step_s, 60));
    if (!(await this.#discover(grid, run))) return;
    const node = this.#nodes.find(({ name }) => name === this.#state.params.node) ?? this.#nodes[0];
    const matcher = node?.matcher ?? 'node=~".*"';
    const window = rateWindow(step_s);
    await Promise.all([
      ...this.#charts.map((entry) =>
        this.#guard(entry.card, () => this.#showChart(entry, matcher, window, grid, run)),
      ),
      ...this.#rankings.map((entry) =>
        this.#guard(entry.card, () => this.#showRanking(entry, matcher, window, grid, run)),
      ),
      this.#guard(this.#fill.card, () => this.#showFill(matcher, grid, run)),
      this.#guard(this.#logs.card, () => this.#showLogs(node?.name ?? "", grid, now_s, run)),
    ]);
    await this.#showTiles(matcher, grid, run);
    setMeter(run.meter);
    this.#refreshes += 1;
  }

  /** Finds nodes and log labels; false when there is nothing at all to show. */
  async #discover(grid: Grid, run: Run): Promise<boolean> {
    if (this.#refreshes % DISCOVER_EVERY !== 0 && this.#nodes.length + this.#streamLabels.length > 0)
      return true;
    try {
      const [series, labels] = await Promise.all([
        findSeries([NODE_SELECTOR], grid.start_s, grid.end_s, run),
        labelNames("loki/api", run.signal),
      ]);
      const nodes = new Map(series.map(nodeOf).map((node) => [node.name, node]));
      this.#nodes = [...nodes.values()].sort((a, b) => (a.name < b.name ? -1 : 1));
      this.#streamLabels = labels.filter((name) => !name.startsWith("__"));
    } catch (error) {
      if (run.signal.aborted) throw error;
      renderEmpty(this.#main, error instanceof Error ? error : new Error(String(error)));
      return false;
    }
    const empty = this.#nodes.length + this.#streamLabels.length === 0;
    if (empty) renderEmpty(this.#main, null);
    else if (!this.#page.isConnected) {
      renderEmpty(this.#main, undefined);
      fill(this.#main, this.#page);
    }
    this.#showHead();
    return !empty;
  }

  /** The node, others to choose, and the way to its pods. */
  #showHead(): void {
    const names = this.#nodes.map(({ name }) => name);
    const wanted = this.#state.params.node ?? "";
    const chosen = names.includes(wanted) ? wanted : (names[0] ?? "");
    const text = JSON.stringify(names);
    if (this.#head.dataset["names"] === text) return;
    this.#head.dataset["names"] = text;
    fill(
      this.#head,
      h("h1", {}, chosen),
      names.length < 2
        ? null
        : dropDown(t("page.node"), names, chosen, (node) => go(withParams(this.#state, { node }))),
      h(
        "a",
        { attributes: { href: link("cluster", { tab: "pods", node: chosen }, this.#state) } },
        t("node.pods"),
      ),
    );
  }

  async #guard(place: Card, task: () => Promise<string>): Promise<void> {
    try {
      setText(place.note, await task());
      place.note.classList.remove("bad");
    } catch (error) {
      if (error instanceof DOMException) return;
      setText(place.note, error instanceof Error ? error.message : String(error));
      place.note.classList.add("bad");
    }
  }

  async #showChart(
    { panel, chart, card: place }: { panel: ChartPanel; chart: Chart; card: Card },
    matcher: string,
    window: string,
    grid: Grid,
    run: Run,
  ): Promise<string> {
    const expressions = panel.queries.map((query) => query.expression(matcher, window));
    place.link.href = queryLink("promql", expressions.join(" or "), this.#state);
    const all = await Promise.all(expressions.map((text) => this.#cache.fetch(text, grid, run)));
    const lines = orderLines(panel, all);
    const times = all[0]?.times ?? [];
    chart.show(grid, times, lines);
    place.body.classList.toggle("none", lines.length === 0);
    return lines.length === 0 ? t("node.missing", { name: panel.hint }) : "";
  }

  async #showRanking(
    { ranking, list, card: place }: { ranking: Ranking; list: HTMLElement; card: Card },
    matcher: string,
    window: string,
    grid: Grid,
    run: Run,
  ): Promise<string> {
    let bars: Bar[] = [];
    for (const query of ranking.queries) {
      const expression = query(matcher, window);
      place.link.href = queryLink("promql", expression, this.#state);
      const samples = await queryVector(expression, grid.at_s, run);
      bars = rankingBars(ranking, samples, window, this.#state);
      if (bars.length > 0) break;
    }
    showBars(list, bars);
    return bars.length === 0 ? t("node.missing", { name: ranking.hint }) : "";
  }

  async #showFill(matcher: string, grid: Grid, run: Run): Promise<string> {
    const { list, card: place } = this.#fill;
    place.link.href = queryLink("promql", FILL.detail(`{${matcher}}`), this.#state);
    const [available, size] = await Promise.all([
      queryVector(FILL.available(matcher), grid.at_s, run),
      queryVector(FILL.size(matcher), grid.at_s, run),
    ]);
    const bars = fileSystemBars(available, size, this.#state);
    this.#fullest = Math.max(0, ...bars.map((bar) => bar.share));
    showBars(list, bars);
    return bars.length === 0 ? t("node.missing", { name: FILL.hint }) : "";
  }

  async #showLogs(node: string, grid: Grid, now_s: number, run: Run): Promise<string> {
    const { card: place } = this.#logs;
    const selectors = logSelectors(this.#streamLabels, this.#nodes.length > 1 ? node : "");
    place.link.href = queryLink("logql", selectors[0] ?? "", this.#state);
    const end_s = this.#state.end_s ?? Math.ceil(now_s);
    const answers = await Promise.all(
      selectors.map((query) => queryLogs(query, { ...grid, end_s }, LOG_LINES, run)),
    );
    const streams = answers.flatMap(({ data }): Stream[] =>
      data.resultType === "streams" ? data.result : [],
    );
    const entries = entriesOf(streams, LOG_LINES);
    const base = selectors[0] ?? "{}";
    render(
      element(LogList, {
        label: t("node.newest"),
        entries,
        wrap: false,
        height: "420px",
        detail: (entry) =>
          element(Detail, {
            entry,
            window: this.#state,
            narrow: ({ name, kind, parser }, operator, value) => {
              const query =
                kind === "stream"
                  ? withMatcher(base, name, operator, value)
                  : withField(base, parser, name, operator, value);
              location.hash = queryLink("logql", query, this.#state);
            },
          }),
      }),
      place.body,
    );
    return entries.length === 0 ? t("logs.none") : "";
  }

  async #showTiles(matcher: string, grid: Grid, run: Run): Promise<void> {
    const samples = await queryVector(headlineQuery(matcher), grid.at_s, run).catch(() => []);
    const read = (name: string): number | null => {
      const sample = samples.find(({ metric }) => metric["__name__"] === name);
      return sample === undefined ? null : Number(sample.value[1]);
    };
    const cpu = this.#sum("measure.cpu");
    const [used, cache, free] = (["line.used", "line.cache", "line.free"] as const).map((key) => this.#sum("measure.memory", t(key)));
    const total = used == null || cache == null || free == null ? null : used + cache + free;
    const boot = read("node_boot_time_seconds");
    const loads = ["node_load1", "node_load5", "node_load15"].map(read).filter((load) => load !== null);
    const tiles: [string, string | null][] = [
      [t("measure.cpu"), cpu === null ? null : formatValue(cpu, "fraction")],
      [t("measure.memory"), used == null || !total ? null : formatValue(used / total, "fraction")],
      [
        t("node.available"),
        total === null || used == null
          ? null
          : t("node.of", { part: formatValue(total - used, "bytes"), whole: formatValue(total, "bytes") }),
      ],
      [t("node.load"), loads.length === 0 ? null : loads.map(formatPlain).join(" · ")],
      [t("measure.fill"), this.#fullest === 0 ? null : formatValue(this.#fullest, "fraction")],
      [t("node.up"), boot === null ? null : formatAge(grid.at_s - boot)],
    ];
    fill(
      this.#tiles,
      ...tiles.map(([name, text]) => h("div", {}, h("dt", {}, name), h("dd", {}, text ?? "–"))),
    );
  }

  /** The newest value of a chart's line, or of all its lines together. */
  #sum(title: Key, name?: string): number | null {
    const entry = this.#charts.find(({ panel }) => panel.title === title);
    const lines = (entry?.chart.lines ?? []).filter((line) => name === undefined || line.name === name);
    const points = lines.map(lastPoint).filter((point) => point !== null);
    return points.length === 0 ? null : points.reduce((sum, point) => sum + point, 0);
  }
}

function listCard(title: string): { list: HTMLElement; card: Card } {
  const list = h("ul", { class: "bars" });
  const place = card(title);
  place.body.append(list);
  return { list, card: place };
}
