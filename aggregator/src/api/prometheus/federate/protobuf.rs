//! A family as `io.prometheus.client.MetricFamily` behind its length.
//!
//! Source: prometheus/client_model, `io/prometheus/client/metrics.proto`, whose version of protobuf packs no lists.

use kansoku_model::histogram::{NativeHistogram, remote};
use kansoku_model::protobuf as proto;

use super::escaping::Escaping;
use super::text::cumulative;
use super::{Family, Sample, Value};

/// Appends a family.
pub fn write(out: &mut Vec<u8>, family: &Family, escaping: Escaping) {
    let mut message = Vec::new();
    proto::bytes(&mut message, 1, escaping.apply(&family.name).as_bytes());
    proto::int(&mut message, 3, family.kind as u64);
    for (labels, sample) in &family.metrics {
        proto::message(&mut message, 4, |out| {
            write_metric(out, labels, sample, escaping);
        });
    }
    proto::varint(out, message.len() as u64);
    out.extend_from_slice(&message);
}

fn write_metric(
    out: &mut Vec<u8>,
    labels: &[(String, String)],
    sample: &Sample,
    escaping: Escaping,
) {
    for (name, value) in labels {
        proto::message(out, 1, |out| {
            proto::bytes(out, 1, escaping.apply(name).as_bytes());
            proto::bytes_always(out, 2, value.as_bytes());
        });
    }
    if let Value::Float(value) = sample.value {
        proto::message(out, 5, |out| proto::double(out, 1, value));
    }
    proto::int(out, 6, sample.time_ms.cast_unsigned());
    if let Value::Histogram(histogram) = &sample.value {
        proto::message(out, 7, |out| match histogram.is_custom() {
            true => write_classic(out, histogram),
            false => write_native(out, histogram),
        });
    }
}

fn write_native(out: &mut Vec<u8>, histogram: &NativeHistogram) {
    let counts = histogram.float_counts();
    proto::double(out, 2, histogram.sum);
    proto::double(out, 4, counts.count);
    proto::sint(out, 5, i64::from(histogram.schema));
    proto::double(out, 6, histogram.zero_threshold);
    proto::double(out, 8, counts.zero);
    remote::write_spans(out, 9, &histogram.negative_spans);
    counts
        .negative
        .iter()
        .for_each(|c| proto::double(out, 11, *c));
    remote::write_spans(out, 12, &histogram.positive_spans);
    counts
        .positive
        .iter()
        .for_each(|c| proto::double(out, 14, *c));
}

fn write_classic(out: &mut Vec<u8>, histogram: &NativeHistogram) {
    proto::double(out, 2, histogram.sum);
    for (bound, count) in cumulative(histogram) {
        proto::message(out, 3, |out| {
            proto::double(out, 2, bound);
            proto::double(out, 4, count);
        });
    }
    proto::double(out, 4, histogram.count());
}
