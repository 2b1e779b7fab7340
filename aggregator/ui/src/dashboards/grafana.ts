/**
 * Grafana's dashboard JSON, classic (rows of spans), of the grid, and of schema 2 (`elements` and
 * `layout`), read into ours. Pure. What cannot be drawn is named, never dropped in silence.
 */
import type { Dashboard, Kind, Override, Panel, Target, Threshold, Variable } from "./model";
import { at, bag, list, number, text, texts, type Bag } from "./read";

export class ImportError extends Error {}

const KIND_OF: Readonly<Record<string, Kind>> = {
  timeseries: "timeseries",
  graph: "timeseries",
  "graph-old": "timeseries",
  trend: "timeseries",
  barchart: "timeseries",
  stat: "stat",
  singlestat: "stat",
  "grafana-singlestat-panel": "stat",
  gauge: "gauge",
  bargauge: "bargauge",
  table: "table",
  "table-old": "table",
  heatmap: "heatmap",
  "heatmap-new": "heatmap",
  piechart: "piechart",
  "grafana-piechart-panel": "piechart",
  text: "text",
  logs: "logs",
  row: "row",
};

/** Every dashboard that is drawn is bounded. */
const PANELS_MAX = 500;

/** Reads a dashboard; throws an `ImportError` that says what the text is instead. */
export function importGrafana(json: string): Dashboard {
  let root: unknown;
  try {
    root = JSON.parse(json);
  } catch (error) {
    throw new ImportError(`not JSON: ${error instanceof Error ? error.message : String(error)}`);
  }
  // An export of the HTTP API has it below `dashboard`, one of a Kubernetes resource below `spec`.
  const outer = bag(root);
  const board =
    outer["dashboard"] !== undefined
      ? bag(outer["dashboard"])
      : outer["spec"] !== undefined
        ? bag(outer["spec"])
        : outer;
  const unsupported: string[] = [];
  const second = bag(board["elements"]);
  const panels =
    Object.keys(second).length > 0
      ? secondPanels(board, second, unsupported)
      : Array.isArray(board["panels"])
        ? gridPanels(list(board["panels"]), unsupported)
        : Array.isArray(board["rows"])
          ? rowPanels(list(board["rows"]), unsupported)
          : null;
  if (panels === null) throw new ImportError("no dashboard: neither panels, rows nor elements are in it");
  if (panels.length > PANELS_MAX)
    unsupported.push(`${panels.length - PANELS_MAX} panels beyond the first ${PANELS_MAX}`);
  if (
    list(at(board, "annotations.list")).some(
      (one) =>
        bag(one)["builtIn"] === undefined && bag(one)["type"] !== "dashboard" && bag(one)["enable"] !== false,
    )
  )
    unsupported.push("annotations");
  const variables = list(at(board, "templating.list") ?? board["variables"]).flatMap((one) =>
    variableOf(bag(one), unsupported),
  );
  return {
    title: text(board["title"]) || "?",
    description: text(board["description"]),
    variables,
    panels: panels.slice(0, PANELS_MAX),
    unsupported: [...new Set(unsupported)],
  };
}

function gridPanels(all: readonly unknown[], unsupported: string[]): Panel[] {
  return all.map((one) => panelOf(bag(one), bag(bag(one)["gridPos"]), unsupported));
}

/** Classic rows: spans of 12, heights such as `250px`. */
function rowPanels(rows: readonly unknown[], unsupported: string[]): Panel[] {
  const panels: Panel[] = [];
  let y = 0;
  for (const value of rows) {
    const row = bag(value);
    const height = Math.max(2, Math.ceil((Number.parseInt(text(row["height"]), 10) || 250) / 30));
    const closed = row["collapse"] === true;
    const own: Panel[] = [];
    let x = 0;
    for (const inner of list(row["panels"])) {
      const panel = bag(inner);
      const w = Math.round((number(panel["span"]) ?? 12) * 2);
      if (x + w > 24) {
        x = 0;
        y += height;
      }
      own.push(panelOf(panel, { x, y, w, h: height }, unsupported));
      x += w;
    }
    if (row["showTitle"] === true || closed || row["repeat"]) {
      const head = panelOf(
        { ...row, type: "row", panels: [], collapsed: closed },
        { x: 0, y, w: 24, h: 1 },
        unsupported,
      );
      panels.push({ ...head, inside: closed ? own : [], closed });
    }
    if (!closed) panels.push(...own);
    y += height;
  }
  return panels;
}

