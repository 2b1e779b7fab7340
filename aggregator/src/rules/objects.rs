//! PrometheusRule objects of prometheus-operator, read from the cluster as the operator reads them.
//!
//! Each selected object is like a rule file `NAMESPACE-NAME-UID.yaml`. The one rule: an object that is
//! wrong harms no other; its last version that was right goes on until it is mended or deleted.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use kansoku_model::{MatchOp, Matcher, tenant as id};
use kansoku_parsers::config::yaml::tree::Node;
use kansoku_query::promql;
use serde_json::Value;

use super::file::{self, Group, Language};
use crate::app::App;
use crate::http_client::config::{self, Read, texts};
use crate::journal;
use crate::kubernetes::access::{self, Access};
use crate::kubernetes::selector;
use crate::kubernetes::watch::{self, Bounds, Kind, Objects, Reflector};

/// What is read, and how.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct ObjectsConfig {
    access: Access,
    /// All when empty.
    namespaces: Vec<String>,
    rule_selector: String,
    namespace_selector: String,
    enforced_label: String,
    /// Namespace and name; every object of the namespace when there is no name.
    excluded: Vec<(String, String)>,
    /// Whose rules they are; empty while there is one tenant.
    tenant: String,
}

const KEYS: [&str; 6] = [
    "namespaces",
    "rule_selector",
    "rule_namespace_selector",
    "enforced_namespace_label",
    "excluded_from_enforcement",
    "tenant",
];

impl ObjectsConfig {
    /// Reads the section `kubernetes_rules`.
    ///
    /// # Errors
    /// What is wrong with it.
    pub fn read(node: &Node) -> Read<Self> {
        let mut out = Self::default();
        let all = KEYS.into_iter().chain(access::KEYS).chain(config::KEYS);
        for (key, value) in node.checked_pairs(&all.collect::<Vec<_>>())? {
            match key {
                "namespaces" => out.namespaces = texts(value)?,
                "rule_selector" => out.rule_selector = selector::read(value)?,
                "rule_namespace_selector" => out.namespace_selector = selector::read(value)?,
                "tenant" => {
                    value.text()?.clone_into(&mut out.tenant);
                    id::check(&out.tenant).map_err(|e| value.error(e))?;
                }
                "enforced_namespace_label" => {
                    let label = value.text()?;
                    if label == "__name__" {
                        return Err(value.error("the name of the metric cannot be enforced"));
                    }
                    label.clone_into(&mut out.enforced_label);
                }
                "excluded_from_enforcement" => {
                    for item in value.items()? {
                        out.excluded.push(excluded(item)?);
                    }
                }
                _ => out.access.take(key, value)?,
            }
        }
        out.access.check(node)?;
        if !out.namespaces.is_empty() && !out.namespace_selector.is_empty() {
            return Err(node.error(
                "namespaces and rule_namespace_selector both choose namespaces; set one of them",
            ));
        }
        Ok(out)
    }

    /// Whether it is clear whose the rules are.
    ///
    /// # Errors
    /// When it is not.
    pub fn check(&self, has_tenants: bool) -> Result<(), String> {
        match (has_tenants, self.tenant.is_empty()) {
            (true, true) => Err("with --tenants.enabled kubernetes_rules needs 'tenant', whose data the rules are about".into()),
            (false, false) => Err("'tenant' of kubernetes_rules has no effect without --tenants.enabled".into()),
            _ => Ok(()),
        }
    }

    fn rule_kinds(&self) -> Vec<Kind> {
        let kind = |namespace: Option<&String>| Kind {
            group: "/apis/monitoring.coreos.com/v1",
            resource: "prometheusrules",
            namespace: namespace.cloned(),
            label_selector: self.rule_selector.clone(),
            field_selector: String::new(),
            cure: "install the CustomResourceDefinition prometheusrules.monitoring.coreos.com of prometheus-operator, or leave kubernetes_rules out",
            bounds: Bounds::default(),
        };
        match self.namespaces.as_slice() {
            [] => vec![kind(None)],
            some => some.iter().map(|name| kind(Some(name))).collect(),
        }
    }

    fn namespace_kind(&self) -> Option<Kind> {
        (!self.namespace_selector.is_empty()).then(|| Kind {
            group: "/api/v1",
            resource: "namespaces",
            label_selector: self.namespace_selector.clone(),
            ..Kind::default()
        })
    }

