//! A value as a tree, for the few filters that need whole records (lua, nest, aws).
//!
//! Maps keep the order of their keys; the text that comes back is what went in, but for white space.

use std::fmt;

use kansoku_model::{LogBatch, Value, json};
use serde::de::{Deserialize, Deserializer, MapAccess, SeqAccess, Visitor};

/// A value and all below it.
#[derive(Debug, Clone, PartialEq)]
pub enum Tree {
    Null,
    Bool(bool),
    Int(i64),
    /// Above `i64::MAX`.
    Large(u64),
    Float(f64),
    /// Mostly but not surely UTF-8.
    Text(Vec<u8>),
    List(Vec<Tree>),
    Map(Vec<(String, Tree)>),
}

impl Tree {
    /// Reads JSON; `None` when it is none.
    #[must_use]
    pub fn read(json: &[u8]) -> Option<Self> {
        serde_json::from_slice(json).ok()
    }

    /// The tree of a field; `None` when it is absent.
    #[must_use]
    pub fn of(batch: &LogBatch, value: Value) -> Option<Self> {
        Some(match value {
            Value::Absent => return None,
            Value::Null => Self::Null,
            Value::Bool(b) => Self::Bool(b),
            Value::Int(n) => Self::Int(n),
            Value::Float(n) => Self::Float(n),
            Value::Text(slice) => Self::Text(batch.bytes(slice).to_vec()),
            Value::Json(slice) => {
                let json = batch.bytes(slice);
                Self::read(json).unwrap_or_else(|| Self::Text(json.to_vec()))
            }
        })
    }

    /// Puts the value into the arena of `batch`.
    pub fn store(&self, batch: &mut LogBatch) -> Value {
        match self {
            Self::Null => Value::Null,
            Self::Bool(b) => Value::Bool(*b),
            Self::Int(n) => Value::Int(*n),
            Self::Large(_) => Value::Json(batch.store_with(|out| self.write(out))),
            Self::Float(n) => Value::Float(*n),
            Self::Text(text) => Value::Text(batch.store(text)),
            Self::List(_) | Self::Map(_) => Value::Json(batch.store_with(|out| self.write(out))),
        }
    }

    /// Appends the value as JSON.
    pub fn write(&self, out: &mut Vec<u8>) {
        match self {
            Self::Null => out.extend_from_slice(b"null"),
            Self::Bool(true) => out.extend_from_slice(b"true"),
            Self::Bool(false) => out.extend_from_slice(b"false"),
            Self::Int(n) => out.extend_from_slice(n.to_string().as_bytes()),
            Self::Large(n) => out.extend_from_slice(n.to_string().as_bytes()),
            Self::Float(n) => json::write_f64(out, *n),
            Self::Text(text) => json::write_str(out, text),
            Self::List(items) => {
                out.push(b'[');
                for (i, item) in items.iter().enumerate() {
                    if i > 0 {
                        out.push(b',');
                    }
                    item.write(out);
                }
                out.push(b']');
            }
            Self::Map(pairs) => {
                out.push(b'{');
                for (i, (key, value)) in pairs.iter().enumerate() {
                    if i > 0 {
                        out.push(b',');
                    }
                    json::write_str(out, key.as_bytes());
                    out.push(b':');
                    value.write(out);
                }
                out.push(b'}');
            }
        }
    }
}

impl<'de> Deserialize<'de> for Tree {
    fn deserialize<D: Deserializer<'de>>(reader: D) -> Result<Self, D::Error> {
        reader.deserialize_any(TreeVisitor)
    }
}

struct TreeVisitor;

impl<'de> Visitor<'de> for TreeVisitor {
    type Value = Tree;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a JSON value")
    }

    fn visit_unit<E>(self) -> Result<Tree, E> {
        Ok(Tree::Null)
    }

    fn visit_bool<E>(self, b: bool) -> Result<Tree, E> {
        Ok(Tree::Bool(b))
    }

    fn visit_i64<E>(self, n: i64) -> Result<Tree, E> {
        Ok(Tree::Int(n))
    }

    fn visit_u64<E>(self, n: u64) -> Result<Tree, E> {
        Ok(i64::try_from(n).map_or(Tree::Large(n), Tree::Int))
    }

    fn visit_f64<E>(self, n: f64) -> Result<Tree, E> {
        Ok(Tree::Float(n))
    }

    fn visit_str<E>(self, text: &str) -> Result<Tree, E> {
        Ok(Tree::Text(text.as_bytes().to_vec()))
    }

    fn visit_bytes<E>(self, bytes: &[u8]) -> Result<Tree, E> {
        Ok(Tree::Text(bytes.to_vec()))
    }

    fn visit_string<E>(self, text: String) -> Result<Tree, E> {
        Ok(Tree::Text(text.into_bytes()))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut list: A) -> Result<Tree, A::Error> {
        let mut items = Vec::new();
        while let Some(item) = list.next_element()? {
            items.push(item);
        }
        Ok(Tree::List(items))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Tree, A::Error> {
        let mut pairs: Vec<(String, Tree)> = Vec::new();
        while let Some((key, value)) = map.next_entry::<String, Tree>()? {
            pairs.push((key, value));
        }
        Ok(Tree::Map(pairs))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn json_comes_back_as_it_was() {
        for json in [
            r#"{"b":[1,-2,1.5,"x\n",null,true],"a":{"k":18446744073709551615},"e":{}}"#,
            "[]",
            "\"\\u0001\"",
        ] {
            let mut out = Vec::new();
            Tree::read(json.as_bytes()).expect(json).write(&mut out);
            assert_eq!(String::from_utf8_lossy(&out), json);
        }
        assert_eq!(Tree::read(b"{"), None);
    }
}
