/** Grafana's dashboards of all ages, variables, units and layouts. */
import assert from "node:assert/strict";
import { test } from "node:test";
import { BUILT_IN } from "../src/dashboards/builtin";
import { importGrafana } from "../src/dashboards/grafana";
import { parseKept } from "../src/dashboards/kept";
import { layout } from "../src/dashboards/layout";
import { formatUnit } from "../src/dashboards/units";
import {
  colorNamed,
  overridden,
  reduced,
  seriesName,
  thresholdColor,
  valueText,
} from "../src/dashboards/values";
import {
  ALL,
  filteredValues,
  formatChoices,
  initial,
  interpolate,
  parseChoices,
  questionOf,
} from "../src/dashboards/variables";

const CLASSIC = JSON.stringify({
  title: "Old",
  schemaVersion: 6,
  rows: [
    {
      height: "250px",
      panels: [
        {
          id: 1,
          span: 6,
          type: "graph",
          title: "Load",
          stack: true,
          yaxes: [{ format: "bytes" }],
          targets: [{ expr: "node_load1", legendFormat: "{{node}}", refId: "A" }],
        },
        {
          id: 2,
          span: 6,
          type: "singlestat",
          title: "Up",
          format: "percent",
          valueName: "avg",
          thresholds: "50,80",
          colors: ["red", "orange", "green"],
          colorValue: true,
          valueMaps: [{ value: "null", text: "N/A" }],
          targets: [{ expr: "up" }],
        },
        { id: 3, span: 12, type: "worldmap", title: "Where" },
      ],
    },
    { title: "Closed", collapse: true, panels: [{ id: 4, span: 12, type: "text", content: "# hi" }] },
  ],
});

const GRID = JSON.stringify({
  dashboard: {
    title: "New",
    schemaVersion: 39,
    templating: {
      list: [
        { name: "DS", type: "datasource" },
        {
          name: "node",
          type: "query",
          query: { query: "label_values(node_load1, node)" },
          includeAll: true,
          multi: true,
          current: { value: ["$__all"] },
        },
        { name: "step", type: "custom", query: "1m, 5m, ten : 10m" },
        { name: "f", type: "adhoc" },
      ],
    },
    panels: [
      { id: 1, type: "row", title: "$node", repeat: "node", gridPos: { x: 0, y: 0, w: 24, h: 1 } },
      {
        id: 2,
        type: "timeseries",
        title: "a",
        gridPos: { x: 0, y: 1, w: 12, h: 8 },
        datasource: { type: "prometheus" },
        fieldConfig: {
          defaults: {
            unit: "bytes",
            decimals: 1,
            thresholds: {
              mode: "absolute",
              steps: [
                { value: null, color: "green" },
                { value: 80, color: "dark-red" },
              ],
            },
            mappings: [{ type: "value", options: { "0": { text: "none" } } }],
          },
          overrides: [
            {
              matcher: { id: "byRegexp", options: "/.*out/" },
              properties: [
                { id: "custom.transform", value: "negative-Y" },
                { id: "decimals", value: 2 },
                { id: "custom.lineStyle", value: { fill: "dash" } },
                { id: "custom.axisPlacement", value: "right" },
              ],
            },
            { matcher: { id: "byFrameRefID", options: "B" }, properties: [] },
          ],
        },
        targets: [
          { expr: "a", refId: "A" },
          { expr: "b", refId: "B", hide: true },
          { rawSql: "select", refId: "C", datasource: { type: "mysql" } },
        ],
        transformations: [{ id: "organize" }],
      },
      {
        id: 3,
        type: "logs",
        title: "l",
        gridPos: { x: 12, y: 1, w: 12, h: 8 },
        targets: [{ expr: '{a="b"} |= "x"' }],
      },
      {
        id: 4,
        type: "row",
        title: "closed",
        collapsed: true,
        gridPos: { x: 0, y: 9, w: 24, h: 1 },
        panels: [{ id: 5, type: "stat", gridPos: { x: 0, y: 10, w: 24, h: 4 }, targets: [{ expr: "c" }] }],
      },
      {
        id: 6,
        type: "stat",
        title: "after",
        gridPos: { x: 0, y: 10, w: 24, h: 4 },
        targets: [{ expr: "d" }],
      },
    ],
  },
});

