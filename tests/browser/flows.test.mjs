/** Flows of an incident: from the cluster to a line without a mouse, what is new since a time, colours and wrapping. */
import assert from "node:assert/strict";
import { test } from "node:test";
import { assertCount, assertText, assertTexts, at, base, close, complaints, open, podThat } from "./harness.mjs";
import { remoteWrite } from "./remote_write.mjs";
import { push } from "./seed.mjs";

const crashing = podThat("crash");

/** Tab is pressed until what has the focus is so and so. */
async function tabTo(page, selector, text = "") {
  for (let n = 0; n < 120; n += 1) {
    await page.keyboard.press("Tab");
    const found = await page.evaluate(
      ([wanted, words]) => {
        const element = document.activeElement;
        return element !== null && element.matches(wanted) && (element.textContent ?? "").includes(words);
      },
      [selector, text],
    );
    if (found) return;
  }
  assert.fail(`Tab never came to ${selector} with “${text}”`);
}

test("from the cluster to a line of a crashing pod with the keyboard alone", async () => {
  const page = await open("#/");
  await page.locator(".problems a").first().waitFor();
  await page.keyboard.press("g");
  await page.keyboard.press("c");
  // What has the focus is to be seen.
  await tabTo(page, "a", crashing.pod);
  const outline = await page.evaluate(() => getComputedStyle(document.activeElement).outlineStyle);
  assert.notEqual(outline, "none");
  await page.keyboard.press("Enter");
  await page.getByRole("heading", { name: crashing.pod }).waitFor();
  await page.locator(".log li").first().waitFor();
  await page.keyboard.press("/");
  await page.keyboard.type("payment failed");
  await page.keyboard.press("Enter");
  await page.waitForURL(/filter=payment/);
  await page.waitForFunction(() => {
    const lines = [...document.querySelectorAll(".log .line")];
    return lines.length > 0 && lines.every(({ textContent }) => textContent.includes("payment failed"));
  });
  // A list of lines is one stop; the arrows go through it and Enter opens.
  await tabTo(page, ".log-frame");
  await page.keyboard.press("ArrowDown");
  await page.keyboard.press("Enter");
  await page.locator(".log .detail").waitFor();
  assert.deepEqual(complaints, []);
  await close(page, "keyboard");
});

test("a template that began within the window is marked as new, others are not", async () => {
  const app = `fresh-${Date.now()}`;
  const now_ms = Date.now();
  const line = (ago_s, text) => [`${now_ms - ago_s * 1000}000000`, text];
  const values = [];
  for (let n = 0; n < 40; n += 1) values.push(line(800 - n * 20, `request ${n} served`));
  for (let n = 0; n < 10; n += 1) values.push(line(100 - n * 5, `disk ${n} is on fire`));
  await push(base, [{ stream: { app }, values: values.sort((a, b) => (a[0] < b[0] ? -1 : 1)) }]);
  const page = await open(at("logs", { q: `{app="${app}"}`, view: "patterns", range: "15m" }));
  const fresh = page.getByRole("row", { name: /is on fire/ }).first();
  await fresh.waitFor();
  await assertText(fresh.locator(".badge"), "new");
  const old = page.getByRole("row", { name: /served/ }).first();
  await assertCount(old.locator(".badge"), 0);
  // Since a time that is chosen: a minute ago no template began, five minutes ago one did.
  await page.getByText(/^[1-9]\d* new patterns?$/).waitFor();
  await page.getByLabel("New since").selectOption({ label: "1m before its end" });
  await page.getByText("0 new patterns", { exact: true }).waitFor();
  await page.waitForFunction(() => document.querySelector("table.patterns .badge") === null);
  await page.getByLabel("New since").selectOption({ label: "5m before its end" });
  await page.getByText(/^[1-9]\d* new patterns?$/).waitFor();
  await page.waitForURL(/since=300/);
  // The trend stands beside the count.
  await assertCount(old.locator("svg"), 1);
  assert.deepEqual(complaints, []);
  await close(page, "patterns-new");
});

