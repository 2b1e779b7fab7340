#!/usr/bin/env python3
"""The filter kubernetes and the input kubernetes_events on a real cluster, record by record beside Fluent Bit.

Both run as DaemonSets of daemonset.yaml's form with one configuration and send to this script. Wanted: kubectl for a
cluster with one node and no other load, images with the programs and one with a busybox shell on the node. By hand:
    KUBECTL="kubectl" SINK=ADDRESS_THAT_PODS_REACH KUBE_URL=https://API KUBELET=NODE_ADDRESS \
        python3 benches/peers/kubernetes.py IMAGE_KANSOKU IMAGE_FLUENT_BIT IMAGE_BUSYBOX
"""
import collections, http.server, json, os, subprocess, sys, threading, time

KANSOKU, FLUENT_BIT, BUSYBOX = sys.argv[1:4]
KUBECTL, SINK = os.environ.get("KUBECTL", "kubectl").split(), os.environ["SINK"]
KUBE_URL, KUBELET = os.environ["KUBE_URL"], os.environ["KUBELET"]
ROOT = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
PORT = 19880

CONFIG = """
    [SERVICE]
        Flush         0.5
        Log_Level     info
        Parsers_File  /etc/kansoku/parsers.conf
    [INPUT]
        Name              tail
        Tag               kube.*
        Path              /var/log/containers/*.log
        Exclude_Path      /var/log/containers/*_peers_*.log
        DB                /var/lib/kansoku/tail.db
        multiline.parser  docker, cri
        Read_from_Head    on
        Refresh_Interval  1
    [INPUT]
        Name               kubernetes_events
        Tag                events
        kube_url           %(url)s
        kube_namespace     shop
        interval_sec       1
    [FILTER]
        Name                   kubernetes
        Match                  kube.*
        Kube_URL               %(url)s
        Merge_Log              on
        Merge_Log_Key          %(merge_key)s
        Keep_Log               %(keep)s
        K8S-Logging.Parser     on
        K8S-Logging.Exclude    on
        Labels                 on
        Annotations            on
        namespace_labels       %(namespaces)s
        namespace_annotations  %(namespaces)s
        owner_references       on
        Buffer_Size            0
%(more)s
    [OUTPUT]
        Name    http
        Match   kube.*
        Host    %(sink)s
        Port    %(port)s
        URI     /%(run)s/log
        Format  json_lines
    [OUTPUT]
        Name    http
        Match   events
        Host    %(sink)s
        Port    %(port)s
        URI     /%(run)s/event
        Format  json_lines
"""
PARSERS = r"""
    [PARSER]
        Name    keyed
        Format  regex
        Regex   ^(?<verb>[A-Z]+) (?<path>[^ ]*) (?<code>\d+)$
        Types   code:integer
    [PARSER]
        Name    pairs
        Format  logfmt
"""
SHELL = 'n=0; while [ $n -lt 40 ]; do n=$((n+1)); %s; sleep 0.02; done; %s'


def container(name, line, end="sleep 100000"):
    return {"name": name, "image": BUSYBOX, "imagePullPolicy": "Never", "command": ["/bin/sh", "-c", SHELL % (line, end)]}


def pod(name, containers, annotations={}, labels={}, **spec):
    meta = {"name": name, "namespace": "shop", "annotations": annotations, "labels": labels}
    return {"apiVersion": "v1", "kind": "Pod", "metadata": meta,
            "spec": {"terminationGracePeriodSeconds": 0, "containers": containers, **spec}}


