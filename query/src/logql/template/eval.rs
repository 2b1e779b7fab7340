//! Runs a parsed template over one record.

use std::cell::Cell;

use super::value::Value;
use super::{Command, MOVED_MAX_BYTES, Node, OUTPUT_MAX_BYTES, Operand, Scope};
use crate::logql::record::clean_text;

/// Writes all nodes.
pub fn execute(nodes: &[Node], scope: Scope<'_>) -> Result<String, String> {
    let mut run = Run {
        scope,
        variables: Vec::new(),
        dot: None,
        out: String::new(),
        moved_bytes: Cell::new(0),
    };
    run.nodes(nodes)?;
    Ok(run.out)
}

struct Run<'a> {
    scope: Scope<'a>,
    variables: Vec<(&'a str, Value)>,
    /// What `.` is inside a `with`.
    dot: Option<Value>,
    out: String,
    /// Bytes of all arguments and results so far.
    moved_bytes: Cell<usize>,
}

impl<'a> Run<'a> {
    fn nodes<'n: 'a>(&mut self, nodes: &'n [Node]) -> Result<(), String> {
        for node in nodes {
            match node {
                Node::Text(text) => self.write(text)?,
                Node::Print(pipeline) => {
                    let value = self.pipeline(pipeline)?;
                    match value {
                        Value::Text(text) => self.write(&text)?,
                        other => self.write(&other.to_string())?,
                    }
                }
                Node::Assign(name, pipeline) => {
                    let value = self.pipeline(pipeline)?;
                    match self.variables.iter_mut().rev().find(|(n, _)| n == name) {
                        Some((_, old)) => *old = value,
                        None => self.variables.push((name, value)),
                    }
                }
                Node::If(condition, yes, no) => {
                    let chosen = if self.pipeline(condition)?.is_true() {
                        yes
                    } else {
                        no
                    };
                    self.nodes(chosen)?;
                }
                Node::With(condition, yes, no) => {
                    let value = self.pipeline(condition)?;
                    if value.is_true() {
                        let outer = self.dot.replace(value);
                        self.nodes(yes)?;
                        self.dot = outer;
                    } else {
                        self.nodes(no)?;
                    }
                }
            }
        }
        Ok(())
    }

    fn write(&mut self, text: &str) -> Result<(), String> {
        self.out.push_str(text);
        within_bound(self.out.len())
    }

    fn pipeline(&self, pipeline: &[Command]) -> Result<Value, String> {
        let mut last: Option<Value> = None;
        for command in pipeline {
            let value = match command {
                Command::Operand(operand) => self.operand(operand)?,
                Command::Call(function, operands) => {
                    let mut args = Vec::with_capacity(operands.len() + 1);
                    for operand in operands {
                        let arg = self.operand(operand)?;
                        self.moved(&arg)?;
                        args.push(arg);
                    }
                    args.extend(last.take());
                    (function.eval)(&args, self.scope)
                        .map_err(|e| format!("error calling {}: {e}", function.name))?
                }
            };
            if let Value::Text(text) = &value {
                within_bound(text.len())?;
            }
            self.moved(&value)?;
            last = Some(value);
        }
        Ok(last.unwrap_or(Value::Nil))
    }

    fn moved(&self, value: &Value) -> Result<(), String> {
        let bytes = self.moved_bytes.get().saturating_add(value.held_bytes());
        self.moved_bytes.set(bytes);
        if bytes > MOVED_MAX_BYTES {
            return Err(format!(
                "template works on more than {MOVED_MAX_BYTES} bytes"
            ));
        }
        Ok(())
    }

    fn operand(&self, operand: &Operand) -> Result<Value, String> {
        let (value, path) = match operand {
            Operand::Literal(value) => return Ok(value.clone()),
            Operand::Dot => return Ok(self.dot.clone().unwrap_or_else(|| self.labels())),
            Operand::Field(path) => match &self.dot {
                Some(dot) => (dot.clone(), path.as_slice()),
                None => (self.label(&path[0]), &path[1..]),
            },
            Operand::Variable(name, path) if name == "$" => match path.split_first() {
                None => return Ok(self.labels()),
                Some((first, rest)) => (self.label(first), rest),
            },
            Operand::Variable(name, path) => {
                let found = self.variables.iter().rev().find(|(n, _)| n == name);
                (
                    found.map_or(Value::Nil, |(_, v)| v.clone()),
                    path.as_slice(),
                )
            }
            Operand::Nested(pipeline, path) => (self.pipeline(pipeline)?, path.as_slice()),
        };
        path.iter().try_fold(value, |value, name| value.field(name))
    }

    /// A label that is missing is the empty text.
    fn label(&self, name: &str) -> Value {
        Value::from(self.scope.labels.get(name).unwrap_or(""))
    }

    fn labels(&self) -> Value {
        let mut map = serde_json::Map::new();
        self.scope.labels.for_each(|name, value, _| {
            map.insert(name.to_owned(), value.into());
        });
        Value::Json(map.into())
    }
}

fn within_bound(len: usize) -> Result<(), String> {
    if len > OUTPUT_MAX_BYTES {
        return Err(format!("output longer than {OUTPUT_MAX_BYTES} bytes"));
    }
    Ok(())
}

/// The line of the record as text.
pub fn line_text(scope: Scope<'_>) -> Value {
    Value::Text(clean_text(scope.line).into_owned())
}
