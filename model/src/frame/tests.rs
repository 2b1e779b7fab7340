//! Batches that come back as they were, and bytes that are none.

use std::sync::Arc;

use super::time_texts::TimeTexts;
use super::*;
use crate::histogram::{Counts, NativeHistogram, ResetHint, Span};
use crate::metric::Point;
use crate::{
    KubernetesMetadata, Labels, LogBatch, MetricBatch, MetricKind, Resource, Suffix, Value,
};

fn logs() -> LogBatch {
    let resource = Resource {
        labels: Labels::from_pairs([("job", "x")]),
        attributes: vec![("host.name".into(), "n1".into())],
        kubernetes: Some(KubernetesMetadata {
            pod_name: "p".into(),
            labels: vec![("app".into(), "a".into())],
            ..Default::default()
        }),
    };
    let mut b = LogBatch::new("kube.x".into(), Arc::new(resource), Vec::new());
    let mut form = TimeTexts::of(b"2023-11-14T22:13:20.000000000+02:00").expect("a form");
    for i in 0..200u64 {
        let row = b.push(
            1_700_000_000_000_000_000 - i as i64,
            Position {
                offset: 100 * i,
                ordinal: (i == 7).into(),
            },
        );
        b.set_text("stream", row, b"stdout");
        let text = form.text(b.times()[row]).expect("a time").to_owned();
        b.set_text("time", row, &text);
        b.set_text("almost", row, if i == 9 { b"no time" } else { &text });
        b.set_text("log", row, format!("line {i} \u{89b3}").as_bytes());
        if i % 3 == 0 {
            let at = b.column_index_or_insert("n");
            b.set(at, row, Value::Int(-(i as i64)));
            let at = b.column_index_or_insert("f");
            b.set(at, row, Value::Float(0.5));
        }
    }
    let metadata = b.store(b"{\"severity\":9}");
    b.set_metadata(5, metadata);
    b.kubernetes_is_column = true;
    b.source = Source {
        id: SourceId(u128::MAX - 5),
        from: Position::at(3),
        to: Position {
            offset: 20_000,
            ordinal: 2,
        },
    };
    b
}

fn metrics() -> MetricBatch {
    let mut b = MetricBatch::new("node".into(), Arc::default(), 1_700_000_000_000);
    let f = b.family("a_total", MetricKind::Counter, "Help.");
    for i in 0..50 {
        b.sample(f, &[("cpu", &i.to_string())], f64::from(i) / 3.0);
    }
    let labels = b.label_set([("le", "+Inf")]);
    for t in [5, 6] {
        b.push(Point {
            family: f,
            suffix: Suffix::Bucket,
            labels,
            time_ms: Some(t),
            value: f64::from_bits(0x7ff0_0000_0000_0002),
        });
    }
    for (counts, time_ms) in [
        (
            Counts::Integer {
                count: 9,
                zero: 1,
                negative: vec![1],
                positive: vec![4, -3],
            },
            None,
        ),
        (
            Counts::Float {
                count: 2.5,
                zero: 0.5,
                negative: vec![1.0],
                positive: vec![0.5, 0.5],
            },
            Some(5),
        ),
    ] {
        let span = |offset, length| Span { offset, length };
        let histogram = NativeHistogram {
            schema: -4,
            zero_threshold: 0.001,
            sum: f64::from_bits(0x7ff0_0000_0000_0002),
            negative_spans: vec![span(-7, 1)],
            positive_spans: vec![span(0, 1), span(3, 1)],
            counts,
            reset_hint: if time_ms.is_none() {
                ResetHint::Gauge
            } else {
                ResetHint::No
            },
            custom_bounds: Vec::new(),
        };
        let point = Point {
            family: f,
            suffix: Suffix::None,
            labels,
            time_ms,
            value: histogram.count(),
        };
        b.push_sample(point, Some(histogram));
    }
    b
}

