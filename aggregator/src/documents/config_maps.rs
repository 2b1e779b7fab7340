//! Dashboards in ConfigMaps, listed and watched by the Kubernetes API as Grafana's sidecar does it, without
//! the sidecar.
//!
//! Each key of a selected ConfigMap that ends with `.json` is a dashboard. The one rule: what is wrong with
//! one is told at it and hides no other.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use kansoku_model::MetricBatch;
use kansoku_model::MetricKind::Gauge;
use kansoku_parsers::config::yaml::tree::Node;
use serde_json::Value;

use super::provisioned::{File, PREFIX, Source, tag_of};
use super::{BYTES_MAX, slug, title_of};
use crate::clock;
use crate::http_client::config::{self, Read, texts};
use crate::journal;
use crate::kubernetes::access::{self, Access};
use crate::kubernetes::selector;
use crate::kubernetes::watch::{self, Bounds, Kind, Objects, Reflector};

/// ConfigMaps of one namespace, or of all of them: the largest has 1 MiB, and a page must stay small.
const BOUNDS: Bounds = Bounds {
    page: 50,
    objects: 2000,
    bytes: 64 << 20,
};
/// Dashboards that are shown.
const BOARDS_MAX: usize = 2000;
/// What a sidecar's word for all namespaces is.
const ALL: &str = "ALL";
/// Where Grafana's chart lets its sidecar write; folders may be written with it.
const SIDECAR_FOLDER: &str = "/tmp/dashboards";
/// Parts of a folder's name, and characters of each.
const DEPTH_MAX: usize = 8;
const PART_MAX_CHARS: usize = 200;
/// Changes within that time are taken together.
const PAUSE: Duration = Duration::from_millis(200);

/// What is read, and how.
#[derive(Debug, Clone, PartialEq)]
pub struct ConfigMapsConfig {
    access: Access,
    /// All when empty.
    namespaces: Vec<String>,
    label: String,
    /// Any when empty.
    label_value: String,
    folder_annotation: String,
}

impl Default for ConfigMapsConfig {
    fn default() -> Self {
        Self {
            access: Access::default(),
            namespaces: Vec::new(),
            label: "grafana_dashboard".into(),
            label_value: "1".into(),
            folder_annotation: "grafana_folder".into(),
        }
    }
}

const KEYS: [&str; 4] = ["namespaces", "label", "label_value", "folder_annotation"];

impl ConfigMapsConfig {
    /// The section's name.
    pub const SECTION: &str = "kubernetes_dashboards";

    /// Reads the section.
    ///
    /// # Errors
    /// What is wrong with it.
    pub fn read(node: &Node) -> Read<Self> {
        let mut out = Self::default();
        let all = KEYS.into_iter().chain(access::KEYS).chain(config::KEYS);
        for (key, value) in node.checked_pairs(&all.collect::<Vec<_>>())? {
            match key {
                "namespaces" => {
                    out.namespaces = texts(value)?;
                    if out.namespaces.iter().any(|name| name == ALL) {
                        if out.namespaces.len() > 1 {
                            let text = format!("{ALL} means all namespaces; remove the others");
                            return Err(value.error(text));
                        }
                        out.namespaces.clear();
                    }
                    out.namespaces.sort();
                    out.namespaces.dedup();
                }
                "label" => {
                    selector::check(value.text()?, value)?;
                    value.text()?.clone_into(&mut out.label);
                }
                "label_value" => {
                    selector::check_value(value.text()?, value)?;
                    value.text()?.clone_into(&mut out.label_value);
                }
                "folder_annotation" => value.text()?.clone_into(&mut out.folder_annotation),
                _ => out.access.take(key, value)?,
            }
        }
        out.access.check(node)?;
        Ok(out)
    }

    fn kinds(&self) -> Vec<Kind> {
        let kind = |namespace: Option<&String>| Kind {
            group: "/api/v1",
            resource: "configmaps",
            namespace: namespace.cloned(),
            label_selector: match self.label_value.as_str() {
                "" => self.label.clone(),
                value => format!("{}={value}", self.label),
            },
            field_selector: String::new(),
            cure: "check that the address is that of a Kubernetes API",
            bounds: BOUNDS,
        };
        match self.namespaces.as_slice() {
            [] => vec![kind(None)],
            some => some.iter().map(|name| kind(Some(name))).collect(),
        }
    }
}

/// A dashboard of a ConfigMap.
#[derive(Debug, Clone)]
struct Board {
    file: File,
    /// Holds its text.
    object: Arc<Value>,
}

