//! Wireless interfaces and their peers, asked of the kernel's nl80211.

use std::path::{Path, PathBuf};

use anyhow::Context;
use base64::Engine;
use kansoku_model::MetricBatch;
use kansoku_parsers::kernel::netlink::{self as messages, dump_request, single_request};
use kansoku_parsers::kernel::nl80211::{self, Interface, Network, Station};
use nix::errno::Errno;
use nix::sys::socket::SockProtocol;
use serde::Deserialize;
use serde::de::DeserializeOwned;

use super::desc::Desc;
use super::flags::Flag;
use super::{Collector, Entry, NoData, NodeSpec, Tier, netlink};

pub(super) const ENTRY: Entry = Entry {
    name: "wifi",
    about: "wireless interfaces",
    is_default: false,
    tier: Tier::Background,
    flags: &[FIXTURES],
    build: |spec| Ok(Box::new(Wifi::new(spec))),
    ..Entry::DEFAULT
};

const FIXTURES: Flag = Flag::text(
    "collector.wifi.fixtures",
    "",
    "test fixtures to use for wifi collector metrics",
);
const FREQUENCY: Desc = Desc::gauge(
    "node_wifi_interface_frequency_hertz",
    "The current frequency a WiFi interface is operating at, in hertz.",
);
const STATION_INFO: Desc = Desc::gauge(
    "node_wifi_station_info",
    "Labeled WiFi interface station information as provided by the operating system.",
);
const CONNECTED: Desc = Desc::counter(
    "node_wifi_station_connected_seconds_total",
    "The total number of seconds a station has been connected to an access point.",
);
const INACTIVE: Desc = Desc::gauge(
    "node_wifi_station_inactive_seconds",
    "The number of seconds since any wireless activity has occurred on a station.",
);
const RECEIVE_RATE: Desc = Desc::gauge(
    "node_wifi_station_receive_bits_per_second",
    "The current WiFi receive bitrate of a station, in bits per second.",
);
const TRANSMIT_RATE: Desc = Desc::gauge(
    "node_wifi_station_transmit_bits_per_second",
    "The current WiFi transmit bitrate of a station, in bits per second.",
);
const RECEIVED_BYTES: Desc = Desc::counter(
    "node_wifi_station_receive_bytes_total",
    "The total number of bytes received by a WiFi station.",
);
const TRANSMITTED_BYTES: Desc = Desc::counter(
    "node_wifi_station_transmit_bytes_total",
    "The total number of bytes transmitted by a WiFi station.",
);
const SIGNAL: Desc = Desc::gauge(
    "node_wifi_station_signal_dbm",
    "The current WiFi signal strength, in decibel-milliwatts (dBm).",
);
const RETRIES: Desc = Desc::counter(
    "node_wifi_station_transmit_retries_total",
    "The total number of times a station has had to retry while sending a packet.",
);
const FAILED: Desc = Desc::counter(
    "node_wifi_station_transmit_failed_total",
    "The total number of times a station has failed to send a packet.",
);
const BEACON_LOSS: Desc = Desc::counter(
    "node_wifi_station_beacon_loss_total",
    "The total number of times a station has detected a beacon loss.",
);
const TRANSMITTED_PACKETS: Desc = Desc::counter(
    "node_wifi_station_transmitted_packets_total",
    "The total number of packets transmitted by a station.",
);
const RECEIVED_PACKETS: Desc = Desc::counter(
    "node_wifi_station_received_packets_total",
    "The total number of packets received by a station.",
);
const ABSENT: &str = "there is no wireless network";

struct Wifi {
    node: NodeSpec,
    fixtures: Option<PathBuf>,
    buf: Vec<u8>,
}

/// An interface with the network that it belongs to, and its peers.
struct Seen {
    interface: Interface,
    network: Option<Network>,
    stations: Vec<Station>,
}

impl Wifi {
    fn new(spec: &NodeSpec) -> Self {
        let fixtures = spec.flags.text(&FIXTURES);
        Self {
            node: spec.clone(),
            fixtures: (!fixtures.is_empty()).then(|| PathBuf::from(fixtures)),
            buf: Vec::new(),
        }
    }

    /// Asks the kernel.
    fn ask(&mut self) -> anyhow::Result<Vec<Seen>> {
        netlink::check_network(&self.node)?;
        let family = self.family()?;
        let mut interfaces = Vec::new();
        self.dump(family, &nl80211::interfaces_request(), |body| {
            interfaces.extend(Interface::parse(body));
        })?;
        let mut all = Vec::new();
        for interface in interfaces {
            let (mut network, mut stations) = (None, Vec::new());
            self.dump(
                family,
                &nl80211::networks_request(interface.index),
                |body| {
                    network = network.take().or_else(|| Network::parse(body));
                },
            )?;
            self.dump(
                family,
                &nl80211::stations_request(interface.index),
                |body| {
                    stations.extend(Station::parse(body));
                },
            )?;
            all.push(Seen {
                interface,
                network,
                stations,
            });
        }
        Ok(all)
    }

    fn family(&mut self) -> anyhow::Result<u16> {
        let request = single_request(nl80211::CONTROLLER, &nl80211::family_request());
        let mut family = None;
        let asked = netlink::ask(
            SockProtocol::NetlinkGeneric,
            &request,
            &mut self.buf,
            |message| {
                family = nl80211::family_id(message.body);
            },
        );
        match asked {
            Err(error) if is_refused_with(&error, Errno::ENOENT) => {
                Err(error.context(NoData(ABSENT)))
            }
            asked => asked.and(family.context(NoData(ABSENT))),
        }
    }