    fn is_excluded(&self, namespace: &str, name: &str) -> bool {
        let fits = |(n, o): &(String, String)| n == namespace && (o.is_empty() || o == name);
        self.enforced_label.is_empty() || self.excluded.iter().any(fits)
    }
}

fn excluded(node: &Node) -> Read<(String, String)> {
    let (mut namespace, mut name) = (String::new(), String::new());
    // As the operator writes references to objects.
    let keys = ["group", "resource", "namespace", "name"];
    for (key, value) in node.checked_pairs(&keys)? {
        let text = value.text()?;
        match key {
            "namespace" => text.clone_into(&mut namespace),
            "name" => text.clone_into(&mut name),
            "group" if text == "monitoring.coreos.com" => {}
            "resource" if text == "prometheusrules" => {}
            _ => {
                return Err(value.error(format!(
                    "{key} '{text}': only prometheusrules of monitoring.coreos.com are read here"
                )));
            }
        }
    }
    match namespace.is_empty() {
        true => Err(node.error("an excluded object needs a namespace")),
        false => Ok((namespace, name)),
    }
}

/// What became of an object.
#[derive(Debug, Clone)]
struct Taken {
    /// The version that was looked at.
    version: String,
    /// The groups of the last right version.
    groups: Vec<Group>,
    /// What is wrong with the version that was looked at.
    error: Option<String>,
}

/// The objects of the cluster.
#[derive(Debug)]
pub struct RuleObjects {
    pub config: ObjectsConfig,
    copies: Vec<Arc<Reflector>>,
    namespaces: Option<Arc<Reflector>>,
    /// By namespace and name; locked while a change is looked at, and for metrics.
    taken: Mutex<BTreeMap<(String, String), Taken>>,
}

/// Changes within that time are taken together.
const PAUSE: Duration = Duration::from_millis(200);

impl RuleObjects {
    /// Nothing is known yet.
    #[must_use]
    pub fn new(config: ObjectsConfig) -> Self {
        let copy = |kind| Arc::new(Reflector::new(kind));
        Self {
            copies: config.rule_kinds().into_iter().map(copy).collect(),
            namespaces: config.namespace_kind().map(copy),
            taken: Mutex::default(),
            config,
        }
    }

    fn lock(&self) -> MutexGuard<'_, BTreeMap<(String, String), Taken>> {
        self.taken.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Objects that are evaluated or would be, and what is wrong with those that are not as written.
    #[must_use]
    pub fn states(&self) -> Vec<((String, String), Option<String>)> {
        let taken = self.lock();
        let states = taken.iter().map(|(key, t)| (key.clone(), t.error.clone()));
        states.collect()
    }

    /// What is watched, with whether the API answers.
    #[must_use]
    pub fn watches(&self) -> Vec<(String, bool)> {
        let all = self.copies.iter().chain(&self.namespaces);
        all.map(|copy| (copy.kind.shown(), copy.is_connected()))
            .collect()
    }

    /// Watches for ever and gives what changed to the rules.
    pub async fn run(self: Arc<Self>, app: Arc<App>) {
        let copies = self.copies.iter().chain(&self.namespaces);
        // The tasks end with this one, which ends them when it is dropped.
        let (_tasks, mut changes) = watch::keep(copies, &self.config.access);
        while changes.changed().await.is_ok() {
            tokio::time::sleep(PAUSE).await;
            changes.mark_unchanged();
            let all = self.copies.iter().chain(&self.namespaces);
            // Half of it would end rules that are only not listed yet.
            if !all.clone().all(|copy| copy.has_listed()) {
                continue;
            }
            let this = Arc::clone(&self);
            let groups = tokio::task::spawn_blocking(move || this.take()).await;
            if let Ok(groups) = groups {
                app.rules.set_objects(&app, &self, groups).await;
            }
        }
    }

    /// Looks at everything that is known; gives the groups.
    fn take(&self) -> Vec<Group> {
        let of_namespaces = self.namespaces.as_ref().map(|copy| copy.objects());
        let chosen = of_namespaces.map(|objects| -> BTreeSet<String> {
            objects.into_keys().map(|(_, name)| name).collect()
        });
        let mut objects = Objects::new();
        for copy in &self.copies {
            objects.extend(copy.objects());
        }
        objects.retain(|(namespace, _), _| chosen.as_ref().is_none_or(|c| c.contains(namespace)));
        let mut taken = self.lock();
        taken.retain(|key, _| objects.contains_key(key));
        for (key, object) in objects {
            self.look(&mut taken, key, &object);
        }
        taken.values().flat_map(|t| t.groups.clone()).collect()
    }

