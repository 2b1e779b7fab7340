#!/usr/bin/env python3
"""Pushes over Loki's API from three real senders - kansoku-agent, Fluent Bit, python-logging-loki - and counts every line back.

The receiver is kansoku-aggregator or, with LOKI set to its binary, Grafana Loki itself; both answer the same LogQL. Senders
and receiver are killed meanwhile. By hand:
    pip install python-logging-loki
    [LOKI=loki] python3 benches/peers/loki.py target/debug/kansoku-agent target/debug/kansoku-aggregator FLUENT_BIT
"""
import collections, json, logging, os, signal, subprocess, sys, tempfile, time, urllib.parse, urllib.request

import logging_loki

from agent import free_port

AGENT, AGGREGATOR, FLUENT_BIT = sys.argv[1:4]
LOKI, N_FILES, N_LINES = os.environ.get("LOKI"), 3, 5000
folder = tempfile.mkdtemp()
failed = False


PORT = free_port()


class Program:
    def __init__(self, *args):
        self.args, self.process = args, None

    def start(self):
        self.process = subprocess.Popen(self.args, stdout=subprocess.DEVNULL, stderr=open(f"{folder}/err", "a"))

    def kill(self, how=signal.SIGKILL):
        self.process.send_signal(how)
        self.process.wait(60)


def receiver():
    if not LOKI:
        return Program(AGGREGATOR, f"--web.listen-address=127.0.0.1:{PORT}", f"--storage.path={folder}/store")
    with open(f"{folder}/loki.yaml", "w") as f:
        f.write(f"""auth_enabled: false
server: {{http_listen_address: 127.0.0.1, http_listen_port: {PORT}, grpc_listen_address: 127.0.0.1, grpc_listen_port: {free_port()}, log_level: error}}
common:
  path_prefix: {folder}/loki
  replication_factor: 1
  ring: {{instance_addr: 127.0.0.1, kvstore: {{store: inmemory}}}}
  storage: {{filesystem: {{chunks_directory: {folder}/loki/chunks, rules_directory: {folder}/loki/rules}}}}
schema_config: {{configs: [{{from: 2020-01-01, store: tsdb, object_store: filesystem, schema: v13, index: {{prefix: i_, period: 24h}}}}]}}
limits_config: {{allow_structured_metadata: true, ingestion_rate_mb: 100, ingestion_burst_size_mb: 200, per_stream_rate_limit: 100MB, per_stream_rate_limit_burst: 200MB, max_entries_limit_per_query: 200000}}
analytics: {{reporting_enabled: false}}
""")
    return Program(LOKI, f"-config.file={folder}/loki.yaml")


def config(sender, name):
    os.makedirs(f"{folder}/{sender}", exist_ok=True)
    with open(f"{folder}/{sender}/parsers.conf", "w") as f:
        f.write("[PARSER]\n    Name timed\n    Format json\n    Time_Key time\n    Time_Format %Y-%m-%dT%H:%M:%S.%L\n")
    with open(f"{folder}/{sender}/agent.conf", "w") as f:
        f.write(f"""[SERVICE]
    Flush 0.3
    Parsers_File {folder}/{sender}/parsers.conf
    scheduler.base 1
    scheduler.cap 2
[INPUT]
    Name tail
    Path {folder}/{sender}/*.log
    DB {folder}/{sender}/tail.db
    Read_from_Head on
    Refresh_Interval 1
    Parser timed
[OUTPUT]
    Name loki
    Match *
    Host 127.0.0.1
    Port {PORT}
    Labels sender={sender}, app=$app
    Structured_Metadata trace_id=$trace
    Remove_Keys app, trace
    Retry_Limit no_limits
""")
    return Program(name, "-c", f"{folder}/{sender}/agent.conf")


