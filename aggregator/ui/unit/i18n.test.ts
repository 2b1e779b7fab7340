/** The page's words: both languages have all of them, with the same holes. */
import assert from "node:assert/strict";
import { readdirSync, readFileSync } from "node:fs";
import { join } from "node:path";
import { test } from "node:test";
import { formatAge, formatSpan, preferred, setLanguage, t, type Message } from "../src/i18n";
import { EN } from "../src/locales/en";
import { JA } from "../src/locales/ja";
import { STORE_CHARTS } from "../src/kansoku/measures";
import { CHARTS } from "../src/panels";

const forms = (message: Message): string[] =>
  typeof message === "string" ? [message] : Object.values(message);
const holes = (text: string): string => [...new Set(text.match(/\{\w+\}/g) ?? [])].sort().join();

test("both languages have the same keys and the same holes", () => {
  assert.deepEqual(Object.keys(JA).sort(), Object.keys(EN).sort());
  for (const [key, message] of Object.entries(EN)) {
    const [english = ""] = forms(message).map(holes);
    for (const text of forms(JA[key as keyof typeof EN])) {
      assert.equal(holes(text), english, key);
      assert.notEqual(text, "", key);
    }
  }
});

test("every message is used, and none is asked for that is not there", () => {
  const files = readdirSync("src", { recursive: true, withFileTypes: true }).filter(
    ({ name, parentPath }) => /\.tsx?$/.test(name) && !parentPath.includes("locales"),
  );
  const source = files.map(({ parentPath, name }) => readFileSync(join(parentPath, name), "utf8")).join("\n");
  for (const key of Object.keys(EN)) {
    const built = [...source.matchAll(/`([a-z]+\.(?:[a-z]+_)?)\$\{/g)].some(([, prefix]) =>
      key.startsWith(prefix ?? "?"),
    );
    assert.ok(source.includes(`"${key}"`) || built, `${key} is not used`);
  }
});

test("lines of charts are named by words and not by their keys", () => {
  setLanguage("en");
  for (const { title, queries } of [...STORE_CHARTS, ...CHARTS]) {
    for (const { name } of queries) assert.ok(!(name({}) in EN), `${title}: ${name({})}`);
  }
});

test("plurals and numbers follow the language", () => {
  setLanguage("en");
  assert.equal(t("logs.count", { n: 1 }), "1 line");
  assert.equal(t("logs.count", { n: 12345 }), "12,345 lines");
  setLanguage("ja");
  assert.equal(t("logs.count", { n: 12345 }), "12,345 行");
  setLanguage("en");
});

test("the reader's choice comes before the browser's languages", () => {
  assert.equal(preferred("ja", ["en-GB"]), "ja");
  assert.equal(preferred(null, ["de", "ja-JP", "en"]), "ja");
  assert.equal(preferred("xx", ["de"]), "en");
});

test("durations are written in the language's units", () => {
  setLanguage("en");
  assert.equal(formatSpan(5400), "1h30m");
  assert.equal(formatAge(86400 * 12 + 3600 * 4 + 61), "12d 4h");
  setLanguage("ja");
  assert.equal(formatSpan(5400), "1時間30分");
  assert.equal(formatAge(86400 * 12 + 3600 * 4 + 61), "12日 4時間");
  setLanguage("en");
});
