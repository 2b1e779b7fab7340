//! A metric family as a constant: name, type and help stand once, beside the code that fills it.

use kansoku_model::{FamilyId, MetricBatch, MetricKind};

/// A family whose name is known when the program is built.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Desc {
    pub name: &'static str,
    pub kind: MetricKind,
    pub help: &'static str,
}

impl Desc {
    pub(crate) const fn counter(name: &'static str, help: &'static str) -> Self {
        let kind = MetricKind::Counter;
        Self { name, kind, help }
    }

    pub(crate) const fn gauge(name: &'static str, help: &'static str) -> Self {
        let kind = MetricKind::Gauge;
        Self { name, kind, help }
    }

    /// The family in this batch; worth keeping where many samples follow.
    pub(crate) fn family(&self, out: &mut MetricBatch) -> FamilyId {
        out.family(self.name, self.kind, self.help)
    }

    /// Appends one sample.
    pub(crate) fn sample(&self, out: &mut MetricBatch, labels: &[(&str, &str)], value: f64) {
        let family = self.family(out);
        out.sample(family, labels, value);
    }

    /// Appends a sample without labels.
    pub(crate) fn value(&self, out: &mut MetricBatch, value: f64) {
        self.sample(out, &[], value);
    }
}
