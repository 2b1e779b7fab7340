//! `external_labels` of the configuration: what this store adds to series that leave it for another Prometheus.
//!
//! Remote read and federation add them where a series has no label of the name; a remote read that asks for them asks
//! for series without. Source: Prometheus, `storage/remote/read_handler.go`, `web/federate.go`.

use kansoku_model::Labels;

/// The labels with those external ones whose names they lack.
#[must_use]
pub fn added(labels: &Labels, external: &[(String, String)]) -> Labels {
    let missing = external
        .iter()
        .filter(|(name, _)| labels.get(name).is_none());
    let missing = missing.map(|(n, v)| (n.as_str(), v.as_str()));
    Labels::from_pairs(labels.iter().chain(missing))
}
