/** Templates of the lines with counts and trend; those that are new within the window are marked. */
import { queryPatterns, type Pattern } from "../api";
import { useAsked } from "../hooks";
import { formatSpan, t } from "../i18n";
import { Spark } from "../spark";
import { gridOf, type Grid, type Window } from "../time";
import { Nothing, Problem } from "../widgets";
import type { Point } from "../matrix";
import { selectorAndFilters } from "./logql";
import { visible } from "./segments";

const POINTS = 30;
const ROWS_MAX = 200;

export interface Template {
  pattern: string;
  level: string;
  count: number;
  points: Point[];
  /** No line of it before the time that was chosen, by default the middle of the window. */
  fresh: boolean;
}

/** Samples of all levels of a pattern on one grid; new is what has no line before `since_s`. Pure. */
export function templates(
  patterns: readonly Pattern[],
  { start_s, end_s, step_s }: Grid,
  since_s = (start_s + end_s) / 2,
): Template[] {
  const length = Math.floor((end_s - start_s) / step_s) + 1;
  const found = new Map<string, Template>();
  for (const { pattern, level, samples } of patterns) {
    let template = found.get(pattern);
    if (template === undefined) {
      template = { pattern, level, count: 0, points: Array.from({ length }, () => 0), fresh: true };
      found.set(pattern, template);
    }
    for (const [time_s, count] of samples) {
      template.count += count;
      const at = Math.min(length - 1, Math.max(0, Math.floor((time_s - start_s) / step_s)));
      template.points[at] = (template.points[at] ?? 0) + count;
      if (count > 0 && time_s < since_s) template.fresh = false;
    }
  }
  return [...found.values()].sort((a, b) => b.count - a.count);
}

/** How long ago what is new may have begun, in seconds. */
const AGES = [60, 300, 900, 3600, 6 * 3600, 24 * 3600, 7 * 24 * 3600];

export function Patterns({
  query,
  window,
  live,
  since,
  setSince,
  narrow,
}: {
  query: string;
  window: Window;
  live: boolean;
  /** Seconds before the end, as the address has them; empty is half of the window. */
  since: string;
  setSince: (seconds: string) => void;
  narrow: (operator: "|>" | "!>", pattern: string) => void;
}) {
  const step_s = Math.max(10, Math.ceil(window.range_s / POINTS));
  const selected = selectorAndFilters(query);
  const { data, error } = useAsked(
    JSON.stringify(["patterns", selected, window.range_s, window.end_s, since]),
    async (run) => {
      const grid = gridOf(window, step_s, Date.now() / 1000);
      // Patterns are asked for by streams: line filters would be refused.
      const selector = /^\s*\{(?:[^}"`]|"(?:[^"\\]|\\.)*"|`[^`]*`)*\}/.exec(selected ?? "")?.[0];
      const since_s = since === "" ? undefined : grid.end_s - Number(since);
      return selector === undefined ? [] : templates(await queryPatterns(selector, grid, run), grid, since_s);
    },
    { repeat: live, interval_s: 15 },
  );
  if (error !== null) return <Problem error={error} query={query} />;
  if (data === null) return <p class="note">{t("frame.loading")}</p>;
  if (data.length === 0) return <Nothing title={t("patterns.none")} />;
  const all = data.reduce((sum, { count }) => sum + count, 0);
  const fresh = data.filter((template) => template.fresh).length;
  return (
    <div class="scroll" tabIndex={0} role="region" aria-label={t("logs.patterns")}>
      <p class="note patterns-since">
        <label>
          {t("patterns.since")}{" "}
          <select value={since} onChange={(event) => setSince(event.currentTarget.value)}>
            <option value="">{t("patterns.since_middle")}</option>
            {AGES.filter((age) => age < window.range_s).map((age) => (
              <option key={age} value={String(age)}>
                {t("patterns.since_ago", { age: formatSpan(age) })}
              </option>
            ))}
          </select>
        </label>{" "}
        <span>{t("patterns.fresh", { n: fresh })}</span>
      </p>
      <table class="patterns">
        <thead>
          <tr>
            <th scope="col">{t("patterns.count")}</th>
            <th scope="col">{t("patterns.share")}</th>
            <th scope="col">{t("patterns.trend")}</th>
            <th scope="col">{t("patterns.pattern")}</th>
            <th scope="col">
              <span class="unseen">{t("patterns.filter")}</span>
            </th>
          </tr>
        </thead>
        <tbody>
          {data.slice(0, ROWS_MAX).map(({ pattern, count, points, fresh }) => (
            <tr key={pattern}>
              <td class="number">{t("count", { n: count })}</td>
              <td class="number">{shareOf(count, all)}</td>
              <td>
                <Spark points={points} />
              </td>
              <td>
                {fresh && <span class="badge">{t("patterns.new")}</span>}{" "}
                <bdi class="pattern">{visible(pattern)}</bdi>
              </td>
              <td class="filters">
                <button
                  type="button"
                  title={t("logs.only")}
                  aria-label={`${t("logs.only")}: ${visible(pattern)}`}
                  onClick={() => narrow("|>", pattern)}
                >
                  +
                </button>
                <button
                  type="button"
                  title={t("logs.without")}
                  aria-label={`${t("logs.without")}: ${visible(pattern)}`}
                  onClick={() => narrow("!>", pattern)}
                >
                  −
                </button>
              </td>
            </tr>
          ))}
        </tbody>
      </table>
    </div>
  );
}

/** Never "0%" of what is there. */
function shareOf(count: number, all: number): string {
  const percent = (100 * count) / all;
  return percent < 0.1 ? "<0.1%" : `${Math.round(10 * percent) / 10}%`;
}
