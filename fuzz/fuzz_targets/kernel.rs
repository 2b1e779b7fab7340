//! Any bytes as every file of the kernel, as a netlink answer, and as what daemons of the node answer
//! (D-Bus, NTP, XML-RPC): values or an error.
#![no_main]

use kansoku_parsers::kernel::{
    cgroup, cpu_list, diskstats, human_bytes, link, loadavg, meminfo, mountinfo, mountstats,
    net_dev, netlink, nl80211, pid_limits, pid_stat, pressure, rtnetlink, scan, stat, udev, uptime,
};

use kansoku_parsers::wire::{dbus, ntp, xml_rpc};

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| {
    let mut out = stat::Stat::default();
    if stat::parse(bytes, &mut out).is_ok() {
        // A reader that is used again gives what a new one gives.
        let mut again = stat::Stat::default();
        let _ = stat::parse(b"cpu0 1 2 3 4 5 6 7 8 9 10\n", &mut again);
        let _ = stat::parse(bytes, &mut again);
        assert_eq!(format!("{out:?}"), format!("{again:?}"));
    }
    let _ = meminfo::fields(bytes).count();
    let _ = meminfo::value(bytes, "MemTotal");
    let _ = loadavg::parse(bytes);
    let _ = uptime::parse(bytes);
    let _ = diskstats::disks(bytes).count();
    for mount in mountinfo::mounts(bytes).flatten() {
        let _ = mount.is_read_only();
        assert!(mountinfo::unescape(mount.mount_point).len() <= mount.mount_point.len());
    }
    let _ = net_dev::interfaces(bytes).count();
    // Mounts that are malformed end each; the rest is still read.
    let _ = mountstats::nfs(bytes).count();
    let _ = (human_bytes::binary(bytes), human_bytes::bcache(bytes));
    let _ = netlink::messages(bytes, |message| {
        let _ = link::Link::parse(message.body).map(|link| link.sysfs_flags());
        let _ = nl80211::family_id(message.body);
        let _ = nl80211::Interface::parse(message.body);
        let _ = nl80211::Network::parse(message.body);
        let _ = nl80211::Station::parse(message.body);
    });
    let _ = udev::property(bytes, "ID_SERIAL");
    let _ = pid_stat::parse(bytes);
    let _ = pid_limits::open_files(bytes);
    let _ = pressure::parse(bytes);
    let _ = rtnetlink::parse(bytes, |link| {
        let n = rtnetlink::N_COUNTERS;
        let _ = (0..n)
            .map(|i| link.counters.at(i))
            .fold(0u64, u64::wrapping_add);
    });
    // Ranges may be long; what a caller takes of them is bounded there.
    let _ = cpu_list::cpus(bytes).take(10_000).count();
    let _ = cgroup::blkio::entries(bytes).count();
    let _ = cgroup::blkio::device(bytes);
    let _ = cgroup::cpu_max::parse(bytes);
    let _ = cgroup::io_stat::devices(bytes).count();
    let _ = cgroup::keyed::values(bytes, ["anon", "file", "slab"]);
    let _ = cgroup::procs::parse(bytes);
    let _ = cgroup::scalar::parse(bytes);
    if let Some(n) = scan::number(bytes) {
        assert!(scan::decimal(bytes).is_some_and(|d| d == n as f64));
    }
    if let Ok(Some((_, n_bytes))) = dbus::parse(bytes) {
        assert!(n_bytes <= bytes.len());
    }
    let _ = ntp::parse(bytes).map(|answer| answer.is_valid());
    if let Ok(text) = std::str::from_utf8(bytes) {
        let _ = xml_rpc::structs(text);
    }
});
