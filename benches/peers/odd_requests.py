"""Odd requests to Prometheus and Loki and to the aggregator: times, limits and selectors in every form, repeated, empty and unknown parameters, wrong methods
and bodies, and what Grafana's data sources and Drilldown apps ask. Status, body and the headers that clients look at must be equal, but for what KNOWN gives a
reason for. By hand:
    PROMETHEUS=prometheus LOKI=loki AGGREGATOR=target/debug/kansoku-aggregator python3 benches/peers/odd_requests.py [prometheus|loki [WORD]]
"""
import http.client, json, re, sys, time, urllib.parse

from loki_pair import aggregator, loki, ns
from prometheus_read import BEGIN, SERIES, STEP, floats
from prometheus_wire import Server, integer, raw, snappy

T = BEGIN // 1000 + 607
FORM = "application/x-www-form-urlencoded"
HEADERS = ["content-type", "allow", "location", "retry-after", "access-control-allow-origin", "access-control-allow-methods", "cache-control", "x-content-type-options"]


def send(base, method, path, body=None, headers=()):
    """Status, headers and body of a request as it stands: nothing is escaped or followed."""
    host = base.removeprefix("http://")
    connection = http.client.HTTPConnection(host, timeout=60)
    try:
        connection.putrequest(method, path, skip_accept_encoding=True)
        body = body.encode() if isinstance(body, str) else body
        for name, value in dict(headers).items():
            connection.putheader(name, value)
        if body is not None:
            connection.putheader("Content-Length", str(len(body)))
        connection.endheaders(body)
        answer = connection.getresponse()
        text = answer.read().decode("utf-8", "replace")
        return answer.status, {name: answer.headers.get(name) for name in HEADERS if answer.headers.get(name)}, text
    except (OSError, http.client.HTTPException) as error:
        return 0, {}, type(error).__name__
    finally:
        connection.close()


TIMES = ["0", "-1", "1e3", "1.7e9", "+1700000300", "1700000300.5555", "1_700", "0x10", " 1700000300", "1700000300 ", "Inf", "-Inf", "NaN", "9223372036854775807", "9223372036854775.807", "9223372036854775", "1e400", "-9223372036854775808", "-62135596800", "2023-11-14T22:18:20Z",
         "2023-11-14T22:18:20.123456789Z", "2023-11-14T22:18:20+05:30", "2023-11-14t22:18:20z", "2023-11-14 22:18:20Z", "2023-11-14T22:18Z", "2023-02-30T00:00:00Z", "2023-11-14T24:00:00Z", "2023-11-14T22:18:60Z", "0001-01-01T00:00:00Z", "9999-12-31T23:59:59Z", "-292273086-05-16T16:47:06Z", "292277025-08-18T07:12:54.999999999Z", "2023-11-14T22:18:20,5Z", "now", "null", "٣"]
DURATIONS = ["15", "15s", "1m", "1h30m", "30m1h", "1m1m", "0", "0s", "-5", "-5s", "1.5", "1.5s", "1e2", "1d", "1y", "500ms", "1ms", "0.0001", "1e-9", "Inf", "NaN", "1x", "s", " 15", "9223372036854775807", "9223372036", "1e300", "300y", "5m ", "+5s"]
MATCHES = ['up', '{job="a"}', '{"up"}', '{"up",job="a"}', "{__name__='up'}", "{__name__=`up`}", "up{}", "up{job!=\"a\",}", "{,}", "up{job=\"a\",,}", "", " up ", "up #x", "(up)", "-up", "1", "\"up\"", "up or up", "rate(up[5m])", "{job=~\"a|\"}", "{job=\"\",zone=\"\"}", '{"job"="a"}', "{job=~\".*\"}", "up{__name__=\"up\"}", "{job!~\"[\"}", "{job=\"\\q\"}", "sum", "by", "é", "{é=\"x\"}", "up{job=a}", "up @ 1", "up[5m", "{"]


