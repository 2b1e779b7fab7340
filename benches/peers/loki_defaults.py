"""Beside Loki as both are by default, with `service_name` and `detected_level` added: the queries of logql_queries.txt and those below, after pushes in JSON, protobuf and OTLP; rules, deletes and the tail. By hand:
    LOKI=loki AGGREGATOR=target/debug/kansoku-aggregator python3 benches/peers/loki_defaults.py [WORD in the query]
"""
import base64, concurrent.futures, json, os, socket, struct, sys, time, urllib.parse

from logql import compare, shown, streams
from loki_pair import BEGIN, aggregator, loki, ns

# As logql_queries.txt; what begins with ~ is known to differ.
QUERIES = """
log {service_name="api"}
log {service_name=~".+"} | detected_level="error"
log {service_name="unknown_service"}
log {app="api"} | detected_level=~"warn|error" | json | status > 300
log {app="web"} | detected_level!="info" | logfmt level
log {app="web"} | drop detected_level
log {app="web"} | keep detected_level
log {app="meta"} | detected_level="unknown" | trace_id="t1"
log {app="api"} | line_format "{{.detected_level}} {{.service_name}}"
log {app="api"} | label_format detected_level=zone
log {kind="otlp"}
log {service_name="shop"}
log {service_name="shop"} | detected_level="error"
log {service_name="shop"} | trace_id!=""
log {service_name="shop"} | attr_key="1"
log {service_name="shop"} | json
log {via="protobuf"}
log {via="protobuf"} | m="1" | detected_level="warn"
log {via="protobuf"} | logfmt
metric sum by (detected_level) (count_over_time({app=~"api|web"}[1m]))
metric sum by (service_name) (rate({app=~".+"}[5m]))
metric sum by (service_name, detected_level) (bytes_over_time({service_name=~".+"}[5m]))
metric count_over_time({app="web"}[5m])
metric count_over_time({service_name="shop"}[10m])
metric sum(count_over_time({app="web"} | detected_level="error" [5m]))
metric sum by (detected_level) (sum_over_time({app="web"} | logfmt | unwrap duration(duration) [2m]))
metric sum without (detected_level) (count_over_time({app="web"}[5m]))
metric topk(2, sum by (detected_level) (count_over_time({app="odd"}[10m])))
get /loki/api/v1/labels?start=T0&end=T600
get /loki/api/v1/labels?query={app="api"}&start=T0&end=T600
get /loki/api/v1/label/service_name/values?start=T0&end=T600
~get /loki/api/v1/label/detected_level/values?start=T0&end=T600
get /loki/api/v1/series?match[]={service_name=~"a.+"}&start=T0&end=T600
get /loki/api/v1/series?match[]={service_name="shop"}&start=T0&end=T600
get /loki/api/v1/detected_labels?start=T0&end=T600
get /loki/api/v1/detected_labels?query={app="api"}&start=T0&end=T600
get /loki/api/v1/detected_fields?query={app="api"}&start=T0&end=T600&line_limit=1000
get /loki/api/v1/detected_fields?query={app="web"}&start=T0&end=T600&line_limit=1000
get /loki/api/v1/detected_fields?query={app="meta"}&start=T0&end=T600&line_limit=1000
get /loki/api/v1/detected_fields?query={app="numbers"}|logfmt&start=T0&end=T600&line_limit=1000
get /loki/api/v1/detected_fields?query={service_name="shop"}&start=T0&end=T600&line_limit=1000
get /loki/api/v1/detected_fields?query={app="none"}&start=T0&end=T600
get /loki/api/v1/detected_fields?query={app&start=T0&end=T600
get /loki/api/v1/detected_field/level/values?query={app="web"}&start=T0&end=T600
get /loki/api/v1/detected_field/detected_level/values?query={app="web"}&start=T0&end=T600
get /loki/api/v1/detected_field/trace_id/values?query={app="meta"}&start=T0&end=T600
get /loki/api/v1/index/volume?query={service_name=~".+"}&start=T0&end=T600&targetLabels=service_name
get /loki/api/v1/index/volume?query={app=~".+"}&start=T0&end=T600&aggregateBy=labels
~get /loki/api/v1/index/volume?query={app=~"api|web"}&start=T0&end=T600
get /loki/api/v1/index/stats?query={app="none"}&start=T0&end=T600
get /loki/api/v1/format_query?query={service_name="a"}|detected_level="error"
get /loki/api/v1/index/stats?query={app&start=T0&end=T600
get /loki/api/v1/patterns?query={app="none"}&start=T0&end=T600
get /loki/api/v1/patterns?query={app&start=T0&end=T600
~get /prometheus/api/v1/rules
~get /prometheus/api/v1/alerts
"""


def varint(n):
    out = b""
    while n > 127:
        out, n = out + bytes([n & 127 | 128]), n >> 7
    return out + bytes([n])


