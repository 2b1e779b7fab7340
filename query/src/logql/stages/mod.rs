//! What happens to an entry between the store and the answer: one stage per file.
//!
//! [`WORDS`] is the list of stages that a word introduces; line filters are introduced by their
//! operators and label filters by a label's name. A stage is checked and compiled when the query
//! is parsed and never fails afterwards: a record that it cannot handle gets `__error__`.

mod decolorize;
mod drop;
mod ip;
mod json;
mod json_expression;
mod json_scan;
mod keep;
mod label_filter;
mod label_format;
mod line_filter;
mod line_format;
mod logfmt;
mod logfmt_scan;
mod named_labels;
mod pattern;
mod regexp;
mod unpack;
pub mod unwrap;

use std::fmt;
use std::sync::Arc;

use kansoku_model::Extraction;

use super::error::ParseError;
use super::parser::Parser;
use super::record::Record;

pub use json_scan::unescape as json_text;
pub use label_filter::{Compare, LabelFilter};
pub use line_filter::LineFilter;
#[cfg(test)]
pub use pattern::LinePattern;

/// `__error__` of lines that are no JSON.
pub const JSON_ERROR: &str = "JSONParserErr";
/// `__error__` of lines that are no logfmt.
pub const LOGFMT_ERROR: &str = "LogfmtParserErr";
/// `__error__` of values that cannot be compared.
pub const LABEL_FILTER_ERROR: &str = "LabelFilterErr";
/// `__error__` of templates that failed.
pub const TEMPLATE_ERROR: &str = "TemplateFormatErr";
/// `__error__` of values that are no numbers.
pub const SAMPLE_ERROR: &str = "SampleExtractionErr";

/// Which labels the stages and what follows them read.
#[derive(Debug, Clone, Default)]
pub struct LabelsRead {
    pub names: Vec<String>,
    /// All of them, whatever their names.
    pub all: bool,
}

/// One step of a pipeline. `Display` gives it as LogQL with its leading `|`.
pub trait Stage: fmt::Display + fmt::Debug + Send + Sync {
    /// Changes the record; false drops it.
    fn process(&self, record: &mut Record<'_>) -> bool;

    /// Adds the labels that this stage reads.
    fn labels_read(&self, _read: &mut LabelsRead) {}

    /// Whether the line may be another one afterwards.
    fn changes_line(&self) -> bool {
        false
    }

    /// Whether the stage makes labels of parts of the line, whose text stands in it as it is or
    /// with escapes that begin with a backslash.
    fn takes_fields(&self) -> bool {
        false
    }

    /// How the fields are found of which it makes labels, each for itself and of nothing else; whether
    /// it passes over empty ones stands beside it.
    fn extraction(&self) -> Option<(Extraction, bool)> {
        None
    }

    /// The stage as a filter on labels.
    fn as_label_filter(&self) -> Option<&LabelFilter> {
        None
    }

    /// The stage as a filter on nothing but the line.
    fn as_line_filter(&self) -> Option<&LineFilter> {
        None
    }
}

/// A stage that a word introduces.
pub struct StageWord {
    pub word: &'static str,
    pub about: &'static str,
    /// Reads what follows the word.
    pub parse: fn(&mut Parser<'_>) -> Result<Arc<dyn Stage>, ParseError>,
}

/// Every stage with a word of its own.
pub const WORDS: &[&StageWord] = &[
    &json::WORD,
    &logfmt::WORD,
    &regexp::WORD,
    &pattern::WORD,
    &unpack::WORD,
    &line_format::WORD,
    &label_format::WORD,
    &decolorize::WORD,
    &drop::WORD,
    &keep::WORD,
];

/// What a line is read with to find its fields, when no query says; the first that can.
pub const LINE_PARSERS: &[(&str, &dyn Stage)] =
    &[("json", &json::Json), ("logfmt", &logfmt::PLAIN)];

/// Reads the stages of a pipeline up to what is none. With `unwrap` allowed it ends the list.
pub fn parse(
    parser: &mut Parser<'_>,
    unwrap_allowed: bool,
) -> Result<(Vec<Arc<dyn Stage>>, Option<unwrap::Unwrap>), ParseError> {
    let mut stages: Vec<Arc<dyn Stage>> = Vec::new();
    loop {
        if let Some(filter) = line_filter::parse(parser)? {
            stages.push(filter);
            continue;
        }
        if !parser.accept("|") {
            return Ok((stages, None));
        }
        if unwrap_allowed && parser.accept_keyword("unwrap") {
            return Ok((stages, Some(unwrap::parse(parser)?)));
        }
        match WORDS.iter().find(|w| parser.accept_keyword(w.word)) {
            Some(word) => stages.push((word.parse)(parser)?),
            None => stages.push(Arc::new(label_filter::parse(parser)?)),
        }
    }
}
