/** Columns and their refresh. */
import assert from "node:assert/strict";
import { test } from "node:test";
import { mergeTail, OVERLAP_S, parseValue, tailStart, toColumns, type Series } from "../src/matrix";
import type { Grid } from "../src/time";

const grid = (start_s: number, end_s: number): Grid => ({
  start_s,
  end_s,
  step_s: 10,
  at_s: end_s,
});
const series = (name: string, ...values: [number, string][]): Series => ({ metric: { name }, values });

test("points lie on the grid and gaps stay gaps", () => {
  const { times, series: all } = toColumns(grid(0, 40), [
    series("a", [0, "1"], [20, "3"], [40, "NaN"], [90, "9"]),
  ]);
  assert.deepEqual(times, [0, 10, 20, 30, 40]);
  assert.deepEqual(all[0]?.points, [1, null, 3, null, null]);
});

test("values are read as the APIs write them", () => {
  assert.equal(parseValue("+Inf"), Infinity);
  assert.equal(parseValue("-Inf"), -Infinity);
  assert.ok(Number.isNaN(parseValue("NaN")));
  assert.equal(parseValue("1e3"), 1000);
});

test("a refresh asks for the tail only when the old points still fit", () => {
  const old = toColumns(grid(0, 1000), []);
  assert.equal(tailStart(old, grid(10, 1010)), 1000 - OVERLAP_S);
  assert.equal(tailStart(null, grid(10, 1010)), null);
  assert.equal(tailStart(old, { ...grid(10, 1010), step_s: 5 }), null);
  assert.equal(tailStart(old, grid(-100, 900)), null, "backwards");
  assert.equal(tailStart(old, grid(2000, 3000)), null, "nothing in common");
});

test("a merged refresh is what a whole fetch would have given", () => {
  const value = (time: number): [number, string] => [time, String(time)];
  const range = (from: number, to: number): [number, string][] =>
    Array.from({ length: (to - from) / 10 + 1 }, (_, at) => value(from + at * 10));
  const old = toColumns(grid(0, 200), [
    series("a", ...range(0, 200)),
    series("gone", ...range(0, 50)),
    series("old", value(0)),
  ]);
  const next = grid(20, 220);
  const tail_s = tailStart(old, next);
  assert.equal(tail_s, 110);
  const merged = mergeTail(old, [series("a", ...range(110, 220)), series("new", value(220))], 110, next);
  const whole = toColumns(next, [
    series("a", ...range(20, 220)),
    series("new", value(220)),
    series("gone", ...range(20, 50)),
  ]);
  assert.deepEqual(merged, whole);
});
