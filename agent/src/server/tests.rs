//! Every path by raw bytes over a socket, and what is no HTTP.

use super::*;
use crate::collectors::NodeSpec;
use crate::collectors::container::ContainerSpec;
use crate::control::Event;
use crate::pipeline::{InputCounters, OutputCounters};
use std::io::Read;
use tokio::io::{AsyncReadExt, AsyncWriteExt};

/// Asks a fresh server with raw bytes and gives all it says until it closes.
fn ask(requests: &[&[u8]]) -> Vec<String> {
    ask_with(false, requests)
}

fn ask_with(hot_reload: bool, requests: &[&[u8]]) -> Vec<String> {
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(1)
        .enable_all()
        .build()
        .expect("a runtime");
    runtime.block_on(async {
        let output = Arc::new(OutputCounters {
            name: "es.0".into(),
            ..Default::default()
        });
        output.errors.add(7);
        let input = Arc::new(InputCounters {
            name: "tail.0".into(),
            ..Default::default()
        });
        input.records.add(3);
        let targets = Targets::new(
            &NodeSpec::default(),
            &["uname", "loadavg"],
            ContainerSpec {
                cgroup_root: "/no/such/tree".into(),
                ..ContainerSpec::default()
            },
            Arc::default(),
        )
        .expect("the flags are valid");
        // Reloads are answered at once: the first is done, the others are refused.
        let (control, events) = Control::new(hot_reload);
        let control = Arc::new(control);
        let answering = control.clone();
        std::thread::spawn(move || {
            let mut answer = ReloadAnswer::Done;
            while let Ok(Event::Reload(sender)) = events.recv() {
                let done = answer == ReloadAnswer::Done;
                let refused = ReloadAnswer::Refused(vec!["m:1: x".into()]);
                answering.reloaded(done, true);
                let _ = sender.send(std::mem::replace(&mut answer, refused));
            }
        });
        let server = start(ServerSpec {
            listen: ([127, 0, 0, 1], 0).into(),
            metrics: Arc::new(Metrics {
                inputs: vec![input],
                outputs: vec![output],
                config_file: Some(crate::pipeline::ConfigFile {
                    path: "/etc/kansoku/agent.conf".into(),
                    sha256: "0123456789ab".into(),
                }),
                ..Metrics::default()
            }),
            targets,
            health: Some(HealthCheck {
                errors: 5,
                retry_failures: 5,
                period: Duration::from_secs(60),
            }),
            host_name: "n1".into(),
            kube_state: Arc::default(),
            storage_metrics: true,
            control,
        })
        .await
        .expect("the server starts");
        let mut answers = Vec::new();
        for request in requests {
            let mut stream = TcpStream::connect(server.address).await.expect("connects");
            stream.write_all(request).await.expect("request is sent");
            let mut answer = Vec::new();
            stream.read_to_end(&mut answer).await.expect("an answer");
            answers.push(unpack(answer));
        }
        answers
    })
}

/// Head and body, the body unpacked when it is gzip.
fn unpack(answer: Vec<u8>) -> String {
    let split = memchr::memmem::find(&answer, b"\r\n\r\n").map_or(answer.len(), |at| at + 4);
    let (head, body) = answer.split_at(split);
    let mut text = String::from_utf8(head.to_vec()).expect("the head is text");
    if text.contains("content-encoding: gzip") {
        let mut decoder = flate2::read::GzDecoder::new(body);
        decoder.read_to_string(&mut text).expect("gzip of text");
    } else {
        text.push_str(std::str::from_utf8(body).expect("the body is text"));
    }
    text
}

fn get(path: &str) -> String {
    let request = format!("GET {path} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n");
    ask(&[request.as_bytes()]).remove(0)
}

