//! Samples that are not all plain floats: histograms among them, or times at which counting began.
//!
//! A block of floats alone has the layouts of `floats` and never this one. The rule: every bit of
//! floats, histograms and start times comes back at its place.
//!
//! ```text
//! byte 0   16
//! byte 1   bit 0: start times, bit 1: histograms
//! starts:  number of runs (varint), each: samples (varint), Unix ms less those of the run before (signed)
//! kinds:   number of runs (varint), each: samples (varint); floats and histograms in turn, floats first
//! floats of the samples that are floats, if any: `floats`
//! histograms of the others, if any: `histograms`
//! ```

use std::ops::Range;
use std::sync::Arc;

use kansoku_model::histogram::NativeHistogram;

use super::{Effort, ROWS_MAX, floats, histograms};
use crate::bytes::{Malformed, Reader, put_signed, put_varint};
use crate::samples::{NO_FLOAT, SampleColumns};

/// The first byte; those of `floats` are smaller.
pub const LAYOUT: u8 = 16;
const STARTS: u8 = 1;
const HISTOGRAMS: u8 = 2;

/// Whether these rows are more than floats.
pub fn is_needed(samples: &SampleColumns, rows: Range<usize>) -> bool {
    has_starts(samples, rows.clone()) || has_histograms(samples, rows)
}

fn has_starts(samples: &SampleColumns, rows: Range<usize>) -> bool {
    !samples.starts.is_empty() && samples.starts[rows].iter().any(|s| *s != 0)
}

fn has_histograms(samples: &SampleColumns, rows: Range<usize>) -> bool {
    !samples.histograms.is_empty() && samples.histograms[rows].iter().any(Option::is_some)
}

/// Appends the rows.
pub fn encode(samples: &SampleColumns, rows: Range<usize>, effort: Effort, out: &mut Vec<u8>) {
    let with_starts = has_starts(samples, rows.clone());
    let with_histograms = has_histograms(samples, rows.clone());
    out.push(LAYOUT);
    out.push((u8::from(with_starts) * STARTS) | (u8::from(with_histograms) * HISTOGRAMS));
    if with_starts {
        let runs = runs_of(samples.starts[rows.clone()].iter().copied());
        put_varint(out, runs.len() as u64);
        let mut last = 0i64;
        for (start, n) in runs {
            put_varint(out, n);
            put_signed(out, start.wrapping_sub(last));
            last = start;
        }
    }
    if !with_histograms {
        floats::encode(&samples.values[rows], effort, out);
        return;
    }
    let all = &samples.histograms[rows.clone()];
    let mut runs = runs_of(all.iter().map(Option::is_some));
    if runs.first().is_some_and(|(is_histogram, _)| *is_histogram) {
        runs.insert(0, (false, 0));
    }
    put_varint(out, runs.len() as u64);
    runs.iter().for_each(|(_, n)| put_varint(out, *n));
    let own = all.iter().zip(&samples.values[rows]);
    let values: Vec<f64> = own
        .filter(|(histogram, _)| histogram.is_none())
        .map(|(_, value)| *value)
        .collect();
    if !values.is_empty() {
        floats::encode(&values, effort, out);
    }
    let given: Vec<&NativeHistogram> = all.iter().flatten().map(|h| &**h).collect();
    histograms::encode(&given, effort, out);
}

/// Equal neighbours and how many they are.
fn runs_of<T: PartialEq>(all: impl Iterator<Item = T>) -> Vec<(T, u64)> {
    let mut runs: Vec<(T, u64)> = Vec::new();
    for one in all {
        match runs.last_mut() {
            Some((last, n)) if *last == one => *n += 1,
            _ => runs.push((one, 1)),
        }
    }
    runs
}

