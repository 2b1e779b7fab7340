//! Reading protobuf's wire format without schema or copies: fields one after the other.
//!
//! Known only: varints, 64-bit, 32-bit and length-delimited fields; the old groups are an error.
//! The one rule: no field reaches past its message, and every error names its byte.

use super::WireError;

/// The fields of one message.
#[derive(Debug, Clone)]
pub struct Message<'a> {
    bytes: &'a [u8],
    at: usize,
    /// Where `bytes` starts in the whole body, for errors.
    base: usize,
}

/// The content of one field.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Field<'a> {
    Varint(u64),
    Fixed64(u64),
    Fixed32(u32),
    /// Text, bytes or a message; the number is its offset in the body.
    Bytes(&'a [u8], usize),
}

impl<'a> Message<'a> {
    /// A message that is the whole body.
    #[must_use]
    pub fn new(bytes: &'a [u8]) -> Self {
        Self {
            bytes,
            at: 0,
            base: 0,
        }
    }

    /// The next field's number and content; `None` at the end.
    ///
    /// # Errors
    /// When the bytes are not protobuf.
    #[inline]
    #[allow(clippy::should_implement_trait)] // an iterator could not use `?` at the callers
    pub fn next(&mut self) -> Result<Option<(u64, Field<'a>)>, WireError> {
        if self.at >= self.bytes.len() {
            return Ok(None);
        }
        let key_at = self.at;
        let key = self.varint()?;
        let field = match key & 7 {
            0 => Field::Varint(self.varint()?),
            1 => Field::Fixed64(u64::from_le_bytes(self.array()?)),
            2 => {
                let len = self.varint()?;
                let offset = self.base + self.at;
                Field::Bytes(self.take(len)?, offset)
            }
            5 => Field::Fixed32(u32::from_le_bytes(self.array()?)),
            kind => return Err(self.error(key_at, format!("protobuf: unknown wire type {kind}"))),
        };
        match key >> 3 {
            0 => Err(self.error(key_at, "protobuf: field number 0")),
            number => Ok(Some((number, field))),
        }
    }

    /// Skips the fields that stand here and are number `number` (up to 15) with less than 128 bytes each: the
    /// labels of a known series. `next` goes on where it stops, which may be at one of these fields.
    pub fn skip_short(&mut self, number: u8) {
        let key = number << 3 | 2;
        while let Some(&[k, len]) = self.bytes.get(self.at..).and_then(<[u8]>::first_chunk) {
            let end = self.at + 2 + usize::from(len);
            if k != key || len >= 0x80 || end > self.bytes.len() {
                return;
            }
            self.at = end;
        }
    }

    /// Bytes of the message before the next field.
    #[must_use]
    #[inline]
    pub fn position(&self) -> usize {
        self.at
    }

    /// The message's bytes `from` a position of it `to` another.
    #[must_use]
    #[inline]
    pub fn bytes_between(&self, from: usize, to: usize) -> &'a [u8] {
        self.bytes.get(from..to).unwrap_or_default()
    }

    /// The next message of a stream in which each stands behind its length; `None` at the end.
    ///
    /// # Errors
    /// When a length reaches past the end.
    pub fn next_delimited(&mut self) -> Result<Option<Self>, WireError> {
        if self.at >= self.bytes.len() {
            return Ok(None);
        }
        let len = self.varint()?;
        let base = self.base + self.at;
        let bytes = self.take(len)?;
        Ok(Some(Self { bytes, at: 0, base }))
    }

    #[inline]
    fn varint(&mut self) -> Result<u64, WireError> {
        let start = self.at;
        let (mut n, mut shift) = (0u64, 0u32);
        while let Some(&byte) = self.bytes.get(self.at) {
            self.at += 1;
            n |= u64::from(byte & 0x7f) << shift;
            if byte & 0x80 == 0 {
                return Ok(n);
            }
            shift += 7;
            if shift > 63 {
                return Err(self.error(start, "protobuf: varint of more than ten bytes"));
            }
        }
        Err(self.error(start, "protobuf: varint is cut off"))
    }

    #[inline]
    fn take(&mut self, len: u64) -> Result<&'a [u8], WireError> {
        let rest = self.bytes.get(self.at..).unwrap_or_default();
        let taken = usize::try_from(len).ok().and_then(|len| rest.get(..len));
        let Some(taken) = taken else {
            let what = format!(
                "protobuf: field of {len} bytes where {} are left",
                rest.len()
            );
            return Err(self.error(self.at, what));
        };
        self.at += taken.len();
        Ok(taken)
    }

    fn array<const N: usize>(&mut self) -> Result<[u8; N], WireError> {
        let bytes = self.take(N as u64)?;
        Ok(bytes.try_into().expect("took N bytes"))
    }

    #[cold]
    fn error(&self, at: usize, what: impl Into<String>) -> WireError {
        WireError::new(self.base + at, what)
    }
}

