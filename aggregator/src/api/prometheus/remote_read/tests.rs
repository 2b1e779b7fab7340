//! Where chunks end. Their bytes are held to Prometheus's by `aggregator/tests/api/remote_read.rs`.

use std::sync::Arc;

use kansoku_model::histogram::{Counts, NativeHistogram, ResetHint, Span};
use kansoku_model::metric::STALE_BITS;

use super::chunks::{self, Encoding};
use super::*;

fn histogram(counts: &[i64]) -> NativeHistogram {
    NativeHistogram {
        schema: 1,
        positive_spans: vec![Span {
            offset: 0,
            length: counts.len() as u32,
        }],
        counts: Counts::Integer {
            count: 10,
            zero: 1,
            negative: Vec::new(),
            positive: counts.to_vec(),
        },
        ..NativeHistogram::empty(3.0)
    }
}

fn of(samples: Vec<Option<NativeHistogram>>) -> Vec<(Encoding, u16)> {
    let n = samples.len() as i64;
    let series = SeriesData {
        times: (0..n).collect(),
        values: vec![1.0; samples.len()],
        histograms: samples.into_iter().map(|h| h.map(Arc::new)).collect(),
        ..SeriesData::default()
    };
    let chunks = chunks::of_series(&series);
    let mut next = 0;
    for chunk in &chunks {
        assert_eq!(chunk.min_time_ms, next, "chunks follow each other");
        next = chunk.max_time_ms + 1;
    }
    assert_eq!(next, n, "no sample is lost");
    let n_samples = |data: &[u8]| u16::from_be_bytes([data[0], data[1]]);
    let told = chunks.iter().map(|c| (c.encoding, n_samples(&c.data)));
    told.collect()
}

#[test]
fn a_chunk_ends_where_its_reader_would_be_misled() {
    use Encoding::{FloatHistogram, Histogram, Xor};
    let plain = || histogram(&[2, 1]);
    let gauge = || NativeHistogram {
        reset_hint: ResetHint::Gauge,
        ..plain()
    };
    let reset = NativeHistogram {
        reset_hint: ResetHint::Yes,
        ..plain()
    };
    let float = NativeHistogram {
        counts: Counts::Float {
            count: 5.0,
            zero: 0.0,
            negative: Vec::new(),
            positive: vec![2.0, 3.0],
        },
        ..plain()
    };
    let finer = NativeHistogram {
        schema: 2,
        ..plain()
    };
    let stale = NativeHistogram {
        sum: f64::from_bits(STALE_BITS),
        ..plain()
    };
    let one = (Histogram, 1);
    let cases = [
        (vec![plain(), plain()], vec![(Histogram, 2)]),
        (vec![plain(), histogram(&[3, 0])], vec![(Histogram, 2)]),
        (vec![plain(), histogram(&[1, 9])], vec![one, one]),
        (vec![plain(), histogram(&[2, 1, 0])], vec![one, one]),
        (vec![plain(), finer], vec![one, one]),
        (vec![plain(), reset.clone()], vec![one, one]),
        (vec![reset, plain()], vec![(Histogram, 2)]),
        (vec![plain(), float], vec![one, (FloatHistogram, 1)]),
        (vec![plain(), gauge()], vec![one, one]),
        (vec![plain(), stale, plain()], vec![one, one, one]),
    ];
    for (at, (histograms, expected)) in cases.into_iter().enumerate() {
        let got = of(histograms.into_iter().map(Some).collect());
        assert_eq!(got, expected, "case {at}");
    }
    let falling = NativeHistogram {
        reset_hint: ResetHint::Gauge,
        ..histogram(&[1, 1])
    };
    assert_eq!(of(vec![Some(gauge()), Some(falling)]), [(Histogram, 2)]);
    let series = SeriesData {
        times: vec![0],
        values: vec![0.0],
        histograms: vec![Some(Arc::new(gauge()))],
        ..SeriesData::default()
    };
    assert_eq!(chunks::of_series(&series)[0].data[2], 0b1100_0000);
    let mixed = vec![None, None, Some(plain()), None];
    assert_eq!(of(mixed), [(Xor, 2), one, (Xor, 1)]);
    assert_eq!(of(vec![None; 250]), [(Xor, 120), (Xor, 120), (Xor, 10)]);
}

#[test]
fn frames_are_cut_where_they_grow_large() {
    let series = SeriesData {
        labels: Labels::from_pairs([("__name__", "a")]),
        times: (0..400_000).map(|i| i * 1_000_003 + i % 7).collect(),
        values: (0..400_000).map(|i| f64::from(i).sin()).collect(),
        ..SeriesData::default()
    };
    let mut out = Vec::new();
    write_frames(&mut out, 3, &[series]);
    let (mut at, mut n_frames) = (0, 0);
    while at < out.len() {
        let (mut len, mut shift) = (0usize, 0);
        loop {
            len |= usize::from(out[at] & 0x7f) << shift;
            shift += 7;
            at += 1;
            if out[at - 1] < 0x80 {
                break;
            }
        }
        let message = &out[at + 4..at + 4 + len];
        assert_eq!(out[at..at + 4], crc32c::crc32c(message).to_be_bytes());
        assert_eq!(message[message.len() - 2..], [0x10, 3], "the query's index");
        assert!(len < FRAME_BYTES + (16 << 10), "{len}");
        (at, n_frames) = (at + 4 + len, n_frames + 1);
    }
    assert!(n_frames > 2, "{n_frames}");
}

#[test]
fn the_first_known_form_is_taken() {
    assert_eq!(Form::negotiate(&[]), Ok(Form::Samples));
    assert_eq!(Form::negotiate(&[9, 1, 0]), Ok(Form::StreamedChunks));
    assert_eq!(Form::negotiate(&[0, 1]), Ok(Form::Samples));
    assert!(Form::negotiate(&[2]).is_err());
}
