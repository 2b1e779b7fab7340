"""prometheus-api-client (PyPI) in its ordinary work: connects, lists, asks for current, range and custom values, aggregates, makes
metric objects and data frames. Run by hand, by a Python that has it."""
import datetime, sys, time

from prometheus_api_client import Metric, MetricRangeDataFrame, MetricSnapshotDataFrame, MetricsList, PrometheusConnect

from prometheus_read import floats
from prometheus_wire import Server, snappy

server = Server(True)
now = int(time.time())
times = [(now - 600 + 15 * i) * 1000 for i in range(41)]
server.write(snappy(floats("up", [1.0] * 41, times, instance="a") + floats("up", [0.0] * 41, times, instance="b") + floats("requests_total", [7.0 * i for i in range(41)], times)))
results = []


def check(what, got, wanted):
    print(("ok  " if got == wanted else "FAIL"), what, got if got != wanted else "")
    results.append(got == wanted)


prometheus = PrometheusConnect(url=server.url, disable_ssl=True)
start, end = datetime.datetime.fromtimestamp(now - 600), datetime.datetime.fromtimestamp(now)
check("check_prometheus_connection", prometheus.check_prometheus_connection(), True)
check("all_metrics", prometheus.all_metrics(), ["requests_total", "up"])
check("get_label_names", prometheus.get_label_names(), ["__name__", "instance", "job"])
check("get_label_values", prometheus.get_label_values("instance"), ["a", "b"])
check("get_series", len(prometheus.get_series(start=start, end=end, params={"match[]": "up"})), 2)
check("get_targets", [t["labels"]["instance"] for t in prometheus.get_targets()["activeTargets"]], ["a", "b"])
check("get_target_metadata", prometheus.get_target_metadata({"instance": "a"}), [])
check("get_metric_metadata", prometheus.get_metric_metadata("up"), [])
current = prometheus.get_current_metric_value("up", label_config={"instance": "a"})
check("get_current_metric_value", [one["value"][1] for one in current], ["1"])
data = prometheus.get_metric_range_data("requests_total", start_time=start, end_time=end, chunk_size=datetime.timedelta(minutes=5))
check("get_metric_range_data", [len(one["values"]) for one in data], [20, 20])
joined = MetricsList(data)
check("MetricsList", (len(joined), len(joined[0].metric_values)), (1, 40))
check("Metric", Metric(data[0]).metric_name, "requests_total")
custom = prometheus.custom_query("sum(rate(requests_total[5m]))")
check("custom_query", round(float(custom[0]["value"][1]), 6), round(7 / 15, 6))
ranged = prometheus.custom_query_range("sum by (instance) (up)", start, end, "60")
check("custom_query_range", (len(ranged), len(ranged[0]["values"])), (2, 11))
aggregated = prometheus.get_metric_aggregation("sum(up)", ["max", "min", "average", "percentile_95"], start, end, "15")
check("get_metric_aggregation", {k: float(v) for k, v in aggregated.items()}, {"max": 1.0, "min": 1.0, "average": 1.0, "percentile_95.0": 1.0})
check("MetricSnapshotDataFrame", MetricSnapshotDataFrame(prometheus.get_current_metric_value("up")).shape[0], 2)
check("MetricRangeDataFrame", MetricRangeDataFrame(ranged).shape[0], 22)
server.stop()
sys.exit(not all(results))
