//! Integers in patched frames: each block takes the bits that most of its values need, and the few that need more
//! stand beside it whole.
//!
//! ```text
//! order (1 byte), first (signed varint), unit (varint), and of order 2: first step (signed varint)
//! then blocks of 256 numbers, the last one of fewer:
//!   base (signed varint), width w (1 byte), exceptions x (1 byte), n x w bits
//!   when x > 0: width e (1 byte), x places in the block (1 byte each), x times e bits: zigzag of number - base
//! ```
//! The values are `first + unit * u`; the numbers are the `u` behind the first (order 0), their differences (1), or
//! the differences of those (2). Sums and products wrap.
//!
//! After Zukowski et al., "Super-Scalar RAM-CPU Cache Compression" (ICDE 2006). On counters of nodes it takes what
//! pco takes within a percent, and is unpacked six times as fast.

use super::bits::{BitReader, BitWriter, unpack_to};
use crate::bytes::{Malformed, Reader, put_signed, put_varint};

/// Numbers of a block.
pub const BLOCK: usize = 256;
/// From so many exceptions on, more bits for all are as good.
const EXCEPTIONS_MAX: usize = 64;
/// What the head of a block takes, about.
const HEAD_BITS: usize = 32;
/// Blocks that are looked at to choose the order.
const TRIED_BLOCKS: usize = 3;

/// How a block is packed.
#[derive(Debug, Clone, Copy)]
struct Frame {
    base: i64,
    width: u32,
    /// Of an exception; 0 when there is none.
    exception_width: u32,
    bits: usize,
}

/// Appends `values`, of which there is one at least.
pub fn encode(values: &[i64], out: &mut Vec<u8>) {
    let first = values[0];
    let unit = unit(values);
    // In units, each from the one before: order 1.
    let steps = values.windows(2).map(|w| w[1].wrapping_sub(w[0]));
    let mut numbers: Vec<i64> = match unit {
        1 => steps.collect(),
        _ => steps.map(|step| step / unit).collect(),
    };
    let order = order(&numbers);
    out.push(order);
    put_signed(out, first);
    put_varint(out, unit as u64);
    match order {
        0 => sum_up(&mut numbers),
        2 => {
            let first_step = numbers.first().copied().unwrap_or(0);
            put_signed(out, first_step);
            take_differences(&mut numbers, first_step);
        }
        _ => {}
    }
    let mut sorted = Vec::with_capacity(BLOCK);
    for block in numbers.chunks(BLOCK) {
        put_block(block, frame(block, &mut sorted), out);
    }
}

/// The largest number that divides all differences of neighbours.
fn unit(values: &[i64]) -> i64 {
    let mut unit = 0_u64;
    for w in values.windows(2) {
        let mut rest = w[1].wrapping_sub(w[0]).unsigned_abs();
        while rest != 0 {
            (unit, rest) = (rest, unit % rest);
        }
        if unit == 1 {
            break;
        }
    }
    // Nothing but the one difference that has no positive counterpart, or no difference.
    i64::try_from(unit).map_or(1, |unit| unit.max(1))
}

fn sum_up(numbers: &mut [i64]) {
    let mut sum = 0_i64;
    for number in numbers {
        sum = sum.wrapping_add(*number);
        *number = sum;
    }
}

fn take_differences(numbers: &mut [i64], first: i64) {
    let mut before = first;
    for number in numbers {
        (*number, before) = (number.wrapping_sub(before), *number);
    }
}

