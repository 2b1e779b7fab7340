//! One entry on its way through the stages: its time, its line and its labels.
//!
//! A record is made once per block and reset per entry. Labels that stages add live in one text
//! buffer that keeps its memory, so that parsing an entry allocates nothing once it is warm.

use std::borrow::Cow;

use kansoku_model::Labels;
use kansoku_model::json::lossy;
use kansoku_model::log::Slice;

use super::ast::Grouping;
use super::output::LabelGroups;

/// The label that says a stage failed on this entry.
pub const ERROR_LABEL: &str = "__error__";
/// The label that says how.
pub const ERROR_DETAILS_LABEL: &str = "__error_details__";
/// Appended to an extracted name that the stream or the structured metadata already has.
pub const DUPLICATE_SUFFIX: &str = "_extracted";
/// The most labels that one entry may gain: looking one up is a walk over all of them.
pub const ADDED_MAX: usize = 1024;

/// Where a label comes from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Category {
    Stream,
    Metadata,
    Parsed,
}

/// An entry and its labels.
#[derive(Debug)]
pub struct Record<'a> {
    pub time_ns: i64,
    pub line: Cow<'a, [u8]>,
    pub labels: RecordLabels<'a>,
}

impl<'a> Record<'a> {
    /// A record for entries of the stream with these labels.
    pub fn new(stream: &'a Labels) -> Self {
        Self {
            time_ns: 0,
            line: Cow::Borrowed(b""),
            labels: RecordLabels::new(stream),
        }
    }

    /// Starts over with the next entry.
    pub fn reset(&mut self, time_ns: i64, line: &'a [u8]) {
        self.time_ns = time_ns;
        self.line = Cow::Borrowed(line);
        self.labels.reset();
    }
}

/// A label that is not, or no longer, as the stream has it.
#[derive(Debug, Clone, Copy)]
struct Added {
    category: Category,
    name: Slice,
    value: Slice,
    /// Not removed since.
    live: bool,
}

/// The labels of a record: those of its stream, changed by metadata and stages.
#[derive(Debug)]
pub struct RecordLabels<'a> {
    stream: Vec<(&'a str, &'a str)>,
    text: String,
    added: Vec<Added>,
    /// Names whose stream label is gone.
    deleted: Vec<Slice>,
    error: Option<&'static str>,
    error_details: String,
    /// The only names worth extracting, when the query needs no others.
    wanted: Option<&'a [String]>,
}

impl<'a> RecordLabels<'a> {
    fn new(stream: &'a Labels) -> Self {
        Self {
            stream: stream.iter().collect(),
            text: String::new(),
            added: Vec::new(),
            deleted: Vec::new(),
            error: None,
            error_details: String::new(),
            wanted: None,
        }
    }

    /// Extracts from now on only what is in `wanted`.
    pub fn want_only(&mut self, wanted: Option<&'a [String]>) {
        self.wanted = wanted;
    }

    /// Whether a parser should bother with a label of this name.
    pub fn wants(&self, name: &str) -> bool {
        // A handful: comparing is faster than hashing.
        self.wanted
            .is_none_or(|wanted| wanted.iter().any(|w| w == name))
    }

    fn reset(&mut self) {
        self.text.clear();
        self.added.clear();
        self.deleted.clear();
        self.error = None;
        self.error_details.clear();
    }

    fn slice(&self, slice: Slice) -> &str {
        &self.text[slice.start as usize..(slice.start + slice.len) as usize]
    }

    fn store(&mut self, text: &str) -> Slice {
        let start = self.text.len();
        self.text.push_str(text);
        Slice {
            start: start as u32,
            len: text.len() as u32,
        }
    }

    fn find_added(&self, name: &str) -> Option<&Added> {
        self.added
            .iter()
            .find(|a| a.live && self.slice(a.name) == name)
    }

    fn is_deleted(&self, name: &str) -> bool {
        self.deleted.iter().any(|d| self.slice(*d) == name)
    }

