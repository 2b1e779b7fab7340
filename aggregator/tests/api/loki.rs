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
    // Loki's front end moves both ends outwards; `align=false` leaves them.
    for (more, expected) in [("", json!([5, 10])), ("&align=false", json!([6]))] {
        let path = format!("/loki/api/v1/query_range?{query}&start=6&end=10&step=5{more}");
        let answer = server.get(&path).await.json();
        let mut times = answer["data"]["result"].as_array().unwrap().iter();
        let times = times.find(|one| one["metric"]["job"] == "api").unwrap();
        let times = times["values"].as_array().unwrap().iter();
        let times = times.map(|point| point[0].clone()).collect::<Vec<_>>();
        assert_eq!(json!(times), expected, "{more}");
    }
    let path = format!("/loki/api/v1/query_range?{query}&start=6&end=10&step=5&align=1");
    let answer = server.get(&path).await;
    assert_eq!(
        (answer.status, answer.text().as_str()),
        (400, "cannot parse \"1\" as align: true or false")
    );
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
    // Pieces end a millisecond before the next one begins, the last with the range.
    let dates: Vec<f64> = values
        .iter()
        .map(|v| v[0].as_f64().expect("seconds"))
        .collect();
    let is_end = |date: &f64| *date == 10.0 || ((date * 1e3).round() as i64 + 1) % 2000 == 0;
    assert!(dates.len() > 1 && dates.iter().all(is_end), "{json}");
    // Lines in the last second of a range that ends at a whole step.
    let path = format!("/loki/api/v1/index/volume_range?start=0&end=2&step=1{all}");
    let json = server.get(&path).await.json();
    let result = json["data"]["result"].as_array().expect("series").clone();
    let dates = result.iter().flat_map(|one| {
        let values = one["values"].as_array().cloned().unwrap_or_default();
        let single = one.get("value").cloned();
        values.into_iter().chain(single).map(|v| v[0].as_f64())
    });
    assert!(
        dates.flatten().all(|date| date == 2.0 || date == 0.999),
        "{json}"
    );
    // One piece is a vector; streams without a label that is asked for are left out.
    for (more, expected) in [("step=10", 2), ("step=10&targetLabels=stream", 1)] {
        let path = format!("/loki/api/v1/index/volume_range?start=0&end=10{all}&{more}");
        let json = server.get(&path).await.json();
        assert_eq!(json["data"]["resultType"], "vector", "{json}");
        let found = json["data"]["result"].as_array().map(Vec::len);
        assert_eq!(found, Some(expected), "{json}");
    }
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
            "invalid direction 'up'",
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

