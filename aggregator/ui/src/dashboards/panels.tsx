/** The kinds of panels, each drawn from the same data. A new kind is a new entry in `DRAW`. */
import type { ComponentChildren } from "preact";
import { useRef } from "preact/hooks";
import { Chart, type Line } from "../chart";
import type { Labels } from "../format";
import { t } from "../i18n";
import { Detail } from "../logs/detail";
import { LogList } from "../logs/list";
import type { Point } from "../matrix";
import { HeatMap } from "../metrics/heat_map";
import { heatRows } from "../metrics/heat_rows";
import { color } from "../palette";
import { Spark } from "../spark";
import { go, queryLink, zoomed, type State } from "../state";
import { Mount } from "../widgets";
import type { PanelData, PanelSeries } from "./load";
import type { Kind, Panel } from "./model";
import { colorNamed, overridden, reduced, thresholdColor, valueText } from "./values";
import { formatUnit, isBinary } from "./units";

/** What a panel is drawn from. */
export interface Drawing {
  panel: Panel;
  data: PanelData;
  state: State;
  /** Height of the panel's inside in pixels. */
  height: number;
}

/** Numbers, bars, slices and rows beyond this are left out and counted. */
const ITEMS_MAX = 60;
const ROWS_MAX = 500;
const LEGEND_PX = 62;

function Lines({ panel, data, state, height }: Drawing) {
  const newest = useRef(state);
  newest.current = state;
  const lines = data.series.flatMap(({ name, labels, points }, at): Line[] => {
    const own = overridden(panel, name);
    if (own.hidden === true) return [];
    const fixed = own.color === undefined ? null : colorNamed(own.color);
    return [
      {
        name: own.title ?? name,
        labels,
        points,
        color: at,
        ...(fixed?.startsWith("#") === true ? { fixed } : {}),
        ...(own.below === true ? { below: true } : {}),
        ...(own.dashed === true ? { dashed: true } : {}),
      },
    ];
  });
  const unit = (value: number): string => formatUnit(value, panel.unit, panel.decimals);
  const shape = panel.bars ? "bars" : panel.stacked ? "stacked" : "lines";
  const legend =
    panel.legend === "none" ? 0 : panel.legend === "table" ? Math.min(height / 3, 120) : LEGEND_PX;
  return (
    <Mount
      key={`${shape} ${height}`}
      make={() =>
        new Chart({
          label: panel.title,
          unit,
          height: Math.max(60, height - legend),
          shape,
          stacked: panel.stacked,
          binary: isBinary(panel.unit),
          legend: panel.legend,
          ...(panel.max === null ? {} : { leastTop: panel.max }),
          onZoom: (start_s, end_s) => go(zoomed(newest.current, start_s, end_s)),
        })
      }
      update={(chart) => chart.show(data.grid, data.times, lines)}
    />
  );
}

interface Item {
  name: string;
  value: number | null;
  text: string;
  color: string;
  points: readonly Point[];
}

function itemsOf({ panel, data }: Drawing): Item[] {
  return data.series.slice(0, ITEMS_MAX).flatMap(({ name, points }, at): Item[] => {
    const own = overridden(panel, name);
    if (own.hidden === true) return [];
    const value = reduced(points, panel.reduce);
    const fixed = own.color === undefined ? null : colorNamed(own.color);
    const byThreshold = value === null ? null : thresholdColor(panel, value);
    return [
      {
        name: own.title ?? name,
        value,
        text: valueText(panel, value, own.unit ?? panel.unit, own.decimals ?? panel.decimals),
        color: fixed ?? byThreshold ?? color(at),
        points,
      },
    ];
  });
}

function Stats(drawing: Drawing) {
  const items = itemsOf(drawing);
  return (
    <div class="stats">
      {items.map(({ name, text, color: own, points, value }, at) => (
        <div key={at} class="stat">
          {items.length > 1 && <span class="name">{name}</span>}
          <strong>
            {drawing.panel.thresholds.length > 1 && value !== null && (
              <span class="swatch" style={{ background: own }} aria-hidden="true" />
            )}
            {text}
          </strong>
          {points.filter((point) => point !== null).length > 2 && <Spark points={points} />}
        </div>
      ))}
    </div>
  );
}

