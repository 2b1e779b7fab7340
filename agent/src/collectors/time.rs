//! The system's clock: time, zone and clock sources. How far off it is, is timex's business.

use std::path::{Path, PathBuf};
use std::time::{SystemTime, UNIX_EPOCH};

use anyhow::Context;
use kansoku_model::{MetricBatch, MetricKind};

use super::kernel_file::{KernelFile, read_word};
use super::{Collector, Entry, NodeSpec};

pub(super) const ENTRY: Entry = Entry {
    name: "time",
    about: "the system's time, its zone and its clock sources",
    build: |spec| Ok(Box::new(Time::new(spec))),
    ..Entry::DEFAULT
};

/// Clock source devices that are looked for; all known systems have one.
const MAX_DEVICES: usize = 16;

struct Time {
    sources: Vec<Source>,
    buf: Vec<u8>,
}

struct Source {
    /// Sources that can be chosen do not change while the kernel runs.
    available: String,
    current: KernelFile,
}

impl Time {
    fn new(spec: &NodeSpec) -> Self {
        let folder: PathBuf = spec.sysfs.join("devices/system/clocksource");
        Self {
            sources: (0..MAX_DEVICES)
                .map_while(|n| source(&folder.join(format!("clocksource{n}"))))
                .collect(),
            buf: Vec::new(),
        }
    }
}

fn source(folder: &Path) -> Option<Source> {
    Some(Source {
        available: read_word(&folder.join("available_clocksource"))?,
        current: KernelFile::whole(folder.join("current_clocksource")),
    })
}

impl Collector for Time {
    fn collect(&mut self, out: &mut MetricBatch) -> anyhow::Result<()> {
        let now = SystemTime::now()
            .duration_since(UNIX_EPOCH)
            .context("the clock is before 1970")?;
        let family = out.family(
            "node_time_seconds",
            MetricKind::Gauge,
            "System time in seconds since epoch (1970).",
        );
        out.sample(family, &[], now.as_secs_f64());
        let (zone, offset_s) = zone();
        let family = out.family(
            "node_time_zone_offset_seconds",
            MetricKind::Gauge,
            "System time zone offset in seconds.",
        );
        out.sample(family, &[("time_zone", &zone)], f64::from(offset_s));
        let available = out.family(
            "node_time_clocksource_available_info",
            MetricKind::Gauge,
            "Available clocksources read from '/sys/devices/system/clocksource'.",
        );
        let current = out.family(
            "node_time_clocksource_current_info",
            MetricKind::Gauge,
            "Current clocksource read from '/sys/devices/system/clocksource'.",
        );
        for (device, source) in self.sources.iter_mut().enumerate() {
            let device = device.to_string();
            for name in source.available.split_whitespace() {
                out.sample(
                    available,
                    &[("clocksource", name), ("device", &device)],
                    1.0,
                );
            }
            source.current.read(&mut self.buf)?;
            let name = String::from_utf8_lossy(self.buf.trim_ascii());
            out.sample(current, &[("clocksource", &name), ("device", &device)], 1.0);
        }
        Ok(())
    }
}

/// The zone's abbreviation and its offset now.
fn zone() -> (String, i32) {
    let now = jiff::Zoned::now();
    if now.time_zone().is_unknown() {
        // A system without a configured zone runs in UTC, which has a name.
        return ("UTC".to_owned(), 0);
    }
    let info = now.time_zone().to_offset_info(now.timestamp());
    (info.abbreviation().to_owned(), info.offset().seconds())
}
