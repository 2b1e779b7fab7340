//! The loop of `prometheus_scrape`: targets come and go, each is scraped at its own time, one thread does it all.

use std::collections::HashMap;
use std::time::{Duration, Instant};

use kansoku_model::{MetricBatch, RecordBatch};
use kansoku_outputs::OutputEnvironment;
use kansoku_outputs::client::HttpClient;
use tokio::task::JoinSet;

use super::super::prometheus_scrape::{PodChoice, Scrape};
use super::super::stop_notice::stop_notice;
use super::super::ticker::{Tick, Ticker, unix_ms};
use super::fetch;
use super::target::Target;
use super::watched::{Scraped, Watched};
use crate::log;
use crate::pipeline::Link;

/// In the log.
const NAME: &str = "input:prometheus_scrape";
/// Scrapes at a time: each may hold a whole page.
const MAX_SCRAPES: usize = 16;
/// How often the pods are looked at.
const PODS_EVERY_MS: u64 = 5000;

/// Scrapes until the agent stops.
///
/// # Errors
/// When there is no thread or no runtime to be had.
pub(in crate::inputs) fn run(scrape: Scrape, link: Link) -> anyhow::Result<()> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()?;
    let stopped = stop_notice(&link, "scrape-stop")?;
    let mut scraper = Scraper {
        scrape,
        link,
        watched: HashMap::new(),
        last_mistakes: Vec::new(),
        pods_seen: None,
    };
    runtime.block_on(async {
        tokio::select! {
            () = stopped.notified() => {}
            () = scraper.run() => {}
        }
    });
    Ok(())
}

/// A scrape that has ended.
struct Fetched {
    key: String,
    tick: Tick,
    took: Duration,
    page: Result<(String, Vec<u8>), String>,
}

struct Scraper {
    scrape: Scrape,
    link: Link,
    watched: HashMap<String, Watched>,
    /// Said already.
    last_mistakes: Vec<String>,
    /// The generation of the table of pods that the targets were made of.
    pods_seen: Option<u64>,
}

impl Scraper {
    /// Scrapes until the pipeline takes nothing any more.
    async fn run(&mut self) {
        let mut scrapes: JoinSet<Fetched> = JoinSet::new();
        loop {
            if !self.refresh() {
                return;
            }
            let wait = self.start(&mut scrapes);
            tokio::select! {
                Some(fetched) = scrapes.join_next(), if !scrapes.is_empty() => {
                    if let Ok(fetched) = fetched && !self.finish(fetched) {
                        return;
                    }
                }
                () = tokio::time::sleep(wait) => {}
            }
        }
    }

    /// Brings the targets to what is discovered; false when the pipeline takes nothing any more.
    fn refresh(&mut self) -> bool {
        let generation = Some(self.scrape.pods.generation());
        let has_pods = self.scrape.pod_choice != PodChoice::Off;
        if self.pods_seen.is_some() && (!has_pods || self.pods_seen == generation) {
            return true;
        }
        let is_first = self.pods_seen.is_none();
        self.pods_seen = generation;
        let (mut targets, mistakes) = self.scrape.targets();
        for mistake in mistakes.iter().filter(|m| !self.last_mistakes.contains(m)) {
            log::error(NAME, format_args!("{mistake}"));
        }
        self.last_mistakes = mistakes;
        let now_ms = unix_ms();
        let (tag, link) = (&self.link.tag, &self.link);
        let mut is_open = true;
        self.watched.retain(|key, watched| {
            if targets.remove(key).is_some() {
                return true;
            }
            if let Some(batch) = watched.end(tag.clone(), now_ms as i64) {
                is_open &= link.send(RecordBatch::Metrics(batch), None).is_ok();
            }
            false
        });
        for (key, target) in targets {
            let client = self.client(&target);
            let ticker = Ticker::new(
                &format!("{}{key}", self.scrape.host_name),
                &[target.interval],
            );
            // What is discovered later waits for its moment, so that many new pods are not scraped at once.
            let ticker = if is_first {
                ticker
            } else {
                ticker.after(now_ms)
            };
            self.watched.insert(
                key,
                Watched::new(target, client, ticker, &self.scrape.host_name),
            );
        }
        is_open
    }

