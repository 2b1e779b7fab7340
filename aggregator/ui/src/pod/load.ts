/** Asks for what is known of one pod: its containers, labels and events. */
import { queryLines, queryVector, type Run } from "../api";
import type { Labels } from "../format";
import { formatValue, quote, selector } from "../format";
import type { Key } from "../i18n";
import { parseValue } from "../matrix";
import { spanOf } from "../logs/load";
import { entriesOf } from "../logs/entries";
import type { Grid, Window } from "../time";

/** Matchers of one pod, without braces. */
export function podMatchers(namespace: string, pod: string): string {
  return `namespace=${quote(namespace)},pod=${quote(pod)}`;
}

export interface Container {
  name: string;
  image: string;
  /** `running`, why it waits, or empty when nobody knows. */
  state: string;
  bad: boolean;
  restarts: number | null;
  /** Why and with which code it ended the last time. */
  ended: string;
  cpu: number | null;
  cpuLimit: number | null;
  memory: number | null;
  memoryLimit: number | null;
  /** The share of its CPU periods in which it was held back. */
  throttled: number | null;
}

export interface PodFacts {
  info: Labels;
  labels: Labels;
  phase: string;
  started_s: number | null;
  gone: boolean;
  /** When something was told of it the last time: of a pod that is gone, if it is known. */
  seen_s: number | null;
  containers: Container[];
}

const valueOf = (text: string | undefined): number | null => (text === undefined ? null : parseValue(text));

/** The pod as it was at the end of the window, or when it was last seen in it. */
export async function loadFacts(
  namespace: string,
  pod: string,
  grid: Grid,
  window: string,
  run: Run,
): Promise<PodFacts> {
  const matchers = podMatchers(namespace, pod);
  const range = `[${Math.max(300, grid.end_s - grid.start_s)}s]`;
  const past = (name: string, more = ""): ReturnType<typeof queryVector> =>
    queryVector(`last_over_time(${name}{${matchers}${more}}${range})`, grid.at_s, run);
  const [
    info,
    alive,
    labels,
    phases,
    start,
    containers,
    restarts,
    running,
    waiting,
    ended,
    codes,
    cpu,
    memory,
    limits,
    throttled,
  ] = await Promise.all([
    past("kube_pod_info"),
    queryVector(`kube_pod_info{${matchers}}`, grid.at_s, run),
    past("kube_pod_labels"),
    queryVector(`kube_pod_status_phase{${matchers}} == 1`, grid.at_s, run),
    past("kube_pod_start_time"),
    past("kube_pod_container_info"),
    past("kube_pod_container_status_restarts_total"),
    queryVector(`kube_pod_container_status_running{${matchers}} == 1`, grid.at_s, run),
    queryVector(`kube_pod_container_status_waiting_reason{${matchers}} == 1`, grid.at_s, run),
    past("kube_pod_container_status_last_terminated_reason"),
    past("kube_pod_container_status_last_terminated_exitcode"),
    queryVector(
      `sum by (container) (rate(container_cpu_usage_seconds_total{container!="",${matchers}}[${window}]))`,
      grid.at_s,
      run,
    ),
    queryVector(
      `sum by (container, image) (container_memory_working_set_bytes{container!="",${matchers}})`,
      grid.at_s,
      run,
    ),
    past("kube_pod_container_resource_limits"),
    queryVector(
      `sum by (container) (rate(container_cpu_cfs_throttled_periods_total{container!="",${matchers}}[${window}])) / sum by (container) (rate(container_cpu_cfs_periods_total{container!="",${matchers}}[${window}]))`,
      grid.at_s,
      run,
    ),
  ]);
  const names = new Set(
    [...containers, ...cpu, ...memory, ...restarts].map(({ metric }) => metric["container"] ?? ""),
  );
  names.delete("");
  const of = (samples: typeof info, name: string) =>
    samples.find(({ metric }) => metric["container"] === name);
  const gone = info.length > 0 && alive.length === 0;
  const told = gone || info.length === 0;
  const back_s = gone ? grid.end_s - grid.start_s : LOOK_BACK_S;
  const seen_s = told ? await lastSeen(matchers, grid.at_s, Math.max(300, back_s), run) : null;
  return {
    info: info[0]?.metric ?? {},
    labels: Object.fromEntries(
      Object.entries(labels[0]?.metric ?? {})
        .filter(([name]) => name.startsWith("label_"))
        .map(([name, value]) => [name.slice("label_".length), value]),
    ),
    phase: phases[0]?.metric["phase"] ?? "",
    started_s: valueOf(start[0]?.value[1]),
    gone,
    seen_s,
    containers: [...names].sort().map((name) => {
      const reason = of(waiting, name)?.metric["reason"];
      const why = of(ended, name)?.metric["reason"];
      const code = of(codes, name)?.value[1];
      const limit = (resource: string): number | null =>
        valueOf(
          limits.find(({ metric }) => metric["container"] === name && metric["resource"] === resource)
            ?.value[1],
        );
      return {
        name,
        image: of(containers, name)?.metric["image"] ?? of(memory, name)?.metric["image"] ?? "",
        state: gone ? "" : (reason ?? (of(running, name) === undefined ? "" : "running")),
        bad: reason !== undefined && !gone,
        restarts: valueOf(of(restarts, name)?.value[1]),
        ended: [why, code].filter(Boolean).join(" · "),
        cpu: valueOf(of(cpu, name)?.value[1]),
        cpuLimit: limit("cpu"),
        memory: valueOf(of(memory, name)?.value[1]),
        memoryLimit: limit("memory"),
        throttled: valueOf(of(throttled, name)?.value[1]),
      };
    }),
  };
}