    fn look(
        &self,
        taken: &mut BTreeMap<(String, String), Taken>,
        key: (String, String),
        object: &Value,
    ) {
        let of_object = |name: &str| {
            let found = object.pointer(&format!("/metadata/{name}"));
            found.and_then(Value::as_str).unwrap_or_default()
        };
        let version = of_object("resourceVersion");
        if taken.get(&key).is_some_and(|t| t.version == version) {
            return;
        }
        let (namespace, name) = &key;
        let file = format!("{namespace}-{name}-{}.yaml", of_object("uid"));
        let mut spec = object.get("spec").cloned().unwrap_or_default();
        let label = match self.config.is_excluded(namespace, name) {
            true => None,
            false => Some((self.config.enforced_label.as_str(), namespace.as_str())),
        };
        prepare(&mut spec, label);
        let read = file::parse_object(&file, "spec", &spec, Language::Promql);
        let before = taken.remove(&key);
        let (groups, error) = match read {
            Ok(mut groups) => {
                let tenant: Arc<str> = self.config.tenant.as_str().into();
                for group in &mut groups {
                    group.tenant = Arc::clone(&tenant);
                }
                if before.as_ref().is_some_and(|t| t.error.is_some()) {
                    journal::info(&format!("PrometheusRule {namespace}/{name} is right again"));
                }
                (groups, None)
            }
            Err(errors) => {
                let error = errors.join("\n");
                // Another object of this name is no older version of it.
                let same = before.filter(|t| t.groups.iter().all(|g| *g.file == *file));
                let groups = same.map(|t| t.groups).unwrap_or_default();
                journal::warn(&format!(
                    "PrometheusRule {namespace}/{name} is not taken{}: {error}",
                    match groups.is_empty() {
                        true => "",
                        false => ", its last right version goes on",
                    }
                ));
                (groups, Some(error))
            }
        };
        let version = version.to_owned();
        taken.insert(
            key,
            Taken {
                version,
                groups,
                error,
            },
        );
    }
}

/// Makes of an object's spec what a rule file of Prometheus holds, as the operator does: what is
/// Thanos's goes, empty durations go, and the label of the namespace is enforced.
fn prepare(spec: &mut Value, label: Option<(&str, &str)>) {
    let Some(groups) = spec.get_mut("groups").and_then(Value::as_array_mut) else {
        return;
    };
    let drop_empty = |object: &mut serde_json::Map<String, Value>, names: &[&str]| {
        for name in names {
            if object.get(*name).and_then(Value::as_str) == Some("") {
                object.remove(*name);
            }
        }
    };
    for group in groups.iter_mut().filter_map(Value::as_object_mut) {
        group.remove("partial_response_strategy");
        drop_empty(group, &["interval", "query_offset"]);
        let Some(rules) = group.get_mut("rules").and_then(Value::as_array_mut) else {
            continue;
        };
        for rule in rules.iter_mut().filter_map(Value::as_object_mut) {
            drop_empty(rule, &["for", "keep_firing_for", "record", "alert"]);
            if let Some((label, namespace)) = label {
                enforce(rule, label, namespace);
            }
        }
    }
}

fn enforce(rule: &mut serde_json::Map<String, Value>, label: &str, namespace: &str) {
    let labels = rule.entry("labels").or_insert(Value::Null);
    if labels.is_null() {
        *labels = Value::Object(serde_json::Map::new());
    }
    if let Some(labels) = labels.as_object_mut() {
        labels.insert(label.to_owned(), namespace.into());
    }
    let text = match rule.get("expr") {
        Some(Value::String(text)) => text.clone(),
        Some(Value::Number(number)) => number.to_string(),
        _ => return,
    };
    let matcher = Matcher::new(label, MatchOp::Equal, namespace);
    // What does not parse is told when the rule is read.
    if let Ok(matcher) = matcher
        && let Ok(query) = promql::parse_with_matcher(&text, &matcher)
    {
        rule.insert("expr".into(), query.to_string().into());
    }
}

