//! Bytes that mean nothing, on every path and below HTTP: a clear error, never a crash.

use std::io::{Read, Write};
use std::net::TcpStream;

use crate::harness::{Server, snappy};

#[tokio::test(flavor = "multi_thread")]
async fn garbage_on_every_path_that_takes_a_body() {
    let server = Server::start().await;
    let garbage: Vec<Vec<u8>> = vec![
        Vec::new(),
        b"\0".to_vec(),
        b"GET / HTTP/1.1\r\n".to_vec(),
        vec![0xff; 1000],
        (0..=255).cycle().take(5000).collect(),
        snappy(&vec![0xff; 1000]),
        snappy(b"\x0a\xff\xff\xff\xff\x0f"),
        b"{\"streams\":".to_vec(),
        b"[".repeat(10_000),
    ];
    for path in [
        "/api/v1/frames",
        "/api/v1/write",
        "/loki/api/v1/push",
        "/api/prom/push",
        "/v1/logs",
        "/v1/metrics",
        "/metrics/job/a",
    ] {
        for kind in ["application/json", "application/x-protobuf"] {
            for coding in ["", "gzip", "snappy", "zstd", "br"] {
                for body in &garbage {
                    let mut headers = vec![("content-type", kind)];
                    if !coding.is_empty() {
                        headers.push(("content-encoding", coding));
                    }
                    let answer = server.post(path, &headers, body.clone()).await;
                    // Nothing is an empty request, which is a good one, but for a push without a stream.
                    let good = matches!(answer.status, 200 | 204 | 400 | 413 | 415 | 422);
                    assert!(good, "{path} {kind} {coding}: {}", answer.status);
                    if answer.status >= 400 {
                        assert!(!answer.text().is_empty(), "{path} {kind} {coding}");
                    }
                }
            }
        }
    }
    for path in [
        "/api/v1/query",
        "/api/v1/series",
        "/loki/api/v1/query_range",
    ] {
        for body in &garbage {
            let answer = server.post(path, &[], body.clone()).await;
            assert_eq!(answer.status, 400, "{path}: {}", answer.text());
        }
    }
    assert_eq!(server.get("/-/ready").await.status, 200);
}

#[tokio::test(flavor = "multi_thread")]
async fn garbage_below_http_ends_that_connection_only() {
    let server = Server::start().await;
    let address = server.running.address;
    let answers = tokio::task::spawn_blocking(move || {
        let speak = |bytes: &[u8]| {
            let mut stream = TcpStream::connect(address).expect("a connection");
            // The server may hang up while it is still being spoken to.
            let _ = stream.write_all(bytes);
            let _ = stream.shutdown(std::net::Shutdown::Write);
            let mut answer = Vec::new();
            let _ = stream.read_to_end(&mut answer);
            String::from_utf8_lossy(&answer).into_owned()
        };
        let mut long = b"GET /".to_vec();
        long.resize(1 << 20, b'a');
        [
            speak(b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03"),
            speak(b"nonsense\r\n\r\n"),
            speak(&long),
            speak(b"POST /api/v1/write HTTP/1.1\r\nHost: x\r\nContent-Length: 10\r\n\r\nabc"),
        ]
    })
    .await
    .expect("the client works");
    for answer in &answers[..3] {
        assert!(
            answer.is_empty() || answer.starts_with("HTTP/1.1 4"),
            "{answer}"
        );
    }
    assert_eq!(server.get("/-/healthy").await.status, 200);
}
