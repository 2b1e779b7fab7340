/**
 * A stand-in for the aggregator while the page is worked on: serves `aggregator/ui/dist` and
 * answers the page's queries from synthetic data. `node mock.mjs` (PORT, UI_DIST; PROMETHEUS_URL
 * sends the Prometheus half to a real server; EMPTY=1 has no data).
 */
import { readFileSync, existsSync } from "node:fs";
import { createServer } from "node:http";
import { extname, join, normalize } from "node:path";
import { fileURLToPath } from "node:url";
import { compile, QueryError } from "./promql.mjs";
import { SERIES, syntheticStreams } from "./synthetic.mjs";

const TYPES = {
  ".html": "text/html; charset=utf-8",
  ".js": "text/javascript",
  ".css": "text/css",
  ".svg": "image/svg+xml",
};
const DIST = process.env.UI_DIST ?? fileURLToPath(new URL("../../aggregator/ui/dist", import.meta.url));

/** Starts the mock; resolves to its base URL and how to stop it. */
export function startMock({ port = 0, dist = DIST, prometheus = "", empty = false } = {}) {
  const pushed = [];
  const server = createServer((request, response) => {
    const url = new URL(request.url, "http://mock");
    const send = (status, type, body) => response.writeHead(status, { "content-type": type }).end(body);
    const success = (data) => send(200, "application/json", JSON.stringify({ status: "success", data }));
    const refuse = (error, errorType = "bad_data") =>
      send(400, "application/json", JSON.stringify({ status: "error", errorType, error }));
    try {
      if (prometheus !== "" && url.pathname.startsWith("/api/")) return forward(prometheus, url, send);
      if (url.pathname === "/loki/api/v1/push")
        return push(request, pushed, () => response.writeHead(204).end());
      const answer = api(url, pushed, empty);
      if (answer !== undefined) return success(answer);
      return file(dist, url.pathname, send);
    } catch (error) {
      if (error instanceof QueryError) return refuse(error.message);
      return refuse(String(error), "internal");
    }
  });
  return new Promise((resolve) => {
    server.listen(port, "127.0.0.1", () => {
      resolve({ url: `http://127.0.0.1:${server.address().port}`, close: () => server.close() });
    });
  });
}

async function forward(prometheus, url, send) {
  try {
    const answer = await fetch(prometheus + url.pathname + url.search);
    send(answer.status, "application/json", await answer.text());
  } catch (error) {
    send(502, "text/plain", String(error));
  }
}

function push(request, pushed, done) {
  let body = "";
  request.on("data", (chunk) => (body += chunk));
  request.on("end", () => {
    pushed.push(...JSON.parse(body).streams);
    done();
  });
}

function file(dist, path, send) {
  const name = join(dist, normalize(path === "/" ? "/index.html" : path));
  if (!name.startsWith(dist) || !existsSync(name)) return send(404, "text/plain", "not found");
  return send(200, TYPES[extname(name)] ?? "application/octet-stream", readFileSync(name));
}

function api(url, pushed, empty) {
  const get = (name) => url.searchParams.get(name) ?? "";
  const [, half, label] = /^\/(api|loki\/api)\/v1\/label\/([^/]+)\/values$/.exec(url.pathname) ?? [];
  const sets = empty
    ? []
    : half === "api" || url.pathname.startsWith("/api")
      ? SERIES.map(({ labels }) => labels)
      : streams(pushed, 0, Infinity, 1).map(({ stream }) => stream);
  if (label !== undefined) return distinct(sets.map((labels) => labels[decodeURIComponent(label)]));
  switch (url.pathname) {
    case "/api/v1/status/buildinfo":
      return { version: "0.1.0-mock" };
    case "/api/v1/labels":
    case "/loki/api/v1/labels":
      return distinct(sets.flatMap(Object.keys));
    case "/api/v1/series":
      return url.searchParams
        .getAll("match[]")
        .flatMap((text) => (empty ? [] : compile(text)(0).map(({ labels }) => labels)));
    case "/api/v1/query":
      return instant(get("query"), Number(get("time")), empty);
    case "/api/v1/query_range":
      return {
        resultType: "matrix",
        result: empty
          ? []
          : matrix(compile(get("query")), ...["start", "end", "step"].map((name) => Number(get(name)))),
      };
    case "/loki/api/v1/query_range":
      return logs(
        get("query"),
        ...["start", "end"].map((name) => Number(get(name)) / 1e9),
        Number(get("step")),
        Number(get("limit") || 100),
        empty ? [] : pushed,
        empty,
      );
    default:
      return undefined;
  }
}

