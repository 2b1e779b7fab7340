//! Probes of HTTP, TCP, ICMP, DNS and gRPC from outside the target, under blackbox_exporter's names.
//!
//! A probe never fails: what goes wrong is in its series and its log. It ends by its deadline, with what it has found out until then.

pub mod config;
mod dns;
mod grpc;
mod http;
mod icmp;
pub mod report;
pub mod resolve;
pub mod serve;
mod tcp;
pub mod tls;

use std::hash::{BuildHasher, Hasher, RandomState};
use std::time::{Duration, Instant};

use config::{Module, Prober};
use report::Report;

/// What Prometheus' own scrapes may take at the most.
pub const DEFAULT_TIMEOUT: Duration = Duration::from_secs(120);

/// Probes a target. `host_name` is what the URL's `hostname` says: the `Host` of HTTP, the server name of TCP with TLS.
pub async fn probe(
    module: &Module,
    target: &str,
    host_name: Option<&str>,
    timeout: Duration,
) -> Report {
    let begin = Instant::now();
    let mut report = Report::default();
    let work = async {
        match &module.prober {
            Prober::Http(module) => http::probe(module, target, host_name, &mut report).await,
            Prober::Tcp(module) => tcp::probe(module, target, host_name, &mut report).await,
            Prober::Icmp(module) => icmp::probe(module, target, begin + timeout, &mut report).await,
            Prober::Dns(module) => dns::probe(module, target, &mut report).await,
            Prober::Grpc(module) => grpc::probe(module, target, &mut report).await,
        }
    };
    let is_success = tokio::time::timeout(timeout, Box::pin(work)).await;
    let is_success = is_success.unwrap_or_else(|_| {
        report.say(format_args!("the probe did not end within {timeout:?}"));
        false
    });
    report.set("probe_success", f64::from(u8::from(is_success)));
    report.set("probe_duration_seconds", begin.elapsed().as_secs_f64());
    report.set("probe_timeout_seconds", timeout.as_secs_f64());
    report
}

/// How long a probe may take: what the scraper grants less `offset`, or the module's time when that is shorter.
#[must_use]
pub fn timeout(module: &Module, granted: Option<Duration>, offset: Duration) -> Duration {
    let most = granted.unwrap_or(DEFAULT_TIMEOUT).checked_sub(offset);
    match most {
        Some(most) if module.timeout.is_zero() || module.timeout >= most => most,
        _ if module.timeout.is_zero() => DEFAULT_TIMEOUT,
        _ => module.timeout,
    }
}

/// A number that nobody can foresee.
fn random_u16() -> u16 {
    RandomState::new().build_hasher().finish() as u16
}
