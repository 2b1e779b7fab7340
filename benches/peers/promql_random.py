"""Random PromQL beside Prometheus: the same samples, with gaps, resets, NaN, Inf, ends of series and classic histograms, are written to both; made-up
expressions, some of them damaged, are asked of both at one time and over steps; values to 1e-9, labels and errors must be equal. What Prometheus 3 does
otherwise than 2.42 is not made up, asked in the words of both, or excused by a rule (OTHERWISE, excused). A seed gives the same expressions again. By hand:
    PROMETHEUS=prometheus AGGREGATOR=target/debug/kansoku-aggregator python3 benches/peers/promql_random.py [SEED [COUNT]]
"""
import json, math, random, re, struct, sys, urllib.parse

from prometheus_wire import Server, ask, double, integer, labels, raw, snappy, varint, zigzag

SEED = int(sys.argv[1]) if len(sys.argv) > 1 else 1
COUNT = int(sys.argv[2]) if len(sys.argv) > 2 else 2000
# Ranges of 2.42 have their start as well: samples lie at milliseconds that end with 3, ends of ranges at 0 and 7.
BEGIN = 1_700_000_000_003
T = BEGIN // 1000 + 1500.007
STALE = struct.unpack("<d", struct.pack("<Q", 0x7FF0000000000002))[0]
FORM = {"Content-Type": "application/x-www-form-urlencoded"}
pick = random.Random(SEED)
one = pick.choice


def write(name, values, step=15_000, jitter=0, **more):
    samples, at = b"", BEGIN
    for value in values:
        if value is not None:
            samples += raw(2, double(1, value) + integer(2, at + 10 * pick.randrange(jitter + 1)))
        at += step
    return raw(1, labels({"__name__": name, **more}) + samples)


def natives(name, n, seed, **more):
    """A native histogram whose counts only grow, but for one reset."""
    samples, p = b"", [seed, 1, 0]
    for k in range(n):
        p = [0, 0, 0] if k == 120 else [v + pick.randrange(3) for v in p]
        deltas = [b - a for a, b in zip([0] + p, p)]
        message = integer(1, sum(p) + k % 120) + double(3, 1.5 * sum(p)) + integer(4, zigzag(2)) + double(5, 2.0 ** -128) + integer(6, k % 120)
        message += raw(11, integer(1, zigzag(-2)) + integer(2, 1)) + raw(11, integer(1, zigzag(3)) + integer(2, 2)) + raw(12, b"".join(varint(zigzag(d)) for d in deltas))
        samples += raw(4, message + integer(15, BEGIN + k * 15_000))
    return raw(1, labels({"__name__": name, **more}) + samples)


def data():
    out, n = [], 200
    for i, (job, zone) in enumerate([("a", "x"), ("a", "y"), ("b", "x"), ("b", "y"), ("c", "")]):
        who = {"job": job, "instance": f"i{i}"} | ({"zone": zone} if zone else {})
        # Far from zero, where 3.x extrapolates otherwise.
        total, counter = 1e6, []
        for k in range(n):
            total = 1e6 if pick.random() < 0.03 else total + pick.randrange(20)
            counter.append(None if pick.random() < 0.1 or i == 3 and 40 < k < 80 else STALE if pick.random() < 0.02 else total)
        out.append(write("req_total", counter, jitter=90, **who))
        out.append(write("named", [1.0 * k for k in range(n)], path=['a"b\\c\n', "é日本", "%d😀", "\x7f\t", "<nil>"][i], **who))
        out.append(natives("nat", n, i, **who))
        out.append(write("temp", [None if pick.random() < 0.05 else pick.gauss(10, 30) for _ in range(n)], **who))
        out.append(write("small", [float(pick.randrange(-3, 4)) for _ in range(n)], step=20_000, **who))
        out.append(write("odd", [one([math.nan, 0.0, -0.0, 1e-300, 1.0, None, STALE]) for _ in range(n)], **who))
        out.append(write("infinite", [one([math.inf, -math.inf, 1e300, 1.0, None]) for _ in range(n)], **who))
        buckets = [1e6 * b for b in (1, 2, 3, 4)]
        rows = []
        for k in range(n):
            for b in range(4):
                buckets[b] += sum(pick.randrange(3) for _ in range(b + 1)) if b == 0 else 0
            for b in range(1, 4):
                buckets[b] = max(buckets[b] + pick.randrange(4), buckets[b - 1])
            rows.append(list(buckets))
        for b, le in enumerate(["0.1", "0.5", "2", "+Inf"]):
            out.append(write("dur_bucket", [r[b] for r in rows], le=le, **who))
    out.append(write("one", [1.0] * n))
    out.append(write("info", [1.0] * n, job="a", version="v1"))
    out.append(write("info", [1.0] * n, job="b", version="v2"))
    out.append(write("sparse", [float(k) if k % 25 == 0 else None for k in range(n)], job="a"))
    out.append(write("times", [BEGIN / 1000 + k * 86_400 * 17.3 for k in range(n)], job="a"))
    return snappy(b"".join(out))


