//! Netlink messages and their attributes, whatever family of the kernel they belong to.
//!
//! A request is bytes, an answer is messages; what the messages mean is for the caller. Any bytes
//! end in messages or in an [`Error`], never in a loop or a panic.

/// Length, type, flags, sequence number and port.
pub const HEADER_BYTES: usize = 16;
const ERROR: u16 = 2;
const DONE: u16 = 3;
const ATTRIBUTE_HEADER_BYTES: usize = 4;
/// The low bits of an attribute's type name it, the two high ones are flags.
const ATTRIBUTE_TYPE_MASK: u16 = 0x3fff;
const REQUEST: u16 = 1;
const ACKNOWLEDGE: u16 = 4;
const DUMP: u16 = 0x300;

/// Why an answer is none.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Error {
    #[error("the kernel's answer is not made of netlink messages")]
    Malformed,
    /// The number of the kernel's error, positive.
    #[error("the kernel refused: error {0}")]
    Refused(i32),
}

/// One message.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Message<'a> {
    pub kind: u16,
    pub body: &'a [u8],
}

/// A request for everything that the kernel has of a kind.
#[must_use]
pub fn dump_request(kind: u16, body: &[u8]) -> Vec<u8> {
    request(kind, REQUEST | DUMP, body)
}

/// A request for one thing; the answer ends with an acknowledgement.
#[must_use]
pub fn single_request(kind: u16, body: &[u8]) -> Vec<u8> {
    request(kind, REQUEST | ACKNOWLEDGE, body)
}

fn request(kind: u16, flags: u16, body: &[u8]) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(HEADER_BYTES + body.len());
    let length = (HEADER_BYTES + body.len()) as u32;
    bytes.extend_from_slice(&length.to_ne_bytes());
    bytes.extend_from_slice(&kind.to_ne_bytes());
    bytes.extend_from_slice(&flags.to_ne_bytes());
    bytes.resize(HEADER_BYTES, 0);
    bytes.extend_from_slice(body);
    bytes
}

/// Appends an attribute.
pub fn push_attribute(out: &mut Vec<u8>, kind: u16, value: &[u8]) {
    let length = (ATTRIBUTE_HEADER_BYTES + value.len()) as u16;
    out.extend_from_slice(&length.to_ne_bytes());
    out.extend_from_slice(&kind.to_ne_bytes());
    out.extend_from_slice(value);
    out.resize(aligned(out.len()), 0);
}

