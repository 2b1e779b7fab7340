//! What flows through a template: Go's scalars, a time, decoded JSON, label sets and results of
//! queries.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;

use jiff::Zoned;
use kansoku_model::Labels;

use super::{format, methods};

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
    /// A duration in nanoseconds.
    Duration(i64),
    /// Go's `map[string]string`: what is missing is empty.
    Labels(Arc<Labels>),
    /// One series of a result.
    Sample(Arc<Sample>),
    /// The result of a query.
    Vector(Arc<Vec<Arc<Sample>>>),
    /// What `args` gives.
    Map(Arc<BTreeMap<String, Value>>),
}

/// One series of a query's result as templates see it.
#[derive(Debug, Clone, PartialEq)]
pub struct Sample {
    pub labels: Arc<Labels>,
    /// A float, or the text of a histogram.
    pub value: Value,
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
            Self::Time(_) | Self::Sample(_) => true,
            Self::Duration(ns) => *ns != 0,
            Self::Labels(labels) => !labels.is_empty(),
            Self::Vector(samples) => !samples.is_empty(),
            Self::Map(map) => !map.is_empty(),
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
            Self::Labels(labels) => Ok(Self::from(labels.get(name).unwrap_or(""))),
            Self::Map(map) => Ok(map.get(name).cloned().unwrap_or(Self::Nil)),
            Self::Sample(sample) => match name {
                "Labels" => Ok(Self::Labels(Arc::clone(&sample.labels))),
                "Value" => Ok(sample.value.clone()),
                _ => Err(format!(
                    "can't evaluate field {name} in type *template.sample"
                )),
            },
            Self::Duration(ns) => methods::duration(*ns, name),
            Self::Time(time) => methods::time(time, name),
            Self::Nil => Err(format!("nil pointer evaluating interface {{}}.{name}")),
            other => Err(format!(
                "can't evaluate field {name} in type {}",
                other.type_name()
            )),
        }
    }

    /// What a method of the value gives that takes arguments.
    pub fn method(&self, name: &str, args: &[Self]) -> Result<Self, String> {
        match self {
            Self::Time(time) => methods::of_time(time, name, args),
            Self::Duration(ns) => methods::of_duration(*ns, name, args),
            Self::Labels(_) | Self::Map(_) | Self::Json(serde_json::Value::Object(_)) => {
                Err(format!("{name} is not a method but has arguments"))
            }
            other => {
                other.field(name)?;
                Err(format!(
                    "{name} has arguments but cannot be invoked as function"
                ))
            }
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
            Self::Json(_) | Self::Map(_) => "map[string]interface {}",
            Self::Duration(_) => "time.Duration",
            Self::Labels(_) => "map[string]string",
            Self::Sample(_) => "*template.sample",
            Self::Vector(_) => "template.queryResult",
        }
    }

    /// What `range` goes over, each with its index or key.
    pub fn items(&self) -> Result<Vec<(Self, Self)>, String> {
        fn indexed(items: impl Iterator<Item = Value>) -> Vec<(Value, Value)> {
            let index = |(i, item)| (Value::Int(i64::try_from(i).unwrap_or(i64::MAX)), item);
            items.enumerate().map(index).collect()
        }
        Ok(match self {
            Self::Nil => Vec::new(),
            Self::Vector(samples) => indexed(samples.iter().cloned().map(Self::Sample)),
            Self::Json(serde_json::Value::Array(items)) => {
                indexed(items.iter().cloned().map(Self::from_json))
            }
            Self::Json(serde_json::Value::Object(map)) => map
                .iter()
                .map(|(name, item)| (name.as_str().into(), Self::from_json(item.clone())))
                .collect(),
            Self::Labels(labels) => labels.iter().map(|(n, v)| (n.into(), v.into())).collect(),
            Self::Map(map) => map
                .iter()
                .map(|(name, item)| (name.as_str().into(), item.clone()))
                .collect(),
            Self::Int(n) if (0..=RANGE_MAX).contains(n) => indexed((0..*n).map(Self::Int)),
            other => return Err(format!("range can't iterate over {other}")),
        })
    }

    /// As text, for a parameter that is one.
    pub fn as_text(&self) -> Result<&str, String> {
        match self {
            Self::Text(text) => Ok(text),
            Self::Nil => Err("invalid value; expected string".into()),
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
            Self::Nil => Err("invalid value; expected int".into()),
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
            Self::Nil => Err("invalid value; expected time.Time".into()),
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

/// The largest number that `range` counts up to.
const RANGE_MAX: i64 = 100_000;

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
            Self::Duration(ns) => f.write_str(&format::go_duration(*ns)),
            Self::Labels(labels) => {
                let pairs = labels.iter().map(|(name, value)| format!("{name}:{value}"));
                write!(f, "map[{}]", pairs.collect::<Vec<_>>().join(" "))
            }
            Self::Sample(sample) => {
                let labels = Self::Labels(Arc::clone(&sample.labels));
                write!(f, "{{{labels} {}}}", sample.value)
            }
            Self::Vector(samples) => {
                let all = samples
                    .iter()
                    .map(|s| Self::Sample(Arc::clone(s)).to_string());
                write!(f, "[{}]", all.collect::<Vec<_>>().join(" "))
            }
            Self::Map(map) => {
                let pairs = map.iter().map(|(name, value)| format!("{name}:{value}"));
                write!(f, "map[{}]", pairs.collect::<Vec<_>>().join(" "))
            }
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
