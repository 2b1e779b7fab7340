//! OTLP histograms as Prometheus's native ones: exponential buckets as they are, named bounds as custom
//! buckets. Source: Prometheus, `storage/remote/otlptranslator/prometheusremotewrite/histograms.go`.

use kansoku_model::histogram::{
    BUCKETS_MAX, CUSTOM_SCHEMA, Counts, NativeHistogram, ResetHint, SCHEMAS, Span,
};
use kansoku_model::metric::STALE_BITS;

use super::points::{Buckets, Raw};

/// What Prometheus takes for zero, as the senders do not tell it.
const ZERO_THRESHOLD: f64 = 1e-128;

/// So many empty buckets are cheaper than a span of their own.
const GAP_MAX: i64 = 2;

/// An exponential histogram.
///
/// # Errors
/// When its buckets are wider than any that a native one can have, or too many.
pub(super) fn exponential(raw: &Raw<'_>, is_delta: bool) -> Result<NativeHistogram, String> {
    let (least, most) = (*SCHEMAS.start(), *SCHEMAS.end());
    if raw.scale < least {
        return Err(format!(
            "cannot convert exponential to native histogram. Scale must be >= {least}, was {}",
            raw.scale
        ));
    }
    if raw.is_stale {
        return Ok(NativeHistogram::empty(f64::from_bits(STALE_BITS)));
    }
    // Finer buckets are merged until they are the finest that there are.
    let merged = (i64::from(raw.scale) - i64::from(most)).clamp(0, 63) as u32;
    let side = |buckets: &Buckets| {
        // Bucket 0 begins at 1 there and ends at 1 here.
        let index = |at: usize| ((i64::from(buckets.offset) + at as i64) >> merged) + 1;
        layout(&buckets.counts, index)
    };
    let (positive_spans, positive) = side(&raw.positive)?;
    let (negative_spans, negative) = side(&raw.negative)?;
    Ok(NativeHistogram {
        schema: raw.scale.min(most),
        zero_threshold: ZERO_THRESHOLD,
        sum: raw.sum.unwrap_or(0.0),
        negative_spans,
        positive_spans,
        counts: Counts::Integer {
            count: raw.count,
            zero: raw.zero_count,
            negative,
            positive,
        },
        custom_bounds: Vec::new(),
        reset_hint: hint(is_delta),
    })
}

/// A histogram with named bounds.
///
/// # Errors
/// When there are too many buckets.
pub(super) fn custom(raw: &Raw<'_>, is_delta: bool) -> Result<NativeHistogram, String> {
    if raw.is_stale {
        return Ok(NativeHistogram::empty(f64::from_bits(STALE_BITS)));
    }
    let (positive_spans, positive) = layout(&raw.counts, |at| at as i64)?;
    Ok(NativeHistogram {
        schema: CUSTOM_SCHEMA,
        zero_threshold: 0.0,
        sum: raw.sum.unwrap_or(0.0),
        negative_spans: Vec::new(),
        positive_spans,
        counts: Counts::Integer {
            count: raw.count,
            zero: 0,
            negative: Vec::new(),
            positive,
        },
        custom_bounds: raw.bounds.clone(),
        reset_hint: hint(is_delta),
    })
}

/// Deltas go up and down as a gauge does; whether cumulative counts were reset must be looked for.
fn hint(is_delta: bool) -> ResetHint {
    match is_delta {
        true => ResetHint::Gauge,
        false => ResetHint::Unknown,
    }
}

