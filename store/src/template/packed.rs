//! Texts of one length over a small alphabet: hexadecimal ids, UUIDs, keys in base 32 or 64.
//!
//! Places at which all values agree are kept once (the dashes of a UUID); at all others a character
//! is its number in the sorted alphabet, in as many bits as the alphabet needs.
//!
//! ```text
//! description: length L (varint), L bits (1: the place varies; lowest first), the bytes of the other
//!              places, alphabet (text, ascending, 2 to 64 bytes)
//! data:        per value its varying places, lowest bit first, nothing between values
//! ```

use std::borrow::Cow;

use kansoku_model::Slice;

use crate::bytes::{Malformed, Reader, extend, put_text, put_varint};

/// Longer texts are no ids.
const LENGTH_MAX: usize = 512;
const ALPHABET_MAX: usize = 64;
/// Most ids are no longer than this.
const SHORT_MAX: usize = 64;

/// Bits of a value that are looked for.
#[derive(Debug, Clone, Copy)]
struct Pattern {
    /// From the value's first bit.
    offset: usize,
    mask: u64,
    bits: u64,
}

/// What all values of a column have in common.
#[derive(Debug, Clone)]
pub struct Plan {
    /// The first value; counts at the places that do not vary.
    model: Vec<u8>,
    varying: Vec<u32>,
    alphabet: Vec<u8>,
}

impl Plan {
    /// A plan for values that are not all equal; `None` when they have no length or too many
    /// characters.
    pub fn new(values: &[Slice], text: &[u8]) -> Option<Self> {
        let bytes = |s: Slice| &text[s.start as usize..][..s.len as usize];
        let model = bytes(*values.first()?);
        if model.len() > LENGTH_MAX || values.iter().any(|v| v.len as usize != model.len()) {
            return None;
        }
        let mut differs = vec![0; model.len()];
        for &value in values {
            for ((d, a), b) in differs.iter_mut().zip(bytes(value)).zip(model) {
                *d |= a ^ b;
            }
        }
        let varying: Vec<u32> = (0..model.len() as u32)
            .filter(|at| differs[*at as usize] != 0)
            .collect();
        let mut seen = [false; 256];
        for &value in values {
            let value = bytes(value);
            varying
                .iter()
                .for_each(|at| seen[usize::from(value[*at as usize])] = true);
        }
        let alphabet: Vec<u8> = (0..=255).filter(|b| seen[usize::from(*b)]).collect();
        (alphabet.len() <= ALPHABET_MAX && alphabet.len() >= 2).then(|| Self {
            model: model.to_vec(),
            varying,
            alphabet,
        })
    }

    fn width(&self) -> u32 {
        usize::BITS - (self.alphabet.len() - 1).leading_zeros()
    }

    fn bits_per_value(&self) -> usize {
        self.varying.len() * self.width() as usize
    }

    /// Whether a value may have the byte.
    pub fn holds(&self, byte: u8) -> bool {
        // The model's byte at a place that varies is of the alphabet or, when read, zero.
        self.alphabet.contains(&byte) || self.model.contains(&byte)
    }

