/** The forms that change a panel and the variables of a dashboard. What is changed shows at once. */
import { useState } from "preact/hooks";
import { QueryBox } from "../editor/query_box";
import { Check, Choose, Field, NumberField, TextField, Typed } from "../fields";
import { t } from "../i18n";
import type { Language } from "../state";
import { gridOfPanel, put, type Grid, type PanelJson } from "./edit";
import { KINDS } from "./model";
import { at, bag, list, number, text, type Bag } from "./read";

const UNITS = [
  "short", "none", "percent", "percentunit", "bytes", "decbytes", "Bps", "binBps", "bps", "s", "ms", "µs", "ns",
  "reqps", "ops", "iops", "pps", "hertz", "celsius", "watt", "dateTimeAsIso", "bool",
];
const COLORS = ["green", "yellow", "orange", "red", "blue", "purple", "gray"];
const CALCULATIONS = ["lastNotNull", "mean", "min", "max", "sum", "first", "count", "range", "diff"];
/** More is not readable, and every query is asked again and again. */
const QUERIES_MAX = 26;

const languageOf = (target: Bag, panel: Bag): Language => {
  const source = text(at(target, "datasource.type") ?? at(panel, "datasource.type")).toLowerCase();
  return source === "loki" || (source === "" && panel["type"] === "logs") ? "logql" : "promql";
};

