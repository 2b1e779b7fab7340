//! Elements, attributes and includes of a Fluentd configuration, put together from its files.

use kansoku_model::{ConfigError, Place};

use super::scanner::{Scanner, Until};
use super::{
    Attribute, Configuration, Element, MAX_ELEMENT_DEPTH, MAX_FILES, MAX_INCLUDE_DEPTH, MAX_ITEMS,
    Value,
};
use crate::config::Loaded;

/// Turns the path or pattern of an include, and the name of the file that holds it (empty for the first
/// one), into files; none is fine, as for Fluentd.
pub type Read<'a> = &'a mut dyn FnMut(&str, &str) -> Result<Vec<Loaded>, String>;

/// What the `#{…}` in the path of an include stands for; `None` when that cannot be told.
pub type Evaluate<'a> = &'a dyn Fn(&Value) -> Option<String>;

/// Reads a configuration and all it includes.
///
/// # Errors
/// The first place that breaks the format, and what to do.
pub fn parse(
    path: &str,
    read: Read<'_>,
    evaluate: Evaluate<'_>,
) -> Result<Configuration, ConfigError> {
    let mut reader = Reader {
        read,
        evaluate,
        n_files: 0,
        n_items: 0,
        warnings: Vec::new(),
    };
    let mut root = Content::default();
    let place = Place::new(path, 0);
    let files = (reader.read)(path, "").map_err(|e| ConfigError::new(&place, e))?;
    if files.is_empty() {
        return Err(ConfigError::new(&place, "there is no such file"));
    }
    for file in files {
        reader.file(&file, 0, 0, &mut root)?;
    }
    if let Some(attribute) = root.attributes.first() {
        let message = format!(
            "'{}' stands outside of every section, where Fluentd ignores it",
            attribute.key
        );
        reader
            .warnings
            .push(ConfigError::new(&attribute.place, message));
    }
    Ok(Configuration {
        elements: root.elements,
        warnings: reader.warnings,
    })
}

/// What an element, or the configuration, holds.
#[derive(Default)]
struct Content {
    attributes: Vec<Attribute>,
    elements: Vec<Element>,
}

struct Reader<'a> {
    read: Read<'a>,
    evaluate: Evaluate<'a>,
    n_files: usize,
    n_items: usize,
    warnings: Vec<ConfigError>,
}

/// One file while it is read.
struct File<'a> {
    scanner: Scanner<'a>,
    name: String,
    /// How deep its includes stand.
    depth: usize,
    counted: (usize, u32),
}

impl File<'_> {
    fn place(&mut self) -> Place {
        let line = self.scanner.line(&mut self.counted);
        Place::new(&self.name, line)
    }

    fn error<T>(&mut self, message: impl Into<String>) -> Result<T, ConfigError> {
        Err(ConfigError::new(&self.place(), message.into()))
    }
}

