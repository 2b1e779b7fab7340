//! The attributes of one element while it is converted: what is read is noted, so that what nobody read
//! can be named.

use std::cell::RefCell;
use std::collections::HashSet;

use kansoku_model::Place;
use kansoku_parsers::config::fluentd::Element;

use super::report::Report;
use super::text::{self, Text};
use super::written::Section;

/// How a value is written here.
#[derive(Debug, Clone, Copy)]
pub(super) enum As {
    Text,
    /// `on` and `off`.
    Switch,
    /// Seconds.
    Time,
    /// Bytes.
    Size,
}

/// The attributes of an element.
pub(super) struct Params<'a> {
    pub(super) element: &'a Element,
    report: &'a Report,
    read: RefCell<HashSet<String>>,
    read_elements: RefCell<HashSet<String>>,
}

impl<'a> Params<'a> {
    pub(super) fn new(element: &'a Element, report: &'a Report) -> Self {
        let params = Self {
            element,
            report,
            read: RefCell::default(),
            read_elements: RefCell::default(),
        };
        params.ignore(&[
            "@type",
            "type",
            "@id",
            "id",
            "@log_level",
            "log_level",
            "@label",
        ]);
        params
    }

    pub(super) fn place(&self) -> &Place {
        &self.element.place
    }

    pub(super) fn lost(&self, text: impl Into<String>) {
        self.report.lost(self.place(), text);
    }

    pub(super) fn differs(&self, text: impl Into<String>) {
        self.report.differs(self.place(), text);
    }

    /// The type of the plugin, without its variables.
    pub(super) fn kind(&self) -> String {
        let kind = self.word("@type").or_else(|| self.word("type"));
        kind.unwrap_or_default()
    }

    /// What the other configuration says, with variables; none when it is not there or empty, or is Ruby,
    /// which is told.
    pub(super) fn text(&self, key: &str) -> Option<Text> {
        self.read.borrow_mut().insert(key.to_owned());
        let attribute = self.element.get(key)?;
        match text::text(&attribute.value) {
            Ok(text) => Some(text).filter(|t| !t.written.is_empty()),
            Err(code) => {
                let message = format!(
                    "'{key}' is made by Ruby code, which is not run here: #{{{code}}}; set the key by hand"
                );
                self.report.lost(&attribute.place, message);
                None
            }
        }
    }

    /// A value that decides how the result looks, so that a variable in it is taken at its default.
    pub(super) fn word(&self, key: &str) -> Option<String> {
        let text = self.text(key)?;
        if text.has_variable {
            let place = self.element.get(key).map_or(self.place(), |a| &a.place);
            let message = format!(
                "'{key}' is set by a variable ({}) and taken as '{}' here",
                text.written, text.assumed
            );
            self.report.differs(place, message);
        }
        Some(text.assumed)
    }

    /// A switch; one without a value is on.
    pub(super) fn switch(&self, key: &str) -> Option<bool> {
        let is_bare = self
            .element
            .get(key)
            .is_some_and(|a| a.value.parts.is_empty());
        if is_bare {
            self.ignore(&[key]);
            return Some(true);
        }
        text::boolean(&self.word(key)?)
    }

    pub(super) fn list(&self, key: &str) -> Vec<String> {
        self.word(key).map(|t| text::list(&t)).unwrap_or_default()
    }

    pub(super) fn pairs(&self, key: &str) -> Vec<(String, String)> {
        self.word(key).map(|t| text::pairs(&t)).unwrap_or_default()
    }

    /// Elements of that name.
    pub(super) fn elements(&self, name: &'a str) -> impl Iterator<Item = &'a Element> + use<'a> {
        self.read_elements.borrow_mut().insert(name.to_owned());
        self.element.all(name)
    }

    /// The first element of that name.
    pub(super) fn nested(&self, name: &'a str) -> Option<Params<'a>> {
        let element = self.elements(name).next()?;
        Some(Params::new(element, self.report))
    }

    /// Keys that need no counterpart.
    pub(super) fn ignore(&self, keys: &[&str]) {
        let keys = keys.iter().map(|k| (*k).to_owned());
        self.read.borrow_mut().extend(keys);
    }

    /// Elements that need no counterpart, with all they hold.
    pub(super) fn ignore_elements(&self, names: &[&str]) {
        let names = names.iter().map(|k| (*k).to_owned());
        self.read_elements.borrow_mut().extend(names);
    }

    /// Keys that have one counterpart each.
    pub(super) fn copy(&self, into: &mut Section, keys: &[(&str, &str, As)]) {
        for (key, ours, form) in keys {
            let value = match form {
                As::Text => self.text(key).map(|t| t.written),
                As::Switch => self.text(key).and_then(|t| self.shown_switch(key, &t)),
                // Times have the same units, so a variable may stay one.
                As::Time => match self.text(key) {
                    Some(text) if text.has_variable => Some(text.written),
                    _ => self.number(key, |t| text::seconds(t).map(|s| s.to_string())),
                },
                As::Size => self.number(key, |t| text::size(t).map(|s| s.to_string())),
            };
            if let Some(value) = value {
                into.set(ours, &value);
            }
        }
    }

    fn shown_switch(&self, key: &str, text: &Text) -> Option<String> {
        if text.has_variable {
            return Some(text.written.clone());
        }
        let on = text::boolean(&text.assumed);
        if on.is_none() {
            self.lost(format!(
                "'{key}' is '{}', which is neither true nor false",
                text.assumed
            ));
        }
        on.map(|on| if on { "on" } else { "off" }.to_owned())
    }

    fn number(&self, key: &str, convert: impl Fn(&str) -> Option<String>) -> Option<String> {
        let text = self.word(key)?;
        let found = convert(&text);
        if found.is_none() {
            self.lost(format!(
                "'{key}' is '{text}', which is no number with a unit"
            ));
        }
        found
    }

    /// Names what nobody read.
    pub(super) fn finish(&self) {
        let read = self.read.borrow();
        let unread = self
            .element
            .attributes
            .iter()
            .filter(|a| !read.contains(&a.key));
        for attribute in unread {
            let message = format!(
                "'{}' of <{}>{} has no counterpart",
                attribute.key,
                self.element.name,
                self.shown_kind()
            );
            self.report.lost(&attribute.place, message);
        }
        let read = self.read_elements.borrow();
        for element in &self.element.elements {
            if !read.contains(&element.name) {
                let message = format!(
                    "<{}> in <{}>{} has no counterpart",
                    element.name,
                    self.element.name,
                    self.shown_kind()
                );
                self.report.lost(&element.place, message);
            }
        }
    }

    fn shown_kind(&self) -> String {
        let kind = self
            .element
            .get("@type")
            .or_else(|| self.element.get("type"));
        kind.map_or(String::new(), |k| format!(" of type {}", k.value))
    }
}
