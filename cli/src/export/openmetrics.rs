//! Samples as OpenMetrics text, for `promtool tsdb create-blocks-from openmetrics` and its like.
//!
//! Families come one after the other, series of a family too, samples of a series in order of time, as
//! the format demands. Types are left out: a family of unknown type may have any name.

use std::io::Write;

use super::samples::Chunk;
use crate::error::{Error, Result};
use crate::time;

/// The last line.
pub const END: &str = "# EOF\n";

/// Writes the samples of a chunk.
///
/// # Errors
/// When the series has no name, a value is no number, or the destination takes no more.
pub fn write(out: &mut impl Write, chunk: &Chunk) -> Result<()> {
    if chunk.labels.get("__name__").is_none_or(String::is_empty) {
        return Err(Error::failed(
            "a series has no name, and OpenMetrics has none without; use --format jsonl",
        ));
    }
    let series = series(chunk);
    for (time_ms, value) in &chunk.samples {
        if value.parse::<f64>().is_err() {
            return Err(Error::failed(format!("\"{value}\" is no number")));
        }
        writeln!(out, "{series} {value} {}", time::seconds(*time_ms))?;
    }
    Ok(())
}

fn series(chunk: &Chunk) -> String {
    let name = chunk.labels.get("__name__").map_or("", String::as_str);
    let mut pairs = Vec::new();
    let is_plain = is_metric_name(name);
    if !is_plain && !name.is_empty() {
        pairs.push(quoted(name));
    }
    for (label, value) in &chunk.labels {
        if label != "__name__" {
            let label = if is_label_name(label) {
                label.clone()
            } else {
                quoted(label)
            };
            pairs.push(format!("{label}={}", quoted(value)));
        }
    }
    let name = if is_plain { name } else { "" };
    if pairs.is_empty() {
        name.to_owned()
    } else {
        format!("{name}{{{}}}", pairs.join(","))
    }
}

fn quoted(text: &str) -> String {
    let text = text
        .replace('\\', r"\\")
        .replace('"', "\\\"")
        .replace('\n', r"\n");
    format!("\"{text}\"")
}

fn is_label_name(name: &str) -> bool {
    !name.starts_with(|c: char| c.is_ascii_digit())
        && name.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'_')
        && !name.is_empty()
}

fn is_metric_name(name: &str) -> bool {
    is_label_name(&name.replace(':', "_"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_would_be_no_line_of_the_format_is_refused() {
        for (name, value) in [("", "1"), ("up", "1\nx 2"), ("up", "")] {
            let chunk = Chunk {
                labels: [("__name__".to_owned(), name.to_owned())].into(),
                samples: vec![(0, value.into())],
            };
            assert!(write(&mut Vec::new(), &chunk).is_err(), "{name} {value}");
        }
    }

    #[test]
    fn lines_are_those_of_the_format() {
        for (labels, expected) in [
            (vec![("__name__", "up")], "up 1 1.500\nup NaN 2.000\n"),
            (
                vec![("__name__", "a:b"), ("x", "q\"\\\n")],
                "a:b{x=\"q\\\"\\\\\\n\"} 1 1.500\na:b{x=\"q\\\"\\\\\\n\"} NaN 2.000\n",
            ),
            (
                vec![("__name__", "http.req"), ("k8s.pod", "p")],
                "{\"http.req\",\"k8s.pod\"=\"p\"} 1 1.500\n{\"http.req\",\"k8s.pod\"=\"p\"} NaN 2.000\n",
            ),
        ] {
            let labels = labels
                .into_iter()
                .map(|(a, b)| (a.to_owned(), b.to_owned()))
                .collect();
            let chunk = Chunk {
                labels,
                samples: vec![(1500, "1".into()), (2000, "NaN".into())],
            };
            let mut out = Vec::new();
            write(&mut out, &chunk).unwrap();
            assert_eq!(String::from_utf8(out).unwrap(), expected);
        }
    }
}
