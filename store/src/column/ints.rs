//! Integers: times of samples and entries, line lengths, decimal-scaled sample values.
//!
//! ```text
//! byte 0  layout
//!   0  arithmetic:   first, step (signed varints); n values
//!   1  deltas:       first, smallest delta (signed varints), width (1 byte), (n-1) x width bits
//!   2  double delta: first, first delta, smallest double delta (signed varints), width, (n-2) x width bits
//!   3  pco:          length (varint), a pco file of n i64
//!   4  frame:        smallest (signed varint), width (1 byte), n x width bits
//!   5  patched:      see `patched`
//! ```
//! `frame` is written by `encode_loose` only, for values whose neighbours have nothing in common. pco is written where it
//! takes a twentieth less than any other layout, for it takes several times as long to read, and only by merges.
//! The count is not stored: the caller knows it. Differences wrap, so any i64 is allowed.

use pco::standalone::{simple_compress, simple_decompress_into};
use pco::{DeltaSpec, ModeSpec};

use super::bits::{self, BitWriter};
use super::{Effort, ROWS_MAX, patched};
use crate::bytes::{Malformed, Reader, put_signed, put_text};

const ARITHMETIC: u8 = 0;
const DELTAS: u8 = 1;
const DOUBLE_DELTAS: u8 = 2;
/// pco decodes so many values at once.
const PCO_BATCH: usize = 256;
const PCO: u8 = 3;
const FRAME: u8 = 4;
const PATCHED: u8 = 5;

/// Below this many values pco's own header costs more than it saves.
const PCO_FROM_ROWS: usize = 256;
/// Below this many values there is nothing to gain from exceptions.
const PATCHED_FROM_ROWS: usize = 32;

/// Appends the smallest layout of `values`.
pub fn encode(values: &[i64], effort: Effort, out: &mut Vec<u8>) {
    debug_assert!(values.len() <= ROWS_MAX);
    let first = values.first().copied().unwrap_or(0);
    let step = values.get(1).map_or(0, |v| v.wrapping_sub(first));
    if values.windows(2).all(|w| w[1].wrapping_sub(w[0]) == step) {
        out.push(ARITHMETIC);
        put_signed(out, first);
        put_signed(out, step);
        return;
    }
    let deltas: Vec<i64> = values.windows(2).map(|w| w[1].wrapping_sub(w[0])).collect();
    let doubles: Vec<i64> = deltas.windows(2).map(|w| w[1].wrapping_sub(w[0])).collect();
    let (min_delta, delta_width) = frame_of(&deltas);
    let (min_double, double_width) = frame_of(&doubles);
    let single = delta_width as usize * deltas.len();
    let double = double_width as usize * doubles.len();
    let is_noisy = delta_width.min(double_width) > 1;
    let mut smallest = single.min(double);
    let mut patched = Vec::new();
    if values.len() >= PATCHED_FROM_ROWS && is_noisy {
        patched::encode(values, &mut patched);
        if patched.len() * 8 < smallest {
            smallest = patched.len() * 8;
        } else {
            patched.clear();
        }
    }
    if values.len() >= PCO_FROM_ROWS && is_noisy && effort == Effort::Merge {
        let packed = pack(values, effort);
        if packed.len() * 8 * 20 < smallest * 19 {
            out.push(PCO);
            put_text(out, &packed);
            return;
        }
    }
    if !patched.is_empty() {
        out.push(PATCHED);
        out.extend_from_slice(&patched);
    } else if single <= double {
        out.push(DELTAS);
        put_signed(out, first);
        put_frame(&deltas, min_delta, delta_width, out);
    } else {
        out.push(DOUBLE_DELTAS);
        put_signed(out, first);
        put_signed(out, step);
        put_frame(&doubles, min_double, double_width, out);
    }
}

/// How many values are looked at to tell whether neighbours are alike.
const LOOSE_SAMPLE_ROWS: usize = 1024;