/// The order that takes the fewest bits in some of the blocks, about.
fn order(steps: &[i64]) -> u8 {
    let n_blocks = steps.len().div_ceil(BLOCK);
    let mut bits = [0; 3];
    let mut numbers = Vec::with_capacity(BLOCK);
    for tried in 0..n_blocks.min(TRIED_BLOCKS) {
        let at = match n_blocks {
            0..=TRIED_BLOCKS => tried,
            _ => tried * (n_blocks - 1) / (TRIED_BLOCKS - 1),
        };
        let block = &steps[at * BLOCK..steps.len().min((at + 1) * BLOCK)];
        bits[1] += distance_bits(block);
        for (order, change) in [(0, sum_up as fn(&mut [i64])), (2, take_own_differences)] {
            numbers.clear();
            numbers.extend_from_slice(block);
            change(&mut numbers);
            bits[order] += distance_bits(&numbers);
        }
    }
    // Of equal ones the middle one: the least work to unpack.
    [1, 0, 2]
        .into_iter()
        .min_by_key(|order| bits[usize::from(*order)])
        .unwrap_or(1)
}

fn take_own_differences(numbers: &mut [i64]) {
    let first = numbers.first().copied().unwrap_or(0);
    take_differences(numbers, first);
}

/// The bits that the distances from a number in the middle take, together.
fn distance_bits(numbers: &[i64]) -> u32 {
    const TRIED: usize = 15;
    let mut tried = [0; TRIED];
    for (at, slot) in tried.iter_mut().enumerate() {
        *slot = numbers[at * numbers.len() / TRIED];
    }
    tried.sort_unstable();
    let middle = tried[TRIED / 2];
    let bits = |number: &i64| bit_len(number.wrapping_sub(middle).unsigned_abs());
    numbers.iter().map(bits).sum()
}

/// The smallest frame of a block; `sorted` is room to work in.
fn frame(block: &[i64], sorted: &mut Vec<i64>) -> Frame {
    sorted.clear();
    sorted.extend_from_slice(block);
    sorted.sort_unstable();
    let n = sorted.len();
    let span = |from: i64, to: i64| to.wrapping_sub(from) as u64;
    let whole_width = bit_len(span(sorted[0], sorted[n - 1]));
    let mut best = Frame {
        base: sorted[0],
        width: whole_width,
        exception_width: 0,
        bits: HEAD_BITS + n * whole_width as usize,
    };
    let n_spare = EXCEPTIONS_MAX.min(n - 1);
    let mut width = whole_width;
    while width > 0 {
        width -= 1;
        // The longest run of sorted numbers that so many bits tell apart; it may leave out as many as may be exceptions.
        let widest = (1_u64 << width) - 1;
        let (mut to, mut best_from, mut inside) = (0, 0, 0);
        for from in 0..=n_spare {
            to = to.max(n - 1 - n_spare + from);
            if span(sorted[from], sorted[to]) > widest {
                continue;
            }
            while to + 1 < n && span(sorted[from], sorted[to + 1]) <= widest {
                to += 1;
            }
            if to + 1 - from > inside {
                (best_from, inside) = (from, to + 1 - from);
            }
            if to + 1 == n {
                break;
            }
        }
        if inside == 0 {
            break;
        }
        let n_exceptions = n - inside;
        let base = sorted[best_from];
        // The same run may take far fewer bits.
        width = bit_len(span(base, sorted[best_from + inside - 1]));
        let beyond = [sorted[0], sorted[n - 1]].map(|v| bit_len(zigzag(v.wrapping_sub(base))));
        // Where distances may wrap, the farthest are not the largest.
        let exception_width = match whole_width {
            64 => 64,
            _ => beyond[0].max(beyond[1]),
        };
        let of_exceptions = 8 + n_exceptions * (8 + exception_width as usize);
        let bits = HEAD_BITS + n * width as usize + of_exceptions;
        if bits < best.bits {
            best = Frame {
                base,
                width,
                exception_width,
                bits,
            };
        }
    }
    best
}

