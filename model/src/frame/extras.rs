//! What few metric batches have, behind their samples: start times, exemplars, units.
//!
//! The rule: a batch without any of it has the same bytes as before these existed.

use super::FrameError;
use super::payload::{Reader, put_text, put_varint, unzigzag, zigzag};
use crate::metric::{Exemplar, HistogramPoint, Point};
use crate::{FamilyId, MetricBatch, Slice, Suffix};

const STARTS: u8 = 1;
const HISTOGRAM_STARTS: u8 = 2;
const EXEMPLARS: u8 = 4;
const UNITS: u8 = 8;

fn bits_of(b: &MetricBatch) -> u8 {
    let has_starts = b.starts().iter().any(|s| *s != 0);
    let has_histogram_starts = b.histograms().iter().any(|h| h.start_ms != 0);
    let has_units = b.families().iter().any(|f| f.unit.len > 0);
    let all = [
        (has_starts, STARTS),
        (has_histogram_starts, HISTOGRAM_STARTS),
        (!b.exemplars().is_empty(), EXEMPLARS),
        (has_units, UNITS),
    ];
    let there = all.into_iter().filter(|(is_there, _)| *is_there);
    there.map(|(_, bit)| bit).sum()
}

/// Whether a batch has any of it.
pub(super) fn are_in(b: &MetricBatch) -> bool {
    bits_of(b) != 0
}

/// 1 byte: bit 0 starts of the points, bit 1 starts of the histograms, bit 2 exemplars, bit 3 units; then
/// each of them. Starts: of all, less the one before (zigzag). Exemplars: number, and of each the family, the
/// suffix (1 byte), the time less the batch's (zigzag), the value's bits, and two label sets, of the series and its own: number of
/// pairs, texts. Units: number, and of each the family and a text.
pub(super) fn put(w: &mut Vec<u8>, b: &MetricBatch) {
    let bits = bits_of(b);
    w.push(bits);
    if bits & STARTS != 0 {
        put_starts(w, b.starts().iter().copied());
    }
    if bits & HISTOGRAM_STARTS != 0 {
        put_starts(w, b.histograms().iter().map(|h| h.start_ms));
    }
    if bits & EXEMPLARS != 0 {
        put_varint(w, b.exemplars().len() as u64);
        for exemplar in b.exemplars() {
            let point = &exemplar.point;
            put_varint(w, u64::from(point.family.0));
            w.push(point.suffix as u8);
            put_varint(w, zigzag(b.time_of(point).wrapping_sub(b.time_ms)));
            w.extend_from_slice(&point.value.to_bits().to_le_bytes());
            for labels in [point.labels, exemplar.labels] {
                put_varint(w, u64::from(labels.1));
                for (name, value) in b.pairs_of(labels) {
                    put_text(w, name.as_bytes());
                    put_text(w, value.as_bytes());
                }
            }
        }
    }
    if bits & UNITS != 0 {
        let families = b.families().iter().zip(0u64..);
        let with_unit: Vec<(Slice, u64)> = families
            .filter(|(f, _)| f.unit.len > 0)
            .map(|(f, id)| (f.unit, id))
            .collect();
        put_varint(w, with_unit.len() as u64);
        for (unit, id) in with_unit {
            put_varint(w, id);
            put_text(w, b.text(unit).as_bytes());
        }
    }
}

fn put_starts(w: &mut Vec<u8>, starts: impl Iterator<Item = i64>) {
    let mut last = 0i64;
    for start in starts {
        put_varint(w, zigzag(start.wrapping_sub(last)));
        last = start;
    }
}

pub(super) fn read(r: &mut Reader<'_>, batch: &mut MetricBatch) -> Result<(), FrameError> {
    let bits = r.byte()?;
    if bits & !(STARTS | HISTOGRAM_STARTS | EXEMPLARS | UNITS) != 0 {
        return Err(FrameError::Damaged("unknown extras of a metric batch"));
    }
    if bits & STARTS != 0 {
        let starts = read_starts(r, batch.points().len())?;
        let points = std::mem::take(&mut batch.points);
        for (point, start_ms) in points.into_iter().zip(starts) {
            batch.push_started(point, start_ms);
        }
    }
    if bits & HISTOGRAM_STARTS != 0 {
        let starts = read_starts(r, batch.histograms().len())?;
        let histograms = std::mem::take(&mut batch.histograms);
        for (histogram, start_ms) in histograms.into_iter().zip(starts) {
            batch.push_histogram(HistogramPoint {
                start_ms,
                ..histogram
            });
        }
    }
    if bits & EXEMPLARS != 0 {
        for _ in 0..r.count(13)? {
            let exemplar = read_exemplar(r, batch)?;
            batch.push_exemplar(exemplar);
        }
    }
    if bits & UNITS != 0 {
        for _ in 0..r.count(2)? {
            let family = read_family(r, batch)?;
            batch.set_unit(family, r.str()?);
        }
    }
    Ok(())
}

fn read_family(r: &mut Reader<'_>, batch: &MetricBatch) -> Result<FamilyId, FrameError> {
    let family = r.u32()?;
    if family as usize >= batch.families().len() {
        return Err(FrameError::Damaged("extra of an unknown family"));
    }
    Ok(FamilyId(family))
}

fn read_starts(r: &mut Reader<'_>, n: usize) -> Result<Vec<i64>, FrameError> {
    let mut last = 0i64;
    let mut starts = Vec::with_capacity(n);
    for _ in 0..n {
        last = last.wrapping_add(unzigzag(r.varint()?));
        starts.push(last);
    }
    Ok(starts)
}

