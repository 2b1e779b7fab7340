//! One answer of the metrics path: which collectors were asked for, and their samples as text.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::{Duration, Instant};

use kansoku_model::MetricBatch;
use tokio::sync::Mutex;

use super::own_metrics::OwnMetrics;
use crate::collectors::COLLECTORS;
use crate::collectors::node::{NodeCollectors, Round};
use crate::content_coding::Coding;
use crate::exposition::LastText;
use crate::metrics_body::{Body, Done, like_last};

/// How long a scrape may hold up the runtime's thread. Most take less, and handing them to another
/// thread would cost more than most collectors; what takes longer is waited for elsewhere.
const INLINE: Duration = Duration::from_millis(10);

/// The collectors and what is said of the scrapes of them.
pub(super) struct Scraper {
    /// Held while collecting: one scrape at a time, the others wait.
    state: Arc<Mutex<State>>,
    /// Held while an answer is made from it; who comes meanwhile does without.
    last_text: Mutex<LastText>,
    names: BTreeSet<&'static str>,
    /// `None` with `--web.disable-exporter-metrics`.
    pub own: Option<Arc<OwnMetrics>>,
}

struct State {
    collectors: NodeCollectors,
    /// Reused from scrape to scrape; empty while an answer is being sent.
    batch: MetricBatch,
    own: MetricBatch,
}

/// The collectors that a request wants.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Wanted {
    All,
    These(BTreeSet<&'static str>),
}

impl Scraper {
    pub fn new(collectors: NodeCollectors, own: Option<Arc<OwnMetrics>>) -> Self {
        Self {
            names: collectors.names().collect(),
            own,
            state: Arc::new(Mutex::new(State {
                collectors,
                batch: MetricBatch::default(),
                own: MetricBatch::default(),
            })),
            last_text: Mutex::default(),
        }
    }

    /// Reads `collect[]` and `exclude[]` of a query string.
    ///
    /// # Errors
    /// A text for an answer with status 400.
    pub fn wanted(&self, query: &str) -> Result<Wanted, String> {
        let values = |key: &str| -> Vec<String> {
            let pairs = query.split('&').filter_map(|pair| pair.split_once('='));
            let of_key = pairs.filter(|(name, _)| decoded(name) == key);
            of_key.map(|(_, value)| decoded(value)).collect()
        };
        let (collects, excludes) = (values("collect[]"), values("exclude[]"));
        match (collects.is_empty(), excludes.is_empty()) {
            (true, true) => Ok(Wanted::All),
            (false, false) => {
                Err("Combined collect and exclude queries are not allowed.".to_owned())
            }
            (true, false) => {
                let is_left = |name: &&str| !excludes.iter().any(|e| e == name);
                Ok(Wanted::These(
                    self.names.iter().copied().filter(is_left).collect(),
                ))
            }
            (false, true) => {
                let find = |name: &String| {
                    self.names
                        .get(name.as_str())
                        .copied()
                        .ok_or_else(|| self.refusal(name))
                };
                let names: Result<_, String> = collects.iter().map(find).collect();
                Ok(Wanted::These(names?))
            }
        }
    }

    fn refusal(&self, name: &str) -> String {
        let is_known = COLLECTORS.iter().any(|e| e.name == name);
        let what = if is_known { "disabled" } else { "missing" };
        format!(
            "Couldn't create filtered metrics handler: couldn't create collector: {what} collector: {name}"
        )
    }

