//! `mem`: memory and swap in KiB, as Fluent Bit names them; with `pid` also one process' resident memory.

use std::path::PathBuf;

use anyhow::Context;
use kansoku_model::{OptionKind, OptionSpec, Plugin, joined};

use super::{Field, INTERVAL_OPTIONS, Probe, Record, input};
use crate::plugin::InputPlugin;

const OWN: &[OptionSpec] = &[OptionSpec::new(
    "pid",
    OptionKind::Int,
    "0",
    "a process whose resident memory is told as well; 0 = none",
)];
const OPTIONS: &[OptionSpec] =
    &joined::<{ OWN.len() + INTERVAL_OPTIONS.len() }>(OWN, INTERVAL_OPTIONS);

/// The plugin.
pub const PLUGIN: InputPlugin = Plugin {
    name: "mem",
    about: "Tells how much memory and swap is used, in KiB.",
    options: OPTIONS,
    example: "[INPUT]\n    Name  mem\n    Tag   mem\n",
    build: |settings, environment| {
        settings.check(OPTIONS)?;
        let pid = settings.int("pid", 0)?;
        let probe = Mem {
            proc: "/proc".into(),
            pid: (pid > 0).then_some(pid),
        };
        input(settings, environment, probe)
    },
};

struct Mem {
    proc: PathBuf,
    pid: Option<i64>,
}

impl Probe for Mem {
    fn ask(&mut self, record: &mut Record) -> anyhow::Result<()> {
        let path = self.proc.join("meminfo");
        let text = std::fs::read_to_string(&path)
            .with_context(|| format!("failed to read {}", path.display()))?;
        let kib = |name: &str| kib_of(&text, name).unwrap_or(0);
        let pairs = [
            ("Mem.total", kib("MemTotal")),
            ("Mem.used", kib("MemTotal").saturating_sub(kib("MemFree"))),
            ("Mem.free", kib("MemFree")),
            ("Swap.total", kib("SwapTotal")),
            (
                "Swap.used",
                kib("SwapTotal").saturating_sub(kib("SwapFree")),
            ),
            ("Swap.free", kib("SwapFree")),
        ];
        record.extend(pairs.map(|(name, n)| (name.to_owned(), Field::Int(n))));
        if let Some(pid) = self.pid {
            let path = self.proc.join(pid.to_string()).join("status");
            let status = std::fs::read_to_string(&path)
                .with_context(|| format!("failed to read {}", path.display()))?;
            let bytes = kib_of(&status, "VmRSS").unwrap_or(0).saturating_mul(1024);
            record.push(("proc_bytes".into(), Field::Int(bytes)));
            record.push(("proc_hr".into(), Field::Text(readable(bytes).into_bytes())));
        }
        Ok(())
    }
}

/// The number of `NAME:   123 kB`.
pub(super) fn kib_of(text: &str, name: &str) -> Option<u64> {
    let line = text
        .lines()
        .find_map(|l| l.strip_prefix(name)?.strip_prefix(':'))?;
    line.split_whitespace().next()?.parse().ok()
}

/// Bytes for people, in Fluent Bit's form: `22.4M`.
fn readable(bytes: u64) -> String {
    let (mut size, mut unit) = (bytes as f64, 0);
    while size >= 1024.0 && unit < 4 {
        size /= 1024.0;
        unit += 1;
    }
    match unit {
        0 => format!("{bytes}b"),
        _ => format!("{size:.1}{}", ["b", "K", "M", "G", "T"][unit]),
    }
}

/// The probe over files in `proc`.
#[cfg(feature = "fuzzing")]
pub(super) fn probe(proc: &std::path::Path) -> impl Probe {
    Mem {
        proc: proc.to_owned(),
        pid: Some(7),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tells_what_the_kernel_tells() {
        let dir = tempfile::tempdir().unwrap();
        let meminfo = "MemTotal:       24684096 kB\nMemFree:        20005788 kB\nSwapTotal:  100 kB\nSwapFree: 40 kB\n";
        std::fs::write(dir.path().join("meminfo"), meminfo).unwrap();
        std::fs::create_dir(dir.path().join("7")).unwrap();
        std::fs::write(
            dir.path().join("7/status"),
            "Name:\tx\nVmRSS:\t   22912 kB\n",
        )
        .unwrap();
        let mut probe = Mem {
            proc: dir.path().to_owned(),
            pid: Some(7),
        };
        assert_eq!(
            super::super::told(&mut probe),
            r#""Mem.total":24684096,"Mem.used":4678308,"Mem.free":20005788,"Swap.total":100,"Swap.used":60,"Swap.free":40,"proc_bytes":23461888,"proc_hr":"22.4M""#
        );
        probe.pid = Some(8);
        let error = probe.ask(&mut Record::new()).expect_err("no such process");
        assert!(error.to_string().contains("8/status"), "{error}");
        assert_eq!(readable(1023), "1023b");
    }
}
