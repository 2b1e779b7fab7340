//! Pages written field by field.

use super::super::protobuf::write;
use super::*;

const NATIVE: Histograms = Histograms {
    native: true,
    always_classic: false,
};

fn family(out: &mut Vec<u8>, name: &str, kind: i64, metrics: &[&dyn Fn(&mut Vec<u8>)]) {
    let mut body = Vec::new();
    write::bytes(&mut body, 1, name.as_bytes());
    write::bytes(&mut body, 2, b"Help.");
    write::int(&mut body, 3, kind);
    for metric in metrics {
        write::message(&mut body, 4, |out| metric(out));
    }
    write::varint(out, body.len() as u64);
    out.extend_from_slice(&body);
}

fn label(out: &mut Vec<u8>, name: &str, value: &str) {
    write::message(out, 1, |out| {
        write::bytes(out, 1, name.as_bytes());
        write::bytes(out, 2, value.as_bytes());
    });
}

/// Two classic buckets and a native form.
fn histogram(out: &mut Vec<u8>) {
    write::int(out, 1, 5);
    write::double(out, 2, 9.5);
    for (bound, count) in [(1.0, 2), (2.5e-5, 1)] {
        write::message(out, 3, |out| {
            write::int(out, 1, count);
            write::double(out, 2, bound);
        });
    }
    write::int(out, 5, 6); // zigzag of 3
    write::double(out, 6, 0.5);
    write::int(out, 7, 1);
    write::message(out, 12, |out| {
        write::int(out, 1, 1); // zigzag of -1
        write::int(out, 2, 2);
    });
    // Packed, and one by one.
    write::bytes(out, 13, &[4]);
    write::int(out, 13, 1);
}

fn page() -> Vec<u8> {
    let mut out = Vec::new();
    family(
        &mut out,
        "c_total",
        0,
        &[&|out| {
            label(out, "a", "1");
            write::message(out, 3, |out| write::double(out, 1, 2.0));
            write::int(out, 6, 5);
        }],
    );
    family(
        &mut out,
        "s",
        2,
        &[&|out| {
            write::message(out, 4, |out| {
                write::int(out, 1, 3);
                write::double(out, 2, 4.0);
                write::message(out, 3, |out| {
                    write::double(out, 1, 0.5);
                    write::double(out, 2, 1.5);
                });
            });
        }],
    );
    family(
        &mut out,
        "h",
        4,
        &[&|out| write::message(out, 7, histogram)],
    );
    out
}

fn lines(body: &[u8], histograms: Histograms) -> (Vec<String>, Page) {
    let page = parse(body, histograms, "t".into(), Arc::default(), 7).expect("protobuf");
    let b = &page.batch;
    let line = |p: &Point| {
        let kind = b.family_of(p).kind.as_str();
        format!("{kind} {} {} @{}", b.series_of(p), p.value, b.time_of(p))
    };
    (b.points().iter().map(line).collect(), page)
}

#[test]
fn a_page_is_read_with_classic_or_native_histograms() {
    let (classic, page_) = lines(
        &page(),
        Histograms {
            native: false,
            always_classic: false,
        },
    );
    let common = [
        r#"counter {__name__="c_total", a="1"} 2 @5"#,
        r#"summary {__name__="s_count"} 3 @7"#,
        r#"summary {__name__="s_sum"} 4 @7"#,
        r#"summary {__name__="s", quantile="0.5"} 1.5 @7"#,
    ];
    let of_histogram = [
        r#"histogram {__name__="h_count"} 5 @7"#,
        r#"histogram {__name__="h_sum"} 9.5 @7"#,
        r#"histogram {__name__="h_bucket", le="1.0"} 2 @7"#,
        r#"histogram {__name__="h_bucket", le="2.5e-05"} 1 @7"#,
        r#"histogram {__name__="h_bucket", le="+Inf"} 5 @7"#,
    ];
    assert_eq!(classic, [&common[..], &of_histogram].concat());
    assert!(page_.batch.histograms().is_empty());

    let (native, page_) = lines(&page(), NATIVE);
    assert_eq!(native, common);
    let [found] = page_.batch.histograms() else {
        panic!("one histogram");
    };
    let expected = NativeHistogram {
        schema: 3,
        zero_threshold: 0.5,
        sum: 9.5,
        negative_spans: Vec::new(),
        positive_spans: vec![Span {
            offset: -1,
            length: 2,
        }],
        counts: Counts::Integer {
            count: 5,
            zero: 1,
            negative: Vec::new(),
            positive: vec![2, -1],
        },
        ..NativeHistogram::empty(0.0)
    };
    assert_eq!(found.histogram, expected);
    assert_eq!(found.point.value, 5.0);

    let (both, page_) = lines(
        &page(),
        Histograms {
            native: true,
            always_classic: true,
        },
    );
    assert_eq!(both, classic);
    assert_eq!(page_.batch.histograms().len(), 1);
}

#[test]
fn what_is_wrong_is_counted() {
    let mut body = Vec::new();
    family(&mut body, "x", 9, &[&|_| {}]);
    family(&mut body, "", 1, &[&|_| {}]);
    family(
        &mut body,
        "g",
        1,
        &[&|_| {}, &|out| {
            write::message(out, 2, |out| write::double(out, 1, 1.0));
        }],
    );
    family(
        &mut body,
        "h",
        4,
        &[&|out| {
            write::message(out, 7, |out| {
                write::double(out, 6, 0.5);
                write::message(out, 12, |out| write::int(out, 2, 3));
            });
        }],
    );
    let (points, page) = lines(&body, NATIVE);
    assert_eq!(points, [r#"gauge {__name__="g"} 1 @7"#]);
    assert_eq!(page.refused.count, 4);
    assert_eq!(
        page.refused.first.as_deref(),
        Some("family 'x' has the unknown type 9")
    );
    assert!(page.batch.histograms().is_empty());
}

#[test]
fn no_bytes_make_it_panic() {
    let whole = page();
    for cut in 0..whole.len() {
        let _ = parse(&whole[..cut], NATIVE, "t".into(), Arc::default(), 7);
        let mut torn = whole.clone();
        torn[cut] ^= 0xff;
        let _ = parse(&torn, NATIVE, "t".into(), Arc::default(), 7);
    }
}

#[test]
fn bounds_are_written_as_open_metrics_does() {
    for (value, expected) in [
        (1.0, "1.0"),
        (0.25, "0.25"),
        (1e6, "1e+06"),
        (1_234_567.0, "1.234567e+06"),
        (100_000.0, "100000.0"),
        (1e-5, "1e-05"),
        (0.0, "0.0"),
        (-2.0, "-2.0"),
        (f64::NEG_INFINITY, "-Inf"),
    ] {
        assert_eq!(open_metrics_float(value), expected);
    }
}