export function PanelForm({
  panel,
  change,
  place,
  close,
}: {
  panel: PanelJson;
  change: (panel: PanelJson) => void;
  place: (grid: Grid) => void;
  close: () => void;
}) {
  const set = (path: string, value: unknown): void => change(put(panel, path, value));
  const targets = list(panel["targets"]).map(bag);
  const setTarget = (nth: number, target: Bag | null): void =>
    set(
      "targets",
      targets.flatMap((one, index): Bag[] => (index !== nth ? [one] : target === null ? [] : [target])),
    );
  const type = text(panel["type"]);
  const defaults = bag(at(panel, "fieldConfig.defaults"));
  const grid = gridOfPanel(panel);
  const steps = list(at(defaults, "thresholds.steps")).map(bag);
  const setSteps = (next: readonly Bag[]): void =>
    set("fieldConfig.defaults.thresholds", { mode: "absolute", ...bag(defaults["thresholds"]), steps: next });
  const legend = bag(at(panel, "options.legend"));
  const name = text(panel["title"]) || t("edit.panel");
  return (
    <aside class="drawer" aria-label={t("edit.panel_of", { name })}>
      <header>
        <h2>{t("edit.panel_of", { name })}</h2>
        <button type="button" onClick={close}>
          {t("help.close")}
        </button>
      </header>
      <div class="form-fields">
        <TextField label={t("edit.title")} value={text(panel["title"])} change={(value) => set("title", value)} />
        {type !== "row" && (
          <Choose
            label={t("edit.type")}
            value={type}
            values={KINDS.filter((kind) => kind !== "row")}
            texts={KINDS.filter((kind) => kind !== "row").map((kind) => t(`kind.${kind}`))}
            change={(value) => set("type", value)}
          />
        )}
        <TextField
          label={t("edit.description")}
          value={text(panel["description"])}
          change={(value) => set("description", value === "" ? undefined : value)}
        />
      </div>
      {type === "text" && (
        <Field label={t("edit.text")}>
          <Typed
            rows={8}
            value={text(at(panel, "options.content") ?? panel["content"])}
            change={(value) => set("options.content", value)}
          />
        </Field>
      )}
      {type !== "text" && type !== "row" && (
        <>
          <h3>{t("edit.queries")}</h3>
          {targets.map((target, nth) => {
            const language = languageOf(target, panel);
            const ref = text(target["refId"]) || String.fromCharCode(65 + nth);
            return (
              <fieldset key={`${ref} ${language}`}>
                <legend>{t("edit.query", { ref })}</legend>
                <QueryBox
                  language={language}
                  query={text(target["expr"])}
                  label={t("edit.query", { ref })}
                  first={false}
                  templated
                  run={(expr) => setTarget(nth, { ...target, expr })}
                  leave={(expr) => setTarget(nth, { ...target, expr })}
                />
                <div class="form-fields">
                  <Choose
                    label={t("edit.language")}
                    value={language}
                    values={["promql", "logql"]}
                    texts={["PromQL", "LogQL"]}
                    change={(value) =>
                      setTarget(nth, { ...target, datasource: { type: value === "logql" ? "loki" : "prometheus" } })
                    }
                  />
                  <TextField
                    label={t("edit.legend")}
                    value={text(target["legendFormat"])}
                    change={(value) => setTarget(nth, { ...target, legendFormat: value })}
                  />
                  <Check
                    label={t("edit.instant")}
                    value={target["instant"] === true}
                    change={(value) => setTarget(nth, { ...target, instant: value, range: !value })}
                  />
                  <button type="button" onClick={() => setTarget(nth, null)}>
                    {t("edit.remove_query", { ref })}
                  </button>
                </div>
              </fieldset>
            );
          })}
          <button
            type="button"
            disabled={targets.length >= QUERIES_MAX}
            onClick={() => {
              const taken = targets.map((target) => text(target["refId"]));
              const refId = [..."ABCDEFGHIJKLMNOPQRSTUVWXYZ"].find((ref) => !taken.includes(ref)) ?? "A";
              const source = at(targets[0] ?? panel, "datasource") ?? { type: "prometheus" };
              set("targets", [...targets, { refId, expr: "", datasource: source }]);
            }}
          >
            {t("edit.add_query")}
          </button>
          <h3>{t("edit.values")}</h3>
          <div class="form-fields">
            <TextField
              label={t("edit.unit")}
              value={text(defaults["unit"]) || text(panel["format"])}
              list="units"
              change={(value) => set("fieldConfig.defaults.unit", value === "" ? undefined : value)}
            />
            <datalist id="units">
              {UNITS.map((unit) => (
                <option key={unit} value={unit} />
              ))}
            </datalist>
            <NumberField
              label={t("edit.decimals")}
              value={number(defaults["decimals"])}
              change={(value) => set("fieldConfig.defaults.decimals", value)}
            />
            <NumberField
              label={t("edit.min")}
              value={number(defaults["min"])}
              change={(value) => set("fieldConfig.defaults.min", value)}
            />
            <NumberField
              label={t("edit.max")}
              value={number(defaults["max"])}
              change={(value) => set("fieldConfig.defaults.max", value)}
            />
            {["stat", "gauge", "bargauge", "piechart"].includes(type) && (
              <Choose
                label={t("edit.calculation")}
                value={text(list(at(panel, "options.reduceOptions.calcs"))[0]) || "lastNotNull"}
                values={CALCULATIONS}
                change={(value) => set("options.reduceOptions.calcs", [value])}
              />
            )}
            {type === "timeseries" && (
              <>
                <Choose
                  label={t("edit.legend_place")}
                  value={
                    legend["showLegend"] === false || legend["displayMode"] === "hidden"
                      ? "none"
                      : legend["displayMode"] === "table"
                        ? "table"
                        : "list"
                  }
                  values={["list", "table", "none"]}
                  texts={[t("edit.legend_list"), t("edit.legend_table"), t("edit.legend_none")]}
                  change={(value) =>
                    set("options.legend", {
                      ...legend,
                      showLegend: value !== "none",
                      displayMode: value === "table" ? "table" : "list",
                    })
                  }
                />
                <Check
                  label={t("edit.stacked")}
                  value={panel["stack"] === true || text(at(defaults, "custom.stacking.mode")) === "normal"}
                  change={(value) => {
                    const mode = value ? "normal" : "none";
                    const next = put(panel, "fieldConfig.defaults.custom.stacking", { group: "A", mode });
                    change(put(next, "stack", undefined));
                  }}
                />
                <Check
                  label={t("edit.bars")}
                  value={panel["bars"] === true || at(defaults, "custom.drawStyle") === "bars"}
                  change={(value) =>
                    change(put(put(panel, "fieldConfig.defaults.custom.drawStyle", value ? "bars" : "line"), "bars", undefined))
                  }
                />
              </>
            )}
          </div>
          <h3>{t("edit.thresholds")}</h3>
          <ul class="steps">
            {steps.map((step, nth) => (
              <li key={nth}>
                {nth === 0 ? (
                  <span class="from">{t("edit.else")}</span>
                ) : (
                  <Typed
                    label={t("edit.from_value", { n: nth })}
                    value={text(step["value"])}
                    change={(typed) => {
                      const value = number(typed.trim()) ?? 0;
                      setSteps(steps.map((one, index) => (index === nth ? { ...one, value } : one)));
                    }}
                  />
                )}
                <select
                  aria-label={t("edit.color_of", { n: nth })}
                  value={text(step["color"])}
                  onChange={(event) => {
                    const color = event.currentTarget.value;
                    setSteps(steps.map((one, index) => (index === nth ? { ...one, color } : one)));
                  }}
                >
                  {[...new Set([text(step["color"]), ...COLORS])].map((color) => (
                    <option key={color} value={color}>
                      {COLORS.includes(color) ? t(`color.${color}` as "color.red") : color}
                    </option>
                  ))}
                </select>
                {nth > 0 && (
                  <button type="button" onClick={() => setSteps(steps.filter((_, index) => index !== nth))}>
                    {t("edit.remove")}
                  </button>
                )}
              </li>
            ))}
          </ul>
          <button
            type="button"
            onClick={() => {
              const first = steps.length === 0 ? [{ value: null, color: "green" }] : steps;
              const last = number(first.at(-1)?.["value"]) ?? 0;
              setSteps([...first, { value: last + (last === 0 ? 80 : 10), color: "red" }]);
            }}
          >
            {t("edit.add_threshold")}
          </button>
        </>
      )}
      {type !== "row" && (
        <>
          <h3>{t("edit.place")}</h3>
          <div class="form-fields narrow">
            {(["x", "y", "w", "h"] as const).map((key) => (
              <NumberField
                key={key}
                label={t(`edit.${key}`)}
                value={grid[key]}
                change={(value) => place({ ...grid, [key]: value ?? grid[key] })}
              />
            ))}
          </div>
        </>
      )}
    </aside>
  );
}

