/** A card with a chart of several queries over the page's window. */
import { useRef } from "preact/hooks";
import { Chart, type ChartOptions, type Line } from "./chart";
import type { Labels, Unit } from "./format";
import { useAsked } from "./hooks";
import { t } from "./i18n";
import { RangeCache } from "./range_cache";
import { go, queryLink, zoomed, type State } from "./state";
import { chooseStep, gridOf, rateWindow } from "./time";
import { Card, Mount } from "./widgets";

export interface ChartQuery {
  /** PromQL; `[W]` becomes the window of a rate. */
  expression: string;
  name: (labels: Labels) => string;
}

const HEIGHT = 150;
const REFRESH_S = 10;
const LEAST_STEP_S = 15;

export function PanelChart({
  title,
  unit,
  queries,
  state,
  shape = "lines",
}: {
  title: string;
  unit: Unit;
  queries: readonly ChartQuery[];
  state: State;
  shape?: ChartOptions["shape"];
}) {
  const cache = useRef(new RangeCache());
  const newest = useRef(state);
  newest.current = state;
  const step_s = chooseStep(state.range_s, 600, LEAST_STEP_S);
  const expressions = queries.map(({ expression }) =>
    expression.replaceAll("[W]", `[${rateWindow(step_s)}]`),
  );
  const { data, error } = useAsked(
    JSON.stringify([expressions, state.range_s, state.end_s]),
    async (run) => {
      const grid = gridOf(state, step_s, Date.now() / 1000);
      const all = await Promise.all(expressions.map((text) => cache.current.fetch(text, grid, run)));
      const lines = all.flatMap(({ series }, at): Line[] =>
        series.map(({ labels, points }) => ({
          name: queries[at]?.name(labels) ?? "",
          labels,
          points,
          color: 0,
        })),
      );
      lines.sort((a, b) => (a.name < b.name ? -1 : 1));
      for (const [at, line] of lines.entries()) line.color = at;
      return { grid, times: all[0]?.times ?? [], lines };
    },
    { repeat: state.live, interval_s: REFRESH_S },
  );
  return (
    <Card title={title} href={queryLink("promql", expressions[0] ?? "", state)}>
      {error !== null && <p class="note bad">{error.message}</p>}
      {data === null && error === null && <p class="note">{t("frame.loading")}</p>}
      {data !== null && data.lines.length === 0 ? (
        <p class="note">{t("metrics.none")}</p>
      ) : (
        <Mount
          make={() =>
            new Chart({
              label: title,
              unit,
              height: HEIGHT,
              shape,
              legend: "inline",
              onZoom: (start_s, end_s) => go(zoomed(newest.current, start_s, end_s)),
            })
          }
          update={(chart) => data !== null && chart.show(data.grid, data.times, data.lines)}
        />
      )}
    </Card>
  );
}
