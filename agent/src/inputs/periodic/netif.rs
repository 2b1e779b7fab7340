//! `netif`: a network interface's counters since the record before.

use std::path::PathBuf;

use anyhow::Context;
use kansoku_model::{ConfigError, OptionKind, OptionSpec, Plugin, joined};
use kansoku_parsers::kernel::net_dev::{N_VALUES, interfaces};

use super::{Field, INTERVAL_OPTIONS, Probe, Record, input};
use crate::plugin::InputPlugin;

const OWN: &[OptionSpec] = &[
    OptionSpec::new("interface", OptionKind::Text, "", "name, such as eth0"),
    OptionSpec::new(
        "verbose",
        OptionKind::Bool,
        "off",
        "all counters instead of bytes, packets and errors",
    ),
    OptionSpec::new(
        "test_at_init",
        OptionKind::Bool,
        "off",
        "refuse to start without the interface",
    ),
];
const OPTIONS: &[OptionSpec] =
    &joined::<{ OWN.len() + INTERVAL_OPTIONS.len() }>(OWN, INTERVAL_OPTIONS);

/// The columns of the file, and which are told of without `verbose`. The last is spelt as Fluent Bit
/// spells it, because dashboards use it.
const COLUMNS: [(&str, bool); N_VALUES] = [
    ("rx.bytes", true),
    ("rx.packets", true),
    ("rx.errors", true),
    ("rx.drop", false),
    ("rx.fifo", false),
    ("rx.frame", false),
    ("rx.compressed", false),
    ("rx.multicast", false),
    ("tx.bytes", true),
    ("tx.packets", true),
    ("tx.errors", true),
    ("tx.drop", false),
    ("tx.fifo", false),
    ("tx.collisions", false),
    ("tx.carrier", false),
    ("tx.compressepd", false),
];

/// The plugin.
pub const PLUGIN: InputPlugin = Plugin {
    name: "netif",
    about: "Tells what went over a network interface.",
    options: OPTIONS,
    example: "[INPUT]\n    Name       netif\n    Tag        netif\n    Interface  eth0\n",
    build: |settings, environment| {
        settings.check(OPTIONS)?;
        let mut probe = Netif {
            path: "/proc/net/dev".into(),
            interface: settings.required("interface")?.to_owned(),
            is_verbose: settings.bool("verbose", false)?,
            before: None,
        };
        if settings.bool("test_at_init", false)? {
            probe
                .ask(&mut Record::new())
                .map_err(|e| ConfigError::new(&settings.place, format!("{e:#}")))?;
        }
        input(settings, environment, probe)
    },
};

struct Netif {
    path: PathBuf,
    interface: String,
    is_verbose: bool,
    before: Option<[u64; N_VALUES]>,
}

impl Probe for Netif {
    fn ask(&mut self, record: &mut Record) -> anyhow::Result<()> {
        let bytes = std::fs::read(&self.path)
            .with_context(|| format!("failed to read {}", self.path.display()))?;
        let mut now = None;
        for interface in interfaces(&bytes) {
            let interface = interface?;
            if interface.name == self.interface {
                now = Some(interface.values);
            }
        }
        let Some(now) = now else {
            self.before = None;
            anyhow::bail!("there is no interface {}", self.interface);
        };
        let Some(before) = self.before.replace(now) else {
            return Ok(());
        };
        for (k, (name, is_usual)) in COLUMNS.iter().enumerate() {
            if *is_usual || self.is_verbose {
                let grown = now[k].saturating_sub(before[k]);
                record.push((format!("{}.{name}", self.interface), Field::Int(grown)));
            }
        }
        Ok(())
    }
}

/// The probe over files in `proc`.
#[cfg(feature = "fuzzing")]
pub(super) fn probe(proc: &std::path::Path) -> impl Probe {
    Netif {
        path: proc.join("net_dev"),
        interface: "eth0".to_owned(),
        is_verbose: true,
        before: None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tells_what_came_since() {
        let file = tempfile::NamedTempFile::new().unwrap();
        let write = |n: u64| {
            let text = format!("h\nh\n  lo: {n} 2 0 0 0 0 0 0 {n} 2 0 0 0 0 0 0\n");
            std::fs::write(file.path(), text).unwrap();
        };
        let mut probe = Netif {
            path: file.path().to_owned(),
            interface: "lo".into(),
            is_verbose: false,
            before: None,
        };
        write(100);
        assert_eq!(super::super::told(&mut probe), "");
        write(300);
        assert_eq!(
            super::super::told(&mut probe),
            r#""lo.rx.bytes":200,"lo.rx.packets":0,"lo.rx.errors":0,"lo.tx.bytes":200,"lo.tx.packets":0,"lo.tx.errors":0"#
        );
        probe.is_verbose = true;
        assert!(super::super::told(&mut probe).ends_with(r#""lo.tx.compressepd":0"#));
        probe.interface = "eth9".into();
        assert!(probe.ask(&mut Record::new()).is_err());
    }
}
