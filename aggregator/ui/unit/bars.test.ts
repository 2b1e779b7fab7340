/** Ranked bars and the lines of charts. */
import assert from "node:assert/strict";
import { test } from "node:test";
import { fileSystemBars, rankingBars } from "../src/bars";
import type { Labels } from "../src/format";
import { orderLines, podLines } from "../src/lines";
import { toColumns } from "../src/matrix";
import { CHARTS, nodeOf, RANKINGS } from "../src/panels";
import { pageState, parseHash } from "../src/state";

const sample = (metric: Record<string, string>, value: string) => ({ metric, value: [0, value] as const });
const [cpu] = RANKINGS;
const columns = (...metrics: Record<string, string>[]) =>
  toColumns(
    { start_s: 0, end_s: 0, step_s: 1, at_s: 0 },
    metrics.map((metric) => ({ metric, values: [[0, "1"]] })),
  );

test("containers are ranked, named by what is known, and link to their chart", () => {
  assert.ok(cpu !== undefined);
  const id = "0123456789abcdef".repeat(4);
  const bars = rankingBars(
    cpu,
    [
      sample({ namespace: "n", pod: "p", container: "c" }, "0.5"),
      sample({ name: id, id: `/docker/${id}` }, "2"),
      sample({ id: "/system.slice/ssh.service" }, "1"),
      sample({ id: "/idle" }, "0"),
      sample({ id: "/odd" }, "NaN"),
    ],
    "1m",
    pageState("node"),
  );
  assert.deepEqual(
    bars.map(({ prefix, name, text, share }) => [prefix, name, text, share]),
    [
      ["docker", "0123456789ab", "2", 1],
      ["system.slice", "ssh.service", "1", 0.5],
      ["n", "p / c", "500m", 0.25],
    ],
  );
  const state = parseHash(bars[2]?.href ?? "");
  assert.equal(
    state.page === "metrics" && state.params.q,
    'rate(container_cpu_usage_seconds_total{container="c", namespace="n", pod="p"}[1m])',
  );
});

test("a device that is mounted twice is one file system, and a full one is marked", () => {
  const at = (device: string, mountpoint: string, value: string) => sample({ device, mountpoint }, value);
  const bars = fileSystemBars(
    [at("a", "/var/lib/x", "10"), at("a", "/", "10"), at("b", "/b", "75"), at("c", "/c", "1")],
    [at("a", "/var/lib/x", "100"), at("a", "/", "100"), at("b", "/b", "100"), at("c", "/c", "0")],
    pageState("node"),
  );
  assert.deepEqual(
    bars.map(({ name, share, high }) => [name, share, high]),
    [
      ["/", 0.9, true],
      ["/b", 0.25, false],
    ],
  );
});

test("modes of the CPU are stacked in a fixed order, devices share a colour above and below", () => {
  const [cpuPanel, , disk] = CHARTS;
  assert.ok(cpuPanel !== undefined && disk !== undefined);
  const modes = orderLines(cpuPanel, [columns({ mode: "zzz" }, { mode: "system" }, { mode: "user" })]);
  assert.deepEqual(
    modes.map(({ name }) => name),
    ["user", "system", "zzz"],
  );
  const devices = orderLines(disk, [columns({ device: "b" }, { device: "a" }), columns({ device: "a" })]);
  assert.deepEqual(
    devices.map(({ name, color, below }) => [name, color, below]),
    [
      ["a read ↑", 0, false],
      ["a write ↓", 0, true],
      ["b read ↑", 1, false],
    ],
  );
});

test("a node is known by its label, else by the scraped address", () => {
  assert.deepEqual(nodeOf({ node: 'a"b', instance: "x:1" }), { name: 'a"b', matcher: 'node="a\\"b"' });
  assert.deepEqual(nodeOf({ instance: "x:1" }), { name: "x:1", matcher: 'instance="x:1"' });
});

test("a container has one colour in all of a pod's lines", () => {
  const container = (labels: Labels): string => labels["container"] ?? "";
  const queries = [{ name: container }, { name: container, dashed: true }];
  const lines = podLines(queries, [columns({ container: "b" }, { container: "a" }), columns({ container: "b" })]);
  assert.deepEqual(
    lines.map(({ name, color, dashed }) => [name, color, dashed ?? false]),
    [
      ["b", 1, false],
      ["a", 0, false],
      ["b", 1, true],
    ],
  );
});
