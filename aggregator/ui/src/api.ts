/**
 * The aggregator's HTTP APIs as typed functions: Prometheus' and Loki's. It fetches and checks the
 * shape of answers; it keeps nothing. Every failure is an `ApiError` with the server's own words.
 */
import { expired, headers as sessionHeaders } from "./access/session";
import { answered, unanswered } from "./connection";
import type { Labels } from "./format";
import type { Series } from "./matrix";
import type { Grid } from "./time";

export class ApiError extends Error {
  override readonly name = "ApiError";

  constructor(
    message: string,
    /** The server's `errorType`, or `network`. */
    readonly kind: string,
  ) {
    super(message);
  }
}

/** What the queries of one run took, for the footer. */
export class Meter {
  /** Sent, and of these answered. */
  asked = 0;
  queries = 0;
  series = 0;
  bytes = 0;
  /** What the store read for them: samples of metrics, bytes of lines. */
  samples = 0;
  scannedBytes = 0;
  readonly #begin_ms = performance.now();
  #end_ms = this.#begin_ms;

  add(series: number, bytes: number, stats: unknown = undefined): void {
    if (isObject(stats)) {
      const { samples, summary } = stats;
      if (isObject(samples)) this.samples += Number(samples["totalQueryableSamples"] ?? 0);
      if (isObject(summary)) this.scannedBytes += Number(summary["totalBytesProcessed"] ?? 0);
    }
    this.queries += 1;
    this.series += series;
    this.bytes += bytes;
    this.#end_ms = performance.now();
  }

  get duration_ms(): number {
    return this.#end_ms - this.#begin_ms;
  }
}

/** Where requests of one run report to, and what stops them. */
export interface Run {
  meter: Meter;
  signal: AbortSignal;
}

export interface Sample {
  metric: Labels;
  value: readonly [number, string];
}

export interface Stream {
  stream: Labels;
  values: readonly (readonly [string, string, unknown?])[];
}

export type MetricResult =
  | { resultType: "vector"; result: Sample[] }
  | { resultType: "matrix"; result: Series[] }
  | { resultType: "scalar" | "string"; result: readonly [number, string] };

export type LogResult =
  | { resultType: "streams"; result: Stream[] }
  | { resultType: "matrix"; result: Series[] }
  | { resultType: "vector"; result: Sample[] };

/** Most series of one answer where people write the query. */
export const SERIES_MAX = 2000;

interface Answer {
  data: unknown;
  notes: string[];
  bytes: number;
}

type Parameters = readonly (readonly [string, string | number])[];

function isObject(value: unknown): value is Record<string, unknown> {
  return typeof value === "object" && value !== null && !Array.isArray(value);
}

function texts(value: unknown): string[] {
  return Array.isArray(value) ? value.filter((item) => typeof item === "string") : [];
}

function parse(text: string): unknown {
  try {
    return JSON.parse(text);
  } catch {
    return undefined;
  }
}

/** Asks for a path of the aggregator, or changes what is there. */
export async function ask(
  path: string,
  parameters: Parameters,
  signal: AbortSignal,
  headers: Record<string, string> = {},
  change: { method?: "PUT" | "DELETE" | "POST"; body?: string } = {},
): Promise<Answer> {
  const query = new URLSearchParams(parameters.map(([key, value]) => [key, String(value)]));
  const url = new URL(`${path}?${query}`, document.baseURI);
  url.hash = "";
  let response: Response;
  let body: ArrayBuffer;
  try {
    response = await fetch(url, {
      ...change,
      signal,
      headers: { accept: "application/json", ...sessionHeaders(), ...headers },
    });
    body = await response.arrayBuffer();
  } catch (error) {
    if (signal.aborted) throw error;
    unanswered();
    throw new ApiError(`the aggregator at ${location.host} does not answer`, "network");
  }
  answered();
  if (response.status === 401) expired();
  if (response.status === 204) return { data: null, notes: [], bytes: 0 };
  const text = new TextDecoder().decode(body);
  const json = parse(text);
  if (response.ok && isObject(json) && json["status"] === "success") {
    const notes = [...texts(json["warnings"]), ...texts(json["infos"])];
    return { data: json["data"], notes, bytes: body.byteLength };
  }
  if (isObject(json) && typeof json["error"] === "string") {
    throw new ApiError(json["error"], String(json["errorType"] ?? response.status));
  }
  // Loki's errors are plain text; its parse errors are what Prometheus calls bad_data.
  const kind = response.status === 400 ? "bad_data" : `status ${response.status}`;
  const words = text.trim().slice(0, 2000);
  throw new ApiError(words || `${path} answered ${response.status}`, kind);
}

