//! Real files, cut and twisted at every byte: every parser ends, in values or in an error.

use super::*;

const FILES: &[&[u8]] = &[
    include_bytes!("../../../fixtures/proc/stat"),
    include_bytes!("../../../fixtures/proc/meminfo"),
    include_bytes!("../../../fixtures/proc/loadavg"),
    include_bytes!("../../../fixtures/proc/diskstats"),
    include_bytes!("../../../fixtures/proc/1/mountinfo"),
    include_bytes!("../../../fixtures/proc/1/net/dev"),
    include_bytes!("../../../fixtures/udev/b8:0"),
    include_bytes!("../../../fixtures/cgroup/proc/22050/stat"),
    include_bytes!("../../../fixtures/cgroup/proc/22050/limits"),
    include_bytes!("../../../fixtures/cgroup/v2/tree/io.stat"),
    include_bytes!("../../../fixtures/cgroup/v2/tree/memory.stat"),
    include_bytes!("../../../fixtures/cgroup/v2/tree/memory.pressure"),
    b"254:0 Read 4194304\n254:0 Write 8388608\nTotal 12582912\n",
    b"20000 100000\n",
    b"0,2-5\n",
];

/// Gives the bytes to every parser, whatever they are meant for.
fn parse_all(bytes: &[u8]) {
    let _ = stat::parse(bytes, &mut stat::Stat::default());
    let _ = meminfo::fields(bytes).count();
    let _ = loadavg::parse(bytes);
    let _ = uptime::parse(bytes);
    let _ = diskstats::disks(bytes).count();
    for mount in mountinfo::mounts(bytes).flatten() {
        let _ = (
            mount.is_read_only(),
            mountinfo::unescape(mount.mount_point).len(),
        );
    }
    let _ = net_dev::interfaces(bytes).count();
    let _ = udev::property(bytes, "ID_SERIAL");
    let _ = pid_stat::parse(bytes);
    let _ = pid_limits::open_files(bytes);
    let _ = pressure::parse(bytes);
    let _ = rtnetlink::parse(bytes, |_| ());
    let _ = cpu_list::cpus(bytes).count();
    let _ = cgroup::blkio::entries(bytes).count();
    let _ = cgroup::cpu_max::parse(bytes);
    let _ = cgroup::io_stat::devices(bytes).count();
    let _ = cgroup::keyed::values(bytes, ["anon", "file", "slab"]);
    let _ = cgroup::procs::parse(bytes);
    let _ = cgroup::scalar::parse(bytes);
}

#[test]
fn no_bytes_make_a_parser_panic() {
    for file in FILES {
        // The first lines have every shape that a file has.
        let file = &file[..file.len().min(600)];
        parse_all(file);
        for at in 0..file.len() {
            parse_all(&file[..at]);
            for byte in [b'\n', b' ', b'-', b':', b'9', 0, 255] {
                let mut twisted = file.to_vec();
                twisted[at] = byte;
                parse_all(&twisted);
            }
        }
    }
}
