#!/usr/bin/env python3
"""Size, CPU and memory of a fleet's samples in the aggregator, beside Prometheus and VictoriaMetrics.

    benches/runs/store_metrics.py --frames FILE [kansoku prometheus victoria-metrics] [--out results.json]

FILE holds remote-write requests as `metricgen` makes them: u32 length, u32 samples, u32 shard (little-endian), body. The requests
of a shard are sent in order over one connection. CPU is utime+stime of the server while it takes them in, per million
samples; disk is the folder after everything was flushed and merged, and the program was stopped (for Prometheus a snapshot, which
is blocks only). At the end the server is killed with SIGKILL in the middle of a second ingest and started again.
"""
import argparse, http.client, json, pathlib, shutil, signal, struct, sys, tempfile, threading, time, urllib.parse

from measured import Measured, free_port, post

ROOT = pathlib.Path(__file__).resolve().parents[2]


class Server(Measured):
    """One store on a folder of its own."""

    def __init__(self, kind, work, aggregator):
        self.kind, self.folder, self.port, self.aggregator = kind, work / "data", free_port(), aggregator
        self.log = open(work / "log", "ab")
        self.path = "/api/v1/write"
        (work / "prometheus.yml").write_text("global: {}\n")
        address = f"127.0.0.1:{self.port}"
        self.command = {
            "kansoku": [str(aggregator), "--web.listen-address", address, "--storage.path", str(self.folder), "--storage.retention.time", "0",
                        "--web.enable-admin-api"],
            "prometheus": ["prometheus", "--config.file", str(work / "prometheus.yml"), "--storage.tsdb.path", str(self.folder), "--web.listen-address", address,
                           "--web.enable-remote-write-receiver", "--web.enable-admin-api", "--storage.tsdb.retention.time=10y"],
            "victoria-metrics": ["victoria-metrics", f"-storageDataPath={self.folder}", f"-httpListenAddr={address}", "-retentionPeriod=100y"],
        }[kind]
        self.ready = {"kansoku": "/-/ready", "prometheus": "/-/ready", "victoria-metrics": "/health"}[kind]

    def get(self, path, method="GET"):
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=300)
        connection.request(method, path)
        answer = connection.getresponse()
        return answer.status, answer.read()

    def settle(self):
        """Brings everything to disk in its final form, as far as the program can be told to."""
        if self.kind == "kansoku":
            self.get("/api/v1/admin/tsdb/compact", "POST")
        if self.kind == "victoria-metrics":
            self.get("/internal/force_flush")
            self.get("/internal/force_merge")
        if self.kind == "prometheus":
            # Compacts what is older than the head's window; the snapshot has the head as blocks, too.
            _, answer = self.get("/api/v1/admin/tsdb/snapshot", "POST")
            name = json.loads(answer)["data"]["name"]
            self.snapshot = self.folder / "snapshots" / name
        last = -1
        while last != (last := self.disk_bytes()):
            time.sleep(5)

    def settled_bytes(self):
        if self.kind == "prometheus":
            return sum(f.stat().st_size for f in self.snapshot.rglob("*") if f.is_file())
        return self.disk_bytes()

    def stop(self, how=signal.SIGTERM):
        self.process.send_signal(how)
        self.process.wait(120)


def frames(path):
    """The requests by shard: offset, length, samples."""
    shards, at, size = {}, 0, path.stat().st_size
    with open(path, "rb") as f:
        while at < size:
            f.seek(at)
            length, samples, shard = struct.unpack("<III", f.read(12))
            shards.setdefault(shard, []).append((at + 12, length, samples))
            at += 12 + length
    return shards


def send(server, path, shards, until=None):
    """Sends all, or until the clock; answers how many samples were acknowledged."""
    acknowledged, errors = [], []

    def shard(requests):
        connection = http.client.HTTPConnection("127.0.0.1", server.port, timeout=300)
        headers = {"Content-Encoding": "snappy", "Content-Type": "application/x-protobuf", "X-Prometheus-Remote-Write-Version": "0.1.0"}
        with open(path, "rb") as f:
            for offset, length, samples in requests:
                if until and time.time() > until:
                    return
                f.seek(offset)
                body = f.read(length)
                error = post(connection, server.path, body, headers)
                if error:
                    errors.append(error)
                    return
                acknowledged.append(samples)

    threads = [threading.Thread(target=shard, args=(r,)) for r in shards.values()]
    [t.start() for t in threads]
    [t.join() for t in threads]
    if errors:
        sys.exit(f"{server.kind}: {errors[0]}")
    return sum(acknowledged)


def count(server, truth):
    """Samples of one metric that a query counts, and how many there are."""
    span = (truth["end_ms"] - truth["start_ms"]) // 1000 + 1
    query = urllib.parse.urlencode({"query": f"sum(count_over_time(node_load1[{span}s]))", "time": truth["end_ms"] / 1000, "nocache": 1})
    _, answer = server.get(f"/api/v1/query?{query}")
    return [int(float(json.loads(answer)["data"]["result"][0]["value"][1])), truth["node_load1_samples"]]


def main():
    p = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    p.add_argument("stores", nargs="*", default=["kansoku", "victoria-metrics", "prometheus"])
    p.add_argument("--frames", type=pathlib.Path, required=True)
    p.add_argument("--truth", type=pathlib.Path, help="JSON with start_ms and end_ms: samples are counted by a query, too")
    p.add_argument("--aggregator", default=ROOT / "target" / "release" / "kansoku-aggregator")
    p.add_argument("--out")
    a = p.parse_args()
    shards = frames(a.frames)
    total = sum(s for requests in shards.values() for _, _, s in requests)
    truth = json.loads(a.truth.read_text()) if a.truth else None
    results = {}
    for kind in a.stores:
        work = pathlib.Path(tempfile.mkdtemp(prefix="store-"))
        server = Server(kind, work, a.aggregator)
        server.start()
        cpu, begin = server.cpu_s(), time.time()
        acknowledged = send(server, a.frames, shards)
        assert acknowledged == total, (acknowledged, total)
        wall = time.time() - begin
        row = {"samples": total, "cpu_s_per_million": round((server.cpu_s() - cpu) / total * 1e6, 3), "samples_per_s": round(total / wall),
               "peak_rss_mb": server.memory_mb("VmHWM"), "rss_mb": server.memory_mb("VmRSS"), "bytes_as_left": server.disk_bytes()}
        begin_cpu = server.cpu_s()
        server.settle()
        row["settle_cpu_s_per_million"] = round((server.cpu_s() - begin_cpu) / total * 1e6, 3)
        row["bytes_per_sample_left"] = round(row["bytes_as_left"] / total, 3)
        if truth:
            row["node_load1"] = count(server, truth)
        server.stop()
        row["bytes_per_sample"] = round(server.settled_bytes() / total, 3)
        row["restart_s"] = server.start()
        server.stop(signal.SIGKILL)
        shutil.rmtree(server.folder)
        server.start()
        killed = threading.Timer(8, lambda: server.process.send_signal(signal.SIGKILL))
        killed.start()
        try:
            send(server, a.frames, shards, time.time() + 7)
        except Exception as e:
            print(e)
        killed.join()
        server.process.wait()
        row["ready_after_kill_s"] = server.start()
        server.stop(signal.SIGKILL)
        shutil.rmtree(work)
        results[kind] = row
        print(kind, json.dumps(row), flush=True)
    if a.out:
        pathlib.Path(a.out).write_text(json.dumps(results, indent=1) + "\n")


if __name__ == "__main__":
    main()
