//! Properties of network interfaces: state, addresses, MTU, speed.
//!
//! The files of sysfs cost 30 reads per interface, so one rtnetlink dump gives what it can whenever
//! it shows the very interfaces that `path.sysfs` shows; the four properties that it lacks are read,
//! and those of them that do not change once. Else, as with the sysfs of another network, all is
//! read from the files. Both give the same series.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::time::Instant;

use kansoku_model::{MetricBatch, MetricKind};
use kansoku_parsers::kernel::link::Link;
use regex::bytes::Regex;

use super::desc::Desc;
use super::findings::Left;
use super::flags::Flag;
use super::kernel_file::KernelFile;
use super::netlink;
use super::{Collector, Entry, NodeSpec, OrNoData, sysfs};

pub(super) const ENTRY: Entry = Entry {
    name: "netclass",
    about: "properties of network interfaces",
    flags: &[IGNORED, IGNORE_INVALID_SPEED, NETLINK, WITH_STATS],
    build: |spec| Ok(Box::new(Netclass::new(spec)?)),
    ..Entry::DEFAULT
};

const IGNORED: Flag = Flag::text(
    "collector.netclass.ignored-devices",
    "^$",
    "Regexp of net devices to ignore for netclass collector.",
);
const IGNORE_INVALID_SPEED: Flag = Flag::switch(
    "collector.netclass.ignore-invalid-speed",
    false,
    "Ignore devices where the speed is invalid. This will be the default behavior in 2.x.",
);
const NETLINK: Flag = Flag::switch(
    "collector.netclass.netlink",
    false,
    "Use netlink to gather stats instead of /proc/net/dev.",
);
const WITH_STATS: Flag = Flag::switch(
    "collector.netclass_rtnl.with-stats",
    false,
    "Expose the statistics for each network device, replacing netdev collector.",
);

const UP: Desc = Desc::gauge(
    "node_network_up",
    "Value is 1 if operstate is 'up', 0 otherwise.",
);
const INFO: Desc = Desc::gauge(
    "node_network_info",
    "Non-numeric data from /sys/class/net/<iface>, value is always 1.",
);
const NETLINK_INFO: Desc = Desc::gauge(
    "node_network_info",
    "Non-numeric data of <iface>, value is always 1.",
);
const ALTERNATIVE_NAMES: Desc = Desc::gauge(
    "node_network_altnames_info",
    "Non-numeric data of <iface> altname, value is always 1.",
);

macro_rules! property {
    ($kind:ident, $name:literal) => {
        Desc::$kind(
            concat!("node_network_", $name),
            concat!("Network device property: ", $name),
        )
    };
}

const ADDRESS_ASSIGN_TYPE: Desc = property!(gauge, "address_assign_type");
const CARRIER: Desc = property!(gauge, "carrier");
const CARRIER_CHANGES: Desc = property!(counter, "carrier_changes_total");
const CARRIER_UP_CHANGES: Desc = property!(counter, "carrier_up_changes_total");
const CARRIER_DOWN_CHANGES: Desc = property!(counter, "carrier_down_changes_total");
const DEVICE_ID: Desc = property!(gauge, "device_id");
const DORMANT: Desc = property!(gauge, "dormant");
const FLAGS: Desc = property!(gauge, "flags");
const INTERFACE_ID: Desc = property!(gauge, "iface_id");
const INTERFACE_LINK: Desc = property!(gauge, "iface_link");
const LINK_MODE: Desc = property!(gauge, "iface_link_mode");
const MTU: Desc = property!(gauge, "mtu_bytes");
const NAME_ASSIGN_TYPE: Desc = property!(gauge, "name_assign_type");
const GROUP: Desc = property!(gauge, "net_dev_group");
const SPEED: Desc = property!(gauge, "speed_bytes");
const QUEUE_LENGTH: Desc = property!(gauge, "transmit_queue_length");
const PROTOCOL_TYPE: Desc = property!(gauge, "protocol_type");

