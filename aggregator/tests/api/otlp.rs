//! OTLP over HTTP: metrics become Prometheus's series, logs Loki's streams; answers in the form of the request.

use std::io::Write;

use serde_json::{Value, json};

use crate::harness::{JSON, Server};

const PROTOBUF: &[(&str, &str)] = &[("content-type", "application/x-protobuf")];

fn metrics(metrics: &Value) -> Vec<u8> {
    let resource = json!([
        {"key": "service.name", "value": {"stringValue": "shop"}},
        {"key": "service.instance.id", "value": {"stringValue": "i1"}},
        {"key": "service.version", "value": {"stringValue": "1.2"}},
    ]);
    json!({"resourceMetrics": [{"resource": {"attributes": resource}, "scopeMetrics": [{"metrics": metrics}]}]})
        .to_string()
        .into_bytes()
}

fn logs() -> String {
    json!({"resourceLogs": [{
        "resource": {"attributes": [{"key": "service.name", "value": {"stringValue": "shop"}},
                                    {"key": "os.type", "value": {"stringValue": "linux"}}]},
        "scopeLogs": [{"logRecords": [{
            "timeUnixNano": "5000000000", "severityText": "WARN", "severityNumber": 13,
            "body": {"stringValue": "paid twice"}, "traceId": "5b8efff798038103d269b633813fc60c",
        }]}],
    }]})
    .to_string()
}

async fn value(server: &Server, path: &str) -> Value {
    server.get(path).await.json()["data"]["result"].clone()
}

