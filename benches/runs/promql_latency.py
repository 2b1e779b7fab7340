#!/usr/bin/env python3
"""How long PromQL queries take in the aggregator, beside Prometheus and VictoriaMetrics, on the same data in the same run.

    benches/runs/promql_latency.py [kansoku prometheus victoria-metrics] [--rounds N] [--out results.json]
    benches/runs/promql_latency.py --frames FILE --truth FILE [--out results.json]

Without FILE: the 3 h of `demo_metrics.py` and the questions of `demo_queries.py`, each as a range query of the last hour but one with
a step of 30 s, and as an instant query at its end. After one round that warms up, rounds follow in which every query goes to each
server in turn; of each query the median of its rounds counts. Answers are compared with those of Prometheus: same series and times,
values within a relative 1e-9; what Prometheus 3 changed is named in `demo_queries.py`. With FILE (of `metricgen`, whose start and end are in
the truth file) it is sums of rates over all of the time; 80 nodes of 128 series are ten thousand of one counter.

Servers keep no answers here: VictoriaMetrics and the aggregator are told `nocache=1`.
"""
import argparse, http.client, json, math, pathlib, re, shutil, signal, socket, statistics, tempfile, time, urllib.parse

import demo_metrics, demo_queries
from measured import post
from store_metrics import ROOT, Server, frames, send

HEADERS = {"Content-Encoding": "snappy", "Content-Type": "application/x-protobuf", "X-Prometheus-Remote-Write-Version": "0.1.0"}
N_SCRAPES = 720
TOLERANCE = 1e-9


class Asked(Server):
    """A server with one connection kept open."""

    def __init__(self, kind, work, aggregator):
        super().__init__(kind, work, aggregator)
        if kind == "victoria-metrics":
            # The newest samples are to be seen, and the one connection stays open.
            self.command += ["-search.latencyOffset=0s", "-search.maxUniqueTimeseries=1000000", "-http.connTimeout=1h", "-http.idleConnTimeout=1h"]

    def connect(self):
        self.connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=300)
        self.connection.connect()
        self.socket = socket.create_connection(("127.0.0.1", self.port), timeout=300)
        self.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)

    def ask(self, path, parameters):
        """Status, body, seconds of wall and of CPU."""
        request = f"GET /api/v1/{path}?{urllib.parse.urlencode(parameters)} HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n".encode()
        cpu, begin = self.cpu_s(), time.perf_counter()
        try:
            self.socket.sendall(request)
            status, body = read_answer(self.socket)
        except ConnectionError:
            # Kept open for longer than the server likes.
            self.connect()
            return self.ask(path, parameters)
        wall = time.perf_counter() - begin
        return status, body, wall, self.cpu_s() - cpu


def read_answer(connection):
    """Status and body of an HTTP answer. Python's own client takes a quarter of a millisecond for one, which is more than most of the queries."""
    got = bytearray()

    def fill():
        if not (more := connection.recv(1 << 20)):
            raise ConnectionError("closed")
        got.extend(more)

    while (head_end := got.find(b"\r\n\r\n")) < 0:
        fill()
    head, at = bytes(got[:head_end]).lower(), head_end + 4
    status = int(head[9:12])
    if length := re.search(rb"\r\ncontent-length: *(\d+)", head):
        end = at + int(length[1])
        while len(got) < end:
            fill()
        return status, bytes(got[at:end])
    body = bytearray()
    while True:
        while (line_end := got.find(b"\r\n", at)) < 0:
            fill()
        size = int(got[at:line_end], 16)
        while len(got) < line_end + 4 + size:
            fill()
        body += got[line_end + 2 : line_end + 2 + size]
        at = line_end + 4 + size
        if not size:
            return status, bytes(body)


def settle(server):
    """Lets work end that the ingest left behind."""
    if server.kind == "victoria-metrics":
        server.get("/internal/force_flush")
    last = server.cpu_s()
    for _ in range(30):
        time.sleep(1)
        if (now := server.cpu_s()) - last < 0.05:
            return
        last = now


def points(answer):
    """The result of an answer as {labels: {time: value}}."""
    data = json.loads(answer)["data"]
    if data["resultType"] == "scalar":
        return {"": {data["result"][0]: float(data["result"][1])}}
    of = lambda one: one["values"] if "values" in one else [one["value"]]
    return {json.dumps(one["metric"], sort_keys=True): {t: float(v) for t, v in of(one)} for one in data["result"]}


def difference(ours, theirs):
    """What tells two results apart, or nothing."""
    if ours.keys() != theirs.keys():
        return f"series: {sorted(ours.keys() ^ theirs.keys())[:1]}"
    for series, expected in theirs.items():
        got = ours[series]
        if got.keys() != expected.keys():
            return f"times of {series}: {sorted(got.keys() ^ expected.keys())[:3]}"
        for t, value in expected.items():
            if not (math.isclose(got[t], value, rel_tol=TOLERANCE) or (math.isnan(got[t]) and math.isnan(value))):
                return f"{series} at {t}: {got[t]!r}, not {value!r}"


