#!/usr/bin/env python3
"""kube-prometheus' rules over pushed metrics beside the same rules over scraped ones: every series they record.

Two Prometheuses load the same rule files. One scrapes node_exporter, the kubelet's /metrics/cadvisor and
kube-state-metrics with the labels and the relabelling of kube-prometheus' ServiceMonitors; the other is pushed to by the
agent over remote write. After some minutes each recording rule is asked of both: the label sets must be the same, the
values close; and so for pending and firing alerts. The rule files are kube-prometheus' manifests/*-prometheusRule.yaml
of the control plane, node exporter, kube-state-metrics and general rules. Run on a cluster's node, as root:
    KUBECONFIG=... python3 benches/peers/mixin_rules.py AGENT KUBE_STATE_METRICS FOLDER_OF_RULES NODE KUBELET_ADDRESS \
        CLIENT_CERTIFICATE CLIENT_KEY EXPORTER_NAMESPACE/EXPORTER_POD [CRI_SOCKET] [SECONDS]
NODE_EXPORTER_FLAGS are node_exporter's, where its defaults are not the node's: in a network namespace, say.
The exporter's pod is one that runs: rules join its name with kube_pod_info. Of kube-prometheus' jobs those of the API
server, scheduler and the kubelet's own /metrics are fed to neither.
"""
import glob, json, os, statistics, subprocess, sys, tempfile, time, urllib.parse, urllib.request
import yaml

AGENT, STATE, RULES, NODE, KUBELET, CERTIFICATE, KEY, POD = sys.argv[1:9]
CRI = sys.argv[9] if len(sys.argv) > 9 else ""
SECONDS = int(sys.argv[10]) if len(sys.argv) > 10 else 240
NAMESPACE, POD = POD.split("/")
NODE_PORT, STATE_PORT, STATE_OWN_PORT, SCRAPING, PUSHED = 18501, 18503, 18505, 18507, 18509
# Labels that tell which endpoint was scraped, by job; no rule looks at them. `node` of the first is what the agent adds.
ENDPOINT = {
    "node-exporter": {"container", "endpoint", "service", "node"},
    "kubelet": {"endpoint", "service", "instance"},
    "kube-state-metrics": {"instance"},
}
# What only honor_labels lets through: the namespace and container of what has none itself.
OF_ENDPOINT = {"kube-system", "kube-rbac-proxy-main"}
DROPPED = [  # metricRelabelings of the cAdvisor endpoint
    {"action": "drop", "regex": "container_(network_tcp_usage_total|network_udp_usage_total|tasks_state|cpu_load_average_10s)", "source_labels": ["__name__"]},
    {"action": "drop", "source_labels": ["__name__", "pod", "namespace"],
     "regex": "(container_spec_.*|container_file_descriptors|container_sockets|container_threads_max|container_threads|container_start_time_seconds|container_last_seen);;"},
    {"action": "drop", "regex": "(container_blkio_device_usage_total);.+", "source_labels": ["__name__", "container"]},
]


def targets(address, **labels):
    return [{"targets": [address], "labels": labels}]


def scraping():
    return [
        {"job_name": "node-exporter", "static_configs": targets(
            f"127.0.0.1:{NODE_PORT}", instance=NODE, namespace=NAMESPACE, pod=POD, container="node-exporter",
            endpoint="https", service="node-exporter")},
        {"job_name": "kubelet", "scheme": "https", "metrics_path": "/metrics/cadvisor", "honor_labels": True, "honor_timestamps": False,
         "tls_config": {"insecure_skip_verify": True, "cert_file": CERTIFICATE, "key_file": KEY}, "metric_relabel_configs": DROPPED,
         "static_configs": targets(f"{KUBELET}:10250", metrics_path="/metrics/cadvisor", node=NODE, namespace="kube-system",
                                   service="kubelet", endpoint="https-metrics")},
        {"job_name": "kube-state-metrics", "honor_labels": True,
         "static_configs": targets(f"127.0.0.1:{STATE_PORT}", container="kube-rbac-proxy-main")},
    ]


def prometheus(folder, port, scrapes, rules, flags=()):
    own = os.path.join(folder, str(port))
    os.makedirs(own)
    config = {"global": {"scrape_interval": "15s", "evaluation_interval": "15s"}, "scrape_configs": scrapes, "rule_files": [rules]}
    with open(os.path.join(own, "prometheus.yml"), "w") as file:
        yaml.safe_dump(config, file)
    return subprocess.Popen(
        ["prometheus", f"--config.file={file.name}", f"--storage.tsdb.path={own}/data", f"--web.listen-address=127.0.0.1:{port}", *flags],
        stdout=open(os.path.join(own, "log"), "w"), stderr=subprocess.STDOUT)


