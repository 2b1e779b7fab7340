/**
 * A browser and an aggregator with the made-up cluster, shared by the tests of a file: the one named
 * by KANSOKU_URL. CHROMIUM names the browser, SCREENSHOTS a folder for pictures.
 */
import assert from "node:assert/strict";
import { mkdtempSync, readFileSync, rmSync } from "node:fs";
import { createRequire } from "node:module";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { after, before } from "node:test";
import { chromium } from "playwright-core";
import { PODS } from "./synthetic.mjs";

const FLAGS = [
  "--no-sandbox",
  "--disable-gpu",
  "--disable-quic",
  "--no-first-run",
  "--disable-background-networking",
  "--disable-component-update",
  "--disable-sync",
];
/** How long a page may take to be drawn as a test says. */
const SETTLES_MS = 30_000;
const AXE = readFileSync(createRequire(import.meta.url).resolve("axe-core/axe.min.js"), "utf8");

export const base = (process.env.KANSOKU_URL ?? "").replace(/\/$/, "");

/** The made-up pod that is so and so. */
export const podThat = (ail) => PODS.find((pod) => pod.ail === ail);

let context;
let profile;
/** What the page complained about in the running test. */
export let complaints = [];

before(async () => {
  assert.notEqual(base, "", "KANSOKU_URL names no aggregator");
  profile = mkdtempSync(join(tmpdir(), "kansoku-browser-"));
  context = await chromium.launchPersistentContext(profile, {
    executablePath: process.env.CHROMIUM ?? "/usr/bin/chromium",
    args: FLAGS,
    viewport: { width: 1280, height: 800 },
    locale: "en-GB",
    acceptDownloads: true,
  });
});

after(async () => {
  await context?.close();
  rmSync(profile, { recursive: true, force: true, maxRetries: 5 });
});

/** A page at a fragment such as `#/logs`; `url` is another place than the aggregator. */
export async function open(hash, { url = base, ...options } = {}) {
  const page = await context.newPage();
  complaints = [];
  page.on("pageerror", (error) => complaints.push(String(error)));
  page.on("console", (message) => {
    if (["error", "warning"].includes(message.type())) complaints.push(message.text());
  });
  if (options.clock) await page.clock.install();
  if (options.viewport) await page.setViewportSize(options.viewport);
  if (options.colorScheme) await page.emulateMedia({ colorScheme: options.colorScheme });
  await page.goto(`${url}/${hash}`);
  return page;
}

/** Closes a page, after a picture when pictures are wanted. */
export async function close(page, name) {
  if (process.env.SCREENSHOTS) await page.screenshot({ path: join(process.env.SCREENSHOTS, `${name}.png`) });
  await page.close();
}

/** A fragment with its parameters encoded. */
export const at = (page, params = {}) => `#/${page}?${new URLSearchParams(params)}`;

/** How many pixels of the plotting area (axes and grid left out by colour) a canvas has. */
function inkOf(canvas) {
  const { width, height } = canvas;
  // Read from a copy: the page's own canvas stays on the fast path, and the browser does not complain.
  const copy = Object.assign(document.createElement("canvas"), { width, height });
  const context = copy.getContext("2d", { willReadFrequently: true });
  if (width * height === 0) return 0;
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

/** Waits until a canvas has at least so many coloured pixels. */
export async function waitForInk(canvas, least) {
  await canvas.waitFor({ timeout: 60_000 });
  // A young agent has drawn only a sliver of the time axis.
  const deadline_ms = Date.now() + 60_000;
  let ink = 0;
  while (ink < least && Date.now() < deadline_ms) {
    ink = await canvas.evaluate(inkOf);
    if (ink < least) await new Promise((resolve) => setTimeout(resolve, 100));
  }
  assert.ok(ink >= least, `the canvas has ${ink} coloured pixels, expected at least ${least}`);
}

/** Waits until `look` gives what is `expected`; tells what it gave last when it never does. */
async function settles(look, agrees, expected, message) {
  const deadline_ms = Date.now() + SETTLES_MS;
  let seen = await look();
  while (!agrees(seen) && Date.now() < deadline_ms) {
    await new Promise((resolve) => setTimeout(resolve, 50));
    seen = await look();
  }
  assert.ok(agrees(seen), `${message}expected ${expected}, found ${JSON.stringify(seen)}`);
}

/** There are so many of these elements, as soon as the page is drawn. */
export async function assertCount(locator, n, message = "") {
  await settles(() => locator.count(), (seen) => seen === n, n, message && `${message}: `);
}

/** An element says this, as soon as the page is drawn: all of a text, or what a pattern matches. */
export async function assertText(locator, expected, message = "") {
  const agrees = (seen) => (typeof expected === "string" ? seen === expected : expected.test(seen));
  await settles(() => locator.innerText(), agrees, expected, message && `${message}: `);
}

/** Elements say these, in any order. */
export async function assertTexts(locator, expected, message = "") {
  const wanted = JSON.stringify([...expected].sort());
  const look = async () => (await locator.allInnerTexts()).sort();
  await settles(look, (seen) => JSON.stringify(seen) === wanted, wanted, message && `${message}: `);
}

/** Nothing may be wider than the window. Charts follow it a frame later. */
export async function assertNoOverflow(page) {
  const fits = () => document.documentElement.scrollWidth <= innerWidth;
  await page.waitForFunction(fits, null, { timeout: 10_000 }).catch(() => {});
  const [wide, window] = await page.evaluate(() => [document.documentElement.scrollWidth, innerWidth]);
  assert.ok(wide <= window, `the page is ${wide} px wide in a window of ${window} px`);
}

/** axe finds nothing serious or worse. */
export async function assertAccessible(page) {
  await page.evaluate(AXE);
  // Half faded in, words have less contrast.
  await page.evaluate(() => Promise.allSettled(document.getAnimations().map(({ finished }) => finished)));
  const { violations } = await page.evaluate(() => window.axe.run(document, { resultTypes: ["violations"] }));
  const serious = violations
    .filter(({ impact }) => impact === "serious" || impact === "critical")
    .map(
      ({ id, nodes }) =>
        `${id}: ${nodes.map(({ html, failureSummary }) => `${html}\n${failureSummary}`).join("\n")}`,
    );
  assert.deepEqual(serious, []);
}
