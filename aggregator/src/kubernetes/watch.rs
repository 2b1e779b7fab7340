//! A copy of all objects of one kind, kept up to date by a list and a watch.
//!
//! Lists come in pages; a watch begins where the list ended and goes on where it broke off, with
//! bookmarks so that quiet kinds do not fall behind; when the API has forgotten that place (410), all is
//! listed anew. The one rule: objects vanish from the copy only when the API says so.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use http_body_util::BodyExt as _;
use hyper::Method;
use hyper::body::Incoming;
use serde_json::Value;
use tokio::sync::watch;
use tokio::task::JoinSet;

use super::access::{Access, Api};
use crate::http_client::{error_text, oauth2::encoded};
use crate::journal;

/// What a page may take, and how long it may need.
const PAGE_MAX_BYTES: usize = 256 << 20;
const PAGE_TIMEOUT: Duration = Duration::from_secs(60);
/// The largest object: etcd takes 1.5 MiB.
const EVENT_MAX_BYTES: usize = 16 << 20;
/// How long the API holds a watch open, and how long nothing at all may come on it.
const WATCH_SECONDS: u64 = 300;
const SILENCE_MAX: Duration = Duration::from_secs(WATCH_SECONDS + 30);
/// Waits after failures.
const FIRST_WAIT: Duration = Duration::from_secs(1);
const WAIT_MAX: Duration = Duration::from_secs(30);

/// How much a copy may hold.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Bounds {
    /// Objects of a page of a list.
    pub page: usize,
    pub objects: usize,
    /// Of all objects together, as JSON.
    pub bytes: usize,
}

impl Default for Bounds {
    /// More objects of a kind than any cluster should have.
    fn default() -> Self {
        Self {
            page: 500,
            objects: 200_000,
            bytes: 1 << 30,
        }
    }
}

/// What is watched.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Kind {
    /// Such as `/apis/monitoring.coreos.com/v1` or `/api/v1`.
    pub group: &'static str,
    /// In the plural.
    pub resource: &'static str,
    /// `None` for all namespaces.
    pub namespace: Option<String>,
    pub label_selector: String,
    pub field_selector: String,
    /// What to do when the API knows no such kind.
    pub cure: &'static str,
    pub bounds: Bounds,
}

impl Kind {
    fn path(&self) -> String {
        let Self {
            group, resource, ..
        } = self;
        match &self.namespace {
            Some(namespace) => format!("{group}/namespaces/{}/{resource}", encoded(namespace)),
            None => format!("{group}/{resource}"),
        }
    }

    fn query(&self) -> String {
        let mut text = String::new();
        for (name, value) in [
            ("labelSelector", &self.label_selector),
            ("fieldSelector", &self.field_selector),
        ] {
            if !value.is_empty() {
                text += &format!("&{name}={}", encoded(value));
            }
        }
        text
    }

    /// For messages.
    #[must_use]
    pub fn shown(&self) -> String {
        match &self.namespace {
            Some(namespace) => format!("{} in namespace {namespace}", self.resource),
            None => self.resource.to_owned(),
        }
    }
}

/// Objects by namespace and name.
pub type Objects = BTreeMap<(String, String), Arc<Value>>;

/// The copy.
#[derive(Debug)]
pub struct Reflector {
    pub kind: Kind,
    /// Locked while one object changes, or a list is swapped in.
    objects: Mutex<Objects>,
    /// At most what the objects are long: what is deleted or replaced counts until the next list.
    bytes: AtomicUsize,
    /// Whether a list came through yet.
    has_listed: AtomicBool,
    /// Whether the API answers.
    is_connected: AtomicBool,
    changed: watch::Sender<u64>,
}

/// Why a list or a watch ended.
enum End {
    /// The place of the watch is forgotten.
    Forgotten,
    /// Nothing is wrong: the API closes watches from time to time.
    Closed,
    Failed(String),
}

impl Reflector {
    /// Nothing is known yet.
    #[must_use]
    pub fn new(kind: Kind) -> Self {
        Self {
            kind,
            objects: Mutex::default(),
            bytes: AtomicUsize::new(0),
            has_listed: AtomicBool::new(false),
            is_connected: AtomicBool::new(false),
            changed: watch::Sender::new(0),
        }
    }

