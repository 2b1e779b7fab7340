//! Warnings and infos that a query collects: each text and place once, in order of appearance.

use super::ast::Span;
use super::error::line_and_column;
use crate::number::quote;

/// Enough for any reader; a query over many metrics could give one note per metric.
const MAX_NOTES: usize = 100;

/// How much a note matters.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Severity {
    Warning,
    Info,
}

/// The notes of one query.
#[derive(Debug, Default)]
pub(crate) struct Notes {
    notes: Vec<(Severity, String, Span)>,
}

impl Notes {
    pub(crate) fn add(&mut self, severity: Severity, text: String, span: Span) {
        let known = self
            .notes
            .iter()
            .any(|(s, t, at)| *s == severity && *at == span && *t == text);
        if !known && self.notes.len() < MAX_NOTES {
            self.notes.push((severity, text, span));
        }
    }

    /// Adds what was noted later.
    pub(crate) fn append(&mut self, later: Self) {
        for (severity, text, span) in later.notes {
            self.add(severity, text, span);
        }
    }

    /// The texts of one severity with their places in `query`.
    pub(crate) fn texts(&self, severity: Severity, query: &str) -> Vec<String> {
        let word = match severity {
            Severity::Warning => "warning",
            Severity::Info => "info",
        };
        self.notes
            .iter()
            .filter(|(s, _, _)| *s == severity)
            .map(|(_, text, span)| {
                let (line, column) = line_and_column(query, span.start);
                format!("PromQL {word}: {text} ({line}:{column})")
            })
            .collect()
    }
}

/// A range holds samples of both kinds.
pub(crate) fn mixed_kinds(name: &str) -> String {
    format!(
        "encountered a mix of histograms and floats for metric name {}",
        quote(name)
    )
}

/// Histograms with exponential and with custom buckets stand together.
pub(crate) fn mixed_schemas(name: &str) -> String {
    format!(
        "vector contains a mix of histograms with exponential and custom buckets schemas for metric name {}",
        quote(name)
    )
}

/// A gauge histogram where a counter is needed.
pub(crate) fn not_a_counter(name: &str) -> String {
    format!(
        "this native histogram metric is not a counter: {}",
        quote(name)
    )
}

/// A counter where a gauge is needed.
pub(crate) fn not_a_gauge(name: &str) -> String {
    format!(
        "this native histogram metric is not a gauge: {}",
        quote(name)
    )
}

/// Bounds were joined; `operation` is "addition", "subtraction" or "aggregation".
pub(crate) fn bounds_differed(operation: &str) -> String {
    format!("mismatched custom buckets were reconciled during {operation}")
}

/// Hints contradict each other.
pub(crate) fn hints_collide(operation: &str) -> String {
    format!("conflicting counter resets during histogram {operation}")
}

/// ` for metric name "x"`, or nothing without a name.
pub(crate) fn for_metric(name: &str) -> String {
    if name.is_empty() {
        String::new()
    } else {
        format!(" for metric name {}", quote(name))
    }
}
