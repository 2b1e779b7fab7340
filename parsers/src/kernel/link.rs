//! What rtnetlink tells of a network interface besides its counters.

use std::fmt::Write;

use super::netlink::{attribute, attributes, c_text, dump_request, push_attribute, u32_at};

/// The message of an interface.
pub const NEW_LINK: u16 = 16;
const GET_LINK: u16 = 18;
/// Bytes before the attributes.
pub const HEADER_BYTES: usize = 16;

/// An attribute of the request, and its value that leaves out what each protocol counted per interface:
/// the kernel sums that over all processors, which is most of what such an answer costs, and nobody asks
/// for it here. Kernels before 4.4 do not know it and give all.
const EXTRA: u16 = 29;
const WITHOUT_PROTOCOL_STATISTICS: u32 = 8;

const ADDRESS: u16 = 1;
const BROADCAST: u16 = 2;
const NAME: u16 = 3;
const MTU: u16 = 4;
const LINK: u16 = 5;
const QUEUE_LENGTH: u16 = 13;
const OPERATIONAL_STATE: u16 = 16;
const LINK_MODE: u16 = 17;
const ALIAS: u16 = 20;
const STATS64: u16 = 23;
const GROUP: u16 = 27;
const PROMISCUITY: u16 = 30;
const CARRIER: u16 = 33;
const CARRIER_CHANGES: u16 = 35;
const CARRIER_UP_COUNT: u16 = 47;
const CARRIER_DOWN_COUNT: u16 = 48;
const PROPERTIES: u16 = 52;
const ALTERNATIVE_NAME: u16 = 53;
const ALL_MULTICAST: u16 = 61;

const FLAG_UP: u32 = 1;
const FLAG_PROMISCUOUS: u32 = 0x100;
const FLAG_ALL_MULTICAST: u32 = 0x200;
const FLAG_DORMANT: u32 = 0x20000;
/// Running, lower up, dormant: state of the moment, which `flags` of sysfs leaves out.
const VOLATILE_FLAGS: u32 = 0x40 | 0x1_0000 | FLAG_DORMANT;
const OPERATIONAL_STATES: [&str; 7] = [
    "unknown",
    "notpresent",
    "down",
    "lowerlayerdown",
    "testing",
    "dormant",
    "up",
];

/// A request for all interfaces.
#[must_use]
pub fn request() -> Vec<u8> {
    let mut body = vec![0; HEADER_BYTES];
    push_attribute(&mut body, EXTRA, &WITHOUT_PROTOCOL_STATISTICS.to_ne_bytes());
    dump_request(GET_LINK, &body)
}

/// One interface.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Link {
    pub name: String,
    pub index: u32,
    /// ARPHRD_*.
    pub protocol_type: u16,
    flags: u32,
    /// `aa:bb:..`
    pub address: String,
    pub broadcast: String,
    pub alias: String,
    pub alternative_names: Vec<String>,
    pub mtu: u32,
    /// The interface below this one, when it is another.
    pub lower: Option<u32>,
    pub queue_length: u32,
    operational_state: u8,
    pub link_mode: u8,
    pub group: u32,
    promiscuity: u32,
    all_multicast: u32,
    pub carrier: Option<u8>,
    pub carrier_changes: Option<u32>,
    pub carrier_up_count: Option<u32>,
    pub carrier_down_count: Option<u32>,
    /// `rtnl_link_stats64` in order.
    pub counters: Vec<u64>,
}

impl Link {
    /// The interface of a message's body; `None` when it has no name.
    #[must_use]
    pub fn parse(body: &[u8]) -> Option<Self> {
        let mut link = Self {
            protocol_type: super::netlink::u16_at(body, 2)?,
            index: u32_at(body, 4)?,
            flags: u32_at(body, 8)?,
            ..Self::default()
        };
        let body = body.get(HEADER_BYTES..)?;
        for (kind, value) in attributes(body) {
            let number = u32_at(value, 0);
            let byte = value.first().copied();
            match kind {
                ADDRESS => link.address = hardware_address(value),
                BROADCAST => link.broadcast = hardware_address(value),
                NAME => link.name = c_text(value),
                MTU => link.mtu = number?,
                LINK => link.lower = number,
                QUEUE_LENGTH => link.queue_length = number?,
                OPERATIONAL_STATE => link.operational_state = byte?,
                LINK_MODE => link.link_mode = byte?,
                ALIAS => link.alias = c_text(value),
                GROUP => link.group = number?,
                PROMISCUITY => link.promiscuity = number?,
                ALL_MULTICAST => link.all_multicast = number?,
                CARRIER => link.carrier = byte,
                CARRIER_CHANGES => link.carrier_changes = number,
                CARRIER_UP_COUNT => link.carrier_up_count = number,
                CARRIER_DOWN_COUNT => link.carrier_down_count = number,
                STATS64 => {
                    let numbers = value.chunks_exact(8).map(<[u8; 8]>::try_from);
                    link.counters = numbers.flatten().map(u64::from_ne_bytes).collect();
                }
                PROPERTIES => {
                    let names = attributes(value).filter(|(k, _)| *k == ALTERNATIVE_NAME);
                    link.alternative_names = names.map(|(_, name)| c_text(name)).collect();
                }
                _ => {}
            }
        }
        attribute(body, NAME).map(|_| link)
    }

