//! Health, readiness, metrics, the page, and how HTTP itself is spoken.

use hyper::Method;

use crate::harness::Server;

#[tokio::test(flavor = "multi_thread")]
async fn it_is_healthy_at_once_and_ready_when_the_store_is_open() {
    let mut server = Server::listen_with(&[]).await;
    assert_eq!(server.get("/-/healthy").await.status, 200);
    for path in ["/-/ready", "/ready", "/loki/api/v1/labels"] {
        let answer = server.get(path).await;
        assert_eq!(answer.status, 503, "{path}");
        assert!(
            answer.text().contains("being recovered"),
            "{}",
            answer.text()
        );
    }
    let answer = server.get("/api/v1/query?query=up").await;
    assert_eq!((answer.status, answer.header("retry-after")), (503, "1"));
    assert_eq!(answer.json()["errorType"], "unavailable");
    server.running.open_store().await.expect("the store opens");
    for path in ["/-/ready", "/ready", "/loki/api/v1/labels"] {
        assert_eq!(server.get(path).await.status, 200, "{path}");
    }
    server.running.stop().await.expect("a clean stop");
}

#[tokio::test(flavor = "multi_thread")]
async fn its_metrics_are_exposed_and_stored() {
    let server = Server::start_with(&[]).await;
    let answer = server.get("/metrics").await;
    assert_eq!(
        answer.header("content-type"),
        "text/plain; version=0.0.4; charset=utf-8"
    );
    let text = answer.text();
    for line in [
        "# TYPE kansoku_ingest_records_total counter",
        "kansoku_ingest_requests_total{protocol=\"loki\"} 0",
        "kansoku_query_duration_seconds_bucket{engine=\"promql\",kind=\"instant\",le=\"+Inf\"} 0",
        "# TYPE process_resident_memory_bytes gauge",
        "kansoku_store_up 1",
    ] {
        assert!(
            text.lines().any(|l| l == line),
            "{line} is missing in\n{text}"
        );
    }
    // Stored by a thread of its own, soon after the start.
    let mut found = serde_json::Value::Null;
    for _ in 0..1000 {
        let answer = server.get("/api/v1/query?query=up").await.json();
        found = answer["data"]["result"][0]["metric"].clone();
        if !found.is_null() {
            break;
        }
        tokio::task::yield_now().await;
    }
    let instance = server.running.address.to_string();
    let expected = serde_json::json!({
        "__name__": "up", "job": "kansoku-aggregator", "instance": instance,
    });
    assert_eq!(found, expected);
}

#[tokio::test(flavor = "multi_thread")]
async fn unknown_paths_and_methods() {
    let server = Server::start().await;
    let answer = server.get("/nope").await;
    assert_eq!(
        (answer.status, answer.text().as_str()),
        (404, "404 page not found")
    );
    let answer = server.send(Method::DELETE, "/api/v1/query", &[], "").await;
    assert_eq!(answer.status, 405);
    let answer = server.get("/api/v1/query?query=%zz").await;
    assert_eq!(answer.status, 400);
    assert_eq!(
        answer.json()["error"],
        "error parsing form values: invalid URL escape \"%zz\""
    );
    let answer = server.send(Method::HEAD, "/-/healthy", &[], "").await;
    assert_eq!((answer.status, answer.body.len()), (200, 0));
}

#[tokio::test(flavor = "multi_thread")]
async fn origins_and_gzip() {
    let server = Server::start().await;
    let headers = [("origin", "http://grafana"), ("accept-encoding", "gzip")];
    let answer = server
        .send(Method::OPTIONS, "/api/v1/query", &headers, "")
        .await;
    assert_eq!(answer.status, 204);
    assert_eq!(answer.header("access-control-allow-origin"), "*");
    assert_eq!(
        answer.header("access-control-allow-methods"),
        "GET, POST, OPTIONS"
    );
    let answer = server.send(Method::GET, "/metrics", &headers, "").await;
    assert_eq!(answer.header("content-encoding"), "gzip");
    assert_eq!(&answer.body[..2], b"\x1f\x8b");
    let answer = server.get("/metrics").await;
    assert_eq!(answer.header("content-encoding"), "");
    assert_eq!(answer.header("access-control-allow-origin"), "");
}

#[tokio::test(flavor = "multi_thread")]
async fn the_page_is_served() {
    let server = Server::start().await;
    let answer = server.get("/").await;
    assert_eq!(
        (answer.status, answer.header("cache-control")),
        (200, "no-cache")
    );
    assert!(answer.text().to_lowercase().starts_with("<!doctype html"));
}

#[tokio::test(flavor = "multi_thread")]
async fn status_paths_that_grafana_asks_for() {
    let server = Server::start_with(&["--query.test-mode"]).await;
    let flags = server.get("/api/v1/status/flags").await.json();
    assert_eq!(flags["data"]["query.timeout"], "2m");
    assert_eq!(flags["data"]["query.test-mode"], "true");
    let all_known = flags["data"]
        .as_object()
        .unwrap()
        .iter()
        .all(|(name, value)| {
            !value.as_str().unwrap().is_empty()
                || matches!(
                    name.as_str(),
                    "access.file"
                        | "config.file"
                        | "dashboards.path"
                        | "web.config.file"
                        | "web.external-url"
                        | "help"
                        | "version"
                )
        });
    assert!(all_known, "{flags}");
    for (path, pointer, expected) in [
        (
            "/api/v1/status/buildinfo",
            "/data/version",
            env!("CARGO_PKG_VERSION"),
        ),
        ("/api/v1/status/config", "/data/yaml", ""),
        ("/api/v1/status/runtimeinfo", "/data/storageRetention", ""),
        (
            "/loki/api/v1/status/buildinfo",
            "/version",
            env!("CARGO_PKG_VERSION"),
        ),
    ] {
        let json = server.get(path).await.json();
        assert_eq!(
            json.pointer(pointer).and_then(|v| v.as_str()),
            Some(expected),
            "{path}"
        );
    }
    for (path, pointer) in [
        ("/api/v1/rules", "/data/groups"),
        ("/api/v1/alerts", "/data/alerts"),
        ("/api/v1/targets", "/data/activeTargets"),
        ("/api/v1/query_exemplars?query=up&start=0&end=1", "/data"),
    ] {
        let json = server.get(path).await.json();
        assert_eq!(
            json.pointer(pointer),
            Some(&serde_json::json!([])),
            "{path}"
        );
    }
}
