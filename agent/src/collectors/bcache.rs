//! Statistics of bcache sets: the set itself, what it caches and its cache devices.

use std::path::Path;

use anyhow::Context;
use kansoku_model::MetricBatch;
use kansoku_parsers::kernel::human_bytes;
use kansoku_parsers::kernel::scan::{decimal, lines, words};

use super::desc::Desc;
use super::flags::Flag;
use super::{Collector, Entry, NodeSpec, sysfs};

const DEVICES: &str = "fs/bcache";

pub(super) const ENTRY: Entry = Entry {
    name: "bcache",
    about: "cache sets of bcache",
    tier: super::Tier::Background,
    devices: Some(DEVICES),
    flags: &[PRIORITY],
    build: |spec| Ok(Box::new(Bcache::new(spec))),
    ..Entry::DEFAULT
};

const PRIORITY: Flag = Flag::switch(
    "collector.bcache.priorityStats",
    false,
    "Expose expensive priority stats.",
);

/// Files of a set, their families and the factor to the unit.
const SET: [(&str, f64, Desc); 10] = [
    (
        "average_key_size",
        1.0,
        Desc::gauge(
            "node_bcache_average_key_size_sectors",
            "Average data per key in the btree (sectors).",
        ),
    ),
    (
        "btree_cache_size",
        1.0,
        Desc::gauge(
            "node_bcache_btree_cache_size_bytes",
            "Amount of memory currently used by the btree cache.",
        ),
    ),
    (
        "cache_available_percent",
        1.0,
        Desc::gauge(
            "node_bcache_cache_available_percent",
            "Percentage of cache device without dirty data, usable for writeback (may contain clean cached data).",
        ),
    ),
    (
        "congested",
        1.0,
        Desc::gauge("node_bcache_congested", "Congestion."),
    ),
    (
        "root_usage_percent",
        1.0,
        Desc::gauge(
            "node_bcache_root_usage_percent",
            "Percentage of the root btree node in use (tree depth increases if too high).",
        ),
    ),
    (
        "tree_depth",
        1.0,
        Desc::gauge("node_bcache_tree_depth", "Depth of the btree."),
    ),
    (
        "internal/active_journal_entries",
        1.0,
        Desc::gauge(
            "node_bcache_active_journal_entries",
            "Number of journal entries that are newer than the index.",
        ),
    ),
    (
        "internal/btree_nodes",
        1.0,
        Desc::gauge("node_bcache_btree_nodes", "Total nodes in the btree."),
    ),
    // The file is named for microseconds; node_exporter takes it as nanoseconds, and so do we.
    (
        "internal/btree_read_average_duration_us",
        1e-9,
        Desc::gauge(
            "node_bcache_btree_read_average_duration_seconds",
            "Average btree read duration.",
        ),
    ),
    (
        "internal/cache_read_races",
        1.0,
        Desc::counter(
            "node_bcache_cache_read_races_total",
            "Counts instances where while data was being read from the cache, the bucket was reused and invalidated - i.e. where the pointer was stale after the read completed.",
        ),
    ),
];
const DIRTY_DATA: Desc = Desc::gauge(
    "node_bcache_dirty_data_bytes",
    "Amount of dirty data for this backing device in the cache.",
);
/// Lines of writeback_rate_debug.
const WRITEBACK: [(&[u8], Desc); 5] = [
    (
        b"target:",
        Desc::gauge(
            "node_bcache_dirty_target_bytes",
            "Current dirty data target threshold for this backing device in bytes.",
        ),
    ),
    (
        b"rate:",
        Desc::gauge(
            "node_bcache_writeback_rate",
            "Current writeback rate for this backing device in bytes.",
        ),
    ),
    (
        b"proportional:",
        Desc::gauge(
            "node_bcache_writeback_rate_proportional_term",
            "Current result of proportional controller, part of writeback rate",
        ),
    ),
    (
        b"integral:",
        Desc::gauge(
            "node_bcache_writeback_rate_integral_term",
            "Current result of integral controller, part of writeback rate",
        ),
    ),
    (
        b"change:",
        Desc::gauge(
            "node_bcache_writeback_change",
            "Last writeback rate change step for this backing device.",
        ),
    ),
];
/// Files below stats_total of a backing device.
const TOTALS: [(&str, Desc); 6] = [
    (
        "bypassed",
        Desc::counter(
            "node_bcache_bypassed_bytes_total",
            "Amount of IO (both reads and writes) that has bypassed the cache.",
        ),
    ),
    (
        "cache_hits",
        Desc::counter(
            "node_bcache_cache_hits_total",
            "Hits counted per individual IO as bcache sees them.",
        ),
    ),
    (
        "cache_misses",
        Desc::counter(
            "node_bcache_cache_misses_total",
            "Misses counted per individual IO as bcache sees them.",
        ),
    ),
    (
        "cache_bypass_hits",
        Desc::counter(
            "node_bcache_cache_bypass_hits_total",
            "Hits for IO intended to skip the cache.",
        ),
    ),
    (
        "cache_bypass_misses",
        Desc::counter(
            "node_bcache_cache_bypass_misses_total",
            "Misses for IO intended to skip the cache.",
        ),
    ),
    (
        "cache_miss_collisions",
        Desc::counter(
            "node_bcache_cache_miss_collisions_total",
            "Instances where data insertion from cache miss raced with write (data already present).",
        ),
    ),
];
/// Kernels since 5.14 no longer count it.
const READAHEADS: Desc = Desc::counter(
    "node_bcache_cache_readaheads_total",
    "Count of times readahead occurred.",
);
/// Files of a cache device.
const CACHE: [(&str, Desc); 3] = [
    (
        "io_errors",
        Desc::gauge(
            "node_bcache_io_errors",
            "Number of errors that have occurred, decayed by io_error_halflife.",
        ),
    ),
    (
        "metadata_written",
        Desc::counter(
            "node_bcache_metadata_written_bytes_total",
            "Sum of all non data writes (btree writes and all other metadata).",
        ),
    ),
    (
        "written",
        Desc::counter(
            "node_bcache_written_bytes_total",
            "Sum of all data that has been written to the cache.",
        ),
    ),
];
/// Lines of priority_stats.
const PRIORITY_LINES: [(&[u8], Desc); 2] = [
    (
        b"Unused:",
        Desc::gauge(
            "node_bcache_priority_stats_unused_percent",
            "The percentage of the cache that doesn't contain any data.",
        ),
    ),
    (
        b"Metadata:",
        Desc::gauge(
            "node_bcache_priority_stats_metadata_percent",
            "Bcache's metadata overhead.",
        ),
    ),
];

