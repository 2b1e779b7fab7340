//! Fluent Bit's record accessor for outputs: `$key['nested'][0]` alone, and text with such parts.
//!
//! It reads columns, JSON values below them, and the pod's metadata under `kubernetes`, which is held
//! once per batch. What a record lacks is nothing in a text, as in Fluent Bit.

use std::borrow::Cow;

use kansoku_model::{KubernetesMetadata, LogBatch, Value};

/// A compiled accessor.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Accessor {
    key: String,
    path: Vec<Step>,
}

/// One step into a nested value.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Step {
    Key(String),
    Index(usize),
}

/// Reads what stands behind the `$` of an accessor: a key and the steps below it. A key that is no word
/// stands in brackets like those below: `['a.b']`; a quote in it is doubled. (Fluent Bit knows no
/// brackets at the start, and leaves out what needs them.)
///
/// # Errors
/// When brackets or quotes do not match.
pub fn read_path(body: &str) -> Result<(String, Vec<Step>), String> {
    let end = body.find('[').unwrap_or(body.len());
    let (key, rest) = body.split_at(end);
    let read = steps(rest.trim_end()).and_then(|mut path| match key.trim_end() {
        "" => match (!path.is_empty()).then(|| path.remove(0)) {
            Some(Step::Key(key)) if !key.is_empty() => Some((key, path)),
            _ => None,
        },
        key => Some((key.to_owned(), path)),
    });
    read.ok_or_else(|| {
        format!("'${body}' must be such as $key, $key['nested'][0] or $['a.b'], with single quotes")
    })
}

/// `['nested'][0]...`; `None` when it is something else.
fn steps(mut rest: &str) -> Option<Vec<Step>> {
    let mut path = Vec::new();
    while !rest.is_empty() {
        let inside = rest.strip_prefix('[')?;
        let after;
        if let Some(quoted) = inside.strip_prefix('\'') {
            let (name, behind) = unquoted(quoted)?;
            path.push(Step::Key(name));
            after = behind.strip_prefix(']')?;
        } else {
            let (index, behind) = inside.split_once(']')?;
            path.push(Step::Index(index.parse().ok()?));
            after = behind;
        }
        rest = after;
    }
    Some(path)
}

/// A text up to its closing quote, and what follows; two quotes stand for one.
fn unquoted(quoted: &str) -> Option<(String, &str)> {
    let mut text = String::new();
    let mut rest = quoted;
    loop {
        let (part, behind) = rest.split_once('\'')?;
        text.push_str(part);
        match behind.strip_prefix('\'') {
            Some(behind) => {
                text.push('\'');
                rest = behind;
            }
            None => return Some((text, behind)),
        }
    }
}

impl Accessor {
    /// Reads an accessor; without a `$` the text is a key of the record as it stands.
    ///
    /// # Errors
    /// When brackets or quotes do not match.
    pub fn new(text: &str) -> Result<Self, String> {
        let (key, path) = match text.strip_prefix('$') {
            Some(body) => read_path(body)?,
            None => (text.to_owned(), Vec::new()),
        };
        Ok(Self { key, path })
    }

    /// The keys from the record down to the value; `None` when an array stands between.
    #[must_use]
    pub fn keys(&self) -> Option<Vec<String>> {
        let below = self.path.iter().map(|step| match step {
            Step::Key(key) => Some(key.clone()),
            Step::Index(_) => None,
        });
        std::iter::once(Some(self.key.clone()))
            .chain(below)
            .collect()
    }

    /// The words of the accessor, keys and array indexes, joined with underscores.
    #[must_use]
    pub fn joined(&self) -> String {
        let below = self.path.iter().map(|step| match step {
            Step::Key(key) => format!("_{key}"),
            Step::Index(index) => format!("_{index}"),
        });
        std::iter::once(self.key.clone()).chain(below).collect()
    }

