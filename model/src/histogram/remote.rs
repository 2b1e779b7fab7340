//! A native histogram as `prometheus.Histogram`, the message of remote write and remote read.
//!
//! Source: Prometheus, `prompb/types.proto`.

use super::{Counts, NativeHistogram, ResetHint, Span};
use crate::protobuf;

impl NativeHistogram {
    /// Appends the message's fields; the time is Unix milliseconds.
    pub fn write_remote(&self, out: &mut Vec<u8>, time_ms: i64) {
        match &self.counts {
            Counts::Integer { count, .. } => protobuf::int(out, 1, *count),
            Counts::Float { count, .. } => protobuf::double(out, 2, *count),
        }
        protobuf::double(out, 3, self.sum);
        protobuf::sint(out, 4, i64::from(self.schema));
        protobuf::double(out, 5, self.zero_threshold);
        match &self.counts {
            Counts::Integer { zero, .. } => protobuf::int(out, 6, *zero),
            Counts::Float { zero, .. } => protobuf::double(out, 7, *zero),
        }
        write_spans(out, 8, &self.negative_spans);
        match &self.counts {
            Counts::Integer { negative, .. } => protobuf::sints(out, 9, negative),
            Counts::Float { negative, .. } => protobuf::doubles(out, 10, negative),
        }
        write_spans(out, 11, &self.positive_spans);
        match &self.counts {
            Counts::Integer { positive, .. } => protobuf::sints(out, 12, positive),
            Counts::Float { positive, .. } => protobuf::doubles(out, 13, positive),
        }
        match self.reset_hint {
            ResetHint::Unknown => {}
            hint => protobuf::int(out, 14, u64::from(hint.number())),
        }
        protobuf::int(out, 15, time_ms.cast_unsigned());
        protobuf::doubles(out, 16, &self.custom_bounds);
    }
}

/// Appends the spans as messages of a field; they are the same in all of Prometheus' messages.
pub fn write_spans(out: &mut Vec<u8>, field: u32, spans: &[Span]) {
    for span in spans {
        protobuf::message(out, field, |out| {
            protobuf::sint(out, 1, i64::from(span.offset));
            protobuf::int(out, 2, u64::from(span.length));
        });
    }
}