/// Reads `n` samples; their times are left empty.
pub fn decode(r: &mut Reader<'_>, n: usize) -> Result<SampleColumns, Malformed> {
    let mut samples = SampleColumns::default();
    if n > ROWS_MAX {
        return Err(Malformed("more rows than a column may have"));
    }
    if r.byte()? != LAYOUT {
        return Err(Malformed("unknown layout of samples"));
    }
    let bits = r.byte()?;
    if bits & !(STARTS | HISTOGRAMS) != 0 {
        return Err(Malformed("unknown kind of samples"));
    }
    if bits & STARTS != 0 {
        let mut last = 0i64;
        for _ in 0..r.count(2)? {
            let end = run_end(r, samples.starts.len(), n)?;
            last = last.wrapping_add(r.signed()?);
            samples.starts.resize(end, last);
        }
        if samples.starts.len() != n {
            return Err(Malformed("not as many start times as samples"));
        }
    }
    if bits & HISTOGRAMS == 0 {
        floats::decode(r, n, &mut samples.values)?;
        r.end()?;
        return Ok(samples);
    }
    let (mut kinds, mut is_histogram) = (Vec::new(), false);
    for _ in 0..r.count(1)? {
        let end = run_end(r, kinds.len(), n)?;
        kinds.resize(end, is_histogram);
        is_histogram = !is_histogram;
    }
    if kinds.len() != n {
        return Err(Malformed("not as many kinds as samples"));
    }
    let n_histograms = kinds.iter().filter(|is| **is).count();
    let mut values = Vec::new();
    if n_histograms < n {
        floats::decode(r, n - n_histograms, &mut values)?;
    }
    let all = histograms::decode(r, n_histograms)?;
    r.end()?;
    let (mut values, mut all) = (values.into_iter(), all.into_iter());
    for is_histogram in kinds {
        let (value, histogram) = if is_histogram {
            (Some(NO_FLOAT), all.next().map(Arc::new))
        } else {
            (values.next(), None)
        };
        samples
            .values
            .push(value.expect("as many values as floats"));
        samples.histograms.push(histogram);
    }
    Ok(samples)
}

fn run_end(r: &mut Reader<'_>, start: usize, n: usize) -> Result<usize, Malformed> {
    let len = r.varint32()? as usize;
    let end = start.checked_add(len).filter(|end| *end <= n);
    end.ok_or(Malformed("a run is longer than its block"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{Random, any_histogram};

    fn any_samples(random: &mut Random, n: usize) -> SampleColumns {
        let mut samples = SampleColumns::default();
        let (kinds, starts) = (random.below(3), random.below(3));
        for i in 0..n {
            let is_histogram = kinds == 2 || (kinds == 1 && random.below(3) == 0);
            let histogram = is_histogram.then(|| Arc::new(any_histogram(random)));
            let value = if is_histogram {
                NO_FLOAT
            } else {
                f64::from_bits(random.next())
            };
            let start = match starts {
                0 => 0,
                1 => (i as i64 / 20) * 1000,
                _ => random.next() as i64,
            };
            samples.push(i as i64, value, histogram, start);
        }
        samples
    }

    #[test]
    fn every_sample_comes_back_bit_for_bit() {
        let mut random = Random(3);
        for round in 0..300 {
            let n = 1 + random.below(40) as usize;
            let samples = any_samples(&mut random, n);
            let rows = random.below(n as u64) as usize..n;
            if !is_needed(&samples, rows.clone()) {
                continue;
            }
            let mut bytes = Vec::new();
            encode(&samples, rows.clone(), Effort::Merge, &mut bytes);
            let back = decode(&mut Reader::new(&bytes), rows.len()).unwrap();
            for (at, row) in rows.enumerate() {
                let same = match (
                    samples.histograms.get(row).and_then(Option::as_ref),
                    back.histograms.get(at).and_then(Option::as_ref),
                ) {
                    (None, None) => true,
                    (Some(a), Some(b)) => a.is_same(b),
                    _ => false,
                };
                assert!(same, "round {round} row {row}");
                let bits = |v: &[f64], at: usize| v[at].to_bits();
                assert_eq!(bits(&back.values, at), bits(&samples.values, row));
                let start = |s: &[i64], at: usize| s.get(at).copied().unwrap_or(0);
                assert_eq!(start(&back.starts, at), start(&samples.starts, row));
            }
        }
    }

    #[test]
    fn cuts_and_flips_are_refused_or_read_and_never_panic() {
        let mut random = Random(11);
        for _ in 0..6 {
            let mut samples = any_samples(&mut random, 12);
            samples.push(99, NO_FLOAT, Some(Arc::new(any_histogram(&mut random))), 5);
            let mut bytes = Vec::new();
            encode(&samples, 0..13, Effort::Flush, &mut bytes);
            for cut in 0..bytes.len() {
                assert!(decode(&mut Reader::new(&bytes[..cut]), 13).is_err());
            }
            for bit in 0..bytes.len() * 8 {
                let mut bad = bytes.clone();
                bad[bit / 8] ^= 1 << (bit % 8);
                let _ = decode(&mut Reader::new(&bad), 13);
            }
        }
    }

    #[test]
    fn a_start_that_does_not_change_costs_nothing() {
        let mut samples = SampleColumns::default();
        for i in 0..1000 {
            samples.push(i, i as f64, None, 1_767_312_000_000);
        }
        let (mut bytes, mut plain) = (Vec::new(), Vec::new());
        encode(&samples, 0..1000, Effort::Flush, &mut bytes);
        floats::encode(&samples.values, Effort::Flush, &mut plain);
        assert!(bytes.len() <= plain.len() + 12, "{}", bytes.len());
    }
}
