//! Events of a cluster by the agent from a made-up API server into the aggregator: an agent that takes the
//! place of another, without its database, sends them again, and each is there once.

use std::fs;
use std::path::Path;

use jiff::Timestamp;
use kansoku_tests::aggregator::Aggregator;
use kansoku_tests::kube_api::KubeApi;
use kansoku_tests::program::{Program, wait_for, wait_for_equal};
use serde_json::{Value, json};

const N_EVENTS: usize = 40;

fn event(count: usize) -> Value {
    json!({"apiVersion": "v1", "kind": "Event", "metadata": {"namespace": "shop"}, "reason": "BackOff",
        "involvedObject": {"kind": "Pod", "name": "web-1"}, "message": "Back-off restarting", "count": count,
        "lastTimestamp": Timestamp::now().to_string()})
}

fn agent(folder: &Path, name: &str, api: &KubeApi, aggregator: &Aggregator) -> Program {
    let folder = folder.join(name);
    fs::create_dir(&folder).expect("the folder is ours");
    let configuration = format!(
        "[SERVICE]\n    Flush 0.1\n[INPUT]\n    Name kubernetes_events\n    Tag events.kubernetes\n    \
         Kube_URL http://127.0.0.1:{}\n    DB {}/events.db\n\
         [OUTPUT]\n    Name kansoku\n    Match *\n    Host 127.0.0.1\n    Port {}\n",
        api.port,
        folder.display(),
        aggregator.port
    );
    Program::agent(&folder, &configuration)
}

/// Versions of events, each as often as it is there.
fn versions(aggregator: &Aggregator) -> Vec<u64> {
    let parameters = [
        ("query", "{tag=\"events.kubernetes\"}"),
        ("since", "1h"),
        ("limit", "1000"),
    ];
    let found = aggregator.get("/loki/api/v1/query_range", &parameters);
    let found = found.json();
    let mut versions = Vec::new();
    for stream in found["data"]["result"].as_array().into_iter().flatten() {
        let metadata = stream["stream"]["metadata"].as_str().unwrap_or("null");
        let metadata: Value = serde_json::from_str(metadata).expect("JSON");
        let version = metadata["resourceVersion"].as_str().unwrap_or("0");
        let n = stream["values"].as_array().map_or(0, Vec::len);
        let version: u64 = version.parse().expect("a number");
        versions.extend(std::iter::repeat_n(version, n));
    }
    versions.sort_unstable();
    versions
}

#[test]
fn an_agent_in_the_place_of_another_doubles_no_event() {
    let dir = tempfile::tempdir().expect("a folder");
    let api = KubeApi::start();
    let mut aggregator = Aggregator::new(dir.path(), &[]);
    aggregator.start();
    for n in 0..N_EVENTS {
        api.put("events", &format!("web-1.{n}"), event(1));
    }
    let mut first = agent(dir.path(), "first", &api, &aggregator);
    first.start();
    wait_for_equal(&N_EVENTS, || versions(&aggregator).len());
    // Another state of one.
    api.put("events", "web-1.0", event(2));
    wait_for_equal(&(N_EVENTS + 1), || versions(&aggregator).len());
    first.kill();
    let expected = versions(&aggregator);

    // What happens between the two comes, too.
    api.put("events", "web-1.new", event(1));
    let mut second = agent(dir.path(), "second", &api, &aggregator);
    second.start();
    wait_for("the repeats", || {
        let series = "kansoku_ingest_duplicates_total{protocol=\"frames\"}";
        // The first state of the changed event is no longer to be had.
        aggregator
            .metric(series)
            .filter(|n| *n as usize == N_EVENTS)
    });
    wait_for_equal(&(N_EVENTS + 2), || versions(&aggregator).len());
    let now = versions(&aggregator);
    let mut distinct = now.clone();
    distinct.dedup();
    assert_eq!(now, distinct, "each version once");
    assert!(expected.iter().all(|version| now.contains(version)));
    second.terminate();

    // Marks outlive the aggregator.
    aggregator.end();
    aggregator.start();
    let mut third = agent(dir.path(), "third", &api, &aggregator);
    third.start();
    wait_for("the repeats", || {
        let series = "kansoku_ingest_duplicates_total{protocol=\"frames\"}";
        aggregator
            .metric(series)
            .filter(|n| *n as usize == N_EVENTS + 1)
    });
    assert_eq!(versions(&aggregator), now);
    third.terminate();
}
