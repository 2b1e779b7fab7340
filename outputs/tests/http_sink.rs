//! The HTTP outputs against a real server on a loopback socket: what arrives, and what each kind of
//! answer or silence makes of a batch.

use std::collections::HashMap;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::sync::Arc;
use std::sync::mpsc::{Receiver, channel};

use kansoku_model::{Frame, LogBatch, Position, RecordBatch, Settings, Source, SourceId, Value};
use kansoku_outputs::{ALL, Outcome, Output, OutputEnvironment, Unicode};

struct Request {
    line: String,
    headers: HashMap<String, String>,
    body: Vec<u8>,
}

/// Answers every request on every connection with the same bytes and hands the requests over.
fn sink(answer: &'static str) -> (u16, Receiver<Request>) {
    let listener = TcpListener::bind("127.0.0.1:0").expect("free port");
    let port = listener.local_addr().expect("bound").port();
    let (sender, receiver) = channel();
    std::thread::spawn(move || {
        for stream in listener.incoming().flatten() {
            let sender = sender.clone();
            std::thread::spawn(move || {
                let mut stream = stream;
                while let Some(request) = read_request(&stream) {
                    let _ = sender.send(request);
                    if stream.write_all(answer.as_bytes()).is_err() {
                        return;
                    }
                }
            });
        }
    });
    (port, receiver)
}

fn read_request(stream: &TcpStream) -> Option<Request> {
    let mut reader = BufReader::new(stream);
    let mut line = String::new();
    reader.read_line(&mut line).ok().filter(|&n| n > 0)?;
    let mut headers = HashMap::new();
    loop {
        let mut header = String::new();
        reader.read_line(&mut header).ok()?;
        let Some((name, value)) = header.trim().split_once(": ") else {
            break;
        };
        headers.insert(name.to_ascii_lowercase(), value.to_owned());
    }
    let len = headers.get("content-length")?.parse().ok()?;
    let mut body = vec![0; len];
    reader.read_exact(&mut body).ok()?;
    Some(Request {
        line: line.trim().to_owned(),
        headers,
        body,
    })
}

fn output(name: &str, port: u16, pairs: &[(&str, &str)]) -> Box<dyn Output> {
    output_with(Unicode::Plain, name, port, pairs)
}

fn output_with(unicode: Unicode, name: &str, port: u16, pairs: &[(&str, &str)]) -> Box<dyn Output> {
    let plugin = ALL.iter().find(|p| p.name == name).expect("listed");
    let port = port.to_string();
    let mut all = vec![("host", "127.0.0.1"), ("port", port.as_str())];
    all.extend_from_slice(pairs);
    let environment = OutputEnvironment {
        host_name: "node-1".into(),
        user_agent: "kansoku-agent/test".into(),
        unicode,
        ..OutputEnvironment::default()
    };
    (plugin.build)(&Settings::of(name, &all), &environment).expect("valid settings")
}

fn batch(n: u64) -> Arc<RecordBatch> {
    let mut b = LogBatch::new(
        format!("tag{n}").as_str().into(),
        Arc::default(),
        Vec::new(),
    );
    let row = b.push(1_700_000_000_000_000_000, Position::at(10 * n));
    b.set_text("log", row, format!("line {n}").as_bytes());
    b.source = Source {
        id: SourceId(u128::from(n)),
        from: Position::at(10 * n - 10),
        to: Position::at(10 * n),
    };
    Arc::new(RecordBatch::Logs(b))
}

fn send(output: &dyn Output, batches: &[Arc<RecordBatch>]) -> Outcome {
    tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .expect("runtime")
        .block_on(output.send(kansoku_outputs::Request {
            batches,
            id: &kansoku_outputs::request_id(batches),
        }))
}

const OK: &str = "HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n";

