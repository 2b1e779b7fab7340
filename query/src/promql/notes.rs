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

/// ` for metric name "x"`, or nothing without a name.
pub(crate) fn for_metric(name: &str) -> String {
    if name.is_empty() {
        String::new()
    } else {
        format!(" for metric name {}", quote(name))
    }
}
