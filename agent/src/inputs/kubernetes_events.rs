//! `kubernetes_events`: the cluster's events, each as the API writes it.
//!
//! One watch that starts with a list. An event is known by its uid and resource version; what was
//! delivered stands in `db`, in Fluent Bit's table, so that a restart repeats nothing that is in it.
//!
//! A pod that takes the place of another has no `db` and sends the last hour again: each state of an event
//! is a source of its own, named by its content, so that a receiver that knows sources stores it once.

use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::pin::pin;
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::Context;
use crossbeam_channel::{Receiver, Sender, TryRecvError, unbounded};
use futures_util::StreamExt;
use jiff::Timestamp;
use k8s_openapi::api::core::v1::Event as ApiEvent;
use kansoku_model::{
    ConfigError, LogBatch, OptionKind, OptionSpec, Plugin, Position, RecordBatch, Resource,
    Settings, Source, SourceId, Value,
};
use kube::api::{Api, ApiResource, DynamicObject};
use kube::runtime::{WatchStreamExt, watcher};
use rusqlite::{Connection, params};

use super::kube_options;
use crate::filters::parser::now_ns;
use crate::kubernetes::Access;
use crate::log;
use crate::pipeline::Link;
use crate::plugin::{Environment, Input, InputPlugin};

/// The plugin.
pub const PLUGIN: InputPlugin = Plugin {
    name: "kubernetes_events",
    about: "Reads the cluster's events from the API.",
    options: &[
        kube_options::KUBE_URL,
        kube_options::KUBE_CA_FILE,
        kube_options::KUBE_CA_PATH,
        kube_options::KUBE_TOKEN_FILE,
        OptionSpec::new(
            "kube_token_ttl",
            OptionKind::Time,
            "10m",
            "accepted without effect: the token file is read again once a minute",
        ),
        OptionSpec::new(
            "kube_namespace",
            OptionKind::Text,
            "",
            "only events of this namespace; default all",
        ),
        OptionSpec::new(
            "kube_request_limit",
            OptionKind::Int,
            "0",
            "events per page of the list; 0 = 500",
        ),
        OptionSpec::new(
            "kube_retention_time",
            OptionKind::Time,
            "1h",
            "leave out events that are older",
        ),
        OptionSpec::new(
            "kube_watch_timeout",
            OptionKind::Time,
            "295",
            "longest time of one watch, at most 295 s; then it is taken up again",
        ),
        OptionSpec::new(
            "interval_sec",
            OptionKind::Int,
            "0",
            "accepted without effect: the watch tells at once",
        ),
        OptionSpec::new(
            "interval_nsec",
            OptionKind::Int,
            "500000000",
            "accepted without effect: the watch tells at once",
        ),
        kube_options::TLS_VERIFY,
        kube_options::TLS_VHOST,
        OptionSpec::new("tls.debug", OptionKind::Int, "0", "accepted without effect"),
        OptionSpec::new(
            "db",
            OptionKind::Text,
            "",
            "SQLite file that remembers delivered events",
        ),
        OptionSpec::new(
            "db.sync",
            OptionKind::Choice(&["off", "normal", "full", "extra"]),
            "normal",
            "SQLite's synchronous",
        ),
        OptionSpec::new(
            "db.locking",
            OptionKind::Bool,
            "off",
            "keep other processes out of the database",
        ),
        OptionSpec::new(
            "db.journal_mode",
            OptionKind::Choice(&["delete", "truncate", "persist", "memory", "wal", "off"]),
            "wal",
            "SQLite's journal_mode",
        ),
    ],
    example: "[INPUT]\n    Name  kubernetes_events\n    Tag   k8s_events\n    DB    /var/lib/kansoku/events.db\n",
    build,
};

/// Events per page of the first list.
const PAGE_SIZE: u32 = 500;
/// The API server ends longer watches by itself.
const MAX_WATCH_S: f64 = 295.0;
/// How soon a stop is noticed.
const LOOK: Duration = Duration::from_millis(250);
/// The most events that are remembered; the API server keeps an hour of them.
const MAX_REMEMBERED: usize = 200_000;

