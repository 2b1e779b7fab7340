//! Series as Prometheus's test language writes them, in tests of queries and of rules:
//! `up{job="x"} 0+1x10 _x3 stale {{schema:0 sum:5 count:4 buckets:[1 2 1]}}`.
//!
//! The one rule: a line of a test, however short, does not become more than [`VALUES_MAX`] values.

use kansoku_model::Labels;
use kansoku_model::histogram::{CUSTOM_SCHEMA, Counts, NativeHistogram, ResetHint, Span};
use kansoku_model::metric::STALE_BITS;

use super::native::FloatHistogram;
use crate::number::{format_g, parse_float};

/// The most values of one series.
pub const VALUES_MAX: usize = 10_000_000;

/// One sample.
#[derive(Debug, Clone)]
pub enum Item {
    Float(f64),
    Histogram(Box<FloatHistogram>),
}

/// Splits a line after the name and braces.
#[must_use]
pub fn split_series(line: &str) -> (&str, &str) {
    let (mut depth, mut quote) = (0, None);
    let mut escaped = false;
    for (i, c) in line.char_indices() {
        match quote {
            Some(_) if escaped => escaped = false,
            Some('"' | '\'') if c == '\\' => escaped = true,
            Some(q) if c == q => quote = None,
            Some(_) => {}
            None if matches!(c, '"' | '\'' | '`') => quote = Some(c),
            None if c == '{' => depth += 1,
            None if c == '}' => depth -= 1,
            None if depth == 0 && c.is_whitespace() => return (&line[..i], line[i..].trim()),
            None => {}
        }
    }
    (line, "")
}

/// The labels of a series such as `up{job="x"}`.
///
/// # Errors
/// When the text is none.
pub fn labels_of(text: &str) -> Result<Labels, String> {
    let inside = text.strip_prefix('{').and_then(|t| t.strip_suffix('}'));
    if inside.is_some_and(|t| t.trim().is_empty()) {
        return Ok(Labels::default());
    }
    let matchers = super::matchers_of_selector(text).map_err(|e| e.to_string())?;
    Ok(Labels::from_pairs(
        matchers.iter().map(|m| (m.name.as_str(), m.value.as_str())),
    ))
}

/// The samples of a series, one a step; `None` where there is none, and in all when the text is no list of values.
#[must_use]
pub fn values_of(text: &str) -> Option<Vec<Option<Item>>> {
    let mut values = Vec::new();
    let mut rest = text.trim_start();
    while !rest.is_empty() {
        if values.len() > VALUES_MAX {
            return None;
        }
        if rest.starts_with("{{") {
            let (all, tail) = series(rest)?;
            values.extend(all.into_iter().map(|h| Some(Item::Histogram(Box::new(h)))));
            rest = tail.trim_start();
            continue;
        }
        let end = rest.find(char::is_whitespace).unwrap_or(rest.len());
        let (word, tail) = rest.split_at(end);
        rest = tail.trim_start();
        if word == "stale" {
            values.push(Some(Item::Float(f64::from_bits(STALE_BITS))));
            continue;
        }
        if let Some(rest) = word.strip_prefix('_') {
            let n = rest.strip_prefix('x').map_or(Some(1), |n| n.parse().ok())?;
            if n > VALUES_MAX {
                return None;
            }
            values.extend(std::iter::repeat_n(None, n));
            continue;
        }
        // `0x3` is four zeros here, not a hexadecimal number.
        if let Some(value) = parse_float(word).filter(|_| !word.contains('x')) {
            values.push(Some(Item::Float(value)));
            continue;
        }
        let (start, times) = word.rsplit_once('x')?;
        let n: usize = times.parse().ok().filter(|n| *n < VALUES_MAX)?;
        // The sign of the increment is the last one that is no sign of an exponent.
        let split = start
            .char_indices()
            .skip(1)
            .filter(|(i, c)| matches!(c, '+' | '-') && !start[..*i].ends_with(['e', 'E']))
            .map(|(i, _)| i)
            .last();
        let (first, increment) = match split {
            Some(at) => (parse_float(&start[..at])?, parse_float(&start[at..])?),
            None => (parse_float(start)?, 0.0),
        };
        let mut value = first;
        for _ in 0..=n {
            values.push(Some(Item::Float(value)));
            value += increment;
        }
    }
    Some(values)
}

