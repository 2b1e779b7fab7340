#!/usr/bin/env python3
"""Ships a folder of CRI logs through a real agent into a real aggregator and counts every line back.

    benches/runs/ship.py --folder LOGS [--kills 10] [--seed 1] [--out result.json]

Runs target/release/kansoku-{agent,aggregator} in a fresh folder. The expected answer is computed from
the files themselves: entries (a run of P parts and its F line is one) and bytes of text per pod and
stream. It is compared with LogQL count_over_time and bytes_over_time per pod and stream, so that a
lost line cannot hide behind a doubled one. With --kills N both programs are killed with SIGKILL N
times each at random moments and started again.
Prints: MB/s, CPU seconds per GB of both programs, peak RSS, bytes on disk per raw byte, lost, doubled.
"""
import argparse, collections, json, os, pathlib, random, shutil, signal, socket, subprocess, sys, tempfile, time
import urllib.error, urllib.parse, urllib.request

ROOT = pathlib.Path(__file__).resolve().parents[2]
TICKS = os.sysconf("SC_CLK_TCK")


def expected_of(folder):
    """(pod, stream) -> [entries, bytes], first and last time in ns, raw bytes of all files."""
    counts, raw, first, last = collections.defaultdict(lambda: [0, 0]), 0, None, None
    for path in sorted(folder.iterdir()):
        pod = path.name.split("_")[0]
        open_parts = collections.Counter()
        with open(path, "rb") as lines:
            for line in lines:
                raw += len(line)
                stamp, stream, flag, text = line.rstrip(b"\n").split(b" ", 3)
                open_parts[stream] += len(text)
                if flag == b"F":
                    entry = counts[pod, stream.decode()]
                    entry[0] += 1
                    entry[1] += open_parts.pop(stream)
                first = stamp if first is None or stamp < first else first
                last = stamp if last is None or stamp > last else last
    return dict(counts), raw, first.decode(), last.decode()


class Program:
    """A process that is started again after each kill; CPU time and RSS are summed over all lives."""

    def __init__(self, name, args, log):
        self.name, self.args, self.log = name, args, open(log, "ab")
        self.cpu_s, self.peak_rss_kb, self.process = 0.0, 0, None

    def start(self):
        self.process = subprocess.Popen(self.args, stdout=self.log, stderr=self.log)

    def sample(self):
        """Reads CPU and RSS of the running life; /proc is gone after the kill."""
        try:
            stat = pathlib.Path(f"/proc/{self.process.pid}/stat").read_text().rsplit(")", 1)[1].split()
            status = pathlib.Path(f"/proc/{self.process.pid}/status").read_text()
        except OSError:
            sys.exit(f"{self.name} ended by itself; see {self.log.name}")
        for line in status.splitlines():
            if line.startswith("VmHWM:"):
                self.peak_rss_kb = max(self.peak_rss_kb, int(line.split()[1]))
        return (int(stat[11]) + int(stat[12])) / TICKS

    def kill(self):
        self.cpu_s += self.sample()
        self.process.send_signal(signal.SIGKILL)
        self.process.wait()

    def stop(self):
        self.cpu_s += self.sample()
        self.process.terminate()
        self.process.wait(timeout=60)


def free_port():
    with socket.socket() as s:
        s.bind(("127.0.0.1", 0))
        return s.getsockname()[1]


class Cluster:
    def __init__(self, folder, work):
        port = free_port()
        self.base, self.work = f"http://127.0.0.1:{port}", work
        conf = work / "agent.conf"
        conf.write_text(f"""[SERVICE]
    Flush        1
    Grace        5
    Log_Level    info

[INPUT]
    Name              tail
    Tag               kube.*
    Path              {folder}/*.log
    DB                {work}/tail.db
    multiline.parser  cri
    Read_from_Head    on

[FILTER]
    Name             kubernetes
    Match            kube.*
    Kube_Tag_Prefix  kube.{str(folder).strip('/').replace('/', '.')}.

[OUTPUT]
    Name   kansoku
    Match  *
    Host   127.0.0.1
    Port   {port}
""")
        release = ROOT / "target/release"
        self.aggregator = Program("aggregator", [
            release / "kansoku-aggregator", f"--web.listen-address=127.0.0.1:{port}",
            f"--storage.path={work}/store", "--storage.retention.time=10y"], work / "aggregator.log")
        self.agent = Program("agent", [release / "kansoku-agent", "-c", conf], work / "agent.log")

    def wait_ready(self):
        for _ in range(600):
            try:
                return urllib.request.urlopen(f"{self.base}/-/ready", timeout=5).read()
            except (urllib.error.URLError, OSError):
                time.sleep(0.05)
        sys.exit(f"the aggregator does not become ready; see {self.work}/aggregator.log")

    def query(self, text, at):
        query = urllib.parse.urlencode({"query": text, "time": at})
        with urllib.request.urlopen(f"{self.base}/loki/api/v1/query?{query}", timeout=300) as answer:
            return json.load(answer)["data"]["result"]

    def counted(self, at, window):
        got = collections.defaultdict(lambda: [0, 0])
        for index, function in enumerate(("count_over_time", "bytes_over_time")):
            for series in self.query(f'sum by (pod, stream) ({function}({{pod=~".+"}}[{window}]))', at):
                key = (series["metric"].get("pod", ""), series["metric"].get("stream", ""))
                got[key][index] = int(float(series["value"][1]))
        return got