#[cfg(test)]
mod tests {
    use kansoku_parsers::config::yaml::tree;
    use serde_json::json;

    use super::*;

    fn config(text: &str) -> Result<ObjectsConfig, String> {
        let roots = tree::parse("k.yml", text.as_bytes(), &mut Vec::new()).unwrap();
        ObjectsConfig::read(&roots[0]).map_err(|e| e.to_string())
    }

    #[test]
    fn the_section_is_read_and_its_mistakes_have_places() {
        let read = config(
            "{namespaces: [a, b], rule_selector: {matchLabels: {role: alert}}, api_server: 'http://k:1/'}",
        )
        .unwrap();
        let kinds = read.rule_kinds();
        assert_eq!(kinds.len(), 2);
        assert_eq!(kinds[1].namespace.as_deref(), Some("b"));
        assert_eq!(kinds[1].label_selector, "role=alert");
        assert_eq!(config("{}").unwrap(), ObjectsConfig::default());
        for (text, expected) in [
            ("{rule_selectr: {}}", "did you mean 'rule_selector'"),
            (
                "{namespaces: [a], rule_namespace_selector: {matchLabels: {a: b}}}",
                "set one of them",
            ),
            ("{enforced_namespace_label: __name__}", "cannot be enforced"),
            (
                "{excluded_from_enforcement: [{name: a}]}",
                "needs a namespace",
            ),
            (
                "{excluded_from_enforcement: [{namespace: a, resource: probes}]}",
                "only prometheusrules",
            ),
            ("{api_server: k}", "must be http(s)://"),
            (
                "{basic_auth: {username: a}}",
                "please provide the 'api_server' URL explicitly",
            ),
        ] {
            let error = config(text).unwrap_err();
            assert!(error.contains(expected), "{text}: {error}");
        }
    }

    #[test]
    fn the_namespace_is_enforced_in_labels_and_every_selector() {
        let mut spec = json!({"groups": [{"name": "g", "interval": "", "partial_response_strategy": "warn",
        "rules": [
            {"alert": "A", "for": "", "expr": "topk(scalar(n), sum by (pod) (rate(x{namespace=~\".*\", a=\"b\"}[5m]))) > y offset 1m"},
            {"record": "r", "expr": 1, "labels": {"namespace": "other", "a": "b"}},
            {"record": "wrong", "expr": "up +"},
        ]}]});
        prepare(&mut spec, Some(("namespace", "team")));
        let group = &spec["groups"][0];
        assert!(
            group.get("interval").is_none() && group.get("partial_response_strategy").is_none()
        );
        assert_eq!(
            group["rules"][0]["expr"],
            r#"topk(scalar(n{namespace="team"}), sum by (pod) (rate(x{a="b",namespace="team"}[5m]))) > y{namespace="team"} offset 1m"#
        );
        assert_eq!(group["rules"][0]["labels"], json!({"namespace": "team"}));
        assert_eq!(
            group["rules"][1]["labels"],
            json!({"namespace": "team", "a": "b"})
        );
        assert_eq!(group["rules"][2]["expr"], "up +");
    }

    fn object(version: &str, expr: &str) -> Value {
        json!({"metadata": {"namespace": "n", "name": "o", "uid": "u", "resourceVersion": version},
            "spec": {"groups": [{"name": "g", "rules": [{"record": "r", "expr": expr}]}]}})
    }

    #[test]
    fn a_wrong_version_leaves_the_last_right_one() {
        let objects = RuleObjects::new(ObjectsConfig::default());
        let look = |version: &str, expr: &str| -> (Option<String>, bool) {
            let mut taken = objects.lock();
            let key = ("n".to_owned(), "o".to_owned());
            objects.look(&mut taken, key.clone(), &object(version, expr));
            let now = &taken[&key];
            let group = now.groups.first();
            let expression = group.map(|g| g.rules[0].expression.to_string());
            assert!(group.is_none_or(|g| &*g.file == "n-o-u.yaml"));
            (expression, now.error.is_some())
        };
        assert_eq!(look("1", "up +"), (None, true));
        assert_eq!(look("2", "up"), (Some("up".into()), false));
        assert_eq!(look("3", "down +"), (Some("up".into()), true));
        assert_eq!(objects.states().len(), 1);
        assert_eq!(look("4", "down"), (Some("down".into()), false));
    }
}
