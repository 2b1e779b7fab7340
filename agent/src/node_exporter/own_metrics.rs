//! What the exporter says of itself: `promhttp_*` and `process_*`, as node_exporter does.

use std::sync::atomic::{AtomicU64, Ordering};

use kansoku_model::{MetricBatch, MetricKind};
use kansoku_parsers::kernel::netstat;
use nix::sys::resource::{Resource, getrlimit};

use crate::collectors::kernel_file::KernelFile;
use crate::server::process;

/// Counters of the metrics path.
#[derive(Debug, Default)]
pub(super) struct OwnMetrics {
    /// Scrapes being served.
    pub in_flight: AtomicU64,
    /// Answers with status 200, 500 and 503.
    answers: [AtomicU64; 3],
    /// Series that were there already and families that could not be collected.
    gathering_errors: AtomicU64,
}

const STATUSES: [(u16, &str); 3] = [(200, "200"), (500, "500"), (503, "503")];

impl OwnMetrics {
    /// Counts an answer.
    pub fn answered(&self, status: u16) {
        let counters = STATUSES.iter().zip(&self.answers);
        if let Some((_, counter)) = counters.into_iter().find(|((code, _), _)| *code == status) {
            counter.fetch_add(1, Ordering::Relaxed);
        }
    }

    /// Counts series that were left out of an answer.
    pub fn left_out(&self, n_series: u64) {
        self.gathering_errors.fetch_add(n_series, Ordering::Relaxed);
    }

    /// Appends all of it; `octets` are those that our network has received and sent, where they are known.
    pub fn write(&self, octets: Option<[f64; 2]>, out: &mut MetricBatch) {
        let value = |counter: &AtomicU64| counter.load(Ordering::Relaxed) as f64;
        let family = out.family(
            "promhttp_metric_handler_requests_in_flight",
            MetricKind::Gauge,
            "Current number of scrapes being served.",
        );
        out.sample(family, &[], value(&self.in_flight));
        let family = out.family(
            "promhttp_metric_handler_requests_total",
            MetricKind::Counter,
            "Total number of scrapes by HTTP status code.",
        );
        for ((_, code), counter) in STATUSES.iter().zip(&self.answers) {
            out.sample(family, &[("code", code)], value(counter));
        }
        let family = out.family(
            "promhttp_metric_handler_errors_total",
            MetricKind::Counter,
            "Total number of internal errors encountered by the promhttp metric handler.",
        );
        out.sample(family, &[("cause", "encoding")], 0.0);
        let errors = value(&self.gathering_errors);
        out.sample(family, &[("cause", "gathering")], errors);
        // What cannot be read of the own process is left out, as the original does.
        let _ = process(out);
        let _ = more_of_the_process(octets, out);
    }
}

/// What the Go library gives besides.
fn more_of_the_process(octets: Option<[f64; 2]>, out: &mut MetricBatch) -> anyhow::Result<()> {
    let (limit, _) = getrlimit(Resource::RLIMIT_AS)?;
    let family = out.family(
        "process_virtual_memory_max_bytes",
        MetricKind::Gauge,
        "Maximum amount of virtual memory available in bytes.",
    );
    out.sample(family, &[], limit as f64);
    let [received, sent] = match octets {
        Some(octets) => octets.map(Some),
        None => {
            let mut buf = Vec::new();
            KernelFile::new("/proc/self/net/netstat").read(&mut buf)?;
            ["InOctets", "OutOctets"].map(|name| netstat::value(&buf, "IpExt", name))
        }
    };
    for (name, help, octets) in [
        (
            "process_network_receive_bytes_total",
            "Number of bytes received by the process over the network.",
            received,
        ),
        (
            "process_network_transmit_bytes_total",
            "Number of bytes sent by the process over the network.",
            sent,
        ),
    ] {
        if let Some(octets) = octets {
            let family = out.family(name, MetricKind::Counter, help);
            out.sample(family, &[], octets);
        }
    }
    Ok(())
}
