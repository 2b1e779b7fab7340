#!/usr/bin/env python3
"""The inputs statsd and elasticsearch beside Fluent Bit's: the same datagrams and requests, records and answers compared.

By hand:
    pip install elasticsearch
    FLUENT_BIT=fluent-bit python3 benches/peers/statsd_elasticsearch_input.py
"""
import http.client, json, os, re, socket, sys, time

from agent import Agent, free_port

FLUENT_BIT = os.environ["FLUENT_BIT"]
failed = False


def check(name, got, wanted, known=None):
    global failed
    same = got == wanted
    failed |= not same
    print(("ok  " if same else "FAIL"), name, "" if same else f"\n   ours  {got}\n   peer  {wanted}", flush=True)


def without_time(records):
    return [{k: v for k, v in r.items() if k != "date"} for r in records]


# Timers: Fluent Bit writes type, bucket and value of one twice in a record, which JSON readers take apart differently.
DATAGRAMS = ["c:1|c", "a.b.c:2.5|c|@0.1", "g:3|g", "g:-3|g\ng:+4.5|g\n", "s:user 1|s", "c:x|c", "x:1|z", "c:1|c|#tag:v", "many:1|c\nmany:2|c\n\nmany:3|c"]


def statsd(program, metrics):
    port = free_port()
    output = "    Name stdout\n    Match *\n" + ("" if metrics else "    Format json_lines\n")
    a = Agent(f"[INPUT]\n    Name statsd\n    Listen 127.0.0.1\n    Port {port}\n    Metrics {'on' if metrics else 'off'}\n", output, program)
    time.sleep(0.5)
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as s:
        for text in DATAGRAMS:
            s.sendto(text.encode(), ("127.0.0.1", port))
            time.sleep(0.05)
    if metrics:
        time.sleep(2.5)
        found = re.findall(r"^\S+Z (.*)$", a.raw(), re.M)
    else:
        found = without_time(a.lines(12, 4))
    a.stop()
    return found


for metrics in (False, True):
    check(f"statsd {'metrics' if metrics else 'records'}", statsd(None, metrics), statsd(FLUENT_BIT, metrics))

BODIES = [
    '{"index":{"_index":"a"}}\n{"n":1,"t":"x.y"}\n',
    '{"create":{"_index":"a","_id":"1"}}\n{"n":2,"o":{"p":[1,2]}}\n{"index":{}}\n{"n":3}\n',
    '{"index":{}}\n{"n":4}\n{"delete":{"_id":"1"}}\n{"create":{}}\n{"n":5}\n',
    '{"update":{"_id":"1"}}\n{"doc":{"n":6}}\n{"index":{}}\n{"n":7}\n',
    '{"index":{}}\n{"n":8}\n{"strange":{}}\n{"n":9}\n',
    '{"delete":{"_id":"1"}}\n',
]
REQUESTS = [("HEAD", "/"), ("GET", "/other"), ("PUT", "/index"), ("POST", "/index/_bulk"), ("DELETE", "/x")]


def ask(port, method, path, body=None, kind="application/x-ndjson"):
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=5)
    try:
        connection.request(method, path, body, {"Content-Type": kind} if body else {})
        answer = connection.getresponse()
        return answer.status, answer.read().decode()
    except (OSError, http.client.HTTPException) as e:
        return 0, type(e).__name__
    finally:
        connection.close()


def elasticsearch(program, more=""):
    port = free_port()
    a = Agent(f"[INPUT]\n    Name elasticsearch\n    Listen 127.0.0.1\n    Port {port}\n{more}", program=program)
    time.sleep(0.5)
    answers = [ask(port, "POST", "/_bulk", body) for body in BODIES] + [ask(port, method, path) for method, path in REQUESTS]
    answers.append(ask(port, "POST", "/_bulk", "{}", "text/plain"))
    found = without_time(a.lines(7, 5))
    told = [ask(port, "GET", path) for path in ("/", "/_nodes/http")]
    return a, port, answers, found, told


for more in ("", "    Meta_Key meta\n    Version 8.9.1\n    Hostname here\n"):
    ours, port, our_answers, our_records, our_told = elasticsearch(None, more)
    theirs, _, their_answers, their_records, their_told = elasticsearch(FLUENT_BIT, more)
    theirs.stop()
    for what, a, b in zip([*BODIES, *REQUESTS, "text/plain"], our_answers, their_answers):
        check(f"answer to {what!r}", a, b)
    check("records", our_records, their_records)
    version, nodes = [json.loads(text) for _, text in our_told]
    check("version", version["version"]["number"], json.loads(their_told[0][1])["version"]["number"])
    host = lambda told: next(iter(json.loads(told[1][1])["nodes"].values()))["http"]["publish_address"].split(":")[0]
    check("nodes", host(our_told), host(their_told))
    if not more:
        from elasticsearch import Elasticsearch, helpers
        client = Elasticsearch(f"http://127.0.0.1:{port}")
        done, errors = helpers.bulk(client, ({"_op_type": "create", "_index": "x", "n": n} for n in range(2000)), raise_on_error=False)
        records = ours.lines(7 + 2000)
        check("Elasticsearch's own client", (done, errors, sorted(r["n"] for r in records if "create" in r["@meta"] and r["@meta"]["create"].get("_index") == "x")),
              (2000, [], list(range(2000))))
    ours.stop()
sys.exit(failed)
