/** The frame around all pages: navigation, keys, language, colours, lost connection, accessibility. */
import assert from "node:assert/strict";
import { test } from "node:test";
import { assertAccessible, assertNoOverflow, assertText, at, base, close, complaints, open, podThat } from "./harness.mjs";
import { startFront } from "./front.mjs";

const crashing = podThat("crash");
/** Each page and what stands on it when it is drawn. */
const PAGES = {
  cluster: ["#/", ".measures tbody tr"],
  workloads: [at("", { tab: "workloads" }), ".measures tbody tr"],
  node: [at("node", { node: "node-a" }), ".log li"],
  pod: [at("pod", { ns: crashing.namespace, pod: crashing.pod }), ".log li"],
  logs: [at("logs", { q: '{namespace="shop"}' }), ".log li"],
  patterns: [at("logs", { q: '{namespace="shop"}', view: "patterns" }), ".patterns tbody tr"],
  metrics: [at("metrics", { q: "node_load1" }), ".legend .series"],
  finder: ["#/metrics", ".finder li"],
  dashboards: ["#/dashboards", ".shelf li"],
  namespace: [at("dashboards", { board: "namespace", vars: "namespace=shop" }), ".panel .u-over"],
  alerts: ["#/alerts", ".nothing, .rules"],
  slos: ["#/slos", ".nothing, .slo-list"],
  kansoku: ["#/kansoku", ".u-over"],
};

for (const [name, [hash, drawn]] of Object.entries(PAGES)) {
  test(`${name}: no serious finding of axe, light and dark, and no overflow on a phone`, async () => {
    for (const colorScheme of ["light", "dark"]) {
      const page = await open(hash, { colorScheme });
      await page.locator(drawn).first().waitFor();
      await assertAccessible(page);
      assert.deepEqual(complaints, []);
      await close(page, `${name}-${colorScheme}`);
    }
    const phone = await open(hash, { viewport: { width: 390, height: 800 } });
    await phone.locator(drawn).first().waitFor();
    await assertNoOverflow(phone);
    await close(phone, `${name}-phone`);
  });
}

async function settled(page) {
  await page.locator(".measures tbody tr").first().waitFor();
}

test("every page is reached by its key and has its own title", async () => {
  const page = await open("#/");
  await settled(page);
  for (const [key, title] of [
    ["l", "Logs"],
    ["m", "Metrics"],
    ["p", "Pod"],
    ["a", "Alerts"],
    ["d", "Dashboards"],
    ["s", "SLOs"],
    ["k", "Kansoku"],
    ["c", "Cluster"],
  ]) {
    await page.locator("body").press("g");
    await page.locator("body").press(key);
    await page.waitForFunction((text) => document.title.startsWith(text), title);
    await assertText(page.locator("nav [aria-current=page]"), title);
  }
  await page.locator("body").press("?");
  await page.getByRole("dialog").waitFor();
  await assertAccessible(page);
  await page.locator("body").press("Escape");
  await page.getByRole("dialog").waitFor({ state: "detached" });
  await page.getByRole("searchbox").waitFor();
  await page.locator("body").press("/");
  await page.keyboard.type("ledger");
  assert.equal(await page.getByRole("searchbox").inputValue(), "ledger");
  await close(page, "keys");
});

test("Japanese is complete and kept, and so are the colours", async () => {
  const page = await open("#/");
  await settled(page);
  await page.getByLabel("language").selectOption("ja");
  await page.getByRole("link", { name: "クラスター" }).waitFor();
  assert.equal(await page.locator("html").getAttribute("lang"), "ja");
  await page.getByLabel("配色").selectOption("dark");
  assert.equal(await page.locator("html").getAttribute("data-theme"), "dark");
  await page.reload();
  await page.getByRole("link", { name: "クラスター" }).waitFor();
  assert.equal(await page.locator("html").getAttribute("data-theme"), "dark");
  await page.getByLabel("配色").selectOption("auto");
  await page.getByLabel("言語").selectOption("en");
  await page.getByRole("link", { name: "Cluster" }).waitFor();
  await close(page, "language");
});

test("a lost connection is told, and the page goes on when it is back", async () => {
  let front = await startFront(base);
  const { port } = new URL(front.url);
  const page = await open("#/", { url: front.url });
  await settled(page);
  front.close();
  await page
    .locator(".lost")
    .getByText(/No answer from/)
    .waitFor({ timeout: 30_000 });
  // What was shown before stays to be read.
  assert.ok((await page.locator("table tbody tr").count()) > 0);
  await close({ screenshot: (options) => page.screenshot(options), close: () => {} }, "lost");
  front = await startFront(base, Number(port));
  await page.locator(".lost").waitFor({ state: "hidden", timeout: 30_000 });
  await page.close();
  front.close();
});

test("the window moves to earlier times and back to now", async () => {
  const page = await open("#/");
  await settled(page);
  await page.getByRole("button", { name: "earlier" }).click();
  await page.waitForURL(/end=\d+/);
  assert.equal(await page.getByRole("button", { name: "Live" }).getAttribute("aria-pressed"), "false");
  await page.getByRole("button", { name: "Back to now" }).click();
  await page.waitForURL((url) => !url.hash.includes("end="));
  await close(page, "window");
});

test("the page is small, and its first paint is told", async () => {
  const page = await open("#/");
  await settled(page);
  const { paint_ms, bytes } = await page.evaluate(() => ({
    paint_ms: performance.getEntriesByName("first-contentful-paint")[0]?.startTime ?? Infinity,
    bytes: performance
      .getEntriesByType("resource")
      .filter(({ name }) => name.includes("/assets/"))
      .reduce((sum, { encodedBodySize }) => sum + encodedBodySize, 0),
  }));
  console.log(`first contentful paint ${Math.round(paint_ms)} ms, assets of the first page ${bytes} bytes`);
  await page.close();
});
