//! Histograms as Prometheus' test language writes them: `{{schema:0 sum:5 count:4 buckets:[1 2 1]}}`.

use kansoku_model::histogram::{CUSTOM_SCHEMA, Counts, NativeHistogram, ResetHint, Span};
use kansoku_query::number::parse_float;
use kansoku_query::promql::native::FloatHistogram;

/// The text between `{{` and `}}`.
pub fn parse(text: &str) -> Option<FloatHistogram> {
    let mut histogram = FloatHistogram::empty(0, &[]);
    let (mut offset, mut n_offset) = (0, 0);
    let (mut buckets, mut n_buckets) = (Vec::new(), Vec::new());
    let mut rest = text.trim();
    while !rest.is_empty() {
        let (name, after) = rest.split_once(':')?;
        let end = match after.strip_prefix('[') {
            Some(list) => list.find(']')? + 2,
            None => after.find(char::is_whitespace).unwrap_or(after.len()),
        };
        let (value, tail) = after.split_at(end);
        let list = || -> Option<Vec<f64>> {
            let inside = value.strip_prefix('[')?.strip_suffix(']')?;
            inside.split_whitespace().map(parse_float).collect()
        };
        match name.trim() {
            "schema" => histogram.schema = value.parse().ok()?,
            "sum" => histogram.sum = parse_float(value)?,
            "count" => histogram.count = parse_float(value)?,
            "z_bucket" => histogram.zero_count = parse_float(value)?,
            "z_bucket_w" => histogram.zero_threshold = parse_float(value)?,
            "offset" => offset = value.parse().ok()?,
            "n_offset" => n_offset = value.parse().ok()?,
            "buckets" => buckets = list()?,
            "n_buckets" => n_buckets = list()?,
            "custom_values" => {
                histogram.bounds = list()?;
                histogram.schema = CUSTOM_SCHEMA;
            }
            "counter_reset_hint" => {
                histogram.hint = match value {
                    "unknown" => ResetHint::Unknown,
                    "reset" => ResetHint::Yes,
                    "not_reset" => ResetHint::No,
                    "gauge" => ResetHint::Gauge,
                    _ => return None,
                }
            }
            _ => return None,
        }
        rest = tail.trim_start();
    }
    histogram.positive = (offset..).zip(buckets).collect();
    histogram.negative = (n_offset..).zip(n_buckets).collect();
    Some(histogram)
}

/// Adds `sign` times another of the same layout.
pub fn add(a: &FloatHistogram, b: &FloatHistogram, sign: f64) -> FloatHistogram {
    let joined = |a: &[(i32, f64)], b: &[(i32, f64)]| {
        let mut all = a.to_vec();
        for (index, count) in b {
            match all.binary_search_by_key(index, |(index, _)| *index) {
                Ok(at) => all[at].1 += sign * count,
                Err(at) => all.insert(at, (*index, sign * count)),
            }
        }
        all
    };
    FloatHistogram {
        count: a.count + sign * b.count,
        sum: a.sum + sign * b.sum,
        zero_count: a.zero_count + sign * b.zero_count,
        positive: joined(&a.positive, &b.positive),
        negative: joined(&a.negative, &b.negative),
        ..a.clone()
    }
}

/// As a store gives it.
pub fn stored(h: &FloatHistogram) -> NativeHistogram {
    let spans = |buckets: &[(i32, f64)]| {
        let mut next = 0;
        let each = buckets.iter().map(|(index, _)| {
            let offset = index - next;
            next = index + 1;
            Span { offset, length: 1 }
        });
        each.collect::<Vec<Span>>()
    };
    let counts = |buckets: &[(i32, f64)]| buckets.iter().map(|b| b.1).collect();
    NativeHistogram {
        schema: h.schema,
        zero_threshold: h.zero_threshold,
        sum: h.sum,
        negative_spans: spans(&h.negative),
        positive_spans: spans(&h.positive),
        counts: Counts::Float {
            count: h.count,
            zero: h.zero_count,
            negative: counts(&h.negative),
            positive: counts(&h.positive),
        },
        custom_bounds: h.bounds.clone(),
        reset_hint: h.hint,
    }
}

/// Equal but for rounding and empty buckets.
pub fn are_alike(a: &FloatHistogram, b: &FloatHistogram, almost: fn(f64, f64) -> bool) -> bool {
    let (a, b) = (a.clone().compact(), b.clone().compact());
    let buckets = |a: &[(i32, f64)], b: &[(i32, f64)]| {
        let same = |(a, b): (&(i32, f64), &(i32, f64))| a.0 == b.0 && almost(a.1, b.1);
        a.len() == b.len() && a.iter().zip(b).all(same)
    };
    a.schema == b.schema
        && a.bounds == b.bounds
        && a.zero_threshold == b.zero_threshold
        && almost(a.count, b.count)
        && almost(a.sum, b.sum)
        && almost(a.zero_count, b.zero_count)
        && buckets(&a.positive, &b.positive)
        && buckets(&a.negative, &b.negative)
}

/// `{{..}}`, `{{..}}x3`, `{{..}}+{{..}}x3` at the start of a text, and what follows.
pub fn series(text: &str) -> Option<(Vec<FloatHistogram>, &str)> {
    let (first, rest) = text.strip_prefix("{{")?.split_once("}}")?;
    let first = parse(first)?;
    let sign = match rest.chars().next() {
        Some('+') => 1.0,
        Some('-') => -1.0,
        Some('x') => 0.0,
        _ => return Some((vec![first], rest)),
    };
    let (step, rest) = if sign == 0.0 {
        (FloatHistogram::empty(0, &[]), rest)
    } else {
        let (step, rest) = rest[1..].strip_prefix("{{")?.split_once("}}")?;
        (parse(step)?, rest)
    };
    let rest = rest.strip_prefix('x')?;
    let end = rest.find(char::is_whitespace).unwrap_or(rest.len());
    let n: usize = rest[..end].parse().ok()?;
    let mut all = vec![first];
    for _ in 0..n {
        let last = all.last()?;
        all.push(add(last, &step, sign));
    }
    Some((all, &rest[end..]))
}