const VARIABLE_TYPES = ["query", "custom", "textbox", "constant", "interval"] as const;

/** The variables of a dashboard. */
export function VariableForm({
  variables,
  change,
  close,
}: {
  variables: readonly Bag[];
  change: (variables: readonly Bag[]) => void;
  close: () => void;
}) {
  const [error, setError] = useState("");
  const set = (nth: number, next: Bag | null): void =>
    change(variables.flatMap((one, index): Bag[] => (index !== nth ? [one] : next === null ? [] : [next])));
  return (
    <aside class="drawer" aria-label={t("edit.variables")}>
      <header>
        <h2>{t("edit.variables")}</h2>
        <button type="button" onClick={close}>
          {t("help.close")}
        </button>
      </header>
      <p class="note">{t("edit.variables_help")}</p>
      {error !== "" && (
        <p class="note bad" role="alert">
          {error}
        </p>
      )}
      {variables.map((variable, nth) => {
        const type = text(variable["type"]) || "query";
        const name = text(variable["name"]);
        const query = text(variable["query"]) || text(at(variable, "query.query")) || text(variable["definition"]);
        return (
          <fieldset key={nth}>
            <legend>{name}</legend>
            <div class="form-fields">
              <TextField
                label={t("edit.name")}
                value={name}
                change={(value) => {
                  const good = /^[a-zA-Z_]\w*$/.test(value);
                  const isTaken = variables.some((one, index) => index !== nth && text(one["name"]) === value);
                  setError(good && !isTaken ? "" : t("edit.bad_name", { name: value }));
                  if (good && !isTaken) set(nth, { ...variable, name: value });
                }}
              />
              <Choose
                label={t("edit.type")}
                value={type}
                values={VARIABLE_TYPES}
                texts={VARIABLE_TYPES.map((kind) => t(`variable.${kind}`))}
                change={(value) => set(nth, { ...variable, type: value })}
              />
              <TextField
                label={type === "query" ? t("edit.variable_query") : t("edit.variable_values")}
                value={query}
                change={(value) => {
                  const { definition: _, options: __, ...rest } = variable;
                  set(nth, type === "query" ? { ...rest, query: value, definition: value } : { ...rest, query: value });
                }}
              />
              {type === "query" && (
                <TextField
                  label={t("edit.regex")}
                  value={text(variable["regex"])}
                  change={(value) => set(nth, { ...variable, regex: value })}
                />
              )}
              {(type === "query" || type === "custom") && (
                <>
                  <Check
                    label={t("edit.multi")}
                    value={variable["multi"] === true}
                    change={(value) => set(nth, { ...variable, multi: value })}
                  />
                  <Check
                    label={t("edit.include_all")}
                    value={variable["includeAll"] === true}
                    change={(value) => set(nth, { ...variable, includeAll: value })}
                  />
                </>
              )}
              <button type="button" onClick={() => set(nth, null)}>
                {t("edit.remove")}
              </button>
            </div>
          </fieldset>
        );
      })}
      <button
        type="button"
        onClick={() => {
          const taken = variables.map((one) => text(one["name"]));
          let n = 1;
          while (taken.includes(`variable${n}`)) n += 1;
          change([
            ...variables,
            { name: `variable${n}`, type: "query", query: "label_values(namespace)", definition: "label_values(namespace)", datasource: { type: "prometheus" }, multi: false, includeAll: false },
          ]);
        }}
      >
        {t("edit.add_variable")}
      </button>
    </aside>
  );
}