const SECOND = JSON.stringify({
  apiVersion: "dashboard.grafana.app/v2beta1",
  kind: "Dashboard",
  spec: {
    title: "Two",
    variables: [
      {
        kind: "QueryVariable",
        spec: {
          name: "ns",
          query: { kind: "DataQuery", spec: { __legacyStringValue: "label_values(namespace)" } },
        },
      },
    ],
    elements: {
      "panel-1": {
        kind: "Panel",
        spec: {
          id: 1,
          title: "p",
          data: {
            kind: "QueryGroup",
            spec: {
              queries: [
                {
                  kind: "PanelQuery",
                  spec: {
                    refId: "A",
                    hidden: false,
                    query: { kind: "DataQuery", group: "loki", spec: { expr: '{a="b"}' } },
                  },
                },
              ],
            },
          },
          vizConfig: {
            kind: "VizConfig",
            group: "logs",
            spec: { options: {}, fieldConfig: { defaults: {}, overrides: [] } },
          },
        },
      },
    },
    layout: {
      kind: "RowsLayout",
      spec: {
        rows: [
          {
            kind: "RowsLayoutRow",
            spec: {
              title: "r",
              layout: {
                kind: "GridLayout",
                spec: {
                  items: [
                    {
                      kind: "GridLayoutItem",
                      spec: {
                        x: 0,
                        y: 0,
                        width: 12,
                        height: 6,
                        element: { kind: "ElementReference", name: "panel-1" },
                      },
                    },
                  ],
                },
              },
            },
          },
        ],
      },
    },
  },
});

test("a classic dashboard: rows become places, old names are understood, what is not drawn is named", () => {
  const { title, panels, unsupported } = importGrafana(CLASSIC);
  assert.equal(title, "Old");
  assert.deepEqual(
    panels.map(({ kind, grid }) => [kind, grid.x, grid.y, grid.w]),
    [
      ["timeseries", 0, 0, 12],
      ["stat", 12, 0, 12],
      ["text", 0, 9, 24],
      ["row", 0, 18, 24],
    ],
  );
  const [load, up, , row] = panels;
  assert.deepEqual([load?.stacked, load?.unit, load?.targets[0]?.legend], [true, "bytes", "{{node}}"]);
  assert.deepEqual(
    [up?.reduce, up?.unit, up?.thresholds.length, up && valueText(up, null)],
    ["avg", "percent", 3, "N/A"],
  );
  assert.ok(
    up !== undefined &&
      thresholdColor(up, 60) === colorNamed("orange") &&
      thresholdColor(up, 90) === colorNamed("green"),
  );
  assert.deepEqual([row?.closed, row?.inside[0]?.text], [true, "# hi"]);
  assert.deepEqual(unsupported, ["panel type worldmap (Where)"]);
});

test("a dashboard of the grid: rows repeat, closed rows open, and shift what follows", () => {
  const board = importGrafana(GRID);
  assert.deepEqual(board.unsupported.toSorted(), [
    "override byFrameRefID",
    "override of custom.axisPlacement",
    "query of the data source mysql (a)",
    "transformation organize",
    "variable f of type adhoc",
  ]);
  assert.deepEqual(
    board.variables.map(({ name, options, chosen }) => [name, options, chosen]),
    [
      ["node", [], [ALL]],
      ["step", ["1m", "5m", "10m"], []],
    ],
  );
  const placed = (turned: string[]) =>
    layout(board, { node: [ALL] }, { node: ["x", "y"] }, new Set(turned)).map(({ panel, values }) => [
      panel.title || String(panel.id),
      panel.grid.y,
      values["node"]?.[0],
    ]);
  // What stands below a row that was saved closed is not its own and stays.
  assert.deepEqual(placed([]), [
    ["$node", 0, "x"],
    ["a", 1, "x"],
    ["l", 1, "x"],
    ["$node", 9, "y"],
    ["a", 10, "y"],
    ["l", 10, "y"],
    ["closed", 18, ALL],
    ["after", 19, ALL],
  ]);
  assert.deepEqual(placed(["row 1 $node x", "row 4 closed "]).slice(0, 2), [
    ["$node", 0, "x"],
    ["$node", 1, "y"],
  ]);
  assert.ok(placed(["row 4 closed "]).some(([name]) => name === "5"));
});

