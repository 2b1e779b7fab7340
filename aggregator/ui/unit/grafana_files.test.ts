/**
 * The built-in dashboards as files that Grafana is provisioned from: the chart puts them into a ConfigMap for Grafana's
 * sidecar (`grafana.dashboards`). `UPDATE=1 npm test` writes them anew.
 */
import assert from "node:assert/strict";
import { mkdirSync, readdirSync, readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { test } from "node:test";
import { BUILT_IN } from "../src/dashboards/builtin";
import { importGrafana } from "../src/dashboards/grafana";
import { type Bag, at, bag, list, text } from "../src/dashboards/read";

const FOLDER = "../../deploy/helm/kansoku/dashboards";
/** The data sources that the chart and deploy/grafana provision. */
const SOURCES: Readonly<Record<string, string>> = { prometheus: "kansoku-metrics", loki: "kansoku-logs" };
/** What Grafana does not take for granted, by kind of panel. */
const OPTIONS: Readonly<Record<string, Bag>> = {
  heatmap: { calculate: false, yAxis: { unit: "s" } },
  logs: { showTime: true, wrapLogMessage: true, enableLogDetails: true, sortOrder: "Descending" },
  stat: { reduceOptions: { calcs: ["lastNotNull"] } },
  gauge: { reduceOptions: { calcs: ["lastNotNull"] } },
  bargauge: { reduceOptions: { calcs: ["lastNotNull"] }, orientation: "horizontal", displayMode: "basic" },
  piechart: { reduceOptions: { calcs: ["lastNotNull"] }, legend: { displayMode: "table", placement: "right" } },
};
const FORMATS: Readonly<Record<string, string>> = { table: "table", heatmap: "heatmap" };

function provisioned(name: string, json: string): Bag {
  const board = bag(JSON.parse(json));
  const source = (type: string): Bag => ({ type, uid: SOURCES[type] });
  const panels = list(board["panels"]).map((one) => {
    const panel = bag(one);
    const kind = text(panel["type"]);
    const type = text(at(panel, "datasource.type"));
    const defaults = bag(at(panel, "fieldConfig.defaults"));
    const isStacked = at(defaults, "custom.stacking.mode") === "normal";
    const thresholds = bag(defaults["thresholds"]);
    const noSteps = list(thresholds["steps"]).length === 0;
    return {
      ...panel,
      // Grafana counts from 1.
      id: Number(panel["id"]) + 1,
      datasource: source(type),
      fieldConfig: {
        defaults: {
          ...defaults,
          ...(defaults["max"] === undefined ? {} : { min: 0 }),
          thresholds: {
            mode: "absolute",
            steps: noSteps ? [{ value: null, color: "green" }] : thresholds["steps"],
          },
          custom:
            kind === "timeseries"
              ? { fillOpacity: isStacked ? 25 : 0, stacking: { mode: isStacked ? "normal" : "none", group: "A" } }
              : {},
        },
        overrides: [],
      },
      options: OPTIONS[kind] ?? {},
      targets: list(panel["targets"]).map((target) => {
        const { instant, ...rest } = bag(target);
        return {
          ...rest,
          datasource: source(type),
          ...(type === "loki"
            ? { queryType: instant === true ? "instant" : "range" }
            : { instant: instant === true, range: instant !== true, format: FORMATS[kind] ?? "time_series" }),
        };
      }),
    };
  });
  const variables = list(at(board, "templating.list")).map((one) => ({
    ...bag(one),
    datasource: source("prometheus"),
    definition: bag(one)["query"],
    // When the time range changes: pods come and go.
    refresh: 2,
    sort: 1,
    options: [],
    current: {},
  }));
  return {
    id: null,
    uid: `kansoku-${name}`,
    title: `kansoku / ${text(board["title"])}`,
    tags: ["kansoku"],
    schemaVersion: 39,
    editable: true,
    graphTooltip: 1,
    time: { from: "now-1h", to: "now" },
    refresh: "30s",
    templating: { list: variables },
    panels,
  };
}

test("the chart's dashboards for Grafana are the built-in ones", () => {
  const files = Object.entries(BUILT_IN).map(
    ([name, json]) => [`${name}.json`, `${JSON.stringify(provisioned(name, json), null, 1)}\n`] as const,
  );
  if (process.env["UPDATE"] === "1") {
    mkdirSync(FOLDER, { recursive: true });
    for (const [file, json] of files) writeFileSync(join(FOLDER, file), json);
  }
  assert.deepEqual(readdirSync(FOLDER).sort(), files.map(([file]) => file).sort());
  for (const [file, json] of files) {
    assert.equal(readFileSync(join(FOLDER, file), "utf8"), json, `${file}: UPDATE=1 npm test writes it anew`);
  }
});

test("nothing is lost on the way: the page draws the files as it draws the built-in dashboards", () => {
  for (const [name, json] of Object.entries(BUILT_IN)) {
    const ours = importGrafana(json);
    const theirs = importGrafana(JSON.stringify(provisioned(name, json)));
    assert.deepEqual(theirs.unsupported, ours.unsupported, name);
    // Grafana has other ids, and is told the lower bound that the page takes for granted, and the colour of what has no thresholds.
    const shown = (board: typeof ours): unknown =>
      board.panels.map(({ id: _id, min: _min, thresholds, legend: _legend, ...panel }) => ({
        ...panel,
        thresholds: thresholds.length > 1 ? thresholds : [],
      }));
    assert.deepEqual(shown(theirs), shown(ours), name);
    assert.deepEqual(
      theirs.variables.map(({ name: variable, query }) => [variable, query]),
      ours.variables.map(({ name: variable, query }) => [variable, query]),
      name,
    );
  }
});
