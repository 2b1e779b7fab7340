//! Telling alerts to Alertmanagers: a queue and a sender for each, what cannot be told is counted.
//!
//! As in Prometheus (`notifier`), but a batch that fails is tried again before it is given up.
//! Alertmanagers come and go as their sources ([`super::discovery`]) say. The one rule: a slow or dead
//! Alertmanager holds up nobody; its queue drops the oldest when full.

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
use super::config::{Alertmanagers, Config};
use super::discovery::{self, Source};
use crate::http_client::config::HttpConfig;
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
    /// Whose alert it is; empty while there is one tenant.
    pub tenant: Arc<str>,
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

    fn end(&self) {
        self.is_stopping.store(true, Ordering::Relaxed);
        self.woken.notify_one();
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
        // A request is of one tenant.
        let tenant = queue.front().map(|alert| Arc::clone(&alert.tenant));
        let is_same = |alert: &&Notification| Some(&alert.tenant) == tenant.as_ref();
        let n = queue.iter().take(BATCH_MAX).take_while(is_same).count();
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
            let tenant = batch.first().map_or("", |alert| &alert.tenant);
            let sent = self.client.post(&self.url, tenant, body.clone()).await;
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

/// Alertmanagers that are reached one way, as far as they were found.
#[derive(Debug)]
pub struct Section {
    config: Alertmanagers,
    client: Client,
    queue_max: usize,
    /// Locked while targets change, and to list them.
    found: Mutex<Found>,
}

/// What the sources of a section say.
#[derive(Debug, Default)]
struct Found {
    /// By source.
    targets: Vec<Vec<LabelSet>>,
    receivers: Vec<(Arc<Receiver>, JoinHandle<()>)>,
    /// URLs of targets that relabelling left out.
    dropped: Vec<String>,
    sources: Vec<JoinHandle<()>>,
    is_over: bool,
}

/// The labels of a target that its URL is made of, besides its address.
const SCHEME: &str = "__scheme__";
const PATH: &str = "__alerts_path__";

fn url_of(labels: &LabelSet) -> String {
    let (scheme, address) = (labels.get(SCHEME), labels.get(discovery::ADDRESS));
    format!("{scheme}://{address}{}", labels.get(PATH))
}

impl Section {
    fn new(config: &Alertmanagers, queue_max: usize) -> Result<Self, String> {
        Ok(Self {
            client: Client::new(config)?,
            queue_max,
            found: Mutex::new(Found {
                targets: config.sources.iter().map(Source::first).collect(),
                ..Found::default()
            }),
            config: config.clone(),
        })
    }

    /// Begins to send and to look for more.
    fn start(self: &Arc<Self>) {
        self.sync();
        let sources = self.config.sources.iter().enumerate();
        let sources = sources.filter(|(_, source)| !matches!(source, Source::Static(_)));
        let tasks: Vec<_> = sources
            .map(|(at, source)| {
                let (this, source) = (Arc::clone(self), source.clone());
                let tell = move |targets| {
                    if let Some(of_source) = lock(&this.found).targets.get_mut(at) {
                        *of_source = targets;
                    }
                    this.sync();
                };
                tokio::spawn(source.run(tell))
            })
            .collect();
        lock(&self.found).sources = tasks;
    }

    /// Makes the receivers those that the targets say.
    fn sync(&self) {
        let mut found = lock(&self.found);
        if found.is_over {
            return;
        }
        let (mut urls, mut dropped) = (Vec::new(), Vec::new());
        for target in found.targets.iter().flatten() {
            let mut labels = target.clone();
            let scheme = if self.config.is_https {
                "https"
            } else {
                "http"
            };
            labels.set_default(SCHEME, scheme);
            labels.set_default(PATH, format!("{}/api/v2/alerts", self.config.path_prefix));
            let before = url_of(&labels);
            if !relabel(&self.config.relabel, &mut labels) {
                dropped.push(before);
                continue;
            }
            if let Err(message) = discovery::check_address(labels.get(discovery::ADDRESS)) {
                journal::warn(&format!(
                    "an Alertmanager that was found is left out: {message}"
                ));
                continue;
            }
            let url = url_of(&labels);
            if !urls.contains(&url) {
                urls.push(url);
            }
        }
        found.dropped = dropped;
        let mut old = std::mem::take(&mut found.receivers);
        for url in urls {
            let known = old.iter().position(|(receiver, _)| receiver.url == url);
            found.receivers.push(match known {
                Some(at) => old.swap_remove(at),
                None => self.receiver(url),
            });
        }
        // What they still hold is told.
        old.iter().for_each(|(receiver, _)| receiver.end());
    }

    fn receiver(&self, url: String) -> (Arc<Receiver>, JoinHandle<()>) {
        let receiver = Arc::new(Receiver {
            url,
            client: self.client.clone(),
            alert_relabel: self.config.alert_relabel.clone(),
            queue: Mutex::default(),
            queue_max: self.queue_max,
            woken: Notify::new(),
            is_stopping: AtomicBool::new(false),
            sent: AtomicU64::new(0),
            errors: AtomicU64::new(0),
            dropped: AtomicU64::new(0),
            requests: AtomicU64::new(0),
            took_us: AtomicU64::new(0),
        });
        let sender = Arc::clone(&receiver);
        let task = tokio::spawn(async move { sender.run().await });
        (receiver, task)
    }

    fn receivers(&self) -> Vec<Arc<Receiver>> {
        let found = lock(&self.found);
        let all = found.receivers.iter();
        all.map(|(receiver, _)| Arc::clone(receiver)).collect()
    }

    /// Ends everything; gives the senders, which tell what they still hold.
    fn end(&self) -> Vec<JoinHandle<()>> {
        let mut found = lock(&self.found);
        found.is_over = true;
        found.sources.drain(..).for_each(|task| task.abort());
        let receivers = found.receivers.drain(..);
        let ended = receivers.map(|(receiver, task)| {
            receiver.end();
            task
        });
        ended.collect()
    }
}

/// All Alertmanagers of a configuration.
#[derive(Debug, Default)]
struct Set {
    sections: Vec<Arc<Section>>,
    external_labels: Labels,
    alert_relabel: Vec<Rule>,
}

impl Set {
    /// Those that alerts of a tenant go to: its own, or else those that are nobody's own.
    fn of_tenant(&self, tenant: &str) -> Vec<&Arc<Section>> {
        let all = || self.sections.iter();
        let is_own = |s: &&Arc<Section>| s.config.tenants.iter().any(|name| name == tenant);
        let own: Vec<_> = all().filter(is_own).collect();
        match own.is_empty() {
            true => all().filter(|s| s.config.tenants.is_empty()).collect(),
            false => own,
        }
    }
}

/// Tells alerts to all Alertmanagers.
#[derive(Debug, Default)]
pub struct Notifier {
    /// Written when the configuration changes.
    set: RwLock<Set>,
}

impl Notifier {
    /// The sections of a configuration, checked and not yet begun.
    ///
    /// # Errors
    /// When a certificate cannot be used.
    pub fn sections(config: &Config, queue_max: usize) -> Result<Vec<Arc<Section>>, String> {
        let all = config.alertmanagers.iter();
        all.map(|one| Section::new(one, queue_max).map(Arc::new))
            .collect()
    }

    /// Goes on with other Alertmanagers; those from before tell what they still hold and end.
    pub fn apply(&self, config: &Config, mut sections: Vec<Arc<Section>>) {
        let mut set = self.set.write().unwrap_or_else(PoisonError::into_inner);
        let mut old = std::mem::take(&mut set.sections);
        for section in &mut sections {
            // What is written as before goes on: nobody has to be found again. Certificates and
            // passwords may be others though they are written the same.
            let same = old.iter().position(|o| {
                let has_files = o.config.http != HttpConfig::default();
                o.config == section.config && !has_files
            });
            match same {
                Some(at) => *section = old.swap_remove(at),
                None => section.start(),
            }
        }
        for section in old {
            section.end();
        }
        *set = Set {
            sections,
            external_labels: config.external_labels.clone(),
            alert_relabel: config.alert_relabel.clone(),
        };
    }

    /// Puts alerts of a tenant into the queues.
    pub fn send(&self, tenant: &str, alerts: Vec<Notification>) {
        let set = self.set.read().unwrap_or_else(PoisonError::into_inner);
        let external = &set.external_labels;
        let labelled = alerts.into_iter().filter_map(|alert| {
            let labels = Labels::from_pairs(external.iter().chain(alert.labels.iter()));
            relabelled(Notification { labels, ..alert }, &set.alert_relabel)
        });
        let labelled: Vec<Notification> = labelled.collect();
        for section in set.of_tenant(tenant) {
            for receiver in section.receivers() {
                let own = labelled.iter().cloned();
                receiver.push(own.filter_map(|alert| relabelled(alert, &receiver.alert_relabel)));
            }
        }
    }

    /// The Alertmanagers.
    #[must_use]
    pub fn all(&self) -> Vec<Arc<Receiver>> {
        let set = self.set.read().unwrap_or_else(PoisonError::into_inner);
        set.sections.iter().flat_map(|s| s.receivers()).collect()
    }

    /// URLs that a tenant's alerts go to, and those that relabelling left out.
    #[must_use]
    pub fn urls(&self, tenant: &str) -> (Vec<String>, Vec<String>) {
        let set = self.set.read().unwrap_or_else(PoisonError::into_inner);
        let (mut active, mut dropped) = (Vec::new(), Vec::new());
        for section in set.of_tenant(tenant) {
            active.extend(section.receivers().iter().map(|r| r.url.clone()));
            dropped.extend(lock(&section.found).dropped.iter().cloned());
        }
        (active, dropped)
    }

    /// Ends all senders, after the queues are empty if that is wanted.
    pub async fn stop(&self, drain: bool) {
        let set = {
            let mut set = self.set.write().unwrap_or_else(PoisonError::into_inner);
            std::mem::take(&mut *set)
        };
        let mut senders = Vec::new();
        for section in &set.sections {
            if !drain {
                section
                    .receivers()
                    .iter()
                    .for_each(|r| lock(&r.queue).clear());
            }
            senders.extend(section.end());
        }
        let all = async {
            for sender in senders {
                let _ = sender.await;
            }
        };
        let _ = tokio::time::timeout(DRAIN_MAX, all).await;
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
            tenant: "".into(),
        }
    }

    fn config(text: &str) -> Config {
        let roots = tree::parse("k.yml", text.as_bytes(), &mut Vec::new()).unwrap();
        let mut config = Config::default();
        for (key, node) in roots[0].pairs().unwrap() {
            config
                .read_section(&key.text, node, &mut Default::default())
                .unwrap();
        }
        config
    }

    /// Sections that look for nobody and send nothing.
    fn still(text: &str) -> Notifier {
        let config = config(text);
        let notifier = Notifier::default();
        let sections = Notifier::sections(&config, 2).unwrap();
        for section in &sections {
            section.sync();
            // Their senders would empty the queues.
            lock(&section.found)
                .receivers
                .iter()
                .for_each(|(_, task)| task.abort());
        }
        *notifier.set.write().unwrap() = Set {
            sections,
            external_labels: config.external_labels.clone(),
            alert_relabel: config.alert_relabel.clone(),
        };
        notifier
    }

    #[tokio::test]
    async fn queues_are_bounded_and_alerts_get_the_labels_of_the_place() {
        let notifier = still(
            "global: {external_labels: {cluster: c, alertname: no}}\nalerting:\n  alert_relabel_configs:\n  - {action: labeldrop, regex: replica}\n  - {action: drop, source_labels: [alertname], regex: Drop}\n  alertmanagers:\n  - static_configs: [{targets: ['127.0.0.1:1']}]\n",
        );
        notifier.send("", ["a", "Drop", "b", "c"].map(notification).to_vec());
        let receivers = notifier.all();
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

    #[tokio::test]
    async fn targets_are_relabelled_and_tenants_have_their_own() {
        let notifier = still(
            "alerting:\n  alertmanagers:\n  - static_configs: [{targets: ['a:1', 'b:1', 'b:1'], labels: {zone: z}}]\n    path_prefix: am\n    relabel_configs:\n    - {action: drop, source_labels: [__address__], regex: 'a:1'}\n    - {source_labels: [zone], regex: z, target_label: __scheme__, replacement: https}\n  - static_configs: [{targets: ['c:1']}]\n    tenants: [team]\n",
        );
        let (active, dropped) = notifier.urls("other");
        assert_eq!(active, ["https://b:1/am/api/v2/alerts"]);
        assert_eq!(dropped, ["http://a:1/am/api/v2/alerts"]);
        assert_eq!(notifier.urls("team").0, ["http://c:1/api/v2/alerts"]);
        notifier.send("team", vec![notification("x")]);
        let waiting: Vec<usize> = notifier.all().iter().map(|r| r.queue_len()).collect();
        assert_eq!(waiting, [0, 1]);
    }
}
