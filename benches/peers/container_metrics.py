#!/usr/bin/env python3
"""Our container series beside the kubelet's /metrics/cadvisor, of the same pods at the same moment.

Starts a dozen pods of all classes (Guaranteed, Burstable, BestEffort; an init container, two containers, one that is
throttled, one whose shell is killed for want of memory, one whose child is, one that restarts), waits, reads both
endpoints and compares families, label sets and values. Wanted: kubectl for a cluster with one node, an image with a
busybox shell there, and our agent running on that node with its HTTP server on. By hand:
    KUBECTL="kubectl" python3 benches/peers/container_metrics.py NODE OURS_URL IMAGE_BUSYBOX [--keep] [--markdown]
"""
import collections, json, os, re, subprocess, sys, time, urllib.request

KUBECTL = os.environ.get("KUBECTL", "kubectl").split()
NODE, OURS, IMAGE = sys.argv[1:4]
NAMESPACE = "container-metrics"
SPIN = "while true; do :; done"
QUIET = "while true; do echo line; sleep 1; done"
FILL = "sleep 3; exec awk 'BEGIN { s = \"xxxxxxxxxxxxxxxx\"; while (1) s = s s }'"
CHILD = "while true; do sleep 5; awk 'BEGIN { s = \"xxxxxxxxxxxxxxxx\"; while (1) s = s s }' & wait; done"
# name: (resources, command, further)
PODS = {
    "guaranteed-1": ({"cpu": "100m", "memory": "64Mi"}, {"cpu": "100m", "memory": "64Mi"}, QUIET, {}),
    "guaranteed-2": ({"cpu": "50m", "memory": "32Mi"}, {"cpu": "50m", "memory": "32Mi"}, QUIET, {}),
    "burstable-1": ({"cpu": "10m", "memory": "16Mi"}, {"memory": "64Mi"}, QUIET, {}),
    "burstable-2": ({"cpu": "20m"}, {}, QUIET, {"second": True}),
    "burstable-init": ({"memory": "16Mi"}, {}, QUIET, {"init": True}),
    "besteffort-1": ({}, {}, QUIET, {}),
    "besteffort-2": ({}, {}, QUIET, {"second": True}),
    "besteffort-host": ({}, {}, QUIET, {"host": True}),
    "throttled": ({}, {"cpu": "50m"}, SPIN, {}),
    "oom-first": ({}, {"memory": "24Mi"}, FILL, {}),
    "oom-child": ({}, {"memory": "24Mi"}, CHILD, {}),
    "restarts": ({}, {}, "sleep 20; exit 3", {}),
}


def kubectl(*words, stdin=None):
    done = subprocess.run([*KUBECTL, *words], input=stdin, capture_output=True, text=True)
    if done.returncode:
        sys.exit(f"kubectl {' '.join(words)}: {done.stderr}")
    return done.stdout


def manifest():
    items = [{"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": NAMESPACE}}]
    for name, (requests, limits, command, more) in PODS.items():
        def container(n, script):
            return {"name": n, "image": IMAGE, "imagePullPolicy": "Never", "command": ["/bin/sh", "-c", script],
                    "resources": {"requests": requests, "limits": limits}}
        spec = {"containers": [container("main", command)], "restartPolicy": "Always", "terminationGracePeriodSeconds": 1,
                "automountServiceAccountToken": False}
        if more.get("second"):
            spec["containers"].append(container("second", QUIET))
        if more.get("init"):
            spec["initContainers"] = [container("before", "sleep 1")]
        if more.get("host"):
            spec["hostNetwork"] = True
        items.append({"apiVersion": "v1", "kind": "Pod", "metadata": {"name": name, "namespace": NAMESPACE}, "spec": spec})
    return json.dumps({"apiVersion": "v1", "kind": "List", "items": items})


SERIES = re.compile(r'^([a-zA-Z_:][\w:]*)(?:\{(.*)\})? (\S+)(?: \d+)?$')
LABEL = re.compile(r'(\w+)="((?:[^"\\]|\\.)*)"')


def parse(text):
    found, kinds = {}, {}
    for line in text.splitlines():
        if line.startswith("# TYPE "):
            _, _, name, kind = line.split(" ", 3)
            kinds[name] = kind
        elif line and not line.startswith("#"):
            name, labels, value = SERIES.match(line).groups()
            found[name, tuple(sorted(LABEL.findall(labels or "")))] = float(value)
    return found, kinds


def read():
    ours = urllib.request.urlopen(OURS, timeout=20).read().decode()
    theirs = kubectl("get", "--raw", f"/api/v1/nodes/{NODE}/proxy/metrics/cadvisor")
    # Ours again: what they show lies between.
    after = urllib.request.urlopen(OURS, timeout=20).read().decode()
    return parse(ours), parse(theirs), parse(after)


