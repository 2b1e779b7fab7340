//! Remote read over samples whose chunks Prometheus 2.42 has written: `fixtures/wire/remote_read_write.snappy` went into it,
//! `remote_read_chunks.expected` came out (`benches/peers/prometheus_read.py`).

use prost::Message;

use crate::harness::{Answer, Server, TimeSeries, WRITE, snappy};

const WRITTEN: &[u8] = include_bytes!("../../../fixtures/wire/remote_read_write.snappy");
const CHUNKS: &[u8] = include_bytes!("../../../fixtures/wire/remote_read_chunks.expected");

#[derive(Message)]
struct ReadRequest {
    #[prost(message, repeated, tag = "1")]
    queries: Vec<Query>,
    #[prost(int32, repeated, tag = "2")]
    accepted: Vec<i32>,
}
#[derive(Clone, Message)]
struct Query {
    #[prost(int64, tag = "1")]
    from_ms: i64,
    #[prost(int64, tag = "2")]
    to_ms: i64,
    #[prost(message, repeated, tag = "3")]
    matchers: Vec<Matcher>,
    #[prost(message, optional, tag = "4")]
    hints: Option<Hints>,
}
#[derive(Clone, Message)]
struct Matcher {
    #[prost(int32, tag = "1")]
    kind: i32,
    #[prost(string, tag = "2")]
    name: String,
    #[prost(string, tag = "3")]
    value: String,
}
#[derive(Clone, Message)]
struct Hints {
    #[prost(string, tag = "2")]
    function: String,
    #[prost(int64, tag = "3")]
    from_ms: i64,
    #[prost(int64, tag = "4")]
    to_ms: i64,
}
#[derive(Message)]
struct ReadResponse {
    #[prost(message, repeated, tag = "1")]
    results: Vec<QueryResult>,
}
#[derive(Message)]
struct QueryResult {
    #[prost(message, repeated, tag = "1")]
    series: Vec<TimeSeries>,
}
const BEGIN_MS: i64 = 1_700_000_000_000;

/// `name` by a regular expression, over everything written.
fn query(name: &str) -> Query {
    Query {
        from_ms: BEGIN_MS - 60_000,
        to_ms: BEGIN_MS + 3_600_000,
        matchers: vec![Matcher {
            kind: 2,
            name: "__name__".into(),
            value: name.into(),
        }],
        hints: None,
    }
}

async fn read(server: &Server, queries: &[Query], accepted: &[i32]) -> Answer {
    let request = ReadRequest {
        queries: queries.to_vec(),
        accepted: accepted.to_vec(),
    };
    server
        .post("/api/v1/read", WRITE, snappy(&request.encode_to_vec()))
        .await
}

fn samples(answer: &Answer) -> Vec<QueryResult> {
    assert_eq!(answer.status, 200, "{}", answer.text());
    assert_eq!(answer.header("content-encoding"), "snappy");
    assert_eq!(answer.header("content-type"), "application/x-protobuf");
    let plain = snap::raw::Decoder::new().decompress_vec(&answer.body);
    ReadResponse::decode(&*plain.unwrap()).unwrap().results
}

fn names(result: &QueryResult) -> Vec<String> {
    let name = |s: &TimeSeries| s.labels[0].value.clone();
    result.series.iter().map(name).collect()
}

async fn server(flags: &[&str]) -> Server {
    let flags: Vec<&str> = flags.iter().copied().chain(["--query.test-mode"]).collect();
    let server = Server::start_with(&flags).await;
    let answer = server.post("/api/v1/write", WRITE, WRITTEN).await;
    assert_eq!(answer.status, 204, "{}", answer.text());
    server
}

