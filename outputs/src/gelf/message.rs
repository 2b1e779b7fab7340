//! A record as a GELF 1.1 message; the outputs `gelf`, `http` and `kafka` write them.
//!
//! Fields become `_field`, nested maps are flattened to `_a_b`, lists become one text, as in Fluent
//! Bit. A record without a short message is no GELF message.

use kansoku_model::{ConfigError, LogBatch, OptionKind, OptionSpec, Settings, Value, json};

use crate::render::split_seconds;
use crate::tree::Tree;

const fn key(name: &'static str, about: &'static str) -> OptionSpec {
    OptionSpec::new(name, OptionKind::Text, "", about)
}

/// The options that say which field is which.
pub const OPTIONS: &[OptionSpec] = &[
    key(
        "gelf_timestamp_key",
        "field with the time; the record's time when it has none",
    ),
    key("gelf_host_key", "field with the host; host when not set"),
    key(
        "gelf_short_message_key",
        "field with the message; short_message when not set",
    ),
    key(
        "gelf_full_message_key",
        "field with the whole message; full_message when not set",
    ),
    key(
        "gelf_level_key",
        "field with the severity; level when not set",
    ),
];

/// Which field is which.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Gelf {
    host: String,
    timestamp: String,
    level: String,
    short: String,
    full: String,
    /// Name of the field that gets the tag.
    pub tag_key: Option<String>,
}

const LEVELS: [&str; 8] = [
    "emerg", "alert", "crit", "err", "warning", "notice", "info", "debug",
];

impl Gelf {
    /// Reads [`OPTIONS`].
    ///
    /// # Errors
    /// Never now; the signature is that of every reader of settings.
    pub fn of(settings: &Settings) -> Result<Self, ConfigError> {
        let text = |key: &str, default: &str| settings.text(key, default).to_owned();
        Ok(Self {
            host: text("gelf_host_key", "host"),
            timestamp: text("gelf_timestamp_key", "timestamp"),
            level: text("gelf_level_key", "level"),
            short: text("gelf_short_message_key", "short_message"),
            full: text("gelf_full_message_key", "full_message"),
            tag_key: settings.get("gelf_tag_key").map(|s| s.value.clone()),
        })
    }

    /// Appends record `row`, or nothing and `false` when it has no short message or a level that is
    /// none. `kubernetes` is that object as JSON.
    pub fn write(
        &self,
        out: &mut Vec<u8>,
        batch: &LogBatch,
        row: usize,
        kubernetes: &[u8],
    ) -> bool {
        let start = out.len();
        let mut has_short = false;
        let mut has_time = false;
        out.extend_from_slice(b"{\"version\":\"1.1\"");
        for column in batch.columns() {
            let value = column.values[row];
            if value == Value::Absent {
                continue;
            }
            let (name, own) = match &*column.name {
                name if name == self.host => ("host", true),
                name if name == self.short => {
                    has_short = true;
                    ("short_message", true)
                }
                name if name == self.timestamp => {
                    has_time = true;
                    ("timestamp", true)
                }
                name if name == self.level => {
                    if !write_level(out, batch, value) {
                        out.truncate(start);
                        return false;
                    }
                    continue;
                }
                name if name == self.full => ("full_message", true),
                // Servers drop `_id`.
                "id" => continue,
                name => (name, false),
            };
            write_field(out, batch, name, own, value);
        }
        if let Some(tree @ Tree::Object(_)) = Tree::read(kubernetes) {
            flatten(out, &tree, "_kubernetes");
        }
        if let Some(key) = &self.tag_key {
            write_key(out, key, false);
            json::write_str(out, batch.tag.as_bytes());
        }
        if !has_time {
            let (seconds, nanos) = split_seconds(batch.times()[row]);
            let text = format!(", \"timestamp\":{seconds}.{:03}", nanos / 1_000_000);
            out.extend_from_slice(text.as_bytes());
        }
        if !has_short {
            out.truncate(start);
            return false;
        }
        out.push(b'}');
        // Whatever json.escape_unicode says, as in Fluent Bit.
        json::escape_unicode(out, start);
        true
    }
}