METRICS = ["req_total", "temp", "small", "odd", "infinite", "one", "info", "sparse", "dur_bucket", "times", "none", "named", "{__name__=~\"te.*|small\"}", "{job=\"a\", __name__=\"named\"}"]
LABELS = ["job", "instance", "zone", "le", "none", "version", "path"]
WINDOWS = ["30s", "1m", "2m", "5m", "10m", "1m30s", "90s", "45s", "1h"]


def matchers():
    return "{" + ", ".join(one([lambda: f'job="{one("abc")}"', lambda: f'job!="{one("abc")}"', lambda: f'job=~"{one(["a|b", "[ab]", ".*", ".+", "", "a"])}"', lambda: f'zone!~"{one(["x", ".+", "x|y", ""])}"', lambda: f'zone="{one(["", "x"])}"',
                                 lambda: f'instance=~"i[{pick.randrange(3)}-4]"', lambda: 'le="+Inf"', lambda: 'none=""'])() for _ in range(pick.randrange(3))) + "}"


def selector():
    name = one(METRICS + ["req_total", "temp", "temp", "small"])
    return one([name, name, name + matchers()]) if name[0] != "{" else name


def modified(text):
    offset = one([""] * 6 + [" offset 1m", " offset -2m", " offset 7m"])
    at = one([""] * 8 + [f" @ {BEGIN // 1000 + pick.randrange(1500)}.007", " @ end()", " @ start()"])
    return text + one([offset + at, at + offset])


def vector_of(depth):
    return expression(depth - 1) if depth > 0 and pick.random() < 0.6 else modified(selector())


def range_vector(depth):
    # Of infinities 3.x makes other sums over time; what they are as a date is the machine's choice.
    if depth > 0 and pick.random() < 0.15:
        return modified(f"({expression(depth - 1)})[{one(['2m', '5m', '10m'])}:{one(['', '30s', '1m', '45s'])}]")
    name = selector()
    return modified(f"{name.replace('infinite', 'temp')}[{one(WINDOWS)}]")


def scalar(depth=0):
    return one([lambda: one(["0", "1", "2", "-1", "0.5", "1e3", "NaN", "Inf", "-Inf", "0x10", "1e-3", "3.7"]), lambda: one(["time()", "pi()"]), lambda: f"scalar({vector_of(0)})", lambda: f"({scalar()} {one(['+', '-', '*', '/', '%', '^'])} {scalar()})"])()


def names(most=2):
    return ", ".join(pick.sample(LABELS, pick.randrange(most + 1)))


OVER_TIME = ["avg_over_time", "min_over_time", "max_over_time", "sum_over_time", "count_over_time", "stddev_over_time", "stdvar_over_time", "last_over_time", "present_over_time", "absent_over_time", "rate", "irate", "increase", "delta", "idelta", "deriv", "changes", "resets"]
OF_VECTOR = ["abs", "ceil", "floor", "exp", "sqrt", "ln", "log2", "log10", "sgn", "absent", "timestamp", "sin", "cos", "tan", "asin", "acos", "atan", "sinh", "cosh", "tanh", "asinh", "acosh", "atanh", "deg", "rad", "round", "sort", "sort_desc"]


