#!/usr/bin/env python3
"""A real Prometheus scrapes us with the jobs of kube-prometheus, and promtool reads every exposition.

  kube_prometheus.py --manifests DIR [--peer NODE_EXPORTER] [--program PATH] [--out result.json]

DIR holds kube-prometheus's manifests: the scrape jobs are made of its ServiceMonitors (relabelling,
honouring of labels and time stamps as there; plain HTTP and a file of targets instead of discovery),
the drop-in runs with the arguments of its node-exporter DaemonSet, and Prometheus evaluates its rules
for node_exporter. Wanted: Debian's prometheus and python3-yaml. With --peer, promtool's complaints
are compared with those about a real node_exporter with the same arguments.
"""

import argparse
import collections
import json
import os
import re
import socket
import subprocess
import sys
import tempfile
import time
import urllib.parse
import urllib.request

import yaml

ROOT = os.path.realpath(os.path.join(os.path.dirname(os.path.abspath(__file__)), "../.."))
# The kubelet's own paths, which nobody but a kubelet has.
KUBELET_ONLY = {"/metrics/probes", "/metrics/slis"}
# Instead of 15 s and 30 s, so that the run is short.
INTERVAL = "5s"
LABELS = {"namespace": "monitoring", "pod": "node-exporter-x7k2p", "container": "kube-rbac-proxy", "__meta_kubernetes_pod_node_name": "worker-1"}
NODE_LABELS = {"namespace": "kube-system", "service": "kubelet", "node": "worker-1"}


def free_port():
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def get(url, timeout=10):
    return urllib.request.urlopen(url, timeout=timeout).read().decode()


def wait_for(url, process):
    for _ in range(200):
        try:
            return get(url)
        except OSError:
            if process.poll() is not None:
                sys.exit(f"{process.args[0]}: {process.stderr.read()[-800:]}")
            time.sleep(0.1)
    sys.exit(f"{url} does not answer")


def manifest(folder, name):
    with open(os.path.join(folder, name)) as file:
        return yaml.safe_load(file)


def snake(relabelings):
    names = {"sourceLabels": "source_labels", "targetLabel": "target_label"}
    return [{names.get(key, key): value for key, value in rule.items()} for rule in relabelings]


def scrape_config(monitor, endpoint, job, target, labels, folder):
    path = endpoint.get("path", "/metrics")
    targets = os.path.join(folder, f"{job}{path.replace('/', '-')}.json")
    with open(targets, "w") as file:
        json.dump([{"targets": [target], "labels": labels}], file)
    return {
        "job_name": f"{monitor}{path}",
        "metrics_path": path,
        "scrape_interval": INTERVAL,
        "scrape_timeout": INTERVAL,
        "honor_labels": endpoint.get("honorLabels", False),
        "honor_timestamps": endpoint.get("honorTimestamps", True),
        "file_sd_configs": [{"files": [targets]}],
        "relabel_configs": [{"target_label": "job", "replacement": job}, *snake(endpoint.get("relabelings", []))],
        "metric_relabel_configs": snake(endpoint.get("metricRelabelings", [])),
    }


def complaints(text):
    done = subprocess.run(["promtool", "check", "metrics"], input=text, capture_output=True, text=True)
    return sorted(line for line in (done.stdout + done.stderr).splitlines() if line.strip())