test("a repeated panel has a copy for each value and pushes down what follows", () => {
  const panel = (id: number, y: number, more = {}) => ({
    id,
    type: "stat",
    title: `${id} $v`,
    gridPos: { x: 0, y, w: 24, h: 4 },
    targets: [{ expr: "up" }],
    ...more,
  });
  const board = importGrafana(
    JSON.stringify({ title: "t", panels: [panel(1, 0, { repeat: "v" }), panel(2, 4)] }),
  );
  const placed = layout(board, { v: ["a", "b", "c", "d", "e"] }, {}, new Set());
  assert.deepEqual(
    placed.map(({ panel: { id, grid }, values }) => [id, grid.x, grid.y, grid.w, values["v"]?.length]),
    [
      [1, 0, 0, 6, 1],
      [1, 6, 0, 6, 1],
      [1, 12, 0, 6, 1],
      [1, 18, 0, 6, 1],
      [1, 0, 4, 6, 1],
      [2, 0, 8, 24, 5],
    ],
  );
});

test("schema 2: elements stand where the layout puts them", () => {
  const { panels, variables, unsupported } = importGrafana(SECOND);
  assert.deepEqual(
    panels.map(({ kind, title, grid }) => [kind, title, grid.y]),
    [
      ["row", "r", 0],
      ["logs", "p", 1],
    ],
  );
  assert.deepEqual(
    [panels[1]?.targets[0]?.language, variables[0]?.query, unsupported],
    ["logql", "label_values(namespace)", []],
  );
});

test("what is no dashboard is refused with words; odd ones do not break", () => {
  assert.throws(() => importGrafana("{"), /not JSON/);
  for (const text of ["3", "null", "[]", '{"title":"x"}'])
    assert.throws(() => importGrafana(text), /no dashboard/);
  for (const text of [
    '{"panels":[null,3,{"type":7,"gridPos":{"x":-5,"y":"a","w":99},"targets":{}}]}',
    '{"rows":[null,{"panels":[{}]}]}',
    '{"elements":{"a":1},"layout":{"kind":"GridLayout","spec":{"items":[null]}}}',
  ])
    importGrafana(text);
});

test("every built-in dashboard reads, and all of it is drawn", () => {
  for (const [name, json] of Object.entries(BUILT_IN)) {
    const { unsupported, panels } = importGrafana(json);
    assert.deepEqual(unsupported, [], name);
    assert.ok(panels.length > 3 && panels.every(({ targets }) => targets.length > 0), name);
  }
});

test("variables are filled in, in every spelling", () => {
  const values = { a: ["x.y"], b: ["1", "2"], all: [ALL] };
  assert.equal(
    interpolate('m{l="$a",n=~"${b}"} [[a]] $unknown', values, "promql"),
    'm{l="x.y",n=~"(1|2)"} x.y $unknown',
  );
  assert.equal(interpolate("${b:csv} ${b:pipe} ${a:regex} $all", values, "promql"), "1,2 1|2 x\\.y .*");
  assert.equal(interpolate("$b $all", values, "text"), "1 + 2 All");
  assert.equal(interpolate('l="$q"', { q: ['a"b\\'] }, "promql"), 'l="a\\"b\\\\"');
  assert.equal(interpolate('c="$none",d=~"${none:regex}"', { none: [] }, "promql"), 'c="",d=~""');
  assert.deepEqual(questionOf('label_values(up{job="a, b"}, node)'), {
    kind: "values",
    label: "node",
    match: 'up{job="a, b"}',
  });
  assert.deepEqual(questionOf("label_values(node)"), { kind: "values", label: "node", match: "" });
  assert.deepEqual(questionOf("query_result(up == 1)"), { kind: "query", query: "up == 1" });
  assert.equal(questionOf("select 1"), null);
  assert.deepEqual(filteredValues(["b10:x", "b9:x", "b9:y"], "/(.*):.*/"), ["b9", "b10"]);
  assert.deepEqual(filteredValues(["a"], "/(/"), []);
  assert.deepEqual(parseChoices(formatChoices({ a: ["1", "&="], b: [ALL] })), { a: ["1", "&="], b: [ALL] });
});

