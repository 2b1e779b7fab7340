#!/usr/bin/env python3
"""CPU, memory and latency of 200 scrapes: kansoku-agent beside Debian's prometheus-node-exporter.

    benches/runs/scrape.py [--out result.json]

Both serve the same nine collectors; the agent's /metrics holds the containers' metrics and its own, too.
"""
import argparse, json, os, pathlib, socket, statistics, subprocess, time, urllib.request

ROOT = pathlib.Path(__file__).resolve().parents[2]
TICKS = os.sysconf("SC_CLK_TCK")
COLLECTORS = "cpu meminfo loadavg diskstats filesystem netdev stat uname time".split()


def free_port():
    with socket.socket() as s:
        s.bind(("127.0.0.1", 0))
        return s.getsockname()[1]


def usage(pid):
    stat = pathlib.Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()
    status = pathlib.Path(f"/proc/{pid}/status").read_text()
    rss = next(int(l.split()[1]) for l in status.splitlines() if l.startswith("VmRSS:"))
    return (int(stat[11]) + int(stat[12])) / TICKS, rss / 1024


def measure(name, args, port, scrapes=200):
    process = subprocess.Popen([str(a) for a in args], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    url = f"http://127.0.0.1:{port}/metrics"
    try:
        for _ in range(100):
            try:
                urllib.request.urlopen(url, timeout=5).read()
                break
            except OSError:
                time.sleep(0.1)
        for _ in range(20):
            body = urllib.request.urlopen(url, timeout=10).read()
        before, _ = usage(process.pid)
        times = []
        for _ in range(scrapes):
            began = time.perf_counter()
            body = urllib.request.urlopen(url, timeout=10).read()
            times.append(time.perf_counter() - began)
        after, rss = usage(process.pid)
    finally:
        process.terminate()
        process.wait()
    return {"name": name, "series": sum(1 for l in body.splitlines() if l and not l.startswith(b"#")), "bytes": len(body),
            "cpu_ms_per_scrape": round((after - before) * 1000 / scrapes, 2),
            "median_ms": round(statistics.median(times) * 1000, 2), "rss_mb": round(rss, 1)}


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=pathlib.Path)
    options = parser.parse_args()
    port = free_port()
    flags = ["--collector.disable-defaults"] + [f"--collector.{c}" for c in COLLECTORS]
    results = [measure("prometheus-node-exporter", ["prometheus-node-exporter", f"--web.listen-address=127.0.0.1:{port}", *flags], port)]
    agent = [ROOT / "target/release/kansoku-agent", "-q", "-H", "-L", "127.0.0.1", "-i", "node_exporter_metrics", "-p", "scrape_interval=3600"]
    port = free_port()
    results.append(measure("kansoku-agent", [*agent, "-o", "null", "-P", port], port))
    print(json.dumps(results, indent=2))
    if options.out:
        options.out.write_text(json.dumps(results, indent=2) + "\n")


if __name__ == "__main__":
    main()