    /// The value as a stage sees it now. A label set to the empty text is there.
    pub fn get(&self, name: &str) -> Option<&str> {
        if let Some(added) = self.find_added(name) {
            return Some(self.slice(added.value));
        }
        match name {
            ERROR_LABEL => return self.error,
            ERROR_DETAILS_LABEL => {
                return (!self.error_details.is_empty()).then_some(&self.error_details);
            }
            _ => {}
        }
        if self.is_deleted(name) {
            return None;
        }
        self.stream
            .iter()
            .find(|(n, _)| *n == name)
            .map(|(_, value)| *value)
    }

    /// Whether the stream or the metadata has the name, deleted or not.
    pub fn has_before_parsing(&self, name: &str) -> bool {
        self.stream.iter().any(|(n, _)| *n == name)
            || self
                .added
                .iter()
                .any(|a| a.live && a.category == Category::Metadata && self.slice(a.name) == name)
    }

    /// Whether a parser has set the name before, even if it was dropped since.
    pub fn was_parsed(&self, name: &str) -> bool {
        self.added
            .iter()
            .any(|a| a.category == Category::Parsed && self.slice(a.name) == name)
    }

    /// Adds structured metadata under its name, or with a suffix when the stream has that name.
    pub fn add_metadata(&mut self, name: &str, value: &str) {
        match name {
            ERROR_LABEL | ERROR_DETAILS_LABEL => {}
            _ if self.stream.iter().any(|(n, _)| *n == name) => {
                let renamed = format!("{name}{DUPLICATE_SUFFIX}");
                self.push(Category::Metadata, &renamed, value);
            }
            _ => self.push(Category::Metadata, name, value),
        }
    }

    /// Sets a label a parser found, under the name Loki gives it: with a suffix when the name is
    /// taken, and only the first time it is met. False when there is no room for more.
    pub fn extract(&mut self, name: &str, value: &str) -> bool {
        if self.added.len() >= ADDED_MAX {
            return false;
        }
        if self.has_before_parsing(name) {
            let renamed = format!("{name}{DUPLICATE_SUFFIX}");
            if self.wants(&renamed) && !self.was_parsed(&renamed) {
                self.set(&renamed, value);
            }
        } else if self.wants(name) && !self.was_parsed(name) {
            self.set(name, value);
        }
        true
    }

    /// Sets a label, whatever was there.
    pub fn set(&mut self, name: &str, value: &str) {
        let existing = self
            .added
            .iter()
            .position(|a| a.live && self.slice(a.name) == name);
        if let Some(at) = existing {
            if self.added[at].category == Category::Parsed {
                self.added[at].value = self.store(value);
                return;
            }
            self.added[at].live = false;
        }
        self.push(Category::Parsed, name, value);
    }

    fn push(&mut self, category: Category, name: &str, value: &str) {
        let name = self.store(name);
        let value = self.store(value);
        self.added.push(Added {
            category,
            name,
            value,
            live: true,
        });
    }

    /// Removes a label, wherever it comes from.
    pub fn delete(&mut self, name: &str) {
        for at in 0..self.added.len() {
            if self.slice(self.added[at].name) == name {
                self.added[at].live = false;
            }
        }
        let name = self.store(name);
        self.deleted.push(name);
    }

    /// Marks the record as failed.
    pub fn set_error(&mut self, error: &'static str, details: &str) {
        self.error = Some(error);
        if !details.is_empty() {
            self.error_details.clear();
            self.error_details.push_str(details);
        }
    }

    /// The kind of failure, or the empty text.
    pub fn error(&self) -> &str {
        self.error.unwrap_or("")
    }

    /// Takes the failure back.
    pub fn clear_error(&mut self) {
        self.error = None;
    }

    /// Takes back what was said about the failure.
    pub fn clear_error_details(&mut self) {
        self.error_details.clear();
    }

