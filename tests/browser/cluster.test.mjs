/** The cluster, node and pod pages: from what is wrong down to a container's log. */
import assert from "node:assert/strict";
import { test } from "node:test";
import { assertCount, assertText, at, base, close, complaints, open, podThat, waitForInk } from "./harness.mjs";
import { startFront } from "./front.mjs";
import { push } from "./seed.mjs";
import { NODES } from "./synthetic.mjs";

const crashing = podThat("crash");
const gone = podThat("gone");
const throttled = podThat("throttled");

test("nodes are listed with live measures, and what is wrong stands above", async () => {
  const page = await open("#/");
  for (const node of NODES) await page.getByRole("row", { name: node }).waitFor();
  const row = page.getByRole("row", { name: "node-b" });
  await assertText(row, /Ready.*%.*%.*93%.*[KM]iB\/s/s);
  await row.locator("polyline").nth(4).waitFor({ state: "attached" });
  const problems = page.getByRole("region", { name: "Needs attention" });
  for (const part of [/node-c: NotReady/, /node-b: a disk is 93% full/, new RegExp(`${crashing.pod}: CrashLoopBackOff`)])
    await assertText(problems, part);
  // Beside so few nodes there is room for what runs on them.
  await page.getByRole("region", { name: "Workloads" }).getByRole("row", { name: /checkout Deployment/ }).waitFor();
  // What must be counted out of logs comes by itself, too.
  await row.locator("td").last().locator("polyline").first().waitFor();
  assert.deepEqual(complaints, []);
  await close(page, "cluster");
});

test("namespaces, workloads and pods are counted, sorted and filtered, and the address keeps it", async () => {
  const page = await open(at("", { range: "1h" }));
  await page.getByRole("button", { name: /^Workloads/ }).click();
  const row = page.getByRole("row", { name: /checkout Deployment/ });
  await row.waitFor();
  await page.getByRole("button", { name: /^Pods/ }).click();
  await page.waitForURL(/tab=pods/);
  await page.getByRole("row", { name: gone.pod }).getByText("deleted").waitFor();
  await page.getByRole("button", { name: /^CPU/ }).click();
  await page.waitForURL(/sort=-cpu/);
  await assertText(page.locator("tbody tr th").first(), /checkout/);
  await page.getByRole("searchbox").fill("payments crash");
  await assertCount(page.locator("tbody tr"), 1);
  await page.reload();
  await page.getByRole("row", { name: crashing.pod }).waitFor();
  await assertCount(page.locator("tbody tr"), 1);
  await assertText(page.locator("tbody tr"), /CrashLoopBackOff/);
  await page.getByRole("searchbox").fill("<b>no such pod");
  await page.getByText("Nothing matches “<b>no such pod”.").waitFor();
  assert.deepEqual(complaints, []);
  await close(page, "pods");
});

test("a click leads from the node to its pods, to a pod, to a container", async () => {
  const page = await open("#/");
  await page.getByRole("link", { name: throttled.node, exact: true }).click();
  await page.getByRole("heading", { name: throttled.node }).waitFor();
  for (const title of ["CPU", "Memory", "Disk", "Network"])
    await waitForInk(page.getByRole("region", { name: title, exact: true }).locator("canvas"), 200);
  await page.getByRole("region", { name: "Newest log lines" }).locator("li").first().waitFor();
  await page.getByRole("link", { name: "Pods of this node" }).click();
  await page.getByRole("link", { name: throttled.pod, exact: true }).click();
  await page.getByRole("heading", { name: throttled.pod }).waitFor();
  await page.getByText(`app=${throttled.workload}`).waitFor();
  await page.getByRole("button", { name: "sidecar", exact: true }).click();
  await page.waitForURL(/container=sidecar/);
  await page.waitForFunction(() => {
    const origins = [...document.querySelectorAll(".log .origin")].map((element) => element.textContent);
    return origins.length > 0 && origins.every((text) => text === "sidecar");
  });
  assert.deepEqual(complaints, []);
  await close(page, "pod");
});

