//! Statistics of mounted bcachefs file systems and their devices.

use std::path::{Path, PathBuf};

use anyhow::Context;
use kansoku_model::{MetricBatch, MetricKind};
use kansoku_parsers::kernel::human_bytes::binary;
use kansoku_parsers::kernel::scan::decimal;

use super::desc::Desc;
use super::fields::{Fields, Named};
use super::metric_name::sanitized;
use super::{Collector, Entry, NoData, NodeSpec, OrNoData, Tier, sysfs};

const DEVICES: &str = "fs/bcachefs";

pub(super) const ENTRY: Entry = Entry {
    name: "bcachefs",
    about: "bcachefs file systems",
    tier: Tier::Background,
    devices: Some(DEVICES),
    build: |spec| Ok(Box::new(Bcachefs::new(spec))),
    ..Entry::DEFAULT
};

const INFO: Desc = Desc::gauge("node_bcachefs_info", "Filesystem information.");
const BTREE_CACHE: Desc = Desc::gauge(
    "node_bcachefs_btree_cache_size_bytes",
    "Btree cache memory usage in bytes.",
);
const COMPRESSED: Desc = Desc::gauge(
    "node_bcachefs_compression_compressed_bytes",
    "Compressed size by algorithm.",
);
const UNCOMPRESSED: Desc = Desc::gauge(
    "node_bcachefs_compression_uncompressed_bytes",
    "Uncompressed size by algorithm.",
);
const ERRORS: Desc = Desc::counter("node_bcachefs_errors_total", "Error count by error type.");
const WRITES: Desc = Desc::counter(
    "node_bcachefs_btree_writes_total",
    "Number of btree writes by type.",
);
const WRITE_SIZE: Desc = Desc::gauge(
    "node_bcachefs_btree_write_average_size_bytes",
    "Average btree write size by type.",
);
const DEVICE_INFO: Desc = Desc::gauge("node_bcachefs_device_info", "Device information.");
const BUCKET_SIZE: Desc = Desc::gauge(
    "node_bcachefs_device_bucket_size_bytes",
    "Bucket size in bytes.",
);
const BUCKETS: Desc = Desc::gauge("node_bcachefs_device_buckets", "Total number of buckets.");
const DURABILITY: Desc = Desc::gauge(
    "node_bcachefs_device_durability",
    "Device durability setting.",
);
const IO_DONE: Desc = Desc::counter(
    "node_bcachefs_device_io_done_bytes_total",
    "IO bytes by operation type and data type.",
);
const IO_ERRORS: Desc = Desc::counter(
    "node_bcachefs_device_io_errors_total",
    "IO errors by error type.",
);

struct Bcachefs {
    folder: PathBuf,
    counters: Fields,
}

impl Bcachefs {
    fn new(spec: &NodeSpec) -> Self {
        Self {
            folder: spec.sys(DEVICES),
            counters: Fields::default(),
        }
    }

    fn counters(&mut self, out: &mut MetricBatch, folder: &Path, uuid: &str) -> anyhow::Result<()> {
        for name in sysfs::names(folder).unwrap_or_default() {
            let path = folder.join(&name);
            let text = sysfs::read(&path)?;
            let after = |key| text.lines().find_map(|line| line.strip_prefix(key));
            // A kernel that gives only the other line counts since mount, which upstream leaves 0.
            let value = match after("since filesystem creation:") {
                Some(value) => Some(value),
                None => after("since mount:").map(|_| "0"),
            };
            let value = value.and_then(|v| binary(v.as_bytes()));
            let value = value.with_context(|| unknown_shape(&path))?;
            let family = self.counters.next("", &name, |_, name| {
                Some(Named {
                    name: format!("node_bcachefs_{}_total", sanitized(name)),
                    kind: MetricKind::Counter,
                    help: format!("Bcachefs counter {name} since filesystem creation."),
                })
            });
            if let Some(family) = family {
                family.sample(out, &[("uuid", uuid)], value);
            }
        }
        Ok(())
    }
}

