/**
 * Changing a dashboard: functions from Grafana's JSON to Grafana's JSON. Pure. The one rule: what is not
 * changed stays as it was written, also what this page does not know; so an export is what was imported
 * and no more.
 */
import { at, bag, list, number, text, type Bag } from "./read";

/** A dashboard with `panels` on the grid, each with an id of its own. */
export interface Draft extends Bag {
  readonly panels: readonly PanelJson[];
}

export type PanelJson = Bag & { readonly id: number };

export interface Grid {
  x: number;
  y: number;
  w: number;
  h: number;
}

const COLUMNS = 24;
const ROWS_MAX = 60;
/** The schema whose panels stand on a grid. */
const GRID_SCHEMA = 16;
const SCHEMA = 39;

const clamp = (value: number, low: number, high: number): number => Math.min(high, Math.max(low, value));

export function gridOfPanel(panel: Bag): Grid {
  const grid = bag(panel["gridPos"]);
  const w = clamp(Math.round(number(grid["w"]) ?? 12), 1, COLUMNS);
  return {
    w,
    h: clamp(Math.round(number(grid["h"]) ?? 8), 1, ROWS_MAX),
    x: clamp(Math.round(number(grid["x"]) ?? 0), 0, COLUMNS - w),
    y: Math.max(0, Math.round(number(grid["y"]) ?? 0)),
  };
}

/** A new, empty dashboard. */
export function emptyBoard(title: string): Draft {
  return {
    title,
    schemaVersion: SCHEMA,
    editable: true,
    time: { from: "now-1h", to: "now" },
    templating: { list: [] },
    panels: [],
  };
}

/** A dashboard of any form as one that can be changed. */
export function draftOf(value: unknown): Draft {
  const outer = bag(value);
  const board = outer["dashboard"] !== undefined ? bag(outer["dashboard"]) : outer["spec"] !== undefined ? bag(outer["spec"]) : outer;
  if (Object.keys(bag(board["elements"])).length > 0) return withIds(fromSecond(board));
  if (Array.isArray(board["panels"])) return withIds({ ...board, panels: list(board["panels"]).map(bag) });
  if (Array.isArray(board["rows"])) return withIds(fromRows(board));
  return withIds({ ...board, panels: [] });
}

/** Rows of spans, put on the grid. */
function fromRows({ rows, ...board }: Bag): Bag {
  const panels: Bag[] = [];
  let y = 0;
  for (const row of list(rows).map(bag)) {
    const height = Math.max(2, Math.ceil((Number.parseInt(text(row["height"]), 10) || 250) / 30));
    const isShown = row["showTitle"] === true || row["collapse"] === true || text(row["repeat"]) !== "";
    const own: Bag[] = [];
    const top = y + (isShown ? 1 : 0);
    let [x, line] = [0, 0];
    for (const { span, ...panel } of list(row["panels"]).map(bag)) {
      const w = clamp(Math.round((number(span) ?? 12) * 2), 1, COLUMNS);
      if (x + w > COLUMNS) [x, line] = [0, line + 1];
      own.push({ ...panel, gridPos: { x, y: top + line * height, w, h: height } });
      x += w;
    }
    if (isShown) {
      const head = { type: "row", title: text(row["title"]), gridPos: { x: 0, y, w: COLUMNS, h: 1 } };
      const closed = row["collapse"] === true;
      const repeat = text(row["repeat"]) === "" ? {} : { repeat: row["repeat"] };
      panels.push({ ...head, ...repeat, collapsed: closed, panels: closed ? own : [] });
      if (!closed) panels.push(...own);
    } else panels.push(...own);
    y = top + (own.length === 0 ? 0 : (line + 1) * height);
  }
  return { ...board, schemaVersion: Math.max(GRID_SCHEMA, number(board["schemaVersion"]) ?? 0), panels };
}

