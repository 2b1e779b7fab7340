//! The samples of all objects of one kind, of one namespace or of all.
//!
//! Filled by one watch ([`super::follow`]), read by the input and by the HTTP server. What a push has told
//! of and is gone since is kept until the next push ends its series.

use std::collections::BTreeMap;
use std::ops::Bound;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use kansoku_model::{MetricBatch, MetricKind};

use super::object::Object;
use super::samples::{FamilyIds, Samples};
use super::selection::Plan;

/// The most objects of a kind: five times what Kubernetes promises to bear of pods. More are left out.
const MAX_OBJECTS: usize = 750_000;

/// Namespace and name.
type Key = Box<str>;

/// The objects that a watch tells of.
pub struct Table {
    pub plan: Arc<Plan>,
    /// Only of this namespace; empty for all.
    pub namespace: String,
    /// Only these.
    pub field_selector: String,
    /// Taken for a change and for a part of a reading, never while anything is sent.
    objects: Mutex<Objects>,
    pub status: Status,
}

#[derive(Default)]
struct Objects {
    by_key: BTreeMap<Key, Entry>,
    /// What was pushed last of objects that changed or went since.
    gone: BTreeMap<Key, Samples>,
    /// Counts lists, to find what a new one lacks.
    list: u64,
    /// Whether everything was listed once.
    is_complete: bool,
    bytes: usize,
}

struct Entry {
    samples: Samples,
    /// The list that had it last.
    list: u64,
    /// Whether the last push told of it.
    is_pushed: bool,
}

/// How the watch is doing.
#[derive(Debug, Default)]
pub struct Status {
    pub n_lists: AtomicU64,
    pub n_failed_lists: AtomicU64,
    pub n_watches: AtomicU64,
    pub n_failed_watches: AtomicU64,
    /// Objects that could not be read or had no room.
    pub n_left_out: AtomicU64,
    /// Unix milliseconds of the last list, event or bookmark.
    pub heard_ms: AtomicU64,
    /// The version of the last of them; 0 while it is no number.
    pub resource_version: AtomicU64,
}

impl Status {
    /// Notes that the API told something of a version.
    pub fn heard(&self, resource_version: &str) {
        let version = resource_version.parse().unwrap_or(0);
        self.resource_version.store(version, Ordering::Relaxed);
        self.heard_ms
            .store(crate::inputs::unix_ms(), Ordering::Relaxed);
    }
}

/// Where a push goes on.
#[derive(Default)]
pub struct Cursor {
    after: Option<Key>,
    has_ended_series: bool,
}

impl Table {
    /// An empty table.
    #[must_use]
    pub fn new(plan: Arc<Plan>, namespace: &str, field_selector: String) -> Self {
        Self {
            plan,
            namespace: namespace.to_owned(),
            field_selector,
            objects: Mutex::default(),
            status: Status::default(),
        }
    }

    /// Begins a complete list.
    pub fn begin_list(&self) {
        self.objects().list += 1;
    }

    /// Ends a complete list: what it did not have is gone.
    pub fn end_list(&self) {
        let mut objects = self.objects();
        objects.is_complete = true;
        let list = objects.list;
        let missing = |(_, entry): &(&Key, &Entry)| entry.list < list;
        let keys = objects.by_key.iter().filter(missing);
        let keys: Vec<Key> = keys.map(|(key, _)| key.clone()).collect();
        for key in keys {
            objects.remove(&key);
        }
    }

    /// Adds or replaces an object.
    pub fn apply(&self, object: &Object) {
        let samples = Samples::of(&self.plan, object);
        let key = key(object);
        let mut objects = self.objects();
        if objects.by_key.len() >= MAX_OBJECTS && !objects.by_key.contains_key(&key) {
            self.status.n_left_out.fetch_add(1, Ordering::Relaxed);
            return;
        }
        if samples.is_cut {
            self.status.n_left_out.fetch_add(1, Ordering::Relaxed);
        }
        objects.remove(&key);
        objects.bytes += samples.size_bytes();
        let entry = Entry {
            samples,
            list: objects.list,
            is_pushed: false,
        };
        objects.by_key.insert(key, entry);
    }

    /// Forgets an object.
    pub fn delete(&self, object: &Object) {
        self.objects().remove(&key(object));
    }

    /// Number of objects, and bytes that are kept of them.
    #[must_use]
    pub fn size(&self) -> (usize, usize) {
        let objects = self.objects();
        (objects.by_key.len(), objects.bytes)
    }

    /// Appends the samples of one of the plan's families.
    pub fn collect(&self, family: usize, batch: &mut MetricBatch) {
        let mut ids = FamilyIds::default();
        for entry in self.objects().by_key.values() {
            let samples = &entry.samples;
            samples.write_family(family, &self.plan, &mut ids, batch);
        }
    }

