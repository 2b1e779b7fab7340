//! Whether what was found is what was expected, and how both are shown.

use kansoku_model::Labels;
use kansoku_query::number::format_e;
use kansoku_query::promql::native::{FloatHistogram, ResetHint};
use kansoku_query::promql::notation;

use super::input::ExpectedSample;

/// Whether two samples are the same; fuzzily, neighbouring floats are.
#[must_use]
pub fn are_same(a: &ExpectedSample, b: &ExpectedSample, is_fuzzy: bool) -> bool {
    if a.labels != b.labels {
        return false;
    }
    match (&a.histogram, &b.histogram) {
        (Some(a), Some(b)) => text_without_hint(a) == text_without_hint(b),
        (None, None) => {
            let (x, y) = (a.value, b.value);
            let is_near = x.next_up() == y || x.next_down() == y;
            x == y || (x.is_nan() && y.is_nan()) || (is_fuzzy && is_near)
        }
        _ => false,
    }
}

/// What is known of counter resets depends on how a store keeps a series, not on its values.
fn text_without_hint(histogram: &FloatHistogram) -> String {
    notation::text_of(&FloatHistogram {
        hint: ResetHint::Unknown,
        ..histogram.clone()
    })
}

/// `{a="1"} 5E+00, {a="2"} {{count:1}}`
#[must_use]
pub fn show_samples(samples: &[ExpectedSample]) -> String {
    if samples.is_empty() {
        return "nil".into();
    }
    let show = |sample: &ExpectedSample| match &sample.histogram {
        Some(histogram) => format!("{} {}", sample.labels, notation::text_of(histogram)),
        None => {
            let value = match sample.value.is_finite() {
                true => format_e(sample.value).to_ascii_uppercase(),
                false => format_e(sample.value),
            };
            format!("{} {value}", sample.labels)
        }
    };
    samples.iter().map(show).collect::<Vec<_>>().join(", ")
}

/// Labels and annotations of alerts, a line each.
#[must_use]
pub fn show_alerts(alerts: &[(Labels, Labels)]) -> String {
    if alerts.is_empty() {
        return "[]".into();
    }
    let indent = " ".repeat(12);
    let show = |(number, (labels, annotations)): (usize, &(Labels, Labels))| {
        format!("{indent}{number}:\n{indent}  Labels:{labels}\n{indent}  Annotations:{annotations}")
    };
    let all: Vec<String> = alerts.iter().enumerate().map(show).collect();
    format!("[\n{}\n{indent}]", all.join(",\n"))
}

/// Two texts as one: lines that are missing in red behind `-`, lines too many in green behind `+`.
#[must_use]
pub fn diff(expected: &str, found: &str) -> String {
    let (a, b): (Vec<&str>, Vec<&str>) = (expected.lines().collect(), found.lines().collect());
    // Lengths of what rests of both have in common.
    let mut common = vec![vec![0_usize; b.len() + 1]; a.len() + 1];
    for i in (0..a.len()).rev() {
        for j in (0..b.len()).rev() {
            common[i][j] = match a[i] == b[j] {
                true => common[i + 1][j + 1] + 1,
                false => common[i + 1][j].max(common[i][j + 1]),
            };
        }
    }
    let (mut i, mut j, mut out) = (0, 0, Vec::new());
    while i < a.len() || j < b.len() {
        if i < a.len() && j < b.len() && a[i] == b[j] {
            out.push(format!("  {}", a[i]));
            (i, j) = (i + 1, j + 1);
        } else if j == b.len() || (i < a.len() && common[i + 1][j] >= common[i][j + 1]) {
            out.push(format!("\x1b[31m- {}\x1b[0m", a[i]));
            i += 1;
        } else {
            out.push(format!("\x1b[32m+ {}\x1b[0m", b[j]));
            j += 1;
        }
    }
    out.join("\n")
}

#[cfg(test)]
mod tests {
    use super::diff;

    #[test]
    fn a_diff_shows_what_is_missing_and_what_is_too_much() {
        assert_eq!(
            diff("a\nb\nc", "a\nx\nc"),
            "  a\n\x1b[31m- b\x1b[0m\n\x1b[32m+ x\x1b[0m\n  c"
        );
        assert_eq!(diff("", "x"), "\x1b[32m+ x\x1b[0m");
        assert_eq!(diff("x", "x"), "  x");
    }
}
