//! /proc/net/netstat and /proc/net/snmp, where a line of names stands above a line of values, and
//! /proc/net/snmp6, where each line is a name and a value.

use super::Malformed;
use super::scan::{decimal, lines, text, words};

/// Calls `each` with protocol, name and value of every statistic of `netstat` or `snmp`.
///
/// # Errors
/// When names and values do not go together.
pub fn parse<'a>(
    bytes: &'a [u8],
    mut each: impl FnMut(&'a str, &'a str, f64),
) -> Result<(), Malformed> {
    let mut all = lines(bytes).enumerate();
    while let Some((index, names)) = all.next() {
        let malformed = |expected| Malformed {
            format: "netstat",
            line: index + 1,
            expected,
        };
        let (_, values) = all
            .next()
            .ok_or_else(|| malformed("a line of values below"))?;
        let (mut names, mut values) = (words(names), words(values));
        let protocol = names
            .next()
            .and_then(|w| w.strip_suffix(b":"))
            .and_then(text);
        let protocol = protocol.ok_or_else(|| malformed("a protocol and a colon"))?;
        if values.next().and_then(|w| w.strip_suffix(b":")) != Some(protocol.as_bytes()) {
            return Err(malformed("values of the same protocol below"));
        }
        for name in names {
            let name = text(name).ok_or_else(|| malformed("a name"))?;
            let value = values.next().and_then(decimal);
            each(
                protocol,
                name,
                value.ok_or_else(|| malformed("as many values as names"))?,
            );
        }
        if values.next().is_some() {
            return Err(malformed("as many names as values"));
        }
    }
    Ok(())
}

/// One statistic of `netstat` or `snmp`; the others are not looked at.
#[must_use]
pub fn value(bytes: &[u8], protocol: &str, name: &str) -> Option<f64> {
    let mut all = lines(bytes);
    while let (Some(names), Some(values)) = (all.next(), all.next()) {
        let rest = names.strip_prefix(protocol.as_bytes());
        if let Some(names) = rest.and_then(|rest| rest.strip_prefix(b":")) {
            // The values have the protocol before them, too.
            let at = words(names).position(|word| word == name.as_bytes())?;
            return decimal(words(values).nth(at + 1)?);
        }
    }
    None
}

/// Calls `each` with protocol, name and value of every statistic of `snmp6`: `Ip6InReceives` is
/// `InReceives` of `Ip6`. Names without a `6` belong to none and are left out.
///
/// # Errors
/// When a value is no number.
pub fn parse6<'a>(
    bytes: &'a [u8],
    mut each: impl FnMut(&'a str, &'a str, f64),
) -> Result<(), Malformed> {
    for (index, line) in lines(bytes).enumerate() {
        let mut words = words(line);
        let (Some(name), Some(value)) = (words.next().and_then(text), words.next()) else {
            continue;
        };
        let value = decimal(value).ok_or(Malformed {
            format: "snmp6",
            line: index + 1,
            expected: "a number",
        })?;
        if let Some(six) = name.find('6') {
            each(&name[..=six], &name[six + 1..], value);
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_above_values() {
        let sample = b"TcpExt: A B\nTcpExt: 1 -2\nIpExt: InOctets\nIpExt: 7\n";
        let mut all = Vec::new();
        parse(sample, |p, n, v| all.push((p, n, v))).expect("sample parses");
        assert_eq!(
            all,
            [
                ("TcpExt", "A", 1.0),
                ("TcpExt", "B", -2.0),
                ("IpExt", "InOctets", 7.0)
            ]
        );
        assert_eq!(value(sample, "IpExt", "InOctets"), Some(7.0));
        assert_eq!(value(sample, "IpExt", "A"), None);
        for bad in [
            "A: x\n",
            "A: x\nB: 1\n",
            "A: x\nA: 1 2\n",
            "A: x y\nA: 1\n",
            "A\nA\n",
            "A: x\nA: y\n",
        ] {
            assert!(parse(bad.as_bytes(), |_, _, _| ()).is_err(), "{bad}");
        }
    }

    #[test]
    fn a_six_ends_the_protocol() {
        let mut all = Vec::new();
        parse6(
            b"Ip6InReceives   \t 7\nUdpLite6InErrors 0\nNone 1\n",
            |p, n, v| all.push((p, n, v)),
        )
        .expect("sample parses");
        assert_eq!(
            all,
            [("Ip6", "InReceives", 7.0), ("UdpLite6", "InErrors", 0.0)]
        );
        assert!(parse6(b"Ip6InReceives x\n", |_, _, _| ()).is_err());
    }
}
