//! Block device statistics from /proc/diskstats, with what udev knows of each device.

use std::collections::HashMap;
use std::fmt::Write;
use std::path::{Path, PathBuf};

use kansoku_model::{MetricBatch, MetricKind};
use kansoku_parsers::kernel::diskstats::{Disk, MAX_VALUES, disks};
use kansoku_parsers::kernel::udev::property;

use super::flags::{Flag, NameFilter};
use super::kernel_file::{KernelFile, read_word};
use super::{Collector, Entry, NodeSpec};

pub(super) const ENTRY: Entry = Entry {
    name: "diskstats",
    about: "block device transfers, times and identity",
    flags: &[EXCLUDE, EXCLUDE_OLD, INCLUDE],
    build: |spec| Ok(Box::new(Diskstats::new(spec)?)),
    ..Entry::DEFAULT
};

/// Block devices to leave out; partitions and what holds no data by default.
pub(crate) const EXCLUDE: Flag = Flag::text(
    "collector.diskstats.device-exclude",
    r"^(z?ram|loop|fd|(h|s|v|xv)d[a-z]|nvme\d+n\d+p)\d+$",
    "Regexp of diskstats devices to exclude (mutually exclusive to device-include).",
);
const EXCLUDE_OLD: Flag = Flag::deprecated("collector.diskstats.ignored-devices", EXCLUDE.name);
const INCLUDE: Flag = Flag::text(
    "collector.diskstats.device-include",
    "",
    "Regexp of diskstats devices to include (mutually exclusive to device-exclude).",
);

/// Disks whose kind is remembered.
const MAX_DISKS: usize = 4096;
/// What a column is multiplied with.
const SECTOR: f64 = 512.0;
const MILLISECOND: f64 = 0.001;

/// The families of the file's columns, in order.
const COLUMNS: [(&str, MetricKind, f64, &str); MAX_VALUES] = {
    use MetricKind::{Counter, Gauge};
    [
        (
            "node_disk_reads_completed_total",
            Counter,
            1.0,
            "The total number of reads completed successfully.",
        ),
        (
            "node_disk_reads_merged_total",
            Counter,
            1.0,
            "The total number of reads merged.",
        ),
        (
            "node_disk_read_bytes_total",
            Counter,
            SECTOR,
            "The total number of bytes read successfully.",
        ),
        (
            "node_disk_read_time_seconds_total",
            Counter,
            MILLISECOND,
            "The total number of seconds spent by all reads.",
        ),
        (
            "node_disk_writes_completed_total",
            Counter,
            1.0,
            "The total number of writes completed successfully.",
        ),
        (
            "node_disk_writes_merged_total",
            Counter,
            1.0,
            "The number of writes merged.",
        ),
        (
            "node_disk_written_bytes_total",
            Counter,
            SECTOR,
            "The total number of bytes written successfully.",
        ),
        (
            "node_disk_write_time_seconds_total",
            Counter,
            MILLISECOND,
            "This is the total number of seconds spent by all writes.",
        ),
        (
            "node_disk_io_now",
            Gauge,
            1.0,
            "The number of I/Os currently in progress.",
        ),
        (
            "node_disk_io_time_seconds_total",
            Counter,
            MILLISECOND,
            "Total seconds spent doing I/Os.",
        ),
        (
            "node_disk_io_time_weighted_seconds_total",
            Counter,
            MILLISECOND,
            "The weighted # of seconds spent doing I/Os.",
        ),
        (
            "node_disk_discards_completed_total",
            Counter,
            1.0,
            "The total number of discards completed successfully.",
        ),
        (
            "node_disk_discards_merged_total",
            Counter,
            1.0,
            "The total number of discards merged.",
        ),
        (
            "node_disk_discarded_sectors_total",
            Counter,
            1.0,
            "The total number of sectors discarded successfully.",
        ),
        (
            "node_disk_discard_time_seconds_total",
            Counter,
            MILLISECOND,
            "This is the total number of seconds spent by all discards.",
        ),
        (
            "node_disk_flush_requests_total",
            Counter,
            1.0,
            "The total number of flush requests completed successfully",
        ),
        (
            "node_disk_flush_requests_time_seconds_total",
            Counter,
            MILLISECOND,
            "This is the total number of seconds spent by all flush requests.",
        ),
    ]
};

/// Gauges of ATA disks: udev's property and the family.
const ATA: [(&str, &str, &str); 3] = [
    (
        "ID_ATA_WRITE_CACHE",
        "node_disk_ata_write_cache",
        "ATA disk has a write cache.",
    ),
    (
        "ID_ATA_WRITE_CACHE_ENABLED",
        "node_disk_ata_write_cache_enabled",
        "ATA disk has its write cache enabled.",
    ),
    (
        "ID_ATA_ROTATION_RATE_RPM",
        "node_disk_ata_rotation_rate_rpm",
        "ATA disk rotation rate in RPMs (0 for SSDs).",
    ),
];

