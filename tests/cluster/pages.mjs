/**
 * Pictures of every page of an aggregator on a real cluster, to be looked at: light and dark, wide and narrow, English and
 * Japanese; and times. Complaints of the browser and pages wider than the window end it with an error.
 *   KANSOKU_URL=https://ADDRESS:9428 KANSOKU_TOKEN=... SCREENSHOTS=FOLDER node tests/cluster/pages.mjs [NAME...]
 * Needs the packages of tests/browser (npm ci there). Four of the eight kinds of pictures are taken; ONLY=light-wide-ja takes any
 * one of them, ONLY=times none.
 */
import { existsSync, mkdirSync } from "node:fs";
import { createRequire } from "node:module";
import { join } from "node:path";

const { chromium } = createRequire(new URL("../browser/harness.mjs", import.meta.url))("playwright-core");
const base = process.env.KANSOKU_URL.replace(/\/$/, "");
const folder = process.env.SCREENSHOTS;
mkdirSync(folder, { recursive: true });

const browser = await chromium.launch({
  executablePath: process.env.CHROMIUM ?? "/usr/bin/chromium",
  args: ["--no-sandbox", "--disable-gpu"],
});
const sessionOf = async (options) => {
  const context = await withPage(await browser.newContext({ ignoreHTTPSErrors: true, ...options }));
  if (process.env.KANSOKU_TOKEN) {
    const form = { token: process.env.KANSOKU_TOKEN };
    const answer = await context.request.post(`${base}/api/v1/access/login`, {
      form,
      headers: { "x-requested-with": "kansoku" },
    });
    if (!answer.ok()) throw new Error(`signing in: ${answer.status()} ${await answer.text()}`);
  }
  return context;
};
/** With UI=aggregator/ui/dist the page is the one built there, asking the aggregator of the cluster. */
const withPage = async (context) => {
  if (process.env.UI)
    await context.route(`${base}/**`, (route) => {
      const { pathname } = new URL(route.request().url());
      const path = join(process.env.UI, pathname === "/" ? "index.html" : pathname);
      return existsSync(path) ? route.fulfill({ path }) : route.fallback();
    });
  return context;
};
const at = (page, params = {}) => `#/${page}?${new URLSearchParams(params)}`;

/** The newest pod of a workload that still writes. */
const ask = await sessionOf({});
const podOf = async (workload) => {
  const query = `topk(1, max by (pod) (last_over_time(kube_pod_start_time{namespace="shop",pod=~"${workload}.*"}[1h])))`;
  const answer = await ask.request.get(`${base}/api/v1/query?${new URLSearchParams({ query })}`);
  return (await answer.json()).data.result[0]?.metric.pod ?? workload;
};
const pods = Object.fromEntries(
  await Promise.all(
    ["checkout", "recommender", "ledger", "thumbnails", "billing", "migration"].map(async (name) => [name, await podOf(name)]),
  ),
);
const node = (await (await ask.request.get(`${base}/api/v1/label/node/values`)).json()).data[0];
const pod = (name) => at("pod", { ns: "shop", pod: pods[name], range: "15m" });

/** Name, address, and what is there when the page is ready. */
const PAGES = [
  ["sign-in", "#/", ".sign-in"],
  ["cluster", "#/", "tbody tr"],
  ["cluster-namespaces", at("", { tab: "namespaces" }), "tbody tr"],
  ["cluster-workloads", at("", { tab: "workloads" }), "tbody tr"],
  ["cluster-pods", at("", { tab: "pods" }), "tbody tr"],
  ["node", at("node", { node }), ".log li, .log [role=row], .log"],
  ["pod-throttled", pod("recommender"), ".log li"],
  ["pod-chatty", pod("checkout"), ".log li"],
  ["pod-crashing", pod("ledger"), ".log li"],
  ["pod-oom", pod("thumbnails"), ".log li"],
  ["pod-deleted", at("pod", { ns: "shop", pod: pods.migration }), ".log li"],
  ["logs", at("logs", { range: "15m" }), ".log li"],
  ["logs-json", at("logs", { q: '{namespace="shop", pod=~"checkout.*"} | json | level="error"', range: "15m" }), ".log li"],
  ["logs-patterns", at("logs", { q: '{namespace="shop"}', view: "patterns", range: "15m" }), "tbody tr"],
  ["metrics", at("metrics", { range: "15m" }), "main"],
  [
    "metrics-query",
    at("metrics", {
      q: 'sum by (pod) (rate(container_cpu_usage_seconds_total{namespace="shop",container!=""}[1m]))',
      range: "15m",
    }),
    "canvas",
  ],
  ["dashboards", at("dashboards"), "main"],
  ["dashboard-shop", at("dashboards", { board: "saved:provisioned.kansoku-boards-board", range: "15m" }), "canvas"],
  ["alerts", at("alerts"), ".card"],
  ["slos", at("slos"), "h1"],
  ["kansoku", at("kansoku"), ".costs tbody tr"],
];
const wanted = new Set(process.argv.slice(2));

