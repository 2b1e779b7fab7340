#!/usr/bin/env python3
"""prometheus_scrape with annotated pods on a real cluster, beside Prometheus with the same relabelling.

Pods that finish, fail, crash, are deleted and live on serve a page; Prometheus scrapes them, and so does the agent, which pushes to a second
Prometheus. Asked every second: which series are there, and with which values. Both must have the same ones and end them within an interval and
the time a discovery takes of each other. Debian builds Prometheus without kubernetes_sd_configs: a thread writes what the role pod gives,
as Prometheus' documentation has it, into a file of targets; PROMETHEUS names one that has it. Wanted: prometheus, a kubeconfig, an image with busybox on
the node. By hand:
    KUBECTL=kubectl KUBECONFIG=FILE NODE=NAME [PROMETHEUS=FILE] python3 benches/peers/kubernetes_scrape.py AGENT IMAGE_BUSYBOX [OUT.json]
"""
import json, os, re, signal, subprocess, sys, tempfile, threading, time, urllib.parse, urllib.request

AGENT, BUSYBOX = sys.argv[1:3]
OUT = sys.argv[3] if len(sys.argv) > 3 else None
KUBECTL, NODE = os.environ.get("KUBECTL", "kubectl").split(), os.environ["NODE"]
KUBECONFIG = os.environ["KUBECONFIG"]
PEER, SINK, INTERVAL_S = 19490, 19492, 3
SECONDS = 110
folder = tempfile.mkdtemp()
# The chart's job "kubernetes-pods", which `kubernetes_pods annotated` stands for.
CHART = r"""
      - {source_labels: [__meta_kubernetes_pod_annotation_prometheus_io_scrape], action: keep, regex: true}
      - {source_labels: [__meta_kubernetes_pod_annotation_prometheus_io_scrape_slow], action: drop, regex: true}
      - {source_labels: [__meta_kubernetes_pod_annotation_prometheus_io_scheme], action: replace, regex: '(https?)', target_label: __scheme__}
      - {source_labels: [__meta_kubernetes_pod_annotation_prometheus_io_path], action: replace, target_label: __metrics_path__, regex: (.+)}
      - {source_labels: [__meta_kubernetes_pod_annotation_prometheus_io_port, __meta_kubernetes_pod_ip], action: replace, regex: '(\d+);((([0-9]+?)(\.|$)){4})', replacement: '$2:$1', target_label: __address__}
      - {action: labelmap, regex: __meta_kubernetes_pod_annotation_prometheus_io_param_(.+), replacement: __param_$1}
      - {action: labelmap, regex: __meta_kubernetes_pod_label_(.+)}
      - {source_labels: [__meta_kubernetes_namespace], action: replace, target_label: namespace}
      - {source_labels: [__meta_kubernetes_pod_name], action: replace, target_label: pod}
      - {source_labels: [__meta_kubernetes_pod_phase], regex: Pending|Succeeded|Failed|Completed, action: drop}
      - {source_labels: [__meta_kubernetes_pod_node_name], action: replace, target_label: node}
"""
WEB = "mkdir -p /tmp/w && cd /tmp/w && i=0; printf 'page_ok 1\\n' > metrics; httpd -p 8080 -h /tmp/w; "
# Name: what the pod does, whether it is started again, and what is in its annotations besides.
PODS = {
    "lives": (WEB + "sleep 100000", "Always"),
    "finishes": (WEB + "sleep 25", "Never"),
    "fails": (WEB + "sleep 30; exit 3", "Never"),
    "crashes": (WEB + "sleep 8; exit 1", "Always"),
    "deleted": (WEB + "sleep 100000", "Always"),
    "deaf": ("sleep 100000", "Always"),
}


def kubectl(*arguments, data=None):
    done = subprocess.run([*KUBECTL, *arguments], input=data, text=True, capture_output=True, timeout=300)
    if done.returncode:
        raise RuntimeError(f"{arguments}: {done.stderr}")
    return done.stdout


def pod(name, command, restart):
    return json.dumps({
        "apiVersion": "v1", "kind": "Pod",
        "metadata": {"name": name, "namespace": "scraped", "labels": {"app": name},
                     "annotations": {"prometheus.io/scrape": "true", "prometheus.io/port": "8080"}},
        "spec": {"terminationGracePeriodSeconds": 0, "restartPolicy": restart, "nodeName": NODE, "containers": [
            {"name": "c", "image": BUSYBOX, "imagePullPolicy": "Never", "command": ["/bin/sh", "-c", command], "ports": [{"containerPort": 8080}]}]}})


def ask(port, query):
    url = f"http://127.0.0.1:{port}/api/v1/query?" + urllib.parse.urlencode({"query": query})
    return json.load(urllib.request.urlopen(url, timeout=10))["data"]["result"]


def wait_for(port):
    for _ in range(300):
        try:
            return ask(port, "vector(1)")
        except OSError:
            time.sleep(0.2)
    raise RuntimeError(f"nothing answers on port {port}")


def start(name, *command):
    return subprocess.Popen(command, stdout=open(f"{folder}/{name}.log", "w"), stderr=subprocess.STDOUT)


def write(name, text):
    with open(f"{folder}/{name}", "w") as file:
        file.write(text)
    return f"{folder}/{name}"


def series(port):
    """Labels without those of scraping itself, and value, of all that is there now."""
    found = {}
    for row in ask(port, '{namespace="scraped",__name__=~"up|page_ok|scrape_samples_scraped"}'):
        found[json.dumps(row["metric"], sort_keys=True)] = row["value"][1]
    return found


