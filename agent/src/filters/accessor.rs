//! Fluent Bit's record accessor: `key`, `$key`, `$key['nested'][0]`.
//!
//! It reads columns, JSON values below them, and the pod's metadata under `kubernetes`, which is held
//! once per batch. `$TAG` gives the tag.

use std::borrow::Cow;

use kansoku_model::{KubernetesMetadata, LogBatch, Value};

/// A compiled accessor.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Accessor {
    key: String,
    path: Vec<Step>,
    is_tag: bool,
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum Step {
    Key(String),
    Index(usize),
}

impl Accessor {
    /// Reads an accessor; without a `$` the text is a key of the record as it stands.
    ///
    /// # Errors
    /// When brackets or quotes do not match.
    pub fn new(text: &str) -> Result<Self, String> {
        let Some(body) = text.strip_prefix('$') else {
            return Ok(Self {
                key: text.to_owned(),
                path: Vec::new(),
                is_tag: false,
            });
        };
        let end = body.find('[').unwrap_or(body.len());
        let (key, mut rest) = body.split_at(end);
        let error =
            || format!("'{text}' must be such as $key or $key['nested'][0], with single quotes");
        if key.is_empty() {
            return Err(error());
        }
        let mut path = Vec::new();
        while !rest.is_empty() {
            let inside = rest.strip_prefix('[').ok_or_else(error)?;
            if let Some(quoted) = inside.strip_prefix('\'') {
                let (name, after) = quoted.split_once("']").ok_or_else(error)?;
                path.push(Step::Key(name.to_owned()));
                rest = after;
            } else {
                let (index, after) = inside.split_once(']').ok_or_else(error)?;
                path.push(Step::Index(index.parse().map_err(|_| error())?));
                rest = after;
            }
        }
        Ok(Self {
            is_tag: key == "TAG" && path.is_empty(),
            key: key.to_owned(),
            path,
        })
    }

    /// What the accessor gives for a whole batch, prepared once.
    #[must_use]
    pub fn over<'a>(&'a self, batch: &'a LogBatch) -> Reading<'a> {
        let from_pod = match (&batch.resource.kubernetes, self.path.as_slice()) {
            (Some(pod), path) if self.key == "kubernetes" => of_pod(pod, path),
            _ => None,
        };
        Reading {
            batch,
            column: batch.column_index(&self.key),
            path: &self.path,
            of_all: if self.is_tag {
                Some(&batch.tag)
            } else {
                from_pod
            },
        }
    }
}

fn of_pod<'a>(pod: &'a KubernetesMetadata, path: &[Step]) -> Option<&'a str> {
    let in_map = |pairs: &'a [(String, String)], key: &str| {
        pairs
            .iter()
            .find(|(name, _)| name == key)
            .map(|(_, value)| value.as_str())
    };
    match path {
        [Step::Key(key)] => {
            let scalars = pod.scalars();
            let found = scalars
                .iter()
                .find(|(name, value)| name == key && !value.is_empty());
            found.map(|(_, value)| *value)
        }
        [Step::Key(map), Step::Key(key)] if map == "labels" => in_map(&pod.labels, key),
        [Step::Key(map), Step::Key(key)] if map == "annotations" => in_map(&pod.annotations, key),
        _ => None,
    }
}

/// An accessor over one batch.
pub struct Reading<'a> {
    batch: &'a LogBatch,
    column: Option<usize>,
    path: &'a [Step],
    /// The same for every record.
    of_all: Option<&'a str>,
}

impl<'a> Reading<'a> {
    /// The text of record `row`; `None` when the record lacks it.
    #[must_use]
    pub fn text(&self, row: usize) -> Option<Cow<'a, [u8]>> {
        let value = self
            .column
            .map_or(Value::Absent, |at| self.batch.columns()[at].values[row]);
        match (value, self.path) {
            (Value::Absent, _) => self.of_all.map(|t| Cow::Borrowed(t.as_bytes())),
            (Value::Json(slice), [_, ..]) => {
                nested(self.batch.bytes(slice), self.path).map(Cow::Owned)
            }
            (_, [_, ..]) => None,
            (Value::Text(slice) | Value::Json(slice), []) => {
                Some(Cow::Borrowed(self.batch.bytes(slice)))
            }
            (other, []) => {
                let mut text = Vec::new();
                kansoku_model::json::write_value(&mut text, self.batch, other);
                Some(Cow::Owned(text))
            }
        }
    }
}

fn nested(json: &[u8], path: &[Step]) -> Option<Vec<u8>> {
    let tree: serde_json::Value = serde_json::from_slice(json).ok()?;
    let found = path.iter().try_fold(&tree, |tree, step| match step {
        Step::Key(key) => tree.get(key),
        Step::Index(index) => tree.get(index),
    })?;
    Some(match found {
        serde_json::Value::String(text) => text.as_bytes().to_vec(),
        other => other.to_string().into_bytes(),
    })
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use kansoku_model::{Position, Resource};

    use super::*;

    #[test]
    fn columns_nested_values_pods_and_the_tag_are_read() {
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
        let json = Value::Json(batch.store(br#"{"b":{"c":["x","y"]},"n":1.5}"#));
        let column = batch.column_index_or_insert("a");
        batch.set(column, row, json);
        let column = batch.column_index_or_insert("n");
        batch.set(column, row, Value::Int(7));
        for (text, expected) in [
            ("log", Some("hi")),
            ("$log", Some("hi")),
            ("n", Some("7")),
            ("$a['b']['c'][1]", Some("y")),
            ("$a['n']", Some("1.5")),
            ("$a['b']['zz']", None),
            ("$log['x']", None),
            ("missing", None),
            ("$kubernetes['pod_name']", Some("web")),
            (
                "$kubernetes['labels']['app.kubernetes.io/name']",
                Some("shop"),
            ),
            ("$kubernetes['pod_ip']", None),
            ("$TAG", Some("kube.x")),
        ] {
            let accessor = Accessor::new(text).expect(text);
            let found = accessor.over(&batch).text(row);
            assert_eq!(
                found.as_deref().map(String::from_utf8_lossy).as_deref(),
                expected,
                "{text}"
            );
        }
        for text in ["$", "$a[", "$a['b", "$a[\"b\"]", "$a['b']x", "$a[b]"] {
            assert!(Accessor::new(text).is_err(), "{text}");
        }
    }
}
