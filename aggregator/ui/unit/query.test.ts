/** What the page understands of queries: errors' places, selectors, completion. */
import assert from "node:assert/strict";
import { test } from "node:test";
import { contextAt } from "../src/editor/complete";
import {
  findsOf,
  selectorAndFilters,
  volumeQuery,
  withField,
  withLineFilter,
  withMatcher,
} from "../src/logs/logql";
import { findPosition, marker } from "../src/position";

test("an error's place is found and marked", () => {
  const prometheus = 'invalid parameter "query": 1:5: parse error: unexpected "}"';
  assert.deepEqual(findPosition(prometheus, "sum(}"), { line: 1, column: 5 });
  assert.deepEqual(findPosition("parse error at line 2, col 3: syntax error", "a\nbcd"), {
    line: 2,
    column: 3,
  });
  assert.deepEqual(findPosition("1:4: parse error: unclosed", "sum"), { line: 1, column: 4 });
  assert.equal(findPosition("1:99: parse error: beyond", "sum"), null);
  assert.equal(findPosition("query timed out", "sum"), null);
  assert.equal(marker("a\n\tbcd", { line: 2, column: 3 }), "\tbcd\n\t ^");
});

test("a log query's selector and line filters are found", () => {
  const cases: [string, string | null][] = [
    ['{a="b"}', '{a="b"}'],
    [' {a="}"} |= "x" | json', ' {a="}"} |= "x"'.trimStart()],
    ['{a="b"} |= `x|json` != "y" |~ "z" or "w" | logfmt | l="e"', '{a="b"} |= `x|json` != "y" |~ "z" or "w"'],
    ['{a="\\"}"} !~ "q\\"r"', '{a="\\"}"} !~ "q\\"r"'],
    ['rate({a="b"}[1m])', null],
    ['{a="b"', null],
    ['{a="b"} |= "open', '{a="b"}'],
  ];
  for (const [query, selected] of cases) assert.equal(selectorAndFilters(query), selected, query);
  assert.equal(volumeQuery('{a="b"} ', 60), 'sum(count_over_time({a="b"} [1m]))');
});

/** `|` stands for the caret. */
function context(text: string): unknown {
  const caret = text.indexOf("|");
  const found = contextAt(text.replace("|", ""), caret);
  return found === null ? null : { ...found.wanted, prefix: found.prefix };
}

test("what the caret asks for", () => {
  const cases: [string, unknown][] = [
    ["rat|", { kind: "name", prefix: "rat" }],
    ["{|", { kind: "label", prefix: "" }],
    ['{job="x",in|', { kind: "label", prefix: "in" }],
    ['{job="|', { kind: "value", label: "job", prefix: "" }],
    ['{job=~"no|"}', { kind: "value", label: "job", prefix: "no" }],
    ["sum by (|) (rate({}[5m]))", { kind: "label", prefix: "" }],
    ["sum by (a, mo|) (rate({}[5m]))", { kind: "label", prefix: "mo" }],
    ["rate({}[5m|", null],
    ['{a="b"} |= "te|', null],
    ["", null],
  ];
  for (const [text, wanted] of cases) {
    if (text.includes("|=")) {
      assert.equal(contextAt(text.slice(0, -1), text.length - 1), wanted, text);
    } else assert.deepEqual(context(text.includes("|") ? text : `${text}|`), wanted, text);
  }
});

test("a condition is added where it belongs, and the opposite is taken back", () => {
  assert.equal(withMatcher('{a="b"} |= "x"', "c", "=", 'd"'), '{a="b", c="d\\""} |= "x"');
  assert.equal(withMatcher('{a="b,}", c!="d"}', "c", "=", "d"), '{a="b,}", c="d"}');
  assert.equal(withMatcher('{a="b"}', "a", "=", "b"), '{a="b"}');
  assert.equal(withMatcher("{}", "a", "!=", "b"), '{a!="b"}');
  assert.equal(withMatcher('rate({a="b"}[1m])', "c", "=", "d"), 'rate({a="b"}[1m])');
  const json = withField('{a="b"}', "json", "level", "=", "warn");
  assert.equal(json, '{a="b"} | json | level="warn"');
  assert.equal(withField(json, "json", "rows", "!=", "7"), `${json} | rows!="7"`);
  assert.equal(withField(json, "json", "level", "!=", "warn"), '{a="b"} | json | level!="warn"');
  assert.equal(withLineFilter('{a="b"} |= "x" | json', "|>", "<_> y"), '{a="b"} |= "x" |> "<_> y" | json');
});

test("the texts that a query looks for are known", () => {
  assert.deepEqual(findsOf('{a="b"} |= "x\\"y" or `z` != "no" |~ "re" | json'), ['x"y', "z"]);
  assert.deepEqual(findsOf("rate({}[1m])"), []);
});