test("colours of a terminal are drawn, and long lines wrap when they are asked to", async () => {
  const app = `ansi-${Date.now()}`;
  const text = `\u001b[32mINFO\u001b[0m ${"a word ".repeat(80)}`;
  await push(base, [{ stream: { app }, values: [[`${Date.now() - 1000}000000`, text]] }]);
  const page = await open(at("logs", { q: `{app="${app}"}` }));
  const row = page.locator(".log .line").first();
  await row.waitFor();
  assert.equal((await row.innerText()).includes("\u001b"), false);
  const [green, plain] = await row.evaluate((element) => [
    getComputedStyle(element.querySelector("span")).color,
    getComputedStyle(element).color,
  ]);
  assert.notEqual(green, plain);
  const tall = async () => (await page.locator(".log li").first().boundingBox()).height;
  const before = await tall();
  await page.getByRole("button", { name: "Wrap" }).click();
  await page.waitForFunction((low) => document.querySelector(".log li").getBoundingClientRect().height > 2 * low, before);
  await page.getByRole("button", { name: "Wrap" }).click();
  await page.waitForFunction((low) => document.querySelector(".log li").getBoundingClientRect().height <= low + 1, before);
  // On a phone they are broken before anybody asks.
  const address = new URL(page.url());
  address.hash = address.hash.replace(/[?&]wrap=\d/, "");
  address.searchParams.delete("wrap");
  await page.setViewportSize({ width: 390, height: 800 });
  await page.goto("about:blank");
  await page.goto(address.href);
  await page.getByRole("button", { name: "Wrap", pressed: true }).waitFor();
  await page.waitForFunction((low) => document.querySelector(".log li")?.getBoundingClientRect().height > 2 * low, before);
  assert.deepEqual(complaints, []);
  await close(page, "ansi");
});

test("names of levels in the histogram tell how many lines there are of each", async () => {
  const app = `sums-${Date.now()}`;
  const values = Array.from({ length: 30 }, (_, n) => [
    `${Date.now() - (300 - n * 10) * 1000}000000`,
    n % 3 === 0 ? "level=error broken" : "level=info fine",
  ]);
  await push(base, [{ stream: { app }, values }]);
  const page = await open(at("logs", { q: `{app="${app}"}` }));
  await page.locator(".volume .series", { hasText: "error" }).getByText("10", { exact: true }).waitFor();
  await page.locator(".volume .series", { hasText: "info" }).getByText("20", { exact: true }).waitFor();
  await close(page, "level-sums");
});

test("a node counts once while the agent that was replaced is still told of", async () => {
  const node = `twice-${Date.now()}`;
  // Hours ago: pages of the present keep their nodes.
  const end_s = Math.floor(Date.now() / 1000) - 3 * 3600;
  const series = ["before", "after"].flatMap((instance) =>
    [
      ["node_memory_MemTotal_bytes", 8 * 2 ** 30],
      ["node_memory_MemAvailable_bytes", 6 * 2 ** 30],
      ["node_memory_MemFree_bytes", 2 ** 30],
    ].map(([__name__, value]) => ({
      labels: { __name__, instance, job: "node-exporter", node },
      samples: Array.from({ length: 20 }, (_, n) => [(end_s - 300 + n * 15) * 1000, value]),
    })),
  );
  await remoteWrite(base, series);
  const page = await open(at("node", { node, end: String(end_s) }));
  const memory = page.locator('[role=group][aria-label*="Memory"]');
  await memory.locator(".series .name", { hasText: "used" }).first().waitFor();
  await assertTexts(memory.locator(".series .name"), ["cache", "free", "used"]);
  await page.getByText("6 GiB of 8 GiB").waitFor();
  // The numbers above are those of the lines, whatever these are called.
  await page.getByLabel("language").selectOption("ja");
  await page.getByText("8 GiB 中 6 GiB").waitFor();
  await page.getByLabel("言語").selectOption("en");
  await page.getByText("6 GiB of 8 GiB").waitFor();
  await close(page, "node-twice");
});