def labels_of(pod):
    """What kubernetes_sd_configs' role pod says of a pod, without what depends on the port."""
    meta, status = pod["metadata"], pod["status"]
    labels = {"namespace": meta["namespace"], "pod_name": meta["name"], "pod_ip": status["podIP"], "pod_phase": status["phase"],
              "pod_node_name": pod["spec"]["nodeName"], "pod_host_ip": status["hostIP"], "pod_uid": meta["uid"]}
    for kind in ("label", "annotation"):
        for name, value in meta.get(f"{kind}s", {}).items():
            labels[f"pod_{kind}_" + re.sub(r"[^a-zA-Z0-9_]", "_", name)] = value
    return {f"__meta_kubernetes_{name}": value for name, value in labels.items()}


def discover(stop):
    while not stop.wait(0.5):
        try:
            pods = json.loads(kubectl("get", "pods", "-A", "--field-selector", f"spec.nodeName={NODE}", "-o", "json"))["items"]
        except RuntimeError:
            continue
        groups = []
        for one in pods:
            if not one["status"].get("podIP"):
                continue
            for container in one["spec"]["containers"]:
                for port in container.get("ports", [{}]):
                    number = port.get("containerPort")
                    address = one["status"]["podIP"] + (f":{number}" if number else "")
                    groups.append({"targets": [address], "labels": labels_of(one)})
        write("targets.new", json.dumps(groups))
        os.replace(f"{folder}/targets.new", f"{folder}/targets.json")


PROMETHEUS = os.environ.get("PROMETHEUS")
DISCOVERY = (f"kubernetes_sd_configs: [{{role: pod, kubeconfig_file: {KUBECONFIG}, selectors: [{{role: pod, field: spec.nodeName={NODE}}}]}}]" if PROMETHEUS
             else f"file_sd_configs: [{{files: [{folder}/targets.json]}}]")
peer = write("peer.yml", f"""
global: {{scrape_interval: {INTERVAL_S}s, scrape_timeout: {INTERVAL_S}s}}
scrape_configs:
  - job_name: kubernetes-pods
    {DISCOVERY}
    relabel_configs:{CHART}""")
agent = write("agent.conf", f"""
[SERVICE]
    Flush 0.5
[INPUT]
    Name prometheus_scrape
    kubernetes_pods annotated
    scrape_interval {INTERVAL_S}s
    scrape_timeout {INTERVAL_S}s
[OUTPUT]
    Name prometheus_remote_write
    Match *
    Host 127.0.0.1
    Port {SINK}
    Uri /api/v1/write
""")
programs, stop = [], threading.Event()
try:
    kubectl("delete", "namespace", "scraped", "--ignore-not-found", "--wait=true")
    kubectl("create", "namespace", "scraped")
    threading.Thread(target=discover, args=(stop,), daemon=True).start()
    time.sleep(2)
    programs.append(start("peer", PROMETHEUS or "prometheus", f"--config.file={peer}", f"--storage.tsdb.path={folder}/peer", f"--web.listen-address=127.0.0.1:{PEER}"))
    programs.append(start("sink", "prometheus", f"--config.file={write('sink.yml', '')}", f"--storage.tsdb.path={folder}/sink", "--web.enable-remote-write-receiver", f"--web.listen-address=127.0.0.1:{SINK}"))
    for port in (PEER, SINK):
        wait_for(port)
    environment = dict(os.environ, NODE_NAME=NODE)
    programs.append(subprocess.Popen([AGENT, "-c", agent], stdout=open(f"{folder}/agent.log", "w"), stderr=subprocess.STDOUT, env=environment))
    for name, (command, restart) in PODS.items():
        kubectl("apply", "-f", "-", data=pod(name, command, restart))
    began, seen, is_deleted = time.time(), {PEER: [], SINK: []}, False
    while time.time() < began + SECONDS:
        if not is_deleted and time.time() > began + 40:
            kubectl("-n", "scraped", "delete", "pod", "deleted")
            is_deleted = True
        for port in (PEER, SINK):
            seen[port].append((time.time() - began, series(port)))
        time.sleep(1)
    rows, failed = [], False
    for key in sorted({k for port in seen for _, found in seen[port] for k in found}):
        labels = json.loads(key)
        # Times at which the series comes or goes; the crashing pod's do so again and again.
        times = {port: [at for at, found in seen[port] if key in found] for port in seen}
        row = {"series": labels}
        for name, port in (("prometheus", PEER), ("agent", SINK)):
            ups = [found.get(key) for at, found in seen[port]]
            row[name] = {"first_s": round(times[port][0], 1), "last_s": round(times[port][-1], 1), "seconds": len(times[port]),
                         "values": sorted({v for v in ups if v is not None})} if times[port] else None
        is_same = bool(row["prometheus"] and row["agent"]) and row["prometheus"]["values"] == row["agent"]["values"] and all(
            abs(row["prometheus"][k] - row["agent"][k]) <= 2 * INTERVAL_S + 2 for k in ("first_s", "last_s"))
        row["same"] = is_same
        failed |= not is_same
        rows.append(row)
        print("same" if is_same else "DIFFERENT", labels["__name__"], labels["pod"], row["prometheus"], row["agent"])
    print(f"{len(rows)} series of {len(PODS)} pods, {sum(r['same'] for r in rows)} alike")
    if OUT:
        json.dump(rows, open(OUT, "w"), indent=1)
finally:
    stop.set()
    for program in programs:
        program.send_signal(signal.SIGTERM)
    for program in programs:
        program.wait(20)
    if os.environ.get("KEEP"):
        print(folder)
sys.exit(failed)
