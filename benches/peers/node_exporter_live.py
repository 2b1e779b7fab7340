#!/usr/bin/env python3
"""`kansoku-agent node-exporter` and a real node_exporter on this machine at the same moment.

  node_exporter_live.py --peer /usr/bin/prometheus-node-exporter [--peer OTHER ...] [--program PATH]
                        [--collectors default|all] [--out result.json]

Starts both with the same collectors and node_exporter's own defaults, and several times scrapes the
peer, ours and the peer again; compares families, types, help texts, label sets and values. A value
counts as equal when in one of the rounds it is, lies between the two of the peer, or is off by no
more than ten times what the peer's own two differ by (or 2 %): the sampling gap. Durations of scrapes,
what programs say of themselves and counters that each program starts for itself (perf) are compared
by name and labels only.
"""

import argparse
import importlib.util
import json
import os
import re
import socket
import subprocess
import sys
import time
import urllib.request

HERE = os.path.dirname(os.path.abspath(__file__))
ROOT = os.path.realpath(os.path.join(HERE, "../.."))
# Compared by name and labels only: what each program says of itself or of its scrapes.
OWN = re.compile(r"^(go_|process_|promhttp_|node_exporter_build_info|node_scrape_collector_duration_seconds|node_perf_)")
ROUNDS = 6
# The peer's flags are today's node_exporter's, so that both look at the same things; those that an
# older peer does not know are left out.
SAME = [
    "--collector.netdev.device-exclude=^$",
    "--collector.textfile.directory=/nowhere",
    "--collector.filesystem.mount-points-exclude=^/(dev|proc|run/credentials/.+|sys|var/lib/docker/.+)($|/)",
    "--collector.filesystem.fs-types-exclude=^(autofs|binfmt_misc|bpf|cgroup2?|configfs|debugfs|devpts|devtmpfs|fusectl|hugetlbfs|iso9660|mqueue|nsfs|overlay|proc|procfs|pstore|rpc_pipefs|securityfs|selinuxfs|squashfs|erofs|sysfs|tracefs)$",
    "--collector.diskstats.device-exclude=^(z?ram|loop|fd|(h|s|v|xv)d[a-z]|nvme\\d+n\\d+p)\\d+$",
]
# Not in --collectors all: they need a server that is not there, or count their own asking.
NOT_ALL = {"ntp", "supervisord", "runit"}

spec = importlib.util.spec_from_file_location("flags", os.path.join(HERE, "node_exporter_flags.py"))
flags_of = importlib.util.module_from_spec(spec)
spec.loader.exec_module(flags_of)


def free_port():
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


class Program:
    def __init__(self, command):
        self.port = free_port()
        command = [*command, f"--web.listen-address=127.0.0.1:{self.port}"]
        self.process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True)
        for _ in range(200):
            try:
                self.scrape()
                return
            except OSError:
                if self.process.poll() is not None:
                    sys.exit(f"{command[0]}: {self.process.stderr.read()[-600:]}")
                time.sleep(0.05)
        sys.exit(f"{command[0]} does not answer")

    def scrape(self):
        url = f"http://127.0.0.1:{self.port}/metrics"
        return urllib.request.urlopen(url, timeout=30).read().decode()

    def stop(self):
        self.process.terminate()
        self.process.communicate()


def parse(text):
    """Families by name: type, help and values by label set."""
    families = {}
    for line in text.splitlines():
        if line.startswith("# "):
            _, what, name, *words = line.split(" ", 3)
            family = families.setdefault(name, {"type": "", "help": "", "series": {}})
            family["help" if what == "HELP" else "type"] = words[0] if words else ""
        elif line:
            series, _, value = line.rpartition(" ")
            name = re.match(r"[^{]+", series).group(0)
            for suffix in ("", "_bucket", "_sum", "_count"):
                if name.endswith(suffix) and name[: len(name) - len(suffix)] in families:
                    name = name[: len(name) - len(suffix)]
                    break
            families.setdefault(name, {"type": "", "help": "", "series": {}})["series"][series] = float(value)
    return {name: family for name, family in families.items() if family["series"]}


def is_same(before, ours, after):
    if before is None or after is None:
        return True  # Came or went meanwhile.
    if ours != ours:
        return before != before
    low, high = min(before, after), max(before, after)
    if low <= ours <= high:
        return True
    gap = high - low
    off = max(low - ours, ours - high)
    return gap > 0 and (off <= 10 * gap or off <= 0.02 * max(abs(low), abs(high)))


