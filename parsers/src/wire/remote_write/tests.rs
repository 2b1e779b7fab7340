//! Requests of both versions, good and bad.

use kansoku_model::histogram::ResetHint;

use super::super::protobuf::write;
use super::*;

const LIMITS: Limits = Limits {
    max_labels: 64,
    window: Window::ANY,
};

fn series(labels: &[(&[u8], &[u8])], samples: &[(i64, f64)]) -> Vec<u8> {
    let mut body = Vec::new();
    write::message(&mut body, 1, |w| {
        for (name, value) in labels {
            write::message(w, 1, |w| {
                write::bytes(w, 1, name);
                write::bytes(w, 2, value);
            });
        }
        for &(time, value) in samples {
            write::message(w, 2, |w| {
                write::double(w, 1, value);
                write::int(w, 2, time);
            });
        }
    });
    body
}

fn lines(request: &WriteRequest) -> Vec<String> {
    let b = &request.batch;
    b.points()
        .iter()
        .map(|p| format!("{} {} @{}", b.series_of(p), p.value, b.time_of(p)))
        .collect()
}

#[test]
fn samples_keep_time_labels_and_bits() {
    let stale = f64::from_bits(0x7ff0_0000_0000_0002);
    let mut body = series(
        &[(b"__name__", b"up"), (b"job", b"node")],
        &[(-5, 1.0), (1_700_000_000_000, stale)],
    );
    // Unsorted labels and a name that only UTF-8 allows.
    let dotted = [(&b"z.z"[..], &b"1"[..]), (b"__name__", "観測".as_bytes())];
    body.extend(series(&dotted, &[(7, 2.5)]));
    let request = decode(&body, &LIMITS).unwrap();
    assert_eq!(
        lines(&request),
        [
            r#"{__name__="up", job="node"} 1 @-5"#,
            r#"{__name__="up", job="node"} NaN @1700000000000"#,
            r#"{__name__="観測", z.z="1"} 2.5 @7"#,
        ]
    );
    assert_eq!(request.batch.points()[1].value.to_bits(), stale.to_bits());
    assert_eq!((request.n_samples, request.refused.count), (3, 0));
}

/// Keeps all series, or only those that it has room for.
struct Table {
    room: usize,
    spellings: Vec<(Vec<u8>, String)>,
    samples: Vec<String>,
    n_found: usize,
}

impl SeriesSink for Table {
    fn find(&mut self, spelling: &[u8]) -> Option<u32> {
        let at = self.spellings.iter().position(|(s, _)| s == spelling)?;
        self.n_found += 1;
        Some(at as u32)
    }

    fn define(&mut self, spelling: &[u8], labels: &[(&str, &str)]) -> Option<u32> {
        if self.spellings.len() == self.room {
            return None;
        }
        let text = describe(labels);
        self.spellings.push((spelling.to_vec(), text));
        Some(self.spellings.len() as u32 - 1)
    }

    fn push(&mut self, series: u32, time_ms: i64, value: f64) {
        let labels = &self.spellings[series as usize].1;
        self.samples.push(format!("{labels} {value} @{time_ms}"));
    }

    fn push_started(&mut self, series: u32, time_ms: i64, value: f64, start_ms: i64) {
        self.push(series, time_ms, value);
        let last = self.samples.last_mut().expect("just pushed");
        *last += &format!(" since {start_ms}");
    }
}

