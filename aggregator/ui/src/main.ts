/** The page's entry: reads the address, shows that page, and does so again when it changes. */
import "uplot/dist/uPlot.min.css";
import "./style.css";
import { Explore } from "./explore";
import { Overview } from "./overview";
import { Shell } from "./shell";
import { parseHash } from "./state";

function place(id: string): HTMLElement {
  const found = document.getElementById(id);
  if (found === null) throw new Error(`index.html has no #${id}`);
  return found;
}

const main = place("main");
const shell = new Shell(place("bar"), place("foot"));
let page: { start(): void; stop(): void } | null = null;

/** What a keyboard's user knows an element by: kind, label, text. */
function identity(element: Element | null): string {
  const text = element instanceof HTMLSelectElement ? "" : (element?.textContent ?? "");
  return `${element?.tagName} ${element?.getAttribute("aria-label") ?? ""} ${text}`;
}

/** Gives the focus to the element that took the place of the one that had it. */
function focusLike(wanted: string): void {
  const all = document.querySelectorAll<HTMLElement>("button, select, textarea, a");
  const found = [...all].find((element) => identity(element) === wanted);
  found?.focus({ preventScroll: true });
  if (found instanceof HTMLTextAreaElement) found.setSelectionRange(found.value.length, found.value.length);
}

function show(): void {
  page?.stop();
  const focused = identity(document.activeElement);
  const state = parseHash(location.hash);
  document.title = state.page === "explore" ? `${state.query || "explore"} · kansoku` : "kansoku";
  shell.show(state);
  page = state.page === "explore" ? new Explore(main, shell, state) : new Overview(main, shell, state);
  page.start();
  if (document.activeElement === document.body) focusLike(focused);
}

// The fragment is the page's state, so the link to the content must not change it.
document.querySelector(".skip")?.addEventListener("click", (event) => {
  event.preventDefault();
  main.focus();
});
addEventListener("hashchange", show);
show();