fn write_key(out: &mut Vec<u8>, name: &str, own: bool) {
    out.extend_from_slice(b", \"");
    if !own {
        out.push(b'_');
    }
    write_name(out, name);
    out.extend_from_slice(b"\":");
}

fn write_name(out: &mut Vec<u8>, name: &str) {
    out.extend(name.bytes().map(|b| match b {
        b'-' | b'.' | b'_' => b,
        b if b.is_ascii_alphanumeric() => b,
        _ => b'_',
    }));
}

fn write_level(out: &mut Vec<u8>, batch: &LogBatch, value: Value) -> bool {
    match value {
        Value::Int(level @ 0..) => {
            write_key(out, "level", true);
            out.extend_from_slice(level.to_string().as_bytes());
            true
        }
        Value::Text(slice) => {
            let text = batch.bytes(slice);
            let named = |name: &&str| name.as_bytes().eq_ignore_ascii_case(text);
            write_key(out, "level", true);
            match (text, LEVELS.iter().position(named)) {
                ([digit @ b'0'..=b'7'], _) => out.push(*digit),
                (_, Some(level)) => out.push(b'0' + level as u8),
                _ => json::write_str(out, text),
            }
            true
        }
        _ => false,
    }
}

fn write_field(out: &mut Vec<u8>, batch: &LogBatch, name: &str, own: bool, value: Value) {
    match value {
        Value::Absent | Value::Null => {}
        Value::Bool(b) => {
            write_key(out, name, own);
            out.extend_from_slice(if b { b"\"true\"" } else { b"\"false\"" });
        }
        Value::Float(f) => {
            write_key(out, name, own);
            out.extend_from_slice(float(f).as_bytes());
        }
        Value::Int(_) | Value::Text(_) => {
            write_key(out, name, own);
            json::write_value(out, batch, value);
        }
        Value::Json(slice) => match Tree::read(batch.bytes(slice)) {
            Some(tree @ Tree::Object(_)) => flatten(out, &tree, &format!("_{name}")),
            Some(tree @ Tree::Array(_)) => {
                write_key(out, name, own);
                let mut text = Vec::new();
                write_list(&mut text, &tree, "");
                json::write_str(out, &text);
            }
            _ => {}
        },
    }
}

/// C's `%f`, but a number that JSON lacks is 0.
fn float(f: f64) -> String {
    format!("{:.6}", if f.is_finite() { f } else { 0.0 })
}

/// Appends each scalar of a map as a field of its own.
fn flatten(out: &mut Vec<u8>, tree: &Tree, prefix: &str) {
    let Tree::Object(pairs) = tree else {
        return;
    };
    for (key, value) in pairs {
        let name = format!("{prefix}_{key}");
        if matches!(value, Tree::Object(_)) {
            flatten(out, value, &name);
            continue;
        }
        write_key(out, &name, true);
        match value {
            Tree::Null => out.extend_from_slice(b"null"),
            Tree::Bool(b) => out.extend_from_slice(format!("\"{b}\"").as_bytes()),
            Tree::Int(i) => out.extend_from_slice(i.to_string().as_bytes()),
            Tree::Uint(u) => out.extend_from_slice(u.to_string().as_bytes()),
            Tree::Float(f) => out.extend_from_slice(float(*f).as_bytes()),
            Tree::Text(text) => json::write_str(out, text.as_bytes()),
            Tree::Array(_) | Tree::Object(_) => {
                let mut text = Vec::new();
                write_list(&mut text, value, "");
                json::write_str(out, &text);
            }
        }
    }
}

