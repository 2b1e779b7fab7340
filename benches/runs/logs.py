#!/usr/bin/env python3
"""CPU, memory and speed of the agent on log workloads, beside Fluent Bit where a binary of it is given.

    benches/runs/logs.py [WORKLOAD ...] [--mb 300] [--peer /path/to/fluent-bit --peer-mb 60] [--out results.json]

Each workload writes its own log files, starts target/release/sink and the agent on one configuration
(both programs read the same file), waits until every record has arrived, and reads utime+stime and VmHWM
from /proc. CPU is per GB (1e9 B) of input file. Compare ratios of one run, not runs of different days.
"""
import argparse, json, os, pathlib, random, shutil, socket, subprocess, sys, tempfile, threading, time, urllib.request

ROOT = pathlib.Path(__file__).resolve().parents[2]
RELEASE = ROOT / "target" / "release"
WORDS = ("connection request payment order user session cache queue worker retry commit checkout upstream gateway "
         "token replica shard backend frontend deployed healthy timeout refused accepted stored flushed").split()


def free_port():
    with socket.socket() as s:
        s.bind(("127.0.0.1", 0))
        return s.getsockname()[1]


def stamp(n):
    return "2026-11-21T10:%02d:%02d.%09dZ" % (n // 600000 % 60, n // 10000 % 60, n % 10000 * 100000 + n % 997)


def text(rng, n):
    body = " ".join(rng.choice(WORDS) for _ in range(18))
    return f"level=info n={n:09d} {body}"[:178].ljust(178, ".")


def app_json(rng, n):
    fields = {"time": stamp(n), "level": rng.choice(["info", "warn", "error"]), "n": n, "caller": "server/handler.go:%d" % rng.randrange(900),
              "message": " ".join(rng.choice(WORDS) for _ in range(14)), "user": rng.randrange(10**6), "ratio": round(rng.random(), 4),
              "http": {"method": "GET", "path": "/api/v1/orders/%d" % rng.randrange(10**5), "status": 200, "ms": rng.randrange(900)}, "ok": True}
    return json.dumps(fields, separators=(",", ":"))


def nginx(rng, n):
    return ('10.%d.%d.%d - - [21/Nov/2026:10:%02d:%02d +0000] "GET /api/v1/items/%d?page=%d HTTP/1.1" 200 %d "https://shop.example.com/list/%d" '
            '"Mozilla/5.0 (X11; Linux x86_64) Firefox/128.0"' % (rng.randrange(256), rng.randrange(256), rng.randrange(256), n // 600000 % 60,
                                                               n // 10000 % 60, rng.randrange(10**6), rng.randrange(100), rng.randrange(90000), rng.randrange(10**4)))


def java(rng, n):
    first = "2026-11-21 10:00:00.123 ERROR [worker-%d] c.e.shop.OrderService - order %d failed" % (rng.randrange(20), n)
    if rng.random() > 0.3:
        return [first.replace("ERROR", "INFO").replace("failed", "stored " + " ".join(rng.choice(WORDS) for _ in range(8)))]
    rows = [first, "java.lang.IllegalStateException: order %d cannot be stored" % n]
    rows += ["\tat com.example.shop.%s.%s(%s.java:%d)" % (rng.choice(WORDS), rng.choice(WORDS), rng.choice(WORDS).title(), rng.randrange(900)) for _ in range(10)]
    rows += ["Caused by: java.sql.SQLException: connection refused", "\tat org.postgresql.Driver.connect(Driver.java:288)",
             "\tat java.base/java.lang.Thread.run(Thread.java:840)", "\t... 12 more"]
    return rows


def file_names(folder, n):
    rng = random.Random(5)
    return [folder / ("web-%03d-%05x_shop_app-%064x.log" % (i, rng.randrange(1 << 20), rng.randrange(1 << 256))) for i in range(n)]


def fill(folder, kind, n_files, size):
    """Writes CRI files of `size` bytes together; returns the number of lines and of records."""
    rng, lines, records, n = random.Random(1), [], 0, 0
    while sum(map(len, lines)) < min(size, 16_000_000) // n_files if n % 500 == 0 else True:
        made = kind(rng, n)
        made = made if isinstance(made, list) else [made]
        lines += [f"{stamp(n)} stdout F {line}\n".encode() for line in made]
        # The line above a trace has no exception in it: it stays a record of its own.
        records, n = records + min(len(made), 2), n + 1
    block = b"".join(lines)
    rounds = max(1, round(size / n_files / len(block)))
    for name in file_names(folder, n_files):
        with open(name, "wb") as out:
            for _ in range(rounds):
                out.write(block)
    return len(lines) * rounds * n_files, records * rounds * n_files


def preload(folder, n_files):
    for name in file_names(folder, n_files):
        pod, namespace, _ = name.name.split("_", 2)
        meta = {"metadata": {"name": pod, "namespace": namespace, "uid": "8f3a1f4e-0d0c-4b60-9d5e-3b7f0f6f5a11",
                "labels": {"app": "web", "pod-template-hash": "6d9f7c5b4", "tier": "front", "version": "v1.2.3"}, "annotations": {"prometheus.io/scrape": "true"}},
                "spec": {"nodeName": "node-1", "containers": [{"name": "app", "image": "registry.example.com/shop/web:1.2.3"}]},
                "status": {"podIP": "10.1.2.3", "containerStatuses": []}}
        (folder / "meta").mkdir(exist_ok=True)
        (folder / "meta" / f"{namespace}_{pod}.meta").write_text(json.dumps(meta))


HTTP = "    Name http\n    Host 127.0.0.1\n    Port {sink}\n    URI /logs\n    Format json_lines\n    Retry_Limit no_limits\n"
KUBERNETES = "[FILTER]\n    Name kubernetes\n    Match *\n    Kube_URL http://127.0.0.1:9\n    Kube_Meta_Preload_Cache_Dir {folder}/meta\n"
WORKLOADS = {
    # name: (what a line is, files, input keys, filters, output)
    "head1": (text, 1, "    Parser cri\n", "", HTTP),
    "head1_ml": (text, 1, "    multiline.parser cri\n", "", HTTP),
    "files100": (text, 100, "    multiline.parser cri\n", "", HTTP),
    "json": (app_json, 1, "    multiline.parser cri\n", "[FILTER]\n    Name parser\n    Match *\n    Key_Name log\n    Parser json\n", HTTP),
    "regex": (nginx, 1, "    multiline.parser cri\n", "[FILTER]\n    Name parser\n    Match *\n    Key_Name log\n    Parser nginx\n", HTTP),
    "java": (java, 1, "    multiline.parser cri\n", "[FILTER]\n    Name multiline\n    Match *\n    multiline.key_content log\n    multiline.parser java\n", HTTP),
    "gzip": (text, 1, "    Parser cri\n", "", HTTP + "    Compress gzip\n"),
    "k8s": (app_json, 100, "    multiline.parser cri\n", KUBERNETES + "    Merge_Log On\n", HTTP),
    "k8s_text": (text, 100, "    multiline.parser cri\n", KUBERNETES, HTTP),
    "es": (text, 1, "    multiline.parser cri\n", "", "    Name es\n    Host 127.0.0.1\n    Port {sink}\n    Suppress_Type_Name On\n    Retry_Limit no_limits\n"),
    "loki": (text, 1, "    multiline.parser cri\n", "", "    Name loki\n    Host 127.0.0.1\n    Port {sink}\n    Labels job=bench\n    Retry_Limit no_limits\n"),
    "native": (text, 1, "    multiline.parser cri\n", "", "    Name kansoku\n    Host 127.0.0.1\n    Port {sink}\n    Retry_Limit no_limits\n"),
}
RUNNING = ["live", "live_fast", "idle", "down60"]


class Run:
    """One program on one configuration, watched from outside."""

    def __init__(self, work, binary, config):
        self.path = work / "agent.conf"
        self.path.write_text(config)
        self.log = open(work / "agent.log", "ab")
        self.process = subprocess.Popen([str(binary), "-c", str(self.path)], stdout=self.log, stderr=self.log, cwd=work)

    def cpu_s(self):
        # The clock of another process's CPU time (clock_getcpuclockid): in nanoseconds, where /proc/PID/stat counts ticks.
        return time.clock_gettime((~self.process.pid << 3) | 2)

    def rss_mb(self, key="VmHWM:"):
        for line in pathlib.Path(f"/proc/{self.process.pid}/status").read_text().splitlines():
            if line.startswith(key):
                return int(line.split()[1]) / 1000

    def end(self):
        self.process.terminate()
        try:
            self.process.wait(10)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()


def stats(port):
    for _ in range(50):
        try:
            return json.load(urllib.request.urlopen(f"http://127.0.0.1:{port}/stats", timeout=5))
        except OSError:
            time.sleep(0.05)
    sys.exit("the sink does not answer")


def proc_records(port):
    try:
        page = urllib.request.urlopen(f"http://127.0.0.1:{port}/api/v1/metrics", timeout=5)
        return sum(o["proc_records"] for o in json.load(page)["output"].values())
    except (OSError, KeyError, ValueError):
        return 0


def start_sink(port, gunzip=False):
    return subprocess.Popen([str(RELEASE / "sink"), str(port)] + (["--gunzip"] if gunzip else []))


def service(flush, http, work, peer):
    parsers = f"    Parsers_File {peer}\n" if peer else ""
    return f"[SERVICE]\n    Flush {flush}\n    Log_Level warn\n    HTTP_Server On\n    HTTP_Listen 127.0.0.1\n    HTTP_Port {http}\n{parsers}\n"


def catch_up(name, binary, size, peer_parsers):
    kind, n_files, keys, filters, output = WORKLOADS[name]
    work = pathlib.Path(tempfile.mkdtemp(prefix="logs-"))
    (work / "logs").mkdir()
    n_lines, n_records = fill(work / "logs", kind, n_files, size)
    if "Kube" in filters:
        preload(work / "logs", n_files)
    sink, http = free_port(), free_port()
    server = start_sink(sink, "gzip" in output)
    filters = filters.replace("{folder}", str(work / "logs"))
    config = (service(1, http, work, peer_parsers) + f"[INPUT]\n    Name tail\n    Tag kube.*\n    Path {work}/logs/*.log\n    Read_from_Head On\n"
              f"    Buffer_Max_Size 1M\n{keys}\n{filters}\n[OUTPUT]\n    Match *\n{output.replace('{sink}', str(sink))}")
    raw = sum(f.stat().st_size for f in (work / "logs").glob("*.log"))
    begin = time.time()
    run = Run(work, binary, config)
    wanted, counted, still, result, anon = (n_records if name == "java" else n_lines), 0, 0, None, 0
    while counted < wanted and still < 150:
        time.sleep(0.1)
        if run.process.poll() is not None:
            print(open(work / "agent.log").read()[-2000:])
            break
        anon = max(anon, run.rss_mb("RssAnon:"))
        # Bodies that the sink cannot count are counted by the agent.
        now = proc_records(http) if name in ("native", "loki") else stats(sink)["records"]
        still = still + 1 if now == counted else 0
        counted = now
    if run.process.poll() is None:
        wall = time.time() - begin - still * 0.1
        result = {"cpu_s_per_gb": round(run.cpu_s() / raw * 1e9, 2), "mb_per_s": round(raw / wall / 1e6, 1), "rss_mb": round(run.rss_mb(), 1),
                  "anon_mb": round(anon, 1), "lost": wanted - counted, "input_mb": round(raw / 1e6)}
        run.end()
    server.kill()
    said = (work / "agent.log").read_text(errors="replace")
    shutil.rmtree(work)
    if result is None or result["lost"]:
        print("\n".join(said.splitlines()[-5:]))
    return result


def write_live(folder, n_files, seconds, rate, stop):
    rng, files = random.Random(2), [open(f, "ab", buffering=0) for f in file_names(folder, n_files)]
    pad, n, begin = text(rng, 0)[:130], 0, time.time()
    per_write = 8
    while time.time() - begin < seconds and not stop.is_set():
        due = int((time.time() - begin) * rate / 218)
        while n < due:
            now = time.time_ns()
            line = f"{stamp(n)} stdout F {n:09d} t={now} {pad}"
            files[n // per_write % n_files].write((line.ljust(217) + "\n").encode() * per_write)
            n += per_write
        time.sleep(0.005)
    return n


def running(name, binary, seconds, peer_parsers):
    """live: 5 MB/s over 20 files; idle: 200 quiet files; down60: live while the sink is away for 60 s."""
    work = pathlib.Path(tempfile.mkdtemp(prefix="logs-"))
    (work / "logs").mkdir()
    sink, http, n_files = free_port(), free_port(), 200 if name == "idle" else 20
    for f in file_names(work / "logs", n_files):
        f.write_bytes(b"" if name != "idle" else b"".join(f"{stamp(i)} stdout F {'x' * 180}\n".encode() for i in range(20)))
    server = start_sink(sink)
    config = (service(0.1 if name == "live_fast" else 1, http, work, peer_parsers)
              + f"[INPUT]\n    Name tail\n    Tag kube.*\n    Path {work}/logs/*.log\n    Read_from_Head On\n    DB {work}/tail.db\n    multiline.parser cri\n"
              + "[OUTPUT]\n    Match *\n" + HTTP.replace("{sink}", str(sink)))
    run, stop, sent, down_rss, earlier = Run(work, binary, config), threading.Event(), 0, None, 0
    time.sleep(3)
    before, begin = run.cpu_s(), time.time()
    if name == "idle":
        time.sleep(seconds)
    else:
        counts = []
        length = 80 if name == "down60" else seconds
        writer = threading.Thread(target=lambda: counts.append(write_live(work / "logs", n_files, length, 5e6, stop)))
        writer.start()
        if name == "down60":
            time.sleep(5)
            earlier = stats(sink)["records"]
            server.kill()
            time.sleep(60)
            down_rss = run.rss_mb()
            server = start_sink(sink)
        writer.join()
        sent = counts[0]
    spent, wall = run.cpu_s() - before, time.time() - begin
    still, counted = 0, -1
    # Pauses between retries double while a destination is away.
    patience = 1200 if name == "down60" else 50
    while name != "idle" and still < patience and counted + earlier < sent:
        time.sleep(0.1)
        now = stats(sink)["records"]
        still = still + 1 if now == counted else 0
        counted = now
    seen = stats(sink)
    result = {"cpu_percent": round(spent / wall * 100, 2), "rss_mb": round(run.rss_mb(), 1)}
    if name == "idle":
        result["rss_now_mb"] = round(run.rss_mb("VmRSS:"), 1)
    else:
        result |= {k: seen[k] for k in ("p50_ms", "p99_ms", "max_ms")} | {"lines": sent, "arrived": earlier + seen["records"]}
    if down_rss:
        result["rss_down_mb"] = round(down_rss, 1)
    run.end()
    server.kill()
    shutil.rmtree(work)
    return result


def summary(rounds):
    """The round with the median of the CPU time; memory is the highest of all rounds, and no loss of any is hidden."""
    key = "cpu_s_per_gb" if "cpu_s_per_gb" in rounds[0] else "cpu_percent"
    rounds.sort(key=lambda r: r[key])
    middle = dict(rounds[(len(rounds) - 1) // 2])
    for name in middle.keys() & {"rss_mb", "anon_mb", "lost", "p99_ms", "rss_down_mb", "rss_now_mb"}:
        middle[name] = max(r[name] for r in rounds)
    if len(rounds) > 1:
        middle["rounds"] = [r[key] for r in rounds]
    return middle


def main():
    arguments = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    arguments.add_argument("workloads", nargs="*", default=list(WORKLOADS) + RUNNING)
    arguments.add_argument("--mb", type=int, default=300)
    arguments.add_argument("--seconds", type=int, default=20)
    arguments.add_argument("--rounds", type=int, default=1, help="run each so often and keep the median")
    arguments.add_argument("--peer")
    arguments.add_argument("--peer-parsers", help="parsers.conf of the peer")
    arguments.add_argument("--peer-mb", type=int, default=60)
    arguments.add_argument("--skip-ours", action="store_true")
    arguments.add_argument("--agent", default=str(RELEASE / "kansoku-agent"))
    arguments.add_argument("--out")
    a = arguments.parse_args()
    results = {}
    for name in a.workloads:
        row = {}
        for who, binary, mb, parsers in (("kansoku", a.agent, a.mb, None), ("peer", a.peer, a.peer_mb, a.peer_parsers)):
            if not binary or (who == "kansoku" and a.skip_ours) or (who == "peer" and name == "native"):
                continue
            rounds = [running(name, binary, a.seconds, parsers) if name in RUNNING else catch_up(name, binary, mb * 1_000_000, parsers)
                      for _ in range(a.rounds)]
            row[who] = summary(rounds)
            print(name, who, json.dumps(row[who]), flush=True)
        results[name] = row
        if a.out:
            pathlib.Path(a.out).write_text(json.dumps(results, indent=1) + "\n")


if __name__ == "__main__":
    main()