/** How far back a pod is looked for that was not there in the window. */
const LOOK_BACK_S = 14 * 86_400;

/** When the cluster's state or its own metrics had a pod the last time, to about a minute per day looked at. */
async function lastSeen(matchers: string, at_s: number, back_s: number, run: Run): Promise<number | null> {
  const step_s = Math.max(15, Math.ceil(back_s / 1440));
  const range = `[${Math.ceil(back_s)}s:${step_s}s]`;
  const of = (series: string): string => `max(max_over_time(timestamp(${series})${range}))`;
  const queries = [`kube_pod_info{${matchers}}`, `container_memory_working_set_bytes{container!="",${matchers}}`];
  for (const series of queries) {
    const found = valueOf((await queryVector(of(series), at_s, run))[0]?.value[1]);
    if (found !== null) return found;
  }
  return null;
}

export interface Trouble {
  key: Key;
  values: Readonly<Record<string, string | number>>;
}

/** From this share of its periods on a container is slow because it is held back. */
const THROTTLED = 0.25;
/** From this share of its limit on a container is about to be killed. */
const FULL = 0.9;

/** What is wrong with a pod and why, in words for somebody who does not know its charts. Pure. */
export function troublesOf(
  { containers, phase, gone }: PodFacts,
  events: readonly Pick<PodEvent, "reason" | "message">[] = [],
): Trouble[] {
  if (gone) return [];
  if (phase === "Pending" && containers.every(({ state }) => state === "")) {
    const refused = events.find(({ reason }) => reason === "FailedScheduling");
    if (refused === undefined) return [{ key: "pod.why_pending", values: {} }];
    return [{ key: "pod.why_unschedulable", values: { reason: refused.message } }];
  }
  return containers.flatMap((one): Trouble[] => {
    const { name } = one;
    const found: Trouble[] = [];
    const memory = one.memoryLimit === null ? "–" : formatValue(one.memoryLimit, "bytes");
    const oom = one.ended.startsWith("OOMKilled");
    if (oom) found.push({ key: "pod.why_oom", values: { name, limit: memory } });
    if (one.bad && one.state === "CrashLoopBackOff")
      found.push({ key: "pod.why_crash", values: { name, n: one.restarts ?? 0, ended: one.ended || "–" } });
    else if (one.bad) found.push({ key: "pod.why_waits", values: { name, reason: one.state } });
    if (one.throttled !== null && one.throttled >= THROTTLED) {
      const limit = one.cpuLimit === null ? "–" : formatValue(one.cpuLimit, "cores");
      found.push({ key: "pod.why_throttled", values: { name, limit, percent: Math.round(one.throttled * 100) } });
    }
    if (one.memory !== null && one.memoryLimit !== null && one.memory >= FULL * one.memoryLimit) {
      const percent = Math.round((100 * one.memory) / one.memoryLimit);
      found.push({ key: "pod.why_full", values: { name, limit: memory, percent } });
    }
    return found;
  });
}