/** Schema 2, as the classic form. */
function fromSecond(board: Bag): Bag {
  const elements = bag(board["elements"]);
  const panels: Bag[] = [];
  let y = 0;
  const classic = (name: string): Bag => {
    const spec = bag(at(elements[name], "spec"));
    const config = bag(at(spec, "vizConfig.spec"));
    const type = text(at(spec, "vizConfig.group")) || text(at(spec, "vizConfig.kind"));
    const targets = list(at(spec, "data.spec.queries")).map((query) => {
      const inner = bag(at(query, "spec"));
      const group = text(at(inner, "query.group")) || text(at(inner, "query.kind"));
      const hide = inner["hidden"] === true ? { hide: true } : {};
      return { ...bag(at(inner, "query.spec")), ...hide, refId: inner["refId"], datasource: { type: group } };
    });
    const transformations = list(at(spec, "data.spec.transformations")).map((one) => {
      const inner = bag(one);
      return { id: text(inner["group"]) || text(inner["kind"]), ...bag(inner["spec"]) };
    });
    const { data: _, vizConfig: __, ...rest } = spec;
    return {
      ...rest,
      type,
      targets,
      ...(transformations.length > 0 ? { transformations } : {}),
      fieldConfig: bag(config["fieldConfig"]),
      options: bag(config["options"]),
    };
  };
  const place = (layout: Bag): void => {
    const spec = bag(layout["spec"]);
    const sections = list(spec["rows"] ?? spec["tabs"]);
    for (const section of sections.map((one) => bag(at(one, "spec")))) {
      panels.push({ type: "row", title: text(section["title"]), collapsed: false, panels: [], gridPos: { x: 0, y, w: COLUMNS, h: 1 } });
      y += 1;
      place(bag(section["layout"]));
    }
    const from = y;
    for (const [nth, one] of list(spec["items"]).entries()) {
      const item = bag(at(one, "spec"));
      const name = text(at(item, "element.name"));
      if (elements[name] === undefined) continue;
      const auto = layout["kind"] === "AutoGridLayout";
      const gridPos = auto
        ? { x: (nth % 3) * 8, y: from + Math.floor(nth / 3) * 8, w: 8, h: 8 }
        : { x: number(item["x"]) ?? 0, y: from + (number(item["y"]) ?? 0), w: number(item["width"]) ?? 12, h: number(item["height"]) ?? 8 };
      const repeat = text(at(item, "repeat.value"));
      panels.push({ ...classic(name), ...(repeat === "" ? {} : { repeat }), gridPos });
      y = Math.max(y, gridPos.y + gridPos.h);
    }
  };
  place(bag(board["layout"]));
  const variables = list(board["variables"]).map((one) => {
    const spec = bag(bag(one)["spec"]);
    const type = text(bag(one)["kind"]).replace(/Variable$/, "").toLowerCase() || "query";
    const query = text(at(spec, "query.spec.query")) || text(at(spec, "query.spec.__legacyStringValue")) || text(spec["query"]);
    const hide = spec["hide"] === "hideVariable" ? 2 : spec["hide"] === "hideLabel" ? 1 : 0;
    return { ...spec, type: type === "text" ? "textbox" : type, query, hide };
  });
  return {
    title: text(board["title"]),
    description: text(board["description"]),
    tags: list(board["tags"]),
    schemaVersion: SCHEMA,
    templating: { list: variables },
    panels,
  };
}

/** Every panel has an id that no other has. */
function withIds(board: Bag): Draft {
  const taken = new Set<number>();
  let next = 1;
  const given = (panel: Bag): PanelJson => {
    let id = number(panel["id"]) ?? 0;
    if (id <= 0 || taken.has(id)) {
      while (taken.has(next)) next += 1;
      id = next;
    }
    taken.add(id);
    const inside = list(panel["panels"]);
    return { ...panel, id, ...(inside.length > 0 ? { panels: inside.map((one) => given(bag(one))) } : {}) };
  };
  // Ids that are there go first, so that nobody else's is given away.
  const all = list(board["panels"]).map(bag);
  for (const panel of all.flatMap((one) => [one, ...list(one["panels"]).map(bag)])) {
    const id = number(panel["id"]) ?? 0;
    next = Math.max(next, id + 1);
  }
  return { ...board, panels: all.map(given) };
}

