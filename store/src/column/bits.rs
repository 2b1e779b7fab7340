//! Single bits in and out of bytes, lowest bit first.
//!
//! No layout of its own: `ints` and `floats` say what the bits mean.

use crate::bytes::Malformed;

/// Appends bit fields to a byte vector.
#[derive(Debug)]
pub struct BitWriter<'a> {
    out: &'a mut Vec<u8>,
    pending: u128,
    n_pending: u32,
}

impl<'a> BitWriter<'a> {
    pub fn new(out: &'a mut Vec<u8>) -> Self {
        Self {
            out,
            pending: 0,
            n_pending: 0,
        }
    }

    /// Appends the lowest `width` bits of `value` (0..=64).
    pub fn put(&mut self, value: u64, width: u32) {
        debug_assert!(width <= 64 && (width == 64 || value >> width == 0));
        self.pending |= u128::from(value) << self.n_pending;
        self.n_pending += width;
        while self.n_pending >= 64 {
            self.out
                .extend_from_slice(&(self.pending as u64).to_le_bytes());
            self.pending >>= 64;
            self.n_pending -= 64;
        }
    }

    /// Fills the last byte with zero bits.
    pub fn finish(self) {
        let n_bytes = self.n_pending.div_ceil(8) as usize;
        let bytes = (self.pending as u64).to_le_bytes();
        self.out.extend_from_slice(&bytes[..n_bytes]);
    }
}

/// Reads bit fields.
#[derive(Debug)]
pub struct BitReader<'a> {
    bytes: &'a [u8],
    pending: u128,
    n_pending: u32,
}

impl<'a> BitReader<'a> {
    pub fn new(bytes: &'a [u8]) -> Self {
        Self {
            bytes,
            pending: 0,
            n_pending: 0,
        }
    }

    pub fn take(&mut self, width: u32) -> Result<u64, Malformed> {
        debug_assert!(width <= 64);
        while self.n_pending < width {
            if let Some((head, tail)) = self.bytes.split_first_chunk::<8>() {
                self.pending |= u128::from(u64::from_le_bytes(*head)) << self.n_pending;
                self.n_pending += 64;
                self.bytes = tail;
            } else {
                let (&head, tail) = self
                    .bytes
                    .split_first()
                    .ok_or(Malformed("bits end early"))?;
                self.pending |= u128::from(head) << self.n_pending;
                self.n_pending += 8;
                self.bytes = tail;
            }
        }
        let value = self.pending as u64 & mask(width);
        self.pending >>= width;
        self.n_pending -= width;
        Ok(value)
    }
}

/// Calls `each` with `n` fields of one width (0..=64); slower than [`unpack_to`], and without room for them.
pub fn unpack(
    bytes: &[u8],
    width: u32,
    n: usize,
    mut each: impl FnMut(u64),
) -> Result<(), Malformed> {
    let w = width as usize;
    if bytes.len() < (n * w).div_ceil(8) {
        return Err(Malformed("bits end early"));
    }
    if width == 0 || width > WORD_WIDTH_MAX {
        let mut bits = BitReader::new(bytes);
        for _ in 0..n {
            each(bits.take(width)?);
        }
        return Ok(());
    }
    let mask = mask(width);
    let field = |bytes: &[u8], bit: usize| {
        let word = bytes[bit / 8..][..8].try_into().expect("eight bytes");
        u64::from_le_bytes(word) >> (bit % 8) & mask
    };
    // Those that begin where eight bytes are left.
    let n_whole = (bytes.len().saturating_sub(7) * 8).div_ceil(w).min(n);
    for at in 0..n_whole {
        each(field(bytes, at * w));
    }
    let from = n_whole * w / 8;
    let mut rest = [0; 16];
    for (to, byte) in rest.iter_mut().zip(bytes.get(from..).unwrap_or_default()) {
        *to = *byte;
    }
    for at in n_whole..n {
        each(field(&rest, at * w - from * 8));
    }
    Ok(())
}