/** Schema 2: panels by name, and a layout that places them. */
function secondPanels(board: Bag, elements: Bag, unsupported: string[]): Panel[] {
  const panels: Panel[] = [];
  const classic = (name: string): Bag => {
    const spec = bag(at(elements[name], "spec"));
    const config = bag(at(spec, "vizConfig.spec"));
    const type = text(at(spec, "vizConfig.group")) || text(at(spec, "vizConfig.kind"));
    const targets = list(at(spec, "data.spec.queries")).map((query) => {
      const inner = bag(at(query, "spec"));
      const asked = bag(at(inner, "query.spec"));
      const group = text(at(inner, "query.group")) || text(at(inner, "query.kind"));
      return { ...asked, refId: inner["refId"], hide: inner["hidden"], datasource: { type: group } };
    });
    return { ...spec, type, targets, fieldConfig: config["fieldConfig"], options: config["options"] };
  };
  let y = 0;
  const place = (layout: Bag): void => {
    const kind = text(layout["kind"]);
    const spec = bag(layout["spec"]);
    if (kind === "RowsLayout" || kind === "TabsLayout") {
      for (const one of list(spec["rows"] ?? spec["tabs"])) {
        const row = bag(at(one, "spec"));
        panels.push(panelOf({ type: "row", title: row["title"] }, { x: 0, y, w: 24, h: 1 }, unsupported));
        y += 1;
        place(bag(row["layout"]));
      }
      return;
    }
    const from = y;
    let column = 0;
    for (const one of list(spec["items"])) {
      const item = bag(at(one, "spec"));
      const name = text(at(item, "element.name"));
      if (elements[name] === undefined) continue;
      const grid =
        kind === "AutoGridLayout"
          ? { x: (column % 3) * 8, y: from + Math.floor(column / 3) * 8, w: 8, h: 8 }
          : {
              x: number(item["x"]) ?? 0,
              y: from + (number(item["y"]) ?? 0),
              w: number(item["width"]) ?? 12,
              h: number(item["height"]) ?? 8,
            };
      column += 1;
      const panel = panelOf({ ...classic(name), repeat: at(item, "repeat.value") }, grid, unsupported);
      panels.push(panel);
      y = Math.max(y, panel.grid.y + panel.grid.h);
    }
  };
  place(bag(board["layout"]));
  return panels;
}

