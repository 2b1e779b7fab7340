//! Fluent Bit's record accessor: `key`, `$key`, `$key['nested'][0]`, `$['a.b']`, `$TAG`, `$TAG[1]`.
//!
//! It reads columns, JSON values below them, and the pod's metadata under `kubernetes`, which is held
//! once per batch. Nothing is copied out of the batch but what has to be unescaped.

use std::borrow::Cow;

use kansoku_model::log::KUBERNETES;
use kansoku_model::{KubernetesMetadata, LogBatch, Slice, Value, json};

pub use kansoku_outputs::accessor::Step;
use kansoku_outputs::accessor::read_path;

use super::json_path;

/// A compiled accessor.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Accessor {
    root: Root,
    path: Vec<Step>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum Root {
    Key(String),
    Tag,
    /// A part of the tag, as points divide it.
    TagPart(usize),
}

impl Accessor {
    /// Reads an accessor; without a `$` the text is a key of the record as it stands.
    ///
    /// # Errors
    /// When brackets or quotes do not match.
    pub fn new(text: &str) -> Result<Self, String> {
        let Some(body) = text.strip_prefix('$') else {
            return Ok(Self::key(text));
        };
        let (key, path) = read_path(body)?;
        let root = match path.as_slice() {
            // Not $['TAG'], which is a key.
            [] if body == "TAG" => Root::Tag,
            [Step::Index(part)] if body.starts_with("TAG") && key == "TAG" => {
                let root = Root::TagPart(*part);
                let path = Vec::new();
                return Ok(Self { root, path });
            }
            _ => Root::Key(key),
        };
        Ok(Self { root, path })
    }

    /// The accessor of a key of the record as it stands.
    #[must_use]
    pub fn key(key: &str) -> Self {
        Self {
            root: Root::Key(key.to_owned()),
            path: Vec::new(),
        }
    }

    /// The key of the record that it reads; `None` for the tag.
    #[must_use]
    pub fn root_key(&self) -> Option<&str> {
        match &self.root {
            Root::Key(key) => Some(key),
            Root::Tag | Root::TagPart(_) => None,
        }
    }

    /// What the accessor gives for a whole batch, prepared once.
    #[must_use]
    pub fn over<'a>(&'a self, batch: &'a LogBatch) -> Reading<'a> {
        let of_all = match &self.root {
            Root::Tag => Some(OfAll::Text(&batch.tag)),
            Root::TagPart(part) => batch.tag.split('.').nth(*part).map(OfAll::Text),
            Root::Key(key) if key == KUBERNETES => {
                batch.kubernetes().and_then(|pod| of_pod(pod, &self.path))
            }
            Root::Key(_) => None,
        };
        Reading {
            batch,
            column: self.root_key().and_then(|key| batch.column_index(key)),
            path: &self.path,
            of_all,
        }
    }

    /// What the accessor gives for a JSON object, such as a record's metadata.
    #[must_use]
    pub fn in_object<'a>(&self, object: &'a [u8]) -> Option<Found<'a>> {
        let key = Step::Key(self.root_key()?.to_owned());
        let path: Vec<Step> = std::iter::once(key).chain(self.path.clone()).collect();
        json_path::find(object, &path).map(Found::Json)
    }
}

fn of_pod<'a>(pod: &'a KubernetesMetadata, path: &[Step]) -> Option<OfAll<'a>> {
    let in_map = |pairs: &'a [(String, String)], key: &str| {
        let found = pairs.iter().find(|(name, _)| name == key);
        found.map(|(_, value)| OfAll::Text(value.as_str()))
    };
    match path {
        [Step::Key(map), Step::Key(key)] if map == "labels" => in_map(&pod.labels, key),
        [Step::Key(map), Step::Key(key)] if map == "annotations" => in_map(&pod.annotations, key),
        [Step::Key(key)] if key != "labels" && key != "annotations" => {
            let scalars = pod.scalars();
            let found = scalars
                .iter()
                .find(|(name, value)| name == key && !value.is_empty());
            found.map(|(_, value)| OfAll::Text(value))
        }
        _ => {
            let mut object = Vec::new();
            json::write_kubernetes(&mut object, pod);
            json_path::find(&object, path).map(|found| OfAll::Json(found.to_vec()))
        }
    }
}

