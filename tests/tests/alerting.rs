//! Rules with Debian's Alertmanager: alerts arrive, are grouped and resolved, amtool shows them, and
//! kill -9 of the aggregator while they are pending and firing forgets nothing.

use std::fs;
use std::path::Path;
use std::process::{Child, Command, Stdio};

use kansoku_tests::aggregator::Aggregator;
use kansoku_tests::http;
use kansoku_tests::program::{free_port, wait_for};
use serde_json::Value;

/// Debian's Alertmanager, ended with the test.
struct Alertmanager {
    child: Child,
    port: u16,
}

impl Alertmanager {
    fn start(folder: &Path) -> Self {
        let config = "route: {receiver: none, group_by: [alertname], group_wait: 1s}\nreceivers: [{name: none}]\n";
        let path = folder.join("alertmanager.yml");
        fs::write(&path, config).expect("the folder is ours");
        let port = free_port();
        let log = fs::File::create(folder.join("alertmanager.log")).expect("the folder is ours");
        let child = Command::new("prometheus-alertmanager")
            .arg(format!("--config.file={}", path.display()))
            .arg(format!("--storage.path={}", folder.join("am").display()))
            .arg(format!("--web.listen-address=127.0.0.1:{port}"))
            .arg("--cluster.listen-address=")
            .stdout(Stdio::null())
            .stderr(log)
            .spawn()
            .expect("prometheus-alertmanager is installed (deploy/setup.sh test)");
        let manager = Self { child, port };
        wait_for("the Alertmanager to be ready", || {
            http::get(port, "/-/ready").ok().filter(|r| r.status == 200)
        });
        manager
    }

    fn groups(&self) -> Vec<Value> {
        let reply = http::get(self.port, "/api/v2/alerts/groups").expect("it answers");
        reply.json().as_array().cloned().unwrap_or_default()
    }

    /// What amtool shows.
    fn amtool(&self) -> String {
        let url = format!("--alertmanager.url=http://127.0.0.1:{}", self.port);
        let shown = Command::new("amtool")
            .args(["alert", "query", &url])
            .output();
        String::from_utf8_lossy(&shown.expect("amtool is installed").stdout).into_owned()
    }
}

impl Drop for Alertmanager {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

const RULES: &str = r"
groups:
- name: g
  interval: 1s
  rules:
  - {record: broken, expr: 'vector(VALUE)'}
  - alert: Broken
    expr: label_replace(broken, 'disk', 'a', '', '') > 0 or label_replace(broken, 'disk', 'b', '', '') > 0
    labels: {severity: page}
    annotations: {summary: 'disk {{ $labels.disk }}'}
  - {alert: Slow, expr: broken > 0, for: 6s, keep_firing_for: 1h}
";

fn alert(aggregator: &Aggregator, name: &str) -> Option<Value> {
    let json = aggregator.get("/api/v1/alerts", &[]).json();
    let alerts = json["data"]["alerts"].as_array().cloned();
    let mut named = alerts.unwrap_or_default().into_iter();
    named.find(|a| a["labels"]["alertname"] == name)
}

/// Waits until what is kept for a restart says something.
fn wait_until_kept(folder: &Path, words: &str) {
    wait_for(&format!("'{words}' to be kept"), || {
        let files = fs::read_dir(folder.join("store/rules")).ok()?.flatten();
        // Not what is only being written.
        let whole = files
            .map(|file| file.path())
            .filter(|path| path.extension().is_some_and(|e| e == "json"));
        let mut texts = whole.filter_map(|path| fs::read_to_string(path).ok());
        texts.any(|text| text.contains(words)).then_some(())
    });
}

#[test]
fn alerts_reach_the_alertmanager_and_survive_kill_9() {
    let folder = tempfile::tempdir().expect("a folder");
    let manager = Alertmanager::start(folder.path());
    let write_rules = |value: &str| {
        let text = RULES.replace("VALUE", value);
        fs::write(folder.path().join("rules.yml"), text).expect("the folder is ours");
    };
    write_rules("1");
    let path = folder.path().join("kansoku.yml");
    let config = format!(
        "rule_files: [rules.yml]\nalerting: {{alertmanagers: [{{static_configs: [{{targets: ['127.0.0.1:{}']}}]}}]}}\n",
        manager.port
    );
    fs::write(&path, config).expect("the folder is ours");
    let flag = format!("--config.file={}", path.display());
    let flags = [
        &flag,
        "--rules.alert.resend-delay=1s",
        "--web.enable-lifecycle",
    ];
    let mut aggregator = Aggregator::new(folder.path(), &flags);
    aggregator.start();

    // Pending through kill -9.
    let slow = wait_for("the slow alert", || alert(&aggregator, "Slow"));
    assert_eq!(slow["state"], "pending", "{slow}");
    wait_until_kept(folder.path(), "pending");
    aggregator.program.kill();
    aggregator.start();
    let again = wait_for("the slow alert again", || alert(&aggregator, "Slow"));
    assert_eq!(again["state"], "pending", "{again}");
    let firing = wait_for("the slow alert to fire", || {
        alert(&aggregator, "Slow").filter(|a| a["state"] == "firing")
    });

    wait_until_kept(folder.path(), "\"alertname\":\"Slow\"},\"last_sent_ms\":1");

    // Firing through kill -9: at once, and since the same time.
    aggregator.program.kill();
    aggregator.start();
    let again = wait_for("the slow alert again", || alert(&aggregator, "Slow"));
    assert_eq!(again["state"], "firing", "{again}");
    assert_eq!(again["activeAt"], firing["activeAt"]);

    // The Alertmanager groups both disks and amtool shows them.
    let group = wait_for("a group of two", || {
        let groups = manager.groups().into_iter();
        let mut named = groups.filter(|g| g["labels"]["alertname"] == "Broken");
        named.find(|g| g["alerts"].as_array().is_some_and(|a| a.len() == 2))
    });
    assert_eq!(group["alerts"][0]["labels"]["severity"], "page");
    let shown = manager.amtool();
    assert!(
        shown.contains("Broken") && shown.contains("disk a") && shown.contains("disk b"),
        "{shown}"
    );

    // Resolved when the condition ends; what keeps firing does, also through a restart.
    write_rules("0");
    let reply = http::post(aggregator.port, "/-/reload", &[], b"").expect("it answers");
    assert_eq!(reply.status, 200, "{}", reply.text());
    wait_for("both to be resolved", || {
        (!manager.amtool().contains("Broken")).then_some(())
    });
    wait_until_kept(folder.path(), "\"keep_firing_since_ms\":1");
    aggregator.program.kill();
    aggregator.start();
    let kept = wait_for("the slow alert still", || alert(&aggregator, "Slow"));
    assert_eq!(kept["state"], "firing", "{kept}");
    assert!(kept["keepFiringSince"].is_string(), "{kept}");
    assert!(manager.amtool().contains("Slow"));
}
