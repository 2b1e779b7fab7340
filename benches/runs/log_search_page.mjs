/**
 * From the address of a search to its first line on the screen, in headless Chromium: the median of five. What to ask comes as JSON in
 * the only argument: `base`, `range` and `searches` as pairs of name and LogQL. Prints an object of milliseconds by name.
 */
import { createRequire } from "node:module";

const require = createRequire(new URL("../../tests/browser/package.json", import.meta.url));
const { chromium } = require("playwright-core");
const { base, range, searches } = JSON.parse(process.argv[2]);

const browser = await chromium.launch({ executablePath: process.env.CHROMIUM ?? "/usr/bin/chromium", args: ["--no-sandbox"] });
const times = {};
for (const [name, query] of searches) {
  const taken = [];
  for (let round = 0; round < 5; round++) {
    const page = await (await browser.newContext()).newPage();
    const begin = performance.now();
    await page.goto(`${base}/#/logs?${new URLSearchParams({ q: query, range })}`, { waitUntil: "commit" });
    await page.locator(".log li").first().waitFor({ timeout: 60_000 });
    taken.push(performance.now() - begin);
    await page.context().close();
  }
  times[name] = Math.round(taken.sort((a, b) => a - b)[2]);
}
await browser.close();
console.log(JSON.stringify(times));
