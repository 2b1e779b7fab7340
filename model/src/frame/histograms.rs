//! Native histograms in the payload of metrics.

use super::FrameError;
use super::payload::{Reader, put_text, put_varint, unzigzag, zigzag};
use crate::histogram::{Counts, NativeHistogram, ResetHint, Span};
use crate::metric::Point;
use crate::{FamilyId, MetricBatch, Suffix};

/// Behind the values, where there are any: their number, and of each the family, 0 or 1 and a time, the label
/// pairs, and the histogram as [`put_histogram`] draws it.
pub(super) fn put(w: &mut Vec<u8>, b: &MetricBatch) {
    put_varint(w, b.histograms().len() as u64);
    for one in b.histograms() {
        let (point, histogram) = (&one.point, &one.histogram);
        put_varint(w, u64::from(point.family.0));
        w.push(u8::from(point.time_ms.is_some()));
        if let Some(t) = point.time_ms {
            put_varint(w, zigzag(t.wrapping_sub(b.time_ms)));
        }
        put_varint(w, u64::from(point.labels.1));
        for (name, value) in b.labels_of(point) {
            put_text(w, name.as_bytes());
            put_text(w, value.as_bytes());
        }
        put_histogram(w, histogram);
    }
}

/// A histogram: schema (zigzag), zero threshold, sum, flags (1 byte); spans (offset (zigzag), length) and
/// counts, negative ones first; integer counts are varints, differences zigzag. Flags: bit 0 a gauge, bit 1
/// counts are floats, bits 2-3 the reset hint when it is no gauge (1 yes, 2 no), bit 4 custom bounds (number,
/// 8 bytes each) follow.
pub fn put_histogram(w: &mut Vec<u8>, histogram: &NativeHistogram) {
    put_varint(w, zigzag(i64::from(histogram.schema)));
    put_f64(w, histogram.zero_threshold);
    put_f64(w, histogram.sum);
    let is_float = matches!(histogram.counts, Counts::Float { .. });
    let hint = match histogram.reset_hint {
        ResetHint::Gauge => GAUGE,
        hint => hint.number() << HINT_SHIFT,
    };
    let has_bounds = !histogram.custom_bounds.is_empty();
    w.push(hint | (u8::from(is_float) * FLOATS) | (u8::from(has_bounds) * BOUNDS));
    for spans in [&histogram.negative_spans, &histogram.positive_spans] {
        put_varint(w, spans.len() as u64);
        for span in spans {
            put_varint(w, zigzag(i64::from(span.offset)));
            put_varint(w, u64::from(span.length));
        }
    }
    match &histogram.counts {
        Counts::Integer {
            count,
            zero,
            negative,
            positive,
        } => {
            put_varint(w, *count);
            put_varint(w, *zero);
            for differences in [negative, positive] {
                put_varint(w, differences.len() as u64);
                differences.iter().for_each(|d| put_varint(w, zigzag(*d)));
            }
        }
        Counts::Float {
            count,
            zero,
            negative,
            positive,
        } => {
            put_f64(w, *count);
            put_f64(w, *zero);
            for counts in [negative, positive] {
                put_varint(w, counts.len() as u64);
                counts.iter().for_each(|c| put_f64(w, *c));
            }
        }
    }
    if has_bounds {
        put_varint(w, histogram.custom_bounds.len() as u64);
        (histogram.custom_bounds.iter()).for_each(|b| put_f64(w, *b));
    }
}

/// Reads what [`put_histogram`] wrote; gives how many bytes it was.
///
/// # Errors
/// When the bytes do not follow the format.
pub fn take_histogram(bytes: &[u8]) -> Result<(NativeHistogram, usize), FrameError> {
    let mut r = Reader { bytes, at: 0 };
    let histogram = read_histogram(&mut r)?;
    Ok((histogram, r.at))
}

