//! Counters of SCSI tape drives.

use std::path::PathBuf;

use kansoku_model::MetricBatch;
use regex::bytes::Regex;

use super::desc::Desc;
use super::flags::Flag;
use super::{Collector, Entry, NodeSpec, OrNoData, sysfs};

pub(super) const ENTRY: Entry = Entry {
    name: "tapestats",
    about: "tape drives",
    flags: &[IGNORED],
    build: |spec| Ok(Box::new(Tapestats::new(spec)?)),
    ..Entry::DEFAULT
};

const IGNORED: Flag = Flag::text(
    "collector.tapestats.ignored-devices",
    "^$",
    "Regexp of devices to ignore for tapestats.",
);
const NANO: f64 = 1e-9;
/// Files below stats, the factor to the unit, and the family.
const COUNTERS: [(&str, f64, Desc); 10] = [
    (
        "in_flight",
        1.0,
        Desc::gauge(
            "node_tape_io_now",
            "The number of I/Os currently outstanding to this device.",
        ),
    ),
    (
        "io_ns",
        NANO,
        Desc::counter(
            "node_tape_io_time_seconds_total",
            "The amount of time spent waiting for all I/O to complete (including read and write). This includes tape movement commands such as seeking between file or set marks and implicit tape movement such as when rewind on close tape devices are used.",
        ),
    ),
    (
        "other_cnt",
        1.0,
        Desc::counter(
            "node_tape_io_others_total",
            "The number of I/Os issued to the tape drive other than read or write commands. The time taken to complete these commands uses the following calculation io_time_seconds_total-read_time_seconds_total-write_time_seconds_total",
        ),
    ),
    (
        "read_byte_cnt",
        1.0,
        Desc::counter(
            "node_tape_read_bytes_total",
            "The number of bytes read from the tape drive.",
        ),
    ),
    (
        "read_cnt",
        1.0,
        Desc::counter(
            "node_tape_reads_completed_total",
            "The number of read requests issued to the tape drive.",
        ),
    ),
    (
        "read_ns",
        NANO,
        Desc::counter(
            "node_tape_read_time_seconds_total",
            "The amount of time spent waiting for read requests to complete.",
        ),
    ),
    (
        "write_byte_cnt",
        1.0,
        Desc::counter(
            "node_tape_written_bytes_total",
            "The number of bytes written to the tape drive.",
        ),
    ),
    (
        "write_cnt",
        1.0,
        Desc::counter(
            "node_tape_writes_completed_total",
            "The number of write requests issued to the tape drive.",
        ),
    ),
    (
        "write_ns",
        NANO,
        Desc::counter(
            "node_tape_write_time_seconds_total",
            "The amount of time spent waiting for write requests to complete.",
        ),
    ),
    (
        "resid_cnt",
        1.0,
        Desc::counter(
            "node_tape_residual_total",
            "The number of times during a read or write we found the residual amount to be non-zero. This should mean that a program is issuing a read larger thean the block size on tape. For write not all data made it to tape.",
        ),
    ),
];

struct Tapestats {
    class: PathBuf,
    ignored: Option<Regex>,
}

impl Tapestats {
    fn new(spec: &NodeSpec) -> anyhow::Result<Self> {
        Ok(Self {
            class: spec.sys("class/scsi_tape"),
            ignored: spec.flags.pattern(&IGNORED)?,
        })
    }
}

impl Collector for Tapestats {
    fn collect(&mut self, out: &mut MetricBatch) -> anyhow::Result<()> {
        const ABSENT: &str = "there is no tape drive";
        for device in sysfs::names(&self.class).or_no_data(ABSENT)? {
            // `st0a` and `nst0` are other modes of the drive `st0`.
            let number = device.strip_prefix("st").unwrap_or_default();
            let is_drive = !number.is_empty() && number.bytes().all(|b| b.is_ascii_digit());
            let is_ignored = |regex: &Regex| regex.is_match(device.as_bytes());
            if !is_drive || self.ignored.as_ref().is_some_and(is_ignored) {
                continue;
            }
            let folder = self.class.join(&device).join("stats");
            for (file, factor, desc) in &COUNTERS {
                let value = sysfs::number_optional(&folder.join(file))?.unwrap_or(0.0);
                desc.sample(out, &[("device", &device)], value * factor);
            }
        }
        Ok(())
    }
}
