//! Metrics that other programs leave in files: `*.prom` in the given folders, in the text format.
//!
//! A file that cannot be read, or whose samples have times, is left out whole and counted as an
//! error; the others are given. What it said last is never given for it: it would look fresh.

use std::collections::{BTreeMap, BTreeSet};
use std::io::Read;
use std::path::{Path, PathBuf};
use std::time::UNIX_EPOCH;

use anyhow::{Context, bail};
use kansoku_model::metric::Point;
use kansoku_model::{MetricBatch, MetricKind};
use kansoku_parsers::wire::prometheus_text;

use super::desc::Desc;
use super::flags::Flag;
use super::{Collector, Entry, NodeSpec, Tier};
use crate::log;

pub(super) const ENTRY: Entry = Entry {
    name: "textfile",
    about: "metrics from *.prom files that other programs write",
    tier: Tier::Background,
    flags: &[DIRECTORY],
    build: |spec| Ok(Box::new(Textfile::new(spec))),
    ..Entry::DEFAULT
};

/// Folders with `*.prom` files.
pub(crate) const DIRECTORY: Flag = Flag::list(
    "collector.textfile.directory",
    "Directory to read text files with metrics from, supports glob matching. (repeatable)",
);
const MTIME: Desc = Desc::gauge(
    "node_textfile_mtime_seconds",
    "Unixtime mtime of textfiles successfully read.",
);
const SCRAPE_ERROR: Desc = Desc::gauge(
    "node_textfile_scrape_error",
    "1 if there was an error opening or reading a file, 0 otherwise",
);
/// A file may be so large: more is no metrics file, and would be held in memory several times.
const MAX_BYTES: u64 = 16 << 20;
/// Files that are read; more are an error.
const MAX_FILES: usize = 1000;

struct Textfile {
    directories: Vec<String>,
    /// What went wrong at the last reading: only changes are told.
    told: BTreeSet<String>,
}

/// A file that was read.
struct File {
    path: String,
    batch: MetricBatch,
    mtime_s: f64,
}

impl Textfile {
    fn new(spec: &NodeSpec) -> Self {
        Self {
            directories: spec.flags.list(&DIRECTORY).to_vec(),
            told: BTreeSet::new(),
        }
    }
}

impl Collector for Textfile {
    fn collect(&mut self, out: &mut MetricBatch) -> anyhow::Result<()> {
        let mut errors = BTreeSet::new();
        let mut files = Vec::new();
        for path in paths(&self.directories, &mut errors) {
            match read(&path) {
                Ok(file) => files.push(file),
                Err(error) => {
                    errors.insert(format!("{}: {error:#}", path.display()));
                }
            }
        }
        append(out, &files, &mut errors);
        for file in &files {
            MTIME.sample(out, &[("file", &file.path)], file.mtime_s);
        }
        SCRAPE_ERROR.value(out, f64::from(u8::from(!errors.is_empty())));
        for error in errors.difference(&self.told) {
            log::error("collector:textfile", error);
        }
        self.told = errors;
        Ok(())
    }

    fn is_light(&self) -> bool {
        self.directories.iter().all(String::is_empty)
    }
}

/// The files of all folders, in order of name within each.
fn paths(directories: &[String], errors: &mut BTreeSet<String>) -> Vec<PathBuf> {
    let mut out = Vec::new();
    for pattern in directories.iter().filter(|d| !d.is_empty()) {
        let found = glob::glob(pattern).map(|paths| paths.flatten().collect::<Vec<_>>());
        let folders = match found {
            Ok(folders) if !folders.is_empty() => folders,
            // No pattern, or one without a match: then it is the name of a folder.
            _ => vec![PathBuf::from(pattern)],
        };
        for folder in folders {
            // Fluent Bit takes a single file, too.
            if folder.is_file() {
                out.push(folder);
                continue;
            }
            match std::fs::read_dir(&folder) {
                Ok(entries) => {
                    let mut names: Vec<_> = entries.flatten().map(|e| e.path()).collect();
                    names.retain(|path| path.extension().is_some_and(|e| e == "prom"));
                    names.sort_unstable();
                    out.append(&mut names);
                }
                Err(error) => {
                    errors.insert(format!("failed to list {}: {error}", folder.display()));
                }
            }
        }
    }
    if out.len() > MAX_FILES {
        errors.insert(format!(
            "{} files, but {MAX_FILES} at the most are read",
            out.len()
        ));
        out.truncate(MAX_FILES);
    }
    out
}

fn read(path: &Path) -> anyhow::Result<File> {
    let file = std::fs::File::open(path).context("failed to open the file")?;
    let mut text = String::new();
    let limit = MAX_BYTES + 1;
    let n_bytes = (&file)
        .take(limit)
        .read_to_string(&mut text)
        .context("failed to read the file")?;
    if n_bytes as u64 == limit {
        bail!("the file is larger than {MAX_BYTES} bytes");
    }
    if !text.is_empty() && !text.ends_with('\n') {
        bail!("the last line has no end: the file was not written whole");
    }
    let page = prometheus_text::parse(&text, false, "".into(), std::sync::Arc::default(), 0);
    if let Some(first) = page.refused.first {
        bail!("{first}");
    }
    if page.batch.points().iter().any(|p| p.time_ms.is_some()) {
        bail!("a sample has a time of its own, which is not taken: the whole file is left out");
    }
    let modified = file
        .metadata()
        .and_then(|m| m.modified())
        .context("the file has no time")?;
    let since = modified.duration_since(UNIX_EPOCH).unwrap_or_default();
    Ok(File {
        path: path.display().to_string(),
        batch: page.batch,
        mtime_s: since.as_secs() as f64,
    })
}

