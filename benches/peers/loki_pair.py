"""What the scripts beside Loki share: Loki and the aggregator on free ports with the same lines, and their answers.

LOKI, LOGCLI and AGGREGATOR name the programs; without LOKI only the aggregator runs, and nothing is compared."""
import json, os, subprocess, tempfile, time, urllib.error, urllib.parse, urllib.request

from agent import ROOT, free_port

AGGREGATOR = os.path.abspath(os.environ.get("AGGREGATOR", os.path.join(ROOT, "target/debug/kansoku-aggregator")))
LOKI, LOGCLI = os.environ.get("LOKI"), os.environ.get("LOGCLI", "logcli")
# The last whole ten minutes before a quarter of an hour ago: within what both take, before what they cut off at now.
END = (int(time.time()) - 900) // 600 * 600
BEGIN = END - 600


def ns(seconds):
    """Seconds after BEGIN."""
    return BEGIN * 10**9 + round(seconds * 1000) * 10**6


class Program:
    def __init__(self, name, port, args, ready):
        self.name, self.base, self.folder = name, f"http://127.0.0.1:{port}", tempfile.mkdtemp()
        self.err = open(os.path.join(self.folder, "err"), "w+")
        self.process = subprocess.Popen(args(self.folder), stdout=self.err, stderr=self.err, cwd=self.folder)
        for _ in range(600):
            if self.ask(ready)[0] == 200:
                return
            assert self.process.poll() is None, open(self.err.name).read()[-3000:]
            time.sleep(0.2)
        raise SystemExit(f"{name} does not get ready: {open(self.err.name).read()[-3000:]}")

    def ask(self, path, body=None, headers=None, method=None, **parameters):
        """Status and text of the answer."""
        if parameters:
            path += "?" + urllib.parse.urlencode(parameters, doseq=True)
        if isinstance(body, (dict, list)):
            body, headers = json.dumps(body).encode(), {"Content-Type": "application/json"} | (headers or {})
        request = urllib.request.Request(self.base + path, body, headers or {}, method=method)
        try:
            with urllib.request.urlopen(request, timeout=60) as answer:
                return answer.status, answer.read().decode("utf-8", "replace")
        except urllib.error.HTTPError as error:
            return error.code, error.read().decode("utf-8", "replace")
        except OSError as error:
            return 0, str(error)

    def push(self, streams):
        return self.ask("/loki/api/v1/push", {"streams": streams})

    def stop(self):
        self.process.terminate()
        self.process.wait(60)


def aggregator(config="", *flags):
    port = free_port()

    def args(folder):
        path = os.path.join(folder, "kansoku.yaml")
        with open(path, "w") as f:
            f.write(config)
        return [AGGREGATOR, f"--web.listen-address=127.0.0.1:{port}", f"--storage.path={folder}/store", f"--config.file={path}", "--web.enable-admin-api", *flags]

    return Program("kansoku", port, args, "/-/ready")


def loki(limits=""):
    """Loki in one process with what it has off by default for an API turned on; `limits` are lines of limits_config."""
    port, grpc = free_port(), free_port()

    def args(folder):
        path = os.path.join(folder, "loki.yaml")
        with open(path, "w") as f:
            f.write(f"""auth_enabled: false
server: {{http_listen_address: 127.0.0.1, http_listen_port: {port}, grpc_listen_address: 127.0.0.1, grpc_listen_port: {grpc}, log_level: error}}
common:
  path_prefix: {folder}/loki
  replication_factor: 1
  instance_addr: 127.0.0.1
  ring: {{instance_addr: 127.0.0.1, kvstore: {{store: inmemory}}}}
  storage: {{filesystem: {{chunks_directory: {folder}/loki/chunks, rules_directory: {folder}/loki/rules}}}}
schema_config: {{configs: [{{from: 2020-01-01, store: tsdb, object_store: filesystem, schema: v13, index: {{prefix: i_, period: 24h}}}}]}}
compactor: {{retention_enabled: true, delete_request_store: filesystem, compaction_interval: 10s}}
pattern_ingester: {{enabled: true}}
ingester: {{lifecycler: {{min_ready_duration: 0s}}}}
frontend: {{encoding: protobuf}}
query_range: {{parallelise_shardable_queries: false}}
limits_config:
  allow_structured_metadata: true
  volume_enabled: true
  deletion_mode: filter-and-delete
{limits}
analytics: {{reporting_enabled: false}}
""")
        return [LOKI, f"-config.file={path}"]

    return Program("loki", port, args, "/ready")
