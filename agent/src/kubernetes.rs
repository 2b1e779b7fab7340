//! What the cluster knows of this node's pods, kept by one watch.
//!
//! The table is read on the data path and filled off it: a reader never asks the API. While the API
//! is away the table keeps what it had. Pods that are gone stay for a while, because their last lines
//! are read late.

mod client;
mod kubelet;
pub mod namespaces;
pub(crate) mod node;
pub mod runtime;
pub(crate) mod watch;

use std::collections::{HashMap, HashSet, VecDeque};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

pub use namespaces::{Namespace, Namespaces};
pub use runtime::{RuntimePlace, RuntimeTable};
pub use watch::{Access, reduce, watch};

/// How long a pod that was deleted is remembered.
const KEEP_DELETED: Duration = Duration::from_secs(3600);
/// How many deleted pods are remembered at the most: a node runs 110 pods by default, and jobs that
/// come and go every second fill this in a quarter of an hour.
const MAX_DELETED: usize = 1000;
/// How long a reader may wait for a pod that is too new for the table, once for each pod.
pub const NEW_POD_WAIT: Duration = Duration::from_secs(2);
/// How long readers wait for the first list, all together: what lies on the node when the agent starts
/// would else go out without what the cluster knows of it.
const FIRST_LIST_WAIT: Duration = Duration::from_secs(10);
/// After a wait in vain none is tried for this long: what the API does not know now, it will not
/// know for the next file either.
const NO_WAIT_AFTER_MISS: Duration = Duration::from_secs(10);

/// A pod of this node.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Pod {
    pub namespace: String,
    pub name: String,
    pub uid: String,
    /// For static pods the uid that the kubelet uses in cgroup paths; else empty.
    pub config_hash: String,
    /// `spec.nodeName`.
    pub node: String,
    pub ip: String,
    pub host_ip: String,
    /// `Pending`, `Running`, `Succeeded`, `Failed` or `Unknown`.
    pub phase: String,
    /// The condition `Ready`: `True`, `False` or `Unknown`; empty when there is none.
    pub ready: String,
    pub labels: Vec<(String, String)>,
    pub annotations: Vec<(String, String)>,
    /// `metadata.ownerReferences` as JSON; empty when there are none.
    pub owners: String,
    pub containers: Vec<Container>,
}

/// A container of a pod, also init and ephemeral ones.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Container {
    pub name: String,
    /// 64 hex digits, without the runtime's prefix; empty before the first start.
    pub id: String,
    /// The id before the last restart; else empty.
    pub last_id: String,
    pub image: String,
    /// Image with digest, without the runtime's prefix.
    pub image_id: String,
    pub kind: ContainerKind,
    /// What the id's prefix names: `containerd`, `cri-o`, `docker`.
    pub runtime: String,
    /// The image as the pod's specification writes it.
    pub specified_image: String,
    pub ports: Vec<Port>,
}

/// Which list of the pod's specification a container is in.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum ContainerKind {
    #[default]
    App,
    Init,
    Ephemeral,
}

/// A port that a container declares.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Port {
    pub name: String,
    pub number: u16,
    pub protocol: String,
}

impl Pod {
    /// The container of that name.
    #[must_use]
    pub fn container(&self, name: &str) -> Option<&Container> {
        self.containers.iter().find(|c| c.name == name)
    }

    /// The value of an annotation.
    #[must_use]
    pub fn annotation(&self, name: &str) -> Option<&str> {
        let found = self.annotations.iter().find(|(n, _)| n == name);
        found.map(|(_, v)| v.as_str())
    }
}

/// A pod and one of its containers.
#[derive(Debug, Clone)]
pub struct FoundContainer {
    pub pod: Arc<Pod>,
    index: usize,
}

impl FoundContainer {
    /// The container.
    #[must_use]
    pub fn container(&self) -> &Container {
        &self.pod.containers[self.index]
    }
}