def disk_bytes(folder):
    return sum(f.stat().st_size for f in folder.rglob("*") if f.is_file())


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--folder", type=pathlib.Path, required=True)
    parser.add_argument("--kills", type=int, default=0)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--work", type=pathlib.Path, help="keep all state here")
    parser.add_argument("--out", type=pathlib.Path)
    options = parser.parse_args()
    folder = options.folder.resolve()
    expected, raw_bytes, first, last = expected_of(folder)
    want = sum(e[0] for e in expected.values())
    print(f"{raw_bytes / 1e9:.3f} GB in {len(list(folder.iterdir()))} files, {want} entries, {first} to {last}", flush=True)
    last_s = time.mktime(time.strptime(last[:19], "%Y-%m-%dT%H:%M:%S")) - time.timezone + 2
    first_s = time.mktime(time.strptime(first[:19], "%Y-%m-%dT%H:%M:%S")) - time.timezone
    window = f"{int(last_s - first_s) + 3600}s"

    work = options.work or pathlib.Path(tempfile.mkdtemp(prefix="kansoku-ship-"))
    work.mkdir(parents=True, exist_ok=True)
    cluster = Cluster(folder, work)
    randoms = random.Random(options.seed)
    cluster.aggregator.start()
    cluster.wait_ready()
    started = time.monotonic()
    cluster.agent.start()
    kills = [cluster.agent, cluster.aggregator] * options.kills
    randoms.shuffle(kills)
    recoveries = []
    for victim in kills:
        time.sleep(randoms.uniform(0.1, 1.2))
        victim.kill()
        victim.start()
        if victim is cluster.aggregator:
            began = time.monotonic()
            cluster.wait_ready()
            recoveries.append(round(time.monotonic() - began, 2))
    count = 'sum(count_over_time({pod=~".+"}[%s]))' % window
    total, stalled_since, last_total = 0, time.monotonic(), -1
    while total < want:
        time.sleep(0.25)
        result = cluster.query(count, last_s)
        total = int(float(result[0]["value"][1])) if result else 0
        if total != last_total:
            last_total, stalled_since = total, time.monotonic()
        elif time.monotonic() - stalled_since > 60:
            print(f"no progress for 60 s at {total} of {want}", flush=True)
            break
    elapsed = time.monotonic() - started
    cpu = {p.name: p.cpu_s + p.sample() for p in (cluster.agent, cluster.aggregator)}
    time.sleep(3)  # anything that would still be doubled arrives now
    got = cluster.counted(last_s, window)
    lost = sum(max(0, e[0] - got[k][0]) for k, e in expected.items())
    doubled = sum(max(0, g[0] - expected.get(k, [0, 0])[0]) for k, g in got.items())
    wrong_bytes = {str(k): (e[1], got[k][1]) for k, e in expected.items() if e[1] != got[k][1]}
    disk_at_end = disk_bytes(work / "store")
    cluster.agent.stop()
    cluster.aggregator.stop()
    gb = raw_bytes / 1e9
    result = {
        "raw_bytes": raw_bytes, "entries": want, "seconds": round(elapsed, 2), "mb_per_s": round(raw_bytes / 1e6 / elapsed, 1),
        "agent_cpu_s_per_gb": round(cpu["agent"] / gb, 2), "aggregator_cpu_s_per_gb": round(cpu["aggregator"] / gb, 2),
        "agent_peak_rss_mb": round(cluster.agent.peak_rss_kb / 1024, 1),
        "aggregator_peak_rss_mb": round(cluster.aggregator.peak_rss_kb / 1024, 1),
        "disk_bytes_per_raw_byte": round(disk_at_end / raw_bytes, 4),
        "disk_bytes_per_raw_byte_after_stop": round(disk_bytes(work / "store") / raw_bytes, 4),
        "kills_each": options.kills, "aggregator_ready_s": recoveries,
        "lost": lost, "doubled": doubled, "streams_with_wrong_bytes": wrong_bytes,
    }
    print(json.dumps(result, indent=2))
    if options.out:
        options.out.write_text(json.dumps(result, indent=2) + "\n")
    if not options.work:
        shutil.rmtree(work)
    sys.exit(1 if lost or doubled or wrong_bytes else 0)


if __name__ == "__main__":
    main()
