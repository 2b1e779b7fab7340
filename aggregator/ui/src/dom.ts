/**
 * Making elements. The one rule: text becomes text nodes and attributes are set one by one, so
 * nothing that came from outside is ever read as markup.
 */

export type Child = Node | string | null;

interface Properties {
  class?: string;
  /** Attributes, set with `setAttribute`; a null one is left out. */
  attributes?: Readonly<Record<string, string | null>>;
  on?: { [K in keyof HTMLElementEventMap]?: (event: HTMLElementEventMap[K]) => void };
}

/** An element with its children. */
export function h<K extends keyof HTMLElementTagNameMap>(
  tag: K,
  properties: Properties = {},
  ...children: readonly Child[]
): HTMLElementTagNameMap[K] {
  const element = document.createElement(tag);
  if (properties.class !== undefined) element.className = properties.class;
  for (const [name, value] of Object.entries(properties.attributes ?? {})) {
    if (value !== null) element.setAttribute(name, value);
  }
  for (const [name, listener] of Object.entries(properties.on ?? {})) {
    element.addEventListener(name, listener as EventListener);
  }
  fill(element, ...children);
  return element;
}

/** Replaces what `parent` holds. */
export function fill(parent: HTMLElement, ...children: readonly Child[]): void {
  parent.replaceChildren(...children.filter((child) => child !== null));
}

/** Sets the text only when it changed, so that a selection in it survives a refresh. */
export function setText(element: HTMLElement, text: string): void {
  if (element.textContent !== text) element.textContent = text;
}

/** A row of radio buttons drawn as one segmented control. */
export function segmented<T extends string>(
  label: string,
  values: readonly T[],
  texts: readonly string[],
  chosen: string,
  choose: (value: T) => void,
): HTMLElement {
  const buttons = values.map((value, at) =>
    h(
      "button",
      {
        attributes: { type: "button", "aria-pressed": String(value === chosen) },
        on: { click: () => choose(value) },
      },
      texts[at] ?? value,
    ),
  );
  return h("div", { class: "segmented", attributes: { role: "group", "aria-label": label } }, ...buttons);
}

/** A drop-down list. */
export function dropDown(
  label: string,
  values: readonly string[],
  chosen: string,
  choose: (value: string) => void,
): HTMLSelectElement {
  const select = h("select", { attributes: { "aria-label": label } });
  for (const value of values) {
    const option = h("option", { attributes: { value } }, value);
    option.selected = value === chosen;
    select.append(option);
  }
  select.addEventListener("change", () => choose(select.value));
  return select;
}
