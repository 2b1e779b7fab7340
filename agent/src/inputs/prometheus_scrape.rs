//! `prometheus_scrape`: fetches a page of metrics again and again.
//!
//! As from Prometheus' own scrapes there are `up`, `scrape_duration_seconds`, `scrape_samples_scraped`
//! and `scrape_series_added`, and series that are gone are marked as stale: all of them when the target
//! does not answer. Fluent Bit gives none of these. Lines that cannot be read are counted and named,
//! where Fluent Bit drops the whole page.

use std::sync::Arc;
use std::time::{Duration, Instant};

use hyper::header::{ACCEPT, CONTENT_TYPE, HeaderValue};
use hyper::{Method, StatusCode};
use kansoku_model::{
    ConfigError, MetricBatch, MetricKind, OptionKind, OptionSpec, Plugin, RecordBatch, Resource,
    Settings, joined,
};
use kansoku_outputs::OutputEnvironment;
use kansoku_outputs::client::{self, HttpClient};
use kansoku_parsers::wire::prometheus_text;

use super::net::{buffer_size, resource};
use super::staleness::Staleness;
use super::ticker::{self, Ticker};
use crate::log;
use crate::pipeline::Link;
use crate::plugin::{Environment, Input, InputPlugin};

const OWN: &[OptionSpec] = &[
    OptionSpec::new(
        "scrape_interval",
        OptionKind::Time,
        "10s",
        "how often to fetch",
    ),
    OptionSpec::new(
        "metrics_path",
        OptionKind::Text,
        "/metrics",
        "path of the page",
    ),
    OptionSpec::new(
        "buffer_max_size",
        OptionKind::Size,
        "10M",
        "the largest page",
    ),
];
const OPTIONS: [OptionSpec; OWN.len() + client::OPTIONS.len()] = joined(OWN, client::OPTIONS);

/// The plugin.
pub const PLUGIN: InputPlugin = Plugin {
    name: "prometheus_scrape",
    about: "Fetches metrics from a Prometheus endpoint.",
    options: &OPTIONS,
    example: "[INPUT]\n    Name             prometheus_scrape\n    Tag              scraped\n    Host             127.0.0.1\n    Port             9100\n    Metrics_Path     /metrics\n    Scrape_Interval  10s\n",
    build,
};

const PORT: u16 = 9100;
/// In the log.
const NAME: &str = "input:prometheus_scrape";
/// What Prometheus itself asks for, without its binary form.
const FORMS: HeaderValue = HeaderValue::from_static(
    "application/openmetrics-text;version=1.0.0;q=0.5,text/plain;version=0.0.4;q=0.3,*/*;q=0.1",
);

struct Scrape {
    client: HttpClient,
    path: String,
    interval: Duration,
    host_name: Arc<str>,
    resource: Arc<Resource>,
}

fn build(s: &Settings, environment: &Environment) -> Result<Box<dyn Input>, ConfigError> {
    s.check(PLUGIN.options)?;
    let path = s.text("metrics_path", "/metrics").to_owned();
    if !path.starts_with('/') {
        let place = s.get("metrics_path").map_or(&s.place, |k| &k.place);
        return Err(ConfigError::new(
            place,
            "'metrics_path' must start with '/'",
        ));
    }
    let mut own = s.clone();
    own.settings.retain(|k| OWN.iter().all(|o| o.name != k.key));
    let environment_of_outputs = OutputEnvironment {
        warnings: environment.warnings.clone(),
        ..OutputEnvironment::default()
    };
    let mut client = HttpClient::build(&own, &environment_of_outputs, PORT)?;
    client.answer_max_bytes = buffer_size(s, "buffer_max_size", 10_000_000)?;
    Ok(Box::new(Scrape {
        client,
        path,
        interval: ticker::interval(s, "scrape_interval", 10.0)?,
        host_name: environment.host_name.clone(),
        resource: resource(environment),
    }))
}

impl Input for Scrape {
    fn run(self: Box<Self>, link: Link) -> anyhow::Result<()> {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()?;
        let mut ticker = Ticker::new(&self.host_name, &[self.interval]);
        let mut staleness = Staleness::default();
        while let Some(tick) = ticker.wait(&link.stop) {
            let begin = Instant::now();
            let scraped = runtime.block_on(self.scrape(link.tag.clone(), tick.now_ms));
            let took_s = begin.elapsed().as_secs_f64();
            let is_up = scraped.is_ok();
            let mut batch = scraped.unwrap_or_else(|reason| {
                log::error(
                    NAME,
                    format_args!("{}{}: {reason}", self.client.base(), self.path),
                );
                MetricBatch::new(link.tag.clone(), self.resource.clone(), tick.now_ms)
            });
            let n_samples = batch.points().len();
            let n_new = staleness.mark(&mut batch);
            report(&mut batch, is_up, took_s, n_samples, n_new);
            batch.source = tick.source;
            if link.send(RecordBatch::Metrics(batch), None).is_err() {
                return Ok(());
            }
        }
        Ok(())
    }
}

/// What Prometheus says of every scrape.
fn report(batch: &mut MetricBatch, is_up: bool, took_s: f64, n_samples: usize, n_new: usize) {
    let facts = [
        (
            "up",
            "1 if the scrape succeeded, 0 if not.",
            f64::from(u8::from(is_up)),
        ),
        (
            "scrape_duration_seconds",
            "Duration of the scrape in seconds.",
            took_s,
        ),
        (
            "scrape_samples_scraped",
            "Samples of the page.",
            n_samples as f64,
        ),
        (
            "scrape_series_added",
            "Series that the page before did not have.",
            n_new as f64,
        ),
    ];
    for (name, help, value) in facts {
        let family = batch.family(name, MetricKind::Gauge, help);
        batch.sample(family, &[], value);
    }
}

impl Scrape {
    async fn scrape(&self, tag: Arc<str>, now_ms: i64) -> Result<MetricBatch, String> {
        let answer = self
            .client
            .exchange(Method::GET, &self.path, &[(ACCEPT, FORMS)], Vec::new())
            .await?;
        if answer.status != StatusCode::OK {
            return Err(format!("the answer was {}", answer.status));
        }
        let content_type = answer
            .headers
            .get(CONTENT_TYPE)
            .and_then(|v| v.to_str().ok());
        let is_open_metrics = content_type.is_some_and(|t| t.contains("openmetrics-text"));
        let text =
            std::str::from_utf8(&answer.body).map_err(|_| "the page is not UTF-8".to_owned())?;
        let resource = self.resource.clone();
        let page = prometheus_text::parse(text, is_open_metrics, tag, resource, now_ms);
        if page.batch.points().is_empty() {
            return Err(page
                .refused
                .first
                .unwrap_or_else(|| "the page has no samples".into()));
        }
        if let Some(first) = page.refused.first {
            let n = page.refused.count;
            log::warn(
                NAME,
                format_args!(
                    "{}{}: {n} lines were not read; {first}",
                    self.client.base(),
                    self.path
                ),
            );
        }
        Ok(page.batch)
    }
}