/// Each as Fluent Bit 5.1.1 wrote it, with `json.escape_unicode` on and off.
#[test]
fn json_is_ascii_when_unicode_is_escaped() {
    let mut b = LogBatch::new("t\u{e9}".into(), Arc::default(), Vec::new());
    let row = b.push(1_700_000_000_500_000_000, Position::at(1));
    b.set_text("l", row, "\u{e9}\u{89b3}\u{1f980}\u{2028}\u{7f}".as_bytes());
    let map = b.store("{\"n\u{e9}\":[\"\u{fc}\",1]}".as_bytes());
    b.column_mut("m\u{e9}").values[row] = Value::Json(map);
    let batch = Arc::new(RecordBatch::Logs(b));
    let object = r#""l":"\u00e9\u89b3\ud83e\udd80\u2028\u007f","m\u00e9":{"n\u00e9":["\u00fc",1]}"#;
    type Case = (
        &'static str,
        &'static [(&'static str, &'static str)],
        fn(&str) -> String,
    );
    let cases: &[Case] = &[
        ("http", &[("json_date_key", "d\u{e9}")], |o| {
            format!(r#"[{{"d\u00e9":1700000000.5,{o}}}]"#)
        }),
        (
            "http",
            &[("format", "json_lines"), ("json_date_key", "false")],
            |o| format!("{{{o}}}\n"),
        ),
        (
            "splunk",
            &[("splunk_token", "x"), ("event_field", "f\u{e9} $l")],
            |o| {
                let l = r"\u00e9\u89b3\ud83e\udd80\u2028\u007f";
                format!(r#"{{"time":1700000000.5,"fields":{{"f\u00e9":"{l}"}},"event":{{{o}}}}}"#)
            },
        ),
        ("loki", &[("labels", "job=f\u{e9}")], |o| {
            // A line is JSON in a string of JSON: escaped twice.
            let line = format!("{{{o}}}")
                .replace('\\', "\\\\")
                .replace('"', "\\\"");
            format!(
                r#"{{"streams":[{{"stream":{{"job":"f\u00e9"}},"values":[["1700000000500000000","{line}"]]}}]}}"#
            )
        }),
        (
            "loki",
            &[
                ("labels", "job=f"),
                ("remove_keys", "m\u{e9}"),
                ("drop_single_key", "raw"),
            ],
            |_| {
                let line = r"\u00e9\u89b3\ud83e\udd80\u2028\u007f";
                format!(
                    r#"{{"streams":[{{"stream":{{"job":"f"}},"values":[["1700000000500000000","{line}"]]}}]}}"#
                )
            },
        ),
    ];
    for (name, pairs, expected) in cases {
        for unicode in [Unicode::Escaped, Unicode::Plain] {
            let (port, requests) = sink(OK);
            let output = output_with(unicode, name, port, pairs);
            send(&*output, std::slice::from_ref(&batch));
            let body = requests.recv().expect("a request").body;
            let body = String::from_utf8(body).expect("text");
            assert_eq!(body.is_ascii(), unicode == Unicode::Escaped, "{body}");
            if unicode == Unicode::Escaped {
                assert_eq!(body, expected(object), "{name} {pairs:?}");
            } else {
                // The same content.
                let read = |text: &str| {
                    let text = text.replace("\\\\u", "\\u");
                    serde_json::from_str::<serde_json::Value>(&text)
                };
                if *name != "loki" {
                    assert_eq!(
                        read(&body).expect("JSON"),
                        read(&expected(object)).expect("JSON")
                    );
                }
            }
        }
    }
}

#[test]
fn http_posts_json_lines_with_its_headers() {
    let (port, requests) = sink(OK);
    let options = [
        ("uri", "/in"),
        ("format", "json_lines"),
        ("json_date_key", "false"),
        ("header", "X-Team  obs"),
        ("http_user", "u"),
        ("http_passwd", "p"),
    ];
    let http = output("http", port, &options);
    assert_eq!(send(&*http, &[batch(1), batch(2)]), Outcome::Delivered);
    let request = requests.recv().expect("one request");
    assert_eq!(request.line, "POST /in HTTP/1.1");
    assert_eq!(
        request.body,
        b"{\"log\":\"line 1\"}\n{\"log\":\"line 2\"}\n"
    );
    assert_eq!(request.headers["x-team"], "obs");
    assert_eq!(request.headers["authorization"], "Basic dTpw");
    assert_eq!(request.headers["user-agent"], "kansoku-agent/test");
    // The same batches are the same request for ever; other batches are another.
    assert_eq!(send(&*http, &[batch(1), batch(2)]), Outcome::Delivered);
    let again = requests.recv().expect("second request");
    assert_eq!(
        again.headers["idempotency-key"],
        request.headers["idempotency-key"]
    );
    assert_eq!(again.body, request.body);
    assert_eq!(send(&*http, &[batch(1), batch(3)]), Outcome::Delivered);
    let other = requests.recv().expect("third request");
    assert_ne!(
        other.headers["idempotency-key"],
        request.headers["idempotency-key"]
    );
}

#[test]
fn http_names_each_format() {
    for (format, kind, start) in [
        (
            "msgpack",
            "application/msgpack",
            &[0x92, 0x92, 0xd7, 0x00][..],
        ),
        ("json", "application/json", b"[{\"date\":1700000000.0,"),
        (
            "json_lines",
            "application/x-ndjson",
            b"{\"date\":1700000000.0,",
        ),
        (
            "json_stream",
            "application/json",
            b"{\"date\":1700000000.0,",
        ),
    ] {
        let (port, requests) = sink(OK);
        let http = output("http", port, &[("format", format)]);
        assert_eq!(send(&*http, &[batch(1)]), Outcome::Delivered);
        let request = requests.recv().expect("one request");
        assert_eq!(request.headers["content-type"], kind);
        assert!(request.body.starts_with(start), "{:?}", request.body);
    }
}

#[test]
fn http_posts_each_record_with_its_own_headers() {
    let (port, requests) = sink(OK);
    let mut b = LogBatch::new("t".into(), Arc::default(), Vec::new());
    for n in 0..2 {
        b.push(0, Position::at(n + 1));
        b.set_text("payload", n as usize, format!("raw {n}").as_bytes());
    }
    let heads = Value::Json(b.store(br#"{"X-A":"1","Content-Type":"text/plain","n":5}"#));
    let at = b.column_index_or_insert("heads");
    b.set(at, 0, heads);
    let http = output(
        "http",
        port,
        &[("body_key", "$payload"), ("headers_key", "$heads")],
    );
    let outcome = send(&*http, &[Arc::new(RecordBatch::Logs(b))]);
    let Outcome::Partial {
        retry, rejected, ..
    } = outcome
    else {
        panic!("{outcome:?}")
    };
    assert!(retry.is_empty());
    assert_eq!(rejected[0].0.row, 1);
    let request = requests.recv().expect("one request");
    assert_eq!(request.body, b"raw 0");
    assert_eq!(request.headers["x-a"], "1");
    assert_eq!(request.headers["content-type"], "text/plain");
}

#[test]
fn http_compresses_and_names_the_tag() {
    let (port, requests) = sink(OK);
    let http = output(
        "http",
        port,
        &[
            ("format", "json"),
            ("compress", "gzip"),
            ("header_tag", "X-Tag"),
        ],
    );
    assert_eq!(send(&*http, &[batch(1)]), Outcome::Delivered);
    let request = requests.recv().expect("one request");
    assert_eq!(request.headers["content-encoding"], "gzip");
    assert_eq!(request.headers["x-tag"], "tag1");
    let mut plain = String::new();
    flate2::read::GzDecoder::new(&request.body[..])
        .read_to_string(&mut plain)
        .expect("gzip");
    assert_eq!(plain, r#"[{"date":1700000000.0,"log":"line 1"}]"#);
    // One request names one tag: the caller must split.
    assert_eq!(send(&*http, &[batch(1), batch(2)]), Outcome::TooLarge);
}

#[test]
fn kansoku_posts_frames_that_decode_to_the_batches() {
    let (port, requests) = sink(OK);
    let kansoku = output("kansoku", port, &[("bearer_token", "t")]);
    assert_eq!(send(&*kansoku, &[batch(1), batch(2)]), Outcome::Delivered);
    let request = requests.recv().expect("one request");
    assert_eq!(request.line, "POST /api/v1/frames HTTP/1.1");
    assert_eq!(request.headers["authorization"], "Bearer t");
    let mut rest = &request.body[..];
    for n in [1, 2] {
        let frame = Frame::parse(rest).expect("whole frame");
        rest = &rest[frame.as_bytes().len()..];
        assert_eq!(frame.source, *batch(n).source());
        assert_eq!(frame.decode().expect("decodes").n_records(), 1);
    }
    assert!(rest.is_empty());
}

#[test]
fn answers_decide_what_becomes_of_the_batch() {
    let cases = [
        (
            "HTTP/1.1 503 Busy\r\nRetry-After: 7\r\nContent-Length: 4\r\n\r\nbusy",
            "Retry { reason: \"BASE: 503 Service Unavailable: busy\", after: Some(7s) }",
        ),
        (
            "HTTP/1.1 400 Bad\r\nContent-Length: 3\r\n\r\nbad",
            "Rejected { reason: \"BASE answered 400 Bad Request: bad\" }",
        ),
        ("HTTP/1.1 413 Big\r\nContent-Length: 0\r\n\r\n", "TooLarge"),
        (
            "garbage\r\n\r\n",
            "Retry { reason: \"BASE: invalid HTTP version parsed",
        ),
    ];
    for (answer, expected) in cases {
        let (port, _requests) = sink(answer);
        let got = format!("{:?}", send(&*output("kansoku", port, &[]), &[batch(1)]));
        let got = got.replace(&format!("http://127.0.0.1:{port}"), "BASE");
        assert!(got.starts_with(expected), "{got}");
    }
}

#[test]
fn nobody_there_is_a_retry() {
    let port = {
        let listener = TcpListener::bind("127.0.0.1:0").expect("free port");
        listener.local_addr().expect("bound").port()
    };
    let outcome = send(&*output("http", port, &[]), &[batch(1)]);
    let Outcome::Retry { reason, .. } = outcome else {
        panic!("{outcome:?}")
    };
    assert!(reason.contains("Connection refused"), "{reason}");
}

#[test]
fn silence_ends_at_the_deadline() {
    let listener = TcpListener::bind("127.0.0.1:0").expect("free port");
    let port = listener.local_addr().expect("bound").port();
    let outcome = send(
        &*output("http", port, &[("http.response_timeout", "0.05")]),
        &[batch(1)],
    );
    let Outcome::Retry { reason, .. } = outcome else {
        panic!("{outcome:?}")
    };
    assert!(reason.contains("no answer within 50ms"), "{reason}");
}
