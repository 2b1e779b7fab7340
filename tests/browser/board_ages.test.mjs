/**
 * Dashboards as Grafana wrote them through the years: rows and spans of schema 6 to 14, the grid of 16 to 42,
 * and `elements` of schema 2. Each is taken in, drawn on real data with all its panels in their places, and
 * what is not supported is listed by name, no more and no less.
 */
import assert from "node:assert/strict";
import { test } from "node:test";
import { assertCount, assertNoOverflow, assertTexts, at, base, close, complaints, open, waitForInk } from "./harness.mjs";

const PROMETHEUS = { type: "prometheus", uid: "${DS_PROMETHEUS}" };
const target = (expr, more = {}) => ({ refId: "A", expr, ...more });
const grid = (x, y, w = 12, h = 8) => ({ x, y, w, h });
const LOAD = target('node_load1{node="node-a"}', { legendFormat: "{{node}}" });

/** A panel of schema 2. */
const element = (id, title, group, query, kind = "prometheus") => ({
  kind: "Panel",
  spec: {
    id,
    title,
    data: {
      kind: "QueryGroup",
      spec: {
        queries: [
          { kind: "PanelQuery", spec: { refId: "A", hidden: false, query: { kind: "DataQuery", group: kind, version: "v0", spec: { expr: query } } } },
        ],
        transformations: [],
      },
    },
    vizConfig: { kind: "VizConfig", group, version: "", spec: { options: {}, fieldConfig: { defaults: {}, overrides: [] } } },
  },
});

