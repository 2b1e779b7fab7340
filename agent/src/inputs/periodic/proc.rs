//! `proc`: whether a process of a name is alive, its memory and its descriptors.
//!
//! Memory is told in Fluent Bit's unit: what the kernel calls kB, times 1000.

use std::path::{Path, PathBuf};

use kansoku_model::{OptionKind, OptionSpec, Plugin, joined};

use super::mem::kib_of;
use super::{Field, INTERVAL_OPTIONS, Probe, Record, input};
use crate::plugin::InputPlugin;

const OWN: &[OptionSpec] = &[
    OptionSpec::new(
        "proc_name",
        OptionKind::Text,
        "",
        "name of the program, as its first argument says it",
    ),
    OptionSpec::new(
        "alert",
        OptionKind::Bool,
        "off",
        "only tell when it is not alive",
    ),
    OptionSpec::new("mem", OptionKind::Bool, "on", "tell its memory"),
    OptionSpec::new(
        "fd",
        OptionKind::Bool,
        "on",
        "tell how many descriptors it has",
    ),
];
const OPTIONS: &[OptionSpec] =
    &joined::<{ OWN.len() + INTERVAL_OPTIONS.len() }>(OWN, INTERVAL_OPTIONS);

/// Fields of /proc/PID/status.
const MEMORY: [&str; 11] = [
    "VmPeak", "VmSize", "VmLck", "VmHWM", "VmRSS", "VmData", "VmStk", "VmExe", "VmLib", "VmPTE",
    "VmSwap",
];

/// The plugin.
pub const PLUGIN: InputPlugin = Plugin {
    name: "proc",
    about: "Tells whether a process is alive.",
    options: OPTIONS,
    example: "[INPUT]\n    Name       proc\n    Tag        proc\n    Proc_Name  crond\n",
    build: |settings, environment| {
        settings.check(OPTIONS)?;
        let probe = Proc {
            proc: "/proc".into(),
            name: settings.required("proc_name")?.to_owned(),
            only_alert: settings.bool("alert", false)?,
            with_memory: settings.bool("mem", true)?,
            with_descriptors: settings.bool("fd", true)?,
        };
        input(settings, environment, probe)
    },
};

struct Proc {
    proc: PathBuf,
    name: String,
    only_alert: bool,
    with_memory: bool,
    with_descriptors: bool,
}

impl Proc {
    /// The lowest process id with that name.
    fn find(&self) -> Option<u64> {
        let entries = std::fs::read_dir(&self.proc).ok()?;
        let numbers = entries
            .flatten()
            .filter_map(|e| e.file_name().to_str()?.parse::<u64>().ok());
        let mut pids: Vec<u64> = numbers.collect();
        pids.sort_unstable();
        pids.into_iter().find(|pid| self.is_named(*pid))
    }

    fn is_named(&self, pid: u64) -> bool {
        let path = self.proc.join(pid.to_string()).join("cmdline");
        let command = std::fs::read(path).unwrap_or_default();
        let program = command.split(|b| *b == 0).next().unwrap_or_default();
        let name = Path::new(std::str::from_utf8(program).unwrap_or_default());
        name.file_name().is_some_and(|n| n == self.name.as_str())
    }
}

impl Probe for Proc {
    fn ask(&mut self, record: &mut Record) -> anyhow::Result<()> {
        let pid = self.find();
        if pid.is_some() && self.only_alert {
            return Ok(());
        }
        record.push(("alive".into(), Field::Bool(pid.is_some())));
        let name = self.name.clone().into_bytes();
        record.push(("proc_name".into(), Field::Text(name)));
        let Some(pid) = pid else {
            return Ok(());
        };
        record.push(("pid".into(), Field::Int(pid)));
        let folder = self.proc.join(pid.to_string());
        if self.with_memory {
            let status = std::fs::read_to_string(folder.join("status")).unwrap_or_default();
            for name in MEMORY {
                let bytes = kib_of(&status, name).unwrap_or(0).saturating_mul(1000);
                record.push((format!("mem.{name}"), Field::Int(bytes)));
            }
        }
        if self.with_descriptors {
            let n = std::fs::read_dir(folder.join("fd")).map_or(0, Iterator::count);
            record.push(("fd".into(), Field::Int(n as u64)));
        }
        Ok(())
    }
}

/// The probe over files in `proc`.
#[cfg(feature = "fuzzing")]
pub(super) fn probe(proc: &Path) -> impl Probe {
    Proc {
        proc: proc.to_owned(),
        name: "crond".to_owned(),
        only_alert: false,
        with_memory: true,
        with_descriptors: true,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_process_is_found_by_its_name() {
        let dir = tempfile::tempdir().unwrap();
        let process = dir.path().join("42");
        std::fs::create_dir_all(process.join("fd")).unwrap();
        std::fs::write(process.join("fd/0"), "").unwrap();
        std::fs::write(process.join("cmdline"), "/usr/sbin/crond\0-f\0").unwrap();
        std::fs::write(process.join("status"), "VmPeak:\t  10 kB\nVmSize:\t 9 kB\n").unwrap();
        let mut probe = Proc {
            proc: dir.path().to_owned(),
            name: "crond".into(),
            only_alert: false,
            with_memory: true,
            with_descriptors: true,
        };
        assert_eq!(
            super::super::told(&mut probe),
            r#""alive":true,"proc_name":"crond","pid":42,"mem.VmPeak":10000,"mem.VmSize":9000,"mem.VmLck":0,"mem.VmHWM":0,"mem.VmRSS":0,"mem.VmData":0,"mem.VmStk":0,"mem.VmExe":0,"mem.VmLib":0,"mem.VmPTE":0,"mem.VmSwap":0,"fd":1"#
        );
        probe.only_alert = true;
        assert_eq!(super::super::told(&mut probe), "");
        probe.name = "cron".into();
        assert_eq!(
            super::super::told(&mut probe),
            r#""alive":false,"proc_name":"cron""#
        );
    }
}
