//! What an index knows of its fields, as Elasticsearch's dynamic mapping does it: the first value of a
//! field fixes its type, and a document that does not fit is refused with the error of the real one.

use std::collections::BTreeMap;
use std::fmt;

use serde::de::{self, Deserialize, Deserializer, MapAccess, SeqAccess, Visitor};

/// A JSON value in which no object has a key twice, which Elasticsearch refuses as well.
#[derive(Debug, Clone, PartialEq)]
pub enum Json {
    Null,
    Bool(bool),
    Int(i64),
    Float(f64),
    Text(String),
    List(Vec<Json>),
    Object(Vec<(String, Json)>),
}

impl Json {
    /// The member of an object.
    #[must_use]
    pub fn get(&self, key: &str) -> Option<&Json> {
        let Self::Object(members) = self else {
            return None;
        };
        members.iter().find(|(k, _)| k == key).map(|(_, v)| v)
    }
}

impl<'de> Deserialize<'de> for Json {
    fn deserialize<D: Deserializer<'de>>(reader: D) -> Result<Self, D::Error> {
        reader.deserialize_any(JsonVisitor)
    }
}

struct JsonVisitor;

impl<'de> Visitor<'de> for JsonVisitor {
    type Value = Json;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("JSON")
    }

    fn visit_unit<E>(self) -> Result<Json, E> {
        Ok(Json::Null)
    }

    fn visit_bool<E>(self, value: bool) -> Result<Json, E> {
        Ok(Json::Bool(value))
    }

    fn visit_i64<E>(self, value: i64) -> Result<Json, E> {
        Ok(Json::Int(value))
    }

    fn visit_u64<E>(self, value: u64) -> Result<Json, E> {
        Ok(i64::try_from(value).map_or(Json::Float(value as f64), Json::Int))
    }

    fn visit_f64<E>(self, value: f64) -> Result<Json, E> {
        Ok(Json::Float(value))
    }

    fn visit_str<E>(self, value: &str) -> Result<Json, E> {
        Ok(Json::Text(value.to_owned()))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut list: A) -> Result<Json, A::Error> {
        let mut items = Vec::new();
        while let Some(item) = list.next_element()? {
            items.push(item);
        }
        Ok(Json::List(items))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Json, A::Error> {
        let mut members: Vec<(String, Json)> = Vec::new();
        while let Some((key, value)) = map.next_entry::<String, Json>()? {
            if members.iter().any(|(k, _)| *k == key) {
                return Err(de::Error::custom(format!("Duplicate field '{key}'")));
            }
            members.push((key, value));
        }
        Ok(Json::Object(members))
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    Object,
    Long,
    Float,
    Boolean,
    Date,
    Text,
}

impl Kind {
    fn name(self) -> &'static str {
        match self {
            Self::Object => "object",
            Self::Long => "long",
            Self::Float => "float",
            Self::Boolean => "boolean",
            Self::Date => "date",
            Self::Text => "text",
        }
    }

    /// The type that a first value gives its field.
    fn of(value: &Json) -> Self {
        match value {
            Json::Bool(_) => Self::Boolean,
            Json::Int(_) => Self::Long,
            Json::Float(_) => Self::Float,
            Json::Text(text) if is_date(text) => Self::Date,
            _ => Self::Text,
        }
    }

    fn takes(self, value: &Json) -> bool {
        match (self, value) {
            (Self::Object, _) => false,
            (Self::Text, _)
            | (Self::Long | Self::Float, Json::Int(_) | Json::Float(_))
            | (Self::Boolean, Json::Bool(_))
            | (Self::Date, Json::Int(_)) => true,
            (Self::Long | Self::Float, Json::Text(t)) => t.trim().parse::<f64>().is_ok(),
            (Self::Boolean, Json::Text(t)) => matches!(&**t, "true" | "false" | ""),
            (Self::Date, Json::Text(t)) => is_date(t),
            _ => false,
        }
    }
}

/// `strict_date_optional_time`: a day, or a time of a day with or without a zone.
fn is_date(text: &str) -> bool {
    text.parse::<jiff::Timestamp>().is_ok()
        || (text.as_bytes().get(4) == Some(&b'-')
            && (text.parse::<jiff::civil::Date>().is_ok()
                || text.parse::<jiff::civil::DateTime>().is_ok()))
}

