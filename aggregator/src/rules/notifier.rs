//! Telling alerts to Alertmanagers: a queue and a sender for each, what cannot be told is counted.
//!
//! As in Prometheus (`notifier`), but a batch that fails is tried again before it is given up. The
//! one rule: a slow or dead Alertmanager holds up nobody; its queue drops the oldest when full.

use std::collections::VecDeque;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, RwLock};
use std::time::{Duration, Instant};

use kansoku_model::Labels;
use kansoku_parsers::relabel::label_set::LabelSet;
use kansoku_parsers::relabel::{Rule, relabel};
use serde_json::{Map, Value, json};
use tokio::sync::Notify;
use tokio::task::JoinHandle;

use super::alertmanager::Client;
use super::config::Config;
use crate::{clock, journal};

/// Alerts of one request, as in Prometheus.
const BATCH_MAX: usize = 256;
/// How often a batch is tried, and the first wait in between, which doubles.
const TRIES: u32 = 4;
const FIRST_WAIT: Duration = Duration::from_millis(500);
/// What telling the rest may take when the program stops.
const DRAIN_MAX: Duration = Duration::from_secs(10);

/// One alert as it is told.
#[derive(Debug, Clone, PartialEq)]
pub struct Notification {
    pub labels: Labels,
    pub annotations: Labels,
    pub starts_at_ms: i64,
    pub ends_at_ms: i64,
    pub generator_url: String,
}

impl Notification {
    fn json(&self) -> Value {
        let map = |labels: &Labels| {
            let pairs = labels.iter();
            let pairs = pairs.map(|(n, v)| (n.to_owned(), Value::from(v)));
            Value::Object(pairs.collect::<Map<_, _>>())
        };
        json!({
            "labels": map(&self.labels),
            "annotations": map(&self.annotations),
            "startsAt": clock::rfc3339_ms(self.starts_at_ms),
            "endsAt": clock::rfc3339_ms(self.ends_at_ms),
            "generatorURL": self.generator_url,
        })
    }
}