/// What became of a ConfigMap.
#[derive(Debug)]
struct Taken {
    uid: String,
    /// The version that was looked at.
    version: String,
    boards: Vec<Board>,
}

/// The ConfigMaps of a cluster.
#[derive(Debug)]
pub struct ConfigMaps {
    pub config: ConfigMapsConfig,
    copies: Vec<Arc<Reflector>>,
    /// By namespace and name; locked while a change is looked at, and for lists and metrics.
    taken: Mutex<BTreeMap<(String, String), Taken>>,
}

impl ConfigMaps {
    /// Nothing is known yet.
    #[must_use]
    pub fn new(config: ConfigMapsConfig) -> Self {
        let copy = |kind| Arc::new(Reflector::new(kind));
        Self {
            copies: config.kinds().into_iter().map(copy).collect(),
            taken: Mutex::default(),
            config,
        }
    }

    fn lock(&self) -> MutexGuard<'_, BTreeMap<(String, String), Taken>> {
        self.taken.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The dashboards, by namespace, name and key.
    #[must_use]
    pub fn list(&self) -> Vec<File> {
        let taken = self.lock();
        let boards = taken.values().flat_map(|t| &t.boards);
        boards.take(BOARDS_MAX).map(|b| b.file.clone()).collect()
    }

    /// The text of a dashboard; `None` when it is gone or was none.
    #[must_use]
    pub fn text(&self, source: &Source) -> Option<Vec<u8>> {
        let Source::Key {
            namespace,
            name,
            key,
        } = source
        else {
            return None;
        };
        let object = {
            let taken = self.lock();
            let of = taken.get(&(namespace.clone(), name.clone()))?;
            Arc::clone(&of.boards.first()?.object)
        };
        text_of(&object, key)?.ok()
    }

    /// What is watched, with whether the API answers.
    #[must_use]
    pub fn watches(&self) -> Vec<(String, bool)> {
        let all = self.copies.iter();
        all.map(|copy| (copy.kind.shown(), copy.is_connected()))
            .collect()
    }

    /// What who looks at the list should know.
    #[must_use]
    pub fn warnings(&self) -> Vec<String> {
        let mut out = Vec::new();
        for copy in self.copies.iter().filter(|copy| !copy.is_connected()) {
            let shown = copy.kind.shown();
            out.push(match copy.has_listed() {
                true => format!(
                    "the Kubernetes API does not give {shown}; dashboards are those that it gave last"
                ),
                false => format!("the Kubernetes API did not give {shown} yet; the log says why"),
            });
        }
        let n_boards: usize = self.lock().values().map(|t| t.boards.len()).sum();
        if n_boards > BOARDS_MAX {
            out.push(format!(
                "of {n_boards} dashboards in ConfigMaps {BOARDS_MAX} are shown; narrow {} by namespaces or the label",
                ConfigMapsConfig::SECTION
            ));
        }
        out
    }

    /// What became of the ConfigMaps.
    pub fn collect(&self, out: &mut MetricBatch) {
        let (mut n_boards, mut n_rejected) = (0, 0);
        for board in self.lock().values().flat_map(|t| &t.boards) {
            n_boards += 1;
            n_rejected += usize::from(board.file.problem.is_some());
        }
        let name = "kansoku_dashboard_objects";
        let help = "Keys of ConfigMaps that are dashboards or should be, and those of them that are wrong.";
        let family = out.new_family(name, Gauge, help);
        out.sample(family, &[("state", "selected")], n_boards as f64);
        out.sample(family, &[("state", "rejected")], n_rejected as f64);
        let name = "kansoku_dashboard_objects_connected";
        let help = "Whether the Kubernetes API answered last time.";
        let family = out.new_family(name, Gauge, help);
        for (resource, is_connected) in self.watches() {
            let value = f64::from(u8::from(is_connected));
            out.sample(family, &[("resource", &resource)], value);
        }
    }

    /// Watches for ever.
    pub async fn run(self: Arc<Self>) {
        // The tasks end with this one.
        let (_tasks, mut changes) = watch::keep(self.copies.iter(), &self.config.access);
        while changes.changed().await.is_ok() {
            tokio::time::sleep(PAUSE).await;
            changes.mark_unchanged();
            let this = Arc::clone(&self);
            // A panic would be told; the dashboards that are known stay.
            let _ = tokio::task::spawn_blocking(move || this.take()).await;
        }
    }

