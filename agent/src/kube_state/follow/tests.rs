//! The watch against an API that lists in pages, hangs up, forgets and refuses.

use kansoku_model::MetricBatch;
use serde_json::json;
use tokio::io::{AsyncBufReadExt, AsyncWriteExt, BufReader};
use tokio::net::{TcpListener, TcpStream};

use super::*;
use crate::kube_state::selection::{Asked, selection};
use crate::kubernetes::Access;

/// One request: what its path and query end with, the pods that are known when it comes, the answer.
struct Step {
    path: &'static str,
    pods: &'static [&'static str],
    status: &'static str,
    body: String,
    /// Whether the connection ends before the body does.
    is_cut: bool,
}

fn pod(name: &str, version: &str) -> serde_json::Value {
    json!({"metadata": {"name": name, "namespace": "n", "uid": name, "resourceVersion": version}})
}

fn list(version: &str, next: &str, pods: &[&str]) -> String {
    let items: Vec<_> = pods.iter().map(|name| pod(name, "1")).collect();
    json!({"metadata": {"resourceVersion": version, "continue": next}, "items": items}).to_string()
}

fn event(kind: &str, name: &str, version: &str) -> String {
    json!({"type": kind, "object": pod(name, version)}).to_string() + "\n"
}

fn table(field_selector: &str) -> Arc<Table> {
    let asked = Asked {
        metric_allowlist: "kube_pod_info",
        ..Asked::default()
    };
    let plan = selection(&asked).expect("right options").remove(0);
    Arc::new(Table::new(Arc::new(plan), "", field_selector.to_owned()))
}

fn pods(table: &Table) -> Vec<String> {
    let mut batch = MetricBatch::default();
    table.collect(0, &mut batch);
    let name = |point| batch.series_of(point).get("pod").unwrap_or("").to_owned();
    batch.points().iter().map(name).collect()
}

async fn request(stream: &mut TcpStream) -> String {
    let mut lines = BufReader::new(stream).lines();
    let first = lines
        .next_line()
        .await
        .expect("a request")
        .unwrap_or_default();
    while lines
        .next_line()
        .await
        .expect("a head")
        .is_some_and(|l| !l.is_empty())
    {}
    first
}

/// Plays the steps; the last request gets no answer.
async fn play(table: &Arc<Table>, steps: Vec<Step>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let access = Access {
        url: Some(format!(
            "http://{}",
            listener.local_addr().expect("an address")
        )),
        ..Access::default()
    };
    let client = access.client().await.expect("a client");
    let following = tokio::spawn(follow(client, table.clone()));
    for step in steps {
        let (mut stream, _) = listener.accept().await.expect("a client");
        let first = request(&mut stream).await;
        let path = first
            .trim_start_matches("GET ")
            .trim_end_matches(" HTTP/1.1");
        assert_eq!(path, format!("/api/v1/pods?{}", step.path));
        assert_eq!(pods(table), step.pods, "before {path}");
        let length = step.body.len() + usize::from(step.is_cut);
        let head = format!(
            "HTTP/1.1 {}\r\nConnection: close\r\nContent-Length: {length}\r\n\r\n",
            step.status
        );
        stream.write_all(head.as_bytes()).await.expect("a reader");
        stream
            .write_all(step.body.as_bytes())
            .await
            .expect("a reader");
    }
    following.abort();
}

