#!/usr/bin/env python3
"""Size, CPU and memory of logs in the aggregator, beside VictoriaLogs and Loki, and what the usual questions cost.

    benches/runs/store_logs.py --frames FILE --truth FILE --victoria-logs BINARY --loki BINARY [kansoku victoria-parsed victoria-raw loki] [--out results.json]

FILE holds Loki push requests as `loggen --loki` makes them: u32 length, u32 bytes as JSON, u32 lines (little-endian), body; TRUTH is what
`loggen --truth` writes. All stores get the same requests over the same number of connections. `victoria-parsed` makes fields of the
JSON lines while it takes them in (its default), `victoria-raw` keeps the lines as they are, as kansoku does. `loki` is one process on a
file system with gzip chunks (its default), its limits lifted and no cache of results; it gets kansoku's questions as they are. CPU is
utime+stime of the server. Disk is the folder after everything was flushed and merged, without Loki's WAL, which has nothing more to say
then. Then the server is started anew and asked each question once and
then until it has taken a second, at least three times (but no longer than six seconds). Counts are compared with the truth.
"""
import argparse, http.client, json, pathlib, shutil, signal, struct, sys, tempfile, threading, time, urllib.parse

from measured import Measured, free_port, post

ROOT = pathlib.Path(__file__).resolve().parents[2]
CONNECTIONS = 4
SECONDS_PER_QUESTION, LONGEST_S = 1.0, 6.0
# Bounds lifted where they would refuse the data or the questions; the ingester is asked whatever the age of the question's span.
LOKI = """
auth_enabled: false
server: {{http_listen_address: 127.0.0.1, http_listen_port: {port}, grpc_listen_address: 127.0.0.1, grpc_listen_port: {grpc}, log_level: error, grpc_server_max_recv_msg_size: 104857600, grpc_server_max_send_msg_size: 104857600, http_server_read_timeout: 300s, http_server_write_timeout: 300s}}
common:
  path_prefix: {folder}
  replication_factor: 1
  instance_addr: 127.0.0.1
  ring: {{instance_addr: 127.0.0.1, kvstore: {{store: inmemory}}}}
  storage: {{filesystem: {{chunks_directory: {folder}/chunks, rules_directory: {folder}/rules}}}}
storage_config: {{use_thanos_objstore: false, filesystem: {{directory: {folder}/chunks}}}}
schema_config: {{configs: [{{from: 2020-01-01, store: tsdb, object_store: filesystem, schema: v13, index: {{prefix: i_, period: 24h}}}}]}}
ingester: {{lifecycler: {{min_ready_duration: 0s}}, wal: {{flush_on_shutdown: true}}}}
querier: {{query_ingesters_within: 0s}}
query_range: {{cache_results: false}}
limits_config:
  reject_old_samples: false
  unordered_writes: true
  ingestion_rate_mb: 10000
  ingestion_burst_size_mb: 10000
  per_stream_rate_limit: 10GB
  per_stream_rate_limit_burst: 10GB
  max_global_streams_per_user: 0
  max_line_size: 0
  max_query_length: 0
  max_query_series: 100000
  max_entries_limit_per_query: 10000
  query_timeout: 5m
analytics: {{reporting_enabled: false}}
"""
ALL, JSON_APPS, NGINX = '{namespace=~".+"}', '{namespace=~"auth|payments|search|shop"}', '{namespace="ingress-nginx"}'


