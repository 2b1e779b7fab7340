//! Runs a parsed template over its data.

use std::cell::Cell;

use super::functions::Function;
use super::value::Value;
use super::{
    Command, Condition, MOVED_MAX_BYTES, Node, OUTPUT_MAX_BYTES, Operand, STEPS_MAX, Scope,
    Template,
};

/// How deep templates may call each other.
const CALLS_MAX: usize = 64;

/// Writes a whole template.
pub fn execute(template: &Template, scope: Scope<'_>) -> Result<String, String> {
    let mut run = Run {
        template,
        scope,
        variables: Vec::new(),
        root: None,
        dot: None,
        out: String::new(),
        moved_bytes: Cell::new(0),
        n_steps: 0,
        depth: 0,
    };
    run.nodes(&template.nodes)?;
    Ok(run.out)
}

/// How a list of nodes ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Flow {
    Next,
    Break,
    Continue,
}

struct Run<'a> {
    template: &'a Template,
    scope: Scope<'a>,
    variables: Vec<(&'a str, Value)>,
    /// What `$` is inside a named template.
    root: Option<Value>,
    /// What `.` is inside a `with`, `range` or named template.
    dot: Option<Value>,
    out: String,
    /// Bytes of all arguments and results so far.
    moved_bytes: Cell<usize>,
    n_steps: usize,
    /// Named templates that are under way.
    depth: usize,
}

impl<'a> Run<'a> {
    fn nodes(&mut self, nodes: &'a [Node]) -> Result<Flow, String> {
        for node in nodes {
            self.n_steps += 1;
            if self.n_steps > STEPS_MAX {
                return Err(format!("template runs more than {STEPS_MAX} steps"));
            }
            let flow = self.node(node)?;
            if flow != Flow::Next {
                return Ok(flow);
            }
        }
        Ok(Flow::Next)
    }

    fn node(&mut self, node: &'a Node) -> Result<Flow, String> {
        match node {
            Node::Text(text) => self.write(text)?,
            Node::Print(pipeline) => match self.pipeline(pipeline)? {
                Value::Text(text) => self.write(&text)?,
                other => self.write(&other.to_string())?,
            },
            Node::Declare(name, pipeline) => {
                let value = self.pipeline(pipeline)?;
                self.variables.push((name, value));
            }
            Node::Assign(name, pipeline) => {
                let value = self.pipeline(pipeline)?;
                if let Some((_, old)) = self.variables.iter_mut().rev().find(|(n, _)| n == name) {
                    *old = value;
                }
            }
            Node::If(condition, yes, no) => {
                return self.scoped(|run| {
                    let chosen = if run.condition(condition)?.is_true() {
                        yes
                    } else {
                        no
                    };
                    run.nodes(chosen)
                });
            }
            Node::With(condition, yes, no) => {
                return self.scoped(|run| {
                    let value = run.condition(condition)?;
                    if !value.is_true() {
                        return run.nodes(no);
                    }
                    let outer = run.dot.replace(value);
                    let flow = run.nodes(yes);
                    run.dot = outer;
                    flow
                });
            }
            Node::Range(condition, body, otherwise) => {
                return self.range(condition, body, otherwise);
            }
            Node::Break => return Ok(Flow::Break),
            Node::Continue => return Ok(Flow::Continue),
            Node::Call(name, data) => self.call(name, data.as_deref())?,
        }
        Ok(Flow::Next)
    }

    /// Runs a block, whose variables end with it.
    fn scoped(
        &mut self,
        block: impl FnOnce(&mut Self) -> Result<Flow, String>,
    ) -> Result<Flow, String> {
        let n_variables = self.variables.len();
        let flow = block(self);
        self.variables.truncate(n_variables);
        flow
    }

    fn condition(&mut self, condition: &'a Condition) -> Result<Value, String> {
        let value = self.pipeline(&condition.pipeline)?;
        if let Some(name) = condition.variables.first() {
            self.variables.push((name, value.clone()));
        }
        Ok(value)
    }

    fn range(
        &mut self,
        condition: &'a Condition,
        body: &'a [Node],
        otherwise: &'a [Node],
    ) -> Result<Flow, String> {
        let items = self.pipeline(&condition.pipeline)?.items()?;
        if items.is_empty() {
            return self.scoped(|run| run.nodes(otherwise));
        }
        // Also a body without nodes takes its time.
        self.n_steps = self.n_steps.saturating_add(items.len());
        for (key, item) in items {
            let flow = self.scoped(|run| {
                match condition.variables.as_slice() {
                    [name] => run.variables.push((name, item.clone())),
                    [first, second, ..] => {
                        run.variables.push((first, key));
                        run.variables.push((second, item.clone()));
                    }
                    [] => {}
                }
                let outer = run.dot.replace(item);
                let flow = run.nodes(body);
                run.dot = outer;
                flow
            })?;
            if flow == Flow::Break {
                break;
            }
        }
        Ok(Flow::Next)
    }

