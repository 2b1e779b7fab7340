"""The relabelling cases of fixtures/relabel against Debian's Prometheus: every case is a job whose static target has the labels, and what
/api/v1/targets shows is what our unit test expects."""

import json
import subprocess
import sys
import tempfile
import time
import urllib.request

import yaml

PORT = 19471
text = open("fixtures/relabel/cases.yaml").read()
# Scalars as they are written, but what is null is left out.
cases, typed = yaml.load(text, yaml.BaseLoader), yaml.safe_load(text)
jobs = []
for n, case in enumerate(cases):
    rules = [
        {k: int(v) if k == "modulus" else v for k, v in rule.items() if typed[n]["rules"][m][k] is not None}
        for m, rule in enumerate(case["rules"])
    ]
    jobs.append({"job_name": f"case{n + 1}", "static_configs": [{"targets": ["127.0.0.1:1"], "labels": case["labels"]}], "relabel_configs": rules})
with tempfile.TemporaryDirectory() as folder:
    with open(f"{folder}/p.yml", "w") as f:
        yaml.dump({"scrape_configs": jobs}, f)
    server = subprocess.Popen(["prometheus", f"--config.file={folder}/p.yml", f"--storage.tsdb.path={folder}/data", f"--web.listen-address=127.0.0.1:{PORT}"], stderr=open(f"{folder}/log", "w"))
    try:
        for _ in range(100):
            time.sleep(0.2)
            try:
                answer = json.load(urllib.request.urlopen(f"http://127.0.0.1:{PORT}/api/v1/targets?state=active"))
                if answer["data"]["activeTargets"]:
                    break
            except OSError:
                if server.poll() is not None:
                    sys.exit(open(f"{folder}/log").read()[-2000:])
        time.sleep(2)
        answer = json.load(urllib.request.urlopen(f"http://127.0.0.1:{PORT}/api/v1/targets?state=active"))
    finally:
        server.terminate()
        server.wait()
found = {}
for target in answer["data"]["activeTargets"]:
    labels = {k: v for k, v in target["labels"].items() if k not in ("job", "instance")}
    found[target["scrapePool"]] = labels
# Before Prometheus 3 a dot did not take the end of a line.
is_old = subprocess.run(["prometheus", "--version"], capture_output=True, text=True).stdout.startswith("prometheus, version 2")
wrong = 0
for n, case in enumerate(cases):
    # Prometheus does not show labels that begin with __.
    expected = case.get("expected")
    if expected is not None:
        expected = {k: v for k, v in expected.items() if not k.startswith("__")}
    got = found.get(f"case{n + 1}")
    if got != expected and is_old and any("\n" in v for v in case["labels"].values()):
        print(f"case {n + 1}: differs before Prometheus 3")
    elif got != expected:
        wrong += 1
        print(f"case {n + 1}: Prometheus {got}, expected {expected}")
print(f"{len(cases)} cases, {wrong} differ from Prometheus")
sys.exit(wrong > 0)
