/**
 * The page in a real browser: against the aggregator named by KANSOKU_URL, which an agent must be
 * feeding, or against the mock. CHROMIUM names the browser, SCREENSHOTS a folder for pictures.
 */
import assert from "node:assert/strict";
import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { after, before, test } from "node:test";
import { chromium } from "playwright-core";
import { startMock } from "./mock.mjs";

const FLAGS = [
  "--no-sandbox",
  "--disable-gpu",
  "--disable-quic",
  "--no-first-run",
  "--disable-background-networking",
  "--disable-component-update",
  "--disable-sync",
];
const HOSTILE = '<img src=x onerror="window.hacked=1"><script>window.hacked=1</script> \u001b[31m&amp;';
const HOSTILE_TAG = `hostile<b>${process.pid}`;

let mock;
let base;
let context;
let profile;
/** What the page complained about in the running test. */
let complaints = [];

before(async () => {
  mock = process.env.KANSOKU_URL === undefined ? await startMock() : undefined;
  base = (process.env.KANSOKU_URL ?? mock.url).replace(/\/$/, "");
  profile = mkdtempSync(join(tmpdir(), "kansoku-browser-"));
  context = await chromium.launchPersistentContext(profile, {
    executablePath: process.env.CHROMIUM ?? "/usr/bin/chromium",
    args: FLAGS,
    viewport: { width: 1280, height: 800 },
  });
  await push(HOSTILE);
});

after(async () => {
  await context?.close();
  mock?.close();
  rmSync(profile, { recursive: true, force: true, maxRetries: 5 });
});

async function push(line) {
  const time_ns = `${Date.now() - 1000}000000`;
  const body = JSON.stringify({
    streams: [{ stream: { job: "browser-test", tag: HOSTILE_TAG }, values: [[time_ns, line]] }],
  });
  const answer = await fetch(`${base}/loki/api/v1/push`, {
    method: "POST",
    headers: { "content-type": "application/json" },
    body,
  });
  assert.equal(answer.status, 204, await answer.text());
}

async function open(hash, options = {}) {
  const page = await context.newPage();
  complaints = [];
  page.on("pageerror", (error) => complaints.push(String(error)));
  page.on("console", (message) => {
    if (["error", "warning"].includes(message.type())) complaints.push(message.text());
  });
  if (options.clock) await page.clock.install();
  if (options.viewport) await page.setViewportSize(options.viewport);
  if (options.colorScheme) await page.emulateMedia({ colorScheme: options.colorScheme });
  await page.goto(`${base}/${hash}`);
  return page;
}

async function close(page, name) {
  if (process.env.SCREENSHOTS) await page.screenshot({ path: join(process.env.SCREENSHOTS, `${name}.png`) });
  await page.close();
}

const explore = (language, query, more = {}) =>
  `#/explore?${new URLSearchParams({ lang: language, q: query, ...more })}`;

/** How many pixels of the plotting area (axes and grid left out by colour) a canvas has. */
function inkOf(canvas) {
  const { width, height } = canvas;
  // Read from a copy: the page's own canvas stays on the fast path, and the browser does not complain.
  const copy = Object.assign(document.createElement("canvas"), { width, height });
  const context = copy.getContext("2d", { willReadFrequently: true });
  context.drawImage(canvas, 0, 0);
  const { data } = context.getImageData(0, 0, width, height);
  let ink = 0;
  for (let i = 0; i < data.length; i += 4) {
    const [red, green, blue, alpha] = data.subarray(i, i + 4);
    const colourful = Math.max(red, green, blue) - Math.min(red, green, blue) > 40;
    if (alpha > 60 && colourful) ink += 1;
  }
  return ink;
}

async function waitForInk(canvas, least) {
  await canvas.waitFor();
  // A young agent has drawn only a sliver of the time axis.
  const deadline_ms = Date.now() + 60_000;
  let ink = 0;
  while (ink < least && Date.now() < deadline_ms) {
    ink = await canvas.evaluate(inkOf);
    if (ink < least) await new Promise((resolve) => setTimeout(resolve, 100));
  }
  assert.ok(ink >= least, `the canvas has ${ink} coloured pixels, expected at least ${least}`);
}

async function assertNoOverflow(page) {
  const [wide, window] = await page.evaluate(() => [document.documentElement.scrollWidth, innerWidth]);
  assert.ok(wide <= window, `the page is ${wide} px wide in a window of ${window} px`);
}

test("the start page draws charts and lists, and complains about nothing", async () => {
  const page = await open("");
  for (const title of ["CPU", "Memory"]) {
    await waitForInk(page.getByRole("region", { name: title, exact: true }).locator("canvas"), 200);
  }
  await page.getByRole("list", { name: "newest log lines" }).locator("li").first().waitFor();
  assert.match(await page.locator(".tiles").innerText(), /Memory\s+\d/);
  assert.match(
    await page.locator("#foot").innerText(),
    /kansoku-aggregator \d.* queries · \d+ ms · \d+ series/s,
  );
  await assertNoOverflow(page);
  assert.deepEqual(complaints, []);
  await close(page, "overview");
});

test("the start page goes on by itself, without making its charts anew, but not while it is hidden", async () => {
  const page = await open("", { clock: true });
  const canvas = page.getByRole("region", { name: "CPU", exact: true }).locator("canvas");
  await waitForInk(canvas, 200);
  await canvas.evaluate((element) => (element.dataset.first = "yes"));
  await page
    .locator("#foot")
    .getByText(/queries/)
    .waitFor();

  const setHidden = (hidden) =>
    page.evaluate((value) => {
      Object.defineProperty(document, "hidden", { configurable: true, value });
      document.dispatchEvent(new Event("visibilitychange"));
    }, hidden);
  let asked = 0;
  page.on("request", () => (asked += 1));
  await setHidden(true);
  await page.clock.fastForward(120_000);
  assert.equal(asked, 0, "a hidden page asks nothing");

  await push("a line that came later");
  await setHidden(false);
  await page.getByText("a line that came later").first().waitFor();
  await push("and one more");
  await page.clock.fastForward(6_000);
  await page.getByText("and one more").first().waitFor();
  assert.equal(await canvas.getAttribute("data-first"), "yes");
  assert.deepEqual(complaints, []);
  await close(page, "live");
});

