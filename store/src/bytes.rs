//! Reading and writing the small pieces that every file of the store is made of: varints, texts,
//! fixed integers (little-endian).
//!
//! It knows no file and no format. The rule: reading any bytes ends in a value or in `Malformed`,
//! never in a panic, and never allocates more than the bytes at hand justify.

pub use kansoku_model::append::extend;

/// Bytes that do not follow their format; the text says what was expected.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Malformed(pub &'static str);

const SHORT: Malformed = Malformed("ends early");

pub fn put_varint(out: &mut Vec<u8>, mut n: u64) {
    while n >= 0x80 {
        out.push((n as u8 & 0x7f) | 0x80);
        n >>= 7;
    }
    out.push(n as u8);
}

/// A signed number as a varint: small magnitudes take few bytes.
pub fn put_signed(out: &mut Vec<u8>, n: i64) {
    put_varint(out, ((n << 1) ^ (n >> 63)) as u64);
}

/// A varint length and the bytes.
pub fn put_text(out: &mut Vec<u8>, text: &[u8]) {
    put_varint(out, text.len() as u64);
    out.extend_from_slice(text);
}

pub fn put_u32(out: &mut Vec<u8>, n: u32) {
    out.extend_from_slice(&n.to_le_bytes());
}

pub fn put_u64(out: &mut Vec<u8>, n: u64) {
    out.extend_from_slice(&n.to_le_bytes());
}

/// A place in bytes that moves forward as it is read.
#[derive(Debug, Clone)]
pub struct Reader<'a> {
    bytes: &'a [u8],
}

impl<'a> Reader<'a> {
    pub fn new(bytes: &'a [u8]) -> Self {
        Self { bytes }
    }

    pub fn is_empty(&self) -> bool {
        self.bytes.is_empty()
    }

    /// What has not been read yet.
    pub fn rest(&self) -> &'a [u8] {
        self.bytes
    }

    pub fn take(&mut self, n: usize) -> Result<&'a [u8], Malformed> {
        let (head, tail) = self.bytes.split_at_checked(n).ok_or(SHORT)?;
        self.bytes = tail;
        Ok(head)
    }

    pub fn byte(&mut self) -> Result<u8, Malformed> {
        Ok(self.take(1)?[0])
    }

    pub fn u32(&mut self) -> Result<u32, Malformed> {
        let bytes = self.take(4)?.try_into().expect("four bytes");
        Ok(u32::from_le_bytes(bytes))
    }

    pub fn u64(&mut self) -> Result<u64, Malformed> {
        let bytes = self.take(8)?.try_into().expect("eight bytes");
        Ok(u64::from_le_bytes(bytes))
    }

    pub fn varint(&mut self) -> Result<u64, Malformed> {
        let (mut n, mut shift) = (0u64, 0u32);
        loop {
            let byte = self.byte()?;
            n |= u64::from(byte & 0x7f) << shift;
            if byte & 0x80 == 0 {
                return Ok(n);
            }
            shift += 7;
            if shift > 63 {
                return Err(Malformed("varint is too long"));
            }
        }
    }

    pub fn signed(&mut self) -> Result<i64, Malformed> {
        let n = self.varint()?;
        Ok((n >> 1) as i64 ^ -((n & 1) as i64))
    }

    /// A varint that fits 32 bits.
    pub fn varint32(&mut self) -> Result<u32, Malformed> {
        u32::try_from(self.varint()?).map_err(|_| Malformed("number is too large"))
    }

    /// A count of things that take at least `min_bytes` each of what is left.
    pub fn count(&mut self, min_bytes: usize) -> Result<usize, Malformed> {
        let n = usize::try_from(self.varint()?).map_err(|_| SHORT)?;
        if n > self.bytes.len() / min_bytes {
            return Err(SHORT);
        }
        Ok(n)
    }

    pub fn text(&mut self) -> Result<&'a [u8], Malformed> {
        let n = self.count(1)?;
        self.take(n)
    }

    pub fn str(&mut self) -> Result<&'a str, Malformed> {
        std::str::from_utf8(self.text()?).map_err(|_| Malformed("name is not UTF-8"))
    }

    pub fn end(&self) -> Result<(), Malformed> {
        if self.bytes.is_empty() {
            Ok(())
        } else {
            Err(Malformed("bytes are left over"))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn texts_of_every_length_are_appended() {
        let text: Vec<u8> = (1..=80).collect();
        for len in 0..=80 {
            let mut out = b"before".to_vec();
            extend(&mut out, &text[..len]);
            assert_eq!(out, [b"before", &text[..len]].concat());
        }
    }

    #[test]
    fn pieces_round_trip() {
        let mut out = Vec::new();
        for n in [0, 1, 127, 128, u64::MAX] {
            put_varint(&mut out, n);
        }
        for n in [0, -1, i64::MIN, i64::MAX] {
            put_signed(&mut out, n);
        }
        put_text(&mut out, b"text");
        let mut r = Reader::new(&out);
        for n in [0, 1, 127, 128, u64::MAX] {
            assert_eq!(r.varint(), Ok(n));
        }
        for n in [0, -1, i64::MIN, i64::MAX] {
            assert_eq!(r.signed(), Ok(n));
        }
        assert_eq!(r.text(), Ok(&b"text"[..]));
        assert_eq!(r.end(), Ok(()));
    }

    #[test]
    fn a_count_cannot_promise_more_than_there_is() {
        let mut out = Vec::new();
        put_varint(&mut out, u64::MAX);
        assert_eq!(Reader::new(&out).count(1), Err(SHORT));
        assert_eq!(Reader::new(&out).text(), Err(SHORT));
        assert_eq!(
            Reader::new(&[0xff; 11]).varint(),
            Err(Malformed("varint is too long"))
        );
    }
}
