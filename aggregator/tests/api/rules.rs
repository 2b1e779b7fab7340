//! Rules and alerts through the API, with an Alertmanager of the test's own.

use std::io::{BufRead, BufReader, Write};
use std::net::TcpListener;
use std::path::Path;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use serde_json::Value;
use tempfile::TempDir;

use crate::harness::Server;

/// Takes alerts and keeps them.
struct Alertmanager {
    port: u16,
    alerts: Arc<Mutex<Vec<Value>>>,
}

impl Alertmanager {
    fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
        let port = listener.local_addr().expect("an address").port();
        let alerts = Arc::<Mutex<Vec<Value>>>::default();
        let kept = alerts.clone();
        // Ends with the test's process.
        std::thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                let mut reader = BufReader::new(stream);
                while let Some(body) = request(&mut reader) {
                    let all: Vec<Value> = serde_json::from_slice(&body).expect("alerts");
                    kept.lock().unwrap().extend(all);
                    let answer = b"HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n";
                    reader.get_mut().write_all(answer).expect("an answer");
                }
            }
        });
        Self { port, alerts }
    }

    /// The newest alert of a name.
    fn newest(&self, name: &str) -> Option<Value> {
        let alerts = self.alerts.lock().unwrap();
        let mut named = alerts.iter().rev();
        named.find(|a| a["labels"]["alertname"] == name).cloned()
    }
}

fn request(reader: &mut impl BufRead) -> Option<Vec<u8>> {
    let mut len = 0;
    loop {
        let mut line = String::new();
        if reader.read_line(&mut line).ok()? == 0 {
            return None;
        }
        if let Some(value) = line.to_ascii_lowercase().strip_prefix("content-length:") {
            len = value.trim().parse().ok()?;
        }
        if line.trim().is_empty() {
            let mut body = vec![0; len];
            reader.read_exact(&mut body).ok()?;
            return Some(body);
        }
    }
}

const RULES: &str = r#"
groups:
- name: g
  interval: 1s
  rules:
  - {record: three, expr: vector(3)}
  - {record: six, expr: three * 2}
  - alert: Always
    expr: three > 2
    labels: {severity: page}
    annotations: {summary: 'is {{ $value }} in {{ $externalLabels.cluster }}'}
  - {alert: Waits, expr: three > 2, for: 1h}
"#;

const LOG_RULES: &str = r#"
groups:
- name: logs
  interval: 1s
  rules:
  - {record: 'app:errors:count', expr: 'sum by (app) (count_over_time({app="x"} |= "error" [1h]))'}
"#;

fn write_files(folder: &Path, port: u16, rules: &str) {
    let config = format!(
        "global: {{external_labels: {{cluster: c1}}}}\nrule_files: ['rules*.yml']\nloki_rule_files: [logs.yml]\nalerting: {{alertmanagers: [{{static_configs: [{{targets: ['127.0.0.1:{port}']}}]}}]}}\n"
    );
    std::fs::write(folder.join("k.yml"), config).expect("a file");
    std::fs::write(folder.join("rules.yml"), rules).expect("a file");
    std::fs::write(folder.join("logs.yml"), LOG_RULES).expect("a file");
}

