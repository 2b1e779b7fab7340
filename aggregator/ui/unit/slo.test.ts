/** Service level objectives: budgets, factors, and rules that Prometheus' own tool takes. */
import assert from "node:assert/strict";
import { test } from "node:test";
import {
  budgetLeft,
  budgetOf,
  BURNS,
  EMPTY,
  errorRatio,
  factorOf,
  ruleFiles,
  sloOf,
  wrongWith,
  type Slo,
} from "../src/slo/model";

const SLO: Slo = { ...EMPTY, title: "Checkout" };

test("factors are those of the workbook, and follow the window", () => {
  assert.deepEqual(
    BURNS.map((burn) => factorOf(burn, 30)),
    [14.4, 6, 3, 1],
  );
  assert.deepEqual(
    BURNS.map((burn) => factorOf(burn, 7)),
    [3.36, 1.4, 0.7, 0.233333],
  );
  assert.equal(budgetOf(SLO), 0.001);
});

test("no events are no errors, and what is unknown stays unknown", () => {
  assert.equal(errorRatio(SLO, null, 10), 0);
  assert.equal(errorRatio(SLO, 1, 10), 0.1);
  assert.equal(errorRatio({ ...SLO, counts: "good" }, 9, 10), 0.09999999999999998);
  assert.equal(errorRatio(SLO, 1, 0), null);
  assert.equal(errorRatio(SLO, 1, null), null);
});

test("the budget goes down by the errors among the events of the whole window", () => {
  const slo = { ...SLO, target: 90 };
  // 400 events allow 40 bad ones.
  const left = budgetLeft(slo, [null, 10, null, 20], [null, 100, 100, 200]);
  assert.deepEqual(
    left.map((value) => (value === null ? null : Number(value.toFixed(6)))),
    [null, 0.75, 0.75, 0.25],
  );
  assert.deepEqual(budgetLeft(slo, [], [null, null]), [null, null]);
});

test("rules record each window and alert on two windows each", () => {
  const [file, ...others] = ruleFiles("checkout", SLO);
  assert.deepEqual(others, []);
  assert.equal(file?.yaml.match(/- record: /g)?.length, 7);
  assert.match(file?.yaml ?? "", /slo:error_ratio:rate1h\{slo="checkout"\} > \(14\.4 \* 0\.001\)/);
  assert.match(file?.yaml ?? "", /http_requests_total\[3d\]/);
  assert.doesNotMatch(file?.yaml ?? "", /\$window/);
});

test("an objective of logs has its ratios in LogQL and its alerts in PromQL", () => {
  const slo: Slo = {
    ...SLO,
    language: "logql",
    events: 'sum(rate({app="shop"} |= "error" [$window]))',
    total: 'sum(rate({app="shop"}[$window]))',
  };
  const files = ruleFiles("shop", slo);
  assert.deepEqual(
    files.map(({ name, language }) => [name, language]),
    [
      ["slo-shop-logs.yaml", "logql"],
      ["slo-shop.yaml", "promql"],
    ],
  );
});

test("what is no objective reads as one that is wrong", () => {
  assert.deepEqual(wrongWith(SLO), []);
  assert.deepEqual(wrongWith(sloOf(null)), ["slo.no_title", "slo.no_window"]);
  assert.deepEqual(wrongWith(sloOf({ ...SLO, target: 100, window_days: 0.5 })), ["slo.bad_target", "slo.bad_days"]);
});
