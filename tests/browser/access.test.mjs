/** Signing in, and what the page shows of what one may not do; on an aggregator with users and a provider. */
import assert from "node:assert/strict";
import { test } from "node:test";
import { assertAccessible, assertCount, assertNoOverflow, close, complaints, open } from "./harness.mjs";

const url = (process.env.KANSOKU_LOCKED_URL ?? "").replace(/\/$/, "");
const provider = process.env.KANSOKU_PROVIDER_URL ?? "";
/** What a browser says of each answer that is no success; the page knows of those. */
const others = () => complaints.filter((text) => !/status of 4\d\d/.test(text));

async function signIn(page, user) {
  await page.getByRole("textbox", { name: "User" }).fill(user);
  await page.getByLabel("Password").fill("secret");
  await page.getByRole("button", { name: "Sign in", exact: true }).click();
  await page.getByRole("button", { name: "Sign out" }).waitFor();
}

/** The page at a place, for somebody who was not there before. */
async function openAs(user, hash) {
  const page = await open(hash, { url });
  await page.context().clearCookies();
  await page.reload();
  await signIn(page, user);
  return page;
}

async function change(method, path, body) {
  const authorization = `Basic ${Buffer.from("admin:secret").toString("base64")}`;
  const answer = await fetch(`${url}/${path}`, { method, headers: { authorization }, body });
  assert.ok(answer.ok, `${method} ${path}: ${answer.status}`);
}

const button = (page, name) => page.getByRole("button", { name, exact: true });

test("a viewer looks and has nothing to change with", async () => {
  await change("PUT", "api/v1/dashboards/kept", JSON.stringify({ title: "Kept", panels: [] }));
  const slo = { title: "Promised", target: 99, window_days: 30, language: "promql", errors: "e[1m]", events: "a[1m]" };
  await change("PUT", "api/v1/slos/promised", JSON.stringify(slo));
  for (const [user, may] of [
    ["admin", 1],
    ["viewer", 0],
  ]) {
    const page = await openAs(user, "#/dashboards");
    await page.getByRole("link", { name: "Kept" }).waitFor();
    await assertCount(button(page, "New dashboard…"), may, user);
    await assertCount(page.getByRole("region", { name: "Import from Grafana" }), may, user);
    const told = page.getByText("you may look, but change nothing");
    await assertCount(told, 1 - may, user);
    await assertAccessible(page);
    await page.getByRole("link", { name: "Kept" }).click();
    await button(page, "Export JSON").waitFor();
    for (const name of ["Edit", "Remove"]) await assertCount(button(page, name), may, `${user} ${name}`);
    // What is built in can be copied by whom may keep the copy.
    await page.goto(`${url}/#/dashboards?board=node`);
    await button(page, "Export JSON").waitFor();
    await assertCount(button(page, "Save as…"), may, user);
    // An address does not give what the page does not.
    await page.goto(`${url}/#/dashboards?board=saved%3Akept&edit=1`);
    await button(page, "Export JSON").waitFor();
    await assertCount(page.getByRole("textbox", { name: "Title of the dashboard" }), may, user);
    await page.goto(`${url}/#/slos`);
    await page.getByRole("link", { name: "Promised" }).waitFor();
    await assertCount(button(page, "New objective"), may, user);
    await page.goto(`${url}/#/slos?edit=1`);
    await page.getByRole(may ? "textbox" : "link", { name: may ? "Title" : "Promised" }).waitFor();
    await page.goto(`${url}/#/slos?slo=promised`);
    await page.getByRole("heading", { name: "Promised" }).waitFor();
    for (const name of ["Edit", "Remove"]) await assertCount(button(page, name), may, `${user} ${name}`);
    assert.deepEqual(others(), []);
    await close(page, `access_${user}`);
  }
});

test("who sees one namespace is told which pages cannot be divided", async () => {
  const page = await openAs("shop", "#/alerts");
  const told = page.getByText("Your account sees these namespaces only: shop");
  for (const name of ["alerts", "kansoku", "node"]) {
    await page.goto(`${url}/#/${name}`);
    await page.getByRole("heading", { name: "Not available to your account" }).waitFor();
    await told.waitFor();
  }
  await page.goto(`${url}/#/cluster`);
  await told.waitFor();
  await page.goto(`${url}/#/logs`);
  await page.getByRole("heading", { name: "Not available to your account" }).waitFor({ state: "detached" });
  await page.goto(`${url}/#/alerts`);
  await told.waitFor();
  await page.getByRole("combobox", { name: "language" }).selectOption("ja");
  await page.getByText("このアカウントで参照できる名前空間は shop だけです").waitFor();
  await assertAccessible(page);
  await assertNoOverflow(page);
  await page.getByRole("combobox", { name: "言語" }).selectOption("en");
  assert.deepEqual(others(), []);
  await close(page, "access_namespace");
});

test("a provider vouches for somebody, who comes back to the same place and leaves both", async () => {
  const page = await open("#/logs?range=6h", { url });
  await page.context().clearCookies();
  await page.reload();
  assert.equal(await button(page, "Sign in at a provider that is gone").isDisabled(), true);
  await page.getByText("Sign in at a provider that is gone: the provider does not answer").waitFor();
  await assertAccessible(page);
  await assertNoOverflow(page);
  // The provider says no, once.
  await fetch(`${provider}/refuse`);
  await button(page, "Sign in with Test").click();
  await page.getByText("The provider did not let you in.").waitFor();
  assert.equal(new URL(page.url()).search, "");
  await button(page, "Sign in with Test").click();
  await page.getByText("test/alice (viewer)").waitFor();
  assert.equal(page.url(), `${url}/#/logs?range=6h`);
  const [session] = (await page.context().cookies(url)).filter(({ name }) => name === "kansoku_session");
  assert.deepEqual([session?.httpOnly, session?.sameSite], [true, "Strict"]);
  const through = page.waitForRequest((request) => request.url().startsWith(`${provider}/logout`));
  await button(page, "Sign out").click();
  assert.match((await through).url(), /id_token_hint=/);
  await button(page, "Sign in with Test").waitFor();
  await page.reload();
  await button(page, "Sign in with Test").waitFor();
  assert.deepEqual(others(), []);
  await close(page, "access_provider");
});
