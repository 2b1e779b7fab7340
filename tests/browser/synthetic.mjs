/**
 * Made-up nodes, containers and logs: what the mock aggregator knows. Values are functions of the
 * time alone, so that every query for the same moment gives the same answer.
 */

const NODES = ["node-a", "node-b"];
const PODS = [
  ["shop", "checkout-7d9f8c6b5-x2x4p", "web", 0.9, 420],
  ["shop", "checkout-7d9f8c6b5-x2x4p", "sidecar", 0.05, 40],
  ["shop", "catalogue-5c8b7d-9kq2z", "web", 0.4, 300],
  ["kube-system", "coredns-6f6b679f8f-abcde", "coredns", 0.02, 30],
  ["kube-system", "a-pod-with-a-very-long-name-that-has-to-be-cut-somewhere-58d4f", "agent", 0.12, 96],
];
const GIB = 2 ** 30;
const BORN_S = 1_700_000_000;

/** A slow wave between 0 and 1. */
const wave = (time_s, period_s, shift = 0) => 0.5 + 0.5 * Math.sin((2 * Math.PI * time_s) / period_s + shift);
/** The integral of `rate × (1 + wave)`: a counter that never falls. */
function counter(rate, period_s, shift = 0) {
  return (time_s) => {
    const t = time_s - BORN_S;
    return (
      rate * (1.5 * t - ((0.5 * period_s) / (2 * Math.PI)) * Math.cos((2 * Math.PI * t) / period_s + shift))
    );
  };
}

function nodeSeries(node, at) {
  const base = { node, instance: `${node}:9100`, job: "node" };
  const series = [];
  const add = (name, labels, value) => series.push({ labels: { __name__: name, ...labels, ...base }, value });
  const modes = {
    user: 0.22,
    system: 0.08,
    iowait: 0.03,
    softirq: 0.01,
    steal: 0.004,
    nice: 0.002,
    irq: 0.001,
    idle: 0.4,
  };
  for (const cpu of ["0", "1"]) {
    for (const [mode, share] of Object.entries(modes)) {
      add("node_cpu_seconds_total", { cpu, mode }, counter(share, 600 + 200 * at, share * 40));
    }
  }
  const total = 16 * GIB;
  const free = (t) => (2 + 2 * wave(t, 1700, at)) * GIB;
  add("node_memory_MemTotal_bytes", {}, () => total);
  add("node_memory_MemFree_bytes", {}, free);
  add("node_memory_MemAvailable_bytes", {}, (t) => free(t) + (5 + wave(t, 900)) * GIB);
  for (const device of ["nvme0n1", "sda"]) {
    const rate = device === "sda" ? 4e5 : 6e6;
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
  const disks = [
    ["/dev/nvme0n1p2", "/", 0.61],
    ["/dev/nvme0n1p1", "/boot/efi", 0.07],
    ["/dev/sda1", "/var/lib/data", 0.93],
  ];
  for (const [device, mountpoint, used] of disks) {
    const labels = { device, mountpoint, fstype: "ext4" };
    add("node_filesystem_size_bytes", labels, () => 500 * GIB);
    add("node_filesystem_avail_bytes", labels, () => 500 * GIB * (1 - used));
  }
  add("node_load1", {}, (t) => 0.4 + wave(t, 300, at));
  add("node_load5", {}, (t) => 0.5 + 0.5 * wave(t, 900, at));
  add("node_load15", {}, () => 0.62);
  add("node_boot_time_seconds", {}, () => BORN_S);
  for (const [index, [namespace, pod, container, cpu, mebibytes]] of PODS.entries()) {
    if (index % 2 !== at && at !== 0) continue;
    const labels = {
      namespace,
      pod,
      container,
      image: "registry.local/app:1",
      id: `/kubepods/${pod}/${container}`,
    };
    add("container_cpu_usage_seconds_total", labels, counter(cpu, 700, index));
    add(
      "container_memory_working_set_bytes",
      labels,
      (t) => mebibytes * 2 ** 20 * (1 + 0.1 * wave(t, 800, index)),
    );
  }
  return series;
}

export const SERIES = NODES.flatMap(nodeSeries);

const TEXTS = [
  (n) => `level=info msg="request served" path=/cart/${n % 17} status=200 duration=${(n * 7) % 91}ms`,
  (n) => `level=debug msg="cache lookup" key=user:${(n * 31) % 1000} hit=${n % 3 !== 0}`,
  (n) => `{"level":"warn","msg":"slow query","table":"orders","rows":${n % 5000}}`,
  (n) =>
    `E0512 10:11:12.131415       1 controller.go:88] "failed to sync" err="connection refused" attempt=${n % 9}`,
  (n) =>
    `GET /images/${n}.webp HTTP/1.1 200 ${(n * 13) % 40_000} "Mozilla/5.0 (X11; Linux x86_64)" and some more words so that the line has to wrap in a narrow window`,
];

/** One line every two seconds and stream. */
const LINE_EVERY_S = 2;

/** Streams of made-up log lines within (start, end], newest first, at most `limit` of them. */
export function syntheticStreams(start_s, end_s, limit) {
  const streams = PODS.slice(0, 4).map(([namespace, pod, container], at) => ({
    stream: { namespace, pod, container, node: NODES[at % 2], stream: at === 3 ? "stderr" : "stdout" },
    at,
  }));
  streams.push({ stream: { filename: "/var/log/syslog", host: "node-a", tag: "system.syslog" }, at: 4 });
  return streams.map(({ stream, at }) => {
    const values = [];
    const last = Math.floor((end_s - at * 0.3) / LINE_EVERY_S);
    for (let n = last; n * LINE_EVERY_S + at * 0.3 > start_s && values.length < limit; n -= 1) {
      const time_ns = BigInt(Math.round((n * LINE_EVERY_S + at * 0.3) * 1e6)) * 1000n + BigInt(at);
      const text =
        at === 4 ? `systemd[1]: session ${n % 100} of user root was opened` : TEXTS[(n + at) % 5](n);
      values.push([String(time_ns), text]);
    }
    return { stream, values };
  });
}
