//! Weaknesses of the processor and what the kernel does about them.

use std::path::PathBuf;

use kansoku_model::MetricBatch;

use super::desc::Desc;
use super::{Collector, Entry, NodeSpec, sysfs};

pub(super) const ENTRY: Entry = Entry {
    name: "cpu_vulnerabilities",
    about: "weaknesses of the processor",
    is_default: false,
    build: |spec| Ok(Box::new(CpuVulnerabilities::new(spec))),
    ..Entry::DEFAULT
};

const INFO: Desc = Desc::gauge(
    "node_cpu_vulnerabilities_info",
    "Details of each CPU vulnerability reported by sysfs. The value of the series is an int encoded state of the vulnerability. The same state is stored as a string in the label",
);
const NOT_AFFECTED: &str = "not affected";
/// The states that a text may begin with.
const STATES: [&str; 4] = [NOT_AFFECTED, "vulnerable", "mitigation", "unknown"];

struct CpuVulnerabilities {
    folder: PathBuf,
}

impl CpuVulnerabilities {
    fn new(spec: &NodeSpec) -> Self {
        Self {
            folder: spec.sys("devices/system/cpu/vulnerabilities"),
        }
    }
}

impl Collector for CpuVulnerabilities {
    fn collect(&mut self, out: &mut MetricBatch) -> anyhow::Result<()> {
        for name in sysfs::names(&self.folder).unwrap_or_default() {
            let text = sysfs::read(&self.folder.join(&name))?;
            let (state, mitigation) = split(&text);
            let labels = [
                ("codename", name.as_str()),
                ("state", state),
                ("mitigation", &mitigation),
            ];
            INFO.sample(out, &labels, 1.0);
        }
        Ok(())
    }
}

/// State and mitigation of texts such as `Mitigation: PTI`.
fn split(text: &str) -> (&'static str, String) {
    let lower = text.to_ascii_lowercase();
    let mut states = STATES.into_iter();
    let Some(state) = states.find(|state| lower.starts_with(state)) else {
        return ("unknown", text.to_owned());
    };
    if state == NOT_AFFECTED {
        return (state, String::new());
    }
    let words: Vec<&str> = text.split_ascii_whitespace().skip(1).collect();
    (state, words.join(" "))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn texts_are_split_into_state_and_mitigation() {
        for (text, state, mitigation) in [
            ("Not affected", "not affected", ""),
            ("Vulnerable", "vulnerable", ""),
            ("Mitigation: PTI; SMT  off", "mitigation", "PTI; SMT off"),
            ("KVM: Vulnerable", "unknown", "KVM: Vulnerable"),
        ] {
            assert_eq!(split(text), (state, mitigation.to_owned()), "{text}");
        }
    }
}