class Server(Measured):
    """One store on a folder of its own."""

    def __init__(self, kind, work, binaries):
        self.kind, self.folder, self.port = kind, work / "data", free_port()
        self.log = open(work / "log", "ab")
        address = f"127.0.0.1:{self.port}"
        if kind == "kansoku":
            self.command = [str(binaries["kansoku"]), "--web.listen-address", address, "--storage.path", str(self.folder), "--storage.retention.time", "0"]
            self.ready, self.push = "/-/ready", "/loki/api/v1/push"
        elif kind == "loki":
            (work / "loki.yaml").write_text(LOKI.format(port=self.port, grpc=free_port(), folder=self.folder))
            self.command = [str(binaries["loki"]), f"-config.file={work / 'loki.yaml'}"]
            self.ready, self.push = "/ready", "/loki/api/v1/push"
        else:
            self.command = [str(binaries["victoria"]), f"-storageDataPath={self.folder}", f"-httpListenAddr={address}", "-retentionPeriod=100y", "-futureRetention=100y", "-search.maxQueryDuration=5m"]
            how = {"victoria-parsed": "_msg_field=msg", "victoria-raw": "disable_message_parsing=1"}[kind]
            self.ready, self.push = "/health", f"/insert/loki/api/v1/push?{how}"

    def start(self):
        self.connection = None
        return super().start()

    def get(self, path, method="GET"):
        for is_last in (False, True):
            self.connection = self.connection or http.client.HTTPConnection("127.0.0.1", self.port, timeout=300)
            try:
                self.connection.request(method, path)
                answer = self.connection.getresponse()
                return answer.status, answer.read()
            except OSError:
                # Closed because it was idle; or the server is not there yet.
                self.connection = None
                if is_last:
                    raise

    def written_bytes(self):
        fields = dict(line.split(": ") for line in pathlib.Path(f"/proc/{self.process.pid}/io").read_text().splitlines())
        return int(fields["write_bytes"])

    def settle(self):
        """Brings everything to disk in its final form; answers the CPU seconds of it."""
        before = self.cpu_s()
        if self.kind.startswith("victoria"):
            self.get("/internal/force_flush")
            self.get("/internal/force_merge")
            self.rest()
        if self.kind == "loki":
            self.get("/flush", "POST")
            self.rest()
        self.process.send_signal(signal.SIGTERM)  # writes out what is in memory
        while self.process.poll() is None and pathlib.Path(f"/proc/{self.process.pid}/stat").exists():
            try:
                last = self.cpu_s()
            except OSError:
                break
            time.sleep(0.01)
        self.process.wait(600)
        self.start()
        self.rest()
        return last - before + self.cpu_s()

    def disk_bytes(self):
        wal = self.folder / "wal" if self.kind == "loki" else None
        return sum(f.stat().st_size for f in self.folder.rglob("*") if f.is_file() and wal not in f.parents)

    def rest(self):
        """Waits until folder and CPU time have nearly stood still for twelve seconds."""
        quiet, last = 0, (0, 0)
        while quiet < 3:
            time.sleep(4)
            now = self.disk_bytes(), self.cpu_s()
            is_quiet = abs(now[0] - last[0]) < last[0] / 200 and now[1] - last[1] < 0.2
            quiet, last = (quiet + 1 if is_quiet else 0), now

    def stop(self):
        self.process.send_signal(signal.SIGKILL)
        self.process.wait()


def send(server, path):
    """Sends all requests; answers how many lines and bytes were acknowledged."""
    lock, errors, lines = threading.Lock(), [], []
    with open(path, "rb") as f:
        def next_request():
            with lock:
                head = f.read(12)
                if not head or errors:
                    return None, 0
                length, _, n = struct.unpack("<III", head)
                return f.read(length), n

        def sender():
            connection = http.client.HTTPConnection("127.0.0.1", server.port, timeout=300)
            headers = {"Content-Type": "application/x-protobuf"}
            while True:
                body, n = next_request()
                if body is None:
                    return
                error = post(connection, server.push, body, headers)
                if error:
                    errors.append(error)
                    return
                lines.append(n)

        threads = [threading.Thread(target=sender) for _ in range(CONNECTIONS)]
        [t.start() for t in threads]
        [t.join() for t in threads]
    if errors:
        sys.exit(f"{server.kind}: {errors[0]}")
    return sum(lines)


