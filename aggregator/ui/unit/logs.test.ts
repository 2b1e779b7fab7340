/** Log lines: order, levels, what is shown. */
import assert from "node:assert/strict";
import { test } from "node:test";
import { entriesOf, merged, origin, parsedFields } from "../src/logs/entries";
import { exported } from "../src/logs/export";
import { fieldsOf, topValues } from "../src/logs/fields";
import { parseHistory, withPast } from "../src/history";
import { levelOf, levelOfCount } from "../src/logs/level";
import { barsOf, firstQuery } from "../src/logs/load";
import { segmentsOf, visible } from "../src/logs/segments";
import { templates } from "../src/logs/patterns";
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
  assert.deepEqual([entries[0]?.stream, entries[0]?.fields], [{ pod: "b" }, { traceID: "t" }]);
  assert.equal(new Set(entries.map(({ key }) => key)).size, 4);
});

test("colours become classes, hidden characters are written out, markup stays text", () => {
  assert.deepEqual(segmentsOf("\u001b[1;31mred\u001b[0m <b>\u001b[2K"), [
    { text: "red", class: "ansi-red ansi-bold" },
    { text: " <b>", class: "" },
  ]);
  const shown = (line: string) => segmentsOf(line).map(({ text, class: name }) => `${name}:${text}`);
  assert.deepEqual(shown("a\u202eb\u0000\tc"), [":a", "escape:\\u202e", ":b", "escape:\\x00", ":\tc"]);
  assert.deepEqual(shown("\ud800x"), ["escape:\\ud800", ":x"]);
  assert.equal(visible("😀 観測 \u200b\u{e0041}"), "😀 観測 \\u200b\\u{e0041}");
  assert.deepEqual(segmentsOf("a.b axb", ["a.b"]), [
    { text: "a.b", class: "mark" },
    { text: " axb", class: "" },
  ]);
});

test("pages of lines are put together without doubles", () => {
  const entries = (...times: string[]) =>
    entriesOf([{ stream: {}, values: times.map((time) => [time, "x"] as const) }], 9);
  const all = merged(entries("3", "2"), entries("2", "1"), 9);
  assert.deepEqual(
    all.map(({ time_ns }) => time_ns),
    ["3", "2", "1"],
  );
  assert.equal(merged(entries("3", "2"), entries("1"), 2).length, 2);
});

test("a line is taken apart as LogQL would", () => {
  const read = (line: string) => {
    const { parser, fields } = parsedFields(line);
    return [parser, Object.fromEntries(fields)];
  };
  assert.deepEqual(read('{"a":{"b-c":1,"d":[1]},"e":"x","f":null}'), ["json", { a_b_c: "1", e: "x" }]);
  assert.deepEqual(read('level=info msg="a \\"b\\"" n=3'), [
    "logfmt",
    { level: "info", msg: 'a "b"', n: "3" },
  ]);
  assert.deepEqual(read("GET /?a=b"), ["", {}]);
  assert.deepEqual(read("{broken"), ["", {}]);
});

test("fields are counted, labels of streams first", () => {
  const entries = entriesOf(
    [
      {
        stream: { pod: "a" },
        values: [
          ["2", '{"level":"warn","pod":"x"}'],
          ["1", '{"level":"info"}'],
          ["0", '{"level":"info"}'],
        ],
      },
    ],
    9,
  );
  const fields = fieldsOf(entries);
  assert.deepEqual(
    fields.map(({ name, kind, parser, count }) => [name, kind, parser, count]),
    [
      ["pod", "stream", "", 3],
      ["level", "field", "json", 3],
    ],
  );
  assert.deepEqual(fields[1] && topValues(fields[1], 1), [["info", 2]]);
});

test("exported lines keep every character, and no cell is a formula", () => {
  const entries = entriesOf([{ stream: { pod: 'a"b' }, values: [["1000000001", "=1+1,\n x"]] }], 9);
  assert.equal(exported(entries, "text"), "=1+1,\n x\n");
  assert.equal(
    exported(entries, "csv"),
    `time,pod,line\r\n1970-01-01T00:00:01.000000001Z,"a""b","'=1+1,\n x"\r\n`,
  );
  assert.deepEqual(JSON.parse(exported(entries, "json")), {
    time: "1970-01-01T00:00:01.000000001Z",
    line: "=1+1,\n x",
    stream: { pod: 'a"b' },
    fields: {},
  });
});

