"""The OpenTelemetry SDK for Python: metrics and logs by OTLP over HTTP, as protobuf packed with gzip."""

import logging
import sys

from opentelemetry import trace
from opentelemetry.exporter.otlp.proto.http import Compression
from opentelemetry.exporter.otlp.proto.http._log_exporter import OTLPLogExporter
from opentelemetry.exporter.otlp.proto.http.metric_exporter import OTLPMetricExporter
from opentelemetry.sdk._logs import LoggerProvider, LoggingHandler
from opentelemetry.sdk._logs.export import BatchLogRecordProcessor
from opentelemetry.sdk.metrics import MeterProvider
from opentelemetry.sdk.metrics.export import PeriodicExportingMetricReader
from opentelemetry.sdk.metrics.view import ExponentialBucketHistogramAggregation, View
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import TracerProvider

base = sys.argv[1]
resource = Resource.create(
    {"service.name": "shop", "service.namespace": "test", "service.instance.id": "py", "service.version": "1.2"}
)
exporter = OTLPMetricExporter(endpoint=f"{base}/api/v1/otlp/v1/metrics", compression=Compression.Gzip)
view = View(instrument_name="wait", aggregation=ExponentialBucketHistogramAggregation())
reader = PeriodicExportingMetricReader(exporter, export_interval_millis=3_600_000)
meters = MeterProvider(metric_readers=[reader], resource=resource, views=[view])
meter = meters.get_meter("lib")
tracer = TracerProvider().get_tracer("lib")
with tracer.start_as_current_span("request") as span:
    meter.create_counter("http.requests", unit="{request}", description="Requests.").add(3, {"http.route": "/pay"})
    meter.create_histogram("latency", unit="s").record(0.3)
    for seconds in (0.1, 0.2, 7.0):
        meter.create_histogram("wait", unit="s").record(seconds)
    trace_id = trace.format_trace_id(span.get_span_context().trace_id)
meter.create_up_down_counter("queue").add(-2)
meter.create_gauge("temperature", unit="Cel").set(21.5)

logs = LoggerProvider(resource=resource)
logs.add_log_record_processor(
    BatchLogRecordProcessor(OTLPLogExporter(endpoint=f"{base}/otlp/v1/logs", compression=Compression.Gzip))
)
logger = logging.getLogger("shop")
logger.addHandler(LoggingHandler(logger_provider=logs))
logger.setLevel(logging.INFO)
with tracer.start_as_current_span("request"):
    logger.warning("paid twice", extra={"order": 7})

meters.shutdown()
logs.shutdown()
print(trace_id)