def field(number, value):
    if isinstance(value, int):
        return varint(number << 3) + varint(value)
    value = value.encode() if isinstance(value, str) else value
    return varint(number << 3 | 2) + varint(len(value)) + value


def snappy(data):
    """Literals alone."""
    out = varint(len(data))
    for at in range(0, len(data), 60):
        piece = data[at : at + 60]
        out += bytes([(len(piece) - 1) << 2]) + piece
    return out


def protobuf():
    """A push as promtail sends it, with structured metadata."""
    entries = b""
    for i in range(30):
        at = ns(i * 10)
        time_of = field(1, at // 10**9) + field(2, at % 10**9)
        pair = field(1, "m") + field(2, str(i % 3))
        line = f"level={['warn', 'info', 'ERR'][i % 3]} n={i}" if i % 4 else f"plain {i} warning"
        entries += field(2, field(1, time_of) + field(2, line) + field(3, pair))
    return snappy(field(1, field(1, '{via="protobuf", container="c"}') + entries))


def otlp():
    """Log records with severities, attributes, trace ids and nested bodies."""
    def value(v):
        if isinstance(v, dict):
            return {"kvlistValue": {"values": [{"key": k, "value": value(w)} for k, w in v.items()]}}
        if isinstance(v, list):
            return {"arrayValue": {"values": [value(w) for w in v]}}
        return {"stringValue": v} if isinstance(v, str) else {"boolValue": v} if isinstance(v, bool) else {"intValue": str(v)} if isinstance(v, int) else {"doubleValue": v}

    def attributes(pairs):
        return [{"key": k, "value": value(v)} for k, v in pairs.items()]

    records = []
    for i in range(24):
        record = {"timeUnixNano": str(ns(i * 20)), "body": value(["text %d" % i, {"a": i, "b": {"c": "d"}}, ["x", i], i, 1.5, True][i % 6]), "attributes": attributes({"attr.key": i % 2, "list": ["a", 1], "nested": {"x": {"y": "z"}}})}
        if i % 3:
            record |= {"severityNumber": [1, 5, 9, 13, 17, 21][i % 6], "severityText": ["Trace", "", "Information", "WARN", "", "CRITICAL"][i % 6]}
        if i % 4 == 0:
            record |= {"traceId": "5b8efff798038103d269b633813fc60c", "spanId": "eee19b7ec3c1b174", "flags": 1}
        if i % 5 == 0:
            record |= {"observedTimeUnixNano": str(ns(i * 20 + 1)), "droppedAttributesCount": 2}
        records.append(record)
    scope = {"name": "lib", "version": "1.2", "attributes": attributes({"scope.x": "y"})}
    resource = {"attributes": attributes({"service.name": "shop", "service.namespace": "ns", "k8s.pod.name": "p-1", "process.pid": 7, "kind": "otlp"})}
    return {"resourceLogs": [{"resource": resource, "scopeLogs": [{"scope": scope, "logRecords": records}]}, {"resource": {"attributes": attributes({"kind": "otlp"})}, "scopeLogs": [{"logRecords": records[:3]}]}]}


def tail(peer, query, streams_of):
    """What a tail gives of lines that come while it is open: {(labels, line)}."""
    host, port = peer.base.split("//")[1].split(":")
    sock = socket.create_connection((host, int(port)), 20)
    path = "/loki/api/v1/tail?" + urllib.parse.urlencode({"query": query, "start": time.time_ns() - 10**9})
    key = base64.b64encode(os.urandom(16)).decode()
    sock.sendall(f"GET {path} HTTP/1.1\r\nHost: x\r\nConnection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\nSec-WebSocket-Key: {key}\r\n\r\n".encode())
    data = b""
    while b"\r\n\r\n" not in data:
        data += sock.recv(4096)
    head, data = data.split(b"\r\n\r\n", 1)
    if b" 101 " not in head.split(b"\r\n")[0]:
        return head.split(b"\r\n")[0].decode()
    time.sleep(2)
    wanted = streams_of()
    status, text = peer.push(wanted)
    assert status == 204, text
    n, found, end = sum(len(s["values"]) for s in wanted), set(), time.time() + 30
    while len(found) < n and time.time() < end:
        if len(data) >= 2:
            length, at = data[1] & 127, 2
            if length == 126 and len(data) >= 4:
                length, at = struct.unpack(">H", data[2:4])[0], 4
            elif length == 127 and len(data) >= 10:
                length, at = struct.unpack(">Q", data[2:10])[0], 10
            if len(data) >= at + length and (data[1] & 127) < 126 or at > 2 and len(data) >= at + length:
                opcode, message, data = data[0] & 15, data[at : at + length], data[at + length :]
                if opcode == 1:
                    for stream in json.loads(message).get("streams") or []:
                        found |= {(json.dumps(stream["stream"], sort_keys=True), v[1]) for v in stream["values"]}
                continue
        data += sock.recv(65536)
    sock.close()
    return sorted(found)


def volumes(peer, step):
    """Type, series and dates; the bytes are not the same (docs/aggregator.md)."""
    text = peer.ask("/loki/api/v1/index/volume_range", query='{app=~"web|numbers"}', start=ns(17), end=ns(600), step=f"{step}s")[1]
    data = json.loads(text)["data"]
    return data["resultType"], [(r["metric"], [v[0] for v in r["values"]] if "values" in r else r["value"][0]) for r in sorted(data["result"], key=str)]


def volume_metrics(peer):
    """The series of a volume by labels that not every stream has."""
    answers = [peer.ask("/loki/api/v1/index/volume", query='{app=~".+"}', start=ns(0), end=ns(600), targetLabels=labels, aggregateBy=by)[1] for labels in ("env", "env,zone", "none") for by in ("", "labels")]
    return [sorted(json.dumps(r["metric"], sort_keys=True) for r in json.loads(text)["data"]["result"]) for text in answers]


def tailed():
    now = time.time_ns()
    return [{"stream": {"app": "tailed", "x": str(n)}, "values": [[str(now + i), f"level=warn line {n} {i}", {"m": "v"}] for i in range(3)]} for n in range(2)]


def main():
    word = sys.argv[1] if len(sys.argv) > 1 else ""
    here = os.path.dirname(os.path.abspath(__file__))
    lines = QUERIES.splitlines()
    if "ALL" in os.environ:
        lines += [l.rstrip("\n") for l in open(os.path.join(here, "logql_queries.txt"))]
    lines = [l for l in lines if l and not l.startswith("#") and word in l]
    peers, failed, n = [loki("  query_timeout: 5m\n"), aggregator()], 0, 0

    def judge(name, answers):
        nonlocal failed, n
        n += 1
        if answers[0] != answers[1]:
            failed += 1
            print(f"--- {name}")
            for peer, text in zip(peers, shown([("", a) for a in answers], 400)):
                print(f"{peer.name:8} {text}")

    try:
        judge("push of JSON", [peer.push(streams())[0] for peer in peers])
        judge("push of protobuf", [peer.ask("/loki/api/v1/push", protobuf(), {"Content-Type": "application/x-protobuf"}, "POST")[0] for peer in peers])
        judge("push of OTLP", [peer.ask("/otlp/v1/logs", otlp(), method="POST")[0] in (200, 204) for peer in peers])
        time.sleep(1)
        with concurrent.futures.ThreadPoolExecutor(2) as pool:
            for told, asked in pool.map(lambda line: compare(peers, line), lines):
                n += asked
                failed += len(told) // 3
                if told:
                    print("\n".join(told))
        # Which numbers the statistics tell, not what they are.
        for path, parameters in [("query_range", {"query": '{app="api"}', "start": ns(0), "end": ns(600)}), ("query", {"query": 'rate({app="api"}[5m])', "time": ns(600)})]:
            keys = []
            for peer in peers:
                stats = json.loads(peer.ask(f"/loki/api/v1/{path}", **parameters)[1])["data"]["stats"]
                keys.append(sorted(f"{a}.{b}.{c}" if isinstance(stats[a][b], dict) else f"{a}.{b}" for a in stats for b in stats[a] for c in (stats[a][b] if isinstance(stats[a][b], dict) else [""])))
            judge(f"statistics of {path}", keys)
        for step in (60, 200, 240, 600, 1200):
            judge(f"volumes by {step} s", [volumes(peer, step) for peer in peers])
        judge("volumes by labels", [volume_metrics(peer) for peer in peers])
        judge("tail", [tail(peer, '{app="tailed"} | drop none', tailed) for peer in peers])
        judge("tail of a filter", [tail(peer, '{app="tailed"} | logfmt | level="warn"', tailed) for peer in peers])
        delete = {"query": '{app="web"} |= "page 1"', "start": BEGIN, "end": BEGIN + 600}
        for name, parameters in [("delete", delete), ("delete without a query", {"start": BEGIN}), ("delete without a start", {"query": '{app="web"}'}), ("delete with a wrong start", delete | {"start": "x"}), ("delete backwards", delete | {"start": BEGIN + 600, "end": BEGIN})]:
            judge(name, [[status, text.strip()] for status, text in (peer.ask("/loki/api/v1/delete", method="POST", **parameters) for peer in peers)])
        for query in ("{", 'rate({app="web"}[1m])'):
            judge(f"delete of {query}", [peer.ask("/loki/api/v1/delete", method="POST", **(delete | {"query": query}))[0] for peer in peers])
        judge("take back what is not there", [peer.ask("/loki/api/v1/delete", method="DELETE", request_id="none")[0] for peer in peers])
    finally:
        for peer in peers:
            peer.stop()
    print(f"{n} compared, {failed} differ")
    sys.exit(failed > 0)


if __name__ == "__main__":
    main()
