//! Whether SELinux is there, what its configuration asks for and what is in force.

use std::path::PathBuf;

use kansoku_model::MetricBatch;

use super::desc::Desc;
use super::kernel_file::{KernelFile, read_word};
use super::{Collector, Entry, NodeSpec};

pub(super) const ENTRY: Entry = Entry {
    name: "selinux",
    about: "SELinux modes, configured and in force",
    build: |spec| Ok(Box::new(Selinux::new(spec))),
    ..Entry::DEFAULT
};

const ENABLED: Desc = Desc::gauge(
    "node_selinux_enabled",
    "SELinux is enabled, 1 is true, 0 is false",
);
const CONFIG_MODE: Desc = Desc::gauge(
    "node_selinux_config_mode",
    "Configured SELinux enforcement mode",
);
const CURRENT_MODE: Desc = Desc::gauge(
    "node_selinux_current_mode",
    "Current SELinux enforcement mode",
);
/// The mode of a system without SELinux.
const DISABLED: f64 = -1.0;

struct Selinux {
    /// There only while SELinux is enabled.
    enforce: KernelFile,
    config: PathBuf,
    buf: Vec<u8>,
}

impl Selinux {
    fn new(spec: &NodeSpec) -> Self {
        Self {
            enforce: KernelFile::new(spec.sys("fs/selinux/enforce")),
            config: spec.rootfs.join("etc/selinux/config"),
            buf: Vec::new(),
        }
    }
}

impl Collector for Selinux {
    fn collect(&mut self, out: &mut MetricBatch) -> anyhow::Result<()> {
        let Ok(current) = self.enforce.read_number(&mut self.buf) else {
            ENABLED.value(out, 0.0);
            return Ok(());
        };
        ENABLED.value(out, 1.0);
        let config = read_word(&self.config).unwrap_or_default();
        CONFIG_MODE.value(out, mode(&config));
        CURRENT_MODE.value(out, current);
        Ok(())
    }
}

/// The mode that /etc/selinux/config asks for.
fn mode(config: &str) -> f64 {
    // The last one counts.
    let mut lines = config.lines().map(str::trim).rev();
    match lines.find_map(|line| line.strip_prefix("SELINUX=")) {
        Some("enforcing") => 1.0,
        Some("permissive") => 0.0,
        _ => DISABLED,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_three_modes() {
        let config = "# SELINUX=permissive\nSELINUX=enforcing\nSELINUXTYPE=targeted\n";
        assert_eq!(mode(config), 1.0);
        assert_eq!(mode("SELINUX=permissive"), 0.0);
        assert_eq!(mode("SELINUX=disabled"), DISABLED);
        assert_eq!(mode(""), DISABLED);
    }
}