#[test]
fn with_a_sink_the_same_is_kept_and_refused() {
    let limits = Limits {
        max_labels: 3,
        window: Window {
            oldest_ms: 10,
            newest_ms: 20,
        },
    };
    let mut body = Vec::new();
    for time in [9, 15, 16, 21] {
        // A known one, unsorted; one that is never good; one in bounds now and then.
        let labels = [(&b"b"[..], &b"1"[..]), (b"__name__", b"up"), (b"a", b"2")];
        body.extend(series(&labels, &[(time, 1.0), (17, 2.0), (25, 3.0)]));
        body.extend(series(&[(b"a", b"b")], &[(time, 1.0)]));
        body.extend(series(&[(b"__name__", b"x"), (b"e", b"")], &[(time, 4.0)]));
        // Labels behind the samples, and around them: the second has no spelling.
        write::message(&mut body, 1, |w| {
            let label = |w: &mut Vec<u8>, name: &[u8]| {
                write::message(w, 1, |w| {
                    write::bytes(w, 1, name);
                    write::bytes(w, 2, b"v");
                });
            };
            label(w, b"__name__");
            write::message(w, 2, |w| {
                write::double(w, 1, 5.0);
                write::int(w, 2, time);
            });
            label(w, b"c");
        });
    }
    let plain = decode(&body, &limits).unwrap();
    for (room, n_kept) in [(0, 0), (1, 6), (9, 8)] {
        let mut table = Table {
            room,
            spellings: Vec::new(),
            samples: Vec::new(),
            n_found: 0,
        };
        let request = decode_into(&body, &limits, &mut table).unwrap();
        assert_eq!(table.samples.len(), n_kept);
        assert_eq!(table.n_found > 0, room > 0);
        let mut all = lines(&request);
        all.extend(table.samples);
        all.iter_mut()
            .for_each(|line| *line = line.replace(", e=\"\"", ""));
        all.sort();
        let mut expected = lines(&plain);
        expected.sort();
        assert_eq!(all, expected);
        assert_eq!(request.n_samples, plain.n_samples);
        assert_eq!(request.refused.count, plain.refused.count);
        assert_eq!(request.refused.first, plain.refused.first);
    }
}

