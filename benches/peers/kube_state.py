#!/usr/bin/env python3
"""The input kube_state_metrics beside kube-state-metrics, over the same API: every family, series and value.

With --objects FILE the API is this script, which lists what the file has (a `kind: List` as `kubectl get -o json`
writes it); otherwise it is the cluster of KUBECONFIG. Both programs run with everything on: all resources, labels,
annotations and families that are asked for by name. What the cluster changes meanwhile is read twice of theirs, before
and after ours, and ours must be one of the two or lie between. By hand:
    python3 benches/peers/kube_state.py AGENT KUBE_STATE_METRICS [--objects FILE] [--markdown] [--keep]
"""
import collections, http.server, json, os, re, subprocess, sys, tempfile, threading, time, urllib.parse, urllib.request

FLAGS = [a for a in sys.argv[1:] if a.startswith("--")]
WORDS = [a for a in sys.argv[1:] if not a.startswith("--")]
AGENT, PEER = WORDS[:2]
OBJECTS = WORDS[2] if "--objects" in FLAGS else None
API_PORT, OUR_PORT, PEER_PORT, PEER_OWN_PORT = 18471, 18473, 18475, 18477
# Resource, the API's group and version, kind.
RESOURCES = """
pods v1 Pod
nodes v1 Node
deployments apps/v1 Deployment
statefulsets apps/v1 StatefulSet
daemonsets apps/v1 DaemonSet
replicasets apps/v1 ReplicaSet
replicationcontrollers v1 ReplicationController
jobs batch/v1 Job
cronjobs batch/v1 CronJob
horizontalpodautoscalers autoscaling/v2 HorizontalPodAutoscaler
persistentvolumes v1 PersistentVolume
persistentvolumeclaims v1 PersistentVolumeClaim
storageclasses storage.k8s.io/v1 StorageClass
volumeattachments storage.k8s.io/v1 VolumeAttachment
resourcequotas v1 ResourceQuota
limitranges v1 LimitRange
namespaces v1 Namespace
poddisruptionbudgets policy/v1 PodDisruptionBudget
services v1 Service
ingresses networking.k8s.io/v1 Ingress
ingressclasses networking.k8s.io/v1 IngressClass
networkpolicies networking.k8s.io/v1 NetworkPolicy
endpoints v1 Endpoints
endpointslices discovery.k8s.io/v1 EndpointSlice
secrets v1 Secret
configmaps v1 ConfigMap
serviceaccounts v1 ServiceAccount
certificatesigningrequests certificates.k8s.io/v1 CertificateSigningRequest
leases coordination.k8s.io/v1 Lease
validatingwebhookconfigurations admissionregistration.k8s.io/v1 ValidatingWebhookConfiguration
mutatingwebhookconfigurations admissionregistration.k8s.io/v1 MutatingWebhookConfiguration
validatingadmissionpolicies admissionregistration.k8s.io/v1 ValidatingAdmissionPolicy
validatingadmissionpolicybindings admissionregistration.k8s.io/v1 ValidatingAdmissionPolicyBinding
mutatingadmissionpolicies admissionregistration.k8s.io/v1 MutatingAdmissionPolicy
mutatingadmissionpolicybindings admissionregistration.k8s.io/v1 MutatingAdmissionPolicyBinding
roles rbac.authorization.k8s.io/v1 Role
clusterroles rbac.authorization.k8s.io/v1 ClusterRole
rolebindings rbac.authorization.k8s.io/v1 RoleBinding
clusterrolebindings rbac.authorization.k8s.io/v1 ClusterRoleBinding
"""
RESOURCES = {words[0]: words[1:] for words in map(str.split, RESOURCES.strip().splitlines())}


