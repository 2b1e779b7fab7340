"""OpenTelemetry's own SDK for Python against the opentelemetry input: logs and metrics over HTTP (protobuf, gzip),
gRPC, and JSON by hand. Run by hand."""
import gzip, json, sys, urllib.error, urllib.request

from grpc import Compression as GrpcCompression
from opentelemetry._logs import LogRecord, SeverityNumber
from opentelemetry.exporter.otlp.proto.http import Compression as HttpCompression
from opentelemetry.sdk._logs import LoggerProvider
from opentelemetry.sdk._logs.export import BatchLogRecordProcessor
from opentelemetry.sdk.metrics import MeterProvider
from opentelemetry.sdk.metrics.export import PeriodicExportingMetricReader
from opentelemetry.sdk.metrics.view import ExponentialBucketHistogramAggregation, View
from opentelemetry.sdk.resources import Resource

import opentelemetry.exporter.otlp.proto.grpc._log_exporter as grpc_logs
import opentelemetry.exporter.otlp.proto.grpc.metric_exporter as grpc_metrics
import opentelemetry.exporter.otlp.proto.grpc.trace_exporter as grpc_traces
import opentelemetry.exporter.otlp.proto.http._log_exporter as http_logs
import opentelemetry.exporter.otlp.proto.http.metric_exporter as http_metrics
from agent import Agent, free_port

RESOURCE = Resource({"service.name": "svc", "n": 1})


def check(name, got, wanted):
    print(("ok  " if got == wanted else "FAIL"), name, got)
    return got == wanted


def section(port):
    return f"[INPUT]\n    Name opentelemetry\n    Listen 127.0.0.1\n    Port {port}\n"


def logs(name, exporter):
    port = free_port()
    a = Agent(section(port))
    provider = LoggerProvider(resource=RESOURCE)
    provider.add_log_record_processor(BatchLogRecordProcessor(exporter(port)))
    logger = provider.get_logger("lib", "1.2", attributes={"sa": "x"})
    for i in range(300):
        logger.emit(LogRecord(timestamp=1700000000_000000000 + i, body=f"text {i}", severity_text="INFO", severity_number=SeverityNumber.INFO,
                              attributes={"a": i, "d": [1, "x"]}, trace_id=0x0102030405060708090A0B0C0D0E0F10, span_id=0x0102030405060708, trace_flags=1))
    logger.emit(LogRecord(timestamp=1700000001_000000000, body={"k": "v", "n": {"x": 1.5}}))
    flushed = provider.force_flush()
    provider.shutdown()
    got = a.lines(301)
    a.stop()
    ok = check(f"logs {name}", (flushed, len(got), [r.get("log") for r in got[:300]] == [f"text {i}" for i in range(300)]), (True, 301, True))
    meta = got[0].get("__internal__", {}).get("log_metadata", {}).get("otlp") if got else None
    ok = check(f"logs {name} metadata", {k: meta.get(k) for k in ("severity_number", "severity_text", "attributes", "trace_id", "span_id", "trace_flags")} if meta else None,
               {"severity_number": 9, "severity_text": "INFO", "attributes": {"a": 0, "d": [1, "x"]}, "trace_id": "0102030405060708090a0b0c0d0e0f10", "span_id": "0102030405060708", "trace_flags": 1}) and ok
    return check(f"logs {name} map", {k: got[-1].get(k) for k in ("k", "n")} if got else None, {"k": "v", "n": {"x": 1.5}}) and ok


