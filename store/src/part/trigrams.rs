//! A filter over the three-byte pieces of a page's lines, which says "surely not in here" for most
//! literals of a line filter.
//!
//! One hashed bit per distinct piece, folded to the smallest size that still tells much. Any
//! literal of three bytes and more can be asked, whole words or not; false positives are allowed,
//! false negatives never.
//!
//! ```text
//! 2^k bits (k = 9..=16), lowest bit first; the piece abc has bit hash(abc) mod 2^k
//! ```

use kansoku_model::Needle;

const BITS_MAX: usize = 1 << 16;
const BYTES_MIN: usize = 64;

/// Collects the pieces of lines.
#[derive(Debug)]
pub struct Builder {
    bits: Vec<u64>,
}

impl Builder {
    pub fn new() -> Self {
        Self {
            bits: vec![0; BITS_MAX / 64],
        }
    }

    pub fn add(&mut self, line: &[u8]) {
        for piece in line.windows(3) {
            let hash = hash(piece);
            self.bits[hash / 64] |= 1 << (hash % 64);
        }
    }

    /// The filter's bytes; `None` when nearly every bit is set, so that asking is useless.
    pub fn finish(mut self) -> Option<Vec<u8>> {
        // A quarter full: a literal with six unrelated pieces passes wrongly once in 4000 blocks.
        while self.bits.len() * 8 > BYTES_MIN {
            let half = self.bits.len() / 2;
            let folded: Vec<u64> = (0..half)
                .map(|i| self.bits[i] | self.bits[i + half])
                .collect();
            if ones(&folded) > folded.len() * 64 / 4 {
                break;
            }
            self.bits = folded;
        }
        (ones(&self.bits) < self.bits.len() * 64 / 10 * 9).then(|| {
            self.bits
                .iter()
                .flat_map(|word| word.to_le_bytes())
                .collect()
        })
    }
}

fn ones(words: &[u64]) -> usize {
    words.iter().map(|w| w.count_ones() as usize).sum()
}

fn hash(piece: &[u8]) -> usize {
    let n = u32::from(piece[0]) | u32::from(piece[1]) << 8 | u32::from(piece[2]) << 16;
    (n.wrapping_mul(0x9e37_79b1) >> 16) as usize
}

/// Whether the filtered lines may contain `needle`.
pub fn may_contain(filter: &[u8], needle: &Needle) -> bool {
    (2..needle.text().len()).all(|end| may_have(filter, needle, end - 2))
}

/// Whether the filtered lines may have the three bytes of `needle` from place `at` on.
pub fn may_have(filter: &[u8], needle: &Needle, at: usize) -> bool {
    if !filter.len().is_power_of_two() {
        return true;
    }
    let mask = filter.len() * 8 - 1;
    let has = |piece: [u8; 3]| {
        let bit = hash(&piece) & mask;
        filter[bit / 8] & (1 << (bit % 8)) != 0
    };
    let n_cases = if needle.ignores_case() { 8 } else { 1 };
    let bytes = [at, at + 1, at + 2].map(|at| needle.bytes_at(at));
    (0..n_cases).any(|case| has([0, 1, 2].map(|i| bytes[i][case >> i & 1])))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::Random;

    #[test]
    fn never_denies_what_is_there_and_mostly_denies_what_is_not() {
        let mut random = Random(4);
        let lines: Vec<String> = (0..200)
            .map(|i| format!("level=info msg=\"request {i} done\" id={:x}", random.next()))
            .collect();
        let mut builder = Builder::new();
        lines.iter().for_each(|l| builder.add(l.as_bytes()));
        let filter = builder.finish().unwrap();
        assert!(filter.len() >= BYTES_MIN && filter.len() < BITS_MAX / 8);
        for line in &lines {
            for start in 0..line.len() {
                let needle = Needle::new(&line.as_bytes()[start..]);
                assert!(may_contain(&filter, &needle));
                let shout = line[start..].to_ascii_uppercase();
                let needle = Needle::ignoring_case(shout.as_bytes());
                assert!(may_contain(&filter, &needle));
            }
        }
        for absent in ["kernel panic", "Timeout", "zookeeper"] {
            let needle = Needle::new(absent.as_bytes());
            assert!(!may_contain(&filter, &needle), "{absent}");
        }
        assert!(
            may_contain(&filter, &Needle::new(b"zz")),
            "too short to tell"
        );
    }

    #[test]
    fn noise_makes_no_filter() {
        let mut random = Random(1);
        let noise: Vec<u8> = (0..600_000).map(|_| random.next() as u8).collect();
        let mut builder = Builder::new();
        builder.add(&noise);
        assert_eq!(builder.finish(), None);
        assert_eq!(Builder::new().finish().map(|f| f.len()), Some(BYTES_MIN));
    }
}