/// Files of an interface that are numbers, and their families.
const FILES: [(&str, Desc); 16] = [
    ("addr_assign_type", ADDRESS_ASSIGN_TYPE),
    ("carrier", CARRIER),
    ("carrier_changes", CARRIER_CHANGES),
    ("carrier_up_count", CARRIER_UP_CHANGES),
    ("carrier_down_count", CARRIER_DOWN_CHANGES),
    ("dev_id", DEVICE_ID),
    ("dormant", DORMANT),
    ("flags", FLAGS),
    ("ifindex", INTERFACE_ID),
    ("iflink", INTERFACE_LINK),
    ("link_mode", LINK_MODE),
    ("mtu", MTU),
    ("name_assign_type", NAME_ASSIGN_TYPE),
    ("netdev_group", GROUP),
    ("tx_queue_len", QUEUE_LENGTH),
    ("type", PROTOCOL_TYPE),
];
/// The counters of `rtnl_link_stats64` in its order, as `with-stats` names them.
const COUNTERS: [&str; 24] = [
    "receive_packets_total",
    "transmit_packets_total",
    "receive_bytes_total",
    "transmit_bytes_total",
    "receive_errors_total",
    "transmit_errors_total",
    "receive_dropped_total",
    "transmit_dropped_total",
    "multicast_total",
    "collisions_total",
    "receive_length_errors_total",
    "receive_over_errors_total",
    "receive_crc_errors_total",
    "receive_frame_errors_total",
    "receive_fifo_errors_total",
    "receive_missed_errors_total",
    "transmit_aborted_errors_total",
    "transmit_carrier_errors_total",
    "transmit_fifo_errors_total",
    "transmit_heartbeat_errors_total",
    "transmit_window_errors_total",
    "receive_compressed_total",
    "transmit_compressed_total",
    "receive_nohandler_total",
];
/// Megabits to bytes.
const SPEED_FACTOR: f64 = 125_000.0;

struct Netclass {
    class: PathBuf,
    ignored: Option<Regex>,
    ignores_invalid_speed: bool,
    /// The flag of that name, whose series differ a little from those of sysfs.
    has_netlink_series: bool,
    has_stats: bool,
    /// Whether a dump shows what `class` shows.
    is_own_network: bool,
    /// For the counters of the same interfaces.
    links: Left<Vec<Link>>,
    interfaces: BTreeMap<String, Interface>,
    buf: Vec<u8>,
}

/// What netlink does not tell of an interface.
struct Interface {
    index: u32,
    address: String,
    address_assign_type: Option<f64>,
    name_assign_type: Option<f64>,
    device_id: Option<f64>,
    speed: KernelFile,
    duplex: KernelFile,
    is_seen: bool,
}

impl Netclass {
    fn new(spec: &NodeSpec) -> anyhow::Result<Self> {
        let class = spec.sys("class/net");
        let mut buf = Vec::new();
        let has_netlink_series = spec.flags.is_on(&NETLINK);
        let is_own_network = has_netlink_series || is_own_network(&class, &mut buf);
        Ok(Self {
            class,
            ignored: spec.flags.pattern(&IGNORED)?,
            ignores_invalid_speed: spec.flags.is_on(&IGNORE_INVALID_SPEED) || has_netlink_series,
            has_netlink_series,
            has_stats: has_netlink_series && spec.flags.is_on(&WITH_STATS),
            is_own_network,
            links: spec.findings.links.clone(),
            interfaces: BTreeMap::new(),
            buf,
        })
    }

    fn is_ignored(&self, device: &str) -> bool {
        let is_match = |regex: &Regex| regex.is_match(device.as_bytes());
        self.ignored.as_ref().is_some_and(is_match)
    }