/** A picture of a page at its whole height, when nothing is asked any more. */
let n_wrong = 0;
const KINDS = ["light-wide-en", "dark-wide-ja", "light-phone-ja", "dark-phone-en"];
const OTHERS = ["dark-wide-en", "light-wide-ja", "light-phone-en", "dark-phone-ja"];
for (const kind of process.env.ONLY ? [...KINDS, ...OTHERS] : KINDS) {
  const [scheme, width, language] = kind.split("-");
  if (process.env.ONLY && process.env.ONLY !== kind) continue;
  const options = {
    colorScheme: scheme,
    locale: language === "ja" ? "ja-JP" : "en-GB",
    viewport: width === "wide" ? { width: 1440, height: 900 } : { width: 390, height: 844 },
  };
  const signedIn = await sessionOf(options);
  const anybody = await withPage(await browser.newContext({ ignoreHTTPSErrors: true, ...options }));
  for (const [name, hash, ready] of PAGES) {
    if (wanted.size > 0 && !wanted.has(name)) continue;
    const page = await (name === "sign-in" ? anybody : signedIn).newPage();
    const complaints = [];
    page.on("pageerror", (error) => complaints.push(String(error)));
    page.on("console", (message) => {
      if (["error", "warning"].includes(message.type())) complaints.push(message.text());
    });
    await page.goto(`${base}/${hash}`);
    await page.locator(ready).first().waitFor({ timeout: 20_000 }).catch(() => complaints.push(`no ${ready}`));
    await page.waitForLoadState("networkidle", { timeout: 8000 }).catch(() => {});
    // Charts are drawn a frame after their answer.
    await page.evaluate(() => new Promise((done) => requestAnimationFrame(() => requestAnimationFrame(done))));
    const [wide, window] = await page.evaluate(() => [document.documentElement.scrollWidth, innerWidth]);
    if (wide > window) complaints.push(`${wide} px wide in a window of ${window} px`);
    await page.screenshot({ path: join(folder, `${name}-${kind}.png`), fullPage: true });
    if (complaints.length > 0) {
      n_wrong += 1;
      console.log(`${name} ${kind}: ${complaints.join("; ")}`);
    }
    await page.close();
  }
  await signedIn.close();
  await anybody.close();
}

const median = (numbers) => [...numbers].sort((a, b) => a - b)[Math.floor(numbers.length / 2)];

/** From a new browser context to the first paint, and to the first row and the first chart with live data. */
async function firstPaint() {
  const runs = { "first paint": [], "rows of the cluster page": [], "charts of the node page": [] };
  for (let n = 0; n < 5; n += 1) {
    const context = await sessionOf({ viewport: { width: 1440, height: 900 } });
    const page = await context.newPage();
    let start = Date.now();
    await page.goto(`${base}/#/`);
    await page.locator("tbody tr").first().waitFor();
    runs["rows of the cluster page"].push(Date.now() - start);
    const paint = () => performance.getEntriesByName("first-contentful-paint")[0]?.startTime;
    runs["first paint"].push(Math.round(await page.waitForFunction(paint).then((handle) => handle.jsonValue())));
    start = Date.now();
    await page.goto(`${base}/${at("node", { node })}`);
    await page.locator(".card canvas").first().waitFor();
    runs["charts of the node page"].push(Date.now() - start);
    await context.close();
  }
  for (const [what, times] of Object.entries(runs)) console.log(`${what}: ${times.join(" ")} ms, median ${median(times)}`);
}

/** From a pod's write, whose time containerd puts before the line, to the line in the page of the live tail. */
async function tailLatency() {
  const context = await sessionOf({ viewport: { width: 1440, height: 900 } });
  const page = await context.newPage();
  await page.goto(`${base}/${at("logs", { q: '{namespace="shop", pod="clock"}', tail: "1" })}`);
  await page.locator(".log li").first().waitFor();
  const late_ms = await page.evaluate(
    () =>
      new Promise((done) => {
        const seen = new Set();
        const late = [];
        const look = () => {
          for (const element of document.querySelectorAll(".log li")) {
            const tick = /tick \d+/.exec(element.textContent)?.[0];
            const time = element.querySelector("[title]")?.getAttribute("title") ?? "";
            if (tick === undefined || seen.has(tick)) continue;
            seen.add(tick);
            late.push([tick, Date.now() - Date.parse(time)]);
          }
        };
        look();
        late.length = 0;
        new MutationObserver(() => {
          look();
          if (late.length >= 30) done(late.map(([, ms]) => ms));
        }).observe(document.body, { subtree: true, childList: true, characterData: true });
      }),
  );
  const sorted = [...late_ms].sort((a, b) => a - b);
  console.log(`live tail from write to screen, ${sorted.length} lines: least ${sorted[0]}, median ${median(sorted)}, most ${sorted.at(-1)} ms`);
  await context.close();
}

if (wanted.size === 0 && ["", "times"].includes(process.env.ONLY ?? "")) {
  await firstPaint();
  await tailLatency();
}
await browser.close();
process.exit(n_wrong === 0 ? 0 : 1);