/** From where to where a scale reaches: the panel's bounds, else those of a share or of the values. */
function scale(panel: Panel, items: readonly Item[]): [number, number] {
  const low = panel.min ?? 0;
  const known = items.map(({ value }) => value ?? 0);
  const high =
    panel.max ??
    (panel.unit === "percentunit" ? 1 : panel.unit === "percent" ? 100 : Math.max(low, ...known));
  return [low, high > low ? high : low + 1];
}

const shareOf = (value: number | null, [low, high]: [number, number]): number =>
  Math.min(1, Math.max(0, ((value ?? low) - low) / (high - low)));

function Gauges(drawing: Drawing) {
  const items = itemsOf(drawing);
  const bounds = scale(drawing.panel, items);
  return (
    <div class="gauges">
      {items.map(({ name, value, text, color: own }, at) => {
        const turn = Math.PI * (1 - shareOf(value, bounds));
        const [x, y] = [50 + 40 * Math.cos(turn), 50 - 40 * Math.sin(turn)];
        return (
          <figure key={at}>
            <svg viewBox="0 0 100 56" role="img" aria-label={`${name}: ${text}`}>
              <path class="track" d="M 10 50 A 40 40 0 0 1 90 50" />
              {shareOf(value, bounds) > 0 && (
                <path d={`M 10 50 A 40 40 0 0 1 ${x.toFixed(2)} ${y.toFixed(2)}`} style={{ stroke: own }} />
              )}
              <text x="50" y="48">
                {text}
              </text>
            </svg>
            {items.length > 1 && <figcaption>{name}</figcaption>}
          </figure>
        );
      })}
    </div>
  );
}

function BarGauges(drawing: Drawing) {
  const items = itemsOf(drawing);
  const bounds = scale(drawing.panel, items);
  return (
    <ul class="bars">
      {items.map(({ name, value, text, color: own }, at) => (
        <li key={at} class="bar">
          <span
            class="length"
            style={{ width: `${100 * shareOf(value, bounds)}%`, background: own }}
            aria-hidden="true"
          />
          <span class="name">{name}</span>
          <span class="value">{text}</span>
        </li>
      ))}
    </ul>
  );
}

function Pie(drawing: Drawing) {
  const items = itemsOf(drawing).filter(({ value }) => value !== null && value > 0);
  const whole = items.reduce((sum, { value }) => sum + (value ?? 0), 0);
  let turned = 0;
  return (
    <div class="pie">
      <svg
        viewBox="-1 -1 2 2"
        role="img"
        aria-label={items.map(({ name, text }) => `${name}: ${text}`).join(", ")}
      >
        {items.map(({ value, color: own }, at) => {
          const part = (value ?? 0) / whole;
          const from = turned * 2 * Math.PI;
          turned += part;
          const to = turned * 2 * Math.PI;
          if (part > 0.9999) return <circle key={at} r="1" style={{ fill: own }} />;
          const point = (angle: number): string =>
            `${Math.sin(angle).toFixed(4)} ${(-Math.cos(angle)).toFixed(4)}`;
          return (
            <path
              key={at}
              d={`M 0 0 L ${point(from)} A 1 1 0 ${part > 0.5 ? 1 : 0} 1 ${point(to)} Z`}
              style={{ fill: own }}
            />
          );
        })}
      </svg>
      <ul>
        {items.map(({ name, text, value, color: own }, at) => (
          <li key={at}>
            <span class="swatch" style={{ background: own }} aria-hidden="true" /> {name}{" "}
            <span class="count">{`${text} · ${Math.round((100 * (value ?? 0)) / whole)}%`}</span>
          </li>
        ))}
      </ul>
    </div>
  );
}

