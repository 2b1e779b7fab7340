//! YAML text as a tree of scalars, lists and maps, each with its line and column.
//!
//! Scalars stay the text that was written: what `on` or `5M` means is the option's business. The rule:
//! depth and size are bounded, aliases included, so that no file can blow up in memory.

use std::collections::HashMap;

use kansoku_model::plugin::did_you_mean;
use kansoku_model::{ConfigError, Place};
use saphyr_parser::{Event, Parser, ScalarStyle, Span};

/// Deeper nesting than any configuration has.
const MAX_DEPTH: usize = 64;
/// Scalars, lists and maps of one file, aliases counted as often as they are used.
const MAX_NODES: usize = 1 << 20;

/// One value and where it stands.
#[derive(Debug, Clone)]
pub struct Node {
    pub place: Place,
    pub value: Value,
}

/// What a node holds.
#[derive(Debug, Clone)]
pub enum Value {
    Scalar {
        text: String,
        /// Written without quotes: `1` may be a number, `"1"` is not.
        plain: bool,
    },
    List(Vec<Node>),
    Map(Vec<(Key, Node)>),
}

/// A map's key and where it stands.
#[derive(Debug, Clone)]
pub struct Key {
    pub place: Place,
    pub text: String,
    /// Came by `<<`: a key written in the map itself replaces it.
    pub merged: bool,
}

impl Node {
    /// What it is, for messages.
    #[must_use]
    pub fn kind(&self) -> &'static str {
        match &self.value {
            Value::Scalar { .. } => "a value",
            Value::List(_) => "a list",
            Value::Map(_) => "a map",
        }
    }

    /// An error at this node.
    #[must_use]
    pub fn error(&self, message: impl Into<String>) -> ConfigError {
        ConfigError::new(&self.place, message)
    }

    /// The text of a scalar.
    ///
    /// # Errors
    /// When it is a list or a map.
    pub fn text(&self) -> Result<&str, ConfigError> {
        match &self.value {
            Value::Scalar { text, .. } => Ok(text),
            _ => Err(self.error(format!("expected a value, found {}", self.kind()))),
        }
    }

    /// The pairs of a map.
    ///
    /// # Errors
    /// When it is a value or a list.
    pub fn pairs(&self) -> Result<&[(Key, Self)], ConfigError> {
        match &self.value {
            Value::Map(pairs) => Ok(pairs),
            _ => Err(self.error(format!("expected a map, found {}", self.kind()))),
        }
    }

    /// The items of a list.
    ///
    /// # Errors
    /// When it is a value or a map.
    pub fn items(&self) -> Result<&[Self], ConfigError> {
        match &self.value {
            Value::List(items) => Ok(items),
            _ => Err(self.error(format!("expected a list, found {}", self.kind()))),
        }
    }

    /// The pairs of a map that may hold each of `keys` once; what holds nothing (`key:`) is left out.
    ///
    /// # Errors
    /// When it is no map, or a key is unknown or there twice.
    pub fn checked_pairs(&self, keys: &[&str]) -> Result<Vec<(&str, &Self)>, ConfigError> {
        let mut found: Vec<(&str, &Self)> = Vec::new();
        for (key, value) in self.pairs()? {
            if !keys.contains(&key.text.as_str()) {
                let hint = did_you_mean(&key.text, keys.iter().copied());
                let message = format!("unknown key '{}'{hint}", key.text);
                return Err(ConfigError::new(&key.place, message));
            }
            if found.iter().any(|(name, _)| *name == key.text) {
                let message = format!("'{}' is set twice; remove one", key.text);
                return Err(ConfigError::new(&key.place, message));
            }
            found.push((&key.text, value));
        }
        found.retain(|(_, value)| !value.is_null());
        Ok(found)
    }

    /// Whether nothing was written, or `null`.
    #[must_use]
    pub fn is_null(&self) -> bool {
        let is_word = |text: &str| matches!(text, "" | "~" | "null" | "Null" | "NULL");
        matches!(&self.value, Value::Scalar { text, plain: true } if is_word(text))
    }

    fn move_to(&mut self, place: &Place) {
        self.place = place.clone();
        match &mut self.value {
            Value::Scalar { .. } => {}
            Value::List(items) => items.iter_mut().for_each(|item| item.move_to(place)),
            Value::Map(pairs) => pairs.iter_mut().for_each(|(key, value)| {
                key.place = place.clone();
                value.move_to(place);
            }),
        }
    }

    /// Whether nothing was written: `inputs:` and no more.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        matches!(&self.value, Value::Scalar { text, plain: true } if text.is_empty())
    }

    fn size(&self) -> usize {
        match &self.value {
            Value::Scalar { .. } => 1,
            Value::List(items) => 1 + items.iter().map(Self::size).sum::<usize>(),
            Value::Map(pairs) => 1 + pairs.iter().map(|(_, n)| 1 + n.size()).sum::<usize>(),
        }
    }
}

/// A list or map that is not complete yet.
struct Open {
    node: Node,
    /// Nonzero when an alias may refer to it.
    anchor: usize,
    /// The key whose value comes next.
    key: Option<Key>,
}

/// Reads one value that stands in a setting; messages name the setting's place.
///
/// # Errors
/// When the text is not YAML, or not one value.
pub fn parse_setting(text: &str, place: &Place) -> Result<Node, ConfigError> {
    let at_place = |e: ConfigError| ConfigError::new(place, e.message);
    let mut roots = parse("", text.as_bytes(), &mut Vec::new()).map_err(at_place)?;
    match (roots.pop(), roots.is_empty()) {
        (Some(mut root), true) => {
            root.move_to(place);
            Ok(root)
        }
        _ => Err(ConfigError::new(place, "one value must stand here")),
    }
}

