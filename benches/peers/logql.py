"""LogQL and Loki's API beside Loki: the same lines are pushed to both, each query of logql_queries.txt is asked of both over the HTTP API; status, and data or error text must be equal (docs/aggregator.md tells what is not). By hand:
    LOKI=loki AGGREGATOR=target/debug/kansoku-aggregator python3 benches/peers/logql.py [WORD in the query]
"""
import concurrent.futures, json, os, re, sys, time, urllib.parse

from loki_pair import aggregator, loki, ns

# As Loki has it by default; one configuration for both would hide what either does by itself.
OURS = "limits: {discover_service_name: [], discover_log_levels: false}\n"
THEIRS = "  discover_service_name: []\n  discover_log_levels: false\n"


def entry(at, line, **metadata):
    return [str(ns(at)), line, metadata] if metadata else [str(ns(at)), line]


def streams():
    """What is pushed: one stream for each kind of line."""
    api, web, nginx, numbers, meta = [], [], [], [], []
    levels = ["info", "warn", "error", "debug"]
    for i in range(120):
        at = i * 5
        api.append(entry(at, json.dumps({
            "level": levels[i % 4], "msg": f"request {i} done", "status": 200 + 100 * (i % 4), "took": f"{i * 7 % 90}ms", "size": f"{i * 3}KB",
            "user": {"name": f"u{i % 5}", "id": i % 7, "tags": ["a", f"t{i % 3}"]}, "ok": i % 2 == 0, "none": None, "ratio": i / 8, "path-name": f"/v1/{i % 6}", "empty": "",
        })))
        web.append(entry(at + 0.5, f'level={levels[i % 4]} caller=web.go:{i % 9} duration={i * 3 % 50}.5ms bytes={i * 1.5}KiB msg="served \\"page {i}\\"" ip=10.0.{i % 3}.{i} empty= flag'))
        nginx.append(entry(at + 1, f'192.168.{i % 4}.{i} - - [10/Oct/2024:13:55:36 +0000] "GET /p{i % 5}?q={i} HTTP/1.1" {200 + i % 3 * 100} {i * 17}'))
        numbers.append(entry(at + 2, f"v={(i * 37) % 101 - 20} c={i % 40} s={i}"))
        meta.append(entry(at + 3, f"line {i} of meta", trace_id=f"t{i % 6}", pod=f"p{i % 2}", n=str(i)))
    packed = [entry(i * 20, json.dumps({"container": f"c{i % 3}", "_entry": f"packed line {i}", "x": i})) for i in range(20)]
    packed.append(entry(401, "not packed"))
    odd = [
        entry(10, ""), entry(11, "   "), entry(12, "\u001b[31mred\u001b[0m plain \u001b[1;32mgreen\u001b[0m"), entry(13, "caf\u00e9 \u65e5\u672c \U0001f600"),
        entry(14, '{"broken": '), entry(15, '[1,2,3]'), entry(16, '"text"'), entry(17, '{"a":{"b":{"c":"deep"}},"a_b":"flat"}'), entry(18, 'a=1 a=2 b="x'), entry(19, "=novalue key"),
        entry(20, "first\nsecond\tthird"), entry(21, '{"app":"shadow","env":"x","odd":"self"}'), entry(22, "app=shadow env=y"), entry(23, 'x="a\\nb" y=\'q\''), entry(24, "ERROR one"), entry(25, "error two"),
        entry(26, "ip 2001:db8::68 and 10.1.2.3"), entry(27, "ip 2001:db8::1"), entry(28, "10.1.2.0 10.1.3.9"), entry(29, '{"big":12345678901234567890,"f":1.50,"e":1e5,"t":true,"u":"\\u00e9\\n"}'),
        entry(30, '{"status":"nan","took":"5 apples","n":"0x10"}'), entry(31, "took=1d v=1_000 w=inf x=NaN"), entry(32, "same"), entry(32, "same time"), entry(33, '{"k":"v1"} tail'), entry(34, '{"":"empty","a b":"space","1x":"digit","k.l":"dot"}'),
    ]
    return [
        {"stream": {"app": "api", "env": "prod", "zone": "a"}, "values": api[:60]},
        {"stream": {"app": "api", "env": "prod", "zone": "b"}, "values": api[60:]},
        {"stream": {"app": "web", "env": "dev"}, "values": web},
        {"stream": {"app": "nginx", "env": "prod"}, "values": nginx},
        {"stream": {"app": "numbers"}, "values": numbers},
        {"stream": {"app": "meta", "env": "dev"}, "values": meta},
        {"stream": {"app": "packed"}, "values": packed},
        {"stream": {"app": "odd", "quote": 'a"b\\c'}, "values": odd},
    ]