def compare(servers, path, parameters, query):
    """What tells the aggregator's answer from that of Prometheus."""
    if any(re.search(pattern, query) for pattern in demo_queries.CHANGED_SINCE_2_42):
        return None
    by_kind = {s.kind: s.ask(path, parameters) for s in servers if s.kind != "victoria-metrics"}
    if len(by_kind) < 2:
        return None
    (ours, our_text, *_), (theirs, their_text, *_) = by_kind["kansoku"], by_kind["prometheus"]
    if ours != theirs:
        return f"status {ours}, not {theirs}"
    if our_text == their_text:
        return None
    return difference(points(our_text), points(their_text)) if ours == 200 else None


def measure(servers, path, queries, times, rounds):
    """Medians and sums over the queries."""
    walls = {s.kind: [[] for _ in queries] for s in servers}
    cpus = {s.kind: [[] for _ in queries] for s in servers}
    differing, failed = {}, {s.kind: 0 for s in servers}
    for at, query in enumerate(queries):
        if what := compare(servers, path, {"query": query, "nocache": 1, **times}, query):
            differing[query] = what
    for turn in range(rounds + 1):
        for at, query in enumerate(queries):
            for server in servers:
                status, _, wall, cpu = server.ask(path, {"query": query, "nocache": 1, **times})
                if turn > 0:
                    walls[server.kind][at].append(wall)
                    cpus[server.kind][at].append(cpu)
                else:
                    failed[server.kind] += status != 200
    rows, slowest = {}, {}
    for kind, all in walls.items():
        medians = [statistics.median(w) for w in all]
        rows[kind] = {"median_ms": round_ms(statistics.median(medians)), "p90_ms": round_ms(sorted(medians)[len(medians) * 9 // 10]),
                      "sum_ms": round_ms(sum(medians)), "cpu_s": round(sum(statistics.median(c) for c in cpus[kind]), 4), "refused": failed[kind]}
        by_time = sorted(zip(medians, queries), reverse=True)[:8]
        slowest[kind] = [[round_ms(m), q] for m, q in by_time]
    return {"queries": len(queries), "servers": rows, "ratios": ratios(rows), "differing": differing, "slowest": slowest,
            "each_ms": {q: [round_ms(statistics.median(walls[s.kind][at])) for s in servers] for at, q in enumerate(queries)}}


def round_ms(seconds):
    return round(seconds * 1000, 3)


def ratios(rows):
    ours = rows.get("kansoku")
    return {kind: {key: round(ours[key] / row[key], 3) for key in ("median_ms", "p90_ms", "sum_ms", "cpu_s")} for kind, row in rows.items() if ours and kind != "kansoku"}


def demo(servers, a):
    start_ms = (int(time.time()) // 3600 - 5) * 3_600_000
    for body, _ in demo_metrics.requests(start_ms, N_SCRAPES):
        for server in servers:
            if error := post(server.connection, server.path, body, HEADERS):
                raise SystemExit(f"{server.kind}: {error}")
    [settle(s) for s in servers]
    start = start_ms // 1000 + 5400
    queries = [q for q in demo_queries.expand() if re.search(a.only, q)]
    over_time = measure(servers, "query_range", queries, {"start": start, "end": start + 3600, "step": 30}, a.rounds)
    instant = measure(servers, "query", queries, {"time": start + 3600}, a.rounds)
    return {"range": over_time, "instant": instant}


def fleet(servers, a):
    truth = json.loads(a.truth.read_text())
    for server in servers:
        send(server, a.frames, frames(a.frames))
        settle(server)
    start, end = truth["start_ms"] // 1000 + 300, truth["end_ms"] // 1000
    queries = ["sum(rate(node_cpu_seconds_total[5m]))", "sum by (mode) (rate(node_cpu_seconds_total[5m]))", "sum by (instance, mode) (rate(node_cpu_seconds_total[5m]))"]
    return {"fleet": measure(servers, "query_range", queries, {"start": start, "end": end, "step": 300}, a.rounds)}


def main():
    p = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    p.add_argument("stores", nargs="*", default=["kansoku", "prometheus", "victoria-metrics"])
    p.add_argument("--frames", type=pathlib.Path)
    p.add_argument("--truth", type=pathlib.Path)
    p.add_argument("--rounds", type=int, default=5)
    p.add_argument("--only", default="", help="queries in which this pattern is found")
    p.add_argument("--aggregator", default=ROOT / "target" / "release" / "kansoku-aggregator")
    p.add_argument("--out")
    a = p.parse_args()
    work = pathlib.Path(tempfile.mkdtemp(prefix="promql-"))
    servers = []
    for kind in a.stores:
        (work / kind).mkdir()
        servers.append(Asked(kind, work / kind, a.aggregator))
        servers[-1].start()
        servers[-1].connect()
    try:
        results = fleet(servers, a) if a.frames else demo(servers, a)
        for server in servers:
            server.connect()
    finally:
        [s.stop(signal.SIGKILL) for s in servers]
        shutil.rmtree(work)
    for name, result in results.items():
        print(name, json.dumps({k: v for k, v in result.items() if k != "each_ms"}, indent=1))
    if a.out:
        pathlib.Path(a.out).write_text(json.dumps(results, indent=1) + "\n")


if __name__ == "__main__":
    main()
