/** What the pages' components share: asking again and again, and following what changes elsewhere. */
import { useEffect, useRef, useState } from "preact/hooks";
import { ApiError, Meter, type Run } from "./api";
import { onConnection, lostSince } from "./connection";
import { Live } from "./live";
import { t } from "./i18n";
import { setMeter } from "./meter";
import { begin, end, isCancelled, onAgain, type Running } from "./running";

export interface Asked<T> {
  /** The newest answer; of the question before, while a new one is under way. */
  data: T | null;
  error: Error | null;
  busy: boolean;
}

/**
 * Runs `task` now, whenever `key` changes, when a lost connection is back, and every `interval_s`
 * while `repeat`. An answer that comes after the question changed is dropped.
 */
export function useAsked<T>(
  key: string,
  task: (run: Run) => Promise<T>,
  { repeat = false, interval_s = 5, quiet = false } = {},
): Asked<T> {
  const [asked, setAsked] = useState<Asked<T>>({ data: null, error: null, busy: true });
  const newest = useRef(task);
  newest.current = task;
  useEffect(() => {
    setAsked((before) => ({ ...before, busy: true }));
    let answered = false;
    const live = new Live(async (signal) => {
      // Nothing is asked by itself after the reader stopped it.
      if (answered && isCancelled()) return;
      const abort = new AbortController();
      const run = { meter: new Meter(), signal: abort.signal };
      let stopped = false;
      const under: Running = {
        meter: run.meter,
        begun_ms: performance.now(),
        refresh: answered,
        cancel: () => {
          stopped = true;
          abort.abort();
        },
      };
      const pass = (): void => abort.abort();
      signal.addEventListener("abort", pass);
      begin(under);
      try {
        const data = await newest.current(run);
        if (!signal.aborted) setAsked({ data, error: null, busy: false });
      } catch (error) {
        if (signal.aborted) return;
        const why = stopped ? new ApiError(t("progress.cancelled"), "canceled") : error;
        const known = why instanceof Error ? why : new Error(String(why));
        setAsked((before) => ({ data: before.data, error: known, busy: false }));
      } finally {
        answered = true;
        signal.removeEventListener("abort", pass);
        end(under);
      }
      if (!quiet && run.meter.queries > 0) setMeter(run.meter);
    }, interval_s);
    live.start(repeat);
    const stop = onConnection(() => {
      if (lostSince() === null) live.start(repeat);
    });
    const stopAgain = onAgain(() => live.start(repeat));
    return () => {
      stop();
      stopAgain();
      live.stop();
    };
  }, [key, repeat, interval_s]);
  return asked;
}

/** Draws the component again whenever `subscribe` calls back. */
export function useChange(subscribe: (change: () => void) => () => void): void {
  const [, count] = useState(0);
  useEffect(() => subscribe(() => count((before) => before + 1)), []);
}
