/** Changing dashboards: made, moved, sized, asked, saved, exported; two people at once; what is read only. */
import assert from "node:assert/strict";
import { readFileSync, rmSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { test } from "node:test";
import { assertAccessible, assertCount, assertNoOverflow, at, base, close, complaints, open, waitForInk } from "./harness.mjs";

const PANEL = (id, title, x, y, expr) => ({
  id,
  type: "timeseries",
  title,
  gridPos: { x, y, w: 12, h: 8 },
  targets: [{ refId: "A", expr, legendFormat: "{{node}}" }],
  x_unknown: { kept: [1, 2.5] },
});

/** Puts a dashboard into the aggregator. */
async function put(id, board, tag = "") {
  const headers = tag === "" ? { "if-none-match": "*" } : { "if-match": tag };
  const answer = await fetch(`${base}/api/v1/dashboards/${id}`, { method: "PUT", headers, body: JSON.stringify(board) });
  const json = await answer.json();
  assert.equal(answer.status, 200, JSON.stringify(json));
  return json.data.tag;
}

const get = async (id) => (await (await fetch(`${base}/api/v1/dashboards/${id}`)).json()).data;
const forget = (id) => fetch(`${base}/api/v1/dashboards/${id}`, { method: "DELETE" });

/** Types a query into an editor of a form. */
async function type(page, label, query) {
  const editor = page.getByRole("textbox", { name: label });
  await editor.click();
  await page.keyboard.press("Control+a");
  await page.keyboard.press("Delete");
  await page.keyboard.insertText(query);
  await page.keyboard.press("Escape");
}

test("a dashboard is made with panels, units, thresholds and variables, saved, and taken to Grafana", async () => {
  const page = await open("#/dashboards");
  await page.getByRole("button", { name: "New dashboard…" }).click();
  const title = page.getByRole("textbox", { name: "Title of the dashboard" });
  await title.fill("Made here");
  await title.press("Enter");
  await page.getByRole("combobox", { name: "Add panel…" }).selectOption("timeseries");
  const form = page.getByRole("complementary", { name: /Panel:/ });
  await form.getByRole("textbox", { name: "Title" }).fill("Load of $node");
  await form.getByRole("textbox", { name: "Title" }).press("Enter");
  await page.waitForFunction(() => document.querySelector(".drawer .cm-editor, .drawer .editor-root") !== null);
  await type(page, "Query A", 'node_load1{node=~"$node"}');
  await form.getByRole("textbox", { name: "Legend, such as {{pod}}" }).fill("{{node}}");
  await form.getByRole("combobox", { name: "Unit" }).fill("percentunit");
  await form.getByRole("textbox", { name: "Decimals" }).fill("1");
  await form.getByRole("button", { name: "Add threshold" }).click();
  await form.getByRole("textbox", { name: "Threshold 1: from" }).fill("90");
  await form.getByRole("combobox", { name: "Threshold 1: colour" }).selectOption("orange");
  await assertAccessible(page);
  await close({ screenshot: (options) => page.screenshot(options), close: () => {} }, "board-edit-panel");
  await form.getByRole("button", { name: "Close" }).click();
  await page.getByRole("button", { name: "Variables" }).click();
  const variables = page.getByRole("complementary", { name: "Variables" });
  await variables.getByRole("button", { name: "Add variable" }).click();
  await variables.getByRole("textbox", { name: "Name" }).fill("no de");
  await variables.getByRole("textbox", { name: "Name" }).press("Enter");
  await variables.getByRole("alert").waitFor();
  await variables.getByRole("textbox", { name: "Name" }).fill("node");
  await variables.getByRole("textbox", { name: /^Query/ }).fill("label_values(node_load1, node)");
  await variables.getByRole("checkbox", { name: "Several values" }).check();
  await close({ screenshot: (options) => page.screenshot(options), close: () => {} }, "board-edit-variables");
  await variables.getByRole("button", { name: "Close" }).click();
  await waitForInk(page.getByRole("region", { name: /Load of node-/ }).locator("canvas"), 50);
  await page.getByRole("button", { name: "Save", exact: true }).click();
  await page.getByRole("heading", { name: "Made here" }).waitFor();
  await page.getByRole("button", { name: "Edit", exact: true }).waitFor();
  const id = new URL(page.url().replace("#/", "")).searchParams.get("board").slice("saved:".length);
  const kept = await get(id);
  assert.equal(kept.version, 2);
  const panel = kept.document.panels[0];
  assert.equal(panel.targets[0].expr, 'node_load1{node=~"$node"}');
  assert.equal(panel.fieldConfig.defaults.unit, "percentunit");
  assert.equal(panel.fieldConfig.defaults.decimals, 1);
  assert.deepEqual(panel.fieldConfig.defaults.thresholds.steps, [
    { value: null, color: "green" },
    { value: 90, color: "orange" },
  ]);
  assert.equal(kept.document.templating.list[0].name, "node");
  const [file] = await Promise.all([
    page.waitForEvent("download"),
    page.getByRole("button", { name: "Export JSON" }).click(),
  ]);
  const exported = JSON.parse(readFileSync(await file.path(), "utf8"));
  assert.equal(file.suggestedFilename(), "made-here.json");
  assert.deepEqual(exported.__inputs.map(({ name }) => name), ["DS_PROMETHEUS"]);
  assert.equal(exported.panels[0].targets[0].datasource.uid, "${DS_PROMETHEUS}");
  assert.deepEqual(complaints, []);
  await forget(id);
  await close(page, "board-made");
});

test("panels are moved and sized with the mouse and the keyboard; undo; what is unknown stays", async () => {
  await put("moving", {
    title: "Moving",
    odd: { kept: true },
    panels: [PANEL(1, "one", 0, 0, "node_load1"), PANEL(2, "two", 12, 0, "node_load5"), PANEL(3, "three", 0, 8, "node_load15")],
  });
  const page = await open(at("dashboards", { board: "saved:moving" }));
  await page.getByRole("button", { name: "Edit", exact: true }).click();
  const region = (name) => page.getByRole("region", { name });
  await region("three").waitFor();
  const before = await region("one").boundingBox();
  await page.getByRole("button", { name: "Move one", exact: true }).hover();
  await page.mouse.down();
  const other = await region("two").boundingBox();
  await page.mouse.move(other.x + other.width - 80, other.y + 20, { steps: 8 });
  await page.mouse.up();
  await page.waitForFunction(() => document.querySelector('section[aria-label="one"]').getBoundingClientRect().left > 600);
  assert.ok((await region("two").boundingBox()).y > before.y + 100, "the other one makes way");
  await page.getByRole("button", { name: "Undo" }).click();
  while (await page.getByRole("button", { name: "Undo" }).isEnabled()) await page.getByRole("button", { name: "Undo" }).click();
  assert.equal((await region("one").boundingBox()).x, before.x);
  const handle = page.getByRole("button", { name: "Move one", exact: true });
  await handle.focus();
  await page.keyboard.press("ArrowDown");
  await page.waitForFunction(
    () =>
      document.querySelector('section[aria-label="one"]').getBoundingClientRect().top >
      document.querySelector('section[aria-label="three"]').getBoundingClientRect().top,
  );
  await page.keyboard.press("Shift+ArrowRight");
  await page.keyboard.press("Shift+ArrowDown");
  const corner = await region("two").boundingBox();
  await page.mouse.move(corner.x + corner.width - 5, corner.y + corner.height - 5);
  await page.mouse.down();
  await page.mouse.move(corner.x + corner.width - 250, corner.y + corner.height + 76, { steps: 6 });
  await page.mouse.up();
  await assertAccessible(page);
  await page.getByRole("button", { name: "Remove three" }).click();
  await close({ screenshot: (options) => page.screenshot(options), close: () => {} }, "board-editing");
  await page.setViewportSize({ width: 390, height: 800 });
  await assertNoOverflow(page);
  await close({ screenshot: (options) => page.screenshot(options), close: () => {} }, "board-editing-phone");
  await page.setViewportSize({ width: 1280, height: 800 });
  // Another page and back: the changes are still there.
  await page.getByRole("link", { name: "Metrics", exact: true }).click();
  await page.goBack();
  await region("two").waitFor();
  await assertCount(region("three"), 0);
  await page.getByRole("button", { name: "Save", exact: true }).click();
  await page.getByRole("button", { name: "Edit", exact: true }).waitFor();
  const { document } = await get("moving");
  assert.deepEqual(document.odd, { kept: true });
  assert.deepEqual(document.panels.map(({ title, x_unknown }) => [title, x_unknown.kept[1]]).sort(), [["one", 2.5], ["two", 2.5]]);
  const grid = Object.fromEntries(document.panels.map(({ title, gridPos }) => [title, gridPos]));
  assert.equal(grid.one.w, 13);
  assert.equal(grid.one.h, 9);
  assert.ok(grid.two.w < 12 && grid.two.h === 10, JSON.stringify(grid));
  assert.deepEqual(complaints, []);
  await forget("moving");
  await page.close();
});

test("two people at once: the second is told, and loses nothing", async () => {
  const tag = await put("shared", { title: "Shared", panels: [PANEL(1, "one", 0, 0, "node_load1")] });
  const page = await open(at("dashboards", { board: "saved:shared", edit: "1" }));
  const title = page.getByRole("textbox", { name: "Title of the dashboard" });
  await title.fill("Mine");
  await title.press("Enter");
  await put("shared", { title: "Theirs", panels: [] }, tag);
  await page.getByText("Version 2 was saved meanwhile by somebody else.").waitFor();
  await page.getByRole("button", { name: "Save", exact: true }).click();
  await page.getByText(/was saved meanwhile and is at version 2/).waitFor();
  await close({ screenshot: (options) => page.screenshot(options), close: () => {} }, "board-conflict");
  await page.getByRole("button", { name: "Save as…" }).click();
  const dialog = page.getByRole("dialog");
  await dialog.getByRole("textbox", { name: "Title of the dashboard" }).fill("Mine, kept");
  await dialog.getByRole("button", { name: "Save" }).click();
  await page.getByRole("heading", { name: "Mine, kept" }).waitFor();
  assert.equal((await get("shared")).document.title, "Theirs");
  assert.equal((await get("mine-kept")).document.panels.length, 1);
  // The refused request is a line of the browser's console.
  assert.ok(complaints.every((text) => /412/.test(text)), String(complaints));
  // The history goes back.
  await page.goto(page.url().replace(/#.*/, at("dashboards", { board: "saved:shared" })));
  await page.getByRole("heading", { name: "Theirs" }).waitFor();
  await page.getByRole("button", { name: "History" }).click();
  await page.getByRole("dialog").getByRole("link", { name: "Version 1" }).click();
  await page.getByRole("heading", { name: "Shared" }).waitFor();
  await page.getByText(/This is version 1/).waitFor();
  await page.getByRole("button", { name: "Restore this version" }).click();
  await page.getByRole("button", { name: "History" }).waitFor();
  await page.getByRole("heading", { name: "Shared" }).waitFor();
  assert.equal((await get("shared")).version, 3);
  await forget("shared");
  await forget("mine-kept");
  await page.close();
});

test("dashboards from files are shown as they change, and saved under another name", async () => {
  const folder = process.env.KANSOKU_BOARDS;
  assert.ok(folder, "KANSOKU_BOARDS names no folder");
  const file = join(folder, "team.json");
  writeFileSync(file, JSON.stringify({ title: "From a file", panels: [PANEL(1, "one", 0, 0, "node_load1")] }));
  const page = await open("#/dashboards");
  await page.getByRole("link", { name: /From a file/ }).click();
  await waitForInk(page.getByRole("region", { name: "one" }).locator("canvas"), 20);
  writeFileSync(file, JSON.stringify({ title: "From a changed file", panels: [] }));
  await page.getByText("The file of this dashboard was changed.").waitFor();
  await page.getByRole("button", { name: "Load it" }).click();
  await page.getByRole("heading", { name: "From a changed file" }).waitFor();
  await page.getByRole("button", { name: "Edit", exact: true }).click();
  await page.getByText("Comes from a file or a ConfigMap: save it under a name of your own.").waitFor();
  await assertCount(page.getByRole("button", { name: "Save", exact: true }), 0);
  await page.getByRole("button", { name: "Save as…" }).click();
  await page.getByRole("dialog").getByRole("button", { name: "Save" }).click();
  await page.getByRole("button", { name: "History" }).waitFor();
  assert.equal((await get("from-a-changed-file")).provisioned, false);
  writeFileSync(file, "{");
  await page.getByRole("link", { name: "All dashboards" }).click();
  await page.getByText(/not JSON/).waitFor();
  await assertAccessible(page);
  assert.deepEqual(complaints, []);
  rmSync(file);
  await forget("from-a-changed-file");
  await close(page, "board-shelf");
});
