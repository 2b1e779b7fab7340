/** What is large, unknown or slow: the page goes on. Times are printed, never asserted. */
import assert from "node:assert/strict";
import { test } from "node:test";
import { at, base, close, complaints, open, waitForInk } from "./harness.mjs";
import { remoteWrite } from "./remote_write.mjs";
import { push } from "./seed.mjs";

const VALUES = 100_000;

/** Tells a measured fact. */
const fact = (text) => console.log(`fact: ${text}`);

/** Follows how long the page does nothing but compute. */
async function watchTasks(page) {
  await page.evaluate(() => {
    window.longest_ms = 0;
    new PerformanceObserver((list) => {
      for (const { duration } of list.getEntries()) window.longest_ms = Math.max(window.longest_ms, duration);
    }).observe({ entryTypes: ["longtask"] });
  });
  return async (what) => fact(`${what}: longest task ${Math.round(await page.evaluate(() => window.longest_ms))} ms`);
}

test("a label with 100 thousand values: queries, completion, the list of metrics, variables", async () => {
  const time_ms = Date.now() - 60_000;
  const value = (n) => `v${String(n).padStart(6, "0")}`;
  const series = Array.from({ length: VALUES }, (_, n) => ({
    labels: { __name__: "many_values", value: value(n) },
    samples: [[time_ms, n]],
  }));
  await remoteWrite(base, series);
  const page = await open(at("metrics", { q: "many_values" }));
  const told = await watchTasks(page);
  await page.getByText(/results truncated due to limit/).waitFor();
  await told("a query of 100,000 series");
  await page.getByRole("button", { name: "Table" }).click();
  await page.locator(".vector tbody tr").first().waitFor();
  await page.goto(`${base}/${at("metrics", { find: "1" })}`);
  await page.getByRole("searchbox", { name: /Find a metric/ }).fill("many_values");
  await page.getByRole("button", { name: /^many_values/ }).click();
  await page.getByRole("button", { name: "value", exact: true }).click();
  await page.getByText("More than 1,000 values").waitFor();
  const editor = page.getByRole("textbox", { name: /PromQL/ }).first();
  await editor.click();
  await page.keyboard.type('many_values{value="v0000');
  await page.getByRole("option", { name: /v0000/ }).first().waitFor();
  await page.keyboard.press("Escape");
  const board = {
    title: "Many",
    templating: { list: [{ name: "value", type: "query", query: "label_values(many_values, value)" }] },
    panels: [
      {
        id: 1,
        type: "stat",
        title: "one of many",
        gridPos: { x: 0, y: 0, w: 12, h: 6 },
        targets: [{ refId: "A", expr: 'many_values{value="$value"}', instant: true }],
      },
    ],
  };
  const headers = { "if-none-match": "*" };
  await fetch(`${base}/api/v1/dashboards/many`, { method: "PUT", headers, body: JSON.stringify(board) });
  await page.goto(`${base}/${at("dashboards", { board: "saved:many" })}`);
  const choice = page.locator(".toolbar input[list]");
  await choice.fill(value(VALUES - 1));
  await choice.press("Enter");
  await page.getByRole("region", { name: "one of many" }).getByText(/^1\d\d k|^99[.,]?9|100/).first().waitFor();
  await fetch(`${base}/api/v1/dashboards/many`, { method: "DELETE" });
  assert.deepEqual(complaints, []);
  await close(page, "many-values");
});

