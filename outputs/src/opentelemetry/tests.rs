//! OTLP bodies read back field by field.

use kansoku_model::{MetricBatch, MetricKind, Suffix, metric::Point};

use super::*;

/// A message as `field=value` in brackets; what does not read as a message is text or a number.
fn show(mut bytes: &[u8]) -> String {
    let mut out = String::new();
    while let Some((tag, rest)) = varint(bytes) {
        let (value, rest) = match tag & 7 {
            0 => varint(rest)
                .map(|(n, r)| (n.to_string(), r))
                .expect("varint"),
            1 => {
                let (number, rest) = rest.split_at(8);
                (
                    u64::from_le_bytes(number.try_into().expect("8")).to_string(),
                    rest,
                )
            }
            2 => {
                let (len, rest) = varint(rest).expect("length");
                let (body, rest) = rest.split_at(len as usize);
                let is_text = !body.is_empty()
                    && std::str::from_utf8(body)
                        .is_ok_and(|t| t.chars().all(|c| c == '\t' || !c.is_control()));
                let text = if is_text {
                    format!("'{}'", String::from_utf8_lossy(body))
                } else {
                    format!("[{}]", show(body))
                };
                (text, rest)
            }
            other => panic!("wire type {other}"),
        };
        out.push_str(&format!("{}={value} ", tag >> 3));
        bytes = rest;
    }
    out.trim_end().to_owned()
}

fn varint(bytes: &[u8]) -> Option<(u64, &[u8])> {
    let end = bytes.iter().position(|b| b & 0x80 == 0)?;
    let n = bytes[..=end]
        .iter()
        .rev()
        .fold(0, |n, b| n << 7 | u64::from(b & 0x7f));
    Some((n, &bytes[end + 1..]))
}

fn logs(pairs: &[(&str, &str)]) -> String {
    let settings = Settings::of("opentelemetry", pairs);
    settings.check(PLUGIN.options).expect("known options");
    let logs = Logs::of(&settings, &added_labels(&settings)).expect("valid settings");
    let mut out = Vec::new();
    logs.write(&mut out, &crate::render::tests::batch());
    show(&out)
}

#[test]
fn the_body_is_the_log_and_the_rest_attributes() {
    let text = logs(&[("add_label", "zone a")]);
    assert!(text.starts_with("1=[1=[1=[1='k8s.pod.name' 2=["), "{text}");
    assert!(text.contains("1=[1='k8s.pod.label.app' 2=["), "{text}");
    assert!(text.contains("1=[1='zone' 2=["), "{text}");
    assert!(text.contains("2=[1=1700000000123456789 5=["), "{text}");
    // The array of the second record: an integer, nothing, true, a double.
    assert!(text.contains("6=[1='nested' 2=[6=[1=[1='a' 2=["), "{text}");
    let bare = logs(&[("logs_body_key_attributes", "off")]);
    assert!(!bare.contains("nested"), "{bare}");
    let whole = logs(&[("logs_body_key", "$none")]);
    assert!(whole.contains("5=[6=[1=[1='log' 2=["), "{whole}");
    assert!(whole.contains("1=[1='kubernetes' 2=[6=["), "{whole}");
}

#[test]
fn metadata_of_an_otlp_input_comes_back() {
    let mut batch = kansoku_model::LogBatch::new("t".into(), Arc::default(), Vec::new());
    let row = batch.push(5, kansoku_model::Position::at(1));
    batch.set_text("log", row, b"x");
    let json = br#"{"otlp":{"timestamp":7,"observed_timestamp":8,"severity_number":9,"severity_text":"INFO","trace_id":"000102030405060708090a0b0c0d0e0f","span_id":"zz"}}"#;
    let object = batch.store(json);
    batch.set_metadata(row, object);
    let settings = Settings::of("opentelemetry", &[]);
    let logs = Logs::of(&settings, &[]).expect("valid settings");
    let mut out = Vec::new();
    logs.write(&mut out, &batch);
    let at = out
        .windows(2)
        .position(|w| w == [0x4a, 16])
        .expect("a trace id");
    assert_eq!(out[at + 2..at + 18], (0..16).collect::<Vec<u8>>());
    out.drain(at..at + 18);
    assert!(
        out.windows(10)
            .any(|w| w == b"\x10\x09\x1a\x04INFO\x2a\x03"),
        "{out:?}"
    );
}

#[test]
fn histograms_are_put_together() {
    let mut batch = MetricBatch::new("m".into(), Arc::default(), 1);
    let family = batch.family("h", MetricKind::Histogram, "");
    for (suffix, le, value) in [
        (Suffix::Bucket, Some("+Inf"), 5.0),
        (Suffix::Bucket, Some("0.5"), 2.0),
        (Suffix::Bucket, Some("2"), 4.0),
        (Suffix::Sum, None, 7.5),
        (Suffix::Count, None, 5.0),
    ] {
        let mut labels = vec![("a", "b")];
        labels.extend(le.map(|le| ("le", le)));
        let labels = batch.label_set(labels);
        batch.push(Point {
            family,
            suffix,
            labels,
            time_ms: None,
            value,
        });
    }
    let mut out = Vec::new();
    metrics::write(&mut out, &batch, &[]);
    let mut point = Vec::new();
    kansoku_model::protobuf::fixed64(&mut point, 3, 1_000_000);
    kansoku_model::protobuf::fixed64(&mut point, 4, 5);
    kansoku_model::protobuf::double(&mut point, 5, 7.5);
    point.extend_from_slice(&[0x32, 24]);
    [2u64, 2, 1]
        .iter()
        .for_each(|n| point.extend_from_slice(&n.to_le_bytes()));
    point.extend_from_slice(&[0x3a, 16]);
    [0.5f64, 2.0]
        .iter()
        .for_each(|b| point.extend_from_slice(&b.to_le_bytes()));
    point.extend_from_slice(b"\x4a\x08\x0a\x01a\x12\x03\x0a\x01b");
    assert!(out.windows(point.len()).any(|w| w == point), "{out:?}");
}

#[test]
fn grpc_statuses_are_read() {
    let mut headers = HeaderMap::new();
    assert_eq!(grpc_status(&headers).0, 2);
    headers.insert("grpc-status", HeaderValue::from_static("14"));
    headers.insert("grpc-message", HeaderValue::from_static("away"));
    assert_eq!(grpc_status(&headers), (14, "away".to_owned()));
}

#[test]
fn no_more_records_are_refused_than_were_sent() {
    let batches = [Arc::new(RecordBatch::Logs(crate::render::tests::batch()))];
    let n_sent = batches[0].n_records() as u64;
    for (said, expected) in [(0, 0), (1, 1), (u64::MAX, n_sent)] {
        let some = |n_records| Outcome::SomeRejected {
            n_records,
            reason: "why".into(),
        };
        assert_eq!(at_most(some(said), &batches, true), some(expected));
        assert_eq!(at_most(some(said), &batches, false), some(0));
    }
    assert_eq!(
        at_most(Outcome::TooLarge, &batches, true),
        Outcome::TooLarge
    );
}