    fn lock(&self) -> MutexGuard<'_, Objects> {
        self.objects.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// What is known.
    #[must_use]
    pub fn objects(&self) -> Objects {
        self.lock().clone()
    }

    /// Whether all objects were listed once.
    #[must_use]
    pub fn has_listed(&self) -> bool {
        self.has_listed.load(Ordering::Acquire)
    }

    /// Whether the API answered last time.
    #[must_use]
    pub fn is_connected(&self) -> bool {
        self.is_connected.load(Ordering::Relaxed)
    }

    /// Tells of every change.
    #[must_use]
    pub fn changes(&self) -> watch::Receiver<u64> {
        self.changed.subscribe()
    }

    /// Keeps the copy for ever.
    pub async fn run(&self, access: &Access) {
        let mut wait = FIRST_WAIT;
        let mut told = String::new();
        let mut place: Option<String> = None;
        loop {
            let end = match access.api() {
                Ok(api) => self.once(&api, &mut place).await,
                Err(message) => End::Failed(message),
            };
            match end {
                End::Closed => {
                    (wait, told) = (FIRST_WAIT, String::new());
                    tokio::time::sleep(FIRST_WAIT).await;
                }
                End::Forgotten => {
                    place = None;
                    tokio::time::sleep(FIRST_WAIT).await;
                }
                End::Failed(message) => {
                    self.is_connected.store(false, Ordering::Relaxed);
                    // What stays wrong is told once.
                    if message != told {
                        let known = match self.has_listed() {
                            true => "; what is known of them goes on",
                            false => "",
                        };
                        journal::warn(&format!(
                            "failed to read {} from the Kubernetes API: {message}{known}; it is tried again",
                            self.kind.shown()
                        ));
                        told = message;
                    }
                    tokio::time::sleep(wait).await;
                    wait = (wait * 2).min(WAIT_MAX);
                }
            }
        }
    }

    /// Lists if need be, then watches.
    async fn once(&self, api: &Api, place: &mut Option<String>) -> End {
        if place.is_none() {
            match self.list(api).await {
                Ok(version) => *place = Some(version),
                Err(end) => return end,
            }
        }
        let Some(version) = place.as_mut() else {
            return End::Forgotten;
        };
        match self.watch(api, version).await {
            Ok(()) => End::Closed,
            Err(end) => end,
        }
    }

    /// Gives the place where a watch goes on.
    async fn list(&self, api: &Api) -> Result<String, End> {
        let (path, query) = (self.kind.path(), self.kind.query());
        let Bounds {
            page: page_len,
            objects,
            bytes: bytes_max,
        } = self.kind.bounds;
        let (mut all, mut n_bytes) = (Objects::new(), 0);
        let mut next = String::new();
        loop {
            let more = match next.is_empty() {
                true => String::new(),
                false => format!("&continue={}", encoded(&next)),
            };
            let url = format!("{}{path}?limit={page_len}{query}{more}", api.url);
            let ask = async {
                let answer = self.ask(api, &url).await?;
                read_whole(answer).await
            };
            let bytes = tokio::time::timeout(PAGE_TIMEOUT, ask).await;
            let bytes =
                bytes.map_err(|_| End::Failed(format!("no answer within {PAGE_TIMEOUT:?}")))??;
            let mut page: Value = serde_json::from_slice(&bytes)
                .map_err(|e| End::Failed(format!("the list is no JSON: {e}")))?;
            if let Some(Value::Array(items)) = page.get_mut("items").map(Value::take) {
                for item in items {
                    all.extend(entry(item));
                }
            }
            n_bytes += bytes.len();
            if all.len() > objects || n_bytes > bytes_max {
                let message = format!(
                    "there are more than {objects} or more than {bytes_max} bytes of them; narrow the selectors or namespaces"
                );
                return Err(End::Failed(message));
            }
            let of_list = |name: &str| {
                let found = page.pointer(&format!("/metadata/{name}"));
                found.and_then(Value::as_str).unwrap_or_default().to_owned()
            };
            next = of_list("continue");
            if !next.is_empty() {
                continue;
            }
            *self.lock() = all;
            self.bytes.store(n_bytes, Ordering::Relaxed);
            self.has_listed.store(true, Ordering::Release);
            self.is_connected.store(true, Ordering::Relaxed);
            self.tell();
            return Ok(of_list("resourceVersion"));
        }
    }

