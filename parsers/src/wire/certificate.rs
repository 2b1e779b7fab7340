//! What monitoring wants of an X.509 certificate: names, serial number, end, DNS names. Nothing is verified here.
//!
//! Source: RFC 5280; names are written as Go's `pkix.Name.String` does. The rule: what is not well-formed DER gives `None`.

use crate::time::rfc3339_ns;

/// What a certificate says of itself.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Certificate {
    pub subject: String,
    pub issuer: String,
    /// The DER of the names, to find the certificate that signed this one.
    pub subject_der: Vec<u8>,
    pub issuer_der: Vec<u8>,
    /// Lower-case hex without leading zero bytes.
    pub serial: String,
    /// Unix seconds.
    pub not_after: i64,
    pub dns_names: Vec<String>,
}

const SEQUENCE: u8 = 0x30;
const SET: u8 = 0x31;
const INTEGER: u8 = 0x02;
const OBJECT_ID: u8 = 0x06;
const OCTETS: u8 = 0x04;
const UTC_TIME: u8 = 0x17;
const GENERALIZED_TIME: u8 = 0x18;
const VERSION: u8 = 0xa0;
const EXTENSIONS: u8 = 0xa3;
const DNS_NAME: u8 = 0x82;
/// 2.5.29.17
const SUBJECT_ALTERNATIVE_NAME: &[u8] = &[0x55, 0x1d, 0x11];

/// Reads a certificate.
#[must_use]
pub fn parse(der: &[u8]) -> Option<Certificate> {
    let mut outer = Reader(der).expect(SEQUENCE)?;
    let mut fields = outer.expect(SEQUENCE)?;
    if fields.peek() == Some(VERSION) {
        fields.next()?;
    }
    let serial = fields.expect(INTEGER)?.0;
    fields.expect(SEQUENCE)?; // signature algorithm
    let issuer_der = fields.expect(SEQUENCE)?.0;
    let mut validity = fields.expect(SEQUENCE)?;
    validity.next()?;
    let not_after = time(&mut validity)?;
    let subject_der = fields.expect(SEQUENCE)?.0;
    fields.expect(SEQUENCE)?; // public key
    let mut dns_names = Vec::new();
    while let Some((tag, content)) = fields.next() {
        if tag == EXTENSIONS {
            let mut extensions = Reader(content).expect(SEQUENCE)?;
            while let Some((SEQUENCE, extension)) = extensions.next() {
                dns_names.extend(dns_names_of(Reader(extension)).unwrap_or_default());
            }
        }
    }
    let digits = serial.iter().skip_while(|b| **b == 0);
    Some(Certificate {
        subject: name(subject_der)?,
        issuer: name(issuer_der)?,
        subject_der: subject_der.to_vec(),
        issuer_der: issuer_der.to_vec(),
        serial: digits.map(|b| format!("{b:02x}")).collect(),
        not_after,
        dns_names,
    })
}

/// The DNS names, when the extension is the one that holds them.
fn dns_names_of(mut extension: Reader<'_>) -> Option<Vec<String>> {
    if extension.expect(OBJECT_ID)?.0 != SUBJECT_ALTERNATIVE_NAME {
        return None;
    }
    let (mut tag, mut content) = extension.next()?;
    if tag != OCTETS {
        // It says first whether it is critical.
        (tag, content) = extension.next()?;
    }
    let mut names = (tag == OCTETS).then(|| Reader(content).expect(SEQUENCE))??;
    let mut found = Vec::new();
    while let Some((tag, content)) = names.next() {
        if tag == DNS_NAME {
            found.push(String::from_utf8_lossy(content).into_owned());
        }
    }
    Some(found)
}

fn time(reader: &mut Reader<'_>) -> Option<i64> {
    let (tag, content) = reader.next()?;
    let text = std::str::from_utf8(content).ok()?.strip_suffix('Z')?;
    let text = match tag {
        UTC_TIME if text.len() == 12 && text.is_ascii() => {
            let century = if text < "50" { "20" } else { "19" };
            format!("{century}{text}")
        }
        GENERALIZED_TIME if text.len() == 14 && text.is_ascii() => text.to_owned(),
        _ => return None,
    };
    let part = |range: std::ops::Range<usize>| &text[range];
    let rfc3339 = format!(
        "{}-{}-{}T{}:{}:{}Z",
        part(0..4),
        part(4..6),
        part(6..8),
        part(8..10),
        part(10..12),
        part(12..14)
    );
    match rfc3339_ns(rfc3339.as_bytes()) {
        Some(ns) => Some(ns.div_euclid(1_000_000_000)),
        // Certificates without an end say 9999, which nanoseconds cannot.
        None => Some(FAR_AWAY).filter(|_| part(0..4) > "2262"),
    }
}

/// 9999-12-31T23:59:59Z
const FAR_AWAY: i64 = 253_402_300_799;

/// The attributes that Go knows, in the order in which it writes them.
const KNOWN: &[(u8, &str)] = &[
    (5, "SERIALNUMBER"),
    (3, "CN"),
    (17, "POSTALCODE"),
    (9, "STREET"),
    (8, "ST"),
    (7, "L"),
    (11, "OU"),
    (10, "O"),
    (6, "C"),
];