/// One Alertmanager.
#[derive(Debug)]
pub struct Receiver {
    /// Where alerts go.
    pub url: String,
    client: Client,
    alert_relabel: Vec<Rule>,
    /// Locked while alerts are put in or taken out.
    queue: Mutex<VecDeque<Notification>>,
    queue_max: usize,
    /// Something was put in, or it is over.
    woken: Notify,
    is_stopping: AtomicBool,
    pub sent: AtomicU64,
    pub errors: AtomicU64,
    pub dropped: AtomicU64,
    /// Requests and their time.
    pub requests: AtomicU64,
    pub took_us: AtomicU64,
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Receiver {
    /// Alerts that wait.
    #[must_use]
    pub fn queue_len(&self) -> usize {
        lock(&self.queue).len()
    }

    fn push(&self, alerts: impl Iterator<Item = Notification>) {
        let mut queue = lock(&self.queue);
        queue.extend(alerts);
        let beyond = queue.len().saturating_sub(self.queue_max);
        queue.drain(..beyond);
        drop(queue);
        self.dropped.fetch_add(beyond as u64, Ordering::Relaxed);
        self.woken.notify_one();
    }

    fn batch(&self) -> Vec<Notification> {
        let mut queue = lock(&self.queue);
        let n = queue.len().min(BATCH_MAX);
        queue.drain(..n).collect()
    }

    async fn run(&self) {
        loop {
            let batch = self.batch();
            if !batch.is_empty() {
                self.send(&batch).await;
            } else if self.is_stopping.load(Ordering::Relaxed) {
                return;
            } else {
                self.woken.notified().await;
            }
        }
    }

    async fn send(&self, batch: &[Notification]) {
        let all: Vec<Value> = batch.iter().map(Notification::json).collect();
        let body = bytes::Bytes::from(Value::Array(all).to_string());
        let mut wait = FIRST_WAIT;
        for left in (0..TRIES).rev() {
            let begun = Instant::now();
            let sent = self.client.post(&self.url, body.clone()).await;
            let took = u64::try_from(begun.elapsed().as_micros()).unwrap_or(u64::MAX);
            self.requests.fetch_add(1, Ordering::Relaxed);
            self.took_us.fetch_add(took, Ordering::Relaxed);
            let error = match sent {
                Ok(()) => {
                    self.sent.fetch_add(batch.len() as u64, Ordering::Relaxed);
                    return;
                }
                Err(error) => error,
            };
            self.errors.fetch_add(batch.len() as u64, Ordering::Relaxed);
            let last = left == 0 || !error.is_temporary;
            journal::warn(&format!(
                "failed to tell {} alerts to {}: {}{}",
                batch.len(),
                self.url,
                error.message,
                if last {
                    "; they are dropped, firing ones are told again"
                } else {
                    "; it is tried again"
                }
            ));
            if last {
                break;
            }
            tokio::time::sleep(wait).await;
            wait *= 2;
        }
        self.dropped
            .fetch_add(batch.len() as u64, Ordering::Relaxed);
    }
}

/// All Alertmanagers of a configuration.
#[derive(Debug, Default)]
struct Set {
    receivers: Vec<Arc<Receiver>>,
    senders: Vec<JoinHandle<()>>,
    external_labels: Labels,
    alert_relabel: Vec<Rule>,
}

/// Tells alerts to all Alertmanagers.
#[derive(Debug, Default)]
pub struct Notifier {
    /// Written when the configuration changes.
    set: RwLock<Set>,
}

impl Notifier {
    /// The Alertmanagers of a configuration, checked and not yet told anything.
    ///
    /// # Errors
    /// When a certificate cannot be used.
    pub fn receivers(config: &Config, queue_max: usize) -> Result<Vec<Arc<Receiver>>, String> {
        let mut receivers: Vec<Arc<Receiver>> = Vec::new();
        for one in &config.alertmanagers {
            let client = Client::new(one)?;
            let scheme = if one.is_https { "https" } else { "http" };
            for target in &one.targets {
                let url = format!("{scheme}://{target}{}/api/v2/alerts", one.path_prefix);
                receivers.push(Arc::new(Receiver {
                    url,
                    client: client.clone(),
                    alert_relabel: one.alert_relabel.clone(),
                    queue: Mutex::default(),
                    queue_max,
                    woken: Notify::new(),
                    is_stopping: AtomicBool::new(false),
                    sent: AtomicU64::new(0),
                    errors: AtomicU64::new(0),
                    dropped: AtomicU64::new(0),
                    requests: AtomicU64::new(0),
                    took_us: AtomicU64::new(0),
                }));
            }
        }
        Ok(receivers)
    }

    /// Goes on with other Alertmanagers; those from before tell what they still hold and end.
    pub fn apply(&self, config: &Config, receivers: Vec<Arc<Receiver>>) {
        let senders = receivers.iter().map(|receiver| {
            let receiver = Arc::clone(receiver);
            tokio::spawn(async move { receiver.run().await })
        });
        let new = Set {
            senders: senders.collect(),
            receivers,
            external_labels: config.external_labels.clone(),
            alert_relabel: config.alert_relabel.clone(),
        };
        let mut set = self.set.write().unwrap_or_else(PoisonError::into_inner);
        let old = std::mem::replace(&mut *set, new);
        old.end();
    }

    /// Puts alerts into the queues.
    pub fn send(&self, alerts: Vec<Notification>) {
        let set = self.set.read().unwrap_or_else(PoisonError::into_inner);
        let external = &set.external_labels;
        let labelled = alerts.into_iter().filter_map(|alert| {
            let labels = Labels::from_pairs(external.iter().chain(alert.labels.iter()));
            relabelled(Notification { labels, ..alert }, &set.alert_relabel)
        });
        let labelled: Vec<Notification> = labelled.collect();
        for receiver in &set.receivers {
            let own = labelled.iter().cloned();
            receiver.push(own.filter_map(|alert| relabelled(alert, &receiver.alert_relabel)));
        }
    }