    fn client(&self, target: &Target) -> Result<HttpClient, String> {
        let environment = OutputEnvironment::default();
        let scrape = &self.scrape;
        fetch::client(&scrape.settings, &environment, target, &scrape.form).map_err(|e| e.message)
    }

    /// Starts the scrapes that are due; how long until the next.
    fn start(&mut self, scrapes: &mut JoinSet<Fetched>) -> Duration {
        let now_ms = unix_ms();
        let limit = self.scrape.target_limit;
        let n_targets = self.watched.len();
        let mut wait_ms = PODS_EVERY_MS;
        for (key, watched) in self.watched.iter_mut().filter(|(_, w)| !w.is_busy) {
            if scrapes.len() >= MAX_SCRAPES {
                break;
            }
            let Some(tick) = watched.ticker.tick_at(now_ms) else {
                wait_ms = wait_ms.min(watched.ticker.wait_ms(now_ms));
                continue;
            };
            watched.is_busy = true;
            let (key, form) = (key.clone(), self.scrape.form.clone());
            let (path, timeout) = (watched.target.path.clone(), watched.target.timeout);
            let client = if limit > 0 && n_targets > limit {
                let why = "target_limit exceeded (number of targets:";
                Err(format!("{why} {n_targets}, limit: {limit})"))
            } else {
                watched.client.clone()
            };
            scrapes.spawn(async move {
                let begin = Instant::now();
                let page = match client {
                    Ok(client) => fetch::fetch(&client, &form, &path, timeout).await,
                    Err(why) => Err(why),
                };
                let took = begin.elapsed();
                Fetched {
                    key,
                    tick,
                    took,
                    page,
                }
            });
        }
        Duration::from_millis(wait_ms)
    }

    /// Sends what a scrape gave; false when the pipeline takes nothing any more.
    fn finish(&mut self, fetched: Fetched) -> bool {
        let Fetched {
            key,
            tick,
            took,
            page,
        } = fetched;
        // Its target may be gone meanwhile.
        let Some(watched) = self.watched.get_mut(&key) else {
            return true;
        };
        watched.is_busy = false;
        let tag = &self.link.tag;
        let mut scraped = Scraped {
            took,
            ..Scraped::default()
        };
        let resource = watched.resource.clone();
        let histograms = self.scrape.form.histograms;
        let read = page.and_then(|answer| {
            fetch::read(&answer, histograms, tag.clone(), resource, tick.now_ms)
        });
        let taken = read.map(|page| (self.scrape.handling.take(page.batch), page.refused));
        let (batch, failure): (Option<MetricBatch>, Option<String>) = match taken {
            Err(why) => (None, Some(why)),
            Ok((taken, refused)) => {
                (scraped.n_scraped, scraped.n_relabelled) = (taken.n_scraped, taken.n_relabelled);
                if let Some(first) = refused.first {
                    let (n, url) = (refused.count, watched.target.url());
                    log::warn(
                        NAME,
                        format_args!("{url}: {n} lines were not read; {first}"),
                    );
                }
                (Some(taken.batch), taken.failure)
            }
        };
        scraped.is_up = failure.is_none();
        if watched.is_news(failure.as_deref()) {
            let why = failure.as_deref().unwrap_or_default();
            log::error(NAME, format_args!("{}: {why}", watched.target.url()));
        }
        let mut batch = batch.unwrap_or_else(|| watched.empty(tag.clone(), tick.now_ms));
        watched.complete(&mut batch, &tick, &scraped);
        self.link.send(RecordBatch::Metrics(batch), None).is_ok()
    }
}