JSON_LINE = r'''echo "{\"level\":\"info\",\"n\":$n,\"nested\":{\"a\":[1,2.5,null]},\"text\":\"caf\u00e9 \\\"q\\\"\"}"'''
# No pod's name begins with another's: of the kubelet's list Fluent Bit takes the first that begins with it.
WORKLOAD = [
    pod("several", [container("json", JSON_LINE), container("text", 'echo "plain $n"; echo "problem $n" >&2')],
        {"example.com/owner": "team a", "builder": "x"}, {"app": "several", "app.kubernetes.io/name": "shop.web"},
        initContainers=[container("prepare", 'echo "prepare $n"', "exit 0")]),
    pod("parsed", [container("web", 'echo "GET /x/$n 200"; echo "a=1 b=$n" >&2'), container("side", 'echo "no match $n"')],
        {"fluentbit.io/parser_stdout": "keyed", "fluentbit.io/parser_stderr": "pairs"}),
    pod("one-parsed", [container("web", 'echo "POST /y 500"'), container("side", 'echo "k=v n=$n"')],
        {"fluentbit.io/parser": "keyed", "fluentbit.io/parser-side": "pairs"}),
    pod("unknown-parser", [container("c", 'echo "line $n"')], {"fluentbit.io/parser": "nowhere"}),
    pod("excluded", [container("c", 'echo "never seen $n"')], {"fluentbit.io/exclude": "true"}),
    pod("part-excluded", [container("a", 'echo "kept $n"; echo "not kept $n" >&2'), container("b", 'echo "not kept b $n"')],
        {"fluentbit.io/exclude_stderr": "true", "fluentbit.io/exclude-b": "true"}),
    pod("restarts", [container("c", 'echo "life $n"', "exit 1")], restartPolicy="Always"),
    pod("odd", [container("c", r'''printf '{"broken": %s\n' $n; printf '  {"spaces":%s}  \n' $n; printf '[1,2]\n'; printf '\n'; '''
                          r'''printf 'tab\there\n' ; head -c 20000 /dev/zero | tr '\0' x; echo "$n"''')]),
    {"apiVersion": "apps/v1", "kind": "Deployment", "metadata": {"name": "web", "namespace": "shop"},
     "spec": {"replicas": 2, "selector": {"matchLabels": {"app": "web"}}, "template": {
         "metadata": {"labels": {"app": "web"}},
         "spec": {"terminationGracePeriodSeconds": 0, "containers": [container("c", 'echo "{\\"log\\":\\"own\\",\\"stream\\":$n,\\"kubernetes\\":1}"')]}}}},
    {"apiVersion": "batch/v1", "kind": "Job", "metadata": {"name": "once", "namespace": "shop"},
     "spec": {"template": {"spec": {"restartPolicy": "Never", "containers": [container("c", 'echo "job $n"', "exit 0")]}}}},
]
NAMESPACE = {"apiVersion": "v1", "kind": "Namespace", "metadata": {
    "name": "shop", "labels": {"team": "a", "stage": "test"}, "annotations": {"example.com/cost": "42"}}}
RUNS = {
    "api": dict(merge_key="merged", keep="on", namespaces="on", more=""),
    "kubelet": dict(merge_key="", keep="off", namespaces="off",
                    more="        Use_Kubelet    on\n        Kubelet_Host   %s\n        Kubelet_Port   10250\n" % KUBELET),
}
GOT = collections.defaultdict(list)


