/** The address and the state it stands for. */
import assert from "node:assert/strict";
import { test } from "node:test";
import { formatHash, link, pageState, parseHash, queryLink, zoomed, type State } from "../src/state";

test("a state that is written is read back", () => {
  const states: State[] = [
    pageState("cluster"),
    pageState("metrics"),
    { ...pageState("node", { node: "a b&c=#?" }), range_s: 3600 },
    zoomed(pageState("cluster", { tab: "pods", sort: "-cpu" }), 1795245000, 1795245505),
    { ...pageState("cluster"), live: false },
    { ...pageState("metrics", { q: 'rate({a="%?#&\n+"}[5m]) / 2', q2: "up", view: "table" }), live: true },
    { ...pageState("logs", { q: "{}", limit: "1000" }), end_s: 5 },
    pageState("pod", { ns: "観測", pod: "x" }),
  ];
  for (const state of states) assert.deepEqual(parseHash(formatHash(state)), state, formatHash(state));
});

test("any address reads as a valid state", () => {
  for (const hash of ["", "#", "#/", "#/nope", "#main", "#/?range=x&end=-1", "#/?end=NaN", "#/toString"]) {
    assert.deepEqual(parseHash(hash), pageState("cluster"), hash);
  }
  for (const hash of ["#/metrics", "#/metrics?range=0s&lang=sql&pie=1", "#/metrics?%", "#/explore"]) {
    assert.deepEqual(parseHash(hash), pageState("metrics"), hash);
  }
  assert.equal(parseHash("#/?range=9999w").range_s, 366 * 86400);
});

test("links of earlier versions are understood", () => {
  assert.deepEqual(parseHash("#/explore?lang=logql&q=%7B%7D"), pageState("logs", { q: "{}" }));
  assert.deepEqual(parseHash("#/explore?lang=promql&q=up"), pageState("metrics", { q: "up" }));
});

test("defaults are not written", () => {
  assert.equal(formatHash(pageState("cluster")), "#/");
  assert.equal(link("logs", { q: "", limit: "" }), "#/logs");
  assert.equal(queryLink("logql", "{a}", pageState("logs")), "#/logs?q=%7Ba%7D");
});