/// Reads all documents of a file.
///
/// # Errors
/// When it is not UTF-8, not YAML, or too large.
pub fn parse(
    file: &str,
    bytes: &[u8],
    warnings: &mut Vec<ConfigError>,
) -> Result<Vec<Node>, ConfigError> {
    let bytes = bytes.strip_prefix(b"\xef\xbb\xbf").unwrap_or(bytes);
    let text = std::str::from_utf8(bytes).map_err(|e| {
        let lines = bytes[..e.valid_up_to()].iter().filter(|b| **b == b'\n');
        let line = u32::try_from(lines.count() + 1).unwrap_or(u32::MAX);
        ConfigError::new(
            &Place::new(file, line),
            "the line is not UTF-8; save the file as UTF-8",
        )
    })?;
    let mut builder = Builder {
        file: Place::new(file, 0),
        open: Vec::new(),
        anchors: HashMap::new(),
        roots: Vec::new(),
        n_nodes: 0,
        warnings,
    };
    for event in Parser::new_from_str(text) {
        let (event, span) = event.map_err(|e| {
            let place = builder.place(e.marker().line(), e.marker().col());
            ConfigError::new(&place, format!("not valid YAML: {}", e.info()))
        })?;
        builder.event(event, span)?;
    }
    Ok(builder.roots)
}

struct Builder<'a> {
    file: Place,
    open: Vec<Open>,
    anchors: HashMap<usize, Node>,
    roots: Vec<Node>,
    n_nodes: usize,
    warnings: &'a mut Vec<ConfigError>,
}

impl Builder<'_> {
    fn place(&self, line: usize, column: usize) -> Place {
        let number = |n: usize| u32::try_from(n).unwrap_or(u32::MAX);
        Place {
            file: self.file.file.clone(),
            line: number(line.max(1)),
            column: number(column.saturating_add(1)),
        }
    }

    fn event(&mut self, event: Event<'_>, span: Span) -> Result<(), ConfigError> {
        let place = self.place(span.start.line(), span.start.col());
        match event {
            Event::Scalar(text, style, anchor, _) => {
                let value = Value::Scalar {
                    text: text.into_owned(),
                    plain: style == ScalarStyle::Plain,
                };
                self.complete(Node { place, value }, anchor)
            }
            Event::SequenceStart(anchor, _) => self.start(place, Value::List(Vec::new()), anchor),
            Event::MappingStart(anchor, _) => self.start(place, Value::Map(Vec::new()), anchor),
            Event::SequenceEnd | Event::MappingEnd => match self.open.pop() {
                Some(open) => self.complete(open.node, open.anchor),
                None => Ok(()), // never: the reader pairs them
            },
            Event::Alias(anchor) => self.alias(&place, anchor),
            _ => Ok(()),
        }
    }

    fn start(&mut self, place: Place, value: Value, anchor: usize) -> Result<(), ConfigError> {
        if self.open.len() >= MAX_DEPTH {
            let message = format!("nested deeper than {MAX_DEPTH} levels");
            return Err(ConfigError::new(&place, message));
        }
        self.open.push(Open {
            node: Node { place, value },
            anchor,
            key: None,
        });
        Ok(())
    }

    fn alias(&mut self, place: &Place, anchor: usize) -> Result<(), ConfigError> {
        let Some(node) = self.anchors.get(&anchor).cloned() else {
            let message = "the alias refers to an anchor that is not complete yet";
            return Err(ConfigError::new(place, message));
        };
        if self.warnings.is_empty() || !self.warnings.iter().any(|w| w.message == ALIASES) {
            self.warnings.push(ConfigError::new(place, ALIASES));
        }
        self.n_nodes += node.size();
        self.complete(node, 0)
    }

    /// Puts a complete node where it belongs: a key, a value, an item, or a document.
    fn complete(&mut self, node: Node, anchor: usize) -> Result<(), ConfigError> {
        self.n_nodes += 1;
        if self.n_nodes > MAX_NODES {
            return Err(node.error(format!("more than {MAX_NODES} values in one file")));
        }
        if anchor != 0 {
            self.anchors.insert(anchor, node.clone());
            self.n_nodes += node.size();
        }
        let Some(open) = self.open.last_mut() else {
            self.roots.push(node);
            return Ok(());
        };
        match (&mut open.node.value, open.key.take()) {
            (Value::List(items), _) => items.push(node),
            (Value::Map(pairs), Some(key)) if key.text == "<<" => merge(pairs, node)?,
            (Value::Map(pairs), Some(key)) => {
                pairs.retain(|(k, _)| !(k.merged && k.text == key.text));
                pairs.push((key, node));
            }
            (Value::Map(_), None) => match node.value {
                Value::Scalar { text, .. } => {
                    open.key = Some(Key {
                        place: node.place,
                        text,
                        merged: false,
                    });
                }
                _ => return Err(node.error(format!("{} cannot be a key", node.kind()))),
            },
            (Value::Scalar { .. }, _) => {} // never: scalars are not open
        }
        Ok(())
    }
}

const ALIASES: &str =
    "anchors and aliases are resolved here, but Fluent Bit refuses a file that has them";

/// `<<: *alias`: the map's keys that are not there yet.
fn merge(pairs: &mut Vec<(Key, Node)>, node: Node) -> Result<(), ConfigError> {
    match node.value {
        Value::Map(more) => {
            for (mut key, value) in more {
                if !pairs.iter().any(|(k, _)| k.text == key.text) {
                    key.merged = true;
                    pairs.push((key, value));
                }
            }
            Ok(())
        }
        Value::List(maps) => maps.into_iter().try_for_each(|map| merge(pairs, map)),
        Value::Scalar { .. } => Err(node.error("'<<' needs a map")),
    }
}