    /// `flags` as sysfs shows them: promiscuous also when a bridge made it so, and without the state
    /// of the moment.
    #[must_use]
    pub fn sysfs_flags(&self) -> u32 {
        let mut flags = self.flags & !VOLATILE_FLAGS;
        if self.promiscuity > 0 {
            flags |= FLAG_PROMISCUOUS;
        }
        if self.all_multicast > 0 {
            flags |= FLAG_ALL_MULTICAST;
        }
        flags
    }

    /// All flags.
    #[must_use]
    pub fn flags(&self) -> u32 {
        self.flags
    }

    /// Whether an administrator set it up.
    #[must_use]
    pub fn is_up(&self) -> bool {
        self.flags & FLAG_UP != 0
    }

    /// Whether it waits for something such as 802.1X.
    #[must_use]
    pub fn is_dormant(&self) -> bool {
        self.flags & FLAG_DORMANT != 0
    }

    /// The word of RFC 2863.
    #[must_use]
    pub fn operational_state(&self) -> &'static str {
        let at = usize::from(self.operational_state);
        OPERATIONAL_STATES.get(at).copied().unwrap_or("unknown")
    }
}

fn hardware_address(bytes: &[u8]) -> String {
    let mut text = String::with_capacity(bytes.len() * 3);
    for byte in bytes {
        if !text.is_empty() {
            text.push(':');
        }
        // Writing to a string cannot fail.
        let _ = write!(text, "{byte:02x}");
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_request_leaves_out_what_protocols_count() {
        let request = request();
        assert_eq!(request.len(), 40);
        assert_eq!(u32_at(&request, 0), Some(40));
        let asked: Vec<_> = attributes(&request[2 * HEADER_BYTES..]).collect();
        assert_eq!(
            asked,
            [(EXTRA, &WITHOUT_PROTOCOL_STATISTICS.to_ne_bytes()[..])]
        );
    }

    #[test]
    fn attributes_become_an_interface() {
        let mut body = vec![0; HEADER_BYTES];
        body[2] = 1;
        body[4] = 7;
        body[8..12].copy_from_slice(&0x1_1043u32.to_ne_bytes());
        assert_eq!(Link::parse(&body), None, "without a name");
        push_attribute(&mut body, ADDRESS, &[1, 2, 0xab]);
        push_attribute(&mut body, NAME, b"eth0\0");
        push_attribute(&mut body, MTU, &1500u32.to_ne_bytes());
        push_attribute(&mut body, OPERATIONAL_STATE, &[6]);
        push_attribute(&mut body, PROMISCUITY, &1u32.to_ne_bytes());
        let mut names = Vec::new();
        push_attribute(&mut names, ALTERNATIVE_NAME, b"enp0s1\0");
        push_attribute(&mut body, PROPERTIES, &names);
        push_attribute(&mut body, STATS64, &[1; 17]);
        let link = Link::parse(&body).expect("an interface");
        assert_eq!(
            (link.name.as_str(), link.index, link.mtu),
            ("eth0", 7, 1500)
        );
        assert_eq!(link.address, "01:02:ab");
        assert_eq!(link.operational_state(), "up");
        assert_eq!(link.alternative_names, ["enp0s1"]);
        assert_eq!(link.sysfs_flags(), 0x1103);
        assert_eq!(link.counters.len(), 2);
        assert!(link.is_up() && !link.is_dormant());
        for end in 0..body.len() {
            let _ = Link::parse(&body[..end]);
        }
    }
}