    /// Looks at everything that is known.
    fn take(&self) {
        let mut objects = Objects::new();
        for copy in &self.copies {
            objects.extend(copy.objects());
        }
        let changed: Vec<_> = {
            let mut taken = self.lock();
            taken.retain(|key, _| objects.contains_key(key));
            let is_new = |(key, object): &((String, String), Arc<Value>)| {
                let version = of_metadata(object, "resourceVersion");
                taken.get(key).is_none_or(|t| t.version != version)
            };
            objects.into_iter().filter(is_new).collect()
        };
        for (key, object) in changed {
            let (uid, version) = (
                of_metadata(&object, "uid").to_owned(),
                of_metadata(&object, "resourceVersion").to_owned(),
            );
            let was_there = self.lock().get(&key).is_some_and(|t| t.uid == uid);
            let changed_ms = match was_there {
                true => clock::now_ms(),
                false => created_ms(&object),
            };
            let boards = look(&self.config, &key, &object, changed_ms);
            for file in boards.iter().map(|b| &b.file) {
                if let Some(problem) = &file.problem {
                    journal::warn(&format!("{} is no dashboard: {problem}", file.source));
                }
            }
            let taken = Taken {
                uid,
                version,
                boards,
            };
            self.lock().insert(key, taken);
        }
    }
}

fn of_metadata<'o>(object: &'o Value, name: &str) -> &'o str {
    let found = object.get("metadata").and_then(|m| m.get(name));
    found.and_then(Value::as_str).unwrap_or_default()
}

/// The API says only when an object was made, not when it was changed.
fn created_ms(object: &Value) -> i64 {
    let made = clock::parse_rfc3339_ns(of_metadata(object, "creationTimestamp"));
    let made_ms = made.and_then(|ns| i64::try_from(ns.div_euclid(1_000_000)).ok());
    made_ms.unwrap_or_else(clock::now_ms)
}

/// The text of a key; `None` when there is no such key.
fn text_of(object: &Value, key: &str) -> Option<Result<Vec<u8>, String>> {
    let of = |section: &str| object.get(section)?.get(key)?.as_str();
    if let Some(text) = of("data") {
        return Some(Ok(text.as_bytes().to_vec()));
    }
    let text = of("binaryData")?;
    let decoded = STANDARD.decode(text);
    Some(decoded.map_err(|e| format!("binaryData is no base64: {e}")))
}

/// The dashboards of a ConfigMap.
fn look(
    config: &ConfigMapsConfig,
    (namespace, name): &(String, String),
    object: &Arc<Value>,
    changed_ms: i64,
) -> Vec<Board> {
    let annotations = object
        .get("metadata")
        .and_then(|m| m.get("annotations")?.get(&config.folder_annotation));
    let folder = folder_of(annotations.and_then(Value::as_str).unwrap_or_default());
    let mut keys: Vec<&str> = Vec::new();
    for section in ["data", "binaryData"] {
        let pairs = object.get(section).and_then(Value::as_object);
        keys.extend(pairs.into_iter().flat_map(|p| p.keys().map(String::as_str)));
    }
    keys.sort_unstable();
    let board = |key: &str, read: Result<Vec<u8>, String>| {
        let short = key.strip_suffix(".json").unwrap_or(key);
        let mut file = File {
            id: format!("{PREFIX}{}", slug(&format!("{namespace}/{name}/{short}"))),
            source: Source::Key {
                namespace: namespace.clone(),
                name: name.clone(),
                key: key.to_owned(),
            },
            folder: folder.clone(),
            title: if short.is_empty() { name } else { short }.to_owned(),
            changed_ms,
            bytes: 0,
            tag: String::new(),
            problem: None,
        };
        let read = read.and_then(|text| {
            file.bytes = text.len() as u64;
            match text.len() > BYTES_MAX {
                true => Err(format!(
                    "{} bytes are more than the {BYTES_MAX} that a dashboard may have",
                    text.len()
                )),
                false => Ok((title_of(&text)?, tag_of(&text))),
            }
        });
        match read {
            Ok((title, tag)) => {
                file.tag = tag;
                if !title.is_empty() {
                    file.title = title;
                }
            }
            Err(problem) => file.problem = Some(problem),
        }
        Board {
            file,
            object: Arc::clone(object),
        }
    };
    let mut boards = Vec::new();
    for key in keys {
        if key.ends_with(".json") {
            boards.extend(text_of(object, key).map(|text| board(key, text)));
        } else if key.ends_with(".url") {
            let why =
                "it names a URL, and nothing is fetched from URLs; put the JSON into the ConfigMap";
            boards.push(board(key, Err(why.into())));
        }
    }
    if boards.is_empty() {
        let why = "it has the label of dashboards and no key that ends with .json";
        boards.push(board("", Err(why.into())));
    }
    boards
}

