//! Reading msgpack without copies: one item after the other, and whole values as JSON text.
//!
//! Not here: a tree of values. The rule: an item that is not complete yet is told apart from one that
//! is damaged, and what a header promises allocates nothing.

use kansoku_model::{LogBatch, Value, json};

use super::WireError;

/// How deep arrays and maps may nest.
const MAX_DEPTH: u32 = 64;

/// One item. Of arrays and maps only the header; their items follow.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Item<'a> {
    Nil,
    Bool(bool),
    Int(i64),
    /// Whole numbers that do not fit 63 bits.
    Uint(u64),
    Float(f64),
    Str(&'a [u8]),
    Bin(&'a [u8]),
    /// Number of items.
    Array(u32),
    /// Number of pairs.
    Map(u32),
    /// Type and content.
    Ext(i8, &'a [u8]),
}

/// Why there is no item.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Stop {
    /// The bytes end in the middle of it.
    Incomplete,
    Damaged(WireError),
}

impl From<Stop> for WireError {
    fn from(stop: Stop) -> Self {
        match stop {
            Stop::Incomplete => Self::new(0, "msgpack: the value is cut off"),
            Stop::Damaged(error) => error,
        }
    }
}

/// A place in msgpack bytes.
#[derive(Debug, Clone)]
pub struct Reader<'a> {
    bytes: &'a [u8],
    at: usize,
}

impl<'a> Reader<'a> {
    /// Reads from the start of `bytes`.
    #[must_use]
    pub fn new(bytes: &'a [u8]) -> Self {
        Self { bytes, at: 0 }
    }

    /// Bytes read so far.
    #[must_use]
    pub fn offset(&self) -> usize {
        self.at
    }

    /// Whether all bytes are read.
    #[must_use]
    pub fn is_at_end(&self) -> bool {
        self.at >= self.bytes.len()
    }