    fn tell(&self) {
        self.changed.send_modify(|n| *n += 1);
    }

    async fn ask(&self, api: &Api, url: &str) -> Result<hyper::Response<Incoming>, End> {
        let headers = [("accept", "application/json")];
        let asked = api.client.send(Method::GET, url, &headers, Bytes::new());
        let answer = asked.await.map_err(End::Failed)?;
        let status = answer.status();
        if status.is_success() {
            return Ok(answer);
        }
        let said = error_text(answer).await;
        let said: Option<Value> = serde_json::from_str(&said).ok();
        let said = said
            .as_ref()
            .and_then(|v| v.get("message"))
            .and_then(Value::as_str);
        let said = said.unwrap_or_default();
        match status.as_u16() {
            410 => Err(End::Forgotten),
            404 => Err(End::Failed(format!(
                "the API knows no such kind ({status}): {}",
                self.kind.cure
            ))),
            401 | 403 => Err(End::Failed(format!(
                "{status}: {said}; the account needs the verbs list and watch for {}",
                self.kind.resource
            ))),
            _ => Err(End::Failed(format!("{status}: {said}"))),
        }
    }

    async fn watch(&self, api: &Api, version: &mut String) -> Result<(), End> {
        let (path, query) = (self.kind.path(), self.kind.query());
        let url = format!(
            "{}{path}?watch=true&allowWatchBookmarks=true&timeoutSeconds={WATCH_SECONDS}&resourceVersion={}{query}",
            api.url,
            encoded(version)
        );
        let answer = tokio::time::timeout(PAGE_TIMEOUT, self.ask(api, &url)).await;
        let answer =
            answer.map_err(|_| End::Failed(format!("no answer within {PAGE_TIMEOUT:?}")))?;
        let mut body = answer?.into_body();
        self.is_connected.store(true, Ordering::Relaxed);
        let mut pending = BytesMut::new();
        loop {
            let frame = tokio::time::timeout(SILENCE_MAX, body.frame()).await;
            let frame = frame.map_err(|_| End::Failed("the watch fell silent".into()))?;
            let Some(frame) = frame else {
                return Ok(());
            };
            // A connection that breaks loses nothing: the watch goes on where it was.
            let frame = frame.map_err(|e| End::Failed(format!("the watch broke off: {e}")))?;
            let Ok(data) = frame.into_data() else {
                continue;
            };
            pending.extend_from_slice(&data);
            while let Some(end) = pending.iter().position(|b| *b == b'\n') {
                let line = pending.split_to(end + 1);
                self.event(&line, version)?;
            }
            if pending.len() > EVENT_MAX_BYTES {
                let message = format!("an event of more than {EVENT_MAX_BYTES} bytes");
                return Err(End::Failed(message));
            }
        }
    }

    fn event(&self, line: &[u8], version: &mut String) -> Result<(), End> {
        if line.trim_ascii().is_empty() {
            return Ok(());
        }
        let mut event: Value = serde_json::from_slice(line)
            .map_err(|e| End::Failed(format!("an event of the watch is no JSON: {e}")))?;
        let object = event.get_mut("object").map(Value::take).unwrap_or_default();
        let kind = event
            .get("type")
            .and_then(Value::as_str)
            .unwrap_or_default();
        if kind == "ERROR" {
            let code = object.get("code").and_then(Value::as_u64);
            let said = object.get("message").and_then(Value::as_str);
            return Err(match code {
                Some(410) => End::Forgotten,
                _ => End::Failed(said.unwrap_or("an error without a text").to_owned()),
            });
        }
        let reached = object.pointer("/metadata/resourceVersion");
        if let Some(reached) = reached.and_then(Value::as_str) {
            reached.clone_into(version);
        }
        match kind {
            "ADDED" | "MODIFIED" => {
                let mut objects = self.lock();
                objects.extend(entry(object));
                let n_bytes = self.bytes.fetch_add(line.len(), Ordering::Relaxed) + line.len();
                // The list says whether it is really too much.
                if objects.len() > self.kind.bounds.objects || n_bytes > self.kind.bounds.bytes {
                    return Err(End::Forgotten);
                }
            }
            "DELETED" => {
                if let Some((key, _)) = entry(object) {
                    self.lock().remove(&key);
                }
            }
            // A bookmark says only how far the watch is.
            _ => return Ok(()),
        }
        self.tell();
        Ok(())
    }
}