class Questions:
    """What is asked: name, LogQL, LogsQL over raw lines, LogsQL over parsed fields, the count that must come out."""

    def __init__(self, truth):
        self.truth = truth
        self.start, self.end = truth["start_ns"], truth["end_ns"] + 1_000_000_000
        self.span = f"{(self.end - self.start) // 10**9 + 1}s"
        t, pod = truth, truth["tail_pod"]
        # VictoriaLogs searches one field; the text of a JSON line lies in several.
        both = lambda test: f"(_msg:{test} or error:{test})"
        self.all = [
            self.count("substring", f'{ALL} |= "{t["needle_text"]}"', f'_msg:~"{t["needle_text"]}"', None, t["needle"]),
            self.count("substring of many lines", f'{ALL} |= "etrying"', '_msg:~"etrying"', None, None),
            self.count("word", f'{ALL} |= "{t["rare_text"]}"', t["rare_text"], None, t["rare"]),
            self.lines("trace id", f'{ALL} |= "{t["trace_id"]}"', f'"{t["trace_id"]}"', f'trace_id:="{t["trace_id"]}"', t["trace"]),
            self.count("regex with literals", f'{ALL} |~ "duration: [0-9]{{4,}}[.][0-9]+ ms"', '_msg:~"duration: [0-9]{4,}[.][0-9]+ ms"', None, t["regex"]),
            self.count("regex of alternatives", f'{ALL} |~ "timed out|connection refused|broken pipe"', '_msg:~"timed out|connection refused|broken pipe"', both('~"timed out|connection refused|broken pipe"'), None),
            self.count("regex without literals", f'{ALL} |~ "[A-Z]{{6,}} [0-9]+"', '_msg:~"[A-Z]{6,} [0-9]+"', None, None),
            self.count("case-insensitive", f'{ALL} |~ "(?i)connection reset by peer"', '_msg:i("connection reset by peer")', both('i("connection reset by peer")'), t["case_insensitive"]),
            self.count("lines without a text", f'{NGINX} != " 200 "', '{namespace="ingress-nginx"} !_msg:~" 200 "', None, t["negative"]),
            self.lines("newest 100 of a stream", f'{{pod="{pod}",stream="stdout"}}', f'{{pod="{pod}",stream="stdout"}}', None, 100),
            self.lines("newest 100 of all", ALL, "*", None, 100),
            self.lines("5000 lines of a stream", f'{{pod="{pod}",stream="stdout"}}', f'{{pod="{pod}",stream="stdout"}}', None, 5000, 5000),
            self.lines("newest 100 errors", f'{JSON_APPS} | json | level="error"', '{namespace=~"auth|payments|search|shop"} | unpack_json fields (level) | filter level:=error | sort by (_time desc) limit 100', '{namespace=~"auth|payments|search|shop"} level:=error', 100),
            self.count("count of all", ALL, "*", None, t["lines"]),
            ("count per minute", self.range(f'sum by (namespace) (count_over_time({ALL}[1m]))'), self.stats("* | stats by (namespace, _time:1m) count() n", None), None, None),
            self.count("JSON field", '{namespace="shop"} | json | status >= 500', '{namespace="shop"} | unpack_json fields (status) | filter status:>=500', '{namespace="shop"} status:>=500', None),
            ("status of access logs", self.instant(f'topk(10, sum by (status) (count_over_time({NGINX} | pattern `<_>" <status> <_>` [{self.span}])))'),
             self.stats('{namespace="ingress-nginx"} | extract "\\" <status> " from _msg | stats by (status) count() n | sort by (n desc) limit 10', None), None, None),
            ("quantile of a JSON field", self.instant(f'quantile_over_time(0.99, {JSON_APPS} | json | unwrap duration_ms | __error__="" [{self.span}]) by (namespace)'),
             self.stats('{namespace=~"auth|payments|search|shop"} | unpack_json fields (duration_ms) | filter duration_ms:* | stats by (namespace) quantile(0.99, duration_ms) q', None),
             self.stats('{namespace=~"auth|payments|search|shop"} duration_ms:* | stats by (namespace) quantile(0.99, duration_ms) q', None), None),
        ]

    def instant(self, query):
        return "/loki/api/v1/query?" + urllib.parse.urlencode({"query": query, "time": self.end})

    def range(self, query):
        return "/loki/api/v1/query_range?" + urllib.parse.urlencode({"query": query, "start": self.start, "end": self.end, "step": "60s"})

    def stats(self, query, limit):
        arguments = {"query": query, "start": self.start, "end": self.end}
        return "/select/logsql/query?" + urllib.parse.urlencode(arguments | ({"limit": limit} if limit else {}))

    def count(self, name, log, raw, parsed, expected):
        ours = self.instant(f"sum(count_over_time({log}[{self.span}]))")
        return name, ours, self.stats(f"{raw} | stats count() n", None), parsed and self.stats(f"{parsed} | stats count() n", None), expected

    def lines(self, name, log, raw, parsed, expected, limit=100):
        ours = "/loki/api/v1/query_range?" + urllib.parse.urlencode({"query": log, "start": self.start, "end": self.end, "limit": limit, "direction": "backward"})
        return name, ours, self.stats(raw, limit), parsed and self.stats(parsed, limit), expected


def number_in(kind, body):
    """The count an answer gives: its only value, or its lines."""
    if kind in ("kansoku", "loki"):
        data = json.loads(body)["data"]
        if data["resultType"] == "streams":
            return sum(len(s["values"]) for s in data["result"])
        if data["resultType"] == "vector" and len(data["result"]) <= 1:
            return sum(int(float(sample["value"][1])) for sample in data["result"])
        return None
    rows = [json.loads(line) for line in body.splitlines()]
    if len(rows) == 1 and set(rows[0]) == {"n"}:
        return int(rows[0]["n"])
    return len(rows)


