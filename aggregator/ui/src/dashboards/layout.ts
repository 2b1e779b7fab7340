/** Panels as they stand on the page: repeated for each value, and packed where rows are closed. Pure. */
import type { Dashboard, Panel } from "./model";
import { ALL, type Values } from "./variables";

export interface Placed {
  key: string;
  panel: Panel;
  /** The variables of this copy. */
  values: Values;
}

/** Copies of one panel, at most. */
const COPIES_MAX = 30;
const COLUMNS = 24;
/** Copies side by side: more are too narrow to read. */
const ACROSS_MAX = 4;

/** All panels with their places; `turned` are the keys of rows that the reader opened or closed. */
export function layout(
  board: Dashboard,
  values: Values,
  options: Values,
  turned: ReadonlySet<string>,
): Placed[] {
  const each = (name: string): readonly string[] => {
    const chosen = values[name] ?? [];
    return (chosen.includes(ALL) ? (options[name] ?? []) : chosen).slice(0, COPIES_MAX);
  };
  const placed: Placed[] = [];
  let y = 0;
  for (const { row, members } of rowsOf(board.panels)) {
    if (row === null) {
      y += place(members, values, each, "", y, placed);
      continue;
    }
    const copies = row.repeat === "" ? [null] : each(row.repeat);
    for (const value of copies) {
      const key = `row ${row.id} ${row.title} ${value ?? ""}`;
      const own = value === null ? values : { ...values, [row.repeat]: [value] };
      const closed = row.closed !== turned.has(key);
      placed.push({ key, panel: { ...row, closed, grid: { x: 0, y, w: COLUMNS, h: 1 } }, values: own });
      y += 1;
      if (!closed) y += place(members, own, each, key, y, placed);
    }
  }
  return placed;
}

/** Puts the panels of one section below `top`; the section's height. */
function place(
  members: readonly Panel[],
  values: Values,
  each: (name: string) => readonly string[],
  prefix: string,
  top: number,
  placed: Placed[],
): number {
  const first = Math.min(...members.map(({ grid }) => grid.y));
  /** Copies that took rows of their own push down what stands below the original. */
  const pushes: { below: number; by: number }[] = [];
  let tall = 0;
  const used = new Set<number>();
  for (const [at, panel] of members.entries()) {
    const pushed = pushes.filter(({ below }) => panel.grid.y >= below).reduce((sum, { by }) => sum + by, 0);
    const y = top + panel.grid.y - first + pushed;
    // While it is edited a panel moves among the others and stays the same.
    const key = used.has(panel.id) ? `${prefix}${panel.id}.${at}` : `${prefix}${panel.id}`;
    used.add(panel.id);
    const copies = panel.repeat === "" ? [] : each(panel.repeat);
    if (copies.length === 0) {
      placed.push({ key, panel: { ...panel, grid: { ...panel.grid, y } }, values });
      tall = Math.max(tall, y - top + panel.grid.h);
      continue;
    }
    const across = panel.vertical ? 1 : Math.min(copies.length, ACROSS_MAX);
    const w = panel.vertical ? panel.grid.w : Math.floor(COLUMNS / across);
    for (const [copy, value] of copies.entries()) {
      const line = Math.floor(copy / across);
      const x = panel.vertical ? panel.grid.x : (copy % across) * w;
      const grid = { x, y: y + line * panel.grid.h, w, h: panel.grid.h };
      placed.push({
        key: `${key}.${value}`,
        panel: { ...panel, grid },
        values: { ...values, [panel.repeat]: [value] },
      });
      tall = Math.max(tall, grid.y - top + grid.h);
    }
    const lines = Math.ceil(copies.length / across);
    if (lines > 1) pushes.push({ below: panel.grid.y + panel.grid.h, by: (lines - 1) * panel.grid.h });
  }
  return tall;
}

/** Rows with the panels below them, as far as the next row; those before the first stand alone. */
function rowsOf(panels: readonly Panel[]): { row: Panel | null; members: Panel[] }[] {
  const groups: { row: Panel | null; members: Panel[] }[] = [{ row: null, members: [] }];
  for (const panel of inOrderOf(panels)) {
    if (panel.kind === "row") {
      groups.push({ row: panel, members: inOrderOf(panel.inside) });
      // A row that was saved closed has its panels inside; what follows it is not its own.
      if (panel.closed) groups.push({ row: null, members: [] });
    } else groups.at(-1)?.members.push(panel);
  }
  return groups;
}

function inOrderOf(panels: readonly Panel[]): Panel[] {
  return [...panels].sort((a, b) => a.grid.y - b.grid.y || a.grid.x - b.grid.x);
}
