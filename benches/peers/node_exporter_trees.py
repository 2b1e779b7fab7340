#!/usr/bin/env python3
"""Compares `kansoku-agent node-exporter` with node_exporter's expected output on its captured trees.

  node_exporter_trees.py --expected e2e-output.txt [--program PATH] [--collector NAME ...] [--show N]

Unpacks fixtures/node_exporter/*.ttar into a temporary folder, starts the program there with the
flags of node_exporter's own end-to-end test, and lists per collector the families and series that
are missing, extra or different. The expected file is `collector/fixtures/e2e-output.txt` of
node_exporter's repository. With --write it only prints our exposition.
"""

import argparse
import collections
import os
import re
import socket
import subprocess
import sys
import tempfile
import time
import urllib.request

ROOT = os.path.realpath(os.path.join(os.path.dirname(os.path.abspath(__file__)), "../.."))
TREES = os.path.join(ROOT, "fixtures/node_exporter")
# node_exporter's own test leaves these out, and so the families that say who we are.
SKIPPED = re.compile(
    r"^(go_|node_exporter_build_info|node_scrape_collector_duration_seconds|process_|"
    r"node_textfile_mtime_seconds|node_time_(zone|seconds)|"
    r"node_network_(receive|transmit)_(bytes|packets)_total)"
)


def unpack(archive, folder):
    """Writes the files, folders and links of a ttar archive below a folder."""
    lines = iter(open(archive, encoding="utf-8", newline="\n").read().split("\n"))
    path = None
    for line in lines:
        key, _, value = line.partition(": ")
        if key == "Directory":
            os.makedirs(os.path.join(folder, value), exist_ok=True)
        elif key == "Path":
            path = os.path.join(folder, value)
            os.makedirs(os.path.dirname(path), exist_ok=True)
        elif key == "SymlinkTo":
            os.symlink(value, path)
        elif key == "Lines":
            text = "".join(next(lines) + "\n" for _ in range(int(value)))
            if text.endswith("EOF\n") and not text.endswith("\\EOF\n"):
                text = text[:-4]
            text = re.sub(r"(?<!\\)NULLBYTE", "\0", text)
            text = text.replace("\\NULLBYTE", "NULLBYTE").replace("\\EOF", "EOF")
            with open(path, "w", encoding="utf-8", newline="\n") as file:
                file.write(text)


def flags():
    path = os.path.join(TREES, "flags.txt")
    return [line for line in open(path).read().split("\n") if line and not line.startswith("#")]


def exposition(program):
    with tempfile.TemporaryDirectory() as folder:
        fixtures = os.path.join(folder, "collector/fixtures")
        os.makedirs(fixtures)
        for name in sorted(os.listdir(TREES)):
            if name.endswith(".ttar"):
                unpack(os.path.join(TREES, name), fixtures)
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            port = probe.getsockname()[1]
        arguments = [program, "node-exporter", *flags(), f"--web.listen-address=127.0.0.1:{port}"]
        process = subprocess.Popen(arguments, cwd=folder, stderr=subprocess.PIPE, text=True)
        try:
            for _ in range(100):
                try:
                    url = f"http://127.0.0.1:{port}/metrics"
                    return urllib.request.urlopen(url).read().decode()
                except OSError:
                    if process.poll() is not None:
                        sys.exit(process.stderr.read())
                    time.sleep(0.05)
            sys.exit("the program does not answer")
        finally:
            process.terminate()
            log = process.communicate()[1]
            for line in log.splitlines():
                if "level=WARN" in line or "level=ERROR" in line:
                    print(line, file=sys.stderr)


def parse(text):
    """Families by name: (type, help, {series: value})."""
    families = {}
    for line in text.splitlines():
        if line.startswith("# HELP "):
            name, _, words = line[7:].partition(" ")
            families.setdefault(name, ["", "", {}])[1] = words
        elif line.startswith("# TYPE "):
            name, _, kind = line[7:].partition(" ")
            families.setdefault(name, ["", "", {}])[0] = kind
        elif line:
            series, _, value = line.rpartition(" ")
            name = series.split("{")[0]
            for suffix in ("", "_bucket", "_sum", "_count"):
                if name.endswith(suffix) and name[: len(name) - len(suffix)] in families:
                    name = name[: len(name) - len(suffix)]
                    break
            families.setdefault(name, ["", "", {}])[2][series] = value
    return {name: f for name, f in families.items() if not SKIPPED.match(name) and f[2]}


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--expected")
    parser.add_argument("--program", default=os.path.join(ROOT, "target/debug/kansoku-agent"))
    parser.add_argument("--prefix", action="append", help="only families that begin so (node_zfs)")
    parser.add_argument("--show", type=int, default=5, help="differences shown per kind and prefix")
    parser.add_argument("--write", action="store_true")
    options = parser.parse_args()
    text = exposition(options.program)
    if options.write:
        print(text, end="")
        return
    ours, theirs = parse(text), parse(open(options.expected).read())
    prefixes = tuple(options.prefix or [""])
    differences = collections.defaultdict(list)
    n_series = n_equal = 0
    for name in sorted(ours.keys() | theirs.keys()):
        if not name.startswith(prefixes):
            continue
        part = "_".join(name.split("_")[:2])
        our, their = ours.get(name), theirs.get(name)
        n_series += len(their[2]) if their else 0
        if not our:
            differences[part, "missing family"].append(f"{name} ({len(their[2])} series)")
            continue
        if not their:
            differences[part, "extra family"].append(f"{name} ({len(our[2])} series)")
            continue
        for what, a, b in (("type", our[0], their[0]), ("help", our[1], their[1])):
            if a != b:
                differences[part, what].append(f"{name}: ours '{a}' theirs '{b}'")
        for series in sorted(our[2].keys() | their[2].keys()):
            a, b = our[2].get(series), their[2].get(series)
            if a == b:
                n_equal += 1
            elif a is None:
                differences[part, "missing series"].append(f"{series} {b}")
            elif b is None:
                differences[part, "extra series"].append(f"{series} {a}")
            else:
                differences[part, "value"].append(f"{series}: ours {a} theirs {b}")
    for (part, kind), found in sorted(differences.items()):
        print(f"{part}: {kind}: {len(found)}")
        for line in found[: options.show]:
            print(f"    {line}")
    print(f"{n_equal} of {n_series} series are equal")


main()
