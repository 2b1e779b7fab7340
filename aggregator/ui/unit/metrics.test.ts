/** Heat maps, comparison and the list of metrics. */
import assert from "node:assert/strict";
import { test } from "node:test";
import { toColumns } from "../src/matrix";
import { aboutOf, suggested } from "../src/metrics/finder";
import { heatRows } from "../src/metrics/heat_rows";
import { linesOf } from "../src/metrics/load";
import { stretches } from "../src/spark";

const GRID = { start_s: 0, end_s: 1, step_s: 1, at_s: 1 };
const series = (labels: Record<string, string>, ...values: string[]) => ({
  metric: labels,
  values: values.map((value, at) => [at, value] as const),
});

test("buckets are told apart from those below them and put in order", () => {
  const columns = toColumns(GRID, [
    series({ le: "+Inf", pod: "a" }, "9", "9"),
    series({ le: "0.5", pod: "a" }, "3", "4"),
    series({ le: "0.5", pod: "b" }, "1", "0"),
    series({ le: "2", pod: "a" }, "5", "3"),
  ]);
  assert.deepEqual(heatRows(columns, []), [
    { name: "≤ 0.5", points: [4, 4] },
    { name: "≤ 2", points: [1, 0] },
    { name: "≤ ∞", points: [4, 6] },
  ]);
  assert.deepEqual(heatRows(toColumns(GRID, [series({ a: "b" }, "1", "2")]), ["x"]), [
    { name: "x", points: [1, 2] },
  ]);
});

test("an earlier time has the colours of the present one", () => {
  const answer = (letter: string, ...all: ReturnType<typeof series>[]) => ({
    query: "",
    letter,
    data: toColumns(GRID, all),
    notes: [],
    error: null,
  });
  const a = answer("A", series({ x: "1" }, "1"), series({ x: "2" }, "1"));
  const lines = linesOf([a], [answer("A", series({ x: "2" }, "7"), series({ x: "3" }, "7"))], "1d");
  assert.deepEqual(
    lines.map(({ name, color, dashed }) => [name, color, dashed ?? false]),
    [
      ['{x="1"}', 0, false],
      ['{x="2"}', 1, false],
      ['{x="2"} − 1d', 1, true],
      ['{x="3"} − 1d', 2, true],
    ],
  );
  assert.match(linesOf([a, answer("B", series({}, "1"))], [], "").at(-1)?.name ?? "", /^B /);
});

test("metadata of an odd shape is left out", () => {
  const about = aboutOf({ up: [{ type: "gauge", help: "h" }], x: [], y: 3, z: [{ type: 1 }] });
  assert.deepEqual(
    [...about],
    [
      ["up", { type: "gauge", help: "h" }],
      ["z", { type: "", help: "" }],
    ],
  );
  assert.deepEqual(aboutOf(null).size, 0);
  assert.equal(suggested("a_total", ""), "rate(a_total[5m])");
  assert.equal(suggested("a", "gauge"), "a");
  assert.match(suggested("a_bucket", "histogram"), /^histogram_quantile/);
});

test("a sparkline breaks where nothing was measured", () => {
  assert.equal(stretches([1, 2, null, 4]).length, 2);
  assert.deepEqual(stretches([null, null]), []);
  assert.deepEqual(stretches([0, 0])[0]?.split(" ").length, 2);
});
