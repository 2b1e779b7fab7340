//! Wireless interfaces, the network they belong to and their peers, as the kernel's nl80211 tells
//! them over generic netlink: requests as bytes, answers as values.

use super::netlink::{attribute, attributes, c_text, push_attribute, u16_at, u32_at, u64_at};

/// The message type of generic netlink's own controller, which knows the types of all others.
pub const CONTROLLER: u16 = 16;
/// The family's name.
pub const FAMILY: &str = "nl80211";

const GET_FAMILY: u8 = 3;
const FAMILY_ID: u16 = 1;
const FAMILY_NAME: u16 = 2;
/// Command, version and two bytes that are free.
const HEADER_BYTES: usize = 4;

const GET_INTERFACE: u8 = 5;
const GET_STATION: u8 = 17;
const GET_SCAN: u8 = 32;
const INDEX: u16 = 3;
const NAME: u16 = 4;
const ADDRESS: u16 = 6;
const STATION_INFO: u16 = 21;
const FREQUENCY: u16 = 38;
const BSS: u16 = 47;

const BSS_ID: u16 = 1;
const BSS_ELEMENTS: u16 = 6;
const BSS_STATUS: u16 = 9;
const ELEMENT_SSID: u8 = 0;

const RATE_16: u16 = 1;
const RATE_32: u16 = 5;
/// Rates are in steps of 100 kbit/s.
const RATE_UNIT: u64 = 100_000;

/// Asks the controller for the family's message type.
#[must_use]
pub fn family_request() -> Vec<u8> {
    let mut body = vec![GET_FAMILY, 1, 0, 0];
    push_attribute(&mut body, FAMILY_NAME, format!("{FAMILY}\0").as_bytes());
    body
}

/// The message type of the controller's answer.
#[must_use]
pub fn family_id(body: &[u8]) -> Option<u16> {
    u16_at(attribute(body.get(HEADER_BYTES..)?, FAMILY_ID)?, 0)
}

/// Asks for all interfaces.
#[must_use]
pub fn interfaces_request() -> Vec<u8> {
    vec![GET_INTERFACE, 0, 0, 0]
}

/// Asks for the networks that an interface has seen.
#[must_use]
pub fn networks_request(interface: u32) -> Vec<u8> {
    of_interface(GET_SCAN, interface)
}

/// Asks for the peers of an interface.
#[must_use]
pub fn stations_request(interface: u32) -> Vec<u8> {
    of_interface(GET_STATION, interface)
}

fn of_interface(command: u8, interface: u32) -> Vec<u8> {
    let mut body = vec![command, 0, 0, 0];
    push_attribute(&mut body, INDEX, &interface.to_ne_bytes());
    body
}

/// A wireless interface.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Interface {
    pub index: u32,
    /// Empty for what is no interface of the network, such as a P2P device.
    pub name: String,
    pub frequency_mhz: u32,
}

impl Interface {
    /// Of a message's body.
    #[must_use]
    pub fn parse(body: &[u8]) -> Option<Self> {
        let body = body.get(HEADER_BYTES..)?;
        let number = |kind| attribute(body, kind).and_then(|v| u32_at(v, 0));
        Some(Self {
            index: number(INDEX)?,
            name: attribute(body, NAME).map(c_text).unwrap_or_default(),
            frequency_mhz: number(FREQUENCY).unwrap_or(0),
        })
    }
}

/// The network that an interface belongs to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Network {
    pub id: Vec<u8>,
    pub ssid: String,
    /// 0 authenticated, 1 associated, 2 joined without an access point.
    pub status: u32,
}

impl Network {
    /// Of a message's body; `None` for networks that were only seen.
    #[must_use]
    pub fn parse(body: &[u8]) -> Option<Self> {
        let network = attribute(body.get(HEADER_BYTES..)?, BSS)?;
        let status = u32_at(attribute(network, BSS_STATUS)?, 0)?;
        let elements = attribute(network, BSS_ELEMENTS).unwrap_or_default();
        Some(Self {
            id: attribute(network, BSS_ID)?.to_vec(),
            ssid: ssid(elements).unwrap_or_default(),
            status,
        })
    }
}

/// The name among the elements of a beacon: one byte kind, one byte length, the value.
fn ssid(mut elements: &[u8]) -> Option<String> {
    while let [kind, length, rest @ ..] = elements {
        let (value, after) = rest.split_at_checked(usize::from(*length))?;
        if *kind == ELEMENT_SSID {
            return Some(String::from_utf8_lossy(value).into_owned());
        }
        elements = after;
    }
    None
}

