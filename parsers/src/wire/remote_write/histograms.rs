//! Native histograms of remote write: the messages of both versions are the same.

use kansoku_model::histogram::{Counts, NativeHistogram, ResetHint, SCHEMAS};

use super::super::WireError;
use super::super::prometheus_protobuf::{span, zigzag};
use super::super::protobuf::Message;

/// A histogram and its times.
pub(super) struct Read {
    pub time_ms: i64,
    /// 0: not known.
    pub start_ms: i64,
    pub histogram: NativeHistogram,
}

pub(super) fn read(mut message: Message<'_>) -> Result<Read, WireError> {
    let mut read = Read {
        time_ms: 0,
        start_ms: 0,
        histogram: NativeHistogram::empty(0.0),
    };
    let histogram = &mut read.histogram;
    let (mut count, mut zero) = ((0, 0.0), (0, 0.0));
    let mut is_float = false;
    let (mut negative_deltas, mut negative_counts) = (Vec::new(), Vec::new());
    let (mut positive_deltas, mut positive_counts) = (Vec::new(), Vec::new());
    let signed = |n: u64| zigzag(n.cast_signed());
    while let Some((number, field)) = message.next()? {
        match number {
            1 => count.0 = field.int()?.cast_unsigned(),
            2 => {
                count.1 = field.double()?;
                is_float = true;
            }
            3 => histogram.sum = field.double()?,
            4 => histogram.schema = zigzag(field.int()?) as i32,
            5 => histogram.zero_threshold = field.double()?,
            6 => zero.0 = field.int()?.cast_unsigned(),
            7 => zero.1 = field.double()?,
            8 => histogram.negative_spans.push(span(field)?),
            9 => field.varints(&mut |n| negative_deltas.push(signed(n)))?,
            10 => field.doubles(&mut |c| negative_counts.push(c))?,
            11 => histogram.positive_spans.push(span(field)?),
            12 => field.varints(&mut |n| positive_deltas.push(signed(n)))?,
            13 => field.doubles(&mut |c| positive_counts.push(c))?,
            14 => {
                let hint = field.int()?.cast_unsigned();
                // A hint of the future says nothing to us.
                histogram.reset_hint = ResetHint::of(hint).unwrap_or_default();
            }
            15 => read.time_ms = field.int()?,
            16 => field.doubles(&mut |b| histogram.custom_bounds.push(b))?,
            17 => read.start_ms = field.int()?,
            _ => {}
        }
    }
    histogram.counts = if is_float {
        Counts::Float {
            count: count.1,
            zero: zero.1,
            negative: negative_counts,
            positive: positive_counts,
        }
    } else {
        Counts::Integer {
            count: count.0,
            zero: zero.0,
            negative: negative_deltas,
            positive: positive_deltas,
        }
    };
    Ok(read)
}

/// What Prometheus refuses, and why.
pub(in crate::wire) fn check(histogram: &NativeHistogram) -> Result<(), String> {
    let is_custom = histogram.is_custom();
    if !is_custom && !SCHEMAS.contains(&histogram.schema) {
        return Err(format!("schema {} is not known", histogram.schema));
    }
    if !histogram.is_consistent() {
        return Err(if is_custom {
            "its custom bounds do not ascend, or its spans need another number of buckets".into()
        } else {
            "its spans need another number of buckets than it has".into()
        });
    }
    let all_spans = [&histogram.negative_spans, &histogram.positive_spans];
    if all_spans
        .iter()
        .any(|spans| spans.iter().skip(1).any(|s| s.offset < 0))
    {
        return Err("a span begins before the end of the one before".into());
    }
    let (count, zero, buckets) = match &histogram.counts {
        Counts::Integer {
            count,
            zero,
            negative,
            positive,
        } => {
            let summed = |deltas: &[i64]| {
                let mut last = 0i64;
                deltas
                    .iter()
                    .map(move |d| {
                        last = last.saturating_add(*d);
                        last as f64
                    })
                    .collect::<Vec<f64>>()
            };
            (
                *count as f64,
                *zero as f64,
                [summed(negative), summed(positive)],
            )
        }
        Counts::Float {
            count,
            zero,
            negative,
            positive,
        } => (*count, *zero, [negative.clone(), positive.clone()]),
    };
    if count < 0.0 || zero < 0.0 || buckets.iter().flatten().any(|c| *c < 0.0) {
        return Err("a bucket has fewer than no observations".into());
    }
    let bounds = histogram.custom_bounds.len() as i64;
    if is_custom {
        let length = |s: &kansoku_model::histogram::Span| i64::from(s.offset) + i64::from(s.length);
        let end: i64 = histogram.positive_spans.iter().map(length).sum();
        let starts_below = histogram
            .positive_spans
            .first()
            .is_some_and(|s| s.offset < 0);
        if end > bounds + 1 || starts_below || histogram.custom_bounds.iter().any(|b| b.is_nan()) {
            return Err("its buckets lie beyond its custom bounds".into());
        }
        if !buckets[0].is_empty() || zero > 0.0 || histogram.zero_threshold != 0.0 {
            return Err("custom buckets go with no negative ones and no zero bucket".into());
        }
    }
    let in_buckets: f64 = zero + buckets.iter().flatten().sum::<f64>();
    if matches!(histogram.counts, Counts::Integer { .. }) {
        // Observations that are no number are in no bucket.
        let is_right = match histogram.sum.is_nan() {
            true => in_buckets <= count,
            false => in_buckets == count,
        };
        if !is_right {
            return Err(format!(
                "{in_buckets} observations are in buckets, but there are {count}"
            ));
        }
    }
    Ok(())
}
