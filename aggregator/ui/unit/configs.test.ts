import assert from "node:assert/strict";
import { test } from "node:test";
import { newestConfig, usualConfig } from "../src/kansoku/configs";

const seen = (node: string, sha256: string, at_s: number) => ({
  metric: { node, sha256, file: "/etc/agent.conf" },
  value: [at_s, String(at_s)] as const,
});

test("after a reload the newest configuration is the one that runs", () => {
  assert.equal(newestConfig([]), null);
  const after = [seen("a", "old", 100), seen("a", "new", 160), seen("a", "older", 20)];
  assert.deepEqual(newestConfig(after), { sha256: "new", file: "/etc/agent.conf" });
});

test("the usual configuration is that of most nodes", () => {
  assert.equal(usualConfig([]), null);
  const three = [seen("a", "x", 1), seen("b", "x", 1), seen("c", "y", 1)];
  assert.equal(usualConfig(three), "x");
  assert.equal(usualConfig(three.slice(1)), null, "one each");
  // A node that was reloaded counts once, by its newest.
  assert.equal(usualConfig([...three.slice(1), seen("b", "y", 2)]), "y");
});
