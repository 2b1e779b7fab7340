//! `disk`: bytes read from and written to block devices since the record before.
//!
//! As in Fluent Bit all lines of /proc/diskstats are added up unless `dev_name` picks one, so a
//! partition's bytes count with its disk's.

use std::path::PathBuf;

use anyhow::Context;
use kansoku_model::{OptionKind, OptionSpec, Plugin, joined};
use kansoku_parsers::kernel::diskstats::disks;

use super::{Field, INTERVAL_OPTIONS, Probe, Record, input};
use crate::plugin::InputPlugin;

/// The unit of /proc/diskstats, whatever the device's own sectors.
const SECTOR_BYTES: u64 = 512;
/// Columns after the name.
const SECTORS_READ: usize = 2;
const SECTORS_WRITTEN: usize = 6;

const OWN: &[OptionSpec] = &[OptionSpec::new(
    "dev_name",
    OptionKind::Text,
    "",
    "the only device to tell of, such as sda",
)];
const OPTIONS: &[OptionSpec] =
    &joined::<{ OWN.len() + INTERVAL_OPTIONS.len() }>(OWN, INTERVAL_OPTIONS);

/// The plugin.
pub const PLUGIN: InputPlugin = Plugin {
    name: "disk",
    about: "Tells how many bytes were read and written.",
    options: OPTIONS,
    example: "[INPUT]\n    Name  disk\n    Tag   disk\n",
    build: |settings, environment| {
        settings.check(OPTIONS)?;
        let probe = Disk {
            path: "/proc/diskstats".into(),
            device: settings.get("dev_name").map(|s| s.value.clone()),
            before: None,
        };
        input(settings, environment, probe)
    },
};

struct Disk {
    path: PathBuf,
    device: Option<String>,
    before: Option<[u64; 2]>,
}

impl Probe for Disk {
    fn ask(&mut self, record: &mut Record) -> anyhow::Result<()> {
        let bytes = std::fs::read(&self.path)
            .with_context(|| format!("failed to read {}", self.path.display()))?;
        let (mut now, mut is_there) = ([0, 0], self.device.is_none());
        for disk in disks(&bytes) {
            let disk = disk?;
            if self.device.as_deref().is_some_and(|name| name != disk.name) {
                continue;
            }
            is_there = true;
            for (sum, column) in now.iter_mut().zip([SECTORS_READ, SECTORS_WRITTEN]) {
                let bytes = disk.values[column].saturating_mul(SECTOR_BYTES);
                *sum = u64::saturating_add(*sum, bytes);
            }
        }
        if !is_there {
            let device = self.device.as_deref().unwrap_or_default();
            anyhow::bail!("{} has no device {device}", self.path.display());
        }
        if let Some(before) = self.before.replace(now) {
            let grown = |k: usize| Field::Int(now[k].saturating_sub(before[k]));
            record.push(("read_size".into(), grown(0)));
            record.push(("write_size".into(), grown(1)));
        }
        Ok(())
    }
}

/// The probe over files in `proc`.
#[cfg(feature = "fuzzing")]
pub(super) fn probe(proc: &std::path::Path) -> impl Probe {
    Disk {
        path: proc.join("diskstats"),
        device: None,
        before: None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tells_what_came_since() {
        let file = tempfile::NamedTempFile::new().unwrap();
        let write = |read: u64, written: u64| {
            let text = format!(
                "   8 0 sda 1 0 {read} 0 1 0 {written} 0 0 0 0\n   8 1 sda1 1 0 4 0 1 0 2 0 0 0 0\n"
            );
            std::fs::write(file.path(), text).unwrap();
        };
        write(10, 20);
        let mut probe = Disk {
            path: file.path().to_owned(),
            device: Some("sda".into()),
            before: None,
        };
        assert_eq!(super::super::told(&mut probe), "");
        write(12, 30);
        assert_eq!(
            super::super::told(&mut probe),
            r#""read_size":1024,"write_size":5120"#
        );
        probe.device = Some("sdz".into());
        let error = probe.ask(&mut Record::new()).expect_err("no such device");
        assert!(error.to_string().ends_with("has no device sdz"));
    }
}
