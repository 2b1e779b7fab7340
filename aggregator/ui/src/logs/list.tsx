/**
 * Log lines in a window that scrolls: only the rows on the screen exist, so 100 thousand lines cost
 * what 50 do. Heights are guessed until a row was drawn once. What an open line shows is the
 * caller's.
 */
import type { ComponentChildren } from "preact";
import { useEffect, useLayoutEffect, useMemo, useRef, useState } from "preact/hooks";
import type { Labels } from "../format";
import { t } from "../i18n";
import { formatNanoseconds, isoNanoseconds } from "../time";
import type { Entry } from "./entries";
import { origin } from "./entries";
import { levelOf } from "./level";
import { segmentsOf } from "./segments";

/** One row shows this much of a line; the rest is behind the click. */
const ROW_MAX_CHARS = 1000;
const WRAPPED_MAX_CHARS = 5000;
/** A row of one line of text. */
const ROW_PX = 20;
/** Rows above and below the screen, so that scrolling meets drawn ones. */
const SPARE_PX = 400;

export interface LogListProps {
  label: string;
  entries: readonly Entry[];
  wrap: boolean;
  finds?: readonly string[];
  /** The words beside a line that say where it comes from. */
  from?: (stream: Labels) => string;
  /** What an open line shows. */
  detail: (entry: Entry) => ComponentChildren;
  /** The line that stands out, by its key. */
  chosen?: string;
  /** The list takes the height of its lines up to this; CSS length. */
  height: string;
  /** Newest lines are kept in sight while this is set and the reader is at the top. */
  onScrollEnd?: () => void;
}

export function LogList({
  label,
  entries,
  wrap,
  finds = [],
  from = origin,
  detail,
  chosen,
  height,
  onScrollEnd,
}: LogListProps) {
  const frame = useRef<HTMLDivElement>(null);
  const heights = useRef(new Map<string, number>());
  const [measured, setMeasured] = useState(0);
  const [view, setView] = useState({ top: 0, height: 600 });
  const [open, setOpen] = useState<ReadonlySet<string>>(new Set());
  const [active, setActive] = useState<string | null>(null);

  const offsets = useMemo(() => {
    const all = new Float64Array(entries.length + 1);
    for (const [at, { key }] of entries.entries())
      all[at + 1] = (all[at] ?? 0) + (heights.current.get(key) ?? ROW_PX);
    return all;
  }, [entries, measured]);
  const first = rowAt(offsets, view.top - SPARE_PX);
  const last = Math.min(entries.length, rowAt(offsets, view.top + view.height + SPARE_PX) + 1);

  const rewrap = useRef(wrap);
  if (rewrap.current !== wrap) {
    rewrap.current = wrap;
    heights.current.clear();
  }

  useLayoutEffect(() => {
    let changed = false;
    for (const row of frame.current?.querySelectorAll<HTMLElement>(":scope > ol > li") ?? []) {
      const key = row.dataset["key"] ?? "";
      const tall = row.getBoundingClientRect().height;
      if (tall > 0 && Math.abs((heights.current.get(key) ?? ROW_PX) - tall) > 0.5) {
        heights.current.set(key, tall);
        changed = true;
      }
    }
    if (heights.current.size > entries.length * 2 + 1000) heights.current.clear();
    if (changed) setMeasured((count) => count + 1);
  });

  // Lines that come in above must not push away the one that is read.
  const anchor = useRef<{ key: string; top: number } | null>(null);
  useLayoutEffect(() => {
    const element = frame.current;
    const before = anchor.current;
    if (element !== null && before !== null && element.scrollTop > ROW_PX) {
      const at = entries.findIndex(({ key }) => key === before.key);
      const moved = at < 0 ? 0 : (offsets[at] ?? 0) - before.top;
      if (moved !== 0) element.scrollTop += moved;
    }
    const at = rowAt(offsets, element?.scrollTop ?? 0);
    const entry = entries[at];
    anchor.current = entry === undefined ? null : { key: entry.key, top: offsets[at] ?? 0 };
  }, [offsets]);

  useEffect(() => {
    const element = frame.current;
    if (element === null) return;
    const look = (): void => {
      setView({ top: element.scrollTop, height: element.clientHeight });
      const at = rowAt(offsets, element.scrollTop);
      const entry = entries[at];
      if (entry !== undefined) anchor.current = { key: entry.key, top: offsets[at] ?? 0 };
      if (element.scrollTop + element.clientHeight > element.scrollHeight - 4) onScrollEnd?.();
    };
    element.addEventListener("scroll", look, { passive: true });
    const observer = new ResizeObserver(look);
    observer.observe(element);
    return () => {
      element.removeEventListener("scroll", look);
      observer.disconnect();
    };
  }, [entries, offsets]);

  useEffect(() => {
    const at = chosen === undefined ? -1 : entries.findIndex(({ key }) => key === chosen);
    if (at >= 0 && frame.current !== null) frame.current.scrollTop = Math.max(0, (offsets[at] ?? 0) - 120);
  }, [chosen, entries.length > 0]);

  const toggle = (key: string): void => {
    const next = new Set(open);
    if (!next.delete(key)) next.add(key);
    setOpen(next);
    setActive(key);
  };
  const onKey = (event: KeyboardEvent): void => {
    if (event.target !== frame.current) return;
    const at = entries.findIndex(({ key }) => key === active);
    const move = { ArrowDown: 1, j: 1, ArrowUp: -1, k: -1 }[event.key];
    if (move !== undefined) {
      const next = entries[Math.max(0, Math.min(entries.length - 1, at + move))];
      if (next === undefined) return;
      setActive(next.key);
      const top = offsets[Math.max(0, at + move)] ?? 0;
      const element = frame.current;
      if (
        element !== null &&
        (top < element.scrollTop || top > element.scrollTop + element.clientHeight - 60)
      )
        element.scrollTop = Math.max(0, top - element.clientHeight / 2);
    } else if (event.key === "Enter" && active !== null) toggle(active);
    else return;
    event.preventDefault();
  };

  return (
    <div
      ref={frame}
      class={wrap ? "log-frame wrap" : "log-frame"}
      style={{ maxHeight: height }}
      tabIndex={0}
      role="region"
      aria-label={label}
      onKeyDown={onKey}
    >
      <ol
        class="log"
        aria-label={label}
        style={{
          paddingTop: `${offsets[first] ?? 0}px`,
          paddingBottom: `${(offsets[entries.length] ?? 0) - (offsets[last] ?? 0)}px`,
        }}
      >
        {entries.slice(first, last).map((entry, at) => (
          <Row
            key={entry.key}
            entry={entry}
            from={from}
            position={first + at + 1}
            count={entries.length}
            wrap={wrap}
            finds={finds}
            open={open.has(entry.key)}
            marked={entry.key === chosen}
            active={entry.key === active}
            onToggle={() => toggle(entry.key)}
          >
            {open.has(entry.key) ? detail(entry) : null}
          </Row>
        ))}
      </ol>
    </div>
  );
}

