//! All chosen node collectors together, with what node_exporter says of each: success and duration.

use std::time::Instant;

use kansoku_model::plugin::did_you_mean;
use kansoku_model::{MetricBatch, MetricKind};

use super::{COLLECTORS, Collector, NodeSpec};
use crate::log;

/// The chosen collectors.
pub struct NodeCollectors {
    running: Vec<Running>,
}

struct Running {
    name: &'static str,
    collector: Box<dyn Collector>,
    /// Whether the last reading failed: only changes are reported, not every failure.
    is_failing: bool,
}

/// The entry of [`COLLECTORS`] called `name`.
///
/// # Errors
/// A message that names the collectors that are known.
pub fn find(name: &str) -> Result<&'static super::Entry, String> {
    let names = || COLLECTORS.iter().map(|e| e.name);
    COLLECTORS.iter().find(|e| e.name == name).ok_or_else(|| {
        let known: Vec<&str> = names().collect();
        let hint = match did_you_mean(name, names()) {
            near if near.contains("did you mean") => near,
            _ => String::new(),
        };
        format!(
            "there is no collector '{name}'{hint}; collectors: {}",
            known.join(", ")
        )
    })
}

impl NodeCollectors {
    /// Makes the collectors called `names` ready; each name must be known to [`find`].
    #[must_use]
    pub fn new(spec: &NodeSpec, names: &[&str]) -> Self {
        let running = COLLECTORS
            .iter()
            .filter(|e| names.contains(&e.name))
            .map(|e| Running {
                name: e.name,
                collector: (e.build)(spec),
                is_failing: false,
            })
            .collect();
        Self { running }
    }

    /// Every collector there is.
    #[must_use]
    pub fn all(spec: &NodeSpec) -> Self {
        let names: Vec<&str> = COLLECTORS.iter().map(|e| e.name).collect();
        Self::new(spec, &names)
    }

    /// Appends the samples of all collectors that `is_due` wants.
    pub fn collect(&mut self, is_due: impl Fn(&str) -> bool, out: &mut MetricBatch) {
        let mut outcomes = Vec::with_capacity(self.running.len());
        for running in self.running.iter_mut().filter(|r| is_due(r.name)) {
            let start = Instant::now();
            let result = running.collector.collect(out);
            outcomes.push((running.name, start.elapsed().as_secs_f64(), result.is_ok()));
            running.note(result);
        }
        let duration = out.family(
            "node_scrape_collector_duration_seconds",
            MetricKind::Gauge,
            "node_exporter: Duration of a collector scrape.",
        );
        let success = out.family(
            "node_scrape_collector_success",
            MetricKind::Gauge,
            "node_exporter: Whether a collector succeeded.",
        );
        for (name, duration_s, is_success) in outcomes {
            let labels = [("collector", name)];
            out.sample(duration, &labels, duration_s);
            out.sample(success, &labels, f64::from(u8::from(is_success)));
        }
        build_info(out);
    }
}

impl Running {
    fn note(&mut self, result: anyhow::Result<()>) {
        match result {
            Ok(()) if self.is_failing => {
                log::info(&format!("collector:{}", self.name), "works again");
                self.is_failing = false;
            }
            Err(error) if !self.is_failing => {
                log::warn(&format!("collector:{}", self.name), format!("{error:#}"));
                self.is_failing = true;
            }
            _ => {}
        }
    }
}

/// The node mixin's dashboards count nodes by this family.
fn build_info(out: &mut MetricBatch) {
    let family = out.family(
        "node_exporter_build_info",
        MetricKind::Gauge,
        "A metric with a constant '1' value labeled by version, revision, branch, goversion from which node_exporter was built, and the goos and goarch for the build.",
    );
    let machine = match std::env::consts::ARCH {
        "x86_64" => "amd64",
        "aarch64" => "arm64",
        other => other,
    };
    let labels = [
        ("branch", "kansoku"),
        ("goarch", machine),
        ("goos", std::env::consts::OS),
        ("goversion", ""),
        ("revision", ""),
        ("version", env!("CARGO_PKG_VERSION")),
    ];
    out.sample(family, &labels, 1.0);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_unknown_collector_is_refused_with_those_that_are_known() {
        assert_eq!(find("cpu").map(|e| e.name), Ok("cpu"));
        let error = find("systemd").map(|e| e.name).expect_err("not there yet");
        assert_eq!(
            error,
            "there is no collector 'systemd'; collectors: cpu, diskstats, filesystem, loadavg, meminfo, netdev, stat, time, uname"
        );
        let error = find("memifno").map(|e| e.name).expect_err("misspelt");
        assert!(error.contains("did you mean 'meminfo'"), "{error}");
    }

    #[test]
    fn a_collector_without_its_files_fails_alone() {
        let spec = NodeSpec {
            procfs: "/no/such/proc".into(),
            ..NodeSpec::default()
        };
        let mut batch = MetricBatch::default();
        NodeCollectors::new(&spec, &["cpu", "uname"]).collect(|_| true, &mut batch);
        let mut out = Vec::new();
        crate::exposition::write(&mut out, &[&batch]);
        let text = String::from_utf8(out).expect("text");
        assert!(
            text.contains("node_scrape_collector_success{collector=\"cpu\"} 0\n"),
            "{text}"
        );
        assert!(text.contains("node_scrape_collector_success{collector=\"uname\"} 1\n"));
        assert!(text.contains("node_uname_info{"));
    }
}