    fn call(&mut self, name: &str, data: Option<&'a [Command]>) -> Result<(), String> {
        let template = self.template;
        let found = template.named.iter().find(|(n, _)| n == name);
        let (_, nodes) = found.ok_or_else(|| format!("template {name:?} not defined"))?;
        if self.depth >= CALLS_MAX {
            return Err(format!("templates call each other deeper than {CALLS_MAX}"));
        }
        let data = match data {
            Some(pipeline) => self.pipeline(pipeline)?,
            None => Value::Nil,
        };
        let outer = (
            self.root.replace(data.clone()),
            self.dot.replace(data),
            std::mem::take(&mut self.variables),
        );
        self.depth += 1;
        let flow = self.nodes(nodes);
        self.depth -= 1;
        (self.root, self.dot, self.variables) = outer;
        flow.map(drop)
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
                Command::Method(of, name, operands) => {
                    let args = self.arguments(operands, last.take())?;
                    self.operand(of)?.method(name, &args)?
                }
                Command::Call(function, operands) => {
                    function.check_count(operands.len() + usize::from(last.is_some()))?;
                    let args = self.arguments(operands, last.take())?;
                    (function.eval)(&args, self.scope)
                        .map_err(|e| refused(function, operands, e))?
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

    fn arguments(&self, operands: &[Operand], piped: Option<Value>) -> Result<Vec<Value>, String> {
        let mut args = Vec::with_capacity(operands.len() + 1);
        for operand in operands {
            let arg = self.operand(operand)?;
            self.moved(&arg)?;
            args.push(arg);
        }
        args.extend(piped);
        Ok(args)
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
        let data = self.scope.data;
        let (value, path) = match operand {
            Operand::Literal(value) => return Ok(value.clone()),
            Operand::Dot => return Ok(self.dot.clone().unwrap_or_else(|| data.all())),
            Operand::Field(path) => match &self.dot {
                Some(dot) => (dot.clone(), path.as_slice()),
                None => (data.field(&path[0])?, &path[1..]),
            },
            Operand::Variable(name, path) if name == "$" => {
                match (&self.root, path.split_first()) {
                    (Some(root), _) => (root.clone(), path.as_slice()),
                    (None, None) => return Ok(data.all()),
                    (None, Some((first, rest))) => (data.field(first)?, rest),
                }
            }
            Operand::Variable(name, path) => {
                let found = self.variables.iter().rev().find(|(n, _)| n == name);
                let value = found.map_or(Value::Nil, |(_, v)| v.clone());
                (value, path.as_slice())
            }
            Operand::Nested(pipeline, path) => (self.pipeline(pipeline)?, path.as_slice()),
        };
        // What a pipeline gives has fields even if it is nothing; only a field that is nothing has none.
        let is_of_pipeline = matches!(operand, Operand::Variable(..) | Operand::Nested(..));
        if is_of_pipeline && value == Value::Nil {
            return Ok(value);
        }
        path.iter().try_fold(value, |value, name| value.field(name))
    }
}

/// Go's words for a function that did not take its arguments: a wrong type is found before the call, and that of
/// a literal is told by what stands there.
fn refused(function: &Function, operands: &[Operand], error: String) -> String {
    let Some(types) = error.strip_prefix("wrong type for value; expected ") else {
        return match error.starts_with("invalid value; expected ") {
            true => error,
            false => format!("error calling {}: {error}", function.name),
        };
    };
    let literal = |(wanted, got): (&str, &str)| {
        let found = operands.iter().find_map(|operand| match operand {
            Operand::Literal(Value::Text(text)) if got == "string" => Some(format!("{text:?}")),
            Operand::Literal(value) if value.type_name() == got => Some(value.to_string()),
            _ => None,
        })?;
        Some(match wanted {
            "string" => format!("expected string; found {found}"),
            "int" => format!("expected integer; found {found}"),
            wanted => format!("can't handle {found} for arg of type {wanted}"),
        })
    };
    let found = types.split_once("; got ").and_then(literal);
    found.unwrap_or(error)
}

fn within_bound(len: usize) -> Result<(), String> {
    if len > OUTPUT_MAX_BYTES {
        return Err(format!("output longer than {OUTPUT_MAX_BYTES} bytes"));
    }
    Ok(())
}