DATES = ["minute", "hour", "day_of_week", "day_of_month", "day_of_year", "days_in_month", "month", "year"]


def buckets(depth):
    return one([f"rate(dur_bucket[{one(WINDOWS)}])", "sum by (le) (rate(dur_bucket[5m]))", "sum by (le, job) (rate(dur_bucket[5m]))", "dur_bucket", vector_of(depth)])


def expression(depth=3):
    kind = pick.random()
    if depth <= 0:
        return modified(selector()) if kind < 0.8 else f"vector({scalar()})"
    if kind < 0.2:
        return f"{one(OVER_TIME)}({range_vector(depth - 1)})"
    if kind < 0.26:
        return one([f"quantile_over_time({scalar()}, {range_vector(depth - 1)})", f"predict_linear({range_vector(depth - 1)}, {scalar()})", f"round({vector_of(depth)}, {scalar()})", f"clamp({vector_of(depth)}, {scalar()}, {scalar()})", f"clamp_min({vector_of(depth)}, {scalar()})",
                    f"clamp_max({vector_of(depth)}, {scalar()})", f"histogram_quantile({scalar()}, {buckets(depth)})"])
    if kind < 0.27:
        native = one(["nat", "nat offset 1m", f"rate(nat[{one(WINDOWS)}])", f"increase(nat[{one(WINDOWS)}])", f"sum by ({one(['job', 'zone', ''])}) (nat)", "nat + nat", "sum(rate(nat[5m]))"])
        return one([f"histogram_count({native})", f"histogram_sum({native})", f"count({native})", f"{one(['count_over_time', 'present_over_time'])}(nat[{one(WINDOWS)}])", f"group by (job) ({native})", native])
    if kind < 0.29:
        return f"{one(DATES)}({one(['times', 'times offset 1m', 'small', '', f'vector({pick.randrange(2 * 10**9)})'])})"
    if kind < 0.38:
        return f"{one(OF_VECTOR)}({vector_of(depth)})"
    if kind < 0.62:
        name = one(["sum", "avg", "min", "max", "count", "stddev", "stdvar", "group", "quantile", "count_values", "topk", "bottomk"])
        group = one(["", f" by ({names()})", f" without ({names()})"])
        argument = {"quantile": f"{scalar()}, ", "count_values": f'"{one(["v", "job"])}", ', "topk": f"{one(['1', '2', '3', '0', '1.9'])}, ", "bottomk": f"{one(['1', '2', '100'])}, "}.get(name, "")
        # Which of equal values is kept is anybody's choice.
        inner = "temp" + one(["", matchers()]) if "topk" in name or "bottomk" in name else vector_of(depth)
        # Of one value that is NaN or infinite 2.42 makes 0.
        inner = modified(one(["temp", "req_total", "small"]) + one(["", matchers()])) if name in ("stddev", "stdvar") else inner
        return one([f"{name}{group} ({argument}{inner})", f"{name}({argument}{inner}){group}"])
    if kind < 0.68:
        return one([f'label_replace({vector_of(depth)}, "{one(["new", "job", "zone"])}", "{one(["$1", "x-$1-$2", "", "c", "${1}y", "$none"])}", "{one(LABELS)}", "{one(["(.*)", "(.)(.*)", "a", "", "i(?P<none>[0-9])"])}")',
                    f'label_join({vector_of(depth)}, "{one(["new", "job"])}", "{one(["", "-", "é"])}", "{one(LABELS)}", "{one(LABELS)}")'])
    if kind < 0.94:
        operator = one(["+", "-", "*", "/", "%", "^", "atan2", "==", "!=", "<", ">", "<=", ">=", "== bool", "< bool", "!= bool", "and", "or", "unless"])
        is_set = operator in ("and", "or", "unless")
        match = one(["", "", "", f" on ({names()})", f" ignoring ({names()})"])
        if match and not is_set and pick.random() < 0.5:
            match += f" group_{one(['left', 'right'])}" + one(["", "()", "(version)", "(zone)"])
        left, right = vector_of(depth), vector_of(depth)
        if not is_set and not match and pick.random() < 0.4:
            right = scalar()
            left, right = one([(left, right), (right, left)])
        if operator == "atan2":
            # 2.42 keeps the name.
            return f"sum by ({names()}) ({left} {operator}{match} {right})"
        return f"({left} {operator}{match} {right})" if pick.random() < 0.6 else f"{left} {operator}{match} {right}"
    return one([f"-({vector_of(depth)})", f"({vector_of(depth)})", f"+{modified(selector())}", scalar(), f"vector({scalar()})", f"scalar({vector_of(depth)})"])