def prometheus():
    window = f"start={BEGIN // 1000}&end={T}"
    quote = urllib.parse.quote
    for time in TIMES:
        yield "GET", f"/api/v1/query?query=chunk_counter&time={quote(time)}"
        for name in ("start", "end"):
            yield "GET", f"/api/v1/series?match[]=up&{name}={quote(time)}"
            yield "GET", f"/api/v1/query_range?query=up&start={T}&end={T}&step=60&{name}={quote(time)}".replace(f"&{name}={T}", "", 1)
    for text in DURATIONS:
        yield "GET", f"/api/v1/query_range?query=up&start={T}&end={T + 60}&step={quote(text)}"
        yield "GET", f"/api/v1/query?query=up&time={T}&timeout={quote(text)}"
        yield "GET", f"/api/v1/query?query=chunk_counter&time={T + 200}&lookback_delta={quote(text)}"
        yield "GET", f"/api/v1/query_range?query=up&start={T}&end={T + 60}&step=15&lookback_delta={quote(text)}"
    for match in MATCHES:
        yield "GET", f"/api/v1/series?match[]={quote(match)}&{window}"
        yield "GET", f"/api/v1/labels?match[]={quote(match)}&{window}"
        yield "GET", f"/api/v1/label/job/values?match[]={quote(match)}&{window}"
        yield "GET", f"/federate?match[]={quote(match)}"
        yield "GET", f"/api/v1/query_exemplars?query={quote(match)}&{window}"
        yield "GET", f"/api/v1/format_query?query={quote(match)}"
        yield "GET", f"/api/v1/targets/metadata?match_target={quote(match)}"
    for limit in ["0", "1", "2", "-1", "1.5", "x", "", "99999999999999999999", "+1", " 1"]:
        for path in [f"series?match[]=chunk_two&{window}", f"labels?match[]=up&{window}", f"label/job/values?match[]=up&{window}", "metadata?", "status/tsdb?", f"query?query=sum(up)&time={T}", f"query_range?query=sum(up)&start={T}&end={T}&step=1"]:
            yield "GET", f"/api/v1/{path}&limit={quote(limit)}"
    for stats in ["all", "true", "1", "", "none", "ALL"]:
        yield "GET", f"/api/v1/query?query=sum(up)&time={T}&stats={stats}"
        yield "GET", f"/api/v1/query_range?query=up&start={T}&end={T + 30}&step=15&stats={stats}"
    paths = ["query", "query_range", "query_exemplars", "format_query", "labels", "series", "label/job/values", "metadata", "targets", "targets/metadata", "rules", "alerts", "alertmanagers", "status/buildinfo", "status/config", "status/flags", "status/runtimeinfo", "status/tsdb", "status/walreplay", "read", "write", "admin/tsdb/snapshot", "admin/tsdb/delete_series", "admin/tsdb/clean_tombstones", "", "nothing", "query/", "label", "label/job", "label/job/values/", "labels/", "label//values", "label/a%20b/values", "label/1x/values", "label/U__a_2e_b/values", "label/%C3%A9/values", "label/__name__/values/x"]
    for path in paths:
        for method in ["GET", "POST", "PUT", "DELETE", "HEAD", "OPTIONS", "PATCH"]:
            yield method, f"/api/v1/{path}"
    for path in ["/", "/-/healthy", "/-/ready", "/-/reload", "/-/quit", "/metrics", "/federate", "/graph", "/api", "/api/v1", "/api/v2/query", "//api/v1/query", "/api/v1//query", "/API/v1/query", "/api/v1/query?%zz", "/api/v1/query?query=up&query=down", "/api/v1/query?query=1;time=5", "/api/v1/query?=1", "/api/v1/query?query", "/api/v1/query?QUERY=1"]:
        for method in ["GET", "POST", "HEAD"]:
            if path not in ("/-/quit", "/-/reload", "/metrics", "/", "/graph") or method == "HEAD" and path.startswith("/-/h"):
                yield method, path
    for query in [f"query=up&query=sum(up)&time={T}", f"query=%FF&time={T}", f"query=up%00&time={T}", f"query=%22%FF%22&time={T}", f"query=1&time=&time={T}", f"query=1&time={T}&unknown=1&=&&", f"query=1+%2B+1&time={T}", "query=" + "1%2B" * 2000 + f"1&time={T}", "query=" + "(" * 500 + "1" + ")" * 500 + f"&time={T}"]:
        yield "GET", f"/api/v1/query?{query}"
        yield "POST", "/api/v1/query", query, {"Content-Type": FORM}
    body = f"query=sum(up)&time={T}"
    for kind in [FORM, FORM + "; charset=utf-8", FORM.upper(), "application/json", "text/plain", "multipart/form-data", "multipart/form-data; boundary=x", "", "nonsense/;;", None]:
        yield "POST", "/api/v1/query", body, {"Content-Type": kind} if kind is not None else {}
        yield "POST", f"/api/v1/query?time={T}&query=count(up)", body, {"Content-Type": kind} if kind is not None else {}
    multipart = f'--x\r\nContent-Disposition: form-data; name="query"\r\n\r\nsum(up)\r\n--x\r\nContent-Disposition: form-data; name="time"\r\n\r\n{T}\r\n--x--\r\n'
    yield "POST", "/api/v1/query", multipart, {"Content-Type": "multipart/form-data; boundary=x"}
    yield "POST", "/api/v1/query", "%zz", {"Content-Type": FORM}
    yield "POST", "/api/v1/query", b"query=\xff", {"Content-Type": FORM}
    yield "POST", "/api/v1/query", b"\x1f\x8b", {"Content-Type": FORM, "Content-Encoding": "gzip"}
    yield "GET", "/api/v1/query", body, {"Content-Type": FORM}
    yield "POST", "/api/v1/series", f"match[]=up&{window}", {"Content-Type": FORM}
    yield "POST", "/api/v1/labels", f"match%5B%5D=up&{window}", {"Content-Type": FORM}
    yield "POST", "/api/v1/format_query", "query=sum(up)by(x)", {"Content-Type": FORM}
    yield "POST", "/api/v1/query_exemplars", f"query=up&{window}", {"Content-Type": FORM}
    yield "GET", f"/api/v1/series?{window}&match=up"
    yield "GET", f"/api/v1/series?{window}&match[]=up&match[]=up"
    yield "GET", f"/api/v1/series?{window}&match[]=up&match[]="
    yield "GET", f"/api/v1/series?{window}&match%5b%5D=up"
    yield "GET", f"/api/v1/label/job/values?{window}&match[]=up&match[]=chunk_two"
    for path in ["rules?type=alert", "rules?type=record", "rules?type=x", "rules?type=", "rules?rule_name[]=a&rule_group[]=b&file[]=c", "rules?exclude_alerts=true", "rules?exclude_alerts=x", "rules?match[]={a=\"b\"}", "rules?match[]={", "rules?group_limit=1", "rules?group_limit=x", "rules?group_next_token=abc", "targets?state=active", "targets?state=dropped", "targets?state=any", "targets?state=x", "targets?state=", "targets?scrapePool=x", "targets/metadata?metric=up&limit=1", "targets/metadata?limit=x", "metadata?metric=http_seconds&limit=1", "metadata?limit_per_metric=1", "metadata?limit_per_metric=x", "scrape_pools", "status/tsdb?limit=1"]:
        yield "GET", "/api/v1/" + path
    for kind in ["application/openmetrics-text", "text/html", "application/json", "*/*"]:
        yield "GET", f"/api/v1/query?query=1&time={T}", None, {"Accept": kind}
    yield "GET", f"/api/v1/query?query=1&time={T}", None, {"Origin": "http://x"}
    yield "OPTIONS", f"/api/v1/query?query=1&time={T}", None, {"Origin": "http://x", "Access-Control-Request-Method": "POST", "Access-Control-Request-Headers": "x-grafana"}
    for body in [b"", b"x", snappy(b""), snappy(b"\xff\xff")]:
        for headers in [{}, {"Content-Type": "application/x-protobuf"}, {"Content-Type": "application/x-protobuf", "Content-Encoding": "snappy"}, {"Content-Type": "application/json", "Content-Encoding": "snappy"}, {"Content-Type": "application/x-protobuf", "Content-Encoding": "gzip"}, {"Content-Type": "application/x-protobuf;proto=io.prometheus.write.v2.Request", "Content-Encoding": "snappy"}, {"Content-Type": "application/x-protobuf;proto=x", "Content-Encoding": "snappy"}]:
            yield "POST", "/api/v1/write", body, headers
            yield "POST", "/api/v1/read", body, headers


