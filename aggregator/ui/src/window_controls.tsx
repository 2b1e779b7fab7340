/** The time window of the page: the last so many minutes, or a fixed one, and whether it moves on. */
import { formatDate, formatSpan, t } from "./i18n";
import { go, RANGES, type State } from "./state";
import { parseDuration } from "./time";
import { Segmented } from "./widgets";

/** Moments as `<input type="datetime-local">` writes them. */
function localText(time_s: number): string {
  const date = new Date(time_s * 1000);
  return new Date(date.getTime() - date.getTimezoneOffset() * 60_000).toISOString().slice(0, 16);
}

export function WindowControls({ state }: { state: State }) {
  const { range_s, end_s } = state;
  const known = RANGES.find((range) => parseDuration(range) === range_s);
  const shift = (by_s: number): void => {
    const now_s = Math.floor(Date.now() / 1000);
    const end = Math.min(now_s, (end_s ?? now_s) + by_s);
    go({ ...state, end_s: end, live: false });
  };
  return (
    <div class="controls">
      {end_s !== null && (
        <>
          <button
            type="button"
            title={t("window.earlier")}
            aria-label={t("window.earlier")}
            onClick={() => shift(-range_s / 2)}
          >
            ‹
          </button>
          <label class="moment">
            <span class="unseen">{t("window.end")}</span>
            <input
              type="datetime-local"
              value={localText(end_s)}
              title={`${formatDate(end_s - range_s)} – ${formatDate(end_s)}`}
              onChange={(event) => {
                const chosen = Date.parse(event.currentTarget.value) / 1000;
                if (Number.isFinite(chosen)) go({ ...state, end_s: chosen });
              }}
            />
          </label>
          <button
            type="button"
            title={t("window.later")}
            aria-label={t("window.later")}
            onClick={() => shift(range_s / 2)}
          >
            ›
          </button>
          <button
            type="button"
            class="window"
            title={`${formatDate(end_s - range_s)} – ${formatDate(end_s)}`}
            onClick={() => go({ ...state, end_s: null, live: true })}
          >
            {t("window.now")}
          </button>
        </>
      )}
      {known === undefined && (
        <span class="window">{t("window.last", { range: formatSpan(range_s) })}</span>
      )}
      {end_s === null && (
        <button
          type="button"
          title={t("window.earlier")}
          aria-label={t("window.earlier")}
          onClick={() => shift(-range_s / 2)}
        >
          ‹
        </button>
      )}
      <Segmented
        label={t("window.range")}
        values={RANGES}
        texts={RANGES.map((text) => t(`unit.${text.endsWith("h") ? "h" : "m"}`, { count: text.slice(0, -1) }))}
        chosen={known ?? ""}
        choose={(text) => go({ ...state, range_s: parseDuration(text) ?? range_s })}
      />
      <button
        type="button"
        class="live"
        aria-pressed={state.live}
        title={t("window.live_title")}
        onClick={() => go({ ...state, end_s: null, live: !state.live })}
      >
        {t("window.live")}
      </button>
    </div>
  );
}
