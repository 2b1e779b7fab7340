/**
 * A time chart: uPlot inside, our own legend and tooltip around it. It draws columns that it is
 * given and reports a zoomed window; it fetches nothing. The one rule: the same set of series is
 * redrawn in place, so a refresh neither flickers nor loses the reader's place.
 */
import uPlot from "uplot";
import { h } from "./dom";
import { formatValue, type Labels } from "./format";
import type { Point } from "./matrix";
import { t } from "./i18n";
import { Legend } from "./legend";
import { color, onScheme, thin, token } from "./palette";
import { formatTick, type Grid } from "./time";
import { incrementsOf, TICK_SPACE, topWithTick, type AxisOptions } from "./ticks";
import { Tooltip } from "./tooltip";

export interface Line {
  name: string;
  labels: Labels;
  points: Point[];
  /** Number of its colour. */
  color: number;
  /** Drawn below zero (what is sent, what is written); its values stay positive. */
  below?: boolean;
  /** Drawn faint, as what is left over. */
  faint?: boolean;
  /** A variable of the style sheet instead of the numbered colour. */
  token?: string;
  /** A colour of its own, as CSS writes it in hexadecimal digits. */
  fixed?: string;
  /** Drawn dashed, as what was at another time. */
  dashed?: boolean;
}

export interface ChartOptions extends AxisOptions {
  label: string;
  height: number;
  /** Bars stand on one another. */
  stacked?: boolean;
  legend: "inline" | "table" | "none";
  /** Beside a name stands the sum of its points, as with counts of lines, instead of the newest one. */
  sums?: boolean;
  /** The top of the axis is never below this. */
  leastTop?: number;
  /** Zero is always on the axis. */
  fromZero?: boolean;
  onZoom: (start_s: number, end_s: number) => void;
  /** A drag is marked and stays, instead of a zoom that is shown anew. */
  keepsMark?: boolean;
}

/** Width of the value axis: room for `-1023 KiB/s`, equal in all charts so that they line up. */
const AXIS_WIDTH = 66;
const AXIS_HEIGHT = 26;
const PADDING_TOP = 8;
const SYNC_KEY = "time";

/** The colour in which a line is drawn. */
export function colorOf(line: Line): string {
  if (line.fixed !== undefined) return line.fixed;
  if (line.token !== undefined) return token(line.token);
  return line.faint === true ? token("--rest") : color(line.color);
}

export class Chart {
  readonly root: HTMLElement;
  readonly #canvas: HTMLElement;
  readonly #legend: Legend;
  readonly #tooltip: Tooltip;
  readonly #stopScheme: () => void;
  readonly #resize: ResizeObserver;
  #plot: uPlot | null = null;
  #drawn = "";
  #grid: Grid = { start_s: 0, end_s: 1, step_s: 1, at_s: 1 };
  #times: number[] = [];
  #lines: Line[] = [];
  #mark: { start_s: number; end_s: number } | null = null;

  constructor(readonly options: ChartOptions) {
    this.#legend = new Legend(options, () => this.#draw());
    this.#tooltip = new Tooltip(options.unit);
    this.#canvas = h("div", {
      class: "plot",
      attributes: { tabindex: "0", role: "img", "aria-label": t("chart.label", { label: options.label }) },
      on: { keydown: (event) => this.#onKey(event) },
    });
    this.#canvas.style.height = `${options.height}px`;
    this.root = h("div", { class: "chart" }, this.#canvas, this.#legend.root);
    this.#stopScheme = onScheme(() => this.#draw(true));
    this.#resize = new ResizeObserver(() => this.#fit());
    this.#resize.observe(this.#canvas);
  }

  /** Draws these lines over the window of `grid`. */
  show(grid: Grid, times: number[], lines: Line[]): void {
    this.#grid = grid;
    this.#times = times;
    this.#lines = lines;
    this.#legend.show(lines);
    this.#draw();
  }

