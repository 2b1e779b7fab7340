//! Hash maps whose keys are hashes, with a seed that nobody outside knows: hashing them again would be
//! work for nothing. Not for keys that a sender can choose.

use std::hash::{BuildHasher, Hasher};

/// Takes the key's low 64 bits as its hash.
#[derive(Debug, Clone, Copy, Default)]
pub struct Spread(u64);

impl BuildHasher for Spread {
    type Hasher = Self;
    fn build_hasher(&self) -> Self {
        *self
    }
}

impl Hasher for Spread {
    fn finish(&self) -> u64 {
        self.0
    }
    fn write(&mut self, bytes: &[u8]) {
        for byte in bytes {
            self.0 = self.0.rotate_left(8) ^ u64::from(*byte);
        }
    }
    fn write_u64(&mut self, n: u64) {
        self.0 = n;
    }
    fn write_u128(&mut self, n: u128) {
        self.0 = n as u64;
    }
}
