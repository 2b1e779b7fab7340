/**
 * Whether the aggregator answers. Requests report here; while it is silent it is asked again every
 * few seconds, and when it answers the pages are told to ask anew.
 */

const RETRY_MS = 3000;

let lost_ms: number | null = null;
let timer: number | undefined;
const listeners = new Set<() => void>();

/** When the aggregator fell silent, in Unix milliseconds; null while it answers. */
export function lostSince(): number | null {
  return lost_ms;
}

/** Calls back when the connection is lost and when it is back. Returns how to stop that. */
export function onConnection(change: () => void): () => void {
  listeners.add(change);
  return () => listeners.delete(change);
}

function tell(): void {
  for (const listener of [...listeners]) listener();
}

/** A request got an answer, whatever it says. */
export function answered(): void {
  if (lost_ms === null) return;
  lost_ms = null;
  clearTimeout(timer);
  tell();
}

/** A request got none. */
export function unanswered(): void {
  if (lost_ms !== null) return;
  lost_ms = Date.now();
  tell();
  timer = window.setTimeout(ask, RETRY_MS);
}

function ask(): void {
  const url = new URL("-/ready", document.baseURI);
  url.hash = "";
  fetch(url, { cache: "no-store" }).then(answered, () => {
    timer = window.setTimeout(ask, RETRY_MS);
  });
}
