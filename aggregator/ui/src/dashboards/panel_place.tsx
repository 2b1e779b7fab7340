/** The place of one panel: its frame, its data, and the handles with which it is moved and changed. */
import type { ComponentChildren } from "preact";
import { useEffect, useRef, useState } from "preact/hooks";
import { useAsked } from "../hooks";
import { t } from "../i18n";
import { queryLink, type State } from "../state";
import { gridOf } from "../time";
import type { Draft, Grid } from "./edit";
import type { Placed } from "./layout";
import { loadPanel } from "./load";
import { DRAW } from "./panels";
import { TextPanel } from "./text";
import { interpolate } from "./variables";

const REFRESH_S = 15;
/** Height of one of Grafana's rows, and the gap between two. */
const ROW_PX = 30;
const GAP_PX = 8;
/** Kinds whose content may be taller than they are; a keyboard scrolls what has the focus. */
const SCROLLING: ReadonlySet<string> = new Set(["stat", "gauge", "bargauge", "piechart"]);
/** What a panel's title and padding take. */
const HEAD_PX = 44;

/** What can be done to a panel while its dashboard is edited. */
export interface Tools {
  edit: () => void;
  remove: () => void;
  /** Moves it by one place. */
  step: (dx: number, dy: number) => void;
  grow: (dw: number, dh: number) => void;
  /** Puts it somewhere, of how the dashboard was when the drag began. */
  put: (grid: Grid, from: Draft) => void;
  draft: Draft;
}

const ARROWS: Readonly<Record<string, readonly [number, number]>> = {
  ArrowLeft: [-1, 0],
  ArrowRight: [1, 0],
  ArrowUp: [0, -1],
  ArrowDown: [0, 1],
};

/** Follows a pointer from a handle over the grid until it is let go; Escape puts all back. */
function drag(
  event: PointerEvent,
  grid: Grid,
  tools: Tools,
  apply: (columns: number, rows: number) => Grid,
): void {
  const board = (event.currentTarget as HTMLElement).closest(".panels");
  if (board === null || event.button !== 0) return;
  event.preventDefault();
  const column_px = (board.clientWidth + GAP_PX) / 24;
  const [x, y, from] = [event.clientX, event.clientY + scrollY, tools.draft];
  let last = "0 0";
  const move = (now: PointerEvent): void => {
    const columns = Math.round((now.clientX - x) / column_px);
    const rows = Math.round((now.clientY + scrollY - y) / (ROW_PX + GAP_PX));
    if (`${columns} ${rows}` === last) return;
    last = `${columns} ${rows}`;
    tools.put(apply(columns, rows), from);
  };
  const end = (): void => {
    removeEventListener("pointermove", move);
    removeEventListener("pointerup", end);
    removeEventListener("pointercancel", end);
    removeEventListener("keydown", key);
  };
  const key = (pressed: KeyboardEvent): void => {
    if (pressed.key !== "Escape") return;
    tools.put(grid, from);
    end();
  };
  addEventListener("pointermove", move);
  addEventListener("pointerup", end);
  addEventListener("pointercancel", end);
  addEventListener("keydown", key);
}

function Handles({ title, grid, tools }: { title: string; grid: Grid; tools: Tools }) {
  const name = title || "·";
  return (
    <div class="handles">
      <button
        type="button"
        class="move"
        aria-label={t("edit.move", { name })}
        title={t("edit.move_help")}
        onPointerDown={(event) =>
          drag(event, grid, tools, (columns, rows) => ({ ...grid, x: grid.x + columns, y: grid.y + rows }))
        }
        onKeyDown={(event) => {
          const arrow = ARROWS[event.key];
          if (arrow === undefined) return;
          event.preventDefault();
          if (event.shiftKey) tools.grow(...arrow);
          else tools.step(...arrow);
        }}
      >
        ✥
      </button>
      <button type="button" aria-label={t("edit.change", { name })} title={t("edit.change", { name })} onClick={tools.edit}>
        ✎
      </button>
      <button type="button" aria-label={t("edit.remove_panel", { name })} title={t("edit.remove_panel", { name })} onClick={tools.remove}>
        ✕
      </button>
    </div>
  );
}

