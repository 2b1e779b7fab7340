//! DNS messages: one question out, an answer in, its records as the text that zone files and `dig` show.
//!
//! Source: RFC 1035, 3597. Records of types that are not known here are shown as RFC 3597 says. The rule: an answer is read to its end
//! or refused, and a name's pointers only lead backwards.

use core::net::{Ipv4Addr, Ipv6Addr};
use std::fmt::Write;

/// Names and numbers of record types.
pub const TYPES: &[(&str, u16)] = &[
    ("A", 1),
    ("NS", 2),
    ("CNAME", 5),
    ("SOA", 6),
    ("PTR", 12),
    ("HINFO", 13),
    ("MX", 15),
    ("TXT", 16),
    ("RP", 17),
    ("AAAA", 28),
    ("LOC", 29),
    ("SRV", 33),
    ("NAPTR", 35),
    ("DNAME", 39),
    ("OPT", 41),
    ("DS", 43),
    ("SSHFP", 44),
    ("RRSIG", 46),
    ("NSEC", 47),
    ("DNSKEY", 48),
    ("NSEC3", 50),
    ("TLSA", 52),
    ("CDS", 59),
    ("CDNSKEY", 60),
    ("SVCB", 64),
    ("HTTPS", 65),
    ("SPF", 99),
    ("AXFR", 252),
    ("ANY", 255),
    ("URI", 256),
    ("CAA", 257),
];
/// Names and numbers of classes.
pub const CLASSES: &[(&str, u16)] = &[
    ("IN", 1),
    ("CS", 2),
    ("CH", 3),
    ("HS", 4),
    ("NONE", 254),
    ("ANY", 255),
];
/// Names of answer codes by their number.
pub const CODES: &[(&str, u8)] = &[
    ("NOERROR", 0),
    ("FORMERR", 1),
    ("SERVFAIL", 2),
    ("NXDOMAIN", 3),
    ("NOTIMP", 4),
    ("REFUSED", 5),
    ("YXDOMAIN", 6),
    ("YXRRSET", 7),
    ("NXRRSET", 8),
    ("NOTAUTH", 9),
    ("NOTZONE", 10),
];

const SOA: u16 = 6;
/// The longest name as text, escapes included.
const MAX_NAME_CHARS: usize = 1100;

/// A question.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Question<'a> {
    pub name: &'a str,
    pub kind: u16,
    pub class: u16,
    pub recursion: bool,
}

/// A record of an answer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Record {
    pub kind: u16,
    /// As a zone file has it: name, time to live, class, type and data with tabs between.
    pub text: String,
    /// Of a SOA record.
    pub serial: Option<u32>,
}

/// An answer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Answer {
    pub id: u16,
    pub code: u8,
    pub is_truncated: bool,
    pub answers: Vec<Record>,
    pub authorities: Vec<Record>,
    pub additionals: Vec<Record>,
}

/// The message of a question; `None` when the name is none.
#[must_use]
pub fn question(id: u16, question: &Question<'_>) -> Option<Vec<u8>> {
    let mut out = Vec::with_capacity(64);
    out.extend_from_slice(&id.to_be_bytes());
    out.extend_from_slice(&[u8::from(question.recursion), 0, 0, 1, 0, 0, 0, 0, 0, 0]);
    for label in question.name.trim_end_matches('.').split('.') {
        if label.is_empty() && question.name.trim_end_matches('.').is_empty() {
            break;
        }
        let len = u8::try_from(label.len())
            .ok()
            .filter(|n| (1..64).contains(n))?;
        out.push(len);
        out.extend_from_slice(label.as_bytes());
    }
    out.push(0);
    if out.len() > 12 + 255 {
        return None;
    }
    out.extend_from_slice(&question.kind.to_be_bytes());
    out.extend_from_slice(&question.class.to_be_bytes());
    Some(out)
}

/// Reads an answer.
///
/// # Errors
/// What is wrong with it.
pub fn answer(message: &[u8]) -> Result<Answer, &'static str> {
    let mut reader = Reader { message, at: 0 };
    let id = reader.u16()?;
    let flags = reader.u16()?;
    if flags & 0x8000 == 0 {
        return Err("it is a question");
    }
    let counts = [reader.u16()?, reader.u16()?, reader.u16()?, reader.u16()?];
    for _ in 0..counts[0] {
        reader.name()?;
        reader.take(4)?;
    }
    Ok(Answer {
        id,
        code: (flags & 15) as u8,
        is_truncated: flags & 0x0200 != 0,
        answers: reader.records(counts[1])?,
        authorities: reader.records(counts[2])?,
        additionals: reader.records(counts[3])?,
    })
}

struct Reader<'a> {
    message: &'a [u8],
    at: usize,
}

const SHORT: &str = "it is cut off";

