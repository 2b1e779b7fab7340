/** What slow queries have done so far, with a button that stops them. */
import { useEffect, useState } from "preact/hooks";
import { formatBytes, formatPlain } from "./format";
import { useChange } from "./hooks";
import { t } from "./i18n";
import { askAgain, cancelAll, isCancelled, onRunning, running } from "./running";

/** Queries that are faster are nothing to talk about; a refresh may take longer before it is told. */
const SLOW_MS = 1000;
const SLOW_REFRESH_MS = 5000;
const TICK_MS = 250;

export function Progress() {
  const [now_ms, setNow] = useState(0);
  useChange(onRunning);
  const runs = running();
  const waiting = runs.length > 0;
  useEffect(() => {
    if (!waiting) return;
    setNow(performance.now());
    const timer = setInterval(() => setNow(performance.now()), TICK_MS);
    return () => clearInterval(timer);
  }, [waiting]);
  if (isCancelled()) {
    return (
      <div class="progress" role="status">
        <span>{t("progress.cancelled")}</span>
        <button type="button" onClick={askAgain}>
          {t("progress.again")}
        </button>
      </div>
    );
  }
  const slow = runs.filter(
    ({ begun_ms, refresh }) => now_ms - begun_ms > (refresh ? SLOW_REFRESH_MS : SLOW_MS),
  );
  if (slow.length === 0) return null;
  const sum = (of: (meter: (typeof slow)[number]["meter"]) => number): number =>
    slow.reduce((total, { meter }) => total + of(meter), 0);
  const since_ms = Math.min(...slow.map(({ begun_ms }) => begun_ms));
  const [asked, answered] = [sum(({ asked }) => asked), sum(({ queries }) => queries)];
  return (
    <div class="progress" role="status">
      <span class="track" aria-hidden="true">
        <span class="length" style={{ width: `${asked === 0 ? 0 : (100 * answered) / asked}%` }} />
      </span>
      <span>
        {[
          t("progress.running", { seconds: ((now_ms - since_ms) / 1000).toFixed(1) }),
          t("progress.answered", { n: asked, answered }),
          scanned(sum((meter) => meter.samples), sum((meter) => meter.scannedBytes)),
        ]
          .filter(Boolean)
          .join(" · ")}
      </span>
      <button type="button" onClick={cancelAll}>
        {t("progress.cancel")}
      </button>
    </div>
  );
}

/** What the store has read for queries, in words; empty when it is not known. */
export function scanned(samples: number, bytes: number): string {
  return [
    samples > 0 ? t("progress.samples", { samples: formatPlain(samples) }) : "",
    bytes > 0 ? t("progress.lines", { bytes: formatBytes(bytes) }) : "",
  ]
    .filter(Boolean)
    .join(" · ");
}
