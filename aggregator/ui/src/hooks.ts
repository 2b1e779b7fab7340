/** What the pages' components share: asking again and again, and following what changes elsewhere. */
import { useEffect, useRef, useState } from "preact/hooks";
import { Meter, type Run } from "./api";
import { onConnection, lostSince } from "./connection";
import { Live } from "./live";
import { setMeter } from "./meter";

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
    const live = new Live(async (signal) => {
      const run = { meter: new Meter(), signal };
      try {
        const data = await newest.current(run);
        if (!signal.aborted) setAsked({ data, error: null, busy: false });
      } catch (error) {
        if (signal.aborted) return;
        const known = error instanceof Error ? error : new Error(String(error));
        setAsked((before) => ({ data: before.data, error: known, busy: false }));
      }
      if (!quiet && run.meter.queries > 0) setMeter(run.meter);
    }, interval_s);
    live.start(repeat);
    const stop = onConnection(() => {
      if (lostSince() === null) live.start(repeat);
    });
    return () => {
      stop();
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
