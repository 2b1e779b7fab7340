//! `type_converter`: adds a field that holds another one as text, a number or a boolean.
//!
//! What cannot be converted is copied as it is, as in Fluent Bit; unlike there, `0` is a number.

use kansoku_model::plugin::{Setting, did_you_mean};
use kansoku_model::{ConfigError, LogBatch, OptionKind, OptionSpec, Plugin, Settings, Value, json};

use super::accessor::{Accessor, Found, Reading};
use super::record::Tree;
use super::words;
use crate::plugin::{Environment, Filter, FilterContext, FilterPlugin};

/// The plugin.
pub const PLUGIN: FilterPlugin = Plugin {
    name: "type_converter",
    about: "Adds a field that holds another one as text, number or boolean.",
    options: &[
        from("int_key", "KEY NEW_KEY TYPE: string, float, uint"),
        from("uint_key", "KEY NEW_KEY TYPE: string, float, int"),
        from("float_key", "KEY NEW_KEY TYPE: string, int, uint"),
        from("str_key", "KEY NEW_KEY TYPE: int, uint, float, hex, bool"),
    ],
    example: "[FILTER]\n    Name    type_converter\n    Match   *\n    Str_key code code_number int\n",
    build,
};

const fn from(name: &'static str, about: &'static str) -> OptionSpec {
    OptionSpec::new(name, OptionKind::Pair, "", about).repeated()
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Type {
    Text,
    Int,
    Uint,
    Float,
    Hex,
    Bool,
}

struct Rule {
    from: Type,
    key: Accessor,
    new_key: String,
    to: Type,
}

struct TypeConverter(Vec<Rule>);

const TYPES: &[&str] = &["string", "int", "uint", "float", "hex", "bool"];

fn build(settings: &Settings, _: &Environment) -> Result<Box<dyn Filter>, ConfigError> {
    settings.check(PLUGIN.options)?;
    let mut rules = Vec::new();
    // Fluent Bit applies the rules for texts first, whatever the order in which they are written.
    for (option, from) in [
        ("str_key", Type::Text),
        ("int_key", Type::Int),
        ("uint_key", Type::Uint),
        ("float_key", Type::Float),
    ] {
        for s in settings.all(option) {
            rules.push(Rule::new(s, from)?);
        }
    }
    if rules.is_empty() {
        let message = "type_converter needs at least one of int_key, uint_key, float_key, str_key";
        return Err(ConfigError::new(&settings.place, message));
    }
    Ok(Box::new(TypeConverter(rules)))
}

impl Rule {
    fn new(s: &Setting, from: Type) -> Result<Self, ConfigError> {
        let error = |message: String| ConfigError::new(&s.place, message);
        let words = words::split(&s.value, 3);
        let [key, new_key, to] = words.as_slice() else {
            let message = format!("'{}' is '{}', but must be KEY NEW_KEY TYPE", s.key, s.value);
            return Err(error(message));
        };
        let to = match to.to_ascii_lowercase().as_str() {
            "string" | "str" => Type::Text,
            "int" | "integer" => Type::Int,
            "uint" => Type::Uint,
            "float" => Type::Float,
            "hex" => Type::Hex,
            "bool" | "boolean" => Type::Bool,
            _ => {
                let hint = did_you_mean(to, TYPES.iter().copied());
                return Err(error(format!("unknown type '{to}'{hint}")));
            }
        };
        let only_of_text = matches!(to, Type::Hex | Type::Bool) && from != Type::Text;
        if only_of_text || to == from {
            let message = format!("'{}' cannot be converted to {}", s.key, words[2]);
            return Err(error(message));
        }
        let key = match key.strip_prefix('$') {
            Some(_) => Accessor::new(key).map_err(error)?,
            None => Accessor::key(key),
        };
        Ok(Self {
            from,
            key,
            new_key: new_key.clone(),
            to,
        })
    }

    /// The new value; what cannot be converted comes back as it is.
    fn convert(&self, reading: &Reading<'_>, row: usize) -> Option<Tree> {
        let found = reading.find(row)?;
        let text = || String::from_utf8_lossy(&reading.text_of(found)).into_owned();
        let tree = match found {
            Found::Text(_) | Found::Value(Value::Text(_)) => Tree::Text(text().into_bytes()),
            Found::Json(json) => Tree::read(json)?,
            Found::Value(Value::Int(n)) => Tree::Int(n),
            Found::Value(Value::Float(n)) => Tree::Float(n),
            Found::Value(Value::Bool(b)) => Tree::Bool(b),
            Found::Value(Value::Json(_)) => Tree::read(text().as_bytes())?,
            Found::Value(Value::Null | Value::Absent) => Tree::Null,
        };
        Some(self.converted(&tree).unwrap_or(tree))
    }

    fn converted(&self, tree: &Tree) -> Option<Tree> {
        let whole = |n: f64| Tree::Int(n as i64);
        Some(match (self.from, tree) {
            (Type::Text, Tree::Text(text)) => of_text(std::str::from_utf8(text).ok()?, self.to)?,
            (Type::Int | Type::Uint, Tree::Int(n)) => match self.to {
                Type::Text => Tree::Text(n.to_string().into_bytes()),
                Type::Float => Tree::Float(*n as f64),
                _ => Tree::Int(*n),
            },
            (Type::Float, Tree::Float(n)) => match self.to {
                Type::Text => Tree::Text(float_text(*n)),
                _ => whole(*n),
            },
            _ => return None,
        })
    }
}

fn of_text(text: &str, to: Type) -> Option<Tree> {
    let trimmed = text.trim_start();
    let digits = |radix: u32| {
        let (negative, digits) = match trimmed.strip_prefix('-') {
            Some(rest) => (true, rest),
            None => (false, trimmed.strip_prefix('+').unwrap_or(trimmed)),
        };
        let digits = match digits.get(..2) {
            Some("0x" | "0X") if radix == 16 => &digits[2..],
            _ => digits,
        };
        let end = digits
            .find(|c: char| !c.is_digit(radix))
            .unwrap_or(digits.len());
        let n = i64::from_str_radix(&digits[..end], radix).ok()?;
        Some(Tree::Int(if negative { -n } else { n }))
    };
    let starts = |word: &str| {
        let head = text.get(..word.len());
        head.is_some_and(|head| head.eq_ignore_ascii_case(word))
    };
    match to {
        Type::Int | Type::Uint => digits(10),
        Type::Hex => digits(16),
        Type::Float => Some(Tree::Float(leading_float(trimmed))),
        Type::Bool if starts("true") => Some(Tree::Bool(true)),
        Type::Bool if starts("false") => Some(Tree::Bool(false)),
        Type::Bool | Type::Text => None,
    }
}

/// The number that the text begins with, else 0, as C reads it.
fn leading_float(text: &str) -> f64 {
    let end = text
        .find(|c: char| !(c.is_ascii_digit() || "+-.eE".contains(c)))
        .unwrap_or(text.len());
    let mut head = &text[..end];
    loop {
        match head.parse() {
            Ok(n) => return n,
            Err(_) if head.is_empty() => return 0.0,
            Err(_) => head = &head[..head.len() - 1],
        }
    }
}

/// `7.0` for a whole number, else as many digits as are needed.
fn float_text(n: f64) -> Vec<u8> {
    if n.fract() == 0.0 && n.abs() < 1e15 {
        return format!("{n:.1}").into_bytes();
    }
    let mut text = Vec::new();
    json::write_f64(&mut text, n);
    text
}

impl Filter for TypeConverter {
    fn apply(&self, batch: &mut LogBatch, _: &mut FilterContext) {
        for rule in &self.0 {
            let values: Vec<Option<Tree>> = {
                let reading = rule.key.over(batch);
                (0..batch.len())
                    .map(|row| rule.convert(&reading, row))
                    .collect()
            };
            if values.iter().all(Option::is_none) {
                continue;
            }
            let column = batch.column_index_or_insert(&rule.new_key);
            for (row, tree) in values.iter().enumerate() {
                if let Some(tree) = tree {
                    let value = tree.store(batch);
                    batch.set(column, row, value);
                }
            }
        }
    }
}