#[tokio::test(flavor = "multi_thread")]
async fn chunks_are_those_of_prometheus_byte_for_byte() {
    let server = server(&[]).await;
    let answer = read(&server, &[query("chunk_.*")], &[1, 0]).await;
    assert_eq!(answer.status, 200, "{}", answer.text());
    let kind = "application/x-streamed-protobuf; proto=prometheus.ChunkedReadResponse";
    assert_eq!(answer.header("content-type"), kind);
    assert!(
        answer.body == CHUNKS,
        "{} bytes, expected {}",
        answer.body.len(),
        CHUNKS.len()
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn samples_come_by_query_and_within_hints() {
    let server = server(&[]).await;
    let mut narrow = query("chunk_counter");
    narrow.hints = Some(Hints {
        function: "rate".into(),
        from_ms: BEGIN_MS + 15_000,
        to_ms: BEGIN_MS + 30_000,
    });
    let mut series = query("chunk_(two|equal)");
    series.hints = Some(Hints {
        function: "series".into(),
        from_ms: BEGIN_MS,
        to_ms: BEGIN_MS + 1,
    });
    let queries = [narrow, query("nothing"), query("chunk_histogram"), series];
    let results = samples(&read(&server, &queries, &[]).await);
    assert_eq!(results.len(), 4);
    let got = &results[0].series[0].samples;
    let got: Vec<(i64, f64)> = got
        .iter()
        .map(|s| (s.time_ms - BEGIN_MS, s.value))
        .collect();
    assert_eq!(got, [(15_000, 7.0), (30_000, 14.0)]);
    assert!(results[1].series.is_empty());
    let histograms = &results[2].series[0];
    assert_eq!(
        (histograms.samples.len(), histograms.histograms.len()),
        (0, 100)
    );
    assert_eq!(names(&results[3]), ["chunk_equal", "chunk_two"]);
    assert!(results[3].series.iter().all(|s| s.samples.is_empty()));
}

#[tokio::test(flavor = "multi_thread")]
async fn external_labels_are_added_and_asked_for() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("k.yaml");
    std::fs::write(&path, "external_labels:\n  job: b\n  cluster: eu\n").unwrap();
    let server = server(&[&format!("--config.file={}", path.display())]).await;
    let equal = |name: &str, value: &str| Matcher {
        kind: 0,
        name: name.into(),
        value: value.into(),
    };
    let mut asked = query("chunk_two");
    asked.matchers.push(equal("cluster", "eu"));
    let results = samples(&read(&server, &[asked.clone()], &[0]).await);
    let labels = &results[0].series[0].labels;
    let labels: Vec<(&str, &str)> = labels.iter().map(|l| (&*l.name, &*l.value)).collect();
    assert_eq!(
        labels,
        [("__name__", "chunk_two"), ("cluster", "eu"), ("job", "a")]
    );
    asked.matchers[1] = equal("cluster", "us");
    assert!(
        samples(&read(&server, &[asked], &[]).await)[0]
            .series
            .is_empty()
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_tenant_reads_its_own_samples() {
    let server = Server::start_with(&["--query.test-mode", "--tenants.enabled"]).await;
    let of = |tenant| [WRITE[0], WRITE[1], ("x-scope-orgid", tenant)];
    let answer = server.post("/api/v1/write", &of("a"), WRITTEN).await;
    assert_eq!(answer.status, 204, "{}", answer.text());
    let request = ReadRequest {
        queries: vec![query("chunk_two")],
        accepted: Vec::new(),
    };
    let body = snappy(&request.encode_to_vec());
    for (tenant, n_series) in [("a", 1), ("b", 0)] {
        let answer = server.post("/api/v1/read", &of(tenant), body.clone()).await;
        assert_eq!(samples(&answer)[0].series.len(), n_series, "{tenant}");
    }
    assert_eq!(server.post("/api/v1/read", WRITE, body).await.status, 401);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_cannot_be_answered_is_told() {
    let server = server(&["--query.max-samples=150"]).await;
    let cases = [
        (
            query("chunk_.*"),
            vec![],
            400,
            "exceeded sample limit (150)",
        ),
        (query("("), vec![], 400, "invalid matcher of \"__name__\""),
        (
            query("x"),
            vec![7],
            400,
            "server does not support any of the requested response types",
        ),
    ];
    for (asked, accepted, status, text) in cases {
        let answer = read(&server, &[asked], &accepted).await;
        assert_eq!(answer.status, status, "{}", answer.text());
        assert!(answer.text().starts_with(text), "{}", answer.text());
    }
    // Two queries together may not hold more than one.
    let two = [query("chunk_equal"), query("chunk_small")];
    assert_eq!(read(&server, &two, &[]).await.status, 400);
    assert_eq!(read(&server, &two[..1], &[]).await.status, 200);
    // Declares 4 GiB and holds nothing.
    let bomb = server
        .post("/api/v1/read", WRITE, &b"\xff\xff\xff\xff\x0f"[..])
        .await;
    assert_eq!(bomb.status, 400);
    assert!(
        bomb.text().contains("more than the limit"),
        "{}",
        bomb.text()
    );
    let gzip = [("content-encoding", "gzip")];
    assert_eq!(server.post("/api/v1/read", &gzip, "x").await.status, 400);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_needs_too_much_memory_is_refused() {
    // Too little for the samples, or for the answer beside them.
    for limit in ["1KiB", "8KiB"] {
        let server = server(&[&format!("--query.max-memory={limit}")]).await;
        for accepted in [&[][..], &[1]] {
            let answer = read(&server, &[query("chunk_.*")], accepted).await;
            assert_eq!(answer.status, 422, "{limit}: {}", answer.text());
            let text = answer.text();
            assert!(text.contains("which --query.max-memory allows"), "{text}");
        }
        let answer = read(&server, &[query("none")], &[]).await;
        assert_eq!(answer.status, 200, "{}", answer.text());
        let metrics = server.get("/metrics").await.text();
        assert!(
            metrics.contains("kansoku_query_memory_bytes 0\n"),
            "all is given back"
        );
    }
}