    fn collect_files(&mut self, out: &mut MetricBatch) -> anyhow::Result<()> {
        const ABSENT: &str = "there are no network interfaces in sysfs";
        for device in sysfs::names(&self.class).or_no_data(ABSENT)? {
            let folder = self.class.join(&device);
            // `bonding_masters` is a file among the folders.
            if self.is_ignored(&device) || !folder.is_dir() {
                continue;
            }
            let word =
                |file| sysfs::read_optional(&folder.join(file)).map(Option::unwrap_or_default);
            let state = word("operstate")?;
            let flags = sysfs::number_optional(&folder.join("flags"))?;
            let admin_state = match flags {
                Some(flags) if flags as i64 & 1 == 1 => "up",
                Some(_) => "down",
                None => "unknown",
            };
            let (address, broadcast) = (word("address")?, word("broadcast")?);
            let (duplex, alias) = (word("duplex")?, word("ifalias")?);
            let by_device = ("device", device.as_str());
            UP.sample(out, &[by_device], f64::from(state == "up"));
            let labels = [
                by_device,
                ("address", &address),
                ("broadcast", &broadcast),
                ("duplex", &duplex),
                ("operstate", &state),
                ("adminstate", admin_state),
                ("ifalias", &alias),
            ];
            INFO.sample(out, &labels, 1.0);
            for (file, desc) in &FILES {
                if let Some(value) = sysfs::number_optional(&folder.join(file))? {
                    desc.sample(out, &[by_device], value);
                }
            }
            let speed = sysfs::number_optional(&folder.join("speed"))?;
            self.speed(out, by_device, speed);
        }
        Ok(())
    }

    fn speed(&self, out: &mut MetricBatch, device: (&str, &str), megabits: Option<f64>) {
        if let Some(megabits) = megabits.filter(|s| *s >= 0.0 || !self.ignores_invalid_speed) {
            SPEED.sample(out, &[device], (megabits * SPEED_FACTOR).trunc());
        }
    }

    fn collect_link(&mut self, out: &mut MetricBatch, link: &Link) -> anyhow::Result<()> {
        let mut interface = match self.interfaces.remove(&link.name) {
            Some(known) if known.index == link.index => known,
            _ => Interface::new(&self.class.join(&link.name), link)?,
        };
        interface.is_seen = true;
        if interface.address != link.address {
            let path = self.class.join(&link.name).join("addr_assign_type");
            interface.address_assign_type = sysfs::number_optional(&path)?;
            interface.address.clone_from(&link.address);
        }
        let device = ("device", link.name.as_str());
        let buf = &mut self.buf;
        let speed = match link.is_up() {
            true => interface.speed.read_number(buf).ok(),
            false => None,
        };
        let has_duplex = link.is_up() && interface.duplex.read_if_there(buf);
        let duplex = match has_duplex {
            true => String::from_utf8_lossy(buf.trim_ascii()),
            false => "".into(),
        };
        let state = link.operational_state();
        UP.sample(out, &[device], f64::from(state == "up"));
        let admin_state = if link.is_up() { "up" } else { "down" };
        let labels = [
            device,
            ("address", &link.address),
            ("broadcast", &link.broadcast),
            ("duplex", &duplex),
            ("operstate", state),
            ("ifalias", &link.alias),
            ("adminstate", admin_state),
        ];
        let is_netlink = self.has_netlink_series;
        match is_netlink {
            true => NETLINK_INFO.sample(out, &labels[..6], 1.0),
            false => INFO.sample(out, &labels, 1.0),
        }
        // Unlike the file, the attribute is there when the interface is down.
        let carrier = link.carrier.filter(|_| link.is_up() || is_netlink);
        let dormant = match is_netlink {
            true => Some(f64::from(link.link_mode)),
            false => link.is_up().then(|| f64::from(link.is_dormant())),
        };
        let flags = match is_netlink {
            true => link.flags(),
            false => link.sysfs_flags(),
        };
        let properties = [
            (ADDRESS_ASSIGN_TYPE, interface.address_assign_type),
            (CARRIER, carrier.map(f64::from)),
            (CARRIER_CHANGES, link.carrier_changes.map(f64::from)),
            (CARRIER_UP_CHANGES, link.carrier_up_count.map(f64::from)),
            (CARRIER_DOWN_CHANGES, link.carrier_down_count.map(f64::from)),
            (DEVICE_ID, interface.device_id),
            (DORMANT, dormant),
            (FLAGS, Some(f64::from(flags))),
            (INTERFACE_ID, Some(f64::from(link.index))),
            (
                INTERFACE_LINK,
                Some(f64::from(link.lower.unwrap_or(link.index))),
            ),
            (LINK_MODE, Some(f64::from(link.link_mode))),
            (MTU, Some(f64::from(link.mtu))),
            (NAME_ASSIGN_TYPE, interface.name_assign_type),
            (GROUP, Some(f64::from(link.group))),
            (QUEUE_LENGTH, Some(f64::from(link.queue_length))),
            (PROTOCOL_TYPE, Some(f64::from(link.protocol_type))),
        ];
        for (desc, value) in properties {
            if let Some(value) = value {
                desc.sample(out, &[device], value);
            }
        }
        self.speed(out, device, speed);
        if is_netlink {
            for name in link
                .alternative_names
                .iter()
                .filter(|name| !name.is_empty())
            {
                ALTERNATIVE_NAMES.sample(out, &[("altname", name), device], 1.0);
            }
        }
        if self.has_stats {
            for (name, value) in COUNTERS.iter().zip(&link.counters) {
                let help = format!("Network device property: {name}");
                let family = out.family(&format!("node_network_{name}"), MetricKind::Gauge, &help);
                out.sample(family, &[device], *value as f64);
            }
        }
        self.interfaces.insert(link.name.clone(), interface);
        Ok(())
    }
}