/// How the watch is doing.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum WatchState {
    /// No watch runs: no cluster, or nobody wants one.
    #[default]
    Off,
    /// It has been started and has not listed the pods yet.
    Starting,
    /// The table is complete.
    Synced,
    /// The API does not answer.
    Failing,
}

/// Pods of this node by namespace and name, by uid, and by container id.
#[derive(Debug, Default)]
pub struct Pods {
    /// Held for single look-ups and single changes.
    table: Mutex<Table>,
    /// Told whenever the table or the state of the watch changes.
    changed: Condvar,
    /// Grows with every change, so that readers know that what they keep may be old.
    generation: AtomicU64,
    /// Containers as the node's runtime knows them, when container metrics are wanted.
    pub runtime: RuntimeTable,
    /// Namespaces, when some plugin wants them.
    pub namespaces: Namespaces,
    wants_namespaces: AtomicBool,
    /// Whether namespaces were listed, or could not be.
    has_namespaces: AtomicBool,
    /// Told when a reader misses a pod.
    missing: tokio::sync::Notify,
    /// Set when some plugin wants the table filled.
    access: Mutex<Option<Access>>,
}

#[derive(Debug, Default)]
struct Table {
    state: WatchState,
    by_name: HashMap<(String, String), Arc<Pod>>,
    by_uid: HashMap<String, Arc<Pod>>,
    by_container: HashMap<String, FoundContainer>,
    /// Gone pods that are still remembered, the oldest first, and their uids.
    deleted: VecDeque<(Instant, Arc<Pod>)>,
    deleted_uids: HashSet<String>,
    last_miss: Option<Instant>,
    /// When the first reader waited for the first list.
    first_asked: Option<Instant>,
}

impl Pods {
    /// Asks for the table to be filled; the first that names an API decides which.
    pub fn want(&self, access: Access) {
        let mut wanted = self.access.lock().unwrap_or_else(PoisonError::into_inner);
        match &*wanted {
            Some(first) if *first != Access::default() => {}
            _ => *wanted = Some(access),
        }
    }

    /// How to reach the API, when some plugin wants the table filled.
    #[must_use]
    pub fn wanted(&self) -> Option<Access> {
        self.access
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .clone()
    }

    /// Asks for namespaces, too.
    pub fn want_namespaces(&self) {
        self.wants_namespaces.store(true, Ordering::Release);
    }

    /// Whether some plugin wants namespaces.
    #[must_use]
    pub fn wants_namespaces(&self) -> bool {
        self.wants_namespaces.load(Ordering::Acquire)
    }

    /// Told before any reader asks: a watch will be started if some plugin wants the table.
    pub fn expect_list(&self) {
        let is_wanted = self.wanted().is_some();
        let mut table = self.table();
        if is_wanted && table.state == WatchState::Off {
            table.state = WatchState::Starting;
        }
    }

    /// Waits until the pods, and the namespaces when they are wanted, have been listed once or cannot be;
    /// not longer than [`FIRST_LIST_WAIT`] after the first reader asked.
    pub fn wait_for_first_list(&self) {
        let mut table = self.table();
        if !self.is_first_list_due(&table) {
            return;
        }
        let since = *table.first_asked.get_or_insert_with(Instant::now);
        while self.is_first_list_due(&table) {
            let left = FIRST_LIST_WAIT.saturating_sub(since.elapsed());
            if left.is_zero() {
                return;
            }
            let waited = self.changed.wait_timeout(table, left);
            table = waited.unwrap_or_else(PoisonError::into_inner).0;
        }
    }

    fn is_first_list_due(&self, table: &Table) -> bool {
        let namespaces_due =
            self.wants_namespaces() && !self.has_namespaces.load(Ordering::Acquire);
        match table.state {
            WatchState::Starting => true,
            WatchState::Synced => namespaces_due,
            WatchState::Off | WatchState::Failing => false,
        }
    }