test("a dashboard with 60 unknown panels shows what it can and names the rest", async () => {
  const panels = Array.from({ length: 60 }, (_, n) => ({
    id: n + 1,
    type: `vendor-panel-${n}`,
    title: `odd ${n}`,
    gridPos: { x: (n % 4) * 6, y: Math.floor(n / 4) * 4, w: 6, h: 4 },
    targets: [{ refId: "A", rawSql: "select 1" }],
  }));
  panels.push({ id: 99, type: "stat", title: "good", gridPos: { x: 0, y: 60, w: 6, h: 4 }, targets: [{ refId: "A", expr: "vector(7)" }] });
  const headers = { "if-none-match": "*" };
  await fetch(`${base}/api/v1/dashboards/odd`, { method: "PUT", headers, body: JSON.stringify({ title: "Odd", panels }) });
  const page = await open(at("dashboards", { board: "saved:odd" }));
  await page.getByText("60 things of this dashboard are not drawn as they were meant").click();
  await page.getByText("panel type vendor-panel-59 (odd 59)").waitFor();
  await page.getByText("Panels of the type vendor-panel-0 are not drawn here.").waitFor();
  const good = page.getByRole("region", { name: "good" });
  await good.scrollIntoViewIfNeeded();
  await good.getByText("7", { exact: true }).waitFor();
  assert.deepEqual(complaints, []);
  await fetch(`${base}/api/v1/dashboards/odd`, { method: "DELETE" });
  await close(page, "odd-panels");
});

test("a slow query tells what it does, is cancelled, and runs again", async () => {
  const page = await open("#/metrics");
  await page.locator(".cm-content").first().waitFor();
  let held = 0;
  let aborted = 0;
  page.on("requestfailed", (request) => {
    if (request.url().includes("query_range")) aborted += 1;
  });
  const hold = async (route) => {
    held += 1;
    // Until the page gives up; then there is nobody to answer.
    const own = route.request();
    await page.waitForEvent("requestfailed", { predicate: (request) => request === own, timeout: 0 });
    await route.abort().catch(() => {});
  };
  await page.route("**/api/v1/query_range*", hold);
  await page.evaluate((hash) => (location.hash = hash), at("metrics", { q: "node_load1" }));
  await page.getByText(/Running for \d+\.\d s · 0 of (1 query|\d+ queries) answered/).waitFor();
  const asked = held;
  await close({ screenshot: (options) => page.screenshot(options), close: () => {} }, "progress");
  await page.getByRole("button", { name: "Cancel" }).click();
  await page.getByText("Cancelled: what is shown may be incomplete.").first().waitFor();
  // All are given up, and none is asked again by itself. The browser tells of it when it likes.
  for (let n = 0; aborted < asked && n < 100; n += 1) await page.waitForTimeout(100);
  assert.equal(held, asked);
  assert.equal(aborted, asked);
  await page.unroute("**/api/v1/query_range*", hold);
  await page.getByRole("button", { name: "Run again" }).click();
  await waitForInk(page.locator(".result canvas").first(), 50);
  await page.getByText(/samples scanned/).waitFor();
  await page.evaluate((hash) => (location.hash = hash), at("logs", { q: '{namespace="shop"} |= "e"' }));
  await page.getByText(/of lines scanned/).waitFor();
  await close(page, "scanned");
});

test("facts: first paint, and a line from its write to the screen", async () => {
  const page = await open("#/");
  await page.locator(".measures tbody tr").first().waitFor();
  const [paint, bytes] = await page.evaluate(() => [
    performance.getEntriesByName("first-contentful-paint")[0]?.startTime ?? null,
    performance.getEntriesByType("resource").reduce((sum, { transferSize }) => sum + transferSize, 0),
  ]);
  fact(`first contentful paint ${paint === null ? "unknown" : `${Math.round(paint)} ms`}, ${Math.round(bytes / 1024)} KiB transferred by then`);
  const app = `tail-${Date.now()}`;
  await push(base, [{ stream: { app }, values: [[`${Date.now()}000000`, "the first line"]] }]);
  await page.goto(`${base}/${at("logs", { q: `{app="${app}"}`, tail: "1" })}`);
  await page.getByText("the first line").waitFor();
  const times_ms = [];
  for (let n = 0; n < 10; n += 1) {
    const begun_ms = performance.now();
    await push(base, [{ stream: { app }, values: [[`${Date.now()}000000`, `tailed line ${n}`]] }]);
    await page.getByText(`tailed line ${n}`, { exact: true }).waitFor();
    times_ms.push(performance.now() - begun_ms);
  }
  times_ms.sort((a, b) => a - b);
  fact(`a line from its write to the screen of a live tail: median ${Math.round(times_ms[5])} ms, slowest ${Math.round(times_ms[9])} ms`);
  await close(page, "tail");
});
