//! The sections of the result, and how they are written: Fluent Bit's classic format.

use std::fmt::Write;

use super::text::{DOLLAR, Text};

/// A section of the result.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Section {
    header: &'static str,
    /// Where it comes from, written above it.
    origin: String,
    keys: Vec<(String, String)>,
}

impl Section {
    pub(super) fn new(header: &'static str, origin: &str) -> Self {
        Self {
            header,
            origin: origin.to_owned(),
            keys: Vec::new(),
        }
    }

    /// A section of a plugin.
    pub(super) fn plugin(header: &'static str, name: &str, origin: &str) -> Self {
        Self::new(header, origin).with("Name", name)
    }

    pub(super) fn with(mut self, key: &str, value: &str) -> Self {
        self.set(key, value);
        self
    }

    /// Adds a key with a value of the importer's own; an empty one is no key.
    pub(super) fn set(&mut self, key: &str, value: &str) {
        if !value.is_empty() {
            self.keys.push((key.to_owned(), value.to_owned()));
        }
    }

    /// Adds a key behind the name, for `Tag` and `Match`.
    pub(super) fn set_second(&mut self, key: &str, value: &str) {
        let at = self.keys.len().min(1);
        self.keys.insert(at, (key.to_owned(), value.to_owned()));
    }

    /// Adds a key with a value of the other configuration.
    pub(super) fn put(&mut self, key: &str, value: &Text) {
        self.set(key, &value.written);
    }

    /// Sets a key that is there to another value.
    pub(super) fn replace(&mut self, key: &str, value: &str) {
        for (_, old) in self.keys.iter_mut().filter(|(k, _)| k == key) {
            value.clone_into(old);
        }
    }

    /// The value of a key.
    pub(super) fn get(&self, key: &str) -> Option<&str> {
        let found = self.keys.iter().find(|(k, _)| k.eq_ignore_ascii_case(key));
        found.map(|(_, v)| v.as_str())
    }

    /// Takes a prefix off its tag or match.
    pub(super) fn strip_tag(&mut self, prefix: &str) {
        for (key, value) in &mut self.keys {
            if matches!(key.as_str(), "Tag" | "Match")
                && let Some(rest) = value.strip_prefix(prefix).filter(|r| !r.is_empty())
            {
                *value = rest.to_owned();
            }
        }
    }

    /// Adds all keys of another section.
    pub(super) fn extend(&mut self, other: &Self) {
        self.keys.extend(other.keys.iter().cloned());
    }

    /// Whether it is the same but for where it comes from.
    pub(super) fn is_alike(&self, other: &Self) -> bool {
        self.header == other.header && self.keys == other.keys
    }

    /// Keys whose values the format cannot hold: line ends, and blanks at their ends.
    pub(super) fn misfits(&self) -> impl Iterator<Item = &str> {
        let misfits = |v: &str| v.contains(['\n', '\r']) || v.trim() != v;
        let keys = self.keys.iter().filter(move |(_, v)| misfits(v));
        keys.map(|(k, _)| k.as_str())
    }

    pub(super) fn drop_misfits(&mut self) {
        self.keys
            .retain(|(_, v)| !v.contains(['\n', '\r']) && v.trim() == v);
    }

    /// The text of an upstream file; the key `file` is its name.
    pub(super) fn upstream_text(&self) -> String {
        let mut out = String::new();
        let mut name = Self::new("UPSTREAM", &self.origin);
        name.set("name", self.get("name").unwrap_or_default());
        name.write(&mut out);
        for (key, value) in &self.keys {
            if let (true, Some((host, port))) = (key == "node", value.rsplit_once(' ')) {
                let node = Self::new("NODE", "")
                    .with("name", &format!("{host}:{port}"))
                    .with("host", host)
                    .with("port", port);
                node.write(&mut out);
            }
        }
        format!("{}\n", out.trim_end())
    }

    fn write(&self, out: &mut String) {
        for line in self.origin.lines() {
            let _ = writeln!(out, "# {line}");
        }
        let _ = writeln!(out, "[{}]", self.header);
        let width = self.keys.iter().map(|(k, _)| k.len()).max().unwrap_or(0);
        for (key, value) in &self.keys {
            let _ = writeln!(out, "    {key:width$} {value}");
        }
        out.push('\n');
    }
}

/// A file of sections, with the variable that stands for a dollar sign where one is needed.
pub(super) fn file(head: &str, sections: &[Section]) -> String {
    let mut body = String::new();
    for section in sections {
        section.write(&mut body);
    }
    let mut out = String::new();
    for line in head.lines() {
        let _ = writeln!(out, "# {line}");
    }
    if body.contains(DOLLAR) {
        out.push_str("@SET DOLLAR=$\n");
    }
    out.push('\n');
    out.push_str(body.trim_end());
    out.push('\n');
    out
}
