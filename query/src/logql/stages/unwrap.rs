//! `| unwrap label`, `| unwrap duration(label)`: the label whose value a metric query computes
//! with, and the filters that may follow it.

use std::fmt;

use super::label_filter::{self, LabelFilter};
use super::{LabelsRead, SAMPLE_ERROR, Stage};
use crate::logql::error::ParseError;
use crate::logql::parser::Parser;
use crate::logql::record::Record;
use crate::logql::units;

/// How a label's text becomes a number.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Conversion {
    Number,
    Bytes,
    /// In seconds.
    Duration,
}

/// Conversions that are written as calls.
const CONVERSIONS: &[(&str, Conversion)] = &[
    ("bytes", Conversion::Bytes),
    ("duration", Conversion::Duration),
    ("duration_seconds", Conversion::Duration),
];

/// Which label, and how its text becomes a number.
#[derive(Debug, Clone)]
pub struct Unwrap {
    pub label: String,
    pub conversion: Conversion,
    /// The name of the conversion as written, empty for none.
    written: &'static str,
    /// Filters after the conversion, which also see its failure.
    pub filters: Vec<LabelFilter>,
}

impl Unwrap {
    /// The value of a record, or `None` when it has none or is filtered out.
    pub fn value(&self, record: &mut Record<'_>) -> Option<f64> {
        let text = record.labels.get(&self.label).filter(|t| !t.is_empty())?;
        let value = match self.converted(text) {
            Ok(value) => value,
            Err(reason) => {
                record.labels.set_error(SAMPLE_ERROR, &reason);
                0.0
            }
        };
        self.filters
            .iter()
            .all(|filter| filter.process(record))
            .then_some(value)
    }

    /// The number that a label's text is.
    pub fn converted(&self, text: &str) -> Result<f64, String> {
        match self.conversion {
            Conversion::Number => units::go_float(text),
            Conversion::Bytes => units::byte_size(text).map(|n| n as f64),
            Conversion::Duration => units::go_duration(text).map(|ns| ns as f64 / 1e9),
        }
    }

    /// Adds the labels that are read.
    pub fn labels_read(&self, read: &mut LabelsRead) {
        read.names.push(self.label.clone());
        for filter in &self.filters {
            filter.labels_read(read);
        }
    }
}

/// Reads what follows `unwrap`.
pub fn parse(parser: &mut Parser<'_>) -> Result<Unwrap, ParseError> {
    let conversion = CONVERSIONS
        .iter()
        .copied()
        .find(|(name, _)| parser.accept_function(name));
    let label = match conversion {
        Some(_) => {
            parser.expect("(")?;
            let label = parser.identifier()?;
            parser.expect(")")?;
            label
        }
        None => parser.identifier()?,
    };
    let mut filters = Vec::new();
    while parser.accept("|") {
        filters.push(label_filter::parse(parser)?);
    }
    let (written, conversion) = conversion.unwrap_or(("", Conversion::Number));
    Ok(Unwrap {
        label,
        conversion,
        written,
        filters,
    })
}

impl fmt::Display for Unwrap {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.conversion {
            Conversion::Number => write!(f, "| unwrap {}", self.label)?,
            _ => write!(f, "| unwrap {}({})", self.written, self.label)?,
        }
        for filter in &self.filters {
            write!(f, " {filter}")?;
        }
        Ok(())
    }
}
