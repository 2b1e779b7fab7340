//! Native histograms, one after the other in a series: what stays the same is written once, and each
//! bucket is a column over time or a row of differences, whichever is smaller.
//!
//! ```text
//! per run of histograms of one layout, until there are as many as expected:
//!   histograms (varint)
//!   layout:   1 byte (bit 0: counts are floats), schema (signed), zero threshold (8 bytes),
//!             negative and positive spans: number (varint), each: offset (signed), length (varint);
//!             custom bounds: number (varint), 8 bytes each
//!   reset hints: `ints`
//!   sums:        `floats`
//!   integers: counts `ints`, counts of the zero bucket `ints`; floats: the same as `floats`
//!   buckets, negative ones first, unless there are none: 1 byte and
//!     0  by bucket: per bucket a column of its counts
//!     1  by histogram: one column, of integers: of the first histogram each count less that of the
//!        bucket before, of the others less that of the same bucket in the histogram before; of floats
//!        as they are
//! ```
//! Integer counts of buckets are sums of the differences that came; all sums wrap, so every number of a
//! damaged sender comes back, too.

use kansoku_model::histogram::{BUCKETS_MAX, Counts, NativeHistogram, ResetHint, Span};

use super::{Effort, ROWS_MAX, floats, ints};
use crate::bytes::{Malformed, Reader, put_signed, put_u64, put_varint};

const FLOATS: u8 = 1;
const BY_BUCKET: u8 = 0;
const BY_HISTOGRAM: u8 = 1;
/// Numbers that a histogram has besides its buckets, spans and bounds.
const FIXED_CELLS: usize = 16;
/// The most cells that a decoder makes of one column.
const CELLS_MAX: usize = ROWS_MAX;

/// How many numbers a histogram is made of.
pub fn cells(histogram: &NativeHistogram) -> usize {
    let spans = histogram.negative_spans.len() + histogram.positive_spans.len();
    let (negative, positive) = n_buckets(histogram);
    FIXED_CELLS + spans + negative + positive + histogram.custom_bounds.len()
}

fn n_buckets(histogram: &NativeHistogram) -> (usize, usize) {
    match &histogram.counts {
        Counts::Integer {
            negative, positive, ..
        } => (negative.len(), positive.len()),
        Counts::Float {
            negative, positive, ..
        } => (negative.len(), positive.len()),
    }
}

/// Appends the histograms.
pub fn encode(all: &[&NativeHistogram], effort: Effort, out: &mut Vec<u8>) {
    for run in all.chunk_by(|a, b| have_one_layout(a, b)) {
        put_varint(out, run.len() as u64);
        put_layout(run[0], out);
        let hints: Vec<i64> = run
            .iter()
            .map(|h| i64::from(h.reset_hint.number()))
            .collect();
        ints::encode(&hints, effort, out);
        let sums: Vec<f64> = run.iter().map(|h| h.sum).collect();
        floats::encode(&sums, effort, out);
        match run[0].counts {
            Counts::Integer { .. } => put_integers(run, effort, out),
            Counts::Float { .. } => put_floats(run, effort, out),
        }
    }
}

fn have_one_layout(a: &NativeHistogram, b: &NativeHistogram) -> bool {
    let bits = |all: &[f64]| all.iter().map(|v| v.to_bits()).collect::<Vec<u64>>();
    let is_float = |h: &NativeHistogram| matches!(h.counts, Counts::Float { .. });
    a.schema == b.schema
        && a.zero_threshold.to_bits() == b.zero_threshold.to_bits()
        && is_float(a) == is_float(b)
        && n_buckets(a) == n_buckets(b)
        && a.negative_spans == b.negative_spans
        && a.positive_spans == b.positive_spans
        && bits(&a.custom_bounds) == bits(&b.custom_bounds)
}

fn put_layout(histogram: &NativeHistogram, out: &mut Vec<u8>) {
    out.push(u8::from(matches!(histogram.counts, Counts::Float { .. })) * FLOATS);
    put_signed(out, i64::from(histogram.schema));
    put_u64(out, histogram.zero_threshold.to_bits());
    for spans in [&histogram.negative_spans, &histogram.positive_spans] {
        put_varint(out, spans.len() as u64);
        for span in spans {
            put_signed(out, i64::from(span.offset));
            put_varint(out, u64::from(span.length));
        }
    }
    put_varint(out, histogram.custom_bounds.len() as u64);
    let bounds = histogram.custom_bounds.iter();
    bounds.for_each(|bound| put_u64(out, bound.to_bits()));
}