const SCHEMA: &str = "
CREATE TABLE IF NOT EXISTS in_kubernetes_events (
  id INTEGER PRIMARY KEY, uid TEXT NOT NULL, resourceVersion INTEGER NOT NULL, created INTEGER NOT NULL);
CREATE INDEX IF NOT EXISTS kansoku_events_created ON in_kubernetes_events (created);
";

struct Events {
    access: Access,
    namespace: Option<String>,
    page_size: u32,
    watch_s: u32,
    retention: Duration,
    db: Option<(PathBuf, [String; 2], bool)>,
    host_name: Arc<str>,
}

fn build(settings: &Settings, environment: &Environment) -> Result<Box<dyn Input>, ConfigError> {
    settings.check(PLUGIN.options)?;
    let own = |key: &str| settings.get(key).map(|s| s.value.clone());
    let limit = settings.int("kube_request_limit", 0)?;
    let retention_s = settings.seconds("kube_retention_time", 3600.0)?;
    let watch_s = settings.seconds("kube_watch_timeout", MAX_WATCH_S)?;
    let pragmas = [
        settings.text("db.sync", "normal").to_owned(),
        settings.text("db.journal_mode", "wal").to_owned(),
    ];
    let locking = settings.bool("db.locking", false)?;
    Ok(Box::new(Events {
        access: kube_options::access(settings)?,
        namespace: own("kube_namespace"),
        page_size: u32::try_from(limit)
            .ok()
            .filter(|n| *n > 0)
            .unwrap_or(PAGE_SIZE),
        watch_s: if watch_s < 1.0 {
            MAX_WATCH_S
        } else {
            watch_s.min(MAX_WATCH_S)
        } as u32,
        retention: Duration::from_secs_f64(retention_s.min(1e9)),
        db: own("db").map(|path| (path.into(), pragmas, locking)),
        host_name: environment.host_name.clone(),
    }))
}

/// Names one state of one event.
type Key = (String, u64);

/// The events that were delivered or are on their way, with their times in Unix seconds.
struct Seen {
    events: HashMap<Key, i64>,
    connection: Option<Connection>,
}

impl Seen {
    fn open(db: Option<&(PathBuf, [String; 2], bool)>) -> anyhow::Result<Self> {
        let mut seen = Self {
            events: HashMap::new(),
            connection: None,
        };
        if let Some((path, pragmas, locking)) = db {
            let connection = seen
                .load(path, pragmas, *locking)
                .with_context(|| format!("failed to open {}", path.display()))?;
            seen.connection = Some(connection);
        }
        Ok(seen)
    }

    fn load(
        &mut self,
        path: &Path,
        [sync, journal]: &[String; 2],
        locking: bool,
    ) -> rusqlite::Result<Connection> {
        let connection = Connection::open(path)?;
        if locking {
            connection.pragma_update(None, "locking_mode", "EXCLUSIVE")?;
        }
        connection.pragma_update_and_check(None, "journal_mode", journal, |_| Ok(()))?;
        connection.pragma_update(None, "synchronous", sync)?;
        connection.execute_batch(SCHEMA)?;
        let sql = "SELECT uid, resourceVersion, created FROM in_kubernetes_events";
        let mut query = connection.prepare(sql)?;
        let rows = query.query_map([], |r| {
            let version: i64 = r.get(1)?;
            Ok(((r.get(0)?, version.cast_unsigned()), r.get(2)?))
        })?;
        for row in rows {
            let (key, created) = row?;
            self.events.insert(key, created);
        }
        drop(query);
        Ok(connection)
    }

