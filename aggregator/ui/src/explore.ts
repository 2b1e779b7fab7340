/**
 * The explore page: one query, its result as chart, table or log lines, and its errors with the
 * place they point to. What to show is in the address; running a query writes it there.
 */
import { ApiError, Meter, queryInstant, queryLogs, queryRange, type LogResult, type Run } from "./api";
import { Chart } from "./chart";
import { dropDown, fill, h, segmented } from "./dom";
import { Editor } from "./editor";
import { entriesOf } from "./entries";
import { loadHistory, remember } from "./history";
import { plainLines } from "./lines";
import { Live } from "./live";
import { LogTable } from "./logs";
import { selectorAndFilters, volumeQuery } from "./logql";
import { toColumns, type Series } from "./matrix";
import { Names } from "./names";
import { findPosition, marker } from "./position";
import { examples } from "./examples";
import { unitOf } from "./format";
import { VectorTable } from "./vector_table";
import type { Shell } from "./shell";
import { exploreLink, LIMITS, type ExploreState, type Language } from "./state";
import { chooseStep, formatDuration, gridOf, type Grid } from "./time";

const REFRESH_S = 5;
const CHART_HEIGHT = 320;
const VOLUME_HEIGHT = 110;
/** Bars thinner than this cannot be told apart. */
const BAR_PX = 8;

export class Explore {
  readonly #shell: Shell;
  readonly #state: ExploreState;
  readonly #live: Live;
  readonly #closing = new AbortController();
  readonly #editor: Editor;
  readonly #problem = h("div", { class: "problem", attributes: { role: "alert" } });
  readonly #notes = h("p", { class: "note", attributes: { role: "status" } });
  readonly #result = h("div", { class: "result" });
  readonly #parts = new Map<string, { root: HTMLElement; destroy?: () => void }>();

