//! What a query may take, what it tells of itself, and that it ends with its client.

use serde_json::json;
use tokio::io::AsyncWriteExt;
use tokio::net::TcpStream;

use crate::grafana::encoded;
use crate::harness::{Series, Server};

/// Series with a sample every ten seconds of ten minutes.
async fn write_many(server: &Server, n: usize) {
    let samples: Vec<(i64, f64)> = (0..60).map(|i| (i * 10_000, i as f64)).collect();
    let names: Vec<String> = (0..n).map(|i| format!("{i:04}")).collect();
    let labels: Vec<[(&str, &str); 2]> = names
        .iter()
        .map(|name| [("__name__", "many_total"), ("n", name.as_str())])
        .collect();
    let series: Vec<Series<'_>> = labels.iter().map(|l| (&l[..], &samples[..])).collect();
    server.write(&series).await;
}

fn over(query: &str, step: &str) -> String {
    format!("/api/v1/query_range?query={query}&start=0&end=600&step={step}")
}

#[tokio::test(flavor = "multi_thread")]
async fn a_query_that_needs_too_much_memory_is_refused_and_others_go_on() {
    let flags = ["--query.test-mode", "--query.max-memory=2MiB"];
    let server = Server::start_with(&flags).await;
    write_many(&server, 300).await;
    // 300 series of 6001 steps, 16 bytes each.
    let big = server.get(&over("many_total", "100ms")).await;
    assert_eq!(big.status, 422, "{}", big.text());
    assert_eq!(big.json()["errorType"], "execution");
    let text = big.text();
    assert!(
        text.contains("more than 2097152 bytes of memory, which --query.max-memory allows"),
        "{text}"
    );
    let (big, small) = (
        over("rate(many_total[1m])", "100ms"),
        over("sum(many_total)", "10s"),
    );
    let (big, small) = tokio::join!(server.get(&big), server.get(&small));
    assert_eq!((big.status, small.status), (422, 200));
    assert_eq!(held(&server).await, 0.0, "all is given back");
}

