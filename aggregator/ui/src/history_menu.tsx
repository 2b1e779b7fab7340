/** Queries that were run before, to choose from. */
import { loadHistory } from "./history";
import { t } from "./i18n";
import type { Language } from "./state";

export function History({ language, choose }: { language: Language; choose: (query: string) => void }) {
  const past = loadHistory().filter((one) => one.language === language);
  return (
    <select
      class="history"
      aria-label={t("history.label")}
      value=""
      disabled={past.length === 0}
      onChange={(event) => {
        const chosen = past[Number(event.currentTarget.value)];
        if (event.currentTarget.value !== "" && chosen !== undefined) choose(chosen.query);
      }}
    >
      <option value="">{past.length === 0 ? t("history.none") : t("history.title")}</option>
      {past.map(({ query }, at) => (
        <option key={query} value={String(at)}>
          {query}
        </option>
      ))}
    </select>
  );
}