/// Appends the smallest layout of values that are seldom in any order: numbers out of texts, codes
/// of dictionaries. A third of the work of `encode`.
pub fn encode_loose(values: &[i64], effort: Effort, out: &mut Vec<u8>) {
    debug_assert!(values.len() <= ROWS_MAX);
    let (min, width) = frame_of(values);
    if width == 0 {
        out.push(ARITHMETIC);
        put_signed(out, min);
        put_signed(out, 0);
        return;
    }
    let is_ordered = is_ordered(&values[..values.len().min(LOOSE_SAMPLE_ROWS)], min);
    if values.len() < PCO_FROM_ROWS && is_ordered {
        return encode(values, effort, out);
    }
    if values.len() >= PCO_FROM_ROWS && width > 1 {
        let delta = match is_ordered {
            true => DeltaSpec::TryConsecutive(1),
            false => DeltaSpec::NoOp,
        };
        let config = config(effort)
            .with_mode_spec(ModeSpec::Classic)
            .with_delta_spec(delta);
        let packed = simple_compress(values, &config).expect("pco takes any integers");
        if packed.len() * 8 < width as usize * values.len() {
            out.push(PCO);
            put_text(out, &packed);
            return;
        }
    }
    out.push(FRAME);
    put_frame(values, min, width, out);
}

/// Whether the differences of neighbours are smaller than the values' distances from the smallest.
fn is_ordered(sample: &[i64], min: i64) -> bool {
    let bits = |n: u64| u64::from(64 - n.leading_zeros());
    let plain: u64 = sample
        .iter()
        .map(|v| bits(v.wrapping_sub(min) as u64))
        .sum();
    let deltas: u64 = sample
        .windows(2)
        .map(|w| bits(w[1].wrapping_sub(w[0]).unsigned_abs()) + 1)
        .sum();
    deltas < plain
}

/// Reads `n` values into `out`, in place of what is there.
pub fn decode(r: &mut Reader<'_>, n: usize, out: &mut Vec<i64>) -> Result<(), Malformed> {
    if n > ROWS_MAX {
        return Err(Malformed("more rows than a column may have"));
    }
    // What stays of the old values is overwritten.
    out.resize(n, 0);
    let result = decode_to(r, out);
    if result.is_err() {
        out.clear();
    }
    result
}

/// Fills `out`, which is as long as the list.
pub fn decode_to(r: &mut Reader<'_>, out: &mut [i64]) -> Result<(), Malformed> {
    let n = out.len();
    let layout = r.byte()?;
    if n == 0 && layout != ARITHMETIC {
        return Err(Malformed("no rows but a layout"));
    }
    match layout {
        ARITHMETIC => {
            let (mut value, step) = (r.signed()?, r.signed()?);
            for slot in out {
                *slot = value;
                value = value.wrapping_add(step);
            }
        }
        DELTAS => {
            let mut value = r.signed()?;
            out[0] = value;
            take_frame(r, &mut out[1..], |delta| {
                value = value.wrapping_add(delta);
                value
            })?;
        }
        DOUBLE_DELTAS => {
            if n < 2 {
                return Err(Malformed("double deltas of one row"));
            }
            let (first, mut delta) = (r.signed()?, r.signed()?);
            let mut value = first.wrapping_add(delta);
            out[..2].copy_from_slice(&[first, value]);
            take_frame(r, &mut out[2..], |double| {
                delta = delta.wrapping_add(double);
                value = value.wrapping_add(delta);
                value
            })?;
        }
        PCO => {
            let packed = r.text()?;
            let progress = simple_decompress_into(packed, out)
                .map_err(|_| Malformed("integers do not decompress"))?;
            if progress.n_processed != n || !progress.finished {
                return Err(Malformed("integers of another count"));
            }
        }
        FRAME => take_frame(r, out, |value| value)?,
        PATCHED => {
            patched::decode_first(r, n, out)?;
        }
        _ => return Err(Malformed("unknown layout of integers")),
    }
    Ok(())
}

