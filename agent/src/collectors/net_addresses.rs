//! The addresses of our own network's interfaces, for netdev.

use std::net::IpAddr;

use anyhow::Context;
use kansoku_model::MetricBatch;
use nix::ifaddrs::getifaddrs;
use nix::sys::socket::SockaddrStorage;

use super::desc::Desc;
use super::flags::NameFilter;

const INFO: Desc = Desc::gauge(
    "node_network_address_info",
    "node network address by device",
);

/// Appends a sample per address.
pub(super) fn collect(filter: &NameFilter, out: &mut MetricBatch) -> anyhow::Result<()> {
    let interfaces = getifaddrs().context("failed to ask for network addresses")?;
    for interface in interfaces {
        let address = interface.address.as_ref().and_then(ip);
        let netmask = interface.netmask.as_ref().and_then(ip);
        let (Some(address), Some(netmask)) = (address, netmask) else {
            continue;
        };
        if filter.is_ignored(&interface.interface_name) {
            continue;
        }
        let labels = [
            ("device", interface.interface_name.as_str()),
            ("address", &address.to_string()),
            ("netmask", &prefix(netmask).to_string()),
            ("scope", scope(address)),
        ];
        INFO.sample(out, &labels, 1.0);
    }
    Ok(())
}

fn ip(address: &SockaddrStorage) -> Option<IpAddr> {
    let four = address.as_sockaddr_in().map(|a| IpAddr::V4(a.ip()));
    four.or_else(|| address.as_sockaddr_in6().map(|a| IpAddr::V6(a.ip())))
}

/// How many bits are the network's.
fn prefix(netmask: IpAddr) -> u32 {
    match netmask {
        IpAddr::V4(mask) => u32::from(mask).leading_ones(),
        IpAddr::V6(mask) => u128::from(mask).leading_ones(),
    }
}

/// As Go's net package tells them apart.
fn scope(address: IpAddr) -> &'static str {
    let is_link_local = match address {
        IpAddr::V4(ip) => ip.is_link_local() || ip.octets()[..3] == [224, 0, 0],
        IpAddr::V6(ip) => ip.is_unicast_link_local() || ip.segments()[0] & 0xff0f == 0xff02,
    };
    if address.is_loopback() || is_link_local {
        return "link-local";
    }
    match address {
        IpAddr::V6(ip) if ip.segments()[0] & 0xff0f == 0xff01 => "interface-local",
        IpAddr::V4(ip) if ip.is_broadcast() => "",
        _ if address.is_unspecified() || address.is_multicast() => "",
        _ => "global",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn scopes_and_prefixes() {
        for (address, expected) in [
            ("127.0.0.1", "link-local"),
            ("::1", "link-local"),
            ("169.254.1.1", "link-local"),
            ("fe80::1", "link-local"),
            ("ff02::1", "link-local"),
            ("ff01::1", "interface-local"),
            ("10.0.0.1", "global"),
            ("2001:db8::1", "global"),
            ("255.255.255.255", ""),
            ("0.0.0.0", ""),
        ] {
            let address: IpAddr = address.parse().expect("an address");
            assert_eq!(scope(address), expected, "{address}");
        }
        assert_eq!(prefix("255.255.240.0".parse().expect("a mask")), 20);
        assert_eq!(prefix("ffff:ffff::".parse().expect("a mask")), 32);
    }

    #[test]
    fn loopback_has_an_address() {
        let mut out = MetricBatch::default();
        collect(&NameFilter::default(), &mut out).expect("the kernel answers");
        let has = |point| {
            out.labels_of(point)
                .any(|label| label == ("address", "127.0.0.1"))
        };
        assert!(out.points().iter().any(has));
    }
}