    /// Calls `visit` with every label as it stands, failures included, in no order.
    pub fn for_each(&self, mut visit: impl FnMut(&str, &str, Category)) {
        for (name, value) in &self.stream {
            let replaced = !self.added.is_empty() && self.find_added(name).is_some();
            if !replaced && !self.is_deleted(name) {
                visit(name, value, Category::Stream);
            }
        }
        for added in self.added.iter().filter(|a| a.live) {
            visit(
                self.slice(added.name),
                self.slice(added.value),
                added.category,
            );
        }
        if let Some(error) = self.error {
            visit(ERROR_LABEL, error, Category::Parsed);
        }
        if self.shows_details() {
            visit(ERROR_DETAILS_LABEL, &self.error_details, Category::Parsed);
        }
    }

    /// Whether details of a failure are a label: as in Loki not of one that was taken back when nothing else differs from the stream.
    fn shows_details(&self) -> bool {
        let is_changed =
            self.error.is_some() || !self.deleted.is_empty() || self.added.iter().any(|a| a.live);
        is_changed && !self.error_details.is_empty()
    }

    /// Every label as one set.
    pub fn all(&self) -> Labels {
        let mut pairs: Vec<(String, String)> = Vec::new();
        self.for_each(|name, value, _| pairs.push((name.to_owned(), value.to_owned())));
        Labels::with_empty(pairs)
    }

    /// Every label as one set and by where it comes from.
    pub fn groups(&self) -> LabelGroups {
        let of = |wanted: Category| {
            let mut pairs: Vec<(String, String)> = Vec::new();
            self.for_each(|name, value, category| {
                if category == wanted {
                    pairs.push((name.to_owned(), value.to_owned()));
                }
            });
            Labels::with_empty(pairs)
        };
        LabelGroups {
            all: self.all(),
            stream: of(Category::Stream),
            metadata: of(Category::Metadata),
            parsed: of(Category::Parsed),
        }
    }

    /// Writes a key that is equal exactly for equal label sets after grouping.
    pub fn write_key(&self, grouping: Option<&Grouping>, key: &mut Vec<u8>) {
        key.clear();
        if let Some(grouping) = grouping
            && !grouping.without
        {
            for name in &grouping.names {
                key.extend_from_slice(self.get(name).unwrap_or("").as_bytes());
                key.push(0xff);
            }
            return;
        }
        let mut pairs: Vec<(&str, &str)> = Vec::with_capacity(self.stream.len() + self.added.len());
        // `for_each` hands out shorter borrows than the record's; walk the parts instead.
        for (name, value) in &self.stream {
            let replaced = !self.added.is_empty() && self.find_added(name).is_some();
            if !replaced && !self.is_deleted(name) {
                pairs.push((name, value));
            }
        }
        let live = self.added.iter().filter(|a| a.live);
        pairs.extend(live.map(|a| (self.slice(a.name), self.slice(a.value))));
        if let Some(error) = self.error {
            pairs.push((ERROR_LABEL, error));
        }
        if self.shows_details() {
            pairs.push((ERROR_DETAILS_LABEL, &self.error_details));
        }
        if let Some(grouping) = grouping {
            pairs.retain(|(name, _)| !grouping.names.iter().any(|g| g == name));
        }
        pairs.sort_unstable();
        for (name, value) in pairs {
            key.extend_from_slice(name.as_bytes());
            key.push(0xfe);
            key.extend_from_slice(value.as_bytes());
            key.push(0xff);
        }
    }

    /// Whether these labels are as the stream has them, so that entries of a stream do not differ in
    /// them.
    pub fn are_of_stream(&self, names: &[String]) -> bool {
        let is_touched = |slice: Slice| names.iter().any(|n| n == self.slice(slice));
        let added = self.added.iter().map(|a| a.name);
        !names
            .iter()
            .any(|n| n == ERROR_LABEL || n == ERROR_DETAILS_LABEL)
            && !added.chain(self.deleted.iter().copied()).any(is_touched)
    }

    /// The label set after grouping.
    pub fn grouped(&self, grouping: Option<&Grouping>) -> Labels {
        match grouping {
            None => self.all(),
            Some(g) if g.without => self.all().filtered(|n| !g.names.iter().any(|x| x == n)),
            Some(g) => Labels::from_pairs(
                g.names
                    .iter()
                    .map(|name| (name.as_str(), self.get(name).unwrap_or(""))),
            ),
        }
    }
}

