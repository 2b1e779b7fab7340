/** A ranked list with a bar behind each value: containers by use, file systems by fill. */
import { fill, h } from "./dom";

export interface Bar {
  name: string;
  /** A fainter word before the name, such as a namespace. */
  prefix: string;
  text: string;
  /** Length of the bar, 0 to 1. */
  share: number;
  /** Drawn as a warning. */
  high: boolean;
  href: string;
}

/** The list's items. */
export function showBars(list: HTMLElement, bars: readonly Bar[]): void {
  const focused = [...list.querySelectorAll("a")].findIndex((a) => a === document.activeElement);
  fill(list, ...bars.map(item));
  if (focused >= 0) list.querySelectorAll("a")[focused]?.focus();
}

function item(bar: Bar): HTMLElement {
  const length = h("span", {
    class: bar.high ? "length high" : "length",
    attributes: { "aria-hidden": "true" },
  });
  length.style.width = `${Math.round(Math.min(1, Math.max(0, bar.share)) * 1000) / 10}%`;
  const prefix = bar.prefix === "" ? null : h("span", { class: "prefix" }, `${bar.prefix} / `);
  const name = h("span", { class: "name", attributes: { title: bar.name } }, prefix, bar.name);
  const link = h(
    "a",
    { attributes: { href: bar.href } },
    length,
    name,
    h("span", { class: "value" }, bar.text),
  );
  return h("li", {}, link);
}
