"""blackbox against Debian's prometheus-blackbox-exporter: both read the same blackbox.yml, both are asked for /probe of the same local servers
(http, https with a CA of our own, redirects, patterns, tcp dialogues with STARTTLS, dns over udp, tcp and TLS, gRPC's health service, icmp),
and give the same series and values. Durations differ, of course, and families that are newer than the peer are named. Run by hand:
    pip install grpcio grpcio-health-checking
    [AGENT=...] python3 benches/peers/blackbox.py
icmp needs root or net.ipv4.ping_group_range."""

import http.server
import os
import re
import socket
import ssl
import struct
import subprocess
import sys
import tempfile
import threading
import time
import urllib.error
import urllib.parse
import urllib.request
from concurrent import futures

import grpc
from grpc_health.v1 import health, health_pb2, health_pb2_grpc

from agent import AGENT, free_port

PEER = os.environ.get("BLACKBOX_EXPORTER", "prometheus-blackbox-exporter")
folder = tempfile.mkdtemp()
# Newer than Debian's 0.23.
NEWER = {"probe_tls_cipher_info", "probe_failed_due_to_bytes", "probe_timeout_seconds"}
NEWER_LABELS = re.compile(r',serialnumber="[^"]*"')
# What the peer of that age still shows of a connection that it never had.
OLDER = {("tcp", "probe_failed_due_to_regex"), ("grpc", "probe_ssl_earliest_cert_expiry")}
MOVING = re.compile("duration_seconds|lookup_time|probe_timeout")

# The peer forgets that a call which failed went over TLS.
FORGOTTEN = re.compile("probe_grpc_ssl|probe_ssl_|probe_tls_")


def openssl(*args):
    subprocess.run(["openssl", *args], cwd=folder, check=True, capture_output=True)


openssl("req", "-x509", "-newkey", "rsa:2048", "-nodes", "-keyout", "ca.key", "-out", "ca.pem", "-days", "30", "-subj", "/CN=Test CA/O=Example, Inc.")
openssl("req", "-newkey", "rsa:2048", "-nodes", "-keyout", "s.key", "-out", "s.csr", "-subj", "/C=DE/O=Example/CN=localhost")
with open(f"{folder}/ext", "w") as f:
    f.write("subjectAltName=DNS:localhost,DNS:other.example,IP:127.0.0.1\n")
openssl("x509", "-req", "-in", "s.csr", "-CA", "ca.pem", "-CAkey", "ca.key", "-set_serial", "0x00abcdef12", "-days", "10", "-extfile", "ext", "-out", "s.pem")


class Web(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def do_GET(self):
        self.rfile.read(int(self.headers.get("Content-Length", 0)))
        code, headers, body = 200, {}, b"hello world\n"
        if self.path.startswith("/redirect"):
            n = int(self.path.rsplit("/", 1)[1])
            code, headers, body = 302, {"Location": f"/redirect/{n - 1}" if n > 1 else "/end"}, b"moved"
        elif self.path == "/404":
            code, body = 404, b"none"
        elif self.path == "/empty":
            code, body = 204, b""
        elif self.path == "/modified":
            headers = {"Last-Modified": "Wed, 21 Oct 2015 07:28:00 GMT"}
        elif self.path == "/login":
            code = 200 if self.headers.get("Authorization") == "Basic dXNlcjpwYXNz" else 401
        elif self.path == "/host":
            code = 200 if self.headers.get("Host") == "vhost.example.com" else 400
        elif self.path == "/slow":
            time.sleep(3)
        self.send_response(code)
        for name, value in headers.items():
            self.send_header(name, value)
        if code != 204:
            self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    do_POST = do_GET

    def log_message(self, *_):
        pass


def web(tls):
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Web)
    if tls:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(f"{folder}/s.pem", f"{folder}/s.key")
        server.socket = context.wrap_socket(server.socket, server_side=True)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    return server.server_address[1]


def tls_server():
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(f"{folder}/s.pem", f"{folder}/s.key")
    return context