const distinct = (names) => [...new Set(names.filter(Boolean))].sort();
const text = (value) => (Number.isFinite(value) ? String(value) : "NaN");

function instant(query, time, empty) {
  const value = compile(query)(time);
  if (typeof value === "number") return { resultType: "scalar", result: [time, text(value)] };
  return {
    resultType: "vector",
    result: empty ? [] : value.map(({ labels, value: v }) => ({ metric: labels, value: [time, text(v)] })),
  };
}

function matrix(evaluate, start, end, step) {
  const series = new Map();
  for (let time = start; time <= end; time += step) {
    const value = evaluate(time);
    const samples = typeof value === "number" ? [{ labels: {}, value }] : value;
    for (const sample of samples) {
      const key = JSON.stringify(sample.labels);
      if (!series.has(key)) series.set(key, { metric: sample.labels, values: [] });
      series.get(key).values.push([time, text(sample.value)]);
    }
  }
  return [...series.values()];
}

function streams(pushed, start_s, end_s, limit) {
  const within = ([time_ns]) => Number(time_ns) / 1e9 >= start_s && Number(time_ns) / 1e9 < end_s;
  const now = Date.now() / 1000;
  const made = syntheticStreams(Math.max(start_s, now - 90_000), Math.min(end_s, now), limit);
  const own = pushed.map(({ stream, values }) => ({ stream, values: values.filter(within) }));
  return [...made, ...own];
}

const SECONDS = { s: 1, m: 60, h: 3600, d: 86400 };
const STRING = /"(?:[^"\\]|\\.)*"/g;

function logs(query, start_s, end_s, step_s, limit, pushed, empty) {
  const counting = /^sum\(count_over_time\((.*) \[(\w+)\]\)\)$/s.exec(query);
  const inner = counting?.[1] ?? query;
  const match = /^\s*\{([^}]*)\}(.*)$/s.exec(inner);
  if (match === null)
    throw new QueryError(
      `parse error at line 1, col ${inner.length - inner.trimStart().length + 1}: syntax error: unexpected IDENTIFIER`,
    );
  const tests = [...match[1].matchAll(/(\w+)\s*(=~|!~|!=|=)\s*("(?:[^"\\]|\\.)*")/g)].map(
    ([, label, sign, quoted]) => {
      const value = JSON.parse(quoted);
      const pattern = new RegExp(`^(?:${value})$`);
      return (labels) =>
        (sign.includes("~") ? pattern.test(labels[label] ?? "") : (labels[label] ?? "") === value) ===
        !sign.startsWith("!");
    },
  );
  const unclosed = match[2].replace(STRING, "").indexOf('"');
  if (unclosed >= 0)
    throw new QueryError(
      `parse error at line 1, col ${inner.length + 1}: syntax error: literal not terminated`,
    );
  const wanted = [...match[2].matchAll(/\|=\s*("(?:[^"\\]|\\.)*")/g)].map(([, quoted]) => JSON.parse(quoted));
  const range_s = [...(counting?.[2] ?? "").matchAll(/(\d+)([smhd])/g)].reduce(
    (sum, [, n, unit]) => sum + n * SECONDS[unit],
    0,
  );
  const chosen = (
    empty ? [] : streams(pushed, start_s - range_s, end_s + (counting ? 1 : 0), counting ? 1e6 : limit)
  )
    .filter(({ stream }) => tests.every((test) => test(stream)))
    .map(({ stream, values }) => ({
      stream,
      values: values.filter(([, line]) => wanted.every((part) => line.includes(part))),
    }))
    .filter(({ values }) => values.length > 0);
  if (!counting) return { resultType: "streams", result: chosen };
  const times = chosen.flatMap(({ values }) => values.map(([time_ns]) => Number(time_ns) / 1e9));
  const values = [];
  for (let time = start_s; time <= end_s; time += step_s) {
    const count = times.filter((at) => at > time - range_s && at <= time).length;
    if (count > 0) values.push([time, String(count)]);
  }
  return { resultType: "matrix", result: values.length === 0 ? [] : [{ metric: {}, values }] };
}

if (process.argv[1] === fileURLToPath(import.meta.url)) {
  const { url } = await startMock({
    port: Number(process.env.PORT ?? 0),
    prometheus: process.env.PROMETHEUS_URL ?? "",
    empty: process.env.EMPTY === "1",
  });
  console.log(url);
}
