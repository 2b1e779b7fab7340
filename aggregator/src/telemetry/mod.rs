//! The aggregator's counters of itself.
//!
//! Counting only: the numbers become metrics in [`metrics`] and text in [`exposition`]. The one
//! rule: names of routes and protocols come from fixed lists, so the number of series is bounded
//! whatever clients ask for.

pub mod exposition;
mod histogram;
pub mod metrics;
mod process;

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use hyper::StatusCode;

use crate::ingest::Outcome;
use histogram::Histogram;

/// How data comes in.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Protocol {
    Frames,
    RemoteWrite,
    Loki,
    Otlp,
    /// To a Pushgateway.
    Push,
    /// Its own metrics.
    Own,
    /// Results of rules.
    Rules,
}

impl Protocol {
    const ALL: [Self; 7] = [
        Self::Frames,
        Self::RemoteWrite,
        Self::Loki,
        Self::Otlp,
        Self::Push,
        Self::Own,
        Self::Rules,
    ];

    fn name(self) -> &'static str {
        match self {
            Self::Frames => "frames",
            Self::RemoteWrite => "remote_write",
            Self::Loki => "loki",
            Self::Otlp => "otlp",
            Self::Push => "pushgateway",
            Self::Own => "own_metrics",
            Self::Rules => "rules",
        }
    }
}

/// Which engine a query ran on and how.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum QueryKind {
    PromqlInstant,
    PromqlRange,
    PromqlLabels,
    PromqlRemoteRead,
    PromqlFederate,
    LogqlInstant,
    LogqlRange,
    LogqlLabels,
}

impl QueryKind {
    const ALL: [Self; 8] = [
        Self::PromqlInstant,
        Self::PromqlRange,
        Self::PromqlLabels,
        Self::PromqlRemoteRead,
        Self::PromqlFederate,
        Self::LogqlInstant,
        Self::LogqlRange,
        Self::LogqlLabels,
    ];

    fn names(self) -> (&'static str, &'static str) {
        match self {
            Self::PromqlInstant => ("promql", "instant"),
            Self::PromqlRange => ("promql", "range"),
            Self::PromqlLabels => ("promql", "labels"),
            Self::PromqlRemoteRead => ("promql", "remote_read"),
            Self::PromqlFederate => ("promql", "federate"),
            Self::LogqlInstant => ("logql", "instant"),
            Self::LogqlRange => ("logql", "range"),
            Self::LogqlLabels => ("logql", "labels"),
        }
    }
}

#[derive(Debug, Default)]
struct IngestCounters {
    requests: AtomicU64,
    failed_requests: AtomicU64,
    bytes: AtomicU64,
    accepted: AtomicU64,
    duplicates: AtomicU64,
    refused: AtomicU64,
}

/// All counters.
#[derive(Debug, Default)]
pub struct Telemetry {
    ingest: [IngestCounters; Protocol::ALL.len()],
    queries: [Histogram; QueryKind::ALL.len()],
    failed_queries: [AtomicU64; QueryKind::ALL.len()],
    /// Requests by route and status; locked for the time of one addition. Both come from fixed
    /// lists, so it has some hundred entries at the most.
    http: Mutex<BTreeMap<(&'static str, u16), HttpCounters>>,
    /// Maintenance steps that failed.
    pub failed_maintenance: AtomicU64,
}

#[derive(Debug, Default, Clone, Copy)]
struct HttpCounters {
    requests: u64,
    seconds: f64,
}

fn add(counter: &AtomicU64, n: u64) {
    counter.fetch_add(n, Ordering::Relaxed);
}

impl Telemetry {
    /// A body was taken.
    pub fn ingested(&self, protocol: Protocol, n_bytes: usize, outcome: &Outcome) {
        let c = &self.ingest[protocol as usize];
        add(&c.requests, 1);
        add(&c.bytes, n_bytes as u64);
        add(&c.accepted, outcome.accepted);
        add(&c.duplicates, outcome.duplicates);
        add(&c.refused, outcome.refused);
    }

    /// A body was not taken as a whole.
    pub fn ingest_failed(&self, protocol: Protocol) {
        let c = &self.ingest[protocol as usize];
        add(&c.requests, 1);
        add(&c.failed_requests, 1);
    }

    /// A query ended.
    pub fn query(&self, kind: QueryKind, took: Duration, succeeded: bool) {
        self.queries[kind as usize].observe(took.as_secs_f64());
        if !succeeded {
            add(&self.failed_queries[kind as usize], 1);
        }
    }

    /// A request was answered.
    pub fn http(&self, route: &'static str, status: StatusCode, took: Duration) {
        // A panic elsewhere cannot leave the map half changed.
        let mut http = self.http.lock().unwrap_or_else(PoisonError::into_inner);
        let c = http.entry((route, status.as_u16())).or_default();
        c.requests += 1;
        c.seconds += took.as_secs_f64();
    }
}
