//! The operating system's name and version, from os-release.

use std::os::unix::fs::MetadataExt;
use std::path::PathBuf;

use anyhow::Context;
use kansoku_model::MetricBatch;

use super::desc::Desc;
use super::{Collector, Entry, NoData, NodeSpec};

pub(super) const ENTRY: Entry = Entry {
    name: "os",
    about: "name and version of the operating system",
    build: |spec| Ok(Box::new(Os::new(spec))),
    ..Entry::DEFAULT
};

const INFO: Desc = Desc::gauge(
    "node_os_info",
    "A metric with a constant '1' value labeled by build_id, id, id_like, image_id, image_version, name, pretty_name, variant, variant_id, version, version_codename, version_id.",
);
const VERSION: Desc = Desc::gauge(
    "node_os_version",
    "Metric containing the major.minor part of the OS version.",
);
const SUPPORT_END: Desc = Desc::gauge(
    "node_os_support_end_timestamp_seconds",
    "Metric containing the end-of-life date timestamp of the OS.",
);
/// Labels of [`INFO`] and the file's keys.
const LABELS: [(&str, &str); 12] = [
    ("build_id", "BUILD_ID"),
    ("id", "ID"),
    ("id_like", "ID_LIKE"),
    ("image_id", "IMAGE_ID"),
    ("image_version", "IMAGE_VERSION"),
    ("name", "NAME"),
    ("pretty_name", "PRETTY_NAME"),
    ("variant", "VARIANT"),
    ("variant_id", "VARIANT_ID"),
    ("version", "VERSION"),
    ("version_codename", "VERSION_CODENAME"),
    ("version_id", "VERSION_ID"),
];
/// The file has a few hundred bytes.
const MAX_BYTES: u64 = 64 << 10;

struct Os {
    paths: [PathBuf; 2],
    /// The file as it was read last.
    known: Option<(Version, Info)>,
}

/// What tells a file from another under the same path: its place there, inode, size and time of change.
type Version = (usize, u64, u64, i64, i64);

/// What the file says.
struct Info {
    values: [String; LABELS.len()],
    version: f64,
    support_end: Option<f64>,
}

impl Os {
    fn new(spec: &NodeSpec) -> Self {
        Self {
            paths: ["etc/os-release", "usr/lib/os-release"].map(|path| spec.rootfs.join(path)),
            known: None,
        }
    }

    /// The file that is there; `None` when there is none or it cannot be asked.
    fn version(&self) -> Option<Version> {
        let mut all = self.paths.iter().enumerate();
        all.find_map(|(at, path)| {
            let meta = std::fs::metadata(path).ok()?;
            let (s, ns) = (meta.mtime(), meta.mtime_nsec());
            Some((at, meta.ino(), meta.len(), s, ns))
        })
    }
}

impl Info {
    fn read(text: &str) -> anyhow::Result<Self> {
        let get = |key| value(text, key).unwrap_or_default();
        let support_end = match get("SUPPORT_END") {
            date if date.is_empty() => None,
            date => {
                let date: jiff::civil::Date = date.parse().context("SUPPORT_END is no date")?;
                let midnight = date.to_zoned(jiff::tz::TimeZone::UTC)?;
                Some(midnight.timestamp().as_second() as f64)
            }
        };
        Ok(Self {
            values: LABELS.map(|(_, key)| get(key)),
            version: major_minor(&get("VERSION_ID")),
            support_end,
        })
    }

    fn sample(&self, out: &mut MetricBatch) {
        let mut labels = LABELS;
        for ((_, slot), value) in labels.iter_mut().zip(&self.values) {
            *slot = value;
        }
        INFO.sample(out, &labels, 1.0);
        if self.version > 0.0 {
            let wanted = ["id", "id_like", "name"];
            let of = labels.into_iter().filter(|(name, _)| wanted.contains(name));
            let of: Vec<(&str, &str)> = of.collect();
            VERSION.sample(out, &of, self.version);
        }
        if let Some(support_end) = self.support_end {
            SUPPORT_END.value(out, support_end);
        }
    }
}

impl Collector for Os {
    fn collect(&mut self, out: &mut MetricBatch) -> anyhow::Result<()> {
        let version = self.version();
        if let Some((known, info)) = &self.known
            && version == Some(*known)
        {
            info.sample(out);
            return Ok(());
        }
        let text = self.paths.iter().find_map(|path| read(path).transpose());
        let info = Info::read(&text.ok_or(NoData("there is no os-release"))??)?;
        info.sample(out);
        self.known = version.map(|version| (version, info));
        Ok(())
    }
}

/// The file's text; `None` when it is not there.
fn read(path: &std::path::Path) -> anyhow::Result<Option<String>> {
    use std::io::Read;
    let failed = || format!("failed to read {}", path.display());
    let file = match std::fs::File::open(path) {
        Ok(file) => file,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(error).with_context(failed),
    };
    // With room for all of it, it is read at once.
    let mut text = String::with_capacity(4096);
    file.take(MAX_BYTES)
        .read_to_string(&mut text)
        .with_context(failed)?;
    Ok(Some(text))
}

/// A value as a shell would read it: unquoted, or in single or double quotes with backslashes.
fn value(text: &str, key: &str) -> Option<String> {
    // The last one counts.
    let mut assigned = text
        .lines()
        .filter_map(|line| line.trim().split_once('='))
        .rev();
    let (_, value) = assigned.find(|(name, _)| name.trim() == key)?;
    let value = value.trim();
    if let Some(inside) = value.strip_prefix('\'').and_then(|v| v.strip_suffix('\'')) {
        return Some(inside.to_owned());
    }
    let inside = value.strip_prefix('"').and_then(|v| v.strip_suffix('"'));
    let mut out = String::new();
    let mut chars = inside.unwrap_or(value).chars();
    while let Some(c) = chars.next() {
        out.extend(if c == '\\' { chars.next() } else { Some(c) });
    }
    Some(out)
}

/// `20.04.2` is 20.04; 0 without a number.
fn major_minor(version: &str) -> f64 {
    let digits = |text: &str| {
        text.find(|c: char| !c.is_ascii_digit())
            .unwrap_or(text.len())
    };
    let major = digits(version);
    let minor = match version[major..].strip_prefix('.') {
        Some(rest) if major > 0 => 1 + digits(rest),
        _ => 0,
    };
    version[..major + minor]
        .trim_end_matches('.')
        .parse()
        .unwrap_or(0.0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_are_a_shell_s() {
        let text = "# x\nNAME=\"Debian \\\"GNU\\\"\"\nID=debian\nVARIANT='a b'\nID=last\n";
        assert_eq!(value(text, "NAME").as_deref(), Some("Debian \"GNU\""));
        assert_eq!(value(text, "ID").as_deref(), Some("last"));
        assert_eq!(value(text, "VARIANT").as_deref(), Some("a b"));
        assert_eq!(value(text, "VERSION"), None);
        for (version, number) in [
            ("20.04.2", 20.04),
            ("12", 12.0),
            ("", 0.0),
            ("rolling", 0.0),
            ("7.", 7.0),
        ] {
            assert_eq!(major_minor(version), number, "{version}");
        }
    }
}
