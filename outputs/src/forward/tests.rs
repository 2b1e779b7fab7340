//! The messages byte by byte, and whole exchanges with a small server.

use std::sync::Arc;

use kansoku_model::{LogBatch, Position};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};

use super::*;

fn batch(tag: &str, lines: &[&str]) -> LogBatch {
    let mut batch = LogBatch::new(tag.into(), Arc::default(), Vec::new());
    for (i, line) in lines.iter().enumerate() {
        let row = batch.push(1_700_000_000_000_000_007, Position::at(i as u64 + 1));
        batch.set_text("log", row, line.as_bytes());
    }
    batch
}

fn bytes(pairs: &[(&str, &str)], batches: &[&LogBatch]) -> Vec<Vec<u8>> {
    let settings = Settings::of("forward", pairs);
    settings.check(PLUGIN.options).expect("valid settings");
    let messages = style(&settings).expect("valid").messages(batches, "id");
    messages.into_iter().map(|m| m.bytes).collect()
}

const TIME: &[u8] = b"\xd7\0\x65\x53\xf1\0\0\0\0\x07";

#[test]
fn every_mode_has_its_layout() {
    let one = batch("a.b", &["x"]);
    let record = b"\x81\xa3log\xa1x";
    let signal = b"\xadfluent_signal\0";
    let cases: &[(&[(&str, &str)], Vec<u8>)] = &[
        (
            &[],
            [b"\x92\xa3a.b\x91\x92\x92", TIME, b"\x80", record].concat(),
        ),
        (
            &[("retain_metadata_in_forward_mode", "off")],
            [b"\x92\xa3a.b\x91\x92", TIME, record].concat(),
        ),
        (
            &[("time_as_integer", "on"), ("add_option", "k v")],
            [
                &b"\x93\xa3a.b\x91\x92\xce\x65\x53\xf1\0"[..],
                record,
                b"\xdf\0\0\0\x03\xa4size\x01",
                signal,
                b"\xa1k\xa1v",
            ]
            .concat(),
        ),
        (
            &[("tag", "t.$log"), ("send_options", "on")],
            [&b"\x94\xa3t.x"[..], TIME, record, b"\xdf\0\0\0\x01", signal].concat(),
        ),
    ];
    for (pairs, expected) in cases {
        assert_eq!(bytes(pairs, &[&one]), [expected.as_slice()], "{pairs:?}");
    }
}

#[test]
fn batches_of_one_tag_share_a_message_and_ids_are_for_ever() {
    let (a, b, c) = (batch("a", &["1"]), batch("a", &["2"]), batch("c", &["3"]));
    let style = style(&Settings::of("forward", &[("require_ack_response", "on")])).expect("valid");
    let messages = style.messages(&[&a, &b, &c], "id");
    let done: Vec<usize> = messages.iter().map(|m| m.n_batches).collect();
    assert_eq!(done, [2, 3]);
    let again = style.messages(&[&a, &b, &c], "id");
    assert_eq!(messages[0].chunk, again[0].chunk);
    assert_ne!(messages[0].chunk, messages[1].chunk);
    assert_ne!(messages[0].chunk, style.messages(&[&a], "other")[0].chunk);
}

#[test]
fn settings_that_exclude_each_other_are_refused() {
    let cases: &[(&[(&str, &str)], &str)] = &[
        (
            &[("compress", "gzip"), ("time_as_integer", "on")],
            "'compress gzip' and 'time_as_integer' exclude each other",
        ),
        (
            &[("compress", "gzip"), ("tag", "$log")],
            "'compress gzip' and a 'tag' made of record fields exclude each other",
        ),
        (&[("username", "u")], "'username' needs 'shared_key'"),
        (
            &[("upstream", "x.conf")],
            "no upstream file 'x.conf' was read",
        ),
        (&[("tag", "$log[")], "'$log[' must be such as"),
    ];
    for (pairs, message) in cases {
        let settings = Settings::of("forward", pairs);
        let error = build(&settings, &OutputEnvironment::default())
            .err()
            .expect("refused");
        assert!(error.to_string().contains(message), "{error}");
    }
}

async fn message(stream: &mut TcpStream, buffer: &mut Vec<u8>) -> String {
    loop {
        if let Ok((item, n)) = Item::read(buffer) {
            let Item::Array(parts) = &item else {
                panic!("array")
            };
            let chunk = parts[2].get("chunk").map(Item::bytes).unwrap_or_default();
            let chunk = String::from_utf8(chunk.to_vec()).expect("text");
            buffer.drain(..n);
            return chunk;
        }
        assert!(stream.read_buf(buffer).await.expect("reads") > 0);
    }
}

fn ack(chunk: &str) -> Vec<u8> {
    let mut out = vec![0x81];
    crate::msgpack::write_text(&mut out, b"ack");
    crate::msgpack::write_text(&mut out, chunk.as_bytes());
    out
}

#[tokio::test]
async fn what_is_not_acknowledged_is_sent_again_under_its_name() {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("bind");
    let port = listener.local_addr().expect("address").port().to_string();
    let settings = Settings::of(
        "forward",
        &[("port", port.as_str()), ("require_ack_response", "on")],
    );
    let output = build(&settings, &OutputEnvironment::default()).expect("valid");
    let batches: Vec<_> = [batch("a", &["1"]), batch("b", &["2", "3"])]
        .map(|b| Arc::new(RecordBatch::Logs(b)))
        .into();
    let request = |id| Request {
        batches: &batches,
        id,
    };
    let server = async {
        let (mut stream, _) = listener.accept().await.expect("accepts");
        let mut buffer = Vec::new();
        let first = message(&mut stream, &mut buffer).await;
        let second = message(&mut stream, &mut buffer).await;
        stream.write_all(&ack(&first)).await.expect("writes");
        drop(stream);
        let (mut stream, _) = listener.accept().await.expect("accepts again");
        let again = [
            message(&mut stream, &mut buffer).await,
            message(&mut stream, &mut buffer).await,
        ];
        assert_eq!(again, [first, second]);
        for chunk in again.iter().rev() {
            stream.write_all(&ack(chunk)).await.expect("writes");
        }
        let other = message(&mut stream, &mut buffer).await;
        assert_ne!(other, again[0]);
        stream.write_all(&ack("wrong")).await.expect("writes");
    };
    let client = async {
        let Outcome::Partial {
            retry, rejected, ..
        } = output.send(request("1")).await
        else {
            panic!("the second message was not acknowledged");
        };
        let rows: Vec<_> = retry.iter().map(|r| (r.batch, r.row)).collect();
        assert_eq!((rows, rejected.len()), (vec![(1, 0), (1, 1)], 0));
        assert_eq!(output.send(request("1")).await, Outcome::Delivered);
        let outcome = output.send(request("2")).await;
        assert!(matches!(outcome, Outcome::Retry { .. }), "{outcome:?}");
    };
    tokio::join!(server, client);
}
