/** The address and the state it stands for. */
import assert from "node:assert/strict";
import { test } from "node:test";
import { EXPLORE, exploreLink, formatHash, OVERVIEW, parseHash, type State } from "../src/state";

test("a state that is written is read back", () => {
  const states: State[] = [
    OVERVIEW,
    EXPLORE,
    { ...OVERVIEW, node: "a b&c=#?", range_s: 3600 },
    { ...OVERVIEW, range_s: 437, end_s: 1795245505, live: false },
    { ...OVERVIEW, live: false },
    { ...EXPLORE, query: 'rate({a="%?#&\n+"}[5m]) / 2', view: "table", live: true },
    { ...EXPLORE, language: "logql", query: "{}", limit: 1000, end_s: 5 },
  ];
  for (const state of states) assert.deepEqual(parseHash(formatHash(state)), state, formatHash(state));
});

test("any address reads as a valid state", () => {
  for (const hash of ["", "#", "#/", "#/nope", "#main", "#/?range=x&end=-1", "#/?end=NaN"]) {
    assert.deepEqual(parseHash(hash), OVERVIEW, hash);
  }
  for (const hash of ["#/explore", "#/explore?limit=7&range=0s&lang=sql&view=pie", "#/explore?%"]) {
    assert.deepEqual(parseHash(hash), EXPLORE, hash);
  }
  assert.equal(parseHash("#/?range=9999w").range_s, 366 * 86400);
});

test("defaults are not written", () => {
  assert.equal(formatHash(OVERVIEW), "#/");
  assert.equal(exploreLink("logql", "{a}", EXPLORE), "#/explore?lang=logql&q=%7Ba%7D");
});