    /// Notes what was delivered and forgets what is too old to come again.
    fn save(&mut self, delivered: &[Key], oldest_s: i64) -> rusqlite::Result<()> {
        if let Some(connection) = &mut self.connection {
            let transaction = connection.transaction()?;
            for key in delivered {
                let created = self.events.get(key).copied().unwrap_or_default();
                transaction.execute(
                    "INSERT INTO in_kubernetes_events (uid, resourceVersion, created) VALUES (?1, ?2, ?3)",
                    params![key.0, key.1.cast_signed(), created],
                )?;
            }
            transaction.execute(
                "DELETE FROM in_kubernetes_events WHERE created < ?1",
                [oldest_s],
            )?;
            transaction.commit()?;
        }
        self.events.retain(|_, created| *created >= oldest_s);
        Ok(())
    }
}

impl Input for Events {
    fn run(self: Box<Self>, link: Link) -> anyhow::Result<()> {
        // A runtime on this thread: sending blocks it, and with it the watch. That is back-pressure.
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()
            .context("failed to start a runtime")?;
        let (acknowledge, acknowledged) = unbounded();
        let mut reader = Reader {
            component: format!("input:{}", link.counters.name),
            resource: Arc::new(Resource::of_host(&self.host_name)),
            seen: Seen::open(self.db.as_ref())?,
            retention: self.retention,
            under_way: 0,
            acknowledge,
            acknowledged,
            delivered: Vec::new(),
            link,
        };
        runtime.block_on(reader.follow(&self))?;
        reader.leave();
        Ok(())
    }
}

struct Reader {
    link: Link,
    component: String,
    resource: Arc<Resource>,
    seen: Seen,
    retention: Duration,
    under_way: usize,
    acknowledge: Sender<Key>,
    acknowledged: Receiver<Key>,
    /// Acknowledged and not yet in the database.
    delivered: Vec<Key>,
}

impl Reader {
    async fn follow(&mut self, options: &Events) -> anyhow::Result<()> {
        let client = options
            .access
            .client()
            .await
            .context("cannot reach the Kubernetes API")?;
        let resource = ApiResource::erase::<ApiEvent>(&());
        let api: Api<DynamicObject> = match &options.namespace {
            Some(namespace) => Api::namespaced_with(client, namespace, &resource),
            None => Api::all_with(client, &resource),
        };
        let config = watcher::Config::default()
            .page_size(options.page_size)
            .timeout(options.watch_s);
        let mut stream = pin!(watcher(api, config).default_backoff());
        let mut next_save = Instant::now() + LOOK;
        loop {
            let event = tokio::time::timeout(LOOK, stream.next()).await;
            if self.link.stop.try_recv() != Err(TryRecvError::Empty) {
                return Ok(());
            }
            match event {
                Ok(Some(Ok(watcher::Event::InitApply(event) | watcher::Event::Apply(event)))) => {
                    if !self.take(event) {
                        return Ok(());
                    }
                }
                Ok(Some(Err(error))) => log::warn(
                    &self.component,
                    format_args!("cannot watch events, trying again: {error}"),
                ),
                Ok(None) => return Ok(()),
                // A deleted event is one that the API server expired.
                Ok(Some(Ok(_))) | Err(_) => {}
            }
            if Instant::now() >= next_save {
                self.save();
                next_save = Instant::now() + LOOK;
            }
        }
    }

    /// Sends an event that is new; false when the agent stops.
    fn take(&mut self, event: DynamicObject) -> bool {
        let Ok(object) = serde_json::to_value(event) else {
            return true;
        };
        let Some((key, time_ns)) = key_and_time(&object) else {
            log::warn(
                &self.component,
                "an event without uid and version is left out",
            );
            return true;
        };
        let oldest_s = self.oldest_s();
        let created_s = time_ns.div_euclid(1_000_000_000);
        if created_s < oldest_s || self.seen.events.contains_key(&key) {
            return true;
        }
        if self.seen.events.len() >= MAX_REMEMBERED {
            self.seen.events.retain(|_, created| *created >= oldest_s);
        }
        self.seen.events.insert(key.clone(), created_s);
        let batch = self.batch(&object, &key, time_ns);
        let acknowledge = self.acknowledge.clone();
        self.under_way += 1;
        let done = Box::new(move || {
            // The input may have left already.
            let _ = acknowledge.send(key);
        });
        self.link.send(RecordBatch::Logs(batch), Some(done)).is_ok()
    }

