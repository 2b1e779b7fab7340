/** A table of things with their measures as sparklines; a click on a head sorts by it. */
import type { ComponentChildren } from "preact";
import { t } from "../i18n";
import { Spark } from "../spark";
import type { Measure } from "./measures";
import { formatMeasure, type Row } from "./rows";

/** More rows help nobody and make the page slow; the note says how many are left out. */
const ROWS_MAX = 300;

export function MeasureTable<T extends Row>({
  label,
  head,
  rows,
  measures,
  sort,
  onSort,
  name,
}: {
  label: string;
  head: string;
  rows: readonly T[];
  measures: readonly Measure[];
  sort: string;
  onSort: (sort: string) => void;
  name: (row: T) => ComponentChildren;
}) {
  const falling = sort.startsWith("-");
  const column = sort.replace(/^-/, "");
  const heading = (key: string, text: string, first: string) => {
    const chosen = column === key;
    const next = chosen ? (falling ? key : `-${key}`) : `${first}${key}`;
    return (
      <th
        key={key}
        scope="col"
        class={key === "name" || key === "status" ? "" : "number"}
        aria-sort={chosen ? (falling ? "descending" : "ascending") : undefined}
      >
        <button type="button" class="sort" onClick={() => onSort(next)}>
          {text}
          <span aria-hidden="true">{chosen ? (falling ? " ↓" : " ↑") : ""}</span>
        </button>
      </th>
    );
  };
  // A measure that no row has takes no room, unless the table is sorted by it.
  const kept = measures.filter(
    (measure) => rows.length === 0 || column === measure.name || rows.some((row) => row.cells.has(measure.name)),
  );
  return (
    <>
      <div class="scroll" tabIndex={0} role="region" aria-label={label}>
        <table class="measures">
          <thead>
            <tr>
              {heading("name", head, "")}
              {heading("status", t("cluster.status"), "")}
              {kept.map(({ name: key, title }) => heading(key, t(title), "-"))}
            </tr>
          </thead>
          <tbody>
            {rows.slice(0, ROWS_MAX).map((row) => (
              <tr key={row.key} class={row.state}>
                <th scope="row">{name(row)}</th>
                <td>
                  <Status row={row} />
                </td>
                {kept.map((measure) => (
                  <MeasureCell key={measure.name} measure={measure} row={row} />
                ))}
              </tr>
            ))}
          </tbody>
        </table>
      </div>
      {rows.length > ROWS_MAX && <p class="note">{t("cluster.more", { n: rows.length - ROWS_MAX })}</p>}
    </>
  );
}

function Status({ row }: { row: Row }) {
  const text = row.state === "gone" ? t("cluster.gone") : row.status;
  return text === "" ? null : <span class={`badge ${row.state}`}>{text}</span>;
}

function MeasureCell({ measure, row }: { measure: Measure; row: Row }) {
  const cell = row.cells.get(measure.name);
  if (cell === undefined) return <td class="number none">–</td>;
  const bad = measure.bad !== undefined && cell.value >= measure.bad;
  return (
    <td class={bad ? "number bad" : "number"}>
      <span>{formatMeasure(cell.value, measure.unit)}</span>
      <Spark
        points={cell.points}
        bad={bad}
        {...(measure.least === undefined ? {} : { least: measure.least })}
      />
    </td>
  );
}