/// Appends a list as text: `a, b, k=v k2=v2`.
fn write_list(out: &mut Vec<u8>, tree: &Tree, prefix: &str) {
    match tree {
        Tree::Null => out.extend_from_slice(b"null"),
        Tree::Bool(b) => out.extend_from_slice(b.to_string().as_bytes()),
        Tree::Int(i) => out.extend_from_slice(i.to_string().as_bytes()),
        Tree::Uint(u) => out.extend_from_slice(u.to_string().as_bytes()),
        Tree::Float(f) => out.extend_from_slice(float(*f).as_bytes()),
        Tree::Text(text) => out.extend_from_slice(text.as_bytes()),
        Tree::Array(items) => {
            for (i, item) in items.iter().enumerate() {
                if i > 0 {
                    out.extend_from_slice(b", ");
                }
                write_list(out, item, prefix);
            }
        }
        Tree::Object(pairs) => {
            for (i, (key, value)) in pairs.iter().enumerate() {
                if i > 0 {
                    out.push(b' ');
                }
                let name = match prefix {
                    "" => key.clone(),
                    prefix => format!("{prefix}_{key}"),
                };
                if !matches!(value, Tree::Object(_)) {
                    write_name(out, &name);
                    out.push(b'=');
                    write_list(out, value, "");
                } else {
                    write_list(out, value, &name);
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use kansoku_model::Position;

    use super::*;

    fn message(pairs: &[(&str, &str)], fields: &[(&str, &str)]) -> Option<String> {
        let mut b = LogBatch::new("t".into(), Arc::default(), Vec::new());
        let row = b.push(1_700_000_000_123_456_789, Position::at(1));
        for (name, json) in fields {
            let value = match Tree::read(json.as_bytes()).expect("json") {
                Tree::Int(i) => Value::Int(i),
                Tree::Bool(v) => Value::Bool(v),
                Tree::Null => Value::Null,
                Tree::Float(f) => Value::Float(f),
                Tree::Text(text) => Value::Text(b.store(text.as_bytes())),
                _ => Value::Json(b.store(json.as_bytes())),
            };
            let at = b.column_index_or_insert(name);
            b.set(at, row, value);
        }
        let gelf = Gelf::of(&Settings::of("gelf", pairs)).expect("valid");
        let mut out = Vec::new();
        let whole = gelf.write(&mut out, &b, row, b"");
        assert_eq!(whole, !out.is_empty());
        whole.then(|| String::from_utf8(out).expect("text"))
    }

    #[test]
    fn fields_are_named_flattened_and_quoted() {
        let text = message(
            &[("gelf_short_message_key", "log"), ("gelf_tag_key", "tag")],
            &[
                ("log", r#""a \"b\"""#),
                ("host", r#""n""#),
                ("level", r#""Warning""#),
                ("id", "1"),
                ("a b", "true"),
                ("f", "1.5"),
                ("m", r#"{"x":{"y":1,"z":"q"},"w":[1,{"k":2}],"n":null}"#),
                ("l", r#"["a",1,true]"#),
                ("nothing", "null"),
            ],
        );
        assert_eq!(
            text.expect("whole"),
            concat!(
                r#"{"version":"1.1", "short_message":"a \"b\"", "host":"n", "level":4, "_a_b":"true","#,
                r#" "_f":1.500000, "_m_x_y":1, "_m_x_z":"q", "_m_w":"1, k=2", "_m_n":null,"#,
                r#" "_l":"a, 1, true", "_tag":"t", "timestamp":1700000000.123}"#
            )
        );
    }

    #[test]
    fn what_is_no_gelf_message_is_left_out() {
        assert_eq!(message(&[], &[("log", "1")]), None);
        let short = ("short_message", r#""x""#);
        assert_eq!(message(&[], &[short, ("level", "true")]), None);
        let text = message(&[], &[short, ("timestamp", "5")]).expect("whole");
        assert_eq!(
            text,
            r#"{"version":"1.1", "short_message":"x", "timestamp":5}"#
        );
    }
}
