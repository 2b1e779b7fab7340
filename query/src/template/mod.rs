//! Go's text templates as queries and rules use them: fields, pipelines, functions, `if`, `with`,
//! `range`, variables, named templates.
//!
//! What functions there are is the caller's list ([`Language`]); what `.` is comes by [`Data`]. The
//! one rule: a template works within bounds of steps, memory and output whatever it is given, and
//! when it fails nothing of its output is used.

mod eval;
pub mod format;
pub mod functions;
pub mod math;
mod methods;
mod parse;
pub mod prometheus;
mod regexes;
pub mod texts;
pub mod times;
mod value;

use functions::Function;

pub use value::{Sample, Value};

/// The longest text one template may write: beyond it lies a repeat gone wrong.
pub const OUTPUT_MAX_BYTES: usize = 1 << 20;

/// The most bytes of arguments and results of one execution. It bounds what is held at once, and how
/// long a record may take; templates for real lines stay far below.
pub const MOVED_MAX_BYTES: usize = 16 << 20;

/// The most nodes one execution may run: loops within loops end there.
pub const STEPS_MAX: usize = 1 << 20;

/// The functions of a kind of templates, besides those of Go itself.
#[derive(Debug, Clone, Copy)]
pub struct Language {
    pub functions: &'static [Function],
}

/// What a template may look at.
pub trait Data {
    /// `.name` at the top.
    ///
    /// # Errors
    /// When there can be no such field.
    fn field(&self, name: &str) -> Result<Value, String>;

    /// `.` at the top.
    fn all(&self) -> Value;

    /// The time it is about, Unix nanoseconds.
    fn time_ns(&self) -> i64;

    /// The line of a log record; empty where there is none.
    fn line(&self) -> &[u8] {
        &[]
    }

    /// Runs a query at the time of the data.
    ///
    /// # Errors
    /// When it fails, or nothing can be asked here.
    fn query(&self, _text: &str) -> Result<Value, String> {
        Err("queries cannot be run here".into())
    }

    /// Where people reach the server.
    fn external_url(&self) -> &str {
        ""
    }
}

/// A parsed template.
#[derive(Debug)]
pub struct Template {
    nodes: Vec<Node>,
    /// Those of `define` and `block`, by name.
    named: Vec<(String, Vec<Node>)>,
    regexes: regexes::Regexes,
}

/// A piece of a template.
#[derive(Debug, Clone, PartialEq)]
enum Node {
    Text(String),
    /// `{{ pipeline }}`
    Print(Pipeline),
    /// `{{ $x := pipeline }}`
    Declare(String, Pipeline),
    /// `{{ $x = pipeline }}`
    Assign(String, Pipeline),
    /// `{{ if a }} .. {{ else }} .. {{ end }}`
    If(Condition, Vec<Node>, Vec<Node>),
    /// `{{ with a }} .. {{ else }} .. {{ end }}`
    With(Condition, Vec<Node>, Vec<Node>),
    /// `{{ range $i, $x := a }} .. {{ else }} .. {{ end }}`
    Range(Condition, Vec<Node>, Vec<Node>),
    Break,
    Continue,
    /// `{{ template "name" pipeline }}`
    Call(String, Option<Pipeline>),
}

/// What a block hangs on: a pipeline, and the variables that take its value.
#[derive(Debug, Clone, PartialEq)]
struct Condition {
    /// At most one; of `range` at most two.
    variables: Vec<String>,
    pipeline: Pipeline,
}

/// Commands whose result is the last argument of the next.
type Pipeline = Vec<Command>;

/// A function with its arguments, a method of a value with its own, or one plain operand.
#[derive(Debug, Clone, PartialEq)]
enum Command {
    Operand(Operand),
    Call(&'static Function, Vec<Operand>),
    Method(Operand, String, Vec<Operand>),
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

/// What functions may look at.
#[derive(Clone, Copy)]
pub struct Scope<'a> {
    pub data: &'a dyn Data,
    regexes: &'a regexes::Regexes,
}

impl Template {
    /// Reads a template; `name` is what messages call it.
    ///
    /// # Errors
    /// When it is malformed or uses a function that does not exist here.
    pub fn new(name: &str, text: &str, language: Language) -> Result<Self, String> {
        let (nodes, named) = parse::parse(name, text, language)?;
        Ok(Self {
            nodes,
            named,
            regexes: regexes::Regexes::default(),
        })
    }

    /// The field that is the whole template, as in `{{.message}}`.
    #[must_use]
    pub fn single_field(&self) -> Option<&str> {
        let [Node::Print(pipeline)] = self.nodes.as_slice() else {
            return None;
        };
        match pipeline.as_slice() {
            [Command::Operand(Operand::Field(path))] if path.len() == 1 => Some(&path[0]),
            _ => None,
        }
    }

    /// Writes the template.
    ///
    /// # Errors
    /// When a function is given what it cannot use, or a bound is reached.
    pub fn execute(&self, data: &dyn Data) -> Result<String, String> {
        let scope = Scope {
            data,
            regexes: &self.regexes,
        };
        eval::execute(self, scope)
    }

    /// Adds the names of the fields that are read; false when it may be any.
    pub fn fields_read(&self, names: &mut Vec<String>) -> bool {
        let named = self.named.iter().map(|(_, nodes)| nodes);
        std::iter::once(&self.nodes)
            .chain(named)
            .all(|nodes| nodes_read(nodes, names))
    }
}

fn nodes_read(nodes: &[Node], names: &mut Vec<String>) -> bool {
    nodes.iter().all(|node| match node {
        Node::Text(_) | Node::Break | Node::Continue | Node::Call(_, None) => true,
        Node::Print(p) | Node::Declare(_, p) | Node::Assign(_, p) | Node::Call(_, Some(p)) => {
            pipeline_read(p, names)
        }
        Node::If(c, yes, no) | Node::With(c, yes, no) | Node::Range(c, yes, no) => {
            pipeline_read(&c.pipeline, names) && nodes_read(yes, names) && nodes_read(no, names)
        }
    })
}

fn pipeline_read(pipeline: &[Command], names: &mut Vec<String>) -> bool {
    let mut read = |operand: &Operand| match operand {
        Operand::Variable(name, path) if name == "$" => {
            names.extend(path.first().cloned());
            !path.is_empty()
        }
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
        Command::Method(of, _, operands) => read(of) && operands.iter().all(&mut read),
    })
}