const GAUGE: u8 = 1;
const FLOATS: u8 = 2;
const HINT_SHIFT: u8 = 2;
const BOUNDS: u8 = 16;

fn put_f64(w: &mut Vec<u8>, value: f64) {
    w.extend_from_slice(&value.to_bits().to_le_bytes());
}

pub(super) fn read(
    r: &mut Reader<'_>,
    batch: &mut MetricBatch,
    n_families: usize,
) -> Result<(), FrameError> {
    for _ in 0..r.count(20)? {
        let family = r.u32()?;
        if family as usize >= n_families {
            return Err(FrameError::Damaged("histogram of an unknown family"));
        }
        let time_ms = match r.byte()? {
            0 => None,
            _ => Some(batch.time_ms.wrapping_add(unzigzag(r.varint()?))),
        };
        let mut pairs = Vec::new();
        for _ in 0..r.count(2)? {
            pairs.push((r.str()?, r.str()?));
        }
        let labels = batch.label_set(pairs);
        let histogram = read_histogram(r)?;
        let point = Point {
            family: FamilyId(family),
            suffix: Suffix::None,
            labels,
            time_ms,
            value: histogram.count(),
        };
        batch.push_sample(point, Some(histogram));
    }
    Ok(())
}

fn read_histogram(r: &mut Reader<'_>) -> Result<NativeHistogram, FrameError> {
    const DAMAGED: FrameError = FrameError::Damaged("a histogram's buckets do not fit its spans");
    let schema = i32::try_from(unzigzag(r.varint()?)).map_err(|_| DAMAGED)?;
    let zero_threshold = f64::from_bits(r.u64()?);
    let sum = f64::from_bits(r.u64()?);
    let bits = r.byte()?;
    let mut spans = || -> Result<Vec<Span>, FrameError> {
        let mut spans = Vec::new();
        for _ in 0..r.count(2)? {
            let offset = i32::try_from(unzigzag(r.varint()?)).map_err(|_| DAMAGED)?;
            let length = r.u32()?;
            spans.push(Span { offset, length });
        }
        Ok(spans)
    };
    let (negative_spans, positive_spans) = (spans()?, spans()?);
    let counts = if bits & FLOATS == 0 {
        let (count, zero) = (r.varint()?, r.varint()?);
        let mut differences = || -> Result<Vec<i64>, FrameError> {
            let n = r.count(1)?;
            (0..n).map(|_| r.varint().map(unzigzag)).collect()
        };
        Counts::Integer {
            count,
            zero,
            negative: differences()?,
            positive: differences()?,
        }
    } else {
        let (count, zero) = (f64::from_bits(r.u64()?), f64::from_bits(r.u64()?));
        let mut counts = || -> Result<Vec<f64>, FrameError> {
            let n = r.count(8)?;
            (0..n).map(|_| r.u64().map(f64::from_bits)).collect()
        };
        Counts::Float {
            count,
            zero,
            negative: counts()?,
            positive: counts()?,
        }
    };
    let custom_bounds = if bits & BOUNDS == 0 {
        Vec::new()
    } else {
        let n = r.count(8)?;
        (0..n)
            .map(|_| r.u64().map(f64::from_bits))
            .collect::<Result<_, _>>()?
    };
    let reset_hint = match (bits & GAUGE, u64::from(bits >> HINT_SHIFT & 3)) {
        (GAUGE, 0) => ResetHint::Gauge,
        (0, hint @ 0..=2) => ResetHint::of(hint).unwrap_or_default(),
        _ => return Err(DAMAGED),
    };
    if bits >> 5 != 0 {
        return Err(DAMAGED);
    }
    let histogram = NativeHistogram {
        schema,
        zero_threshold,
        sum,
        negative_spans,
        positive_spans,
        counts,
        custom_bounds,
        reset_hint,
    };
    if histogram.is_consistent() {
        Ok(histogram)
    } else {
        Err(DAMAGED)
    }
}
