/** What the last run of queries took: written by the pages, shown by the footer. */
import type { Meter } from "./api";

let newest: Meter | null = null;
const listeners = new Set<() => void>();

export function lastMeter(): Meter | null {
  return newest;
}

export function setMeter(meter: Meter): void {
  newest = meter;
  for (const listener of listeners) listener();
}

export function onMeter(change: () => void): () => void {
  listeners.add(change);
  return () => listeners.delete(change);
}