fn put_block(block: &[i64], frame: Frame, out: &mut Vec<u8>) {
    let is_inside = |number: &i64| bit_len(number.wrapping_sub(frame.base) as u64) <= frame.width;
    let exceptions = || block.iter().enumerate().filter(|(_, v)| !is_inside(v));
    let n_exceptions = exceptions().count();
    put_signed(out, frame.base);
    out.push(frame.width as u8);
    out.push(n_exceptions as u8);
    let mut bits = BitWriter::new(out);
    for number in block {
        let distance = number.wrapping_sub(frame.base) as u64;
        bits.put(if is_inside(number) { distance } else { 0 }, frame.width);
    }
    bits.finish();
    if n_exceptions == 0 {
        return;
    }
    out.push(frame.exception_width as u8);
    out.extend(exceptions().map(|(at, _)| at as u8));
    let mut bits = BitWriter::new(out);
    for (_, number) in exceptions() {
        bits.put(
            zigzag(number.wrapping_sub(frame.base)),
            frame.exception_width,
        );
    }
    bits.finish();
}

fn bit_len(n: u64) -> u32 {
    64 - n.leading_zeros()
}

fn zigzag(n: i64) -> u64 {
    ((n << 1) ^ (n >> 63)) as u64
}

fn unzigzag(n: u64) -> i64 {
    (n >> 1) as i64 ^ -((n & 1) as i64)
}

/// Fills at least the first `first` of `out`, which is as long as the list that `r` holds, by whole blocks; returns how
/// many it filled.
pub fn decode_first(r: &mut Reader<'_>, first: usize, out: &mut [i64]) -> Result<usize, Malformed> {
    let order = r.byte()?;
    let mut value = r.signed()?;
    let unit = r.varint()? as i64;
    let mut step = match order {
        0 | 1 => 0,
        2 => unit.wrapping_mul(r.signed()?),
        _ => return Err(Malformed("unknown order of patched integers")),
    };
    let Some((slot, rest)) = out.split_first_mut() else {
        return Err(Malformed("no rows but a layout"));
    };
    *slot = value;
    let start = value;
    let mut n_filled = 1;
    let mut numbers = [0_u64; BLOCK];
    for slots in rest.chunks_mut(BLOCK) {
        if n_filled >= first {
            break;
        }
        let base = take_block(r, slots.len(), &mut numbers)?;
        let scaled = |number: u64| unit.wrapping_mul(base.wrapping_add(number as i64));
        n_filled += slots.len();
        let slots = slots.iter_mut().zip(&numbers);
        match order {
            0 => slots.for_each(|(slot, number)| *slot = start.wrapping_add(scaled(*number))),
            1 if unit == 1 => slots.for_each(|(slot, number)| {
                value = value.wrapping_add(base.wrapping_add(*number as i64));
                *slot = value;
            }),
            1 => slots.for_each(|(slot, number)| {
                value = value.wrapping_add(scaled(*number));
                *slot = value;
            }),
            _ => slots.for_each(|(slot, number)| {
                step = step.wrapping_add(scaled(*number));
                value = value.wrapping_add(step);
                *slot = value;
            }),
        }
    }
    Ok(n_filled)
}

