//! The functions that templates may call: one hand-written list.
//!
//! Names, order of arguments and results are those of Loki, which takes them from Go's template
//! package, from sprig and from itself.

use super::value::Value;
use super::{Scope, eval, format, math, texts, times};

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

const fn exactly(name: &'static str, n: usize, eval: Eval) -> Function {
    Function {
        name,
        min_args: n,
        max_args: Some(n),
        eval,
    }
}

const fn at_least(name: &'static str, n: usize, eval: Eval) -> Function {
    Function {
        name,
        min_args: n,
        max_args: None,
        eval,
    }
}

/// Every function.
pub const FUNCTIONS: &[Function] = &[
    // The record.
    exactly("__line__", 0, |_, scope| Ok(eval::line_text(scope))),
    exactly("__timestamp__", 0, |_, scope| {
        times::from_ns(scope.time_ns).map(Value::Time)
    }),
    // Case, trimming, cutting.
    exactly("ToLower", 1, texts::lower),
    exactly("ToUpper", 1, texts::upper),
    exactly("lower", 1, texts::lower),
    exactly("upper", 1, texts::upper),
    exactly("title", 1, texts::title),
    exactly("Trim", 2, |a, s| {
        texts::trim_all(&[a[1].clone(), a[0].clone()], s)
    }),
    exactly("TrimLeft", 2, texts::trim_left),
    exactly("TrimRight", 2, texts::trim_right),
    exactly("TrimPrefix", 2, |a, s| {
        texts::trim_prefix(&[a[1].clone(), a[0].clone()], s)
    }),
    exactly("TrimSuffix", 2, |a, s| {
        texts::trim_suffix(&[a[1].clone(), a[0].clone()], s)
    }),
    exactly("TrimSpace", 1, texts::trim),
    exactly("trim", 1, texts::trim),
    exactly("trimAll", 2, texts::trim_all),
    exactly("trimPrefix", 2, texts::trim_prefix),
    exactly("trimSuffix", 2, texts::trim_suffix),
    exactly("trunc", 2, texts::trunc),
    exactly("substr", 3, texts::substr),
    exactly("alignLeft", 2, texts::align_left),
    exactly("alignRight", 2, texts::align_right),
    exactly("indent", 2, texts::indent),
    exactly("nindent", 2, texts::nindent),
    exactly("repeat", 2, texts::repeat),
    // Searching and replacing.
    exactly("Replace", 4, texts::replace_n),
    exactly("replace", 3, texts::replace),
    exactly("regexReplaceAll", 3, texts::regex_replace_all),
    exactly(
        "regexReplaceAllLiteral",
        3,
        texts::regex_replace_all_literal,
    ),
    exactly("count", 2, texts::regex_count),
    exactly("contains", 2, texts::contains),
    exactly("hasPrefix", 2, texts::has_prefix),
    exactly("hasSuffix", 2, texts::has_suffix),
    // Encodings.
    exactly("urlencode", 1, texts::url_encode),
    exactly("urlquery", 1, texts::url_encode),
    exactly("urldecode", 1, texts::url_decode),
    exactly("b64enc", 1, texts::base64_encode),
    exactly("b64dec", 1, texts::base64_decode),
    exactly("fromJson", 1, texts::from_json),
    // Numbers.
    exactly("int", 1, |a, _| Ok(Value::Int(a[0].to_int()))),
    exactly("float64", 1, |a, _| Ok(Value::Float(a[0].to_float()))),
    at_least("add", 1, math::add),
    exactly("sub", 2, math::sub),
    at_least("mul", 1, math::mul),
    exactly("div", 2, math::div),
    exactly("mod", 2, math::modulo),
    at_least("addf", 1, math::addf),
    at_least("subf", 1, math::subf),
    at_least("mulf", 1, math::mulf),
    at_least("divf", 1, math::divf),
    at_least("max", 1, math::max),
    at_least("min", 1, math::min),
    at_least("maxf", 1, math::maxf),
    at_least("minf", 1, math::minf),
    exactly("ceil", 1, |a, _| Ok(Value::Float(a[0].to_float().ceil()))),
    exactly("floor", 1, |a, _| Ok(Value::Float(a[0].to_float().floor()))),
    at_least("round", 1, math::round),
    exactly("bytes", 1, math::bytes),
    exactly("duration", 1, math::duration),
    exactly("duration_seconds", 1, math::duration),
    // Times.
    exactly("date", 2, times::date),
    exactly("toDate", 2, times::to_date),
    exactly("toDateInZone", 3, times::to_date_in_zone),
    exactly("unixToTime", 1, times::unix_to_time),
    exactly("unixEpoch", 1, times::unix_epoch),
    exactly("unixEpochMillis", 1, times::unix_epoch_millis),
    exactly("unixEpochNanos", 1, times::unix_epoch_nanos),
    // Choosing and comparing.
    exactly("default", 2, |a, _| {
        let chosen = if a[1].is_true() { &a[1] } else { &a[0] };
        Ok(chosen.clone())
    }),
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
    // Output.
    exactly("len", 1, texts::len),
    at_least("index", 1, texts::index),
    at_least("print", 0, texts::print),
    at_least("println", 0, texts::println),
    at_least("printf", 1, |a, _| {
        Ok(Value::Text(format::printf(a[0].as_text()?, &a[1..])))
    }),
];

/// The function called `name`.
pub fn find(name: &str) -> Option<&'static Function> {
    FUNCTIONS.iter().find(|f| f.name == name)
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
