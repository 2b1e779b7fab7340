#!/usr/bin/env python3
"""How long panels wait when many dashboards ask at once, while samples come in and some queries want more than they may have.

    benches/runs/dashboards.py [--dashboards 200] [--seconds 30] [--refresh 10] [--out results.json]

The aggregator has the 3 h of `demo_metrics.py` and is sent further scrapes all the while. A dashboard asks its panels one after the
other, then rests until its next refresh. One client asks for more samples than a query may hold, one for more time than it gives
itself: each answer must be a refusal (422, 503), and the others must not notice.
"""
import argparse, http.client, json, pathlib, random, shutil, signal, tempfile, threading, time, urllib.parse

import demo_metrics
from measured import post
from promql_latency import HEADERS, N_SCRAPES, Asked
from store_metrics import ROOT

MAX_SAMPLES = 5_000_000
REQUESTS = "demo_api_request_duration_seconds"
PANELS = [
    "sum by (instance) (rate(demo_cpu_usage_seconds_total[5m]))",
    "demo_memory_usage_bytes",
    "demo_disk_usage_bytes / demo_disk_total_bytes",
    f"sum by (path, status) (rate({REQUESTS}_count[5m]))",
    f'sum(rate({REQUESTS}_count{{status="500"}}[5m])) / sum(rate({REQUESTS}_count[5m]))',
    f"histogram_quantile(0.99, sum by (le, path) (rate({REQUESTS}_bucket[5m])))",
    "topk(3, demo_memory_usage_bytes)",
    "max_over_time(up[10m])",
]


class Client(threading.Thread):
    """One dashboard, or one who asks for too much."""

    def __init__(self, port, start, until, refresh_s, seed):
        super().__init__(daemon=True)
        self.port, self.start_s, self.until, self.refresh_s = port, start, until, refresh_s
        self.random, self.walls, self.failures = random.Random(seed), [], []

    def ask(self, connection, **parameters):
        begin = time.perf_counter()
        connection.request("GET", "/api/v1/query_range?" + urllib.parse.urlencode(parameters))
        answer = connection.getresponse()
        body = answer.read()
        return answer.status, body, time.perf_counter() - begin

    def run(self):
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=300)
        time.sleep(self.random.uniform(0, self.refresh_s))
        while time.time() < self.until:
            begin = time.time()
            for panel in PANELS:
                status, body, wall = self.ask(connection, query=panel, start=self.start_s, end=self.start_s + 3600, step=30)
                self.walls.append(wall)
                if status != 200:
                    self.failures.append([status, body[:200].decode()])
            time.sleep(max(0, begin + self.refresh_s - time.time()))


class Greedy(Client):
    """Asks for what it may not have; the walls are of its refusals."""

    def __init__(self, *a, expected, **parameters):
        super().__init__(*a)
        self.expected, self.parameters = expected, parameters

    def run(self):
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=300)
        while time.time() < self.until:
            status, body, wall = self.ask(connection, **self.parameters)
            self.walls.append(wall)
            if status != self.expected:
                self.failures.append([status, body[:200].decode()])
            time.sleep(1)


def quantiles(walls):
    walls = sorted(walls)
    at = lambda share: round(walls[min(len(walls) - 1, int(len(walls) * share))] * 1000, 2)
    return {"n": len(walls), "p50_ms": at(0.5), "p90_ms": at(0.9), "p99_ms": at(0.99), "worst_ms": at(1)}


def main():
    p = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    p.add_argument("--dashboards", type=int, default=200)
    p.add_argument("--seconds", type=float, default=30)
    p.add_argument("--refresh", type=float, default=10)
    p.add_argument("--aggregator", default=ROOT / "target" / "release" / "kansoku-aggregator")
    p.add_argument("--out")
    a = p.parse_args()
    work = pathlib.Path(tempfile.mkdtemp(prefix="dashboards-"))
    server = Asked("kansoku", work, a.aggregator)
    server.command += [f"--query.max-samples={MAX_SAMPLES}"]
    server.start()
    try:
        begin_ms = (int(time.time()) // 3600 - 5) * 3_600_000
        bodies = list(demo_metrics.requests(begin_ms, N_SCRAPES + 240))
        n_before = 3 * N_SCRAPES // demo_metrics.PER_REQUEST
        server.connect()
        for body, _ in bodies[:n_before]:
            assert not post(server.connection, server.path, body, HEADERS)
        start, until = begin_ms // 1000 + 5400, time.time() + a.seconds
        dashboards = [Client(server.port, start, until, a.refresh, seed) for seed in range(a.dashboards)]
        everything = dict(query='{__name__=~".+"}', start=start, end=start + 3600, step=1)
        slow = dict(query=f"max_over_time(sum(rate({REQUESTS}_bucket[5m]))[1h:1s])", start=start, end=start + 3600, step=30, timeout="20ms")
        greedy = {"samples": Greedy(server.port, start, until, 0, 0, expected=422, **everything),
                  "time": Greedy(server.port, start, until, 0, 0, expected=503, **slow)}
        cpu = server.cpu_s()
        [t.start() for t in [*dashboards, *greedy.values()]]
        sent, later = 0, bodies[n_before:]
        while time.time() < until:
            body, n = later[sent % len(later)] if sent < len(later) else later[-1]
            assert not post(server.connection, server.path, body, HEADERS)
            sent += 1
            time.sleep(a.seconds / len(later))
        [t.join(60) for t in [*dashboards, *greedy.values()]]
        result = {"dashboards": a.dashboards, "refresh_s": a.refresh, "seconds": a.seconds, "panels": quantiles([w for d in dashboards for w in d.walls]),
                  "failures": [f for d in dashboards for f in d.failures][:5], "cpu_s": round(server.cpu_s() - cpu, 2), "peak_rss_mb": server.memory_mb("VmHWM"),
                  "requests_taken_in_meanwhile": sent,
                  "refused": {name: {**quantiles(g.walls), "not_refused": g.failures[:3]} for name, g in greedy.items()}}
    finally:
        server.stop(signal.SIGKILL)
        shutil.rmtree(work)
    print(json.dumps(result, indent=1))
    if a.out:
        pathlib.Path(a.out).write_text(json.dumps(result, indent=1) + "\n")


if __name__ == "__main__":
    main()
