//! Deletes and snapshots: Prometheus's admin API and Loki's delete API.

use hyper::Method;
use serde_json::{Value, json};

use crate::harness::{Answer, Series, Server};

const FLAGS: &[&str] = &["--query.test-mode", "--web.enable-admin-api"];
const DATA: &[Series<'_>] = &[
    (
        &[("__name__", "m"), ("job", "a")],
        &[(10_000, 1.0), (20_000, 2.0), (30_000, 3.0)],
    ),
    (
        &[("__name__", "m"), ("job", "b")],
        &[(10_000, 1.0), (20_000, 2.0), (30_000, 3.0)],
    ),
];

async fn ask(server: &Server, method: Method, path: &str) -> Answer {
    server.send(method, path, &[], "").await
}

/// Values by job.
async fn values(server: &Server) -> Value {
    let path = "/api/v1/query_range?query=m&start=10&end=30&step=10&lookback_delta=1s";
    let json = server.get(path).await.json();
    let result = json["data"]["result"].as_array().expect("series").clone();
    let series = result.iter().map(|s| {
        let values = s["values"].as_array().expect("values").iter();
        let values: Vec<&str> = values.filter_map(|v| v[1].as_str()).collect();
        (
            s["metric"]["job"].as_str().expect("a job").to_owned(),
            json!(values),
        )
    });
    Value::Object(series.collect())
}

