//! NVMe subsystems: their namespaces, and the controllers that lead to them.

use std::path::{Path, PathBuf};

use kansoku_model::MetricBatch;

use super::desc::Desc;
use super::{Collector, Entry, NodeSpec, OrNoData, sysfs};

pub(super) const ENTRY: Entry = Entry {
    name: "nvmesubsystem",
    about: "paths to NVMe subsystems",
    is_default: false,
    build: |spec| Ok(Box::new(NvmeSubsystem::new(spec))),
    ..Entry::DEFAULT
};

const INFO: Desc = Desc::gauge(
    "node_nvmesubsystem_info",
    "Non-numeric information about an NVMe subsystem.",
);
const NAMESPACE: Desc = Desc::gauge(
    "node_nvmesubsystem_namespace_info",
    "Maps an NVMe namespace block device to its subsystem.",
);
const PATHS: Desc = Desc::gauge(
    "node_nvmesubsystem_paths",
    "Number of controller paths for an NVMe subsystem.",
);
const PATHS_LIVE: Desc = Desc::gauge(
    "node_nvmesubsystem_paths_live",
    "Number of controller paths in live state for an NVMe subsystem.",
);
const PATH_STATE: Desc = Desc::gauge(
    "node_nvmesubsystem_path_state",
    "Current NVMe controller path state (1 for the current state, 0 for all others).",
);
const STATES: [&str; 7] = [
    "connecting",
    "dead",
    "deleting",
    "live",
    "new",
    "resetting",
    "unknown",
];

struct NvmeSubsystem {
    class: PathBuf,
}

impl NvmeSubsystem {
    fn new(spec: &NodeSpec) -> Self {
        Self {
            class: spec.sys("class/nvme-subsystem"),
        }
    }
}

impl Collector for NvmeSubsystem {
    fn collect(&mut self, out: &mut MetricBatch) -> anyhow::Result<()> {
        const ABSENT: &str = "there is no NVMe subsystem";
        for name in sysfs::names(&self.class).or_no_data(ABSENT)? {
            if name.starts_with("nvme-subsys") {
                collect_subsystem(out, &self.class.join(&name), &name).or_no_data(ABSENT)?;
            }
        }
        Ok(())
    }
}

fn collect_subsystem(out: &mut MetricBatch, folder: &Path, name: &str) -> anyhow::Result<()> {
    let word = |file| sysfs::read(&folder.join(file));
    let (nqn, model) = (word("subsysnqn")?, word("model")?);
    let (serial, policy) = (word("serial")?, word("iopolicy")?);
    let subsystem = ("subsystem", name);
    let labels = [
        subsystem,
        ("nqn", nqn.as_str()),
        ("model", &model),
        ("serial", &serial),
        ("iopolicy", &policy),
    ];
    INFO.sample(out, &labels, 1.0);
    let (mut n_paths, mut n_live) = (0, 0);
    for entry in sysfs::names(folder)? {
        match kind(&entry) {
            Some(Kind::Namespace) => NAMESPACE.sample(out, &[subsystem, ("device", &entry)], 1.0),
            Some(Kind::Controller) => {
                let controller = folder.join(&entry);
                let state = sysfs::read(&controller.join("state"))?;
                let transport = sysfs::read(&controller.join("transport"))?;
                let state = known_state(&state);
                n_paths += 1;
                n_live += i32::from(state == "live");
                for one in STATES {
                    let labels = [
                        subsystem,
                        ("controller", entry.as_str()),
                        ("transport", &transport),
                        ("state", one),
                    ];
                    PATH_STATE.sample(out, &labels, f64::from(one == state));
                }
            }
            None => {}
        }
    }
    PATHS.sample(out, &[subsystem], f64::from(n_paths));
    PATHS_LIVE.sample(out, &[subsystem], f64::from(n_live));
    Ok(())
}

#[derive(Debug, PartialEq, Eq)]
enum Kind {
    Controller,
    Namespace,
}

/// `nvme0` is a controller, `nvme0n1` a namespace; `nvme0c1n1` is the path of a namespace.
fn kind(entry: &str) -> Option<Kind> {
    let rest = entry.strip_prefix("nvme")?;
    let is_number = |text: &str| !text.is_empty() && text.bytes().all(|b| b.is_ascii_digit());
    match rest.split_once('n') {
        None => is_number(rest).then_some(Kind::Controller),
        Some((controller, namespace)) => {
            (is_number(controller) && is_number(namespace)).then_some(Kind::Namespace)
        }
    }
}

fn known_state(raw: &str) -> &str {
    match raw {
        "deleting (no IO)" => "deleting",
        state if STATES.contains(&state) => state,
        _ => "unknown",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn entries_are_controllers_or_namespaces() {
        assert_eq!(kind("nvme0"), Some(Kind::Controller));
        assert_eq!(kind("nvme0n1"), Some(Kind::Namespace));
        assert_eq!(kind("nvme0c1n1"), None);
        assert_eq!(kind("nvme"), None);
        assert_eq!(kind("power"), None);
        assert_eq!(known_state("deleting (no IO)"), "deleting");
        assert_eq!(known_state("odd"), "unknown");
    }
}