# What is asked of neither, as 2.42 and 3 differ there.
OTHERWISE = [re.compile(text, re.S) for text in [
    # 3 looks for zero far from it, too.
    r"(rate|increase)\((?!req_total|dur_bucket|nat)",
    # 2.42 leaves out all steps but the first ones of a window that `@` fixes.
    r"(predict_linear|quantile_over_time)\(.*@",
    # Both drop the offset, and find nothing where it keeps the samples from being read.
    r"timestamp\([^()]*(offset[^()]*@|@[^()]*offset)",
    # Both forget `@` in the parameter, and take the first step's where the vector is fixed.
    r"\b(quantile|topk|bottomk)\b.*@",
    # The last bits of one decide all of the other.
    r"\b(sin|cos|tan|rad)\b.*\^|\^.*\b(sin|cos|tan)\b",
    r"%.*\^|\^.*%",
    r"(acos|acosh|atanh)\(\w+\(",
    # Histograms beside numbers: 3 has more rules for them.
    r"(^-|count_values).*\bnat\b|nat\b.*(==|!=|[<>%^]|quantile|\bm(in|ax)\b|topk|bottomk|_over_time|[^_]sum\W|avg|round|offset -)|(==|!=|[<>%^]|quantile|\bm(in|ax)\b|topk|bottomk|avg|[^_]sum\W).*\bnat\b",
    # 2.42 takes the fixed window for a point in parentheses.
    r"^\(+[^()]*\][^()]*@",
]]


def made():
    while True:
        query = expression()
        if not any(rule.search(query) for rule in OTHERWISE):
            return damaged(query) if pick.random() < 0.1 else query


def damaged(query):
    """With a word left out, doubled, exchanged or put in."""
    words = re.findall(r'\w+|"[^"]*"|\s+|.', query)
    at = pick.randrange(len(words))
    word = one(["(", ")", "]", "{", "}", ",", "@", "by", "on", "offset", "sum", "rate", "1", "-", '"', "=", "=~", "bool", "\\", "é", "$", ":", "group_left", "#", "and", "`y`", "\"\\q\""])
    words[at:at + 1] = one([[], [words[at]] * 2, [word], [word, words[at]], [words[at], " ", word]])
    return "".join(words)


def near(a, b):
    if isinstance(a, dict) and isinstance(b, dict):
        return a.keys() == b.keys() and all(near(a[k], b[k]) for k in a)
    if isinstance(a, (list, tuple)) and isinstance(b, (list, tuple)):
        return len(a) == len(b) and all(map(near, a, b))
    if isinstance(a, str) and isinstance(b, str) and a != b:
        try:
            x, y = float(a), float(b)
        except ValueError:
            return False
        return x == y or abs(x - y) <= 1e-9 * max(abs(x), abs(y), 1) or math.isnan(x) and math.isnan(y)
    return a == b


def send(server, path, pairs):
    status, _, body = ask(f"{server.url}/api/v1/{path}", urllib.parse.urlencode(pairs).encode(), FORM, "POST")
    return status, json.loads(body)


