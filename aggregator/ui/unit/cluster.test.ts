/** The rows of the cluster page. */
import assert from "node:assert/strict";
import { test } from "node:test";
import { NODE_MEASURES, POD_MEASURES, queryOf } from "../src/cluster/measures";
import { arrange, cellOf, groupRows, growth, increases, podsOf, together, withWriters, type Meta } from "../src/cluster/rows";

const pod = (namespace: string, name: string, more = {}) => ({ namespace, pod: name, node: "n1", ...more });
const META: Meta = {
  info: [pod("shop", "web-1"), pod("shop", "web-2"), pod("shop", "old")],
  alive: [pod("shop", "web-1"), pod("shop", "web-2")],
  owners: ["web-1", "web-2"].map((name) =>
    pod("shop", name, { owner_kind: "ReplicaSet", owner_name: "web-abc" }),
  ),
  replicaSets: [{ namespace: "shop", replicaset: "web-abc", owner_kind: "Deployment", owner_name: "web" }],
  phases: [pod("shop", "web-1", { phase: "Running" }), pod("shop", "web-2", { phase: "Running" })],
  waiting: [pod("shop", "web-2", { container: "c", reason: "CrashLoopBackOff" })],
  ended: [
    pod("shop", "web-2", { container: "c", reason: "OOMKilled" }),
    pod("shop", "web-2", { container: "other", reason: "Completed" }),
  ],
};

test("pods know their workload and how they are", () => {
  const pods = podsOf(META, [pod("kube-system", "seen-only")]);
  assert.deepEqual(
    [...pods.values()].map(({ pod: name, kind, workload, state, status }) => [
      name,
      kind,
      workload,
      state,
      status,
    ]),
    [
      ["web-1", "Deployment", "web", "ok", "Running"],
      ["web-2", "Deployment", "web", "bad", "CrashLoopBackOff (OOMKilled)"],
      ["old", "", "old", "gone", ""],
      ["seen-only", "", "seen-only", "gone", ""],
    ],
  );
  // Without kube-state nobody knows what was deleted.
  const none: Meta = { info: [], alive: [], owners: [], replicaSets: [], phases: [], waiting: [], ended: [] };
  assert.equal(podsOf(none, [pod("a", "b")]).get("a/b")?.state, "ok");
});

test("a pod that only its lines tell of is there, and metrics say more where there are some", () => {
  const known = podsOf(META, []);
  const writers = podsOf({ ...META, info: [], alive: [] }, [pod("shop", "brief"), pod("shop", "old")]);
  const all = withWriters(known, writers);
  assert.deepEqual([...all.keys()].sort(), ["shop/brief", "shop/old", "shop/web-1", "shop/web-2"]);
  assert.deepEqual([all.get("shop/brief")?.state, all.get("shop/old")?.state], ["ok", "gone"]);
});

test("a counter's growth counts resets from zero", () => {
  assert.equal(growth([1, 3, null, 4, 1, 2]), 5);
  assert.equal(growth([null, 7]), 0);
  assert.equal(growth([null]), null);
  assert.deepEqual(increases([1, 3, null, 4, 1, 2]), [0, 2, null, 1, 1, 1]);
});

test("groups are sums, or the greatest, and count growth for each counter", () => {
  assert.deepEqual(
    together(
      [
        [1, null, 3],
        [null, null, 4],
      ],
      false,
    ),
    [1, null, 7],
  );
  assert.deepEqual(
    together(
      [
        [1, null, 3],
        [null, null, 4],
      ],
      true,
    ),
    [1, null, 4],
  );
  const pods = podsOf(META, []);
  const measured = new Map([
    [
      "cpu",
      new Map([
        ["shop/web-1", [1, 1, 1]],
        ["shop/web-2", [2, 2, 3]],
      ]),
    ],
    [
      "throttled",
      new Map([
        ["shop/web-1", [0.1, 0.1, 0.1]],
        ["shop/web-2", [0.2, 0.2, 0.5]],
      ]),
    ],
    [
      "restarts",
      new Map<string, (number | null)[]>([
        ["shop/web-1", [5, 6, 6]],
        ["shop/web-2", [9, 9, null]],
      ]),
    ],
  ]);
  const rows = groupRows(pods, POD_MEASURES, measured, ({ workload }) => ({
    key: workload,
    name: workload,
    detail: "",
    labels: {},
  }));
  const web = rows.find(({ name }) => name === "web");
  assert.deepEqual(
    ["cpu", "throttled", "restarts"].map((name) => web?.cells.get(name)?.value),
    [4, 0.5, 1],
  );
  assert.deepEqual([web?.state, web?.status, web?.pods.length], ["bad", "CrashLoopBackOff (OOMKilled)", 2]);
});

test("rows are filtered by all words and sorted, what is wrong first", () => {
  const pods = podsOf(META, []);
  const rows = groupRows(pods, [], new Map(), ({ namespace, pod: name }) => ({
    key: name,
    name,
    detail: namespace,
    labels: {},
  }));
  const names = (filter: string, sort: string) => arrange(rows, filter, sort).map(({ name }) => name);
  assert.deepEqual(names("", "status"), ["web-2", "web-1", "old"]);
  assert.deepEqual(names("", "-name"), ["web-2", "web-1", "old"]);
  assert.deepEqual(names("SHOP crash", ""), ["web-2"]);
  assert.deepEqual(names("nothing", ""), []);
});

test("matchers stand in every selector, with no mark left over", () => {
  for (const measure of [...NODE_MEASURES, ...POD_MEASURES]) {
    const query = queryOf(measure, ',node="a"', ',namespace="b"', "75s");
    assert.doesNotMatch(query, /\[W\]|["!][SP]\}/, measure.name);
    const selectors = query.match(/\{[^{}]*\}/g)?.filter((text) => !/^\{4\}$/.test(text)) ?? [];
    assert.ok(selectors.length > 0 && selectors.every((text) => /node="a"|namespace="b"/.test(text)), query);
  }
});

test("no line that matched is none; no sample is not known", () => {
  const errors = NODE_MEASURES.find(({ name }) => name === "errors");
  const load = NODE_MEASURES.find(({ name }) => name === "load");
  assert.ok(errors !== undefined && load !== undefined);
  assert.deepEqual(cellOf(errors, [2, null, 1, null, null, null]), { value: 0, points: [2, 0, 1, 0, 0, 0] });
  assert.equal(cellOf(errors, [null, null]), null);
  assert.equal(cellOf(load, [2, null, null, null]), null);
  assert.deepEqual(cellOf(load, [2, 1, null, null])?.value, 1);
});