    /// The bytes that a value may have at each place.
    pub fn places(&self) -> Vec<Cow<'_, [u8]>> {
        let places = self.model.chunks(1).map(Cow::Borrowed);
        let mut places: Vec<_> = places.collect();
        for at in &self.varying {
            places[*at as usize] = Cow::Borrowed(&self.alphabet[..]);
        }
        places
    }

    pub fn alphabet(&self) -> &[u8] {
        &self.alphabet
    }

    /// Bytes of `n` values.
    pub fn data_len(&self, n: usize) -> Option<usize> {
        Some(n.checked_mul(self.bits_per_value())?.div_ceil(8))
    }

    pub fn describe(&self, out: &mut Vec<u8>) {
        put_varint(out, self.model.len() as u64);
        let mut mask = vec![0; self.model.len().div_ceil(8)];
        for at in &self.varying {
            mask[*at as usize / 8] |= 1 << (at % 8);
        }
        out.extend_from_slice(&mask);
        let is_fixed = |at: &usize| mask[at / 8] & 1 << (at % 8) == 0;
        out.extend(
            (0..self.model.len())
                .filter(is_fixed)
                .map(|at| self.model[at]),
        );
        put_text(out, &self.alphabet);
    }

    pub fn read(r: &mut Reader<'_>) -> Result<Self, Malformed> {
        let length = r.varint()? as usize;
        if length == 0 || length > LENGTH_MAX {
            return Err(Malformed("packed texts of no or too large a length"));
        }
        let mask = r.take(length.div_ceil(8))?;
        let (mut model, mut varying) = (vec![0; length], Vec::new());
        for (at, byte) in model.iter_mut().enumerate() {
            if mask[at / 8] & 1 << (at % 8) == 0 {
                *byte = r.byte()?;
            } else {
                varying.push(at as u32);
            }
        }
        let alphabet = r.text()?.to_vec();
        if alphabet.len() > ALPHABET_MAX || alphabet.len() < 2 {
            return Err(Malformed("packed texts of no or too many characters"));
        }
        Ok(Self {
            model,
            varying,
            alphabet,
        })
    }

    pub fn pack(&self, values: &[Slice], text: &[u8], out: &mut Vec<u8>) {
        let mut codes = [0u8; 256];
        for (code, byte) in self.alphabet.iter().enumerate() {
            codes[usize::from(*byte)] = code as u8;
        }
        let width = self.width();
        let (mut pending, mut n_pending) = (0u64, 0);
        for value in values {
            let value = &text[value.start as usize..][..value.len as usize];
            for at in &self.varying {
                pending |= u64::from(codes[usize::from(value[*at as usize])]) << n_pending;
                n_pending += width;
                if n_pending >= 32 {
                    out.extend_from_slice(&(pending as u32).to_le_bytes());
                    pending >>= 32;
                    n_pending -= 32;
                }
            }
        }
        out.extend_from_slice(&pending.to_le_bytes()[..n_pending.div_ceil(8) as usize]);
    }

    /// A value all of whose places vary, in half bytes: what most ids are.
    fn put_halves(&self, data: &[u8], row: usize, out: &mut Vec<u8>) -> Result<(), Malformed> {
        let mut letters = [0u8; 16];
        letters[..self.alphabet.len()].copy_from_slice(&self.alphabet);
        let (mut value, n) = ([0u8; SHORT_MAX], self.model.len());
        let (mut bit, mut largest) = (row * n * 4, 0);
        for places in value[..n].chunks_mut(14) {
            let mut bits = window(data, bit);
            for place in places {
                let code = bits as usize & 15;
                largest = largest.max(code);
                *place = letters[code];
                bits >>= 4;
            }
            bit += 56;
        }
        if largest >= self.alphabet.len() {
            return Err(Malformed("packed character outside its alphabet"));
        }
        extend(out, &value[..n]);
        Ok(())
    }

    /// Which of `n` values may contain a text: of what lies beyond 56 bits nothing is said.
    pub fn containing(&self, data: &[u8], n: usize, text: &[u8]) -> Vec<bool> {
        let mut rows = vec![false; n];
        let Some(last) = self.model.len().checked_sub(text.len()) else {
            return rows;
        };
        for start in 0..=last {
            if let Some(pattern) = self.pattern(start, text) {
                let step = self.bits_per_value();
                for (row, found) in rows.iter_mut().enumerate() {
                    let bits = window(data, row * step + pattern.offset);
                    *found |= bits & pattern.mask == pattern.bits;
                }
            }
        }
        rows
    }

    /// What the bits of a value are that has `text` from place `start` on.
    fn pattern(&self, start: usize, text: &[u8]) -> Option<Pattern> {
        let (width, mut varying) = (self.width() as usize, 0..0);
        varying.start = self.varying.partition_point(|at| (*at as usize) < start);
        varying.end = varying.start;
        let (mut bits, mut n_bits) = (0u64, 0);
        for (at, byte) in (start..).zip(text) {
            if self.varying.get(varying.end) != Some(&(at as u32)) {
                if self.model[at] != *byte {
                    return None;
                }
                continue;
            }
            let code = self.alphabet.binary_search(byte).ok()? as u64;
            varying.end += 1;
            if n_bits + width <= 56 {
                bits |= code << n_bits;
                n_bits += width;
            }
        }
        Some(Pattern {
            offset: varying.start * width,
            mask: (1 << n_bits) - 1,
            bits,
        })
    }

    /// Appends value number `row` of packed `data`, whose length was checked.
    pub fn put(&self, data: &[u8], row: usize, out: &mut Vec<u8>) -> Result<(), Malformed> {
        let width = self.width();
        if self.model.len() <= SHORT_MAX && self.varying.len() == self.model.len() && width == 4 {
            return self.put_halves(data, row, out);
        }
        let start = out.len();
        out.extend_from_slice(&self.model);
        let value = &mut out[start..];
        let mask = (1u64 << width) - 1;
        let mut bit = row * self.bits_per_value();
        let (mut pending, mut n_pending) = (0u64, 0);
        for at in &self.varying {
            if n_pending < width {
                let window = window(data, bit);
                (pending, n_pending) = (window, 56);
            }
            let code = (pending & mask) as usize;
            pending >>= width;
            n_pending -= width;
            bit += width as usize;
            value[*at as usize] = *self
                .alphabet
                .get(code)
                .ok_or(Malformed("packed character outside its alphabet"))?;
        }
        Ok(())
    }
}

