//! A stream of bits and the codes for numbers that Prometheus's chunks are made of.
//!
//! Source: Prometheus, `tsdb/chunkenc/bstream.go`, `varbit.go`, `xor.go`.

/// Bits, the highest of each byte first.
#[derive(Debug, Default)]
pub struct BitWriter {
    bytes: Vec<u8>,
    /// Bits of the last byte that are not used yet.
    n_free: u32,
}

impl BitWriter {
    /// A stream behind whole bytes.
    #[must_use]
    pub fn behind(bytes: Vec<u8>) -> Self {
        Self { bytes, n_free: 0 }
    }

    /// The bytes; the last one filled up with zeros.
    #[must_use]
    pub fn into_bytes(self) -> Vec<u8> {
        self.bytes
    }

    /// Appends the lowest `n_bits` of a number.
    pub fn bits(&mut self, value: u64, n_bits: u32) {
        let mut left = n_bits;
        while left > 0 {
            if self.n_free == 0 {
                self.bytes.push(0);
                self.n_free = 8;
            }
            let taken = left.min(self.n_free);
            left -= taken;
            self.n_free -= taken;
            let piece = (value >> left) & ((1 << taken) - 1);
            let last = self.bytes.last_mut().expect("a byte was pushed");
            *last |= (piece << self.n_free) as u8;
        }
    }

    /// Appends a number as Go's `PutUvarint` writes it, wherever in a byte the stream stands.
    pub fn uvarint(&mut self, mut value: u64) {
        while value >= 0x80 {
            self.bits(value & 0x7f | 0x80, 8);
            value >>= 7;
        }
        self.bits(value, 8);
    }

    /// Appends a signed number as Go's `PutVarint` writes it.
    pub fn varint(&mut self, value: i64) {
        self.uvarint(((value << 1) ^ (value >> 63)).cast_unsigned());
    }

    /// Appends a signed number in the code for differences of counts: small ones take few bits.
    pub fn varbit_int(&mut self, value: i64) {
        let n_bits = VARBIT_SIZES.into_iter().find(|n| fits(value, *n));
        self.varbit(value.cast_unsigned(), value == 0, n_bits);
    }

    /// Appends a number in the same code without a sign.
    pub fn varbit_uint(&mut self, value: u64) {
        let n_bits = VARBIT_SIZES.into_iter().find(|n| value >> n == 0);
        self.varbit(value, value == 0, n_bits);
    }

    fn varbit(&mut self, value: u64, is_zero: bool, n_bits: Option<u32>) {
        if is_zero {
            self.bits(0, 1);
            return;
        }
        match VARBIT_SIZES.into_iter().position(|n| Some(n) == n_bits) {
            Some(at) => {
                // As many ones as the size's place, and a zero.
                let n_ones = at as u32 + 1;
                self.bits((1 << (n_ones + 1)) - 2, n_ones + 1);
                self.bits(value, VARBIT_SIZES[at]);
            }
            None => {
                self.bits(0xff, 8);
                self.bits(value, 64);
            }
        }
    }
}

/// Bits of the numbers behind one, two, three... ones.
const VARBIT_SIZES: [u32; 7] = [3, 6, 9, 12, 18, 25, 56];

/// Whether Prometheus writes a signed number in so many bits: the range is one higher at its top than that of
/// two's complement, and one less at its bottom.
#[must_use]
pub fn fits(value: i64, n_bits: u32) -> bool {
    let half = 1i64 << (n_bits - 1);
    -(half - 1) <= value && value <= half
}

/// A float that is written as what differs from the one before it.
#[derive(Debug, Clone, Copy)]
pub struct XorValue {
    bits: u64,
    /// Zeros before and behind the difference that was last written in full.
    window: Option<(u32, u32)>,
}

impl XorValue {
    /// Begins with a float, which the caller writes.
    #[must_use]
    pub fn new(first: f64) -> Self {
        Self {
            bits: first.to_bits(),
            window: None,
        }
    }

    /// Appends the next one.
    pub fn write(&mut self, out: &mut BitWriter, value: f64) {
        let delta = self.bits ^ value.to_bits();
        self.bits = value.to_bits();
        if delta == 0 {
            out.bits(0, 1);
            return;
        }
        // Five bits are for the zeros before.
        let (before, behind) = (delta.leading_zeros().min(31), delta.trailing_zeros());
        match self.window {
            Some((b, e)) if before >= b && behind >= e => {
                out.bits(0b10, 2);
                out.bits(delta >> e, 64 - b - e);
            }
            _ => {
                self.window = Some((before, behind));
                let n_bits = 64 - before - behind;
                out.bits(0b11, 2);
                out.bits(u64::from(before), 5);
                // 64 does not fit and is written as 0, which cannot be.
                out.bits(u64::from(n_bits), 6);
                out.bits(delta >> behind, n_bits);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn written(write: impl FnOnce(&mut BitWriter)) -> Vec<u8> {
        let mut out = BitWriter::default();
        write(&mut out);
        out.into_bytes()
    }

    #[test]
    fn bits_cross_bytes() {
        let bytes = written(|out| {
            out.bits(1, 1);
            out.bits(0b0110, 4);
            out.bits(u64::MAX, 64);
            out.varint(-1);
        });
        assert_eq!(bytes[..2], [0b1011_0111, 0xff]);
        assert_eq!(bytes[8..], [0b1111_1000, 0b0000_1000]);
    }

    #[test]
    fn varbits_take_the_sizes_of_prometheus() {
        let ints = [
            (0, 1),
            (1, 5),
            (4, 5),
            (5, 9),
            (-3, 5),
            (-4, 9),
            (32, 9),
            (256, 13),
            (2048, 17),
            (131_072, 24),
            (16_777_216, 32),
            (1 << 55, 64),
            ((1 << 55) + 1, 72),
            (i64::MIN, 72),
        ];
        for (value, n_bits) in ints {
            let bytes = written(|out| {
                out.varbit_int(value);
                out.bits(1, 1);
            });
            assert_eq!(bytes.len(), n_bits / 8 + 1, "{value}");
            assert_eq!(bytes[n_bits / 8], 0x80 >> (n_bits % 8) | bytes[n_bits / 8]);
        }
        assert_eq!(written(|out| out.varbit_uint(7)), [0b1011_1000]);
        assert_eq!(written(|out| out.varbit_uint(8)), [0b1100_0100, 0]);
        assert_eq!(written(|out| out.varbit_int(-3)), [0b1010_1000]);
    }
}