class Handler(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def log_message(self, *_):
        pass

    def do_POST(self):
        body = self.rfile.read(int(self.headers["Content-Length"]))
        GOT[self.path].extend(json.loads(line) for line in body.decode().splitlines())
        self.send_response(200)
        self.send_header("Content-Length", "0")
        self.end_headers()


def kubectl(*arguments, data=None, check=True):
    text = data if data is None or isinstance(data, str) else json.dumps(data)
    done = subprocess.run([*KUBECTL, *arguments], input=text, text=True, capture_output=True, timeout=300)
    if check and done.returncode:
        raise RuntimeError(f"{arguments}: {done.stderr}")
    return done.stdout


def daemonset(name, image, command, config):
    """daemonset.yaml under another name, in the namespace peers, with its own state."""
    text = open(f"{ROOT}/daemonset.yaml").read()
    start, end = text.index("  agent.conf: |\n"), text.index("---\napiVersion: apps/v1\nkind: DaemonSet")
    text = text[:start] + "  agent.conf: |" + config + "  parsers.conf: |" + PARSERS + text[end:]
    for old, new in [("kansoku-agent\n  namespace: kansoku", f"{name}\n  namespace: peers"), ("ghcr.io/kansoku/kansoku:0.1.0", image),
                     ("name: kansoku\n  labels", "name: peers\n  labels"), ("namespace: kansoku", "namespace: peers"),
                     ("IfNotPresent", "Never"), ("[/bin/kansoku-agent, -c,", f"[{command}, -c,"),
                     ("ame: kansoku-agent", f"ame: {name}"), ("path: /var/lib/kansoku,", f"path: /var/lib/peers-{name},"),
                     ("  # - apiGroups", "  - apiGroups"), ("  #   resources", "    resources"), ("  #   verbs", "    verbs"),
                     ("          ports:\n            - {name: http, containerPort: 2020, hostPort: 2020}\n", ""),
                     ("          readinessProbe:\n            httpGet: {path: /api/v1/health, port: http}\n", "")]:
        assert old in text, old
        text = text.replace(old, new)
    live = text.index("          livenessProbe:")
    return text[:live] + text[text.index("          resources:", live):]


def settle(paths, patience=90):
    """Waits until nothing new comes."""
    end, before = time.time() + patience, None
    while time.time() < end:
        now = [len(GOT[p]) for p in paths]
        if before == now and all(now):
            return
        before = now
        time.sleep(6)


def pod_of(record):
    pod = record.get("kubernetes")
    return pod.get("pod_name") if isinstance(pod, dict) else None


def flat(record):
    return json.dumps(record, sort_keys=True)


def compare(what, ours, theirs):
    """True when both lists hold the same records; prints the first differences."""
    a, b = collections.Counter(map(flat, ours)), collections.Counter(map(flat, theirs))
    only_ours, only_theirs = list((a - b).elements()), list((b - a).elements())
    print(f"{what}: {len(ours)} and {len(theirs)} records, {len(only_ours)} only ours, {len(only_theirs)} only Fluent Bit's", flush=True)
    for name, rows in [("ours", only_ours), ("theirs", only_theirs)]:
        for row in rows[:int(os.environ.get("SHOW", "3"))]:
            print(f"   {name}: {row[:700]}")
    return not only_ours and not only_theirs


server = http.server.ThreadingHTTPServer((SINK, PORT), Handler)
threading.Thread(target=server.serve_forever, daemon=True).start()
good = True
kubectl("delete", "namespace", "shop", "peers", "--ignore-not-found", "--wait=true")
kubectl("apply", "-f", "-", data=NAMESPACE)
# Logs of an earlier run may still lie there.
began = time.time()
for document in WORKLOAD:
    kubectl("apply", "-f", "-", data=document)
time.sleep(float(os.environ.get("WRITING", "60")))
for run, options in RUNS.items():
    paths = []
    for name, image, command in [("kansoku", KANSOKU, "/bin/kansoku-agent"), ("fluent-bit", FLUENT_BIT, "/bin/fluent-bit")]:
        path = f"{run}/{name}"
        config = CONFIG % dict(options, url=KUBE_URL, sink=SINK, port=PORT, run=path)
        config = "\n".join(line for line in config.split("\n") if not line.strip() in ("Merge_Log_Key",))
        kubectl("apply", "-f", "-", data=daemonset(f"{name}-{run}", image, command, config))
        paths += [f"/{path}/log", f"/{path}/event"]
    settle(paths)
    if os.environ.get("DUMP"):
        json.dump(GOT, open(os.environ["DUMP"], "w"))
    of_run = {n: [r for r in GOT[f"/{run}/{n}/log"] if r["date"] >= began] for n in ("kansoku", "fluent-bit")}
    # A parser that an annotation names and that reads no time makes Fluent Bit take the time of reading.
    for record in (r for rs in of_run.values() for r in rs if "parsed" in str(pod_of(r))):
        del record["date"]
    # What restarts meanwhile is in one of both only: compared is what was there for both.
    logs = [[r for r in rs if pod_of(r) != "restarts"] for rs in of_run.values()]
    good &= compare(f"{run}: records", *logs)
    seen = {pod_of(r) for r in logs[0]}
    print(f"{run}: pods {sorted(map(str, seen))}")
    good &= "excluded" not in seen and {"several", "parsed", "odd"} <= seen
    restarts = [len([r for r in rs if pod_of(r) == "restarts"]) for rs in of_run.values()]
    print(f"{run}: of the pod that restarts {restarts}")
    good &= restarts[0] >= 40
    # Events differ by when each began to watch: those that both know. Fluent Bit cannot read their times of microseconds.
    for name in ("kansoku", "fluent-bit"):
        for event in GOT[f"/{run}/{name}/event"]:
            # Only what a watch tells has them, and which events came that way differs.
            for key in ("date", "apiVersion", "kind"):
                event.pop(key, None)
    events = [{(e["metadata"]["uid"], e["metadata"]["resourceVersion"]): e for e in GOT[f"/{run}/{n}/event"]} for n in ("kansoku", "fluent-bit")]
    both = events[0].keys() & events[1].keys()
    good &= compare(f"{run}: events in both ({len(events[0])} and {len(events[1])})", [events[0][k] for k in both], [events[1][k] for k in both]) and bool(both)
    for name in ("kansoku", "fluent-bit"):
        if not os.environ.get("KEEP"):
            kubectl("-n", "peers", "delete", "daemonset", f"{name}-{run}", "--wait=true")
sys.exit(not good)
