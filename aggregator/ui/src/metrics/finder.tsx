/** All metrics by name, with their help texts, labels and values: a click makes a query of them. */
import { useMemo, useState } from "preact/hooks";
import { askPrometheus, labelNames, labelValues } from "../api";
import { quote } from "../format";
import { useAsked } from "../hooks";
import { t } from "../i18n";
import { FilterBox, Problem } from "../widgets";

/** More names are not drawn: the filter finds the others. */
const NAMES_SHOWN = 150;
const VALUES_SHOWN = 50;
/** Of a label with more values only that is told. */
const VALUES_ASKED = 1000;

interface About {
  type: string;
  help: string;
}

/** Name to type and help text, of whatever shape the answer has. Pure. */
export function aboutOf(data: unknown): Map<string, About> {
  const about = new Map<string, About>();
  if (typeof data !== "object" || data === null) return about;
  for (const [name, list] of Object.entries(data)) {
    const first: unknown = Array.isArray(list) ? list[0] : undefined;
    if (typeof first !== "object" || first === null) continue;
    const { type, help } = first as Record<string, unknown>;
    about.set(name, {
      type: typeof type === "string" ? type : "",
      help: typeof help === "string" ? help : "",
    });
  }
  return about;
}

/** Series of a histogram or summary carry the name of its family with an ending. */
function aboutName(about: ReadonlyMap<string, About>, name: string): About | undefined {
  return about.get(name) ?? about.get(name.replace(/_(bucket|sum|count|total)$/, ""));
}

/** A query that says something about a metric of this type. */
export function suggested(name: string, type: string): string {
  if (name.endsWith("_bucket")) return `histogram_quantile(0.95, sum by (le) (rate(${name}[5m])))`;
  if (type === "counter" || /_(total|count|sum)$/.test(name)) return `rate(${name}[5m])`;
  return name;
}

export function Finder({ choose }: { choose: (query: string) => void }) {
  const [filter, setFilter] = useState("");
  const [open, setOpen] = useState("");
  const names = useAsked("names", (run) => labelValues("api", "__name__", run.signal), { quiet: true });
  const metadata = useAsked("metadata", async (run) => aboutOf(await askPrometheus("api/v1/metadata", run)), {
    quiet: true,
  });
  const about = metadata.data ?? new Map<string, About>();
  const found = useMemo(() => {
    const words = filter.toLowerCase().split(/\s+/).filter(Boolean);
    return (names.data ?? []).filter((name) => {
      const text = `${name} ${aboutName(about, name)?.help ?? ""}`.toLowerCase();
      return words.every((word) => text.includes(word));
    });
  }, [names.data, metadata.data, filter]);
  return (
    <aside class="finder" aria-label={t("finder.title")}>
      <FilterBox label={t("finder.filter")} value={filter} onInput={setFilter} />
      <Problem error={names.error} />
      <p class="note" role="status">
        {t("finder.count", { n: found.length })}
      </p>
      <ul>
        {found.slice(0, NAMES_SHOWN).map((name) => {
          const known = aboutName(about, name);
          return (
            <li key={name}>
              <button
                type="button"
                class="field"
                aria-expanded={open === name}
                onClick={() => setOpen(open === name ? "" : name)}
                title={known?.help ?? ""}
              >
                <span class="name">{name}</span>
                <span class="count">{known?.type ?? ""}</span>
              </button>
              {open === name && <Metric name={name} about={known} choose={choose} />}
            </li>
          );
        })}
      </ul>
      {found.length > NAMES_SHOWN && (
        <p class="note">{t("finder.more", { n: found.length - NAMES_SHOWN })}</p>
      )}
    </aside>
  );
}

function Metric({
  name,
  about,
  choose,
}: {
  name: string;
  about: About | undefined;
  choose: (query: string) => void;
}) {
  const [open, setOpen] = useState("");
  const labels = useAsked(name, (run) => labelNames("api", run.signal, name), { quiet: true });
  const query = suggested(name, about?.type ?? "");
  return (
    <div class="metric">
      <p>{about?.help || t("finder.no_help")}</p>
      <button type="button" onClick={() => choose(query)}>
        <code>{query}</code>
      </button>
      <ul>
        {(labels.data ?? [])
          .filter((label) => label !== "__name__")
          .map((label) => (
            <li key={label}>
              <button
                type="button"
                class="field"
                aria-expanded={open === label}
                onClick={() => setOpen(open === label ? "" : label)}
              >
                <span class="name">{label}</span>
              </button>
              {open === label && <LabelValues metric={name} label={label} query={query} choose={choose} />}
            </li>
          ))}
      </ul>
    </div>
  );
}

function LabelValues({
  metric,
  label,
  query,
  choose,
}: {
  metric: string;
  label: string;
  query: string;
  choose: (query: string) => void;
}) {
  const values = useAsked(
    `${metric} ${label}`,
    (run) => labelValues("api", label, run.signal, metric, VALUES_ASKED),
    { quiet: true },
  );
  const all = values.data ?? [];
  return (
    <ul class="values">
      {all.slice(0, VALUES_SHOWN).map((value) => (
        <li key={value}>
          <button
            type="button"
            class="plain"
            onClick={() => choose(query.replace(metric, `${metric}{${label}=${quote(value)}}`))}
          >
            <bdi>{value === "" ? '""' : value}</bdi>
          </button>
        </li>
      ))}
      {all.length > VALUES_SHOWN && (
        <li class="note">
          {all.length < VALUES_ASKED
            ? t("logs.more_values", { n: all.length - VALUES_SHOWN })
            : t("finder.many_values", { n: VALUES_ASKED })}
        </li>
      )}
    </ul>
  );
}