/** All panels, those in closed rows included. */
export function panelsOf(board: Draft): PanelJson[] {
  return board.panels.flatMap((panel) => [panel, ...(list(panel["panels"]) as PanelJson[])]);
}

export function panelOf(board: Draft, id: number): PanelJson | null {
  return panelsOf(board).find((panel) => panel.id === id) ?? null;
}

/** The board with one panel changed, wherever it stands; `null` removes it. */
export function withPanel(board: Draft, id: number, change: (panel: PanelJson) => PanelJson | null): Draft {
  const changed = (panels: readonly PanelJson[]): PanelJson[] =>
    panels.flatMap((panel) => {
      if (panel.id === id) return change(panel) ?? [];
      const inside = list(panel["panels"]) as PanelJson[];
      return inside.some((one) => one.id === id) ? { ...panel, panels: changed(inside) } : panel;
    });
  return { ...board, panels: changed(board.panels) };
}

/** What a new panel of a type asks and shows. */
export function addPanel(board: Draft, type: string, title: string): { board: Draft; id: number } {
  const id = Math.max(0, ...panelsOf(board).map((panel) => panel.id)) + 1;
  const bottom = Math.max(0, ...board.panels.map((panel) => gridOfPanel(panel).y + gridOfPanel(panel).h));
  const isRow = type === "row";
  const gridPos = isRow ? { x: 0, y: bottom, w: COLUMNS, h: 1 } : { x: 0, y: bottom, w: 12, h: 8 };
  const source = { type: type === "logs" ? "loki" : "prometheus" };
  const panel: PanelJson = isRow
    ? { id, type, title, collapsed: false, panels: [], gridPos }
    : {
        id,
        type,
        title,
        gridPos,
        ...(type === "text" ? { options: { mode: "markdown", content: "" } } : { datasource: source, targets: [{ refId: "A", expr: "", datasource: source }] }),
        fieldConfig: { defaults: {}, overrides: [] },
      };
  return { board: { ...board, panels: [...board.panels, panel] }, id };
}

/** Panels in an order, each as high up as those before it allow: nothing overlaps, and nothing floats. */
export function settled(board: Draft, before: ReadonlyMap<number, number> = new Map()): Draft {
  const grids = new Map(board.panels.map((panel) => [panel.id, gridOfPanel(panel)]));
  const keyOf = ({ id }: PanelJson): number => before.get(id) ?? grids.get(id)?.y ?? 0;
  const xOf = ({ id }: PanelJson): number => grids.get(id)?.x ?? 0;
  const order = [...board.panels].sort((a, b) => keyOf(a) - keyOf(b) || xOf(a) - xOf(b));
  /** How far down each column is taken. */
  const filled = new Array<number>(COLUMNS).fill(0);
  for (const { id } of order) {
    const grid = grids.get(id);
    if (grid === undefined) continue;
    grid.y = Math.max(...filled.slice(grid.x, grid.x + grid.w));
    filled.fill(grid.y + grid.h, grid.x, grid.x + grid.w);
  }
  return {
    ...board,
    panels: order.map((panel) => ({ ...panel, gridPos: { ...bag(panel["gridPos"]), ...grids.get(panel.id) } })),
  };
}

