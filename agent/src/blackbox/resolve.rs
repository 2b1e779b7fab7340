//! From a host name to the one address that is probed.

use std::net::IpAddr;
use std::time::Instant;

use super::report::Report;

/// Which address of a name is wanted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Preference {
    pub is_ip4: bool,
    /// Take one of the other kind when there is none of this.
    pub falls_back: bool,
}

impl Default for Preference {
    fn default() -> Self {
        Self {
            is_ip4: false,
            falls_back: true,
        }
    }
}

/// The address, and how many seconds finding it took.
pub async fn resolve(host: &str, wanted: Preference, report: &mut Report) -> Option<(IpAddr, f64)> {
    let begin = Instant::now();
    let found = addresses(host).await;
    let seconds = begin.elapsed().as_secs_f64();
    report.set("probe_dns_lookup_time_seconds", seconds);
    report.set("probe_ip_protocol", 0.0);
    report.set("probe_ip_addr_hash", 0.0);
    let found = match found {
        Ok(found) => found,
        Err(error) => {
            report.say(format_args!("cannot resolve {host}: {error}"));
            return None;
        }
    };
    let preferred = found.iter().find(|ip| ip.is_ipv4() == wanted.is_ip4);
    let other = found.last().filter(|_| wanted.falls_back);
    let Some(ip) = preferred.or(other).copied() else {
        report.say(format_args!("{host} has no address of the wanted kind"));
        return None;
    };
    report.set("probe_ip_protocol", if ip.is_ipv4() { 4.0 } else { 6.0 });
    report.set("probe_ip_addr_hash", f64::from(hash(ip)));
    report.say(format_args!("resolved {host} to {ip}"));
    Some((ip, seconds))
}

async fn addresses(host: &str) -> std::io::Result<Vec<IpAddr>> {
    let bare = host.trim_matches(['[', ']']);
    if let Ok(ip) = bare.parse() {
        return Ok(vec![ip]);
    }
    let found = tokio::net::lookup_host((bare, 0)).await?;
    Ok(found.map(|address| address.ip()).collect())
}

/// FNV-1a of 32 bits.
fn hash(ip: IpAddr) -> u32 {
    let step = |hash: u32, byte: u8| (hash ^ u32::from(byte)).wrapping_mul(0x0100_0193);
    match ip {
        IpAddr::V4(ip) => ip.octets().into_iter().fold(0x811c_9dc5, step),
        IpAddr::V6(ip) => ip.octets().into_iter().fold(0x811c_9dc5, step),
    }
}

/// Host and port; brackets around an IPv6 address are taken away.
#[must_use]
pub fn split_port(target: &str) -> Option<(&str, u16)> {
    let (host, port) = target.rsplit_once(':')?;
    let host = match host.strip_prefix('[') {
        Some(inside) => inside.strip_suffix(']')?,
        None if host.contains(':') => return None,
        None => host,
    };
    Some((host, port.parse().ok()?))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hosts_and_ports() {
        for (text, expected) in [
            ("h:1", Some(("h", 1))),
            ("[::1]:53", Some(("::1", 53))),
            ("::1", None),
            ("h", None),
            ("h:x", None),
            ("h:70000", None),
        ] {
            assert_eq!(split_port(text), expected, "{text}");
        }
    }

    #[tokio::test]
    async fn an_address_is_its_own_answer() {
        let mut report = Report::default();
        let wanted = Preference::default();
        let ip = resolve("127.0.0.1", wanted, &mut report).await.map(|f| f.0);
        assert_eq!(ip, Some(IpAddr::from([127, 0, 0, 1])));
        let strict = Preference {
            falls_back: false,
            ..wanted
        };
        assert_eq!(resolve("127.0.0.1", strict, &mut report).await, None);
        // As blackbox_exporter gives for 127.0.0.1.
        assert_eq!(hash(IpAddr::from([127, 0, 0, 1])), 3_668_918_509);
    }
}
