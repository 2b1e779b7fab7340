//! Loki's API over lines pushed as JSON.

use serde_json::json;

use crate::harness::Server;

async fn server() -> Server {
    let server = Server::start().await;
    server
        .push(json!([
            {"stream": {"job": "api", "stream": "stderr"}, "values": [
                ["1000000000", "level=error msg=one"],
                ["2000000000", "level=info msg=two", {"trace_id": "t2"}],
            ]},
            {"stream": {"job": "web"}, "values": [["3000000000", "three"]]},
        ]))
        .await;
    server
}

#[tokio::test(flavor = "multi_thread")]
async fn log_queries_give_streams() {
    let server = server().await;
    let path =
        "/loki/api/v1/query_range?query=%7Bjob%3D%22api%22%7D&start=0&end=10&direction=forward";
    let answer = server.get(path).await;
    let json = answer.json();
    assert_eq!(json["data"]["resultType"], "streams", "{json}");
    let streams = json["data"]["result"].as_array().expect("streams");
    let lines: Vec<&str> = streams
        .iter()
        .flat_map(|s| s["values"].as_array().expect("values"))
        .filter_map(|v| v[1].as_str())
        .collect();
    assert_eq!(lines, ["level=error msg=one", "level=info msg=two"]);
    assert_eq!(
        streams[0]["stream"],
        json!({"job": "api", "stream": "stderr"})
    );
    assert!(json["data"]["stats"]["summary"].is_object());
    let newest =
        server.get("/loki/api/v1/query_range?query=%7Bjob%3D~%22.%2B%22%7D&start=0&end=10&limit=1");
    let newest = newest.await.json();
    assert_eq!(
        newest["data"]["result"][0]["values"],
        json!([["3000000000", "three"]])
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn metric_queries_give_vectors_and_matrices() {
    let server = server().await;
    let query = "query=sum%20by(job)(count_over_time(%7Bjob%3D~%22.%2B%22%7D%5B10s%5D))";
    let answer = server
        .get(&format!("/loki/api/v1/query?{query}&time=10"))
        .await
        .json();
    assert_eq!(answer["data"]["resultType"], "vector", "{answer}");
    let result = &answer["data"]["result"];
    assert_eq!(result[0]["metric"], json!({"job": "api"}));
    assert_eq!(result[0]["value"], json!([10, "2"]));
    let path = format!("/loki/api/v1/query_range?{query}&start=5&end=15&step=5");
    let answer = server.get(&path).await.json();
    assert_eq!(answer["data"]["resultType"], "matrix", "{answer}");
}

#[tokio::test(flavor = "multi_thread")]
async fn labels_and_series() {
    let server = server().await;
    let cases = [
        ("labels?", json!(["job", "stream"])),
        ("label?", json!(["job", "stream"])),
        ("label/job/values?", json!(["api", "web"])),
        (
            "label/job/values?query=%7Bstream%3D%22stderr%22%7D&",
            json!(["api"]),
        ),
        (
            "series?match[]=%7Bjob%3D%22web%22%7D&",
            json!([{"job": "web"}]),
        ),
        (
            "series?",
            json!([{"job": "api", "stream": "stderr"}, {"job": "web"}]),
        ),
    ];
    for (path, expected) in cases {
        let answer = server
            .get(&format!("/loki/api/v1/{path}start=0&end=10"))
            .await;
        assert_eq!(
            answer.json(),
            json!({"status": "success", "data": expected}),
            "{path}"
        );
    }
    let stats = server.get("/loki/api/v1/index/stats?query=%7Bjob%3D%22api%22%7D&start=0&end=10");
    let stats = stats.await.json();
    assert_eq!(
        (&stats["streams"], &stats["entries"]),
        (&json!(1), &json!(2)),
        "{stats}"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn volumes_are_bytes_of_lines() {
    let server = server().await;
    let ask = async |more: &str| {
        let path = format!("/loki/api/v1/index/volume?start=0&end=10{more}");
        let json = server.get(&path).await.json();
        json["data"]["result"].clone()
    };
    // "level=error msg=one" and "level=info msg=two"; "three".
    let api = json!({"metric": {"job": "api"}, "value": [10, "37"]});
    let web = json!({"metric": {"job": "web"}, "value": [10, "5"]});
    let all = "&query=%7Bjob%3D~%22.%2B%22%7D";
    assert_eq!(ask(all).await, json!([api, web]));
    assert_eq!(ask(&format!("{all}&limit=1")).await, json!([api]));
    let by_name = ask(&format!("{all}&aggregateBy=labels")).await;
    let job = json!({"metric": {"job": ""}, "value": [10, "42"]});
    let stream = json!({"metric": {"stream": ""}, "value": [10, "37"]});
    assert_eq!(by_name, json!([job, stream]));
    let part = "&query=%7Bjob%3D%22api%22%7D&start=2";
    let path = format!("/loki/api/v1/index/volume?end=10{part}");
    let json = server.get(&path).await.json();
    assert_eq!(json["data"]["result"][0]["value"][1], "18", "{json}");
    let path = format!("/loki/api/v1/index/volume_range?start=0&end=10&step=2{all}&limit=1");
    let json = server.get(&path).await.json();
    assert_eq!(json["data"]["resultType"], "matrix");
    let values = json["data"]["result"][0]["values"]
        .as_array()
        .expect("values")
        .clone();
    let total: u64 = values
        .iter()
        .map(|v| {
            v[1].as_str()
                .expect("bytes")
                .parse::<u64>()
                .expect("a number")
        })
        .sum();
    assert_eq!(total, 37, "{json}");
    let dates: Vec<i64> = values
        .iter()
        .map(|v| v[0].as_i64().expect("whole seconds"))
        .collect();
    assert!(
        dates.len() > 1 && dates.iter().all(|d| d % 2 == 0),
        "{json}"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn errors_are_plain_text() {
    let server = server().await;
    let query = "query=%7Bjob%3D%22api%22%7D";
    let cases = [
        (
            format!("query?{query}"),
            "log queries are not supported as an instant query type, please change your query to a range query type",
        ),
        (
            format!("query_range?{query}&limit=6000"),
            "max entries limit per query exceeded, limit > max_entries_limit_per_query (6000 > 5000)",
        ),
        (
            format!("query_range?{query}&direction=up"),
            "invalid direction 'up'; expected forward or backward",
        ),
        ("query_range?query=%7B".to_owned(), ""),
    ];
    for (path, expected) in cases {
        let answer = server.get(&format!("/loki/api/v1/{path}")).await;
        assert_eq!(answer.status, 400, "{path}");
        assert!(!answer.text().is_empty());
        if !expected.is_empty() {
            assert_eq!(answer.text(), expected, "{path}");
        }
    }
}
