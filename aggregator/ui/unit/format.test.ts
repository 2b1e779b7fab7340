/** Numbers and labels as text. */
import assert from "node:assert/strict";
import { test } from "node:test";
import { topWithTick } from "../src/ticks";
import { formatLabels, formatPlain, formatValue, selector, shortNames, unitOf } from "../src/format";

test("numbers are short", () => {
  const cases: [number, string][] = [
    [0, "0"],
    [1, "1"],
    [0.034567, "0.0346"],
    [12.345, "12.3"],
    [1234, "1.23k"],
    [-2_500_000, "-2.5M"],
    [1e-9, "1.00e-9"],
    [Number.NaN, "NaN"],
    [Infinity, "+Inf"],
    [-Infinity, "-Inf"],
  ];
  for (const [value, text] of cases) assert.equal(formatPlain(value), text);
});

test("values carry their unit", () => {
  assert.equal(formatValue(0.4567, "fraction"), "45.7%");
  assert.equal(formatValue(1536, "bytes"), "1.5 KiB");
  assert.equal(formatValue(-1048576, "bytes_per_second"), "-1 MiB/s");
  assert.equal(formatValue(0.25, "cores"), "250m");
  assert.equal(formatValue(2.5, "cores"), "2.5");
  assert.equal(formatValue(Number.NaN, "bytes"), "NaN");
});

test("labels are quoted and in order", () => {
  assert.equal(formatLabels({ __name__: "up", b: "2", a: 'x"\\\n' }), 'up{a="x\\"\\\\\\n", b="2"}');
  assert.equal(formatLabels({}), "{}");
  assert.equal(selector({ __name__: "up", a: "1" }), '{a="1"}');
  assert.equal(selector({ a: "{" }), '{a="{"}');
});

test("what all series share is left out of their names", () => {
  const all = [
    { job: "n", mode: "user" },
    { job: "n", mode: "idle" },
  ];
  assert.deepEqual(shortNames(all), ['{mode="user"}', '{mode="idle"}']);
  assert.deepEqual(shortNames([{ job: "n" }]), ['{job="n"}']);
  assert.deepEqual(shortNames([]), []);
});

test("the unit is guessed from the metric's name", () => {
  const cases: [string, string][] = [
    ["node_memory_MemFree_bytes", "bytes"],
    ["rate(node_disk_read_bytes_total[1m])", "bytes_per_second"],
    ["a_bytes / b_bytes", "plain"],
    ["node_load1", "plain"],
    ['sum(bytes_rate({a="b"}[1m]))', "bytes_per_second"],
    ["count(a_bytes)", "plain"],
  ];
  for (const [query, unit] of cases) assert.equal(unitOf(query), unit, query);
});

test("an axis from zero has a tick above zero", () => {
  for (const [top, height, whole, expected] of [
    [1.08, 36, true, 1.08],
    [4.3, 36, true, 5],
    [32, 36, true, 32],
    [0.3, 36, true, 1],
    [4.3, 76, true, 4.3],
    [0.043, 36, false, 0.05],
  ] as const) {
    assert.equal(topWithTick(top, height, { unit: "plain", shape: "lines", whole }), expected, `${top}`);
  }
});
