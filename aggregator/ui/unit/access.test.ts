/** What `api/v1/access/me` may say. */
import assert from "node:assert/strict";
import { test } from "node:test";
import { readMe } from "../src/access/session";

test("answers are read, and one that is none lets nobody be somebody", () => {
  const me = readMe({
    data: { enabled: true, signedIn: true, name: "a", role: "viewer", rights: ["read"], namespaces: ["x"], tenants: ["t"] },
  });
  assert.deepEqual([me.signedIn, me.role, me.rights, me.tenants], [true, "viewer", ["read"], ["t"]]);
  const nobody = readMe({ data: { enabled: true, signedIn: false, rights: [] } });
  assert.deepEqual([nobody.enabled, nobody.signedIn, nobody.rights], [true, false, []]);
  for (const other of [null, {}, { data: { rights: [1] } }]) {
    const me = readMe(other);
    assert.deepEqual([me.enabled, me.signedIn, me.rights, me.tenants], [false, true, [], null]);
  }
});
