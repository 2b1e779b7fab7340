/**
 * A heat map: a row for each series, a column for each step, the value as depth of colour.
 */
import { fill, h } from "../dom";
import { formatPlain } from "../format";
import { formatDate, t } from "../i18n";
import type { Columns } from "../matrix";
import { onScheme, token } from "../palette";
import { formatTick } from "../time";
import type { HeatRow } from "./heat_rows";

const LEFT = 110;
const BOTTOM = 20;

export class HeatMap {
  readonly root: HTMLElement;
  readonly #canvas = h("canvas", { attributes: { role: "img" } });
  readonly #said = h("p", { class: "note", attributes: { role: "status" } });
  readonly #resize: ResizeObserver;
  readonly #stopScheme: () => void;
  #rows: HeatRow[] = [];
  #times: number[] = [];
  #step_s = 1;

  /** `height` in pixels, of which the line of values below takes some. */
  constructor(readonly height = 320) {
    this.#canvas.setAttribute("aria-label", t("heat.label"));
    this.root = h("div", { class: "heat" }, this.#canvas, this.#said);
    this.#canvas.addEventListener("mousemove", (event) => this.#say(event));
    this.#canvas.addEventListener("mouseleave", () => fill(this.#said, t("heat.help")));
    this.#resize = new ResizeObserver(() => this.#draw());
    this.#resize.observe(this.root);
    this.#stopScheme = onScheme(() => this.#draw());
    fill(this.#said, t("heat.help"));
  }

  show(columns: Columns, rows: HeatRow[]): void {
    this.#rows = rows;
    this.#times = columns.times;
    this.#step_s = columns.grid.step_s;
    this.#draw();
  }

  destroy(): void {
    this.#resize.disconnect();
    this.#stopScheme();
  }

  #draw(): void {
    const width = this.root.clientWidth;
    const ratio = devicePixelRatio || 1;
    if (width === 0) return;
    this.#canvas.width = width * ratio;
    this.#canvas.height = this.height * ratio;
    this.#canvas.style.width = `${width}px`;
    this.#canvas.style.height = `${this.height}px`;
    const context = this.#canvas.getContext("2d");
    if (context === null || this.#rows.length === 0) return;
    context.scale(ratio, ratio);
    const tall = (this.height - BOTTOM) / this.#rows.length;
    const wide = (width - LEFT) / Math.max(1, this.#times.length);
    const most = Math.max(0, ...this.#rows.flatMap(({ points }) => points.filter((point) => point !== null)));
    context.fillStyle = token("--accent");
    for (const [row, { points }] of this.#rows.entries()) {
      for (const [column, point] of points.entries()) {
        if (point === null || most <= 0 || point <= 0) continue;
        // The root lets small counts be seen beside large ones.
        context.globalAlpha = 0.08 + 0.92 * Math.sqrt(point / most);
        // Whole pixels: fields that overlap would show stripes.
        const left = Math.floor(LEFT + column * wide);
        const right = Math.floor(LEFT + (column + 1) * wide);
        context.fillRect(
          left,
          this.height - BOTTOM - (row + 1) * tall,
          Math.max(1, right - left),
          Math.max(1, tall - 0.5),
        );
      }
    }
    context.globalAlpha = 1;
    context.fillStyle = token("--faint");
    context.font = "11px system-ui, sans-serif";
    context.textBaseline = "middle";
    const every = Math.ceil(16 / tall);
    for (let row = 0; row < this.#rows.length; row += every) {
      context.fillText(
        (this.#rows[row]?.name ?? "").slice(0, 18),
        4,
        this.height - BOTTOM - (row + 0.5) * tall,
        LEFT - 8,
      );
    }
    const ticks = Math.max(1, Math.floor((width - LEFT) / 90));
    const apart = Math.ceil(this.#times.length / ticks);
    for (let column = 0; column < this.#times.length; column += apart) {
      context.fillText(
        formatTick(this.#times[column] ?? 0, apart * this.#step_s),
        LEFT + column * wide,
        this.height - 8,
      );
    }
  }

  #say(event: MouseEvent): void {
    const box = this.#canvas.getBoundingClientRect();
    const column = Math.floor(((event.clientX - box.left - LEFT) / (box.width - LEFT)) * this.#times.length);
    const row = Math.floor(
      ((this.height - BOTTOM - (event.clientY - box.top)) / (this.height - BOTTOM)) * this.#rows.length,
    );
    const found = this.#rows[row];
    const time_s = this.#times[column];
    if (found === undefined || time_s === undefined) return;
    const value = found.points[column];
    fill(this.#said, `${formatDate(time_s)} · ${found.name} · ${value == null ? "–" : formatPlain(value)}`);
  }
}
