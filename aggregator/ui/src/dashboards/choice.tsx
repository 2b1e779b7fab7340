/** The choice of one variable's values. */
import { t } from "../i18n";
import { OPTIONS_MAX, type Resolved } from "./load";
import type { Variable } from "./model";
import { ALL } from "./variables";

export function Choice({
  variable,
  resolved,
  choose,
}: {
  variable: Variable;
  resolved: Resolved | null;
  choose: (name: string, values: readonly string[]) => void;
}) {
  const options = resolved?.options[variable.name] ?? [];
  const values = resolved?.values[variable.name] ?? [];
  if (variable.kind === "textbox") {
    return (
      <label>
        {`${variable.label} `}
        <input
          type="text"
          value={values[0] ?? ""}
          onChange={(event) => choose(variable.name, [event.currentTarget.value])}
        />
      </label>
    );
  }
  if (options.length >= OPTIONS_MAX) {
    const id = `options-${variable.name}`;
    return (
      <label title={t("boards.many", { n: OPTIONS_MAX })}>
        {`${variable.label} `}
        <input
          type="text"
          list={id}
          value={values.map((value) => (value === ALL ? t("boards.every") : value)).join(", ")}
          onChange={(event) => {
            const text = event.currentTarget.value.trim();
            if (text !== "") choose(variable.name, [variable.all && text === t("boards.every") ? ALL : text]);
          }}
        />
        <datalist id={id}>
          {variable.all && <option value={t("boards.every")} />}
          {options.map((option) => (
            <option key={option} value={option} />
          ))}
        </datalist>
      </label>
    );
  }
  const all = values.includes(ALL) || (variable.allValue !== "" && values.includes(variable.allValue));
  return (
    <label>
      {`${variable.label} `}
      <select
        multiple={variable.multi && options.length > 1}
        size={1}
        onChange={(event) =>
          choose(
            variable.name,
            [...event.currentTarget.selectedOptions].map(({ value }) => value),
          )
        }
      >
        {variable.all && (
          <option value={ALL} selected={all}>
            {t("boards.every")}
          </option>
        )}
        {options.map((option) => (
          <option key={option} value={option} selected={!all && values.includes(option)}>
            {option}
          </option>
        ))}
      </select>
    </label>
  );
}