impl Reader<'_> {
    fn file(
        &mut self,
        file: &Loaded,
        include_depth: usize,
        element_depth: usize,
        into: &mut Content,
    ) -> Result<(), ConfigError> {
        let bytes = file.bytes.strip_prefix(b"\xef\xbb\xbf");
        let bytes = bytes.unwrap_or(&file.bytes);
        let text = std::str::from_utf8(bytes).map_err(|e| {
            let line = bytes[..e.valid_up_to()].iter().filter(|b| **b == b'\n');
            let line = u32::try_from(line.count() + 1).unwrap_or(u32::MAX);
            let place = Place::new(&file.name, line);
            ConfigError::new(&place, "the line is not UTF-8; save the file as UTF-8")
        })?;
        let mut file = File {
            scanner: Scanner::new(text),
            name: file.name.clone(),
            depth: include_depth,
            counted: (0, 1),
        };
        self.content(&mut file, None, element_depth, into)
    }

    /// Reads up to the end tag of `element`, or to the end of the file at its root.
    fn content(
        &mut self,
        file: &mut File<'_>,
        element: Option<&str>,
        depth: usize,
        into: &mut Content,
    ) -> Result<(), ConfigError> {
        loop {
            file.scanner.blanks(true);
            if file.scanner.is_at_end() {
                return match element {
                    None => Ok(()),
                    Some(name) => file.error(format!("the file ends before '</{name}>'")),
                };
            }
            self.n_items += 1;
            if self.n_items > MAX_ITEMS {
                return file.error(format!(
                    "the configuration has more than {MAX_ITEMS} entries; does a file include itself?"
                ));
            }
            if file.scanner.skip("</") {
                return end_tag(file, element);
            } else if file.scanner.skip("<") {
                self.element(file, depth, into)?;
            } else if element.is_none() && is_old_include(file.scanner.rest()) {
                let place = file.place();
                let message = "'include' is an old spelling; write '@include'";
                self.warnings.push(ConfigError::new(&place, message));
                file.scanner.skip("include");
                self.include(file, depth, into)?;
            } else {
                self.attribute(file, element, depth, into)?;
            }
        }
    }

    fn element(
        &mut self,
        file: &mut File<'_>,
        depth: usize,
        into: &mut Content,
    ) -> Result<(), ConfigError> {
        let place = file.place();
        let name = file.scanner.name().to_owned();
        if name.is_empty() {
            return file.error("'<' is not followed by the name of a section");
        }
        if depth >= MAX_ELEMENT_DEPTH {
            return file.error(format!(
                "sections lie in each other more than {MAX_ELEMENT_DEPTH} deep"
            ));
        }
        file.scanner.blanks(true);
        let argument = match file.scanner.string(Until::TagEnd) {
            Ok(argument) => argument,
            Err(message) => return file.error(message),
        };
        file.scanner.blanks(true);
        if !file.scanner.skip(">") {
            return file.error(format!("'<{name}' has no closing '>'"));
        }
        if !file.scanner.line_end() {
            return file.error(format!(
                "something follows '<{name} …>' on its line; begin a line for it"
            ));
        }
        let mut content = Content::default();
        self.content(file, Some(&name), depth + 1, &mut content)?;
        into.elements.push(Element {
            name,
            argument,
            place,
            attributes: content.attributes,
            elements: content.elements,
        });
        Ok(())
    }

    fn attribute(
        &mut self,
        file: &mut File<'_>,
        element: Option<&str>,
        depth: usize,
        into: &mut Content,
    ) -> Result<(), ConfigError> {
        let place = file.place();
        let key = match file.scanner.string(Until::Blank) {
            Ok(key) => key.to_string(),
            Err(message) => return file.error(message),
        };
        // `key` alone on its line has an empty value.
        if file.scanner.blanks(false) || file.scanner.is_at_end() {
            set(into, key, Value::default(), place);
            return Ok(());
        }
        if key == "@include" {
            return self.include(file, depth, into);
        }
        if key.starts_with('@') && !RESERVED.contains(&&*key) {
            if element.is_none_or(|e| DIRECTIVES.contains(&e)) {
                let message =
                    format!("'{key}' is none of Fluentd's own keys: those begin with '@'");
                return Err(ConfigError::new(&place, message));
            }
            let message = format!("'{key}': Fluentd reserves keys that begin with '@'");
            self.warnings.push(ConfigError::new(&place, message));
        }
        let value = match file.scanner.literal() {
            Ok(value) => value,
            Err(message) => return file.error(format!("'{key}': {message}")),
        };
        if !file.scanner.line_end() {
            return file.error(format!(
                "something follows the value of '{key}' on its line; quote the value or begin a line"
            ));
        }
        set(into, key, value, place);
        Ok(())
    }

    /// What stands behind `@include`.
    fn include(
        &mut self,
        file: &mut File<'_>,
        depth: usize,
        into: &mut Content,
    ) -> Result<(), ConfigError> {
        file.scanner.blanks(false);
        let place = file.place();
        let path = match file.scanner.string(Until::LineEnd) {
            Ok(path) => path,
            Err(message) => return file.error(message),
        };
        file.scanner.line_end();
        let error = |message: String| ConfigError::new(&place, message);
        let Some(path) = (self.evaluate)(&path) else {
            return Err(error(format!(
                "the path of '@include {path}' is made by Ruby code, which is not run here; write the path itself"
            )));
        };
        let path = path.strip_prefix("file://").unwrap_or(&path);
        if path.contains("://") {
            return Err(error(format!(
                "'@include {path}' reads over the network; save the file and include that"
            )));
        }
        if file.depth >= MAX_INCLUDE_DEPTH {
            return Err(error(format!(
                "files include each other more than {MAX_INCLUDE_DEPTH} deep; does one include itself?"
            )));
        }
        let found = (self.read)(path, &file.name).map_err(error)?;
        if found.is_empty() {
            let message = format!("'@include {path}' finds no file; Fluentd says nothing of it");
            self.warnings.push(ConfigError::new(&place, message));
        }
        for included in found {
            self.n_files += 1;
            if self.n_files > MAX_FILES {
                return Err(error(format!("more than {MAX_FILES} files are included")));
            }
            self.file(&included, file.depth + 1, depth, into)?;
        }
        Ok(())
    }
}

/// Keys that begin with `@` and have a meaning everywhere.
const RESERVED: &[&str] = &["@type", "@id", "@label", "@log_level"];
/// In these other keys with `@` are refused.
const DIRECTIVES: &[&str] = &["match", "source", "filter", "system"];

fn is_old_include(rest: &str) -> bool {
    let after = rest.strip_prefix("include");
    after.is_some_and(|after| after.starts_with([' ', '\t', '\r', '\n', '#']))
}

fn set(into: &mut Content, key: String, value: Value, place: Place) {
    let attribute = Attribute { key, value, place };
    let given = into.attributes.iter_mut().find(|a| a.key == attribute.key);
    match given {
        Some(given) => *given = attribute,
        None => into.attributes.push(attribute),
    }
}

fn end_tag(file: &mut File<'_>, element: Option<&str>) -> Result<(), ConfigError> {
    let name = file.scanner.name().to_owned();
    file.scanner.blanks(true);
    if !file.scanner.skip(">") {
        return file.error(format!("'</{name}' has no closing '>'"));
    }
    match element {
        Some(open) if open == name => {}
        Some(open) => {
            return file.error(format!("'</{name}>' stands where '</{open}>' is expected"));
        }
        None => return file.error(format!("'</{name}>' closes nothing")),
    }
    if !file.scanner.line_end() {
        return file.error(format!(
            "something follows '</{name}>' on its line; begin a line for it"
        ));
    }
    Ok(())
}
