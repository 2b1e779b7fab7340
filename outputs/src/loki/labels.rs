//! Stream labels and structured metadata: what they are called, where they come from, and which keys
//! leave the line because they became one.

use std::borrow::Cow;

use kansoku_model::plugin::Setting;
use kansoku_model::{ConfigError, LogBatch, Settings, json};

use crate::accessor::{Accessor, Reading, Template, TemplateReading};
use crate::render::kubernetes_json;
use crate::rows::Object;

enum Source {
    Fixed(String),
    Field(Template),
}

/// Names and values in the order of the configuration.
#[derive(Default)]
pub struct Pairs {
    pairs: Vec<(String, Source)>,
}

/// A file of labels may not be larger.
const LABEL_MAP_MAX_BYTES: u64 = 1 << 20;

impl Pairs {
    /// Reads a list option of `name=value`, `name=$field` and `$field`.
    ///
    /// # Errors
    /// When an entry is none of these.
    pub fn add_list(&mut self, settings: &Settings, key: &str) -> Result<(), ConfigError> {
        for s in settings.all(key) {
            for entry in entries(&s.value) {
                self.add(s, entry)?;
            }
        }
        Ok(())
    }

    /// Reads a list option whose entries all are `$field`.
    ///
    /// # Errors
    /// When one is not.
    pub fn add_fields(&mut self, settings: &Settings, key: &str) -> Result<(), ConfigError> {
        for s in settings.all(key) {
            for entry in entries(&s.value) {
                if !entry.starts_with('$') {
                    let message = format!("'{key}' has '{entry}', which must begin with '$'");
                    return Err(ConfigError::new(&s.place, message));
                }
                self.add(s, entry)?;
            }
        }
        Ok(())
    }

    fn add(&mut self, setting: &Setting, entry: &str) -> Result<(), ConfigError> {
        let fail =
            |why: String| ConfigError::new(&setting.place, format!("'{}': {why}", setting.key));
        if entry.starts_with('$') {
            let accessor = Accessor::new(entry).map_err(fail)?;
            let template = Template::new(entry).map_err(fail)?;
            let name = label_name(&accessor.joined());
            self.pairs.push((name, Source::Field(template)));
            return Ok(());
        }
        let (name, value) = entry
            .split_once('=')
            .map(|(n, v)| (n.trim(), v.trim()))
            .filter(|(n, v)| !n.is_empty() && !v.is_empty())
            .ok_or_else(|| {
                fail(format!(
                    "'{entry}' must be name=value, name=$field or $field"
                ))
            })?;
        let source = if value.starts_with('$') {
            Source::Field(Template::new(value).map_err(fail)?)
        } else {
            Source::Fixed(value.to_owned())
        };
        self.pairs.push((name.to_owned(), source));
        Ok(())
    }

    /// Reads `label_map_path`: JSON like the record, with label names for values.
    ///
    /// # Errors
    /// When the file cannot be read or is none.
    pub fn add_map(&mut self, settings: &Settings) -> Result<(), ConfigError> {
        let Some(s) = settings.get("label_map_path") else {
            return Ok(());
        };
        let fail = |why: String| {
            let message = format!("'label_map_path': cannot use '{}': {why}", s.value);
            ConfigError::new(&s.place, message)
        };
        let size = std::fs::metadata(&s.value)
            .map_err(|e| fail(e.to_string()))?
            .len();
        if size > LABEL_MAP_MAX_BYTES {
            return Err(fail(format!("it has {size} bytes; 1 MiB is the most")));
        }
        let text = std::fs::read(&s.value).map_err(|e| fail(e.to_string()))?;
        self.add_object("", &text).map_err(fail)
    }

    fn add_object(&mut self, path: &str, text: &[u8]) -> Result<(), String> {
        let object: Object<'_> = serde_json::from_slice(text).map_err(|e| e.to_string())?;
        for (key, value) in &object.0 {
            let path = if path.is_empty() {
                format!("${key}")
            } else {
                format!("{path}['{key}']")
            };
            match serde_json::from_str::<String>(value.get()) {
                Ok(name) => self
                    .pairs
                    .push((name, Source::Field(Template::new(&path)?))),
                Err(_) => self.add_object(&path, value.get().as_bytes())?,
            }
        }
        Ok(())
    }

    /// The keys that became a label or metadata.
    pub fn keys(&self) -> impl Iterator<Item = Vec<String>> {
        let templates = self.pairs.iter().filter_map(|(_, source)| match source {
            Source::Field(template) => Some(template),
            Source::Fixed(_) => None,
        });
        templates.flat_map(|t| t.accessors().filter_map(Accessor::keys))
    }

    /// The pairs over one batch.
    pub fn over<'a>(&'a self, batch: &'a LogBatch) -> Vec<(&'a str, Text<'a>)> {
        let text = |source: &'a Source| match source {
            Source::Fixed(text) => Text::Fixed(text),
            Source::Field(template) => Text::Field(template.over(batch)),
        };
        self.pairs
            .iter()
            .map(|(name, source)| (name.as_str(), text(source)))
            .collect()
    }
}