    /// Namespaces were listed, or cannot be now.
    fn namespaces_answered(&self) {
        // Under the lock, so that no reader falls asleep between its look and this.
        let _table = self.table();
        self.has_namespaces.store(true, Ordering::Release);
        self.changed.notify_all();
    }

    /// Tells readers that what they keep may be old.
    pub fn touch(&self) {
        self.generation.fetch_add(1, Ordering::Release);
    }

    /// Waits until a reader misses a pod.
    pub async fn missed(&self) {
        self.missing.notified().await;
    }

    /// Grows with every change of the table.
    #[must_use]
    pub fn generation(&self) -> u64 {
        self.generation.load(Ordering::Acquire)
    }

    /// Number of pods, deleted ones that are still remembered included.
    #[must_use]
    pub fn len(&self) -> usize {
        self.table().by_uid.len()
    }

    /// Whether the table is empty.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// All pods but the deleted ones.
    #[must_use]
    pub fn all(&self) -> Vec<Arc<Pod>> {
        let table = self.table();
        let pods = table.by_uid.iter();
        let own = pods.filter(|(uid, pod)| **uid == pod.uid && !table.deleted_uids.contains(*uid));
        own.map(|(_, pod)| pod.clone()).collect()
    }

    /// The newest pod of that name.
    #[must_use]
    pub fn by_name(&self, namespace: &str, name: &str) -> Option<Arc<Pod>> {
        self.table().find(namespace, name)
    }

    /// The pod with that uid, as the API or as a cgroup path writes it.
    #[must_use]
    pub fn by_uid(&self, uid: &str) -> Option<Arc<Pod>> {
        self.table().by_uid.get(uid).cloned()
    }

    /// The container with that id (64 hex digits).
    #[must_use]
    pub fn by_container_id(&self, id: &str) -> Option<FoundContainer> {
        self.table().by_container.get(id).cloned()
    }

    /// As [`by_name`](Self::by_name), but waits for a pod that is too new for the table: until
    /// [`NEW_POD_WAIT`] is over, only while the watch works, and not again soon after a wait in vain.
    #[must_use]
    pub fn wait_by_name(&self, namespace: &str, name: &str) -> Option<Arc<Pod>> {
        let deadline = Instant::now() + NEW_POD_WAIT;
        let mut table = self.table();
        if let Some(pod) = table.find(namespace, name) {
            return Some(pod);
        }
        if table
            .last_miss
            .is_some_and(|at| at.elapsed() < NO_WAIT_AFTER_MISS)
        {
            return None;
        }
        self.missing.notify_one();
        while matches!(table.state, WatchState::Starting | WatchState::Synced) {
            let left = deadline.saturating_duration_since(Instant::now());
            if left.is_zero() {
                table.last_miss = Some(Instant::now());
                break;
            }
            let waited = self.changed.wait_timeout(table, left);
            table = waited.unwrap_or_else(PoisonError::into_inner).0;
            if let Some(pod) = table.find(namespace, name) {
                return Some(pod);
            }
        }
        None
    }

    /// Adds or replaces a pod.
    pub fn apply(&self, pod: Pod) {
        self.change(|table| table.insert(Arc::new(pod)));
    }

    /// Marks a pod as gone.
    pub fn delete(&self, uid: &str, now: Instant) {
        self.change(|table| {
            if let Some(pod) = table.by_uid.get(uid).cloned() {
                table.delete(pod, now);
            }
        });
    }

    /// Puts a complete list in place: pods that it lacks are gone.
    pub fn replace(&self, pods: Vec<Pod>, now: Instant) {
        self.change(|table| {
            let listed: HashSet<&str> = pods.iter().map(|p| p.uid.as_str()).collect();
            let gone: Vec<Arc<Pod>> = (table.by_uid.values())
                .filter(|old| !listed.contains(old.uid.as_str()))
                .filter(|old| !table.deleted_uids.contains(&old.uid))
                .cloned()
                .collect();
            for pod in gone {
                table.delete(pod, now);
            }
            for pod in pods {
                table.insert(Arc::new(pod));
            }
            table.state = WatchState::Synced;
        });
    }

