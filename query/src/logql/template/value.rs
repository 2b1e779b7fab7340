//! What flows through a template: Go's scalars, a time, and decoded JSON.

use std::fmt;

use jiff::Zoned;

use super::format;

/// A value with its Go type.
#[derive(Debug, Clone, PartialEq)]
pub enum Value {
    Nil,
    Bool(bool),
    Int(i64),
    Float(f64),
    Text(String),
    Time(Zoned),
    /// Only from `fromJson`.
    Json(serde_json::Value),
}

impl Value {
    /// Whether `if` takes the value for true: anything but zero and empty.
    pub fn is_true(&self) -> bool {
        match self {
            Self::Nil => false,
            Self::Bool(b) => *b,
            Self::Int(n) => *n != 0,
            Self::Float(n) => *n != 0.0,
            Self::Text(t) => !t.is_empty(),
            Self::Time(_) => true,
            Self::Json(json) => match json {
                serde_json::Value::Null => false,
                serde_json::Value::Array(a) => !a.is_empty(),
                serde_json::Value::Object(o) => !o.is_empty(),
                _ => true,
            },
        }
    }

    /// About how much memory the value holds beyond its own size.
    pub fn held_bytes(&self) -> usize {
        match self {
            Self::Text(text) => text.len(),
            Self::Json(json) => json_bytes(json),
            _ => 0,
        }
    }

    /// Decoded JSON as the nearest scalar.
    pub fn from_json(json: serde_json::Value) -> Self {
        match json {
            serde_json::Value::Null => Self::Nil,
            serde_json::Value::Bool(b) => Self::Bool(b),
            serde_json::Value::Number(n) => Self::Float(n.as_f64().unwrap_or(f64::NAN)),
            serde_json::Value::String(s) => Self::Text(s),
            other => Self::Json(other),
        }
    }

    /// The value under `name`, when this is a JSON object.
    pub fn field(&self, name: &str) -> Result<Self, String> {
        match self {
            Self::Json(serde_json::Value::Object(map)) => {
                Ok(map.get(name).cloned().map_or(Self::Nil, Self::from_json))
            }
            Self::Nil => Err(format!("nil pointer evaluating interface {{}}.{name}")),
            other => Err(format!(
                "can't evaluate field {name} in type {}",
                other.type_name()
            )),
        }
    }

    /// Go's name of the type.
    pub fn type_name(&self) -> &'static str {
        match self {
            Self::Nil => "nil",
            Self::Bool(_) => "bool",
            Self::Int(_) => "int",
            Self::Float(_) => "float64",
            Self::Text(_) => "string",
            Self::Time(_) => "time.Time",
            Self::Json(serde_json::Value::Array(_)) => "[]interface {}",
            Self::Json(_) => "map[string]interface {}",
        }
    }

    /// As text, for a parameter that is one.
    pub fn as_text(&self) -> Result<&str, String> {
        match self {
            Self::Text(text) => Ok(text),
            other => Err(format!(
                "wrong type for value; expected string; got {}",
                other.type_name()
            )),
        }
    }

    /// As a whole number, for a parameter that is one.
    pub fn as_int(&self) -> Result<i64, String> {
        match self {
            Self::Int(n) => Ok(*n),
            other => Err(format!(
                "wrong type for value; expected int; got {}",
                other.type_name()
            )),
        }
    }

    /// As a time, for a parameter that is one.
    pub fn as_time(&self) -> Result<&Zoned, String> {
        match self {
            Self::Time(time) => Ok(time),
            other => Err(format!(
                "wrong type for value; expected time.Time; got {}",
                other.type_name()
            )),
        }
    }

    /// As whatever number it can be, zero when none, for functions that convert.
    pub fn to_int(&self) -> i64 {
        match self {
            Self::Int(n) => *n,
            Self::Float(n) => *n as i64,
            Self::Bool(b) => i64::from(*b),
            Self::Text(t) => t.trim().parse().unwrap_or(0),
            _ => 0,
        }
    }

    /// As whatever number it can be, zero when none, for functions that convert.
    pub fn to_float(&self) -> f64 {
        match self {
            Self::Int(n) => *n as f64,
            Self::Float(n) => *n,
            Self::Bool(b) => f64::from(u8::from(*b)),
            Self::Text(t) => t.trim().parse().unwrap_or(0.0),
            _ => 0.0,
        }
    }
}

/// The size of decoded JSON. The decoder bounds how deep it nests.
fn json_bytes(json: &serde_json::Value) -> usize {
    let inner: usize = match json {
        serde_json::Value::Array(items) => items.iter().map(json_bytes).sum(),
        serde_json::Value::Object(map) => (map.iter())
            .map(|(name, item)| name.len() + json_bytes(item))
            .sum(),
        serde_json::Value::String(text) => text.len(),
        _ => 0,
    };
    inner + size_of::<serde_json::Value>()
}

impl From<&str> for Value {
    fn from(text: &str) -> Self {
        Self::Text(text.to_owned())
    }
}

impl fmt::Display for Value {
    /// As Go's `%v`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Nil => f.write_str("<no value>"),
            Self::Bool(b) => write!(f, "{b}"),
            Self::Int(n) => write!(f, "{n}"),
            Self::Float(n) => f.write_str(&format::float_general(*n)),
            Self::Text(t) => f.write_str(t),
            Self::Time(t) => f.write_str(&super::times::format(t, super::times::GO_STRING)),
            Self::Json(json) => write_json(f, json),
        }
    }
}

/// `map[a:1 b:[x y]]`
fn write_json(f: &mut fmt::Formatter<'_>, json: &serde_json::Value) -> fmt::Result {
    match json {
        serde_json::Value::Array(items) => {
            f.write_str("[")?;
            for (i, item) in items.iter().enumerate() {
                if i > 0 {
                    f.write_str(" ")?;
                }
                write_json(f, item)?;
            }
            f.write_str("]")
        }
        serde_json::Value::Object(map) => {
            f.write_str("map[")?;
            for (i, (name, item)) in map.iter().enumerate() {
                write!(f, "{}{name}:", if i > 0 { " " } else { "" })?;
                write_json(f, item)?;
            }
            f.write_str("]")
        }
        serde_json::Value::Null => f.write_str("<nil>"),
        other => write!(f, "{}", Value::from_json(other.clone())),
    }
}