/** The row that covers a height, by halving. */
function rowAt(offsets: Float64Array, y: number): number {
  let low = 0;
  let high = Math.max(0, offsets.length - 2);
  while (low < high) {
    const middle = (low + high + 1) >> 1;
    if ((offsets[middle] ?? 0) <= y) low = middle;
    else high = middle - 1;
  }
  return low;
}

/** Whether long lines are broken: where the address does not say, on narrow screens. */
export function isWrapped(asked: string | undefined): boolean {
  return asked === undefined || asked === "" ? matchMedia("(max-width: 700px)").matches : asked === "1";
}

interface RowProps {
  entry: Entry;
  from: (stream: Labels) => string;
  position: number;
  count: number;
  wrap: boolean;
  finds: readonly string[];
  open: boolean;
  marked: boolean;
  active: boolean;
  onToggle: () => void;
  children: ComponentChildren;
}

function Row({ entry, from, position, count, wrap, finds, open, marked, active, onToggle, children }: RowProps) {
  const { time_ns, stream, fields, line } = entry;
  const level = levelOf({ ...stream, ...fields }, line);
  const most = wrap || open ? WRAPPED_MAX_CHARS : ROW_MAX_CHARS;
  const shown = line.length > most ? line.slice(0, most) : line;
  return (
    <li
      data-level={level}
      data-key={entry.key}
      aria-posinset={position}
      aria-setsize={count}
      class={`${marked ? "chosen" : ""} ${active ? "active" : ""} ${open ? "open" : ""}`.trim()}
    >
      <div
        class="head"
        onClick={() => {
          // Selecting text ends with a click too; that is not a wish to open the row.
          if (String(getSelection()) === "") onToggle();
        }}
      >
        <button
          type="button"
          class="time"
          tabIndex={-1}
          aria-expanded={open}
          title={isoNanoseconds(time_ns)}
          onClick={(event) => {
            event.stopPropagation();
            onToggle();
          }}
        >
          {formatNanoseconds(time_ns)}
        </button>
        <span class="level">{level === "unknown" ? "" : level}</span>
        <span class="origin" title={origin(stream)}>
          <bdi>{from(stream)}</bdi>
        </span>
        <bdi class="line">
          {segmentsOf(shown, finds).map(({ text, class: name }, at) =>
            name === "" ? (
              text
            ) : (
              <span key={at} class={name}>
                {text}
              </span>
            ),
          )}
          {shown.length < line.length && (
            <span class="escape">{t("logs.longer", { n: line.length - shown.length })}</span>
          )}
        </bdi>
      </div>
      {open && <div class="detail">{children}</div>}
    </li>
  );
}