    /// Tells how the watch is doing.
    pub fn set_state(&self, state: WatchState) {
        self.table().state = state;
        self.changed.notify_all();
    }

    /// How the watch is doing.
    #[must_use]
    pub fn state(&self) -> WatchState {
        self.table().state
    }

    fn table(&self) -> MutexGuard<'_, Table> {
        self.table.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn change(&self, change: impl FnOnce(&mut Table)) {
        change(&mut self.table());
        self.generation.fetch_add(1, Ordering::Release);
        self.changed.notify_all();
    }
}

impl Table {
    fn find(&self, namespace: &str, name: &str) -> Option<Arc<Pod>> {
        // Two allocations, once per source and change of the table, not per record.
        self.by_name
            .get(&(namespace.to_owned(), name.to_owned()))
            .cloned()
    }

    fn insert(&mut self, pod: Arc<Pod>) {
        // What the API says now counts, also when the pod was thought to be gone.
        if self.deleted_uids.remove(&pod.uid) {
            self.deleted.retain(|(_, old)| old.uid != pod.uid);
        }
        for (index, container) in pod.containers.iter().enumerate() {
            for id in [&container.id, &container.last_id] {
                if !id.is_empty() {
                    let found = FoundContainer {
                        pod: pod.clone(),
                        index,
                    };
                    self.by_container.insert(id.clone(), found);
                }
            }
        }
        if !pod.config_hash.is_empty() {
            self.by_uid.insert(pod.config_hash.clone(), pod.clone());
        }
        self.by_name
            .insert((pod.namespace.clone(), pod.name.clone()), pod.clone());
        self.by_uid.insert(pod.uid.clone(), pod);
    }

    fn delete(&mut self, pod: Arc<Pod>, now: Instant) {
        if self.deleted_uids.insert(pod.uid.clone()) {
            self.deleted.push_back((now, pod));
        }
        while let Some((since, _)) = self.deleted.front() {
            if self.deleted.len() <= MAX_DELETED && now.duration_since(*since) < KEEP_DELETED {
                break;
            }
            if let Some((_, old)) = self.deleted.pop_front() {
                self.forget(&old);
            }
        }
    }

    fn forget(&mut self, pod: &Pod) {
        let key = (pod.namespace.clone(), pod.name.clone());
        // A successor of the same name stays.
        if self.by_name.get(&key).is_some_and(|p| p.uid == pod.uid) {
            self.by_name.remove(&key);
        }
        for uid in [&pod.uid, &pod.config_hash] {
            self.by_uid.remove(uid);
        }
        for id in pod.containers.iter().flat_map(|c| [&c.id, &c.last_id]) {
            if self
                .by_container
                .get(id)
                .is_some_and(|found| found.pod.uid == pod.uid)
            {
                self.by_container.remove(id);
            }
        }
        self.deleted_uids.remove(&pod.uid);
    }
}

