/** Changing dashboards: places on the grid, what stays as it was written, forms of all ages, exports. */
import assert from "node:assert/strict";
import { test } from "node:test";
import { idOf } from "../src/documents";
import {
  addPanel,
  draftOf,
  emptyBoard,
  exported,
  gridOfPanel,
  panelOf,
  placed,
  put,
  settled,
  stepped,
  variablesOf,
  withPanel,
  withVariables,
  type Draft,
} from "../src/dashboards/edit";
import { importGrafana } from "../src/dashboards/grafana";

const panel = (id: number, x: number, y: number, w: number, h: number): object => ({
  id,
  type: "stat",
  title: `p${id}`,
  gridPos: { x, y, w, h },
});
const grids = (board: Draft): string[] =>
  [...board.panels]
    .sort((a, b) => a.id - b.id)
    .map((one) => {
      const { x, y, w, h } = gridOfPanel(one);
      return `${one.id}: ${x} ${y} ${w} ${h}`;
    });

test("panels make way for the one that is moved, and none floats", () => {
  const board = draftOf({
    panels: [panel(1, 0, 0, 12, 8), panel(2, 12, 0, 12, 8), panel(3, 0, 8, 24, 4)],
  });
  assert.deepEqual(grids(placed(board, 1, { x: 12, y: 0, w: 12, h: 8 })), ["1: 12 0 12 8", "2: 12 8 12 8", "3: 0 16 24 4"]);
  // Below the third one, whose middle it has passed.
  assert.deepEqual(grids(placed(board, 1, { x: 0, y: 4, w: 12, h: 8 })), ["1: 0 12 12 8", "2: 12 0 12 8", "3: 0 8 24 4"]);
  assert.deepEqual(grids(placed(board, 3, { x: 0, y: 0, w: 24, h: 4 })), ["1: 0 4 12 8", "2: 12 4 12 8", "3: 0 0 24 4"]);
  assert.deepEqual(grids(placed(board, 2, { x: 30, y: -5, w: 50, h: 500 })), ["1: 0 60 12 8", "2: 0 0 24 60", "3: 0 68 24 4"]);
  assert.deepEqual(grids(settled(withPanel(board, 1, () => null))), ["2: 12 0 12 8", "3: 0 8 24 4"]);
  const stacked = draftOf({ panels: [panel(1, 0, 0, 12, 8), panel(2, 0, 8, 12, 6)] });
  assert.deepEqual(grids(stepped(stacked, 1, 0, 1)), ["1: 0 6 12 8", "2: 0 0 12 6"]);
  assert.deepEqual(grids(stepped(stepped(stacked, 1, 0, 1), 1, 0, -1)), grids(stacked));
  assert.deepEqual(grids(stepped(stacked, 1, -1, 0)), grids(stacked));
});

test("what nobody changes stays as it was written", () => {
  const written = {
    title: "T",
    uid: "u",
    x_unknown: { deep: [1, 2] },
    panels: [
      { id: 4, type: "geomap", title: "map", gridPos: { x: 0, y: 0, w: 4, h: 4, static: true }, odd: 1 },
      { id: 5, type: "row", collapsed: true, gridPos: { x: 0, y: 4, w: 24, h: 1 }, panels: [{ id: 6, type: "stat", odd: 2 }] },
    ],
  };
  const board = draftOf(written);
  assert.deepEqual(board, written);
  const next = withPanel(board, 6, (inner) => put(inner, "fieldConfig.defaults.unit", "s"));
  assert.deepEqual(panelOf(next, 6), { id: 6, type: "stat", odd: 2, fieldConfig: { defaults: { unit: "s" } } });
  assert.deepEqual(panelOf(withPanel(next, 6, (inner) => put(inner, "fieldConfig.defaults.unit", undefined)), 6), {
    id: 6,
    type: "stat",
    odd: 2,
    fieldConfig: { defaults: {} },
  });
  assert.deepEqual(gridOfPanel(panelOf(board, 4) ?? {}), { x: 0, y: 0, w: 4, h: 4 });
});

test("panels without an id, or with one that is taken, get one", () => {
  const board = draftOf({ panels: [{ type: "stat" }, { id: 7, type: "stat" }, { id: 7, type: "stat" }, { id: 1 }] });
  const ids = board.panels.map(({ id }) => id);
  assert.equal(new Set(ids).size, 4);
  assert.equal(ids[1], 7);
  const added = addPanel(board, "timeseries", "New");
  assert.ok(!ids.includes(added.id));
  const read = importGrafana(JSON.stringify(added.board));
  assert.equal(read.panels.at(-1)?.kind, "timeseries");
});