def serve(talk):
    """Gives every connection to `talk`; the port."""
    listener = socket.create_server(("127.0.0.1", 0))

    def one(connection):
        try:
            with connection:
                talk(connection)
        except OSError:
            pass  # Whoever probes may hang up.

    def run():
        while True:
            connection, _ = listener.accept()
            threading.Thread(target=one, args=(connection,), daemon=True).start()

    threading.Thread(target=run, daemon=True).start()
    return listener.getsockname()[1]


def mail(connection):
    """A mail server of a few lines, which turns to TLS when asked to."""
    context = tls_server()
    connection.sendall(b"220 mail.example.com ESMTP test\r\n")
    is_tls = False
    while True:
        line = b""
        while not line.endswith(b"\n"):
            piece = connection.recv(1)
            if not piece:
                return
            line += piece
        if line.startswith(b"EHLO"):
            connection.sendall(b"250-hello\r\n250-" + (b"AUTH PLAIN" if is_tls else b"STARTTLS") + b"\r\n250 OK\r\n")
        elif line.startswith(b"STARTTLS"):
            connection.sendall(b"220 go ahead\r\n")
            connection, is_tls = context.wrap_socket(connection, server_side=True), True
        elif line.startswith(b"BROKEN"):
            connection.sendall(b"220 go ahead\r\nno handshake\r\n")
        elif line.startswith(b"QUIT"):
            connection.sendall(b"221 bye\r\n")
            return


def dns_answer(question):
    end = question.index(b"\0", 12) + 5
    kind = struct.unpack(">H", question[end - 4 : end - 2])[0]
    name = b"\xc0\x0c"
    record = lambda kind, data: name + struct.pack(">HHIH", kind, 1, 60, len(data)) + data
    if kind == 6:
        records = [record(6, b"\x02ns\xc0\x0c\x04mail\xc0\x0c" + struct.pack(">IIIII", 2026, 1, 2, 3, 4))]
    elif kind == 16:
        records = []
    else:
        records = [record(1, bytes([127, 0, 0, n])) for n in (1, 2)]
    code = 3 if kind == 16 else 0
    head = question[:2] + struct.pack(">HHHHH", 0x8180 | code, 1, len(records), 0, 0)
    return head + question[12:end] + b"".join(records)


def dns_stream(connection):
    head = connection.recv(2, *([] if isinstance(connection, ssl.SSLSocket) else [socket.MSG_WAITALL]))
    while len(head) == 2:
        question = b""
        while len(question) < struct.unpack(">H", head)[0]:
            question += connection.recv(4096)
        answer = dns_answer(question)
        connection.sendall(struct.pack(">H", len(answer)) + answer)
        head = connection.recv(2)


def dns():
    port = serve(dns_stream)
    udp = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    udp.bind(("127.0.0.1", port))

    def datagrams():
        while True:
            question, caller = udp.recvfrom(4096)
            udp.sendto(dns_answer(question), caller)

    threading.Thread(target=datagrams, daemon=True).start()
    return port


def dns_over_tls(connection):
    with tls_server().wrap_socket(connection, server_side=True) as encrypted:
        dns_stream(encrypted)


def grpc_server(with_health, encrypted):
    """A gRPC server; the port."""
    server = grpc.server(futures.ThreadPoolExecutor(max_workers=4))
    if with_health:
        servicer = health.HealthServicer()
        status = health_pb2.HealthCheckResponse
        for name, value in [("", status.SERVING), ("up", status.SERVING), ("down", status.NOT_SERVING), ("odd", status.UNKNOWN)]:
            servicer.set(name, value)
        health_pb2_grpc.add_HealthServicer_to_server(servicer, server)
    if encrypted:
        pair = [open(f"{folder}/s.{kind}", "rb").read() for kind in ("key", "pem")]
        port = server.add_secure_port("127.0.0.1:0", grpc.ssl_server_credentials([tuple(pair)]))
    else:
        port = server.add_insecure_port("127.0.0.1:0")
    server.start()
    servers.append(server)
    return port