def compare(before, ours, after):
    result = {"families": 0, "series": 0, "equal": 0, "differences": []}
    note = lambda kind, name, what: result["differences"].append({"kind": kind, "family": name, "what": what})
    for name in sorted(before.keys() | after.keys() | ours.keys()):
        theirs = after.get(name) or before.get(name)
        if not theirs:
            note("only ours", name, sorted(ours[name]["series"])[:3] + [f"{len(ours[name]['series'])} series"])
            continue
        result["families"] += 1
        result["series"] += len(theirs["series"])
        if name not in ours:
            note("only the peer's", name, sorted(theirs["series"])[:3] + [f"{len(theirs['series'])} series"])
            continue
        our = ours[name]
        for what in ("type", "help"):
            if our[what] != theirs[what]:
                note(what, name, [theirs[what], our[what]])
        for series in sorted(theirs["series"].keys() | our["series"].keys()):
            first = before.get(name, {"series": {}})["series"].get(series)
            last = after.get(name, {"series": {}})["series"].get(series)
            value = our["series"].get(series)
            if value is None and first is not None and last is not None:
                note("series only the peer's", name, series)
            elif value is not None and first is None and last is None:
                note("series only ours", name, series)
            elif value is not None and not OWN.match(name) and not is_same(first, value, last):
                note("value", name, [series, first, value, last])
            elif value is not None:
                result["equal"] += 1
    return result


def best(rounds):
    """One result: a value is different when it was in every round."""
    result = rounds[-1]
    values = lambda r: {d["what"][0] for d in r["differences"] if d["kind"] == "value"}
    always = set.intersection(*map(values, rounds))
    kept = [d for d in result["differences"] if d["kind"] != "value" or d["what"][0] in always]
    result["equal"] += len(result["differences"]) - len(kept)
    result["differences"] = kept
    return result


def summary(differences):
    """Per family and kind of difference how many and one of them, those of Go's runtime together."""
    groups = {}
    for difference in differences:
        name = "go_*" if difference["family"].startswith("go_") else difference["family"]
        what = difference["what"]
        groups.setdefault((difference["kind"], name), []).append(what if isinstance(what, str) else what[0])
    return [{"kind": kind, "family": name, "n": len(whats), "as": whats[0]} for (kind, name), whats in groups.items()]


def label_names(series):
    """A series without its values, which are of one machine."""
    return re.sub(r'="(?:[^"\\]|\\.)*"', "", series)


def known(command, flags):
    """Those of the flags that the program knows."""
    theirs = flags_of.help_of([command])
    return [flag for flag in flags if flag[2:].split("=")[0] in theirs], theirs


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--peer", action="append", required=True)
    parser.add_argument("--program", default=os.path.join(ROOT, "target/debug/kansoku-agent"))
    parser.add_argument("--collectors", choices=("default", "all"), default="default")
    parser.add_argument("--out")
    options = parser.parse_args()
    results = {}
    for peer in options.peer:
        same, theirs = known(peer, SAME)
        names = sorted(
            name[len("collector.") :]
            for name, (_, _, text) in theirs.items()
            if re.search(r"^Enable the|\(default: (en|dis)abled\)", text) and re.fullmatch(r"collector\.[\w]+", name)
        )
        if options.collectors == "all":
            names = [name for name in names if name not in NOT_ALL]
        else:
            names = [name for name in names if re.search(r"default:\s*enabled", theirs[f"collector.{name}"][2])]
        chosen = ["--collector.disable-defaults", *(f"--collector.{name}" for name in names)]
        first = Program([peer, *same, *chosen])
        second = Program([options.program, "node-exporter", *same, *chosen])
        try:
            for _ in range(3):
                first.scrape(), second.scrape()
            rounds = [compare(parse(first.scrape()), parse(second.scrape()), parse(first.scrape())) for _ in range(ROUNDS)]
        finally:
            first.stop(), second.stop()
        version = subprocess.run([peer, "--version"], capture_output=True, text=True)
        version = re.search(r"version ([\w.+~-]+)", version.stdout + version.stderr).group(1)
        result = best(rounds)
        result["collectors"] = names
        results[f"{version}, {options.collectors} collectors"] = result
        print(f"node_exporter {version}: {len(names)} collectors, {result['families']} families, {result['series']} series;")
        print(f"  {result['equal']} series equal within the sampling gap, {len(result['differences'])} differences")
        result["differences"] = summary(result["differences"])
        for difference in result["differences"]:
            print(f"  {difference['kind']}: {difference['family']}: {difference['n']}, as {difference['as']}"[:300])
            difference["as"] = label_names(difference["as"])
    if options.out:
        if os.path.exists(options.out):
            with open(options.out) as file:
                results = json.load(file) | results
        with open(options.out, "w") as file:
            json.dump(results, file, indent=1)
            file.write("\n")


if __name__ == "__main__":
    main()