def ask(server, questions):
    results = {}
    for name, ours, raw, parsed, expected in questions.all:
        path = ours if server.kind in ("kansoku", "loki") else (parsed or raw) if server.kind == "victoria-parsed" else raw
        status, body = server.get(path)
        if status != 200:
            results[name] = {"error": f"{status} {body[:300]}"}
            print(server.kind, name, results[name], file=sys.stderr)
            continue
        walls, cpu = [], server.cpu_s()
        while not walls or sum(walls) < LONGEST_S and (len(walls) < 3 or sum(walls) < SECONDS_PER_QUESTION and len(walls) < 200):
            begin = time.time()
            server.get(path)
            walls.append(time.time() - begin)
        cpu = (server.cpu_s() - cpu) / len(walls)
        found = number_in(server.kind, body)
        results[name] = {"cpu_ms": round(cpu * 1e3, 2), "wall_ms": round(sorted(walls)[len(walls) // 2] * 1e3, 2), "found": found}
        if expected is not None and found != expected:
            results[name]["expected"] = expected
    return results


def main():
    p = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    p.add_argument("stores", nargs="*", default=["kansoku", "victoria-parsed", "victoria-raw"])
    p.add_argument("--frames", type=pathlib.Path, required=True)
    p.add_argument("--truth", type=pathlib.Path, required=True)
    p.add_argument("--aggregator", default=ROOT / "target" / "release" / "kansoku-aggregator")
    p.add_argument("--victoria-logs", default="victoria-logs")
    p.add_argument("--loki", default="loki")
    p.add_argument("--work", help="folder for the data, on the disk that is to be measured")
    p.add_argument("--keep", action="store_true", help="leaves the data behind")
    p.add_argument("--out")
    a = p.parse_args()
    truth = json.loads(a.truth.read_text())
    questions, gigabytes = Questions(truth), truth["msg_bytes"] / 1e9
    results = json.loads(pathlib.Path(a.out).read_text()) if a.out and pathlib.Path(a.out).exists() else {}
    for kind in a.stores:
        work = pathlib.Path(tempfile.mkdtemp(prefix=f"logs-{kind}-", dir=a.work))
        server = Server(kind, work, {"kansoku": a.aggregator, "victoria": a.victoria_logs, "loki": a.loki})
        server.start()
        cpu, begin = server.cpu_s(), time.time()
        lines = send(server, a.frames)
        assert lines == truth["lines"], (lines, truth["lines"])
        wall = time.time() - begin
        row = {"lines": lines, "cpu_s_per_gb": round((server.cpu_s() - cpu) / gigabytes, 2), "mb_per_s": round(gigabytes * 1e3 / wall, 1),
               "peak_rss_mb": server.memory_mb("VmHWM"), "written_mb": round(server.written_bytes() / 1e6), "bytes_per_line_as_left": round(server.disk_bytes() / lines, 2)}
        row["settle_cpu_s_per_gb"] = round(server.settle() / gigabytes, 2)
        row["bytes_per_line"] = round(server.disk_bytes() / lines, 2)
        row["questions"] = ask(server, questions)
        row["peak_rss_mb_after_restart"] = server.memory_mb("VmHWM")
        server.stop()
        if a.keep:
            print("data in", work)
        else:
            shutil.rmtree(work)
        results[kind] = row
        print(kind, json.dumps({k: v for k, v in row.items() if k != "questions"}), flush=True)
        if a.out:
            pathlib.Path(a.out).write_text(json.dumps(results, indent=1) + "\n")
    show(results)


def show(results):
    """The questions as a table; ratios to the faster of the others."""
    others = [k for k in results if k != "kansoku"]
    print("| question | " + " | ".join(f"{k}, CPU / wall ms" for k in results) + " | CPU, times the best other's |")
    print("|---" * (len(results) + 2) + "|")
    for name in next(iter(results.values()))["questions"]:
        of = lambda k: results.get(k, {"questions": {}})["questions"].get(name, {})
        cells = [f"{of(k).get('cpu_ms')} / {of(k).get('wall_ms')}" + (f" **{of(k).get('found')} of {of(k)['expected']}**" if "expected" in of(k) else "") for k in results]
        best = min((of(k)["cpu_ms"] for k in others if "cpu_ms" in of(k)), default=None)
        ratio = f"{of('kansoku')['cpu_ms'] / best:.2f}" if best and "cpu_ms" in of("kansoku") else ""
        print(f"| {name} | " + " | ".join(cells) + f" | {ratio} |")


if __name__ == "__main__":
    main()