export interface PodEvent {
  key: string;
  time_ns: string;
  /** The same for every state of one event. */
  uid: string;
  type: string;
  reason: string;
  message: string;
  count: number;
}

const EVENTS_MAX = 50;

/**
 * The cluster's events of a pod: lines of the agent's input kubernetes_events, whose tag names it. Our own output sends the
 * message as the line and the rest beside it; others send all of it as JSON.
 */
export async function loadEvents(
  namespace: string,
  pod: string,
  window: Window,
  run: Run,
): Promise<PodEvent[]> {
  const stream = '{tag=~".*event.*"}';
  const named = quote(`.*"name":"${pod.replaceAll(".", "\\.")}".*`);
  const queries = [
    `${stream} | involvedObject=~${named}`,
    `${stream} |= \`"involvedObject"\` |= ${quote(`"${pod}"`)}`,
  ];
  const span = { ...spanOf(window, Date.now() / 1000), limit: EVENTS_MAX, direction: "backward" } as const;
  const answers = await Promise.all(queries.map((query) => queryLines(query, span, run)));
  const streams = answers.flatMap(({ data }) => (data.resultType === "streams" ? data.result : []));
  const events = entriesOf(streams, EVENTS_MAX).flatMap(({ key, time_ns, line, stream: labels, fields }): PodEvent[] => {
    const event = eventOf(line, { ...labels, ...fields }, namespace, pod);
    return event === null ? [] : [{ key, time_ns, ...event }];
  });
  return newestOfEach(events);
}

/** An event that goes on is sent with every count: of each only the newest, as kubectl shows it. Pure. */
export function newestOfEach(events: readonly PodEvent[]): PodEvent[] {
  const known = new Set<string>();
  return events.filter(({ uid }) => {
    if (uid !== "" && known.has(uid)) return false;
    known.add(uid);
    return true;
  });
}

function objectOf(value: unknown): Readonly<Record<string, unknown>> | null {
  if (typeof value !== "string") return typeof value === "object" ? (value as Record<string, unknown> | null) : null;
  try {
    return objectOf(JSON.parse(value) ?? null);
  } catch {
    return null;
  }
}

/** An event as the API writes it, in the line or in the fields beside it, when it is of this pod. Pure. */
export function eventOf(
  line: string,
  fields: Labels,
  namespace: string,
  pod: string,
): Omit<PodEvent, "key" | "time_ns"> | null {
  const event = fields["involvedObject"] === undefined ? objectOf(line) : { message: line, ...fields };
  const object = objectOf(event?.["involvedObject"]);
  if (event === null || object === null) return null;
  if (object["name"] !== pod || (object["namespace"] ?? namespace) !== namespace) return null;
  const text = (value: unknown): string => (typeof value === "string" ? value : "");
  const count = Number(event["count"]);
  return {
    uid: text(objectOf(event["metadata"])?.["uid"]),
    type: text(event["type"]),
    reason: text(event["reason"]),
    message: text(event["message"]),
    count: count >= 1 ? count : 1,
  };
}

/** The log query of a pod, of one container or of all, with a text to look for. */
export function podLogQuery(namespace: string, pod: string, container: string, filter: string): string {
  const labels: Record<string, string> = { namespace, pod, ...(container === "" ? {} : { container }) };
  return `${selector(labels)}${filter === "" ? "" : ` |= ${quote(filter)}`}`;
}
