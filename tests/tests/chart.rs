//! The Helm chart: its schema knows exactly its values, and its alerts read metrics that exist.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

use serde_json::Value;

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("..")
}

fn read(path: impl AsRef<Path>) -> String {
    let path = root().join(path);
    fs::read_to_string(&path).unwrap_or_else(|e| panic!("{}: {e}", path.display()))
}

/// The paths of all values, each with its type as JSON Schema calls it.
fn paths_of_values(value: &Value, path: &str, out: &mut BTreeSet<String>) {
    let kind = match value {
        Value::Object(fields) => {
            for (name, field) in fields {
                paths_of_values(field, &format!("{path}.{name}"), out);
            }
            "object"
        }
        Value::Array(_) => "array",
        Value::String(_) => "string",
        Value::Bool(_) => "boolean",
        Value::Number(_) => "integer",
        Value::Null => "null",
    };
    out.insert(format!("{path} {kind}"));
}

/// The same of a schema; where anything goes, what the default says.
fn paths_of_schema(schema: &Value, default: &Value, path: &str, out: &mut BTreeSet<String>) {
    let kind = match &schema["type"] {
        Value::Array(kinds) => kinds[0].as_str(),
        kind => kind.as_str(),
    };
    out.insert(format!("{path} {}", kind.expect("a type")));
    match schema["properties"].as_object() {
        Some(fields) => {
            assert_eq!(
                schema["additionalProperties"],
                Value::Bool(false),
                "{path} takes any key, so a mistyped one has no effect"
            );
            for (name, field) in fields {
                paths_of_schema(field, &default[name], &format!("{path}.{name}"), out);
            }
        }
        None => paths_of_values(default, path, out),
    }
}

#[test]
fn the_schema_knows_exactly_the_values() {
    let text = read("deploy/helm/kansoku/values.yaml");
    let values: Value = serde_saphyr::from_str(&text).expect("YAML");
    let schema = read("deploy/helm/kansoku/values.schema.json");
    let mut schema: Value = serde_json::from_str(&schema).expect("JSON");
    // Of charts that have this one as a part.
    schema["properties"]
        .as_object_mut()
        .and_then(|fields| fields.remove("global"))
        .expect("global");
    let (mut expected, mut found) = (BTreeSet::new(), BTreeSet::new());
    paths_of_values(&values, "", &mut expected);
    paths_of_schema(&schema, &values, "", &mut found);
    assert_eq!(found, expected);
    assert!(expected.len() > 60, "{}", expected.len());
}

/// What `kubernetes_rules` watches is what the aggregator's roles allow.
#[test]
fn the_aggregator_may_read_rules() {
    let manifest = read("deploy/aggregator.yaml");
    let role = manifest
        .split("\n---\n")
        .find(|part| part.contains("kind: ClusterRole\n"))
        .expect("a ClusterRole");
    let role: Value = serde_saphyr::from_str(role).expect("YAML");
    let allowed = |group: &str, resource: &str| {
        let rules = role["rules"].as_array().expect("rules").iter();
        rules.clone().any(|rule| {
            rule["apiGroups"][0] == group
                && rule["resources"][0] == resource
                && rule["verbs"] == serde_json::json!(["list", "watch"])
        })
    };
    assert!(allowed("monitoring.coreos.com", "prometheusrules") && allowed("", "namespaces"));
    let template = read("deploy/helm/kansoku/templates/aggregator.yaml");
    for words in [
        r#"(list "monitoring.coreos.com") "resources" (list "prometheusrules") "verbs" (list "list" "watch")"#,
        r#"(list "") "resources" (list "namespaces") "verbs" (list "list" "watch")"#,
        "automountServiceAccountToken: {{ or $sidecar.enabled $a.dashboards.kubernetes.enabled $a.kubernetesRules.enabled (not (empty $a.alertmanagerNamespaces)) }}",
    ] {
        assert!(template.contains(words), "{words}");
    }
    // The section that the chart writes has the keys that the program reads.
    let helpers = read("deploy/helm/kansoku/templates/_helpers.tpl");
    let code =
        read("aggregator/src/rules/objects.rs") + &read("aggregator/src/documents/config_maps.rs");
    let section = &helpers[helpers
        .find("kansoku.aggregatorConfig")
        .expect("the section")..];
    let keys = section
        .split("$section \"")
        .skip(1)
        .chain(section.split("dict \"").skip(1));
    let keys: Vec<&str> = keys
        .map(|rest| rest.split('"').next().unwrap_or(""))
        .collect();
    assert!(keys.len() >= 5, "{keys:?}");
    for key in keys {
        assert!(code.contains(&format!("\"{key}\"")), "{key} is not read");
    }
}

/// All of the programs' code, for names that stand whole in it.
fn code() -> String {
    let mut folders: Vec<PathBuf> = ["agent", "aggregator", "outputs"]
        .map(|name| root().join(name).join("src"))
        .to_vec();
    let mut code = String::new();
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(folder).expect("a folder") {
            let path = entry.expect("an entry").path();
            match path.extension() {
                _ if path.is_dir() => folders.push(path),
                Some(extension) if extension == "rs" => code += &read(&path),
                _ => {}
            }
        }
    }
    code
}

#[test]
fn alerts_read_metrics_that_exist() {
    let code = code();
    let rules = read("deploy/helm/kansoku/rules/kansoku.yaml");
    let names: BTreeSet<&str> = rules
        .split(|c: char| !c.is_ascii_alphanumeric() && c != '_')
        .filter(|word| word.starts_with("kansoku_") || word.starts_with("fluentbit_"))
        .collect();
    assert!(names.len() >= 8, "{names:?}");
    for name in names {
        assert!(code.contains(&format!("\"{name}\"")), "{name} is nobody's");
    }
}
