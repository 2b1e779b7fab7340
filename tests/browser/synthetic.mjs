/**
 * A made-up cluster: the series that kansoku's agents would send of three nodes and their pods,
 * and the lines of the pods. Values are functions of the time alone, so that two seeds agree.
 */

const GIB = 2 ** 30;
const MIB = 2 ** 20;
const BORN_S = 1_700_000_000;
export const NODES = ["node-a", "node-b", "node-c"];

/**
 * Namespace, workload kind and name, replicas, containers with CPU cores and MiB; then what ails it.
 * A `gone` pod was deleted 20 minutes ago, a `crash` one restarts every five minutes. One of the throttled
 * pods is the busiest at any time, wherever the waves stand.
 */
const WORKLOADS = [
  [
    "shop",
    "Deployment",
    "checkout",
    3,
    [
      ["web", 0.4, 420],
      ["sidecar", 0.05, 40],
    ],
    "throttled",
  ],
  ["shop", "Deployment", "catalogue", 2, [["web", 0.2, 300]], ""],
  ["shop", "StatefulSet", "orders-db", 1, [["postgres", 0.2, 900]], ""],
  ["shop", "Deployment", "legacy-cart", 1, [["web", 0.1, 200]], "gone"],
  ["payments", "Deployment", "gateway", 2, [["gateway", 0.15, 180]], ""],
  ["payments", "Deployment", "ledger", 1, [["ledger", 0.02, 480]], "crash"],
  ["kube-system", "DaemonSet", "node-proxy", 3, [["proxy", 0.02, 30]], ""],
  [
    "kube-system",
    "Deployment",
    "a-workload-with-a-very-long-name-that-has-to-be-cut-somewhere",
    1,
    [["agent", 0.12, 96]],
    "",
  ],
];

/** Seconds since the deletion of `gone` pods. */
export const GONE_S = 1200;
const CRASH_EVERY_S = 300;

function hash(text) {
  let sum = 7;
  for (const char of text) sum = (sum * 31 + char.charCodeAt(0)) % 60_466_176;
  return sum.toString(36).padStart(5, "0").slice(-5);
}

/** All pods: `{namespace, kind, workload, pod, node, ip, containers, ail}`. */
export const PODS = WORKLOADS.flatMap(([namespace, kind, workload, replicas, containers, ail], row) =>
  Array.from({ length: replicas }, (_, at) => {
    const replicaSet = `${workload}-${hash(workload)}9f`;
    const pod =
      kind === "StatefulSet"
        ? `${workload}-${at}`
        : kind === "DaemonSet"
          ? `${workload}-${hash(workload + at)}`
          : `${replicaSet}-${hash(workload + at)}`;
    const node = NODES[(row + at) % NODES.length];
    return { namespace, kind, workload, replicaSet, pod, node, ip: `10.0.${row}.${at + 2}`, containers, ail };
  }),
);

/** A slow wave between 0 and 1. */
const wave = (time_s, period_s, shift = 0) => 0.5 + 0.5 * Math.sin((2 * Math.PI * time_s) / period_s + shift);

/** The integral of `rate × (0.5 + wave)`: a counter that never falls. */
function counter(rate, period_s, shift = 0) {
  return (time_s) => {
    const t = time_s - BORN_S;
    return rate * (t - ((0.5 * period_s) / (2 * Math.PI)) * Math.cos((2 * Math.PI * t) / period_s + shift));
  };
}

function nodeSeries(node, at) {
  const series = [];
  const add = (name, labels, value) =>
    series.push({ labels: { __name__: name, ...labels, node, instance: node, job: "node-exporter" }, value });
  const modes = {
    user: 0.22,
    system: 0.08,
    iowait: 0.03,
    softirq: 0.01,
    steal: 0.004,
    nice: 0.002,
    irq: 0.001,
    idle: 0.65,
  };
  for (const cpu of ["0", "1", "2", "3"]) {
    for (const [mode, share] of Object.entries(modes))
      add("node_cpu_seconds_total", { cpu, mode }, counter(share, 600 + 200 * at, share * 40));
  }
  const free = (t) => (2 + 2 * wave(t, 1700, at)) * GIB;
  add("node_memory_MemTotal_bytes", {}, () => 16 * GIB);
  add("node_memory_MemFree_bytes", {}, free);
  add("node_memory_MemAvailable_bytes", {}, (t) => free(t) + (5 + wave(t, 900) - at) * GIB);
  for (const [device, rate] of [
    ["nvme0n1", 6e6],
    ["sda", 4e5],
  ]) {
    add("node_disk_read_bytes_total", { device }, counter(rate, 500, at));
    add("node_disk_written_bytes_total", { device }, counter(rate * 1.6, 380, at + 1));
  }
  for (const [device, rate] of [
    ["eth0", 2.4e6],
    ["wlan0", 3e5],
    ["lo", 9e6],
  ]) {
    add("node_network_receive_bytes_total", { device }, counter(rate, 420, at));
    add("node_network_transmit_bytes_total", { device }, counter(rate / 3, 333, at + 2));
  }
  for (const [device, mountpoint, used] of [
    ["/dev/nvme0n1p2", "/", 0.61],
    ["/dev/nvme0n1p1", "/boot/efi", 0.07],
    ["/dev/sda1", "/var/lib/data", at === 1 ? 0.93 : 0.4],
  ]) {
    const labels = { device, mountpoint, fstype: "ext4" };
    add("node_filesystem_size_bytes", labels, () => 500 * GIB);
    add("node_filesystem_avail_bytes", labels, () => 500 * GIB * (1 - used));
  }
  add("node_load1", {}, (t) => 0.4 + wave(t, 300, at));
  add("node_load5", {}, (t) => 0.5 + 0.5 * wave(t, 900, at));
  add("node_load15", {}, () => 0.62);
  add("node_boot_time_seconds", {}, () => BORN_S);
  const state = { job: "kube-state-metrics", node };
  const push = (name, labels, value) =>
    series.push({ labels: { __name__: name, ...state, ...labels }, value });
  push(
    "kube_node_info",
    { kubelet_version: "v1.34.0", os_image: "Debian 12", internal_ip: `10.1.0.${at + 1}` },
    () => 1,
  );
  for (const status of ["true", "false", "unknown"])
    push("kube_node_status_condition", { condition: "Ready", status }, () =>
      status === (at === 2 ? "false" : "true") ? 1 : 0,
    );
  return series;
}