/// Reads the `n` numbers of a block, each less its base, which is returned.
fn take_block(r: &mut Reader<'_>, n: usize, numbers: &mut [u64; BLOCK]) -> Result<i64, Malformed> {
    let base = r.signed()?;
    let width = usize::from(r.byte()?);
    let n_exceptions = usize::from(r.byte()?);
    let bytes = r.take((n * width).div_ceil(8))?;
    unpack_to(bytes, width, &mut numbers[..n])?;
    if n_exceptions > 0 {
        let width = u32::from(r.byte()?);
        if width > 64 {
            return Err(Malformed("integers wider than 64 bits"));
        }
        let places = r.take(n_exceptions)?;
        let mut bits = BitReader::new(r.take((n_exceptions * width as usize).div_ceil(8))?);
        for place in places {
            let slot = numbers[..n].get_mut(usize::from(*place));
            let slot = slot.ok_or(Malformed("an exception behind its block"))?;
            *slot = unzigzag(bits.take(width)?) as u64;
        }
    }
    Ok(base)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::Random;

    fn round_trip(values: &[i64]) -> usize {
        let mut out = Vec::new();
        encode(values, &mut out);
        let len = out.len();
        out.push(77);
        for first in [0, 1, 2, 256, 257, 258, values.len() / 2, values.len()] {
            let first = first.min(values.len());
            let mut r = Reader::new(&out);
            let mut back = vec![99; values.len()];
            let n_filled = decode_first(&mut r, first, &mut back).unwrap();
            assert!(n_filled >= first);
            assert_eq!(back[..n_filled], values[..n_filled]);
            if first == values.len() {
                assert_eq!(r.rest(), [77], "reads exactly its own bytes");
            }
        }
        len
    }

    #[test]
    fn every_width_and_count_comes_back() {
        let mut random = Random(3);
        for bits in 0..=64 {
            for n in [1, 2, 3, 8, 9, 16, 17, 255, 256, 257, 258, 300, 513, 1025] {
                let mut value = random.next() as i64;
                let noise = |r: &mut Random| r.next().checked_shr(64 - bits).unwrap_or(0) as i64;
                let plain: Vec<i64> = (0..n).map(|_| noise(&mut random)).collect();
                round_trip(&plain);
                let sums: Vec<i64> = (0..n)
                    .map(|_| {
                        value = value.wrapping_add(noise(&mut random));
                        value
                    })
                    .collect();
                round_trip(&sums);
                let scaled: Vec<i64> = plain.iter().map(|v| v.wrapping_mul(4096)).collect();
                round_trip(&scaled);
            }
        }
    }

    #[test]
    fn few_that_are_far_away_cost_little() {
        let mut random = Random(5);
        for distance in [1 << 20, -(1 << 20), i64::MAX, i64::MIN] {
            let mut values: Vec<i64> = (0..4096).map(|_| random.below(16) as i64).collect();
            let plain = round_trip(&values);
            for at in (7..4096).step_by(100) {
                values[at] = values[at].wrapping_add(distance);
            }
            let with_some = round_trip(&values);
            assert!(with_some < plain + 41 * 10 + 100, "{plain} {with_some}");
        }
        let extremes = [i64::MIN, i64::MAX, 0, -1, i64::MIN, i64::MIN, i64::MAX];
        round_trip(&extremes);
        round_trip(&[i64::MIN, 0, i64::MIN, 0]);
    }

    #[test]
    fn what_all_steps_have_in_common_is_kept_once() {
        let mut random = Random(9);
        let pages: Vec<i64> = (0..4096).map(|_| random.below(1 << 10) as i64).collect();
        let bytes: Vec<i64> = pages.iter().map(|n| 17 + n * 4096).collect();
        assert!(round_trip(&bytes) <= round_trip(&pages) + 8);
        // Steps of steps that are all alike.
        let squares: Vec<i64> = (0..4096).map(|n| 5 + n * n * 60).collect();
        assert!(round_trip(&squares) < 16 * 8 + 16);
    }

    #[test]
    fn damage_is_told() {
        let mut values: Vec<i64> = (0..600).map(|n| n * n % 1000).collect();
        values[300] = 1 << 40;
        let mut out = Vec::new();
        encode(&values, &mut out);
        let mut back = vec![0; values.len()];
        for end in 0..out.len() {
            let result = decode_first(&mut Reader::new(&out[..end]), values.len(), &mut back);
            assert!(result.is_err(), "{end} of {} bytes", out.len());
        }
        let mut random = Random(1);
        for _ in 0..20_000 {
            let mut bad = out.clone();
            let at = random.below(bad.len() as u64) as usize;
            bad[at] = random.next() as u8;
            // Other values, or an error.
            let _ = decode_first(&mut Reader::new(&bad), values.len(), &mut back);
        }
        assert!(decode_first(&mut Reader::new(&[3, 0, 2]), 1, &mut back).is_err());
    }
}
