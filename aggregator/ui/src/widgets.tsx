/** Small parts that several pages use. */
import type { ComponentChildren } from "preact";
import { useEffect, useRef } from "preact/hooks";
import { ApiError } from "./api";
import { t } from "./i18n";
import { findPosition, marker } from "./position";

/** A row of buttons of which one is pressed. */
export function Segmented<T extends string>({
  label,
  values,
  texts,
  chosen,
  choose,
}: {
  label: string;
  values: readonly T[];
  texts?: readonly string[];
  chosen: string;
  choose: (value: T) => void;
}) {
  return (
    <div class="segmented" role="group" aria-label={label}>
      {values.map((value, at) => (
        <button key={value} type="button" aria-pressed={value === chosen} onClick={() => choose(value)}>
          {texts?.[at] ?? value}
        </button>
      ))}
    </div>
  );
}

/** What went wrong, in the server's words, with the place in the query when they name one. */
export function Problem({ error, query = "" }: { error: Error | null; query?: string }) {
  if (error === null) return null;
  const kind = error instanceof ApiError ? error.kind : "internal";
  const place = findPosition(error.message, query);
  return (
    <div class="problem" role="alert">
      <p>{error.message}</p>
      {place !== null && <pre aria-label={t("problem.where")}>{marker(query, place)}</pre>}
      <p class="kind">
        {place === null
          ? t(kind === "network" ? "problem.network" : "problem.kind", { kind })
          : t("problem.place", { kind, line: place.line, column: place.column })}
      </p>
    </div>
  );
}

/** A box that says why there is nothing and what to do. */
export function Nothing({ title, children }: { title: string; children?: ComponentChildren }) {
  return (
    <section class="nothing" role="status">
      <h2>{title}</h2>
      {children}
    </section>
  );
}

/** A titled card. */
export function Card({
  title,
  href,
  children,
  wide = false,
  idle = false,
}: {
  title: string;
  href?: string | undefined;
  children: ComponentChildren;
  wide?: boolean;
  /** Has nothing to show: stands after the others and takes little room. */
  idle?: boolean;
}) {
  return (
    <section class={`card${wide ? " wide" : ""}${idle ? " idle" : ""}`} aria-label={title}>
      <h2>{href === undefined ? title : <a href={href}>{title}</a>}</h2>
      {children}
    </section>
  );
}

/** A filter that is applied while it is typed. */
export function FilterBox({
  label,
  value,
  onInput,
}: {
  label: string;
  value: string;
  onInput: (text: string) => void;
}) {
  return (
    <input
      type="search"
      class="filter"
      data-search
      aria-label={label}
      placeholder={label}
      value={value}
      onInput={(event) => onInput(event.currentTarget.value)}
      onKeyDown={(event) => {
        if (event.key === "Escape") event.currentTarget.blur();
      }}
    />
  );
}

/** An object that draws itself into an element of its own. */
interface Drawn {
  root: HTMLElement;
  destroy?: () => void;
}

/** Puts an object that draws itself into the tree; `update` runs after every rendering. */
export function Mount<T extends Drawn>({ make, update }: { make: () => T; update?: (made: T) => void }) {
  const place = useRef<HTMLDivElement>(null);
  const made = useRef<T | null>(null);
  useEffect(() => {
    const own = make();
    made.current = own;
    place.current?.append(own.root);
    update?.(own);
    return () => {
      own.destroy?.();
      own.root.remove();
      made.current = null;
    };
  }, []);
  useEffect(() => {
    if (made.current !== null) update?.(made.current);
  });
  return <div ref={place} class="mount" />;
}