/// Calls `each` with the messages of one datagram. `true` means that more datagrams follow.
///
/// # Errors
/// When the kernel refused the request or the bytes are no netlink messages.
pub fn messages(datagram: &[u8], mut each: impl FnMut(Message<'_>)) -> Result<bool, Error> {
    let mut rest = datagram;
    while !rest.is_empty() {
        let length = u32_at(rest, 0).ok_or(Error::Malformed)? as usize;
        let message = rest
            .get(..length)
            .filter(|m| m.len() >= HEADER_BYTES)
            .ok_or(Error::Malformed)?;
        let body = &message[HEADER_BYTES..];
        match u16_at(message, 4).unwrap_or(DONE) {
            DONE => return Ok(false),
            // An acknowledgement is an error of number 0.
            ERROR => match u32_at(body, 0).ok_or(Error::Malformed)?.cast_signed() {
                0 => return Ok(false),
                number => return Err(Error::Refused(number.wrapping_neg())),
            },
            kind => each(Message { kind, body }),
        }
        rest = rest.get(aligned(length)..).unwrap_or_default();
    }
    Ok(true)
}

/// The attributes of a message behind its own header: kind and value. Ends at bytes that are none.
pub fn attributes(bytes: &[u8]) -> impl Iterator<Item = (u16, &[u8])> {
    let mut rest = bytes;
    std::iter::from_fn(move || {
        let length = usize::from(u16_at(rest, 0)?);
        let kind = u16_at(rest, 2)?;
        let value = rest.get(ATTRIBUTE_HEADER_BYTES..length)?;
        rest = rest.get(aligned(length)..).unwrap_or_default();
        Some((kind & ATTRIBUTE_TYPE_MASK, value))
    })
}

/// The value of the first attribute of a kind.
#[must_use]
pub fn attribute(bytes: &[u8], kind: u16) -> Option<&[u8]> {
    attributes(bytes).find_map(|(k, value)| (k == kind).then_some(value))
}

/// A text that ends with a zero byte, or without one.
#[must_use]
pub fn c_text(value: &[u8]) -> String {
    let end = memchr::memchr(0, value).unwrap_or(value.len());
    String::from_utf8_lossy(&value[..end]).into_owned()
}

/// A number of the machine's byte order.
#[must_use]
pub fn u16_at(bytes: &[u8], at: usize) -> Option<u16> {
    let part = bytes.get(at..at.checked_add(2)?)?;
    Some(u16::from_ne_bytes(part.try_into().ok()?))
}

/// A number of the machine's byte order.
#[must_use]
pub fn u32_at(bytes: &[u8], at: usize) -> Option<u32> {
    let part = bytes.get(at..at.checked_add(4)?)?;
    Some(u32::from_ne_bytes(part.try_into().ok()?))
}

/// A number of the machine's byte order.
#[must_use]
pub fn u64_at(bytes: &[u8], at: usize) -> Option<u64> {
    let part = bytes.get(at..at.checked_add(8)?)?;
    Some(u64::from_ne_bytes(part.try_into().ok()?))
}

fn aligned(length: usize) -> usize {
    length.saturating_add(3) & !3
}

#[cfg(test)]
mod tests {
    use super::*;

    fn answer() -> Vec<u8> {
        let mut body = vec![7; 4];
        push_attribute(&mut body, 3, b"eth0\0");
        push_attribute(&mut body, 0x8000 | 5, &[1, 0]);
        request(16, 0, &body)
    }

    #[test]
    fn messages_and_attributes_come_back() {
        let mut bytes = answer();
        let mut got = Vec::new();
        let mut take = |message: Message<'_>| {
            for (kind, value) in attributes(&message.body[4..]) {
                got.push((message.kind, kind, value.to_vec()));
            }
        };
        assert_eq!(messages(&bytes, &mut take), Ok(true));
        bytes.extend(request(DONE, 0, &[0; 4]));
        assert_eq!(messages(&bytes, &mut take), Ok(false));
        let expected = [(16, 3, b"eth0\0".to_vec()), (16, 5, vec![1, 0])];
        assert_eq!(got, [expected.clone(), expected].concat());
        assert_eq!(c_text(b"eth0\0"), "eth0");
        let mut link = Vec::new();
        push_attribute(&mut link, 1, &[9]);
        assert_eq!(attribute(&link, 1), Some(&[9][..]));
    }

    #[test]
    fn refusals_and_acknowledgements_are_told_apart() {
        let refused = request(ERROR, 0, &(-22i32).to_ne_bytes());
        assert_eq!(messages(&refused, |_| ()), Err(Error::Refused(22)));
        let acknowledged = request(ERROR, 0, &[0; 4]);
        assert_eq!(messages(&acknowledged, |_| ()), Ok(false));
        assert_eq!(dump_request(18, &[0; 16])[0], 32);
        assert_eq!(single_request(18, &[])[6], 5);
    }

    #[test]
    fn cut_and_twisted_bytes_never_panic() {
        let bytes = answer();
        let read = |bytes: &[u8]| {
            let _ = messages(bytes, |m| attributes(m.body).for_each(drop));
        };
        for end in 0..bytes.len() {
            read(&bytes[..end]);
        }
        for at in 0..bytes.len() {
            for value in [0, 1, 3, 255] {
                let mut twisted = bytes.clone();
                twisted[at] = value;
                read(&twisted);
            }
        }
        assert_eq!(messages(&[0; 16], |_| ()), Err(Error::Malformed));
    }
}
