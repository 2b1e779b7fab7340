/** Rules and alerts, and a pod's events: read from what others wrote. */
import assert from "node:assert/strict";
import { test } from "node:test";
import { filtered, groupsOf, stretchesOf } from "../src/alerts/rules";
import { eventOf, podLogQuery } from "../src/pod/load";
import { expressionOf, POD_PANELS } from "../src/pod/panels";

const ANSWER = {
  groups: [
    {
      name: "g",
      file: "a.yml",
      interval: 30,
      rules: [
        {
          type: "alerting",
          name: "Down",
          query: "up == 0",
          state: "firing",
          duration: 60,
          health: "ok",
          lastEvaluation: "2026-01-01T00:00:00Z",
          alerts: [
            { state: "firing", labels: { pod: "web-1" }, activeAt: "0001-01-01T00:00:00Z", value: "0e+00" },
          ],
        },
        { type: "recording", name: "a:b", query: "sum(a)", health: "err", lastError: "boom" },
      ],
    },
  ],
};

test("rules are read, and odd answers are not taken on trust", () => {
  const [group] = groupsOf(ANSWER);
  assert.deepEqual(
    group?.rules.map(({ name, kind, state, for_s, health, error }) => [
      name,
      kind,
      state,
      for_s,
      health,
      error,
    ]),
    [
      ["Down", "alerting", "firing", 60, "ok", ""],
      ["a:b", "recording", "inactive", 0, "err", "boom"],
    ],
  );
  assert.equal(group?.rules[0]?.alerts[0]?.active_s, null);
  assert.equal(group?.rules[0]?.evaluated_s, Date.UTC(2026, 0) / 1000);
  for (const odd of [null, 3, {}, { groups: 3 }, { groups: [null] }, { groups: [{ rules: [7] }] }])
    groupsOf(odd);
});

test("rules are filtered by state and by the labels of their alerts", () => {
  const names = (filter: string, state: string) =>
    filtered(groupsOf(ANSWER), filter, state).flatMap(({ rules }) => rules.map(({ name }) => name));
  assert.deepEqual(names("", ""), ["Down", "a:b"]);
  assert.deepEqual(names("WEB-1", ""), ["Down"]);
  assert.deepEqual(names("", "inactive"), []);
  assert.deepEqual(names("boom a.yml", ""), ["a:b"]);
});

test("an alert's past breaks where it was inactive", () => {
  const at = (...times: number[]) => times.map((time) => [time, "1"] as const);
  const past = stretchesOf(
    [
      { metric: { alertname: "Down", alertstate: "firing" }, values: at(20, 30, 80) },
      { metric: { alertname: "Down", alertstate: "pending" }, values: at(10) },
    ],
    0,
    100,
    10,
  );
  assert.deepEqual(past.get("Down"), [
    { from: 0.1, to: 0.2, state: "pending" },
    { from: 0.2, to: 0.4, state: "firing" },
    { from: 0.8, to: 0.9, state: "firing" },
  ]);
});

test("events of other objects and lines that are no events are left out", () => {
  const event = (name: string, namespace?: string) =>
    JSON.stringify({
      involvedObject: { name, namespace },
      reason: "r",
      message: "m",
      type: "Warning",
      count: 2,
    });
  assert.deepEqual(eventOf(event("p", "n"), "n", "p"), {
    type: "Warning",
    reason: "r",
    message: "m",
    count: 2,
  });
  assert.notEqual(eventOf(event("p"), "n", "p"), null);
  for (const line of [event("p", "other"), event("p2", "n"), "{", "null", '{"involvedObject":3}', "text"])
    assert.equal(eventOf(line, "n", "p"), null, line);
});

test("a pod's queries name it, whatever its name", () => {
  assert.equal(podLogQuery('n"', "p", "", 'x"'), '{namespace="n\\"", pod="p"} |= "x\\""');
  for (const query of POD_PANELS.flatMap(({ queries }) => queries)) {
    const text = expressionOf(query, 'pod="p"', "75s");
    assert.doesNotMatch(text, /\[W\]|[{,]S\}/);
    assert.ok(
      (text.match(/\{[^{}]*\}/g) ?? []).every((selector) => selector.includes('pod="p"')),
      text,
    );
  }
});