impl Collector for Bcachefs {
    fn collect(&mut self, out: &mut MetricBatch) -> anyhow::Result<()> {
        const ABSENT: &str = "no bcachefs is mounted";
        let uuids = sysfs::names(&self.folder).or_no_data(ABSENT)?;
        if uuids.is_empty() {
            return Err(NoData(ABSENT).into());
        }
        self.counters.rewind();
        for uuid in &uuids {
            let folder = self.folder.join(uuid);
            let cache = sysfs::read_optional(&folder.join("btree_cache_size"))?;
            let cache = cache.map_or(Some(0.0), |text| binary(text.as_bytes()));
            let label = ("uuid", uuid.as_str());
            INFO.sample(out, &[label], 1.0);
            let cache = cache.with_context(|| unknown_shape(&folder.join("btree_cache_size")))?;
            BTREE_CACHE.sample(out, &[label], cache);
            table(&folder.join("compression_stats"), |kind, [a, b]| {
                let labels = [label, ("algorithm", kind)];
                COMPRESSED.sample(out, &labels, binary(a.as_bytes())?);
                UNCOMPRESSED.sample(out, &labels, binary(b.as_bytes())?);
                Some(())
            })?;
            let errors = sysfs::read_optional(&folder.join("errors"))?.unwrap_or_default();
            for line in errors.lines() {
                let mut words = line.split_ascii_whitespace();
                if let (Some(kind), Some(count)) = (words.next(), words.next()) {
                    let count = decimal(count.as_bytes());
                    let count = count.with_context(|| unknown_shape(&folder.join("errors")))?;
                    ERRORS.sample(out, &[label, ("error_type", kind)], count);
                }
            }
            self.counters(out, &folder.join("counters"), uuid)?;
            table(&folder.join("btree_write_stats"), |kind, [count, size]| {
                let labels = [label, ("type", kind)];
                WRITES.sample(out, &labels, decimal(count.as_bytes())?);
                WRITE_SIZE.sample(out, &labels, binary(size.as_bytes())?);
                Some(())
            })?;
            for name in sysfs::names(&folder)? {
                if let Some(device) = name.strip_prefix("dev-") {
                    collect_device(out, &folder.join(&name), [label, ("device", device)])?;
                }
            }
        }
        Ok(())
    }
}

/// Calls `each` with the first word of each line, without its colon, and the two words behind it.
/// The first line names the columns.
fn table(path: &Path, mut each: impl FnMut(&str, [&str; 2]) -> Option<()>) -> anyhow::Result<()> {
    let text = sysfs::read_optional(path)?.unwrap_or_default();
    for line in text.lines().skip(1) {
        let mut words = line.split_ascii_whitespace();
        if let (Some(kind), Some(a), Some(b)) = (words.next(), words.next(), words.next()) {
            let kind = kind.strip_suffix(':').unwrap_or(kind);
            each(kind, [a, b]).with_context(|| unknown_shape(path))?;
        }
    }
    Ok(())
}

fn collect_device(
    out: &mut MetricBatch,
    folder: &Path,
    labels @ [uuid, device]: [(&str, &str); 2],
) -> anyhow::Result<()> {
    let word = |file: &str| sysfs::read_optional(&folder.join(file)).map(Option::unwrap_or_default);
    let number = |file: &str| Ok(sysfs::number_optional(&folder.join(file))?.unwrap_or(0.0));
    let (label, state) = (word("label")?, word("state")?);
    DEVICE_INFO.sample(
        out,
        &[uuid, device, ("label", &label), ("state", &state)],
        1.0,
    );
    let bucket_size = match word("bucket_size")?.as_str() {
        "" => Some(0.0),
        text => binary(text.as_bytes()),
    };
    let bucket_size = bucket_size.with_context(|| unknown_shape(&folder.join("bucket_size")))?;
    BUCKET_SIZE.sample(out, &labels, bucket_size);
    let buckets: anyhow::Result<f64> = number("nbuckets");
    BUCKETS.sample(out, &labels, buckets?);
    let durability: anyhow::Result<f64> = number("durability");
    DURABILITY.sample(out, &labels, durability?);

    let mut operation = None;
    for line in word("io_done")?.lines().map(str::trim) {
        if let "read:" | "write:" = line {
            operation = line.strip_suffix(':').map(str::to_owned);
        } else if let (Some(operation), Some((kind, value))) = (&operation, line.split_once(':')) {
            let labels = [
                uuid,
                device,
                ("operation", operation),
                ("data_type", kind.trim()),
            ];
            let value = decimal(value.trim().as_bytes());
            let value = value.with_context(|| unknown_shape(&folder.join("io_done")))?;
            IO_DONE.sample(out, &labels, value);
        }
    }
    let errors = word("io_errors")?;
    let since_creation = errors
        .lines()
        .skip_while(|line| !line.starts_with("IO errors since filesystem creation"))
        .skip(1)
        .take_while(|line| !line.starts_with("IO errors since "));
    for (kind, value) in since_creation.filter_map(|line| line.split_once(':')) {
        let value = decimal(value.trim().as_bytes());
        let value = value.with_context(|| unknown_shape(&folder.join("io_errors")))?;
        IO_ERRORS.sample(out, &[uuid, device, ("type", kind.trim())], value);
    }
    Ok(())
}

fn unknown_shape(path: &Path) -> String {
    format!("{} is not of the known shape", path.display())
}