  constructor(main: HTMLElement, shell: Shell, state: ExploreState) {
    this.#shell = shell;
    this.#state = state;
    const names = new Names(this.#closing.signal);
    this.#editor = new Editor({
      language: state.language,
      query: state.query,
      run: () => this.#run(),
      names: (wanted) => names.find(state.language, wanted),
    });
    this.#problem.hidden = true;
    fill(
      main,
      h(
        "div",
        { class: "explore" },
        h("h1", { class: "unseen" }, "Explore"),
        h("div", { class: "controls" }, ...this.#controls()),
        h(
          "div",
          { class: "query" },
          this.#editor.root,
          h(
            "button",
            {
              class: "run",
              attributes: { type: "button", title: "Enter" },
              on: { click: () => this.#run() },
            },
            "Run",
          ),
        ),
        this.#problem,
        this.#notes,
        this.#result,
      ),
    );
    this.#live = new Live((signal) => this.#refresh(signal), REFRESH_S);
  }

  start(): void {
    if (this.#state.query === "") {
      fill(this.#result, examples(this.#state));
      this.#editor.focus();
      return;
    }
    this.#live.start(this.#state.live);
  }

  stop(): void {
    this.#closing.abort();
    this.#live.stop();
    for (const part of this.#parts.values()) part.destroy?.();
  }

  #controls(): HTMLElement[] {
    const state = this.#state;
    const language = segmented<Language>(
      "query language",
      ["promql", "logql"],
      ["Metrics · PromQL", "Logs · LogQL"],
      state.language,
      (chosen) => {
        if (chosen !== state.language) this.#shell.go({ ...state, language: chosen, query: "" });
      },
    );
    const draft = (): ExploreState => ({ ...state, query: this.#editor.query });
    const form =
      state.language === "promql"
        ? segmented("show as", ["graph", "table"] as const, ["Chart", "Table"], state.view, (view) =>
            this.#shell.go({ ...draft(), view }),
          )
        : dropDown(
            "lines",
            LIMITS.map((limit) => `${limit} lines`),
            `${state.limit} lines`,
            (chosen) => this.#shell.go({ ...draft(), limit: Number.parseInt(chosen, 10) }),
          );
    return [language, form, this.#history()];
  }

  #history(): HTMLElement {
    const past = loadHistory();
    const select = h("select", { attributes: { "aria-label": "query history" } });
    select.append(
      h("option", { attributes: { value: "" } }, past.length === 0 ? "No history yet" : "History"),
    );
    select.disabled = past.length === 0;
    for (const [at, { language, query }] of past.entries()) {
      const text = `${language === "promql" ? "PromQL" : "LogQL"}  ${query}`;
      select.append(h("option", { attributes: { value: String(at) } }, text));
    }
    select.addEventListener("change", () => {
      const chosen = past[Number(select.value)];
      if (select.value !== "" && chosen !== undefined) this.#shell.go({ ...this.#state, ...chosen });
    });
    return select;
  }

  #run(): void {
    const query = this.#editor.query;
    if (query === "") return;
    remember({ language: this.#state.language, query });
    if (query === this.#state.query) this.#live.start(this.#state.live);
    else this.#shell.go({ ...this.#state, query });
  }

  async #refresh(signal: AbortSignal): Promise<void> {
    const run: Run = { meter: new Meter(), signal };
    this.#result.setAttribute("aria-busy", "true");
    try {
      const notes = await (this.#state.language === "promql" ? this.#runMetrics(run) : this.#runLogs(run));
      this.#notes.textContent = notes.join("; ");
      this.#problem.hidden = true;
    } catch (error) {
      if (signal.aborted) return;
      this.#showProblem(error);
    } finally {
      this.#result.removeAttribute("aria-busy");
    }
    if (run.meter.queries > 0) this.#shell.showMeter(run.meter);
  }

  #grid(least_s = 1, px_per_point = 3): Grid {
    const width = (this.#result.clientWidth || 900) * (3 / px_per_point);
    const step_s = chooseStep(this.#state.range_s, width, least_s);
    return gridOf(this.#state, step_s, Date.now() / 1000);
  }

  async #runMetrics(run: Run): Promise<string[]> {
    const { query, view, end_s } = this.#state;
    if (view === "graph") {
      const grid = this.#grid();
      const { data, notes } = await queryRange(query, grid, run);
      this.#showSeries(grid, data);
      return [...notes, drawn(data.length, grid)];
    }
    const time_s = end_s ?? Math.floor(Date.now() / 1000);
    const { data, notes } = await queryInstant(query, time_s, run);
    const table = this.#part("vector", () => new VectorTable());
    table.show(data);
    this.#arrange("vector");
    return notes;
  }

  async #runLogs(run: Run): Promise<string[]> {
    const { query, limit } = this.#state;
    const grid = this.#grid();
    // The newest second is not over yet: look one step ahead, so that its lines are seen.
    const answer = await queryLogs(query, { ...grid, end_s: grid.end_s + grid.step_s }, limit, run);
    const result: LogResult = answer.data;
    if (result.resultType === "matrix") {
      this.#showSeries(grid, result.result);
      return [...answer.notes, drawn(result.result.length, grid)];
    }
    if (result.resultType === "vector") {
      this.#part("vector", () => new VectorTable()).show(result);
      this.#arrange("vector");
      return answer.notes;
    }
    const entries = entriesOf(result.result, limit);
    const table = this.#part(
      "log",
      () => new LogTable("log lines", (text) => exploreLink("logql", text, this.#state)),
    );
    table.show(entries);
    const volume = await this.#volume(query, run);
    this.#arrange(...(volume ? ["volume", "log"] : ["log"]));
    if (entries.length === 0) return ["no log line in this time range"];
    const more =
      entries.length === limit
        ? `the newest ${limit} lines; there may be more`
        : `${entries.length} ${entries.length === 1 ? "line" : "lines"}`;
    return [...answer.notes, more];
  }

  /** The histogram above the lines; the lines are worth showing without it. */
  async #volume(query: string, run: Run): Promise<boolean> {
    const past = this.#grid(1, BAR_PX);
    // The newest bar counts a step that is not over: without it the newest lines had no bar.
    const grid = { ...past, end_s: past.end_s + past.step_s };
    const selected = selectorAndFilters(query);
    if (selected === null) return false;
    // A whole pipeline may not be countable (lines that fail to parse); its filters always are.
    for (const text of new Set([query, selected])) {
      try {
        const { data } = await queryLogs(volumeQuery(text, grid.step_s), grid, 1, run);
        if (data.resultType !== "matrix") continue;
        const columns = toColumns(grid, data.result);
        const lines = plainLines(columns).map((line) => ({ ...line, name: "lines", color: 0 }));
        this.#chart("volume", "bars").show(grid, columns.times, lines);
        return lines.length > 0;
      } catch (error) {
        if (!(error instanceof ApiError)) throw error;
      }
    }
    return false;
  }

  #showSeries(grid: Grid, series: readonly Series[]): void {
    const columns = toColumns(grid, series);
    this.#arrange("chart");
    this.#chart("chart", "lines").show(grid, columns.times, plainLines(columns));
  }

  #chart(name: string, shape: "lines" | "bars"): Chart {
    const make = (): Chart =>
      new Chart({
        label: shape === "bars" ? "volume of log lines" : "query result",
        unit: shape === "bars" ? "plain" : unitOf(this.#state.query),
        height: shape === "bars" ? VOLUME_HEIGHT : CHART_HEIGHT,
        shape,
        legend: shape === "bars" ? "none" : "table",
        onZoom: (start_s, end_s) =>
          this.#shell.go({ ...this.#state, range_s: Math.max(10, end_s - start_s), end_s, live: false }),
      });
    return this.#part(name, make);
  }

  /** A part of the result, made when it is first needed and kept over refreshes. */
  #part<T extends { root: HTMLElement; destroy?: () => void }>(name: string, make: () => T): T {
    const known = this.#parts.get(name);
    if (known !== undefined) return known as T;
    const made = make();
    this.#parts.set(name, made);
    return made;
  }

  /** Shows these parts and no others, in this order. */
  #arrange(...names: string[]): void {
    if (names.includes("chart")) this.#chart("chart", "lines");
    const roots = names.flatMap((name) => this.#parts.get(name)?.root ?? []);
    const same =
      roots.length === this.#result.childElementCount &&
      roots.every((root, at) => this.#result.children[at] === root);
    if (!same) fill(this.#result, ...roots);
  }

  #showProblem(error: unknown): void {
    const message = error instanceof Error ? error.message : String(error);
    const kind = error instanceof ApiError ? error.kind : "internal";
    const place = findPosition(message, this.#state.query);
    this.#notes.textContent = "";
    this.#problem.hidden = false;
    fill(
      this.#problem,
      h("p", {}, message),
      place === null
        ? null
        : h("pre", { attributes: { "aria-label": "where" } }, marker(this.#state.query, place)),
      h(
        "p",
        { class: "kind" },
        place === null ? kind : `${kind} at line ${place.line}, column ${place.column}`,
      ),
    );
    // A failing refresh keeps what was shown; a failing first run has nothing to show.
    if (!(error instanceof ApiError && error.kind === "network")) fill(this.#result);
  }
}

/** A chart's size in words: the step is chosen by us, so it must be said. */
function drawn(count: number, { step_s }: Grid): string {
  if (count === 0) return "no series in this time range";
  return `${count} series, one point every ${formatDuration(step_s)}`;
}
