//! The syntax tree of PromQL: what the parser builds, the printer prints and the engine walks.
//!
//! Every node knows the bytes of the query it came from and how deep its tree is; depth is bounded
//! by [`MAX_DEPTH`], so that walking a tree can never exhaust the stack.

use kansoku_model::Matcher;

use super::functions::Function;
use super::text::Text;

/// The deepest tree a query may have. Walking takes some hundred bytes of stack per level in a
/// release build and some thousand in a debug build, of the 2 MiB a thread has.
pub const MAX_DEPTH: u16 = 200;

/// A range of bytes of the query text.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Span {
    pub start: usize,
    pub end: usize,
}

impl Span {
    /// The range that covers both.
    #[must_use]
    pub fn to(self, other: Self) -> Self {
        Self {
            start: self.start.min(other.start),
            end: self.end.max(other.end),
        }
    }
}

/// What an expression gives.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ValueType {
    Scalar,
    String,
    /// One value per series.
    Vector,
    /// Several samples per series.
    Matrix,
}

impl ValueType {
    /// Prometheus's short word, which few messages use.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Scalar => "scalar",
            Self::String => "string",
            Self::Vector => "vector",
            Self::Matrix => "matrix",
        }
    }

    /// Prometheus's word in error messages.
    #[must_use]
    pub fn describe(self) -> &'static str {
        match self {
            Self::Scalar => "scalar",
            Self::String => "string",
            Self::Vector => "instant vector",
            Self::Matrix => "range vector",
        }
    }
}

/// One node.
#[derive(Debug, Clone)]
pub struct Expr {
    pub kind: ExprKind,
    pub span: Span,
    depth: u16,
}

/// The kinds of nodes.
#[derive(Debug, Clone)]
pub enum ExprKind {
    Number {
        value: f64,
        /// Written as a duration: prints as one.
        is_duration: bool,
    },
    String(Text),
    Paren(Box<Expr>),
    /// A sign before an expression; `+` keeps the value and drops nothing.
    Unary {
        negative: bool,
        operand: Box<Expr>,
    },
    Binary(Box<Binary>),
    Aggregate(Box<Aggregate>),
    Call {
        function: &'static Function,
        args: Vec<Expr>,
    },
    Vector(Box<Selector>),
    Matrix {
        selector: Box<Selector>,
        range: Duration,
    },
    Subquery(Box<Subquery>),
}

impl Expr {
    /// Builds a node; its depth follows from its children.
    #[must_use]
    pub fn new(kind: ExprKind, span: Span) -> Self {
        let mut depth = 0;
        for_children(&kind, &mut |child| depth = depth.max(child.depth));
        Self {
            kind,
            span,
            depth: depth + 1,
        }
    }

    /// Levels of the tree below and with this node.
    #[must_use]
    pub fn depth(&self) -> u16 {
        self.depth
    }

    /// What the expression gives.
    #[must_use]
    pub fn value_type(&self) -> ValueType {
        match &self.kind {
            ExprKind::Number { .. } => ValueType::Scalar,
            ExprKind::String(_) => ValueType::String,
            ExprKind::Paren(inner) => inner.value_type(),
            ExprKind::Unary { operand, .. } => operand.value_type(),
            ExprKind::Binary(b) => {
                if b.left.value_type() == ValueType::Scalar
                    && b.right.value_type() == ValueType::Scalar
                {
                    ValueType::Scalar
                } else {
                    ValueType::Vector
                }
            }
            ExprKind::Aggregate(_) | ExprKind::Vector(_) => ValueType::Vector,
            ExprKind::Call { function, .. } => function.returns,
            ExprKind::Matrix { .. } | ExprKind::Subquery(_) => ValueType::Matrix,
        }
    }

    /// The expression without the parentheses around it.
    #[must_use]
    pub fn unwrap_parens(&self) -> &Self {
        let mut at = self;
        while let ExprKind::Paren(inner) = &at.kind {
            at = inner;
        }
        at
    }

    /// Calls `visit` with this node and all below it.
    pub fn walk<'a>(&'a self, visit: &mut dyn FnMut(&'a Self)) {
        visit(self);
        for_children(&self.kind, &mut |child| child.walk(visit));
    }

    /// Calls `visit` with each node right below this one.
    pub fn for_each_child<'a>(&'a self, visit: &mut dyn FnMut(&'a Self)) {
        for_children(&self.kind, visit);
    }