test("a node can be chosen and is part of the address", async (t) => {
  if (mock === undefined) return t.skip("needs the mock's two nodes");
  const page = await open("");
  await page.getByLabel("node", { exact: true }).selectOption("node-b");
  await page.waitForURL(/node=node-b/);
  await waitForInk(page.getByRole("region", { name: "CPU", exact: true }).locator("canvas"), 200);
  assert.equal(await page.getByLabel("node", { exact: true }).inputValue(), "node-b");
  assert.deepEqual(complaints, []);
  return close(page, "node");
});

test("the start page fits a phone, in the dark", async () => {
  const page = await open("", { viewport: { width: 390, height: 844 }, colorScheme: "dark" });
  await waitForInk(page.getByRole("region", { name: "CPU", exact: true }).locator("canvas"), 200);
  await assertNoOverflow(page);
  assert.deepEqual(complaints, []);
  await close(page, "phone");
});

test("a PromQL query is typed, completed, run and remembered", async () => {
  const page = await open("#/explore");
  const box = page.getByRole("combobox", { name: "PromQL query" });
  await box.pressSequentially("node_memory_MemTot");
  await page.getByRole("option", { name: "node_memory_MemTotal_bytes" }).waitFor();
  await page.keyboard.press("Tab");
  assert.equal(await box.inputValue(), "node_memory_MemTotal_bytes");
  await page.keyboard.press("Enter");
  await waitForInk(page.locator(".result canvas"), 50);
  assert.match(await page.evaluate(() => location.hash), /q=node_memory_MemTotal_bytes/);
  assert.equal(await box.evaluate((area) => area === document.activeElement), true, "typing goes on");
  assert.match(await page.getByLabel("query history").innerText(), /node_memory_MemTotal_bytes/);
  const legend = page.locator(".legend .series").first();
  await legend.click();
  assert.equal(await legend.getAttribute("aria-pressed"), "true");
  await page.locator(".plot").focus();
  await page.keyboard.press("ArrowLeft");
  assert.match(await page.locator(".tip").innerText(), /\d{4}-\d\d-\d\d .* [KMGT]iB/s);
  await page.getByRole("button", { name: "Table" }).click();
  await page.locator(".vector td.number").first().waitFor();
  assert.deepEqual(complaints, []);
  await close(page, "promql");
});

test("a click on a name shows only that series, a drag zooms", async () => {
  const page = await open(
    explore("promql", 'avg by (mode) (rate(node_cpu_seconds_total{mode=~"user|system"}[1m]))', {
      range: "15m",
    }),
  );
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

test("a LogQL query gives lines, a histogram and labels; a hostile line stays text", async () => {
  const query = `{tag=${JSON.stringify(HOSTILE_TAG)}} |= "onerror"`;
  const page = await open(explore("logql", query));
  const line = page.locator(".log .line").first();
  await line.waitFor();
  // A line that is not laid out yet has no inner text.
  await page.waitForFunction(() => document.querySelector(".log .line")?.innerText);
  assert.equal(await line.innerText(), HOSTILE.replace("\u001b[31m", ""));
  assert.equal(await page.locator(".log img, .log script, .log b").count(), 0);
  await page.locator(".log .time").first().click();
  assert.ok((await page.locator(".log .detail dl").first().innerText()).includes(HOSTILE_TAG));
  assert.equal(await page.locator(".log img, .log script, .log b").count(), 0);
  assert.equal(await page.evaluate(() => window.hacked), undefined);
  await waitForInk(page.locator(".result canvas"), 10);
  assert.deepEqual(complaints, []);
  await close(page, "logql");
});

test("a metric of logs is drawn as a chart", async () => {
  const page = await open(
    explore("logql", `sum(count_over_time({job="browser-test"} [1m]))`, { range: "15m" }),
  );
  await waitForInk(page.locator(".result canvas"), 10);
  assert.equal(await page.locator(".log").count(), 0);
  assert.deepEqual(complaints, []);
  await close(page, "log-metric");
});

test("a wrong query shows the server's words and the place", async () => {
  for (const [language, query] of [
    ["promql", "sum(rate(up[5m])"],
    ["logql", '{job="a"} |= "open'],
  ]) {
    const page = await open(explore(language, query));
    const problem = page.getByRole("alert");
    await problem.waitFor();
    assert.match(await problem.innerText(), /parse error|unexpected|expected|unterminated/);
    assert.match(await problem.locator("pre").innerText(), /\n\s*\^$/, language);
    // The browser itself notes that an answer was 400; nothing else may be noted.
    assert.deepEqual(
      complaints.filter((text) => !text.includes("400")),
      [],
    );
    await close(page, `error-${language}`);
  }
});

test("an aggregator without data says how to start an agent", async () => {
  const other = await startMock({ empty: true });
  const page = await context.newPage();
  await page.goto(`${other.url}/`);
  const command = page.locator(".empty code").first();
  await command.waitFor();
  const { port } = new URL(other.url);
  assert.match(
    await command.innerText(),
    new RegExp(`kansoku-agent .*-o kansoku .*-p host=127.0.0.1 -p port=${port}`, "s"),
  );
  await close(page, "empty");
  other.close();
});
