"""The questions of `promql_latency.py`: the shapes of expressions that the PromQL compliance tester asks, written out as templates.

Whatever stands in braces takes every value of its list, so 130 lines become some 700 queries. The metrics are those that
`demo_metrics.py` makes."""
import itertools, re

VALUES = {
    "range": ["1s", "15s", "1m", "5m", "15m", "1h"],
    "offset": ["1m", "5m", "10m"],
    "fold": ["sum", "avg", "max", "min", "count", "stddev", "stdvar"],
    "over_time": ["sum", "avg", "max", "min", "count", "stddev", "stdvar", "absent", "last"],
    "pick": ["topk", "bottomk"],
    "quantile": ["-0.5", "0.1", "0.5", "0.75", "0.95", "0.90", "0.99", "1", "1.5"],
    "arithmetic": ["+", "-", "*", "/", "%", "^"],
    "compare": ["==", "!=", "<", ">", "<=", ">="],
    "operator": ["+", "-", "*", "/", "%", "^", "==", "!=", "<", ">", "<=", ">="],
    "math": ["abs", "ceil", "floor", "exp", "sqrt", "ln", "log2", "log10", "round"],
    "slope": ["delta", "rate", "increase"],
    "two_samples": ["idelta", "irate"],
    "clamp": ["clamp_min", "clamp_max"],
    "date": ["day_of_month", "day_of_week", "days_in_month", "hour", "minute", "month", "year"],
}

MEMORY = "demo_memory_usage_bytes"

# Lines of scalars, selectors, aggregations, operators, functions, subqueries. M stands for MEMORY.
TEMPLATES = """
42
1.234
.123
1.23e-3
0x3d
Inf
+Inf
-Inf
NaN
M
{__name__="M"}
M{type="free"}
M{type!="free"}
M{instance=~"demo.example.com:.*"}
M{instance=~"host"}
M{instance!~".*:10000"}
M{type="free", instance!="demo.example.com:10000"}
{type="free", instance!="demo.example.com:10000"}
{__name__=~".*"}
nonexistent_metric_name
M offset <offset>
M offset -<offset>
demo_intermittent_metric
<fold>(M)
<fold>(nonexistent_metric_name)
<fold> by() (M)
<fold> by(instance) (M)
<fold> by(instance, type) (M)
<fold> by(nonexistent) (M)
<fold> without() (M)
<fold> without(instance) (M)
<fold> without(instance, type) (M)
<fold> without(nonexistent) (M)
<pick>(3, M)
<pick> by(instance) (2, M)
<pick> without(instance) (2, M)
<pick> without() (2, M)
quantile(<quantile>, M)
avg(max by(type) (M))
1 * 2 + 4 / 6 - 10 % 2 ^ 2
demo_num_cpus + (1 <compare> bool 2)
M <operator> 1.2345
M <compare> bool 1.2345
1.2345 <compare> bool M
0.12345 <operator> M
(1 * 2 + 4 / 6 - (10%7)^2) <operator> M
M <operator> (1 * 2 + 4 / 6 - 10)
timestamp(M * 1)
timestamp(-M)
M <operator> on(instance, job, type) M
sum by(instance, type) (M) <operator> on(instance, type) group_left(job) M
M <compare> bool on(instance, job, type) M
M / on(instance, job, type, __name__) M
sum without(job) (M) / on(instance, type) M
sum without(job) (M) / on(instance, type) group_left M
sum without(job) (M) / on(instance, type) group_left(job) M
M / on(instance, job) group_left demo_num_cpus
M / on(instance, type, job, non_existent) M
demo_num_cpus * Inf
demo_num_cpus * -Inf
demo_num_cpus * NaN
M + -(1)
-M
-1 ^ 2
1 <arithmetic> time()
time() <arithmetic> 1
time() <compare> bool 1
1 <compare> bool time()
time() <arithmetic> time()
time() <compare> bool time()
time() <operator> M
M <operator> time()
<over_time>_over_time(M[<range>])
quantile_over_time(<quantile>, M[<range>])
timestamp(demo_num_cpus)
timestamp(timestamp(demo_num_cpus))
<math>(M)
<math>(-M)
<slope>(nonexistent_metric[5m])
<slope>(demo_cpu_usage_seconds_total[<range>])
deriv(demo_disk_usage_bytes[<range>])
predict_linear(demo_disk_usage_bytes[<range>], 600)
time()
label_replace(demo_num_cpus, "job", "destination-value-$1", "instance", "demo.example.com:(.*)")
label_replace(demo_num_cpus, "job", "destination-value-$1", "instance", "host:(.*)")
label_replace(demo_num_cpus, "job", "$1-$2", "instance", "local(.*):(.*)")
label_replace(demo_num_cpus, "job", "value-$1", "nonexistent_src", "source-value-(.*)")
label_replace(demo_num_cpus, "job", "value-$1", "nonexistent_src", "(.*)")
label_replace(demo_num_cpus, "job", "value-$1", "instance", "non-matching-regex")
label_replace(demo_num_cpus, "job", "", "dst", ".*")
label_replace(demo_num_cpus, "job", "value-$1", "src", "(.*")
label_replace(demo_num_cpus, "instance", "", "", "")
label_join(demo_num_cpus, "new_label", "-", "instance", "job")
label_join(demo_num_cpus, "job", "-", "instance", "job")
label_join(demo_num_cpus, "job", "-", "instance")
<date>()
<date>(demo_batch_last_success_timestamp_seconds offset <offset>)
<two_samples>(demo_cpu_usage_seconds_total[<range>])
<clamp>(M, 2)
clamp(M, 0, 1)
clamp(M, 0, 1000000000000)
clamp(M, 1000000000000, 0)
clamp(M, 1000000000000, 1000000000000)
resets(demo_cpu_usage_seconds_total[<range>])
changes(demo_batch_last_success_timestamp_seconds[<range>])
vector(1.23)
vector(time())
histogram_quantile(<quantile>, rate(demo_api_request_duration_seconds_bucket[1m]))
histogram_quantile(0.9, nonexistent_metric)
histogram_quantile(0.9, M)
histogram_quantile(0.9, {__name__=~"demo_api_request_duration_seconds_.+"})
count_values("value", demo_api_request_duration_seconds_bucket)
absent(M)
absent(nonexistent_metric_name)
max_over_time((time() - max(demo_batch_last_success_timestamp_seconds) < 1000)[5m:10s] offset 5m)
avg_over_time(rate(demo_cpu_usage_seconds_total[1m])[2m:10s])
""".strip().splitlines()

# What Prometheus 3 answers otherwise than 2.42, and why; its answers are not compared.
CHANGED_SINCE_2_42 = {
    r"\[\w+:\w+\]": "the left end of a subquery's range is open",
    r"~invalid": "any text is a label name",
    r"^(topk|bottomk)": "series of a range query are all sorted by labels; which of equal ones are kept is open",
}


def expand():
    """All queries."""
    for template in TEMPLATES:
        template = re.sub(r"\bM\b", MEMORY, template)
        names = list(dict.fromkeys(re.findall(r"<([a-z_]+)>", template)))
        for values in itertools.product(*(VALUES[n] for n in names)):
            query = template
            for name, value in zip(names, values):
                query = query.replace(f"<{name}>", value)
            yield query
