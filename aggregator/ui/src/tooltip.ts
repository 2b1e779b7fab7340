/** The values under a chart's cursor. Follows the pointer or the arrow keys; never takes clicks. */
import type uPlot from "uplot";
import { colorOf, type Line } from "./chart";
import { fill, h } from "./dom";
import { formatValue, type Unit } from "./format";
import { formatDate } from "./i18n";

/** A taller tooltip would hide the chart. */
const ROWS_MAX = 9;
const OFFSET_PX = 14;

export class Tooltip {
  readonly root: HTMLElement = h("div", { class: "tip", attributes: { role: "status" } });
  readonly #unit: Unit;
  #times: readonly number[] = [];
  #lines: readonly Line[] = [];
  #stacked = false;
  #focused: number | null = null;

  constructor(unit: Unit) {
    this.#unit = unit;
    this.root.hidden = true;
  }

  /** Takes over new data. */
  show(times: readonly number[], lines: readonly Line[], stacked: boolean): void {
    this.#times = times;
    this.#lines = lines;
    this.#stacked = stacked;
  }

  /** The series nearest to the pointer, counted as uPlot does: 0 is the time axis. */
  focus(index: number | null): void {
    this.#focused = index === null ? null : index - 1;
  }

  move(plot: uPlot): void {
    const { idx, left = -1, top = -1 } = plot.cursor;
    // Charts share the cursor's time; only the one that is pointed at or focused shows values.
    const chosen = plot.over.matches(":hover") || plot.root.parentElement?.matches(":focus") === true;
    const rows = idx == null || left < 0 || !chosen ? [] : this.#rows(idx);
    this.root.hidden = rows.length === 0;
    if (idx == null || rows.length === 0) return;
    fill(this.root, h("div", { class: "time" }, formatDate(this.#times[idx] ?? 0)), ...rows);
    const { offsetWidth: width, offsetHeight: height } = this.root;
    const right = left + OFFSET_PX + width <= plot.over.clientWidth;
    const x = right ? left + OFFSET_PX : Math.max(-AXIS_ROOM_PX, left - OFFSET_PX - width);
    const y = Math.min(Math.max(0, top - height / 2), Math.max(0, plot.over.clientHeight - height));
    this.root.style.transform = `translate(${Math.round(x)}px, ${Math.round(y)}px)`;
  }

  #rows(idx: number): HTMLElement[] {
    let known = this.#lines.flatMap((line, at) => {
      const value = line.points[idx];
      return value == null ? [] : [{ line, value, near: at === this.#focused }];
    });
    if (this.#stacked) known.reverse();
    else known.sort((a, b) => b.value - a.value);
    if (known.length > ROWS_MAX) {
      const near = known.filter((row) => row.near);
      known = [...near, ...known.filter((row) => !row.near)].slice(0, ROWS_MAX);
    }
    return known.map(({ line, value, near }) => {
      const swatch = h("span", { class: "swatch" });
      swatch.style.background = colorOf(line);
      const name = h("span", { class: "name" }, line.name);
      const text = h("span", { class: "value" }, formatValue(value, this.#unit));
      return h("div", { class: near ? "row near" : "row" }, swatch, name, text);
    });
  }
}

/** A tooltip may cover the value axis when there is no room elsewhere. */
const AXIS_ROOM_PX = 60;