function podSeries({ namespace, kind, workload, replicaSet, pod, node, ip, containers, ail }, index, now_s) {
  const until_s = ail === "gone" ? now_s - GONE_S : Infinity;
  const series = [];
  const add = (job, name, labels, value) =>
    series.push({
      labels: { __name__: name, job, ...labels },
      value: (t) => (t <= until_s ? value(t) : null),
    });
  const id = { namespace, pod };
  const state = (name, labels, value) => add("kube-state-metrics", name, { ...id, ...labels }, value);
  const replica = kind === "Deployment";
  const owner = { kind: replica ? "ReplicaSet" : kind, name: replica ? replicaSet : workload };
  state(
    "kube_pod_info",
    {
      node,
      pod_ip: ip,
      host_ip: "10.1.0.1",
      created_by_kind: owner.kind,
      created_by_name: owner.name,
      uid: `uid-${pod}`,
    },
    () => 1,
  );
  state(
    "kube_pod_owner",
    { owner_kind: owner.kind, owner_name: owner.name, owner_is_controller: "true" },
    () => 1,
  );
  if (replica)
    add(
      "kube-state-metrics",
      "kube_replicaset_owner",
      {
        namespace,
        replicaset: replicaSet,
        owner_kind: kind,
        owner_name: workload,
        owner_is_controller: "true",
      },
      () => 1,
    );
  state(
    "kube_pod_labels",
    { label_app: workload, label_team: namespace === "shop" ? "store" : "core" },
    () => 1,
  );
  state("kube_pod_start_time", {}, () => now_s - 86_400);
  for (const phase of ["Pending", "Running", "Succeeded", "Failed", "Unknown"])
    state("kube_pod_status_phase", { phase }, () => (phase === "Running" ? 1 : 0));
  state("kube_pod_status_ready", { condition: "true" }, () => (ail === "crash" ? 0 : 1));
  for (const [direction, rate] of [
    ["receive", 2e5],
    ["transmit", 9e4],
  ])
    add(
      "kubelet",
      `container_network_${direction}_bytes_total`,
      { ...id, node, interface: "eth0", id: `/kubepods/${pod}` },
      counter(rate, 410, index),
    );
  for (const [container, cores, mebibytes] of containers) {
    const labels = {
      ...id,
      node,
      container,
      image: `registry.local/${workload}:1`,
      id: `/kubepods/${pod}/${container}`,
    };
    const own = (name, value) => add("kubelet", name, labels, value);
    own("container_cpu_usage_seconds_total", counter(cores, 700, index));
    own("container_memory_working_set_bytes", (t) => mebibytes * MIB * (0.8 + 0.2 * wave(t, 800, index)));
    own("container_fs_reads_bytes_total", counter(3e4, 600, index));
    own("container_fs_writes_bytes_total", counter(8e4, 500, index));
    own("container_cpu_cfs_periods_total", counter(10, 1e9));
    own(
      "container_cpu_cfs_throttled_periods_total",
      counter(ail === "throttled" && container === "web" ? 4 : 0.02, 900),
    );
    own("container_oom_events_total", (t) => (ail === "crash" ? Math.floor(t / CRASH_EVERY_S) % 500 : 0));
    const k = (name, more, value) => state(name, { container, ...more }, value);
    k(
      "kube_pod_container_info",
      { image: `registry.local/${workload}:1`, container_id: `containerd://${hash(pod + container)}` },
      () => 1,
    );
    k("kube_pod_container_status_restarts_total", {}, (t) =>
      ail === "crash" ? Math.floor(t / CRASH_EVERY_S) % 500 : 0,
    );
    k("kube_pod_container_status_running", {}, () => (ail === "crash" ? 0 : 1));
    k("kube_pod_container_resource_limits", { resource: "cpu", unit: "core", node }, () =>
      Math.max(0.1, cores * 1.4),
    );
    k(
      "kube_pod_container_resource_limits",
      { resource: "memory", unit: "byte", node },
      () => mebibytes * MIB * 1.2,
    );
    k("kube_pod_container_resource_requests", { resource: "cpu", unit: "core", node }, () => cores / 2);
    k(
      "kube_pod_container_resource_requests",
      { resource: "memory", unit: "byte", node },
      () => mebibytes * MIB * 0.7,
    );
    if (ail === "crash") {
      k("kube_pod_container_status_waiting_reason", { reason: "CrashLoopBackOff" }, () => 1);
      k("kube_pod_container_status_last_terminated_reason", { reason: "OOMKilled" }, () => 1);
    }
  }
  return series;
}

