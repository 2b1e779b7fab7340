/** The result of a LogQL query that counts: a chart, or a table when it is of one moment. */
import type { LogResult } from "../api";
import { Chart } from "../chart";
import { unitOf } from "../format";
import { t } from "../i18n";
import { plainLines } from "../lines";
import { toColumns } from "../matrix";
import { go, zoomed, type State } from "../state";
import type { Grid } from "../time";
import { VectorTable } from "../vector_table";
import { Mount, Nothing } from "../widgets";

const HEIGHT = 320;

export function Numbers({
  result,
  grid,
  state,
  query,
}: {
  result: LogResult;
  grid: Grid;
  state: State;
  query: string;
}) {
  if (result.result.length === 0) return <Nothing title={t("metrics.none")} />;
  if (result.resultType !== "matrix")
    return <Mount make={() => new VectorTable()} update={(table) => table.show(result)} />;
  const columns = toColumns(grid, result.result);
  return (
    <section class="card result">
      <Mount
        make={() =>
          new Chart({
            label: t("metrics.result"),
            unit: unitOf(query),
            height: HEIGHT,
            shape: "lines",
            legend: "table",
            onZoom: (start_s, end_s) => go(zoomed(state, start_s, end_s)),
          })
        }
        update={(chart) => chart.show(grid, columns.times, plainLines(columns))}
      />
    </section>
  );
}
