//! A family in Prometheus's text format.
//!
//! Source: prometheus/common, `expfmt/text_create.go`.

use kansoku_model::histogram::NativeHistogram;
use kansoku_query::number::format_g;

use super::escaping::{Escaping, is_legacy};
use super::{Family, FamilyKind, Sample, Value};

/// Appends a family.
pub fn write(out: &mut Vec<u8>, family: &Family, escaping: Escaping) {
    let name = escaping.apply(&family.name);
    let kind = match family.kind {
        FamilyKind::Untyped => "untyped",
        FamilyKind::Histogram | FamilyKind::GaugeHistogram => "histogram",
    };
    out.extend_from_slice(b"# TYPE ");
    write_name(out, &name);
    out.extend_from_slice(format!(" {kind}\n").as_bytes());
    for (labels, sample) in &family.metrics {
        let pairs = labels.iter().map(|(n, v)| (escaping.apply(n), v.as_str()));
        let pairs: Vec<(String, &str)> = pairs.map(|(n, v)| (n.into_owned(), v)).collect();
        let line = Line {
            name: &name,
            labels: &pairs,
            sample,
        };
        match &sample.value {
            Value::Float(value) => line.write(out, "", None, *value),
            Value::Histogram(histogram) => write_classic(out, &line, histogram),
        }
    }
}

/// The buckets of a histogram with bounds of its own, as a classic one has them.
fn write_classic(out: &mut Vec<u8>, line: &Line<'_>, histogram: &NativeHistogram) {
    let counts = histogram.float_counts();
    for (bound, count) in cumulative(histogram) {
        line.write(out, "_bucket", Some(bound), count);
    }
    line.write(out, "_bucket", Some(f64::INFINITY), counts.count);
    line.write(out, "_sum", None, histogram.sum);
    line.write(out, "_count", None, counts.count);
}

/// All custom bounds with the observations up to each.
pub fn cumulative(histogram: &NativeHistogram) -> impl Iterator<Item = (f64, f64)> {
    let counts = histogram.float_counts().positive;
    let mut buckets = histogram.indexes_above().zip(counts).peekable();
    let bounds = histogram.custom_bounds.iter().zip(0i64..);
    let mut total = 0.0;
    bounds.map(move |(bound, index)| {
        while let Some((_, count)) = buckets.next_if(|(at, _)| *at <= index) {
            total += count;
        }
        (*bound, total)
    })
}

struct Line<'a> {
    name: &'a str,
    labels: &'a [(String, &'a str)],
    sample: &'a Sample,
}

impl Line<'_> {
    fn write(&self, out: &mut Vec<u8>, suffix: &str, bound: Option<f64>, value: f64) {
        let name = format!("{}{suffix}", self.name);
        let is_quoted = !is_legacy(&name);
        let mut open = "{";
        if is_quoted {
            out.push(b'{');
            write_name(out, &name);
            open = ",";
        } else {
            out.extend_from_slice(name.as_bytes());
        }
        let bound = bound.map(|b| ("le", format_g(b)));
        let own = self.labels.iter().map(|(n, v)| (n.as_str(), *v));
        let bound = bound.iter().map(|(n, v)| (*n, v.as_str()));
        for (label, value) in own.chain(bound) {
            out.extend_from_slice(open.as_bytes());
            write_name(out, label);
            out.push(b'=');
            write_quoted(out, value);
            open = ",";
        }
        if open == "," {
            out.push(b'}');
        }
        let (value, time_ms) = (format_g(value), self.sample.time_ms);
        out.extend_from_slice(format!(" {value} {time_ms}\n").as_bytes());
    }
}

fn write_name(out: &mut Vec<u8>, name: &str) {
    if is_legacy(name) {
        out.extend_from_slice(name.as_bytes());
    } else {
        write_quoted(out, name);
    }
}

fn write_quoted(out: &mut Vec<u8>, text: &str) {
    out.push(b'"');
    for byte in text.bytes() {
        match byte {
            b'\\' => out.extend_from_slice(br"\\"),
            b'"' => out.extend_from_slice(br#"\""#),
            b'\n' => out.extend_from_slice(br"\n"),
            byte => out.push(byte),
        }
    }
    out.push(b'"');
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use kansoku_model::histogram::{CUSTOM_SCHEMA, Counts, Span};

    use super::*;

    fn written(name: &str, value: Value, escaping: Escaping) -> String {
        let kind = match value {
            Value::Float(_) => FamilyKind::Untyped,
            Value::Histogram(_) => FamilyKind::Histogram,
        };
        let labels = vec![
            ("my.label".to_owned(), "a\"b\\c\nd".to_owned()),
            ("instance".to_owned(), String::new()),
        ];
        let family = Family {
            name: name.to_owned(),
            kind,
            metrics: vec![(labels, Sample { time_ms: 7, value })],
        };
        let mut out = Vec::new();
        write(&mut out, &family, escaping);
        String::from_utf8(out).unwrap()
    }

    #[test]
    fn samples_have_their_times() {
        let expected =
            "# TYPE a_b untyped\na_b{my_label=\"a\\\"b\\\\c\\nd\",instance=\"\"} 1.5 7\n";
        let got = written("a.b", Value::Float(1.5), Escaping::Underscores);
        assert_eq!(got, expected);
        let expected = "# TYPE \"a.b\" untyped\n{\"a.b\",\"my.label\"=\"a\\\"b\\\\c\\nd\",instance=\"\"} +Inf 7\n";
        let got = written("a.b", Value::Float(f64::INFINITY), Escaping::AllowUtf8);
        assert_eq!(got, expected);
    }

    #[test]
    fn custom_buckets_become_classic_ones() {
        let histogram = NativeHistogram {
            schema: CUSTOM_SCHEMA,
            positive_spans: vec![Span {
                offset: 1,
                length: 2,
            }],
            counts: Counts::Integer {
                count: 7,
                zero: 0,
                negative: Vec::new(),
                positive: vec![3, 1],
            },
            custom_bounds: vec![0.5, 1.0],
            ..NativeHistogram::empty(2.5)
        };
        let got = written("h", Value::Histogram(Arc::new(histogram)), Escaping::Dots);
        let lines: Vec<&str> = got.lines().collect();
        assert_eq!(lines[0], "# TYPE h histogram");
        let ends = [
            ("le=\"0.5\"} 0 7"),
            "le=\"1\"} 3 7",
            "le=\"+Inf\"} 7 7",
            "\"\"} 2.5 7",
            "\"\"} 7 7",
        ];
        assert_eq!(lines.len(), 1 + ends.len());
        for (line, end) in lines[1..].iter().zip(ends) {
            assert!(line.ends_with(end), "{line}");
        }
        assert!(lines[4].starts_with("h_sum{my_dot_label="), "{}", lines[4]);
    }
}
