//! Dashboards in ConfigMaps of a cluster, with a made-up API server: they come, change, are wrong and go;
//! the API goes away and forgets; a reload follows the configuration.

use std::fs;

use kansoku_tests::aggregator::Aggregator;
use kansoku_tests::http;
use kansoku_tests::kube_api::{KubeApi, Mode};
use kansoku_tests::program::wait_for;
use serde_json::{Value, json};

const MAPS: &str = "configmaps";

fn map(folder: &str, data: &[(&str, &str)]) -> Value {
    let data: serde_json::Map<String, Value> = data
        .iter()
        .map(|(key, text)| ((*key).to_owned(), (*text).into()))
        .collect();
    json!({"metadata": {"namespace": "team", "creationTimestamp": "2026-01-02T03:04:05Z",
        "annotations": {"grafana_folder": folder}}, "data": data})
}

/// `id | folder | title`, and why it is none.
fn boards(aggregator: &Aggregator) -> Vec<String> {
    let json = aggregator.get("/api/v1/dashboards", &[]).json();
    let text = |v: &Value| v.as_str().unwrap_or_default().to_owned();
    let all = json["data"].as_array().into_iter().flatten();
    all.map(|board| {
        let (id, folder) = (text(&board["id"]), text(&board["folder"]));
        match board["problem"].as_str() {
            None => format!("{id} | {folder} | {}", text(&board["title"])),
            Some(why) => format!("{} ! {why}", text(&board["source"])),
        }
    })
    .collect()
}

fn wait_for_boards(aggregator: &Aggregator, expected: &[&str]) {
    wait_for(&format!("the dashboards {expected:?}"), || {
        (boards(aggregator) == expected).then_some(())
    });
}

fn warnings(aggregator: &Aggregator) -> String {
    let json = aggregator.get("/api/v1/dashboards", &[]).json();
    json["warnings"].to_string()
}

fn metric(aggregator: &Aggregator, series: &str) -> Option<f64> {
    let page = aggregator.get("/metrics", &[]).text();
    let line = page.lines().find(|line| line.starts_with(series))?;
    line.rsplit(' ').next()?.parse().ok()
}

#[test]
fn config_maps_are_dashboards_from_their_coming_to_their_going() {
    let folder = tempfile::tempdir().expect("a folder");
    let files = folder.path().join("boards");
    fs::create_dir(&files).expect("the folder is ours");
    fs::write(files.join("own.json"), r#"{"title":"Own"}"#).expect("the folder is ours");
    let api = KubeApi::start();
    api.set_mode(Mode::Away, false);
    let path = folder.path().join("kansoku.yml");
    let server = format!("http://127.0.0.1:{}", api.port);
    let config = format!(
        "kubernetes_dashboards: {{api_server: '{server}', namespaces: [team], label_value: ''}}\n"
    );
    fs::write(&path, &config).expect("the folder is ours");
    let flags = [
        format!("--config.file={}", path.display()),
        format!("--dashboards.path={}", files.display()),
        "--web.enable-lifecycle".to_owned(),
    ];
    let flags: Vec<&str> = flags.iter().map(String::as_str).collect();
    let mut aggregator = Aggregator::new(folder.path(), &flags);
    aggregator.start();
    let own = "provisioned.own |  | Own";

    // Nothing is known yet, and the list says so.
    aggregator
        .program
        .wait_to_say("failed to read configmaps in namespace team");
    wait_for_boards(&aggregator, &[own]);
    let told = warnings(&aggregator);
    assert!(told.contains("did not give configmaps"), "{told}");

    // Several files of one object, one of them wrong.
    let two = [("a.json", r#"{"title":"A"}"#), ("bad.json", "{")];
    api.put(MAPS, "one", map("Team/SRE", &two));
    api.set_mode(Mode::Answers, false);
    let a = "provisioned.team-one-a | Team/SRE | A";
    let bad =
        "ConfigMap team/one/bad.json ! not JSON: EOF while parsing an object at line 1 column 1";
    wait_for_boards(&aggregator, &[own, a, bad]);
    wait_for("the warning to go", || {
        (warnings(&aggregator) == "null").then_some(())
    });
    let list = "/api/v1/namespaces/team/configmaps?limit=50&labelSelector=grafana_dashboard";
    let queries = api.queries();
    assert!(queries.iter().any(|q| q == list), "{queries:?}");
    for (state, expected) in [("selected", 2.0), ("rejected", 1.0)] {
        let series = format!("kansoku_dashboard_objects{{state=\"{state}\"}}");
        assert_eq!(metric(&aggregator, &series), Some(expected), "{state}");
    }

    // One of them whole, with its time; it is read only.
    let one = aggregator.get("/api/v1/dashboards/provisioned.team-one-a", &[]);
    let one = one.json();
    assert_eq!(one["data"]["document"], json!({"title": "A"}), "{one}");
    assert_eq!(one["data"]["saved_ms"], 1_767_323_045_000_i64, "{one}");
    let wrong = aggregator.get("/api/v1/dashboards/provisioned.team-one-bad", &[]);
    assert!(
        wrong
            .text()
            .contains("ConfigMap team/one/bad.json: not JSON")
    );
    let put = http::send(
        "PUT",
        aggregator.port,
        "/api/v1/dashboards/provisioned.team-one-a",
        &[],
        b"{}",
    )
    .expect("an answer");
    assert_eq!(put.status, 403);
    assert!(
        put.text().contains("change the ConfigMap"),
        "{}",
        put.text()
    );

    // Changed, and a second one.
    api.put(MAPS, "one", map("", &[("a.json", r#"{"title":"A2"}"#)]));
    api.put(MAPS, "two", map("", &[("b.json", r#"{"title":"B"}"#)]));
    let (a, b) = (
        "provisioned.team-one-a |  | A2",
        "provisioned.team-two-b |  | B",
    );
    wait_for_boards(&aggregator, &[own, a, b]);

    // Away: what is known stays, and the list says so.
    api.set_mode(Mode::Away, false);
    wait_for("the loss to be seen", || {
        let series = "kansoku_dashboard_objects_connected";
        metric(&aggregator, series).filter(|value| *value == 0.0)
    });
    assert_eq!(boards(&aggregator), [own, a, b]);
    let told = warnings(&aggregator);
    assert!(told.contains("those that it gave last"), "{told}");

    // Back, and what happened meanwhile is forgotten there: the list says what is.
    api.delete(MAPS, "one");
    api.set_mode(Mode::Answers, true);
    wait_for_boards(&aggregator, &[own, b]);
    api.delete(MAPS, "two");
    wait_for_boards(&aggregator, &[own]);

    // A reload without the section ends it, one with it begins anew.
    api.put(MAPS, "two", map("", &[("b.json", r#"{"title":"B"}"#)]));
    wait_for_boards(&aggregator, &[own, b]);
    fs::write(&path, "{}\n").expect("the folder is ours");
    assert_eq!(
        http::post(aggregator.port, "/-/reload", &[], b"")
            .expect("an answer")
            .status,
        200
    );
    assert_eq!(boards(&aggregator), [own]);
    fs::write(&path, &config).expect("the folder is ours");
    assert_eq!(
        http::post(aggregator.port, "/-/reload", &[], b"")
            .expect("an answer")
            .status,
        200
    );
    wait_for_boards(&aggregator, &[own, b]);
}
