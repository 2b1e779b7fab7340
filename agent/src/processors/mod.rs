//! Processors: steps that belong to one input or output, and that Fluent Bit does not know as filters.
//!
//! They keep the trait of filters, so that every filter can be a processor, too.

pub mod content_modifier;
pub mod labels;
pub mod metrics_selector;
pub mod opentelemetry_envelope;
pub mod sql;

use kansoku_model::metric::Point;
use kansoku_model::{FamilyId, MetricBatch};

use crate::plugin::FilterPlugin;

/// Every processor, in the order of the documentation.
pub const ALL: &[&FilterPlugin] = &[
    &content_modifier::PLUGIN,
    &labels::PLUGIN,
    &metrics_selector::PLUGIN,
    &opentelemetry_envelope::PLUGIN,
    &sql::PLUGIN,
];

/// The labels of one point, owned so that they can be changed.
type LabelPairs = Vec<(String, String)>;

/// Writes a batch anew: `family` gives a family's new name (or drops it), `labels` changes those of
/// a point (or drops it).
fn rewrite(
    batch: &mut MetricBatch,
    family: impl Fn(&str) -> Option<String>,
    mut labels: impl FnMut(&mut LabelPairs) -> bool,
) {
    let mut out = MetricBatch::new(batch.tag.clone(), batch.resource.clone(), batch.time_ms);
    out.source = batch.source;
    let families: Vec<Option<FamilyId>> = (batch.families().iter())
        .map(|f| {
            let name = family(batch.text(f.name))?;
            Some(out.new_family(&name, f.kind, batch.text(f.help)))
        })
        .collect();
    let histograms = batch.histograms().iter();
    let of_histograms = histograms.map(|h| (&h.point, Some(&h.histogram)));
    let all = batch
        .points()
        .iter()
        .map(|p| (p, None))
        .chain(of_histograms);
    for (point, histogram) in all {
        let Some(family) = families[point.family.0 as usize] else {
            continue;
        };
        let of_point = batch.labels_of(point);
        let mut pairs: LabelPairs = of_point
            .map(|(n, v)| (n.to_owned(), v.to_owned()))
            .collect();
        if !labels(&mut pairs) {
            continue;
        }
        let labels = out.label_set(pairs.iter().map(|(n, v)| (n.as_str(), v.as_str())));
        let point = Point {
            family,
            labels,
            ..*point
        };
        out.push_sample(point, histogram.cloned());
    }
    *batch = out;
}

/// SHA-256 as Fluent Bit writes it: lower-case hex.
fn sha256(text: &[u8]) -> String {
    use std::fmt::Write;
    let digest = ring::digest::digest(&ring::digest::SHA256, text);
    digest.as_ref().iter().fold(String::new(), |mut hex, byte| {
        // Writing into a String does not fail.
        let _ = write!(hex, "{byte:02x}");
        hex
    })
}

#[cfg(test)]
mod tests;
