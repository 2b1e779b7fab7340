/** The page of kansoku's own health. */
import assert from "node:assert/strict";
import { test } from "node:test";
import { assertText, close, complaints, open, waitForInk } from "./harness.mjs";

test("agents, store, charts, costs and cardinality are shown", async () => {
  const page = await open("#/kansoku");
  const agents = page.getByRole("region", { name: "Agents" });
  await agents.locator("tbody tr").first().waitFor();
  await assertText(agents.locator("tbody tr").first(), /\d+\.\d+\.\d+.*up \d+/s);
  await waitForInk(page.getByRole("region", { name: "Records in" }).locator("canvas"), 50);
  const costs = page.getByRole("region", { name: "By namespace" });
  await assertText(costs.getByRole("row", { name: /^shop/ }), /[KM]iB\s+\d+/);
  await page.getByRole("region", { name: "Series by metric" }).getByText("node_cpu_seconds_total").waitFor();
  await assertText(page.locator(".tiles"), /kansoku-aggregator\s+\d+\.\d+/);
  assert.deepEqual(complaints, []);
  await close(page, "kansoku");
});
