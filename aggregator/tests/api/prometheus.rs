//! Prometheus's API over data written by remote write.

use hyper::Method;
use serde_json::json;

use crate::harness::{Series, Server, WRITE};

const DATA: &[Series<'_>] = &[
    (
        &[
            ("__name__", "requests_total"),
            ("job", "api"),
            ("my.label", "dotted"),
        ],
        &[(0, 0.0), (10_000, 10.0), (20_000, 20.0), (30_000, 30.0)],
    ),
    (
        &[("__name__", "requests_total"), ("job", "web")],
        &[(0, 0.0), (10_000, 5.0), (20_000, 10.0), (30_000, 15.5)],
    ),
    (&[("__name__", "up"), ("job", "api")], &[(30_000, 1.0)]),
];

async fn server() -> Server {
    let server = Server::start().await;
    server.write(DATA).await;
    server
}

#[tokio::test(flavor = "multi_thread")]
async fn instant_queries_by_get_and_post() {
    let server = server().await;
    let expected = json!({"status": "success", "data": {"resultType": "vector", "result": [
        {"metric": {"__name__": "requests_total", "job": "web"}, "value": [30.5, "15.5"]},
    ]}});
    let query = "query=requests_total%7Bjob%3D%22web%22%7D&time=30.5";
    let answer = server.get(&format!("/api/v1/query?{query}")).await;
    assert_eq!((answer.status, answer.json()), (200, expected.clone()));
    assert_eq!(answer.header("content-type"), "application/json");
    let form = [("content-type", "application/x-www-form-urlencoded")];
    let answer = server.post("/api/v1/query", &form, query).await;
    assert_eq!(answer.json(), expected);
}

#[tokio::test(flavor = "multi_thread")]
async fn range_queries_with_limit_and_stats() {
    let server = server().await;
    let path = "/api/v1/query_range?query=sum(requests_total)&start=10&end=30&step=10s";
    let answer = server.get(path).await.json();
    let values = &answer["data"]["result"][0]["values"];
    assert_eq!(*values, json!([[10, "15"], [20, "30"], [30, "45.5"]]));
    let path = "/api/v1/query_range?query=requests_total&start=10&end=30&step=10&limit=1&stats=all";
    let answer = server.get(path).await.json();
    assert_eq!(answer["data"]["result"].as_array().map(Vec::len), Some(1));
    assert_eq!(
        answer["warnings"],
        json!(["results truncated due to limit"])
    );
    assert!(
        answer["data"]["stats"]["samples"]["totalQueryableSamples"].is_u64(),
        "{answer}"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn errors_have_prometheus_form() {
    let server = server().await;
    let cases = [
        (
            "query?query=",
            400,
            "bad_data",
            "invalid parameter \"query\": 1:1: parse error: no expression found in input",
        ),
        (
            "query?query=up&time=x",
            400,
            "bad_data",
            "invalid parameter \"time\": invalid time value for 'time': cannot parse \"x\" to a valid timestamp",
        ),
        (
            "query?query=up&timeout=x",
            400,
            "bad_data",
            "invalid parameter \"timeout\": cannot parse \"x\" to a valid duration",
        ),
        (
            "query?query=up&timeout=0",
            503,
            "timeout",
            "query timed out in query queue",
        ),
        (
            "query_range?query=up&start=0&end=1&step=0",
            400,
            "bad_data",
            "invalid parameter \"step\": zero or negative query resolution step widths are not accepted. Try a positive integer",
        ),
        (
            "query_range?query=up&start=0&end=20000&step=1",
            400,
            "bad_data",
            "exceeded maximum resolution of 11,000 points per timeseries. Try decreasing the query resolution (?step=XX)",
        ),
        ("series", 400, "bad_data", "no match[] parameter provided"),
        (
            "series?match[]={a=%22%22}",
            400,
            "bad_data",
            "invalid parameter \"match[]\": match[] must contain at least one non-empty matcher",
        ),
        (
            "query?query=requests_total%2Bon()up&time=30",
            422,
            "execution",
            "",
        ),
    ];
    for (path, status, kind, message) in cases {
        let answer = server.get(&format!("/api/v1/{path}")).await;
        let json = answer.json();
        assert_eq!(
            (answer.status, json["errorType"].as_str()),
            (status, Some(kind)),
            "{path}: {json}"
        );
        assert_eq!(json["status"], "error");
        if !message.is_empty() {
            assert_eq!(json["error"], message, "{path}");
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn labels_series_and_metadata() {
    let server = server().await;
    let cases = [
        ("labels", json!(["__name__", "job", "my.label"])),
        ("labels?match[]=up", json!(["__name__", "job"])),
        ("label/job/values", json!(["api", "web"])),
        ("label/job/values?match[]=up", json!(["api"])),
        ("label/U__my_2e_label/values", json!(["dotted"])),
        ("label/none/values", json!([])),
        ("label/job/values?start=1000&end=2000", json!([])),
        (
            "series?match[]=up",
            json!([{"__name__": "up", "job": "api"}]),
        ),
        ("metadata?metric=none", json!({})),
    ];
    for (path, expected) in cases {
        let answer = server.get(&format!("/api/v1/{path}")).await;
        assert_eq!(answer.json()["data"], expected, "{path}");
    }
    let answer = server.get("/api/v1/label/job/values?limit=1").await.json();
    assert_eq!(answer["data"], json!(["api"]));
    assert_eq!(
        answer["warnings"],
        json!(["results truncated due to limit"])
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn format_query_prints_the_canonical_text() {
    let server = server().await;
    let answer = server
        .get("/api/v1/format_query?query=sum%20by(job)(rate(x[60s]))")
        .await;
    assert_eq!(answer.json()["data"], "sum by (job) (rate(x[1m]))");
    let answer = server
        .send(Method::HEAD, "/api/v1/query?query=up", &[], "")
        .await;
    assert_eq!(answer.status, 200);
}

/// What Prometheus sends every minute: types and help texts without a sample.
#[tokio::test(flavor = "multi_thread")]
async fn metadata_of_a_remote_write_is_kept() {
    let server = Server::start().await;
    let body = include_bytes!("../../../fixtures/wire/remote_write_metadata.snappy");
    let answer = server.post("/api/v1/write", WRITE, &body[..]).await;
    assert_eq!(answer.status, 204, "{}", answer.text());
    let name = "prometheus_template_text_expansions_total";
    let answer = server.get(&format!("/api/v1/metadata?metric={name}")).await;
    let expected = json!({name: [{
        "type": "counter",
        "help": "The total number of template text expansions.",
        "unit": "",
    }]});
    assert_eq!(answer.json()["data"], expected);
    let all = server.get("/api/v1/metadata?limit=3").await.json();
    assert_eq!(all["data"].as_object().map(serde_json::Map::len), Some(3));
}