/** The board with a panel in another place, and the others out of its way. */
export function placed(board: Draft, id: number, grid: Grid): Draft {
  const w = clamp(Math.round(grid.w), 1, COLUMNS);
  const next = {
    w,
    h: clamp(Math.round(grid.h), 1, ROWS_MAX),
    x: clamp(Math.round(grid.x), 0, COLUMNS - w),
    y: Math.max(0, Math.round(grid.y)),
  };
  const before = panelOf(board, id);
  if (before === null) return board;
  const old = gridOfPanel(before);
  const moved = withPanel(board, id, (panel) => ({ ...panel, gridPos: { ...bag(panel["gridPos"]), ...next } }));
  /** A little before what stands there. */
  const ahead = 0.1;
  const keys = new Map<number, number>();
  let own = next.y > old.y ? next.y : next.y - ahead;
  for (const other of moved.panels) {
    const there = gridOfPanel(other);
    if (other.id === id || there.x >= next.x + next.w || next.x >= there.x + there.w) continue;
    const middle = there.y + there.h / 2;
    // Going down it changes places with what its lower edge has passed the middle of, going up with
    // what its upper edge has.
    if (next.y > old.y && there.y >= old.y + old.h && middle < next.y + next.h)
      keys.set(other.id, Math.min(there.y, next.y - ahead));
    else if (next.y <= old.y && there.y < next.y && next.y < middle) own = Math.min(own, there.y - ahead);
  }
  return settled(moved, keys.set(id, own));
}

/** One step with the keyboard: as far as it takes for the panel to be elsewhere. */
export function stepped(board: Draft, id: number, dx: number, dy: number): Draft {
  const before = panelOf(board, id);
  if (before === null) return board;
  const old = gridOfPanel(before);
  for (let far = 1; far <= ROWS_MAX; far += 1) {
    const next = placed(board, id, { ...old, x: old.x + dx * far, y: old.y + dy * far });
    const now = panelOf(next, id);
    if (now !== null && (gridOfPanel(now).x !== old.x || gridOfPanel(now).y !== old.y)) return next;
  }
  return board;
}

/** A value at `a.b.c`, put in or, with `undefined`, taken out. */
export function put<T extends Bag>(value: T, path: string, inner: unknown): T {
  const [key = "", ...rest] = path.split(".");
  if (rest.length > 0) return { ...value, [key]: put(bag(value[key]), rest.join("."), inner) };
  if (inner !== undefined) return { ...value, [key]: inner };
  const { [key]: _, ...without } = value;
  return without as T;
}

/** The variables as they are written. */
export function variablesOf(board: Draft): Bag[] {
  return list(at(board, "templating.list")).map(bag);
}

export function withVariables(board: Draft, variables: readonly Bag[]): Draft {
  return put(board, "templating.list", variables);
}

/** The dashboard as text, to be saved or taken to Grafana. */
export function textOf(board: Draft): string {
  return JSON.stringify(board, null, 2);
}

const SOURCES: Readonly<Record<string, string>> = { prometheus: "Prometheus", loki: "Loki" };

/** The dashboard for another Grafana: it asks for the data sources when it is imported there. */
export function exported(board: Draft): Bag {
  const used = new Set<string>();
  const variableOf = (type: string): string => `DS_${type.toUpperCase()}`;
  const source = (value: unknown): unknown => {
    const { type, uid } = bag(value);
    const kind = text(type);
    if (SOURCES[kind] === undefined || text(uid) !== "") return value;
    used.add(kind);
    return { type: kind, uid: `\${${variableOf(kind)}}` };
  };
  const within = (one: Bag): Bag => ({
    ...one,
    ...(one["datasource"] === undefined ? {} : { datasource: source(one["datasource"]) }),
    ...(Array.isArray(one["targets"]) ? { targets: one["targets"].map((target) => within(bag(target))) } : {}),
    ...(Array.isArray(one["panels"]) ? { panels: one["panels"].map((panel) => within(bag(panel))) } : {}),
  });
  const panels = board.panels.map(within);
  const variables = variablesOf(board).map(within);
  const inputs = [...used].sort().map((type) => ({
    name: variableOf(type),
    label: SOURCES[type],
    description: "",
    type: "datasource",
    pluginId: type,
    pluginName: SOURCES[type],
  }));
  const before = list(board["__inputs"]).filter((one) => !inputs.some(({ name }) => name === bag(one)["name"]));
  const whole = variables.length > 0 ? put<Bag>(board, "templating.list", variables) : board;
  const all = [...before, ...inputs];
  return { ...whole, ...(all.length > 0 ? { __inputs: all } : {}), id: null, panels };
}