impl Collector for Netclass {
    fn collect(&mut self, out: &mut MetricBatch) -> anyhow::Result<()> {
        if !self.is_own_network {
            return self.collect_files(out);
        }
        let asked = Instant::now();
        let links = netlink::links(&mut self.buf)?;
        for link in &links {
            if !self.is_ignored(&link.name) {
                self.collect_link(out, link)?;
            }
        }
        self.links.leave(asked, links);
        self.interfaces
            .retain(|_, interface| std::mem::take(&mut interface.is_seen));
        Ok(())
    }
}

impl Interface {
    fn new(folder: &Path, link: &Link) -> anyhow::Result<Self> {
        let number = |file: &str| sysfs::number_optional(&folder.join(file));
        Ok(Self {
            index: link.index,
            address: link.address.clone(),
            address_assign_type: number("addr_assign_type")?,
            name_assign_type: number("name_assign_type")?,
            device_id: number("dev_id")?,
            speed: KernelFile::whole(folder.join("speed")),
            duplex: KernelFile::whole(folder.join("duplex")),
            is_seen: false,
        })
    }
}

/// Whether sysfs shows the interfaces of our own network: the same names, numbers and addresses.
fn is_own_network(class: &Path, buf: &mut Vec<u8>) -> bool {
    let Ok(links) = netlink::links(buf) else {
        return false;
    };
    let folders = sysfs::names(class).unwrap_or_default();
    let n_folders = folders.iter().filter(|f| class.join(f).is_dir()).count();
    n_folders == links.len()
        && links.iter().all(|link| {
            let folder = class.join(&link.name);
            sysfs::number(&folder.join("ifindex")).ok() == Some(f64::from(link.index))
                && sysfs::read(&folder.join("address")).ok().as_ref() == Some(&link.address)
        })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn exposition(is_own_network: bool) -> String {
        let mut netclass = Netclass::new(&NodeSpec::default()).expect("defaults are valid");
        netclass.is_own_network = is_own_network;
        let mut batch = MetricBatch::default();
        for _ in 0..2 {
            batch.clear();
            netclass.collect(&mut batch).expect("interfaces are there");
        }
        let mut out = Vec::new();
        crate::exposition::write(&mut out, &[&batch]);
        let text = String::from_utf8(out).expect("an exposition is text");
        let mut lines: Vec<&str> = text.lines().collect();
        lines.sort_unstable();
        lines.join("\n")
    }

    #[test]
    fn netlink_and_files_give_the_same_series_on_this_machine() {
        let files = exposition(false);
        assert!(files.contains("node_network_up{device=\"lo\"}"), "{files}");
        assert!(is_own_network(Path::new("/sys/class/net"), &mut Vec::new()));
        assert_eq!(exposition(true), files);
    }

    #[test]
    fn a_foreign_sysfs_is_not_our_network() {
        assert!(!is_own_network(
            Path::new("/no/such/class"),
            &mut Vec::new()
        ));
    }
}