impl<'a> Field<'a> {
    /// The field as a message.
    ///
    /// # Errors
    /// When it is no length-delimited field.
    #[inline]
    pub fn message(self) -> Result<Message<'a>, WireError> {
        let (bytes, base) = self.bytes()?;
        Ok(Message { bytes, at: 0, base })
    }

    /// The field as bytes and their offset.
    ///
    /// # Errors
    /// When it is no length-delimited field.
    #[inline]
    pub fn bytes(self) -> Result<(&'a [u8], usize), WireError> {
        match self {
            Self::Bytes(bytes, offset) => Ok((bytes, offset)),
            Self::Varint(_) | Self::Fixed64(_) | Self::Fixed32(_) => Err(WireError::new(
                0,
                "protobuf: number where text or a message must stand",
            )),
        }
    }

    /// The field as text.
    ///
    /// # Errors
    /// When it is no length-delimited field or not UTF-8.
    pub fn text(self) -> Result<&'a str, WireError> {
        let (bytes, offset) = self.bytes()?;
        std::str::from_utf8(bytes)
            .map_err(|e| WireError::new(offset + e.valid_up_to(), "text is not UTF-8"))
    }

    /// The field as a signed number (`int64`, `int32`).
    ///
    /// # Errors
    /// When it is no varint.
    #[inline]
    pub fn int(self) -> Result<i64, WireError> {
        match self {
            Self::Varint(n) => Ok(n.cast_signed()),
            _ => Err(WireError::new(
                0,
                "protobuf: other type where a whole number must stand",
            )),
        }
    }

    /// Each of the whole numbers of a repeated field, packed or one by one.
    ///
    /// # Errors
    /// When it holds something else.
    pub fn varints(self, with: &mut dyn FnMut(u64)) -> Result<(), WireError> {
        if let Self::Varint(n) = self {
            with(n);
            return Ok(());
        }
        let mut packed = self.message()?;
        while packed.at < packed.bytes.len() {
            with(packed.varint()?);
        }
        Ok(())
    }

    /// Each of the doubles of a repeated field, packed or one by one.
    ///
    /// # Errors
    /// When it holds something else.
    pub fn doubles(self, with: &mut dyn FnMut(f64)) -> Result<(), WireError> {
        if let Self::Fixed64(bits) = self {
            with(f64::from_bits(bits));
            return Ok(());
        }
        let mut packed = self.message()?;
        while packed.at < packed.bytes.len() {
            with(f64::from_bits(u64::from_le_bytes(packed.array()?)));
        }
        Ok(())
    }

    /// The field as a `double`.
    ///
    /// # Errors
    /// When it is no 64-bit field.
    #[inline]
    pub fn double(self) -> Result<f64, WireError> {
        match self {
            Self::Fixed64(bits) => Ok(f64::from_bits(bits)),
            _ => Err(WireError::new(
                0,
                "protobuf: other type where a decimal number must stand",
            )),
        }
    }
}

/// Writes messages; only as much as tests and fixtures need.
#[cfg(test)]
pub(crate) mod write {
    pub fn varint(out: &mut Vec<u8>, mut n: u64) {
        while n >= 0x80 {
            out.push((n as u8 & 0x7f) | 0x80);
            n >>= 7;
        }
        out.push(n as u8);
    }

    pub fn bytes(out: &mut Vec<u8>, field: u64, bytes: &[u8]) {
        varint(out, field << 3 | 2);
        varint(out, bytes.len() as u64);
        out.extend_from_slice(bytes);
    }

    pub fn int(out: &mut Vec<u8>, field: u64, n: i64) {
        varint(out, field << 3);
        varint(out, n.cast_unsigned());
    }

    pub fn double(out: &mut Vec<u8>, field: u64, value: f64) {
        varint(out, field << 3 | 1);
        out.extend_from_slice(&value.to_bits().to_le_bytes());
    }

    pub fn message(out: &mut Vec<u8>, field: u64, write: impl FnOnce(&mut Vec<u8>)) {
        let mut inner = Vec::new();
        write(&mut inner);
        bytes(out, field, &inner);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fields_of_every_type_are_read() {
        let mut body = Vec::new();
        write::int(&mut body, 1, -2);
        write::double(&mut body, 2, 0.5);
        write::bytes(&mut body, 3, "観".as_bytes());
        body.extend_from_slice(b"\x25\x07\0\0\0");
        let mut m = Message::new(&body);
        let mut got = Vec::new();
        while let Some(field) = m.next().unwrap() {
            got.push(field);
        }
        assert_eq!(got[0].1.int(), Ok(-2));
        assert_eq!(got[1].1.double(), Ok(0.5));
        assert_eq!(got[2].1.text(), Ok("観"));
        assert_eq!(got[3], (4, Field::Fixed32(7)));
    }

    #[test]
    fn short_fields_are_skipped_up_to_the_first_other_one() {
        let skipped = |body: &[u8]| {
            let mut m = Message::new(body);
            m.skip_short(1);
            m.position()
        };
        let (short, long) = (b"\x0a\x02ab".as_slice(), [b'x'; 128]);
        assert_eq!(skipped(&[short, short, b"\x12\x00"].concat()), 8);
        assert_eq!(skipped(&[short, b"\x0a\x80\x01", &long].concat()), 4);
        assert_eq!(skipped(&[short, b"\x0a\x03ab"].concat()), 4, "cut off");
        for (body, at) in [(&b""[..], 0), (b"\x0a", 0), (b"\x0a\x00\x0a", 2)] {
            assert_eq!(skipped(body), at);
        }
    }

    #[test]
    fn damage_is_named_with_its_byte() {
        let cases: &[(&[u8], &str)] = &[
            (b"\x08", "protobuf: varint is cut off at byte 1"),
            (b"\x0b\x01", "protobuf: unknown wire type 3 at byte 0"),
            (b"\x02\x00", "protobuf: field number 0 at byte 0"),
            (
                b"\x0a\x05ab",
                "protobuf: field of 5 bytes where 2 are left at byte 2",
            ),
            (
                b"\x09\x01\x02",
                "protobuf: field of 8 bytes where 2 are left at byte 1",
            ),
            (
                b"\x08\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\x01",
                "protobuf: varint of more than ten bytes at byte 1",
            ),
            (
                b"\x0a\xff\xff\xff\xff\xff\xff\xff\xff\xff\x01",
                "protobuf: field of 18446744073709551615 bytes where 0 are left at byte 11",
            ),
        ];
        for (bytes, expected) in cases {
            let error = Message::new(bytes).next().unwrap_err().to_string();
            assert_eq!(error, *expected);
        }
    }
}
