//! What a query gives back: values, notes and what it cost.

use std::sync::Arc;

use kansoku_model::Labels;

use super::native::FloatHistogram;

/// The result of a query.
#[derive(Debug, Clone, PartialEq)]
pub struct QueryOutput {
    pub value: QueryValue,
    /// Results that may be wrong, with their place in the query: `PromQL warning: ... (1:5)`.
    pub warnings: Vec<String>,
    /// Results that may surprise, likewise.
    pub infos: Vec<String>,
    pub stats: QueryStats,
}

/// The kinds of results.
#[derive(Debug, Clone, PartialEq)]
pub enum QueryValue {
    Scalar {
        time_ms: i64,
        value: f64,
    },
    String {
        time_ms: i64,
        /// With U+FFFD in place of what is no UTF-8.
        value: String,
    },
    /// In the engine's order; sorted only by `sort*`, `topk` and `bottomk`.
    Vector(Vec<Sample>),
    /// Sorted by labels.
    Matrix(Vec<Series>),
}

/// One series at one time.
#[derive(Debug, Clone, PartialEq)]
pub struct Sample {
    pub labels: Labels,
    pub time_ms: i64,
    pub value: f64,
    /// The sample, when it is a histogram; the value says nothing then.
    pub histogram: Option<Arc<FloatHistogram>>,
}

/// One series over time.
#[derive(Debug, Clone, PartialEq)]
pub struct Series {
    pub labels: Labels,
    /// Of the floats.
    pub times: Vec<i64>,
    pub values: Vec<f64>,
    /// Time and histogram.
    pub histograms: Vec<(i64, Arc<FloatHistogram>)>,
}

/// What a query cost.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct QueryStats {
    /// Samples that the store gave.
    pub samples_read: u64,
    /// The most samples and intermediate values held at once.
    pub peak_samples: u64,
    /// Time of each step (Unix ms) and the samples that it looked at, when they were asked for.
    pub steps: Vec<(i64, u64)>,
}
