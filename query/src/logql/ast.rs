//! The shape of a parsed query.
//!
//! Everything that can be checked without data has been checked: patterns are compiled, templates
//! parsed, parameters in place. `Display` gives Loki's canonical text of a query.

use std::fmt;
use std::sync::Arc;

use kansoku_model::Matcher;

use super::lexer::Quoted;
use super::stages::Stage;
use super::stages::unwrap::Unwrap;

/// A query: log lines or numbers.
#[derive(Debug, Clone)]
pub enum Expr {
    Log(LogExpr),
    Metric(MetricExpr),
}

/// Streams to read and what to do with each entry.
#[derive(Clone)]
pub struct LogExpr {
    pub matchers: Vec<Matcher>,
    pub stages: Vec<Arc<dyn Stage>>,
}

/// An expression that gives numbers.
#[derive(Debug, Clone)]
pub enum MetricExpr {
    Range(RangeExpr),
    Aggregate(AggregateExpr),
    Binary(Box<BinaryExpr>),
    LabelReplace(Box<LabelReplaceExpr>),
    /// A number.
    Literal(f64),
    /// `vector(1)`
    Vector(f64),
}

/// `rate({..} | .. [5m] offset 1h) by (..)`
#[derive(Debug, Clone)]
pub struct RangeExpr {
    pub function: &'static super::range::RangeFunction,
    /// Of `quantile_over_time`.
    pub parameter: Option<f64>,
    pub log: LogExpr,
    pub unwrap: Option<Unwrap>,
    pub range_ns: i64,
    pub offset_ns: i64,
    pub grouping: Option<Grouping>,
}

/// `by (a, b)` or `without (a, b)`, names sorted.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Grouping {
    pub without: bool,
    pub names: Vec<String>,
}

/// `sum by (a) (..)`
#[derive(Debug, Clone)]
pub struct AggregateExpr {
    pub op: AggregateOp,
    /// Of `topk`, `bottomk` and `approx_topk`.
    pub parameter: Option<usize>,
    pub grouping: Option<Grouping>,
    pub inner: Box<MetricExpr>,
}

/// How series of one moment become fewer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum AggregateOp {
    Sum,
    Avg,
    Min,
    Max,
    Count,
    Stddev,
    Stdvar,
    Topk,
    Bottomk,
    /// Exact here; Loki estimates it.
    ApproxTopk,
    Sort,
    SortDesc,
}

/// `a + on (x) group_left (y) b`
#[derive(Debug, Clone)]
pub struct BinaryExpr {
    pub op: BinaryOp,
    pub left: MetricExpr,
    pub right: MetricExpr,
    pub return_bool: bool,
    pub matching: Matching,
}

/// Operators between two expressions.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum BinaryOp {
    Or,
    And,
    Unless,
    Add,
    Sub,
    Mul,
    Div,
    Mod,
    Pow,
    Equal,
    NotEqual,
    Greater,
    GreaterEqual,
    Less,
    LessEqual,
}

/// How many series of each side may meet.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Cardinality {
    #[default]
    OneToOne,
    ManyToOne,
    OneToMany,
}

/// Which labels make two series meet.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Matching {
    pub cardinality: Cardinality,
    /// `on` rather than `ignoring`.
    pub on: bool,
    pub names: Vec<String>,
    /// Labels that `group_left` or `group_right` copies from the one side.
    pub include: Vec<String>,
}

/// `label_replace(v, "dst", "replacement", "src", "regex")`
#[derive(Debug, Clone)]
pub struct LabelReplaceExpr {
    pub inner: MetricExpr,
    pub destination: String,
    pub replacement: String,
    pub source: String,
    pub pattern: String,
    pub regex: regex::Regex,
}

impl AggregateOp {
    /// Every operator with its name.
    pub const ALL: &[(Self, &'static str)] = &[
        (Self::Sum, "sum"),
        (Self::Avg, "avg"),
        (Self::Min, "min"),
        (Self::Max, "max"),
        (Self::Count, "count"),
        (Self::Stddev, "stddev"),
        (Self::Stdvar, "stdvar"),
        (Self::Topk, "topk"),
        (Self::Bottomk, "bottomk"),
        (Self::ApproxTopk, "approx_topk"),
        (Self::Sort, "sort"),
        (Self::SortDesc, "sort_desc"),
    ];

    /// The operator's name.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        Self::ALL
            .iter()
            .find(|(op, _)| *op == self)
            .map_or("", |(_, name)| name)
    }
}

impl BinaryOp {
    /// Every operator, its text and how tightly it binds.
    pub const ALL: &[(Self, &'static str, u8)] = &[
        (Self::Or, "or", 1),
        (Self::And, "and", 2),
        (Self::Unless, "unless", 2),
        (Self::Equal, "==", 3),
        (Self::NotEqual, "!=", 3),
        (Self::Greater, ">", 3),
        (Self::GreaterEqual, ">=", 3),
        (Self::Less, "<", 3),
        (Self::LessEqual, "<=", 3),
        (Self::Add, "+", 4),
        (Self::Sub, "-", 4),
        (Self::Mul, "*", 5),
        (Self::Div, "/", 5),
        (Self::Mod, "%", 5),
        (Self::Pow, "^", 6),
    ];

    /// The operator as written.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        Self::ALL
            .iter()
            .find(|(op, ..)| *op == self)
            .map_or("", |(_, text, _)| text)
    }

    /// `and`, `or`, `unless`.
    #[must_use]
    pub fn is_set(self) -> bool {
        matches!(self, Self::And | Self::Or | Self::Unless)
    }

    /// `==`, `<` and their like.
    #[must_use]
    pub fn is_comparison(self) -> bool {
        matches!(
            self,
            Self::Equal
                | Self::NotEqual
                | Self::Greater
                | Self::GreaterEqual
                | Self::Less
                | Self::LessEqual
        )
    }
}

impl LogExpr {
    /// Only a selector, without a stage.
    #[must_use]
    pub fn is_selector(&self) -> bool {
        self.stages.is_empty()
    }
}

impl fmt::Display for LogExpr {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("{")?;
        for (i, matcher) in self.matchers.iter().enumerate() {
            if i > 0 {
                f.write_str(", ")?;
            }
            write!(
                f,
                "{}{}{}",
                matcher.name,
                matcher.op.as_str(),
                Quoted(&matcher.value)
            )?;
        }
        f.write_str("}")?;
        for stage in &self.stages {
            write!(f, " {stage}")?;
        }
        Ok(())
    }
}

impl fmt::Debug for LogExpr {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}