/// At least 56 bits from `bit` on; zeros behind the end.
fn window(data: &[u8], bit: usize) -> u64 {
    let rest = data.get(bit / 8..).unwrap_or_default();
    let word = match rest.first_chunk::<8>() {
        Some(bytes) => u64::from_le_bytes(*bytes),
        None => {
            let mut bytes = [0; 8];
            bytes[..rest.len()].copy_from_slice(rest);
            u64::from_le_bytes(bytes)
        }
    };
    word >> (bit % 8)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::Random;

    #[test]
    fn values_over_alphabets_of_every_size_come_back() {
        let mut random = Random(9);
        for round in 0..300 {
            let (n, length) = (2 + random.below(40) as usize, 1 + random.below(70) as usize);
            let size = 2 + random.below(63);
            let (mut text, mut values) = (Vec::new(), Vec::new());
            for _ in 0..n {
                values.push(Slice {
                    start: text.len() as u32,
                    len: length as u32,
                });
                text.extend((0..length).map(|at| match at % 5 {
                    4 => b'-',
                    _ => b'0' + random.below(size) as u8,
                }));
            }
            let Some(plan) = Plan::new(&values, &text) else {
                continue;
            };
            let (mut description, mut data) = (Vec::new(), Vec::new());
            plan.describe(&mut description);
            plan.pack(&values, &text, &mut data);
            let mut r = Reader::new(&description);
            let plan = Plan::read(&mut r).unwrap();
            assert_eq!(r.end(), Ok(()));
            assert_eq!(plan.data_len(n), Some(data.len()), "round {round}");
            let mut back = Vec::new();
            (0..n).for_each(|row| plan.put(&data, row, &mut back).unwrap());
            assert_eq!(back, text);
        }
    }

    #[test]
    fn a_uuid_takes_its_random_bits() {
        let text = b"13b17094-4249-480d-a7e9-77f36b11034bdea2450f-22b7-4120-a9ba-83d086df3e51";
        let values = [0, 36].map(|start| Slice { start, len: 36 });
        let plan = Plan::new(&values, text).unwrap();
        assert!(plan.bits_per_value() <= 4 * 30);
        assert!(Plan::new(&[values[0], Slice { start: 0, len: 35 }], text).is_none());
    }
}