#[tokio::test(flavor = "multi_thread")]
async fn queries_together_are_held_to_a_total() {
    let flags = [
        "--query.test-mode",
        "--query.max-memory=0",
        "--query.max-memory-total=2MiB",
    ];
    let server = Server::start_with(&flags).await;
    write_many(&server, 300).await;
    let big = server.get(&over("many_total", "100ms")).await;
    assert_eq!(big.status, 422);
    assert!(
        big.text().contains("which --query.max-memory-total allows"),
        "{}",
        big.text()
    );
    assert_eq!(
        server.get(&over("sum(many_total)", "10s")).await.status,
        200
    );
    assert_eq!(held(&server).await, 0.0, "all is given back");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_log_query_that_needs_too_much_memory_is_refused_and_others_go_on() {
    let flags = ["--query.test-mode", "--query.max-memory=2MiB"];
    let server = Server::start_with(&flags).await;
    let padding = "x".repeat(1000);
    let values: Vec<_> = (0..3000i64)
        .map(|i| {
            json!([
                format!("{}", (i + 1) * 1_000_000),
                format!("n={i} {padding}")
            ])
        })
        .collect();
    let stream = json!({"stream": {"app": "a"}, "values": values});
    server.push(json!([stream])).await;
    let ask = async |query: &str, more: &str| {
        let query = encoded(query);
        let path = format!("/loki/api/v1/query_range?query={query}&start=0&end=10&{more}");
        server.get(&path).await
    };
    let lines = r#"{app="a"}"#;
    let by_n = r#"sum by (n) (count_over_time({app="a"} | logfmt [1s]))"#;
    for (query, more) in [(lines, "limit=3000"), (by_n, "step=1ms")] {
        let big = ask(query, more).await;
        assert_eq!(big.status, 400, "{query}: {}", big.text());
        assert_eq!(
            big.text(),
            "the query needs more than 2097152 bytes of memory, which --query.max-memory allows; consider adding more specific stream selectors, reducing the time range or the limit, or grouping by fewer labels"
        );
    }
    let (big, small, few) = tokio::join!(
        ask(lines, "limit=3000"),
        ask(lines, "limit=100"),
        ask(r#"sum(count_over_time({app="a"}[1s]))"#, "step=1s"),
    );
    assert_eq!((big.status, small.status, few.status), (400, 200, 200));
    assert_eq!(held(&server).await, 0.0, "all is given back");
}

#[tokio::test(flavor = "multi_thread")]
async fn volumes_that_need_too_much_memory_are_refused_and_others_go_on() {
    let flags = ["--query.test-mode", "--query.max-memory=2MiB"];
    let server = Server::start_with(&flags).await;
    let line = |i: i64| json!([format!("{}", (i + 1) * 1_000_000), "x"]);
    let values: Vec<_> = (0..10_000).map(line).collect();
    server
        .push(json!([{"stream": {"app": "a"}, "values": values}]))
        .await;
    let ask = async |step: &str| {
        let query = encoded(r#"{app="a"}"#);
        let path = format!("query={query}&start=0&end=10&step={step}");
        server
            .get(&format!("/loki/api/v1/index/volume_range?{path}"))
            .await
    };
    let (big, small) = tokio::join!(ask("1ms"), ask("1s"));
    assert_eq!(big.status, 400, "{}", big.text());
    assert!(
        big.text().contains("which --query.max-memory allows"),
        "{}",
        big.text()
    );
    assert_eq!(small.status, 200, "{}", small.text());
    assert_eq!(held(&server).await, 0.0, "all is given back");
}

#[tokio::test(flavor = "multi_thread")]
async fn listings_that_need_too_much_memory_are_refused_and_others_go_on() {
    let server = Server::start_with(&["--query.test-mode", "--query.max-memory=16KiB"]).await;
    write_many(&server, 300).await;
    let stream = |i| json!({"stream": {"n": format!("{i:04}")}, "values": [["1000000", "x"]]});
    let streams: Vec<_> = (0..300).map(stream).collect();
    server.push(json!(streams)).await;
    let span = "start=0&end=600";
    for (path, status) in [
        (format!("/api/v1/series?match[]=many_total&{span}"), 422),
        (format!("/api/v1/label/n/values?{span}"), 422),
        (format!("/api/v1/labels?{span}"), 200),
        (
            format!("/api/v1/series?match[]=many_total&{span}&limit=5"),
            200,
        ),
        (format!("/loki/api/v1/series?{span}"), 400),
        (format!("/loki/api/v1/label/n/values?{span}"), 400),
        (format!("/loki/api/v1/labels?{span}"), 200),
    ] {
        let answer = server.get(&path).await;
        assert_eq!(answer.status, status, "{path}: {}", answer.text());
        let is_refused = answer.text().contains("which --query.max-memory allows");
        assert_eq!(is_refused, status != 200, "{path}");
    }
    assert_eq!(held(&server).await, 0.0, "all is given back");
}

async fn held(server: &Server) -> f64 {
    metric(server, "kansoku_query_memory_bytes ").await
}

async fn metric(server: &Server, line: &str) -> f64 {
    let text = server.get("/metrics").await.text();
    let found = text.lines().find_map(|l| l.strip_prefix(line));
    found
        .expect("the metric is there")
        .trim()
        .parse()
        .expect("a number")
}

#[tokio::test(flavor = "multi_thread")]
async fn a_query_ends_when_its_client_leaves() {
    let flags = ["--query.test-mode", "--query.timeout=1d"];
    let server = Server::start_with(&flags).await;
    let running = async || metric(&server, "kansoku_query_running ").await;
    // Every second of a day looks at every second of the day before: billions of samples.
    let query = "max_over_time(max_over_time(vector(1)%5B1d:1s%5D)%5B1d:1s%5D)";
    let mut stream = TcpStream::connect(&server.running.address.to_string())
        .await
        .unwrap();
    let request = format!("GET /api/v1/query?query={query}&time=1e6 HTTP/1.1\r\nhost: x\r\n\r\n");
    stream.write_all(request.as_bytes()).await.unwrap();
    while running().await < 1.0 {
        tokio::task::yield_now().await;
    }
    drop(stream);
    // Not before it has really ended.
    while running().await > 0.0 {
        tokio::task::yield_now().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn all_statistics_tell_what_each_step_looked_at() {
    let server = Server::start().await;
    write_many(&server, 2).await;
    let stats = async |path: String| {
        let answer = server.get(&path).await.json();
        answer["data"]["stats"]["samples"].clone()
    };
    let range = "&start=100&end=120&step=10";
    // Three samples of each of two series in a window that is open on the left.
    let all = stats(format!(
        "/api/v1/query_range?query=rate(many_total[30s]){range}&stats=all"
    ))
    .await;
    let steps = json!([[100, 6], [110, 6], [120, 6]]);
    assert_eq!(all["totalQueryableSamplesPerStep"], steps, "{all}");
    assert_eq!(all["totalQueryableSamples"], 18);
    assert_eq!(all["samplesRead"], 10, "each sample is read once");
    assert!(all["peakSamples"].as_u64() > Some(0));
    let of_instants = stats(format!(
        "/api/v1/query_range?query=many_total{range}&stats=all"
    ))
    .await;
    let steps = json!([[100, 2], [110, 2], [120, 2]]);
    assert_eq!(of_instants["totalQueryableSamplesPerStep"], steps);
    let once = stats(format!(
        "/api/v1/query_range?query=many_total@0{range}&stats=all"
    ))
    .await;
    assert_eq!(once["totalQueryableSamplesPerStep"], steps);
    let some = stats("/api/v1/query?query=many_total&time=50&stats=true".to_owned()).await;
    assert_eq!(some["totalQueryableSamples"], 2);
    assert!(some["totalQueryableSamplesPerStep"].is_null());
}

#[tokio::test(flavor = "multi_thread")]
async fn explain_shows_the_plan_as_json_and_text() {
    let server = Server::start().await;
    write_many(&server, 4).await;
    let query = "query=sum(rate(many_total{n=~\"000[0-2]\"}[30s]))%20*%202";
    let path = format!("/api/v1/explain?{query}&start=100&end=120&step=10");
    let answer = server
        .get(
            &path
                .replace('"', "%22")
                .replace('{', "%7B")
                .replace('}', "%7D"),
        )
        .await;
    assert_eq!(answer.status, 200, "{}", answer.text());
    let data = &answer.json()["data"];
    let plan = &data["plan"];
    assert_eq!(plan["node"], "binary *");
    let sum = &plan["children"][0];
    assert_eq!(
        (&sum["node"], &sum["values"]),
        (&json!("aggregation sum"), &json!(3))
    );
    let rate = &sum["children"][0];
    assert_eq!(
        (&rate["node"], &rate["series"]),
        (&json!("function rate"), &json!(3))
    );
    assert!(rate["seconds"].as_f64() <= sum["seconds"].as_f64());
    let read = &rate["children"][0]["reads"][0];
    assert_eq!((&read["series"], &read["samples"]), (&json!(3), &json!(15)));
    let pushed = &read["pushedDown"];
    assert_eq!(
        pushed["matchers"],
        json!(["n=~\"000[0-2]\"", "__name__=\"many_total\""])
    );
    assert_eq!(
        (&pushed["fromMs"], &pushed["toMs"]),
        (&json!(70_001), &json!(120_000))
    );
    assert_eq!(pushed["seriesKeptAsStored"], 3);
    assert_eq!(data["samplesRead"], 15);
    let text = server
        .get("/api/v1/explain?query=count(many_total)&time=50&format=text")
        .await;
    assert_eq!(text.header("content-type"), "text/plain; charset=utf-8");
    let text = text.text();
    assert!(
        text.starts_with("aggregation count: count(many_total)  ("),
        "{text}"
    );
    assert!(
        text.contains("\n    reads {__name__=\"many_total\"} from "),
        "{text}"
    );
    for (wrong, status) in [
        ("query=up&format=xml", 400),
        ("query=(", 400),
        ("query=up&start=1&step=1", 400),
    ] {
        let answer = server.get(&format!("/api/v1/explain?{wrong}")).await;
        assert_eq!(answer.status, status, "{wrong}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_dashboard_that_moves_along_reuses_its_steps() {
    let server = Server::start_with(&["--storage.retention.time=0"]).await;
    let t0 = 1_700_000_000;
    let samples: Vec<(i64, f64)> = (0..60).map(|i| ((t0 + i * 10) * 1000, i as f64)).collect();
    let labels = [("__name__", "x_total")];
    server.write(&[(&labels, &samples)]).await;
    let ask = async |start: i64, more: &str| {
        let (start, end) = (t0 + start, t0 + start + 300);
        let path = format!(
            "/api/v1/query_range?query=sum(rate(x_total[1m]))&start={start}&end={end}&step=10{more}"
        );
        server.get(&path).await.text()
    };
    let counter = async |name: &str| metric(&server, &format!("kansoku_query_cache_{name} ")).await;
    for start in [0, 100, 200] {
        let kept = ask(start, "").await;
        assert_eq!(kept, ask(start, "&nocache=1").await);
    }
    assert_eq!(
        (counter("hits_total").await, counter("misses_total").await),
        (2.0, 1.0)
    );
    assert_eq!(counter("reused_steps_total").await, 42.0);
    assert!(counter("bytes").await > 500.0);
    // A late sample in the middle changes what comes after it.
    server
        .write(&[(&labels, &[((t0 + 305) * 1000, 99.0)])])
        .await;
    let kept = ask(200, "").await;
    assert_eq!(kept, ask(200, "&nocache=1").await);
    assert_eq!(counter("reused_steps_total").await, 42.0 + 11.0);
}
