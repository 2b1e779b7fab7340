//! What is watched and which families are made of it: the options under kube-state-metrics' names.

use std::collections::BTreeMap;

use regex::Regex;

use super::family::{Family, Kind};
use super::kinds;
use super::object::pairs;

/// Whose objects.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Scope {
    /// The pods of this node, and the node.
    #[default]
    Node,
    /// The cluster's; one replica of such an agent is enough.
    Cluster,
}

/// The options as they are written.
#[derive(Debug, Default)]
pub struct Asked<'a> {
    pub scope: Scope,
    pub resources: &'a str,
    pub metric_allowlist: &'a str,
    pub metric_denylist: &'a str,
    pub metric_opt_in_list: &'a str,
    pub metric_labels_allowlist: &'a str,
    pub metric_annotations_allowlist: &'a str,
}

/// A kind and what is made of its objects.
pub struct Plan {
    pub kind: &'static Kind,
    pub families: Vec<&'static Family>,
    /// Which labels become labels of `kube_*_labels`.
    pub labels: Keys,
    pub annotations: Keys,
}

/// Keys of labels or annotations, some with one `*`.
#[derive(Debug, Default, Clone, PartialEq, Eq)]
pub struct Keys(Vec<String>);

impl Keys {
    /// Whether none is wanted.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// The pairs that are wanted.
    pub fn pick<'a>(
        &self,
        map: Option<&'a BTreeMap<String, String>>,
    ) -> impl Iterator<Item = (&'a str, &'a str)> {
        pairs(map).filter(|(key, _)| self.has(key))
    }

    fn has(&self, key: &str) -> bool {
        // As in kube-state-metrics a lone `*` counts only in front.
        let is_lone = |at: usize, pattern: &str| pattern == "*" && at > 0;
        let mut patterns = self.0.iter().enumerate();
        patterns.any(|(at, pattern)| !is_lone(at, pattern) && is_match(pattern, key))
    }
}

fn is_match(pattern: &str, key: &str) -> bool {
    match pattern.split_once('*') {
        None => pattern == key,
        Some((start, end)) => {
            key.len() >= start.len() + end.len() && key.starts_with(start) && key.ends_with(end)
        }
    }
}

/// The kinds that are asked for with their families.
///
/// # Errors
/// Which option cannot be used, and why.
pub fn selection(asked: &Asked<'_>) -> Result<Vec<Plan>, (&'static str, String)> {
    let labels = key_lists(asked.metric_labels_allowlist)
        .map_err(|error| ("metric_labels_allowlist", error))?;
    let annotations = key_lists(asked.metric_annotations_allowlist)
        .map_err(|error| ("metric_annotations_allowlist", error))?;
    let keys_of = |lists: &BTreeMap<String, Keys>, kind: &Kind| {
        // As in kube-state-metrics a list for all resources stands above the others.
        let keys = lists.get("*").or_else(|| lists.get(kind.resource));
        keys.cloned().unwrap_or_default()
    };
    let wanted = Wanted::new(asked)?;
    let mut plans = Vec::new();
    for kind in kinds_of(asked)? {
        let families = kind.families().filter(|f| wanted.has(f)).collect();
        plans.push(Plan {
            kind,
            families,
            labels: keys_of(&labels, kind),
            annotations: keys_of(&annotations, kind),
        });
    }
    for (option, lists) in [
        ("metric_labels_allowlist", &labels),
        ("metric_annotations_allowlist", &annotations),
    ] {
        let is_known =
            |name: &&String| *name == "*" || kinds::ALL.iter().any(|k| k.resource == **name);
        if let Some(unknown) = lists.keys().find(|name| !is_known(name)) {
            return Err((option, unknown_resource(unknown)));
        }
    }
    Ok(plans)
}

