#!/usr/bin/env python3
"""Ingest, merges, retention by size and queries at once for an hour, with memory, descriptors and disk.

    benches/runs/soak.py --logs FILE --metrics FILE [--minutes 60] [--limit 300MiB] [--out results.json]

LOGS holds Loki pushes (`loggen --loki`), METRICS remote-write requests (`metricgen`), as `store_logs.py` and `store_metrics.py` take
them. Both are sent evenly over the time, so their times should cover it. Meanwhile one client asks questions, one after the other with
a rest as long as each took. Every ten seconds RSS, descriptors and the folder's bytes are noted. The end compares the last quarter with
the quarter before: what grows without end shows there.
"""
import argparse, http.client, json, pathlib, shutil, statistics, struct, sys, tempfile, threading, time, urllib.parse

from measured import Measured, free_port, post

ROOT = pathlib.Path(__file__).resolve().parents[2]
QUESTIONS = [
    ("/loki/api/v1/query_range", {"query": '{namespace=~".+"}', "limit": "100"}),
    ("/loki/api/v1/query_range", {"query": '{namespace=~".+"} |= "timed out"', "limit": "100"}),
    ("/loki/api/v1/query", {"query": 'sum by (namespace) (count_over_time({namespace=~".+"} |~ "(?i)error" [10m]))'}),
    ("/loki/api/v1/query", {"query": 'quantile_over_time(0.99, {namespace=~"auth|payments|search|shop"} | json | unwrap duration_ms [5m]) by (namespace)'}),
    ("/api/v1/query", {"query": "sum by (instance) (rate(node_cpu_seconds_total[5m]))"}),
    ("/api/v1/query", {"query": "topk(10, sum by (pod) (rate(container_cpu_usage_seconds_total[5m])))"}),
    ("/api/v1/label/__name__/values", {}),
    ("/loki/api/v1/series", {"match[]": '{namespace=~".+"}'}),
]


class Server(Measured):
    kind, ready = "kansoku", "/-/ready"

    def __init__(self, work, aggregator, limit):
        self.folder, self.port, self.log = work / "data", free_port(), open(work / "log", "ab")
        self.command = [str(aggregator), "--web.listen-address", f"127.0.0.1:{self.port}", "--storage.path", str(self.folder), "--storage.retention.time", "0",
                        "--storage.retention.size", limit]

    def get(self, path):
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=300)
        connection.request("GET", path)
        answer = connection.getresponse()
        return answer.status, answer.read()

    def metric(self, name):
        for line in self.get("/metrics")[1].decode().splitlines():
            if line.startswith(name + " "):
                return float(line.split()[1])


def send(server, path, file, headers, seconds, counts, errors):
    """Sends the requests of a file evenly over the time, over one connection."""
    size, begin = file.stat().st_size, time.time()
    connection = http.client.HTTPConnection("127.0.0.1", server.port, timeout=300)
    with open(file, "rb") as f:
        while head := f.read(12):
            length, a, b = struct.unpack("<III", head)
            error = post(connection, path, f.read(length), headers)
            if error:
                errors.append(error)
                return
            counts[path] = counts.get(path, 0) + (b if "loki" in path else a)
            ahead = f.tell() / size * seconds - (time.time() - begin)
            if ahead > 0:
                time.sleep(ahead)


def ask(server, until, times, errors):
    while time.time() < until:
        for path, form in QUESTIONS:
            begin = time.time()
            try:
                status, text = server.get(f"{path}?{urllib.parse.urlencode(form)}")
            except OSError as e:
                status, text = 0, str(e).encode()
            took = time.time() - begin
            times.setdefault(form.get("query", path), []).append(took)
            if status != 200:
                errors.append(f"{path} {form}: {status} {text[:200]}")
            time.sleep(max(took, 0.2))


def main():
    p = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    p.add_argument("--logs", type=pathlib.Path, required=True)
    p.add_argument("--metrics", type=pathlib.Path, required=True)
    p.add_argument("--aggregator", default=ROOT / "target" / "release" / "kansoku-aggregator")
    p.add_argument("--minutes", type=float, default=60)
    p.add_argument("--limit", default="300MiB")
    p.add_argument("--out", type=pathlib.Path)
    a = p.parse_args()
    work = pathlib.Path(tempfile.mkdtemp(prefix="soak-"))
    server = Server(work, a.aggregator, a.limit)
    server.start()
    seconds = a.minutes * 60
    until, counts, errors, times, rows = time.time() + seconds, {}, [], {}, []
    snappy = {"Content-Encoding": "snappy", "Content-Type": "application/x-protobuf", "X-Prometheus-Remote-Write-Version": "0.1.0"}
    threads = [threading.Thread(target=send, args=(server, "/loki/api/v1/push", a.logs, {"Content-Type": "application/x-protobuf"}, seconds, counts, errors)),
               threading.Thread(target=send, args=(server, "/api/v1/write", a.metrics, snappy, seconds, counts, errors)),
               threading.Thread(target=ask, args=(server, until, times, errors))]
    [t.start() for t in threads]
    begin = time.time()
    while any(t.is_alive() for t in threads):
        rows.append({"s": round(time.time() - begin), "rss_mb": server.memory_mb("VmRSS"), "descriptors": len(list(pathlib.Path(f"/proc/{server.process.pid}/fd").iterdir())),
                     "disk_mb": round(server.disk_bytes() / 1e6, 1)})
        time.sleep(10)
    quarter = len(rows) // 4
    result = {"minutes": a.minutes, "limit": a.limit, "lines": counts.get("/loki/api/v1/push"), "samples": counts.get("/api/v1/write"), "cpu_s": round(server.cpu_s(), 1),
              "peak_rss_mb": server.memory_mb("VmHWM"), "flushes": server.metric("kansoku_store_flushes_total"), "merges": server.metric("kansoku_store_merges_total"),
              "expired": server.metric("kansoku_store_parts_expired_total"), "errors": errors[:5], "n_errors": len(errors)}
    for key in ("rss_mb", "descriptors", "disk_mb"):
        result[key] = {name: [min(part), statistics.median(part), max(part)] for name, part in
                       (("third_quarter", [r[key] for r in rows[2 * quarter:3 * quarter]]), ("last_quarter", [r[key] for r in rows[3 * quarter:]]))}
    result["questions"] = {q: {"n": len(t), "median_ms": round(statistics.median(t) * 1000, 1), "worst_ms": round(max(t) * 1000, 1)} for q, t in times.items()}
    print(json.dumps(result, indent=1, ensure_ascii=False))
    if a.out:
        a.out.write_text(json.dumps({**result, "rows": rows}, indent=None, ensure_ascii=False) + "\n")
    server.process.terminate()
    server.process.wait(120)
    shutil.rmtree(work)


if __name__ == "__main__":
    main()
