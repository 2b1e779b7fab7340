//! Fluent Bit's YAML configuration format, as the same sections and keys as the classic one.
//!
//! Keys may be written in camelCase, a list is a key that is given again, an include is relative to
//! the file that names it, several documents are one configuration. Every message has a line and a
//! column. What Fluent Bit reads and silently drops (an unknown name at the top, a map where none belongs)
//! is told here.

pub(super) mod sections;
pub mod tree;

use std::collections::HashSet;

use kansoku_model::plugin::did_you_mean;
use kansoku_model::{ConfigError, Place};

use super::{Document, Loaded, MAX_FILES, Read, Section, SectionKind};
use sections::{list, pairs, plugin, settings, simple, text};
use tree::{Key, Node, Value};

/// The names that may stand at the top of a file.
const TOP: &[&str] = &[
    "env",
    "includes",
    "service",
    "pipeline",
    "customs",
    "parsers",
    "multiline_parsers",
    "stream_processor",
    "plugins",
    "upstream_servers",
    "extensions",
];

/// Reads a file and all it includes.
///
/// # Errors
/// The first thing that breaks the format, with line, column and what to do.
pub fn parse(path: &str, read: Read<'_>) -> Result<Document, ConfigError> {
    let mut reader = Reader {
        read,
        seen: HashSet::new(),
        document: Document::default(),
        service: None,
    };
    reader.files(path, "", &Place::new(path, 0))?;
    Ok(reader.document)
}

/// A plugin or core key as Fluent Bit spells it: `memBufLimit` becomes `mem_buf_limit` when it starts
/// small and has no underscore; other keys only lose their capitals.
pub(super) fn snake_case(key: &str) -> String {
    let is_camel = key.starts_with(|c: char| c.is_ascii_lowercase()) && !key.contains('_');
    if !is_camel {
        return key.to_ascii_lowercase();
    }
    let mut out = String::with_capacity(key.len() + 4);
    for c in key.chars() {
        if c.is_ascii_uppercase() {
            out.push('_');
        }
        out.push(c.to_ascii_lowercase());
    }
    out
}

struct Reader<'a> {
    read: Read<'a>,
    seen: HashSet<String>,
    document: Document,
    /// Where `service` was written: it may be there once.
    service: Option<Place>,
}

