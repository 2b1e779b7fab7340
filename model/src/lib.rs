//! The types that every part of kansoku speaks: labels, resources, record batches and the frame
//! that carries a batch over the wire, into the spill and into the aggregator's WAL.
//!
//! This crate is pure data: it opens no file and no socket and never asks for the time.
#![forbid(unsafe_code)]

pub mod append;
pub mod calendar;
pub mod digits;
pub mod fields;
pub mod float_run;
pub mod frame;
pub mod histogram;
pub mod json;
pub mod labels;
pub mod line_automaton;
pub mod literals;

pub mod log;
pub mod metric;
pub mod needle;
pub mod plugin;
pub mod prehashed;
pub mod protobuf;
pub mod resource;
pub mod select;
pub mod source;
pub mod stream;
pub mod tenant;

pub use fields::{
    Extraction, Field, FieldBlock, FieldForm, FieldGroup, FieldValues, FieldsWanted, PatternPiece,
    Texts,
};
pub use float_run::{FloatRun, Floats, FloatsView};
pub use frame::{Frame, FrameError};
pub use labels::Labels;
pub use line_automaton::LineAutomaton;
pub use literals::Literals;
pub use log::{Column, LogBatch, Slice, Value};
pub use metric::{FamilyId, MetricBatch, MetricKind, Suffix};
pub use needle::{AnyOf, Needle};
pub use plugin::{ConfigError, OptionKind, OptionSpec, Place, Plugin, Settings, joined};
pub use resource::{KubernetesMetadata, Resource};
pub use select::{LogSource, MatchOp, Matcher, SeriesSource};
pub use source::{Position, Source, SourceId};
pub use stream::Streams;

/// One batch of records of one signal from one source.
#[derive(Debug, Clone, PartialEq)]
pub enum RecordBatch {
    /// Log records.
    Logs(LogBatch),
    /// Metric samples.
    Metrics(MetricBatch),
}

impl RecordBatch {
    /// The source and the range of it that this batch covers.
    #[must_use]
    pub fn source(&self) -> &Source {
        match self {
            Self::Logs(b) => &b.source,
            Self::Metrics(b) => &b.source,
        }
    }

    /// The tag that routes the batch (Fluent Bit's word).
    #[must_use]
    pub fn tag(&self) -> &str {
        match self {
            Self::Logs(b) => &b.tag,
            Self::Metrics(b) => &b.tag,
        }
    }

    /// The outputs that get the batch whatever they match, a bit for each; `None` where the match
    /// decides.
    #[must_use]
    pub fn wanted_by(&self) -> Option<u64> {
        match self {
            Self::Logs(b) => b.wanted_by,
            Self::Metrics(b) => b.wanted_by,
        }
    }

    /// Log records or metric samples held.
    #[must_use]
    pub fn n_records(&self) -> usize {
        match self {
            Self::Logs(b) => b.len(),
            Self::Metrics(b) => b.n_samples(),
        }
    }

    /// Bytes of memory that the batch holds, for budgets.
    #[must_use]
    pub fn size_bytes(&self) -> usize {
        match self {
            Self::Logs(b) => b.size_bytes(),
            Self::Metrics(b) => b.size_bytes(),
        }
    }

    /// Bytes of memory that the batch keeps others from using: what it holds and what it has set
    /// aside to grow, which is up to as much again.
    #[must_use]
    pub fn reserved_bytes(&self) -> usize {
        match self {
            Self::Logs(b) => b.reserved_bytes(),
            Self::Metrics(b) => b.size_bytes(),
        }
    }
}