class Api(http.server.BaseHTTPRequestHandler):
    """Lists of a file's objects; watches that tell of nothing."""
    protocol_version = "HTTP/1.1"
    by_resource = collections.defaultdict(list)

    @classmethod
    def load(cls, path):
        of_kind = {kind: resource for resource, (_, kind) in RESOURCES.items()}
        for item in json.load(open(path))["items"]:
            cls.by_resource[of_kind[item["kind"]]].append(item)

    def log_message(self, *_):
        pass

    def answer(self, body, status=200):
        body = json.dumps(body).encode()
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def do_GET(self):
        url = urllib.parse.urlparse(self.path)
        query = dict(urllib.parse.parse_qsl(url.query))
        if url.path == "/version":
            return self.answer({"major": "1", "minor": "36", "gitVersion": "v1.36.0"})
        resource = url.path.rsplit("/", 1)[1]
        if resource not in RESOURCES:
            return self.answer({"kind": "Status", "apiVersion": "v1", "status": "Failure", "code": 404, "reason": "NotFound"}, 404)
        version, kind = RESOURCES[resource]
        expected = ("/api/" if "/" not in version else "/apis/") + version + "/" + resource
        if url.path != expected:
            print(f"asked for {url.path}, which is no {expected}", file=sys.stderr)
        if query.get("sendInitialEvents"):
            return self.answer({"kind": "Status", "apiVersion": "v1", "status": "Failure", "code": 422, "reason": "Invalid"}, 422)
        if query.get("watch"):
            self.send_response(200)
            self.send_header("Content-Type", "application/json")
            self.send_header("Transfer-Encoding", "chunked")
            self.end_headers()
            time.sleep(600)
            return None
        items = self.by_resource[resource]
        meta = {"resourceVersion": "1000000"}
        accept = self.headers.get("Accept", "")
        if "as=Table" in accept:
            rows = [{"cells": [i["metadata"]["name"], i.get("type", ""), 1, "9d"],
                     "object": {"kind": "PartialObjectMetadata", "metadata": i["metadata"]}} for i in items]
            columns = [{"name": n} for n in ["Name", "Type", "Data", "Age"]]
            return self.answer({"kind": "Table", "apiVersion": "meta.k8s.io/v1", "metadata": meta, "columnDefinitions": columns, "rows": rows})
        if "as=PartialObjectMetadataList" in accept:
            items = [{"metadata": i["metadata"]} for i in items]
        return self.answer({"kind": kind + "List", "apiVersion": version, "metadata": meta, "items": items})


SERIES = re.compile(r'^([a-zA-Z_:][\w:]*)(?:\{(.*)\})? (\S+)$')
LABEL = re.compile(r'(\w+)="((?:[^"\\]|\\.)*)"')


def scrape(port, path):
    text = urllib.request.urlopen(f"http://127.0.0.1:{port}{path}", timeout=30).read().decode()
    series, heads = {}, collections.defaultdict(dict)
    for line in text.splitlines():
        if line.startswith("# "):
            _, what, name, rest = (line + " ").split(" ", 3)
            heads[name][what] = rest.strip()
        elif line:
            name, labels, value = SERIES.match(line).groups()
            # An empty label is none, for Prometheus.
            labels = tuple(sorted((k, v) for k, v in LABEL.findall(labels or "") if v))
            assert (name, labels) not in series, f"twice: {line}"
            series[name, labels] = float(value)
    return series, heads


def wait(port, path, resources):
    """Until nothing has been added for a while."""
    deadline, before = time.time() + 90, -1
    while time.time() < deadline:
        try:
            n = len(scrape(port, path)[0])
        except OSError:
            n = -1
        if n > 0 and n == before:
            return
        before = n
        time.sleep(2)
    sys.exit(f"port {port} does not settle")