impl Reader<'_> {
    fn files(&mut self, path: &str, from: &str, place: &Place) -> Result<(), ConfigError> {
        let loaded = (self.read)(path, from).map_err(|e| ConfigError::new(place, e))?;
        for file in loaded {
            if !self.seen.insert(file.identity.clone()) {
                let message = format!(
                    "file {} is read twice; remove one of the includes",
                    file.name
                );
                return Err(ConfigError::new(place, message));
            }
            if self.seen.len() > MAX_FILES {
                let message = format!("more than {MAX_FILES} files are included");
                return Err(ConfigError::new(place, message));
            }
            self.file(&file)?;
        }
        Ok(())
    }

    fn file(&mut self, file: &Loaded) -> Result<(), ConfigError> {
        let roots = tree::parse(&file.name, &file.bytes, &mut self.document.warnings)?;
        for root in roots {
            if root.is_empty() {
                continue;
            }
            let Value::Map(pairs) = &root.value else {
                let message = format!(
                    "the file must be a map with names such as service and pipeline, not {}",
                    root.kind()
                );
                return Err(root.error(message));
            };
            for (key, node) in pairs {
                self.top(key, node, &file.name)?;
            }
        }
        Ok(())
    }

    fn top(&mut self, key: &Key, node: &Node, file: &str) -> Result<(), ConfigError> {
        let word = key.text.to_ascii_lowercase();
        match word.as_str() {
            "env" => self.env(node),
            "includes" => {
                for item in list(node, "includes")? {
                    self.files(text(item)?, file, &item.place)?;
                }
                Ok(())
            }
            "service" => self.service(key, node),
            "pipeline" => self.pipeline(node),
            "plugins" => self.plugins(node),
            "customs" => self.simple(SectionKind::Custom, node, &word),
            "stream_processor" => self.simple(SectionKind::StreamTask, node, &word),
            "parsers" => self.simple(SectionKind::Parser, node, &word),
            "multiline_parsers" => {
                for item in list(node, &word)? {
                    self.document.sections.push(sections::multiline(item)?);
                }
                Ok(())
            }
            "upstream_servers" => {
                for item in list(node, &word)? {
                    let (section, nodes) = sections::upstream(item)?;
                    self.document.sections.push(section);
                    self.document.sections.extend(nodes);
                }
                Ok(())
            }
            _ => {
                let hint = did_you_mean(&key.text, TOP.iter().copied());
                let message = format!("'{}' at the top of the file is ignored{hint}", key.text);
                let is_nested = ["inputs", "filters", "outputs"].contains(&word.as_str());
                let error = ConfigError::new(&key.place, message);
                if is_nested {
                    let message = format!("'{word}' belongs below 'pipeline:'; indent it");
                    return Err(ConfigError::new(&key.place, message));
                }
                // Keys that start with x- or a dot are where anchors are kept.
                if !word.starts_with("x-") && !word.starts_with('.') {
                    self.document.warnings.push(error);
                }
                Ok(())
            }
        }
    }

    /// `env: {A: b}`, or `env: [{name: A, value: b}, {name: C, uri: file:///x}]`.
    fn env(&mut self, node: &Node) -> Result<(), ConfigError> {
        if let Value::Map(pairs) = &node.value {
            for (key, value) in pairs {
                self.set(&key.text, text(value)?);
            }
            return Ok(());
        }
        for item in list(node, "env")? {
            let (mut name, mut value) = (None, None);
            let given = pairs(item)?;
            for (key, node) in given {
                let content = text(node)?;
                match key.text.to_ascii_lowercase().as_str() {
                    "name" => name = Some(content.to_owned()),
                    "value" | "uri" => value = Some(content.to_owned()),
                    "refresh_interval" => {
                        let message = "'refresh_interval' has no effect: the value is read at start and at each reload";
                        let warning = ConfigError::new(&key.place, message);
                        self.document.warnings.push(warning);
                    }
                    // `- A: b`
                    _ if given.len() == 1 => {
                        name = Some(key.text.clone());
                        value = Some(content.to_owned());
                    }
                    other => {
                        let known = ["name", "value", "uri", "refresh_interval"];
                        let hint = did_you_mean(other, known.into_iter());
                        let message = format!("unknown key '{other}' in env{hint}");
                        return Err(ConfigError::new(&key.place, message));
                    }
                }
            }
            let name = name.ok_or_else(|| item.error("the variable has no 'name'"))?;
            let value = value.ok_or_else(|| item.error("the variable has no 'value' or 'uri'"))?;
            self.set(&name, &value);
        }
        Ok(())
    }

    fn set(&mut self, name: &str, value: &str) {
        let variables = &mut self.document.variables;
        variables.retain(|(n, _)| n != name);
        variables.push((name.to_owned(), value.to_owned()));
    }

    fn service(&mut self, key: &Key, node: &Node) -> Result<(), ConfigError> {
        if let Some(first) = self.service.replace(key.place.clone()) {
            let message = format!("'service' is there twice (first at {first}); join them");
            return Err(ConfigError::new(&key.place, message));
        }
        let mut section = Section::new(SectionKind::Service, key.place.clone());
        if !node.is_empty() {
            settings(node, &mut section)?;
        }
        self.document.sections.push(section);
        Ok(())
    }

    fn pipeline(&mut self, node: &Node) -> Result<(), ConfigError> {
        for (key, list_node) in pairs(node)? {
            let kind = match key.text.to_ascii_lowercase().as_str() {
                "inputs" => SectionKind::Input,
                "filters" => SectionKind::Filter,
                "outputs" => SectionKind::Output,
                other => {
                    let known = ["inputs", "filters", "outputs"];
                    let hint = did_you_mean(other, known.into_iter());
                    let message = format!("unknown key '{other}' in pipeline{hint}");
                    return Err(ConfigError::new(&key.place, message));
                }
            };
            for item in list(list_node, &key.text)? {
                self.document.sections.push(plugin(kind, item)?);
            }
        }
        Ok(())
    }

    /// Paths of shared objects: one section that holds them.
    fn plugins(&mut self, node: &Node) -> Result<(), ConfigError> {
        let items = list(node, "plugins")?;
        if items.is_empty() {
            return Ok(());
        }
        let mut section = Section::new(SectionKind::Plugins, node.place.clone());
        for item in items {
            match &item.value {
                Value::Scalar { text, .. } => {
                    section
                        .settings
                        .push(sections::setting("path", text, &item.place));
                }
                _ => settings(item, &mut section)?,
            }
        }
        self.document.sections.push(section);
        Ok(())
    }

    fn simple(&mut self, kind: SectionKind, node: &Node, name: &str) -> Result<(), ConfigError> {
        for item in list(node, name)? {
            self.document.sections.push(simple(kind, item)?);
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests;