/// What is the same for every record.
enum OfAll<'a> {
    Text(&'a str),
    Json(Vec<u8>),
}

/// What an accessor found in a record.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Found<'a> {
    /// A field, as the batch holds it. Never absent.
    Value(Value),
    /// Text that is not in the arena.
    Text(&'a [u8]),
    /// A value below a field, as JSON of any kind.
    Json(&'a [u8]),
}

/// An accessor over one batch.
pub struct Reading<'a> {
    batch: &'a LogBatch,
    column: Option<usize>,
    path: &'a [Step],
    of_all: Option<OfAll<'a>>,
}

impl Reading<'_> {
    /// What record `row` holds there.
    #[must_use]
    pub fn find(&self, row: usize) -> Option<Found<'_>> {
        let value = self
            .column
            .map_or(Value::Absent, |at| self.batch.columns()[at].values[row]);
        match (value, self.path) {
            (Value::Absent, _) => self.of_all.as_ref().map(|of_all| match of_all {
                OfAll::Text(text) => Found::Text(text.as_bytes()),
                OfAll::Json(json) => Found::Json(json),
            }),
            (value, []) => Some(Found::Value(value)),
            (Value::Json(slice), path) => self.below(slice, path),
            _ => None,
        }
    }

    fn below(&self, slice: Slice, path: &[Step]) -> Option<Found<'_>> {
        json_path::find(self.batch.bytes(slice), path).map(Found::Json)
    }

    /// What record `row` holds there as text; `None` when the record lacks it. JSON text loses its
    /// quotes, other values are written as JSON.
    #[must_use]
    pub fn text(&self, row: usize) -> Option<Cow<'_, [u8]>> {
        self.find(row).map(|found| self.text_of(found))
    }

    /// As [`text`](Self::text), for what was found.
    #[must_use]
    pub fn text_of<'s>(&'s self, found: Found<'s>) -> Cow<'s, [u8]> {
        match found {
            Found::Text(text) => Cow::Borrowed(text),
            Found::Json(json) => json_path::unquoted(json),
            Found::Value(Value::Text(slice) | Value::Json(slice)) => {
                Cow::Borrowed(self.batch.bytes(slice))
            }
            Found::Value(other) => {
                let mut text = Vec::new();
                json::write_value(&mut text, self.batch, other);
                Cow::Owned(text)
            }
        }
    }

    /// As [`text`](Self::text); what is missing or null is empty.
    #[must_use]
    pub fn text_or_empty(&self, row: usize) -> Cow<'_, [u8]> {
        match self.find(row) {
            None | Some(Found::Value(Value::Null) | Found::Json(b"null")) => Cow::Borrowed(b""),
            Some(found) => self.text_of(found),
        }
    }

    /// What record `row` holds there if it is text, and nothing else.
    #[must_use]
    pub fn text_only(&self, row: usize) -> Option<Cow<'_, [u8]>> {
        match self.find(row)? {
            found @ (Found::Text(_) | Found::Value(Value::Text(_))) => Some(self.text_of(found)),
            found @ Found::Json(json) if json.first() == Some(&b'"') => Some(self.text_of(found)),
            Found::Value(_) | Found::Json(_) => None,
        }
    }

    /// What record `row` holds there if it is a number.
    #[must_use]
    pub fn number(&self, row: usize) -> Option<f64> {
        let of_json = |json| std::str::from_utf8(json).ok()?.parse().ok();
        match self.find(row)? {
            Found::Value(Value::Int(n)) => Some(n as f64),
            Found::Value(Value::Float(n)) => Some(n),
            Found::Value(Value::Json(slice)) => of_json(self.batch.bytes(slice)),
            Found::Json(json) => of_json(json),
            Found::Value(_) | Found::Text(_) => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use kansoku_model::{Position, Resource};

    use super::*;

    fn batch() -> LogBatch {
        let resource = Resource {
            kubernetes: Some(KubernetesMetadata {
                pod_name: "web".into(),
                labels: vec![("app.kubernetes.io/name".into(), "shop".into())],
                ..KubernetesMetadata::default()
            }),
            ..Resource::default()
        };
        let mut batch = LogBatch::new("kube.x".into(), Arc::new(resource), Vec::new());
        let row = batch.push(0, Position::at(1));
        batch.set_text("log", row, b"hi");
        let json = Value::Json(batch.store(br#"{"b":{"c":["x","y\n"]},"n":1.5}"#));
        let column = batch.column_index_or_insert("a");
        batch.set(column, row, json);
        let column = batch.column_index_or_insert("n");
        batch.set(column, row, Value::Int(7));
        let json = Value::Json(batch.store(br#"{"it's":"d"}"#));
        let column = batch.column_index_or_insert("a.b");
        batch.set(column, row, json);
        batch
    }

    #[test]
    fn columns_nested_values_pods_and_the_tag_are_read() {
        let batch = batch();
        for (text, expected) in [
            ("log", Some("hi")),
            ("$log", Some("hi")),
            ("n", Some("7")),
            ("$a['b']['c'][1]", Some("y\n")),
            ("$a['b']", Some(r#"{"c":["x","y\n"]}"#)),
            ("$a['n']", Some("1.5")),
            ("$a['b']['zz']", None),
            ("$log['x']", None),
            ("missing", None),
            ("$kubernetes['pod_name']", Some("web")),
            (
                "$kubernetes['labels']['app.kubernetes.io/name']",
                Some("shop"),
            ),
            (
                "$kubernetes['labels']",
                Some(r#"{"app.kubernetes.io/name":"shop"}"#),
            ),
            ("$kubernetes['pod_ip']", None),
            ("$TAG", Some("kube.x")),
            ("$TAG[1]", Some("x")),
            ("$TAG[2]", None),
            ("$['n']", Some("7")),
            ("$['a.b']['it''s']", Some("d")),
            ("$['a']['n']", Some("1.5")),
            ("$['TAG']", None),
            ("$['TAG'][0]", None),
        ] {
            let accessor = Accessor::new(text).expect(text);
            let reading = accessor.over(&batch);
            let found = reading.text(0);
            let found = found.as_deref().map(String::from_utf8_lossy);
            assert_eq!(found.as_deref(), expected, "{text}");
        }
        for text in [
            "$",
            "$a[",
            "$a['b",
            "$a[\"b\"]",
            "$a['b']x",
            "$a[b]",
            "$[0]",
            "$['']",
            "$['a'",
            "$['a''",
            "$['a]",
        ] {
            assert!(Accessor::new(text).is_err(), "{text}");
        }
    }

    #[test]
    fn a_moved_pod_is_read_where_it_is_now() {
        let mut batch = batch();
        batch.kubernetes_to_column();
        let accessor = Accessor::new("$kubernetes['pod_name']").expect("accessor");
        assert_eq!(accessor.over(&batch).text(0).as_deref(), Some(&b"web"[..]));
        batch.remove_column(KUBERNETES);
        assert_eq!(accessor.over(&batch).text(0), None);
    }

    #[test]
    fn numbers_and_texts_are_told_apart() {
        let batch = batch();
        let of = |text: &str| {
            let accessor = Accessor::new(text).expect(text);
            let reading = accessor.over(&batch);
            (reading.number(0), reading.text_only(0).is_some())
        };
        assert_eq!(of("n"), (Some(7.0), false));
        assert_eq!(of("$a['n']"), (Some(1.5), false));
        assert_eq!(of("log"), (None, true));
        assert_eq!(of("$a['b']['c'][0]"), (None, true));
        assert_eq!(of("a"), (None, false));
    }
}