def loki_requests():
    quote = urllib.parse.quote
    begin, end = ns(0), ns(600)
    span = f"start={begin}&end={end}"
    every, both = quote('{app=~".+"}'), quote('{app=~".+", env=~".+"}')
    log, metric = quote('{app="api"}'), quote('sum by (app) (count_over_time({app=~".+"}[1m]))')
    seconds = begin // 10**9
    for text in [str(begin), str(begin // 10**6), str(seconds), f"{seconds}.5", f"{seconds}.123456789123", f"{seconds}.", ".5", "1.7e9", "1e18", f"+{seconds}", "-1", "0", " 1", "x", "", "NaN", "Inf", "0x10", "9223372036854775808", "1_0", time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(seconds)), time.strftime("%Y-%m-%dT%H:%M:%S.5+01:00", time.gmtime(seconds)), time.strftime("%Y-%m-%d %H:%M:%SZ", time.gmtime(seconds)), "now", "now-1h", "2023-02-30T00:00:00Z"]:
        for path in [f"query_range?query={log}&end={end}&limit=3&start=", f"query_range?query={log}&start={begin}&limit=3&end=", f"query?query={metric}&time=", f"labels?end={end}&start=", f"series?match[]={log}&start={begin}&end=", f"index/stats?query={log}&start={begin}&end=", f"detected_fields?query={log}&start={begin}&end=", f"index/volume?query={log}&start={begin}&end="]:
            yield "GET", f"/loki/api/v1/{path}{quote(text)}"
    for text in ["1m", "60", "60s", "1.5", "0", "-1", "x", "1d", "1w", "1y", "1h30m", "1ms", "0.001", "1e3", "Inf", "NaN", ""]:
        for name in ("step", "interval"):
            yield "GET", f"/loki/api/v1/query_range?query={metric}&{span}&{name}={quote(text)}"
            yield "GET", f"/loki/api/v1/query_range?query={log}&{span}&limit=5&{name}={quote(text)}"
        yield "GET", f"/loki/api/v1/query?query={metric}&time={end}&since={quote(text)}"
        yield "GET", f"/loki/api/v1/query_range?query={log}&since={quote(text)}&end={end}&limit=5"
        yield "GET", f"/loki/api/v1/labels?since={quote(text)}&end={end}"
        yield "GET", f"/loki/api/v1/index/volume_range?query={log}&{span}&step={quote(text)}&limit=1"
        yield "GET", f"/loki/api/v1/patterns?query={log}&{span}&step={quote(text)}"
    for text in ["0", "1", "-1", "5000", "5001", "99999999999", "99999999999999999999", "x", "", "1.5", "+1", " 1"]:
        for path in ["query_range", "query", "detected_fields", "index/volume", "detected_field/level/values", "series"]:
            extra = f"match[]={log}" if path == "series" else f"query={log}"
            yield "GET", f"/loki/api/v1/{path}?{extra}&{span}&limit={quote(text)}"
        yield "GET", f"/loki/api/v1/detected_fields?query={log}&{span}&line_limit={quote(text)}"
        yield "GET", f"/loki/api/v1/detected_fields?query={log}&{span}&field_limit={quote(text)}"
        yield "GET", f"/loki/api/v1/query_range?query={metric}&{span}&limit={quote(text)}"
    for text in ["forward", "backward", "FORWARD", "Backward", "x", "", "forward,backward"]:
        yield "GET", f"/loki/api/v1/query_range?query={log}&{span}&limit=2&direction={text}"
    for match in ['{app="api"}', '{app=~".+"}', "{}", "", '{app=""}', '{app=~".*"}', '{app="api"} |= "x"', "app", '{app="api"', '{app=~"["}', "{app='api'}", "{app=`api`}", '{app!="x"}', '{nothing="x"}', '{app="api", app="api"}', 'rate({app="api"}[1m])', '"x"', '{"app"="api"}', '{app.x="a"}', '{APP="api"}', '{app="api"} | json', '{app="api"} | level="error"']:
        text = quote(match)
        for path in [f"series?match[]={text}&", f"series?match={text}&", f"labels?query={text}&", f"label/app/values?query={text}&", f"index/stats?query={text}&", f"index/volume?query={text}&", f"index/volume_range?query={text}&step=5m&", f"detected_labels?query={text}&", f"detected_fields?query={text}&", f"detected_field/level/values?query={text}&", f"format_query?query={text}&", f"query?query={text}&time={end}&", f"patterns?query={text}&", f"index/shards?query={text}&targetBytesPerShard=1KB&"]:
            yield "GET", f"/loki/api/v1/{path}{span}"
    for path in ["aggregateBy=series", "aggregateBy=labels", "aggregateBy=x", "aggregateBy=", "targetLabels=app", "targetLabels=app,env", "targetLabels=", "targetLabels=app&aggregateBy=labels", "targetLabels=app&targetLabels=env", "targetLabels=%20app%20", "limit=1", "limit=0", "limit=x"]:
        for which in ("volume", "volume_range"):
            yield "GET", f"/loki/api/v1/index/{which}?query={every}&{span}&step=10m&{path}"
    paths = ["query", "query_range", "labels", "label", "label/app/values", "series", "index/stats", "index/volume", "index/volume_range", "detected_labels", "detected_fields", "detected_field/level/values", "patterns", "format_query", "push", "tail", "drilldown-limits", "status/buildinfo", "delete", "cache/generation_numbers", "rules", "nothing", "", "label/app", "label//values", "label/a%20b/values", "label/a.b/values", "query/", "index/shards", "index"]
    for path in paths:
        for method in ["GET", "POST", "PUT", "DELETE", "HEAD", "OPTIONS", "PATCH"]:
            yield method, f"/loki/api/v1/{path}"
    for path in ["/loki/api/v1/query?query=%zz", "/loki/api/v1/query?query=1;2", "/loki/api/v1/query_range?query=1&query=2", "/ready", "/metrics", "/config", "/services", "/loki/api/v1/status/buildinfo", "/loki/api/v1/drilldown-limits", "/api/prom/query", "/api/prom/label", "/api/prom/label/app/values", "/api/prom/series", "/prometheus/api/v1/rules", "/prometheus/api/v1/alerts", "/loki/api/v1/rules", "/loki/api/v1/rules/x", "/log_level", "/ring", "/flush", "//loki/api/v1/labels", "/loki/api/v1//labels", "/LOKI/api/v1/labels", "/nothing"]:
        if path not in ("/metrics", "/config", "/services", "/ring"):
            yield "GET", path
    for kind in [FORM, FORM + "; charset=utf-8", "text/plain", "application/json", "", None]:
        headers = {"Content-Type": kind} if kind is not None else {}
        yield "POST", "/loki/api/v1/query_range", f"query={log}&{span}&limit=2", headers
        yield "POST", f"/loki/api/v1/query_range?{span}", f"query={log}&limit=2", headers
        yield "POST", "/loki/api/v1/labels", span, headers
        yield "POST", "/loki/api/v1/series", f"match[]={log}&{span}", headers
        yield "POST", "/loki/api/v1/index/stats", f"query={log}&{span}", headers
        yield "POST", "/loki/api/v1/index/volume", f"query={log}&{span}", headers
        yield "POST", "/loki/api/v1/format_query", f"query={log}", headers
        yield "POST", "/loki/api/v1/detected_fields", f"query={log}&{span}", headers
    # As Grafana and its Drilldown apps ask.
    grafana = {"User-Agent": "Grafana/12.0", "X-Query-Tags": "Source=grafana,chunk-delay=1", "X-Loki-Response-Encoding-Flags": "categorize-labels", "X-Grafana-Org-Id": "1", "X-Loki-Disable-Pipeline-Wrappers": "true", "X-Supporting-Queries": "x", "Cache-Control": "no-cache"}
    for path in [f"query_range?direction=backward&query={log}&{span}&limit=1000&step=2000ms", f"query_range?query={log}+%7C+json&{span}&limit=2&step=2000ms", f"query_range?direction=backward&end={end}&query={metric}&start={begin}&step=60000ms", f"query?direction=backward&limit=10&query=vector(1)%2Bvector(1)&time={end}", f"labels?start={begin}&end={end}", f"label/app/values?{span}&query={every}", f"index/stats?query={log}&{span}", f"index/volume?query={every}&{span}&limit=5000&targetLabels=app", f"index/volume?query={both}&{span}&limit=5000&aggregateBy=labels&targetLabels=", f"detected_labels?{span}", f"detected_labels?query=&{span}", f"detected_fields?query={log}&{span}&limit=1000", f"detected_field/level/values?query={log}+%7C+json&{span}&limit=50", f"patterns?query={log}&{span}", "drilldown-limits", "status/buildinfo", "rules"]:
        yield "GET", f"/loki/api/v1/{path}", None, grafana
    entry = [str(ns(300)), "pushed"]
    good = {"streams": [{"stream": {"app": "pushed"}, "values": [entry]}]}
    bodies = ["", "{}", "[]", "null", "x", '{"streams":[]}', '{"streams":null}', '{"streams":{}}', '{"streams":[{}]}', '{"streams":[{"stream":{}}]}', '{"streams":[{"stream":{},"values":[]}]}', '{"streams":[{"stream":{"app":"x"},"values":[[1,"a"]]}]}', json.dumps({"streams": [{"stream": {"app": "x"}, "values": [["x", "a"]]}]}), json.dumps({"streams": [{"stream": {}, "values": [entry]}]}), json.dumps({"streams": [{"stream": {"app": "x"}, "values": [entry + [{"a": 1}]]}]}), json.dumps({"streams": [{"stream": {"app": "x"}, "values": [entry + [{"a": "b"}, 1]]}]}), json.dumps({"streams": [{"stream": {"app": "x"}, "values": [entry + ["a"]]}]}),
              json.dumps({"streams": [{"stream": {"a-b": "x"}, "values": [entry]}]}), json.dumps({"streams": [{"stream": {"1a": "x"}, "values": [entry]}]}), json.dumps({"streams": [{"stream": {"": "x"}, "values": [entry]}]}), json.dumps({"streams": [{"stream": {"app": ""}, "values": [entry]}]}), json.dumps({"streams": [{"stream": {f"l{i}": "x" for i in range(20)}, "values": [entry]}]}), json.dumps({"streams": [{"stream": {"app": "x" * 3000}, "values": [entry]}]}), json.dumps({"streams": [{"stream": {"x" * 1100: "x"}, "values": [entry]}]}), json.dumps({"streams": [{"stream": {"app": "x"}, "values": [[str(ns(0) - 10**9 * 86400 * 30), "old"]]}]}), json.dumps({"streams": [{"stream": {"app": "x"}, "values": [[str(time.time_ns() + 10**9 * 7200), "future"]]}]}), json.dumps({"streams": [{"stream": {"app": "x"}, "values": [[str(ns(0)), "y" * 300000]]}]}), json.dumps(good) + "x", json.dumps(good)[:-1], json.dumps(good | {"more": 1})]
    for body in bodies:
        yield "POST", "/loki/api/v1/push", body, {"Content-Type": "application/json"}
    for kind in ["application/json; charset=utf-8", "APPLICATION/JSON", "application/json;", "text/plain", "application/x-protobuf", "application/x-protobuf; x=y", "", "nonsense/;;", None]:
        headers = {"Content-Type": kind} if kind is not None else {}
        yield "POST", "/loki/api/v1/push", json.dumps(good), headers
        for coding in ["gzip", "snappy", "deflate", "zstd", "identity", ""]:
            yield "POST", "/loki/api/v1/push", json.dumps(good), headers | {"Content-Encoding": coding}
    for body in [snappy(b""), snappy(b"\xff"), snappy(raw(1, b"")), snappy(raw(1, raw(1, "{"))), snappy(raw(1, raw(1, "{}"))), snappy(raw(1, raw(1, '{app="p"}'))), snappy(raw(1, raw(1, '{app="p"}') + raw(2, b""))), snappy(raw(1, raw(1, '{app="p"}') + raw(2, raw(1, integer(1, ns(1) // 10**9)) + raw(2, "x")))), snappy(raw(1, raw(1, "{app='p'}") + raw(2, raw(1, integer(1, ns(1) // 10**9)) + raw(2, "x")))), snappy(raw(1, raw(1, '{app="p", app="q"}') + raw(2, raw(1, integer(1, ns(1) // 10**9)) + raw(2, "x")))), b"x"]:
        yield "POST", "/loki/api/v1/push", body, {"Content-Type": "application/x-protobuf"}


def brief(value):
    text = value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)
    return text if len(text) < 330 else text[:330] + "..."


def plain(answer, ordered):
    status, headers, text = answer
    # 3 writes it small, as other errors.
    text = text.replace(": Invalid time value", ": invalid time value")
    try:
        body = json.loads(text)
    except ValueError:
        return status, headers, text
    headers["content-type"] = re.sub("; charset=utf-8", "", headers.get("content-type", ""), flags=re.I)
    if isinstance(body, dict):
        for key in ("detectedLabels", "fields", "values"):
            if isinstance(body.get(key), list):
                body[key].sort(key=lambda item: json.dumps(item, sort_keys=True))
        data = body.get("data")
        if isinstance(data, list):
            data.sort(key=lambda item: json.dumps(item, sort_keys=True))
        if isinstance(data, dict) and isinstance(data.get("result"), list) and not ordered:
            data["result"].sort(key=lambda item: json.dumps(item, sort_keys=True))
        if isinstance(data, dict):
            # Times that were needed; of Loki all of it.
            (data.get("stats") or {}).pop("timings", None)
            if "summary" in (data.get("stats") or {}):
                data.pop("stats")
    return status, headers, body


def compare(theirs, ours, requests, known, word):
    n, told, excused = 0, 0, 0
    for request in requests:
        name = f"{request[0]} {request[1]} {brief(str(request[2:])) if len(request) > 2 else ''}"
        if word not in name:
            continue
        n += 1
        want, got = (plain(send(base, *request), False) for base in (theirs, ours))
        if want == got:
            continue
        text = name + "\n" + json.dumps([want, got], ensure_ascii=False)
        if any(re.search(rule, text, re.S) for rule in known):
            excused += 1
            continue
        told += 1
        print(f"--- {name}")
        for side, answer in (("theirs", want), ("ours  ", got)):
            print(f"   {side} {answer[0]} {brief({k: v for k, v in answer[1].items() if (want[1].get(k) != got[1].get(k))})} {brief(answer[2]) if want[2] != got[2] or want[0] != got[0] else '='}")
    print(f"{n} requests, {excused} known to differ, {told} differ")
    return told


# What differs, as a pattern of the request and both answers, with its reason.
KNOWN_PROMETHEUS = {
    "this path takes": "the words for a wrong method",
    "^HEAD ": "is answered wherever GET is",
    r"^OPTIONS .*\[204,": "there any path takes it",
    r'"location": "': "such paths are not led elsewhere",
    "stats=": "3 counts what it reads, too",
    r"timeout=(-5|1e-9|0|0s) ": "a timeout is at least a millisecond; where it runs out is open",
    r"^GET /api/v1/(metadata|targets)": "2.42 has its own only, and other fields",
    r"^GET /-/": "each server's own words",
    r"/label/(a%20b|1x|%C3%A9)/": "names of 3 are any text",
    r"^GET /api/v1/rules\?": "2.42 has no such parameters",
    r"query=1&time=&": "it is now",
    r"%zz.*error parsing form values|;time.*error parsing form values": "2.42 leaves out what it cannot read",
    r"^POST /api/v1/query\S* \('query=.*Content-Type': '(?!application/x-www-form)": "a form is read whatever it is called (docs/aggregator.md)",
    r"^POST /api/v1/query\S* \('query=sum.*\{\}\)": "likewise",
    r"^POST /api/v1/(read|write).*\[\[(400|204|200), .*\[(400|415),": "more words; what names another form is refused with 415, as 3 does",
    r"^\w+ /api/v1/(query|labels|label/job/values)/ ": "there it leads nowhere",
    "admin APIs disabled": "3 answers 503; ours names the flag",
    r"\[\)\$`": "the words of another regular expression engine",
    "Item 57385": "a mistake of 2.42",
    r"^GET /api/v1/status/(runtimeinfo|buildinfo|flags|config|tsdb|walreplay)": "values of each program; prometheus_api.py compares the fields",
    "lookback_delta": "2.42 has none",
    "escaping=underscores": "2.42 does not tell",
    r"%7B%22": "2.42 has no quoted names",
    "limit=": "of labels and series, and of status/tsdb, 2.42 has none; of metadata it has its own only",
    r"^GET \S*=(\+|-|%2B)?(Inf|NaN|9223372036854775)": "as a time; there 64 bits overflow",
}
KNOWN_LOKI = {
    "query time range exceeds the limit|no longer available, it is past now": "there is no such limit unless one is set",
    "this path takes": "the words for a wrong method",
    "^GET /ready": "says nothing of its type",
    "^(HEAD|OPTIONS) ": "are answered wherever GET is",
    r"index/(stats|volume|shards).*\n\[\[(200|500), .*\[200,": "bytes are exact and counted at once, streams of a single time too (docs/aggregator.md)",
    r"index/volume(_range)?(\?query=&| )": "without a selector of all streams (docs/aggregator.md)",
    r"/(series|labels|label/\w+/values|label/a(%20|\.)b/values)\S* .*\n\[\[200, .*\[200,": "by time; an empty list (docs/aggregator.md)",
    r"/api/v1/patterns": "patterns are found in another way, behind stages too",
    r"^POST /loki/api/v1/(?!push)": "a form is read whatever it is called (docs/aggregator.md)",
    r"^POST /loki/api/v1/push .*\n\[\[400, .*\[(400|415),": "other words for what cannot be read",
    r"push .*null": "is no list",
    "PUT /loki/api/v1/delete": "is said without an empty line",
    r"has \d+ label names; limit|has label value too long": "limits of labels are off unless set",
    r"push .*(trailing characters|invalid length 4|missing field|'identity'|'snappy'|syntax error: unexpected the end)": "what is no push is refused",
    r"step=(1d|1w|1e3)|query_range\?query=1&": "steps begin at the start (docs/aggregator.md)",
    r"encodingFlags": "labels stand once (docs/aggregator.md)",
    r"detected_fields\S*_limit": "which fields are told is open",
    r"(status/buildinfo|drilldown-limits|/rules|/alerts|generation_numbers|/log_level|/flush|/api/prom/label)": "each server's own",
    r'"location": "': "such paths are not led elsewhere",
    r"invalid aggregation option|error parsing form values|targetBytesPerShard|expecting [{S]|only label matchers": "more words",
}


def beside_prometheus(word):
    theirs, ours = Server(False), Server(True)
    try:
        times = [BEGIN + i * STEP for i in range(60)]
        metadata = raw(3, integer(1, 3) + raw(2, "http_seconds") + raw(4, "How long.") + raw(5, "seconds"))
        body = SERIES + [floats("up", [1.0] * 60, times), floats("up", [0.0] * 60, times, job="b"), floats("up", [0.5] * 60, times, job="c", zone="z"), metadata]
        for server in (theirs, ours):
            server.write(snappy(b"".join(body)))
        return compare(theirs.url, ours.url, prometheus(), KNOWN_PROMETHEUS, word)
    finally:
        theirs.stop()
        ours.stop()


def beside_loki(word):
    theirs, ours = loki("  discover_service_name: []\n  discover_log_levels: false\n"), aggregator("limits: {discover_service_name: [], discover_log_levels: false}\n")
    try:
        lines = [[str(ns(i * 5)), json.dumps({"level": ["info", "error"][i % 2], "n": i})] for i in range(100)]
        streams = [{"stream": {"app": "api", "env": "prod"}, "values": lines}, {"stream": {"app": "web"}, "values": [[str(ns(i * 7)), f"level=info took={i}ms"] for i in range(50)]}]
        for server in (theirs, ours):
            status, text = server.push(streams)
            assert status == 204, text
        time.sleep(1)
        return compare(theirs.base, ours.base, loki_requests(), KNOWN_LOKI, word)
    finally:
        theirs.stop()
        ours.stop()


if __name__ == "__main__":
    which, word = (sys.argv + ["", ""])[1:3]
    failed = 0
    if which in ("", "prometheus"):
        failed += beside_prometheus(word)
    if which in ("", "loki"):
        failed += beside_loki(word)
    sys.exit(bool(failed))
