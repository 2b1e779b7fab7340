//! OTLP: export requests for logs and metrics become batches. JSON requests are rewritten as protobuf
//! first, so that there is one reader.
//!
//! Not here: traces, which no batch can hold yet. The rule: what a batch cannot hold is counted with the
//! reason for the first and told to the sender as a partial success.

mod any;
pub mod json;
pub mod logs;
pub mod loki;
pub mod metrics;
pub mod names;
mod native;
mod parts;
mod points;
pub mod prometheus;
mod text;

use std::sync::Arc;

use kansoku_model::{Labels, Resource};

use super::WireError;
use super::protobuf::{Field, Message};

/// Attributes of a resource or a scope, as JSON text per value.
type Attributes = Vec<(String, String)>;

/// What all records of a scope share.
#[derive(Debug, Default, Clone)]
struct Shared {
    resource: Attributes,
    scope_name: String,
    scope_version: String,
    scope: Attributes,
}

impl Shared {
    fn resource(&mut self, field: Field<'_>) -> Result<(), WireError> {
        let mut message = field.message()?;
        while let Some((number, field)) = message.next()? {
            if number == 1 {
                self.resource.push(any::attribute(field)?);
            }
        }
        Ok(())
    }

    fn scope(&mut self, field: Field<'_>) -> Result<(), WireError> {
        let mut message = field.message()?;
        while let Some((number, field)) = message.next()? {
            match number {
                1 => field.text()?.clone_into(&mut self.scope_name),
                2 => field.text()?.clone_into(&mut self.scope_version),
                3 => self.scope.push(any::attribute(field)?),
                _ => {}
            }
        }
        Ok(())
    }

    /// Resource attributes under their names; the scope's as `otel.scope.*`, as OpenTelemetry's own
    /// exporters for others name them.
    fn to_resource(&self, base: &Resource) -> Resource {
        let mut attributes = base.attributes.clone();
        let mut put = |name: String, value: String| {
            attributes.retain(|(known, _)| *known != name);
            attributes.push((name, value));
        };
        for (name, value) in &self.resource {
            put(name.clone(), value.clone());
        }
        for (name, value) in [
            ("otel.scope.name", &self.scope_name),
            ("otel.scope.version", &self.scope_version),
        ] {
            if !value.is_empty() {
                put(name.to_owned(), value.clone());
            }
        }
        for (name, value) in &self.scope {
            put(format!("otel.scope.{name}"), value.clone());
        }
        Resource {
            attributes,
            ..base.clone()
        }
    }

    /// The target labels that Prometheus makes of a resource: `job` and `instance`.
    fn labels(&self) -> Labels {
        let find = |name: &str| {
            let found = self.resource.iter().find(|(known, _)| known == name);
            found.map_or("", |(_, value)| value.as_str())
        };
        let (namespace, name) = (find("service.namespace"), find("service.name"));
        let job = if namespace.is_empty() {
            name.to_owned()
        } else {
            format!("{namespace}/{name}")
        };
        let pairs = [
            ("job", job.as_str()),
            ("instance", find("service.instance.id")),
        ];
        Labels::from_pairs(pairs.into_iter().filter(|(_, value)| !value.is_empty()))
    }
}

/// Resource and scope parts of an export request, which have one shape for all signals: calls `with` for
/// each scope's items.
fn each_scope<'a>(
    body: &'a [u8],
    mut with: impl FnMut(&Shared, Message<'a>) -> Result<(), WireError>,
) -> Result<(), WireError> {
    let mut request = Message::new(body);
    while let Some((number, field)) = request.next()? {
        if number != 1 {
            continue;
        }
        let mut shared = Shared::default();
        let resource_part = field.message()?;
        let mut message = resource_part.clone();
        while let Some((number, field)) = message.next()? {
            if number == 1 {
                shared.resource(field)?;
            }
        }
        let mut message = resource_part;
        while let Some((number, field)) = message.next()? {
            if number != 2 {
                continue;
            }
            let scope_part = field.message()?;
            let mut of_scope = Shared {
                resource: shared.resource.clone(),
                ..Shared::default()
            };
            let mut message = scope_part.clone();
            while let Some((number, field)) = message.next()? {
                if number == 1 {
                    of_scope.scope(field)?;
                }
            }
            with(&of_scope, scope_part)?;
        }
    }
    Ok(())
}

fn shared_resource(shared: &Shared, base: &Arc<Resource>) -> Arc<Resource> {
    Arc::new(shared.to_resource(base))
}

