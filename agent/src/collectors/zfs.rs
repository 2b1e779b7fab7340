//! ZFS: its own statistics from /proc/spl/kstat/zfs, and those of pools and datasets.

use std::path::{Path, PathBuf};

use anyhow::Context;
use kansoku_model::{MetricBatch, MetricKind};
use kansoku_parsers::kernel::scan::{decimal, lines, text, words};

use super::desc::Desc;
use super::fields::{Fields, Named};
use super::kernel_file::KernelFile;
use super::{Collector, Entry, NoData, NodeSpec};

pub(super) const ENTRY: Entry = Entry {
    name: "zfs",
    about: "statistics of ZFS, its pools and its datasets",
    build: |spec| Ok(Box::new(Zfs::new(spec))),
    ..Entry::DEFAULT
};

/// Files and the part of the families' names that stands for them.
const FILES: [(&str, &str); 11] = [
    ("abdstats", "zfs_abd"),
    ("arcstats", "zfs_arc"),
    ("dbufstats", "zfs_dbuf"),
    ("dmu_tx", "zfs_dmu_tx"),
    ("dnodestats", "zfs_dnode"),
    ("fm", "zfs_fm"),
    ("vdev_cache_stats", "zfs_vdev_cache"),
    ("vdev_mirror_stats", "zfs_vdev_mirror"),
    ("xuio_stats", "zfs_xuio"),
    ("zfetchstats", "zfs_zfetch"),
    ("zil", "zfs_zil"),
];
const STATE: Desc = Desc::gauge("node_zfs_zpool_state", "kstat.zfs.misc.state");
const STATES: [&str; 7] = [
    "online",
    "degraded",
    "faulted",
    "offline",
    "removed",
    "unavail",
    "suspended",
];
/// Types of a statistic that are numbers: signed and unsigned.
const NUMBERS: [&[u8]; 2] = [b"3", b"4"];
/// The first column of a pool's I/O statistics, whose names stand above the numbers.
const IO_HEADING: &[u8] = b"nread";

struct Zfs {
    folder: PathBuf,
    files: [KernelFile; FILES.len()],
    fields: Fields,
    buf: Vec<u8>,
}

impl Zfs {
    fn new(spec: &NodeSpec) -> Self {
        let folder = spec.proc("spl/kstat/zfs");
        Self {
            files: FILES.map(|(name, _)| KernelFile::new(folder.join(name))),
            folder,
            fields: Fields::default(),
            buf: Vec::new(),
        }
    }

    fn pool(&mut self, out: &mut MetricBatch, folder: &Path, pool: &str) -> anyhow::Result<()> {
        let zpool = ("zpool", pool);
        let read =
            |name: &str, buf: &mut Vec<u8>| KernelFile::new(folder.join(name)).read_if_there(buf);
        let fields = &mut self.fields;
        if read("io", &mut self.buf) {
            let mut all = lines(&self.buf).skip_while(|line| !line.starts_with(IO_HEADING));
            let names = all.next().unwrap_or_default();
            let values = all.next().unwrap_or_default();
            for (name, value) in words(names).zip(words(values)) {
                let value = decimal(value).context("a pool's io is no number")?;
                let name = text(name).context("a pool's io has no name")?;
                if let Some(named) =
                    fields.next("io", name, |_, name| Some(named("zfs_zpool", "io", name)))
                {
                    named.sample(out, &[zpool], value);
                }
            }
        }
        for entry in std::fs::read_dir(folder)?.flatten() {
            let name = entry.file_name();
            let name = name.to_string_lossy();
            if name.starts_with("objset-") && read(&name, &mut self.buf) {
                dataset(out, fields, pool, &self.buf)?;
            }
        }
        if read("state", &mut self.buf) {
            let state = self.buf.trim_ascii().to_ascii_lowercase();
            for name in STATES {
                let is_it = f64::from(u8::from(name.as_bytes() == state));
                STATE.sample(out, &[zpool, ("state", name)], is_it);
            }
        }
        Ok(())
    }
}

impl Collector for Zfs {
    fn collect(&mut self, out: &mut MetricBatch) -> anyhow::Result<()> {
        let Ok(entries) = std::fs::read_dir(&self.folder) else {
            return Err(NoData("ZFS is not loaded").into());
        };
        self.fields.rewind();
        for ((file_name, part), file) in FILES.iter().zip(&mut self.files) {
            if !file.read_if_there(&mut self.buf) {
                continue;
            }
            let fields = &mut self.fields;
            statistics(&self.buf, |name, value| {
                let make = |_: &str, name: &str| Some(named(part, file_name, name));
                if let Some(named) = fields.next(file_name, name, make) {
                    named.sample(out, &[], value);
                }
            })
            .with_context(|| format!("{} is malformed", file.path().display()))?;
        }
        for entry in entries.flatten().filter(|e| e.path().is_dir()) {
            let pool = entry.file_name();
            self.pool(out, &entry.path(), &pool.to_string_lossy())?;
        }
        Ok(())
    }
}

/// The name is the statistic's part behind the last point, the help the whole of it.
fn named(part: &str, file: &str, statistic: &str) -> Named {
    let last = statistic.rsplit('.').next().unwrap_or(statistic);
    Named {
        name: format!("node_{part}_{}", last.replace('-', "_")),
        kind: MetricKind::Unknown,
        help: format!("kstat.zfs.misc.{file}.{statistic}"),
    }
}

/// Calls `each` with name and value of the numbers below the line `name type data`.
fn statistics<'a>(bytes: &'a [u8], mut each: impl FnMut(&'a str, f64)) -> anyhow::Result<()> {
    let mut has_heading = false;
    for line in lines(bytes) {
        let mut words = words(line);
        let (name, kind, value) = (words.next(), words.next(), words.next());
        if !has_heading {
            has_heading = name == Some(b"name") && kind == Some(b"type") && value == Some(b"data");
            continue;
        }
        if let (Some(name), Some(kind), Some(value)) = (name.and_then(text), kind, value)
            && NUMBERS.contains(&kind)
        {
            each(
                name,
                decimal(value).with_context(|| format!("{name} is no number"))?,
            );
        }
    }
    anyhow::ensure!(has_heading, "there is no line 'name type data'");
    Ok(())
}

fn dataset(
    out: &mut MetricBatch,
    fields: &mut Fields,
    pool: &str,
    bytes: &[u8],
) -> anyhow::Result<()> {
    // The name may hold blanks; it is all that follows the type.
    let line = lines(bytes).find(|line| words(line).next() == Some(b"dataset_name"));
    let name = line.and_then(text).and_then(|line| {
        let rest = line.strip_prefix("dataset_name")?.trim_start();
        Some(rest.split_once(char::is_whitespace)?.1.trim_start())
    });
    let name = name.unwrap_or_default();
    let labels = [("zpool", pool), ("dataset", name)];
    statistics(bytes, |statistic, value| {
        let make = |_: &str, name: &str| Some(named("zfs_zpool_dataset", "objset", name));
        if let Some(named) = fields.next("objset", statistic, make) {
            named.sample(out, &labels, value);
        }
    })
}