fn name(der: &[u8]) -> Option<String> {
    let mut known: Vec<Vec<String>> = vec![Vec::new(); KNOWN.len()];
    let mut others = Vec::new();
    let mut sets = Reader(der);
    while let Some((tag, content)) = sets.next() {
        if tag != SET {
            return None;
        }
        let mut set = Reader(content);
        while let Some((SEQUENCE, attribute)) = set.next() {
            let mut attribute = Reader(attribute);
            let id = attribute.expect(OBJECT_ID)?.0;
            let whole = attribute.0;
            let (_, value) = attribute.next()?;
            let at = match id {
                [0x55, 0x04, last] => KNOWN.iter().position(|(n, _)| n == last),
                _ => None,
            };
            match at {
                Some(at) => known[at].push(escaped(&String::from_utf8_lossy(value))),
                None => {
                    let hex: String = whole.iter().map(|b| format!("{b:02x}")).collect();
                    others.push(format!("{}=#{hex}", object_id(id)));
                }
            }
        }
    }
    let parts = known
        .iter()
        .zip(KNOWN)
        .filter(|(values, _)| !values.is_empty());
    // Several of one kind form one part.
    let parts = parts.map(|(values, (_, word))| {
        let values = values.iter().map(|value| format!("{word}={value}"));
        values.collect::<Vec<_>>().join("+")
    });
    others.reverse();
    Some(parts.chain(others).collect::<Vec<_>>().join(","))
}

fn object_id(id: &[u8]) -> String {
    let mut numbers: Vec<u64> = Vec::new();
    let mut number = 0u64;
    for byte in id {
        number = number << 7 | u64::from(byte & 0x7f);
        if byte & 0x80 == 0 {
            if numbers.is_empty() {
                let first = (number / 40).min(2);
                numbers.extend([first, number - first * 40]);
            } else {
                numbers.push(number);
            }
            number = 0;
        }
    }
    let texts = numbers.iter().map(u64::to_string);
    texts.collect::<Vec<_>>().join(".")
}

fn escaped(text: &str) -> String {
    let n = text.chars().count();
    let mut out = String::new();
    for (at, c) in text.chars().enumerate() {
        let is_special = matches!(c, ',' | '+' | '"' | '\\' | '<' | '>' | ';')
            || (c == ' ' && (at == 0 || at + 1 == n))
            || (c == '#' && at == 0);
        if is_special {
            out.push('\\');
        }
        out.push(c);
    }
    out
}

/// Tag and content, one after the other.
#[derive(Clone, Copy)]
struct Reader<'a>(&'a [u8]);

impl<'a> Reader<'a> {
    fn peek(&self) -> Option<u8> {
        self.0.first().copied()
    }

    fn next(&mut self) -> Option<(u8, &'a [u8])> {
        let (&tag, rest) = self.0.split_first()?;
        let (&first, mut rest) = rest.split_first()?;
        let len = match first {
            0..=0x7f => usize::from(first),
            0x81..=0x84 => {
                let (digits, after) = rest.split_at_checked(usize::from(first & 0x7f))?;
                rest = after;
                digits.iter().fold(0usize, |n, b| n << 8 | usize::from(*b))
            }
            _ => return None,
        };
        let (content, after) = rest.split_at_checked(len)?;
        self.0 = after;
        Some((tag, content))
    }

    fn expect(&mut self, wanted: u8) -> Option<Self> {
        let (tag, content) = self.next()?;
        (tag == wanted).then_some(Self(content))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// `openssl req -x509 -newkey ec -subj '/C=DE/O=Example, Inc./OU=a/OU=b/CN=test\+1/emailAddress=x@y' -addext
    /// subjectAltName=DNS:a.example,IP:127.0.0.1,DNS:b.example -set_serial 0x00ab12 -days 3650`
    const DER: &[u8] = include_bytes!("../../../fixtures/certificates/names.der");

    #[test]
    fn names_and_dates_are_found() {
        let got = parse(DER).expect("a certificate");
        let expected =
            "CN=test\\+1,OU=a+OU=b,O=Example\\, Inc.,C=DE,1.2.840.113549.1.9.1=#1603784079";
        assert_eq!(
            (got.subject.as_str(), got.issuer.as_str()),
            (expected, expected)
        );
        assert_eq!(got.subject_der, got.issuer_der);
        assert_eq!(got.serial, "ab12");
        assert_eq!(got.not_after, 2_110_666_425);
        assert_eq!(got.dns_names, ["a.example", "b.example"]);
    }

    #[test]
    fn no_bytes_make_it_panic() {
        for cut in 0..DER.len() {
            let _ = parse(&DER[..cut]);
            let mut torn = DER.to_vec();
            torn[cut] ^= 0xff;
            let _ = parse(&torn);
        }
        assert_eq!(parse(b""), None);
        assert_eq!(parse(&[0x30, 0x84, 0xff, 0xff, 0xff, 0xff]), None);
    }
}
