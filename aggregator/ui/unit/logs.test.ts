/** Log lines: order, levels, what is shown. */
import assert from "node:assert/strict";
import { test } from "node:test";
import { displayed, entriesOf, origin } from "../src/entries";
import { parseHistory, withPast } from "../src/history";
import { levelOf } from "../src/level";
import { logSelectors } from "../src/panels";

test("lines of all streams are one list, newest first, each with its own key", () => {
  const entries = entriesOf(
    [
      {
        stream: { pod: "a" },
        values: [
          ["1795245505000000002", "two"],
          ["1795245505000000001", "one"],
          ["1795245505000000001", "one"],
        ],
      },
      {
        stream: { pod: "b" },
        values: [
          ["1795245505000000003", "three", { traceID: "t" }],
          ["999", "old"],
        ],
      },
    ],
    4,
  );
  assert.deepEqual(
    entries.map(({ line }) => line),
    ["three", "two", "one", "one"],
  );
  assert.deepEqual(entries[0]?.labels, { pod: "b", traceID: "t" });
  assert.equal(new Set(entries.map(({ key }) => key)).size, 4);
});

test("colours of terminals are not shown, long lines are cut, markup stays", () => {
  assert.equal(displayed("\u001b[31mred\u001b[0m <b>", 100), "red <b>");
  assert.equal(displayed("abcdef", 3), "abc…");
});

test("the origin is the shortest name that says enough", () => {
  assert.equal(origin({ namespace: "n", pod: "p", container: "c" }), "p/c");
  assert.equal(origin({ filename: "/var/log/syslog", host: "h" }), "syslog");
  assert.equal(origin({ service: "x" }), "x");
  assert.equal(origin({}), "");
});

test("levels are read from labels, fields and words", () => {
  const cases: [Record<string, string>, string, string][] = [
    [{ level: "ERR" }, "info", "error"],
    [{ detected_level: "warning" }, "", "warn"],
    [{}, '{"ts":1,"level":"error"}', "error"],
    [{}, "level=debug msg=x error=none", "debug"],
    [{}, "E0512 10:11:12.1 1 a.go:1] x", "error"],
    [{}, "I0512 10:11:12.1 1 a.go:1] error", "info"],
    [{}, "2026-01-01 WARN slow", "warn"],
    [{}, "[CRITICAL] down", "fatal"],
    [{}, "GET /errors 200", "unknown"],
    [{}, `${"x".repeat(400)} ERROR`, "unknown"],
  ];
  for (const [labels, line, level] of cases) assert.equal(levelOf(labels, line), level, line);
});

test("selectors of the newest lines are disjoint and keep to the node", () => {
  assert.deepEqual(logSelectors(["namespace", "pod", "node", "filename", "host", "job"], "n.1"), [
    '{namespace=~".+", node="n.1"}',
    '{filename=~".+", namespace="", host="n.1"}',
    '{job=~".+", namespace="", filename="", host=~"|n\\\\.1"}',
  ]);
  assert.deepEqual(logSelectors(["app"], ""), ['{app=~".+"}']);
  assert.deepEqual(logSelectors([], ""), []);
});

test("history keeps each query once, newest first, and survives odd storage", () => {
  const up = { language: "promql", query: "up" } as const;
  const down = { language: "promql", query: "down" } as const;
  assert.deepEqual(withPast([down, up], up), [up, down]);
  for (const text of [null, "", "{", "{}", "[1,null,{}]", '[{"query":1}]'])
    assert.deepEqual(parseHistory(text), [], String(text));
  assert.deepEqual(parseHistory(JSON.stringify([up, { language: "x", query: "y" }])), [up]);
});
