/** The page of alerts, on an answer as Prometheus writes it. */
import assert from "node:assert/strict";
import { test } from "node:test";
import { assertAccessible, assertCount, assertText, close, complaints, open, podThat } from "./harness.mjs";

const crashing = podThat("crash");
const now = (seconds) => new Date(Date.now() - seconds * 1000).toISOString();
const rule = (name, state, more = {}) => ({
  type: "alerting",
  name,
  query: `up{job="${name}"} == 0`,
  state,
  duration: 300,
  health: "ok",
  labels: { severity: "page" },
  annotations: {},
  lastEvaluation: now(12),
  evaluationTime: 0.0034,
  alerts: [],
  ...more,
});
const ANSWER = {
  status: "success",
  data: {
    groups: [
      {
        name: "pods",
        file: "/etc/kansoku/rules.yml",
        interval: 30,
        rules: [
          rule("PodCrashes", "firing", {
            alerts: [
              {
                state: "firing",
                labels: { alertname: "PodCrashes", namespace: crashing.namespace, pod: crashing.pod },
                annotations: { summary: "<b>It</b> crashes" },
                activeAt: now(600),
                value: "3e+00",
              },
            ],
          }),
          rule("PodSlow", "inactive"),
          {
            type: "recording",
            name: "pod:cpu:rate",
            query: "sum(",
            health: "err",
            lastError: "unexpected end of input",
          },
        ],
      },
    ],
  },
};

test("what fires stands above, rules are filtered, and lead to the explorer and the pod", async () => {
  const page = await open("#/cluster");
  await page.route("**/api/v1/rules*", (route) => route.fulfill({ json: ANSWER }));
  await page.getByRole("link", { name: "Alerts" }).click();
  const active = page.getByRole("region", { name: "Active alerts" });
  await active.getByText("<b>It</b> crashes").waitFor();
  await assertText(active, /firing.*PodCrashes.*10 min/s);
  await assertAccessible(page);
  await page.locator(".rules summary", { hasText: "pod:cpu:rate" }).click();
  await page.getByText("unexpected end of input").waitFor();
  await close({ screenshot: (options) => page.screenshot(options), close: () => {} }, "alerts");
  await page.getByRole("button", { name: /^inactive/ }).click();
  await page.waitForURL(/state=inactive/);
  await assertCount(page.locator(".rules > li"), 1);
  await page.getByRole("button", { name: /^firing/ }).click();
  await active.getByRole("link", { name: "Pod", exact: true }).click();
  await page.getByRole("heading", { name: crashing.pod }).waitFor();
  assert.deepEqual(complaints, []);
  await page.close();
});

test("without rules the page says how they come", async () => {
  const page = await open("#/cluster");
  await page.route("**/api/v1/rules*", (route) =>
    route.fulfill({ json: { status: "success", data: { groups: [] } } }),
  );
  await page.getByRole("link", { name: "Alerts" }).click();
  await page.getByText("No rules are loaded.").waitFor();
  await close(page, "alerts-none");
});
