/** Keys for the whole page: `/` to the query or filter, `?` for help, `g` and a letter to a page. */
import type { PageName } from "./state";

/** The letter after `g`. */
export const PAGE_KEYS: Readonly<Partial<Record<PageName, string>>> = {
  cluster: "c",
  pod: "p",
  logs: "l",
  metrics: "m",
  dashboards: "d",
  alerts: "a",
  slos: "s",
  kansoku: "k",
};

/** Between `g` and the letter no more time may pass than somebody needs to find it. */
const SEQUENCE_MS = 1500;

export interface KeyActions {
  page(name: PageName): void;
  search(): void;
  help(): void;
  live(): void;
  zoomOut(): void;
}

function isTyping(target: EventTarget | null): boolean {
  // The editors live in shadow trees, so the element that has the focus is asked for inside them.
  let element = target instanceof Element ? target : null;
  while (element?.shadowRoot?.activeElement) element = element.shadowRoot.activeElement;
  return (
    element instanceof HTMLInputElement ||
    element instanceof HTMLTextAreaElement ||
    element instanceof HTMLSelectElement ||
    (element instanceof HTMLElement && element.isContentEditable)
  );
}

/** Listens until the returned function is called. */
export function listenForKeys(actions: KeyActions): () => void {
  let since_ms = -Infinity;
  const onKey = (event: KeyboardEvent): void => {
    if (event.ctrlKey || event.metaKey || event.altKey || isTyping(event.target)) return;
    if (document.querySelector("dialog[open]") !== null) return;
    const second = performance.now() - since_ms < SEQUENCE_MS;
    since_ms = -Infinity;
    if (second) {
      const [name] = Object.entries(PAGE_KEYS).find(([, key]) => key === event.key) ?? [];
      if (name === undefined) return;
      actions.page(name as PageName);
    } else if (event.key === "g") since_ms = performance.now();
    else if (event.key === "/") actions.search();
    else if (event.key === "?") actions.help();
    else if (event.key === "r") actions.live();
    else if (event.key === "-") actions.zoomOut();
    else return;
    event.preventDefault();
  };
  document.addEventListener("keydown", onKey);
  return () => document.removeEventListener("keydown", onKey);
}

/** Puts the focus on the page's query or filter. */
export function focusSearch(): void {
  const found = document.querySelector<HTMLElement>("[data-search]");
  if (found === null) return;
  const inner = found.shadowRoot?.querySelector<HTMLElement>(".cm-content");
  (inner ?? found).focus();
  if (found instanceof HTMLInputElement) found.select();
}
