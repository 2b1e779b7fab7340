//! The options that say where the node's own file systems are mounted.
//!
//! Every input that reads the node takes them from here, so that a name or default is said once.
//! What an input does with its files is its own matter.

use kansoku_model::plugin::{OptionKind, OptionSpec};

pub const PROCFS: OptionSpec = OptionSpec::new(
    "path.procfs",
    OptionKind::Text,
    "/proc",
    "where the node's /proc is mounted",
);

pub const SYSFS: OptionSpec = OptionSpec::new(
    "path.sysfs",
    OptionKind::Text,
    "/sys",
    "where the node's /sys is mounted",
);
