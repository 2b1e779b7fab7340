//! Prometheus's text exposition format, written from a metric batch.
//!
//! The one rule: families in the order of the batch, each with its HELP and TYPE once.

use std::fmt::Write;

use kansoku_model::{FamilyId, MetricBatch};
use kansoku_query::number::format_g;

/// The content type of the format.
pub const CONTENT_TYPE: &str = "text/plain; version=0.0.4; charset=utf-8";

/// Writes all points of a batch, without their times and without resource labels.
#[must_use]
pub fn render(batch: &MetricBatch) -> String {
    let mut out = String::with_capacity(batch.points().len() * 80);
    for (index, family) in batch.families().iter().enumerate() {
        let id = FamilyId(index as u32);
        let name = batch.text(family.name);
        let mut points = batch.points().iter().filter(|p| p.family == id).peekable();
        if points.peek().is_none() {
            continue;
        }
        let help = batch
            .text(family.help)
            .replace('\\', "\\\\")
            .replace('\n', "\\n");
        // Writing to a String cannot fail.
        let _ = writeln!(out, "# HELP {name} {help}");
        let _ = writeln!(out, "# TYPE {name} {}", family.kind.as_str());
        for point in points {
            out.push_str(name);
            out.push_str(point.suffix.as_str());
            let mut open = '{';
            for (label, value) in batch.labels_of(point) {
                let _ = write!(out, "{open}{label}=\"{}\"", escaped(value));
                open = ',';
            }
            if open == ',' {
                out.push('}');
            }
            let _ = writeln!(out, " {}", format_g(point.value));
        }
    }
    out
}

fn escaped(value: &str) -> String {
    value
        .replace('\\', "\\\\")
        .replace('"', "\\\"")
        .replace('\n', "\\n")
}

#[cfg(test)]
mod tests {
    use super::*;
    use kansoku_model::{MetricKind, Suffix, metric::Point};

    #[test]
    fn a_family_has_its_header_once() {
        let mut b = MetricBatch::default();
        let f = b.new_family("a_total", MetricKind::Counter, "One\nline.");
        let h = b.new_family("h", MetricKind::Histogram, "H.");
        b.new_family("unused", MetricKind::Gauge, "None.");
        b.sample(f, &[("x", "q\"\\\n"), ("y", "2")], 1.0);
        let labels = b.label_set([("le", "+Inf")]);
        b.push(Point {
            family: h,
            suffix: Suffix::Bucket,
            labels,
            time_ms: None,
            value: f64::INFINITY,
        });
        b.sample(f, &[], 0.5);
        assert_eq!(
            render(&b),
            "# HELP a_total One\\nline.\n# TYPE a_total counter\n\
             a_total{x=\"q\\\"\\\\\\n\",y=\"2\"} 1\na_total 0.5\n\
             # HELP h H.\n# TYPE h histogram\nh_bucket{le=\"+Inf\"} +Inf\n"
        );
    }
}