    /// The next item, or the header of the next array or map.
    ///
    /// # Errors
    /// When it is not complete or no msgpack; the place is then unchanged.
    #[allow(clippy::should_implement_trait)] // an iterator could not use `?` at the callers
    pub fn next(&mut self) -> Result<Item<'a>, Stop> {
        let start = self.at;
        let item = self.read();
        if item.is_err() {
            self.at = start;
        }
        item
    }

    fn read(&mut self) -> Result<Item<'a>, Stop> {
        let [head] = self.array()?;
        Ok(match head {
            0..=0x7f => Item::Int(i64::from(head)),
            0x80..=0x8f => Item::Map(u32::from(head & 15)),
            0x90..=0x9f => Item::Array(u32::from(head & 15)),
            0xa0..=0xbf => Item::Str(self.take(u32::from(head & 31))?),
            0xc0 => Item::Nil,
            0xc1 => {
                return Err(Stop::Damaged(WireError::new(
                    self.at - 1,
                    "msgpack: byte 0xc1 starts nothing",
                )));
            }
            0xc2 | 0xc3 => Item::Bool(head == 0xc3),
            0xc4 => Item::Bin(self.sized::<1>()?),
            0xc5 => Item::Bin(self.sized::<2>()?),
            0xc6 => Item::Bin(self.sized::<4>()?),
            0xc7 => self.ext_sized::<1>()?,
            0xc8 => self.ext_sized::<2>()?,
            0xc9 => self.ext_sized::<4>()?,
            0xca => Item::Float(f64::from(f32::from_be_bytes(self.array()?))),
            0xcb => Item::Float(f64::from_be_bytes(self.array()?)),
            0xcc => Item::Int(i64::from(u8::from_be_bytes(self.array()?))),
            0xcd => Item::Int(i64::from(u16::from_be_bytes(self.array()?))),
            0xce => Item::Int(i64::from(u32::from_be_bytes(self.array()?))),
            0xcf => {
                let n = u64::from_be_bytes(self.array()?);
                i64::try_from(n).map_or(Item::Uint(n), Item::Int)
            }
            0xd0 => Item::Int(i64::from(i8::from_be_bytes(self.array()?))),
            0xd1 => Item::Int(i64::from(i16::from_be_bytes(self.array()?))),
            0xd2 => Item::Int(i64::from(i32::from_be_bytes(self.array()?))),
            0xd3 => Item::Int(i64::from_be_bytes(self.array()?)),
            0xd4..=0xd8 => self.ext(1 << (head - 0xd4))?,
            0xd9 => Item::Str(self.sized::<1>()?),
            0xda => Item::Str(self.sized::<2>()?),
            0xdb => Item::Str(self.sized::<4>()?),
            0xdc => Item::Array(self.number::<2>()?),
            0xdd => Item::Array(self.number::<4>()?),
            0xde => Item::Map(self.number::<2>()?),
            0xdf => Item::Map(self.number::<4>()?),
            0xe0..=0xff => Item::Int(i64::from(head.cast_signed())),
        })
    }

    fn take(&mut self, len: u32) -> Result<&'a [u8], Stop> {
        let rest = self.bytes.get(self.at..).unwrap_or_default();
        let taken = rest.get(..len as usize).ok_or(Stop::Incomplete)?;
        self.at += taken.len();
        Ok(taken)
    }

    fn array<const N: usize>(&mut self) -> Result<[u8; N], Stop> {
        let bytes = self.take(N as u32)?;
        Ok(bytes.try_into().expect("took N bytes"))
    }

    fn number<const N: usize>(&mut self) -> Result<u32, Stop> {
        let bytes: [u8; N] = self.array()?;
        Ok(bytes.iter().fold(0, |n, b| n << 8 | u32::from(*b)))
    }

    fn sized<const N: usize>(&mut self) -> Result<&'a [u8], Stop> {
        let len = self.number::<N>()?;
        self.take(len)
    }

    fn ext_sized<const N: usize>(&mut self) -> Result<Item<'a>, Stop> {
        let len = self.number::<N>()?;
        self.ext(len)
    }

    fn ext(&mut self, len: u32) -> Result<Item<'a>, Stop> {
        let [kind] = self.array()?;
        Ok(Item::Ext(kind.cast_signed(), self.take(len)?))
    }

    /// Goes past one whole value.
    ///
    /// # Errors
    /// When it is not complete or no msgpack.
    pub fn skip(&mut self) -> Result<&'a [u8], Stop> {
        let start = self.at;
        let mut extent = Extent::default();
        let end = extent.find(&self.bytes[start..])?;
        self.at = start + end;
        Ok(&self.bytes[start..self.at])
    }

    /// Appends one whole value as JSON text. Keys that are no text become text; bytes that are no
    /// UTF-8 become U+FFFD.
    ///
    /// # Errors
    /// When it is not complete, no msgpack, or nests deeper than 64 levels.
    pub fn write_json(&mut self, out: &mut Vec<u8>) -> Result<(), Stop> {
        let item = self.next()?;
        self.write_item(item, out, 0)
    }

    fn write_item(&mut self, item: Item<'a>, out: &mut Vec<u8>, depth: u32) -> Result<(), Stop> {
        if depth > MAX_DEPTH {
            let what = "msgpack: more than 64 nested levels";
            return Err(Stop::Damaged(WireError::new(self.at, what)));
        }
        match item {
            Item::Array(n) => {
                out.push(b'[');
                for i in 0..n {
                    if i > 0 {
                        out.push(b',');
                    }
                    let item = self.next()?;
                    self.write_item(item, out, depth + 1)?;
                }
                out.push(b']');
            }
            Item::Map(n) => {
                out.push(b'{');
                for i in 0..n {
                    if i > 0 {
                        out.push(b',');
                    }
                    self.write_key(out)?;
                    out.push(b':');
                    let item = self.next()?;
                    self.write_item(item, out, depth + 1)?;
                }
                out.push(b'}');
            }
            scalar => write_scalar(scalar, out),
        }
        Ok(())
    }

    fn write_key(&mut self, out: &mut Vec<u8>) -> Result<(), Stop> {
        let start = self.at;
        match self.next()? {
            Item::Str(text) | Item::Bin(text) => json::write_str(out, text),
            Item::Array(_) | Item::Map(_) => {
                let what = "msgpack: an array or a map as a key";
                return Err(Stop::Damaged(WireError::new(start, what)));
            }
            scalar => {
                let mut text = Vec::new();
                write_scalar(scalar, &mut text);
                json::write_str(out, text.trim_ascii());
            }
        }
        Ok(())
    }

    /// Reads one whole value into the arena of `batch`.
    ///
    /// # Errors
    /// As [`Self::write_json`].
    pub fn value(&mut self, batch: &mut LogBatch) -> Result<Value, Stop> {
        Ok(match self.next()? {
            Item::Nil => Value::Null,
            Item::Bool(b) => Value::Bool(b),
            Item::Int(n) => Value::Int(n),
            Item::Uint(n) => match i64::try_from(n) {
                Ok(n) => Value::Int(n),
                Err(_) => Value::Json(batch.store(n.to_string().as_bytes())),
            },
            Item::Float(f) => Value::Float(f),
            Item::Str(text) | Item::Bin(text) => Value::Text(batch.store(text)),
            Item::Ext(0, time) if time_ns(time).is_some() => {
                let ns = time_ns(time).unwrap_or_default();
                Value::Float(ns as f64 / 1e9)
            }
            Item::Ext(_, bytes) => {
                let text = batch.store_with(|out| write_hex(out, bytes));
                Value::Text(text)
            }
            item @ (Item::Array(_) | Item::Map(_)) => {
                let mut result = Ok(());
                let text = batch.store_with(|out| result = self.write_item(item, out, 0));
                result?;
                Value::Json(text)
            }
        })
    }
}

