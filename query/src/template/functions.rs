//! What a function of a template is, and those that Go itself has.

use super::value::Value;
use super::{Language, Scope, format, math, texts};

/// What a function's body is.
pub type Eval = fn(&[Value], Scope<'_>) -> Result<Value, String>;

/// A function and how many arguments it takes, a piped one included.
pub struct Function {
    pub name: &'static str,
    pub min_args: usize,
    /// `None` for any number.
    pub max_args: Option<usize>,
    pub eval: Eval,
}

/// A function of so many arguments.
#[must_use]
pub const fn exactly(name: &'static str, n: usize, eval: Eval) -> Function {
    Function {
        name,
        min_args: n,
        max_args: Some(n),
        eval,
    }
}

/// A function of so many arguments or more.
#[must_use]
pub const fn at_least(name: &'static str, n: usize, eval: Eval) -> Function {
    Function {
        name,
        min_args: n,
        max_args: None,
        eval,
    }
}

/// Those of Go itself.
pub const BUILTIN: &[Function] = &[
    at_least("and", 1, |a, _| {
        let chosen = a.iter().find(|v| !v.is_true()).or(a.last());
        Ok(chosen.cloned().unwrap_or(Value::Nil))
    }),
    at_least("or", 1, |a, _| {
        let chosen = a.iter().find(|v| v.is_true()).or(a.last());
        Ok(chosen.cloned().unwrap_or(Value::Nil))
    }),
    exactly("not", 1, |a, _| Ok(Value::Bool(!a[0].is_true()))),
    at_least("eq", 2, math::equal),
    exactly("ne", 2, |a, s| match math::equal(a, s)? {
        Value::Bool(equal) => Ok(Value::Bool(!equal)),
        other => Ok(other),
    }),
    exactly("lt", 2, |a, _| {
        math::compare(a).map(|o| Value::Bool(o.is_lt()))
    }),
    exactly("le", 2, |a, _| {
        math::compare(a).map(|o| Value::Bool(o.is_le()))
    }),
    exactly("gt", 2, |a, _| {
        math::compare(a).map(|o| Value::Bool(o.is_gt()))
    }),
    exactly("ge", 2, |a, _| {
        math::compare(a).map(|o| Value::Bool(o.is_ge()))
    }),
    exactly("len", 1, texts::len),
    at_least("index", 1, texts::index),
    at_least("slice", 1, texts::slice),
    at_least("html", 0, texts::html),
    at_least("js", 0, texts::js),
    at_least("urlquery", 0, |a, s| {
        texts::url_encode(&[texts::print(a, s)?], s)
    }),
    at_least("print", 0, texts::print),
    at_least("println", 0, texts::println),
    at_least("printf", 1, |a, _| {
        Ok(Value::Text(format::printf(a[0].as_text()?, &a[1..])))
    }),
];

/// The function called `name`: of the language, or Go's own.
pub fn find(language: Language, name: &str) -> Option<&'static Function> {
    let all = language.functions.iter().chain(BUILTIN);
    all.into_iter().find(|f| f.name == name)
}

impl Function {
    /// Whether so many arguments will do.
    pub fn check_count(&self, n: usize) -> Result<(), String> {
        if n >= self.min_args && self.max_args.is_none_or(|max| n <= max) {
            return Ok(());
        }
        let wanted = match self.max_args {
            Some(_) => self.min_args.to_string(),
            None => format!("at least {}", self.min_args),
        };
        Err(format!(
            "wrong number of args for {}: want {wanted} got {n}",
            self.name
        ))
    }
}

impl PartialEq for Function {
    fn eq(&self, other: &Self) -> bool {
        self.name == other.name
    }
}

impl std::fmt::Debug for Function {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.name)
    }
}
