#!/usr/bin/env python3
"""The opentelemetry output into servers made of OpenTelemetry's own protobuf definitions: gRPC (grpcio) and HTTP.

Every request is parsed with the official messages; an unknown field, a wrong method or a missing token fails. The gRPC
server answers UNAVAILABLE, RESOURCE_EXHAUSTED and ABORTED now and then, tokens expire and are taken back, and the agent is
killed: every line must arrive, and none may change. By hand:
    pip install grpcio opentelemetry-proto
    python3 benches/peers/opentelemetry_output.py target/debug/kansoku-agent
"""
import base64, collections, concurrent.futures, gzip, http.server, json, os, subprocess, sys, tempfile, threading, time, urllib.parse

import grpc
from google.protobuf.unknown_fields import UnknownFieldSet
from opentelemetry.proto.collector.logs.v1 import logs_service_pb2 as logs_pb, logs_service_pb2_grpc as logs_grpc
from opentelemetry.proto.collector.metrics.v1 import metrics_service_pb2 as metrics_pb, metrics_service_pb2_grpc as metrics_grpc

AGENT, N_FILES, N_LINES = sys.argv[1], 3, 4000
folder = tempfile.mkdtemp()


def unknown(message):
    """Fields that the official definitions do not know, anywhere in a message."""
    if len(UnknownFieldSet(message)):
        return True
    for field, value in message.ListFields():
        if field.message_type and not field.message_type.GetOptions().map_entry:
            repeated = not hasattr(value, "ListFields")
            if any(unknown(m) for m in (value if repeated else [value])):
                return True
    return False


class Got:
    def __init__(self):
        self.lines, self.metrics, self.mistakes, self.n, self.tokens, self.n_tokens = collections.Counter(), {}, [], 0, set(), 0
        self.lock = threading.Lock()

    def logs(self, request):
        if unknown(request):
            self.mistakes.append("unknown fields")
        for resource in request.resource_logs:
            for scope in resource.scope_logs:
                for record in scope.log_records:
                    attributes = {a.key: a.value.string_value for a in record.attributes}
                    if not record.time_unix_nano or attributes.get("file") is None:
                        self.mistakes.append(f"record without time or attribute: {record}")
                    self.lines[attributes.get("file"), record.body.string_value] += 1

    def take_metrics(self, request):
        if unknown(request):
            self.mistakes.append("unknown fields")
        for resource in request.resource_metrics:
            for scope in resource.scope_metrics:
                for metric in scope.metrics:
                    kind = metric.WhichOneof("data")
                    points = getattr(metric, kind).data_points
                    if not points or any(not p.time_unix_nano for p in points):
                        self.mistakes.append(f"points without time: {metric.name}")
                    if kind == "sum" and not metric.sum.is_monotonic:
                        self.mistakes.append(f"{metric.name} is a sum that may fall")
                    self.metrics[metric.name] = kind

    def is_allowed(self, header):
        return not self.n_tokens or header.removeprefix("Bearer ") in self.tokens


def grpc_server(got, with_token):
    class Logs(logs_grpc.LogsServiceServicer):
        def Export(self, request, context):
            with got.lock:
                got.n += 1
                metadata = dict(context.invocation_metadata())
                if with_token and not got.is_allowed(metadata.get("authorization", "")):
                    context.abort(grpc.StatusCode.UNAUTHENTICATED, "no token")
                if got.n % 7 in (2, 4, 6):
                    code = {2: grpc.StatusCode.UNAVAILABLE, 4: grpc.StatusCode.RESOURCE_EXHAUSTED, 6: grpc.StatusCode.ABORTED}[got.n % 7]
                    context.abort(code, "busy")
                got.logs(request)
            return logs_pb.ExportLogsServiceResponse()

    class Metrics(metrics_grpc.MetricsServiceServicer):
        def Export(self, request, context):
            with got.lock:
                got.take_metrics(request)
            return metrics_pb.ExportMetricsServiceResponse()

    server = grpc.server(concurrent.futures.ThreadPoolExecutor(8))
    logs_grpc.add_LogsServiceServicer_to_server(Logs(), server)
    metrics_grpc.add_MetricsServiceServicer_to_server(Metrics(), server)
    return server