    /// An interface that does no such thing has an empty answer.
    fn dump(
        &mut self,
        family: u16,
        body: &[u8],
        mut each: impl FnMut(&[u8]),
    ) -> anyhow::Result<()> {
        let request = dump_request(family, body);
        let asked = netlink::ask(
            SockProtocol::NetlinkGeneric,
            &request,
            &mut self.buf,
            |message| {
                each(message.body);
            },
        );
        match asked {
            Err(error)
                if is_refused_with(&error, Errno::EOPNOTSUPP)
                    || is_refused_with(&error, Errno::ENODEV) =>
            {
                Ok(())
            }
            asked => asked,
        }
    }
}

impl Collector for Wifi {
    fn collect(&mut self, out: &mut MetricBatch) -> anyhow::Result<()> {
        let all = match &self.fixtures {
            Some(folder) => fixtures(folder)?,
            None => self.ask()?,
        };
        for seen in all.iter().filter(|seen| !seen.interface.name.is_empty()) {
            let device = ("device", seen.interface.name.as_str());
            let hertz = f64::from(seen.interface.frequency_mhz) * 1e6;
            FREQUENCY.sample(out, &[device], hertz);
            if let Some(network) = &seen.network {
                let mode = match network.status {
                    0 | 1 => "client",
                    2 => "ad-hoc",
                    _ => "unknown",
                };
                let id = address(&network.id);
                let labels = [
                    device,
                    ("bssid", &id),
                    ("ssid", &network.ssid),
                    ("mode", mode),
                ];
                STATION_INFO.sample(out, &labels, 1.0);
            }
            for station in &seen.stations {
                collect_station(out, device, station);
            }
        }
        Ok(())
    }
}

fn collect_station(out: &mut MetricBatch, device: (&str, &str), station: &Station) {
    let address = address(&station.address);
    let labels = [device, ("mac_address", address.as_str())];
    let values = [
        (CONNECTED, f64::from(station.connected_s)),
        (INACTIVE, f64::from(station.inactive_ms) / 1000.0),
        (RECEIVE_RATE, station.receive_bits_per_second as f64),
        (TRANSMIT_RATE, station.transmit_bits_per_second as f64),
        (RECEIVED_BYTES, station.received_bytes as f64),
        (TRANSMITTED_BYTES, station.transmitted_bytes as f64),
        (SIGNAL, f64::from(station.signal_dbm)),
        (RETRIES, f64::from(station.transmit_retries)),
        (FAILED, f64::from(station.transmit_failed)),
        (BEACON_LOSS, f64::from(station.beacon_loss)),
        (TRANSMITTED_PACKETS, f64::from(station.transmitted_packets)),
        (RECEIVED_PACKETS, f64::from(station.received_packets)),
    ];
    for (desc, value) in values {
        desc.sample(out, &labels, value);
    }
}

fn address(bytes: &[u8]) -> String {
    let parts: Vec<String> = bytes.iter().map(|byte| format!("{byte:02x}")).collect();
    parts.join(":")
}

fn is_refused_with(error: &anyhow::Error, errno: Errno) -> bool {
    error.downcast_ref::<messages::Error>() == Some(&messages::Error::Refused(errno as i32))
}

/// node_exporter's own fixtures: what its netlink library gives, as JSON.
fn fixtures(folder: &Path) -> anyhow::Result<Vec<Seen>> {
    #[derive(Deserialize)]
    #[serde(default)]
    #[derive(Default)]
    struct InterfaceOf {
        name: String,
        frequency: u32,
    }
    #[derive(Deserialize)]
    struct NetworkOf {
        ssid: String,
        bssid: String,
        status: u32,
    }
    #[derive(Deserialize)]
    struct StationOf {
        hardwareaddr: String,
        /// Times in nanoseconds.
        connected: u64,
        inactive: u64,
        receivebitrate: u64,
        transmitbitrate: u64,
        signal: i8,
        transmitretries: u32,
        transmitfailed: u32,
        beaconloss: u32,
    }
    let bytes = |text: &str| base64::engine::general_purpose::STANDARD.decode(text);
    let interfaces: Vec<InterfaceOf> = json(&folder.join("interfaces.json"))?.unwrap_or_default();
    let mut all = Vec::new();
    for InterfaceOf { name, frequency } in interfaces {
        let own = folder.join(&name);
        let network: Option<NetworkOf> = json(&own.join("bss.json"))?;
        let network = match network {
            Some(network) => Some(Network {
                id: bytes(&network.bssid)?,
                ssid: network.ssid,
                status: network.status,
            }),
            None => None,
        };
        let mut stations = Vec::new();
        let given: Option<Vec<StationOf>> = json(&own.join("stationinfo.json"))?;
        for station in given.unwrap_or_default() {
            stations.push(Station {
                address: bytes(&station.hardwareaddr)?,
                connected_s: (station.connected / 1_000_000_000) as u32,
                inactive_ms: (station.inactive / 1_000_000) as u32,
                receive_bits_per_second: station.receivebitrate,
                transmit_bits_per_second: station.transmitbitrate,
                signal_dbm: station.signal,
                transmit_retries: station.transmitretries,
                transmit_failed: station.transmitfailed,
                beacon_loss: station.beaconloss,
                ..Station::default()
            });
        }
        all.push(Seen {
            interface: Interface {
                index: 0,
                name,
                frequency_mhz: frequency,
            },
            network,
            stations,
        });
    }
    Ok(all)
}

/// `None` when there is no such file.
fn json<T: DeserializeOwned>(path: &Path) -> anyhow::Result<Option<T>> {
    let bytes = match std::fs::read(path) {
        Ok(bytes) => bytes,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(error).with_context(|| path.display().to_string()),
    };
    serde_json::from_slice(&bytes).with_context(|| path.display().to_string())
}
