//! What comes in: native frames, remote write, Loki push; statuses, repeats and refusals.

use std::io::Write;
use std::sync::Arc;

use hyper::Method;
use kansoku_model::{LogBatch, Position, RecordBatch, Source, SourceId, frame};

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

#[tokio::test(flavor = "multi_thread")]
async fn remote_write_2_is_told_to_fall_back() {
    let server = Server::start().await;
    let headers = [
        (
            "content-type",
            "application/x-protobuf;proto=io.prometheus.write.v2.Request",
        ),
        ("content-encoding", "snappy"),
    ];
    let answer = server.post("/api/v1/write", &headers, snappy(b"")).await;
    assert_eq!(answer.status, 415);
    assert!(
        answer.text().contains("remote write 1.0"),
        "{}",
        answer.text()
    );
    assert_eq!(
        answer.header("x-prometheus-remote-write-samples-written"),
        "0"
    );
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