def run(folder):
    log = lambda name: open(os.path.join(folder, name), "w")
    names = ",".join(RESOURCES)
    api = f"http://127.0.0.1:{API_PORT}"
    config = f"""
[SERVICE]
    HTTP_Server on
    HTTP_Listen 127.0.0.1
    HTTP_Port {OUR_PORT}
[INPUT]
    Name kube_state_metrics
    Scope cluster
    Resources {names}
    Metric_Opt_In_List kube_.*
    Metric_Labels_Allowlist *=[*]
    Metric_Annotations_Allowlist *=[*]
    {"Kube_URL " + api if OBJECTS else ""}
[OUTPUT]
    Name null
    Match *
"""
    with open(os.path.join(folder, "agent.conf"), "w") as file:
        file.write(config)
    ours = subprocess.Popen([AGENT, "-c", file.name], stdout=log("ours.log"), stderr=subprocess.STDOUT)
    where = [f"--apiserver={api}"] if OBJECTS else [f"--kubeconfig={os.environ['KUBECONFIG']}"]
    theirs = subprocess.Popen(
        [PEER, *where, f"--resources={names}", "--metric-opt-in-list=kube_.*", "--metric-labels-allowlist=*=[*]",
         "--metric-annotations-allowlist=*=[*]", "--host=127.0.0.1", f"--port={PEER_PORT}", "--telemetry-host=127.0.0.1",
         f"--telemetry-port={PEER_OWN_PORT}"], stdout=log("theirs.log"), stderr=subprocess.STDOUT)
    try:
        wait(OUR_PORT, "/metrics/kube-state", names)
        wait(PEER_PORT, "/metrics", names)
        return scrape(PEER_PORT, "/metrics"), scrape(OUR_PORT, "/metrics/kube-state"), scrape(PEER_PORT, "/metrics")
    finally:
        for program in (ours, theirs):
            program.terminate()
            program.wait(20)


def resource_of(name):
    word = name.split("_")[1]
    return next((r for r in sorted(RESOURCES, key=len) if r.rstrip("s").startswith(word[:-1]) and len(r) - len(word) < 4), word)


def main():
    if OBJECTS:
        Api.load(OBJECTS)
        server = http.server.ThreadingHTTPServer(("127.0.0.1", API_PORT), Api)
        server.daemon_threads = True
        threading.Thread(target=server.serve_forever, daemon=True).start()
    folder = tempfile.mkdtemp(prefix="kube-state-")
    (first, heads), (ours, our_heads), (second, _) = run(folder)
    own = lambda name: name.startswith(("kube_state_metrics_", "kansoku_kube_state_"))
    ours = {key: value for key, value in ours.items() if not own(key[0])}
    # What both readings of theirs have must be here; what is here must be in one of them.
    missing = [key for key in first if key in second and key not in ours]
    added = [key for key in ours if key not in first and key not in second]
    other = []
    for key in ours.keys() & first.keys() & second.keys():
        low, high = sorted((first[key], second[key]))
        if not (low <= ours[key] <= high or ours[key] == low):
            other.append((key, low, ours[key]))
    with_series = {name for name, _ in first} | {name for name, _ in ours}
    with_both = {name for name, _ in first} & {name for name, _ in ours}
    bad_heads = [(name, heads[name], our_heads[name]) for name in sorted(with_both) if heads[name] != our_heads[name]]
    count = collections.Counter(resource_of(name) for name, _ in first)
    families = collections.Counter(resource_of(name) for name in {name for name, _ in first})
    wrong = collections.Counter(resource_of(name) for name, _ in missing + added + [key for key, _, _ in other])
    if "--markdown" in FLAGS:
        print("| resource | families | series of theirs | differing |\n| --- | --- | --- | --- |")
        for resource in sorted(count):
            print(f"| {resource} | {families[resource]} | {count[resource]} | {wrong[resource]} |")
    print(f"{len(with_series)} families with series, {len(first)} series of theirs, {len(ours)} of ours; "
          f"{len(missing)} missing, {len(added)} added, {len(other)} with another value, {len(bad_heads)} heads that differ")
    for title, keys in [("missing", missing), ("added", added)]:
        for name, labels in sorted(keys)[:60]:
            print(f"{title}: {name} {dict(labels)}")
    for (name, labels), theirs, value in sorted(other)[:60]:
        print(f"value: {name} {dict(labels)} theirs {theirs} ours {value}")
    for name, theirs, found in bad_heads[:60]:
        print(f"head: {name}\n  theirs {theirs}\n  ours   {found}")
    if "--keep" in FLAGS:
        print(folder)
    sys.exit(bool(missing or added or other or bad_heads))


main()