def of_pods(series):
    return {key: value for key, value in series.items() if dict(key[1]).get("namespace") == NAMESPACE}


def by_pod(pods, restarts, most, our_kinds, mine, yours):
    """A row for each pod; numbers are of its containers, theirs and ours."""
    print("| pod | class | restarts | series | same label set | CPU s | working set KiB | throttled periods | OOM kills |")
    print("| --- | --- | --- | --- | --- | --- | --- | --- | --- |")
    for pod, status in sorted(pods.items()):
        keys = [k for k in yours if dict(k[1]).get("pod") == pod and k[0] in our_kinds]
        same = [k for k in keys if k in mine]

        def both(name, unit, digits):
            of = [k for k in same if k[0] == name and dict(k[1]).get("container")]
            sums = [sum(side[k] for k in of) / unit for side in (yours, mine)]
            return " / ".join(f"{number:.{digits}f}" for number in sums) if of else "-"

        kills = sum(value for (p, container, _), value in most.items() if p == pod and container)
        print(f"| {pod} | {status.get('qosClass')} | {restarts[pod]} | {len(keys)} | {len(same)} | {both('container_cpu_usage_seconds_total', 1, 2)} | "
              f"{both('container_memory_working_set_bytes', 1024, 0)} | {both('container_cpu_cfs_throttled_periods_total', 1, 0)} | {kills:.0f} |")


def main():
    kubectl("apply", "-f", "-", stdin=manifest())
    for _ in range(90):
        pods = json.loads(kubectl("get", "pods", "-n", NAMESPACE, "-o", "json"))["items"]
        if sum(1 for p in pods if p["status"]["phase"] == "Running") >= len(PODS) - 2:
            break
        time.sleep(1)
    seconds = int(os.environ.get("SECONDS_TO_WAIT", "100"))
    most = collections.defaultdict(float)
    for _ in range(seconds // 5):
        time.sleep(5)
        for (name, labels), value in parse(urllib.request.urlopen(OURS, timeout=20).read().decode())[0].items():
            if name == "container_oom_events_total":
                l = dict(labels)
                most[l["pod"], l["container"], l["id"][-12:]] = max(most[l["pod"], l["container"], l["id"][-12:]], value)
    (ours, our_kinds), (theirs, their_kinds), (after, _) = read()
    pods = {p["metadata"]["name"]: p["status"] for p in json.loads(kubectl("get", "pods", "-n", NAMESPACE, "-o", "json"))["items"]}
    restarts = {name: sum(c["restartCount"] for c in status.get("containerStatuses", [])) for name, status in pods.items()}
    print("restarts:", {n: c for n, c in restarts.items() if c})
    print("kills told of by us:", {"/".join(k[:2]): sum(v for kk, v in most.items() if kk[:2] == k[:2]) for k, v in most.items() if v and k[1]})
    print("families of theirs that we lack:", sorted(set(their_kinds) - set(our_kinds)))
    print("families of ours that they lack:", sorted(set(our_kinds) - set(their_kinds)))
    print("types that differ:", {n: (k, our_kinds[n]) for n, k in their_kinds.items() if our_kinds.get(n, k) != k})
    mine, yours, later = of_pods(ours), of_pods(theirs), of_pods(after)
    table = []
    for name in sorted({n for n, _ in yours}):
        if name not in our_kinds:
            continue
        keys = [k for k in yours if k[0] == name]
        here = [k for k in keys if k in mine]
        far, worst = 0, 0.0
        for key in here:
            low, high = sorted((mine[key], later.get(key, mine[key])))
            value = yours[key]
            if our_kinds[name] == "counter":
                low -= 0  # theirs is up to 15 s old: at most ours of now
                inside = value <= high
                gap = high - value
            else:
                inside = abs(value - low) <= max(0.25 * max(abs(value), abs(low)), 1 << 20)
                gap = abs(value - low)
            far += not inside
            worst = max(worst, gap)
        extra = [k for k in mine if k[0] == name and k not in yours]
        table.append((name, len(keys), len(here), len(extra), far, worst))
    print(f"{'family':52} {'theirs':>7} {'equal':>6} {'more':>5} {'off':>4}  largest gap")
    for row in table:
        print("%-52s %7d %6d %5d %4d  %g" % row)
    if "--markdown" in sys.argv:
        by_pod(pods, restarts, most, our_kinds, mine, yours)
    for title, left, right in (("only theirs", yours, mine), ("only ours", mine, yours)):
        rest = [k for k in left if k not in right and k[0] in their_kinds and k[0] in our_kinds]
        print(f"{title}: {len(rest)}")
        for name, labels in rest[:int(os.environ.get("SHOW", "12"))]:
            print("   ", name, {k: v[-40:] for k, v in labels})
    if "--keep" not in sys.argv:
        kubectl("delete", "namespace", NAMESPACE, "--wait=false")


main()