/// The folder that an annotation names, below that of a sidecar or by itself.
fn folder_of(annotation: &str) -> String {
    let below = annotation.strip_prefix(SIDECAR_FOLDER);
    let below = below.filter(|rest| rest.is_empty() || rest.starts_with('/'));
    let parts = below.unwrap_or(annotation).split('/').map(str::trim);
    let parts = parts.filter(|part| !matches!(*part, "" | "." | ".."));
    let short = |part: &str| part.chars().take(PART_MAX_CHARS).collect::<String>();
    let parts: Vec<String> = parts.take(DEPTH_MAX).map(short).collect();
    parts.join("/")
}

#[cfg(test)]
mod tests {
    use kansoku_parsers::config::yaml::tree;
    use serde_json::json;

    use super::*;

    fn config(text: &str) -> Result<ConfigMapsConfig, String> {
        let roots = tree::parse("k.yml", text.as_bytes(), &mut Vec::new()).unwrap();
        ConfigMapsConfig::read(&roots[0]).map_err(|e| e.to_string())
    }

    #[test]
    fn the_section_is_read_and_its_mistakes_have_places() {
        for (text, selector, namespaces) in [
            ("{}", "grafana_dashboard=1", vec![None]),
            ("{namespaces: [ALL]}", "grafana_dashboard=1", vec![None]),
            (
                "{namespaces: [b, a, b], label: team/boards, label_value: ''}",
                "team/boards",
                vec![Some("a"), Some("b")],
            ),
        ] {
            let kinds = config(text).unwrap().kinds();
            let found: Vec<_> = kinds.iter().map(|k| k.namespace.as_deref()).collect();
            assert_eq!(found, namespaces, "{text}");
            assert_eq!(kinds[0].label_selector, selector);
        }
        for (text, expected) in [
            ("{labels: a}", "did you mean 'label'"),
            ("{namespaces: [ALL, a]}", "remove the others"),
            ("{label: ''}", "no name of a label"),
            ("{label_value: 'a,b'}", "no value of a label"),
            ("{api_server: k}", "must be http(s)://"),
        ] {
            let error = config(text).unwrap_err();
            assert!(error.contains(expected), "{text}: {error}");
        }
    }

    #[test]
    fn every_key_is_a_dashboard_or_says_why_not() {
        let object = Arc::new(json!({
            "metadata": {"annotations": {"grafana_folder": "/tmp/dashboards/Team/../A"}},
            "data": {"a.json": r#"{"title":"A"}"#, "bad.json": "{", "far.json.url": "http://x", "notes.txt": "x"},
            "binaryData": {"b.json": STANDARD.encode(r#"{"title":"B"}"#), "c.json": "!"},
        }));
        let key = ("n".to_owned(), "m".to_owned());
        let boards = look(&ConfigMapsConfig::default(), &key, &object, 1);
        let told: Vec<_> = boards
            .iter()
            .map(|b| {
                assert_eq!(b.file.folder, "Team/A");
                let problem = b.file.problem.as_deref().unwrap_or_default();
                let problem = problem.split([':', ';', ',']).next().unwrap_or_default();
                format!(
                    "{} | {} | {} | {problem}",
                    b.file.id, b.file.source, b.file.title
                )
            })
            .collect();
        assert_eq!(
            told,
            [
                "provisioned.n-m-a | ConfigMap n/m/a.json | A | ",
                "provisioned.n-m-b | ConfigMap n/m/b.json | B | ",
                "provisioned.n-m-bad | ConfigMap n/m/bad.json | bad | not JSON",
                "provisioned.n-m-c | ConfigMap n/m/c.json | c | binaryData is no base64",
                "provisioned.n-m-far-json-url | ConfigMap n/m/far.json.url | far.json.url | it names a URL",
            ]
        );
        let none = Arc::new(json!({"metadata": {}}));
        let boards = look(&ConfigMapsConfig::default(), &key, &none, 1);
        assert_eq!(boards[0].file.title, "m");
        assert!(boards[0].file.problem.as_ref().unwrap().contains("no key"));
    }

    #[test]
    fn folders_are_names_and_no_paths() {
        for (annotation, expected) in [
            ("", ""),
            ("Team one", "Team one"),
            ("/tmp/dashboards/a/b", "a/b"),
            ("/tmp/dashboards2/a", "tmp/dashboards2/a"),
            ("../../etc", "etc"),
        ] {
            assert_eq!(folder_of(annotation), expected);
        }
    }
}
