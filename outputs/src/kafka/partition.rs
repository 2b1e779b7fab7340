//! Which partition a record goes to: librdkafka's partitioners.
//!
//! Where librdkafka rolls dice (a record without a key), the source decides here: the records of a
//! source stay in one partition and so keep their order, and a repeat goes where it went before.

/// How keys become partitions.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Partitioner {
    /// The source alone.
    Random,
    /// CRC-32 of the key, empty keys too.
    Consistent,
    /// CRC-32 of the key; records without one by their source. librdkafka's default.
    ConsistentRandom,
    /// The Java client's hash, empty keys too.
    Murmur2,
    /// The Java client's hash; records without a key by their source.
    Murmur2Random,
    /// FNV-1a of the key, as Sarama does.
    Fnv1a,
    /// The same; records without a key by their source.
    Fnv1aRandom,
}

/// The words of `rdkafka.partitioner`.
pub const PARTITIONERS: &[(&str, Partitioner)] = &[
    ("random", Partitioner::Random),
    ("consistent", Partitioner::Consistent),
    ("consistent_random", Partitioner::ConsistentRandom),
    ("murmur2", Partitioner::Murmur2),
    ("murmur2_random", Partitioner::Murmur2Random),
    ("fnv1a", Partitioner::Fnv1a),
    ("fnv1a_random", Partitioner::Fnv1aRandom),
];

impl Partitioner {
    /// The partition, of `n` (at least 1), of a record of `source`.
    #[must_use]
    pub fn partition(self, key: Option<&[u8]>, source: u128, n: usize) -> usize {
        let of_source = (source % n as u128) as usize;
        let bytes = key.unwrap_or_default();
        let hash = match self {
            Self::Random => return of_source,
            Self::ConsistentRandom if bytes.is_empty() => return of_source,
            Self::Murmur2Random | Self::Fnv1aRandom if key.is_none() => return of_source,
            Self::Consistent | Self::ConsistentRandom => crc32(bytes),
            Self::Murmur2 | Self::Murmur2Random => murmur2(bytes) & 0x7fff_ffff,
            // Sarama's value is signed and its remainder made positive.
            Self::Fnv1a | Self::Fnv1aRandom => {
                let rest = (fnv1a(bytes) as i32) % (n as i32);
                return rest.unsigned_abs() as usize;
            }
        };
        hash as usize % n
    }
}

fn crc32(bytes: &[u8]) -> u32 {
    let mut crc = flate2::Crc::new();
    crc.update(bytes);
    crc.sum()
}

fn fnv1a(bytes: &[u8]) -> u32 {
    bytes.iter().fold(0x811c_9dc5, |hash, &b| {
        (hash ^ u32::from(b)).wrapping_mul(0x0100_0193)
    })
}

fn murmur2(bytes: &[u8]) -> u32 {
    const M: u32 = 0x5bd1_e995;
    let mut hash = 0x9747_b28c ^ bytes.len() as u32;
    let (words, rest) = bytes.as_chunks::<4>();
    for word in words {
        let mut k = u32::from_le_bytes(*word).wrapping_mul(M);
        k ^= k >> 24;
        hash = hash.wrapping_mul(M) ^ k.wrapping_mul(M);
    }
    if !rest.is_empty() {
        for (i, &b) in rest.iter().enumerate() {
            hash ^= u32::from(b) << (8 * i);
        }
        hash = hash.wrapping_mul(M);
    }
    hash ^= hash >> 13;
    hash = hash.wrapping_mul(M);
    hash ^ hash >> 15
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hashes_are_the_published_ones() {
        assert_eq!(crc32(b"123456789"), 0xcbf4_3926);
        assert_eq!(fnv1a(b"foobar"), 0xbf9c_f968);
        // From the Java client's own test.
        for (key, hash) in [
            ("21", -973_932_308i32),
            ("foobar", -790_332_482),
            ("a-little-bit-long-string", -985_981_536),
        ] {
            assert_eq!(murmur2(key.as_bytes()) as i32, hash, "{key}");
        }
    }

    #[test]
    fn records_without_a_key_stay_with_their_source() {
        let p = Partitioner::ConsistentRandom;
        assert_eq!(p.partition(None, 10, 4), 2);
        assert_eq!(p.partition(Some(b""), 10, 4), 2);
        assert_eq!(p.partition(Some(b"123456789"), 10, 4), 0xcbf4_3926 % 4);
        assert_eq!(Partitioner::Random.partition(Some(b"k"), 10, 4), 2);
        assert_eq!(Partitioner::Consistent.partition(None, 10, 4), 0);
        for (_, p) in PARTITIONERS {
            assert!(p.partition(Some(b"key"), u128::MAX, 3) < 3);
        }
    }
}