fn put_integers(run: &[&NativeHistogram], effort: Effort, out: &mut Vec<u8>) {
    let (mut counts, mut zeros) = (Vec::new(), Vec::new());
    let mut rows: Vec<Vec<i64>> = Vec::with_capacity(run.len());
    for histogram in run {
        if let Counts::Integer {
            count,
            zero,
            negative,
            positive,
        } = &histogram.counts
        {
            counts.push(*count as i64);
            zeros.push(*zero as i64);
            rows.push(summed(negative).chain(summed(positive)).collect());
        }
    }
    ints::encode(&counts, effort, out);
    ints::encode(&zeros, effort, out);
    let by_bucket = |column: &[i64], out: &mut Vec<u8>| ints::encode(column, effort, out);
    put_buckets(&rows, by_bucket, out, |rows, out| {
        let mut cells = Vec::with_capacity(rows.len() * rows[0].len());
        for (at, row) in rows.iter().enumerate() {
            let before = |bucket: usize| match at.checked_sub(1) {
                Some(before) => rows[before][bucket],
                None => bucket.checked_sub(1).map_or(0, |before| row[before]),
            };
            cells.extend((0..row.len()).map(|bucket| row[bucket].wrapping_sub(before(bucket))));
        }
        // Differences have no order among them.
        ints::encode_loose(&cells, effort, out);
    });
}

fn put_floats(run: &[&NativeHistogram], effort: Effort, out: &mut Vec<u8>) {
    let (mut counts, mut zeros) = (Vec::new(), Vec::new());
    let mut rows: Vec<Vec<f64>> = Vec::with_capacity(run.len());
    for histogram in run {
        if let Counts::Float {
            count,
            zero,
            negative,
            positive,
        } = &histogram.counts
        {
            counts.push(*count);
            zeros.push(*zero);
            rows.push(negative.iter().chain(positive).copied().collect());
        }
    }
    floats::encode(&counts, effort, out);
    floats::encode(&zeros, effort, out);
    let by_bucket = |column: &[f64], out: &mut Vec<u8>| floats::encode(column, effort, out);
    put_buckets(&rows, by_bucket, out, |rows, out| {
        floats::encode(&rows.concat(), effort, out);
    });
}

/// Appends the buckets of histograms of one layout: bucket by bucket or, where that is smaller, all
/// of a histogram together.
fn put_buckets<T: Copy>(
    rows: &[Vec<T>],
    encode_bucket: impl Fn(&[T], &mut Vec<u8>),
    out: &mut Vec<u8>,
    encode_rows: impl FnOnce(&[Vec<T>], &mut Vec<u8>),
) {
    let n = rows[0].len();
    if n == 0 {
        return;
    }
    let mut by_bucket = vec![BY_BUCKET];
    let mut column = Vec::with_capacity(rows.len());
    for bucket in 0..n {
        column.clear();
        column.extend(rows.iter().map(|row| row[bucket]));
        encode_bucket(&column, &mut by_bucket);
    }
    // One byte is an encoding that was not made.
    let mut by_histogram = vec![BY_HISTOGRAM];
    if rows.len() * n <= ROWS_MAX {
        encode_rows(rows, &mut by_histogram);
    }
    let is_smaller = by_histogram.len() > 1 && by_histogram.len() < by_bucket.len();
    out.extend_from_slice(if is_smaller {
        &by_histogram
    } else {
        &by_bucket
    });
}

fn summed(differences: &[i64]) -> impl Iterator<Item = i64> {
    let mut count = 0i64;
    differences.iter().map(move |d| {
        count = count.wrapping_add(*d);
        count
    })
}

fn differences(counts: &[i64]) -> Vec<i64> {
    let mut last = 0i64;
    let each = counts.iter().map(|count| {
        let difference = count.wrapping_sub(last);
        last = *count;
        difference
    });
    each.collect()
}