    /// Collects and writes; with the coding that is used. What is not there by `limit` is left out;
    /// `None` when others were scraped all the while.
    pub async fn scrape(
        &self,
        wanted: &Wanted,
        limit: Option<Instant>,
        coding: Coding,
    ) -> Option<(Body, Coding)> {
        let turn = self.state.clone().lock_owned();
        let mut state = match limit {
            None => turn.await,
            Some(limit) => tokio::time::timeout_at(limit.into(), turn).await.ok()?,
        };
        let round = state.begin(wanted);
        let own = self.own.clone();
        let soon = Instant::now() + INLINE;
        let batches = if state.collectors.is_done_by(&round, soon) {
            let batches = state.finish(&round, limit, own.as_deref());
            drop(state);
            batches
        } else {
            let own = own.clone();
            let waiting =
                tokio::task::spawn_blocking(move || state.finish(&round, limit, own.as_deref()));
            waiting.await.ok()?
        };
        let shared = self.state.clone();
        let done: Done = Box::new(move |batches, n_duplicates| {
            if let Some(counters) = own {
                counters.left_out(n_duplicates);
            }
            // Who scrapes meanwhile has batches of its own.
            if let (Ok([batch, own]), Ok(mut state)) =
                (<[MetricBatch; 2]>::try_from(batches), shared.try_lock())
            {
                (state.batch, state.own) = (batch, own);
            }
        });
        Some(match self.last_text.try_lock() {
            Ok(mut last) => like_last(&mut last, batches, coding, done),
            Err(_) => Body::of_metrics(batches, coding, done),
        })
    }
}

impl State {
    fn begin(&mut self, wanted: &Wanted) -> Round {
        self.batch.clear();
        let is_due = |name: &str| match wanted {
            Wanted::All => true,
            Wanted::These(names) => names.contains(name),
        };
        self.collectors.begin(is_due, &mut self.batch)
    }

    fn finish(
        &mut self,
        round: &Round,
        limit: Option<Instant>,
        counters: Option<&OwnMetrics>,
    ) -> Vec<MetricBatch> {
        self.collectors.finish(round, limit, &mut self.batch);
        self.own.clear();
        if let Some(counters) = counters {
            counters.write(self.collectors.take_octets(), &mut self.own);
        }
        vec![
            std::mem::take(&mut self.batch),
            std::mem::take(&mut self.own),
        ]
    }
}

/// Undoes the percent coding of a query; what is no coding stays.
fn decoded(text: &str) -> String {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.as_bytes();
    while let [first, tail @ ..] = rest {
        let hex = |digit: u8| (digit as char).to_digit(16).map(|d| d as u8);
        let (byte, after) = match (first, tail) {
            (b'%', [high, low, after @ ..]) => match (hex(*high), hex(*low)) {
                (Some(high), Some(low)) => (high << 4 | low, after),
                _ => (b'%', tail),
            },
            (b'+', _) => (b' ', tail),
            (byte, _) => (*byte, tail),
        };
        bytes.push(byte);
        rest = after;
    }
    String::from_utf8_lossy(&bytes).into_owned()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::collectors::NodeSpec;

    #[tokio::test]
    async fn queries_choose_collectors() {
        let collectors = NodeCollectors::new(&NodeSpec::default(), &["loadavg", "stat", "uname"]);
        let scraper = Scraper::new(collectors.expect("valid flags"), None);
        let these = |names: &[&'static str]| Ok(Wanted::These(names.iter().copied().collect()));
        let refused = |text: &str| Err(text.to_owned());
        for (query, wanted) in [
            ("", Ok(Wanted::All)),
            ("name=x", Ok(Wanted::All)),
            (
                "collect[]=stat&collect%5B%5D=uname",
                these(&["stat", "uname"]),
            ),
            (
                "exclude[]=stat&exclude[]=nothing",
                these(&["loadavg", "uname"]),
            ),
            (
                "collect[]=stat&exclude[]=uname",
                refused("Combined collect and exclude queries are not allowed."),
            ),
            (
                "collect[]=cpu",
                refused(
                    "Couldn't create filtered metrics handler: couldn't create collector: disabled collector: cpu",
                ),
            ),
            (
                "collect[]=x%zz",
                refused(
                    "Couldn't create filtered metrics handler: couldn't create collector: missing collector: x%zz",
                ),
            ),
        ] {
            assert_eq!(scraper.wanted(query), wanted, "{query}");
        }
        let wanted = Wanted::These(["stat"].into());
        let scraped = scraper.scrape(&wanted, None, Coding::Identity).await;
        let Some((Body::Whole(text), Coding::Identity)) = scraped else {
            panic!("nobody else scrapes, and it is short");
        };
        let text = std::str::from_utf8(&text).expect("text");
        assert!(
            text.contains("node_boot_time_seconds ") && !text.contains("node_load1"),
            "{text}"
        );
        assert!(text.contains("node_exporter_build_info{"));
    }
}