test("patterns of several levels are one, and one that began lately is new", () => {
  const grid = { start_s: 0, end_s: 100, step_s: 10, at_s: 100 };
  const sample = (pattern: string, level: string, samples: [number, number][]) => ({
    pattern,
    level,
    samples,
  });
  const found = templates(
    [sample("a <_>", "info", [[10, 1]]), sample("a <_>", "warn", [[90, 2]]), sample("b", "", [[80, 9]])],
    grid,
  );
  assert.deepEqual(
    found.map(({ pattern, count, fresh }) => [pattern, count, fresh]),
    [
      ["b", 9, true],
      ["a <_>", 3, false],
    ],
  );
  const since = (since_s: number) => templates([sample("b", "", [[80, 9]])], grid, since_s)[0]?.fresh;
  assert.deepEqual([since(80), since(81), since(0)], [true, false, true]);
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
    [{}, "\u001b[32mINFO\u001b[0m x", "info"],
    [{}, "[CRITICAL] down", "fatal"],
    [{}, "GET /errors 200", "unknown"],
    [{}, `${"x".repeat(400)} ERROR`, "unknown"],
  ];
  for (const [labels, line, level] of cases) assert.equal(levelOf(labels, line), level, line);
});

test("levels that a count was made by are known", () => {
  const cases: [Record<string, string>, string][] = [
    [{ level: "warn", line_level: "error" }, "warn"],
    [{ line_level: "E0512 10:" }, "error"],
    [{ line_level: "Warning" }, "warn"],
    [{}, "unknown"],
  ];
  for (const [labels, level] of cases) assert.equal(levelOfCount(labels), level);
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

test("the first query is one that has lines in the window", async () => {
  const asked: URLSearchParams[] = [];
  /** The names of labels within a window, and of all times. */
  const first = async (within: string[], ever: string[]): Promise<string | null> => {
    asked.length = 0;
    const answer = (url: URL): Promise<Response> => {
      asked.push(url.searchParams);
      const data = url.searchParams.has("start") ? within : ever;
      return Promise.resolve(Response.json({ status: "success", data }));
    };
    const run = { meter: null as never, signal: new AbortController().signal };
    const before = [globalThis.fetch, globalThis.document] as const;
    Object.assign(globalThis, { fetch: answer, document: { baseURI: "http://a/" } });
    try {
      return await firstQuery({ range_s: 900, end_s: 1_000_000 }, run);
    } finally {
      Object.assign(globalThis, { fetch: before[0], document: before[1] });
    }
  };
  // The pods of an old installation have no lines any more.
  assert.equal(await first(["filename", "host"], ["filename", "host", "namespace"]), '{filename=~".+"}');
  assert.equal(asked.length, 1);
  assert.equal(asked[0]?.get("start"), "999100000000001");
  assert.equal(asked[0]?.get("end"), "1000000000000001");
  assert.equal(await first([], ["namespace"]), '{namespace=~".+"}');
  assert.equal(await first([], ["__internal"]), null);
});

test("history keeps each query once, newest first, and survives odd storage", () => {
  const up = { language: "promql", query: "up" } as const;
  const down = { language: "promql", query: "down" } as const;
  assert.deepEqual(withPast([down, up], up), [up, down]);
  for (const text of [null, "", "{", "{}", "[1,null,{}]", '[{"query":1}]'])
    assert.deepEqual(parseHistory(text), [], String(text));
  assert.deepEqual(parseHistory(JSON.stringify([up, { language: "x", query: "y" }])), [up]);
});

test("the bars of a histogram count the window and nothing else", () => {
  const now_s = 1_000_003;
  for (const [range_s, end_s, step_s] of [
    [900, null, 10],
    [900, 1_000_003, 10],
    [900, 1_000_000, 10],
    [895, 1_000_000, 10],
    [60, 999_999, 1],
    [3, 1_000_004, 10],
    [12, 1_000_004, 10],
  ] as const) {
    const { grid, drawn, whole, parts } = barsOf({ range_s, end_s }, step_s, now_s);
    const end = end_s ?? now_s + 2;
    const start = end - range_s;
    // Each second of the window lies in one bar.
    const counted = new Map<number, number>();
    const count = (bar_s: number, at_s: number, length_s: number): void => {
      assert.ok(length_s > 0 && at_s <= bar_s && at_s - length_s >= bar_s - step_s, `${range_s} ${end_s}`);
      for (let second = at_s - length_s + 1; second <= at_s; second += 1) {
        counted.set(second, (counted.get(second) ?? 0) + 1);
        assert.equal(Math.ceil(second / step_s) * step_s, bar_s);
      }
    };
    if (whole !== null)
      for (let at = whole.start_s; at <= whole.end_s; at += step_s) count(at, at, step_s);
    for (const { bar_s, at_s, length_s } of parts) count(bar_s, at_s, length_s);
    const last = end_s === null ? grid.end_s : end;
    assert.deepEqual([drawn.start_s, drawn.end_s], [start, last]);
    assert.equal(counted.size, last - start);
    assert.ok([...counted.values()].every((times) => times === 1));
    assert.ok(grid.start_s > start && grid.start_s <= start + step_s && grid.end_s >= end);
  }
});