def flat(answer, ordered):
    """Values by labels and time, and for `sort` their order."""
    status, answer = answer
    data = answer.get("data", {})
    if "error" in answer:
        # 3 names the parameter that is wrong.
        return {"": (status, answer["errorType"], answer["error"].removeprefix('invalid parameter "query": '))}
    if data["resultType"] in ("scalar", "string"):
        return {"": (status, data)}
    out = {"": (status, data["resultType"])}
    for item in data["result"]:
        # Numbers of count_values may differ in their last digits.
        key = json.dumps({k: f"{float(v):.9g}" if re.fullmatch(r"-?\d+\.\d{9,}", v) else v for k, v in item["metric"].items()}, sort_keys=True)
        for kind in ("value", "histogram"):
            for at, value in item.get(kind + "s") or ([item[kind]] if kind in item else []):
                out[key, at] = value
    if ordered:
        out["order"] = [item["value"][1] for item in data["result"] if "value" in item]
    return out


def excused(query, want, got):
    """Whether what differs is what 3 does otherwise."""
    theirs, ours = want[""], got[""]
    if len(theirs) == len(ours) == 3:
        # Any of several conflicts may be found first; 2.42 does not tell who is who.
        conflict = re.compile("many-to-many|multiple matches|duplicate series|same labelset")
        if theirs[:2] == ours[:2] and conflict.search(theirs[2]) and conflict.search(ours[2]):
            return True
        # Durations are numbers, in brackets and behind `offset` may be sums; 3 takes quoted names.
        if theirs[1] == ours[1] == "bad_data" and re.search("duration|offset|subquery|expected number|unexpected colon|left bracket|trailing commas", theirs[2] + ours[2]):
            return True
        return theirs[2].replace('"<Item 57385>" ', "") == ours[2] or "`" in query and re.search("grouping opts|label matching", theirs[2])
    # A duration is a number.
    if len(theirs) == 3 and "unexpected duration" in theirs[2]:
        return True
    if "`" in query and len(theirs) == 3 and "grouping opts" in theirs[2]:
        return True
    if re.search(r"offset *[-+(][-+(]|\[[^\]]*[-+*/(]", query):
        return True
    # `.` of 3 stands for a newline, too; 2.42 loses histograms in labels' functions, and keeps names behind atan2 and timestamp.
    if "label_replace" in query and "named" in query or "nat" in query and re.search("label_", query):
        return True
    if len(ours) == 3 and "same labelset" in ours[2] and re.search("atan2|timestamp", query):
        return True
    # 3 finds several matches also among those that a comparison leaves out.
    return len(ours) == 3 and "multiple matches" in ours[2] and re.search("[<>=]", query)


def main():
    theirs, ours = Server(False), Server(True, ["--storage.retention.time=0"], test_mode=False)
    body = data()
    for server in (theirs, ours):
        server.write(body)
    differing, n, good = 0, 0, 0
    try:
        for _ in range(COUNT):
            query = made()
            asked = [("query", [("query", query), ("time", T)]), ("query_range", [("query", query), ("start", T - 600), ("end", T + 300), ("step", one([15, 60, 37, 300]))])]
            for path, pairs in asked:
                ordered = query.startswith("sort") and path == "query"
                a, b = (flat(send(server, path, pairs), ordered) for server in (theirs, ours))
                n, good = n + 1, good + (len(a) > 1)
                keys = [k for k in {**a, **b} if not near(a.get(k), b.get(k))]
                if not keys or excused(query, a, b):
                    continue
                differing += 1
                print(f"--- {path} {query}  step {pairs[-1][1]}: {len(keys)} of {len(a)}")
                for key in keys[:2]:
                    print(f"    {key}\n      theirs {str(a.get(key))[:300]}\n      ours   {str(b.get(key))[:300]}")
    finally:
        theirs.stop()
        ours.stop()
    print(f"seed {SEED}: {n} requests, {good} with values, {differing} differ")
    return not differing


if __name__ == "__main__":
    sys.exit(not main())