impl<'a> Reader<'a> {
    fn take(&mut self, n: usize) -> Result<&'a [u8], &'static str> {
        let bytes = self.message.get(self.at..).and_then(|rest| rest.get(..n));
        self.at += n;
        bytes.ok_or(SHORT)
    }

    fn u8(&mut self) -> Result<u8, &'static str> {
        Ok(self.take(1)?[0])
    }

    fn u16(&mut self) -> Result<u16, &'static str> {
        let bytes = self.take(2)?;
        Ok(u16::from_be_bytes([bytes[0], bytes[1]]))
    }

    fn u32(&mut self) -> Result<u32, &'static str> {
        let bytes = self.take(4)?;
        Ok(u32::from_be_bytes([bytes[0], bytes[1], bytes[2], bytes[3]]))
    }

    /// A name with a dot at its end.
    fn name(&mut self) -> Result<String, &'static str> {
        let mut name = String::new();
        // Where to go on once pointers have been followed, and how far back the next may lead.
        let (mut end, mut limit) = (None, self.at);
        loop {
            let len = self.u8()?;
            match len {
                0 => break,
                1..=63 => {
                    for byte in self.take(usize::from(len))? {
                        write_escaped(&mut name, *byte, b".()\"$@;\\ ");
                    }
                    name.push('.');
                    if name.len() > MAX_NAME_CHARS {
                        return Err("a name is too long");
                    }
                }
                192.. => {
                    let to = usize::from(len & 63) << 8 | usize::from(self.u8()?);
                    end.get_or_insert(self.at);
                    if to >= limit {
                        return Err("a name's pointer leads forward");
                    }
                    (self.at, limit) = (to, to);
                }
                _ => return Err("a name has an unknown kind of label"),
            }
        }
        self.at = end.unwrap_or(self.at);
        if name.is_empty() {
            name.push('.');
        }
        Ok(name)
    }

    fn records(&mut self, n: u16) -> Result<Vec<Record>, &'static str> {
        let mut records = Vec::new();
        for _ in 0..n {
            records.push(self.record()?);
        }
        Ok(records)
    }

    fn record(&mut self) -> Result<Record, &'static str> {
        let name = self.name()?;
        let (kind, class, ttl) = (self.u16()?, self.u16()?, self.u32()?);
        let len = usize::from(self.u16()?);
        let end = self.at + len;
        let data = self.message.get(self.at..end).ok_or(SHORT)?;
        let mut serial = None;
        let shown = match self.data(kind, end, &mut serial) {
            Ok(shown) if self.at == end => shown,
            // What does not hold what its type says is shown as bytes.
            _ => generic(data),
        };
        self.at = end;
        let (class, kind_name) = (named(CLASSES, class, "CLASS"), named(TYPES, kind, "TYPE"));
        Ok(Record {
            kind,
            text: format!("{name}\t{ttl}\t{class}\t{kind_name}\t{shown}"),
            serial,
        })
    }

    fn data(
        &mut self,
        kind: u16,
        end: usize,
        serial: &mut Option<u32>,
    ) -> Result<String, &'static str> {
        Ok(match kind {
            1 => {
                let bytes: [u8; 4] = self.take(4)?.try_into().map_err(|_| SHORT)?;
                Ipv4Addr::from(bytes).to_string()
            }
            28 => {
                let bytes: [u8; 16] = self.take(16)?.try_into().map_err(|_| SHORT)?;
                Ipv6Addr::from(bytes).to_string()
            }
            2 | 5 | 12 | 39 => self.name()?,
            15 => format!("{} {}", self.u16()?, self.name()?),
            33 => format!(
                "{} {} {} {}",
                self.u16()?,
                self.u16()?,
                self.u16()?,
                self.name()?
            ),
            16 | 99 => {
                let mut texts = Vec::new();
                while self.at < end {
                    texts.push(self.quoted()?);
                }
                texts.join(" ")
            }
            SOA => {
                let (server, mailbox) = (self.name()?, self.name()?);
                let own = self.u32()?;
                *serial = Some(own);
                let rest = [self.u32()?, self.u32()?, self.u32()?, self.u32()?];
                let rest = rest.map(|n| n.to_string()).join(" ");
                format!("{server} {mailbox} {own} {rest}")
            }
            257 => {
                let flags = self.u8()?;
                let len = usize::from(self.u8()?);
                let tag = String::from_utf8_lossy(self.take(len)?).into_owned();
                let value = self.take(end.saturating_sub(self.at))?;
                format!("{flags} {tag} {}", quote(value))
            }
            _ => return Err("not known"),
        })
    }

    fn quoted(&mut self) -> Result<String, &'static str> {
        let len = usize::from(self.u8()?);
        Ok(quote(self.take(len)?))
    }
}

