/**
 * Pages that draw themselves into an element: made anew for each state, taken down before the next.
 * The keyboard's focus goes to the element that took the place of the one that had it.
 */
import { useEffect, useRef } from "preact/hooks";
import type { State } from "./state";

interface SelfDrawn {
  start(): void;
  stop(): void;
}

/** What a keyboard's user knows an element by: kind, label, text. */
function identity(element: Element | null): string {
  const text = element instanceof HTMLSelectElement ? "" : (element?.textContent ?? "");
  return `${element?.tagName} ${element?.getAttribute("aria-label") ?? ""} ${text}`;
}

function focusLike(wanted: string): void {
  const all = document.querySelectorAll<HTMLElement>("button, select, textarea, a");
  const found = [...all].find((element) => identity(element) === wanted);
  found?.focus({ preventScroll: true });
}

/** A component of a class that takes the element and the state. */
export function classPage(Page: new (main: HTMLElement, state: State) => SelfDrawn) {
  return function ClassPage({ state }: { state: State }) {
    const place = useRef<HTMLDivElement>(null);
    useEffect(() => {
      if (place.current === null) return;
      const focused = identity(document.activeElement);
      const page = new Page(place.current, state);
      page.start();
      if (document.activeElement === document.body) focusLike(focused);
      return () => page.stop();
    }, [state]);
    return <div ref={place} />;
  };
}
