//! A target that is scraped again and again: when, and what is told of it.

use std::sync::Arc;
use std::time::Duration;

use kansoku_model::{MetricBatch, MetricKind, Resource};
use kansoku_outputs::client::HttpClient;

use super::super::staleness::{STALE, Staleness};
use super::super::ticker::{Tick, Ticker};
use super::target::Target;

/// Series that Prometheus makes of every scrape.
const REPORT: [(&str, &str); 5] = [
    ("up", "1 if the scrape succeeded, 0 if not."),
    (
        "scrape_duration_seconds",
        "Duration of the scrape in seconds.",
    ),
    ("scrape_samples_scraped", "Samples of the page."),
    (
        "scrape_samples_post_metric_relabeling",
        "Samples that metric relabelling left.",
    ),
    (
        "scrape_series_added",
        "Series that the page before did not have.",
    ),
];

/// What a scrape came to.
#[derive(Debug, Default)]
pub struct Scraped {
    pub is_up: bool,
    pub took: Duration,
    pub n_scraped: usize,
    pub n_relabelled: usize,
}

/// A target and what was seen of it last.
pub struct Watched {
    pub target: Target,
    /// With the target's labels.
    pub resource: Arc<Resource>,
    /// Or why there is none.
    pub client: Result<Arc<HttpClient>, String>,
    pub ticker: Ticker,
    /// A scrape is under way.
    pub is_busy: bool,
    staleness: Staleness,
    is_reported: bool,
    /// Why the last scrape failed; said once.
    failure: Option<String>,
}

impl Watched {
    pub fn new(
        target: Target,
        client: Result<HttpClient, String>,
        ticker: Ticker,
        host_name: &str,
    ) -> Self {
        let resource = Resource {
            labels: target.labels.clone(),
            ..Resource::of_host(host_name)
        };
        Self {
            resource: Arc::new(resource),
            target,
            client: client.map(Arc::new),
            ticker,
            is_busy: false,
            staleness: Staleness::default(),
            is_reported: false,
            failure: None,
        }
    }

    /// Whether this failure is another one than that of the scrape before, or the first.
    pub fn is_news(&mut self, failure: Option<&str>) -> bool {
        let is_news = failure.is_some() && self.failure.as_deref() != failure;
        self.failure = failure.map(str::to_owned);
        is_news
    }

    /// Completes the samples of a scrape with the ends of series that are gone and with the report.
    pub fn complete(&mut self, batch: &mut MetricBatch, tick: &Tick, scraped: &Scraped) {
        let n_added = self.staleness.mark(batch);
        let values = [
            f64::from(u8::from(scraped.is_up)),
            scraped.took.as_secs_f64(),
            scraped.n_scraped as f64,
            scraped.n_relabelled as f64,
            n_added as f64,
        ];
        report(batch, values);
        self.is_reported = true;
        batch.source = tick.source;
    }

    /// The ends of all series of a target that is gone; `None` when it had none.
    pub fn end(&mut self, tag: Arc<str>, now_ms: i64) -> Option<MetricBatch> {
        if !self.is_reported {
            return None;
        }
        let mut batch = self.empty(tag, now_ms);
        self.staleness.mark(&mut batch);
        report(&mut batch, [STALE; REPORT.len()]);
        batch.source = self.ticker.next(now_ms).source;
        Some(batch)
    }

    /// A batch without samples.
    pub fn empty(&self, tag: Arc<str>, now_ms: i64) -> MetricBatch {
        MetricBatch::new(tag, self.resource.clone(), now_ms)
    }
}

fn report(batch: &mut MetricBatch, values: [f64; REPORT.len()]) {
    for ((name, help), value) in REPORT.into_iter().zip(values) {
        let family = batch.family(name, MetricKind::Gauge, help);
        batch.sample(family, &[], value);
    }
}
