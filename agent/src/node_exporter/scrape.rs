//! One answer of the metrics path: which collectors were asked for, and their samples as text.

use std::collections::BTreeSet;
use std::sync::{Arc, Mutex, PoisonError};

use kansoku_model::MetricBatch;

use super::own_metrics::OwnMetrics;
use crate::collectors::COLLECTORS;
use crate::collectors::node::NodeCollectors;
use crate::exposition;

/// The collectors and what is said of the scrapes of them.
pub(super) struct Scraper {
    /// Held while collecting: one scrape at a time, the others wait.
    state: Mutex<State>,
    names: BTreeSet<&'static str>,
    /// `None` with `--web.disable-exporter-metrics`.
    pub own: Option<Arc<OwnMetrics>>,
}

struct State {
    collectors: NodeCollectors,
    /// Reused from scrape to scrape.
    batch: MetricBatch,
    own: MetricBatch,
    /// How large the last answer was.
    n_bytes: usize,
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
            state: Mutex::new(State {
                collectors,
                batch: MetricBatch::default(),
                own: MetricBatch::default(),
                n_bytes: 0,
            }),
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

    /// Collects and writes. Blocks while files are read.
    pub fn scrape(&self, wanted: &Wanted) -> Vec<u8> {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        let State {
            collectors,
            batch,
            own,
            n_bytes,
        } = &mut *state;
        batch.clear();
        let is_due = |name: &str| match wanted {
            Wanted::All => true,
            Wanted::These(names) => names.contains(name),
        };
        collectors.collect(is_due, batch);
        own.clear();
        if let Some(counters) = &self.own {
            counters.write(own);
        }
        let mut out = Vec::with_capacity(*n_bytes + *n_bytes / 8);
        let n_duplicates = exposition::write(&mut out, &[batch, own]);
        *n_bytes = out.len();
        if let Some(counters) = &self.own {
            counters.left_out(n_duplicates);
        }
        out
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

    #[test]
    fn queries_choose_collectors() {
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
        let text = scraper.scrape(&Wanted::These(["stat"].into()));
        let text = String::from_utf8(text).expect("text");
        assert!(
            text.contains("node_boot_time_seconds ") && !text.contains("node_load1"),
            "{text}"
        );
        assert!(text.contains("node_exporter_build_info{"));
    }
}