/// One value over one batch.
pub enum Text<'a> {
    Fixed(&'a str),
    Field(TemplateReading<'a>),
}

impl Text<'_> {
    /// Whether it is the same for all records.
    pub fn is_constant(&self) -> bool {
        match self {
            Self::Fixed(_) => true,
            Self::Field(reading) => reading.is_constant(),
        }
    }

    /// Puts the text of record `row` into `into`.
    pub fn read(&self, into: &mut Vec<u8>, row: usize) {
        into.clear();
        match self {
            Self::Fixed(text) => into.extend_from_slice(text.as_bytes()),
            Self::Field(reading) => {
                reading.write(into, row);
            }
        }
    }
}

/// The entries of a comma list; a comma in quotes does not count.
fn entries(list: &str) -> impl Iterator<Item = &str> {
    let mut in_quotes = false;
    list.split(move |c| {
        in_quotes ^= c == '\'';
        c == ',' && !in_quotes
    })
    .map(str::trim)
    .filter(|e| !e.is_empty())
}

/// A label name as Loki takes it: what is neither letter, digit nor underscore becomes one.
pub fn label_name(text: &str) -> String {
    let mut name: String = text
        .chars()
        .map(|c| if c.is_ascii_alphanumeric() { c } else { '_' })
        .collect();
    if name.is_empty() || name.starts_with(|c: char| c.is_ascii_digit()) {
        name.insert(0, '_');
    }
    name
}

/// Writes `"name":"value"` members of one object, each name once: the first counts.
pub struct Members<'o> {
    out: &'o mut Vec<u8>,
    start: usize,
}

impl<'o> Members<'o> {
    /// Members to be written at the end of `out`.
    pub fn new(out: &'o mut Vec<u8>) -> Self {
        let start = out.len();
        Self { out, start }
    }

    /// Adds a member unless its value is empty or its name is there.
    pub fn add(&mut self, name: &str, value: &[u8]) {
        if value.is_empty() {
            return;
        }
        let mut key = Vec::with_capacity(name.len() + 3);
        json::write_str(&mut key, name.as_bytes());
        key.extend_from_slice(b":\"");
        if memchr::memmem::find(&self.out[self.start..], &key).is_some() {
            return;
        }
        if self.out.len() > self.start {
            self.out.push(b',');
        }
        key.pop();
        self.out.extend_from_slice(&key);
        json::write_str(self.out, value);
    }

    /// Whether nothing was added.
    pub fn is_empty(&self) -> bool {
        self.out.len() == self.start
    }
}

/// An object of the record, such as the pod's labels.
pub struct MapField<'a> {
    reading: Reading<'a>,
    /// The object when it is held once for the batch.
    of_all: Option<Vec<u8>>,
}

impl<'a> MapField<'a> {
    /// The object that `accessor` names, over one batch.
    pub fn new(accessor: &'a Accessor, batch: &'a LogBatch) -> Self {
        let keys = accessor.keys().unwrap_or_default();
        let of_all = match keys.split_first() {
            Some((first, below)) if first == "kubernetes" => {
                let pod = kubernetes_json(batch);
                below.iter().try_fold(pod, |json, key| member(&json, key))
            }
            _ => None,
        };
        Self {
            reading: accessor.over(batch),
            of_all: of_all.filter(|json| !json.is_empty()),
        }
    }

    /// Whether it is the same for all records.
    pub fn is_constant(&self) -> bool {
        self.reading.is_constant()
    }

    /// Adds its members: texts as they are, anything else as JSON unless only texts are wanted.
    pub fn add(&self, members: &mut Members<'_>, row: usize, only_text: bool) {
        let text = match &self.of_all {
            Some(json) => Cow::Borrowed(json.as_slice()),
            None => match self.reading.text(row) {
                Some(text) => text,
                None => return,
            },
        };
        let Ok(object) = serde_json::from_slice::<Object<'_>>(&text) else {
            return;
        };
        for (key, value) in &object.0 {
            match serde_json::from_str::<String>(value.get()) {
                Ok(text) => members.add(&label_name(key), text.as_bytes()),
                Err(_) if only_text => {}
                Err(_) => members.add(&label_name(key), value.get().as_bytes()),
            }
        }
    }
}

fn member(json: &[u8], key: &str) -> Option<Vec<u8>> {
    let object: Object<'_> = serde_json::from_slice(json).ok()?;
    let found = object.0.iter().find(|(name, _)| name == key)?;
    Some(found.1.get().as_bytes().to_vec())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_and_lists_are_loki_s() {
        assert_eq!(
            label_name("app.kubernetes.io/name"),
            "app_kubernetes_io_name"
        );
        assert_eq!(label_name("1st"), "_1st");
        assert_eq!(label_name(""), "_");
        let found: Vec<&str> = entries("a=b, $c['x,y'] ,,d=$e").collect();
        assert_eq!(found, ["a=b", "$c['x,y']", "d=$e"]);
    }

    #[test]
    fn a_name_is_written_once() {
        let mut out = Vec::new();
        let mut members = Members::new(&mut out);
        members.add("a", b"1");
        members.add("b", b"");
        members.add("a", b"2");
        members.add("c", b"\"a\":\"");
        assert_eq!(out, br#""a":"1","c":"\"a\":\"""#);
    }
}
