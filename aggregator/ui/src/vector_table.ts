/** An instant result as a table: one row a series, labels as columns that differ, then the value. */
import type { LogResult, MetricResult, Sample } from "./api";
import { fill, h } from "./dom";
import { formatLabels } from "./format";
import { t, type Key } from "./i18n";

/** More rows make the page slow; the note says how many there are. */
const ROWS_MAX = 1000;

const HEADS: readonly Key[] = ["legend.series", "legend.value"];

export class VectorTable {
  readonly root: HTMLElement = h("div", { class: "vector" });

  show(data: MetricResult | LogResult): void {
    if (data.resultType === "scalar" || data.resultType === "string") {
      fill(this.root, h("p", { class: "scalar" }, data.result[1]));
      return;
    }
    if (data.resultType === "vector") {
      fill(this.root, ...vector(data.result));
      return;
    }
    if (data.resultType === "matrix") {
      const rows = data.result.map(({ metric, values }) => {
        const samples = values.map(([time_s, value]) => `${value} @${time_s}`).join("\n");
        return row(formatLabels(metric), samples);
      });
      fill(this.root, ...table(rows));
    }
  }
}

function vector(samples: readonly Sample[]): HTMLElement[] {
  const sorted = [...samples].sort((a, b) => Number(b.value[1]) - Number(a.value[1]));
  return table(sorted.map(({ metric, value }) => row(formatLabels(metric), value[1])));
}

function row(name: string, value: string): HTMLElement {
  return h("tr", {}, h("td", {}, name), h("td", { class: "number" }, value));
}

function table(rows: readonly HTMLElement[]): HTMLElement[] {
  if (rows.length === 0) return [h("p", { class: "note" }, t("vector.none"))];
  const head = h("tr", {}, ...HEADS.map((key) => h("th", { attributes: { scope: "col" } }, t(key))));
  const shown = h("table", {}, h("thead", {}, head), h("tbody", {}, ...rows.slice(0, ROWS_MAX)));
  const count =
    rows.length > ROWS_MAX
      ? t("vector.first", { most: ROWS_MAX, n: rows.length })
      : t("frame.series", { n: rows.length });
  return [shown, h("p", { class: "note" }, count)];
}
