#!/usr/bin/env python3
"""daemonset.yaml on a real cluster under load: rolling updates and deleted agent pods lose no line and double none.

Pods write numbered lines, the agent ships them to an aggregator that this script starts beside the cluster, and every line is
counted back by LogQL. Wanted as in kubernetes.py, and two images of the agent to roll between. By hand:
    KUBECTL=kubectl SINK=ADDRESS_THAT_PODS_REACH [KUBE_URL=https://API] \
        python3 benches/peers/kubernetes_rolling.py AGGREGATOR IMAGE_KANSOKU IMAGE_KANSOKU_2 IMAGE_BUSYBOX
"""
import collections, json, os, re, signal, subprocess, sys, tempfile, time, urllib.parse, urllib.request

AGGREGATOR, FIRST, SECOND, BUSYBOX = sys.argv[1:5]
KUBECTL, SINK, N_PODS, N_LINES = (
    os.environ.get("KUBECTL", "kubectl").split(), os.environ["SINK"], 5, int(os.environ.get("LINES", 30000)))
ROOT = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
PORT = 19428
folder = tempfile.mkdtemp()


def kubectl(*arguments, data=None):
    done = subprocess.run([*KUBECTL, *arguments], input=data, text=True, capture_output=True, timeout=300)
    if done.returncode:
        raise RuntimeError(f"{arguments}: {done.stderr}")
    return done.stdout


def manifest(image):
    text = open(f"{ROOT}/daemonset.yaml").read()
    for old, new in [("ghcr.io/kansoku/kansoku:0.1.0", image), ("IfNotPresent", "Never"), ("kansoku-aggregator.kansoku.svc", SINK),
                     ('value: "9428"', f'value: "{PORT}"')]:
        assert old in text, old
        text = text.replace(old, new)
    api = urllib.parse.urlsplit(os.environ.get("KUBE_URL", ""))
    if api.hostname:
        # For a cluster whose service addresses lead nowhere.
        env = "          env:\n"
        text = text.replace(env, env + f'            - {{name: KUBERNETES_SERVICE_HOST, value: "{api.hostname}"}}\n'
                            f'            - {{name: KUBERNETES_SERVICE_PORT, value: "{api.port or 443}"}}\n')
    return text


def writer(n):
    script = f"i=0; while [ $i -lt {N_LINES} ]; do seq $i $((i+99)) | sed 's/^/line /'; i=$((i+100)); sleep 0.25; done; sleep 100000"
    return json.dumps({"apiVersion": "v1", "kind": "Pod", "metadata": {"name": f"writer-{n}", "namespace": "load", "labels": {"tier": "writer"}},
                       "spec": {"terminationGracePeriodSeconds": 0, "containers": [
                           {"name": "c", "image": BUSYBOX, "imagePullPolicy": "Never", "command": ["/bin/sh", "-c", script]}]}})


def ask(path, **parameters):
    return json.load(urllib.request.urlopen(f"http://{SINK}:{PORT}{path}?" + urllib.parse.urlencode(parameters), timeout=60))["data"]["result"]


def total():
    result = ask("/loki/api/v1/query", query='sum(count_over_time({namespace="load"}[6h]))')
    return int(float(result[0]["value"][1])) if result else 0


def lines(pod, start):
    """How often each line of a pod is there."""
    found, at = collections.Counter(), start
    while True:
        result = ask("/loki/api/v1/query_range", query=f'{{namespace="load",pod="{pod}"}}', start=at, end=time.time_ns() + 10**9, limit=5000, direction="forward")
        rows = sorted((int(v[0]), v[1]) for s in result for v in s["values"])
        last = rows[-1][0] if len(rows) >= 5000 else None
        found.update(line for when, line in rows if when != last)
        if last is None:
            return found
        at = last


def agent_pods():
    return kubectl("-n", "kansoku", "get", "pods", "-l", "app.kubernetes.io/name=kansoku-agent", "-o", "name").split()


server = subprocess.Popen([AGGREGATOR, f"--web.listen-address={SINK}:{PORT}", f"--storage.path={folder}/store"], stderr=open(f"{folder}/err", "w"))
failed = True
try:
    kubectl("delete", "namespace", "load", "kansoku", "--ignore-not-found", "--wait=true")
    kubectl("apply", "-f", "-", data=manifest(FIRST))
    kubectl("create", "namespace", "load")
    began = time.time_ns()
    for n in range(N_PODS):
        kubectl("apply", "-f", "-", data=writer(n))
    kubectl("-n", "kansoku", "rollout", "status", "daemonset/kansoku-agent", "--timeout=120s")
    end, n_rolls, n_deletes, n_forced = time.time() + N_LINES / 400 + 20, 0, 0, 0
    while time.time() < end:
        time.sleep(6)
        step = (n_rolls + n_deletes + n_forced) % 3
        if step == 0:
            kubectl("-n", "kansoku", "set", "image", "daemonset/kansoku-agent", f"kansoku-agent={[SECOND, FIRST][n_rolls % 2]}")
            kubectl("-n", "kansoku", "rollout", "status", "daemonset/kansoku-agent", "--timeout=120s")
            n_rolls += 1
        elif step == 1:
            kubectl("-n", "kansoku", "delete", *agent_pods())
            n_deletes += 1
        else:
            kubectl("-n", "kansoku", "delete", "--grace-period=0", "--force", *agent_pods())
            n_forced += 1
    wanted, end = N_PODS * N_LINES, time.time() + 180
    while time.time() < end and total() < wanted:
        time.sleep(3)
    time.sleep(5)
    lost = twice = 0
    labels = ask("/loki/api/v1/query", query='sum by (pod, tier) (count_over_time({namespace="load"}[6h]))')
    for n in range(N_PODS):
        found = lines(f"writer-{n}", began)
        lost += len({f"line {i}" for i in range(N_LINES)} - set(found))
        twice += sum(found.values()) - len(found)
    unlabelled = [r for r in labels if r["metric"].get("tier") != "writer"]
    print(f"{wanted} lines of {N_PODS} pods: lost {lost}, doubled {twice}; {n_rolls} rolling updates, {n_deletes} deleted and "
          f"{n_forced} killed agent pods; series without the pod's labels {len(unlabelled)}")
    failed = bool(lost or twice or unlabelled)
finally:
    server.send_signal(signal.SIGTERM)
sys.exit(failed)
