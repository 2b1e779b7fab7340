//! Services that runit supervises, of the status files that it keeps.

use std::io::Read;
use std::path::{Path, PathBuf};

use anyhow::Context;
use kansoku_model::MetricBatch;

use super::desc::Desc;
use super::flags::Flag;
use super::{Collector, Entry, NodeSpec, Tier, sysfs};

pub(super) const ENTRY: Entry = Entry {
    name: "runit",
    about: "services of runit",
    is_default: false,
    tier: Tier::Background,
    flags: &[SERVICE_DIR],
    build: |spec| Ok(Box::new(Runit::new(spec))),
    ..Entry::DEFAULT
};

const SERVICE_DIR: Flag = Flag::text(
    "collector.runit.servicedir",
    "/etc/service",
    "Path to runit service directory.",
);
const STATE: Desc = Desc::gauge("node_service_state", "State of runit service.");
const DESIRED: Desc = Desc::gauge(
    "node_service_desired_state",
    "Desired state of runit service.",
);
const NORMAL: Desc = Desc::gauge(
    "node_service_normal_state",
    "Normal state of runit service.",
);
const CHANGED: Desc = Desc::gauge(
    "node_service_state_last_change_timestamp_seconds",
    "Unix timestamp of the last runit service state change.",
);
const STATUS_BYTES: usize = 20;
const WANT_AT: usize = 17;
const STATE_AT: usize = 19;
/// TAI64's label of 1970, with the ten leap seconds of that time.
const TAI_OFFSET: u64 = (1 << 62) + 10;

struct Runit {
    folder: PathBuf,
}

impl Runit {
    fn new(spec: &NodeSpec) -> Self {
        Self {
            folder: spec.flags.text(&SERVICE_DIR).into(),
        }
    }
}

impl Collector for Runit {
    fn collect(&mut self, out: &mut MetricBatch) -> anyhow::Result<()> {
        for service in sysfs::names(&self.folder)? {
            let supervise = self.folder.join(&service).join("supervise");
            // What has no status is not supervised.
            let Ok(status) = status(&supervise.join("status")) else {
                continue;
            };
            let labels = [("service", service.as_str()), ("supervisor", "runit")];
            let changed = u64::from_be_bytes(*status.first_chunk().unwrap_or(&[0; 8]));
            STATE.sample(out, &labels, f64::from(status[STATE_AT]));
            DESIRED.sample(out, &labels, f64::from(status[WANT_AT] == b'u'));
            CHANGED.sample(out, &labels, changed.wrapping_sub(TAI_OFFSET) as f64);
            let is_normally_up = !supervise.join("down").exists();
            NORMAL.sample(out, &labels, f64::from(is_normally_up));
        }
        Ok(())
    }
}

fn status(path: &Path) -> anyhow::Result<[u8; STATUS_BYTES]> {
    let mut status = [0; STATUS_BYTES];
    let mut file = std::fs::File::open(path)?;
    let read = file.read_exact(&mut status);
    read.with_context(|| format!("{} is cut", path.display()))?;
    Ok(status)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::collectors::flags::Flags;

    #[test]
    fn a_status_file_is_read() {
        let dir = tempfile::tempdir().expect("a temporary folder");
        let supervise = dir.path().join("web/supervise");
        std::fs::create_dir_all(&supervise).expect("made");
        std::fs::create_dir(dir.path().join("unsupervised")).expect("made");
        let mut status = [0; STATUS_BYTES];
        status[..8].copy_from_slice(&(TAI_OFFSET + 1_700_000_000).to_be_bytes());
        status[WANT_AT] = b'u';
        status[STATE_AT] = 1;
        std::fs::write(supervise.join("status"), status).expect("written");
        let mut flags = Flags::default();
        let folder = dir.path().to_string_lossy();
        flags.set(&SERVICE_DIR, folder).expect("given once");
        let spec = NodeSpec {
            flags,
            ..NodeSpec::default()
        };
        let mut out = MetricBatch::default();
        Runit::new(&spec).collect(&mut out).expect("listed");
        let values: Vec<f64> = out.points().iter().map(|point| point.value).collect();
        assert_eq!(values, [1.0, 1.0, 1_700_000_000.0, 1.0]);
    }
}