/// Why a document is refused: type and reason of the error.
pub type Refusal = (&'static str, String);

/// The fields of an index.
#[derive(Debug, Default)]
pub struct Mapping(BTreeMap<String, Kind>);

impl Mapping {
    /// Checks a document against the mapping, which learns its new fields.
    ///
    /// # Errors
    /// When a field does not fit; the mapping stays as it was.
    pub fn take(&mut self, document: &Json) -> Result<(), Refusal> {
        let mut fields = self.0.clone();
        add_members(&mut fields, "", document)?;
        self.0 = fields;
        Ok(())
    }
}

fn add_members(
    fields: &mut BTreeMap<String, Kind>,
    prefix: &str,
    object: &Json,
) -> Result<(), Refusal> {
    let Json::Object(members) = object else {
        return Err(parsing("the document is no object".into()));
    };
    for (key, value) in members {
        if key.split('.').any(|part| part.trim().is_empty()) {
            let reason = format!("field name cannot contain only whitespace: ['{prefix}{key}']");
            return Err(parsing(reason));
        }
        // Dots make objects.
        let path = format!("{prefix}{key}");
        let parents = path.match_indices('.').map(|(at, _)| &path[..at]);
        for parent in parents.map(str::to_owned).collect::<Vec<_>>() {
            add_object(fields, &parent)?;
        }
        add(fields, &path, value)?;
    }
    Ok(())
}

fn add_object(fields: &mut BTreeMap<String, Kind>, path: &str) -> Result<(), Refusal> {
    let kind = *fields.entry(path.to_owned()).or_insert(Kind::Object);
    if kind == Kind::Object {
        return Ok(());
    }
    Err(parsing(format!(
        "failed to parse field [{path}] of type [{}]: can't get text on a START_OBJECT",
        kind.name()
    )))
}

fn add(fields: &mut BTreeMap<String, Kind>, path: &str, value: &Json) -> Result<(), Refusal> {
    match value {
        Json::Null => Ok(()),
        Json::List(items) => items.iter().try_for_each(|item| add(fields, path, item)),
        Json::Object(_) => {
            add_object(fields, path)?;
            add_members(fields, &format!("{path}."), value)
        }
        scalar => {
            let kind = *fields.entry(path.to_owned()).or_insert(Kind::of(scalar));
            if kind.takes(scalar) {
                return Ok(());
            }
            Err(parsing(if kind == Kind::Object {
                format!(
                    "object mapping for [{path}] tried to parse field [{path}] as object, but found a concrete value"
                )
            } else {
                format!("failed to parse field [{path}] of type [{}]", kind.name())
            }))
        }
    }
}

fn parsing(reason: String) -> Refusal {
    ("document_parsing_exception", reason)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn takes(documents: &[&str]) -> Vec<bool> {
        let mut mapping = Mapping::default();
        documents
            .iter()
            .map(|d| {
                serde_json::from_str(d)
                    .map_err(drop)
                    .and_then(|json| mapping.take(&json).map_err(drop))
                    .is_ok()
            })
            .collect()
    }

    #[test]
    fn the_first_value_fixes_the_type() {
        for (documents, expected) in [
            (
                &[r#"{"a":1}"#, r#"{"a":"2"}"#, r#"{"a":"x"}"#] as &[&str],
                &[true, true, false] as &[bool],
            ),
            (
                &[r#"{"a":"x"}"#, r#"{"a":{"b":1}}"#, r#"{"a":[1,"y"]}"#],
                &[true, false, true],
            ),
            (
                &[r#"{"a":{"b":1}}"#, r#"{"a":"x"}"#, r#"{"a.b":3}"#],
                &[true, false, true],
            ),
            (
                &[
                    r#"{"t":"2026-11-21T09:00:00.000Z"}"#,
                    r#"{"t":"soon"}"#,
                    r#"{"t":"2026-11-21"}"#,
                ],
                &[true, false, true],
            ),
            (
                &[r#"{"a":1,"a":2}"#, r#"{"a":{"b":1,"b":2}}"#, r#"{"":1}"#],
                &[false, false, false],
            ),
            (
                // A refused document leaves nothing behind.
                &[r#"{"a":1}"#, r#"{"b":1,"a":"x"}"#, r#"{"b":"text"}"#],
                &[true, false, true],
            ),
        ] {
            assert_eq!(takes(documents), expected, "{documents:?}");
        }
    }
}
