"""Prometheus around the aggregator: one scrapes itself and writes by remote write 1.0, another scrapes /federate, in protobuf with
native histograms and in text. Run by hand."""
import sys, time, urllib.parse

import prometheus_read
from prometheus_wire import Server, ask, snappy

SELF = "global:\n  scrape_interval: 1s\nscrape_configs:\n  - job_name: self\n    static_configs: [{targets: ['ADDRESS']}]\nremote_write:\n  - url: %s/api/v1/write\n"
FEDERATE = """
scrape_configs:
  - job_name: federate
    scrape_interval: 1s
    honor_labels: true
    metrics_path: /federate
    params: {'match[]': ['{job="self"}', '{job="a"}']}
    static_configs: [{targets: ['%s']}]
"""
results = []


def check(what, got, wanted):
    print(("ok  " if got == wanted else "FAIL"), what, "" if got == wanted else f"\n   wanted {wanted}\n   got    {got}")
    results.append(got == wanted)


def value(server, query):
    answer = server.json("/api/v1/query?query=" + urllib.parse.quote(query))
    return [(sorted(one["metric"].items()), one.get("value", one.get("histogram"))[1]) for one in answer["data"]["result"]]


def wait(server, query):
    for _ in range(150):
        if value(server, query):
            return
        time.sleep(0.2)
    raise SystemExit(f"nothing for {query}")


ours = Server(True, config="external_labels:\n  cluster: eu\n")
writer = Server(False, config=SELF % ours.url)
wait(ours, 'up{job="self"} == 1')
wait(ours, 'prometheus_build_info')
series = "/api/v1/series?match[]=%7Bjob%3D%22self%22%7D"
names = lambda server: sorted({one["__name__"] for one in server.json(series)["data"]})
time.sleep(6)
check("remote write: all metrics are here", names(ours), names(writer))
same = 'prometheus_build_info'
check("remote write: " + same, value(ours, same), value(writer, same))
target = ours.json("/api/v1/targets")["data"]["activeTargets"]
check("targets: who pushes up", [(t["scrapePool"], t["health"]) for t in target], [("self", "up")])

# A histogram of now, as it was recorded then.
prometheus_read.BEGIN = int(time.time() * 1000) - prometheus_read.N * prometheus_read.STEP
ours.write(snappy(prometheus_read.histograms("native", True)))
scraper = Server(False, config=FEDERATE % ours.url[len("http://"):])
wait(scraper, "prometheus_build_info")
wait(scraper, "native")
check("federation in protobuf: histogram", value(scraper, "native"), [(sorted([*dict(labels_of).items(), ("cluster", "eu")]), v) for labels_of, v in value(ours, "native")])
check("federation in protobuf: the scrape", value(scraper, 'up{job="federate"}')[0][1], "1")
text = Server(False, flags=["--enable-feature=exemplar-storage"], config=FEDERATE % ours.url[len("http://"):])
wait(text, "prometheus_build_info")
got = value(text, "prometheus_build_info")
check("federation: labels", got[0][0], sorted([*value(ours, "prometheus_build_info")[0][0], ("cluster", "eu")]))
status, headers, page = ask(ours.url + "/federate?match[]=up")
check("federation in text", (status, headers["Content-Type"].split(";")[0], page.startswith(b"# TYPE up untyped\nup{")), (200, "text/plain", True))
for server in (ours, writer, scraper, text):
    server.stop()
sys.exit(not all(results))
