/** The page of logs: lines, fields, context, patterns, tail, files; and lines that mean harm. */
import assert from "node:assert/strict";
import { readFileSync } from "node:fs";
import { before, test } from "node:test";
import { assertCount, assertText, assertTexts, at, base, close, complaints, open, waitForInk } from "./harness.mjs";
import { push } from "./seed.mjs";

const HOSTILE =
  '<img src=x onerror="window.hacked=1"><script>window.hacked=1</script> \u001b[31m&amp; \u202etxt.exe\u0007';
const TAG = `hostile<b>${process.pid}`;
const MANY = 100_000;

async function line(tag, text, time_ns = `${Date.now() - 1000}000000`) {
  await push(base, [{ stream: { job: "browser-test", tag }, values: [[time_ns, text]] }]);
}

before(async () => {
  await line(TAG, HOSTILE);
  const now_ms = Date.now() - 60_000;
  const values = Array.from({ length: MANY }, (_, n) => [
    `${now_ms}${String(n).padStart(6, "0")}`,
    `line number ${n}`,
  ]);
  for (let from = 0; from < MANY; from += 5000)
    await push(base, [
      { stream: { job: "browser-test", tag: `many${process.pid}` }, values: values.slice(from, from + 5000) },
    ]);
});

test("a query gives lines, a histogram by level and fields", async () => {
  const page = await open(at("logs", { q: '{namespace="shop"}' }));
  await page.locator(".log li").first().waitFor();
  await waitForInk(page.locator(".volume canvas"), 200);
  for (const level of ["error", "warn", "info", "debug"])
    await page.locator(".volume .series", { hasText: level }).waitFor();
  const fields = page.getByRole("complementary", { name: "Fields" });
  await fields.getByRole("button", { name: /^pod/ }).click();
  await fields.getByRole("button", { name: "only lines with this: container = postgres" }).click();
  await page.waitForURL(/container%3D%22postgres%22/);
  await page.waitForFunction(() =>
    [...document.querySelectorAll(".log .origin")].every(({ textContent }) =>
      textContent.endsWith("/postgres"),
    ),
  );
  await fields.getByRole("button", { name: "without these lines: level = warn" }).click();
  await page.waitForURL((url) => decodeURIComponent(url.hash).includes('level!="warn"'));
  assert.deepEqual(complaints, []);
  await close(page, "logs");
});

test("hostile lines are text, and hidden characters are written out", async () => {
  const page = await open(at("logs", { q: `{tag=${JSON.stringify(TAG)}} |= "onerror"` }));
  const row = page.locator(".log .line").first();
  await row.waitFor();
  const shown = HOSTILE.replace("\u001b[31m", "").replace("\u202e", "\\u202e").replace("\u0007", "\\x07");
  await assertText(row, shown);
  await assertTexts(row.locator(".escape"), ["\\u202e", "\\x07"]);
  await assertText(row.locator(".mark"), "onerror");
  await page.locator(".log .head").first().click();
  await page.locator(".detail .pairs").first().getByText(TAG).first().waitFor();
  await assertCount(page.locator(".log img, .log script, .log b"), 0);
  assert.equal(await page.evaluate(() => window.hacked), undefined);
  assert.deepEqual(complaints, []);
  await close(page, "hostile");
});

test("an open line shows its JSON, its fields and the lines around it", async () => {
  const page = await open(at("logs", { q: '{namespace="shop"} |= "slow query"' }));
  await page.locator(".log .head").first().click();
  const detail = page.locator(".log .detail");
  await detail.locator(".json").first().waitFor();
  await assertText(detail.locator(".json").first(), /"orders"/);
  await detail.getByRole("button", { name: /only lines with this: table = orders/ }).waitFor();
  await detail.getByRole("button", { name: "Lines around it" }).click();
  await page.waitForFunction(() => document.querySelectorAll(".around li").length > 10);
  await assertCount(detail.locator(".around li.chosen"), 1);
  assert.ok((await detail.locator(".around li", { hasText: "slow query" }).count()) < 10);
  assert.deepEqual(complaints, []);
  await close(page, "detail");
});

test("a link to a line opens the page with that line marked", async () => {
  const page = await open(at("logs", { q: '{namespace="shop", container="postgres"}' }));
  await page.locator(".log .head").nth(3).click();
  const href = await page.getByRole("link", { name: "Link to this line" }).getAttribute("href");
  const time = await page.locator(".log .time").nth(3).getAttribute("title");
  const other = await open(href);
  await other.locator(".log li.chosen").waitFor();
  assert.equal(await other.locator(".log li.chosen .time").getAttribute("title"), time);
  await page.close();
  await close(other, "line-link");
});

