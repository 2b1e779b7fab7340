//! `ip("10.0.0.0/8")`: addresses compared as numbers, in lines and in labels.
//!
//! A pattern is one address, a range `a-b` or a network `a/n`.

use core::net::IpAddr;

/// The longest text of an address: IPv6 with an embedded IPv4 part.
const ADDRESS_MAX_BYTES: usize = 45;

/// A range of addresses of one family.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct IpFilter {
    v4: bool,
    low: u128,
    high: u128,
}

impl IpFilter {
    /// Reads a pattern.
    pub fn new(pattern: &str) -> Result<Self, String> {
        let invalid = || format!("ip: invalid pattern: {pattern:?}");
        let address = |text: &str| text.trim().parse::<IpAddr>().map_err(|_| invalid());
        if let Some((network, bits)) = pattern.split_once('/') {
            let (v4, number) = number_of(address(network)?);
            let width = if v4 { 32 } else { 128 };
            let bits: u32 = bits.trim().parse().map_err(|_| invalid())?;
            if bits > width {
                return Err(invalid());
            }
            let host = if bits == 0 && width == 128 {
                u128::MAX
            } else {
                (1u128 << (width - bits)) - 1
            };
            return Ok(Self {
                v4,
                low: number & !host,
                high: number | host,
            });
        }
        let (low, high) = match pattern.split_once('-') {
            Some((low, high)) => (address(low)?, address(high)?),
            None => (address(pattern)?, address(pattern)?),
        };
        let ((v4, low), (other_v4, high)) = (number_of(low), number_of(high));
        if v4 != other_v4 || low > high {
            return Err(invalid());
        }
        Ok(Self { v4, low, high })
    }

    /// Whether the text is an address in the range.
    pub fn matches(&self, text: &str) -> bool {
        text.parse::<IpAddr>().is_ok_and(|address| {
            let (v4, number) = number_of(address);
            v4 == self.v4 && (self.low..=self.high).contains(&number)
        })
    }

    /// Whether any address in the line is in the range.
    pub fn matches_in(&self, line: &[u8]) -> bool {
        let in_address = |b: &u8| {
            b.is_ascii_digit() || *b == b'.' || (!self.v4 && (b.is_ascii_hexdigit() || *b == b':'))
        };
        line.split(|b| !in_address(b))
            .filter(|run| (2..=ADDRESS_MAX_BYTES).contains(&run.len()))
            .filter_map(|run| std::str::from_utf8(run).ok())
            .any(|run| {
                self.matches(run) || self.matches(run.trim_matches('.')) || self.with_port(run)
            })
    }

    /// `a:b::c:` ends in a colon when a line names an address and goes on.
    fn with_port(&self, run: &str) -> bool {
        !self.v4 && self.matches(run.strip_suffix(':').unwrap_or(run))
    }
}

fn number_of(address: IpAddr) -> (bool, u128) {
    match address {
        IpAddr::V4(a) => (true, u128::from(u32::from(a))),
        IpAddr::V6(a) => (false, u128::from(a)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_ranges_and_networks() {
        let cases = [
            ("10.0.0.1", "from 10.0.0.1 to", true),
            ("10.0.0.1", "from 10.0.0.11 to", false),
            ("10.0.0.1", "from 10.0.0.1:8080", true),
            ("10.0.0.0/8", "x=10.255.3.4.", true),
            ("10.0.0.0/8", "x=11.0.0.1", false),
            ("192.168.4.5-192.168.4.20", "192.168.4.9", true),
            ("192.168.4.5-192.168.4.20", "192.168.4.21", false),
            ("2001:db8::/32", "addr 2001:db8::9: up", true),
            ("::1", "on ::1", true),
            ("0.0.0.0/0", "1.2.3.4", true),
            ("::/0", "fe80::1", true),
        ];
        for (pattern, line, expected) in cases {
            let filter = IpFilter::new(pattern).unwrap();
            assert_eq!(
                filter.matches_in(line.as_bytes()),
                expected,
                "{pattern} {line}"
            );
        }
        for pattern in ["", "x", "1.2.3.4/33", "2.0.0.0-1.0.0.0", "1.2.3.4-::1"] {
            assert!(IpFilter::new(pattern).is_err(), "{pattern}");
        }
    }
}
