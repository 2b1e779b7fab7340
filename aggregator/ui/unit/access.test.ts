/** What `api/v1/access/me` may say. */
import assert from "node:assert/strict";
import { test } from "node:test";
import { exitOf, readMe, readWays, refusal, type Me } from "../src/access/session";
import { failureOf, wayTo } from "../src/access/ways";

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

test("who may not see something is told why", () => {
  const who = (role: string, rights: Me["rights"], namespaces: string[] = []): Me => ({
    enabled: true,
    signedIn: true,
    name: "a",
    role,
    rights,
    namespaces,
    tenants: null,
  });
  const viewer = who("viewer", ["read", "read_all"]);
  const shop = who("viewer", ["read"], ["shop", "cart-.*"]);
  const agent = who("agent", ["ingest"]);
  assert.equal(refusal(null, "admin"), null);
  assert.equal(refusal({ ...agent, enabled: false, rights: [] }, "admin"), null);
  assert.equal(refusal(viewer, "read_all"), null);
  assert.deepEqual(refusal(viewer, "change"), { key: "access.other_role", holes: { role: "viewer" } });
  assert.deepEqual(refusal(shop, "read_all"), {
    key: "access.other_namespaces",
    holes: { namespaces: "shop, cart-.*" },
  });
  assert.equal(refusal(shop, "read"), null);
  // Without the restriction it would not be theirs either.
  assert.equal(refusal(shop, "change")?.key, "access.other_role");
  assert.equal(refusal(agent, "read")?.key, "access.other_role");
});

test("ways to sign in are read with nothing taken on trust", () => {
  const ways = readWays({
    data: {
      providers: [{ name: "a", label: "A", ready: true }, { name: "b", label: "B" }, { name: 1 }, null],
      passwords: false,
    },
  });
  assert.deepEqual(
    ways.providers.map(({ name, ready }) => [name, ready]),
    [
      ["a", true],
      ["b", false],
    ],
  );
  assert.equal(ways.passwords, false);
  for (const other of [null, {}, { data: { providers: 1 } }]) {
    assert.deepEqual(readWays(other), { providers: [], passwords: true });
  }
});

test("the way to a provider leads back to the same place, and out to the web only", () => {
  assert.equal(wayTo("a b", "#/logs?q=%7B%7D"), "api/v1/access/oidc/a%20b/login?return=%2Flogs%3Fq%3D%257B%257D");
  assert.equal(exitOf({ data: { redirect: "https://i/logout?x=1" } }), "https://i/logout?x=1");
  for (const other of [null, {}, { data: {} }, { data: { redirect: "javascript:alert(1)" } }]) {
    assert.equal(exitOf(other), "");
  }
});

test("a failed sign-in has words of the page's own, never the address's", () => {
  assert.equal(failureOf(""), "");
  assert.equal(failureOf("?sign_in=not_allowed"), "access.failed_not_allowed");
  for (const other of ["?sign_in=", "?sign_in=<b>", "?sign_in=constructor"]) {
    assert.equal(failureOf(other), "access.failed_failed");
  }
});
