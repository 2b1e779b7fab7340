// The OpenTelemetry SDK for Node: metrics and logs by OTLP over HTTP, as JSON.
import { SeverityNumber } from "@opentelemetry/api-logs";
import { OTLPLogExporter } from "@opentelemetry/exporter-logs-otlp-http";
import { OTLPMetricExporter } from "@opentelemetry/exporter-metrics-otlp-http";
import { resourceFromAttributes } from "@opentelemetry/resources";
import { BatchLogRecordProcessor, LoggerProvider } from "@opentelemetry/sdk-logs";
import { AggregationType, MeterProvider, PeriodicExportingMetricReader } from "@opentelemetry/sdk-metrics";

const base = process.argv[2];
const resource = resourceFromAttributes({ "service.name": "cart", "service.instance.id": "js", "os.type": "linux" });
const exporter = new OTLPMetricExporter({ url: `${base}/v1/metrics` });
const reader = new PeriodicExportingMetricReader({ exporter, exportIntervalMillis: 3_600_000 });
const views = [{ instrumentName: "wait", aggregation: { type: AggregationType.EXPONENTIAL_HISTOGRAM } }];
const meters = new MeterProvider({ resource, readers: [reader], views });
const meter = meters.getMeter("lib");
meter.createCounter("http.requests", { unit: "{request}" }).add(5, { "http.route": "/cart" });
meter.createUpDownCounter("queue").add(-4);
const latency = meter.createHistogram("latency", { unit: "ms", advice: { explicitBucketBoundaries: [10, 100] } });
latency.record(7);
latency.record(70);
const wait = meter.createHistogram("wait", { unit: "s" });
for (const seconds of [0.5, 0.6, 4]) wait.record(seconds);

const logs = new LoggerProvider({
  resource,
  processors: [new BatchLogRecordProcessor({ exporter: new OTLPLogExporter({ url: `${base}/v1/logs` }) })],
});
logs.getLogger("lib").emit({
  severityNumber: SeverityNumber.ERROR,
  severityText: "ERROR",
  body: { message: "no stock", left: 0 },
  attributes: { "item.id": "a1" },
});

await meters.shutdown();
await logs.shutdown();