export function PanelPlace({
  placed,
  state,
  step_s,
  turn,
  tools,
}: {
  placed: Placed;
  state: State;
  step_s: number;
  turn: () => void;
  /** None unless the dashboard is edited. */
  tools: Tools | null;
}) {
  const { panel, values } = placed;
  const { x, y, w, h } = panel.grid;
  const style = {
    gridColumn: `${x + 1} / span ${Math.min(w, 24 - x)}`,
    gridRow: `${y + 1} / span ${h}`,
    // Where there is one column only, they stand in the order of their places.
    order: y * 24 + x,
    "--rows": String(h),
  };
  const title = interpolate(panel.title, values, "text");
  if (panel.kind === "row") {
    return (
      <div class="panel-row" style={style}>
        <button type="button" class="plain" aria-expanded={!panel.closed} onClick={turn}>
          {panel.closed ? "▸" : "▾"} {title}
        </button>
        {tools !== null && <Handles title={title} grid={panel.grid} tools={tools} />}
      </div>
    );
  }
  return (
    <section class="card panel" style={style} aria-label={title} title={tools === null ? panel.description : undefined}>
      {tools !== null && <Handles title={title} grid={panel.grid} tools={tools} />}
      {panel.kind === "text" ? (
        <>
          {title !== "" && <h2>{title}</h2>}
          {panel.unknown === "" ? (
            <TextPanel text={interpolate(panel.text, values, "text")} />
          ) : (
            <p class="note">{t("boards.not_drawn", { type: panel.unknown })}</p>
          )}
        </>
      ) : (
        <Near title={title}>{() => <Asked placed={placed} title={title} state={state} step_s={step_s} />}</Near>
      )}
      {tools !== null && (
        <span
          class="resize"
          aria-hidden="true"
          onPointerDown={(event) =>
            drag(event, panel.grid, tools, (columns, rows) => ({
              ...panel.grid,
              w: panel.grid.w + columns,
              h: Math.max(2, panel.grid.h + rows),
            }))
          }
        />
      )}
    </section>
  );
}

/** A panel far from the screen asks nothing: a dashboard may have hundreds. */
function Near({ title, children }: { title: string; children: () => ComponentChildren }): ComponentChildren {
  const place = useRef<HTMLDivElement>(null);
  const [near, setNear] = useState(false);
  useEffect(() => {
    if (place.current === null) return;
    const observer = new IntersectionObserver((all) => setNear(all.at(-1)?.isIntersecting ?? false), {
      rootMargin: "300px",
    });
    observer.observe(place.current);
    return () => observer.disconnect();
  }, []);
  return (
    <div class="near" ref={place}>
      {near ? children() : <h2>{title}</h2>}
    </div>
  );
}

/** A panel with data of its own. */
function Asked({
  placed,
  title,
  state,
  step_s,
}: {
  placed: Placed;
  title: string;
  state: State;
  step_s: number;
}): ComponentChildren {
  const { panel, values } = placed;
  const { data, error } = useAsked(
    JSON.stringify([panel.targets, values, state.range_s, state.end_s]),
    (run) => loadPanel(panel, values, gridOf(state, step_s, Date.now() / 1000), run),
    { repeat: state.live, interval_s: REFRESH_S },
  );
  const first = panel.targets[0];
  const height = panel.grid.h * (ROW_PX + GAP_PX) - GAP_PX - HEAD_PX;
  const Draw = panel.kind === "row" || panel.kind === "text" ? null : DRAW[panel.kind];
  const empty = data !== null && data.series.length === 0 && data.entries.length === 0;
  return (
    <>
      <h2>
        {first === undefined ? (
          title
        ) : (
          <a href={queryLink(first.language, interpolate(first.query, values, first.language), state)}>
            {title || "·"}
          </a>
        )}
      </h2>
      {error !== null && <p class="note bad">{error.message}</p>}
      {data === null && error === null && <p class="note">{t("frame.loading")}</p>}
      {empty && <p class="note">{panel.targets.length === 0 ? t("boards.no_query") : t("metrics.none")}</p>}
      <div class="panel-body" {...(SCROLLING.has(panel.kind) ? { tabIndex: 0 } : {})}>
        {data !== null && !empty && Draw !== null && (
          <Draw panel={panel} data={data} state={state} height={height} />
        )}
      </div>
    </>
  );
}