#[test]
fn every_path_answers_in_its_form() {
    let cases = [
        ("/", "200 OK", "\"fluent-bit\":{"),
        (
            "/metrics",
            "200 OK",
            "# HELP node_load1 1m load average.\n# TYPE node_load1 gauge\nnode_load1 ",
        ),
        ("/metrics/", "200 OK", "node_uname_info{"),
        (
            "/metrics",
            "200 OK",
            "fluentbit_input_records_total{name=\"tail.0\"} 3\n",
        ),
        ("/metrics", "200 OK", "process_cpu_seconds_total "),
        (
            "/metrics/cadvisor",
            "200 OK",
            "\ncontainer_scrape_error 1\n",
        ),
        ("/metrics/resource", "200 OK", "\nresource_scrape_error 1\n"),
        (
            "/metrics/kube-state",
            "404 Not Found",
            "no kube_state_metrics input is configured",
        ),
        ("/api/v1/health", "200 OK", "ok\n"),
        ("/api/v1/uptime", "200 OK", "\"uptime_sec\":"),
        ("/api/v1/metrics", "200 OK", "\"output\":{\"es.0\":{"),
        (
            "/api/v1/metrics/prometheus",
            "200 OK",
            "fluentbit_output_errors_total{name=\"es.0\"} 7 1",
        ),
        ("/api/v1/plugins", "200 OK", "\"tail\""),
        (
            "/api/v2/metrics",
            "200 OK",
            "Z fluentbit_output_errors_total{name=\"es.0\"} = 7\n",
        ),
        (
            "/api/v2/metrics/prometheus",
            "200 OK",
            "fluentbit_output_errors_total{name=\"es.0\"} 7\n",
        ),
        (
            "/api/v1/storage",
            "200 OK",
            "\"input_chunks\":{\"tail.0\":{\"chunks\":{",
        ),
        (
            "/api/v2/health",
            "200 OK",
            "\"error_limit\":5,\"errors\":0,\"period_limit\":60,",
        ),
        ("/api/v2/reload", "200 OK", "{\"hot_reload_count\":0}"),
        (
            "/api/v2/metrics/prometheus",
            "200 OK",
            "fluentbit_hot_reloaded_times{hostname=\"n1\"} 0\n",
        ),
        (
            "/api/v2/metrics/prometheus",
            "200 OK",
            "kansoku_agent_config_info{file=\"/etc/kansoku/agent.conf\",sha256=\"0123456789ab\"} 1\n",
        ),
        ("/api/v1/nothing", "404 Not Found", "not found"),
    ];
    for (path, status, part) in cases {
        let answer = get(path);
        assert!(
            answer.starts_with(&format!("HTTP/1.1 {status}\r\n")),
            "{path}: {answer}"
        );
        assert!(answer.contains(part), "{path} lacks {part}: {answer}");
    }
}

#[test]
fn reloads_are_asked_for_by_post_and_put() {
    let request = |method: &str| {
        format!("{method} /api/v2/reload HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")
            .into_bytes()
    };
    let (get, post, put) = (request("GET"), request("POST"), request("PUT"));
    let answers = ask_with(true, &[&post, &put, &get]);
    for (answer, status, body) in [
        (&answers[0], "200 OK", "{\"reload\":\"done\",\"status\":0}"),
        (
            &answers[1],
            "400 Bad Request",
            "{\"errors\":[\"m:1: x\"],\"reload\":\"refused\",\"status\":-3}",
        ),
        (&answers[2], "200 OK", "{\"hot_reload_count\":1}"),
    ] {
        assert!(
            answer.starts_with(&format!("HTTP/1.1 {status}")) && answer.ends_with(body),
            "{answer}"
        );
    }
    let answers = ask(&[&post]);
    assert!(
        answers[0].contains("\"reload\":\"not enabled\"") && answers[0].contains("\"status\":-1"),
        "{}",
        answers[0]
    );
}

#[test]
fn gzip_only_when_asked() {
    let request = b"GET /metrics HTTP/1.1\r\nHost: x\r\nAccept-Encoding: br, gzip;q=0.5\r\nConnection: close\r\n\r\n";
    let packed = ask(&[request]).remove(0);
    assert!(
        packed.contains("content-encoding: gzip") && packed.contains("node_load1 "),
        "{packed}"
    );
    let request = b"GET /metrics HTTP/1.1\r\nHost: x\r\nAccept-Encoding: gzip;q=0\r\nConnection: close\r\n\r\n";
    assert!(!ask(&[request]).remove(0).contains("content-encoding"));
}

#[test]
fn garbage_harms_nobody() {
    let endless = [b"GET / HTTP/1.1\r\nX: ".as_slice(), &[b'a'; 1 << 20]].concat();
    let answers = ask(&[
        b"\x16\x03\x01\x02\x00\x01\x00 TLS?\r\n\r\n",
        b"GET /\xff\xfe HTTP/1.1\r\n\r\n",
        &endless[..MAX_HEAD_BYTES + 1],
        b"POST /metrics HTTP/1.1\r\nHost: x\r\nContent-Length: 5\r\nConnection: close\r\n\r\nhello",
        b"GET /api/v1/health HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n",
    ]);
    assert!(answers[2].starts_with("HTTP/1.1 431 "), "{}", answers[2]);
    assert!(answers[3].starts_with("HTTP/1.1 405 "), "{}", answers[3]);
    assert!(answers[4].ends_with("ok\n"), "{}", answers[4]);
}