fn fixed64(field: Field<'_>) -> Result<u64, WireError> {
    match field {
        Field::Fixed64(n) | Field::Varint(n) => Ok(n),
        _ => Err(WireError::new(
            0,
            "otlp: other type where a 64-bit number must stand",
        )),
    }
}

/// Appends the response message: empty, or a partial success.
pub fn write_response(out: &mut Vec<u8>, n_rejected: u64, reason: &str) {
    if n_rejected == 0 {
        return;
    }
    let mut partial = vec![1 << 3];
    write_varint(&mut partial, n_rejected);
    partial.push(2 << 3 | 2);
    write_varint(&mut partial, reason.len() as u64);
    partial.extend_from_slice(reason.as_bytes());
    out.push(1 << 3 | 2);
    write_varint(out, partial.len() as u64);
    out.extend_from_slice(&partial);
}

/// Appends a `google.rpc.Status`: why a request failed as a whole.
pub fn write_status(out: &mut Vec<u8>, code: u8, message: &str) {
    out.extend_from_slice(&[1 << 3, code, 2 << 3 | 2]);
    write_varint(out, message.len() as u64);
    out.extend_from_slice(message.as_bytes());
}

fn write_varint(out: &mut Vec<u8>, mut n: u64) {
    while n >= 0x80 {
        out.push((n as u8 & 0x7f) | 0x80);
        n >>= 7;
    }
    out.push(n as u8);
}

#[cfg(test)]
mod tests {
    use kansoku_model::SourceId;

    use super::super::records::{Records, Stream, lines};
    use super::*;