def sorted_data(text, is_sorted):
    """An answer in which order means nothing where Loki promises none."""
    try:
        answer = json.loads(text)
    except ValueError:
        # Of many series with an error any may be told.
        return re.sub(r" for series: .*", "", text, flags=re.S)
    data = answer.get("data") if isinstance(answer, dict) else None
    for key in ("detectedLabels", "fields"):
        if isinstance(answer, dict) and isinstance(answer.get(key), list):
            answer[key].sort(key=lambda item: item["label"])
    if isinstance(answer, dict) and isinstance(answer.get("values"), list):
        answer["values"].sort()
    if isinstance(data, list) and data and isinstance(data[0], dict):
        data.sort(key=lambda item: json.dumps(item, sort_keys=True))
    if isinstance(data, dict):
        data.pop("stats", None)
        if isinstance(data.get("result"), list):
            for item in data["result"]:
                # Entries of one time come in either order.
                if isinstance(item, dict) and "stream" in item:
                    times = [v[0] for v in item["values"]]
                    item["values"] = sorted(item["values"], key=lambda v: (times.index(v[0]), v[1]))
            if not is_sorted:
                data["result"].sort(key=lambda item: json.dumps(item.get("stream", item.get("metric")) if isinstance(item, dict) else item, sort_keys=True))
    return rounded(answer)


def rounded(value):
    """Numbers to 12 digits: sums in another order differ in the last."""
    if isinstance(value, list):
        # A sample: time and number.
        if len(value) == 2 and isinstance(value[0], (int, float)) and isinstance(value[1], str):
            try:
                return [round(value[0], 3), f"{float(value[1]):.12g}"]
            except ValueError:
                pass
        return [rounded(v) for v in value]
    if isinstance(value, dict):
        return {k: rounded(v) for k, v in value.items()}
    return value


def requests(line):
    """The requests that a line of the file stands for: kind, a space, and the rest."""
    kind, _, text = line.partition(" ")
    span = {"start": ns(0), "end": ns(600)}
    if kind == "log":
        yield "/loki/api/v1/query_range", {"query": text, "limit": 1000, "direction": "forward", **span}
        yield "/loki/api/v1/query_range", {"query": text, "limit": 7, **span}
    elif kind == "metric":
        yield "/loki/api/v1/query", {"query": text, "time": ns(600), "limit": 1000}
        yield "/loki/api/v1/query_range", {"query": text, "step": "60s", **span}
        # Steps lie on multiples of the step, whatever is asked for.
        yield "/loki/api/v1/query_range", {"query": text, "step": "120", "start": ns(70.3), "end": ns(501)}
    elif kind == "bad":
        yield "/loki/api/v1/query_range", {"query": text, **span}
    elif kind == "format":
        yield "/loki/api/v1/format_query", {"query": text}
    elif kind == "get":
        path, _, query = text.partition("?")
        query = re.sub(r"T([+-]?\d+)", lambda m: str(ns(int(m[1]))), query)
        yield path + ("?" + urllib.parse.quote(query, safe="=&%+") if query else ""), {}
    else:
        raise SystemExit(f"no such kind: {line}")


def shown(answers, width):
    """Both answers from shortly before where they part."""
    texts = [a[1] if isinstance(a[1], str) else json.dumps(a[1], sort_keys=True, ensure_ascii=False) for a in answers]
    at = max(0, len(os.path.commonprefix(texts)) - 60)
    return [f"{a[0]} {'...' if at else ''}{text[at:at + width]}" for a, text in zip(answers, texts)]


def compare(peers, line):
    """Texts of what differs, and how many requests there were."""
    is_known, line = line.startswith("~"), line.lstrip("~")
    told, asked = [], list(requests(line))
    is_sorted = line.startswith("metric sort")
    for path, parameters in asked:
        answers = [(status, sorted_data(text.strip(), is_sorted)) for status, text in (p.ask(path, **parameters) for p in peers)]
        if answers[0] != answers[1]:
            told.append(f"--- {line}  [{path.split('/')[-1][:60]} limit={parameters.get('limit')}]")
            told += [f"{peer.name:8} {text}" for peer, text in zip(peers, shown(answers, int(os.environ.get("WIDTH", "250"))))]
    if is_known:
        told = [] if told else [f"--- {line} is the same, which was not known", "", ""]
    return told, len(asked)


def main():
    word = sys.argv[1] if len(sys.argv) > 1 else ""
    here = os.path.dirname(os.path.abspath(__file__))
    lines = [l.rstrip("\n") for l in open(os.path.join(here, "logql_queries.txt"))]
    lines = [l for l in lines if l and not l.startswith("#") and word in l]
    peers = [loki(THEIRS), aggregator(OURS)]
    try:
        for peer in peers:
            status, text = peer.push(streams())
            assert status == 204, f"{peer.name}: {status} {text}"
        time.sleep(1)
        with concurrent.futures.ThreadPoolExecutor(4) as pool:
            found = list(pool.map(lambda line: compare(peers, line), lines))
    finally:
        for peer in peers:
            peer.stop()
    differing = [told for told, _ in found if told]
    print("\n".join(text for told in differing for text in told))
    print(f"{len(lines)} queries, {sum(n for _, n in found)} requests, {sum(len(told) // 3 for told in differing)} differ")
    sys.exit(bool(differing))


if __name__ == "__main__":
    main()