def daemonset_arguments(folder):
    spec = manifest(folder, "nodeExporter-daemonset.yaml")["spec"]["template"]["spec"]
    arguments = next(c for c in spec["containers"] if c["name"] == "node-exporter")["args"]
    # /host/root and /host/sys are the node's, and so are / and /sys of this machine.
    arguments = [a.replace("/host/root/", "/").replace("/host/root", "/").replace("/host/sys", "/sys") for a in arguments]
    return [a for a in arguments if not a.startswith("--web.listen-address")]


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--manifests", required=True)
    parser.add_argument("--peer")
    parser.add_argument("--program", default=os.path.join(ROOT, "target/debug/kansoku-agent"))
    parser.add_argument("--out")
    options = parser.parse_args()
    result, processes = {}, []
    arguments = daemonset_arguments(options.manifests)
    start = lambda command: processes.append(subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True)) or processes[-1]
    with tempfile.TemporaryDirectory() as folder:
        try:
            node, agent, server = free_port(), free_port(), free_port()
            wait_for(f"http://127.0.0.1:{node}/metrics", start([options.program, "node-exporter", *arguments, f"--web.listen-address=127.0.0.1:{node}"]))
            inputs = [word for name in ("node_exporter_metrics", "container_metrics") for word in ("-i", name)]
            wait_for(f"http://127.0.0.1:{agent}/metrics", start([options.program, "-q", "-H", "-L", "127.0.0.1", "-P", str(agent), *inputs, "-o", "null"]))

            exporter = manifest(options.manifests, "nodeExporter-serviceMonitor.yaml")["spec"]["endpoints"]
            kubelet = manifest(options.manifests, "kubernetesControlPlane-serviceMonitorKubelet.yaml")["spec"]["endpoints"]
            # kube-prometheus does not scrape it; its job for cAdvisor does for it as well.
            kubelet = [e for e in kubelet if e.get("path") not in KUBELET_ONLY]
            kubelet.append({"path": "/metrics/resource", "honorLabels": True, "relabelings": kubelet[0]["relabelings"]})
            rules = os.path.join(folder, "rules.yaml")
            with open(rules, "w") as file:
                yaml.safe_dump(manifest(options.manifests, "nodeExporter-prometheusRule.yaml")["spec"], file)
            jobs = [scrape_config("node-exporter", e, "node-exporter", f"127.0.0.1:{node}", LABELS, folder) for e in exporter]
            jobs += [scrape_config("kubelet", e, "kubelet", f"127.0.0.1:{agent}", NODE_LABELS, folder) for e in kubelet]
            config = os.path.join(folder, "prometheus.yml")
            with open(config, "w") as file:
                yaml.safe_dump({"global": {"evaluation_interval": INTERVAL}, "rule_files": [rules], "scrape_configs": jobs}, file)
            api = f"http://127.0.0.1:{server}/api/v1"
            wait_for(f"{api}/targets", start(["prometheus", f"--config.file={config}", f"--storage.tsdb.path={folder}/tsdb", f"--web.listen-address=127.0.0.1:{server}"]))

            def query(text):
                return json.loads(get(f"{api}/query?query={urllib.parse.quote(text)}"))["data"]["result"]

            for _ in range(60):
                time.sleep(1)
                if len(query("up")) == len(jobs) and all(len(query(f'scrape_duration_seconds{{job="{job}"}}')) for job in ("node-exporter", "kubelet")):
                    break
            time.sleep(20)  # Four scrapes, so that rates have something.
            targets = json.loads(get(f"{api}/targets"))["data"]["activeTargets"]
            result["targets"] = [
                {
                    "job": t["scrapePool"],
                    "health": t["health"],
                    "error": t["lastError"],
                    "labels": t["labels"],
                    "samples": value(query, "scrape_samples_scraped", t["labels"]),
                    "kept": value(query, "scrape_samples_post_metric_relabeling", t["labels"]),
                }
                for t in sorted(targets, key=lambda t: t["scrapePool"])
            ]
            groups = json.loads(get(f"{api}/rules"))["data"]["groups"]
            everything = [rule for group in groups for rule in group["rules"]]
            recorded = [rule for rule in everything if rule["type"] == "recording"]
            empty = sorted({rule["name"] for rule in recorded if not query(rule["query"])})
            result["rules"] = {
                "alerts": sum(rule["type"] == "alerting" for rule in everything),
                "recording": len(recorded),
                "with errors": sorted(rule["name"] for rule in everything if rule["health"] == "err"),
                "recording without series": empty,
            }
            result["ingestion errors"] = {
                name: float(found[0]["value"][1]) if (found := query(f"sum({name})")) else 0.0
                for name in ("prometheus_target_scrapes_sample_duplicate_timestamp_total", "prometheus_target_scrapes_sample_out_of_order_total")
            }
            expositions = {"node-exporter": get(f"http://127.0.0.1:{node}/metrics")}
            for path in ("/metrics", "/metrics/cadvisor", "/metrics/resource"):
                expositions[f"agent {path}"] = get(f"http://127.0.0.1:{agent}{path}")
            result["promtool"] = {name: complaints(text) for name, text in expositions.items()}
            if options.peer:
                port = free_port()
                text = wait_for(f"http://127.0.0.1:{port}/metrics", start([options.peer, *arguments, f"--web.listen-address=127.0.0.1:{port}"]))
                theirs = set(complaints(text))
                result["promtool about the peer"] = sorted(theirs)
                result["promtool about us only"] = sorted(set(result["promtool"]["node-exporter"]) - theirs)
        finally:
            for process in processes:
                process.terminate()
            for process in processes:
                process.communicate()
    for target in result["targets"]:
        print(f"{target['job']}: {target['health']} {target['error']}, {target['samples']} samples, {target['kept']} kept")
    print(json.dumps({key: result[key] for key in ("rules", "ingestion errors")}, indent=1))
    for name, lines in result["promtool"].items():
        kinds = collections.Counter(re.sub(r"^\S+ ", "", line) for line in lines if not line.startswith("node_"))
        print(f"promtool on {name}: {len(lines)} complaints; about other names than node_exporter's: {dict(kinds)}")
    if options.peer:
        print(f"promtool on the peer: {len(result['promtool about the peer'])}; on us only: {result['promtool about us only']}")
    if options.out:
        with open(options.out, "w") as file:
            json.dump(result, file, indent=1)
            file.write("\n")


def value(query, metric, labels):
    selector = ",".join(f'{name}="{labels[name]}"' for name in ("job", "instance", "metrics_path") if name in labels)
    found = query(f"{metric}{{{selector}}}")
    return int(float(found[0]["value"][1])) if found else None


if __name__ == "__main__":
    main()