fn kinds_of(asked: &Asked<'_>) -> Result<Vec<&'static Kind>, (&'static str, String)> {
    let named: Vec<&str> = words(asked.resources).collect();
    if named.is_empty() {
        let all = kinds::ALL.iter().copied();
        return Ok(match asked.scope {
            Scope::Node => all.filter(|k| k.resource == "pods").collect(),
            Scope::Cluster => all.filter(|k| k.is_default).collect(),
        });
    }
    let mut out: Vec<&'static Kind> = Vec::new();
    for name in named {
        let Some(kind) = kinds::ALL.iter().find(|k| k.resource == name) else {
            return Err(("resources", unknown_resource(name)));
        };
        if asked.scope == Scope::Node && !["pods", "nodes"].contains(&name) {
            let error = format!("'{name}' belong to no node; set scope cluster");
            return Err(("resources", error));
        }
        if !out.iter().any(|k| k.resource == name) {
            out.push(kind);
        }
    }
    Ok(out)
}

fn unknown_resource(name: &str) -> String {
    let known: Vec<&str> = kinds::ALL.iter().map(|k| k.resource).collect();
    format!(
        "'{name}' is no resource that is exposed here; there are {}",
        known.join(", ")
    )
}

/// Which families are wanted.
struct Wanted {
    patterns: Vec<Regex>,
    is_allowlist: bool,
    opt_in: Vec<Regex>,
}

impl Wanted {
    fn new(asked: &Asked<'_>) -> Result<Self, (&'static str, String)> {
        let allow = patterns("metric_allowlist", asked.metric_allowlist)?;
        let deny = patterns("metric_denylist", asked.metric_denylist)?;
        if !allow.is_empty() && !deny.is_empty() {
            let error = "set it or metric_allowlist, not both".to_owned();
            return Err(("metric_denylist", error));
        }
        Ok(Self {
            is_allowlist: !allow.is_empty(),
            patterns: if allow.is_empty() { deny } else { allow },
            opt_in: patterns("metric_opt_in_list", asked.metric_opt_in_list)?,
        })
    }

    fn has(&self, family: &Family) -> bool {
        let is_in = |patterns: &[Regex]| patterns.iter().any(|p| p.is_match(family.name));
        let is_asked_for = !family.is_opt_in || is_in(&self.opt_in);
        is_asked_for && is_in(&self.patterns) == self.is_allowlist
    }
}

/// Regular expressions, which match anywhere in a name as kube-state-metrics' do.
fn patterns(option: &'static str, text: &str) -> Result<Vec<Regex>, (&'static str, String)> {
    let compile = |word| Regex::new(word).map_err(|error| (option, error.to_string()));
    words(text).map(compile).collect()
}

/// The words of a list with commas.
pub(super) fn words(text: &str) -> impl Iterator<Item = &str> {
    text.split(',').map(str::trim).filter(|w| !w.is_empty())
}

/// Reads `pods=[app,team],deployments=[*]`.
///
/// # Errors
/// Where it is written otherwise.
pub fn key_lists(text: &str) -> Result<BTreeMap<String, Keys>, String> {
    let mut lists = BTreeMap::new();
    let mut rest = text.trim();
    while !rest.is_empty() {
        let shape = || format!("'{rest}' is not of the form resource=[key,key],resource=[key]");
        let (name, after) = rest.split_once("=[").ok_or_else(shape)?;
        let (keys, after) = after.split_once(']').ok_or_else(shape)?;
        let name = name.trim();
        let keys: Vec<String> = match keys.trim() {
            "" => Vec::new(),
            keys => keys.split(',').map(|k| k.trim().to_owned()).collect(),
        };
        let is_bad = |k: &String| k.is_empty() || k.contains(['[', '=']);
        if name.is_empty() || name.contains([',', ']', '[']) || keys.iter().any(is_bad) {
            return Err(shape());
        }
        if let Some(key) = keys.iter().find(|k| k.matches('*').count() > 1) {
            return Err(format!("'{key}' has more than one *"));
        }
        let after = after.trim_start();
        rest = match after.strip_prefix(',') {
            Some(next) if !next.trim().is_empty() => next.trim(),
            None if after.is_empty() => "",
            _ => return Err(shape()),
        };
        lists.insert(name.to_owned(), Keys(keys));
    }
    Ok(lists)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_are_written_as_kube_state_metrics_flag_is() {
        let lists = key_lists("pods=[app, k8s.io/*],nodes=[*], jobs=[]").expect("well-formed");
        let picked = |resource: &str, keys: &[&str]| -> Vec<String> {
            let map = keys
                .iter()
                .map(|k| ((*k).to_owned(), String::new()))
                .collect();
            let picked = lists[resource].pick(Some(&map)).map(|p| p.0.to_owned());
            picked.collect()
        };
        let keys = ["app", "app2", "k8s.io/x"];
        assert_eq!(picked("pods", &keys), ["app", "k8s.io/x"]);
        assert_eq!(picked("nodes", &keys), keys);
        assert!(lists["jobs"].is_empty());
        for bad in [
            "pods",
            "pods=app",
            "pods=[app",
            "pods=[app]]",
            "=[app]",
            "pods=[app],",
            "pods=[,]",
            "pods=[a]nodes=[b]",
            "pods=[*a*]",
        ] {
            assert!(key_lists(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn resources_and_families_are_chosen() {
        let chosen = |asked: Asked<'_>| -> Result<Vec<(&str, usize)>, String> {
            let plans =
                selection(&asked).map_err(|(option, error)| format!("{option}: {error}"))?;
            Ok(plans
                .iter()
                .map(|p| (p.kind.resource, p.families.len()))
                .collect())
        };
        let all_pods = kinds::ALL[0].families().filter(|f| !f.is_opt_in).count();
        assert_eq!(chosen(Asked::default()), Ok(vec![("pods", all_pods)]));
        let asked = Asked {
            scope: Scope::Cluster,
            resources: "pods, nodes",
            metric_allowlist: "kube_pod_info$,kube_node_.*",
            ..Asked::default()
        };
        assert_eq!(chosen(asked), Ok(vec![("pods", 1), ("nodes", 13)]));
        let asked = Asked {
            metric_denylist: "kube_pod_tolerations",
            metric_opt_in_list: "kube_pod_nodeselectors",
            ..Asked::default()
        };
        assert_eq!(chosen(asked), Ok(vec![("pods", all_pods)]));
        for (asked, error) in [
            (
                Asked {
                    resources: "jobs",
                    ..Asked::default()
                },
                "resources: 'jobs' belong",
            ),
            (
                Asked {
                    resources: "cats",
                    ..Asked::default()
                },
                "resources: 'cats' is no resource",
            ),
            (
                Asked {
                    metric_allowlist: "(",
                    ..Asked::default()
                },
                "metric_allowlist: regex",
            ),
            (
                Asked {
                    metric_allowlist: "a",
                    metric_denylist: "b",
                    ..Asked::default()
                },
                "metric_denylist: set it or",
            ),
            (
                Asked {
                    metric_labels_allowlist: "cats=[x]",
                    ..Asked::default()
                },
                "metric_labels_allowlist: 'cats'",
            ),
        ] {
            let found = chosen(asked).expect_err(error);
            assert!(found.starts_with(error), "{found}");
        }
    }
}