/** `drawn`: titles of panels and what is to be seen in them; `listed`: all that is named as not drawn. */
const BOARDS = [
  {
    age: "schema 6, rows, graph and singlestat",
    board: {
      schemaVersion: 6,
      rows: [
        {
          height: "250px",
          panels: [
            { id: 1, type: "graph", title: "load", span: 8, datasource: "Prometheus", targets: [LOAD], yaxes: [{ format: "short" }] },
            { id: 2, type: "singlestat", title: "nodes", span: 4, targets: [target(`count(node_load1{node=~"node-[abc]"})`)], valueName: "current", thresholds: "1,2", colorValue: true, colors: ["green", "orange", "red"] },
          ],
        },
      ],
    },
    drawn: { load: "ink", nodes: /3/ },
    listed: [],
  },
  {
    age: "schema 8, rows that are titled and closed, [[variable]]",
    board: {
      schemaVersion: 8,
      templating: { list: [{ name: "node", type: "query", query: "label_values(node_load1, node)", current: { value: "node-b" } }] },
      rows: [
        { title: "Open", showTitle: true, panels: [{ id: 1, type: "graph", title: "of [[node]]", span: 12, targets: [target('node_load1{node="[[node]]"}')] }] },
        { title: "Closed", collapse: true, panels: [{ id: 2, type: "graph", title: "hidden", span: 12, targets: [LOAD] }] },
      ],
    },
    drawn: { "of node-b": "ink" },
    absent: ["hidden"],
    listed: [],
  },
  {
    age: "schema 12, rows with a table and an alert list",
    board: {
      schemaVersion: 12,
      rows: [
        {
          height: 200,
          panels: [
            { id: 1, type: "table", title: "loads", span: 6, targets: [target("node_load1", { format: "table", instant: true })] },
            { id: 2, type: "alertlist", title: "alarms", span: 6 },
          ],
        },
      ],
    },
    drawn: { loads: /node-c/ },
    listed: ["panel type alertlist (alarms)"],
  },
  {
    age: "schema 14, a mixin of Loki: rows, a stacked graph of LogQL",
    board: {
      schemaVersion: 14,
      rows: [{ panels: [{ id: 1, type: "graph", title: "lines", span: 12, stack: true, datasource: "Loki", targets: [target('sum by (container) (count_over_time({namespace="shop"}[1m]))', { legendFormat: "{{container}}" })] }] }],
    },
    drawn: { lines: "ink" },
    listed: [],
  },
  {
    age: "schema 16, the grid, text of Markdown and a row",
    board: {
      schemaVersion: 16,
      panels: [
        { id: 1, type: "row", title: "Words", gridPos: grid(0, 0, 24, 1), collapsed: false, panels: [] },
        { id: 2, type: "text", title: "about", mode: "markdown", content: "**read** this", gridPos: grid(0, 1) },
        { id: 3, type: "graph", title: "load", gridPos: grid(12, 1), targets: [LOAD], bars: true, lines: false },
      ],
      annotations: { list: [{ name: "deploys", enable: true, datasource: "Prometheus", expr: "changes(up[1m])" }] },
    },
    drawn: { about: /read this/, load: "ink" },
    listed: ["annotations"],
  },
  {
    age: "schema 18, gauge and heat map",
    board: {
      schemaVersion: 18,
      panels: [
        { id: 1, type: "gauge", title: "share", gridPos: grid(0, 0), options: { fieldOptions: { calcs: ["mean"] } }, targets: [target("vector(0.5)")] },
        { id: 2, type: "heatmap", title: "heat", gridPos: grid(12, 0), targets: [target("node_load1")] },
      ],
    },
    drawn: { share: /0\.5/, heat: "ink" },
    listed: [],
  },
  {
    age: "schema 22, bar gauge, and a query of another source",
    board: {
      schemaVersion: 22,
      panels: [
        { id: 1, type: "bargauge", title: "bars", gridPos: grid(0, 0), targets: [target("node_load5", { legendFormat: "{{node}}", instant: true })] },
        { id: 2, type: "graph", title: "sql", gridPos: grid(12, 0), datasource: { type: "mysql" }, targets: [{ refId: "A", rawSql: "select 1", format: "time_series" }] },
      ],
    },
    drawn: { bars: /node-b/ },
    listed: ["query of the data source mysql (sql)"],
  },
  {
    age: "schema 27, time series, stat, thresholds, value mappings, repeat",
    board: {
      schemaVersion: 27,
      templating: { list: [{ name: "node", type: "query", query: { query: "label_values(node_load1, node)", refId: "A" }, multi: true, includeAll: true, current: { value: ["$__all"] } }] },
      panels: [
        { id: 1, type: "timeseries", title: "load of $node", repeat: "node", maxPerRow: 3, gridPos: grid(0, 0, 8), targets: [target('node_load1{node="$node"}')] },
        {
          id: 2,
          type: "stat",
          title: "state",
          gridPos: grid(0, 8),
          fieldConfig: { defaults: { mappings: [{ type: "value", options: { 1: { text: "all is well" } } }], thresholds: { mode: "absolute", steps: [{ color: "red", value: null }, { color: "green", value: 1 }] } }, overrides: [] },
          targets: [target("vector(1)")],
        },
      ],
    },
    drawn: { "load of node-a": "ink", "load of node-b": "ink", "load of node-c": "ink", state: /all is well/ },
    listed: [],
  },
  {
    age: "schema 30, pie chart, transformations, overrides",
    board: {
      schemaVersion: 30,
      panels: [
        { id: 1, type: "piechart", title: "pods", gridPos: grid(0, 0), targets: [target("count by (namespace) (kube_pod_info)", { legendFormat: "{{namespace}}", instant: true })] },
        {
          id: 2,
          type: "table",
          title: "table",
          gridPos: grid(12, 0),
          datasource: PROMETHEUS,
          transformations: [{ id: "organize", options: {} }],
          fieldConfig: { defaults: {}, overrides: [{ matcher: { id: "byName", options: "Value" }, properties: [{ id: "custom.cellOptions", value: { type: "gauge" } }] }] },
          targets: [target("node_load1", { format: "table", instant: true })],
        },
      ],
    },
    drawn: { pods: /payments/, table: /node-a/ },
    listed: ["transformation organize", "override of custom.cellOptions"],
  },
  {
    age: "schema 36, logs of Loki, interval and custom variables",
    board: {
      schemaVersion: 36,
      templating: {
        list: [
          { name: "ns", type: "custom", query: "shop,payments", current: { value: "shop" } },
          { name: "window", type: "interval", query: "1m,5m", current: { value: "5m" } },
          { name: "Filters", type: "adhoc" },
        ],
      },
      panels: [
        { id: 1, type: "logs", title: "lines of $ns", gridPos: grid(0, 0), datasource: { type: "loki" }, targets: [target('{namespace="$ns"}')] },
        { id: 2, type: "timeseries", title: "cpu over $window", gridPos: grid(12, 0), targets: [target("sum(rate(container_cpu_usage_seconds_total[$window]))")] },
      ],
    },
    drawn: { "lines of shop": /order=|level=|msg/, "cpu over 5m": "ink" },
    listed: ["variable Filters of type adhoc"],
  },
  {
    age: "schema 39, an export of the HTTP API, a closed row with panels",
    board: {
      meta: { slug: "x" },
      dashboard: {
        schemaVersion: 39,
        title: "age 39",
        panels: [
          { id: 1, type: "timeseries", title: "seen", gridPos: grid(0, 0), targets: [LOAD] },
          { id: 2, type: "row", title: "Later", collapsed: true, gridPos: grid(0, 8, 24, 1), panels: [{ id: 3, type: "timeseries", title: "unseen", gridPos: grid(0, 9), targets: [LOAD] }] },
        ],
      },
    },
    drawn: { seen: "ink" },
    absent: ["unseen"],
    listed: [],
  },
  {
    age: "schema 41, a canvas and a library panel beside what is drawn",
    board: {
      schemaVersion: 41,
      panels: [
        { id: 1, type: "barchart", title: "bars", gridPos: grid(0, 0), targets: [target("node_load1", { legendFormat: "{{node}}" })] },
        { id: 2, type: "canvas", title: "plan", gridPos: grid(12, 0) },
        { id: 3, title: "shared", libraryPanel: { uid: "abc", name: "shared" }, gridPos: grid(0, 8) },
      ],
    },
    drawn: { bars: "ink" },
    listed: ["panel type canvas (plan)", "panel type (none) (shared)", "library panel (shared)"],
  },
  {
    age: "schema 2 of elements, a grid layout, as a resource of Kubernetes",
    board: {
      apiVersion: "dashboard.grafana.app/v2beta1",
      kind: "Dashboard",
      metadata: { name: "second" },
      spec: {
        title: "second",
        elements: {
          a: element(1, "load", "timeseries", "node_load1"),
          b: element(2, "lines", "logs", '{namespace="shop"}', "loki"),
        },
        layout: {
          kind: "GridLayout",
          spec: {
            items: ["a", "b"].map((name, n) => ({ kind: "GridLayoutItem", spec: { x: 12 * n, y: 0, width: 12, height: 8, element: { kind: "ElementReference", name } } })),
          },
        },
        variables: [],
      },
    },
    drawn: { load: "ink", lines: /level=|msg/ },
    listed: [],
  },
  {
    age: "schema 2 of elements, rows and an automatic grid",
    board: {
      title: "rows of elements",
      elements: { a: element(1, "one", "stat", "vector(11)"), b: element(2, "two", "geomap", "vector(2)") },
      layout: {
        kind: "RowsLayout",
        spec: {
          rows: [
            {
              kind: "RowsLayoutRow",
              spec: {
                title: "First",
                layout: {
                  kind: "AutoGridLayout",
                  spec: { items: ["a", "b"].map((name) => ({ kind: "AutoGridLayoutItem", spec: { element: { kind: "ElementReference", name } } })) },
                },
              },
            },
          ],
        },
      },
    },
    drawn: { one: /11/ },
    listed: ["panel type geomap (two)"],
  },
];