/// Reads at least the first `first` of the `n` values that `bytes` hold into `out`, in place of what is there. What
/// lies behind them may stay unread, and unverified.
pub fn decode_first(
    bytes: &[u8],
    n: usize,
    first: usize,
    out: &mut Vec<i64>,
) -> Result<(), Malformed> {
    if n > ROWS_MAX || first > n {
        return Err(Malformed("more rows than a column may have"));
    }
    out.resize(n, 0);
    let n_read = decode_first_to(bytes, first, out)?;
    out.truncate(n_read);
    Ok(())
}

/// Fills at least the first `first` of `out`, which is as long as the list that `bytes` hold; returns how many it filled.
pub fn decode_first_to(bytes: &[u8], first: usize, out: &mut [i64]) -> Result<usize, Malformed> {
    let mut r = Reader::new(bytes);
    match bytes.first() {
        Some(&PCO) if first + PCO_BATCH <= out.len() => r.byte()?,
        Some(&PATCHED) if first < out.len() => {
            r.byte()?;
            return patched::decode_first(&mut r, first, out);
        }
        _ => {
            decode_to(&mut r, out)?;
            r.end()?;
            return Ok(out.len());
        }
    };
    let packed = r.text()?;
    let n_wanted = first.next_multiple_of(PCO_BATCH);
    match simple_decompress_into(packed, &mut out[..n_wanted]) {
        Ok(progress) if progress.n_processed >= first => Ok(n_wanted),
        Ok(_) => Err(Malformed("integers of another count")),
        Err(_) => Err(Malformed("integers do not decompress")),
    }
}

fn pack(values: &[i64], effort: Effort) -> Vec<u8> {
    simple_compress(values, &config(effort)).expect("pco takes any integers")
}

/// pco's levels: 4 costs about 50 ns a value and gives all but a percent.
pub(super) fn config(effort: Effort) -> pco::ChunkConfig {
    pco::ChunkConfig::default().with_compression_level(match effort {
        Effort::Flush => 2,
        Effort::Merge => 4,
    })
}

/// The smallest value and the bits that the distance of the largest from it takes.
fn frame_of(values: &[i64]) -> (i64, u32) {
    let min = values.iter().copied().min().unwrap_or(0);
    let max = values.iter().copied().max().unwrap_or(0);
    let span = max.wrapping_sub(min) as u64;
    (min, 64 - span.leading_zeros())
}

fn put_frame(values: &[i64], min: i64, width: u32, out: &mut Vec<u8>) {
    put_signed(out, min);
    out.push(width as u8);
    let mut bits = BitWriter::new(out);
    for v in values {
        bits.put(v.wrapping_sub(min) as u64, width);
    }
    bits.finish();
}

