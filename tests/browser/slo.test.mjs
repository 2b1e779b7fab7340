/** Service level objectives on real data: made, measured, their rules taken by Prometheus' own tool. */
import assert from "node:assert/strict";
import { execFileSync } from "node:child_process";
import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { test } from "node:test";
import {
  assertAccessible,
  assertCount,
  assertNoOverflow,
  assertText,
  at,
  base,
  close,
  complaints,
  open,
  waitForInk,
} from "./harness.mjs";
import { remoteWrite } from "./remote_write.mjs";

const STEP_S = 60;
const HOURS = 8;

/** Two counters: a hundred requests a second, and from two hours ago on two of them fail. */
async function requests(run) {
  const now_s = Math.floor(Date.now() / 1000);
  const start_s = now_s - HOURS * 3600;
  const counter = (code, rateAt) => {
    let value = 0;
    const samples = [];
    for (let time_s = start_s; time_s <= now_s; time_s += STEP_S) {
      value += rateAt(time_s) * STEP_S;
      samples.push([time_s * 1000, value]);
    }
    return { labels: { __name__: "slo_requests_total", code, run }, samples };
  };
  const isBad = (time_s) => time_s > now_s - 7200;
  await remoteWrite(base, [
    counter("200", (time_s) => (isBad(time_s) ? 98 : 100)),
    counter("500", (time_s) => (isBad(time_s) ? 2 : 0)),
  ]);
}

/** What the aggregator says of an expression at this moment: the number of series. */
async function seriesOf(query) {
  const answer = await fetch(`${base}/api/v1/query?${new URLSearchParams({ query })}`);
  return (await answer.json()).data.result.length;
}

/** Waits until a condition holds; the test's own limit ends the wait. */
async function until(holds) {
  while (!(await holds())) await new Promise((resolve) => setTimeout(resolve, 200));
}

async function type(page, label, query) {
  await page.getByRole("textbox", { name: label }).click();
  await page.keyboard.press("Control+a");
  await page.keyboard.press("Delete");
  await page.keyboard.insertText(query);
  await page.keyboard.press("Escape");
}

test("an objective is made, measured, and its rules hold for promtool", async () => {
  const run = String(Date.now());
  await requests(run);
  const page = await open("#/slos");
  await page.getByText("No objectives yet").waitFor();
  await page.getByRole("button", { name: "New objective" }).click();
  await page.getByRole("button", { name: "Save" }).click();
  await page.getByText("Give it a title.").waitFor();
  await page.getByRole("textbox", { name: "Title" }).fill("Requests succeed");
  await page.getByRole("textbox", { name: /Target in percent/ }).fill("99");
  await page.getByRole("combobox", { name: "Over" }).selectOption("7");
  await page.waitForFunction(() => document.querySelectorAll(".editor-root").length === 2);
  await type(page, "Bad events", `sum(rate(slo_requests_total{code="500",run="${run}"}[$window]))`);
  await type(page, "All events", `sum(rate(slo_requests_total{run="${run}"}[$window]))`);
  await assertAccessible(page);
  await close({ screenshot: (options) => page.screenshot(options), close: () => {} }, "slo-form");
  await page.getByRole("button", { name: "Save" }).click();
  await page.getByRole("heading", { name: "Requests succeed" }).waitFor();
  const row = page.getByRole("row", { name: /1h \/ 5m/ });
  // Two of a hundred fail where one may: twice the rate of the promise, below the bound of 3.36.
  await row.getByRole("cell", { name: "2×" }).first().waitFor();
  await assertText(row, /3\.36×/);
  const last = page.getByRole("row", { name: /3d \/ 6h/ });
  await assertText(last, /fires/);
  await waitForInk(page.getByRole("region", { name: "Error budget left, 7 days" }).locator("canvas"), 20);
  await waitForInk(page.getByRole("region", { name: "Errors among all events" }).locator("canvas"), 20);
  const yaml = await page.locator(".yaml").innerText();
  const folder = mkdtempSync(join(tmpdir(), "kansoku-slo-"));
  writeFileSync(join(folder, "slo.yaml"), yaml);
  const told = execFileSync("promtool", ["check", "rules", join(folder, "slo.yaml")], { encoding: "utf8" });
  rmSync(folder, { recursive: true });
  assert.match(told, /9 rules found/);
  assert.match(yaml, /slo_requests_total\{code="500",run="\d+"\}\[3d\]/);
  await assertAccessible(page);
  assert.deepEqual(complaints, []);
  await page.setViewportSize({ width: 1280, height: 1500 });
  await close({ screenshot: (options) => page.screenshot(options), close: () => {} }, "slo");
  await page.setViewportSize({ width: 390, height: 800 });
  await assertNoOverflow(page);
  await close({ screenshot: (options) => page.screenshot(options), close: () => {} }, "slo-phone");
  await page.setViewportSize({ width: 1280, height: 800 });
  await page.getByRole("link", { name: "All objectives" }).click();
  const listed = page.getByRole("row", { name: /Requests succeed/ });
  await listed.getByText(/99% over 7 days/).waitFor();
  await assertAccessible(page);
  await close({ screenshot: (options) => page.screenshot(options), close: () => {} }, "slos");
  await listed.getByRole("link").click();
  await page.getByRole("button", { name: "Edit", exact: true }).click();
  await page.getByRole("textbox", { name: /Target in percent/ }).fill("90");
  await page.getByRole("button", { name: "Save" }).click();
  await page.getByText("90% over 7 days").waitFor();
  await page.getByRole("button", { name: "Remove" }).click();
  await page.getByRole("dialog").getByRole("button", { name: "Remove" }).click();
  await page.getByText("No objectives yet").waitFor();
  await page.close();
});