/// Reads `n` histograms.
pub fn decode(r: &mut Reader<'_>, n: usize) -> Result<Vec<NativeHistogram>, Malformed> {
    let mut all: Vec<NativeHistogram> = Vec::new();
    let mut cells_left = 2 * CELLS_MAX;
    while all.len() < n {
        let rows = r.varint32()? as usize;
        if rows == 0 || rows > n - all.len() {
            return Err(Malformed("a run of histograms is longer than its block"));
        }
        let layout = take_layout(r)?;
        let needed = cells(&layout.empty).saturating_add(layout.n_buckets());
        cells_left = cells_left
            .checked_sub(needed.saturating_mul(rows))
            .ok_or(Malformed("more buckets than a block may have"))?;
        let mut hints = Vec::new();
        ints::decode(r, rows, &mut hints)?;
        let mut sums = Vec::new();
        floats::decode(r, rows, &mut sums)?;
        let counts = if layout.is_float {
            take_floats(r, rows, &layout)?
        } else {
            take_integers(r, rows, &layout)?
        };
        for ((counts, hint), sum) in counts.into_iter().zip(hints).zip(sums) {
            let hint = u64::try_from(hint).ok().and_then(ResetHint::of);
            let histogram = NativeHistogram {
                sum,
                counts,
                reset_hint: hint.ok_or(Malformed("unknown reset hint"))?,
                ..layout.empty.clone()
            };
            if !histogram.is_consistent() {
                return Err(Malformed("a histogram that cannot be"));
            }
            all.push(histogram);
        }
    }
    Ok(all)
}

/// What the histograms of a run have in common.
struct Layout {
    empty: NativeHistogram,
    is_float: bool,
    n_negative: usize,
    n_positive: usize,
}

impl Layout {
    fn n_buckets(&self) -> usize {
        self.n_negative + self.n_positive
    }
}

fn take_layout(r: &mut Reader<'_>) -> Result<Layout, Malformed> {
    let bits = r.byte()?;
    if bits & !FLOATS != 0 {
        return Err(Malformed("unknown kind of histogram"));
    }
    let schema = i32::try_from(r.signed()?).map_err(|_| Malformed("unknown schema"))?;
    let zero_threshold = f64::from_bits(r.u64()?);
    let mut spans = || -> Result<(Vec<Span>, usize), Malformed> {
        let (mut spans, mut n_buckets) = (Vec::new(), 0usize);
        for _ in 0..r.count(2)? {
            let offset = i32::try_from(r.signed()?).map_err(|_| Malformed("offset of a span"))?;
            let length = r.varint32()?;
            n_buckets = n_buckets.saturating_add(length as usize);
            spans.push(Span { offset, length });
        }
        if n_buckets > BUCKETS_MAX || spans.len() > BUCKETS_MAX {
            return Err(Malformed("more buckets than a histogram may have"));
        }
        Ok((spans, n_buckets))
    };
    let ((negative_spans, n_negative), (positive_spans, n_positive)) = (spans()?, spans()?);
    let custom_bounds = (0..r.count(8)?)
        .map(|_| r.u64().map(f64::from_bits))
        .collect::<Result<_, _>>()?;
    let empty = NativeHistogram {
        schema,
        zero_threshold,
        negative_spans,
        positive_spans,
        custom_bounds,
        ..NativeHistogram::empty(0.0)
    };
    Ok(Layout {
        empty,
        is_float: bits & FLOATS != 0,
        n_negative,
        n_positive,
    })
}

fn take_integers(
    r: &mut Reader<'_>,
    rows: usize,
    layout: &Layout,
) -> Result<Vec<Counts>, Malformed> {
    let (mut counts, mut zeros, mut column) = (Vec::new(), Vec::new(), Vec::new());
    ints::decode(r, rows, &mut counts)?;
    ints::decode(r, rows, &mut zeros)?;
    let n = layout.n_buckets();
    let mut cells = vec![0i64; rows * n];
    match layout_of_buckets(r, n)? {
        None => {}
        Some(BY_BUCKET) => {
            for bucket in 0..n {
                ints::decode(r, rows, &mut column)?;
                for (row, count) in column.iter().enumerate() {
                    cells[row * n + bucket] = *count;
                }
            }
        }
        Some(_) => {
            ints::decode(r, rows * n, &mut column)?;
            for (at, difference) in column.iter().enumerate() {
                let before = match at.checked_sub(n) {
                    Some(before) => cells[before],
                    None => at.checked_sub(1).map_or(0, |before| cells[before]),
                };
                cells[at] = before.wrapping_add(*difference);
            }
        }
    }
    let all = counts.into_iter().zip(zeros).enumerate();
    let all = all.map(|(row, (count, zero))| {
        let (negative, positive) = cells[row * n..][..n].split_at(layout.n_negative);
        Counts::Integer {
            count: count as u64,
            zero: zero as u64,
            negative: differences(negative),
            positive: differences(positive),
        }
    });
    Ok(all.collect())
}

