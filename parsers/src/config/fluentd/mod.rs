//! Fluentd's configuration (its v1 format) as elements, attributes and places.
//!
//! Reading only: what an element means is the importer's business. No file is opened here; the
//! caller's `read` turns a path or pattern of an `@include` into texts. Ruby in `#{…}` is kept as it
//! stands, for nobody here can run it.

mod read;
mod scanner;
#[cfg(test)]
mod tests;

use kansoku_model::{ConfigError, Place};

pub use read::parse;

/// The most files of one configuration, and how deep they may include each other.
pub const MAX_FILES: usize = 1000;
/// See [`MAX_FILES`].
pub const MAX_INCLUDE_DEPTH: usize = 32;
/// How deep elements may lie in each other; Fluentd's own need four.
pub const MAX_ELEMENT_DEPTH: usize = 32;
/// The most elements and attributes; what includes itself many times ends here.
pub const MAX_ITEMS: usize = 100_000;

/// A configuration with its includes resolved.
#[derive(Debug, Clone, Default)]
pub struct Configuration {
    pub elements: Vec<Element>,
    /// What Fluentd takes and warns of, or silently ignores.
    pub warnings: Vec<ConfigError>,
}

/// `<name argument> … </name>`.
#[derive(Debug, Clone, PartialEq)]
pub struct Element {
    pub name: String,
    pub argument: Value,
    pub place: Place,
    /// In order; a key that was given twice has its last value.
    pub attributes: Vec<Attribute>,
    pub elements: Vec<Element>,
}

/// `key value`.
#[derive(Debug, Clone, PartialEq)]
pub struct Attribute {
    pub key: String,
    pub value: Value,
    pub place: Place,
}

/// A value as it was written; no parts stand for an empty text.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Value {
    pub parts: Vec<Part>,
}

/// A piece of a value.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Part {
    Text(String),
    /// What stood in `#{…}`.
    Ruby(String),
}

impl Element {
    /// The attribute of that name.
    #[must_use]
    pub fn get(&self, key: &str) -> Option<&Attribute> {
        self.attributes.iter().find(|a| a.key == key)
    }

    /// The elements of that name.
    pub fn all<'a>(&'a self, name: &'a str) -> impl Iterator<Item = &'a Element> {
        self.elements.iter().filter(move |e| e.name == name)
    }
}

impl Value {
    /// A value without Ruby.
    #[must_use]
    pub fn text(text: &str) -> Self {
        let mut value = Self::default();
        value.push_text(text);
        value
    }

    /// The whole value when there is no Ruby in it.
    #[must_use]
    pub fn plain(&self) -> Option<&str> {
        match self.parts.as_slice() {
            [] => Some(""),
            [Part::Text(text)] => Some(text),
            _ => None,
        }
    }

    fn push_text(&mut self, text: &str) {
        if text.is_empty() {
            return;
        }
        match self.parts.last_mut() {
            Some(Part::Text(last)) => last.push_str(text),
            _ => self.parts.push(Part::Text(text.to_owned())),
        }
    }
}

impl std::fmt::Display for Value {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        for part in &self.parts {
            match part {
                Part::Text(text) => f.write_str(text)?,
                Part::Ruby(code) => write!(f, "#{{{code}}}")?,
            }
        }
        Ok(())
    }
}