    fn batch(&self, object: &serde_json::Value, key: &Key, time_ns: i64) -> LogBatch {
        let (tag, resource) = (self.link.tag.clone(), self.resource.clone());
        let mut batch = LogBatch::new(tag, resource, Vec::new());
        let row = batch.push(time_ns, Position::at(1));
        batch.source = Source {
            id: source_of(key, time_ns),
            from: Position::at(0),
            to: Position::at(1),
        };
        fill(&mut batch, row, object);
        batch
    }

    fn oldest_s(&self) -> i64 {
        let retention_s = i64::try_from(self.retention.as_secs()).unwrap_or(i64::MAX);
        (now_ns() / 1_000_000_000).saturating_sub(retention_s)
    }

    fn save(&mut self) {
        while let Ok(key) = self.acknowledged.try_recv() {
            self.under_way -= 1;
            self.delivered.push(key);
        }
        if self.delivered.is_empty() {
            return;
        }
        match self.seen.save(&self.delivered, self.oldest_s()) {
            Ok(()) => self.delivered.clear(),
            Err(error) => log::error(
                &self.component,
                format_args!("cannot note delivered events; trying again: {error}"),
            ),
        }
    }

    /// Waits for the last acknowledgements and notes them.
    fn leave(&mut self) {
        self.save();
        while self.under_way > 0 {
            crossbeam_channel::select! {
                recv(self.acknowledged) -> key => {
                    if let Ok(key) = key {
                        self.under_way -= 1;
                        self.delivered.push(key);
                    }
                }
                recv(self.link.closed) -> _ => break,
            }
        }
        self.save();
    }
}

/// The members of an event become the fields of its record.
fn fill(batch: &mut LogBatch, row: usize, object: &serde_json::Value) {
    for (name, value) in object.as_object().into_iter().flatten() {
        let value = match value {
            serde_json::Value::Null => Value::Null,
            serde_json::Value::Bool(b) => Value::Bool(*b),
            serde_json::Value::Number(n) => match n.as_i64() {
                Some(i) => Value::Int(i),
                None => Value::Float(n.as_f64().unwrap_or_default()),
            },
            serde_json::Value::String(text) => Value::Text(batch.store(text.as_bytes())),
            nested => Value::Json(batch.store(nested.to_string().as_bytes())),
        };
        let column = batch.column_index_or_insert(name);
        batch.set(column, row, value);
    }
}

/// An event of the watch as a batch.
#[cfg(feature = "fuzzing")]
pub(crate) fn read_event(event: &[u8]) -> Option<LogBatch> {
    let event: DynamicObject = serde_json::from_slice(event).ok()?;
    let object = serde_json::to_value(event).ok()?;
    let (_, time_ns) = key_and_time(&object)?;
    let mut batch = LogBatch::default();
    let row = batch.push(time_ns, Position::at(1));
    fill(&mut batch, row, &object);
    batch.source.to = Position::at(1);
    Some(batch)
}

/// The source of one state of an event. The time is part of it: a cluster that was restored counts its
/// versions anew.
fn source_of((uid, version): &Key, time_ns: i64) -> SourceId {
    SourceId::brief(format!("kubernetes_events {uid} {version} {time_ns}").as_bytes())
}

/// What names an event, and when it happened: its last time, else its first, else its creation.
fn key_and_time(object: &serde_json::Value) -> Option<(Key, i64)> {
    let metadata = &object["metadata"];
    let version = metadata["resourceVersion"].as_str()?.parse().ok()?;
    let key = (metadata["uid"].as_str()?.to_owned(), version);
    let times = [
        &object["lastTimestamp"],
        &object["firstTimestamp"],
        &object["eventTime"],
        &metadata["creationTimestamp"],
    ];
    let time: Timestamp = (times.iter()).find_map(|t| t.as_str()?.parse().ok())?;
    Some((key, i64::try_from(time.as_nanosecond()).ok()?))
}

