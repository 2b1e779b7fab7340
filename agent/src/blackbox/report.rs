//! What a probe found out: its series, and lines for whoever asks why.

use std::fmt::Write;
use std::sync::Arc;

use kansoku_model::{MetricBatch, MetricKind, Resource};

/// The most of a probe's log that is kept.
const MAX_LOG_BYTES: usize = 64 << 10;

/// Names and helps of all families, as blackbox_exporter has them.
const FAMILIES: &[(&str, &str)] = &[
    (
        "probe_dns_additional_rrs",
        "Returns number of entries in the additional resource record list",
    ),
    (
        "probe_dns_answer_rrs",
        "Returns number of entries in the answer resource record list",
    ),
    (
        "probe_dns_authority_rrs",
        "Returns number of entries in the authority resource record list",
    ),
    (
        "probe_dns_duration_seconds",
        "Duration of DNS request by phase",
    ),
    (
        "probe_dns_lookup_time_seconds",
        "Returns the time taken for probe dns lookup in seconds",
    ),
    (
        "probe_dns_query_succeeded",
        "Displays whether or not the query was executed successfully",
    ),
    ("probe_dns_serial", "Returns the serial number of the zone"),
    (
        "probe_duration_seconds",
        "Returns how long the probe took to complete in seconds",
    ),
    ("probe_expect_info", "Explicit content matched"),
    (
        "probe_failed_due_to_bytes",
        "Indicates if probe failed due to bytes",
    ),
    (
        "probe_failed_due_to_regex",
        "Indicates if probe failed due to regex",
    ),
    (
        "probe_grpc_duration_seconds",
        "Duration of gRPC request by phase",
    ),
    (
        "probe_grpc_healthcheck_response",
        "Response HealthCheck response",
    ),
    (
        "probe_grpc_ssl",
        "Indicates if SSL was used for the connection",
    ),
    ("probe_grpc_status_code", "Response gRPC status code"),
    (
        "probe_http_content_length",
        "Length of http content response",
    ),
    (
        "probe_http_duration_seconds",
        "Duration of http request by phase, summed over all redirects",
    ),
    (
        "probe_http_last_modified_timestamp_seconds",
        "Returns the Last-Modified HTTP response header in unixtime",
    ),
    ("probe_http_redirects", "The number of redirects"),
    (
        "probe_http_ssl",
        "Indicates if SSL was used for the final redirect",
    ),
    ("probe_http_status_code", "Response HTTP status code"),
    (
        "probe_http_uncompressed_body_length",
        "Length of uncompressed response body",
    ),
    (
        "probe_http_version",
        "Returns the version of HTTP of the probe response",
    ),
    (
        "probe_icmp_duration_seconds",
        "Duration of icmp request by phase",
    ),
    (
        "probe_icmp_reply_hop_limit",
        "Replied packet hop limit (TTL for ipv4)",
    ),
    (
        "probe_ip_addr_hash",
        "Specifies the hash of IP address. It's useful to detect if the IP address changes.",
    ),
    (
        "probe_ip_protocol",
        "Specifies whether probe ip protocol is IP4 or IP6",
    ),
    (
        "probe_ssl_earliest_cert_expiry",
        "Returns last SSL chain expiry in unixtime",
    ),
    (
        "probe_ssl_last_chain_expiry_timestamp_seconds",
        "Returns last SSL chain expiry in timestamp",
    ),
    (
        "probe_ssl_last_chain_info",
        "Contains SSL leaf certificate information",
    ),
    (
        "probe_success",
        "Displays whether or not the probe was a success",
    ),
    (
        "probe_timeout_seconds",
        "Returns how long the probe timeout is in seconds",
    ),
    (
        "probe_tls_cipher_info",
        "Returns the TLS cipher negotiated during handshake",
    ),
    (
        "probe_tls_version_info",
        "Returns the TLS version used or NaN when unknown",
    ),
];

/// Series and log of one probe.
#[derive(Debug, Default)]
pub struct Report {
    samples: Vec<(&'static str, Vec<(String, String)>, f64)>,
    pub log: String,
}

impl Report {
    /// Sets a series without labels.
    pub fn set(&mut self, name: &'static str, value: f64) {
        self.set_with(name, &[], value);
    }

    /// Sets a series.
    pub fn set_with(&mut self, name: &'static str, labels: &[(&str, &str)], value: f64) {
        *self.slot(name, labels) = value;
    }

    /// Adds to the series of a phase.
    pub fn add_phase(&mut self, name: &'static str, phase: &str, seconds: f64) {
        *self.slot(name, &[("phase", phase)]) += seconds;
    }

    fn slot(&mut self, name: &'static str, labels: &[(&str, &str)]) -> &mut f64 {
        let is_it = |(n, own, _): &(&str, Vec<(String, String)>, f64)| {
            let pairs = own.iter().map(|(n, v)| (n.as_str(), v.as_str()));
            *n == name && pairs.eq(labels.iter().copied())
        };
        let at = self.samples.iter().position(is_it).unwrap_or_else(|| {
            let pairs = labels
                .iter()
                .map(|(n, v)| ((*n).to_owned(), (*v).to_owned()));
            self.samples.push((name, pairs.collect(), 0.0));
            self.samples.len() - 1
        });
        &mut self.samples[at].2
    }

    /// Adds a line to the log.
    pub fn say(&mut self, line: impl std::fmt::Display) {
        if self.log.len() < MAX_LOG_BYTES {
            // Writing into a String does not fail.
            let _ = writeln!(self.log, "{line}");
        }
    }

    /// Whether the probe was a success.
    #[must_use]
    pub fn is_success(&self) -> bool {
        let found = self
            .samples
            .iter()
            .find(|(name, ..)| *name == "probe_success");
        found.is_some_and(|(_, _, value)| *value == 1.0)
    }

    /// The series, those of a name together.
    #[must_use]
    pub fn batch(&self, tag: Arc<str>, resource: Arc<Resource>, now_ms: i64) -> MetricBatch {
        let mut batch = MetricBatch::new(tag, resource, now_ms);
        for (name, help) in FAMILIES {
            for (_, labels, value) in self.samples.iter().filter(|(n, ..)| n == name) {
                let family = batch.family(name, MetricKind::Gauge, help);
                let labels: Vec<(&str, &str)> = labels
                    .iter()
                    .map(|(n, v)| (n.as_str(), v.as_str()))
                    .collect();
                batch.sample(family, &labels, *value);
            }
        }
        batch
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_series_is_there_once() {
        let mut report = Report::default();
        report.set("probe_success", 0.0);
        report.add_phase("probe_http_duration_seconds", "tls", 1.0);
        report.add_phase("probe_http_duration_seconds", "tls", 0.5);
        report.set("probe_success", 1.0);
        report.say("done");
        let batch = report.batch("t".into(), Arc::default(), 7);
        let lines = batch
            .points()
            .iter()
            .map(|p| format!("{} {}", batch.series_of(p), p.value));
        assert_eq!(
            lines.collect::<Vec<_>>(),
            [
                r#"{__name__="probe_http_duration_seconds", phase="tls"} 1.5"#,
                r#"{__name__="probe_success"} 1"#,
            ]
        );
        assert_eq!(report.log, "done\n");
    }
}