servers = []
calls, calls_tls, calls_bare = grpc_server(True, False), grpc_server(True, True), grpc_server(False, False)
dot = serve(dns_over_tls)
plain, tls, post_office, names, dead = web(False), web(True), serve(mail), dns(), free_port()
CONFIG = f"""
modules:
  http_2xx: {{prober: http, timeout: 2s}}
  http_ip4: {{prober: http, http: {{preferred_ip_protocol: ip4, ip_protocol_fallback: false}}}}
  http_ip6_only: {{prober: http, http: {{ip_protocol_fallback: false}}}}
  no_redirects: {{prober: http, http: {{follow_redirects: false, valid_status_codes: [302]}}}}
  body_good: {{prober: http, http: {{fail_if_body_not_matches_regexp: ["h.llo"]}}}}
  body_bad: {{prober: http, http: {{fail_if_body_matches_regexp: ["world"]}}}}
  header_missing: {{prober: http, http: {{fail_if_header_not_matches: [{{header: X-None, regexp: ".*"}}]}}}}
  header_good: {{prober: http, http: {{fail_if_header_matches: [{{header: Server, regexp: "nginx"}}]}}}}
  login: {{prober: http, http: {{basic_auth: {{username: user, password: pass}}}}}}
  host: {{prober: http, http: {{headers: {{Host: vhost.example.com}}}}}}
  post: {{prober: http, http: {{method: POST, body: "abc", fail_if_not_ssl: true}}}}
  version: {{prober: http, http: {{valid_http_versions: ["HTTP/2.0"]}}}}
  own_ca: {{prober: http, http: {{tls_config: {{ca_file: {folder}/ca.pem}}}}}}
  insecure: {{prober: http, http: {{tls_config: {{insecure_skip_verify: true}}, fail_if_ssl: true}}}}
  tcp: {{prober: tcp}}
  tcp_tls: {{prober: tcp, tcp: {{tls: true, tls_config: {{ca_file: {folder}/ca.pem}}}}}}
  smtp:
    prober: tcp
    timeout: 2s
    tcp:
      query_response:
        - expect: "^220 ([^ ]+) ESMTP (.+)$"
          send: "EHLO ${{1}}\\r"
        - expect: "^250-STARTTLS"
        - send: "QUIT\\r"
  smtp_bad: {{prober: tcp, timeout: 1s, tcp: {{query_response: [{{expect: "^220"}}, {{expect: "^never"}}]}}}}
  icmp: {{prober: icmp, timeout: 2s}}
  dns_a: {{prober: dns, dns: {{query_name: example.com, query_type: A, validate_answer_rrs: {{fail_if_not_matches_regexp: ["example.com.\\\\t60\\\\tIN\\\\tA\\\\t127.0.0.[12]"]}}}}}}
  dns_bad: {{prober: dns, dns: {{query_name: example.com, query_type: A, validate_answer_rrs: {{fail_if_matches_regexp: ["127.0.0.2"]}}}}}}
  dns_soa: {{prober: dns, dns: {{query_name: example.com, query_type: SOA, transport_protocol: tcp, validate_answer_rrs: {{fail_if_none_matches_regexp: ["ns.example.com. mail.example.com. 2026 1 2 3 4"]}}}}}}
  dns_txt: {{prober: dns, dns: {{query_name: example.com, query_type: TXT}}}}
  dns_nxdomain: {{prober: dns, dns: {{query_name: example.com, query_type: TXT, valid_rcodes: [NXDOMAIN]}}}}
  smtp_starttls:
    prober: tcp
    timeout: 2s
    tcp:
      query_response: &dialogue
        - expect: "^220 ([^ ]+) ESMTP (.+)$"
          send: "EHLO prober\\r"
        - expect: "^250[ -]STARTTLS"
        - expect: "^250 "
          send: "STARTTLS\\r"
        - expect: "^220"
          starttls: true
        - send: "EHLO prober\\r"
        - expect: "^250[ -]AUTH (.+)$"
        - expect: "^250 "
          send: "QUIT\\r"
        - expect: "^221"
      tls_config: {{ca_file: {folder}/ca.pem, server_name: localhost}}
  smtp_starttls_stranger: {{prober: tcp, timeout: 2s, tcp: {{query_response: *dialogue}}}}
  smtp_starttls_name: {{prober: tcp, timeout: 2s, tcp: {{query_response: *dialogue, tls_config: {{ca_file: {folder}/ca.pem, server_name: wrong.example}}}}}}
  smtp_starttls_broken: {{prober: tcp, timeout: 2s, tcp: {{query_response: [{{expect: "^220", send: "BROKEN\\r"}}, {{expect: "^220", starttls: true}}, {{send: "EHLO x\\r"}}]}}}}
  dot: {{prober: dns, dns: {{query_name: example.com, query_type: A, transport_protocol: tcp, dns_over_tls: true, tls_config: {{ca_file: {folder}/ca.pem}},
    validate_answer_rrs: {{fail_if_not_matches_regexp: ["A\\t127.0.0.[12]"]}}}}}}
  dot_soa: {{prober: dns, dns: {{query_name: example.com, query_type: SOA, transport_protocol: tcp, dns_over_tls: true, tls_config: {{ca_file: {folder}/ca.pem}}}}}}
  dot_stranger: {{prober: dns, timeout: 2s, dns: {{query_name: example.com, query_type: A, transport_protocol: tcp, dns_over_tls: true}}}}
  grpc: {{prober: grpc, timeout: 2s, grpc: {{}}}}
  grpc_up: {{prober: grpc, timeout: 2s, grpc: {{service: up}}}}
  grpc_down: {{prober: grpc, timeout: 2s, grpc: {{service: down}}}}
  grpc_odd: {{prober: grpc, timeout: 2s, grpc: {{service: odd}}}}
  grpc_none: {{prober: grpc, timeout: 2s, grpc: {{service: none}}}}
  grpc_tls: {{prober: grpc, timeout: 2s, grpc: {{tls: true, tls_config: {{ca_file: {folder}/ca.pem}}}}}}
  grpc_tls_none: {{prober: grpc, timeout: 2s, grpc: {{service: none, tls: true, tls_config: {{ca_file: {folder}/ca.pem}}}}}}
  grpc_tls_stranger: {{prober: grpc, timeout: 2s, grpc: {{tls: true}}}}
"""
here, there = f"http://127.0.0.1:{plain}", f"https://localhost:{tls}"
PROBES = [
    ("http_2xx", here + "/"), ("http_2xx", f"127.0.0.1:{plain}"), ("http_2xx", here + "/404"), ("http_2xx", here + "/empty"),
    ("http_2xx", here + "/modified"), ("http_2xx", here + "/redirect/3"), ("http_2xx", here + "/redirect/12"), ("http_2xx", here + "/slow"),
    ("http_2xx", f"http://127.0.0.1:{dead}/"), ("http_2xx", there + "/"), ("http_2xx", "http://no.such.host.invalid/"),
    ("http_ip4", here + "/"), ("http_ip6_only", here + "/"), ("no_redirects", here + "/redirect/1"), ("body_good", here + "/"), ("body_bad", here + "/"),
    ("header_missing", here + "/"), ("header_good", here + "/"), ("login", here + "/login"), ("host", here + "/host"), ("post", here + "/"), ("version", here + "/"),
    ("own_ca", there + "/"), ("insecure", there + "/"), ("tcp", f"127.0.0.1:{plain}"), ("tcp", f"127.0.0.1:{dead}"), ("tcp", "127.0.0.1"),
    ("tcp_tls", f"localhost:{tls}"), ("smtp", f"127.0.0.1:{post_office}"), ("smtp_bad", f"127.0.0.1:{post_office}"), ("icmp", "127.0.0.1"), ("icmp", "::1"),
    ("dns_a", f"127.0.0.1:{names}"), ("dns_bad", f"127.0.0.1:{names}"), ("dns_soa", f"127.0.0.1:{names}"), ("dns_txt", f"127.0.0.1:{names}"),
    ("dns_nxdomain", f"127.0.0.1:{names}"), ("smtp_starttls", f"127.0.0.1:{post_office}"),
    ("smtp_starttls_stranger", f"localhost:{post_office}"), ("smtp_starttls_name", f"localhost:{post_office}"), ("smtp_starttls_broken", f"localhost:{post_office}"),
    ("dot", f"localhost:{dot}"), ("dot_soa", f"127.0.0.1:{dot}"), ("dot_stranger", f"localhost:{dot}"), ("dot", f"127.0.0.1:{names}"), ("dot", f"127.0.0.1:{dead}"),
    ("grpc", f"127.0.0.1:{dead}"), ("grpc", f"127.0.0.1:{calls}"), ("grpc_up", f"http://localhost:{calls}"), ("grpc_down", f"localhost:{calls}"),
    ("grpc_odd", f"localhost:{calls}"), ("grpc_none", f"localhost:{calls}"), ("grpc", f"localhost:{calls_bare}"), ("grpc", f"127.0.0.1:{calls_tls}"),
    ("grpc_tls", f"localhost:{calls_tls}"), ("grpc_tls", f"127.0.0.1:{calls}"), ("grpc_tls_none", f"localhost:{calls_tls}"), ("grpc_tls_stranger", f"localhost:{calls_tls}"), ("nothing", "x"), ("http_2xx", ""),
]
with open(f"{folder}/blackbox.yml", "w") as f:
    f.write(CONFIG)
