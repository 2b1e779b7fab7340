"""The same requests to Prometheus and to the aggregator, right and wrong ones, over the same samples: status, error and data
must be equal. What Prometheus 3 does otherwise than 2.42 stands in NEWER with its reason; of SHAPES only
the fields are compared, since the values are each program's own. Run by hand; prints what differs."""
import json, sys, urllib.parse

from prometheus_read import BEGIN, SERIES, STEP, histograms, floats
from prometheus_wire import Server, ask, integer, labels, raw, snappy

T = BEGIN // 1000 + 607  # between samples: ranges of 2.42 have their start as well
FORM = {"Content-Type": "application/x-www-form-urlencoded"}
INSTANT = """up
up{job="a"}
up{job=~"a|b"}
up{job!~"a.*",zone=""}
{__name__=~"chunk_(two|equal)"}
nothing
chunk_counter
chunk_counter[2m]
chunk_counter offset 5m
chunk_counter @ 1700000300
chunk_counter @ start()
chunk_counter offset -1m
rate(chunk_counter[5m])
irate(chunk_counter[5m])
increase(chunk_times[10m])
delta(chunk_random[10m])
idelta(chunk_random[10m])
deriv(chunk_random[10m])
predict_linear(chunk_counter[10m], 3600)
resets(chunk_times[10m])
changes(chunk_times[10m])
sum(up)
sum by (job) (up)
sum without (job) (up)
avg(chunk_random)
min by (zone) (up)
max(up)
count(up)
count_values("v", up)
stddev(up)
stdvar(up)
topk(1, up)
bottomk(2, up)
quantile(0.5, up)
group(up)
up + up
up * on (job) group_left up{job="a"}
up and up{job="a"}
up or chunk_two
up unless up{job="b"}
up == 1
up > bool 0
-up
1 + 1
1 / 0
-1 % 0
2 ^ 3 ^ 2
NaN
"text"
vector(1)
scalar(chunk_two)
time()
minute(vector(1700000000))
hour()
day_of_week()
days_in_month()
abs(chunk_random)
ceil(chunk_small)
floor(chunk_small)
round(chunk_random, 10)
clamp(chunk_random, -1, 1)
exp(vector(1))
ln(up)
log2(up)
log10(up)
sqrt(up)
sgn(chunk_random)
sort(up)
sort_desc(up)
label_replace(up, "x", "$1-y", "job", "(.*)")
label_join(up, "x", "-", "job", "zone")
absent(nothing{job="x"})
absent(up)
absent_over_time(nothing[5m])
present_over_time(up[5m])
avg_over_time(chunk_random[5m])
min_over_time(chunk_random[5m])
max_over_time(chunk_random[5m])
sum_over_time(chunk_small[5m])
count_over_time(chunk_small[5m])
last_over_time(chunk_small[5m])
quantile_over_time(0.9, chunk_random[5m])
stddev_over_time(chunk_small[5m])
stdvar_over_time(chunk_small[5m])
max_over_time(rate(chunk_counter[1m])[5m:30s])
chunk_counter[5m:1m]
timestamp(chunk_counter)
sin(up)
deg(up)
pi()
histogram_count(chunk_histogram)
histogram_sum(chunk_histogram_float)
histogram_quantile(0.5, rate(chunk_histogram[5m]))
histogram_fraction(0, 1, chunk_histogram)
sum(rate(chunk_histogram[5m]))
chunk_histogram
chunk_special
chunk_special > 0""".split("\n")
WRONG = ["", "up{", "up}", "sum(", "up[5m", "up[5x]", "rate(up)", "sum(up[5m])", "nofunction(up)", "up{job=1}", "up{=\"a\"}", "{}", "{job=\"\"}", "up{job=~\"(\"}",
         "up + on", "1 == 2", "up and 1", "\"a\" + 1", "-\"a\"", "up[5m][5m]", "up offset x", "up @ x", "topk(up)", "round(up, \"x\")", "sum by (1) (up)", "up{job=\"a\"",
         "label_replace(up, \"x\", \"y\")", "histogram_quantile(up, up)", "up * on (job) group_left(job) up", "1 +", "(", ")", "rate(up[0s])", "up @ end(", "vector(\"a\")", "time(1)"]
RANGE = ["up", "rate(chunk_counter[2m])", "sum by (job) (rate(chunk_counter[2m]))", "chunk_special", "1", "vector(time())", "absent(chunk_two)", "chunk_histogram", "topk(1, up)",
         "max_over_time(chunk_random[3m:1m])", "up @ end()", "nothing", "chunk_counter > 300", "up[5m]", "\"text\"", "sum(", "", "count(up) by (job)"]