    /// Appends the next objects to a batch until it has `limit_bytes`; false when there is nothing more.
    /// A push begins with `stale` for the series that the one before had and that are gone. Before the
    /// first complete list there is nothing: sums over half a cluster are wrong.
    pub fn push(
        &self,
        cursor: &mut Cursor,
        stale: f64,
        limit_bytes: usize,
        batch: &mut MetricBatch,
    ) -> bool {
        let mut ids = FamilyIds::default();
        let mut guard = self.objects();
        let objects = &mut *guard;
        if !objects.is_complete {
            return false;
        }
        while !cursor.has_ended_series && batch.size_bytes() < limit_bytes {
            let Some((key, before)) = objects.gone.pop_first() else {
                cursor.has_ended_series = true;
                break;
            };
            let now = objects.by_key.get(&key).map(|entry| &entry.samples);
            before.write_gone(now, stale, &self.plan, &mut ids, batch);
        }
        if !cursor.has_ended_series {
            return true;
        }
        let from = match &cursor.after {
            Some(key) => Bound::Excluded(&**key),
            None => Bound::Unbounded,
        };
        let rest = objects.by_key.range_mut::<str, _>((from, Bound::Unbounded));
        for (key, entry) in rest {
            if batch.size_bytes() >= limit_bytes {
                return true;
            }
            entry.samples.write(&self.plan, &mut ids, batch);
            entry.is_pushed = true;
            cursor.after = Some(key.clone());
        }
        false
    }

    fn objects(&self) -> MutexGuard<'_, Objects> {
        self.objects.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Objects {
    fn remove(&mut self, key: &str) {
        if let Some((key, entry)) = self.by_key.remove_entry(key) {
            self.bytes -= entry.samples.size_bytes();
            if entry.is_pushed {
                // No more than were pushed at once: what comes in between was never pushed.
                self.gone.entry(key).or_insert(entry.samples);
            }
        }
    }
}

fn key(object: &Object) -> Key {
    let metadata = &object.metadata;
    format!("{}/{}", metadata.namespace, metadata.name).into()
}

/// Appends how the watches are doing: kube-state-metrics' own families, and ours beside them.
pub fn write_status(tables: &[Arc<Table>], batch: &mut MetricBatch) {
    use MetricKind::{Counter, Gauge};
    type Read = fn(&Status) -> &AtomicU64;
    let get = |number: &AtomicU64| number.load(Ordering::Relaxed) as f64;
    let results: [(&str, &str, [(&str, Read); 2]); 2] = [
        (
            "kube_state_metrics_list_total",
            "Number of total resource list calls in kube-state-metrics",
            [
                ("success", |s| &s.n_lists),
                ("error", |s| &s.n_failed_lists),
            ],
        ),
        (
            "kube_state_metrics_watch_total",
            "Number of total resource watch calls in kube-state-metrics",
            [
                ("success", |s| &s.n_watches),
                ("error", |s| &s.n_failed_watches),
            ],
        ),
    ];
    for (name, help, counters) in results {
        let family = batch.family(name, Counter, help);
        for (resource, of_kind) in by_kind(tables) {
            for (result, read) in counters {
                let total = of_kind.iter().map(|t| get(read(&t.status))).sum();
                batch.sample(family, &[("result", result), ("resource", resource)], total);
            }
        }
    }
    if !tables.is_empty() {
        let help = "Current sharding ordinal/index of this instance";
        let ordinal = batch.family("kube_state_metrics_shard_ordinal", Gauge, help);
        batch.sample(ordinal, &[("shard_ordinal", "0")], 0.0);
        let help = "Number of total shards this instance is aware of";
        let total = batch.family("kube_state_metrics_total_shards", Gauge, help);
        batch.sample(total, &[], 1.0);
    }
    let gauges: [(&str, &str, fn(&Table) -> f64); 5] = [
        (
            "kansoku_kube_state_objects",
            "Objects that are kept.",
            |t| t.size().0 as f64,
        ),
        (
            "kansoku_kube_state_object_bytes",
            "Memory that is kept of objects.",
            |t| t.size().1 as f64,
        ),
        (
            "kansoku_kube_state_last_heard_timestamp_seconds",
            "When the API last told something: a list, an event or a bookmark.",
            |t| t.status.heard_ms.load(Ordering::Relaxed) as f64 / 1000.0,
        ),
        (
            "kansoku_kube_state_resource_version",
            "The newest version of the objects that the API told of.",
            |t| t.status.resource_version.load(Ordering::Relaxed) as f64,
        ),
        (
            "kansoku_kube_state_left_out_total",
            "Objects that could not be read, had no room, or have too many series.",
            |t| t.status.n_left_out.load(Ordering::Relaxed) as f64,
        ),
    ];
    for (name, help, read) in gauges {
        let kind = if name.ends_with("_total") {
            Counter
        } else {
            Gauge
        };
        let family = batch.family(name, kind, help);
        for table in tables {
            let resource = table.plan.kind.resource;
            let labels = [
                ("resource", resource),
                ("watched_namespace", &*table.namespace),
            ];
            let n_labels = if table.namespace.is_empty() { 1 } else { 2 };
            batch.sample(family, &labels[..n_labels], read(table));
        }
    }
}

fn by_kind(tables: &[Arc<Table>]) -> BTreeMap<&'static str, Vec<&Arc<Table>>> {
    let mut kinds: BTreeMap<&str, Vec<&Arc<Table>>> = BTreeMap::new();
    for table in tables {
        kinds
            .entry(table.plan.kind.go_type)
            .or_default()
            .push(table);
    }
    kinds
}