fn read_exemplar(r: &mut Reader<'_>, batch: &mut MetricBatch) -> Result<Exemplar, FrameError> {
    let family = read_family(r, batch)?;
    let suffix = match r.byte()? {
        0 => Suffix::None,
        1 => Suffix::Bucket,
        2 => Suffix::Sum,
        3 => Suffix::Count,
        _ => return Err(FrameError::Damaged("unknown suffix of an exemplar")),
    };
    let time_ms = batch.time_ms.wrapping_add(unzigzag(r.varint()?));
    let value = f64::from_bits(r.u64()?);
    let mut sets = [(0, 0); 2];
    for set in &mut sets {
        let mut pairs = Vec::new();
        for _ in 0..r.count(2)? {
            pairs.push((r.str()?, r.str()?));
        }
        *set = batch.label_set(pairs);
    }
    let point = Point {
        family,
        suffix,
        labels: sets[0],
        time_ms: Some(time_ms),
        value,
    };
    Ok(Exemplar {
        point,
        labels: sets[1],
    })
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use crate::frame::{Frame, encode};
    use crate::histogram::{CUSTOM_SCHEMA, Counts, NativeHistogram, ResetHint, Span};
    use crate::metric::{Exemplar, HistogramPoint, Point};
    use crate::{MetricBatch, MetricKind, RecordBatch, Suffix};

    fn point(batch: &mut MetricBatch, value: f64) -> Point {
        Point {
            family: batch.family("h", MetricKind::Histogram, ""),
            suffix: Suffix::None,
            labels: batch.label_set([("a", "1")]),
            time_ms: Some(20),
            value,
        }
    }

    fn every_kind() -> Vec<NativeHistogram> {
        let spans = vec![
            Span {
                offset: -3,
                length: 2,
            },
            Span {
                offset: 7,
                length: 0,
            },
        ];
        let hints = [
            ResetHint::Unknown,
            ResetHint::Yes,
            ResetHint::No,
            ResetHint::Gauge,
        ];
        let mut all = Vec::new();
        for reset_hint in hints {
            let integers = NativeHistogram {
                schema: -4,
                zero_threshold: f64::MIN_POSITIVE,
                sum: f64::from_bits(0xfff8_0000_0000_1234),
                negative_spans: spans.clone(),
                counts: Counts::Integer {
                    count: u64::MAX,
                    zero: 3,
                    negative: vec![i64::MAX, i64::MIN],
                    positive: Vec::new(),
                },
                reset_hint,
                ..NativeHistogram::empty(0.0)
            };
            let floats = NativeHistogram {
                schema: CUSTOM_SCHEMA,
                positive_spans: spans.clone(),
                counts: Counts::Float {
                    count: -0.0,
                    zero: f64::NAN,
                    negative: Vec::new(),
                    positive: vec![0.5, f64::INFINITY],
                },
                negative_spans: Vec::new(),
                custom_bounds: vec![-1.0, 0.0, 2.5],
                ..integers.clone()
            };
            all.extend([integers, floats]);
        }
        all
    }

    #[test]
    fn everything_comes_back_and_any_cut_is_refused() {
        let mut batch = MetricBatch::new("t".into(), Arc::default(), 5);
        for (i, histogram) in every_kind().into_iter().enumerate() {
            assert!(histogram.is_consistent());
            let point = point(&mut batch, histogram.count());
            batch.push_histogram(HistogramPoint {
                point,
                start_ms: i as i64 - 3,
                histogram,
            });
        }
        for start_ms in [0, -7, i64::MAX] {
            let point = point(&mut batch, 1.0);
            batch.push_started(point, start_ms);
        }
        let own = batch.label_set([("trace_id", "abc"), ("", "")]);
        let point = point(&mut batch, f64::NAN);
        batch.push_exemplar(Exemplar { point, labels: own });
        batch.set_unit(point.family, "seconds");
        let shown = |b: &MetricBatch| {
            let mut all = Vec::new();
            for h in b.histograms() {
                let bits = (h.histogram.sum.to_bits(), h.histogram.count().to_bits());
                all.push(format!("{} {bits:x?} {:?}", h.start_ms, h.histogram));
            }
            all.push(format!("{:?}", b.starts()));
            for e in b.exemplars() {
                let labels: Vec<_> = b.pairs_of(e.labels).collect();
                let series = b.series_of(&e.point);
                all.push(format!(
                    "{series} {labels:?} {} {}",
                    b.time_of(&e.point),
                    e.point.value
                ));
            }
            all.push(b.text(b.families()[0].unit).to_owned());
            all
        };
        let expected = shown(&batch);
        let mut bytes = Vec::new();
        encode(&RecordBatch::Metrics(batch), &mut bytes).unwrap();
        let RecordBatch::Metrics(back) = Frame::parse(&bytes).unwrap().decode().unwrap() else {
            panic!("metrics went in");
        };
        assert_eq!(shown(&back), expected);
        let mut copy = MetricBatch::new("t".into(), Arc::default(), 5);
        copy.extend(&back);
        assert_eq!(shown(&copy), expected);
        copy.retain(|row| row == 1);
        assert_eq!(copy.starts(), [-7]);
    }

    #[test]
    fn a_histogram_alone_comes_back_bit_for_bit() {
        for histogram in every_kind() {
            let mut bytes = Vec::new();
            super::super::put_histogram(&mut bytes, &histogram);
            let (back, n) = super::super::take_histogram(&bytes).unwrap();
            assert!(back.is_same(&histogram));
            assert_eq!(n, bytes.len());
            for cut in 0..bytes.len() {
                assert!(super::super::take_histogram(&bytes[..cut]).is_err());
            }
        }
    }
}