#[cfg(test)]
mod tests {
    use kansoku_model::json;

    use super::*;

    fn event(uid: &str, version: &str, time_s: i64) -> DynamicObject {
        let time = Timestamp::from_second(time_s).expect("a time").to_string();
        serde_json::from_value(serde_json::json!({
            "apiVersion": "v1", "kind": "Event",
            "metadata": {"name": "web.1", "namespace": "shop", "uid": uid, "resourceVersion": version},
            "involvedObject": {"kind": "Pod", "name": "web-1"}, "reason": "BackOff", "count": 3,
            "message": "Back-off restarting failed container", "lastTimestamp": time, "firstTimestamp": null,
        }))
        .expect("an event")
    }

    fn reader(db: &Path) -> (Reader, crate::pipeline::Captured) {
        let (link, captured) = Link::captured("k8s_events", Duration::from_secs(1));
        let (acknowledge, acknowledged) = unbounded();
        let pragmas = ["normal".to_owned(), "wal".to_owned()];
        let reader = Reader {
            link,
            component: "input:test".into(),
            resource: Arc::default(),
            seen: Seen::open(Some(&(db.to_owned(), pragmas, false))).expect("a database"),
            retention: Duration::from_secs(3600),
            under_way: 0,
            acknowledge,
            acknowledged,
            delivered: Vec::new(),
        };
        (reader, captured)
    }

    #[test]
    fn each_state_of_an_event_comes_once_even_after_a_restart() {
        let dir = tempfile::tempdir().expect("a folder");
        let db = dir.path().join("events.db");
        let now_s = now_ns() / 1_000_000_000;
        let (mut first, captured) = reader(&db);
        for (uid, version, time_s) in [
            ("a", "1", now_s),
            ("a", "1", now_s),
            ("a", "2", now_s),
            ("b", "3", now_s - 4000),
        ] {
            assert!(first.take(event(uid, version, time_s)));
        }
        let batches = captured.take();
        assert_eq!(batches.len(), 2, "the repeat and the old one are left out");
        let RecordBatch::Logs(batch) = &*batches[0] else {
            panic!("logs")
        };
        assert_eq!(batch.times(), [now_s * 1_000_000_000]);
        let mut out = b"{".to_vec();
        json::write_fields(&mut out, batch, 0, true);
        out.push(b'}');
        let object: serde_json::Value = serde_json::from_slice(&out).expect("JSON");
        assert_eq!(object["involvedObject"]["name"], "web-1");
        assert_eq!(
            (&object["count"], &object["reason"]),
            (&3.into(), &"BackOff".into())
        );
        first.leave();

        let (mut second, captured) = reader(&db);
        assert!(second.take(event("a", "2", now_s)));
        assert!(second.take(event("c", "4", now_s)));
        assert_eq!(captured.take().len(), 1);
    }

    #[test]
    fn a_reader_without_the_database_sends_each_state_under_the_same_name() {
        let dir = tempfile::tempdir().expect("a folder");
        let now_s = now_ns() / 1_000_000_000;
        let sources = |name: &str| {
            let (mut reader, captured) = reader(&dir.path().join(name));
            for (uid, version) in [("a", "1"), ("a", "2"), ("b", "2")] {
                assert!(reader.take(event(uid, version, now_s)));
            }
            let batches = captured.take();
            let sources = batches.iter().map(|batch| *batch.source());
            sources.map(|s| (s.id, s.from, s.to)).collect::<Vec<_>>()
        };
        let first = sources("one.db");
        assert_eq!(first, sources("two.db"));
        let ids: std::collections::BTreeSet<_> = first.iter().map(|s| s.0).collect();
        assert_eq!(ids.len(), 3, "each state is one of its own");
    }
}