fn write_scalar(item: Item<'_>, out: &mut Vec<u8>) {
    match item {
        Item::Nil => out.extend_from_slice(b"null"),
        Item::Bool(b) => out.extend_from_slice(if b { b"true" } else { b"false" }),
        Item::Int(n) => out.extend_from_slice(n.to_string().as_bytes()),
        Item::Uint(n) => out.extend_from_slice(n.to_string().as_bytes()),
        Item::Float(f) => json::write_f64(out, f),
        Item::Str(text) | Item::Bin(text) => json::write_str(out, text),
        Item::Ext(0, time) if time_ns(time).is_some() => {
            json::write_f64(out, time_ns(time).unwrap_or_default() as f64 / 1e9);
        }
        Item::Ext(_, bytes) => {
            let mut text = Vec::new();
            write_hex(&mut text, bytes);
            json::write_str(out, &text);
        }
        Item::Array(_) | Item::Map(_) => debug_assert!(false, "written by the caller"),
    }
}

fn write_hex(out: &mut Vec<u8>, bytes: &[u8]) {
    out.extend_from_slice(b"0x");
    for byte in bytes {
        out.extend_from_slice(format!("{byte:02x}").as_bytes());
    }
}

/// The Unix nanoseconds of Fluentd's EventTime (extension type 0): seconds and nanoseconds.
#[must_use]
pub fn time_ns(ext: &[u8]) -> Option<i64> {
    let bytes: [u8; 8] = ext.try_into().ok()?;
    let all = u64::from_be_bytes(bytes);
    let (seconds, nanos) = ((all >> 32) as i64, (all & 0xffff_ffff) as i64);
    Some(seconds * 1_000_000_000 + nanos)
}

/// Appends text, for answers.
pub fn write_str(out: &mut Vec<u8>, text: &[u8]) {
    match text.len() {
        n @ 0..32 => out.push(0xa0 | n as u8),
        n @ 32..256 => out.extend_from_slice(&[0xd9, n as u8]),
        n => {
            out.push(0xdb);
            out.extend_from_slice(&(n as u32).to_be_bytes());
        }
    }
    out.extend_from_slice(text);
}

