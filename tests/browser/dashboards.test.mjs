/** Dashboards: those built in, and Grafana's of several ages with what is not supported named. */
import assert from "node:assert/strict";
import { test } from "node:test";
import {
  assertAccessible,
  assertCount,
  assertNoOverflow,
  assertText,
  at,
  close,
  complaints,
  open,
  waitForInk,
} from "./harness.mjs";

const target = (expr, legendFormat = "") => ({ expr, legendFormat, refId: "A" });
const BOARD = JSON.stringify({
  title: "Imported <b>board",
  schemaVersion: 39,
  templating: {
    list: [
      { name: "node", type: "query", query: "label_values(node_load1, node)", multi: true, includeAll: true },
    ],
  },
  panels: [
    { id: 1, type: "row", title: "Loads", gridPos: { x: 0, y: 0, w: 24, h: 1 } },
    {
      id: 2,
      type: "timeseries",
      title: "load of $node",
      gridPos: { x: 0, y: 1, w: 12, h: 8 },
      repeat: "node",
      targets: [target('node_load1{node=~"$node"}', "{{node}}")],
    },
    {
      id: 3,
      type: "stat",
      title: "nodes",
      gridPos: { x: 0, y: 9, w: 6, h: 5 },
      targets: [target("count(node_load1)")],
    },
    {
      id: 4,
      type: "gauge",
      title: "memory",
      gridPos: { x: 6, y: 9, w: 6, h: 5 },
      fieldConfig: { defaults: { unit: "percentunit", max: 1 } },
      targets: [
        target(
          '1 - node_memory_MemAvailable_bytes{node="node-a"} / node_memory_MemTotal_bytes{node="node-a"}',
        ),
      ],
    },
    {
      id: 5,
      type: "bargauge",
      title: "disks",
      gridPos: { x: 12, y: 9, w: 6, h: 5 },
      fieldConfig: { defaults: { unit: "percentunit", max: 1 } },
      targets: [
        {
          ...target(
            '1 - node_filesystem_avail_bytes{node="node-b"} / node_filesystem_size_bytes{node="node-b"}',
            "{{mountpoint}}",
          ),
          instant: true,
        },
      ],
    },
    {
      id: 6,
      type: "piechart",
      title: "pods",
      gridPos: { x: 18, y: 9, w: 6, h: 5 },
      targets: [{ ...target("count by (namespace) (kube_pod_info)", "{{namespace}}"), instant: true }],
    },
    {
      id: 7,
      type: "table",
      title: "table",
      gridPos: { x: 0, y: 14, w: 12, h: 7 },
      targets: [target("count by (namespace, node) (kube_pod_info)")],
    },
    {
      id: 8,
      type: "heatmap",
      title: "heat",
      gridPos: { x: 12, y: 14, w: 12, h: 10 },
      targets: [target("node_load1")],
    },
    {
      id: 9,
      type: "logs",
      title: "lines",
      gridPos: { x: 0, y: 24, w: 12, h: 8 },
      datasource: { type: "loki" },
      targets: [target('{namespace="shop"}')],
    },
    {
      id: 10,
      type: "text",
      title: "words",
      gridPos: { x: 12, y: 24, w: 12, h: 8 },
      options: {
        content: '# Words\n<img src=x onerror="window.hacked=1">**bold** [bad](javascript:window.hacked=1)',
      },
    },
    { id: 11, type: "geomap", title: "map", gridPos: { x: 0, y: 32, w: 12, h: 4 } },
  ],
});

/** Removes the dashboard that is shown. */
async function remove(page) {
  await page.getByRole("button", { name: "Remove" }).click();
  await page.getByRole("dialog").getByRole("button", { name: "Remove" }).click();
  await page.getByRole("heading", { name: "Import from Grafana" }).waitFor();
}

test("the built-in dashboards are drawn, and their variables choose", async () => {
  const page = await open("#/dashboards");
  await page.getByRole("link", { name: "Node" }).click();
  await page.getByRole("combobox", { name: "node" }).selectOption("node-a");
  await page.waitForURL(/vars=/);
  await waitForInk(page.getByRole("region", { name: "CPU by mode" }).locator("canvas"), 200);
  await page.getByRole("img", { name: /%/ }).first().waitFor();
  await assertAccessible(page);
  await assertCount(page.locator(".unsupported"), 0);
  assert.deepEqual(complaints, []);
  await close(page, "board-node");
});

