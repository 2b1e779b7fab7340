//! cAdvisor's families with labels of their own: devices, interfaces, failures.
//!
//! The root's file systems come from statfs and diskstats as in cAdvisor, with two of its mistakes
//! mended: its times of the root's devices are milliseconds divided by 10⁹, and NVMe disks are not in
//! its pattern of partitions, so all their counters are 0.

use kansoku_model::MetricKind::{Counter, Gauge};
use kansoku_parsers::kernel::cgroup::io_stat::{Cost, Device};
use kansoku_parsers::kernel::net_dev;

use super::container_families::{DeviceNames, Emit, Labelled, Reading};
use super::root_filesystems::RootFilesystem;
use super::statfs::Sizes;

const fn counter(
    name: &'static str,
    help: &'static str,
    each: fn(&DeviceNames, &Reading, Emit<'_>),
) -> Labelled {
    Labelled {
        name,
        kind: Counter,
        help,
        each,
    }
}

/// A series per block device whose name is known.
fn by_device(names: &DeviceNames, r: &Reading, emit: Emit<'_>, value: fn(&Device) -> u64) {
    for device in &r.usage.io {
        if let Some(name) = names.get(&(device.major, device.minor)) {
            emit(&[("device", name)], value(device) as f64);
        }
    }
}

/// The same, but at the root what the node's disk has counted since boot, for every file system.
fn by_device_or_disk(
    names: &DeviceNames,
    r: &Reading,
    emit: Emit<'_>,
    value: fn(&Device) -> u64,
    column: usize,
) {
    if r.filesystems.is_empty() {
        by_device(names, r, emit, value);
    } else {
        by_disk(r, emit, column, 1.0);
    }
}

/// A column of diskstats for each of the root's file systems; 0 for those without a disk.
fn by_disk(r: &Reading, emit: Emit<'_>, column: usize, units: f64) {
    for fs in &r.filesystems {
        let value = fs.disk.map_or(0, |columns| columns[column]);
        emit(&[("device", &fs.device)], value as f64 / units);
    }
}

fn by_filesystem(r: &Reading, emit: Emit<'_>, value: fn(&Sizes) -> f64) {
    let sized = |fs: &RootFilesystem| fs.sizes.map(|sizes| value(&sizes));
    for (fs, value) in r.filesystems.iter().filter_map(|fs| Some((fs, sized(fs)?))) {
        emit(&[("device", &fs.device)], value);
    }
}

fn by_cost(names: &DeviceNames, r: &Reading, emit: Emit<'_>, value: fn(&Cost) -> u64) {
    for device in &r.usage.io {
        let name = names.get(&(device.major, device.minor));
        if let (Some(name), Some(cost)) = (name, &device.cost) {
            emit(&[("device", name)], value(cost) as f64 / 1e6);
        }
    }
}

/// Columns of diskstats after the name.
mod column {
    pub const READS: usize = 0;
    pub const READS_MERGED: usize = 1;
    pub const SECTORS_READ: usize = 2;
    pub const READ_MS: usize = 3;
    pub const WRITES: usize = 4;
    pub const WRITES_MERGED: usize = 5;
    pub const SECTORS_WRITTEN: usize = 6;
    pub const WRITE_MS: usize = 7;
    pub const IO_NOW: usize = 8;
    pub const IO_MS: usize = 9;
    pub const WEIGHTED_IO_MS: usize = 10;
}

/// A series per network interface.
fn by_interface(r: &Reading, emit: Emit<'_>, column: usize) {
    for (name, values) in &r.interfaces {
        emit(&[("interface", name)], values[column] as f64);
    }
}

/// Families with further labels.
pub const LABELLED: &[Labelled] = &[
    Labelled {
        name: "container_cpu_usage_seconds_total",
        kind: Counter,
        help: "Cumulative cpu time consumed in seconds.",
        each: |_, r, emit| {
            if let Some(cpu) = &r.usage.cpu {
                emit(&[("cpu", "total")], cpu.usage_s);
            }
        },
    },
    Labelled {
        name: "container_memory_failures_total",
        kind: Counter,
        help: "Cumulative count of memory allocation failures.",
        each: |_, r, emit| {
            let Some(m) = &r.usage.memory else { return };
            // cAdvisor shows the same number for both scopes.
            for scope in ["container", "hierarchy"] {
                let of = |kind| [("failure_type", kind), ("scope", scope)];
                emit(&of("pgfault"), m.page_faults as f64);
                emit(&of("pgmajfault"), m.major_page_faults as f64);
            }
        },
    },
    Labelled {
        name: "container_blkio_device_usage_total",
        kind: Counter,
        help: "Blkio Device bytes usage",
        each: |names, r, emit| {
            for d in &r.usage.io {
                let name = names.get(&(d.major, d.minor)).map_or("", String::as_str);
                let (major, minor) = (d.major.to_string(), d.minor.to_string());
                for (operation, bytes) in [("Read", d.read_bytes), ("Write", d.write_bytes)] {
                    let labels = [
                        ("device", name),
                        ("major", &major),
                        ("minor", &minor),
                        ("operation", operation),
                    ];
                    emit(&labels, bytes as f64);
                }
            }
        },
    },
    Labelled {
        name: "container_ulimits_soft",
        kind: Gauge,
        help: "Soft ulimit values for the container root process. Unlimited if -1, except priority and nice",
        each: |_, r, emit| {
            if let Some(limit) = r.open_files_limit {
                emit(&[("ulimit", "max_open_files")], limit);
            }
        },
    },
    counter(
        "container_fs_reads_bytes_total",
        "Cumulative count of bytes read",
        |names, r, emit| by_device(names, r, emit, |d| d.read_bytes),
    ),
    counter(
        "container_fs_writes_bytes_total",
        "Cumulative count of bytes written",
        |names, r, emit| by_device(names, r, emit, |d| d.write_bytes),
    ),
    counter(
        "container_fs_reads_total",
        "Cumulative count of reads completed",
        |names, r, emit| by_device_or_disk(names, r, emit, |d| d.reads, column::READS),
    ),
    counter(
        "container_fs_writes_total",
        "Cumulative count of writes completed",
        |names, r, emit| by_device_or_disk(names, r, emit, |d| d.writes, column::WRITES),
    ),
    counter(
        "container_fs_sector_reads_total",
        "Cumulative count of sector reads completed",
        |_, r, emit| by_disk(r, emit, column::SECTORS_READ, 1.0),
    ),
    counter(
        "container_fs_reads_merged_total",
        "Cumulative count of reads merged",
        |_, r, emit| by_disk(r, emit, column::READS_MERGED, 1.0),
    ),
    counter(
        "container_fs_sector_writes_total",
        "Cumulative count of sector writes completed",
        |_, r, emit| by_disk(r, emit, column::SECTORS_WRITTEN, 1.0),
    ),
    counter(
        "container_fs_writes_merged_total",
        "Cumulative count of writes merged",
        |_, r, emit| by_disk(r, emit, column::WRITES_MERGED, 1.0),
    ),
    counter(
        "container_fs_read_seconds_total",
        "Cumulative count of seconds spent reading",
        |_, r, emit| by_disk(r, emit, column::READ_MS, 1e3),
    ),
    counter(
        "container_fs_write_seconds_total",
        "Cumulative count of seconds spent writing",
        |_, r, emit| by_disk(r, emit, column::WRITE_MS, 1e3),
    ),
    counter(
        "container_fs_io_time_seconds_total",
        "Cumulative count of seconds spent doing I/Os",
        |_, r, emit| by_disk(r, emit, column::IO_MS, 1e3),
    ),
    counter(
        "container_fs_io_time_weighted_seconds_total",
        "Cumulative weighted I/O time in seconds",
        |_, r, emit| by_disk(r, emit, column::WEIGHTED_IO_MS, 1e3),
    ),
    Labelled {
        name: "container_fs_io_current",
        kind: Gauge,
        help: "Number of I/Os currently in progress",
        each: |_, r, emit| by_disk(r, emit, column::IO_NOW, 1.0),
    },
    Labelled {
        name: "container_fs_inodes_free",
        kind: Gauge,
        help: "Number of available Inodes",
        each: |_, r, emit| by_filesystem(r, emit, |s| s.files_free),
    },
    Labelled {
        name: "container_fs_inodes_total",
        kind: Gauge,
        help: "Number of Inodes",
        each: |_, r, emit| by_filesystem(r, emit, |s| s.files),
    },
    Labelled {
        name: "container_fs_limit_bytes",
        kind: Gauge,
        help: "Number of bytes that can be consumed by the container on this filesystem.",
        each: |_, r, emit| by_filesystem(r, emit, |s| s.size_bytes),
    },
    Labelled {
        name: "container_fs_usage_bytes",
        kind: Gauge,
        help: "Number of bytes that are consumed by the container on this filesystem.",
        each: |_, r, emit| by_filesystem(r, emit, |s| s.size_bytes - s.free_bytes),
    },
    counter(
        "container_fs_io_cost_usage_seconds_total",
        "Cumulative IOCost usage in seconds",
        |names, r, emit| by_cost(names, r, emit, |c| c.usage_us),
    ),
    counter(
        "container_fs_io_cost_wait_seconds_total",
        "Cumulative IOCost wait in seconds",
        |names, r, emit| by_cost(names, r, emit, |c| c.wait_us),
    ),
    counter(
        "container_fs_io_cost_indebt_seconds_total",
        "Cumulative IOCost debt in seconds",
        |names, r, emit| by_cost(names, r, emit, |c| c.indebt_us),
    ),
    counter(
        "container_fs_io_cost_indelay_seconds_total",
        "Cumulative IOCost delay in seconds",
        |names, r, emit| by_cost(names, r, emit, |c| c.indelay_us),
    ),
    counter(
        "container_network_receive_bytes_total",
        "Cumulative count of bytes received",
        |_, r, emit| by_interface(r, emit, net_dev::RECEIVE_BYTES),
    ),
    counter(
        "container_network_receive_packets_total",
        "Cumulative count of packets received",
        |_, r, emit| by_interface(r, emit, net_dev::RECEIVE_PACKETS),
    ),
    counter(
        "container_network_receive_errors_total",
        "Cumulative count of errors encountered while receiving",
        |_, r, emit| by_interface(r, emit, net_dev::RECEIVE_ERRORS),
    ),
    counter(
        "container_network_receive_packets_dropped_total",
        "Cumulative count of packets dropped while receiving",
        |_, r, emit| by_interface(r, emit, net_dev::RECEIVE_DROPPED),
    ),
    counter(
        "container_network_transmit_bytes_total",
        "Cumulative count of bytes transmitted",
        |_, r, emit| by_interface(r, emit, net_dev::TRANSMIT_BYTES),
    ),
    counter(
        "container_network_transmit_packets_total",
        "Cumulative count of packets transmitted",
        |_, r, emit| by_interface(r, emit, net_dev::TRANSMIT_PACKETS),
    ),
    counter(
        "container_network_transmit_errors_total",
        "Cumulative count of errors encountered while transmitting",
        |_, r, emit| by_interface(r, emit, net_dev::TRANSMIT_ERRORS),
    ),
    counter(
        "container_network_transmit_packets_dropped_total",
        "Cumulative count of packets dropped while transmitting",
        |_, r, emit| by_interface(r, emit, net_dev::TRANSMIT_DROPPED),
    ),
];
