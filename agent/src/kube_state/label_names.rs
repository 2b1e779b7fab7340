//! Names of Kubernetes labels as names of Prometheus labels.
//!
//! Source: kube-state-metrics, `internal/store/utils.go`: what is no letter, digit or `_` becomes `_`,
//! `aB` becomes `a_b`, and names that are the same after that get `_conflictN`.

use std::collections::HashMap;

/// The pairs under Prometheus' names; they must come sorted.
pub fn label_names<'a>(
    prefix: &str,
    pairs: impl Iterator<Item = (&'a str, &'a str)>,
) -> Vec<(String, &'a str)> {
    let mut named: Vec<(String, &str)> = Vec::new();
    // Where a name stands, and how many suffixes were given out for it.
    let mut used: HashMap<String, usize> = HashMap::new();
    let mut n_conflicts: HashMap<String, u32> = HashMap::new();
    for (key, value) in pairs {
        let base = format!("{prefix}_{}", snake_case(key));
        let mut name = base.clone();
        if let Some(count) = n_conflicts.get_mut(&base) {
            name = free_name(&base, count, &used);
        } else if let Some(first) = used.remove(&base) {
            let mut count = 0;
            let renamed = free_name(&base, &mut count, &used);
            used.insert(renamed.clone(), first);
            named[first].0 = renamed;
            name = free_name(&base, &mut count, &used);
            n_conflicts.insert(base, count);
        }
        used.insert(name.clone(), named.len());
        named.push((name, value));
    }
    named
}

fn free_name(base: &str, count: &mut u32, used: &HashMap<String, usize>) -> String {
    loop {
        *count += 1;
        let name = format!("{base}_conflict{count}");
        if !used.contains_key(&name) {
            return name;
        }
    }
}

/// A resource's name as a label's value: `nvidia.com/gpu` is `nvidia_com_gpu`.
#[must_use]
pub fn sanitized(name: &str) -> String {
    let allowed = |c: char| if c.is_ascii_alphanumeric() { c } else { '_' };
    name.chars().map(allowed).collect()
}

fn snake_case(key: &str) -> String {
    let mut out = String::with_capacity(key.len() + 4);
    let mut before = ' ';
    for c in sanitized(key).chars() {
        let follows = before.is_ascii_lowercase() || before.is_ascii_digit();
        if c.is_ascii_uppercase() && follows {
            out.push('_');
        }
        out.push(c.to_ascii_lowercase());
        before = c;
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_prometheus_names_and_differ() {
        let names = |keys: &[&'static str]| -> Vec<String> {
            let pairs = keys.iter().map(|k| (*k, ""));
            label_names("label", pairs)
                .into_iter()
                .map(|p| p.0)
                .collect()
        };
        assert_eq!(
            names(&["app.kubernetes.io/name", "topology.kubernetes.io/zone"]),
            [
                "label_app_kubernetes_io_name",
                "label_topology_kubernetes_io_zone"
            ]
        );
        assert_eq!(
            names(&["camelCase2X", "HTTPPort"]),
            ["label_camel_case2_x", "label_httpport"]
        );
        assert_eq!(
            names(&["a-b", "a.b", "a_b"]),
            [
                "label_a_b_conflict1",
                "label_a_b_conflict2",
                "label_a_b_conflict3"
            ]
        );
        assert_eq!(
            names(&["a-b", "a-b-conflict1", "a.b"]),
            [
                "label_a_b_conflict2",
                "label_a_b_conflict1",
                "label_a_b_conflict3"
            ]
        );
    }
}