/** A question that counts for a run. */
function askFor(
  run: Run,
  path: string,
  parameters: Parameters,
  headers: Record<string, string> = {},
): Promise<Answer> {
  run.meter.asked += 1;
  return ask(path, parameters, run.signal, headers);
}

interface Result<T> {
  data: T;
  notes: string[];
}

function checked<T extends { resultType: string; result: readonly unknown[] }>(
  answer: Answer,
  path: string,
  types: readonly string[],
  run: Run,
): Result<T> {
  const { data, notes, bytes } = answer;
  if (!isObject(data) || !types.includes(String(data["resultType"])) || !Array.isArray(data["result"])) {
    throw new ApiError(`${path} answered with data of an unknown shape`, "internal");
  }
  const result = data as unknown as T;
  run.meter.add(result.result.length, bytes, data["stats"]);
  return { data: result, notes };
}

const METRIC_TYPES = ["vector", "matrix", "scalar", "string"];

/** PromQL at one moment; `limit` series at most, 0 for all. */
export async function queryInstant(
  query: string,
  time_s: number,
  run: Run,
  limit = 0,
): Promise<Result<MetricResult>> {
  const path = "api/v1/query";
  const parameters: Parameters = [
    ["query", query],
    ["time", time_s],
    ["limit", limit],
    ["stats", "true"],
  ];
  const answer = await askFor(run, path, parameters);
  return checked(answer, path, METRIC_TYPES, run);
}

/** PromQL at one moment when the answer must be a vector. */
export async function queryVector(query: string, time_s: number, run: Run): Promise<Sample[]> {
  const { data } = await queryInstant(query, time_s, run);
  return data.resultType === "vector" ? data.result : [];
}

/** PromQL over a window; `limit` series at most, 0 for all. */
export async function queryRange(
  query: string,
  grid: Grid,
  run: Run,
  limit = 0,
): Promise<Result<Series[]>> {
  const path = "api/v1/query_range";
  const { start_s, end_s, step_s } = grid;
  const parameters: Parameters = [
    ["query", query],
    ["start", start_s],
    ["end", end_s],
    ["step", step_s],
    ["limit", limit],
    ["stats", "true"],
  ];
  const answer = await askFor(run, path, parameters);
  const { data, notes } = checked<{ resultType: string; result: Series[] }>(answer, path, ["matrix"], run);
  return { data: data.result, notes };
}

/** LogQL over a window, newest lines first; counts at the steps of the grid, where Loki would move them. */
export async function queryLogs(
  query: string,
  grid: Grid,
  limit: number,
  run: Run,
): Promise<Result<LogResult>> {
  const path = "loki/api/v1/query_range";
  const parameters: Parameters = [
    ["query", query],
    ["start", `${grid.start_s}000000000`],
    ["end", `${Math.max(grid.end_s, grid.at_s)}000000000`],
    ["step", grid.step_s],
    ["align", "false"],
    ["limit", limit],
    ["direction", "backward"],
  ];
  const answer = await askFor(run, path, parameters);
  return checked(answer, path, ["streams", "matrix", "vector"], run);
}

/** LogQL that counts, at one moment. */
export async function queryLogsInstant(query: string, time_s: number, run: Run): Promise<Sample[]> {
  const path = "loki/api/v1/query";
  const parameters: Parameters = [
    ["query", query],
    ["time", `${Math.floor(time_s)}000000000`],
  ];
  const answer = await askFor(run, path, parameters);
  const { data } = checked<LogResult>(answer, path, ["vector", "streams", "matrix"], run);
  return data.resultType === "vector" ? data.result : [];
}

/** Which lines to fetch: Unix nanoseconds as decimal text, the end left out. */
export interface LineSpan {
  start_ns: string;
  end_ns: string;
  limit: number;
  direction: "backward" | "forward";
}