    /// As [`Self::for_each_child`], to change them.
    pub(super) fn for_each_child_mut(&mut self, change: &mut dyn FnMut(&mut Self)) {
        match &mut self.kind {
            ExprKind::Paren(inner) | ExprKind::Unary { operand: inner, .. } => change(inner),
            ExprKind::Binary(b) => {
                change(&mut b.left);
                change(&mut b.right);
            }
            ExprKind::Aggregate(a) => {
                if let Some(parameter) = &mut a.parameter {
                    change(parameter);
                }
                change(&mut a.operand);
            }
            ExprKind::Call { args, .. } => args.iter_mut().for_each(change),
            ExprKind::Subquery(s) => change(&mut s.operand),
            ExprKind::Number { .. }
            | ExprKind::String(_)
            | ExprKind::Vector(_)
            | ExprKind::Matrix { .. } => {}
        }
    }

    /// Calls `change` with every selector in the tree.
    pub fn for_selectors(&mut self, change: &mut dyn FnMut(&mut Selector)) {
        match &mut self.kind {
            ExprKind::Vector(selector) | ExprKind::Matrix { selector, .. } => change(selector),
            _ => self.for_each_child_mut(&mut |child| child.for_selectors(change)),
        }
    }

    /// All selectors in the tree, in order of text.
    #[must_use]
    pub fn selectors(&self) -> Vec<&Selector> {
        let mut found = Vec::new();
        self.walk(&mut |node| match &node.kind {
            ExprKind::Vector(selector) | ExprKind::Matrix { selector, .. } => {
                found.push(&**selector);
            }
            _ => {}
        });
        found
    }
}

fn for_children<'a>(kind: &'a ExprKind, visit: &mut dyn FnMut(&'a Expr)) {
    match kind {
        ExprKind::Paren(inner) | ExprKind::Unary { operand: inner, .. } => visit(inner),
        ExprKind::Binary(b) => {
            visit(&b.left);
            visit(&b.right);
        }
        ExprKind::Aggregate(a) => {
            if let Some(parameter) = &a.parameter {
                visit(parameter);
            }
            visit(&a.operand);
        }
        ExprKind::Call { args, .. } => args.iter().for_each(visit),
        ExprKind::Subquery(s) => visit(&s.operand),
        ExprKind::Number { .. }
        | ExprKind::String(_)
        | ExprKind::Vector(_)
        | ExprKind::Matrix { .. } => {}
    }
}

/// Operators between two expressions.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum BinaryOp {
    Add,
    Sub,
    Mul,
    Div,
    Mod,
    Pow,
    Atan2,
    Equal,
    NotEqual,
    Greater,
    Less,
    GreaterEqual,
    LessEqual,
    /// `</`: of a histogram what is below a number.
    TrimUpper,
    /// `>/`: of a histogram what is above a number.
    TrimLower,
    And,
    Or,
    Unless,
}

impl BinaryOp {
    /// The operator as it is written.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Add => "+",
            Self::Sub => "-",
            Self::Mul => "*",
            Self::Div => "/",
            Self::Mod => "%",
            Self::Pow => "^",
            Self::Atan2 => "atan2",
            Self::Equal => "==",
            Self::NotEqual => "!=",
            Self::Greater => ">",
            Self::Less => "<",
            Self::GreaterEqual => ">=",
            Self::LessEqual => "<=",
            Self::TrimUpper => "</",
            Self::TrimLower => ">/",
            Self::And => "and",
            Self::Or => "or",
            Self::Unless => "unless",
        }
    }

    /// Binds tighter when higher.
    #[must_use]
    pub fn precedence(self) -> u8 {
        match self {
            Self::Or => 1,
            Self::And | Self::Unless => 2,
            Self::Equal
            | Self::NotEqual
            | Self::Greater
            | Self::Less
            | Self::GreaterEqual
            | Self::LessEqual
            | Self::TrimUpper
            | Self::TrimLower => 3,
            Self::Add | Self::Sub => 4,
            Self::Mul | Self::Div | Self::Mod | Self::Atan2 => 5,
            Self::Pow => 6,
        }
    }

    /// `==`, `<` and the like.
    #[must_use]
    pub fn is_comparison(self) -> bool {
        self.precedence() == 3 && !self.is_trim()
    }

    /// `</` and `>/`.
    #[must_use]
    pub fn is_trim(self) -> bool {
        matches!(self, Self::TrimUpper | Self::TrimLower)
    }

    /// `and`, `or`, `unless`.
    #[must_use]
    pub fn is_set(self) -> bool {
        self.precedence() <= 2
    }
}

