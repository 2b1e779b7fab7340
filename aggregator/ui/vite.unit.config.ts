/** Bundles the unit tests of the pure modules, so that plain `node --test` can run them. */
import { readdirSync } from "node:fs";
import { defineConfig } from "vite";

const tests = readdirSync("unit").filter((name) => name.endsWith(".test.ts"));

export default defineConfig({
  build: {
    ssr: true,
    target: "node20",
    outDir: "node_modules/.unit",
    emptyOutDir: true,
    reportCompressedSize: false,
    rolldownOptions: {
      input: tests.map((name) => `unit/${name}`),
      output: { entryFileNames: "[name].mjs" },
    },
  },
});