test("patterns are counted and narrow the query", async () => {
  const page = await open(at("logs", { q: '{namespace="shop"}', view: "patterns" }));
  const row = page.getByRole("row", { name: /msg="request served"/ }).first();
  await row.waitFor();
  await row.getByRole("button", { name: /only lines with this/ }).click();
  await page.waitForURL((url) => decodeURIComponent(url.hash).includes("|>"));
  assert.deepEqual(complaints, []);
  await close(page, "patterns");
});

test("the tail shows a line soon after it was written, and can be held", async () => {
  const page = await open(at("logs", { q: `{job="browser-test"}`, tail: "1" }));
  await page.getByText("following").waitFor();
  const begin_ms = Date.now();
  await line("tail", "a line for the tail", `${Date.now()}000000`);
  await page.getByText("a line for the tail").waitFor();
  console.log(`a line is on the screen ${Date.now() - begin_ms} ms after its push`);
  await page.getByRole("button", { name: "Pause" }).click();
  await line("tail", "a line while it was held", `${Date.now()}000000`);
  await page.waitForTimeout(1500);
  await assertCount(page.getByText("a line while it was held"), 0);
  await page.getByRole("button", { name: "Go on" }).click();
  await page.getByText("a line while it was held").waitFor();
  assert.deepEqual(complaints, []);
  await close(page, "tail");
});

test("a hundred thousand lines scroll, and only those on the screen exist", async () => {
  const page = await open(at("logs", { q: `{tag="many${process.pid}"}`, limit: "5000", range: "15m" }));
  const list = page.getByRole("region", { name: "log lines" });
  await list.locator("li").first().waitFor();
  const note = page.locator(".log-main .note").first();
  for (let before = ""; !before.includes("100,000"); before = await note.innerText()) {
    await list.evaluate((element) => (element.scrollTop = element.scrollHeight));
    await page.waitForFunction(
      (text) => document.querySelector(".log-main .note").textContent !== text,
      before,
    );
  }
  await list.evaluate((element) => (element.scrollTop = element.scrollHeight));
  await page.getByText("line number 0", { exact: true }).waitFor();
  assert.ok((await list.locator("li").count()) < 200);
  const slowest_ms = await list.evaluate(async (element) => {
    let slowest = 0;
    for (let step = 0; step < 20; step += 1) {
      const begin = performance.now();
      element.scrollTop = (element.scrollHeight * step) / 20;
      await new Promise((resolve) => requestAnimationFrame(() => setTimeout(resolve)));
      slowest = Math.max(slowest, performance.now() - begin);
    }
    return slowest;
  });
  console.log(`the slowest jump within ${MANY} lines took ${Math.round(slowest_ms)} ms`);
  assert.deepEqual(complaints, []);
  await close(page, "many-lines");
});

test("lines are saved as JSON, CSV and text", async () => {
  const page = await open(at("logs", { q: `{tag=${JSON.stringify(TAG)}}` }));
  await page.locator(".log li").first().waitFor();
  for (const [name, expected] of [
    ["JSON", JSON.stringify(HOSTILE)],
    ["CSV", HOSTILE.replaceAll('"', '""')],
    ["Text", HOSTILE],
  ]) {
    const [download] = await Promise.all([
      page.waitForEvent("download"),
      page.getByRole("button", { name, exact: true }).click(),
    ]);
    const text = readFileSync(await download.path(), "utf8");
    assert.ok(text.includes(expected), `${name}: ${text}`);
  }
  await page.close();
});

test("the editor completes labels and values and marks mistakes", async () => {
  const page = await open("#/logs");
  const editor = page.locator(".editor-root .cm-content");
  await editor.waitFor();
  await editor.click();
  await page.keyboard.press("ControlOrMeta+a");
  await page.keyboard.type("{names");
  await page.locator(".cm-tooltip-autocomplete li", { hasText: "namespace" }).waitFor();
  // A list that has just opened takes no Enter: it may have been meant for the query.
  await page.waitForTimeout(200);
  await page.keyboard.press("Enter");
  await page.keyboard.type('="pay');
  await page.locator(".cm-tooltip-autocomplete li", { hasText: "payments" }).waitFor();
  await page.waitForTimeout(200);
  await page.keyboard.press("Enter");
  await page.keyboard.press("End");
  await page.keyboard.press("Enter");
  await page.waitForURL((url) => decodeURIComponent(url.hash).includes('{namespace="payments"}'));
  await page.locator(".log li").first().waitFor();
  await close(page, "completion");
});

test("a wrong query shows the server's words and the place; a count is drawn", async () => {
  const page = await open(at("logs", { q: '{job="a"} |= "open' }));
  const problem = page.locator(".problem").first();
  await problem.locator("pre").waitFor();
  await assertText(problem.locator("pre"), /\n\s*\^$/);
  await page.goto(
    `${base}/${at("logs", { q: 'sum by (container) (count_over_time({namespace="shop"}[1m]))' })}`,
  );
  await waitForInk(page.locator(".result canvas"), 100);
  await assertCount(page.locator(".log"), 0);
  await close(page, "log-metric");
});
