//! What a forward server says: HELO, PONG and acknowledgements, as msgpack from an untrusted peer.
//!
//! Reads only what these answers are made of, refuses deep nesting, and never allocates more than the
//! bytes that have arrived can justify.

/// The most bytes one answer may have; a real one has a few hundred.
pub const ANSWER_MAX_BYTES: usize = 64 << 10;
/// Real answers nest twice.
const MAX_DEPTH: usize = 8;

/// A msgpack value.
#[derive(Debug, Clone, PartialEq)]
pub enum Item<'a> {
    Nil,
    Bool(bool),
    /// Numbers mean nothing here.
    Number,
    /// `str`, `bin` and `ext`.
    Bytes(&'a [u8]),
    Array(Vec<Self>),
    Map(Vec<(Self, Self)>),
}

/// Why there is no answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Unread {
    /// More bytes are needed.
    Short,
    /// No msgpack, or none that an answer may be.
    Bad,
}

impl<'a> Item<'a> {
    /// Reads one value from the start of `bytes`; gives it and its length.
    ///
    /// # Errors
    /// When it is incomplete or malformed.
    pub fn read(bytes: &'a [u8]) -> Result<(Self, usize), Unread> {
        let mut reader = Reader { bytes, at: 0 };
        match reader.item(0) {
            Err(Unread::Short) if bytes.len() >= ANSWER_MAX_BYTES => Err(Unread::Bad),
            Err(e) => Err(e),
            Ok(item) => Ok((item, reader.at)),
        }
    }

    /// The value of `key` in a map.
    #[must_use]
    pub fn get(&self, key: &str) -> Option<&Self> {
        let Self::Map(pairs) = self else {
            return None;
        };
        let wanted = Item::Bytes(key.as_bytes());
        pairs.iter().find(|(k, _)| *k == wanted).map(|(_, v)| v)
    }

    /// The bytes of a text; empty for anything else.
    #[must_use]
    pub fn bytes(&self) -> &'a [u8] {
        match self {
            Self::Bytes(bytes) => bytes,
            _ => &[],
        }
    }
}

struct Reader<'a> {
    bytes: &'a [u8],
    at: usize,
}

impl<'a> Reader<'a> {
    fn take(&mut self, n: usize) -> Result<&'a [u8], Unread> {
        let end = self.at.checked_add(n).ok_or(Unread::Bad)?;
        if end > ANSWER_MAX_BYTES {
            return Err(Unread::Bad);
        }
        let taken = self.bytes.get(self.at..end).ok_or(Unread::Short)?;
        self.at = end;
        Ok(taken)
    }

    fn length(&mut self, n_bytes: usize) -> Result<usize, Unread> {
        let digits = self.take(n_bytes)?;
        Ok(digits.iter().fold(0, |n, &b| n << 8 | usize::from(b)))
    }

    fn item(&mut self, depth: usize) -> Result<Item<'a>, Unread> {
        if depth > MAX_DEPTH {
            return Err(Unread::Bad);
        }
        let tag = self.take(1)?[0];
        match tag {
            0x00..=0x7f | 0xe0..=0xff => Ok(Item::Number),
            0x80..=0x8f => self.map(usize::from(tag & 15), depth),
            0x90..=0x9f => self.array(usize::from(tag & 15), depth),
            0xa0..=0xbf => self.take(usize::from(tag & 31)).map(Item::Bytes),
            0xc0 => Ok(Item::Nil),
            0xc1 => Err(Unread::Bad),
            0xc2 | 0xc3 => Ok(Item::Bool(tag == 0xc3)),
            0xc4..=0xc6 | 0xd9..=0xdb => {
                let width = if tag < 0xd9 { tag - 0xc4 } else { tag - 0xd9 };
                let n = self.length(1 << width)?;
                self.take(n).map(Item::Bytes)
            }
            0xc7..=0xc9 => {
                let n = self.length(1 << (tag - 0xc7))?;
                self.take(1)?;
                self.take(n).map(Item::Bytes)
            }
            0xca | 0xcb => self.take(4 << (tag - 0xca)).map(|_| Item::Number),
            0xcc..=0xcf => self.take(1 << (tag - 0xcc)).map(|_| Item::Number),
            0xd0..=0xd3 => self.take(1 << (tag - 0xd0)).map(|_| Item::Number),
            0xd4..=0xd8 => {
                self.take(1)?;
                self.take(1 << (tag - 0xd4)).map(Item::Bytes)
            }
            0xdc | 0xdd => {
                let n = self.length(2 << (tag - 0xdc))?;
                self.array(n, depth)
            }
            0xde | 0xdf => {
                let n = self.length(2 << (tag - 0xde))?;
                self.map(n, depth)
            }
        }
    }

    // Not sized by what the peer claims: each item takes a byte that has to be there.
    fn array(&mut self, n: usize, depth: usize) -> Result<Item<'a>, Unread> {
        let mut items = Vec::new();
        for _ in 0..n {
            items.push(self.item(depth + 1)?);
        }
        Ok(Item::Array(items))
    }

    fn map(&mut self, n: usize, depth: usize) -> Result<Item<'a>, Unread> {
        let mut pairs = Vec::new();
        for _ in 0..n {
            let key = self.item(depth + 1)?;
            pairs.push((key, self.item(depth + 1)?));
        }
        Ok(Item::Map(pairs))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_acknowledgement_is_read_with_its_length() {
        let bytes = b"\x81\xa3ack\xd9\x02ab\xc0";
        let (item, n) = Item::read(bytes).expect("whole");
        assert_eq!((item.get("ack").map(Item::bytes), n), (Some(&b"ab"[..]), 9));
        for end in 0..9 {
            assert_eq!(Item::read(&bytes[..end]), Err(Unread::Short), "{end}");
        }
    }

    #[test]
    fn every_type_is_passed_over() {
        let bytes = b"\xdc\x00\x0c\x01\xff\xcb12345678\xca1234\xcd12\xd31234\
            5678\xd8x0123456789abcdef\xc7\x01xy\xc4\x01z\xc0\xc2\x90";
        let (Item::Array(items), n) = Item::read(bytes).expect("whole") else {
            panic!("array");
        };
        assert_eq!((items.len(), n), (12, bytes.len()));
        assert_eq!(items[6], Item::Bytes(b"0123456789abcdef"));
    }

    #[test]
    fn hostile_answers_are_refused() {
        assert_eq!(Item::read(&[0x91; 100]), Err(Unread::Bad));
        assert_eq!(Item::read(b"\xdb\xff\xff\xff\xff"), Err(Unread::Bad));
        assert_eq!(Item::read(b"\xdd\xff\xff\xff\xff"), Err(Unread::Short));
        assert_eq!(Item::read(b"\xc1"), Err(Unread::Bad));
        let endless = [&b"\xdd\xff\xff\xff\xff"[..], &[0; ANSWER_MAX_BYTES]].concat();
        assert_eq!(Item::read(&endless), Err(Unread::Bad));
    }
}