    /// The Alertmanagers.
    #[must_use]
    pub fn all(&self) -> Vec<Arc<Receiver>> {
        let set = self.set.read().unwrap_or_else(PoisonError::into_inner);
        set.receivers.clone()
    }

    /// Ends all senders, after the queues are empty if that is wanted.
    pub async fn stop(&self, drain: bool) {
        let set = {
            let mut set = self.set.write().unwrap_or_else(PoisonError::into_inner);
            std::mem::take(&mut *set)
        };
        if !drain {
            set.receivers.iter().for_each(|r| lock(&r.queue).clear());
        }
        set.end();
        let all = async {
            for sender in set.senders {
                let _ = sender.await;
            }
        };
        let _ = tokio::time::timeout(DRAIN_MAX, all).await;
    }
}

impl Set {
    fn end(&self) {
        for receiver in &self.receivers {
            receiver.is_stopping.store(true, Ordering::Relaxed);
            receiver.woken.notify_one();
        }
    }
}

/// `None` when the rules drop it.
fn relabelled(alert: Notification, rules: &[Rule]) -> Option<Notification> {
    if rules.is_empty() {
        return Some(alert);
    }
    let mut labels: LabelSet = alert.labels.iter().collect();
    relabel(rules, &mut labels).then(|| Notification {
        labels: labels.to_labels(),
        ..alert
    })
}

#[cfg(test)]
mod tests {
    use kansoku_parsers::config::yaml::tree;

    use super::*;

    fn notification(name: &str) -> Notification {
        Notification {
            labels: Labels::from_pairs([("alertname", name), ("replica", "1")]),
            annotations: Labels::default(),
            starts_at_ms: 0,
            ends_at_ms: 1000,
            generator_url: "http://k/graph".into(),
        }
    }

    fn config(text: &str) -> Config {
        let roots = tree::parse("k.yml", text.as_bytes(), &mut Vec::new()).unwrap();
        let mut config = Config::default();
        for (key, node) in roots[0].pairs().unwrap() {
            config.read_section(&key.text, node).unwrap();
        }
        config
    }

    #[tokio::test]
    async fn queues_are_bounded_and_alerts_get_the_labels_of_the_place() {
        let text = "global: {external_labels: {cluster: c, alertname: no}}\nalerting:\n  alert_relabel_configs:\n  - {action: labeldrop, regex: replica}\n  - {action: drop, source_labels: [alertname], regex: Drop}\n  alertmanagers:\n  - static_configs: [{targets: ['127.0.0.1:1']}]\n";
        let config = config(text);
        let receivers = Notifier::receivers(&config, 2).unwrap();
        let notifier = Notifier::default();
        {
            let mut set = notifier.set.write().unwrap();
            set.receivers.clone_from(&receivers);
            set.external_labels = config.external_labels.clone();
            set.alert_relabel.clone_from(&config.alert_relabel);
        }
        notifier.send(["a", "Drop", "b", "c"].map(notification).to_vec());
        let [receiver] = receivers.as_slice() else {
            panic!("one receiver expected")
        };
        assert_eq!(receiver.url, "http://127.0.0.1:1/api/v2/alerts");
        assert_eq!(receiver.queue_len(), 2);
        assert_eq!(receiver.dropped.load(Ordering::Relaxed), 1);
        let batch = receiver.batch();
        assert_eq!(
            batch[0].labels.to_string(),
            r#"{alertname="b", cluster="c"}"#
        );
        let told = batch[0].json().to_string();
        assert!(
            told.contains(r#""endsAt":"1970-01-01T00:00:01.000Z""#),
            "{told}"
        );
    }
}