#[tokio::test(flavor = "multi_thread")]
async fn labels_fields_and_their_values_are_detected() {
    let server = server().await;
    let labels = server
        .get("/loki/api/v1/detected_labels?start=0&end=10")
        .await
        .json();
    assert_eq!(
        labels,
        json!({"detectedLabels": [
            {"label": "job", "cardinality": 2},
            {"label": "stream", "cardinality": 1},
        ]})
    );
    let all = "query=%7Bjob%3D~%22.%2B%22%7D&start=0&end=10";
    let fields = server
        .get(&format!("/loki/api/v1/detected_fields?{all}"))
        .await
        .json();
    let logfmt = json!(["logfmt"]);
    assert_eq!(
        fields,
        json!({"limit": 1000, "fields": [
            {"label": "level", "type": "string", "cardinality": 2, "parsers": logfmt},
            {"label": "msg", "type": "string", "cardinality": 2, "parsers": logfmt},
            {"label": "trace_id", "type": "string", "cardinality": 1, "parsers": null},
        ]})
    );
    let values = server
        .get(&format!(
            "/loki/api/v1/detected_field/level/values?{all}&limit=7"
        ))
        .await
        .json();
    assert_eq!(values, json!({"values": ["error", "info"], "limit": 7}));
    let none = server
        .get(&format!("/loki/api/v1/detected_field/nothing/values?{all}"))
        .await
        .json();
    assert_eq!(none, json!({}));
    for (path, expected) in [
        (
            "detected_fields?query=rate(%7Ba%3D%22b%22%7D[1m])",
            "only log selector",
        ),
        (
            "detected_fields?query=%7Ba%3D%22b%22%7D&line_limit=0",
            "positive",
        ),
        ("detected_fields?query=%7B", "parse error"),
    ] {
        let answer = server.get(&format!("/loki/api/v1/{path}")).await;
        assert_eq!(answer.status, 400, "{path}");
        assert!(answer.text().contains(expected), "{}", answer.text());
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn queries_are_formatted() {
    let server = server().await;
    let good = server
        .get("/loki/api/v1/format_query?query=%7Ba%3D%22b%22%7D%7C%3D%22x%22")
        .await
        .json();
    assert_eq!(
        good,
        json!({"status": "success", "data": "{a=\"b\"} |= \"x\""})
    );
    let bad = server.get("/loki/api/v1/format_query?query=%7B").await;
    assert_eq!(
        (bad.status, bad.json()["status"].as_str()),
        (400, Some("invalid-query"))
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn patterns_are_counted_per_step() {
    let server = Server::start().await;
    let line = |n: u64| format!("took {n} ms to answer");
    let values: Vec<_> = (1..=5u64)
        .map(|n| json!([(n * 1_000_000_000).to_string(), line(n)]))
        .collect();
    server
        .push(json!([{"stream": {"job": "api", "level": "info"}, "values": values}]))
        .await;
    let path = "/loki/api/v1/patterns?query=%7Bjob%3D%22api%22%7D&start=0&end=10&step=3";
    assert_eq!(
        server.get(path).await.json(),
        json!({"status": "success", "data": [{
            "pattern": "took <_> ms to answer",
            "level": "info",
            "samples": [[0, 2], [3, 3]],
        }]})
    );
}

/// A client of a WebSocket that reads what comes.
struct Listener {
    stream: tokio::net::TcpStream,
    bytes: Vec<u8>,
}

impl Listener {
    async fn connect(server: &Server, path: &str) -> Self {
        use tokio::io::{AsyncReadExt, AsyncWriteExt};
        let address = server.running.address;
        let mut stream = tokio::net::TcpStream::connect(address)
            .await
            .expect("connected");
        let head = format!(
            "GET {path} HTTP/1.1\r\nHost: x\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\
             Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n"
        );
        stream.write_all(head.as_bytes()).await.expect("sent");
        let mut bytes = Vec::new();
        while !bytes.windows(4).any(|w| w == b"\r\n\r\n") {
            assert!(
                stream.read_buf(&mut bytes).await.expect("read") > 0,
                "closed"
            );
        }
        let end = bytes
            .windows(4)
            .position(|w| w == b"\r\n\r\n")
            .expect("a head")
            + 4;
        let head = String::from_utf8_lossy(&bytes[..end]).to_ascii_lowercase();
        assert!(head.starts_with("http/1.1 101 "), "{head}");
        assert!(
            head.contains("sec-websocket-accept: s3pplmbitxaq9kygzzhzrbk+xoo="),
            "{head}"
        );
        bytes.drain(..end);
        Self { stream, bytes }
    }

    /// The lines of the next message.
    async fn lines(&mut self) -> Vec<String> {
        use tokio::io::AsyncReadExt;
        loop {
            let len = self.bytes.get(1).map(|len| usize::from(*len));
            let (start, len) = match (len, self.bytes.get(2..4)) {
                (Some(126), Some(len)) => (4, usize::from(len[0]) << 8 | usize::from(len[1])),
                (Some(len), _) if len < 126 => (2, len),
                _ => (2, usize::MAX - 2),
            };
            if self.bytes.len() < start + len {
                let n = self.stream.read_buf(&mut self.bytes).await.expect("read");
                assert!(n > 0, "closed");
                continue;
            }
            let frame: Vec<u8> = self.bytes.drain(..start + len).collect();
            if frame[0] != 0x81 {
                continue;
            }
            let message: serde_json::Value = serde_json::from_slice(&frame[start..]).expect("JSON");
            let streams = message["streams"].as_array().expect("streams").iter();
            let values = streams.flat_map(|s| s["values"].as_array().expect("values"));
            return values
                .map(|v| v[1].as_str().expect("a line").to_owned())
                .collect();
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_tail_gives_what_was_and_what_comes() {
    let server = Server::start().await;
    let now_ns = || {
        let since = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH);
        i64::try_from(since.expect("after 1970").as_nanos()).expect("before 2262")
    };
    let push_at = |time_ns: i64, line: &'static str, job: &'static str| {
        let time = time_ns.to_string();
        server.push(json!([{"stream": {"job": job}, "values": [[time, line]]}]))
    };
    let push = |line: &'static str, job: &'static str| push_at(now_ns(), line, job);
    push("old one", "api").await;
    push("old two", "api").await;
    push("old three", "api").await;
    let path = "/loki/api/v1/tail?query=%7Bjob%3D%22api%22%7D%7C~%22two|three|new%22&limit=1";
    let before_ns = now_ns();
    let mut listener = Listener::connect(&server, path).await;
    assert_eq!(listener.lines().await, ["old three"]);
    // What was written before the tail was opened and came after it, as agents send it.
    push_at(before_ns, "new, on its way", "api").await;
    assert_eq!(listener.lines().await, ["new, on its way"]);
    push("other job, new", "web").await;
    push("not wanted", "api").await;
    push("new one", "api").await;
    assert_eq!(listener.lines().await, ["new one"]);
    push("new two", "api").await;
    assert_eq!(listener.lines().await, ["new two"]);
    for (path, expected) in [
        (
            "query=%7Ba%3D%22b%22%7D",
            "not using the websocket protocol",
        ),
        (
            "query=%7Ba%3D%22b%22%7D&delay_for=6",
            "delay_for can't be greater than 5",
        ),
        ("query=rate(%7Ba%3D%22b%22%7D[1m])", "only log selector"),
    ] {
        let answer = server.get(&format!("/loki/api/v1/tail?{path}")).await;
        assert_eq!(answer.status, 400, "{path}");
        assert!(answer.text().contains(expected), "{}", answer.text());
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn old_paths_answer_in_their_shape() {
    let server = Server::start().await;
    let body = json!({"streams": [{"labels": "{job=\"old\"}", "entries": [{"ts": "1970-01-01T00:00:01.5Z", "line": "one"}]}]});
    let answer = server
        .post("/api/prom/push", crate::harness::JSON, body.to_string())
        .await;
    assert_eq!(answer.status, 204, "{}", answer.text());
    let query = "query=%7Bjob%3D%22old%22%7D&start=0&end=10";
    let answer = server.get(&format!("/api/prom/query?{query}")).await.json();
    assert_eq!(
        answer["streams"],
        json!([{"labels": "{job=\"old\"}", "entries": [{"ts": "1970-01-01T00:00:01.5Z", "line": "one"}]}])
    );
    let names = server.get("/api/prom/label?start=0&end=10").await.json();
    assert_eq!(names, json!({"values": ["job"]}));
    let values = server
        .get("/api/prom/label/job/values?start=0&end=10")
        .await;
    assert_eq!(values.json(), json!({"values": ["old"]}));
    let count = "query=count_over_time(%7Bjob%3D%22old%22%7D%5B5s%5D)&start=0&end=10";
    let answer = server.get(&format!("/api/prom/query?{count}")).await;
    assert_eq!(answer.status, 500);
    assert!(answer.text().ends_with("current type is matrix"));
}

#[tokio::test(flavor = "multi_thread")]
async fn what_grafana_asks_of_the_server_is_answered() {
    let server = server().await;
    let shards = "/loki/api/v1/index/shards?query=%7Bjob%3D%22api%22%7D&start=0&end=10&targetBytesPerShard=1000";
    let shards = server.get(shards).await.json();
    assert_eq!(shards["shards"][0]["stats"]["entries"], 2);
    let limits = server.get("/loki/api/v1/drilldown-limits").await.json();
    assert_eq!(limits["limits"]["max_entries_limit_per_query"], 5000);
    assert_eq!(limits["pattern_ingester_enabled"], true);
    let yaml = server.get("/config/tenant/v1/limits").await.text();
    assert!(yaml.contains("max_line_size: 262144"), "{yaml}");
    assert_eq!(server.get("/config").await.status, 200);
    let path = "/loki/api/v1/query_range?query=%7Bjob%3D%22api%22%7D&start=0&end=10";
    let stats = server.get(path).await.json()["data"]["stats"].clone();
    let groups = ["summary", "querier", "ingester", "cache", "index"];
    assert!(
        groups.iter().all(|group| stats[group].is_object()),
        "{stats}"
    );
    assert_eq!(stats["querier"]["store"]["chunk"]["decompressedLines"], 2);
    assert_eq!(stats["cache"]["chunk"]["requests"], 0);
    let nothing = server.post(
        "/loki/api/v1/push",
        crate::harness::JSON,
        r#"{"streams":[]}"#,
    );
    let nothing = nothing.await;
    assert_eq!(
        (nothing.status, nothing.text().as_str()),
        (
            422,
            "error at least one valid stream is required for ingestion"
        )
    );
}