fn step(path: &'static str, pods: &'static [&'static str], body: String) -> Step {
    Step {
        path,
        pods,
        status: "200 OK",
        body,
        is_cut: false,
    }
}

#[tokio::test]
async fn the_table_follows_the_api_whatever_it_does() {
    let table = table("");
    let changes = event("ADDED", "d", "11")
        + &event("MODIFIED", "a", "12")
        + &event("DELETED", "b", "13")
        + "no event\n"
        + &event("BOOKMARK", "", "15")
        + "{\"type\":\"ADDED\",\"obj";
    let gone = json!({"type": "ERROR", "object": {"code": 410, "message": "too old"}});
    let refusal = json!({"message": "may not"}).to_string();
    const WATCH: &str = "watch=true&allowWatchBookmarks=true&timeoutSeconds=240&resourceVersion=";
    let watch = |version: &str| -> &'static str { format!("{WATCH}{version}").leak() };
    play(
        &table,
        vec![
            // What an older API does not have is no failure.
            Step {
                status: "404 Not Found",
                ..step("limit=100", &[], refusal.clone())
            },
            Step {
                status: "500 Internal Server Error",
                ..step("limit=100", &[], refusal.clone())
            },
            step("limit=100", &[], list("10", "to/ken", &["a", "b"])),
            step(
                "limit=100&continue=to%2Fken",
                &["a", "b"],
                list("10", "", &["c"]),
            ),
            Step {
                is_cut: true,
                ..step(watch("10"), &["a", "b", "c"], changes)
            },
            step(watch("15"), &["a", "c", "d"], gone.to_string() + "\n"),
            // What the new list lacks is gone, once it is complete.
            step("limit=100", &["a", "c", "d"], list("30", "x", &["a"])),
            Step {
                status: "410 Gone",
                ..step("limit=100&continue=x", &["a", "c", "d"], refusal.clone())
            },
            step("limit=100", &["a", "c", "d"], list("40", "", &["a", "e"])),
            Step {
                status: "403 Forbidden",
                ..step(watch("40"), &["a", "e"], refusal)
            },
            // Nothing happened: the same version again.
            step(watch("40"), &["a", "e"], String::new()),
            step(watch("40"), &["a", "e"], event("DELETED", "a", "41")),
            step(watch("41"), &["e"], String::new()),
        ],
    )
    .await;
    let get = |number: &std::sync::atomic::AtomicU64| number.load(Ordering::Relaxed);
    let status = &table.status;
    assert_eq!((get(&status.n_lists), get(&status.n_failed_lists)), (2, 2));
    assert_eq!(
        (get(&status.n_watches), get(&status.n_failed_watches)),
        (2, 3)
    );
    assert_eq!(
        (get(&status.n_left_out), get(&status.resource_version)),
        (1, 41)
    );
    assert!(get(&status.heard_ms) > 0);
}

#[tokio::test]
async fn the_first_list_of_a_nodes_pods_comes_from_the_apis_cache() {
    let table = table("spec.nodeName=n-1");
    let selector = "fieldSelector=spec.nodeName%3Dn-1";
    let first = format!("resourceVersion=0&{selector}").leak();
    let again = format!("limit=100&{selector}").leak();
    let watch = format!(
        "watch=true&allowWatchBookmarks=true&timeoutSeconds=240&resourceVersion=10&{selector}"
    )
    .leak();
    let gone = Step {
        status: "410 Gone",
        ..step(watch, &["a"], "{}".to_owned())
    };
    let steps = vec![
        step(first, &[], list("10", "", &["a"])),
        gone,
        step(again, &["a"], list("20", "", &["a"])),
    ];
    play(&table, steps).await;
}

#[test]
fn lines_are_cut_wherever_the_stream_is() {
    let text = "one\ntwo\n\nthree and more\n";
    for size in 1..text.len() {
        let (mut lines, mut found) = (Lines::default(), Vec::new());
        for part in text.as_bytes().chunks(size) {
            let part = Bytes::copy_from_slice(part);
            let each = |line: &[u8]| {
                found.push(String::from_utf8_lossy(line).into_owned());
                Ok(())
            };
            lines.push(&part, each).expect("short lines");
        }
        assert_eq!(found, ["one", "two", "", "three and more"], "{size}");
    }
    let mut lines = Lines::default();
    let half = Bytes::from(vec![b'x'; MAX_EVENT_BYTES / 2 + 1]);
    lines.push(&half, |_| Ok(())).expect("not too long yet");
    assert!(lines.push(&half, |_| Ok(())).is_err());
}