/** Labels as columns; the values of several queries stand beside each other where their labels agree. */
export function tableOf(series: readonly PanelSeries[]): {
  labels: string[];
  refs: string[];
  rows: { labels: Labels; values: Map<string, Point> }[];
} {
  const refs = [...new Set(series.map(({ ref }) => ref))];
  const rows = new Map<string, { labels: Labels; values: Map<string, Point> }>();
  const names = new Set<string>();
  for (const { ref, labels: all, points } of series) {
    const { __name__: _, ...labels } = all;
    for (const name of Object.keys(labels)) names.add(name);
    const key = JSON.stringify(Object.entries(labels).sort(([a], [b]) => (a < b ? -1 : 1)));
    const row = rows.get(key) ?? { labels, values: new Map<string, Point>() };
    row.values.set(ref, reduced(points, "lastNotNull"));
    rows.set(key, row);
  }
  return { labels: [...names].sort(), refs, rows: [...rows.values()] };
}

function Table({ panel, data }: Drawing) {
  const { labels, refs, rows } = tableOf(data.series);
  const column = (ref: string) => overridden(panel, refs.length > 1 ? `Value #${ref}` : "Value");
  const shown = labels.filter((name) => overridden(panel, name).hidden !== true);
  return (
    <div class="table-panel" tabIndex={0} role="region" aria-label={panel.title}>
      <table>
        <thead>
          <tr>
            {shown.map((name) => (
              <th key={name} scope="col">
                {overridden(panel, name).title ?? name}
              </th>
            ))}
            {refs.map((ref) => (
              <th key={ref} scope="col" class="number">
                {column(ref).title ?? (refs.length > 1 ? `Value ${ref}` : "Value")}
              </th>
            ))}
          </tr>
        </thead>
        <tbody>
          {rows.slice(0, ROWS_MAX).map((row, at) => (
            <tr key={at}>
              {shown.map((name) => (
                <td key={name}>{row.labels[name] ?? ""}</td>
              ))}
              {refs.map((ref) => (
                <td key={ref} class="number">
                  {valueText(
                    panel,
                    row.values.get(ref) ?? null,
                    column(ref).unit ?? panel.unit,
                    column(ref).decimals ?? panel.decimals,
                  )}
                </td>
              ))}
            </tr>
          ))}
        </tbody>
      </table>
      {rows.length > ROWS_MAX && <p class="note">{t("vector.first", { most: ROWS_MAX, n: rows.length })}</p>}
    </div>
  );
}

function Heat({ data, height }: Drawing) {
  const columns = data.columns === null ? null : { ...data.columns, series: data.series };
  if (columns === null) return null;
  return (
    <Mount
      make={() => new HeatMap(Math.max(80, height - 30))}
      update={(map) =>
        map.show(
          columns,
          heatRows(
            columns,
            data.series.map(({ name }) => name),
          ),
        )
      }
    />
  );
}

function Logs({ panel, data, state, height }: Drawing) {
  const query = panel.targets[0]?.query ?? "{}";
  return (
    <LogList
      label={panel.title || t("page.logs")}
      entries={data.entries}
      wrap={false}
      height={`${height}px`}
      detail={(entry) => (
        <Detail
          entry={entry}
          window={state}
          narrow={({ name }, operator, value) =>
            (location.hash = queryLink(
              "logql",
              `${query} | ${name}${operator}${JSON.stringify(value)}`,
              state,
            ))
          }
        />
      )}
    />
  );
}

/** How each kind is drawn; rows and texts need no data and are drawn elsewhere. */
export const DRAW: Readonly<Record<Exclude<Kind, "row" | "text">, (drawing: Drawing) => ComponentChildren>> =
  {
    timeseries: Lines,
    stat: Stats,
    gauge: Gauges,
    bargauge: BarGauges,
    table: Table,
    heatmap: Heat,
    piechart: Pie,
    logs: Logs,
  };