test("what is chosen at first is there", () => {
  const base = {
    name: "v",
    label: "v",
    kind: "query" as const,
    query: "",
    regex: "",
    options: [],
    multi: false,
    allValue: "",
    hidden: false,
  };
  assert.deepEqual(initial({ ...base, all: false, chosen: ["gone"] }, ["a", "b"]), ["a"]);
  assert.deepEqual(initial({ ...base, all: true, chosen: [] }, ["a"]), [ALL]);
  assert.deepEqual(initial({ ...base, all: true, chosen: ["b"] }, ["a", "b"]), ["b"]);
});

test("values are reduced, named and written in their unit", () => {
  assert.deepEqual(
    ["mean", "max", "first", "sum", "diff", "lastNotNull"].map((how) => reduced([1, null, 5, 3, null], how)),
    [3, 5, 1, 9, 2, 3],
  );
  assert.equal(reduced([null], "sum"), null);
  assert.equal(seriesName("{{ node }} in", { node: "a" }, ""), "a in");
  assert.equal(seriesName("{{nothing}}", {}, "x"), "x");
  const cases: [number, string, number | null, string][] = [
    [0.5, "percentunit", null, "50%"],
    [12.345, "percent", 1, "12.3%"],
    [2048, "bytes", null, "2 KiB"],
    [1500, "bps", null, "1.5kb/s"],
    [90, "s", null, "90 s"],
    [1500, "ms", null, "1.5 s"],
    [3, "reqps", null, "3 req/s"],
    [3, "furlongs", null, "3 furlongs"],
    [1234.5, "none", 0, "1235"],
    [NaN, "bytes", null, "NaN"],
  ];
  for (const [value, unit, decimals, text] of cases)
    assert.equal(formatUnit(value, unit, decimals), text, unit);
  assert.equal(colorNamed("semi-dark-red"), colorNamed("red"));
  assert.equal(colorNamed("url(javascript:1)"), null);
  const panel = importGrafana(GRID).panels[1];
  assert.ok(
    panel !== undefined &&
      overridden(panel, "eth0 out").below === true &&
      overridden(panel, "eth0 out").decimals === 2 &&
      overridden(panel, "eth0 out").dashed === true &&
      overridden(panel, "eth0 in").below === undefined,
  );
  const named = importGrafana(
    JSON.stringify({
      panels: [
        {
          type: "graph",
          fieldConfig: {
            overrides: [
              {
                matcher: { id: "byNames", options: { names: ["a.b", "c"] } },
                properties: [{ id: "unit", value: "s" }],
              },
            ],
          },
        },
      ],
    }),
  ).panels[0];
  assert.ok(
    named !== undefined &&
      overridden(named, "a.b").unit === "s" &&
      overridden(named, "axb").unit === undefined,
  );
  assert.deepEqual([panel && valueText(panel, 0), panel && valueText(panel, 2048)], ["none", "2 KiB"]);
});

test("kept dashboards survive an odd storage, and have names that fit an address", () => {
  for (const stored of [null, "", "[]", "3", "{"]) assert.deepEqual(parseKept(stored), {});
  assert.deepEqual(parseKept('{"a":"{}","b":3}'), { a: "{}" });
});
