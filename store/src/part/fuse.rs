//! A set of 64-bit keys in four and a half bits each, which says "surely not in here".
//!
//! A binary fuse filter (Graf and Lemire, "Binary Fuse Filters: Fast and Smaller Than Xor Filters",
//! 2022) of three segments and fingerprints of four bits: of the keys that were never put in one in
//! sixteen passes wrongly; one that was put in always passes.
//!
//! ```text
//! 1 byte    seed, which a set that could not be laid out under the one before has
//! 1 byte    binary logarithm of the slots of a segment, at most 18
//! varint    number of segments less two
//! slots     four bits each, the lower half of a byte first
//! ```
//! Which slots a key stands for is drawn in FORMAT.md. All sums wrap.

use crate::bytes::{Malformed, Reader, put_varint};

/// Tries before giving up; one in some hundred sets needs a second.
const SEEDS: u8 = 32;
const SEGMENT_BITS_MAX: u32 = 18;
/// The most segments less two: slots for more keys than a page has bytes.
const SEGMENTS_MAX: u64 = 1 << 14;
const GOLDEN: u64 = 0x9e37_79b9_7f4a_7c15;

/// A filter as it is stored.
#[derive(Debug, Clone, Copy)]
pub struct Fuse<'a> {
    shape: Shape,
    slots: &'a [u8],
}

/// Which slots a key stands for.
#[derive(Debug, Clone, Copy)]
struct Shape {
    seed: u8,
    segment_bits: u32,
    n_segments: u64,
}

impl Shape {
    /// Sizes as in section 3 of the paper, for three segments.
    fn new(n_keys: usize) -> Self {
        let n = n_keys.max(2) as f64;
        let segment_bits = (n.ln() / 3.33f64.ln() + 2.25).floor() as u32;
        let segment_bits = segment_bits.min(SEGMENT_BITS_MAX);
        let factor = (0.875 + 0.25 * 1e6f64.ln() / n.ln()).max(1.125);
        let n_slots = (n * factor).round() as u64;
        Self {
            seed: 0,
            segment_bits,
            n_segments: n_slots
                .div_ceil(1 << segment_bits)
                .saturating_sub(2)
                .clamp(1, SEGMENTS_MAX),
        }
    }

    fn n_slots(&self) -> usize {
        (self.n_segments as usize + 2) << self.segment_bits
    }

