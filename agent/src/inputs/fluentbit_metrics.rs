//! `fluentbit_metrics`: what the agent counts of itself, as records of the pipeline.

use std::sync::{Arc, LazyLock};
use std::time::Duration;

use kansoku_model::{
    ConfigError, MetricBatch, OptionKind, OptionSpec, Plugin, RecordBatch, Resource, Settings,
};

use super::staleness::Staleness;
use super::target_labels::{end, exporter, target_labels, up};
use super::ticker::{self, Ticker, unix_ms};
use crate::pipeline::Link;
use crate::plugin::{Environment, Input, InputPlugin};
use crate::server::OwnMetrics;

/// The plugin.
pub const PLUGIN: InputPlugin = Plugin {
    name: "fluentbit_metrics",
    about: "The agent's own metrics.",
    options: &[
        OptionSpec::new(
            "scrape_interval",
            OptionKind::Time,
            "2",
            "how often to collect",
        ),
        OptionSpec::new(
            "scrape_on_start",
            OptionKind::Bool,
            "off",
            "collect at the start, too, and not only when the first interval is over",
        ),
        OptionSpec::new(
            "add_label",
            OptionKind::Pair,
            "",
            "a label for every series; replaces job, instance, node, namespace or pod",
        )
        .repeated(),
    ],
    example: "[INPUT]\n    Name             fluentbit_metrics\n    Tag              internal_metrics\n    Scrape_Interval  2\n",
    build,
};

/// What Fluent Bit's chart calls itself in a scraper's labels.
const JOB: &str = "fluent-bit";

/// When the process started, or nearly: a reload builds inputs anew, and does not change it.
static START_MS: LazyLock<u64> = LazyLock::new(unix_ms);

struct Own {
    interval: Duration,
    on_start: bool,
    host_name: Arc<str>,
    resource: Arc<Resource>,
}

fn build(s: &Settings, environment: &Environment) -> Result<Box<dyn Input>, ConfigError> {
    s.check(PLUGIN.options)?;
    LazyLock::force(&START_MS);
    Ok(Box::new(Own {
        interval: ticker::interval(s, "scrape_interval", 2.0)?,
        on_start: s.bool("scrape_on_start", false)?,
        host_name: environment.host_name.clone(),
        resource: Arc::new(Resource {
            labels: target_labels(&exporter(JOB, environment), s)?.labels,
            ..Resource::of_host(&environment.host_name)
        }),
    }))
}

impl Input for Own {
    fn run(self: Box<Self>, link: Link) -> anyhow::Result<()> {
        let own = OwnMetrics::new(
            link.metrics.clone(),
            self.host_name.clone(),
            *START_MS,
            None,
        );
        let mut ticker = Ticker::new(&self.host_name, &[self.interval]);
        let mut is_first = true;
        let mut staleness = Staleness::default();
        while let Some(tick) = ticker.wait(&link.stop) {
            // A ticker's first tick is at once.
            if std::mem::take(&mut is_first) && !self.on_start {
                continue;
            }
            let mut batch = own.batch();
            batch.tag = link.tag.clone();
            batch.resource = self.resource.clone();
            batch.time_ms = tick.now_ms;
            batch.source = tick.source;
            staleness.mark(&mut batch);
            up(&mut batch);
            if link.send(RecordBatch::Metrics(batch), None).is_err() {
                return Ok(());
            }
        }
        let tick = ticker.now();
        let mut batch = MetricBatch::new(link.tag.clone(), self.resource, tick.now_ms);
        batch.source = tick.source;
        if end([staleness], &mut batch) {
            let _ = link.send(RecordBatch::Metrics(batch), None);
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::super::net::testing;
    use super::*;

    #[test]
    fn the_counters_come_at_once_when_that_is_wanted() {
        let pairs = [("scrape_interval", "1h"), ("scrape_on_start", "on")];
        let input = build(
            &Settings::of("fluentbit_metrics", &pairs),
            &Environment::default(),
        );
        let running = testing::start(input.map_err(|e| e.message).expect("valid"), "m");
        let batch = testing::until(|| running.captured.take().pop());
        let RecordBatch::Metrics(batch) = &*batch else {
            panic!("metrics")
        };
        assert_eq!(&*batch.tag, "m");
        let names = batch.families().iter().map(|f| batch.text(f.name));
        assert!(
            names.into_iter().any(|n| n == "fluentbit_uptime"),
            "an agent is up"
        );
        let series = batch.points().iter().map(|p| batch.series_of(p));
        let up = series.filter(|s| s.get("__name__") == Some("up"));
        let jobs: Vec<_> = up
            .map(|s| s.get("job").unwrap_or_default().to_owned())
            .collect();
        assert_eq!(jobs, [JOB]);
        running.stop();
    }
}