class Handler(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def log_message(self, *_):
        pass

    def answer(self, status, body=b"", kind="application/x-protobuf"):
        self.send_response(status)
        self.send_header("Content-Type", kind)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def do_POST(self):
        got = self.server.got
        body = self.rfile.read(int(self.headers["Content-Length"]))
        with got.lock:
            if self.path == "/token":
                form = dict(urllib.parse.parse_qsl(body.decode()))
                kind, _, login = self.headers.get("Authorization", "").partition(" ")
                if kind == "Basic":
                    names = base64.b64decode(login).decode().partition(":")[::2]
                    form |= dict(zip(("client_id", "client_secret"), map(urllib.parse.unquote_plus, names)))
                if form.get("grant_type") != "client_credentials" or form.get("client_id") != "me" or form.get("client_secret") != "se&cret":
                    got.mistakes.append(f"token request {form}")
                    return self.answer(401)
                got.n_tokens += 1
                got.tokens = {f"token-{got.n_tokens}"}
                return self.answer(200, json.dumps({"access_token": f"token-{got.n_tokens}", "token_type": "Bearer", "expires_in": 3}).encode(), "application/json")
            got.n += 1
            if not got.is_allowed(self.headers.get("Authorization", "")):
                return self.answer(401)
            if got.n % 9 == 0:
                got.tokens = set()  # taken back
                return self.answer(401)
            if got.n % 5 == 0:
                return self.answer(503)
            if self.headers.get("Content-Type") != "application/x-protobuf":
                got.mistakes.append(f"content type {self.headers.get('Content-Type')}")
            if self.headers.get("Content-Encoding") == "gzip":
                body = gzip.decompress(body)
            if self.path == "/v1/logs":
                request = logs_pb.ExportLogsServiceRequest()
                request.ParseFromString(body)
                got.logs(request)
            elif self.path == "/v1/metrics":
                request = metrics_pb.ExportMetricsServiceRequest()
                request.ParseFromString(body)
                got.take_metrics(request)
            else:
                got.mistakes.append(self.path)
        self.answer(200)


def http_server(got):
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.got = got
    threading.Thread(target=server.serve_forever, daemon=True).start()
    return server


def certificate():
    subprocess.run(["openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "9", "-subj", "/CN=localhost", "-addext", "subjectAltName=DNS:localhost",
                    "-keyout", f"{folder}/key", "-out", f"{folder}/crt"], check=True, capture_output=True)


certificate()
failed = False
for name, kind, options in [
        ("grpc", "grpc", "    grpc on\n    http2 force\n"), ("grpc gzip", "grpc", "    grpc on\n    http2 force\n    compress gzip\n"),
        ("grpc tls oauth2", "tls", f"    grpc on\n    http2 on\n    tls on\n    tls.ca_file {folder}/crt\n    OAUTH"),
        ("http", "http", ""), ("http gzip oauth2", "http", "    compress gzip\n    oauth2.auth_method post\n    OAUTH")]:
    got, here = Got(), f"{folder}/{name.replace(' ', '-')}"
    os.makedirs(here)
    web = http_server(got)
    port = web.server_address[1]
    oauth = f"    oauth2.enable on\n    oauth2.token_url http://127.0.0.1:{port}/token\n    oauth2.client_id me\n    oauth2.client_secret se&cret\n    oauth2.refresh_skew_seconds 1\n"
    server = None
    if kind != "http":
        server = grpc_server(got, "oauth2" in name)
        if kind == "tls":
            pair = (open(f"{folder}/key", "rb").read(), open(f"{folder}/crt", "rb").read())
            port = server.add_secure_port("localhost:0", grpc.ssl_server_credentials([pair]))
        else:
            port = server.add_insecure_port("127.0.0.1:0")
        server.start()
    with open(f"{here}/agent.conf", "w") as out:
        out.write(f"""[SERVICE]
    flush 0.2
    scheduler.base 1
    scheduler.cap 1
[INPUT]
    name tail
    path {here}/*.log
    path_key file
    read_from_head on
    db {here}/tail.db
    refresh_interval 1
[INPUT]
    name node_exporter_metrics
    scrape_interval 1
[OUTPUT]
    name opentelemetry
    match *
    host {'localhost' if kind == 'tls' else '127.0.0.1'}
    port {port}
{options.replace('    OAUTH', oauth)}""")
    agent = None
    for step in range(8):
        for f in range(N_FILES):
            with open(f"{here}/{f}.log", "a") as out:
                out.writelines(f"line {n} caf\u00e9\n" for n in range(step * N_LINES // 8, (step + 1) * N_LINES // 8))
        if step in (0, 3, 5):
            if agent:
                agent.kill()
                agent.wait()
            agent = subprocess.Popen([AGENT, "-c", f"{here}/agent.conf"], stdout=subprocess.DEVNULL, stderr=open(f"{here}/err", "a"))
        time.sleep(0.5)
    wanted = {(f"{here}/{f}.log", f"line {n} caf\u00e9") for f in range(N_FILES) for n in range(N_LINES)}
    end = time.time() + 60
    while time.time() < end and (len(got.lines) < len(wanted) or not got.metrics):
        time.sleep(0.3)
    agent.terminate()
    agent.wait(20)
    if server:
        server.stop(1)
    web.shutdown()
    lost, strange = wanted - set(got.lines), set(got.lines) - wanted
    kinds = collections.Counter(got.metrics.values())
    print(f"{name}: {len(wanted)} lines, lost {len(lost)}, changed {len(strange)}, repeated {sum(got.lines.values()) - len(got.lines)} after 2 kills; "
          f"metrics {dict(kinds)}, tokens {got.n_tokens}, mistakes {got.mistakes[:3]}", flush=True)
    bad = bool(lost or strange or got.mistakes or not got.metrics or ("oauth2" in name and not got.n_tokens))
    failed |= bad
    if bad:
        print(open(f"{here}/err").read()[-1500:], list(strange)[:2])
sys.exit(failed)
