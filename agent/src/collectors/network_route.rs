//! The node's unicast routes, one series each, and how many each interface has.

use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use kansoku_model::MetricBatch;
use kansoku_parsers::kernel::netlink::{attribute, dump_request, u16_at, u32_at};
use nix::sys::socket::SockProtocol;

use super::desc::Desc;
use super::{Collector, Entry, NodeSpec, netlink};

pub(super) const ENTRY: Entry = Entry {
    name: "network_route",
    about: "routes of the network",
    is_default: false,
    build: |spec| Ok(Box::new(NetworkRoute::new(spec))),
    ..Entry::DEFAULT
};

const INFO: Desc = Desc::gauge(
    "node_network_route_info",
    "network routing table information",
);
const ROUTES: Desc = Desc::gauge("node_network_routes", "network routes by interface");

const GET_ROUTE: u16 = 26;
const NEW_ROUTE: u16 = 24;
const HEADER_BYTES: usize = 12;
const UNICAST: u8 = 1;
const DESTINATION: u16 = 1;
const INTERFACE: u16 = 4;
const GATEWAY: u16 = 5;
const PRIORITY: u16 = 6;
const PREFERRED_SOURCE: u16 = 7;
const MULTIPATH: u16 = 9;
const NEXT_HOP_BYTES: usize = 8;
const PROTOCOLS: [(u8, &str); 21] = [
    (0, "unspec"),
    (1, "redirect"),
    (2, "kernel"),
    (3, "boot"),
    (4, "static"),
    (8, "gated"),
    (9, "ra"),
    (10, "mrt"),
    (11, "zebra"),
    (12, "bird"),
    (13, "dnrouted"),
    (14, "xorp"),
    (15, "ntk"),
    (16, "dhcp"),
    (17, "mrouted"),
    (42, "babel"),
    (186, "bgp"),
    (187, "isis"),
    (188, "ospf"),
    (189, "rip"),
    (192, "eigrp"),
];

struct NetworkRoute {
    node: NodeSpec,
    buf: Vec<u8>,
}

/// One hop of a route: the interface's number, the gateway and the weight among several.
struct Hop {
    interface: u32,
    gateway: String,
    weight: String,
}

impl NetworkRoute {
    fn new(spec: &NodeSpec) -> Self {
        Self {
            node: spec.clone(),
            buf: Vec::new(),
        }
    }
}

impl Collector for NetworkRoute {
    fn collect(&mut self, out: &mut MetricBatch) -> anyhow::Result<()> {
        netlink::check_network(&self.node)?;
        let names = netlink::interface_names(&mut self.buf)?;
        let mut counts: BTreeMap<&str, u32> = BTreeMap::new();
        let request = dump_request(GET_ROUTE, &[0; HEADER_BYTES]);
        netlink::ask(
            SockProtocol::NetlinkRoute,
            &request,
            &mut self.buf,
            |message| {
                if message.kind != NEW_ROUTE || message.body.get(7) != Some(&UNICAST) {
                    return;
                }
                for hop in collect_hops(message.body) {
                    let device = names.get(&hop.interface).map_or("", String::as_str);
                    collect_route(out, message.body, device, &hop);
                    *counts.entry(device).or_default() += 1;
                }
            },
        )?;
        for (device, n) in counts {
            ROUTES.sample(out, &[("device", device)], f64::from(n));
        }
        Ok(())
    }
}

fn collect_route(out: &mut MetricBatch, body: &[u8], device: &str, hop: &Hop) {
    let attributes = body.get(HEADER_BYTES..).unwrap_or_default();
    let source = attribute(attributes, PREFERRED_SOURCE).map_or_else(String::new, address);
    let length = body.get(1).copied().unwrap_or(0);
    let destination = match attribute(attributes, DESTINATION) {
        Some(destination) if length > 0 => format!("{}/{length}", address(destination)),
        _ => "default".to_owned(),
    };
    let priority = attribute(attributes, PRIORITY).and_then(|v| u32_at(v, 0));
    let number = body.get(5).copied().unwrap_or(0);
    let protocol = PROTOCOLS.iter().find(|(n, _)| *n == number);
    let labels = [
        ("device", device),
        ("src", &source),
        ("dest", &destination),
        ("gw", &hop.gateway),
        ("priority", &priority.unwrap_or(0).to_string()),
        ("proto", protocol.map_or("unknown", |(_, name)| name)),
        ("weight", &hop.weight),
    ];
    INFO.sample(out, &labels, 1.0);
}

/// The hops of a route: one, or the several of a multipath route.
fn collect_hops(body: &[u8]) -> Vec<Hop> {
    let attributes = body.get(HEADER_BYTES..).unwrap_or_default();
    let gateway = |bytes| attribute(bytes, GATEWAY).map_or_else(String::new, address);
    let Some(mut rest) = attribute(attributes, MULTIPATH) else {
        return vec![Hop {
            interface: attribute(attributes, INTERFACE)
                .and_then(|v| u32_at(v, 0))
                .unwrap_or(0),
            gateway: gateway(attributes),
            weight: String::new(),
        }];
    };
    let mut hops = Vec::new();
    while let (Some(length), Some(interface)) = (u16_at(rest, 0), u32_at(rest, 4)) {
        let length = usize::from(length);
        let Some(hop) = rest.get(..length).filter(|h| h.len() >= NEXT_HOP_BYTES) else {
            break;
        };
        hops.push(Hop {
            interface,
            gateway: gateway(&hop[NEXT_HOP_BYTES..]),
            weight: (u32::from(hop[3]) + 1).to_string(),
        });
        rest = rest.get((length + 3) & !3..).unwrap_or_default();
    }
    hops
}

fn address(bytes: &[u8]) -> String {
    let ip = match (<[u8; 4]>::try_from(bytes), <[u8; 16]>::try_from(bytes)) {
        (Ok(four), _) => IpAddr::V4(Ipv4Addr::from(four)),
        (_, Ok(sixteen)) => IpAddr::V6(Ipv6Addr::from(sixteen)),
        _ => return String::new(),
    };
    ip.to_string()
}

#[cfg(test)]
mod tests {
    use super::*;
    use kansoku_parsers::kernel::netlink::push_attribute;

    #[test]
    fn hops_of_single_and_multipath_routes() {
        let mut single = vec![0; HEADER_BYTES];
        push_attribute(&mut single, INTERFACE, &7u32.to_ne_bytes());
        push_attribute(&mut single, GATEWAY, &[10, 0, 0, 1]);
        let hops = collect_hops(&single);
        assert_eq!((hops.len(), hops[0].interface), (1, 7));
        assert_eq!((&*hops[0].gateway, &*hops[0].weight), ("10.0.0.1", ""));

        let mut gateway = Vec::new();
        push_attribute(&mut gateway, GATEWAY, &[0; 16]);
        let mut hop = vec![(NEXT_HOP_BYTES + gateway.len()) as u8, 0, 0, 4, 3, 0, 0, 0];
        hop.extend(gateway);
        let mut several = vec![0; HEADER_BYTES];
        push_attribute(&mut several, MULTIPATH, &[hop.clone(), hop].concat());
        let hops = collect_hops(&several);
        assert_eq!((hops.len(), hops[1].interface), (2, 3));
        assert_eq!((&*hops[1].gateway, &*hops[1].weight), ("::", "5"));
        for end in 0..several.len() {
            collect_hops(&several[..end]);
        }
    }
}
