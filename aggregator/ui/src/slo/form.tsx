/** The form of an objective. */
import { useRef, useState } from "preact/hooks";
import { QueryBox } from "../editor/query_box";
import { Check, Choose, TextField } from "../fields";
import { t } from "../i18n";
import { EMPTY, WINDOWS_DAYS, wrongWith, type Slo } from "./model";

const LOG_EXAMPLE = {
  events: 'sum(rate({namespace="default"} |= "error" [$window]))',
  total: 'sum(rate({namespace="default"}[$window]))',
};

export function SloForm({
  slo: before,
  title,
  busy,
  save,
  cancel,
}: {
  slo: Slo;
  title: string;
  busy: boolean;
  save: (slo: Slo) => void;
  cancel: () => void;
}) {
  const [slo, setSlo] = useState(before);
  const [tried, setTried] = useState(false);
  // What was typed last, also before the form is drawn again.
  const newest = useRef(before);
  const set = (change: Partial<Slo>): void => {
    newest.current = { ...newest.current, ...change };
    setSlo(newest.current);
  };
  const wrong = wrongWith(slo);
  return (
    <section class="card slo-form" aria-label={title}>
      <h1>{title}</h1>
      <div class="form-fields">
        <TextField label={t("edit.title")} value={slo.title} change={(value) => set({ title: value })} />
        <TextField label={t("edit.description")} value={slo.description} change={(value) => set({ description: value })} />
        <Choose
          label={t("edit.language")}
          value={slo.language}
          values={["promql", "logql"]}
          texts={["PromQL", "LogQL"]}
          change={(value) => {
            const language = value === "logql" ? "logql" : "promql";
            const isExample = slo.events === EMPTY.events || slo.events === LOG_EXAMPLE.events;
            set({ language, ...(isExample ? (language === "logql" ? LOG_EXAMPLE : { events: EMPTY.events, total: EMPTY.total }) : {}) });
          }}
        />
        <Choose
          label={t("slo.counts")}
          value={slo.counts}
          values={["bad", "good"]}
          texts={[t("slo.counts_bad"), t("slo.counts_good")]}
          change={(value) => set({ counts: value === "good" ? "good" : "bad" })}
        />
        <TextField
          label={t("slo.target_percent")}
          value={Number.isFinite(slo.target) ? String(slo.target) : ""}
          change={(value) => set({ target: value.trim() === "" ? Number.NaN : Number(value) })}
        />
        <Choose
          label={t("slo.window")}
          value={String(slo.window_days)}
          values={WINDOWS_DAYS.map(String)}
          texts={WINDOWS_DAYS.map((n) => t("slo.days", { n }))}
          change={(value) => set({ window_days: Number(value) })}
        />
        <Check label={t("slo.evaluate")} value={slo.evaluate} change={(evaluate) => set({ evaluate })} />
      </div>
      <h2>{t(slo.counts === "bad" ? "slo.events_bad" : "slo.events_good")}</h2>
      <QueryBox
        key={`events ${slo.language}`}
        language={slo.language}
        query={slo.events}
        label={t(slo.counts === "bad" ? "slo.events_bad" : "slo.events_good")}
        first={false}
        templated
        change={(events) => set({ events })}
        run={(events) => set({ events })}
      />
      <h2>{t("slo.total")}</h2>
      <QueryBox
        key={`total ${slo.language}`}
        language={slo.language}
        query={slo.total}
        label={t("slo.total")}
        first={false}
        templated
        change={(total) => set({ total })}
        run={(total) => set({ total })}
      />
      <p class="note">{t("slo.window_help")}</p>
      {tried && wrong.length > 0 && (
        <ul class="note bad" role="alert">
          {wrong.map((key) => (
            <li key={key}>{t(key)}</li>
          ))}
        </ul>
      )}
      <p>
        <button
          type="button"
          class="run"
          disabled={busy}
          onClick={() => {
            setTried(true);
            if (wrongWith(newest.current).length === 0) save(newest.current);
          }}
        >
          {t("edit.save")}
        </button>{" "}
        <button type="button" onClick={cancel}>
          {t("edit.cancel")}
        </button>
      </p>
    </section>
  );
}
