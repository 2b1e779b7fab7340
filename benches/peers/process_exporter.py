"""process_exporter_metrics against Fluent Bit's, and its groups against Debian's prometheus-process-exporter, on this machine at the same
moment: names, labels and, of what stands still, values. Run by hand.

What differs on purpose: seconds of CPU have their fraction here, the context switches of a thread are under its process' name here, and
a group without processes has no start time here."""

import os
import re
import subprocess
import sys
import tempfile
import time
import urllib.request

from agent import AGENT, free_port

FLUENT_BIT = os.environ.get("FLUENT_BIT", "fluent-bit")
PATTERN = "^(sleep|python3)$"
LINE = re.compile(r"^(?:\S+ )?([a-zA-Z_:][\w:]*)(\{.*\})?(?: =)? (\S+)$")
LABEL = re.compile(r'(\w+)="((?:[^"\\]|\\.)*)"')
folder = tempfile.mkdtemp()


def series(text):
    found = {}
    for line in text.splitlines():
        match = LINE.match(line.strip())
        if match and not line.startswith("#"):
            name, labels, value = match.groups()
            labels = dict(LABEL.findall(labels or ""))
            for own in ("job", "instance"):
                labels.pop(own, None)
            found[(name, tuple(sorted(labels.items())))] = float(value)
    return found


def compare(title, ours, theirs, moving):
    wrong = 0
    for side, one, other in (("only here", ours, theirs), ("only there", theirs, ours)):
        for key in sorted(set(one) - set(other)):
            wrong += 1
            if wrong < 20:
                print(f"{side}: {key}")
    for key in sorted(set(ours) & set(theirs)):
        a, b = ours[key], theirs[key]
        if a != b and not re.search(moving, key[0]):
            wrong += 1
            if wrong < 20:
                print(f"{key}: {a} here, {b} there")
    print(f"{title}: {len(ours)} series here, {len(theirs)} there, {wrong} differ")
    return wrong


def config(name, lines, output="    Name stdout\n    Match *\n"):
    path = f"{folder}/{name}.conf"
    with open(path, "w") as f:
        f.write(f"[SERVICE]\n    Flush 0.5\n    Grace 1\n[INPUT]\n    Name process_exporter_metrics\n    Tag m\n    Scrape_Interval 2\n{lines}[OUTPUT]\n{output}")
    return path


sleepers = [subprocess.Popen(["sleep", "60"]) for _ in range(3)]
threads = subprocess.Popen([sys.executable, "-c", "import threading,time\nfor _ in range(2): threading.Thread(target=time.sleep,args=(60,),daemon=True).start()\ntime.sleep(60)"])
time.sleep(1)
failed = 0
try:
    own = f"    Process_Include_Pattern {PATTERN}\n"
    run = lambda program, path: subprocess.Popen([program, "-c", path], stdout=open(path + ".out", "w"), stderr=open(path + ".err", "w"))
    paths = [config("fluent-bit", own), config("agent", own)]
    programs = [run(FLUENT_BIT, paths[0]), run(AGENT, paths[1])]
    time.sleep(7)
    for program in programs:
        program.terminate()
        program.wait()
    ours, theirs = (series(open(p + ".out").read()) for p in (paths[1], paths[0]))
    # Only the processes that we started: others come and go. The script itself is busy.
    pids = {str(p.pid) for p in [*sleepers, threads]}
    keep = lambda all: {k: v for k, v in all.items() if dict(k[1]).get("pid") in pids}
    failed += compare("each process", keep(ours), keep(theirs), "cpu_seconds|context_switches")
    names = lambda all: {(k[0], tuple(n for n, _ in k[1])): 0 for k in all}
    failed += compare("families and their labels", names(ours), names(theirs), "x")

    if subprocess.run(["which", "prometheus-process-exporter"], capture_output=True).returncode == 0:
        port, own_port = free_port(), free_port()
        with open(f"{folder}/names.yml", "w") as f:
            f.write('process_names:\n  - comm: [sleep]\n    name: "sleepers:{{.Username}}"\n  - exe: [python3]\n    cmdline: ["-c import (?P<What>\\\\w+)"]\n    name: "{{.ExeBase}}:{{.Matches.What}}"\n')
        exporter = subprocess.Popen(["prometheus-process-exporter", f"--config.path={folder}/names.yml", f"--web.listen-address=127.0.0.1:{port}"], stderr=subprocess.DEVNULL)
        output = f"    Name prometheus_exporter\n    Match *\n    Host 127.0.0.1\n    Port {own_port}\n"
        agent = run(AGENT, config("groups", f"    Process_Names {folder}/names.yml\n", output))
        time.sleep(5)
        pages = [urllib.request.urlopen(f"http://127.0.0.1:{p}/metrics").read().decode() for p in (own_port, port)]
        for program in (agent, exporter):
            program.terminate()
            program.wait()
        ours, theirs = ({k: v for k, v in series(page).items() if k[0].startswith("namedprocess_")} for page in pages)
        failed += compare("groups", ours, theirs, "cpu_seconds|context_switches|_errors|io_bytes|faults|proportional")
finally:
    for program in [*sleepers, threads]:
        program.kill()
        program.wait()
sys.exit(failed > 0)
