//! What comes in: native frames, remote write, Loki push; statuses, repeats and refusals.

use std::io::Write;
use std::sync::Arc;

use hyper::Method;
use kansoku_model::{
    KubernetesMetadata, LogBatch, Position, RecordBatch, Resource, Source, SourceId, frame,
};

use crate::grafana::encoded;
use crate::harness::{JSON, Server, WRITE, snappy, write_request};

fn frame_of(from: u64, to: u64) -> Vec<u8> {
    let mut batch = LogBatch::new("t".into(), Arc::default(), Vec::new());
    batch.source = Source {
        id: SourceId(7),
        from: Position::at(from),
        to: Position::at(to),
    };
    for offset in from + 1..=to {
        let row = batch.push(offset as i64 * 1_000_000_000, Position::at(offset));
        batch.set_text("log", row, format!("line {offset}").as_bytes());
    }
    let mut bytes = Vec::new();
    frame::encode(&RecordBatch::Logs(batch), &mut bytes).expect("small enough");
    bytes
}

#[tokio::test(flavor = "multi_thread")]
async fn frames_are_stored_once_however_often_they_come() {
    let server = Server::start().await;
    let mut body = frame_of(0, 5);
    body.extend(frame_of(5, 8));
    let answer = server.post("/api/v1/frames", &[], body.clone()).await;
    assert_eq!(
        (answer.status, answer.text().as_str()),
        (200, r#"{"accepted":8,"duplicates":0}"#)
    );
    let again = server.post("/api/v1/frames", &[], body).await;
    assert_eq!(again.text(), r#"{"accepted":0,"duplicates":8}"#);
    let overlap = zstd::bulk::compress(&frame_of(6, 10), 1).unwrap();
    let headers = [("content-encoding", "zstd")];
    let overlap = server.post("/api/v1/frames", &headers, overlap).await;
    assert_eq!(overlap.text(), r#"{"accepted":2,"duplicates":2}"#);
}

#[tokio::test(flavor = "multi_thread")]
async fn frames_get_service_and_level_as_pushes_do() {
    let kubernetes = KubernetesMetadata {
        namespace_name: "ns".into(),
        pod_name: "p".into(),
        container_name: "c".into(),
        ..KubernetesMetadata::default()
    };
    let resource = Resource {
        kubernetes: Some(kubernetes),
        ..Resource::default()
    };
    let mut batch = LogBatch::new("t".into(), Arc::new(resource), Vec::new());
    let lines = [
        "ERROR: it broke",
        r#"{"level":"warning","msg":"m"}"#,
        "nothing of it",
    ];
    for (at, line) in (1..).zip(lines) {
        let row = batch.push(at * 1_000_000_000, Position::at(at as u64));
        batch.set_text("log", row, line.as_bytes());
    }
    let mut body = Vec::new();
    frame::encode(&RecordBatch::Logs(batch), &mut body).expect("small enough");
    let own = r#"{namespace="ns", pod="p", container="c"}"#;
    let ask = async |server: &Server, query: &str| {
        let query = encoded(query);
        let path = format!("/loki/api/v1/query_range?query={query}&start=0&end=10&step=10");
        let answer = server.get(&path).await;
        assert_eq!(answer.status, 200, "{}", answer.text());
        answer.json()["data"]["result"].clone()
    };
    let server = Server::start_with(&["--query.test-mode"]).await;
    assert_eq!(
        server
            .post("/api/v1/frames", &[], body.clone())
            .await
            .status,
        200
    );
    let pushed: Vec<_> = (1..)
        .zip(lines)
        .map(|(at, line)| serde_json::json!([format!("{at}000000000"), line]))
        .collect();
    let labels = serde_json::json!({"namespace": "push", "pod": "p", "container": "c"});
    server
        .push(serde_json::json!([{"stream": labels, "values": pushed}]))
        .await;
    let levels = async |namespace: &str| {
        let selector = format!(r#"{{namespace="{namespace}", service_name="c"}}"#);
        let lines = ask(&server, &selector).await;
        let streams = lines.as_array().expect("streams").clone();
        let mut levels: Vec<(String, String)> = streams
            .iter()
            .map(|s| {
                let level = s["stream"]["detected_level"].as_str().unwrap_or("none");
                let line = s["values"][0][1].as_str().unwrap_or_default();
                (level.to_owned(), line.to_owned())
            })
            .collect();
        levels.sort();
        levels
    };
    let expected = [("error", 0), ("unknown", 2), ("warn", 1)];
    let expected = expected.map(|(level, at)| (level.to_owned(), lines[at].to_owned()));
    assert_eq!(levels("ns").await, expected);
    assert_eq!(levels("push").await, expected);
    let of_level = r#"sum(count_over_time({namespace="ns"} | detected_level="error" [10s]))"#;
    assert_eq!(ask(&server, of_level).await[0]["values"][0][1], "1");
    let of_pod = r#"sum by (pod) (count_over_time({namespace="ns"}[10s]))"#;
    assert_eq!(ask(&server, of_pod).await[0]["values"][0][1], "3");
    // Not where it is turned off.
    let server = Server::start().await;
    assert_eq!(server.post("/api/v1/frames", &[], body).await.status, 200);
    let streams = ask(&server, own).await;
    let expected = serde_json::json!({"namespace": "ns", "pod": "p", "container": "c"});
    assert_eq!(streams[0]["stream"], expected, "{streams}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_damaged_frame_is_named_and_nothing_of_its_request_is_stored() {
    let server = Server::start().await;
    let mut body = frame_of(0, 5);
    let len = body.len();
    body.extend(frame_of(5, 8));
    *body.last_mut().unwrap() ^= 1;
    let answer = server.post("/api/v1/frames", &[], body.clone()).await;
    assert_eq!(answer.status, 400);
    let expected = format!(
        "frame at byte {len}: damaged frame: checksum does not match; nothing of this request was stored"
    );
    assert_eq!(answer.text(), expected);
    body.truncate(len);
    let answer = server.post("/api/v1/frames", &[], body).await;
    assert_eq!(answer.text(), r#"{"accepted":5,"duplicates":0}"#);
    assert_eq!(server.post("/api/v1/frames", &[], "").await.status, 400);
}

#[tokio::test(flavor = "multi_thread")]
async fn remote_write_says_what_it_wrote() {
    let server = Server::start().await;
    let body = write_request(&[(
        &[("__name__", "up"), ("job", "a")],
        &[(1000, 1.0), (2000, 0.0)],
    )]);
    let answer = server.post("/api/v1/write", WRITE, body).await;
    assert_eq!(answer.status, 204, "{}", answer.text());
    assert_eq!(
        answer.header("x-prometheus-remote-write-samples-written"),
        "2"
    );
    assert_eq!(
        answer.header("x-prometheus-remote-write-histograms-written"),
        "0"
    );

    let body = write_request(&[
        (&[("job", "nameless")], &[(1000, 1.0)]),
        (&[("__name__", "good")], &[(1000, 1.0)]),
    ]);
    let answer = server.post("/api/v1/write", WRITE, body).await;
    assert_eq!(answer.status, 400);
    assert_eq!(
        answer.text(),
        r#"1 samples refused, the first: series has no metric name: {job="nameless"}"#
    );
    assert_eq!(
        answer.header("x-prometheus-remote-write-samples-written"),
        "1"
    );
    let kept = server.get("/api/v1/query?query=good&time=1").await.json();
    assert_eq!(kept["data"]["result"][0]["value"][1], "1");
}

const WRITE_2: &[(&str, &str)] = &[
    (
        "content-type",
        "application/x-protobuf;proto=io.prometheus.write.v2.Request",
    ),
    ("content-encoding", "snappy"),
];

/// Fields of a message by hand: length-delimited, varint, double.
fn bytes(field: u8, content: &[u8]) -> Vec<u8> {
    assert!(content.len() < 128);
    [&[field << 3 | 2, content.len() as u8], content].concat()
}

fn int(field: u8, n: u8) -> Vec<u8> {
    assert!(n < 128 && field < 16);
    vec![field << 3, n]
}

fn double(field: u8, value: f64) -> Vec<u8> {
    [&[field << 3 | 1], &value.to_le_bytes()[..]].concat()
}

/// `h_total` with a float and a histogram of 3 observations at 10 s, and an exemplar.
fn write_2_request(label_refs: &[u8]) -> Vec<u8> {
    let symbols = [
        "", "__name__", "h_total", "Help.", "seconds", "trace_id", "abc",
    ];
    let ten_seconds = |field: u8| vec![field << 3, 0x90, 0x4e];
    let histogram = [
        int(1, 3),
        double(3, 4.5),
        int(4, 0),
        double(5, 0.5),
        int(6, 1),
        bytes(11, &[int(1, 2), int(2, 2)].concat()),
        bytes(12, &[2, 0]),
        ten_seconds(15),
    ];
    let float = [double(1, 7.5), ten_seconds(2), int(3, 5)];
    let exemplar = [bytes(1, &[5, 6]), double(2, 0.25), ten_seconds(3)];
    let metadata = [int(1, 1), int(3, 3), int(4, 4)];
    let series = [
        bytes(1, label_refs),
        bytes(2, &float.concat()),
        bytes(4, &exemplar.concat()),
        bytes(5, &metadata.concat()),
    ];
    // Another series with the histogram: one series has one sample at a time.
    let other = [bytes(1, &[1, 6]), bytes(3, &histogram.concat())];
    let mut body: Vec<u8> = symbols
        .iter()
        .flat_map(|s| bytes(4, s.as_bytes()))
        .collect();
    body.extend(bytes(5, &series.concat()));
    body.extend(bytes(5, &other.concat()));
    snappy(&body)
}

fn n_written(answer: &crate::harness::Answer) -> [&str; 3] {
    ["samples", "histograms", "exemplars"]
        .map(|what| answer.header(&format!("x-prometheus-remote-write-{what}-written")))
}

#[tokio::test(flavor = "multi_thread")]
async fn remote_write_2_stores_all_that_it_can_tell() {
    let server = Server::start_with(&["--query.test-mode"]).await;
    let body = write_2_request(&[1, 2]);
    let answer = server.post("/api/v1/write", WRITE_2, body).await;
    assert_eq!(answer.status, 204, "{}", answer.text());
    assert_eq!(n_written(&answer), ["1", "1", "1"]);
    let get = |path: &'static str| server.get(path);
    let found = get("/api/v1/query?query=abc&time=10").await.json();
    let expected = r#"[10,{"count":"3","sum":"4.5","buckets":[[3,"-0.5","0.5","1"],[0,"1","2","1"],[0,"2","4","1"]]}]"#;
    let histogram = &found["data"]["result"][0]["histogram"];
    let expected: serde_json::Value = serde_json::from_str(expected).unwrap();
    assert_eq!(*histogram, expected);
    let found = get("/api/v1/query_range?query=abc&start=10&end=20&step=10")
        .await
        .json();
    let result = &found["data"]["result"][0];
    assert_eq!(result["histograms"].as_array().map(Vec::len), Some(2));
    assert!(result["values"].is_null());
    let found = get("/api/v1/query?query=histogram_quantile(0.5,abc)&time=10")
        .await
        .json();
    assert_eq!(found["data"]["result"][0]["value"][1], "1.4142135623730951");
    let found = get("/api/v1/query?query=h_total&time=10").await.json();
    assert_eq!(found["data"]["result"][0]["value"][1], "7.5");
    let found = get("/api/v1/metadata").await.json();
    let metadata = &found["data"]["h_total"][0];
    let told = ["type", "help", "unit"].map(|key| metadata[key].as_str().unwrap_or(""));
    assert_eq!(told, ["counter", "Help.", "seconds"]);
    let found = get("/api/v1/query_exemplars?query=rate(h_total[5m])")
        .await
        .json();
    let exemplar = &found["data"][0]["exemplars"][0];
    assert_eq!(exemplar["labels"]["trace_id"], "abc");
    assert_eq!(exemplar["value"], "0.25");
}

#[tokio::test(flavor = "multi_thread")]
async fn of_a_remote_write_2_request_what_is_good_is_kept() {
    let server = Server::start_with(&["--query.test-mode"]).await;
    let body = write_2_request(&[1, 99]);
    let answer = server.post("/api/v1/write", WRITE_2, body).await;
    assert_eq!(answer.status, 400);
    let expected = "1 samples refused, the first: label references 1 and 99 are not both below 7, the number of symbols";
    assert_eq!(answer.text(), expected);
    assert_eq!(n_written(&answer), ["0", "1", "0"]);
    let answer = server
        .post("/api/v1/write", WRITE_2, snappy(b"\x2a\x05"))
        .await;
    assert_eq!((answer.status, n_written(&answer)), (400, ["0", "0", "0"]));
    let three = [(
        "content-type",
        "application/x-protobuf;proto=io.prometheus.write.v3.Request",
    )];
    let answer = server.post("/api/v1/write", &three, snappy(b"")).await;
    assert_eq!((answer.status, n_written(&answer)), (415, ["0", "0", "0"]));
}

#[tokio::test(flavor = "multi_thread")]
async fn bodies_beyond_the_limit_are_413_before_they_are_decoded() {
    let server = Server::start().await;
    // Declares 4 GiB - 1 in five bytes.
    let bomb = server
        .post("/api/v1/write", WRITE, &b"\xff\xff\xff\xff\x0f"[..])
        .await;
    assert_eq!(bomb.status, 413, "{}", bomb.text());
    let large = vec![0; (32 << 20) + 1];
    let answer = server.post("/api/v1/write", WRITE, large).await;
    assert_eq!(answer.status, 413, "{}", answer.text());
    let mut gzip = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
    gzip.write_all(&vec![b' '; (32 << 20) + 1]).unwrap();
    let headers = [JSON[0], ("content-encoding", "gzip")];
    let answer = server
        .post("/loki/api/v1/push", &headers, gzip.finish().unwrap())
        .await;
    assert_eq!(answer.status, 413, "{}", answer.text());
}

#[tokio::test(flavor = "multi_thread")]
async fn old_and_future_samples_are_refused_outside_of_test_mode() {
    let server = Server::start_with(&["--storage.retention.time=1d"]).await;
    let name: &[(&str, &str)] = &[("__name__", "x")];
    for time_ms in [1000, i64::MAX] {
        let body = write_request(&[(name, &[(time_ms, 1.0)])]);
        let answer = server.post("/api/v1/write", WRITE, body).await;
        assert_eq!(answer.status, 400);
        assert!(answer.text().contains("out of bounds"), "{}", answer.text());
    }
    let body = r#"{"streams":[{"stream":{"job":"x"},"values":[["1","old"]]}]}"#;
    let answer = server.post("/loki/api/v1/push", JSON, body).await;
    assert_eq!(answer.status, 400);
    assert!(
        answer.text().contains("has timestamp too old"),
        "{}",
        answer.text()
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn pushes_of_loki_in_both_forms() {
    let server = Server::start().await;
    // One entry "hello" at 1.5 s of {job="p"}, as promtail writes it.
    let mut entry = b"\x0a\x08\x08\x01\x10\x80\xca\xb5\xee\x01".to_vec();
    entry.extend_from_slice(b"\x12\x05hello");
    let mut stream = b"\x0a\x09{job=\"p\"}\x12".to_vec();
    stream.push(entry.len() as u8);
    stream.extend_from_slice(&entry);
    let mut request = vec![0x0a, stream.len() as u8];
    request.extend_from_slice(&stream);
    let headers = [("content-type", "application/x-protobuf")];
    let answer = server
        .post("/loki/api/v1/push", &headers, snappy(&request))
        .await;
    assert_eq!(answer.status, 204, "{}", answer.text());

    let mut gzip = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
    gzip.write_all(br#"{"streams":[{"stream":{"job":"j"},"values":[["2000000000","world"]]}]}"#)
        .unwrap();
    let headers = [JSON[0], ("content-encoding", "gzip")];
    let answer = server
        .post("/loki/api/v1/push", &headers, gzip.finish().unwrap())
        .await;
    assert_eq!(answer.status, 204, "{}", answer.text());

    let path = "/loki/api/v1/label/job/values?start=0&end=10";
    let values = server.get(path).await.json();
    assert_eq!(values["data"], serde_json::json!(["j", "p"]));
}

#[tokio::test(flavor = "multi_thread")]
async fn only_post_is_taken() {
    let server = Server::start().await;
    for path in ["/api/v1/frames", "/api/v1/write", "/loki/api/v1/push"] {
        let answer = server.send(Method::GET, path, &[], "").await;
        assert_eq!(
            (answer.status, answer.header("allow")),
            (405, "POST, OPTIONS")
        );
    }
}