for (const [n, { age, board, drawn, absent = [], listed }] of BOARDS.entries()) {
  test(`${age}: drawn, and what is not is listed`, async () => {
    const id = `age-${n}`;
    const inner = board.dashboard ?? board.spec ?? board;
    inner.title ??= id;
    const body = JSON.stringify(board);
    const kept = await fetch(`${base}/api/v1/dashboards/${id}`, { method: "PUT", headers: { "if-none-match": "*" }, body });
    assert.ok(kept.ok, await kept.text());
    const page = await open(at("dashboards", { board: `saved:${id}` }));
    await page.getByRole("heading", { name: inner.title, exact: true }).waitFor();
    for (const [title, seen] of Object.entries(drawn)) {
      const panel = page.getByRole("region", { name: title, exact: true });
      await panel.first().scrollIntoViewIfNeeded();
      if (seen === "ink") await waitForInk(panel.locator("canvas").first(), 20);
      else await panel.getByText(seen).first().waitFor();
    }
    for (const title of absent) await assertCount(page.getByRole("region", { name: title, exact: true }), 0, title);
    if (listed.length > 0) await page.locator(".unsupported summary").click();
    await assertTexts(page.locator(".unsupported li"), listed);
    assert.deepEqual(complaints, []);
    await page.setViewportSize({ width: 390, height: 800 });
    await assertNoOverflow(page);
    await fetch(`${base}/api/v1/dashboards/${id}`, { method: "DELETE" });
    await close(page, id);
  });
}