test("the aggregator evaluates the rules of an objective: recorded, firing under Alerts, and gone when switched off", async () => {
  const run = String(Date.now());
  await requests(run);
  const title = `Evaluated ${run}`;
  const id = `evaluated-${run}`;
  const page = await open("#/slos?edit=1");
  await page.getByRole("textbox", { name: "Title" }).fill(title);
  await page.getByRole("textbox", { name: /Target in percent/ }).fill("99");
  await page.getByRole("combobox", { name: "Over" }).selectOption("7");
  await page.waitForFunction(() => document.querySelectorAll(".editor-root").length === 2);
  await type(page, "Bad events", `sum(rate(slo_requests_total{code="500",run="${run}"}[$window]))`);
  await type(page, "All events", `sum(rate(slo_requests_total{run="${run}"}[$window]))`);
  const evaluates = page.getByRole("checkbox", { name: "Let the aggregator evaluate the rules" });
  assert.equal(await evaluates.isChecked(), false);
  await evaluates.check();
  await assertAccessible(page);
  await page.getByRole("button", { name: "Save" }).click();
  await page.getByText("The aggregator evaluates these rules.").waitFor();
  // Recorded by the aggregator itself, and of it the slow burn fires: twice the promise's rate, bound 0.7.
  await until(async () => (await seriesOf(`slo:error_ratio:rate3d{slo="${id}"}`)) === 1);
  await until(async () => (await seriesOf(`ALERTS{alertname="SLOBudgetBurnsSlowly",alertstate="firing",slo="${id}"}`)) === 1);
  assert.equal(await seriesOf(`ALERTS{alertname="SLOBudgetBurnsFast",slo="${id}"}`), 0);
  await page.goto(`${base}/${at("alerts", { filter: id })}`);
  const active = page.getByRole("region", { name: "Active alerts" });
  await active.getByText(title).waitFor();
  await assertText(active, /firing/);
  const group = page.getByRole("region", { name: `slo-${id}-errors` });
  await group.getByText(`slos/${id}.yaml`).waitFor();
  await assertCount(group.locator(".rules > li"), 7);
  // Its past, as ALERTS tells it.
  const past = page.getByRole("region", { name: `slo-${id}-alerts` }).locator(".past .firing");
  await past.first().waitFor({ state: "attached" });
  await assertAccessible(page);
  await close({ screenshot: (options) => page.screenshot(options), close: () => {} }, "slo-alerts");
  // The expression opens in the explorer.
  await active.getByRole("link", { name: "SLOBudgetBurnsSlowly" }).click();
  await page.waitForURL((url) => decodeURIComponent(url.hash).includes("slo:error_ratio:rate3d"));
  await page.locator(".editor-root .cm-content").getByText("slo:error_ratio:rate3d").first().waitFor();
  await page.goto(`${base}/${at("slos", { slo: id, edit: "1" })}`);
  await evaluates.uncheck();
  // What was saved is shown without being asked for again.
  const asks = (route) => (route.request().method() === "GET" ? route.abort() : route.continue());
  await page.route("**/api/v1/slos/*", asks);
  await page.getByRole("button", { name: "Save" }).click();
  await page.getByRole("heading", { name: title }).waitFor();
  await assertCount(page.getByText("The aggregator evaluates these rules."), 0);
  await page.unroute("**/api/v1/slos/*", asks);
  await until(async () => (await seriesOf(`ALERTS{slo="${id}"}`)) === 0);
  const { data } = await (await fetch(`${base}/api/v1/rules`)).json();
  assert.equal(data.groups.filter(({ file }) => file === `slos/${id}.yaml`).length, 0);
  await page.goto(`${base}/${at("alerts", { filter: id })}`);
  await page.getByText(/No rules are loaded|matches/).first().waitFor();
  await page.goto(`${base}/${at("slos", { slo: id })}`);
  await page.getByRole("button", { name: "Remove" }).click();
  await page.getByRole("dialog").getByRole("button", { name: "Remove" }).click();
  await page.getByText("No objectives yet").waitFor();
  assert.deepEqual(complaints, []);
  await page.close();
});