/// Every reading that matters, so that two batches with different arenas can be compared.
fn view(b: &RecordBatch) -> String {
    match b {
        RecordBatch::Logs(b) => {
            let mut out = Vec::new();
            for row in 0..b.len() {
                crate::json::write_fields(&mut out, b, row, true);
                out.extend_from_slice(b.metadata(row).unwrap_or_default());
            }
            format!(
                "{:?}{:?}{:?}{:?}{:?}{:?}{}",
                b.kubernetes_is_column,
                b.source,
                b.tag,
                b.resource,
                b.times(),
                b.positions(),
                String::from_utf8_lossy(&out)
            )
        }
        RecordBatch::Metrics(b) => b
            .points()
            .iter()
            .map(|p| {
                format!(
                    "{} {} {:x} {:?}\n",
                    b.series_of(p),
                    b.time_of(p),
                    p.value.to_bits(),
                    b.family_of(p).kind
                )
            })
            .chain(b.histograms().iter().map(|h| {
                let (series, time_ms) = (b.series_of(&h.point), b.time_of(&h.point));
                format!("{series} {time_ms} {:?}\n", h.histogram)
            }))
            .collect(),
    }
}

#[test]
fn batches_round_trip() {
    let mut larger = logs();
    larger.store(&b"a line of a log, again ".repeat(40));
    larger.set_text("log", 0, &b"a line of a log, again ".repeat(40));
    for batch in [logs(), larger]
        .map(RecordBatch::Logs)
        .into_iter()
        .chain([RecordBatch::Metrics(metrics())])
    {
        for compression in [Compression::None, Compression::Lz4, Compression::Zstd] {
            let mut bytes = b"before".to_vec();
            let n = encode_as(compression, &batch, &mut bytes).unwrap();
            bytes.extend_from_slice(b"after");
            let frame = Frame::parse(&bytes[6..]).unwrap();
            assert_eq!(frame.as_bytes().len(), n);
            assert_eq!(frame.source, *batch.source());
            assert_eq!(view(&frame.decode().unwrap()), view(&batch));
        }
    }
}

#[test]
fn texts_that_follow_from_the_times_are_not_stored() {
    let payload = payload_of(|w| encode_logs(&logs(), w));
    let start = b"2023-11-15T00:13:";
    let n_stored = payload.windows(start.len()).filter(|w| w == start).count();
    assert_eq!(n_stored, 199, "of the column with another text");
}

#[test]
fn payloads_with_a_right_checksum_that_do_not_decompress_are_damage() {
    for flags in [FLAG_ZSTD, FLAG_LZ4, FLAG_LZ4 | FLAG_ZSTD, 0x80] {
        for len in [0, 10, MAX_PAYLOAD_BYTES as u32] {
            let mut bytes = Vec::new();
            let batch = RecordBatch::Logs(logs());
            encode_as(Compression::None, &batch, &mut bytes).unwrap();
            bytes[5] = flags;
            bytes[52..56].copy_from_slice(&len.to_le_bytes());
            let crc = checksum(&bytes);
            bytes[56..60].copy_from_slice(&crc.to_le_bytes());
            assert!(
                Frame::parse(&bytes).unwrap().decode().is_err(),
                "{flags} {len}"
            );
        }
    }
}

#[test]
fn every_cut_is_truncated_and_every_flip_is_damage() {
    let mut bytes = Vec::new();
    encode(&RecordBatch::Logs(logs()), &mut bytes).unwrap();
    for cut in 0..bytes.len() {
        assert!(
            matches!(
                Frame::parse(&bytes[..cut]),
                Err(FrameError::Truncated { .. })
            ),
            "cut at {cut}"
        );
    }
    for at in 0..bytes.len() {
        let mut bad = bytes.clone();
        bad[at] ^= 0x40;
        assert!(Frame::parse(&bad).is_err(), "flip at {at}");
    }
}

fn payload_of(write: impl Fn(&mut Vec<u8>)) -> Vec<u8> {
    let mut payload = Vec::new();
    write(&mut payload);
    payload
}

/// Payloads with a right checksum but wrong content: decoding must fail or give some batch.
#[test]
fn damaged_payloads_do_not_panic() {
    for (kind, payload) in [
        (1, payload_of(|w| encode_logs(&logs(), w))),
        (2, payload_of(|w| encode_metrics(&metrics(), w))),
    ] {
        for at in 0..payload.len() {
            for mask in [0x01, 0x80, 0xff] {
                let mut bad = payload.clone();
                bad[at] ^= mask;
                let mut bytes = Vec::new();
                finish(
                    Compression::None,
                    kind,
                    &Source::default(),
                    &bad,
                    &mut bytes,
                )
                .unwrap();
                let _ = Frame::parse(&bytes).unwrap().decode();
            }
        }
    }
}
