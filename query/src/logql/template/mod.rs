//! The part of Go's text templates that queries use: fields, pipelines, functions, `if`, `with`,
//! variables.
//!
//! `range`, `define`, `template` and `block` are refused when the query is parsed. A template that
//! parses can still fail on a record (wrong type); then nothing of its output is used.

mod eval;
mod format;
mod functions;
mod math;
mod parse;
mod regexes;
mod texts;
mod times;
mod value;

use super::record::{Record, RecordLabels};

pub use value::Value;

/// The longest text one template may write: beyond it lies a repeat gone wrong.
pub const OUTPUT_MAX_BYTES: usize = 1 << 20;

/// The most bytes of arguments and results of one execution. It bounds what is held at once, and how
/// long a record may take; templates for real lines stay far below.
pub const MOVED_MAX_BYTES: usize = 16 << 20;

/// A parsed template.
#[derive(Debug)]
pub struct Template {
    nodes: Vec<Node>,
    regexes: regexes::Regexes,
}

/// A piece of a template.
#[derive(Debug, Clone, PartialEq)]
enum Node {
    Text(String),
    /// `{{ pipeline }}`
    Print(Pipeline),
    /// `{{ $x := pipeline }}`
    Assign(String, Pipeline),
    /// `{{ if a }} .. {{ else }} .. {{ end }}`
    If(Pipeline, Vec<Node>, Vec<Node>),
    /// `{{ with a }} .. {{ else }} .. {{ end }}`
    With(Pipeline, Vec<Node>, Vec<Node>),
}

/// Commands whose result is the last argument of the next.
type Pipeline = Vec<Command>;

/// A function with its arguments, or one plain operand.
#[derive(Debug, Clone, PartialEq)]
enum Command {
    Operand(Operand),
    Call(&'static functions::Function, Vec<Operand>),
}

#[derive(Debug, Clone, PartialEq)]
enum Operand {
    Literal(Value),
    /// `.`
    Dot,
    /// `.a.b`
    Field(Vec<String>),
    /// `$x.a`
    Variable(String, Vec<String>),
    /// `(pipeline).a`
    Nested(Pipeline, Vec<String>),
}

/// What a template may look at.
#[derive(Debug, Clone, Copy)]
pub struct Scope<'a> {
    pub labels: &'a RecordLabels<'a>,
    pub line: &'a [u8],
    pub time_ns: i64,
    pub regexes: &'a regexes::Regexes,
}

impl Template {
    /// Reads a template.
    ///
    /// # Errors
    /// When it is malformed or uses a function that does not exist here.
    pub fn new(text: &str) -> Result<Self, String> {
        Ok(Self {
            nodes: parse::parse(text)?,
            regexes: regexes::Regexes::default(),
        })
    }

    /// The label that is the whole template, as in `{{.message}}`.
    pub fn single_label(&self) -> Option<&str> {
        let [Node::Print(pipeline)] = self.nodes.as_slice() else {
            return None;
        };
        match pipeline.as_slice() {
            [Command::Operand(Operand::Field(path))] if path.len() == 1 => Some(&path[0]),
            _ => None,
        }
    }

    /// Writes the template for a record.
    ///
    /// # Errors
    /// When a function is given what it cannot use.
    pub fn execute(&self, record: &Record<'_>) -> Result<String, String> {
        let scope = Scope {
            labels: &record.labels,
            line: &record.line,
            time_ns: record.time_ns,
            regexes: &self.regexes,
        };
        eval::execute(&self.nodes, scope)
    }

    /// Adds the names of the labels that are read; false when it may be any.
    pub fn labels_read(&self, names: &mut Vec<String>) -> bool {
        nodes_read(&self.nodes, names)
    }
}

fn nodes_read(nodes: &[Node], names: &mut Vec<String>) -> bool {
    nodes.iter().all(|node| match node {
        Node::Text(_) => true,
        Node::Print(p) | Node::Assign(_, p) => pipeline_read(p, names),
        Node::If(p, yes, no) | Node::With(p, yes, no) => {
            pipeline_read(p, names) && nodes_read(yes, names) && nodes_read(no, names)
        }
    })
}

fn pipeline_read(pipeline: &[Command], names: &mut Vec<String>) -> bool {
    let mut read = |operand: &Operand| match operand {
        Operand::Literal(_) | Operand::Variable(..) => true,
        Operand::Dot => false,
        Operand::Field(path) => {
            names.push(path[0].clone());
            true
        }
        Operand::Nested(inner, _) => pipeline_read(inner, names),
    };
    pipeline.iter().all(|command| match command {
        Command::Operand(operand) => read(operand),
        Command::Call(_, operands) => operands.iter().all(&mut read),
    })
}

#[cfg(test)]
mod tests;