    fn hash(&self, key: u64) -> u64 {
        let z = key.wrapping_add((u64::from(self.seed) + 1).wrapping_mul(GOLDEN));
        let z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    /// Grows with the hash.
    fn slots(&self, hash: u64) -> [usize; 3] {
        let segment = 1u64 << self.segment_bits;
        let first = u128::from(hash) * u128::from(self.n_segments << self.segment_bits);
        let first = (first >> 64) as u64;
        let mask = segment - 1;
        let second = (first + segment) ^ ((hash >> 18) & mask);
        let third = (first + 2 * segment) ^ (hash & mask);
        [first as usize, second as usize, third as usize]
    }
}

fn fingerprint(hash: u64) -> u8 {
    ((hash ^ (hash >> 32)) & 15) as u8
}

/// The filter of some keys, which may repeat and are in another order behind. `None` for no keys and
/// in the very rare case that they cannot be laid out.
pub fn build(keys: &mut Vec<u64>) -> Option<Vec<u8>> {
    if keys.is_empty() {
        return None;
    }
    keys.sort_unstable();
    keys.dedup();
    let mut shape = Shape::new(keys.len());
    let mut hashes = Vec::with_capacity(keys.len());
    for seed in 0..SEEDS {
        shape.seed = seed;
        hashes.clear();
        hashes.extend(keys.iter().map(|key| shape.hash(*key)));
        // Neighbours stand for neighbouring slots, so that memory is walked through once.
        hashes.sort_unstable();
        if let Some(slots) = lay_out(&shape, &hashes) {
            let mut out = vec![shape.seed, shape.segment_bits as u8];
            put_varint(&mut out, shape.n_segments);
            out.extend(slots.chunks(2).map(|pair| match pair {
                [low, high] => low | (high << 4),
                _ => pair[0],
            }));
            return Some(out);
        }
    }
    None
}

/// Takes away key after key that is alone in one of its slots, then fills those in reverse.
fn lay_out(shape: &Shape, hashes: &[u64]) -> Option<Vec<u8>> {
    let n_slots = shape.n_slots();
    let (mut counts, mut sums) = (vec![0u8; n_slots], vec![0u64; n_slots]);
    for &hash in hashes {
        for slot in shape.slots(hash) {
            counts[slot] = counts[slot].checked_add(1)?;
            sums[slot] ^= hash;
        }
    }
    let mut alone: Vec<u32> = Vec::with_capacity(n_slots);
    alone.extend((0..n_slots as u32).filter(|slot| counts[*slot as usize] == 1));
    let mut order: Vec<(u64, u32)> = Vec::with_capacity(hashes.len());
    while let Some(slot) = alone.pop() {
        if counts[slot as usize] != 1 {
            continue;
        }
        let hash = sums[slot as usize];
        order.push((hash, slot));
        for slot in shape.slots(hash) {
            counts[slot] -= 1;
            sums[slot] ^= hash;
            if counts[slot] == 1 {
                alone.push(slot as u32);
            }
        }
    }
    if order.len() < hashes.len() {
        return None;
    }
    let mut filled = vec![0u8; n_slots];
    for &(hash, own) in order.iter().rev() {
        // Its own slot is still zero.
        let of = shape.slots(hash).map(|slot| filled[slot]);
        filled[own as usize] = fingerprint(hash) ^ of[0] ^ of[1] ^ of[2];
    }
    Some(filled)
}

impl<'a> Fuse<'a> {
    pub fn read(bytes: &'a [u8]) -> Result<Self, Malformed> {
        let mut r = Reader::new(bytes);
        let shape = Shape {
            seed: r.byte()?,
            segment_bits: u32::from(r.byte()?),
            n_segments: r.varint()?,
        };
        let is_known = shape.segment_bits <= SEGMENT_BITS_MAX;
        if !is_known || !(1..=SEGMENTS_MAX).contains(&shape.n_segments) {
            return Err(Malformed("filter of ids of no or too large a size"));
        }
        let slots = r.take(shape.n_slots().div_ceil(2))?;
        r.end()?;
        Ok(Self { shape, slots })
    }

    /// Whether the key may have been put in.
    pub fn has(&self, key: u64) -> bool {
        let hash = self.shape.hash(key);
        let slot = |at: usize| (self.slots[at / 2] >> (at % 2 * 4)) & 15;
        let [a, b, c] = self.shape.slots(hash).map(slot);
        a ^ b ^ c == fingerprint(hash)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::Random;

    #[test]
    fn what_was_put_in_passes_and_one_in_sixteen_of_the_rest() {
        let mut random = Random(5);
        for n in [1, 2, 3, 10, 100, 1000, 20_000, 200_000] {
            let mut keys: Vec<u64> = (0..n).map(|_| random.next()).collect();
            // Keys that repeat are one key.
            keys.extend_from_within(..n / 2);
            let bytes = build(&mut keys).unwrap();
            assert!(
                bytes.len() * 8 < n * 5 + 400 + n * 4 / (1 + n / 1000),
                "{n}"
            );
            let filter = Fuse::read(&bytes).unwrap();
            assert!(keys.iter().all(|key| filter.has(*key)), "{n}");
            let passed = (0..16_000).filter(|_| filter.has(random.next())).count();
            assert!((800..1250).contains(&passed), "{n}: {passed}");
        }
        assert_eq!(build(&mut Vec::new()), None);
    }

    #[test]
    fn neighbouring_keys_are_laid_out_too() {
        let bytes = build(&mut (0..50_000).collect()).unwrap();
        let filter = Fuse::read(&bytes).unwrap();
        assert!((0..50_000).all(|key| filter.has(key)));
    }

    #[test]
    fn other_bytes_are_refused() {
        let bytes = build(&mut (0..100).collect()).unwrap();
        assert!(Fuse::read(&bytes[..bytes.len() - 1]).is_err());
        assert!(Fuse::read(&[&bytes[..], &[0]].concat()).is_err());
        assert!(Fuse::read(&[0, 200, 1]).is_err());
        assert!(Fuse::read(&[0, 18, 0]).is_err());
        assert!(Fuse::read(&[0, 18, 0xff, 0xff, 0xff, 0x7f]).is_err());
    }
}