/** Series with samples over [start_s, end_s], one every `step_s`. */
export function syntheticSeries(start_s, end_s, step_s, now_s) {
  const all = [...NODES.flatMap(nodeSeries), ...PODS.flatMap((pod, at) => podSeries(pod, at, now_s))];
  const times = [];
  for (let t = Math.ceil(start_s / step_s) * step_s; t <= end_s; t += step_s) times.push(t);
  return all
    .map(({ labels, value }) => ({
      labels,
      samples: times.flatMap((t) => {
        const sample = value(t);
        return sample === null ? [] : [[t * 1000, sample]];
      }),
    }))
    .filter(({ samples }) => samples.length > 0);
}

const TEXTS = [
  (n) => `level=info msg="request served" path=/cart/${n % 17} status=200 duration=${(n * 7) % 91}ms`,
  (n) => `level=debug msg="cache lookup" key=user:${(n * 31) % 1000} hit=${n % 3 !== 0}`,
  (n) =>
    `{"level":"warn","msg":"slow query","table":"orders","rows":${n % 5000},"took":{"ms":${n % 700},"plan":["scan","sort"]}}`,
  (n) => `\u001b[32mINFO\u001b[0m worker \u001b[1;36m${n % 8}\u001b[0m took ${n % 40} jobs`,
  (n) =>
    `GET /images/${n % 50}.webp HTTP/1.1 200 ${(n * 13) % 40_000} "Mozilla/5.0 (X11; Linux x86_64)" and some more words so that the line has to wrap in a narrow window`,
];
const FAILURE = (n) =>
  `level=error msg="payment failed" order=${n % 900} err="connection refused: 10.0.4.2:5432"`;

/** One line every so many seconds and container. */
const LINE_EVERY_S = 4;

/** Streams of log lines within (start_s, end_s], as Loki's push API takes them. */
export function syntheticStreams(start_s, end_s, now_s) {
  const streams = PODS.flatMap(({ namespace, pod, node, containers, workload, ail }, at) =>
    containers.map(([container]) => {
      const until_s = ail === "gone" ? Math.min(end_s, now_s - GONE_S) : end_s;
      const values = [];
      for (let n = Math.floor(start_s / LINE_EVERY_S) + 1; n * LINE_EVERY_S <= until_s; n += 1) {
        const failing = ail === "crash" ? n % 3 === 0 : (n + at) % 41 === 0;
        const line = failing ? FAILURE(n) : TEXTS[(n + at) % TEXTS.length](n);
        values.push([nanoseconds(n * LINE_EVERY_S, at), line]);
      }
      return { stream: { namespace, pod, container, node, app: workload, stream: "stdout" }, values };
    }),
  );
  const events = [];
  for (let n = Math.floor(start_s / CRASH_EVERY_S) + 1; n * CRASH_EVERY_S <= end_s; n += 1) {
    const broken = PODS.find(({ ail }) => ail === "crash");
    // As the agent's output sends them: the message is the line, the rest stands beside it.
    const beside = {
      metadata: JSON.stringify({ name: `${broken.pod}.${n}`, namespace: broken.namespace, uid: `${n}` }),
      involvedObject: JSON.stringify({ kind: "Pod", namespace: broken.namespace, name: broken.pod }),
      reason: "BackOff",
      type: "Warning",
      count: "1",
    };
    const message = `Back-off restarting failed container ${broken.containers[0][0]}`;
    events.push([nanoseconds(n * CRASH_EVERY_S, 3), message, beside]);
  }
  streams.push({ stream: { host: "node-a", tag: "events.kubernetes" }, values: events });
  return streams.filter(({ values }) => values.length > 0);
}

/** Distinct for each stream, so that lines have an order. */
const nanoseconds = (time_s, at) => `${BigInt(time_s) * 1_000_000_000n + BigInt(at) * 1000n}`;