def agent_config(folder):
    text = f"""
[SERVICE]
    Flush 1
[INPUT]
    Name node_exporter_metrics
    Tag node
    Scrape_Interval 15
[INPUT]
    Name container_metrics
    Tag containers
    Scrape_Interval 15
    {"cri_socket " + CRI if CRI else ""}
[INPUT]
    Name kube_state_metrics
    Tag state
    Scope cluster
    Scrape_Interval 15
[OUTPUT]
    Name prometheus_remote_write
    Match *
    Host 127.0.0.1
    Port {PUSHED}
    URI /api/v1/write
"""
    path = os.path.join(folder, "agent.conf")
    open(path, "w").write(text)
    return path


def ask(port, query):
    url = f"http://127.0.0.1:{port}/api/v1/query?" + urllib.parse.urlencode({"query": query})
    found = {}
    for row in json.load(urllib.request.urlopen(url, timeout=30))["data"]["result"]:
        labels = {k: v for k, v in row["metric"].items() if k != "__name__"}
        labels = {k: v for k, v in labels.items() if k not in ENDPOINT.get(labels.get("job"), ()) and v not in OF_ENDPOINT}
        found[tuple(sorted(labels.items()))] = float(row["value"][1])
    return found


def main():
    folder = tempfile.mkdtemp(prefix="mixin-rules-")
    groups = [g for path in sorted(glob.glob(f"{RULES}/*.yaml")) for g in yaml.safe_load(open(path))["spec"]["groups"]]
    rules = os.path.join(folder, "rules.yml")
    yaml.safe_dump({"groups": groups}, open(rules, "w"))
    log = lambda name: open(os.path.join(folder, name), "w")
    environment = {**os.environ, "NODE_NAME": NODE, "POD_NAMESPACE": NAMESPACE, "POD_NAME": POD}
    programs = [
        prometheus(folder, SCRAPING, scraping(), rules),
        prometheus(folder, PUSHED, [], rules, ["--web.enable-remote-write-receiver"]),
        subprocess.Popen(["prometheus-node-exporter", f"--web.listen-address=127.0.0.1:{NODE_PORT}", *os.environ.get("NODE_EXPORTER_FLAGS", "").split()], stdout=log("node.log"), stderr=subprocess.STDOUT),
        subprocess.Popen([STATE, f"--kubeconfig={os.environ['KUBECONFIG']}", "--host=127.0.0.1", f"--port={STATE_PORT}",
                          "--telemetry-host=127.0.0.1", f"--telemetry-port={STATE_OWN_PORT}"], stdout=log("state.log"), stderr=subprocess.STDOUT),
        subprocess.Popen([AGENT, "-c", agent_config(folder)], env=environment, stdout=log("agent.log"), stderr=subprocess.STDOUT),
    ]
    try:
        time.sleep(SECONDS)
        compare(groups, folder)
    finally:
        for program in programs:
            program.terminate()
        for program in programs:
            program.wait(30)


def compare(groups, folder):
    counts = {port: int(sum(ask(port, "count({__name__!=''})").values())) for port in (SCRAPING, PUSHED)}
    print(f"series: {counts[SCRAPING]} scraped, {counts[PUSHED]} pushed")
    print("| group | rule | series scraped | series pushed | same label sets | median difference of values |\n| --- | --- | --- | --- | --- | --- |")
    n_empty, wrong = 0, []
    for group in groups:
        for rule in group["rules"]:
            if "record" not in rule:
                continue
            # A rule with labels of its own shares its name with others.
            own = ",".join(f'{k}="{v}"' for k, v in (rule.get("labels") or {}).items())
            query = f'{{__name__="{rule["record"]}"{"," + own if own else ""}}}'
            theirs, ours = ask(SCRAPING, query), ask(PUSHED, query)
            if not theirs and not ours:
                n_empty += 1
                continue
            both = theirs.keys() & ours.keys()
            apart = [abs(theirs[k] - ours[k]) / max(abs(theirs[k]), abs(ours[k]), 1e-9) for k in both]
            median = f"{statistics.median(apart):.1%}" if apart else "-"
            print(f"| {group['name']} | `{rule['record']}` | {len(theirs)} | {len(ours)} | {len(both)} | {median} |")
            wrong += [(rule["record"], "only scraped", k) for k in sorted(theirs.keys() - both)]
            wrong += [(rule["record"], "only pushed", k) for k in sorted(ours.keys() - both)]
    print(f"{n_empty} rules have no series in either")
    alerts = [ask(port, "ALERTS") for port in (SCRAPING, PUSHED)]
    name = lambda labels: dict(labels)["alertname"]
    print(f"alerts pending or firing: {len(alerts[0])} scraped, {len(alerts[1])} pushed, {len(alerts[0].keys() & alerts[1].keys())} the same: "
          + ", ".join(sorted({name(k) for k in alerts[0].keys() & alerts[1].keys()})))
    wrong += [("ALERTS", "only scraped", k) for k in sorted(alerts[0].keys() - alerts[1].keys())]
    wrong += [("ALERTS", "only pushed", k) for k in sorted(alerts[1].keys() - alerts[0].keys())]
    for rule, where, labels in wrong[:80]:
        print(f"{rule} {where}: {dict(labels)}")
    print(folder)


main()
