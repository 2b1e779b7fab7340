/** Durations, steps and grids. */
import assert from "node:assert/strict";
import { test } from "node:test";
import {
  chooseStep,
  formatDuration,
  gridOf,
  isoNanoseconds,
  parseDuration,
  rateWindow,
} from "../src/time";

test("durations are read and written", () => {
  const cases: [string, number][] = [
    ["15m", 900],
    ["1h30m", 5400],
    ["24h", 86400],
    ["90s", 90],
    ["2w", 1209600],
  ];
  for (const [text, seconds] of cases) assert.equal(parseDuration(text), seconds, text);
  for (const text of ["", "15", "m", "-5m", "1.5h", "0s", "1y", "5m "])
    assert.equal(parseDuration(text), null, text);
  assert.equal(formatDuration(5400), "1h30m");
  assert.equal(formatDuration(86400), "1d");
  for (const seconds of [1, 59, 61, 3600, 90061, 1209600]) {
    assert.equal(parseDuration(formatDuration(seconds)), seconds);
  }
});

test("a step is readable and gives no more points than pixels allow", () => {
  const cases: [number, number, number, number][] = [
    [900, 600, 5, 5],
    [3600, 600, 5, 20],
    [86400, 600, 5, 600],
    [900, 900, 1, 5],
    [60, 3000, 1, 1],
    [366 * 86400, 300, 1, 604800],
  ];
  for (const [range, width, least, step] of cases) assert.equal(chooseStep(range, width, least), step);
  for (const range of [1, 60, 7200, 1e6, 3e7]) {
    assert.ok(range / chooseStep(range, 900) <= 300, `${range}`);
  }
});

test("a grid lies on its step and never in the future", () => {
  assert.deepEqual(gridOf({ range_s: 900, end_s: null }, 10, 1234567), {
    start_s: 1233660,
    end_s: 1234560,
    step_s: 10,
    at_s: 1234567,
  });
  assert.deepEqual(gridOf({ range_s: 60, end_s: 120 }, 60, 999), {
    start_s: 60,
    end_s: 120,
    step_s: 60,
    at_s: 120,
  });
  // Shorter than the step: the last point is fresh, and the points keep their distance.
  assert.deepEqual(gridOf({ range_s: 3600, end_s: null }, 150, 1234567.8, 5), {
    start_s: 1230965,
    end_s: 1234565,
    step_s: 150,
    at_s: 1234567,
  });
});

test("a rate covers four scrapes and the whole step", () => {
  assert.equal(rateWindow(5), "1m");
  assert.equal(rateWindow(300), "5m15s");
});

test("nanoseconds keep all digits", () => {
  assert.equal(isoNanoseconds("1795245505074000123"), "2026-11-21T07:18:25.074000123Z");
});