/// A name as a label may have it: what is no letter, digit or underscore becomes an underscore.
pub fn sanitized_name<'a>(name: &'a str, buf: &'a mut String) -> &'a str {
    let name = name.trim();
    let clean = name.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'_');
    let digit_first = name.starts_with(|c: char| c.is_ascii_digit());
    if clean && !digit_first {
        return name;
    }
    buf.clear();
    if digit_first {
        buf.push('_');
    }
    append_sanitized(buf, name);
    buf
}

/// Appends `name` with every character that a label name cannot have as an underscore.
pub fn append_sanitized(out: &mut String, name: &str) {
    out.extend(name.chars().map(|c| {
        if c.is_ascii_alphanumeric() || c == '_' {
            c
        } else {
            '_'
        }
    }));
}

/// Bytes as text; each byte that is no UTF-8 becomes a space, as Loki does with extracted values.
pub fn clean_text(bytes: &[u8]) -> Cow<'_, str> {
    match std::str::from_utf8(bytes) {
        Ok(text) => Cow::Borrowed(text),
        Err(_) => Cow::Owned(lossy(bytes).replace('\u{fffd}', " ")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parsed_labels_win_and_taken_names_get_a_suffix() {
        let stream = Labels::from_pairs([("app", "api"), ("level", "x")]);
        let mut record = Record::new(&stream);
        record.reset(1, b"");
        let labels = &mut record.labels;
        labels.add_metadata("trace", "t1");
        labels.add_metadata("app", "meta");
        assert!(labels.extract("level", "error"));
        assert!(labels.extract("level", "second"));
        assert!(labels.extract("trace", "t2"));
        assert_eq!(
            labels.all().to_string(),
            r#"{app="api", app_extracted="meta", level="x", level_extracted="error", trace="t1", trace_extracted="t2"}"#
        );
        labels.set("trace", "t3");
        labels.delete("level");
        assert_eq!(labels.get("level"), None);
        let groups = labels.groups();
        assert_eq!(groups.stream.to_string(), r#"{app="api"}"#);
        assert_eq!(groups.metadata.to_string(), r#"{app_extracted="meta"}"#);
        assert_eq!(groups.parsed.get("trace"), Some("t3"));
        labels.set("level", "");
        assert_eq!(labels.get("level"), Some(""));
    }

    #[test]
    fn keys_are_equal_for_equal_sets_only() {
        let stream = Labels::from_pairs([("a", "1")]);
        let mut record = Record::new(&stream);
        let (mut x, mut y) = (Vec::new(), Vec::new());
        record.reset(1, b"");
        record.labels.set("b", "2");
        record.labels.set("c", "3");
        record.labels.write_key(None, &mut x);
        record.reset(1, b"");
        record.labels.set("c", "3");
        record.labels.set("b", "2");
        record.labels.write_key(None, &mut y);
        assert_eq!(x, y);
        record.labels.set("d", "");
        record.labels.write_key(None, &mut y);
        assert_ne!(x, y, "what was found empty shows in the answer");
        record.labels.delete("d");
        record.labels.set("b", "");
        record.labels.write_key(None, &mut y);
        assert_ne!(x, y);
    }

    #[test]
    fn names_are_sanitised() {
        let mut buf = String::new();
        for (name, expected) in [
            ("a.b-c", "a_b_c"),
            ("1x", "_1x"),
            (" é ", "_"),
            ("ok_1", "ok_1"),
            ("  ", ""),
        ] {
            assert_eq!(sanitized_name(name, &mut buf), expected);
        }
    }

    #[test]
    fn an_entry_gains_a_bounded_number_of_labels() {
        let stream = Labels::default();
        let mut record = Record::new(&stream);
        record.reset(1, b"");
        let taken = (0..ADDED_MAX * 2)
            .take_while(|i| record.labels.extract(&format!("n{i}"), "v"))
            .count();
        assert_eq!(taken, ADDED_MAX);
    }
}
