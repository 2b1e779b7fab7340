/** Asks for what is known of one pod: its containers, labels and events. */
import { queryLines, queryVector, type Run } from "../api";
import type { Labels } from "../format";
import { quote, selector } from "../format";
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
}

export interface PodFacts {
  info: Labels;
  labels: Labels;
  phase: string;
  started_s: number | null;
  gone: boolean;
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
  ]);
  const names = new Set(
    [...containers, ...cpu, ...memory, ...restarts].map(({ metric }) => metric["container"] ?? ""),
  );
  names.delete("");
  const of = (samples: typeof info, name: string) =>
    samples.find(({ metric }) => metric["container"] === name);
  const gone = info.length > 0 && alive.length === 0;
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
      };
    }),
  };
}

export interface PodEvent {
  key: string;
  time_ns: string;
  type: string;
  reason: string;
  message: string;
  count: number;
}

const EVENTS_MAX = 50;

/** The cluster's events of a pod: lines of the agent's input kubernetes_events, whose tag names it. */
export async function loadEvents(
  namespace: string,
  pod: string,
  window: Window,
  run: Run,
): Promise<PodEvent[]> {
  const query = `{tag=~".*event.*"} |= \`"involvedObject"\` |= ${quote(`"${pod}"`)}`;
  const span = { ...spanOf(window, Date.now() / 1000), limit: EVENTS_MAX, direction: "backward" } as const;
  const { data } = await queryLines(query, span, run);
  const entries = data.resultType === "streams" ? entriesOf(data.result, EVENTS_MAX) : [];
  return entries.flatMap(({ key, time_ns, line }): PodEvent[] => {
    const event = eventOf(line, namespace, pod);
    return event === null ? [] : [{ key, time_ns, ...event }];
  });
}

/** An event as the API writes it, when it is of this pod. Pure. */
export function eventOf(
  line: string,
  namespace: string,
  pod: string,
): Omit<PodEvent, "key" | "time_ns"> | null {
  let event: unknown;
  try {
    event = JSON.parse(line);
  } catch {
    return null;
  }
  if (typeof event !== "object" || event === null) return null;
  const { involvedObject, type, reason, message, count } = event as Record<string, unknown>;
  if (typeof involvedObject !== "object" || involvedObject === null) return null;
  const object = involvedObject as Record<string, unknown>;
  if (object["name"] !== pod || (object["namespace"] ?? namespace) !== namespace) return null;
  const text = (value: unknown): string => (typeof value === "string" ? value : "");
  return {
    type: text(type),
    reason: text(reason),
    message: text(message),
    count: typeof count === "number" ? count : 1,
  };
}

/** The log query of a pod, of one container or of all, with a text to look for. */
export function podLogQuery(namespace: string, pod: string, container: string, filter: string): string {
  const labels: Record<string, string> = { namespace, pod, ...(container === "" ? {} : { container }) };
  return `${selector(labels)}${filter === "" ? "" : ` |= ${quote(filter)}`}`;
}