/** Lines of a log query, with the labels of their streams told apart from what was parsed. */
export async function queryLines(query: string, span: LineSpan, run: Run): Promise<Result<LogResult>> {
  const path = "loki/api/v1/query_range";
  const parameters: Parameters = [
    ["query", query],
    ["start", span.start_ns],
    ["end", span.end_ns],
    ["limit", span.limit],
    ["direction", span.direction],
  ];
  const flags = { "x-loki-response-encoding-flags": "categorize-labels" };
  const answer = await askFor(run, path, parameters, flags);
  return checked(answer, path, ["streams", "matrix", "vector"], run);
}

/** The address of a tail of a log query. */
export function tailUrl(query: string, limit: number): string {
  const url = new URL("loki/api/v1/tail", document.baseURI);
  url.hash = "";
  url.protocol = url.protocol === "https:" ? "wss:" : "ws:";
  url.search = new URLSearchParams({ query, limit: String(limit) }).toString();
  return url.href;
}

/** A template of lines and how many lines it had, as pairs of Unix seconds and count. */
export interface Pattern {
  pattern: string;
  level: string;
  samples: readonly (readonly [number, number])[];
}

/** Templates of the lines that a stream selector selects. */
export async function queryPatterns(selector: string, grid: Grid, run: Run): Promise<Pattern[]> {
  const parameters: Parameters = [
    ["query", selector],
    ["start", `${grid.start_s}000000000`],
    ["end", `${Math.max(grid.end_s, grid.at_s)}000000000`],
    ["step", grid.step_s],
  ];
  const { data, bytes } = await askFor(run, "loki/api/v1/patterns", parameters);
  const found = Array.isArray(data) ? (data as Pattern[]) : [];
  run.meter.add(found.length, bytes);
  return found;
}

/** Bytes of log lines by one label, over a window. */
export async function queryVolume(
  selector: string,
  label: string,
  start_s: number,
  end_s: number,
  run: Run,
): Promise<Sample[]> {
  const path = "loki/api/v1/index/volume";
  const parameters: Parameters = [
    ["query", selector],
    ["targetLabels", label],
    ["start", `${start_s}000000000`],
    ["end", `${end_s}000000000`],
  ];
  const answer = await askFor(run, path, parameters);
  const { data } = checked<{ resultType: string; result: Sample[] }>(answer, path, ["vector"], run);
  return data.result;
}

/** Any other answer of Prometheus' API, unchecked. */
export async function askPrometheus(path: string, run: Run, parameters: Parameters = []): Promise<unknown> {
  const { data, bytes } = await askFor(run, path, parameters);
  run.meter.add(0, bytes);
  return data;
}

/** Label sets of the series that match, within a window. */
export async function findSeries(
  selectors: readonly string[],
  start_s: number,
  end_s: number,
  run: Run,
): Promise<Labels[]> {
  const matches = selectors.map((text) => ["match[]", text] as const);
  const parameters: Parameters = [...matches, ["start", start_s], ["end", end_s]];
  const { data, bytes } = await askFor(run, "api/v1/series", parameters);
  const found = Array.isArray(data) ? (data as Labels[]) : [];
  run.meter.add(found.length, bytes);
  return found;
}

export type Half = "api" | "loki/api";

/** Names of labels, of metrics (`api`) or of log streams (`loki/api`). */
export async function labelNames(
  half: Half,
  signal: AbortSignal,
  match = "",
  span: { start_ns: string; end_ns: string } | null = null,
): Promise<string[]> {
  const parameters: Parameters = [
    ...(match === "" ? [] : [["match[]", match] as const]),
    ...(span === null ? [] : [["start", span.start_ns] as const, ["end", span.end_ns] as const]),
  ];
  return texts((await ask(`${half}/v1/labels`, parameters, signal)).data);
}

/** Values of a label, `limit` at most, 0 for all. */
export async function labelValues(
  half: Half,
  label: string,
  signal: AbortSignal,
  match = "",
  limit = 0,
): Promise<string[]> {
  const parameters: Parameters = [
    ...(match === "" ? [] : [["match[]", match] as const]),
    ...(limit === 0 ? [] : [["limit", limit] as const]),
  ];
  const path = `${half}/v1/label/${encodeURIComponent(label)}/values`;
  return texts((await ask(path, parameters, signal)).data);
}

/** The aggregator's version. */
export async function version(signal: AbortSignal): Promise<string> {
  const { data } = await ask("api/v1/status/buildinfo", [], signal);
  return isObject(data) && typeof data["version"] === "string" ? data["version"] : "";
}
