"""prometheus_scrape against Debian's Prometheus: both scrape the same changing page with the same targets, relabelling and limits, and
end with the same series and values. Durations and times differ, of course."""

import http.server
import json
import subprocess
import sys
import tempfile
import threading
import time
import urllib.request

import yaml

from agent import AGENT, free_port

PAGES = {
    "/metrics": [
        '# HELP a_total Help.\n# TYPE a_total counter\na_total{x="1",job="own"} 1\na_total{x="2",exported_job="e",job="own"} 2\n'
        '# TYPE h histogram\nh_bucket{le="1",instance=""} 1\nh_bucket{le="+Inf"} 2\nh_sum 3\nh_count 2\nsecret{token="abc"} 1\nlong_name_of_a_metric{code="200"} 7\n',
        'a_total{x="1",job="own"} 5\nnew 1\n',
    ],
    "/limited": ["a 1\nb 2\n", "a 1\nb 2\nc 3\n", "a 1\n"],
    "/labels": ['a{x="1"} 1\n', 'a{x="1",y="2",z="3"} 1\n'],
    "/probe": ["probe 1\n"],
}
phase = 0


class Handler(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        path = self.path.split("?")[0]
        pages = PAGES.get(path)
        page = pages[min(phase, len(pages) - 1)] if pages else None
        if path == "/probe":
            page += 'probe_query{q="%s"} 1\n' % self.path.split("?")[1]
        self.send_response(200 if page else 404)
        self.send_header("Content-Type", "text/plain; version=0.0.4")
        self.end_headers()
        self.wfile.write((page or "").encode())

    def log_message(self, *_):
        pass


pages_port, prometheus_port, receiver_port, dead_port = (free_port() for _ in range(4))
server = http.server.ThreadingHTTPServer(("127.0.0.1", pages_port), Handler)
threading.Thread(target=server.serve_forever, daemon=True).start()
here = f"127.0.0.1:{pages_port}"
pod = {
    "__meta_kubernetes_namespace": "shop",
    "__meta_kubernetes_pod_name": "web-0",
    "__meta_kubernetes_pod_label_app_kubernetes_io_name": "web",
    "__meta_kubernetes_pod_annotation_prometheus_io_scrape": "true",
}
jobs = [
    {
        "job_name": "plain",
        "static_configs": [{"targets": [here, f"127.0.0.1:{dead_port}"], "labels": {**pod, "zone": "a"}}],
        "relabel_configs": [
            {"source_labels": ["__meta_kubernetes_pod_annotation_prometheus_io_scrape"], "action": "keep", "regex": "true"},
            {"action": "labelmap", "regex": "__meta_kubernetes_pod_label_(.+)"},
            {"source_labels": ["__meta_kubernetes_namespace", "__meta_kubernetes_pod_name"], "separator": "/", "target_label": "pod"},
            {"source_labels": ["__address__"], "action": "hashmod", "modulus": 7, "target_label": "shard"},
        ],
        "metric_relabel_configs": [
            {"source_labels": ["__name__"], "action": "drop", "regex": "h_sum"},
            {"action": "labeldrop", "regex": "token"},
            {"source_labels": ["__name__", "code"], "regex": "(long)_.*;(.*)", "target_label": "__name__", "replacement": "${1}_${2}"},
        ],
    },
    {"job_name": "honored", "honor_labels": True, "static_configs": [{"targets": [here]}]},
    {"job_name": "limited", "metrics_path": "/limited", "sample_limit": 2, "static_configs": [{"targets": [here]}]},
    {"job_name": "labels", "metrics_path": "/labels", "label_limit": 5, "static_configs": [{"targets": [here]}]},
    {"job_name": "missing", "metrics_path": "/missing", "static_configs": [{"targets": [here]}]},
    {"job_name": "targets", "target_limit": 1, "static_configs": [{"targets": [here, "localhost:" + str(pages_port)]}]},
    {
        "job_name": "probes",
        "metrics_path": "/probe",
        "params": {"module": ["http 2xx"]},
        "static_configs": [{"targets": ["http://example.com/?a=b"]}],
        "relabel_configs": [
            {"source_labels": ["__address__"], "target_label": "__param_target"},
            {"source_labels": ["__param_target"], "target_label": "instance"},
            {"target_label": "__address__", "replacement": here},
        ],
    },
]


def for_agent(job):
    job = {"name": "prometheus_scrape", "tag": "t", "scrape_interval": "1s", **job}
    if "params" in job:
        job["params"] = [f"{name} {values[0]}" for name, values in job["params"].items()]
    return job


folder = tempfile.mkdtemp()
with open(f"{folder}/prometheus.yml", "w") as f:
    yaml.dump({"global": {"scrape_interval": "1s"}, "scrape_configs": jobs}, f)
with open(f"{folder}/agent.yaml", "w") as f:
    output = {"name": "prometheus_remote_write", "match": "*", "host": "127.0.0.1", "port": receiver_port, "uri": "/api/v1/write"}
    yaml.dump({"service": {"flush": 0.2}, "pipeline": {"inputs": [for_agent(j) for j in jobs], "outputs": [output]}}, f)
with open(f"{folder}/receiver.yml", "w") as f:
    f.write("{}")


def prometheus(name, port, *flags):
    return subprocess.Popen(
        ["prometheus", f"--config.file={folder}/{name}.yml", f"--storage.tsdb.path={folder}/{name}", f"--web.listen-address=127.0.0.1:{port}", *flags],
        stderr=open(f"{folder}/{name}.log", "w"),
    )


programs = [
    prometheus("prometheus", prometheus_port),
    prometheus("receiver", receiver_port, "--web.enable-remote-write-receiver"),
]
time.sleep(1)
programs.append(subprocess.Popen([AGENT, "-c", f"{folder}/agent.yaml"], stderr=open(f"{folder}/agent.log", "w")))


def series(port):
    url = f"http://127.0.0.1:{port}/api/v1/query?query=%7B__name__%3D~%22.%2B%22%7D"
    result = json.load(urllib.request.urlopen(url))["data"]["result"]
    found = {}
    for one in result:
        labels = dict(one["metric"])
        found[(labels.pop("__name__"), tuple(sorted(labels.items())))] = float(one["value"][1])
    return found


failed = 0
try:
    for phase in range(3):
        # Prometheus takes its time to begin.
        time.sleep(12 if phase == 0 else 5)
        a, b = series(receiver_port), series(prometheus_port)
        for side, one, other in (("only here", a, b), ("only in Prometheus", b, a)):
            for key in sorted(set(one) - set(other)):
                failed += 1
                print(f"phase {phase}: {side}: {key} {one[key]}")
        for key in sorted(set(a) & set(b)):
            if a[key] != b[key] and key[0] != "scrape_duration_seconds":
                failed += 1
                print(f"phase {phase}: {key}: {a[key]} here, {b[key]} in Prometheus")
        print(f"phase {phase}: {len(a)} series here, {len(b)} in Prometheus, {sum(v for k, v in a.items() if k[0] == 'up'):.0f} targets up")
finally:
    for program in programs:
        program.terminate()
    for program in programs:
        program.wait()
print(open(f"{folder}/agent.log").read())
sys.exit(failed > 0)
