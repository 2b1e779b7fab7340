/**
 * A table of log lines: time, level, origin, line; a click opens a line's labels and its whole
 * text. The one rule: rows of lines that are still there stay the same elements, so that a refresh
 * does not move what somebody reads, selects or has opened.
 */
import { fill, h } from "./dom";
import { displayed, origin, type Entry } from "./entries";
import { quote, selector, type Labels } from "./format";
import { levelOf } from "./level";
import { formatNanoseconds, isoNanoseconds } from "./time";

/** One row shows this much of a line; the rest is behind the click. */
const ROW_MAX_CHARS = 1000;
/** An opened line shows this much: a browser stalls on megabytes of one line. */
const OPENED_MAX_CHARS = 100_000;

export class LogTable {
  readonly root: HTMLElement;
  readonly #list: HTMLElement;
  readonly #link: (query: string) => string;
  #rows = new Map<string, HTMLElement>();

  /** `link` makes the address that shows a LogQL query. */
  constructor(label: string, link: (query: string) => string) {
    this.#link = link;
    this.#list = h("ol", { class: "log", attributes: { "aria-label": label } });
    this.root = h("div", { class: "log-frame" }, this.#list);
  }

  /** Shows these entries, newest first. */
  show(entries: readonly Entry[]): void {
    const rows = new Map<string, HTMLElement>();
    for (const entry of entries) {
      rows.set(entry.key, this.#rows.get(entry.key) ?? this.#row(entry));
    }
    for (const [key, row] of this.#rows) if (!rows.has(key)) row.remove();
    let before: ChildNode | null = this.#list.firstChild;
    for (const row of rows.values()) {
      if (row === before) before = row.nextSibling;
      else this.#list.insertBefore(row, before);
    }
    this.#rows = rows;
  }

  #row(entry: Entry): HTMLElement {
    const level = levelOf(entry.labels, entry.line);
    const detail = h("div", { class: "detail" });
    detail.hidden = true;
    const time = h(
      "button",
      {
        class: "time",
        attributes: { type: "button", "aria-expanded": "false", title: isoNanoseconds(entry.time_ns) },
      },
      formatNanoseconds(entry.time_ns),
    );
    const head = h(
      "div",
      { class: "head" },
      time,
      h("span", { class: "level", attributes: { title: level } }, level === "unknown" ? "" : level),
      h("span", { class: "origin" }, origin(entry.labels)),
      h("bdi", { class: "line" }, displayed(entry.line, ROW_MAX_CHARS)),
    );
    const toggle = (): void => {
      detail.hidden = !detail.hidden;
      time.setAttribute("aria-expanded", String(!detail.hidden));
      if (!detail.hidden && detail.childElementCount === 0) this.#fillDetail(detail, entry);
    };
    head.addEventListener("click", () => {
      // Selecting text ends with a click too; that is not a wish to open the row.
      if (String(getSelection()) === "") toggle();
    });
    return h("li", { attributes: { "data-level": level } }, head, detail);
  }

  #fillDetail(detail: HTMLElement, { time_ns, labels, line }: Entry): void {
    const pairs = Object.entries(labels).sort(([a], [b]) => (a < b ? -1 : 1));
    const items = pairs.flatMap(([name, value]) => [
      h("dt", {}, name),
      h("dd", {}, this.#anchor(value, `{${name}=${quote(value)}}`)),
    ]);
    fill(
      detail,
      h("pre", {}, h("bdi", {}, displayed(line, OPENED_MAX_CHARS))),
      h("dl", {}, h("dt", {}, "time"), h("dd", {}, isoNanoseconds(time_ns)), ...items),
      h("p", {}, this.#anchor("only this stream", selector(streamLabels(labels)))),
    );
  }

  #anchor(text: string, query: string): HTMLElement {
    return h("a", { attributes: { href: this.#link(query) } }, text);
  }
}

/** Labels that name a stream; the others were parsed from the line. */
const STREAM_LABELS = [
  "namespace",
  "pod",
  "container",
  "node",
  "stream",
  "app",
  "filename",
  "host",
  "tag",
  "job",
];

function streamLabels(labels: Labels): Labels {
  const known = Object.entries(labels).filter(([name]) => STREAM_LABELS.includes(name));
  return known.length === 0 ? labels : Object.fromEntries(known);
}