fn take_frame(
    r: &mut Reader<'_>,
    out: &mut [i64],
    mut each: impl FnMut(i64) -> i64,
) -> Result<(), Malformed> {
    let min = r.signed()?;
    let width = u32::from(r.byte()?);
    if width > 64 {
        return Err(Malformed("integers wider than 64 bits"));
    }
    let n = out.len();
    let bytes = r.take((n * width as usize).div_ceil(8))?;
    let mut slots = out.iter_mut();
    bits::unpack(bytes, width, n, |value| {
        if let Some(slot) = slots.next() {
            *slot = each(min.wrapping_add(value as i64));
        }
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::Random;

    type Encode = fn(&[i64], Effort, &mut Vec<u8>);

    fn round_trip(values: &[i64]) -> usize {
        round_trip_with(encode_loose, values);
        round_trip_with(encode, values)
    }

    fn round_trip_with(encode: Encode, values: &[i64]) -> usize {
        let mut sizes = [0; 2];
        for (at, effort) in [Effort::Flush, Effort::Merge].into_iter().enumerate() {
            let mut out = Vec::new();
            encode(values, effort, &mut out);
            sizes[at] = out.len();
            out.push(99);
            let (mut r, mut back) = (Reader::new(&out), vec![7]);
            decode(&mut r, values.len(), &mut back).unwrap();
            assert_eq!(back, values);
            assert_eq!(r.rest(), [99], "reads exactly its own bytes");
            out.pop();
            for first in [0, 1, 256, 300, values.len()] {
                let first = first.min(values.len());
                decode_first(&out, values.len(), first, &mut back).unwrap();
                assert_eq!(back[..first], values[..first]);
            }
        }
        sizes[1]
    }

    #[test]
    fn special_lists() {
        for values in [
            &[][..],
            &[5],
            &[i64::MIN],
            &[i64::MIN, i64::MAX],
            &[i64::MIN, i64::MAX, 0],
            &[i64::MAX, i64::MIN, i64::MAX, 3],
            &[1, 2, 3, 4],
            &[0, 0, 0, 1],
        ] {
            round_trip(values);
        }
        assert!(round_trip(&vec![77; 5000]) < 8);
        let ticks: Vec<i64> = (0..5000).map(|i| 1_700_000_000_000 + i * 15_000).collect();
        assert!(round_trip(&ticks) < 16);
    }

    #[test]
    fn the_layout_that_is_read_fastest_wins_among_those_of_about_one_size() {
        let mut random = Random(11);
        let mut value = 0;
        let counter: Vec<i64> = (0..4000)
            .map(|at| {
                value += 1400 + random.below(150) as i64 + i64::from(at % 97 == 0) * 5000;
                value
            })
            .collect();
        // Two narrow ranges far from each other: bins tell them apart, frames do not.
        let modes: Vec<i64> = (0..4000)
            .map(|_| (random.below(2) << 40) as i64 + random.below(8) as i64)
            .collect();
        let layout = |values: &[i64], effort| {
            let mut out = Vec::new();
            encode(values, effort, &mut out);
            out[0]
        };
        assert_eq!(layout(&counter, Effort::Merge), PATCHED);
        assert_eq!(layout(&counter, Effort::Flush), PATCHED);
        assert_eq!(layout(&modes, Effort::Merge), PCO);
        assert_ne!(layout(&modes, Effort::Flush), PCO);
        assert_ne!(layout(&counter[1..20], Effort::Merge), PATCHED);
    }

    #[test]
    fn random_lists_of_every_shape() {
        let mut random = Random(1);
        for round in 0..400 {
            let n = random.below(1200) as usize;
            let bits = random.below(65) as u32;
            let mut value = random.next() as i64;
            let values: Vec<i64> = (0..n)
                .map(|_| {
                    let noise = random.next().checked_shr(64 - bits).unwrap_or(0) as i64;
                    value = if round % 3 == 0 {
                        noise
                    } else {
                        value.wrapping_add(noise)
                    };
                    value
                })
                .collect();
            round_trip(&values);
        }
    }

    #[test]
    fn damaged_bytes_are_an_error_or_other_values_never_a_panic() {
        let mut random = Random(2);
        let values: Vec<i64> = (0..500)
            .map(|i| i * i + (random.next() % 100) as i64)
            .collect();
        let mut good = Vec::new();
        encode(&values, Effort::Merge, &mut good);
        let mut back = Vec::new();
        for cut in 0..good.len() {
            assert!(decode(&mut Reader::new(&good[..cut]), values.len(), &mut back).is_err());
        }
        assert!(decode(&mut Reader::new(&[9]), 1, &mut back).is_err());
        assert!(decode(&mut Reader::new(&[1, 0, 0, 65]), 2, &mut back).is_err());
        assert!(decode(&mut Reader::new(&[0, 0, 0]), ROWS_MAX + 1, &mut back).is_err());
    }
}