# What is in the error or in the request: why 3.x, or this server, answers otherwise.
NEWER = {
    "Invalid time value": "3.x writes it small",
    "limit": "2.42 has metadata of what it scrapes only, not of what is written to it",
    "metric=http_seconds": "likewise",
    "query_range query=sum(": "3.x names the parameter",
    "query_range query=&": "likewise",
    "up[5x]": "3.x has other words for durations",
    "offset x": "3.x takes expressions there",
    "up{job=~\"(\"": "the words of another regular expression engine",
    "time=NaN": "a time that is none is refused",
    "start=%d&end=%d" % (T, T - 100): "2.42 takes the series of the block",
    "histogram_quantile(0.5": "3.x interpolates native buckets exponentially",
    "DELETE series": "it takes no such method",
    "PUT query": "the answer says what it takes",
}
# Infos are of 3.x.
IGNORED = "infos"


def requests():
    def get(path, *pairs):
        return ("GET", path, pairs)

    for query in INSTANT + WRONG:
        yield get("query", ("query", query), ("time", T))
    for query in RANGE:
        yield get("query_range", ("query", query), ("start", T), ("end", T + 300), ("step", "30s"))
    for time in ["1700000000.5", "2023-11-14T22:20:00Z", "2023-11-14T22:20:00.123+01:00", "x", "-1", "1e10", "NaN", "1700000000,5", "now", "2023-11-14"]:
        yield get("query", ("query", "chunk_counter"), ("time", time))
    for timeout in ["5s", "1m", "10", "x"]:
        yield get("query", ("query", "up"), ("time", T), ("timeout", timeout))
    for name, values in {"start": ["", "x", T + 9999], "end": ["", "x", T - 9999], "step": ["", "x", "0", "-1", "0.001", "1m", "1h30m", "60", "1e30", "15.5"], "timeout": ["x", "1m"]}.items():
        for value in values:
            pairs = {"query": "up", "start": T, "end": T + 300, "step": 60, name: value}
            yield get("query_range", *pairs.items())
    yield get("query_range", ("query", "up"), ("start", 0), ("end", 11001), ("step", 1))
    yield get("query_range", ("query", "up"), ("start", 0), ("end", 11000), ("step", 1))
    window = [("start", BEGIN // 1000), ("end", T)]
    for match in ["up", "{job=\"a\"}", "chunk_.*", "{__name__=~\"chunk_.*\"}", "up{", "{}", "{job=\"\"}", "{job=~\".+\"}", "up[5m]", "sum(up)", "up offset 5m", "nothing"]:
        yield get("series", ("match[]", match), *window)
        yield get("labels", ("match[]", match), *window)
        yield get("label/job/values", ("match[]", match), *window)
    yield get("series", ("match[]", "up"), ("match[]", "chunk_two"), *window)
    yield get("series")
    yield get("series", ("match[]", "up"), ("start", "x"))
    yield get("series", ("match[]", "up"), ("end", "x"))
    yield get("series", ("match[]", "up"), ("start", T), ("end", T - 100))
    for path in ["labels", "label/job/values", "label/zone/values", "label/__name__/values", "label/nothing/values"]:
        yield get(path, *window)
        yield get(path, ("match[]", "up"), ("match[]", "chunk_small"), *window)
        yield get(path, ("start", "x"))
        yield get(path, ("end", "x"))
    for query in ["up", "rate(http_seconds_bucket[5m])", "sum(", "", "up + chunk_two"]:
        yield get("query_exemplars", ("query", query), *window)
    yield get("query_exemplars", ("query", "up"), ("start", T), ("end", T - 1))
    yield get("query_exemplars", ("query", "up"), ("start", "x"))
    for query in ["up", "sum(up)by(job)", "up{", "", "sum by (job) (rate(chunk_counter{job=\"a\",zone=\"b\"}[5m])) / on (job) group_left sum by (job) (rate(chunk_random_of_a_long_name[5m]))",
                  "foo/bar", "-(up)", "max_over_time(rate(chunk_counter[1m])[5m:30s] offset 1m)"]:
        yield get("format_query", ("query", query))
    for limit in ["", "0", "1", "-1", "x"]:
        yield get("metadata", ("limit", limit))
    yield get("metadata", ("metric", "http_seconds"))
    yield get("metadata", ("metric", "nothing"))
    for query in ["up", "sum(up)", "sum("]:
        yield ("POST", "query", [("query", query), ("time", T)])
        yield ("POST", "query_range", [("query", query), ("start", T), ("end", T + 60), ("step", 15)])
    yield ("POST", "series", [("match[]", "up"), *window])
    yield ("POST", "labels", window)
    yield ("PUT", "query", [])
    yield ("DELETE", "series", [("match[]", "up")])
    yield ("OPTIONS", "query", [])
    yield get("nothing")
    yield get("label//values")


SHAPES = ["status/buildinfo", "status/runtimeinfo", "status/flags", "status/tsdb", "status/config", "status/walreplay", "targets", "rules", "alerts"]


def send(server, method, path, pairs):
    text = urllib.parse.urlencode(pairs)
    url = f"{server.url}/api/v1/{path}"
    if method == "POST":
        status, _, body = ask(url, text.encode(), FORM, method)
    else:
        status, _, body = ask(url + ("?" + text if text else ""), method=method)
    try:
        answer = json.loads(body)
    except ValueError:
        answer = body.decode(errors="replace")[:200]
    if isinstance(answer, dict):
        answer.pop(IGNORED, None)
    if isinstance(answer, dict) and path.split("/")[0] in ("query",):
        data = answer.get("data") or {}
        # Prometheus gives the series of a vector in any order, but for those that sort.
        if data.get("resultType") in ("vector", "matrix") and not any("sort" in str(v) or "topk" in str(v) or "bottomk" in str(v) for _, v in pairs):
            data["result"].sort(key=lambda one: json.dumps(one["metric"], sort_keys=True))
    if isinstance(answer, dict) and path == "series" and "data" in answer:
        answer["data"].sort(key=lambda one: json.dumps(one, sort_keys=True))
    return [status, answer]


def near(a, b):
    """Equal, floats up to the last digits: 3.x adds with less loss than 2.42."""
    if isinstance(a, dict) and isinstance(b, dict):
        return a.keys() == b.keys() and all(near(a[k], b[k]) for k in a)
    if isinstance(a, list) and isinstance(b, list):
        return len(a) == len(b) and all(map(near, a, b))
    if isinstance(a, str) and isinstance(b, str) and a != b:
        try:
            x, y = float(a), float(b)
            return abs(x - y) <= 1e-9 * max(abs(x), abs(y))
        except ValueError:
            return False
    return a == b


def main():
    theirs, ours = Server(False), Server(True)
    times = [BEGIN + i * STEP for i in range(60)]
    bucket = lambda le, v: floats("http_seconds_bucket", [v * i for i in range(60)], times, le=le)
    metadata = raw(3, integer(1, 3) + raw(2, "http_seconds") + raw(4, "How long.") + raw(5, "seconds"))
    body = SERIES + [floats("up", [1.0] * 60, times), floats("up", [0.0] * 60, times, job="b"), floats("up", [0.5] * 60, times, job="c", zone="z"),
                     bucket("0.1", 1.0), bucket("1", 2.0), bucket("+Inf", 3.0), metadata]
    for server in (theirs, ours):
        server.write(snappy(b"".join(body)))
    equal, known, differing, used = 0, 0, [], set()
    for request in requests():
        want, got = send(theirs, *request), send(ours, *request)
        name = f"{request[0]} {request[1]} {urllib.parse.unquote_plus(urllib.parse.urlencode(request[2]))}"
        if near(want, got):
            equal += 1
        elif any(part in name or part in json.dumps(want) for part in NEWER):
            used.update(part for part in NEWER if part in name or part in json.dumps(want))
            known += 1
        else:
            differing.append((name, want, got))
    differing += [(part, "listed as newer, but nothing differs", "") for part in set(NEWER) - used]
    for path in SHAPES:
        want, got = (set((send(s, "GET", path, [])[1]["data"] or {}).keys()) for s in (theirs, ours))
        if want <= got or path == "status/flags":
            equal += 1
        else:
            differing.append((path, sorted(want - got), sorted(got - want)))
    for name, want, got in differing:
        print("----", name, "\n  theirs", json.dumps(want)[:400], "\n  ours  ", json.dumps(got)[:400])
    print(f"{equal} equal, {known} known to be newer, {len(differing)} differ")
    theirs.stop()
    ours.stop()
    return not differing


if __name__ == "__main__":
    sys.exit(not main())
