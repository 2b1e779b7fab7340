//! What Grafana's Loki data source and its Logs Drilldown ask, with the parameters and headers they send, and what they read of the
//! answers: names, types and nesting are those that their code goes by.

use serde_json::{Value, json};

use crate::harness::{Answer, JSON, Server};

/// Seconds; what Grafana sends in nanoseconds and, for the Drilldown, as RFC 3339.
const START: i64 = 1_700_000_000;
const END: i64 = START + 600;
const SPAN_NS: &str = "start=1700000000000000000&end=1700000600000000000";
const SPAN_ISO: &str = "start=2023-11-14T22%3A13%3A20.000Z&end=2023-11-14T22%3A23%3A20.000Z";

async fn server() -> Server {
    let server = Server::start_with(&["--query.test-mode"]).await;
    let at = |second: i64| ((START + second) * 1_000_000_000).to_string();
    let mut shop = Vec::new();
    for n in 0..20 {
        let level = ["info", "error"][n as usize % 2];
        let line = format!(r#"{{"level":"{level}","msg":"sold {n}","took":{n}}}"#);
        shop.push(json!([at(n * 10), line, {"trace_id": format!("t{n}")}]));
    }
    server
        .push(json!([
            {"stream": {"app": "shop", "pod": "shop-1"}, "values": shop},
            {"stream": {"job": "host"}, "values": [[at(5), "plain WARN: low"], [at(6), "nothing"]]},
        ]))
        .await;
    server
}

pub fn encoded(query: &str) -> String {
    let mut text = String::new();
    for byte in query.bytes() {
        match byte {
            b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' => text.push(char::from(byte)),
            _ => text.push_str(&format!("%{byte:02X}")),
        }
    }
    text
}

async fn ask(server: &Server, path: &str, query: &str, headers: &[(&str, &str)]) -> Value {
    let answer = raw(server, path, query, headers).await;
    assert_eq!(answer.status, 200, "{path} {query}: {}", answer.text());
    assert!(
        answer
            .header("content-type")
            .starts_with("application/json")
    );
    answer.json()
}

async fn raw(server: &Server, path: &str, query: &str, headers: &[(&str, &str)]) -> Answer {
    let join = if path.contains('?') { '&' } else { '?' };
    let path = match query {
        "" => format!("/loki/api/v1/{path}"),
        query => format!("/loki/api/v1/{path}{join}query={}", encoded(query)),
    };
    let method = hyper::Method::GET;
    server
        .send(method, &path, headers, bytes::Bytes::new())
        .await
}

#[tokio::test(flavor = "multi_thread")]
async fn the_health_check_is_a_sum_of_vectors() {
    let server = server().await;
    let path = "query?direction=backward&time=4000000000";
    let answer = ask(&server, path, "vector(1)+vector(1)", &[]).await;
    assert_eq!(answer["status"], "success");
    let expected = json!([{"metric": {}, "value": [4_000_000_000i64, "2"]}]);
    assert_eq!(answer["data"]["resultType"], "vector");
    assert_eq!(answer["data"]["result"], expected);
}

#[tokio::test(flavor = "multi_thread")]
async fn lines_come_with_their_labels_apart() {
    let server = server().await;
    let path = format!("query_range?direction=backward&limit=2&step=2000ms&{SPAN_NS}");
    let headers = [
        ("x-loki-response-encoding-flags", "categorize-labels"),
        ("x-query-tags", "Source=logsample"),
    ];
    let query = r#"{service_name="shop"} | json | took > 3"#;
    let answer = ask(&server, &path, query, &headers).await;
    let data = &answer["data"];
    assert_eq!(data["resultType"], "streams");
    assert_eq!(data["encodingFlags"], json!(["categorize-labels"]));
    let own = json!({"app": "shop", "pod": "shop-1", "service_name": "shop"});
    let streams = data["result"].as_array().expect("streams");
    assert!(!streams.is_empty());
    for stream in streams {
        assert_eq!(stream["stream"], own, "labels of the stream alone");
    }
    let newest = &streams[0]["values"][0];
    assert_eq!(newest[0], "1700000190000000000");
    let apart = json!({
        "parsed": {"level": "error", "msg": "sold 19", "took": "19"},
        "structuredMetadata": {"detected_level": "error", "trace_id": "t19"},
    });
    assert_eq!(newest[2], apart);
    for part in ["summary", "querier", "ingester", "cache"] {
        assert!(data["stats"][part].is_object(), "{part}");
    }
    let plain = ask(&server, &path, query, &[]).await;
    let of_line = &plain["data"]["result"][0];
    assert_eq!(of_line["stream"]["detected_level"], "error");
    assert_eq!(of_line["stream"]["trace_id"], "t19");
    assert_eq!(of_line["values"][0].as_array().map(Vec::len), Some(2));
}

#[tokio::test(flavor = "multi_thread")]
async fn the_volume_of_logs_is_counted_by_level() {
    let server = server().await;
    let path = format!("query_range?direction=backward&step=60000ms&{SPAN_NS}");
    let headers = [("x-query-tags", "Source=logvolhist")];
    let query = r#"sum by (level, detected_level) (count_over_time({service_name=~".+"} | drop __error__[60s]))"#;
    let answer = ask(&server, &path, query, &headers).await;
    assert_eq!(answer["data"]["resultType"], "matrix");
    let mut levels = Vec::new();
    for series in answer["data"]["result"].as_array().expect("series") {
        let points = series["values"].as_array().expect("values");
        let numbers = points.iter().map(|p| {
            assert!(p[0].is_number(), "{p}");
            p[1].as_str()
                .and_then(|n| n.parse::<u64>().ok())
                .expect("a number as text")
        });
        levels.push((series["metric"].clone(), numbers.sum::<u64>()));
    }
    let level = |level: &str| json!({ "detected_level": level });
    let expected = [
        (level("error"), 10),
        (level("info"), 10),
        (level("unknown"), 1),
        (level("warn"), 1),
    ];
    assert_eq!(levels, expected);
}

#[tokio::test(flavor = "multi_thread")]
async fn names_and_values_are_lists_of_texts() {
    let server = server().await;
    let success = |data: Value| json!({"status": "success", "data": data});
    let labels = ask(&server, &format!("labels?{SPAN_NS}"), "", &[]).await;
    assert_eq!(
        labels,
        success(json!(["app", "job", "pod", "service_name"]))
    );
    let path = format!("labels?{SPAN_NS}");
    let labels = ask(&server, &path, r#"{job="host"}"#, &[]).await;
    assert_eq!(labels, success(json!(["job", "service_name"])));
    let path = format!("label/service_name/values?{SPAN_NS}");
    let values = ask(&server, &path, "", &[]).await;
    assert_eq!(values, success(json!(["host", "shop"])));
    let values = ask(&server, &path, r#"{app="shop"}"#, &[]).await;
    assert_eq!(values, success(json!(["shop"])));
    let selector = encoded(r#"{job="host"}"#);
    let path = format!("series?match%5B%5D={selector}&{SPAN_NS}");
    let series = ask(&server, &path, "", &[]).await;
    assert_eq!(
        series,
        success(json!([{"job": "host", "service_name": "host"}]))
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn counts_of_a_selector_are_numbers() {
    let server = server().await;
    let path = format!("index/stats?{SPAN_NS}");
    let stats = ask(&server, &path, r#"{app="shop"}"#, &[]).await;
    let names: Vec<&String> = stats.as_object().expect("an object").keys().collect();
    assert_eq!(names, ["bytes", "chunks", "entries", "streams"]);
    assert_eq!(
        (&stats["streams"], &stats["entries"]),
        (&json!(1), &json!(20))
    );
    assert!(
        stats["bytes"].as_u64() > Some(0) && stats["chunks"].is_u64(),
        "{stats}"
    );
    let none = ask(&server, &path, r#"{app="none"}"#, &[]).await;
    assert_eq!(
        none,
        json!({"bytes": 0, "chunks": 0, "entries": 0, "streams": 0})
    );
    // A query that is cut by shards asks for their number first; one shard is none.
    let path = format!("index/shards?{SPAN_NS}&targetBytesPerShard=1");
    let shards = ask(&server, &path, r#"{app="shop"}"#, &[]).await;
    assert_eq!(shards["shards"].as_array().map(Vec::len), Some(1));
    let path = format!("label/__stream_shard__/values?{SPAN_NS}");
    assert_eq!(
        ask(&server, &path, r#"{app="shop"}"#, &[]).await["data"],
        json!([])
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn the_drilldown_finds_services_by_volume() {
    let server = server().await;
    let limits = ask(&server, "drilldown-limits", "", &[]).await;
    assert_eq!(limits["limits"]["volume_enabled"], true);
    assert_eq!(limits["limits"]["discover_log_levels"], true);
    let services = limits["limits"]["discover_service_name"].as_array();
    assert_eq!(services.map(Vec::len), Some(13));
    assert_eq!(limits["pattern_ingester_enabled"], true);
    assert!(limits["version"].is_string());
    assert!(limits["limits"]["retention_period"].is_string());
    let build = ask(&server, "status/buildinfo", "", &[]).await;
    assert!(build["version"].is_string());
    let path = format!("index/volume?limit=5000&{SPAN_ISO}");
    let headers = [("x-query-tags", "Source=grafana-lokiexplore-app")];
    let volume = ask(&server, &path, r#"{service_name=~".+"}"#, &headers).await;
    assert_eq!(volume["data"]["resultType"], "vector");
    let result = volume["data"]["result"].as_array().expect("a list");
    let services: Vec<&Value> = result.iter().map(|r| &r["metric"]).collect();
    let expected = [
        json!({"service_name": "shop"}),
        json!({"service_name": "host"}),
    ];
    assert_eq!(services, expected.iter().collect::<Vec<_>>());
    for one in result {
        assert!(
            one["value"][0].is_number() && one["value"][1].is_string(),
            "{one}"
        );
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_drilldown_finds_labels_fields_and_patterns() {
    let server = server().await;
    let path = format!("detected_labels?{SPAN_ISO}");
    let of_all = ask(&server, &format!("{path}&query="), "", &[]).await;
    let labels = of_all["detectedLabels"].as_array().expect("a list");
    let names: Vec<&str> = labels.iter().filter_map(|l| l["label"].as_str()).collect();
    assert_eq!(names, ["app", "job", "pod", "service_name"]);
    assert!(labels.iter().all(|l| l["cardinality"].is_u64()));
    let query = r#"{service_name="shop"}"#;
    let own = ask(&server, &path, query, &[]).await;
    assert_eq!(own["detectedLabels"].as_array().map(Vec::len), Some(3));
    let path = format!("detected_fields?{SPAN_ISO}&limit=1000");
    let fields = ask(&server, &path, query, &[]).await;
    assert_eq!(fields["limit"], 1000);
    let mut found: Vec<(&str, &str, u64, &Value)> = Vec::new();
    for field in fields["fields"].as_array().expect("fields") {
        found.push((
            field["label"].as_str().expect("a name"),
            field["type"].as_str().expect("a type"),
            field["cardinality"].as_u64().expect("a number"),
            &field["parsers"],
        ));
    }
    found.sort_unstable_by_key(|field| field.0);
    let (json, none) = (json!(["json"]), Value::Null);
    let expected = [
        ("detected_level", "string", 2, &none),
        ("level", "string", 2, &json),
        ("msg", "string", 20, &json),
        ("took", "int", 20, &json),
        ("trace_id", "string", 20, &none),
    ];
    assert_eq!(found, expected);
    let path = format!("detected_field/detected_level/values?{SPAN_ISO}&limit=1000");
    let values = ask(&server, &path, query, &[]).await;
    let mut levels = values["values"].as_array().expect("values").clone();
    levels.sort_by_key(ToString::to_string);
    assert_eq!(levels, [json!("error"), json!("info")]);
    let path = format!("patterns?{SPAN_ISO}&step=10s");
    let patterns = ask(&server, &path, query, &[]).await;
    assert_eq!(patterns["status"], "success");
    let patterns = patterns["data"].as_array().expect("patterns");
    assert!(!patterns.is_empty());
    for pattern in patterns {
        assert!(pattern["pattern"].is_string() && pattern["level"].is_string());
        let samples = pattern["samples"].as_array().expect("samples");
        assert!(
            samples.iter().all(|s| s[0].is_i64() && s[1].is_u64()),
            "{pattern}"
        );
    }
    let total = patterns
        .iter()
        .flat_map(|p| p["samples"].as_array().expect("samples"));
    assert_eq!(total.filter_map(|s| s[1].as_u64()).sum::<u64>(), 20);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_long_query_is_asked_in_pieces() {
    let server = server().await;
    let query = r#"sum(count_over_time({app="shop"}[100s]))"#;
    let mut found = Vec::new();
    for (from, to) in [(START, START + 200), (START + 300, END)] {
        let path = format!("query_range?step=100000ms&start={from}000000000&end={to}000000000");
        let answer = ask(&server, &path, query, &[]).await;
        let values = answer["data"]["result"][0]["values"].clone();
        found.extend(values.as_array().cloned().unwrap_or_default());
    }
    let whole = format!("query_range?step=100000ms&{SPAN_NS}");
    let whole = ask(&server, &whole, query, &[]).await;
    assert_eq!(json!(found), whole["data"]["result"][0]["values"]);
    assert_eq!(found.len(), 3, "{found:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn an_error_is_its_text() {
    let server = server().await;
    for (path, query, status, text) in [
        (
            "query_range",
            r#"{app="shop"#,
            400,
            "parse error at line 1, col 6: literal not terminated",
        ),
        (
            "query_range",
            r#"{app=~".*"}"#,
            400,
            "queries require at least one regexp or equality matcher",
        ),
        (
            "index/stats",
            "",
            400,
            "parse error : syntax error: unexpected $end",
        ),
        ("labels", "{}", 400, "queries require at least one"),
        (
            "query_range?limit=6000",
            r#"{app="shop"}"#,
            400,
            "limit > max_entries_limit_per_query (6000 > 5000)",
        ),
        ("label/x/values", "{", 400, "parse error"),
    ] {
        let answer = raw(&server, path, query, &[]).await;
        assert_eq!(answer.status, status, "{path} {query}: {}", answer.text());
        assert!(answer.text().contains(text), "{}", answer.text());
        assert!(answer.header("content-type").starts_with("text/plain"));
        assert_eq!(answer.header("x-content-type-options"), "nosniff");
    }
    // What is counted has no limit of entries.
    for path in ["query_range?limit=6000", "query?limit=6000"] {
        let answer = raw(&server, path, "vector(1)", &[]).await;
        assert_eq!(answer.status, 200, "{path}: {}", answer.text());
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_not_wanted_is_not_added() {
    // What an administrator sets for a tenant shows in what is added.
    let server = Server::start().await;
    let body =
        r#"{"streams":[{"stream":{"app":"a"},"values":[["1700000000000000000","an error"]]}]}"#;
    let answer = server.post("/loki/api/v1/push", JSON, body).await;
    assert_eq!(answer.status, 204, "{}", answer.text());
    let path = format!("query_range?{SPAN_NS}");
    let answer = ask(&server, &path, r#"{app="a"}"#, &[]).await;
    assert_eq!(answer["data"]["result"][0]["stream"], json!({"app": "a"}));
}