/// Keeps copies until the tasks are dropped; the receiver hears of a change of any of them.
#[must_use]
pub fn keep<'c>(
    copies: impl Iterator<Item = &'c Arc<Reflector>>,
    access: &Access,
) -> (JoinSet<()>, watch::Receiver<()>) {
    let mut tasks = JoinSet::new();
    let (changed, changes) = watch::channel(());
    let changed = Arc::new(changed);
    for copy in copies {
        let mut of_copy = copy.changes();
        let (copy, access) = (Arc::clone(copy), access.clone());
        tasks.spawn(async move { copy.run(&access).await });
        let changed = Arc::clone(&changed);
        tasks.spawn(async move {
            while of_copy.changed().await.is_ok() {
                changed.send_replace(());
            }
        });
    }
    (tasks, changes)
}

async fn read_whole(answer: hyper::Response<Incoming>) -> Result<Bytes, End> {
    let limited = http_body_util::Limited::new(answer.into_body(), PAGE_MAX_BYTES);
    let read = limited.collect().await;
    let read = read.map_err(|e| End::Failed(format!("failed to read the list: {e}")))?;
    Ok(read.to_bytes())
}

/// An object with its key, without what only servers care for.
fn entry(mut object: Value) -> Option<((String, String), Arc<Value>)> {
    let metadata = object.get_mut("metadata")?.as_object_mut()?;
    metadata.remove("managedFields");
    if let Some(annotations) = metadata.get_mut("annotations") {
        let annotations = annotations.as_object_mut();
        annotations.map(|all| all.remove("kubectl.kubernetes.io/last-applied-configuration"));
    }
    let text = |name: &str| {
        metadata
            .get(name)
            .and_then(Value::as_str)
            .map(str::to_owned)
    };
    let key = (text("namespace").unwrap_or_default(), text("name")?);
    Some((key, Arc::new(object)))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn kind() -> Kind {
        Kind {
            group: "/api/v1",
            resource: "pods",
            label_selector: "a in (b,c)".into(),
            ..Kind::default()
        }
    }

    #[test]
    fn paths_name_kind_and_namespace() {
        let all = kind();
        assert_eq!(all.path(), "/api/v1/pods");
        assert_eq!(all.query(), "&labelSelector=a%20in%20%28b%2Cc%29");
        let one = Kind {
            namespace: Some("n".into()),
            ..all
        };
        assert_eq!(one.path(), "/api/v1/namespaces/n/pods");
        assert_eq!(one.shown(), "pods in namespace n");
    }

    #[test]
    fn events_change_the_copy() {
        let copy = Reflector::new(kind());
        let mut version = "1".to_owned();
        let mut event = |kind: &str, name: &str, at: &str| {
            let line = format!(
                r#"{{"type":"{kind}","object":{{"metadata":{{"namespace":"n","name":"{name}","resourceVersion":"{at}","managedFields":[1]}}}}}}"#
            );
            let done = copy.event(line.as_bytes(), &mut version).is_ok();
            (done, version.clone())
        };
        assert_eq!(event("ADDED", "a", "2"), (true, "2".into()));
        assert_eq!(event("ADDED", "b", "3"), (true, "3".into()));
        assert_eq!(event("MODIFIED", "a", "4"), (true, "4".into()));
        assert_eq!(event("BOOKMARK", "", "9"), (true, "9".into()));
        let names = || -> Vec<String> { copy.objects().into_keys().map(|k| k.1).collect() };
        assert_eq!(names(), ["a", "b"]);
        assert_eq!(event("DELETED", "a", "10"), (true, "10".into()));
        assert_eq!(names(), ["b"]);
        let object = &copy.objects()[&("n".into(), "b".into())];
        assert!(object.pointer("/metadata/managedFields").is_none());
        let gone = br#"{"type":"ERROR","object":{"code":410}}"#;
        assert!(matches!(
            copy.event(gone, &mut String::new()),
            Err(End::Forgotten)
        ));
        assert!(matches!(
            copy.event(b"{]", &mut String::new()),
            Err(End::Failed(_))
        ));
        assert_eq!(*copy.changes().borrow(), 4);
    }
}