fn take_floats(r: &mut Reader<'_>, rows: usize, layout: &Layout) -> Result<Vec<Counts>, Malformed> {
    let (mut counts, mut zeros, mut column) = (Vec::new(), Vec::new(), Vec::new());
    floats::decode(r, rows, &mut counts)?;
    floats::decode(r, rows, &mut zeros)?;
    let n = layout.n_buckets();
    let mut cells = vec![0f64; rows * n];
    match layout_of_buckets(r, n)? {
        None => {}
        Some(BY_BUCKET) => {
            for bucket in 0..n {
                floats::decode(r, rows, &mut column)?;
                for (row, count) in column.iter().enumerate() {
                    cells[row * n + bucket] = *count;
                }
            }
        }
        Some(_) => floats::decode(r, rows * n, &mut cells)?,
    }
    let all = counts.into_iter().zip(zeros).enumerate();
    let all = all.map(|(row, (count, zero))| {
        let (negative, positive) = cells[row * n..][..n].split_at(layout.n_negative);
        Counts::Float {
            count,
            zero,
            negative: negative.to_vec(),
            positive: positive.to_vec(),
        }
    });
    Ok(all.collect())
}

/// How the buckets are laid out; `None` when there are none.
fn layout_of_buckets(r: &mut Reader<'_>, n: usize) -> Result<Option<u8>, Malformed> {
    if n == 0 {
        return Ok(None);
    }
    match r.byte()? {
        layout @ (BY_BUCKET | BY_HISTOGRAM) => Ok(Some(layout)),
        _ => Err(Malformed("unknown layout of buckets")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::Random;

    /// A latency histogram as a client library keeps it.
    fn growing(random: &mut Random, n: usize, n_buckets: usize) -> Vec<NativeHistogram> {
        let (mut counts, mut sum) = (vec![0i64; n_buckets], 0.0);
        let mut all = Vec::new();
        for _ in 0..n {
            for _ in 0..50 {
                let middle =
                    random.below(n_buckets as u64 / 2) + random.below(n_buckets as u64 / 2);
                counts[middle as usize] += 1;
                sum += middle as f64 / 64.0;
            }
            all.push(NativeHistogram {
                schema: 3,
                zero_threshold: 1e-128,
                positive_spans: vec![Span {
                    offset: -20,
                    length: n_buckets as u32,
                }],
                counts: Counts::Integer {
                    count: counts.iter().sum::<i64>() as u64,
                    zero: 0,
                    negative: Vec::new(),
                    positive: differences(&counts),
                },
                ..NativeHistogram::empty(sum)
            });
        }
        all
    }

    #[test]
    fn a_growing_histogram_takes_about_a_byte_a_bucket_and_comes_back() {
        let mut random = Random(9);
        for (n, limit) in [(40, 1.1), (240, 0.9), (1440, 0.8)] {
            let all = growing(&mut random, n, 60);
            let refs: Vec<&NativeHistogram> = all.iter().collect();
            let mut bytes = Vec::new();
            encode(&refs, Effort::Merge, &mut bytes);
            let back = decode(&mut Reader::new(&bytes), n).unwrap();
            assert!(back.iter().zip(&all).all(|(a, b)| a.is_same(b)));
            let per_cell = bytes.len() as f64 / (n * 60) as f64;
            assert!(per_cell < limit, "{n}: {per_cell}");
        }
    }

    #[test]
    fn a_layout_that_promises_more_than_a_block_may_have_is_refused() {
        let wide = NativeHistogram {
            positive_spans: vec![Span {
                offset: 0,
                length: BUCKETS_MAX as u32,
            }],
            counts: Counts::Integer {
                count: 0,
                zero: 0,
                negative: Vec::new(),
                positive: vec![0; BUCKETS_MAX],
            },
            ..NativeHistogram::empty(0.0)
        };
        let mut bytes = Vec::new();
        encode(&[&wide], Effort::Flush, &mut bytes);
        assert!(decode(&mut Reader::new(&bytes), 1).unwrap()[0].is_same(&wide));
        bytes[0] = 100;
        let error = decode(&mut Reader::new(&bytes), 100).unwrap_err();
        assert_eq!(error.0, "more buckets than a block may have");
    }
}
