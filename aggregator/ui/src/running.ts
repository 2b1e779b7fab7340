/**
 * The runs of queries that are under way: what the reader is told while they take long, and how they are
 * stopped. `useAsked` reports here; the frame shows it.
 */
import type { Meter } from "./api";

export interface Running {
  meter: Meter;
  begun_ms: number;
  /** Something is already on the screen, and this only makes it newer. */
  refresh: boolean;
  cancel: () => void;
}

const runs = new Set<Running>();
const listeners = new Set<() => void>();
let cancelled = false;

function tell(): void {
  for (const listener of [...listeners]) listener();
}

export function begin(run: Running): void {
  runs.add(run);
  cancelled = false;
  tell();
}

export function end(run: Running): void {
  if (runs.delete(run)) tell();
}

/** All runs under way. */
export function running(): readonly Running[] {
  return [...runs];
}

/** Stops all of them; what is on the screen stays as it is until somebody asks again. */
export function cancelAll(): void {
  cancelled = runs.size > 0;
  for (const run of [...runs]) run.cancel();
  tell();
}

/** The reader stopped what was under way, and nothing has been asked since. */
export function isCancelled(): boolean {
  return cancelled;
}

const again = new Set<() => void>();

/** Asks for everything again. */
export function askAgain(): void {
  cancelled = false;
  for (const ask of [...again]) ask();
  tell();
}

export function onAgain(ask: () => void): () => void {
  again.add(ask);
  return () => again.delete(ask);
}

export function onRunning(change: () => void): () => void {
  listeners.add(change);
  return () => listeners.delete(change);
}