test("a dashboard of Grafana is imported, drawn with all kinds of panels, kept, and removed", async () => {
  const page = await open("#/dashboards");
  await page.getByRole("textbox", { name: "JSON of a dashboard" }).fill(BOARD);
  await page.getByRole("button", { name: "Import from Grafana" }).click();
  await page.getByRole("heading", { name: "Imported <b>board" }).waitFor();
  for (const node of ["node-a", "node-b", "node-c"])
    await waitForInk(page.getByRole("region", { name: `load of ${node}` }).locator("canvas"), 20);
  await page.getByRole("region", { name: "nodes" }).locator("strong").waitFor();
  await page.getByRole("region", { name: "memory" }).getByRole("img", { name: /%/ }).waitFor();
  await page.getByRole("region", { name: "disks" }).getByText("93%").waitFor();
  await page
    .getByRole("region", { name: "pods" })
    .getByText(/kube-system/)
    .waitFor();
  await page.getByRole("region", { name: "table" }).first().locator("tbody tr").first().waitFor();
  await waitForInk(page.getByRole("region", { name: "heat" }).locator("canvas"), 100);
  await page.getByRole("region", { name: "lines" }).first().locator(".log li").first().waitFor();
  const words = page.getByRole("region", { name: "words" });
  await assertText(words.locator("strong"), "bold");
  await assertCount(words.locator("img, a"), 0);
  assert.equal(await page.evaluate(() => window.hacked), undefined);
  await page.locator(".unsupported summary").click();
  await page.getByText("panel type geomap (map)").waitFor();
  await assertAccessible(page);
  await page.getByRole("button", { name: /Loads/ }).click();
  await assertCount(page.getByRole("region", { name: "nodes" }), 0);
  await page.getByRole("button", { name: /Loads/ }).click();
  await page.reload();
  await page.getByRole("heading", { name: "Imported <b>board" }).waitFor();
  assert.deepEqual(complaints, []);
  await page.setViewportSize({ width: 1280, height: 1500 });
  await waitForInk(page.getByRole("region", { name: "load of node-a" }).locator("canvas"), 20);
  await close({ screenshot: (options) => page.screenshot(options), close: () => {} }, "board-imported");
  await page.setViewportSize({ width: 390, height: 800 });
  await assertNoOverflow(page);
  await close({ screenshot: (options) => page.screenshot(options), close: () => {} }, "board-phone");
  await remove(page);
  await page.getByText("None yet:").waitFor();
  await page.close();
});

test("a long text is imported as it is pasted", async () => {
  const page = await open("#/dashboards");
  const long = JSON.stringify(
    { ...JSON.parse(BOARD), title: "Long", description: "line\n".repeat(100_000) },
    null,
    1,
  );
  await page.getByRole("textbox", { name: "JSON of a dashboard" }).evaluate((element, text) => {
    const clipboardData = new DataTransfer();
    clipboardData.setData("text/plain", text);
    element.dispatchEvent(new ClipboardEvent("paste", { clipboardData, bubbles: true, cancelable: true }));
  }, long);
  await page.getByRole("heading", { name: "Long" }).waitFor();
  await remove(page);
  await page.close();
});

test("what is no dashboard is refused with words", async () => {
  const page = await open("#/dashboards");
  for (const [text, words] of [
    ["{", /not JSON/],
    ['{"title":"x"}', /no dashboard/],
  ]) {
    await page.getByRole("textbox", { name: "JSON of a dashboard" }).fill(text);
    await page.getByRole("button", { name: "Import from Grafana" }).click();
    await page.getByText(words).waitFor();
  }
  await page.goto(page.url().replace(/#.*/, at("dashboards", { board: "saved:gone" })));
  await page.getByText("There is no dashboard “gone”.").waitFor();
  await close(page, "board-refused");
});