/// Where a value ends, found as its bytes arrive: each byte is looked at once.
#[derive(Debug, Clone, Default)]
pub struct Extent {
    at: usize,
    /// Items that are still to come; `None` before the first.
    pending: Option<u64>,
}

impl Extent {
    /// The length of the value that `bytes` start with. Called again after `Incomplete` with more
    /// bytes at the end, it goes on where it stopped.
    ///
    /// # Errors
    /// `Incomplete`, or when the bytes are no msgpack.
    pub fn find(&mut self, bytes: &[u8]) -> Result<usize, Stop> {
        let mut reader = Reader { bytes, at: self.at };
        let mut pending = self.pending.unwrap_or(1);
        while pending > 0 {
            let item = reader.next();
            (self.at, self.pending) = (reader.at, Some(pending));
            pending -= 1;
            match item? {
                Item::Array(n) => pending = pending.saturating_add(u64::from(n)),
                Item::Map(n) => pending = pending.saturating_add(2 * u64::from(n)),
                _ => {}
            }
        }
        *self = Self::default();
        Ok(reader.at)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn json_of(bytes: &[u8]) -> String {
        let mut out = Vec::new();
        match Reader::new(bytes).write_json(&mut out) {
            Ok(()) => String::from_utf8(out).expect("JSON is text"),
            Err(stop) => format!("{stop:?}"),
        }
    }

    #[test]
    fn every_form_is_read() {
        let cases: &[(&[u8], &str)] = &[
            (b"\x00", "0"),
            (b"\xff", "-1"),
            (b"\xcd\x01\x00", "256"),
            (
                b"\xcf\xff\xff\xff\xff\xff\xff\xff\xff",
                "18446744073709551615",
            ),
            (b"\xd3\xff\xff\xff\xff\xff\xff\xff\xfe", "-2"),
            (b"\xca\x3f\x00\x00\x00", "0.5"),
            (b"\xcb\x3f\xe0\x00\x00\x00\x00\x00\x00", "0.5"),
            (b"\xa1x", "\"x\""),
            (b"\xd9\x01x", "\"x\""),
            (b"\xc4\x02x\xff", "\"x\u{fffd}\""),
            (b"\x93\xc0\xc2\xc3", "[null,false,true]"),
            (b"\x82\xa1a\x01\x07\x81\xa1b\x90", r#"{"a":1,"7":{"b":[]}}"#),
            (b"\xdc\x00\x01\x01", "[1]"),
            (b"\xd7\x00\x00\x00\x00\x01\x1d\xcd\x65\x00", "1.5"),
            (b"\xd4\x05\xab", "\"0xab\""),
            (
                b"\xc1",
                "Damaged(WireError { offset: 0, what: \"msgpack: byte 0xc1 starts nothing\" })",
            ),
            (b"\x92\x01", "Incomplete"),
            (b"\xdb\xff\xff\xff\xff", "Incomplete"),
        ];
        for (bytes, expected) in cases {
            assert_eq!(json_of(bytes), *expected, "{bytes:x?}");
        }
        assert!(json_of(&[0x91; 100]).contains("64 nested levels"));
    }

    #[test]
    fn a_value_is_found_however_it_arrives() {
        let value = b"\x93\xa3tag\x82\xa1a\x91\x01\xa1b\xda\x00\x03xyz\xc0";
        for step in [1, 2, 5, 100] {
            let (mut extent, mut end) = (Extent::default(), 0);
            let found = loop {
                end = (end + step).min(value.len());
                match extent.find(&value[..end]) {
                    Ok(len) => break len,
                    Err(stop) => assert_eq!(stop, Stop::Incomplete),
                }
            };
            assert_eq!(found, value.len());
        }
    }
}