#[test]
fn bad_series_are_refused_and_their_neighbours_kept() {
    let good = series(&[(b"__name__", b"good")], &[(1, 1.0)]);
    type Pairs<'a> = &'a [(&'a [u8], &'a [u8])];
    let cases: &[(Pairs<'_>, &str)] = &[
        (&[(b"a", b"b")], r#"series has no metric name: {a="b"}"#),
        (
            &[(b"__name__", b"")],
            r#"series has no metric name: {__name__=""}"#,
        ),
        (&[(b"__name__", b"x"), (b"", b"y")], "label name is empty"),
        (
            &[(b"__name__", b"x"), (b"a", b"1"), (b"a", b"2")],
            r#"label name "a" is given twice in {__name__="x", a="1", a="2"}"#,
        ),
        (
            &[(b"__name__", b"x"), (b"a", b"\xff")],
            "label value is not UTF-8: \"\u{fffd}\"",
        ),
    ];
    for (labels, reason) in cases {
        let mut body = series(labels, &[(1, 1.0), (2, 2.0)]);
        body.extend_from_slice(&good);
        let request = decode(&body, &LIMITS).unwrap();
        assert_eq!(lines(&request), [r#"{__name__="good"} 1 @1"#]);
        assert_eq!(request.refused.count, 2, "{reason}");
        assert_eq!(request.refused.first.as_deref(), Some(*reason));
    }
}

#[test]
fn limits_hold() {
    let limits = Limits {
        max_labels: 1,
        window: Window {
            oldest_ms: 10,
            newest_ms: 20,
        },
    };
    let mut body = series(&[(b"__name__", b"x"), (b"a", b"b")], &[(15, 1.0)]);
    body.extend(series(
        &[(b"__name__", b"y")],
        &[(9, 1.0), (10, 2.0), (21, 3.0)],
    ));
    let request = decode(&body, &limits).unwrap();
    assert_eq!(lines(&request), [r#"{__name__="y"} 2 @10"#]);
    assert_eq!(request.refused.count, 3);
}

/// A histogram with these counts of its buckets, `count` observations and this hint.
fn histogram(w: &mut Vec<u8>, field: u64, count: i64, deltas: &[i64], schema: i64) {
    let zigzag = |n: i64| (n << 1) ^ (n >> 63);
    write::message(w, field, |w| {
        write::int(w, 1, count);
        write::double(w, 3, 2.5);
        write::int(w, 4, zigzag(schema));
        if schema != -53 {
            write::double(w, 5, 0.001);
        }
        write::message(w, 11, |w| {
            write::int(w, 1, 0);
            write::int(w, 2, deltas.len() as i64);
        });
        let mut packed = Vec::new();
        let all = deltas.iter();
        all.for_each(|d| write::varint(&mut packed, zigzag(*d).cast_unsigned()));
        write::bytes(w, 12, &packed);
        write::int(w, 14, 2);
        write::int(w, 15, 7);
        if schema == -53 {
            let bounds: Vec<u8> = [0.5f64, 1.0].iter().flat_map(|b| b.to_le_bytes()).collect();
            write::bytes(w, 16, &bounds);
        }
        write::int(w, 17, 3);
    });
}

fn label(w: &mut Vec<u8>, name: &[u8], value: &[u8]) {
    write::message(w, 1, |w| {
        write::bytes(w, 1, name);
        write::bytes(w, 2, value);
    });
}

#[test]
fn histograms_and_exemplars_are_taken_and_metadata_gives_the_type() {
    let mut body = Vec::new();
    write::message(&mut body, 1, |w| {
        label(w, b"__name__", b"h");
        histogram(w, 4, 3, &[1, 1], 3);
        histogram(w, 4, 3, &[1, 0, 0], -53);
        // Not as many as are in buckets; a schema of the future; a bucket below zero.
        histogram(w, 4, 4, &[1, 1], 3);
        histogram(w, 4, 3, &[1, 1], 9);
        histogram(w, 4, 0, &[1, -2], 3);
        write::message(w, 3, |w| {
            label(w, b"trace_id", b"abc");
            write::double(w, 2, 0.25);
            write::int(w, 3, 6);
        });
        write::message(w, 3, |w| label(w, b"too_long", &[b'x'; 128]));
    });
    body.extend(series(&[(b"__name__", b"c_total")], &[(1, 1.0)]));
    write::message(&mut body, 3, |w| {
        write::int(w, 1, 1);
        write::bytes(w, 2, b"c_total");
        write::bytes(w, 4, b"Help.");
        write::bytes(w, 5, b"seconds");
    });
    let request = decode(&body, &LIMITS).unwrap();
    assert_eq!((request.refused.count, request.n_samples), (3, 1));
    assert_eq!((request.n_histograms, request.n_exemplars), (2, 1));
    let batch = &request.batch;
    let family = batch.families()[0];
    assert_eq!(family.kind, MetricKind::Counter);
    assert_eq!(batch.text(family.help), "Help.");
    assert_eq!(batch.text(family.unit), "seconds");
    let [first, custom] = batch.histograms() else {
        panic!("two histograms");
    };
    assert_eq!((first.start_ms, batch.time_of(&first.point)), (3, 7));
    assert_eq!(batch.series_of(&first.point).metric_name(), "h");
    assert_eq!(first.histogram.reset_hint, ResetHint::No);
    assert_eq!(custom.histogram.custom_bounds, [0.5, 1.0]);
    let exemplar = batch.exemplars()[0];
    let labels: Vec<_> = batch.pairs_of(exemplar.labels).collect();
    assert_eq!(labels, [("trace_id", "abc")]);
    assert_eq!(
        (exemplar.point.value, batch.time_of(&exemplar.point)),
        (0.25, 6)
    );
    let expected = r#"histogram of {__name__="h"}: 3 observations are in buckets, but there are 4"#;
    assert_eq!(request.refused.first.as_deref(), Some(expected));
}

const SYMBOLS: [&str; 8] = [
    "", "__name__", "h_total", "a", "1", "Help.", "seconds", "trace_id",
];

fn symbols() -> Vec<u8> {
    let mut body = Vec::new();
    for symbol in SYMBOLS {
        write::bytes(&mut body, 4, symbol.as_bytes());
    }
    body
}

fn refs(w: &mut Vec<u8>, refs: &[u8]) {
    // Numbers below 128 are bytes of their own.
    write::bytes(w, 1, refs);
}

#[test]
fn version_2_gives_what_version_1_gives_and_start_times() {
    let mut body = symbols();
    for time in [7, 8] {
        write::message(&mut body, 5, |w| {
            refs(w, &[3, 4, 1, 2]);
            write::message(w, 2, |w| {
                write::double(w, 1, 1.5);
                write::int(w, 2, time);
                write::int(w, 3, 5);
            });
            histogram(w, 3, 3, &[1, 1], 3);
            write::message(w, 4, |w| {
                refs(w, &[7, 4]);
                write::double(w, 2, 0.25);
                write::int(w, 3, 6);
            });
            write::message(w, 5, |w| {
                write::int(w, 1, 1);
                write::int(w, 3, 5);
                write::int(w, 4, 6);
            });
        });
    }
    let request = decode_symbols(&body, &LIMITS).unwrap();
    let expected = [
        r#"{__name__="h_total", a="1"} 1.5 @7"#,
        r#"{__name__="h_total", a="1"} 1.5 @8"#,
    ];
    assert_eq!(lines(&request), expected);
    assert_eq!(request.batch.starts(), [5, 5]);
    assert_eq!((request.n_histograms, request.n_exemplars), (2, 2));
    let batch = &request.batch;
    let family = batch.families()[0];
    assert_eq!(family.kind, MetricKind::Counter);
    let texts = [family.name, family.help, family.unit].map(|slice| batch.text(slice));
    assert_eq!(texts, ["h_total", "Help.", "seconds"]);
    assert_eq!(request.refused.count, 0);

    // A series that version 1 made known is known here.
    let mut table = Table {
        room: 9,
        spellings: Vec::new(),
        samples: Vec::new(),
        n_found: 0,
    };
    let first = series(&[(b"a", b"1"), (b"__name__", b"h_total")], &[(1, 1.0)]);
    decode_into(&first, &LIMITS, &mut table).unwrap();
    let request = decode_symbols_into(&body, &LIMITS, &mut table).unwrap();
    assert_eq!((table.n_found, table.spellings.len()), (2, 1));
    assert_eq!((request.n_samples, request.n_histograms), (2, 2));
    let last = r#"{__name__="h_total", a="1"} 1.5 @8 since 5"#;
    assert_eq!(table.samples[2], last);
}

#[test]
fn series_of_version_2_that_lead_nowhere_are_refused_alone() {
    let sample = |w: &mut Vec<u8>| {
        write::message(w, 2, |w| {
            write::double(w, 1, 1.0);
            write::int(w, 2, 7);
        });
    };
    let cases: [(&[u8], bool, &str); 4] = [
        (&[1, 2, 3], true, "3 label references are no pairs"),
        (
            &[1, 99],
            true,
            "label references 1 and 99 are not both below 8, the number of symbols",
        ),
        (
            &[1, 2],
            false,
            "a series has neither samples nor histograms",
        ),
        (&[3, 4], true, r#"series has no metric name: {a="1"}"#),
    ];
    for (bad, with_sample, reason) in cases {
        let mut body = symbols();
        write::message(&mut body, 5, |w| {
            refs(w, bad);
            if with_sample {
                sample(w);
            }
        });
        write::message(&mut body, 5, |w| {
            refs(w, &[1, 2]);
            sample(w);
        });
        let request = decode_symbols(&body, &LIMITS).unwrap();
        assert_eq!(lines(&request), [r#"{__name__="h_total"} 1 @7"#]);
        assert_eq!(request.refused.count, 1);
        assert_eq!(request.refused.first.as_deref(), Some(reason));
    }
}

#[test]
fn cuts_and_flips_never_panic() {
    let mut body = series(
        &[(b"__name__", b"up"), (b"job", b"node")],
        &[(1, 1.0), (2, 2.0)],
    );
    body.extend(series(&[(b"__name__", b"down")], &[(3, 1.0)]));
    write::message(&mut body, 1, |w| {
        label(w, b"__name__", b"h");
        histogram(w, 4, 3, &[1, 1], -53);
        write::message(w, 3, |w| label(w, b"a", b"b"));
    });
    body.extend(symbols());
    write::message(&mut body, 5, |w| {
        refs(w, &[1, 2]);
        histogram(w, 3, 3, &[1, 1], 3);
        write::message(w, 4, |w| refs(w, &[3, 4]));
    });
    for cut in 0..body.len() {
        let _ = decode(&body[..cut], &LIMITS);
        let _ = decode_symbols(&body[..cut], &LIMITS);
    }
    for at in 0..body.len() {
        for mask in [0x01, 0x08, 0x80, 0xff] {
            let mut bad = body.clone();
            bad[at] ^= mask;
            let _ = decode(&bad, &LIMITS);
            let _ = decode_symbols(&bad, &LIMITS);
        }
    }
    assert!(decode(b"not protobuf at all", &LIMITS).is_err());
}