test("a drag over a pod's chart narrows its log, and a click takes the mark away", async () => {
  const page = await open(at("pod", { ns: throttled.namespace, pod: throttled.pod, live: "0" }));
  const chart = page.getByRole("region", { name: "CPU", exact: true });
  await waitForInk(chart.locator("canvas"), 100);
  const status = page.getByRole("region", { name: "Logs" }).getByRole("status");
  await status.getByText(/lines/).waitFor();
  const before = await status.innerText();
  const { x, y, width } = await chart.locator(".u-over").boundingBox();
  await page.mouse.move(x + width * 0.5, y + 30);
  await page.mouse.down();
  await page.mouse.move(x + width * 0.6, y + 34, { steps: 4 });
  await page.mouse.up();
  await page.waitForURL(/from=\d+&to=\d+/);
  const [, from, to] = /from=(\d+)&to=(\d+)/.exec(page.url());
  await page.waitForFunction(
    ([text]) => document.querySelector(".pod .card .note[role=status]")?.textContent !== text,
    [before],
  );
  const times = await page
    .locator(".log time, .log button.time")
    .evaluateAll((all) => all.map(({ title }) => title));
  assert.ok(times.length > 0);
  for (const time of times) assert.ok(Date.parse(time) / 1000 >= from && Date.parse(time) / 1000 <= to, time);
  // The span stays marked in every chart.
  assert.ok((await chart.locator(".u-select").evaluate(({ offsetWidth }) => offsetWidth)) > 5);
  await page.locator(".mark-chip").click();
  await page.waitForURL((url) => !url.hash.includes("from="));
  assert.deepEqual(complaints, []);
  await close(page, "pod-brush");
});

test("a deleted pod keeps its charts and its log; a crashing one its events and last end", async () => {
  const page = await open(at("pod", { ns: gone.namespace, pod: gone.pod }));
  await page.getByText("deleted").waitFor();
  await waitForInk(page.getByRole("region", { name: "Memory", exact: true }).locator("canvas"), 50);
  await page.locator(".log li").first().waitFor();
  await page.goto(`${base}/${at("pod", { ns: crashing.namespace, pod: crashing.pod })}`);
  await page.getByRole("heading", { name: crashing.pod }).waitFor();
  await page.getByRole("cell", { name: /OOMKilled/ }).waitFor();
  const why = page.getByRole("region", { name: "Needs attention" });
  await why.getByText(/was killed when it needed more memory than its limit of [\d.]+ [KMG]iB/).waitFor();
  await why.getByText(/was started again \d+ times/).waitFor();
  await page.getByRole("region", { name: "Events" }).getByText("Back-off restarting").first().waitFor();
  assert.deepEqual(complaints, []);
  await close(page, "pod-crashing");
});

test("the node page goes on by itself, without making its charts anew, but not while it is hidden", async () => {
  const page = await open(at("node", { node: "node-a" }), { clock: true });
  const canvas = page.getByRole("region", { name: "CPU", exact: true }).locator("canvas");
  await waitForInk(canvas, 200);
  await canvas.evaluate((element) => (element.dataset.first = "yes"));
  const setHidden = (hidden) =>
    page.evaluate((value) => {
      Object.defineProperty(document, "hidden", { configurable: true, value });
      document.dispatchEvent(new Event("visibilitychange"));
    }, hidden);
  const line = async (text) => {
    const stream = { namespace: "shop", pod: "p", container: "c", node: "node-a" };
    await push(base, [{ stream, values: [[`${Date.now()}000000`, text]] }]);
  };
  await setHidden(true);
  let asked = 0;
  page.on("request", () => (asked += 1));
  await page.clock.fastForward(120_000);
  assert.equal(asked, 0, "a hidden page asks nothing");
  await line("a line that came later");
  await setHidden(false);
  await page.getByText("a line that came later").first().waitFor();
  await line("and one more");
  await page.clock.fastForward(6_000);
  await page.getByText("and one more").first().waitFor();
  assert.equal(await canvas.getAttribute("data-first"), "yes");
  await page.close();
});

test("an aggregator without data says how to start an agent", async () => {
  const empty = process.env.KANSOKU_EMPTY_URL;
  assert.ok(empty, "KANSOKU_EMPTY_URL names no aggregator");
  const front = await startFront(empty);
  for (const hash of ["#/", "#/logs", "#/node"]) {
    const page = await open(hash, { url: front.url });
    const command = page.locator(".empty code").first();
    await command.waitFor();
    const { port } = new URL(front.url);
    assert.match(
      await command.innerText(),
      new RegExp(`kansoku-agent .*-o kansoku .*-p host=127.0.0.1 -p port=${port}`, "s"),
    );
    await close(page, "empty");
  }
  front.close();
});