async fn lines(server: &Server) -> Vec<String> {
    let path =
        "/loki/api/v1/query_range?query=%7Bjob%3D%22api%22%7D&start=0&end=100&direction=forward";
    let json = server.get(path).await.json();
    let streams = json["data"]["result"].as_array().expect("streams").clone();
    let values = streams
        .iter()
        .flat_map(|s| s["values"].as_array().expect("values"));
    values
        .map(|v| v[1].as_str().expect("a line").to_owned())
        .collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn series_are_deleted_and_cleaned_as_prometheus_does() {
    let server = Server::start_with(FLAGS).await;
    server.write(DATA).await;
    let path = "/api/v1/admin/tsdb/delete_series?match[]=m%7Bjob%3D%22a%22%7D&start=15&end=25";
    let answer = ask(&server, Method::POST, path).await;
    assert_eq!((answer.status, answer.text()), (204, String::new()));
    assert_eq!(
        values(&server).await,
        json!({"a": ["1", "3"], "b": ["1", "2", "3"]})
    );
    // What is written later to the same time stays.
    server.write(&[(DATA[0].0, &[(20_000, 7.0)])]).await;
    let left = json!({"a": ["1", "7", "3"], "b": ["1", "2", "3"]});
    assert_eq!(values(&server).await, left);
    let answer = ask(&server, Method::PUT, "/api/v1/admin/tsdb/clean_tombstones").await;
    assert_eq!(answer.status, 204, "{}", answer.text());
    assert_eq!(values(&server).await, left);
    let answer = ask(&server, Method::POST, "/api/v1/admin/tsdb/compact").await;
    assert_eq!(answer.status, 204, "{}", answer.text());
    assert_eq!(values(&server).await, left);
    let form = [("content-type", "application/x-www-form-urlencoded")];
    let body = "match[]=m%7Bjob%3D%22a%22%7D&match[]=m%7Bjob%3D%22c%22%7D";
    let answer = server
        .post("/api/v1/admin/tsdb/delete_series", &form, body)
        .await;
    assert_eq!(answer.status, 204, "{}", answer.text());
    assert_eq!(values(&server).await, json!({"b": ["1", "2", "3"]}));
    let series = server
        .get("/api/v1/series?match[]=m&start=0&end=100")
        .await
        .json();
    assert_eq!(series["data"], json!([{"__name__": "m", "job": "b"}]));
    for (path, expected) in [
        ("delete_series", "no match[] parameter provided"),
        ("delete_series?match[]=rate(m[5m])", "invalid parameter"),
        (
            "delete_series?match[]=m&start=x",
            "invalid parameter \\\"start\\\"",
        ),
        (
            "delete_series?match[]=m&start=2&end=1",
            "ends before it begins",
        ),
        ("snapshot?skip_head=x", "skip_head"),
    ] {
        let path = format!("/api/v1/admin/tsdb/{path}");
        let answer = ask(&server, Method::POST, &path).await;
        assert_eq!(answer.status, 400, "{path}: {}", answer.text());
        assert!(
            answer.text().contains(expected),
            "{path}: {}",
            answer.text()
        );
        assert_eq!(answer.json()["errorType"], "bad_data");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn lines_are_deleted_listed_and_taken_back_as_loki_does() {
    let server = Server::start_with(FLAGS).await;
    server
        .push(json!([{"stream": {"job": "api"}, "values": [
            ["1000000000", "user=1 secret"], ["2000000000", "user=2"], ["3000000000", "user=3 secret"],
        ]}]))
        .await;
    let path =
        "/loki/api/v1/delete?query=%7Bjob%3D%22api%22%7D%20%7C%3D%20%22secret%22&start=0&end=2";
    let answer = ask(&server, Method::POST, path).await;
    assert_eq!((answer.status, answer.text()), (204, String::new()));
    assert_eq!(lines(&server).await, ["user=2", "user=3 secret"]);
    let listed = server.get("/loki/api/v1/delete").await.json();
    let [one] = listed.as_array().expect("a list").as_slice() else {
        panic!("one delete: {listed}")
    };
    assert_eq!(one["status"], "received");
    assert_eq!(
        (&one["start_time"], &one["end_time"]),
        (&json!(0), &json!(2))
    );
    assert_eq!(one["query"], "{job=\"api\"} |= \"secret\"");
    let counted = "/loki/api/v1/query?query=sum(count_over_time(%7Bjob%3D%22api%22%7D[1h]))&time=4";
    let json = server.get(counted).await.json();
    assert_eq!(json["data"]["result"][0]["value"][1], "2", "{json}");
    let id = one["request_id"].as_str().expect("an id");
    let path = format!("/loki/api/v1/delete?request_id={id}");
    assert_eq!(ask(&server, Method::DELETE, &path).await.status, 204);
    assert_eq!(lines(&server).await.len(), 3);
    assert_eq!(ask(&server, Method::DELETE, &path).await.status, 404);
    assert_eq!(server.get("/loki/api/v1/delete").await.json(), json!([]));
    let answer = ask(
        &server,
        Method::PUT,
        "/loki/api/v1/delete?query=%7Bjob%3D%22api%22%7D%7Cjson&start=0",
    )
    .await;
    assert_eq!(answer.status, 400);
    assert!(
        answer.text().contains("only line filters"),
        "{}",
        answer.text()
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn nothing_is_deleted_unless_that_is_enabled() {
    let server = Server::start().await;
    server.write(DATA).await;
    for path in [
        "delete_series?match[]=m",
        "clean_tombstones",
        "snapshot",
        "compact",
    ] {
        let path = format!("/api/v1/admin/tsdb/{path}");
        let answer = ask(&server, Method::POST, &path).await;
        assert_eq!(answer.status, 503, "{path}");
        assert_eq!(answer.json()["errorType"], "unavailable");
        assert_eq!(ask(&server, Method::GET, &path).await.status, 405);
    }
    let path = "/loki/api/v1/delete?query=%7Bjob%3D%22api%22%7D&start=0";
    assert_eq!(ask(&server, Method::POST, path).await.status, 403);
    assert_eq!(values(&server).await["a"], json!(["1", "2", "3"]));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_snapshot_is_a_store_of_its_own() {
    let server = Server::start_with(FLAGS).await;
    server.write(DATA).await;
    let answer = ask(&server, Method::POST, "/api/v1/admin/tsdb/snapshot").await;
    assert_eq!(answer.status, 200, "{}", answer.text());
    let json = answer.json();
    let name = json["data"]["name"].as_str().expect("a name");
    let path = server
        .running
        .app
        .settings
        .storage_path
        .join("snapshots")
        .join(name);
    let (store, recovery) =
        kansoku_store::Store::open(kansoku_store::Options::new(path)).expect("opens");
    assert!(recovery.damaged.is_empty());
    assert_eq!(store.stats().part_samples, 6);
}
