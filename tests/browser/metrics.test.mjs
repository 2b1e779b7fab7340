/** The page of metrics: queries, views, comparison and the list of names. */
import assert from "node:assert/strict";
import { test } from "node:test";
import { assertText, at, base, close, complaints, open, waitForInk } from "./harness.mjs";

test("a query is drawn, as a table, and as a heat map", async () => {
  const page = await open(at("metrics", { q: "node_load1", range: "15m" }));
  await waitForInk(page.locator(".result canvas"), 50);
  await page.locator(".legend .series").first().waitFor();
  await page.getByRole("button", { name: "Table" }).click();
  await page.locator(".vector td.number").first().waitFor();
  await page.getByRole("button", { name: "Heat map" }).click();
  await waitForInk(page.locator(".heat canvas"), 500);
  assert.deepEqual(complaints, []);
  await close(page, "heat");
});

test("several queries are one chart, and an earlier time is dashed beside them", async () => {
  const page = await open(
    at("metrics", {
      q: 'node_load1{node="node-a"}',
      q2: 'node_load5{node="node-a"}',
      compare: "1h",
      range: "15m",
    }),
  );
  await page.locator(".legend .series").nth(3).waitFor();
  const names = await page.locator(".legend .series .name").allInnerTexts();
  assert.ok(
    names.some((name) => name.startsWith("A node_load1")),
    names.join(),
  );
  assert.ok(
    names.some((name) => name.startsWith("B ") && name.endsWith("− 1h")),
    names.join(),
  );
  await page.getByRole("button", { name: "remove query B" }).click();
  await page.waitForURL((url) => !url.hash.includes("q2="));
  assert.deepEqual(complaints, []);
  await close(page, "compare");
});

test("a click on a name shows only that series, a drag zooms", async () => {
  const page = await open(at("metrics", { q: "node_load1", range: "15m" }));
  const names = page.locator(".legend .series");
  await names.nth(1).waitFor();
  await waitForInk(page.locator(".result canvas"), 50);
  await names.nth(0).click();
  assert.equal(await names.nth(1).getAttribute("aria-pressed"), "false");
  await names.nth(0).click();
  assert.equal(await names.nth(1).getAttribute("aria-pressed"), "true");
  const { x, y, width } = await page.locator(".result .u-over").boundingBox();
  await page.mouse.move(x + width * 0.5, y + 50);
  await page.mouse.down();
  await page.mouse.move(x + width * 0.9, y + 60, { steps: 4 });
  await page.mouse.up();
  await page.waitForURL(/end=\d+/);
  await waitForInk(page.locator(".result canvas"), 50);
  assert.deepEqual(complaints, []);
  await close(page, "zoom");
});

test("a metric is found by its name, and by its label a query is made", async () => {
  const page = await open("#/metrics");
  const finder = page.getByRole("complementary", { name: "Metrics list" });
  await finder.getByRole("searchbox").fill("memory available");
  await finder.getByRole("searchbox").fill("node_memory_mem");
  await finder.getByRole("button", { name: /node_memory_MemAvailable_bytes/ }).click();
  await finder.getByRole("button", { name: "node", exact: true }).click();
  await finder.getByRole("button", { name: "node-a", exact: true }).click();
  await page.waitForURL((url) =>
    decodeURIComponent(url.hash).includes('node_memory_MemAvailable_bytes{node="node-a"}'),
  );
  await waitForInk(page.locator(".result canvas"), 50);
  assert.deepEqual(complaints, []);
  await close(page, "finder");
});

test("the editor completes metrics and runs on Enter", async () => {
  const page = await open("#/metrics");
  const editor = page.locator(".editor-root .cm-content");
  await editor.click();
  await page.keyboard.type("node_loa");
  await page.locator(".cm-tooltip-autocomplete li", { hasText: "node_load15" }).waitFor();
  await page.keyboard.press("Escape");
  await page.keyboard.type("d15");
  await page.keyboard.press("Escape");
  await editor.click();
  await page.keyboard.press("End");
  await page.keyboard.press("Enter");
  await page.waitForURL(/q=node_load15/);
  await waitForInk(page.locator(".result canvas"), 50);
  await close(page, "promql-completion");
});

test("a wrong query shows the server's words and the place", async () => {
  const page = await open(at("metrics", { q: "sum(rate(up[5m])" }));
  const problem = page.locator(".problem").first();
  await problem.waitFor();
  await assertText(problem, /parse error|unexpected|expected/);
  await assertText(problem.locator("pre"), /\n\s*\^$/);
  await page.goto(`${base}/#/metrics?q=nothing_of_this_name`);
  await page.getByText("No series in this time range.").waitFor();
  await close(page, "error-promql");
});
