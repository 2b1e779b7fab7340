//! Samples of one series in memory: packed, in order of arrival.
//!
//! A node's series take three to four bytes a sample here instead of sixteen, and adding one is a
//! few instructions. It knows no labels. The rule: what went in comes out, in its order, every bit
//! of the values included.
//!
//! ```text
//! per sample  1  bit 7: the time's distance from the one before is the same as the last
//!                bits 4..6: z, zero bytes at the low end of x; bits 0..3: n, bytes of x that are kept
//!                x: the value's bits xor those of the value before
//!                unless bit 7: how much the distance grew (signed varint)
//!             n  x without its z low bytes, lowest first
//! ```

use crate::bytes::{Reader, put_signed};

const SAME_DISTANCE: u8 = 0x80;
/// Masks of the so many lowest bytes of a word.
const LOWEST_BYTES: [u64; 16] = {
    let mut masks = [u64::MAX; 16];
    let mut n = 0;
    while n < 8 {
        masks[n] = (1 << (8 * n)) - 1;
        n += 1;
    }
    masks
};
/// The most that one sample takes.
const SAMPLE_MAX_BYTES: usize = 1 + 10 + 8;
/// The least by which memory grows.
const GROWTH_MIN_BYTES: usize = 24;

/// Packed samples.
#[derive(Debug, Default)]
pub struct Run {
    bytes: Vec<u8>,
    last_time: i64,
    last_distance: i64,
    last_bits: u64,
}

impl Run {
    /// Adds a sample and returns by how many bytes the memory grew.
    pub fn push(&mut self, time: i64, value: f64) -> usize {
        let grown = self.make_room();
        let distance = time.wrapping_sub(self.last_time);
        let change = distance.wrapping_sub(self.last_distance);
        let x = value.to_bits() ^ self.last_bits;
        let (n, zeros) = if x == 0 {
            (0, 0)
        } else {
            let zeros = x.trailing_zeros() / 8;
            (8 - zeros - x.leading_zeros() / 8, zeros)
        };
        let head = (zeros as u8) << 4 | n as u8;
        if change == 0 {
            self.bytes.push(head | SAME_DISTANCE);
        } else {
            self.bytes.push(head);
            put_signed(&mut self.bytes, change);
        }
        let kept = (x >> (zeros * 8)).to_le_bytes();
        // All eight, then back: cheaper than a copy whose length varies.
        self.bytes.extend_from_slice(&kept);
        self.bytes.truncate(self.bytes.len() - 8 + n as usize);
        self.last_time = time;
        self.last_distance = distance;
        self.last_bits = value.to_bits();
        grown
    }

    /// By a quarter at a time: there are as many of these as there are series.
    fn make_room(&mut self) -> usize {
        let before = self.bytes.capacity();
        if before - self.bytes.len() >= SAMPLE_MAX_BYTES {
            return 0;
        }
        let more = (before / 4).max(GROWTH_MIN_BYTES);
        self.bytes.reserve_exact(before - self.bytes.len() + more);
        self.bytes.capacity() - before
    }

    /// Time and bits of the newest sample, zeros when there is none.
    pub fn last(&self) -> (i64, u64) {
        (self.last_time, self.last_bits)
    }

    pub fn is_empty(&self) -> bool {
        self.bytes.is_empty()
    }

    /// How many bytes the samples take.
    pub fn n_bytes(&self) -> usize {
        self.bytes.len()
    }

    /// Of the samples that took the first `n_bytes` appends those with `from_ms <= time <= to_ms`; of a run whose times ascend
    /// nothing behind them is looked at.
    pub fn copy_range(
        &self,
        n_bytes: usize,
        (from_ms, to_ms): (i64, i64),
        ascends: bool,
        (times, values): (&mut Vec<i64>, &mut Vec<f64>),
    ) {
        const WHOLE: &str = "samples are packed whole";
        let bytes = &self.bytes[..n_bytes];
        let (mut time, mut distance, mut bits, mut at) = (0i64, 0i64, 0u64, 0);
        while let Some(&head) = bytes.get(at) {
            at += 1;
            if head & SAME_DISTANCE == 0 {
                let mut r = Reader::new(&bytes[at..]);
                distance = distance.wrapping_add(r.signed().expect(WHOLE));
                at = bytes.len() - r.rest().len();
            }
            time = time.wrapping_add(distance);
            let n = usize::from(head & 0xf);
            // Eight bytes at once, and those away that are not of this sample, where there are eight.
            let kept = match bytes.get(at..at + 8) {
                Some(eight) => {
                    let eight = u64::from_le_bytes(eight.try_into().expect("eight bytes"));
                    eight & LOWEST_BYTES[n]
                }
                None => {
                    let rest = bytes[at..at + n].iter().rev();
                    rest.fold(0, |word, byte| word << 8 | u64::from(*byte))
                }
            };
            at += n;
            bits ^= kept << (u32::from(head >> 4 & 7) * 8);
            if time > to_ms {
                if ascends {
                    break;
                }
            } else if time >= from_ms {
                times.push(time);
                values.push(f64::from_bits(bits));
            }
        }
    }