fn quote(bytes: &[u8]) -> String {
    let mut text = String::from("\"");
    for byte in bytes {
        write_escaped(&mut text, *byte, b"\"\\");
    }
    text.push('"');
    text
}

/// `special` with a backslash, what cannot be printed as three digits.
fn write_escaped(out: &mut String, byte: u8, special: &[u8]) {
    if special.contains(&byte) {
        out.push('\\');
        out.push(char::from(byte));
    } else if byte.is_ascii_graphic() || byte == b' ' {
        out.push(char::from(byte));
    } else {
        // Writing into a String does not fail.
        let _ = write!(out, "\\{byte:03}");
    }
}

/// RFC 3597.
fn generic(data: &[u8]) -> String {
    let mut text = format!("\\# {}", data.len());
    for (n, byte) in data.iter().enumerate() {
        let _ = write!(text, "{}{byte:02X}", if n == 0 { " " } else { "" });
    }
    text
}

fn named(names: &[(&str, u16)], number: u16, word: &str) -> String {
    let found = names.iter().find(|(_, n)| *n == number);
    found.map_or_else(|| format!("{word}{number}"), |(name, _)| (*name).to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn question_of(name: &str) -> Question<'_> {
        Question {
            name,
            kind: 1,
            class: 1,
            recursion: true,
        }
    }

    #[test]
    fn questions_are_written() {
        let message = question(0x1234, &question_of("a.bc")).expect("a name");
        assert_eq!(
            message,
            b"\x12\x34\x01\0\0\x01\0\0\0\0\0\0\x01a\x02bc\0\0\x01\0\x01"
        );
        assert_eq!(
            question(1, &question_of("a.bc.")).map(|m| m.len()),
            Some(message.len())
        );
        let root = question(1, &question_of(".")).expect("the root");
        assert_eq!(&root[12..], b"\0\0\x01\0\x01");
        for bad in ["a..b", &"x".repeat(64), &"abc.".repeat(70)] {
            assert!(question(1, &question_of(bad)).is_none(), "{bad}");
        }
    }

    fn message(kind: u16, data: &[u8]) -> Vec<u8> {
        let mut m = b"\0\x07\x81\x83\0\x01\0\x01\0\0\0\0\x01a\x02bc\0\0\x01\0\x01\xc0\x0c".to_vec();
        m.extend_from_slice(&kind.to_be_bytes());
        m.extend_from_slice(b"\0\x01\0\0\0\x3c");
        m.extend_from_slice(&(data.len() as u16).to_be_bytes());
        m.extend_from_slice(data);
        m
    }

    #[test]
    fn records_are_shown_as_in_a_zone_file() {
        let cases: &[(u16, &[u8], &str)] = &[
            (1, b"\x7f\0\0\x01", "A\t127.0.0.1"),
            (28, b"\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\x01", "AAAA\t::1"),
            (5, b"\x01x\xc0\x0e", "CNAME\tx.bc."),
            (15, b"\0\x0a\xc0\x0c", "MX\t10 a.bc."),
            (33, b"\0\x01\0\x02\0\x50\x01 \0", "SRV\t1 2 80 \\ ."),
            (16, b"\x03a\"b\x01\xff\0", "TXT\t\"a\\\"b\" \"\\255\" \"\""),
            (257, b"\0\x05issueca", "CAA\t0 issue \"ca\""),
            (
                6,
                b"\xc0\x0c\0\0\0\0\x09\0\0\0\x01\0\0\0\x02\0\0\0\x03\0\0\0\x04",
                "SOA\ta.bc. . 9 1 2 3 4",
            ),
            (99, b"", "SPF\t"),
            (1, b"\x7f", "A\t\\# 1 7F"),
            (65280, b"\x01\xab", "TYPE65280\t\\# 2 01AB"),
        ];
        for (kind, data, expected) in cases {
            let got = answer(&message(*kind, data)).expect("an answer");
            assert_eq!((got.id, got.code, got.is_truncated), (7, 3, false));
            assert_eq!(got.answers[0].text, format!("a.bc.\t60\tIN\t{expected}"));
            assert_eq!(got.answers[0].serial, (*kind == 6).then_some(9));
        }
    }

    #[test]
    fn no_bytes_make_it_panic_or_go_in_circles() {
        let whole = message(
            6,
            b"\xc0\x0c\0\0\0\0\x09\0\0\0\x01\0\0\0\x02\0\0\0\x03\0\0\0\x04",
        );
        for cut in 0..whole.len() {
            assert!(answer(&whole[..cut]).is_err());
            let mut torn = whole.clone();
            torn[cut] ^= 0xff;
            let _ = answer(&torn);
        }
        let circle = b"\0\x07\x81\x80\0\x01\0\0\0\0\0\0\xc0\x0c\0\x01\0\x01";
        assert_eq!(answer(circle), Err("a name's pointer leads forward"));
    }
}