/// What all files together say of a family.
#[derive(Default)]
struct Family<'a> {
    /// The first help; another one is an error, and its samples are left out.
    help: Option<&'a str>,
    /// Files that have it, for a help where there is none.
    paths: Vec<&'a str>,
}

fn append(out: &mut MetricBatch, files: &[File], errors: &mut BTreeSet<String>) {
    let mut known: BTreeMap<&str, Family<'_>> = BTreeMap::new();
    let mut left_out = BTreeSet::new();
    for file in files {
        for family in file.batch.families() {
            let name = file.batch.text(family.name);
            let help = Some(file.batch.text(family.help)).filter(|h| !h.is_empty());
            let entry = known.entry(name).or_default();
            match (entry.help, help) {
                (Some(first), Some(other)) if first != other => {
                    errors.insert(format!(
                        "{}: {name} has the help '{other}', but '{first}' in {}",
                        file.path, entry.paths[0]
                    ));
                    left_out.insert((file.path.as_str(), name));
                    continue;
                }
                (None, Some(_)) => entry.help = help,
                _ => {}
            }
            entry.paths.push(&file.path);
        }
    }
    for file in files {
        for (index, family) in file.batch.families().iter().enumerate() {
            let name = file.batch.text(family.name);
            let points = file
                .batch
                .points()
                .iter()
                .filter(|p| p.family.0 as usize == index);
            let points: Vec<&Point> = points.collect();
            if points.is_empty() || left_out.contains(&(file.path.as_str(), name)) {
                continue;
            }
            let written;
            let help = match known[name].help {
                Some(help) => help,
                None => {
                    written = format!("Metric read from {}", known[name].paths.join(", "));
                    &written
                }
            };
            samples(out, &file.batch, name, family.kind, help, &points);
        }
    }
}

/// Labels that only some samples of a family have are empty in the others.
fn samples(
    out: &mut MetricBatch,
    from: &MetricBatch,
    name: &str,
    kind: MetricKind,
    help: &str,
    points: &[&Point],
) {
    // Labels of buckets and quantiles belong to their own series only.
    let is_own = |label: &str| {
        matches!(kind, MetricKind::Histogram | MetricKind::Summary)
            && matches!(label, "le" | "quantile")
    };
    let names: BTreeSet<&str> = points
        .iter()
        .flat_map(|point| from.labels_of(point))
        .map(|(label, _)| label)
        .filter(|label| !is_own(label))
        .collect();
    let id = out.family(name, kind, help);
    for point in points {
        let mut labels: Vec<(&str, &str)> = from.labels_of(point).collect();
        for label in &names {
            if !labels.iter().any(|(name, _)| name == label) {
                labels.push((label, ""));
            }
        }
        let labels = out.label_set(labels);
        out.push(Point {
            family: id,
            labels,
            ..**point
        });
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What the collector gives for files with these names and contents, without the times.
    fn given(files: &[(&str, &str)]) -> String {
        let folder = tempfile::tempdir().expect("a folder");
        for (name, content) in files {
            std::fs::write(folder.path().join(name), content).expect("the file is written");
        }
        let mut collector = Textfile {
            directories: vec![folder.path().display().to_string()],
            told: BTreeSet::new(),
        };
        let mut batch = MetricBatch::default();
        collector.collect(&mut batch).expect("errors are counted");
        let mut out = Vec::new();
        crate::exposition::write(&mut out, &[&batch]);
        let text = String::from_utf8(out).expect("text");
        let text = text.replace(&folder.path().display().to_string(), "DIR");
        let is_wanted =
            |line: &&str| !line.contains("node_textfile_mtime") && !line.starts_with("# TYPE");
        let lines: Vec<&str> = text.lines().filter(is_wanted).collect();
        lines.join("\n").replace("# HELP node_textfile_scrape_error 1 if there was an error opening or reading a file, 0 otherwise\n", "")
    }

    #[test]
    fn files_are_merged_and_bad_ones_are_left_out() {
        assert_eq!(given(&[("a.txt", "x 1\n")]), "node_textfile_scrape_error 0");
        let cases: [(&[(&str, &str)], &str); 5] = [
            (
                &[("a.prom", "x{a=\"1\"} 1\n"), ("b.prom", "x{b=\"2\"} 2\n")],
                "node_textfile_scrape_error 0\n# HELP x Metric read from DIR/a.prom, DIR/b.prom\nx{a=\"1\"} 1\nx{b=\"2\"} 2",
            ),
            (
                &[("a.prom", "x{a=\"1\"} 1\nx{b=\"2\"} 2\n")],
                "node_textfile_scrape_error 0\n# HELP x Metric read from DIR/a.prom\nx{a=\"1\",b=\"\"} 1\nx{a=\"\",b=\"2\"} 2",
            ),
            (
                &[
                    ("a.prom", "# HELP x One.\nx{f=\"a\"} 1\n"),
                    ("b.prom", "# HELP x Two.\nx{f=\"b\"} 2\ny 3\n"),
                ],
                "node_textfile_scrape_error 1\n# HELP x One.\nx{f=\"a\"} 1\n# HELP y Metric read from DIR/b.prom\ny 3",
            ),
            (
                &[("a.prom", "x 1 1441205977284\ny 2\n")],
                "node_textfile_scrape_error 1",
            ),
            (
                &[("a.prom", "x 1\ny"), ("b.prom", "z 1\nz{\n")],
                "node_textfile_scrape_error 1",
            ),
        ];
        for (files, expected) in cases {
            assert_eq!(given(files), expected, "{files:?}");
        }
    }
}