function panelOf(panel: Bag, grid: Bag, unsupported: string[]): Panel {
  const type = text(panel["type"]);
  const title = text(panel["title"]);
  const known = KIND_OF[type];
  if (known === undefined)
    unsupported.push(`panel type ${type || "(none)"}${title === "" ? "" : ` (${title})`}`);
  if (panel["libraryPanel"] !== undefined && known === undefined)
    unsupported.push(`library panel (${title})`);
  if (list(panel["transformations"]).length > 0)
    unsupported.push(
      ...list(panel["transformations"]).map((one) => `transformation ${text(bag(one)["id"])}`),
    );
  const defaults = bag(at(panel, "fieldConfig.defaults"));
  const custom = bag(defaults["custom"]);
  const options = bag(panel["options"]);
  const thresholds = bag(defaults["thresholds"]);
  const legend = bag(options["legend"]);
  const classicLegend = bag(panel["legend"]);
  const legendKind =
    legend["showLegend"] === false || legend["displayMode"] === "hidden" || classicLegend["show"] === false
      ? "none"
      : legend["displayMode"] === "table" || classicLegend["alignAsTable"] === true
        ? "table"
        : "inline";
  return {
    id: number(panel["id"]) ?? 0,
    title,
    description: text(panel["description"]),
    kind: known ?? "text",
    grid: {
      x: Math.min(23, Math.max(0, number(grid["x"]) ?? 0)),
      y: Math.max(0, number(grid["y"]) ?? 0),
      w: Math.min(24, Math.max(1, number(grid["w"]) ?? 12)),
      h: Math.min(60, Math.max(1, number(grid["h"]) ?? 8)),
    },
    targets:
      known === undefined || known === "row" || known === "text"
        ? []
        : list(panel["targets"]).flatMap((one, index) => targetOf(bag(one), index, panel, unsupported)),
    unit: text(defaults["unit"]) || text(panel["format"]) || text(bag(list(panel["yaxes"])[0])["format"]),
    decimals: number(defaults["decimals"] ?? panel["decimals"]),
    min: number(defaults["min"] ?? at(panel, "gauge.minValue")),
    max: number(defaults["max"] ?? at(panel, "gauge.maxValue")),
    thresholds:
      list(thresholds["steps"]).length > 0 ? stepsOf(list(thresholds["steps"])) : classicThresholds(panel),
    percentages: thresholds["mode"] === "percentage",
    mappings: mappingsOf(list(defaults["mappings"] ?? panel["valueMaps"])),
    overrides: list(at(panel, "fieldConfig.overrides")).flatMap((one) => overrideOf(bag(one), unsupported)),
    stacked: panel["stack"] === true || ["normal", "percent"].includes(text(at(custom, "stacking.mode"))),
    bars: panel["bars"] === true || custom["drawStyle"] === "bars" || type === "barchart",
    legend: legendKind,
    reduce: text(list(at(options, "reduceOptions.calcs"))[0]) || text(panel["valueName"]) || "lastNotNull",
    text: known === undefined ? "" : text(options["content"] ?? panel["content"]),
    unknown: known === undefined ? type || "?" : "",
    repeat: text(panel["repeat"]),
    vertical: panel["repeatDirection"] === "v",
    inside: type === "row" ? gridPanels(list(panel["panels"]), unsupported) : [],
    closed: panel["collapsed"] === true,
  };
}

function targetOf(target: Bag, index: number, panel: Bag, unsupported: string[]): Target[] {
  if (target["hide"] === true) return [];
  const source = text(at(target, "datasource.type") ?? at(panel, "datasource.type")).toLowerCase();
  const name = text(target["datasource"] ?? panel["datasource"]).toLowerCase();
  const query = text(target["expr"]);
  if (query.trim() === "") {
    const what = source || text(target["type"]) || "unknown";
    if (Object.keys(target).length > 1)
      unsupported.push(`query of the data source ${what} (${text(panel["title"])})`);
    return [];
  }
  const logs =
    source.includes("loki") ||
    name.includes("loki") ||
    panel["type"] === "logs" ||
    /^\s*\{[^}]*\}\s*(\||!|$)/.test(query);
  return [
    {
      ref: text(target["refId"]) || String.fromCharCode(65 + (index % 26)),
      query,
      language: logs ? "logql" : "promql",
      legend: text(target["legendFormat"]),
      instant: target["instant"] === true && target["range"] !== true,
    },
  ];
}

function stepsOf(steps: readonly unknown[]): Threshold[] {
  return steps.map((one, index) => {
    const step = bag(one);
    return { from: index === 0 ? null : number(step["value"]), color: text(step["color"]) || "green" };
  });
}

/** `"70,90"` and the colours between, as singlestat had them. */
function classicThresholds(panel: Bag): Threshold[] {
  const bounds = text(panel["thresholds"]).split(",").map(Number).filter(Number.isFinite);
  const colors = texts(panel["colors"]);
  if (
    text(panel["thresholds"]) === "" ||
    (panel["colorValue"] !== true && panel["colorBackground"] !== true && at(panel, "gauge.show") !== true)
  )
    return [];
  return [
    { from: null, color: colors[0] ?? "green" },
    ...bounds.map((from, index) => ({ from, color: colors[index + 1] ?? "red" })),
  ];
}

