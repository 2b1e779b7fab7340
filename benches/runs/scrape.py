#!/usr/bin/env python3
"""CPU, memory and latency of scrapes: `kansoku-agent node-exporter` beside Debian's prometheus-node-exporter, and the
whole agent with the metrics of node and containers on, of 110 pods.

    benches/runs/scrape.py [WORKLOAD ...] [--agent PATH] [--out result.json]

    default   both with their default collectors
    veths     the same with 110 veth interfaces more, none excluded; in a network namespace of its own (root)
    pods      the agent's /metrics on 110 pods of two containers and a sandbox each, as cgroups with a sleeping process
              (root, cgroup v1 or v2); without a cluster, so names are empty
    pods_busy the same with processes that each do a little every few seconds, so that no cgroup is idle

Each is scraped 20 times to warm up and then 200 times; CPU is user + system of the process per scrape.
"""
import argparse, json, os, pathlib, shutil, signal, socket, statistics, subprocess, time, urllib.request, uuid

ROOT = pathlib.Path(__file__).resolve().parents[2]
TICKS = os.sysconf("SC_CLK_TCK")
CGROUPS = pathlib.Path("/sys/fs/cgroup")


def free_port():
    with socket.socket() as s:
        s.bind(("127.0.0.1", 0))
        return s.getsockname()[1]


def resident_mb(pid):
    status = pathlib.Path(f"/proc/{pid}/status").read_text()
    return next(int(l.split()[1]) for l in status.splitlines() if l.startswith("VmRSS:")) / 1024


def usage(pid):
    # In clock ticks of the scheduler, to the nanosecond: /proc/PID/stat alone is too coarse for a millisecond.
    ran = sum(int((task / "schedstat").read_text().split()[0]) for task in pathlib.Path(f"/proc/{pid}/task").iterdir())
    return ran / 1e9, resident_mb(pid)


def scrape(url, encoding):
    request = urllib.request.Request(url, headers={"Accept-Encoding": encoding} if encoding else {})
    return urllib.request.urlopen(request, timeout=20).read()


