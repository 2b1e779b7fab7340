"""What comes in beside Loki: pushes that are good, wrong or too large, and the `service_name` and `detected_level` that both add by default. Status and text must be equal; of what is no push at all the status. By hand:
    LOKI=loki AGGREGATOR=target/debug/kansoku-aggregator python3 benches/peers/loki_intake.py
"""
import json, sys, time

from loki_pair import aggregator, loki

NOW, DAY = time.time_ns(), 86400


def at(seconds=0):
    return str(NOW + seconds * 10**9)


def stream(labels, *values):
    return {"stream": labels, "values": list(values)}


A = {"app": "a"}
PUSHES = {
    "good": [stream(A, [at(), "x"])],
    "no streams": [],
    "no entries": [stream(A)],
    "no labels": [stream({}, [at(), "x"])],
    "too old": [stream(A, [at(-30 * DAY), "x"])],
    "too new": [stream(A, [at(7200), "x"])],
    "one of three good": [stream(A, [at(-30 * DAY), "x"], [at(7200), "x"], [at(), "kept"])],
    "the same reason twice": [stream(A, [str(10**18), "x"], [str(10**18), "y"])],
    "too long": [stream(A, [at(), "x" * 300_000])],
    "too many labels": [stream({f"l{i:02}": "v" for i in range(20)}, [at(), "x"])],
    "too many pairs": [stream(A, [at(), "x", {f"m{i}": "v" for i in range(200)}])],
    "too large pairs": [stream(A, [at(), "x", {"m": "v" * 70_000}])],
    "an empty label": [stream({"app": "a", "e": ""}, [at(), "x"])],
}
# Only the status is compared: the words are those of each program's reader.
WRONG = {
    "a name that is none": [stream({"a.b": "x"}, [at(), "x"])],
    "a long name": [stream({"n" * 1100: "x"}, [at(), "x"])],
    "a long value": [stream({"app": "v" * 5000}, [at(), "x"])],
    "a number as metadata": [stream(A, [at(), "x", {"a": 1}])],
    "a number as time": [stream(A, [NOW, "x"])],
    "a word as time": [stream(A, ["now", "x"])],
    "a number as line": [stream(A, [at(), 5])],
}
BODIES = [(b"{", "application/json"), (b"[]", "application/json"), (b"x", ""), (b"x", "text/plain"), (b"\xff\xff", "application/x-protobuf")]
LINES = [
    "", "nothing", "ERROR: it broke", "[warning] careful, an error", "misc:error and so", "an error, then a warning", "terror informs", "(info) x", "err", "errors", "2026 FATAL|x", "x level=warn y", "msg=error LEVEL=Inf",
    "level=strange then error", "lvl=debug severity=err", 'level="warn"', '{"level":"WRN","msg":"error"}', ' {"msg":"x","log":{"severity":"critical"}} ', '{"a":{"b":{"level":"error"}},"x":1}', '{"a":{"b":{"level":"trace"}},"msg":"an error here"}',
    '{"list":[{"level":"debug"}]}', '{"level":3,"x":null,"severity":"error"}', '{"level":"5","msg":"info"}', '{"a": broken, "level":"fatal"}', '{"msg":"x"}', "level=warn=x", "a=b level", "severity=INFORMATION", '{"Level":"DBG"}{"x":1}', "=level=info",
    '"level"="debug"', 'x=1 lvl="trc" y', '{"level":"info"', "warning!", "|info|", "tracer debugging critical",
]
METADATA = [{"level": "INFO"}, {"severity": "x", "level": "Warn"}, {"severity_text": "Notice"}, *({"severity_number": n} for n in ("17", "0", "99", "x")), {"detected_level": "WRN"}, {"detected_level": "odd"}, {"lvl.x": "y"}, {"a.b": "1", "9x": "2"}]
STREAMS = [
    stream({"app": "lines"}, *([at(i - 100), line] for i, line in enumerate(LINES))),
    stream({"job": "metadata"}, *([at(i - 100), "error x", pairs] for i, pairs in enumerate(METADATA))),
    stream({"Level": "WARNING", "x": "y"}, [at(-100), "error"]),
    stream({"level": "odd", "container": "c", "job": "j"}, [at(-100), "error"]),
    stream({"service_name": "own", "app": "own"}, [at(-100), "info"]),
]


def stored(peer):
    found = set()
    for selector in ('{app=~"lines|own"}', '{job=~".+"}', '{x="y"}'):
        status, text = peer.ask("/loki/api/v1/query_range", query=selector, limit=1000, start=at(-300), end=at(-50))
        assert status == 200, text
        for result in json.loads(text)["data"]["result"]:
            found |= {(entry[1], json.dumps(result["stream"], sort_keys=True)) for entry in result["values"]}
    return found


def main():
    limits = "limits: {max_labels: 15, max_label_value_length: 2048, max_ahead: 10m}\n"
    peers, n, failed = [loki(), aggregator(limits, "--storage.retention.time=7d")], 0, 0

    def judge(name, answers):
        nonlocal n, failed
        n += 1
        if answers[0] != answers[1]:
            failed += 1
            print(f"--- {name}")
            for peer, answer in zip(peers, answers):
                print(f"{peer.name:8} {str(answer)[:400]}")

    try:
        for name, streams in PUSHES.items():
            judge(name, [peer.push(streams) for peer in peers])
        for name, streams in WRONG.items():
            judge(name, [peer.push(streams)[0] for peer in peers])
        for body, kind in BODIES:
            judge(f"{body} as {kind}", [peer.ask("/loki/api/v1/push", body, {"Content-Type": kind}, "POST")[0] for peer in peers])
        judge("levels", [peer.push(STREAMS)[0] for peer in peers])
        time.sleep(1)
        found = [stored(peer) for peer in peers]
        n += len(found[0])
        for peer, own, others in zip(peers, found, reversed(found)):
            for entry in sorted(own - others):
                failed += 1
                print(f"--- only {peer.name}: {entry}")
    finally:
        for peer in peers:
            peer.stop()
    print(f"{n} compared, {failed} differ")
    sys.exit(failed > 0)


if __name__ == "__main__":
    main()
