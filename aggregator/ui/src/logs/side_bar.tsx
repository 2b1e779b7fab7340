/** The fields beside the lines: open one to see its values, click to filter in or out. */
import { useMemo, useState } from "preact/hooks";
import { t } from "../i18n";
import type { Entry } from "./entries";
import { fieldsOf, LINES_MAX, topValues, type Field } from "./fields";
import { visible } from "./segments";

const VALUES_SHOWN = 10;
const VALUE_MAX_CHARS = 120;

export type Narrow = (
  field: Pick<Field, "name" | "kind" | "parser">,
  operator: "=" | "!=",
  value: string,
) => void;

export function SideBar({ entries, narrow }: { entries: readonly Entry[]; narrow: Narrow }) {
  const fields = useMemo(() => fieldsOf(entries), [entries]);
  const [open, setOpen] = useState<ReadonlySet<string>>(new Set(["container", "level"]));
  const toggle = (name: string): void => {
    const next = new Set(open);
    if (!next.delete(name)) next.add(name);
    setOpen(next);
  };
  return (
    <aside class="fields" aria-label={t("logs.fields")}>
      <h2>{t("logs.fields")}</h2>
      <p class="note">{t("logs.fields_of", { n: Math.min(entries.length, LINES_MAX) })}</p>
      <ul>
        {fields.map((field) => (
          <li key={`${field.kind} ${field.name}`}>
            <button
              type="button"
              class="field"
              aria-expanded={open.has(field.name)}
              onClick={() => toggle(field.name)}
            >
              <span class={field.kind === "stream" ? "name stream" : "name"}>{visible(field.name)}</span>
              <span class="count">{field.many ? `${field.values.size}+` : field.values.size}</span>
            </button>
            {open.has(field.name) && <Values field={field} narrow={narrow} />}
          </li>
        ))}
      </ul>
    </aside>
  );
}

function Values({ field, narrow }: { field: Field; narrow: Narrow }) {
  const top = topValues(field, VALUES_SHOWN);
  return (
    <ul class="values">
      {top.map(([value, count]) => {
        const shown = visible(value.length > VALUE_MAX_CHARS ? `${value.slice(0, VALUE_MAX_CHARS)}…` : value);
        return (
          <li key={value}>
            <span class="length" style={{ width: `${(100 * count) / field.count}%` }} aria-hidden="true" />
            <bdi class="value" title={shown}>
              {shown === "" ? '""' : shown}
            </bdi>
            <span class="count">{t("count", { n: count })}</span>
            <FilterButtons
              label={`${field.name} = ${shown}`}
              narrow={(operator) => narrow(field, operator, value)}
            />
          </li>
        );
      })}
      {(field.many || field.values.size > VALUES_SHOWN) && (
        <li class="note">{t("logs.more_values", { n: field.values.size - VALUES_SHOWN })}</li>
      )}
    </ul>
  );
}

/** Two buttons: only lines with this, and only lines without. */
export function FilterButtons({ label, narrow }: { label: string; narrow: (operator: "=" | "!=") => void }) {
  return (
    <span class="filters">
      <button
        type="button"
        title={t("logs.only")}
        aria-label={`${t("logs.only")}: ${label}`}
        onClick={() => narrow("=")}
      >
        +
      </button>
      <button
        type="button"
        title={t("logs.without")}
        aria-label={`${t("logs.without")}: ${label}`}
        onClick={() => narrow("!=")}
      >
        −
      </button>
    </span>
  );
}