    /// What the accessor gives for a whole batch, prepared once.
    #[must_use]
    pub fn over<'a>(&'a self, batch: &'a LogBatch) -> Reading<'a> {
        let of_all = match (batch.kubernetes(), self.key.as_str()) {
            (Some(pod), "kubernetes") => of_pod(pod, &self.path),
            _ => None,
        };
        Reading {
            batch,
            column: batch.column_index(&self.key),
            path: &self.path,
            of_all,
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
        [Step::Key(key)] => pod
            .scalars()
            .iter()
            .find(|(name, value)| name == key && !value.is_empty())
            .map(|(_, value)| *value),
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
    /// Whether every record of the batch gives the same.
    #[must_use]
    pub fn is_constant(&self) -> bool {
        self.column.is_none()
    }

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

/// Text with accessors in it: `$TAG`, `$TAG[1]`, `$key['nested']`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Template {
    parts: Vec<Part>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum Part {
    Text(String),
    Tag,
    /// A part of the tag between dots.
    OfTag(usize),
    Record(Accessor),
}

impl Template {
    /// Reads a template. An accessor ends before a dot, space, comma or quote, as in Fluent Bit.
    ///
    /// # Errors
    /// When an accessor in it is none.
    pub fn new(text: &str) -> Result<Self, String> {
        let mut parts = Vec::new();
        let mut rest = text;
        while let Some(at) = rest.find('$') {
            if at > 0 {
                parts.push(Part::Text(rest[..at].to_owned()));
            }
            let end = accessor_end(&rest[at..]) + at;
            parts.push(part(&rest[at..end])?);
            rest = &rest[end..];
        }
        if !rest.is_empty() {
            parts.push(Part::Text(rest.to_owned()));
        }
        Ok(Self { parts })
    }

    /// The accessors in it.
    pub fn accessors(&self) -> impl Iterator<Item = &Accessor> {
        self.parts.iter().filter_map(|part| match part {
            Part::Record(accessor) => Some(accessor),
            _ => None,
        })
    }

    /// Whether every record of a batch gets the same text.
    #[must_use]
    pub fn is_static(&self) -> bool {
        !self.parts.iter().any(|p| matches!(p, Part::Record(_)))
    }

    /// The template over one batch, prepared once.
    #[must_use]
    pub fn over<'a>(&'a self, batch: &'a LogBatch) -> TemplateReading<'a> {
        let pieces = self.parts.iter().map(|part| match part {
            Part::Text(text) => Piece::Text(text),
            Part::Tag => Piece::Text(&batch.tag),
            Part::OfTag(n) => Piece::Text(batch.tag.split('.').nth(*n).unwrap_or_default()),
            Part::Record(accessor) => Piece::Record(accessor.over(batch)),
        });
        TemplateReading {
            pieces: pieces.collect(),
        }
    }

    /// The text for a tag alone; parts that name record fields give nothing.
    #[must_use]
    pub fn of_tag(&self, tag: &str) -> String {
        let pieces = self.parts.iter().map(|part| match part {
            Part::Text(text) => text.as_str(),
            Part::Tag => tag,
            Part::OfTag(n) => tag.split('.').nth(*n).unwrap_or_default(),
            Part::Record(_) => "",
        });
        pieces.collect()
    }
}

/// Where the accessor at the start of `text` ends.
fn accessor_end(text: &str) -> usize {
    let mut in_quotes = false;
    for (at, c) in text.char_indices().skip(1) {
        match c {
            '\'' => in_quotes = !in_quotes,
            '.' | ' ' | ',' | '"' | '$' | '/' if !in_quotes => return at,
            _ => {}
        }
    }
    text.len()
}

fn part(text: &str) -> Result<Part, String> {
    if text == "$TAG" {
        return Ok(Part::Tag);
    }
    if let Some(index) = text
        .strip_prefix("$TAG[")
        .and_then(|rest| rest.strip_suffix(']'))
        && let Ok(index) = index.parse()
    {
        return Ok(Part::OfTag(index));
    }
    Accessor::new(text).map(Part::Record)
}

enum Piece<'a> {
    Text(&'a str),
    Record(Reading<'a>),
}

/// A template over one batch.
pub struct TemplateReading<'a> {
    pieces: Vec<Piece<'a>>,
}

impl TemplateReading<'_> {
    /// Whether every record of the batch gives the same.
    #[must_use]
    pub fn is_constant(&self) -> bool {
        let constant = |piece: &Piece<'_>| match piece {
            Piece::Text(_) => true,
            Piece::Record(reading) => reading.is_constant(),
        };
        self.pieces.iter().all(constant)
    }

    /// Appends the text of record `row`; says whether the record had every field asked for.
    pub fn write(&self, out: &mut Vec<u8>, row: usize) -> bool {
        let mut complete = true;
        for piece in &self.pieces {
            match piece {
                Piece::Text(text) => out.extend_from_slice(text.as_bytes()),
                Piece::Record(reading) => match reading.text(row) {
                    Some(text) => out.extend_from_slice(&text),
                    None => complete = false,
                },
            }
        }
        complete
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn render(template: &str, row: usize) -> (String, bool) {
        let batch = crate::render::tests::batch();
        let template = Template::new(template).expect(template);
        let mut out = Vec::new();
        let complete = template.over(&batch).write(&mut out, row);
        (String::from_utf8(out).expect("text"), complete)
    }

    #[test]
    fn templates_mix_text_tag_and_fields() {
        for (template, row, text, complete) in [
            ("plain", 0, "plain", true),
            ("$TAG", 0, "kube.web", true),
            ("x.$TAG[1].y", 0, "x.web.y", true),
            ("x.$TAG[7]", 0, "x.", true),
            ("a $log, b", 1, "a 観測\t, b", true),
            ("$nested['a'][3]/$missing.z", 1, "2.5/.z", false),
            (
                "$kubernetes['labels']['app'].$kubernetes['pod_name']",
                0,
                "web.web-1",
                true,
            ),
        ] {
            assert_eq!(
                render(template, row),
                (text.to_owned(), complete),
                "{template}"
            );
        }
        assert!(Template::new("$log[").is_err());
        assert!(Template::new("a.$TAG.b").expect("valid").is_static());
        assert!(!Template::new("a.$b").expect("valid").is_static());
        assert_eq!(
            Template::new("a.$TAG[0]").expect("valid").of_tag("k.x"),
            "a.k"
        );
    }

    #[test]
    fn metadata_that_a_filter_has_moved_is_read_where_it_is() {
        let mut batch = crate::render::tests::batch();
        let of_pod = |batch: &LogBatch| {
            let accessor = Accessor::new("$kubernetes['pod_name']").expect("valid");
            let reading = accessor.over(batch);
            reading
                .text(0)
                .map(|t| String::from_utf8_lossy(&t).into_owned())
        };
        assert_eq!(of_pod(&batch).as_deref(), Some("web-1"));
        batch.kubernetes_to_column();
        assert_eq!(of_pod(&batch).as_deref(), Some("web-1"));
        let changed = Value::Json(batch.store(br#"{"pod_name":"other"}"#));
        batch.column_mut("kubernetes").values[0] = changed;
        assert_eq!(of_pod(&batch).as_deref(), Some("other"));
        batch.remove_column("kubernetes");
        assert_eq!(of_pod(&batch), None, "a filter has removed it");
    }
}