  /** Marks a span of time, or nothing. */
  mark(span: { start_s: number; end_s: number } | null): void {
    if (span === null && this.#mark !== null)
      this.#plot?.setSelect({ left: 0, top: 0, width: 0, height: 0 }, false);
    this.#mark = span;
    if (this.#plot !== null) this.#drawMark(this.#plot);
  }

  /** After every drawing: before it the axes are not known. */
  #drawMark(plot: uPlot): void {
    const { start_s, end_s } = this.#grid;
    const span = this.#mark;
    if (span === null) return;
    const left = plot.valToPos(Math.max(start_s, span.start_s), "x");
    const right = plot.valToPos(Math.min(end_s, span.end_s), "x");
    plot.setSelect({ left, top: 0, width: Math.max(0, right - left), height: plot.over.clientHeight }, false);
  }

  #stacked(): boolean {
    return this.options.shape === "stacked" || this.options.stacked === true;
  }

  /** What is drawn. */
  get lines(): readonly Line[] {
    return this.#lines;
  }

  /** Takes everything down; the chart cannot be used again. */
  destroy(): void {
    this.#stopScheme();
    this.#resize.disconnect();
    this.#plot?.destroy();
    this.#plot = null;
  }

  #fit(): void {
    const width = this.#canvas.clientWidth;
    if (width === 0) return;
    if (this.#plot === null) this.#draw();
    else if (this.#plot.width !== width) this.#plot.setSize({ width, height: this.options.height });
  }

  #draw(anew = false): void {
    const width = this.#canvas.clientWidth;
    if (width === 0 || this.#times.length === 0) return;
    const visible = this.#lines.filter((line) => this.#legend.isShown(line.name));
    const data = this.#columns(visible);
    const drawn = JSON.stringify(visible.map((line) => [line.name, line.color]));
    this.#tooltip.show(this.#times, visible, this.#stacked());
    if (this.#plot !== null && drawn === this.#drawn && !anew) {
      this.#plot.setData(data);
      return;
    }
    this.#plot?.destroy();
    this.#drawn = drawn;
    this.#plot = new uPlot(this.#plotOptions(visible, width), data, this.#canvas);
    this.#plot.over.append(this.#tooltip.root);
  }

  #columns(visible: readonly Line[]): uPlot.AlignedData {
    if (!this.#stacked()) {
      const columns = visible.map(({ points, below }) =>
        below === true ? points.map((point) => (point === null ? null : -point)) : points,
      );
      return [this.#times, ...columns];
    }
    const sums = this.#times.map(() => 0);
    const columns = visible.map(({ points }) =>
      points.map((point, at) => {
        const known = point !== null || visible.some((line) => line.points[at] != null);
        sums[at] = (sums[at] ?? 0) + (point ?? 0);
        return known ? (sums[at] ?? null) : null;
      }),
    );
    // A bar covers those drawn before it, so the tallest come first.
    if (this.options.shape === "bars") columns.reverse();
    return [this.#times, ...columns];
  }

  #plotOptions(visible: readonly Line[], width: number): uPlot.Options {
    const { unit, height, shape } = this.options;
    const axis: uPlot.Axis = {
      stroke: token("--faint"),
      font: "11px system-ui, sans-serif",
      grid: { stroke: token("--grid"), width: 1 },
      ticks: { show: false },
    };
    const mirrored = visible.some(({ below }) => below !== undefined);
    const stacked = this.#stacked();
    return {
      width,
      height,
      padding: [PADDING_TOP, 16, 0, 0],
      legend: { show: false },
      focus: { alpha: 0.35 },
      cursor: {
        sync: { key: SYNC_KEY, setSeries: false },
        drag: { x: true, y: false, setScale: false },
        focus: { prox: stacked ? -1 : 24 },
        points: { size: 6, show: !stacked && shape !== "bars" },
        y: false,
      },
      scales: {
        x: { time: true, range: () => [this.#grid.start_s, this.#grid.end_s] },
        y: { range: (_, low, high) => this.#valueRange(low, high) },
      },
      axes: [
        {
          ...axis,
          size: AXIS_HEIGHT,
          gap: 4,
          space: 64,
          values: (_, ticks, __, ___, increment) => ticks.map((tick) => formatTick(tick, increment)),
        },
        {
          ...axis,
          size: AXIS_WIDTH,
          gap: 6,
          space: TICK_SPACE,
          incrs: incrementsOf(this.options),
          // What is drawn below zero keeps its positive values; what is negative says so.
          values: (_, ticks) => ticks.map((tick) => formatValue(mirrored ? Math.abs(tick) : tick, unit)),
        },
      ],
      series: [{}, ...this.#inOrder(visible).map((line) => this.#seriesOptions(line, visible.length))],
      bands:
        stacked && shape !== "bars" ? visible.slice(1).map((_, at) => ({ series: [at + 2, at + 1] })) : [],
      hooks: {
        setCursor: [(plot) => this.#tooltip.move(plot)],
        setSeries: [(_, index) => this.#tooltip.focus(index)],
        setSelect: [(plot) => this.#onSelect(plot)],
        draw: [(plot) => this.#drawMark(plot)],
      },
    };
  }

  #inOrder(visible: readonly Line[]): readonly Line[] {
    return this.#stacked() && this.options.shape === "bars" ? visible.toReversed() : visible;
  }

  #seriesOptions(line: Line, count: number): uPlot.Series {
    const stroke = colorOf(line);
    const { shape } = this.options;
    const stacked = shape === "stacked";
    const filled = shape !== "lines" || line.below !== undefined || (count === 1 && line.dashed !== true);
    const alpha =
      line.faint === true
        ? 0.35
        : shape === "lines"
          ? 0.14
          : shape === "bars"
            ? this.options.stacked === true
              ? 1
              : 0.75
            : 0.45;
    const bars = uPlot.paths.bars?.({ size: [0.86, 40], align: -1 });
    return {
      label: line.name,
      stroke,
      width: shape === "bars" || line.faint === true ? 0 : stacked ? 1 : 1.25,
      ...(line.dashed === true ? { dash: [5, 4] } : {}),
      pxAlign: shape === "bars" ? 1 : 0,
      ...(filled ? { fill: thin(stroke, alpha) } : {}),
      ...(shape === "bars" && bars !== undefined ? { paths: bars } : {}),
      points: shape === "lines" ? { size: 4, filter: alone } : { show: false },
    };
  }

  /** Zero is on the axis unless all values are far from it. */
  #valueRange(low: number | null, high: number | null): [number, number] {
    const leastTop = this.options.leastTop ?? 0;
    if (low === null || high === null) return [0, leastTop || 1];
    let bottom = low < 0 ? low * 1.08 : 0;
    const near = this.options.fromZero !== true && this.options.shape === "lines";
    if (near && low > 0 && low > high * 0.75 && leastTop === 0) {
      bottom = low - (high - low) * 0.15;
    }
    const top = high > 0 ? high + (high - bottom) * 0.08 : 0;
    if (bottom === top) return bottom === 0 ? [0, leastTop || 1] : [bottom * 0.9, bottom * 1.1];
    const wanted = Math.max(top, leastTop);
    if (bottom !== 0) return [bottom, wanted];
    return [bottom, topWithTick(wanted, this.options.height - AXIS_HEIGHT - PADDING_TOP, this.options)];
  }

  #onSelect(plot: uPlot): void {
    const { left, width } = plot.select;
    if (width < 6) return;
    const start_s = Math.floor(plot.posToVal(left, "x"));
    const end_s = Math.ceil(plot.posToVal(left + width, "x"));
    if (this.options.keepsMark !== true) plot.setSelect({ left: 0, top: 0, width: 0, height: 0 }, false);
    this.options.onZoom(start_s, end_s);
  }

  #onKey(event: KeyboardEvent): void {
    const plot = this.#plot;
    if (plot === null) return;
    const last = this.#times.length - 1;
    const at = plot.cursor.idx ?? last;
    const next = { ArrowLeft: at - 1, ArrowRight: at + 1, Home: 0, End: last }[event.key];
    if (event.key === "Escape") plot.setCursor({ left: -10, top: -10 });
    if (next === undefined) return;
    event.preventDefault();
    const time_s = this.#times[Math.max(0, Math.min(last, next))] ?? 0;
    plot.setCursor({ left: plot.valToPos(time_s, "x"), top: plot.over.clientHeight / 2 });
  }
}

/** Points without neighbours, which no line would show; all points where they are far apart. */
function alone(plot: uPlot, seriesIndex: number, show: boolean): number[] | null {
  if (show) return null;
  const points = plot.data[seriesIndex] ?? [];
  const [first, last] = plot.series[0]?.idxs ?? [0, -1];
  const found: number[] = [];
  for (let at = first; at <= last; at += 1) {
    if (points[at] != null && points[at - 1] == null && points[at + 1] == null) found.push(at);
  }
  return found.length === 0 ? null : found;
}