/// Fills `out` with fields of one width; `bytes` are exactly those of the fields.
pub fn unpack_to(bytes: &[u8], width: usize, out: &mut [u64]) -> Result<(), Malformed> {
    macro_rules! of_width {
        ($($width:literal)*) => {
            match width {
                0 => out.fill(0),
                $($width => unpack_groups::<$width>(bytes, out),)*
                58..=64 => {
                    let mut bits = BitReader::new(bytes);
                    for slot in out {
                        *slot = bits.take(width as u32)?;
                    }
                }
                _ => return Err(Malformed("integers wider than 64 bits")),
            }
        };
    }
    of_width!(1 2 3 4 5 6 7 8 9 10 11 12 13 14 15 16 17 18 19 20 21 22 23 24 25 26 27 28 29 30 31 32 33 34 35 36
        37 38 39 40 41 42 43 44 45 46 47 48 49 50 51 52 53 54 55 56 57);
    Ok(())
}

/// Eight fields are as many bytes as one has bits, so that each begins at a place that the compiler knows.
fn unpack_groups<const WIDTH: usize>(bytes: &[u8], out: &mut [u64]) {
    const { assert!(WIDTH > 0 && WIDTH <= WORD_WIDTH_MAX as usize) };
    let mut groups = out.chunks_mut(8);
    let mut rest = bytes;
    // As long as eight bytes can be read at the last of the group's fields.
    while rest.len() >= WIDTH + 8 {
        let Some(group) = groups.next() else { return };
        if let Ok(group) = <&mut [u64; 8]>::try_from(&mut *group) {
            take_group::<WIDTH>(rest, group);
        } else {
            // The last one, and more bytes than it has: not so when they are exactly those of the fields.
            let mut whole = [0; 8];
            take_group::<WIDTH>(rest, &mut whole);
            group.copy_from_slice(&whole[..group.len()]);
        }
        rest = &rest[WIDTH..];
    }
    // What is left is shorter than two groups and their eight bytes.
    let mut padded = [0; 2 * (WORD_WIDTH_MAX as usize + 8)];
    padded[..rest.len()].copy_from_slice(rest);
    let mut rest = &padded[..];
    for group in groups {
        let mut whole = [0; 8];
        take_group::<WIDTH>(rest, &mut whole);
        group.copy_from_slice(&whole[..group.len()]);
        rest = &rest[WIDTH.min(rest.len())..];
    }
}

#[inline(always)]
fn take_group<const WIDTH: usize>(bytes: &[u8], out: &mut [u64; 8]) {
    let mask = (1 << WIDTH) - 1;
    let bytes = &bytes[..WIDTH + 8];
    for (at, slot) in out.iter_mut().enumerate() {
        let bit = at * WIDTH;
        let word = bytes[bit / 8..][..8].try_into().expect("eight bytes");
        *slot = u64::from_le_bytes(word) >> (bit % 8) & mask;
    }
}

/// Fields up to this width lie in eight bytes, wherever in the first of them they begin.
const WORD_WIDTH_MAX: u32 = 57;

fn mask(width: u32) -> u64 {
    if width == 64 {
        u64::MAX
    } else {
        (1 << width) - 1
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fields_of_every_width_come_back() {
        let mut out = Vec::new();
        let mut w = BitWriter::new(&mut out);
        let value = |width: u32| 0x9e37_79b9_7f4a_7c15_u64 & mask(width);
        (0..=64).for_each(|width| w.put(value(width), width));
        w.finish();
        assert_eq!(out.len(), (64usize * 65 / 2).div_ceil(8));
        let mut r = BitReader::new(&out);
        for width in 0..=64 {
            assert_eq!(r.take(width), Ok(value(width)), "{width}");
        }
        assert!(r.take(8).is_err());
    }

    #[test]
    fn fields_of_one_width_are_unpacked_as_they_are_taken() {
        for width in 0..=64 {
            for n in [0, 1, 2, 7, 8, 9, 63, 200] {
                let values = (0..n).map(|at: u64| {
                    let value = (at + 1).wrapping_mul(0x9e37_79b9_7f4a_7c15);
                    value.rotate_left(at as u32) & mask(width)
                });
                let values: Vec<u64> = values.collect();
                let mut out = Vec::new();
                let mut w = BitWriter::new(&mut out);
                values.iter().for_each(|value| w.put(*value, width));
                w.finish();
                let mut back = Vec::new();
                unpack(&out, width, values.len(), |value| back.push(value)).unwrap();
                assert_eq!(back, values, "{n} of {width} bits");
                if let Some(cut) = out.len().checked_sub(1) {
                    assert!(unpack(&out[..cut], width, values.len(), |_| ()).is_err());
                }
            }
        }
    }
}
