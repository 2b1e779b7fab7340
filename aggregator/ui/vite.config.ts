/**
 * How the page is built: hashed files under dist/assets, a content security policy that allows
 * nothing but this origin, and a gzipped twin of every file, which is what the aggregator embeds.
 */
import { readFileSync, readdirSync, writeFileSync } from "node:fs";
import { join, resolve } from "node:path";
import { gzipSync } from "node:zlib";
import { defineConfig, type Plugin } from "vite";

const CONTENT_SECURITY_POLICY = [
  "default-src 'none'",
  "script-src 'self'",
  "style-src 'self'",
  "img-src 'self'",
  "connect-src 'self'",
  "base-uri 'none'",
  "form-action 'none'",
].join("; ");

/** All text of one page load, gzipped, must stay below this: it is loaded over slow tunnels too. */
const TOTAL_MAX_BYTES = 400 * 1024;

function contentSecurityPolicy(): Plugin {
  return {
    name: "content-security-policy",
    apply: "build",
    transformIndexHtml: () => [
      {
        tag: "meta",
        attrs: { "http-equiv": "Content-Security-Policy", content: CONTENT_SECURITY_POLICY },
        injectTo: "head-prepend",
      },
    ],
  };
}

function gzipTwins(): Plugin {
  let dist = "";
  return {
    name: "gzip-twins",
    apply: "build",
    configResolved(config) {
      dist = resolve(config.root, config.build.outDir);
    },
    closeBundle() {
      let totalBytes = 0;
      for (const entry of readdirSync(dist, { recursive: true, withFileTypes: true })) {
        if (!entry.isFile() || entry.name.endsWith(".gz")) continue;
        const path = join(entry.parentPath, entry.name);
        const zipped = gzipSync(readFileSync(path), { level: 9 });
        totalBytes += zipped.length;
        writeFileSync(`${path}.gz`, zipped);
      }
      if (totalBytes > TOTAL_MAX_BYTES) {
        throw new Error(`the page is ${totalBytes} bytes gzipped, more than ${TOTAL_MAX_BYTES}`);
      }
      console.log(`page: ${totalBytes} bytes gzipped`);
    },
  };
}

/** `npm run dev` asks the aggregator named here. */
const api = process.env["KANSOKU_URL"] ?? "http://127.0.0.1:9090";

export default defineConfig({
  base: "./",
  build: {
    target: "es2022",
    assetsInlineLimit: 0,
    modulePreload: { polyfill: false },
    reportCompressedSize: false,
    // The licences of what is bundled ask to travel with it.
    license: { fileName: "licenses.md" },
  },
  oxc: { jsx: { runtime: "automatic", importSource: "preact" } },
  server: { proxy: { "/api": api, "/-": api, "/metrics": api, "/loki": { target: api, ws: true } } },
  plugins: [contentSecurityPolicy(), gzipTwins()],
});