    const LOGS: &str = r#"{"resourceLogs":[{"resource":{"attributes":[
        {"key":"service.name","value":{"stringValue":"svc"}},{"key":"n","value":{"intValue":"1"}}]},
        "scopeLogs":[{"scope":{"name":"lib","attributes":[{"key":"sa","value":{"boolValue":true}}]},"logRecords":[
        {"timeUnixNano":"5","severityNumber":"SEVERITY_NUMBER_INFO2","body":{"stringValue":"a\"b"},"trace_id":"0aff","flags":1,
         "attributes":[{"key":"x","value":{"arrayValue":{"values":[{"doubleValue":1.5},{"bytesValue":"AP8="}]}}}]},
        {"observedTimeUnixNano":6,"body":{"kvlistValue":{"values":[{"key":"k","value":{"stringValue":"v"}},
          {"key":"m","value":{"kvlistValue":{"values":[{"key":"e","value":{}}]}}}]}}},
        {"body":{"intValue":-3},"unknown":[{"a":{}}]}]}]}]}"#;

    fn read(
        body: &[u8],
        body_key: Option<&str>,
    ) -> Result<Vec<kansoku_model::LogBatch>, WireError> {
        let names = logs::Names {
            metadata_key: "otlp".into(),
            body_key: body_key.map(Into::into),
        };
        let mut stream = Stream::new(SourceId(1));
        let base = Arc::new(Resource::default());
        let mut records = Records::new(&mut stream, "t".into(), base.clone());
        logs::decode(body, 77, &names, &base, &mut records)?;
        Ok(records.finish())
    }

    #[test]
    fn log_records_keep_all_they_have() {
        let body = json::logs(LOGS.as_bytes()).unwrap();
        let batches = read(&body, None).unwrap();
        let expected = [
            "5 t {\"log\":\"a\\\"b\"}",
            "6 t {\"k\":\"v\",\"m\":{\"e\":null}}",
            "77 t {\"log\":-3}",
        ];
        assert_eq!(lines(&batches), expected);
        let batch = &batches[0];
        let metadata = |row| String::from_utf8_lossy(batch.metadata(row).unwrap()).into_owned();
        assert_eq!(
            metadata(0),
            r#"{"otlp":{"timestamp":5,"severity_number":10,"attributes":{"x":[1.5,"00ff"]},"trace_id":"0aff","trace_flags":1}}"#
        );
        assert_eq!(
            metadata(1),
            r#"{"otlp":{"observed_timestamp":6,"trace_flags":0}}"#
        );
        for (name, value) in [
            ("service.name", "svc"),
            ("n", "1"),
            ("otel.scope.name", "lib"),
            ("otel.scope.sa", "true"),
        ] {
            assert_eq!(batch.resource.attribute(name), Some(value));
        }
        let expected = [
            "5 t {\"b\":\"a\\\"b\"}",
            "6 t {\"b\":{\"k\":\"v\",\"m\":{\"e\":null}}}",
            "77 t {\"b\":-3}",
        ];
        assert_eq!(lines(&read(&body, Some("b")).unwrap()), expected);
    }

    const METRICS: &str = r#"{"resourceMetrics":[{"resource":{"attributes":[{"key":"service.name","value":{"stringValue":"svc"}}]},
        "scopeMetrics":[{"metrics":[
        {"name":"c","description":"Help.","sum":{"aggregationTemporality":2,"isMonotonic":true,"dataPoints":[
          {"asInt":"3","timeUnixNano":"1500000000","attributes":[{"key":"l","value":{"intValue":1}}]}]}},
        {"name":"g","gauge":{"dataPoints":[{"asDouble":0.5},{"flags":1}]}},
        {"name":"h","histogram":{"aggregationTemporality":"AGGREGATION_TEMPORALITY_CUMULATIVE","dataPoints":[
          {"count":"3","sum":4.5,"bucketCounts":["1","2"],"explicitBounds":[0.5]}]}},
        {"name":"s","summary":{"dataPoints":[{"count":2,"sum":1,"quantileValues":[{"quantile":0.5,"value":7}]}]}},
        {"name":"d","sum":{"aggregationTemporality":1,"dataPoints":[{"asInt":1},{"asInt":2}]}},
        {"name":"e","exponentialHistogram":{"dataPoints":[{"count":1}]}}]}]}]}"#;

    #[test]
    fn metrics_become_samples_and_the_others_are_counted() {
        let body = json::metrics(METRICS.as_bytes()).unwrap();
        let read = metrics::decode(&body, 9, &"t".into(), &Arc::default()).unwrap();
        let batch = &read.batches[0];
        let points: Vec<String> = (batch.points().iter())
            .map(|p| {
                format!(
                    "{} {} {} @{}",
                    batch.family_of(p).kind.as_str(),
                    batch.series_of(p),
                    p.value,
                    batch.time_of(p)
                )
            })
            .collect();
        assert_eq!(
            points,
            [
                r#"counter {__name__="c", job="svc", l="1"} 3 @1500"#,
                r#"gauge {__name__="g", job="svc"} 0.5 @9"#,
                r#"gauge {__name__="g", job="svc"} NaN @9"#,
                r#"histogram {__name__="h_bucket", job="svc", le="0.5"} 1 @9"#,
                r#"histogram {__name__="h_bucket", job="svc", le="+Inf"} 3 @9"#,
                r#"histogram {__name__="h_sum", job="svc"} 4.5 @9"#,
                r#"histogram {__name__="h_count", job="svc"} 3 @9"#,
                r#"summary {__name__="s", job="svc", quantile="0.5"} 7 @9"#,
                r#"summary {__name__="s_sum", job="svc"} 1 @9"#,
                r#"summary {__name__="s_count", job="svc"} 2 @9"#,
            ]
        );
        assert_eq!(read.refused.count, 3);
        let first = read.refused.first.unwrap();
        assert_eq!(
            first,
            "only cumulative temporality is supported; d has another"
        );
        let mut response = Vec::new();
        write_response(&mut response, 3, "x");
        assert_eq!(response, b"\x0a\x05\x08\x03\x12\x01x");
    }

    #[test]
    fn cuts_and_flips_never_panic() {
        let logs = json::logs(LOGS.as_bytes()).unwrap();
        let metrics = json::metrics(METRICS.as_bytes()).unwrap();
        for i in 0..logs.len().max(metrics.len()) {
            let _ = read(&logs[..i.min(logs.len())], None);
            for body in [&logs, &metrics] {
                let mut flipped = body.clone();
                let at = i % flipped.len();
                flipped[at] ^= 1 << (i % 8);
                let _ = read(&flipped, Some("b"));
                let _ = metrics::decode(&flipped, 0, &"t".into(), &Arc::default());
            }
        }
        for cut in 0..LOGS.len() {
            assert!(json::logs(&LOGS.as_bytes()[..cut]).is_err());
        }
        assert!(json::logs(br#"{"resourceLogs":[1]}"#).is_err());
        assert!(
            json::metrics(br#"{"resourceMetrics":[{"scopeMetrics":[{"metrics":[{"name":1}]}]}]}"#)
                .is_err()
        );
    }
}