struct Bcache {
    folder: std::path::PathBuf,
    has_priority: bool,
}

impl Bcache {
    fn new(spec: &NodeSpec) -> Self {
        Self {
            folder: spec.sys(DEVICES),
            has_priority: spec.flags.is_on(&PRIORITY),
        }
    }
}

impl Collector for Bcache {
    fn collect(&mut self, out: &mut MetricBatch) -> anyhow::Result<()> {
        // Without bcache the collector succeeds and says nothing, as upstream.
        let sets = sysfs::names(&self.folder).unwrap_or_default();
        for uuid in sets.iter().filter(|name| name.contains('-')) {
            let set = self.folder.join(uuid);
            for (file, factor, desc) in &SET {
                desc.sample(out, &[("uuid", uuid)], value(&set.join(file))? * factor);
            }
            for device in sysfs::numbered(&set, "bdev") {
                backing_device(
                    out,
                    &set.join(&device),
                    &[("uuid", uuid), ("backing_device", &device)],
                )?;
            }
            for device in sysfs::numbered(&set, "cache") {
                let folder = set.join(&device);
                let labels = [("uuid", uuid.as_str()), ("cache_device", &device)];
                for (file, desc) in &CACHE {
                    desc.sample(out, &labels, value(&folder.join(file))?);
                }
                if self.has_priority {
                    priority(out, &folder.join("priority_stats"), &labels)?;
                }
            }
        }
        Ok(())
    }
}

fn backing_device(
    out: &mut MetricBatch,
    folder: &Path,
    labels: &[(&str, &str)],
) -> anyhow::Result<()> {
    DIRTY_DATA.sample(out, labels, value(&folder.join("dirty_data"))?);
    let text = sysfs::read(&folder.join("writeback_rate_debug"))?;
    for (key, desc) in &WRITEBACK {
        let line = lines(text.as_bytes()).find(|line| line.starts_with(key));
        let word = line.and_then(|line| words(line).last()).unwrap_or(b"0");
        let word = word.strip_suffix(b"/sec").unwrap_or(word);
        let number = human_bytes::bcache(word);
        desc.sample(
            out,
            labels,
            number.with_context(|| not_a_number(folder, "writeback_rate_debug"))?,
        );
    }
    let totals = folder.join("stats_total");
    for (file, desc) in &TOTALS {
        desc.sample(out, labels, value(&totals.join(file))?);
    }
    let readaheads = value(&totals.join("cache_readaheads"))?;
    if readaheads != 0.0 {
        READAHEADS.sample(out, labels, readaheads);
    }
    Ok(())
}

fn priority(out: &mut MetricBatch, path: &Path, labels: &[(&str, &str)]) -> anyhow::Result<()> {
    let text = sysfs::read(path)?;
    for (key, desc) in &PRIORITY_LINES {
        let line = lines(text.as_bytes()).find(|line| line.starts_with(key));
        let word = line.and_then(|line| words(line).last()).unwrap_or(b"0");
        let number = decimal(word.strip_suffix(b"%").unwrap_or(word));
        let number = number.with_context(|| not_a_number(path, "priority_stats"))?;
        desc.sample(out, labels, number);
    }
    Ok(())
}

/// A number as bcache writes it; 0 when the kernel has no such file.
fn value(path: &Path) -> anyhow::Result<f64> {
    let Some(text) = sysfs::read_optional(path)? else {
        return Ok(0.0);
    };
    human_bytes::bcache(text.as_bytes()).with_context(|| not_a_number(path, &text))
}

fn not_a_number(path: &Path, what: &str) -> String {
    format!("{}: '{what}' does not hold the number", path.display())
}