#[tokio::test(flavor = "multi_thread")]
async fn metrics_are_series_of_prometheus() {
    let server = Server::start().await;
    let body = metrics(&json!([
        {"name": "http.requests", "unit": "1", "description": "Help.", "sum": {"aggregationTemporality": 2, "isMonotonic": true,
         "dataPoints": [{"startTimeUnixNano": "1000000000", "timeUnixNano": "5000000000", "asInt": "3",
                         "exemplars": [{"timeUnixNano": "4000000000", "asInt": "1", "traceId": "5b8efff798038103d269b633813fc60c"}]}]}},
        {"name": "wait", "unit": "s", "exponentialHistogram": {"aggregationTemporality": 2, "dataPoints": [
         {"timeUnixNano": "5000000000", "count": "3", "sum": 4, "scale": 0, "zeroCount": "0", "positive": {"offset": 0, "bucketCounts": ["1", "2"]}}]}},
    ]));
    let mut packed = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
    packed.write_all(&body).unwrap();
    let headers = [JSON[0], ("content-encoding", "gzip")];
    let answer = server
        .post(
            "/api/v1/otlp/v1/metrics",
            &headers,
            packed.finish().unwrap(),
        )
        .await;
    assert_eq!((answer.status, answer.text().as_str()), (200, "{}"));
    assert_eq!(
        value(&server, "/api/v1/query?query=http_requests_total&time=5").await,
        json!([{"metric": {"__name__": "http_requests_total", "instance": "i1", "job": "shop"}, "value": [5, "3"]}])
    );
    assert_eq!(
        value(&server, "/api/v1/query?query=target_info&time=5").await[0]["metric"],
        json!({"__name__": "target_info", "instance": "i1", "job": "shop", "service_version": "1.2"})
    );
    let sum = value(
        &server,
        "/api/v1/query?query=histogram_sum(wait_seconds)&time=5",
    )
    .await;
    assert_eq!(sum[0]["value"], json!([5, "4"]));
    let exemplars = server
        .get("/api/v1/query_exemplars?query=http_requests_total&start=0&end=10")
        .await
        .json();
    assert_eq!(
        exemplars["data"][0]["exemplars"][0]["labels"],
        json!({"trace_id": "5b8efff798038103d269b633813fc60c"})
    );
    let metadata = server
        .get("/api/v1/metadata?metric=http_requests_total")
        .await
        .json();
    assert_eq!(
        metadata["data"]["http_requests_total"][0]["type"],
        "counter"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_partial_success_keeps_what_is_good() {
    let server = Server::start().await;
    let good = json!({"name": "g", "gauge": {"dataPoints": [{"timeUnixNano": "5000000000", "asDouble": 1}]}});
    let delta = json!({"name": "d", "sum": {"aggregationTemporality": 1, "dataPoints": [{"timeUnixNano": "5000000000", "asInt": 1}]}});
    let answer = server
        .post("/v1/metrics", JSON, metrics(&json!([good, delta])))
        .await;
    assert_eq!(answer.status, 200);
    let partial = &answer.json()["partialSuccess"];
    assert_eq!(partial["rejectedDataPoints"], "1");
    let reason = partial["errorMessage"].as_str().unwrap();
    assert!(reason.contains("otlp.keep_deltas"), "{reason}");
    assert_eq!(
        value(&server, "/api/v1/query?query=g&time=5").await[0]["value"],
        json!([5, "1"])
    );
    let answer = server
        .post("/v1/metrics", JSON, metrics(&json!([delta])))
        .await;
    assert_eq!((answer.status, &answer.json()["code"]), (400, &json!(3)));
}

#[tokio::test(flavor = "multi_thread")]
async fn log_records_are_entries_of_loki() {
    let server = Server::start().await;
    for path in ["/otlp/v1/logs", "/v1/logs"] {
        let answer = server.post(path, JSON, logs()).await;
        assert_eq!(
            (answer.status, answer.text().as_str()),
            (200, "{}"),
            "{path}"
        );
    }
    let path =
        "/loki/api/v1/query_range?query=%7Bservice_name%3D%22shop%22%7D&start=0&end=10&limit=1";
    let flags = [("x-loki-response-encoding-flags", "categorize-labels")];
    let answer = server
        .send(hyper::Method::GET, path, &flags, "")
        .await
        .json();
    let stream = &answer["data"]["result"][0];
    assert_eq!(stream["stream"], json!({"service_name": "shop"}));
    assert_eq!(
        stream["values"][0],
        json!(["5000000000", "paid twice", {"structuredMetadata": {
            "os_type": "linux", "severity_number": "13", "severity_text": "WARN",
            "trace_id": "5b8efff798038103d269b633813fc60c",
        }}])
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn failures_are_told_in_the_form_of_the_request() {
    let server = Server::start().await;
    let answer = server.post("/v1/logs", PROTOBUF, "\x0f").await;
    assert_eq!(answer.status, 400);
    assert_eq!(answer.header("content-type"), "application/x-protobuf");
    // A google.rpc.Status: code 3, and the message.
    assert_eq!(&answer.body[..3], &[8, 3, 18]);
    assert!(
        answer.text().contains("unknown wire type"),
        "{}",
        answer.text()
    );
    let answer = server.post("/v1/metrics", JSON, "{").await;
    assert_eq!((answer.status, &answer.json()["code"]), (400, &json!(3)));
    let answer = server
        .post("/v1/metrics", &[("content-type", "text/plain")], "x")
        .await;
    assert_eq!(answer.status, 415);
    // Nothing is a request, too.
    let answer = server.post("/v1/metrics", PROTOBUF, "").await;
    assert_eq!((answer.status, answer.body.len()), (200, 0));
}

#[tokio::test(flavor = "multi_thread")]
async fn pushes_to_a_gateway_are_samples() {
    let server = Server::start_with(&[]).await;
    let page = "# TYPE jobs counter\n# HELP jobs Help.\njobs{job=\"mine\",kind=\"x\"} 3\n";
    for method in [hyper::Method::PUT, hyper::Method::POST] {
        let path = "/metrics/job@base64/YS9i/instance/i%201";
        let answer = server.send(method, path, &[], page).await;
        assert_eq!(answer.status, 200, "{}", answer.text());
    }
    let found = value(&server, "/api/v1/query?query=jobs").await;
    assert_eq!(
        found[0]["metric"],
        json!({"__name__": "jobs", "instance": "i 1", "job": "a/b", "kind": "x"})
    );
    let pushed = value(&server, "/api/v1/query?query=push_time_seconds").await;
    assert_eq!(pushed[0]["metric"]["job"], "a/b");
    let timed = server
        .send(hyper::Method::PUT, "/metrics/job/a", &[], "x 1 1000\n")
        .await;
    assert_eq!(timed.text(), "pushed metrics must not have timestamps");
    let bad = server
        .send(hyper::Method::PUT, "/metrics/job/a", &[], "x\n")
        .await;
    assert_eq!(
        (bad.status, bad.text().as_str()),
        (400, "line 1: a value must follow the name")
    );
    let gone = server
        .send(hyper::Method::DELETE, "/metrics/job/a", &[], "")
        .await;
    assert_eq!(gone.status, 202);
}
