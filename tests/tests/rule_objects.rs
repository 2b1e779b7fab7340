//! PrometheusRule objects of a cluster and Alertmanagers that its API knows, with a made-up API server:
//! objects come, change, are wrong and go; the API goes away and forgets.

use std::fs;

use kansoku_tests::aggregator::Aggregator;
use kansoku_tests::kube_api::{KubeApi, Mode};
use kansoku_tests::program::wait_for;
use serde_json::{Value, json};

const RULES: &str = "prometheusrules";

fn rule(alert: &str, expr: &str) -> Value {
    json!({"metadata": {"namespace": "team"}, "spec": {"groups": [{"name": "g", "interval": "1s",
        "partial_response_strategy": "warn", "rules": [{"alert": alert, "expr": expr}]}]}})
}

/// The names of the alerts that are evaluated, with file and expression.
fn rules(aggregator: &Aggregator) -> Vec<(String, String, String)> {
    let json = aggregator.get("/api/v1/rules", &[]).json();
    let text = |v: &Value| v.as_str().unwrap_or_default().to_owned();
    let mut found = Vec::new();
    for group in json["data"]["groups"].as_array().into_iter().flatten() {
        for rule in group["rules"].as_array().into_iter().flatten() {
            found.push((
                text(&rule["name"]),
                text(&group["file"]),
                text(&rule["query"]),
            ));
        }
    }
    found
}

fn wait_for_rules(aggregator: &Aggregator, expected: &[&str]) {
    wait_for(&format!("the rules {expected:?}"), || {
        let found = rules(aggregator);
        let names: Vec<&str> = found.iter().map(|(name, ..)| name.as_str()).collect();
        (names == expected).then_some(())
    });
}

fn metric(aggregator: &Aggregator, series: &str) -> Option<f64> {
    let page = aggregator.get("/metrics", &[]).text();
    let line = page.lines().find(|line| line.starts_with(series))?;
    line.rsplit(' ').next()?.parse().ok()
}

fn is_firing(aggregator: &Aggregator, name: &str) -> Option<()> {
    let json = aggregator.get("/api/v1/alerts", &[]).json();
    let alerts = json["data"]["alerts"].as_array()?;
    let is_it = |a: &&Value| a["labels"]["alertname"] == name && a["state"] == "firing";
    alerts.iter().find(is_it).map(|_| ())
}

#[test]
fn objects_are_rules_from_their_coming_to_their_going() {
    let folder = tempfile::tempdir().expect("a folder");
    let api = KubeApi::start();
    api.set_mode(Mode::KnowsNoKind, false);
    let path = folder.path().join("kansoku.yml");
    let server = format!("http://127.0.0.1:{}", api.port);
    let config = format!(
        "\
kubernetes_rules:
  api_server: {server}
  rule_selector: {{matchLabels: {{role: alert}}}}
  rule_namespace_selector: {{matchLabels: {{kind: team}}}}
  enforced_namespace_label: namespace
alerting:
  alertmanagers:
  - kubernetes_sd_configs: [{{role: endpoints, api_server: '{server}', namespaces: {{names: [monitoring]}}}}]
    relabel_configs:
    - {{action: keep, source_labels: [__meta_kubernetes_endpoints_name], regex: alertmanager}}
"
    );
    fs::write(&path, config).expect("the folder is ours");
    let flag = format!("--config.file={}", path.display());
    let mut aggregator = Aggregator::new(folder.path(), &[&flag, "--rules.alert.resend-delay=1s"]);
    aggregator.start();
    aggregator.program.wait_to_say("the API knows no such kind");

    // The kinds are there, and an object.
    api.put("namespaces", "team", json!({"metadata": {}}));
    let address = json!([{"ip": "127.0.0.1"}]);
    for name in ["alertmanager", "other"] {
        let subset = json!([{"addresses": address, "ports": [{"name": "web", "port": api.port}]}]);
        let object = json!({"metadata": {"namespace": "monitoring"}, "subsets": subset});
        api.put("endpoints", name, object);
    }
    api.put(RULES, "one", rule("One", "absent(nothing{a=\"b\"})"));
    api.set_mode(Mode::Answers, false);
    wait_for("the alert to fire", || is_firing(&aggregator, "One"));
    let found = rules(&aggregator);
    assert_eq!(found[0].1, "team-one-uid-of-one.yaml");
    assert_eq!(found[0].2, r#"absent(nothing{a="b",namespace="team"})"#);
    let queries = api.queries();
    let list =
        "/apis/monitoring.coreos.com/v1/prometheusrules?limit=500&labelSelector=role%3Dalert";
    assert!(queries.iter().any(|q| q == list), "{queries:?}");
    let told = wait_for("the Alertmanager to be told", || api.alerts().pop());
    assert_eq!(told["labels"]["namespace"], "team", "{told}");
    let managers = aggregator.get("/api/v1/alertmanagers", &[]).json();
    assert_eq!(
        managers["data"]["activeAlertmanagers"]
            .as_array()
            .map(Vec::len),
        Some(1),
        "{managers}"
    );
    assert_eq!(
        managers["data"]["droppedAlertmanagers"]
            .as_array()
            .map(Vec::len),
        Some(1),
        "{managers}"
    );

    // A change, a second object, a wrong one, and a right one that becomes wrong.
    api.put(RULES, "one", rule("Changed", "vector(1)"));
    wait_for_rules(&aggregator, &["Changed"]);
    api.put(RULES, "two", rule("Two", "vector(2)"));
    wait_for_rules(&aggregator, &["Changed", "Two"]);
    api.put(RULES, "wrong", rule("Wrong", "up +"));
    api.put(RULES, "two", rule("Broken", "sum("));
    let said = "PrometheusRule team/two is not taken, its last right version goes on: spec.groups[0].rules[0].expr";
    aggregator.program.wait_to_say(said);
    let said = "PrometheusRule team/wrong is not taken: spec.groups[0].rules[0].expr";
    aggregator.program.wait_to_say(said);
    wait_for_rules(&aggregator, &["Changed", "Two"]);
    assert_eq!(
        metric(&aggregator, "kansoku_rule_objects{state=\"selected\"}"),
        Some(3.0)
    );
    assert_eq!(
        metric(&aggregator, "kansoku_rule_objects{state=\"rejected\"}"),
        Some(2.0)
    );

    // Away: all goes on.
    api.set_mode(Mode::Away, false);
    wait_for("the loss to be seen", || {
        let series = "kansoku_rule_objects_connected{resource=\"prometheusrules\"}";
        metric(&aggregator, series).filter(|value| *value == 0.0)
    });
    wait_for_rules(&aggregator, &["Changed", "Two"]);

    // Back, and what happened meanwhile is forgotten there: the list says what is.
    api.delete(RULES, "wrong");
    api.put(RULES, "two", rule("Mended", "vector(2)"));
    api.set_mode(Mode::Answers, true);
    wait_for_rules(&aggregator, &["Changed", "Mended"]);
    assert_eq!(
        metric(&aggregator, "kansoku_rule_objects{state=\"rejected\"}"),
        Some(0.0)
    );

    // Gone, one by one and by their namespace.
    api.delete(RULES, "two");
    wait_for_rules(&aggregator, &["Changed"]);
    api.delete("namespaces", "team");
    wait_for_rules(&aggregator, &[]);
}