def write(sender, n):
    """n more lines in each file."""
    for f in range(N_FILES):
        with open(f"{folder}/{sender}/{f}.log", "a") as out:
            for i in range(n):
                k = WRITTEN[sender, f] + i
                now = time.time_ns()
                stamp = time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(now // 10**9)) + f".{now % 10**9:09}"
                out.write(json.dumps({"time": stamp, "app": f"app-{f}", "trace": f"t{f}-{k}", "msg": f'caf\u00e9 "{k}"'}) + "\n")
        WRITTEN[sender, f] += n


def query(text, start):
    """Every line: (app, trace id, line) and how often."""
    found, at = collections.Counter(), start
    while True:
        parameters = {"query": text, "start": at, "end": time.time_ns() + 10**9, "limit": 5000, "direction": "forward"}
        try:
            answer = urllib.request.urlopen(f"http://127.0.0.1:{PORT}/loki/api/v1/query_range?" + urllib.parse.urlencode(parameters), timeout=30)
        except OSError:
            return found
        rows = [(int(v[0]), s["stream"], v[1]) for s in json.load(answer)["data"]["result"] for v in s["values"]]
        for _, labels, line in rows:
            found[labels.get("app", ""), labels.get("trace_id", ""), line] += 1
        if len(rows) < 5000:
            return found
        # A page may end within a nanosecond: its lines are asked for again.
        last = max(r[0] for r in rows)
        for when, labels, line in rows:
            if when == last:
                found[labels.get("app", ""), labels.get("trace_id", ""), line] -= 1
        at = last


def ready():
    for _ in range(300):
        for path in ("/ready", "/-/ready"):
            try:
                if urllib.request.urlopen(f"http://127.0.0.1:{PORT}{path}", timeout=5).status == 200:
                    return
            except OSError:
                pass
        time.sleep(0.2)
    raise SystemExit(open(f"{folder}/err").read()[-3000:])


WRITTEN = collections.Counter()
began = time.time_ns() - 10**9
server = receiver()
server.start()
ready()
for sender, binary in [("kansoku", AGENT), ("fluent-bit", FLUENT_BIT)]:
    program = config(sender, binary)
    program.start()
    kills = 0
    for step in range(10):
        write(sender, N_LINES // 10)
        time.sleep(0.5)
        if step in (3, 7):
            server.kill()
            time.sleep(0.5)
            server.start()
            ready()
        if step in (5, 8) and sender == "kansoku":
            program.kill()
            kills += 1
            program.start()
    wanted = {(f"app-{f}", f"t{f}-{k}", f'caf\u00e9 "{k}"') for f in range(N_FILES) for k in range(N_LINES)}
    end = time.time() + 60
    while time.time() < end:
        # Fluent Bit escapes what is not ASCII.
        found = collections.Counter()
        for (app, trace, line), n in query(f'{{sender="{sender}"}}', began).items():
            record = json.loads(line)
            found[app, trace, record.pop("msg") if len(record) == 1 else line] += n
        if len(found) >= len(wanted):
            break
        time.sleep(2)
    lost, strange = wanted - set(found), set(found) - wanted
    twice = sum(found.values()) - len(found)
    print(f"{sender}: {len(wanted)} lines, lost {len(lost)}, not as written {len(strange)}, repeated {twice}; receiver killed twice, sender {kills} times", flush=True)
    for what in list(lost)[:2] + list(strange)[:2]:
        print("   ", what)
    # Fluent Bit's own losses are not ours to answer for, what it sent must be as it sent it.
    failed |= bool(strange) or bool(lost) and sender == "kansoku"
    program.kill(signal.SIGTERM)

handler = logging_loki.LokiHandler(url=f"http://127.0.0.1:{PORT}/loki/api/v1/push", tags={"sender": "python"}, version="1")
logger = logging.getLogger("peer")
logger.addHandler(handler)
logger.propagate = False
for n in range(300):
    logger.error("line %d", n, extra={"tags": {"app": f"app-{n % 3}"}})
time.sleep(1)
found = query('{sender="python"}', began)
wanted = {(f"app-{n % 3}", "", f"line {n}") for n in range(300)}
print(f"python-logging-loki: 300 lines, lost {len(wanted - set(found))}, repeated {sum(found.values()) - len(found)}")
failed |= set(found) != wanted or sum(found.values()) != 300
server.kill(signal.SIGTERM)
sys.exit(failed)