function mappingsOf(mappings: readonly unknown[]): Map<string, string> {
  const found = new Map<string, string>();
  for (const one of mappings) {
    const mapping = bag(one);
    if (mapping["type"] === "value")
      for (const [value, result] of Object.entries(bag(mapping["options"])))
        found.set(value, text(bag(result)["text"]) || value);
    else if (mapping["type"] === "special")
      found.set(text(at(mapping, "options.match")), text(at(mapping, "options.result.text")));
    else if (mapping["value"] !== undefined) found.set(text(mapping["value"]), text(mapping["text"]));
  }
  return found;
}

function overrideOf(one: Bag, unsupported: string[]): Override[] {
  const matcher = text(at(one, "matcher.id"));
  const wanted = text(at(one, "matcher.options"));
  let pattern: RegExp | null = null;
  if (matcher === "byNames") {
    const names = texts(at(one, "matcher.options.names"));
    pattern = new RegExp(
      `^(?:${names.map((name) => name.replace(/[.*+?^${}()|[\]\\]/g, "\\$&")).join("|")})$`,
    );
  } else if (matcher === "byRegexp") {
    try {
      pattern = new RegExp(wanted.replace(/^\/(.*)\/[a-z]*$/s, "$1"));
    } catch {
      unsupported.push(`override pattern ${wanted}`);
      return [];
    }
  } else if (matcher !== "byName") {
    unsupported.push(`override ${matcher}`);
    return [];
  }
  const override: Override = { name: wanted, pattern };
  for (const property of list(one["properties"])) {
    const { id, value } = bag(property);
    if (id === "unit") override.unit = text(value);
    else if (id === "displayName") override.title = text(value);
    else if (id === "color") override.color = text(at(value, "fixedColor"));
    else if (id === "decimals") {
      const decimals = number(value);
      if (decimals !== null) override.decimals = decimals;
    } else if (id === "custom.lineStyle") override.dashed = ["dash", "dot"].includes(text(at(value, "fill")));
    else if (id === "custom.transform") override.below = value === "negative-Y";
    else if (id === "custom.hideFrom") override.hidden = at(value, "viz") === true;
    else if (
      !["custom.width", "custom.lineWidth", "custom.fillOpacity", "links", "custom.align"].includes(text(id))
    )
      unsupported.push(`override of ${text(id)}`);
  }
  return [override];
}

function variableOf(one: Bag, unsupported: string[]): Variable[] {
  // Schema 2 has the kind outside and the rest in `spec`.
  const second = text(one["kind"]);
  const spec = second === "" ? one : bag(one["spec"]);
  const type = (second === "" ? text(one["type"]) : second.replace(/Variable$/, "").toLowerCase()) || "query";
  const name = text(spec["name"]);
  if (name === "" || type === "datasource") return [];
  const kind = (["query", "custom", "constant", "textbox", "interval"] as const).find(
    (known) => known === (type === "text" ? "textbox" : type),
  );
  if (kind === undefined) {
    unsupported.push(`variable ${name} of type ${type}`);
    return [];
  }
  const query =
    text(spec["query"]) ||
    text(at(spec, "query.query")) ||
    text(at(spec, "query.spec.query")) ||
    text(at(spec, "query.spec.__legacyStringValue")) ||
    text(spec["definition"]);
  const all = spec["includeAll"] === true;
  const current = texts(at(spec, "current.value"));
  const options =
    kind === "query" ? [] : kind === "custom" || kind === "interval" ? customOptions(query) : [query];
  return [
    {
      name,
      label: text(spec["label"]) || name,
      kind,
      query,
      regex: text(spec["regex"]),
      options,
      multi: spec["multi"] === true,
      all,
      allValue: text(spec["allValue"]),
      chosen: current.filter((value) => !value.startsWith("$__auto")),
      hidden: number(spec["hide"]) === 2 || spec["hide"] === "hideVariable" || kind === "constant",
    },
  ];
}

/** `a, b, key : value`. */
function customOptions(query: string): string[] {
  return query
    .split(/(?<!\\),/)
    .map((option) =>
      option
        .replace(/\\,/g, ",")
        .replace(/^.*\s:\s/, "")
        .trim(),
    )
    .filter(Boolean);
}
