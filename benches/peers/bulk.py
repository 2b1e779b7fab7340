#!/usr/bin/env python3
"""Fills a real server of the bulk API (VictoriaLogs) from the es and opensearch outputs, with kills, and counts back.

VictoriaLogs takes bulk requests as Elasticsearch clients send them, but keeps no `_id`, so a repeat after a kill is stored
twice; what ids, mappings and item-wise answers do is tested against a strict server in tests/tests/elasticsearch.rs. By hand:
    python3 benches/peers/bulk.py target/debug/kansoku-agent VICTORIA_LOGS
"""
import collections, json, os, signal, subprocess, sys, tempfile, time, urllib.parse, urllib.request

from agent import free_port

AGENT, SERVER, N_FILES, N_LINES = sys.argv[1], sys.argv[2], 4, 20000
folder = tempfile.mkdtemp()


PORT = free_port()


def server():
    process = subprocess.Popen([SERVER, f"-httpListenAddr=127.0.0.1:{PORT}", f"-storageDataPath={folder}/store", "-retentionPeriod=30d"],
                               stdout=subprocess.DEVNULL, stderr=open(f"{folder}/server", "a"))
    for _ in range(200):
        try:
            urllib.request.urlopen(f"http://127.0.0.1:{PORT}/health", timeout=2)
            return process
        except OSError:
            time.sleep(0.1)
    raise SystemExit("the server does not start")


def count(run):
    """How often each line is there."""
    data = urllib.parse.urlencode({"query": f'run:="{run}"', "limit": 10**7}).encode()
    answer = urllib.request.urlopen(f"http://127.0.0.1:{PORT}/select/logsql/query", data, timeout=60)
    return collections.Counter(json.loads(line)["_msg"] for line in answer)


failed, process = False, server()
for run, output in [("es", "    name es\n    logstash_format on\n"), ("es-gzip", "    name es\n    compress gzip\n    generate_id on\n"),
                    ("opensearch", "    name opensearch\n    index logs-app-default\n    write_operation create\n    time_key_nanos on\n"),
                    ("index", "    name es\n    write_operation index\n    id_key key\n")]:
    here = f"{folder}/{run}"
    os.makedirs(here)
    with open(f"{here}/agent.conf", "w") as f:
        f.write(f"""[SERVICE]
    flush 0.2
[INPUT]
    name tail
    path {here}/*.log
    read_from_head on
    db {here}/tail.db
    refresh_interval 1
[FILTER]
    name record_modifier
    match *
    record run {run}
[FILTER]
    name modify
    match *
    rename log _msg
[OUTPUT]
    match *
    host 127.0.0.1
    port {PORT}
    path /insert/elasticsearch
    suppress_type_name on
{output}""")
    agent = None
    for step in range(10):
        for f in range(N_FILES):
            with open(f"{here}/{f}.log", "a") as out:
                out.writelines(f"{run} {f} {n}\n" for n in range(step * N_LINES // 10, (step + 1) * N_LINES // 10))
        if step in (0, 3, 6, 8):
            if agent:
                agent.kill()
                agent.wait()
            agent = subprocess.Popen([AGENT, "-c", f"{here}/agent.conf"], stdout=subprocess.DEVNULL, stderr=open(f"{here}/err", "a"))
        if step == 5:
            process.send_signal(signal.SIGTERM)
            process.wait()
            process = server()
        time.sleep(0.3)
    wanted, end = {f"{run} {f} {n}" for f in range(N_FILES) for n in range(N_LINES)}, time.time() + 60
    while time.time() < end:
        found = count(run)
        if len(found) >= len(wanted):
            break
        time.sleep(1)
    agent.terminate()
    agent.wait(20)
    found = count(run)
    lost, strange = wanted - set(found), set(found) - wanted
    print(f"{run}: {len(wanted)} lines, lost {len(lost)}, strange {len(strange)}, repeated {sum(found.values()) - len(found)} "
          f"after 3 kills of the agent and a restart of the server", flush=True)
    failed |= bool(lost or strange)
    if lost:
        print(open(f"{here}/err").read()[-1500:])
process.terminate()
sys.exit(failed)
