//! Paths of Prometheus that tell of the server and of what it watches.

use std::time::SystemTime;

use hyper::Method;
use serde_json::json;

use crate::harness::Server;

#[tokio::test(flavor = "multi_thread")]
async fn targets_are_what_pushes_up() {
    let server = Server::start().await;
    let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH);
    let now = i64::try_from(now.unwrap().as_millis()).unwrap();
    let (a, b) = ([("instance", "i"), ("job", "a")], [("job", "b")]);
    let name = |n: &'static str, labels: &[(&'static str, &'static str)]| {
        [&[("__name__", n)], labels].concat()
    };
    server
        .write(&[
            (&name("up", &a), &[(now - 1000, 1.0)]),
            (&name("scrape_duration_seconds", &a), &[(now - 1000, 0.25)]),
            (&name("up", &b), &[(now - 1000, 0.0)]),
            (&name("up", &[("job", "gone")]), &[(now - 900_000, 1.0)]),
        ])
        .await;
    let data = |answer: crate::harness::Answer| answer.json()["data"].clone();
    let all = data(server.get("/api/v1/targets").await);
    let targets = all["activeTargets"].as_array().unwrap();
    assert_eq!(targets.len(), 2);
    assert_eq!(targets[0]["labels"], json!({"instance": "i", "job": "a"}));
    assert_eq!(targets[0]["health"], "up");
    assert_eq!(targets[0]["lastScrapeDuration"], 0.25);
    assert_eq!(
        (&targets[1]["scrapePool"], &targets[1]["health"]),
        (&json!("b"), &json!("down"))
    );
    assert_eq!(all["droppedTargetCounts"], json!({}));
    let dropped = data(server.get("/api/v1/targets?state=dropped").await);
    assert_eq!(dropped["activeTargets"], json!([]));
    let pool = data(
        server
            .get("/api/v1/targets?state=ACTIVE&scrapePool=b")
            .await,
    );
    assert_eq!(pool["activeTargets"].as_array().unwrap().len(), 1);
    assert_eq!(pool["droppedTargetCounts"], json!(null));
    let pools = data(server.get("/api/v1/scrape_pools").await);
    assert_eq!(pools, json!({"scrapePools": ["a", "b"]}));
}

#[tokio::test(flavor = "multi_thread")]
async fn status_paths_have_the_shapes_of_prometheus() {
    let server = Server::start().await;
    server
        .write(&[(&[("__name__", "x")], &[(1000, 1.0), (2000, 2.0)])])
        .await;
    let get = async |path: &str| server.get(path).await.json();
    let replay = get("/api/v1/status/walreplay").await;
    assert_eq!(replay["data"], json!({"min": 0, "max": 1, "current": 1}));
    assert_eq!(get("/api/v1/notifications").await["data"], json!([]));
    assert_eq!(server.get("/api/v1/notifications/live").await.status, 204);
    let features = get("/api/v1/features").await;
    assert_eq!(features["data"]["promql_functions"]["rate"], true);
    assert_eq!(features["data"]["promql_operators"]["topk"], true);
    let own = get("/api/v1/status/self_metrics?metric_name_pattern=kansoku_build_.*").await;
    assert_eq!(own["data"][0]["type"], "GAUGE", "{own}");
    let wrong = server
        .get("/api/v1/status/self_metrics?metric_name_pattern=(")
        .await;
    assert_eq!(wrong.status, 400);
    assert_eq!(
        get("/api/v1/status/tsdb/blocks").await["data"],
        json!({"blocks": []})
    );
    let runtime = get("/api/v1/status/runtimeinfo").await;
    for name in [
        "hostname",
        "goroutineCount",
        "GOMAXPROCS",
        "serverTime",
        "storageRetention",
    ] {
        assert!(!runtime["data"][name].is_null(), "{name}");
    }
    for path in [
        "/api/v1/scrape_pools/config",
        "/api/v1/targets/relabel_steps?scrapePool=x",
    ] {
        let answer = server.get(path).await;
        assert_eq!(answer.status, 400, "{path}");
        assert!(
            answer.json()["error"].as_str().unwrap().starts_with("no "),
            "{path}"
        );
    }
    let tree = server
        .post("/api/v1/parse_query", &[], "query=up")
        .await
        .json();
    assert_eq!(tree["data"]["name"], "up");
    let head = server.send(Method::HEAD, "/-/healthy", &[], "").await;
    assert_eq!((head.status, head.body.len()), (200, 0));
}
