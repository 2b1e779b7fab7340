/**
 * The names of a chart's series, with their newest values or sums; a click isolates one series, a click
 * with Ctrl or Cmd hides it. It remembers choices by name, so that they survive a refresh.
 */
import { colorOf, type ChartOptions, type Line } from "./chart";
import { fill, h } from "./dom";
import { formatValue, type Unit } from "./format";
import { t, type Key } from "./i18n";

/** More rows help nobody and make the page slow; the table says how many are left out. */
const ROWS_MAX = 200;

const HEADS: readonly Key[] = ["legend.series", "legend.last", "legend.min", "legend.max"];

interface Numbers {
  last: number;
  sum: number;
  least: number;
  most: number;
}

function numbersOf(line: Line): Numbers | null {
  let numbers: Numbers | null = null;
  for (const point of line.points) {
    if (point === null) continue;
    numbers ??= { last: point, sum: 0, least: point, most: point };
    numbers.last = point;
    numbers.sum += point;
    numbers.least = Math.min(numbers.least, point);
    numbers.most = Math.max(numbers.most, point);
  }
  return numbers;
}

export class Legend {
  readonly root: HTMLElement;
  readonly #unit: Unit;
  readonly #form: ChartOptions["legend"];
  readonly #sums: boolean;
  readonly #changed: () => void;
  #only: string | null = null;
  readonly #hidden = new Set<string>();
  #lines: readonly Line[] = [];

  constructor({ unit, legend, label, sums = false }: ChartOptions, changed: () => void) {
    this.#unit = unit;
    this.#form = legend;
    this.#sums = sums;
    this.#changed = changed;
    this.root = h("div", {
      class: `legend ${legend}`,
      attributes: { role: "group", "aria-label": t("legend.label", { label }) },
    });
    this.root.hidden = legend === "none";
  }

  /** Whether the reader wants to see the series of this name. */
  isShown(name: string): boolean {
    return this.#only === null ? !this.#hidden.has(name) : this.#only === name;
  }

  show(lines: readonly Line[]): void {
    this.#lines = lines;
    if (this.#only !== null && !lines.some((line) => line.name === this.#only)) this.#only = null;
    if (this.#form === "inline") this.#showInline();
    else if (this.#form === "table") this.#showTable();
  }

  #choose(name: string, event: MouseEvent): void {
    if (event.ctrlKey || event.metaKey) {
      if (!this.#hidden.delete(name)) this.#hidden.add(name);
      this.#only = null;
    } else {
      this.#only = this.#only === name ? null : name;
      this.#hidden.clear();
    }
    this.show(this.#lines);
    this.#changed();
  }

  #button(line: Line): HTMLButtonElement {
    const swatch = h("span", { class: line.dashed === true ? "swatch dashed" : "swatch", attributes: { "aria-hidden": "true" } });
    swatch.style.background = colorOf(line);
    return h(
      "button",
      {
        class: "series",
        attributes: {
          type: "button",
          title: `${line.name}\n${t("legend.help")}`,
          "aria-pressed": String(this.isShown(line.name)),
        },
        on: { click: (event) => this.#choose(line.name, event) },
      },
      swatch,
      h("span", { class: "name" }, line.name),
    );
  }

  #text(value: number | undefined): string {
    return value === undefined ? "–" : formatValue(value, this.#unit);
  }

  #inlineText(numbers: Numbers | null): string {
    if (this.#sums) return t("count", { n: numbers?.sum ?? 0 });
    return this.#text(numbers?.last);
  }

  #showInline(): void {
    // Buttons are kept while the names are the same: a keyboard's focus must survive a refresh.
    const names = this.#lines.map((line) => line.name).join("\n");
    if (this.root.dataset["names"] !== names) {
      this.root.dataset["names"] = names;
      fill(
        this.root,
        ...this.#lines.map((line) => {
          const button = this.#button(line);
          button.append(h("span", { class: "value" }));
          return button;
        }),
      );
    }
    for (const [at, line] of this.#lines.entries()) {
      const button = this.root.children[at];
      const value = button?.querySelector(".value");
      button?.setAttribute("aria-pressed", String(this.isShown(line.name)));
      if (value) value.textContent = this.#inlineText(numbersOf(line));
    }
  }

  #showTable(): void {
    const focused = this.#lines.findIndex(
      (_, at) => this.root.querySelectorAll(".series")[at] === document.activeElement,
    );
    const head = h("tr", {}, ...HEADS.map((key) => h("th", { attributes: { scope: "col" } }, t(key))));
    const rows = this.#lines.slice(0, ROWS_MAX).map((line) => {
      const numbers = numbersOf(line);
      const cells = [numbers?.last, numbers?.least, numbers?.most];
      return h(
        "tr",
        {},
        h("td", {}, this.#button(line)),
        ...cells.map((value) => h("td", { class: "number" }, this.#text(value))),
      );
    });
    const left = this.#lines.length - rows.length;
    fill(
      this.root,
      h("table", {}, h("thead", {}, head), h("tbody", {}, ...rows)),
      left > 0 ? h("p", { class: "note" }, t("legend.more", { n: left })) : null,
    );
    if (focused >= 0) this.root.querySelectorAll<HTMLElement>(".series")[focused]?.focus();
  }
}
