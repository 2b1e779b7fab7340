//! Maps and sets whose keys are hashes already: hashing them again would only cost.

use std::hash::{BuildHasherDefault, Hasher};

/// What maps and sets of such keys are built with: `HashSet<u64, Prehashed>`.
pub type Prehashed = BuildHasherDefault<AsItIs>;

/// Takes a `u64` or the lower half of a `u128` as the hash that it is.
#[derive(Debug, Clone, Copy, Default)]
pub struct AsItIs(u64);

impl Hasher for AsItIs {
    fn finish(&self) -> u64 {
        self.0
    }

    fn write(&mut self, bytes: &[u8]) {
        debug_assert!(false, "keys are hashes");
        self.0 = xxhash_rust::xxh3::xxh3_64(bytes);
    }

    fn write_u64(&mut self, hash: u64) {
        self.0 = hash;
    }

    fn write_u128(&mut self, hash: u128) {
        self.0 = hash as u64;
    }
}