def metrics(name, exporter):
    port = free_port()
    a = Agent(section(port), output="    Name stdout\n    Match *\n")
    reader = PeriodicExportingMetricReader(exporter(port), export_interval_millis=600000)
    views = [View(instrument_name="exp", aggregation=ExponentialBucketHistogramAggregation())]
    provider = MeterProvider(metric_readers=[reader], resource=RESOURCE, views=views)
    meter = provider.get_meter("lib")
    meter.create_counter("requests").add(3, {"path": "/x"})
    meter.create_up_down_counter("queue").add(-2)
    meter.create_gauge("temperature").set(1.5)
    meter.create_histogram("latency", explicit_bucket_boundaries_advisory=[1, 5]).record(2)
    meter.create_histogram("exp").record(2)
    flushed = provider.force_flush()
    a.lines(99, patience=1)
    text = a.raw()
    provider.shutdown()
    a.stop()
    wanted = ["requests", "queue", "temperature", "latency"]
    return check(f"metrics {name}", (flushed, [w for w in wanted if w in text], "exponential" in a.log()), (True, wanted, True))


def by_hand(name, path, body, wanted):
    port = free_port()
    a = Agent(section(port))
    request = urllib.request.Request(f"http://127.0.0.1:{port}{path}", data=gzip.compress(json.dumps(body).encode()), headers={"Content-Type": "application/json", "Content-Encoding": "gzip"})
    try:
        with urllib.request.urlopen(request) as r:
            status, text = r.status, r.read().decode()
    except urllib.error.HTTPError as e:
        status, text = e.code, e.read().decode()
    got = a.lines(1, patience=1)
    a.stop()
    return check(name, (status, text, got[0].get("log") if got else None), wanted)


HTTP = {"compression": HttpCompression.Gzip}
LOG = {"resourceLogs": [{"resource": {"attributes": [{"key": "service.name", "value": {"stringValue": "s"}}]}, "scopeLogs": [{"logRecords": [
    {"timeUnixNano": "1700000000000000000", "severityNumber": "SEVERITY_NUMBER_WARN", "body": {"stringValue": "by hand"}, "traceId": "0102030405060708090a0b0c0d0e0f10"}]}]}]}
DELTA = {"resourceMetrics": [{"scopeMetrics": [{"metrics": [{"name": "d", "sum": {"aggregationTemporality": 1, "isMonotonic": True, "dataPoints": [{"asInt": "1", "timeUnixNano": "1700000000000000000"}]}}]}]}]}


def traces():
    from opentelemetry.sdk.trace import TracerProvider
    from opentelemetry.sdk.trace.export import SimpleSpanProcessor, SpanExportResult
    port = free_port()
    a = Agent(section(port))
    exporter = grpc_traces.OTLPSpanExporter(endpoint=f"http://127.0.0.1:{port}", insecure=True, timeout=3)
    provider = TracerProvider()
    with provider.get_tracer("t").start_as_current_span("s") as span:
        pass
    result = exporter.export([span])
    a.stop()
    return check("traces grpc", result, SpanExportResult.FAILURE)


results = [
    logs("http", lambda p: http_logs.OTLPLogExporter(endpoint=f"http://127.0.0.1:{p}/v1/logs")),
    logs("http gzip", lambda p: http_logs.OTLPLogExporter(endpoint=f"http://127.0.0.1:{p}/v1/logs", **HTTP)),
    logs("grpc", lambda p: grpc_logs.OTLPLogExporter(endpoint=f"http://127.0.0.1:{p}", insecure=True)),
    logs("grpc gzip", lambda p: grpc_logs.OTLPLogExporter(endpoint=f"http://127.0.0.1:{p}", insecure=True, compression=GrpcCompression.Gzip)),
    metrics("http", lambda p: http_metrics.OTLPMetricExporter(endpoint=f"http://127.0.0.1:{p}/v1/metrics")),
    metrics("grpc", lambda p: grpc_metrics.OTLPMetricExporter(endpoint=f"http://127.0.0.1:{p}", insecure=True)),
    by_hand("json logs", "/v1/logs", LOG, (201, "{}", "by hand")),
    by_hand("json delta", "/v1/metrics", DELTA, (201, '{"partialSuccess":{"errorMessage":"only cumulative temporality is supported; d has another","rejectedDataPoints":"1"}}', None)),
    by_hand("traces http", "/v1/traces", {}, (501, "error: traces are not taken here\n", None)),
    traces(),
]
sys.exit(not all(results))