/// Spans and differences of the counts that are not 0; `index` tells the bucket of each, and may tell the same one of
/// several that follow each other.
fn layout(counts: &[u64], index: impl Fn(usize) -> i64) -> Result<(Vec<Span>, Vec<i64>), String> {
    let mut filled: Vec<(i64, u64)> = Vec::new();
    for (at, &count) in counts.iter().enumerate().filter(|(_, count)| **count > 0) {
        match filled.last_mut() {
            Some((last, sum)) if *last == index(at) => *sum = sum.saturating_add(count),
            _ => filled.push((index(at), count)),
        }
    }
    if filled.len() > BUCKETS_MAX {
        return Err(format!(
            "{} buckets are more than {BUCKETS_MAX}",
            filled.len()
        ));
    }
    let (mut spans, mut deltas) = (Vec::<Span>::new(), Vec::new());
    let (mut next, mut last_count) = (0i64, 0i64);
    for (index, count) in filled {
        let gap = index - next;
        match spans.last_mut() {
            Some(span) if gap <= GAP_MAX => {
                for _ in 0..gap {
                    deltas.push(-std::mem::take(&mut last_count));
                }
                span.length += gap as u32 + 1;
            }
            _ => spans.push(Span {
                offset: i32::try_from(gap)
                    .map_err(|_| format!("bucket {index} is beyond all numbers"))?,
                length: 1,
            }),
        }
        let count = i64::try_from(count).map_err(|_| format!("{count} observations overflow"))?;
        deltas.push(count - last_count);
        last_count = count;
        next = index + 1;
    }
    Ok((spans, deltas))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn span(offset: i32, length: u32) -> Span {
        Span { offset, length }
    }

    fn exponential_of(scale: i32, offset: i32, counts: &[u64]) -> Result<NativeHistogram, String> {
        let raw = Raw {
            scale,
            count: counts.iter().sum(),
            positive: Buckets {
                offset,
                counts: counts.to_vec(),
            },
            ..Raw::default()
        };
        exponential(&raw, false)
    }

    fn positive(histogram: &NativeHistogram) -> (&[Span], &[i64]) {
        match &histogram.counts {
            Counts::Integer { positive, .. } => (&histogram.positive_spans, positive),
            Counts::Float { .. } => panic!("floats"),
        }
    }

    #[test]
    fn buckets_are_laid_out_as_by_prometheus() {
        // Cases of Prometheus's `TestConvertBucketsLayout`, without its spans of no bucket.
        type Case<'a> = (i32, i32, &'a [u64], &'a [Span], &'a [i64]);
        let cases: &[Case<'_>] = &[
            (0, 0, &[4, 3, 2, 1], &[span(1, 4)], &[4, -1, -1, -1]),
            (9, 0, &[4, 3, 2, 1], &[span(1, 2)], &[7, -4]),
            (9, 1, &[4, 3, 2, 1], &[span(1, 3)], &[4, 1, -4]),
            (10, 0, &[4, 3, 2, 1], &[span(1, 1)], &[10]),
            (
                0,
                0,
                &[4, 3, 2, 1, 0, 0, 0, 0, 0, 7],
                &[span(1, 4), span(5, 1)],
                &[4, -1, -1, -1, 6],
            ),
            (0, 0, &[1, 0, 0, 2], &[span(1, 4)], &[1, -1, 0, 2]),
            (0, -5, &[0, 0, 0, 3], &[span(-1, 1)], &[3]),
            (0, 0, &[0, 0], &[], &[]),
        ];
        for (scale, offset, counts, spans, deltas) in cases {
            let histogram = exponential_of(*scale, *offset, counts).unwrap();
            assert!(histogram.is_consistent());
            assert_eq!(positive(&histogram), (*spans, *deltas), "{counts:?}");
            assert_eq!(histogram.schema, (*scale).min(8));
        }
        let error = exponential_of(-5, 0, &[1]).unwrap_err();
        assert!(error.contains("Scale must be >= -4, was -5"), "{error}");
        assert!(exponential_of(0, i32::MAX, &[1, 1]).is_err());
        assert!(exponential_of(i32::MAX, i32::MIN, &[1]).is_ok());
    }

    #[test]
    fn named_bounds_become_custom_buckets() {
        let raw = Raw {
            count: 6,
            sum: Some(12.0),
            counts: vec![0, 2, 0, 4],
            bounds: vec![1.0, 2.0, 5.0],
            ..Raw::default()
        };
        let histogram = custom(&raw, true).unwrap();
        assert_eq!(positive(&histogram), (&[span(1, 3)][..], &[2, -2, 4][..]));
        assert_eq!(histogram.custom_bounds, [1.0, 2.0, 5.0]);
        assert_eq!(histogram.reset_hint, ResetHint::Gauge);
        assert!(histogram.is_consistent());
    }
}