    /// All samples in order of arrival.
    pub fn iter(&self) -> impl Iterator<Item = (i64, f64)> {
        self.first(self.bytes.len())
    }

    /// Those that took the first `n_bytes`.
    pub fn first(&self, n_bytes: usize) -> impl Iterator<Item = (i64, f64)> {
        let mut r = Reader::new(&self.bytes[..n_bytes]);
        let (mut time, mut distance, mut bits) = (0i64, 0i64, 0u64);
        std::iter::from_fn(move || {
            const WHOLE: &str = "samples are packed whole";
            let head = r.byte().ok()?;
            if head & SAME_DISTANCE == 0 {
                distance = distance.wrapping_add(r.signed().expect(WHOLE));
            }
            time = time.wrapping_add(distance);
            let mut kept = [0; 8];
            let n = usize::from(head & 0xf);
            kept[..n].copy_from_slice(r.take(n).expect(WHOLE));
            bits ^= u64::from_le_bytes(kept) << (u32::from(head >> 4 & 7) * 8);
            Some((time, f64::from_bits(bits)))
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{Random, T0_MS};

    #[test]
    fn every_time_and_bit_comes_back_in_its_order() {
        let mut random = Random(5);
        for round in 0..40 {
            let (mut run, mut expected, mut bytes) = (Run::default(), Vec::new(), 0);
            for i in 0..500i64 {
                let time = match round % 4 {
                    0 => T0_MS + i * 15_000,
                    1 => T0_MS + i * 15_000 + random.below(9) as i64,
                    2 => random.next() as i64,
                    _ => [i64::MIN, i64::MAX, 0][i as usize % 3],
                };
                let value = match round % 5 {
                    0 => i as f64,
                    1 => f64::from_bits(random.next()),
                    2 => f64::from_bits(1 << random.below(64)),
                    3 => f64::from_bits(0x7ff0_0000_0000_0002),
                    _ => (random.below(1000) as f64) / 10.0,
                };
                bytes += run.push(time, value);
                expected.push((time, value.to_bits()));
                assert_eq!(run.last(), (time, value.to_bits()));
            }
            let got: Vec<_> = run.iter().map(|(t, v)| (t, v.to_bits())).collect();
            assert_eq!(got, expected, "round {round}");
            let ascends = expected.windows(2).all(|pair| pair[0].0 < pair[1].0);
            let n_bytes = run.n_bytes();
            for range in [
                (i64::MIN, i64::MAX),
                (T0_MS + 1, T0_MS + 3_000_000),
                (i64::MIN, T0_MS + 75_000),
                (7, 3),
            ] {
                let (mut times, mut values) = (Vec::new(), Vec::new());
                run.copy_range(n_bytes, range, ascends, (&mut times, &mut values));
                let values = values.iter().map(|v| v.to_bits());
                let got: Vec<_> = times.into_iter().zip(values).collect();
                let within = |(time, _): &&(i64, u64)| (range.0..=range.1).contains(time);
                let wanted: Vec<_> = expected.iter().filter(within).copied().collect();
                assert_eq!(got, wanted, "round {round} {range:?}");
            }
            assert_eq!(bytes, run.bytes.capacity());
        }
    }

    #[test]
    fn a_counter_takes_a_few_bytes_a_sample() {
        let mut run = Run::default();
        assert!(run.is_empty() && run.iter().next().is_none());
        for i in 0..1000 {
            run.push(T0_MS + i * 15_000, (i * 37) as f64);
        }
        assert!(run.bytes.capacity() < 4 * 1000, "{}", run.bytes.capacity());
        let constant = (0..1000).fold(Run::default(), |mut run, i| {
            run.push(T0_MS + i * 15_000, 1.0);
            run
        });
        assert!(constant.bytes.len() < 1020);
    }
}