/// How many series of either side may meet.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Cardinality {
    #[default]
    OneToOne,
    /// `group_left`.
    ManyToOne,
    /// `group_right`.
    OneToMany,
    /// Set operators.
    ManyToMany,
}

/// How the series of two vectors are paired.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Matching {
    pub cardinality: Cardinality,
    /// `on(..)` when true, else `ignoring(..)`.
    pub on: bool,
    pub labels: Vec<String>,
    /// Labels that `group_left(..)` or `group_right(..)` takes from the one side.
    pub include: Vec<String>,
    /// Values of `fill_left(..)`/`fill(..)` and `fill_right(..)`/`fill(..)` for missing sides.
    pub fill: [Option<f64>; 2],
}

/// Two expressions and what is between them.
#[derive(Debug, Clone)]
pub struct Binary {
    pub op: BinaryOp,
    pub left: Expr,
    pub right: Expr,
    /// `bool`: comparisons give 0 and 1.
    pub return_bool: bool,
    pub matching: Matching,
}

impl Binary {
    /// From the start of the left to the end of the right side.
    #[must_use]
    pub fn span(&self) -> Span {
        Span {
            start: self.left.span.start,
            end: self.right.span.end,
        }
    }
}

/// An aggregation over series.
#[derive(Debug, Clone)]
pub struct Aggregate {
    pub op: &'static super::aggregations::Aggregation,
    pub parameter: Option<Expr>,
    pub operand: Expr,
    /// `without(..)` when true, else `by(..)`.
    pub without: bool,
    pub grouping: Vec<String>,
}

/// Label conditions and when to look.
#[derive(Debug, Clone, Default)]
pub struct Selector {
    /// The metric name written before the braces or as a quoted name in them.
    pub name: Option<String>,
    /// All conditions, that of the name included.
    pub matchers: Vec<Matcher>,
    pub modifiers: Modifiers,
    pub extension: Option<Extension>,
    /// Nothing but counts and sums of histograms is asked for.
    pub(crate) is_bucketless: bool,
    /// The `offset` and `@` excluded.
    pub span: Span,
}

impl Selector {
    /// How far back its samples are read where its steps look back `before_ms`.
    pub(super) fn reach_ms(&self, before_ms: i64, lookback_ms: i64) -> i64 {
        let further_ms = if self.is_bucketless { lookback_ms } else { 0 };
        before_ms.saturating_add(further_ms)
    }
}

/// How a selector looks past its ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Extension {
    /// The range also has the newest sample at or before its start.
    Anchored,
    /// Values at the ends are interpolated between the samples around them.
    Smoothed,
}

impl Extension {
    /// The keyword.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Anchored => "anchored",
            Self::Smoothed => "smoothed",
        }
    }
}

/// `offset` and `@`.
#[derive(Debug, Clone, Default)]
pub struct Modifiers {
    pub offset: Option<Duration>,
    pub at: Option<At>,
}

/// The time that `@` names.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum At {
    /// Start of the query.
    Start,
    /// End of the query.
    End,
    /// Unix milliseconds.
    Time(i64),
}

/// An expression evaluated at several times.
#[derive(Debug, Clone)]
pub struct Subquery {
    pub operand: Expr,
    pub range: Duration,
    /// Default step when absent.
    pub step: Option<Duration>,
    pub modifiers: Modifiers,
}

/// A duration, which may be computed from others and from the query's step and range.
#[derive(Debug, Clone, PartialEq)]
pub enum Duration {
    /// Written with units, or as a number of seconds when `is_number`.
    Literal {
        seconds: f64,
        is_number: bool,
    },
    /// `step()`: step of the query, 0 for an instant query.
    Step,
    /// `range()`: end less start of the query.
    Range,
    Negative(Box<Duration>),
    Positive(Box<Duration>),
    Paren(Box<Duration>),
    Arithmetic(BinaryOp, Box<Duration>, Box<Duration>),
    MinOf(Box<Duration>, Box<Duration>),
    MaxOf(Box<Duration>, Box<Duration>),
}