test("classic rows and schema 2 become panels on a grid that are drawn alike", () => {
  const classic = {
    title: "Old",
    schemaVersion: 6,
    rows: [
      { height: "250px", panels: [{ id: 1, span: 6, type: "graph", targets: [{ expr: "up" }] }, { id: 2, span: 6, type: "singlestat" }] },
      { title: "Closed", collapse: true, panels: [{ id: 4, span: 12, type: "text", content: "hi" }] },
      { title: "Shown", showTitle: true, panels: [{ id: 5, span: 4, type: "graph" }] },
    ],
  };
  const draft = draftOf(classic);
  assert.equal(draft["schemaVersion"], 16);
  const [before, after] = [importGrafana(JSON.stringify(classic)), importGrafana(JSON.stringify(draft))];
  const shape = ({ panels }: typeof before): unknown =>
    panels.map(({ kind, title, closed, inside, grid: { x, w } }) => [kind, title, closed, inside.length, x, w]);
  assert.deepEqual(shape(after), shape(before));

  const second = {
    apiVersion: "dashboard.grafana.app/v2beta1",
    spec: {
      title: "New",
      elements: {
        a: {
          kind: "Panel",
          spec: {
            id: 3,
            title: "A",
            data: { spec: { queries: [{ spec: { refId: "A", query: { group: "prometheus", spec: { expr: "up" } } } }] } },
            vizConfig: { group: "stat", spec: { fieldConfig: { defaults: { unit: "s" } }, options: {} } },
          },
        },
      },
      layout: { kind: "GridLayout", spec: { items: [{ spec: { x: 2, y: 1, width: 5, height: 4, element: { name: "a" } } }] } },
      variables: [{ kind: "QueryVariable", spec: { name: "v", query: { spec: { query: "label_values(up, job)" } } } }],
    },
  };
  const one = draftOf(second);
  assert.deepEqual(gridOfPanel(one.panels[0] ?? {}), { x: 2, y: 1, w: 5, h: 4 });
  const read = importGrafana(JSON.stringify(one));
  assert.equal(read.title, "New");
  assert.equal(read.panels[0]?.unit, "s");
  assert.equal(read.panels[0]?.targets[0]?.query, "up");
  assert.equal(read.variables[0]?.query, "label_values(up, job)");
});

test("an export asks Grafana for the data sources that it needs", () => {
  let { board, id } = addPanel(emptyBoard("E"), "timeseries", "a");
  board = withPanel(board, id, (one) => put(one, "targets", [{ refId: "A", expr: "up", datasource: { type: "prometheus" } }]));
  ({ board, id } = addPanel(board, "logs", "b"));
  board = withVariables(board, [{ name: "v", type: "query", datasource: { type: "prometheus", uid: "kept" } }]);
  const out = exported(board) as Record<string, any>;
  assert.deepEqual(
    out["__inputs"].map(({ name, pluginId }: { name: string; pluginId: string }) => [name, pluginId]),
    [
      ["DS_LOKI", "loki"],
      ["DS_PROMETHEUS", "prometheus"],
    ],
  );
  assert.equal(out["id"], null);
  assert.deepEqual(out["panels"][0].targets[0].datasource, { type: "prometheus", uid: "${DS_PROMETHEUS}" });
  assert.deepEqual(out["panels"][1].datasource, { type: "loki", uid: "${DS_LOKI}" });
  assert.equal(variablesOf(out as Draft)[0]?.["datasource"] && out["templating"].list[0].datasource.uid, "kept");
  // Exported again it is the same, and it reads as it did.
  assert.deepEqual(exported(out as Draft), out);
  assert.deepEqual(importGrafana(JSON.stringify(out)).panels.map(({ kind }) => kind), ["timeseries", "logs"]);
});

test("a title becomes an id of letters, digits and dashes", () => {
  assert.equal(idOf("Node Exporter / Übersicht (2)"), "node-exporter-u-bersicht-2");
  assert.match(idOf("ダッシュボード"), /^d[0-9a-f]{12}$/);
  assert.equal(idOf("a".repeat(100)).length, 60);
});