ours, theirs = free_port(), free_port()
with open(f"{folder}/agent.conf", "w") as f:
    f.write(f"[INPUT]\n    Name blackbox\n    Tag t\n    Config_File {folder}/blackbox.yml\n    Listen 127.0.0.1:{ours}\n    Targets http_2xx {here}/\n    Scrape_Interval 1\n[OUTPUT]\n    Name stdout\n    Match *\n")
programs = [
    subprocess.Popen([PEER, f"--config.file={folder}/blackbox.yml", f"--web.listen-address=127.0.0.1:{theirs}"], stderr=open(f"{folder}/peer.log", "w")),
    subprocess.Popen([AGENT, "-c", f"{folder}/agent.conf"], stdout=open(f"{folder}/out", "w"), stderr=open(f"{folder}/agent.log", "w")),
]
time.sleep(3)


def probe(port, module, target):
    url = f"http://127.0.0.1:{port}/probe?" + urllib.parse.urlencode({"module": module, "target": target})
    request = urllib.request.Request(url, headers={"X-Prometheus-Scrape-Timeout-Seconds": "5"})
    try:
        page = urllib.request.urlopen(request, timeout=10).read().decode()
    except urllib.error.HTTPError as error:
        return {"status": error.code}, {}
    samples, described = {}, {}
    for line in page.splitlines():
        if line.startswith("# "):
            described.setdefault(line.split(" ")[2], []).append(line)
        elif line:
            name, value = line.rsplit(" ", 1)
            name = NEWER_LABELS.sub("", name)
            samples[name] = float(value)
    return samples, described