struct Diskstats {
    file: KernelFile,
    udev_data: PathBuf,
    /// `/sys/block`, whose `queue/rotational` does not change while a disk is there.
    block: PathBuf,
    /// By name; forgotten when it is full.
    rotational: HashMap<String, bool>,
    filter: NameFilter,
    buf: Vec<u8>,
    udev: Vec<u8>,
    path: String,
}

impl Diskstats {
    fn new(spec: &NodeSpec) -> anyhow::Result<Self> {
        Ok(Self {
            file: KernelFile::whole(spec.procfs.join("diskstats")),
            udev_data: spec.udev_data.clone(),
            block: spec.sys("block"),
            rotational: HashMap::new(),
            filter: spec.flags.either_filter(&INCLUDE, &EXCLUDE)?,
            buf: Vec::new(),
            udev: Vec::new(),
            path: String::new(),
        })
    }
}

impl Collector for Diskstats {
    fn collect(&mut self, out: &mut MetricBatch) -> anyhow::Result<()> {
        self.file.read(&mut self.buf)?;
        for disk in disks(&self.buf) {
            let disk = disk?;
            if self.filter.is_ignored(disk.name) {
                continue;
            }
            self.path.clear();
            write!(self.path, "b{}:{}", disk.major, disk.minor)?;
            let path = self.udev_data.join(&self.path);
            // Opened anew each time: udev replaces the file when it learns more.
            if !KernelFile::whole(path).read_if_there(&mut self.udev) {
                self.udev.clear();
            }
            let is_rotational = is_rotational(&mut self.rotational, &self.block, disk.name);
            info(out, &disk, &self.udev, is_rotational);
            let columns = COLUMNS.iter().zip(disk.values).take(disk.n_values);
            for ((name, kind, factor, help), value) in columns {
                let family = out.family(name, *kind, help);
                out.sample(family, &[("device", disk.name)], value as f64 * factor);
            }
            identity(out, disk.name, &self.udev);
        }
        Ok(())
    }
}

/// Whether the disk turns; what sysfs does not know does not, as in node_exporter.
fn is_rotational(known: &mut HashMap<String, bool>, block: &Path, name: &str) -> bool {
    if let Some(is_rotational) = known.get(name) {
        return *is_rotational;
    }
    if known.len() >= MAX_DISKS {
        known.clear();
    }
    let word = read_word(&block.join(name).join("queue/rotational"));
    let is_rotational = word.as_deref() == Some("1");
    known.insert(name.to_owned(), is_rotational);
    is_rotational
}

fn info(out: &mut MetricBatch, disk: &Disk<'_>, udev: &[u8], is_rotational: bool) {
    let get = |key| property(udev, key).unwrap_or("");
    let serial = ["SCSI_IDENT_SERIAL", "ID_SERIAL_SHORT", "ID_SERIAL"]
        .into_iter()
        .map(get)
        .find(|s| !s.is_empty());
    let family = out.family(
        "node_disk_info",
        MetricKind::Gauge,
        "Info of /sys/block/<block_device>.",
    );
    let labels = [
        ("device", disk.name),
        ("major", &disk.major.to_string()),
        ("minor", &disk.minor.to_string()),
        ("model", get("ID_MODEL")),
        ("path", get("ID_PATH")),
        ("revision", get("ID_REVISION")),
        ("rotational", if is_rotational { "1" } else { "0" }),
        ("serial", serial.unwrap_or("")),
        ("wwn", get("ID_WWN")),
    ];
    out.sample(family, &labels, 1.0);
}

/// File system, device mapper and ATA properties, where udev knows them.
fn identity(out: &mut MetricBatch, device: &str, udev: &[u8]) {
    let get = |key| property(udev, key).unwrap_or("");
    if !get("ID_FS_TYPE").is_empty() {
        let family = out.family(
            "node_disk_filesystem_info",
            MetricKind::Gauge,
            "Info about disk filesystem.",
        );
        let labels = [
            ("device", device),
            ("type", get("ID_FS_TYPE")),
            ("usage", get("ID_FS_USAGE")),
            ("uuid", get("ID_FS_UUID")),
            ("version", get("ID_FS_VERSION")),
        ];
        out.sample(family, &labels, 1.0);
    }
    if !get("DM_NAME").is_empty() {
        let family = out.family(
            "node_disk_device_mapper_info",
            MetricKind::Gauge,
            "Info about disk device mapper.",
        );
        let labels = [
            ("device", device),
            ("lv_layer", get("DM_LV_LAYER")),
            ("lv_name", get("DM_LV_NAME")),
            ("name", get("DM_NAME")),
            ("uuid", get("DM_UUID")),
            ("vg_name", get("DM_VG_NAME")),
        ];
        out.sample(family, &labels, 1.0);
    }
    if get("ID_ATA").is_empty() {
        return;
    }
    for (key, name, help) in ATA {
        if let Some(value) = property(udev, key).and_then(|v| v.parse::<f64>().ok()) {
            let family = out.family(name, MetricKind::Gauge, help);
            out.sample(family, &[("device", device)], value);
        }
    }
}
