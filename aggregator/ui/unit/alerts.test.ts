/** Rules and alerts, and a pod's events: read from what others wrote. */
import assert from "node:assert/strict";
import { test } from "node:test";
import { filtered, groupsOf, stretchesOf } from "../src/alerts/rules";
import { eventOf, newestOfEach, podLogQuery, troublesOf, type Container, type PodFacts } from "../src/pod/load";
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
      metadata: { uid: "u" },
      reason: "r",
      message: "m",
      type: "Warning",
      count: 2,
    });
  // As our own output sends it: the message is the line, the rest stands beside it as texts.
  const { involvedObject, metadata, ...rest } = JSON.parse(event("p", "n"));
  const fields = {
    type: rest.type,
    reason: rest.reason,
    count: "2",
    involvedObject: JSON.stringify(involvedObject),
    metadata: JSON.stringify(metadata),
  };
  assert.deepEqual(eventOf("m", fields, "n", "p"), eventOf(event("p", "n"), {}, "n", "p"));
  assert.equal(eventOf("m", fields, "n", "p2"), null);
  assert.deepEqual(eventOf(event("p", "n"), {}, "n", "p"), {
    uid: "u",
    type: "Warning",
    reason: "r",
    message: "m",
    count: 2,
  });
  assert.notEqual(eventOf(event("p"), {}, "n", "p"), null);
  for (const line of [event("p", "other"), event("p2", "n"), "{", "null", '{"involvedObject":3}', "text"])
    assert.equal(eventOf(line, {}, "n", "p"), null, line);
});

test("of an event that goes on the newest state is shown, and events without a uid are all there", () => {
  const event = (uid: string, count: number) => ({ key: `${uid} ${count}`, time_ns: "1", uid, type: "", reason: "", message: "", count });
  const shown = newestOfEach([event("a", 3), event("b", 1), event("", 1), event("a", 2), event("", 1), event("b", 1)]);
  assert.deepEqual(
    shown.map(({ uid, count }) => `${uid}${count}`),
    ["a3", "b1", "1", "1"],
  );
});

test("what is wrong with a pod is said with its reason", () => {
  const container = (name: string, more: Partial<Container>): Container => ({
    name,
    image: "",
    state: "running",
    bad: false,
    restarts: 0,
    ended: "",
    cpu: null,
    cpuLimit: null,
    memory: null,
    memoryLimit: null,
    throttled: null,
    ...more,
  });
  const keys = (
    containers: Container[],
    more: Partial<PodFacts> = {},
    events: { reason: string; message: string }[] = [],
  ) =>
    troublesOf({ info: {}, labels: {}, phase: "Running", started_s: null, gone: false, seen_s: null, containers, ...more }, events).map(
      ({ key, values }) => `${key} ${Object.values(values).join(" ")}`.trim(),
    );
  const crash = { state: "CrashLoopBackOff", bad: true, restarts: 4 };
  for (const [containers, expected] of [
    [[container("a", {})], []],
    [[container("a", { throttled: 0.98, cpuLimit: 0.06 })], ["pod.why_throttled a 60m 98"]],
    [[container("a", { throttled: 0.1 })], []],
    [[container("a", { ...crash, ended: "Error · 1" })], ["pod.why_crash a 4 Error · 1"]],
    [
      [container("a", { ...crash, ended: "OOMKilled · 137", memoryLimit: 2 ** 24 })],
      ["pod.why_oom a 16 MiB", "pod.why_crash a 4 OOMKilled · 137"],
    ],
    [[container("a", { memory: 95, memoryLimit: 100 })], ["pod.why_full a 100 B 95"]],
    [[container("a", { state: "ImagePullBackOff", bad: true })], ["pod.why_waits a ImagePullBackOff"]],
  ] as [Container[], string[]][])
    assert.deepEqual(keys(containers), expected);
  assert.deepEqual(keys([], { phase: "Pending" }), ["pod.why_pending"]);
  const refused = { reason: "FailedScheduling", message: "0/1 nodes are available: 1 Insufficient cpu." };
  assert.deepEqual(keys([], { phase: "Pending" }, [{ reason: "Pulled", message: "" }, refused]), [
    `pod.why_unschedulable ${refused.message}`,
  ]);
  assert.deepEqual(keys([container("a", { throttled: 1 })], { gone: true }), []);
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