/// A peer of an interface: the access point, or those that it serves.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Station {
    pub address: Vec<u8>,
    pub connected_s: u32,
    pub inactive_ms: u32,
    pub receive_bits_per_second: u64,
    pub transmit_bits_per_second: u64,
    pub received_bytes: u64,
    pub transmitted_bytes: u64,
    pub received_packets: u32,
    pub transmitted_packets: u32,
    pub signal_dbm: i8,
    pub transmit_retries: u32,
    pub transmit_failed: u32,
    pub beacon_loss: u32,
}

impl Station {
    /// Of a message's body.
    #[must_use]
    pub fn parse(body: &[u8]) -> Option<Self> {
        let body = body.get(HEADER_BYTES..)?;
        let mut station = Self {
            address: attribute(body, ADDRESS)?.to_vec(),
            ..Self::default()
        };
        let (mut received, mut transmitted) = (None, None);
        for (kind, value) in attributes(attribute(body, STATION_INFO)?) {
            let number = || u32_at(value, 0).unwrap_or(0);
            match kind {
                1 => station.inactive_ms = number(),
                // The older counts have 32 bits only.
                2 => station.received_bytes = u64::from(number()),
                3 => station.transmitted_bytes = u64::from(number()),
                7 => station.signal_dbm = value.first().map_or(0, |b| b.cast_signed()),
                8 => station.transmit_bits_per_second = rate(value),
                9 => station.received_packets = number(),
                10 => station.transmitted_packets = number(),
                11 => station.transmit_retries = number(),
                12 => station.transmit_failed = number(),
                14 => station.receive_bits_per_second = rate(value),
                16 => station.connected_s = number(),
                18 => station.beacon_loss = number(),
                23 => received = u64_at(value, 0),
                24 => transmitted = u64_at(value, 0),
                _ => {}
            }
        }
        station.received_bytes = received.unwrap_or(station.received_bytes);
        station.transmitted_bytes = transmitted.unwrap_or(station.transmitted_bytes);
        Some(station)
    }
}

fn rate(info: &[u8]) -> u64 {
    let wide = attribute(info, RATE_32)
        .and_then(|v| u32_at(v, 0))
        .map(u64::from);
    let narrow = attribute(info, RATE_16)
        .and_then(|v| u16_at(v, 0))
        .map(u64::from);
    wide.or(narrow).unwrap_or(0) * RATE_UNIT
}

#[cfg(test)]
mod tests {
    use super::*;

    fn nested(out: &mut Vec<u8>, kind: u16, parts: &[(u16, &[u8])]) {
        let mut inner = Vec::new();
        for (kind, value) in parts {
            push_attribute(&mut inner, *kind, value);
        }
        push_attribute(out, kind, &inner);
    }

    #[test]
    fn interfaces_networks_and_stations() {
        let mut body = vec![0; HEADER_BYTES];
        push_attribute(&mut body, INDEX, &3u32.to_ne_bytes());
        push_attribute(&mut body, NAME, b"wlan0\0");
        push_attribute(&mut body, FREQUENCY, &2412u32.to_ne_bytes());
        let interface = Interface::parse(&body).expect("an interface");
        assert_eq!((&*interface.name, interface.frequency_mhz), ("wlan0", 2412));

        let mut body = vec![0; HEADER_BYTES];
        let elements = [1, 1, 9, ELEMENT_SSID, 2, b'h', b'i'];
        let parts: [(u16, &[u8]); 3] = [
            (BSS_ID, &[1; 6]),
            (BSS_ELEMENTS, &elements),
            (BSS_STATUS, &[1, 0, 0, 0]),
        ];
        nested(&mut body, BSS, &parts);
        let network = Network::parse(&body).expect("a network");
        assert_eq!((&*network.ssid, network.status), ("hi", 1));
        let mut seen = vec![0; HEADER_BYTES];
        nested(&mut seen, BSS, &parts[..2]);
        assert_eq!(Network::parse(&seen), None);

        let mut body = vec![0; HEADER_BYTES];
        push_attribute(&mut body, ADDRESS, &[2; 6]);
        let mut rate = Vec::new();
        push_attribute(&mut rate, RATE_16, &10u16.to_ne_bytes());
        let parts: [(u16, &[u8]); 4] = [
            (2, &[5, 0, 0, 0]),
            (7, &[0xce]),
            (8, &rate),
            (23, &[9, 0, 0, 0, 0, 0, 0, 0]),
        ];
        nested(&mut body, STATION_INFO, &parts);
        let station = Station::parse(&body).expect("a station");
        assert_eq!((station.received_bytes, station.signal_dbm), (9, -50));
        assert_eq!(station.transmit_bits_per_second, 1_000_000);
        for end in 0..body.len() {
            let _ = Station::parse(&body[..end]);
            let _ = Network::parse(&seen[..end.min(seen.len())]);
        }
    }
}