failed = 0
newer, older = set(), set()
try:
    for module, target in PROBES:
        forgets = module == "grpc_tls_none"
        (a, described_a), (b, described_b) = probe(ours, module, target), probe(theirs, module, target)
        name = lambda key: key.split("{")[0]
        lines = []
        for key in sorted(set(a) | set(b)):
            if forgets and FORGOTTEN.match(key):
                continue
            if key in a and key in b:
                if a[key] != b[key] and not MOVING.search(key):
                    lines.append(f"{key}: {a[key]} here, {b[key]} there")
            elif name(key) in NEWER and key in a:
                newer.add(name(key))
            elif key in b and (module.split("_")[0], name(key)) in OLDER:
                older.add(name(key))
            else:
                lines.append(f"{key} {a.get(key, b.get(key))} only {'here' if key in a else 'there'}")
        for key in set(described_a) & set(described_b):
            if sorted(described_a[key]) != sorted(described_b[key]):
                lines.append(f"{described_a[key]} here, {described_b[key]} there")
        failed += bool(lines)
        print(("FAIL" if lines else "ok  "), module, target, f"{len(a)} series, success {a.get('probe_success')}")
        for line in lines:
            print("     ", line)
    print(f"{len(PROBES)} probes, {failed} differ; newer here: {', '.join(sorted(newer))}; older there: {', '.join(sorted(older))}")
    pushed = open(f"{folder}/out").read()
    print("on schedule:", pushed.count("probe_success"), "samples of probe_success")
finally:
    for program in programs:
        program.terminate()
        program.wait()
print(open(f"{folder}/agent.log").read()[-1500:])
sys.exit(failed > 0)