def measure(name, args, port, path="/metrics", scrapes=200, encoding=None):
    process = subprocess.Popen([str(a) for a in args], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    url = f"http://127.0.0.1:{port}{path}"
    try:
        for _ in range(100):
            try:
                scrape(url, None)
                break
            except OSError:
                time.sleep(0.1)
        for _ in range(20):
            body = scrape(url, None)
        before, _ = usage(process.pid)
        times = []
        for _ in range(scrapes):
            began = time.perf_counter()
            packed = scrape(url, encoding)
            times.append(time.perf_counter() - began)
        after, rss = usage(process.pid)
    finally:
        process.terminate()
        process.wait()
    return {"name": name, "series": sum(1 for l in body.splitlines() if l and not l.startswith(b"#")), "bytes": len(packed),
            "cpu_ms_per_scrape": round((after - before) * 1000 / scrapes, 2),
            "median_ms": round(statistics.median(times) * 1000, 2), "rss_mb": round(rss, 1)}


def both(agent, encoding=None):
    results = []
    for name, program in (("prometheus-node-exporter", ["prometheus-node-exporter"]), ("kansoku-agent node-exporter", [agent, "node-exporter"])):
        port = free_port()
        results.append(measure(name, [*program, f"--web.listen-address=127.0.0.1:{port}"], port, encoding=encoding))
    theirs, ours = (r["cpu_ms_per_scrape"] for r in results)
    return results + [{"ratio_of_cpu": round(ours / theirs, 3)}]


def default(agent):
    return both(agent) + both(agent, "gzip")


def veths(agent):
    if os.environ.get("SCRAPE_IN_NAMESPACE") != "1":
        done = subprocess.run(["unshare", "--net", "--mount", "--pid", "--fork", "--mount-proc", "python3", __file__, "veths", "--agent", str(agent)], capture_output=True, text=True,
                              env={**os.environ, "SCRAPE_IN_NAMESPACE": "1"})
        return json.loads(done.stdout)["veths"] if done.returncode == 0 else {"error": done.stderr[-500:]}
    # A mount of /sys shows the interfaces of the namespace that it was made in; it goes with the namespace of mounts. In a namespace of
    # processes too, or the node's interfaces would be those of a process 1 that lives in another network.
    subprocess.run("mount -t sysfs sysfs /sys 2>/dev/null; ip link set lo up", shell=True)
    for n in range(55):
        subprocess.run(["ip", "link", "add", f"veth{n}a", "type", "veth", "peer", "name", f"veth{n}b"], check=True)
    return both(agent)


def pods_busy(agent):
    return pods(agent, ["sh", "-c", "while :; do sleep 5; done"])


def pods(agent, command=("sleep", "1000")):
    """cgroups as the kubelet makes them, in every tree that there is."""
    trees = [CGROUPS] if (CGROUPS / "cgroup.controllers").exists() else [t for t in CGROUPS.iterdir() if t.is_dir() and not t.is_symlink()]
    trees = [t / "bench-kubepods" for t in trees if (t / "cgroup.procs").exists()]
    if any(t.exists() for t in trees):
        return {"error": "another run is under way"}
    sleeper = lambda: subprocess.Popen(command, start_new_session=True)
    processes, paths = [], []
    try:
        for n in range(110):
            pod = f"burstable/pod{uuid.UUID(int=n + (1 << 100))}"
            for c in range(3):
                process = sleeper()
                processes.append(process)
                for tree in trees:
                    folder = tree / pod / f"{n:032x}{c:032x}"
                    folder.mkdir(parents=True)
                    paths.append(folder)
                    if tree.parent.name == "cpuset":
                        continue
                    (folder / "cgroup.procs").write_text(str(process.pid))
                    if tree.parent.name.startswith("cpu") and (folder / "cpu.cfs_quota_us").exists():
                        (folder / "cpu.cfs_quota_us").write_text("50000")
        port = free_port()
        program = [agent, "-q", "-H", "-L", "127.0.0.1", "-P", port, "-i", "node_exporter_metrics", "-p", "scrape_interval=15", "-i", "container_metrics",
                   "-p", "scrape_interval=15", "-o", "null"]
        whole = measure("kansoku-agent /metrics", program, port, scrapes=50)
        containers = measure("kansoku-agent /metrics/cadvisor", program, port, path="/metrics/cadvisor", scrapes=50)
        # What the two inputs take by themselves, without scrapes.
        process = subprocess.Popen([str(a) for a in program], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        time.sleep(65)
        before, _ = usage(process.pid)
        rss, end = [], time.monotonic() + 60
        while time.monotonic() < end:
            time.sleep(0.05)
            rss.append(resident_mb(process.pid))
        after, _ = usage(process.pid)
        process.terminate()
        process.wait()
        return [whole, containers, {"name": "pushed every 15 s", "cpu_percent": round((after - before) / 60 * 100, 3), "cpu_ms_per_tick": round((after - before) / 4 * 1000, 1),
                                    "rss_mb": round(statistics.median(rss), 1), "rss_highest_mb": round(max(rss), 1)}]
    finally:
        for process in processes:
            os.killpg(process.pid, signal.SIGKILL)
            process.wait()
        for path in paths:
            while path.name != path.parents[-1].name and path not in (t.parent for t in trees):
                try:
                    path.rmdir()
                except OSError:
                    break
                path = path.parent


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("workloads", nargs="*", default=["default", "veths", "pods"])
    parser.add_argument("--agent", type=pathlib.Path, default=ROOT / "target/release/kansoku-agent")
    parser.add_argument("--out", type=pathlib.Path)
    options = parser.parse_args()
    results = {}
    for name in options.workloads:
        results[name] = {"default": default, "veths": veths, "pods": pods, "pods_busy": pods_busy}[name](options.agent.resolve())
    print(json.dumps(results, indent=1))
    if options.out:
        options.out.write_text(json.dumps(results, indent=1) + "\n")


if __name__ == "__main__":
    main()
