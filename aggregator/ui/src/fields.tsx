/** Fields of forms. What is typed stays in the field until it is left, whatever is drawn anew meanwhile. */
import type { ComponentChildren } from "preact";
import { useEffect, useState } from "preact/hooks";

/** A labelled field. */
export function Field({ label, children }: { label: string; children: ComponentChildren }) {
  return (
    <label class="form-field">
      <span>{label}</span>
      {children}
    </label>
  );
}

/** A box for text; with `rows` it has several lines. */
export function Typed({
  value,
  change,
  label,
  list: suggestions,
  rows,
}: {
  value: string;
  change: (value: string) => void;
  label?: string;
  list?: string;
  rows?: number;
}) {
  const [typed, setTyped] = useState(value);
  useEffect(() => setTyped(value), [value]);
  const own = label === undefined ? {} : { "aria-label": label };
  if (rows !== undefined) {
    return (
      <textarea
        rows={rows}
        {...own}
        value={typed}
        onInput={(event) => setTyped(event.currentTarget.value)}
        onChange={(event) => change(event.currentTarget.value)}
      />
    );
  }
  return (
    <input
      type="text"
      {...own}
      {...(suggestions === undefined ? {} : { list: suggestions })}
      value={typed}
      onInput={(event) => setTyped(event.currentTarget.value)}
      onChange={(event) => change(event.currentTarget.value)}
    />
  );
}

export function TextField({
  label,
  value,
  change,
  list: suggestions,
}: {
  label: string;
  value: string;
  change: (value: string) => void;
  list?: string;
}) {
  return (
    <Field label={label}>
      <Typed value={value} change={change} {...(suggestions === undefined ? {} : { list: suggestions })} />
    </Field>
  );
}

export function NumberField({
  label,
  value,
  change,
}: {
  label: string;
  value: number | null;
  change: (value: number | undefined) => void;
}) {
  return (
    <TextField
      label={label}
      value={value === null ? "" : String(value)}
      change={(typed) => {
        const read = typed.trim() === "" ? Number.NaN : Number(typed);
        change(Number.isFinite(read) ? read : undefined);
      }}
    />
  );
}

export function Choose({
  label,
  value,
  values,
  texts,
  change,
}: {
  label: string;
  value: string;
  values: readonly string[];
  texts?: readonly string[];
  change: (value: string) => void;
}) {
  const all = values.includes(value) ? values : [value, ...values];
  return (
    <Field label={label}>
      <select value={value} onChange={(event) => change(event.currentTarget.value)}>
        {all.map((one) => (
          <option key={one} value={one}>
            {texts?.[values.indexOf(one)] ?? one}
          </option>
        ))}
      </select>
    </Field>
  );
}

export function Check({ label, value, change }: { label: string; value: boolean; change: (value: boolean) => void }) {
  return (
    <label class="check">
      <input type="checkbox" checked={value} onChange={(event) => change(event.currentTarget.checked)} />
      <span>{label}</span>
    </label>
  );
}