/// The pods in a kubelet's answer.
#[cfg(feature = "fuzzing")]
pub(crate) fn kubelet_pods(answer: &[u8]) -> Option<Vec<Pod>> {
    use k8s_openapi::{List, api::core::v1::Pod as ApiPod};
    let list: List<ApiPod> = serde_json::from_slice(answer).ok()?;
    Some(list.items.into_iter().map(reduce).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pod(name: &str, uid: &str, container_id: &str) -> Pod {
        Pod {
            namespace: "ns".into(),
            name: name.into(),
            uid: uid.into(),
            containers: vec![Container {
                name: "app".into(),
                id: container_id.into(),
                ..Container::default()
            }],
            ..Pod::default()
        }
    }

    #[test]
    fn a_successor_of_the_same_name_leaves_the_old_container_known() {
        let pods = Pods::default();
        let now = Instant::now();
        pods.apply(pod("db-0", "u1", "c1"));
        let generation = pods.generation();
        pods.delete("u1", now);
        pods.apply(pod("db-0", "u2", "c2"));
        assert!(pods.generation() > generation);
        assert_eq!(
            pods.by_name("ns", "db-0").map(|p| p.uid.clone()).as_deref(),
            Some("u2")
        );
        assert_eq!(
            pods.by_container_id("c1")
                .map(|f| f.pod.uid.clone())
                .as_deref(),
            Some("u1")
        );
        assert_eq!(
            pods.by_container_id("c2")
                .map(|f| f.container().name.clone())
                .as_deref(),
            Some("app")
        );
        // Much later the next deletion lets the old one go, but not the successor's name.
        pods.apply(pod("x", "u3", "c3"));
        pods.delete("u3", now + KEEP_DELETED);
        assert!(pods.by_container_id("c1").is_none() && pods.by_uid("u1").is_none());
        assert!(pods.by_name("ns", "db-0").is_some());
    }

    #[test]
    fn a_new_list_marks_what_it_lacks_as_gone_and_bounds_it() {
        let pods = Pods::default();
        let now = Instant::now();
        for i in 0..MAX_DELETED + 5 {
            pods.replace(vec![pod(&format!("p{i}"), &format!("u{i}"), "")], now);
        }
        assert_eq!(pods.len(), MAX_DELETED + 1);
        assert!(pods.by_name("ns", "p0").is_none());
        assert!(
            pods.by_name("ns", &format!("p{}", MAX_DELETED + 4))
                .is_some()
        );
        assert_eq!(pods.state(), WatchState::Synced);
    }

    #[test]
    fn nobody_waits_while_there_is_no_watch() {
        let pods = Pods::default();
        for state in [WatchState::Off, WatchState::Failing] {
            pods.set_state(state);
            assert!(pods.wait_by_name("ns", "x").is_none());
        }
        assert!(pods.table().last_miss.is_none());
    }

    #[test]
    fn readers_wait_for_the_first_list() {
        let pods = Arc::new(Pods::default());
        pods.expect_list();
        // Nobody wants it: nobody waits.
        pods.wait_for_first_list();
        pods.want(Access::default());
        pods.want_namespaces();
        pods.expect_list();
        assert_eq!(pods.state(), WatchState::Starting);
        let other = pods.clone();
        let waiting = std::thread::spawn(move || {
            other.wait_for_first_list();
            other.by_name("ns", "old").is_some() && other.has_namespaces.load(Ordering::Acquire)
        });
        while pods.table().first_asked.is_none() {
            std::thread::yield_now();
        }
        pods.replace(vec![pod("old", "u", "c")], Instant::now());
        pods.namespaces_answered();
        assert!(waiting.join().expect("no panic"));
        for state in [WatchState::Off, WatchState::Failing] {
            pods.set_state(state);
            pods.wait_for_first_list();
        }
    }

    #[test]
    fn a_waiting_reader_gets_the_pod_when_it_comes() {
        let pods = Arc::new(Pods::default());
        pods.set_state(WatchState::Synced);
        let other = pods.clone();
        let waiting = std::thread::spawn(move || other.wait_by_name("ns", "late"));
        pods.apply(pod("late", "u", "c"));
        assert!(waiting.join().expect("no panic").is_some());
    }

    #[test]
    fn the_api_that_is_named_wins_over_the_default_one() {
        let pods = Pods::default();
        assert!(pods.wanted().is_none());
        pods.want(Access::default());
        let named = Access {
            url: Some("https://api:6443".into()),
            ..Access::default()
        };
        pods.want(named.clone());
        pods.want(Access::default());
        assert_eq!(pods.wanted(), Some(named));
    }
}