/// The text between `{{` and `}}`; `None` when it is no histogram.
#[must_use]
pub fn histogram(text: &str) -> Option<FloatHistogram> {
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

/// The buckets of exponential histograms at a lower resolution.
fn lowered(h: &FloatHistogram, schema: i32) -> FloatHistogram {
    let by = (h.schema - schema).clamp(0, 16);
    let lower = |buckets: &[(i32, f64)]| {
        let mut out: Vec<(i32, f64)> = Vec::new();
        for (index, count) in buckets {
            let index = ((index - 1) >> by) + 1;
            match out.last_mut() {
                Some(last) if last.0 == index => last.1 += count,
                _ => out.push((index, *count)),
            }
        }
        out
    };
    FloatHistogram {
        schema: h.schema - by,
        positive: lower(&h.positive),
        negative: lower(&h.negative),
        ..h.clone()
    }
}

/// Adds `sign` times another, whose resolution may be higher.
fn add(a: &FloatHistogram, b: &FloatHistogram, sign: f64) -> FloatHistogram {
    let b = &match a.is_custom() || b.is_custom() {
        true => b.clone(),
        false => lowered(b, a.schema),
    };
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
#[must_use]
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

/// The text of a histogram, in the one way that all equal ones have.
#[must_use]
pub fn text_of(h: &FloatHistogram) -> String {
    let mut parts = Vec::new();
    if h.is_custom() {
        let bounds: Vec<String> = h.bounds.iter().map(|b| format_g(*b)).collect();
        parts.push("schema:-53".to_owned());
        parts.push(format!("custom_values:[{}]", bounds.join(" ")));
    } else if h.schema != 0 {
        parts.push(format!("schema:{}", h.schema));
    }
    for (name, value) in [
        ("count", h.count),
        ("sum", h.sum),
        ("z_bucket", h.zero_count),
        ("z_bucket_w", h.zero_threshold),
    ] {
        if value != 0.0 {
            parts.push(format!("{name}:{}", format_g(value)));
        }
    }
    match h.hint {
        ResetHint::Unknown => {}
        ResetHint::Yes => parts.push("counter_reset_hint:reset".into()),
        ResetHint::No => parts.push("counter_reset_hint:not_reset".into()),
        ResetHint::Gauge => parts.push("counter_reset_hint:gauge".into()),
    }
    for (offset_name, name, buckets) in [
        ("offset", "buckets", &h.positive),
        ("n_offset", "n_buckets", &h.negative),
    ] {
        let filled = || buckets.iter().filter(|(_, count)| *count != 0.0);
        let (Some((first, _)), Some((last, _))) = (filled().next(), filled().next_back()) else {
            continue;
        };
        if *first != 0 {
            parts.push(format!("{offset_name}:{first}"));
        }
        let count = |index: i32| {
            let found = buckets.binary_search_by_key(&index, |(index, _)| *index);
            format_g(found.map_or(0.0, |at| buckets[at].1))
        };
        let counts: Vec<String> = (*first..=*last).take(VALUES_MAX).map(count).collect();
        parts.push(format!("{name}:[{}]", counts.join(" ")));
    }
    format!("{{{{{}}}}}", parts.join(" "))
}

/// Equal but for rounding and empty buckets.
#[must_use]
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
#[must_use]
pub fn series(text: &str) -> Option<(Vec<FloatHistogram>, &str)> {
    let (first, rest) = text.strip_prefix("{{")?.split_once("}}")?;
    let first = histogram(first)?;
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
        (histogram(step)?, rest)
    };
    let rest = rest.strip_prefix('x')?;
    let end = rest.find(char::is_whitespace).unwrap_or(rest.len());
    let n: usize = rest[..end].parse().ok().filter(|n| *n < VALUES_MAX)?;
    let mut all = vec![first];
    for _ in 0..n {
        let last = all.last()?;
        all.push(add(last, &step, sign));
    }
    Some((all, &rest[end..]))
}