async fn eventually<T>(what: &str, mut ask: impl AsyncFnMut() -> Option<T>) -> T {
    let begun = Instant::now();
    loop {
        if let Some(found) = ask().await {
            return found;
        }
        assert!(begun.elapsed() < Duration::from_secs(60), "{what}");
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}

async fn value(server: &Server, query: &str) -> Option<String> {
    let answer = server.get(&format!("/api/v1/query?query={query}")).await;
    let json = answer.json();
    json["data"]["result"][0]["value"][1]
        .as_str()
        .map(str::to_owned)
}

async fn alert(server: &Server, name: &str) -> Option<Value> {
    let json = server.get("/api/v1/alerts").await.json();
    let alerts = json["data"]["alerts"]
        .as_array()
        .cloned()
        .unwrap_or_default();
    alerts
        .into_iter()
        .find(|a| a["labels"]["alertname"] == name)
}

#[tokio::test(flavor = "multi_thread")]
async fn rules_are_evaluated_alerts_are_told_and_survive_a_restart() {
    let (manager, files) = (Alertmanager::start(), TempDir::new().expect("a folder"));
    write_files(files.path(), manager.port, RULES);
    let config = format!("--config.file={}", files.path().join("k.yml").display());
    let flags = [
        config.as_str(),
        "--web.external-url=http://kansoku.example/",
        "--web.enable-lifecycle",
        "--rules.alert.resend-delay=1s",
    ];
    let server = Server::start_with(&flags).await;
    let now_ns = kansoku_aggregator::clock::now_ns().to_string();
    server
        .push(serde_json::json!([{"stream": {"app": "x"}, "values": [[now_ns, "an error"]]}]))
        .await;
    let six = eventually("the recorded value", async || value(&server, "six").await).await;
    assert_eq!(six, "6");
    let count = async || value(&server, "app:errors:count").await;
    assert_eq!(eventually("the count of lines", count).await, "1");

    let told = eventually("a notification", async || manager.newest("Always")).await;
    assert_eq!(told["annotations"]["summary"], "is 3 in c1");
    assert_eq!(told["labels"]["cluster"], "c1");
    let link = "http://kansoku.example/graph?g0.expr=three+%3E+2&g0.tab=1";
    assert_eq!(told["generatorURL"], link);
    let firing = alert(&server, "Always").await.expect("the alert");
    assert_eq!(
        (&firing["state"], &firing["value"]),
        (&"firing".into(), &"3e+00".into())
    );
    let state = value(
        &server,
        "ALERTS%7Balertname=%22Waits%22,alertstate=%22pending%22%7D",
    );
    assert_eq!(state.await.as_deref(), Some("1"));
    let since = alert(&server, "Waits").await.expect("the alert")["activeAt"].clone();

    // A rule list with its filters and pages.
    let page = server.get("/api/v1/rules?group_limit=1").await.json();
    let first = &page["data"]["groups"][0];
    assert_eq!(first["name"], "logs");
    let next = page["data"]["groupNextToken"].as_str().expect("a token");
    let path = format!(
        "/api/v1/rules?group_limit=1&group_next_token={next}&type=alert&exclude_alerts=true"
    );
    let page = server.get(&path).await.json();
    let rules = page["data"]["groups"][0]["rules"]
        .as_array()
        .expect("rules");
    assert_eq!(rules.len(), 2);
    assert_eq!(rules[0]["state"], "firing");
    assert_eq!(server.get("/api/v1/rules?type=x").await.status, 400);
    let loki = server.get("/prometheus/api/v1/rules").await.json();
    assert_eq!(loki["data"]["groups"].as_array().map(Vec::len), Some(1));
    let metrics = server.get("/metrics").await.text();
    assert!(
        metrics.contains("prometheus_notifications_sent_total{"),
        "{metrics}"
    );

    // What is wrong is not taken, and what runs goes on.
    write_files(
        files.path(),
        manager.port,
        &RULES.replace("three * 2", "three *"),
    );
    let answer = server.post("/-/reload", &[], "").await;
    assert_eq!(answer.status, 500);
    assert!(
        answer.text().contains("could not parse expression"),
        "{}",
        answer.text()
    );
    assert!(alert(&server, "Always").await.is_some());

    // A restart keeps what was.
    write_files(files.path(), manager.port, RULES);
    let server = server.restart(&flags).await;
    let again = alert(&server, "Always")
        .await
        .expect("the alert is there before any evaluation");
    assert_eq!(
        (&again["state"], &again["activeAt"]),
        (&firing["state"], &firing["activeAt"])
    );
    let waits = alert(&server, "Waits").await.expect("the alert");
    assert!(waits["activeAt"].as_str() >= since.as_str(), "{waits}");

    // A removed rule ends its series and its alert is told no more; the others stay.
    write_files(
        files.path(),
        manager.port,
        &RULES.replace("three > 2\n    labels", "three > 5\n    labels"),
    );
    let answer = server.post("/-/reload", &[], "").await;
    assert_eq!(answer.status, 200, "{}", answer.text());
    let resolved = async || {
        let told = manager.newest("Always")?;
        let now = kansoku_aggregator::clock::rfc3339_ms(kansoku_aggregator::clock::now_ms());
        (told["endsAt"].as_str()? <= now.as_str()).then_some(())
    };
    eventually("the alert is resolved", resolved).await;
    let gone = async || {
        value(&server, "ALERTS%7Balertname=%22Always%22%7D")
            .await
            .is_none()
            .then_some(())
    };
    eventually("the series ends", gone).await;
    server.stop().await;
}

#[tokio::test]
async fn wrong_rules_stop_the_start() {
    let files = TempDir::new().expect("a folder");
    write_files(files.path(), 1, "groups: {}");
    let config = format!("--config.file={}", files.path().join("k.yml").display());
    let mut server = Server::listen_with(&[config.as_str()]).await;
    let error = server.running.open_store().await.expect_err("wrong");
    assert!(
        error.contains("cannot unmarshal !!map into []rulefmt.RuleGroup"),
        "{error}"
    );
    let server = Server::start().await;
    let answer = server.post("/-/reload", &[], "").await;
    assert_eq!(answer.status, 403, "{}", answer.text());
}

#[tokio::test(flavor = "multi_thread")]
async fn rules_of_tenants_lie_in_their_folders() {
    let (common, own) = (Alertmanager::start(), Alertmanager::start());
    let files = TempDir::new().expect("a folder");
    for (tenant, value) in [("one", "1"), ("two", "2")] {
        let folder = files.path().join("rules").join(tenant);
        std::fs::create_dir_all(&folder).expect("a folder");
        let rules = RULES.replace("vector(3)", &format!("vector(1{value})"));
        std::fs::write(folder.join("r.yml"), rules).expect("a file");
    }
    let path = files.path().join("k.yml");
    let text = format!(
        "rule_files: ['rules/*/*.yml']\nalerting:\n  alertmanagers:\n  - static_configs: [{{targets: ['127.0.0.1:{}']}}]\n  - static_configs: [{{targets: ['127.0.0.1:{}']}}]\n    tenants: [two]\n",
        common.port, own.port
    );
    std::fs::write(&path, &text).expect("a file");
    let config = format!("--config.file={}", path.display());
    let server = Server::start_with(&[config.as_str(), "--tenants.enabled"]).await;
    let get = async |tenant: &str, path: &str| {
        let headers = [("x-scope-orgid", tenant)];
        let answer = server.send(hyper::Method::GET, path, &headers, "").await;
        answer.json()
    };
    for (tenant, expected) in [("one", "22"), ("two", "24")] {
        let recorded = async || {
            let json = get(tenant, "/api/v1/query?query=six").await;
            let value = json["data"]["result"][0]["value"][1].as_str();
            value.map(str::to_owned)
        };
        assert_eq!(eventually("the recorded value", recorded).await, expected);
        let groups = get(tenant, "/api/v1/rules").await;
        let groups = groups["data"]["groups"]
            .as_array()
            .cloned()
            .expect("groups");
        assert_eq!(groups.len(), 1);
        let file = groups[0]["file"].as_str().expect("a file");
        assert!(file.ends_with(&format!("rules/{tenant}/r.yml")), "{file}");
        let managers = get(tenant, "/api/v1/alertmanagers").await;
        let port = if tenant == "one" {
            common.port
        } else {
            own.port
        };
        assert_eq!(
            managers["data"]["activeAlertmanagers"],
            serde_json::json!([{"url": format!("http://127.0.0.1:{port}/api/v2/alerts")}])
        );
    }
    let nobody = get("three", "/api/v1/rules").await;
    assert_eq!(nobody["data"]["groups"], serde_json::json!([]));
    for (manager, expected) in [(&common, "is 11 in "), (&own, "is 12 in ")] {
        let told = eventually("a notification", async || manager.newest("Always")).await;
        assert_eq!(told["annotations"]["summary"], expected);
        let all = manager.alerts.lock().unwrap();
        let summaries = all
            .iter()
            .filter_map(|a| a["annotations"]["summary"].as_str());
        assert!(summaries.into_iter().all(|s| s == expected));
    }
    server.stop().await;

    // Whose are they?
    for (text, flags, expected) in [
        (
            "rule_files: ['a b/r.yml']",
            vec![config.as_str(), "--tenants.enabled"],
            "the folder of a rule file is the name of its tenant",
        ),
        (
            "kubernetes_rules: {api_server: 'http://127.0.0.1:1'}",
            vec![config.as_str(), "--tenants.enabled"],
            "needs 'tenant'",
        ),
        (
            "alerting: {alertmanagers: [{tenants: [a]}]}",
            vec![config.as_str()],
            "has no effect without --tenants.enabled",
        ),
    ] {
        std::fs::write(&path, text).expect("a file");
        let odd = files.path().join("a b");
        std::fs::create_dir_all(&odd).expect("a folder");
        std::fs::write(odd.join("r.yml"), RULES).expect("a file");
        let mut server = Server::listen_with(&flags).await;
        let error = server.running.open_store().await.expect_err("wrong");
        assert!(error.contains(expected), "{text}: {error}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_prometheus_yml_is_taken_whole_and_external_labels_change_with_a_reload() {
    let files = TempDir::new().expect("a folder");
    let path = files.path().join("prometheus.yml");
    let write = |cluster: &str| {
        let text = format!(
            "global: {{scrape_interval: 15s, external_labels: {{cluster: {cluster}}}}}\nscrape_configs: [{{job_name: x}}]\nremote_write: [{{url: 'http://x'}}]\n"
        );
        std::fs::write(&path, text).expect("a file");
    };
    write("first");
    let config = format!("--config.file={}", path.display());
    let flags = [
        config.as_str(),
        "--config.prometheus-compat",
        "--web.enable-lifecycle",
    ];
    let server = Server::start_with(&flags).await;
    let now_ms = kansoku_aggregator::clock::now_ms();
    server
        .write(&[(&[("__name__", "m")], &[(now_ms, 1.0)])])
        .await;
    let federated = async || server.get("/federate?match[]=m").await.text();
    assert!(
        federated().await.contains("cluster=\"first\""),
        "{}",
        federated().await
    );
    write("second");
    let answer = server.post("/-/reload", &[], "").await;
    assert_eq!(answer.status, 200, "{}", answer.text());
    assert!(
        federated().await.contains("cluster=\"second\""),
        "{}",
        federated().await
    );
    server.stop().await;
}
