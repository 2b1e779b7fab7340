//! /proc/net/ip_vs and /proc/net/ip_vs_stats: the kernel's load balancer.

use core::net::{IpAddr, Ipv4Addr};

use super::Malformed;
use super::scan::{lines, number, text, words};

/// Sums over all services: connections, packets in and out, bytes in and out.
pub const N_STATS: usize = 5;
/// The line of the sums, below two lines of headings.
const STATS_LINE: usize = 2;

/// The sums.
///
/// # Errors
/// When the third line does not hold five hexadecimal numbers.
pub fn stats(bytes: &[u8]) -> Result<[u64; N_STATS], Malformed> {
    let malformed = Malformed {
        format: "ip_vs_stats",
        line: STATS_LINE + 1,
        expected: "five hexadecimal numbers",
    };
    let line = lines(bytes).nth(STATS_LINE).ok_or(malformed)?;
    let mut words = words(line);
    let mut stats = [0; N_STATS];
    for slot in &mut stats {
        *slot = words.next().and_then(hex).ok_or(malformed)?;
    }
    if words.next().is_some() {
        return Err(malformed);
    }
    Ok(stats)
}

/// One server behind a service.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Backend<'a> {
    /// `TCP`, `UDP`, or `FWM` for packets that a firewall mark chooses.
    pub protocol: &'a str,
    /// The mark; empty without.
    pub local_mark: &'a str,
    /// `None` for a service of a mark.
    pub local: Option<(IpAddr, u16)>,
    pub remote: (IpAddr, u16),
    pub weight: u64,
    pub active: u64,
    pub inactive: u64,
}

/// Calls `each` with every backend.
///
/// # Errors
/// When an address or a number cannot be read.
pub fn backends<'a>(bytes: &'a [u8], mut each: impl FnMut(Backend<'a>)) -> Result<(), Malformed> {
    let mut service: (&str, &str, Option<(IpAddr, u16)>) = ("", "", None);
    for (index, line) in lines(bytes).enumerate() {
        let malformed = |expected| Malformed {
            format: "ip_vs",
            line: index + 1,
            expected,
        };
        let mut words = words(line);
        let (Some(first), Some(second)) =
            (words.next().and_then(text), words.next().and_then(text))
        else {
            continue;
        };
        let address = || address(second).ok_or_else(|| malformed("an address and a port"));
        match first {
            "TCP" | "UDP" => service = (first, "", Some(address()?)),
            "FWM" => service = (first, second, None),
            "->" if second != "RemoteAddress:Port" => {
                let mut numbers = words.skip(1).map(number);
                let mut next = || {
                    numbers
                        .next()
                        .flatten()
                        .ok_or_else(|| malformed("a number"))
                };
                let (protocol, local_mark, local) = service;
                each(Backend {
                    protocol,
                    local_mark,
                    local,
                    remote: address()?,
                    weight: next()?,
                    active: next()?,
                    inactive: next()?,
                });
            }
            _ => {}
        }
    }
    Ok(())
}

fn hex(word: &[u8]) -> Option<u64> {
    u64::from_str_radix(text(word)?, 16).ok()
}

/// `C0A80016:0CEA`, or `[2620:0000:...]:0050`.
fn address(word: &str) -> Option<(IpAddr, u16)> {
    let (address, port) = word.rsplit_once(':')?;
    let port = u16::from_str_radix(port, 16).ok()?;
    let inside = address.strip_prefix('[').and_then(|a| a.strip_suffix(']'));
    let address = match inside {
        Some(six) => six.parse().ok()?,
        None if address.len() == 8 => Ipv4Addr::from(u32::from_str_radix(address, 16).ok()?).into(),
        None => return None,
    };
    Some((address, port))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn services_and_their_backends() {
        let sample = b"IP Virtual Server version 1.2.1 (size=4096)\nProt LocalAddress:Port Scheduler Flags\n  -> RemoteAddress:Port Forward Weight ActiveConn InActConn\n\
            TCP  C0A80016:0CEA wlc  \n  -> C0A85216:0CEA      Tunnel  100    248        2\n\
            UDP  [2620:0000:0000:0000:0000:0000:0000:0001]:0050 wrr\n  -> [2620:0000:0000:0000:0000:0000:0000:0002]:0050 Route 1 2 3\n\
            FWM  10001000 wlc\n  -> C0A8321A:0CEA Tunnel 20 64 1\n";
        let mut all = Vec::new();
        backends(sample, |b| {
            let local = b.local.map(|(ip, port)| format!("{ip} {port}"));
            let remote = format!("{} {}", b.remote.0, b.remote.1);
            all.push(format!(
                "{} '{}' {local:?} {remote} {} {} {}",
                b.protocol, b.local_mark, b.weight, b.active, b.inactive
            ));
        })
        .expect("sample parses");
        assert_eq!(
            all,
            [
                "TCP '' Some(\"192.168.0.22 3306\") 192.168.82.22 3306 100 248 2",
                "UDP '' Some(\"2620::1 80\") 2620::2 80 1 2 3",
                "FWM '10001000' None 192.168.50.26 3306 20 64 1",
            ]
        );
        for bad in [
            "TCP x y\n",
            "-> C0A8321A:0CEA Tunnel 20 64\n",
            "-> C0A8321A:0CEA Tunnel a b c\n",
        ] {
            assert!(backends(bad.as_bytes(), |_| ()).is_err(), "{bad}");
        }
    }

    #[test]
    fn sums_are_hexadecimal() {
        let sample = b"   Total Incoming\n   Conns\n 16AA370 E33656E5        0     51D8C8883AB3                0\n\n";
        assert_eq!(
            stats(sample),
            Ok([23_765_872, 3_811_989_221, 0, 89_991_519_156_915, 0])
        );
        assert!(stats(b"a\nb\n1 2 3\n").is_err());
    }
}
