//! `checklist`: adds fields to records whose field is in a list, which is read from a file.
//!
//! `exact` looks the whole text up, `partial` finds a listed text anywhere in it.

use std::collections::HashSet;

use kansoku_model::{ConfigError, LogBatch, OptionKind, OptionSpec, Plugin, Settings, Value};

use super::accessor::Accessor;
use super::words;
use crate::plugin::{Environment, Filter, FilterContext, FilterPlugin};

/// The largest list.
const MAX_FILE_BYTES: u64 = 64 << 20;

/// The plugin.
pub const PLUGIN: FilterPlugin = Plugin {
    name: "checklist",
    about: "Adds fields to records whose field is in a list.",
    options: &[
        OptionSpec::new(
            "file",
            OptionKind::Text,
            "",
            "the list, one text a line; lines that begin with # do not count",
        ),
        OptionSpec::new(
            "mode",
            OptionKind::Choice(&["exact", "partial"]),
            "exact",
            "compare the whole text, or find a listed one in it",
        ),
        OptionSpec::new(
            "lookup_key",
            OptionKind::Text,
            "log",
            "the field to look up",
        ),
        OptionSpec::new("record", OptionKind::Pair, "", "key and value to add").repeated(),
        OptionSpec::new(
            "ignore_case",
            OptionKind::Bool,
            "off",
            "let A-Z and a-z be the same",
        ),
        OptionSpec::new(
            "print_query_time",
            OptionKind::Bool,
            "off",
            "accepted for compatibility, without effect",
        ),
    ],
    example: "[FILTER]\n    Name       checklist\n    Match      *\n    File       /etc/kansoku/bad_ips.txt\n    Lookup_key ip\n    Record     bad true\n",
    build,
};

struct Checklist {
    list: List,
    key: Accessor,
    ignore_case: bool,
    records: Vec<(String, String)>,
}

enum List {
    Exact(HashSet<Vec<u8>>),
    Partial(regex::bytes::RegexSet),
}

fn build(settings: &Settings, environment: &Environment) -> Result<Box<dyn Filter>, ConfigError> {
    settings.check(PLUGIN.options)?;
    let path = settings.required("file")?;
    let place = settings.get("file").map_or(&settings.place, |s| &s.place);
    let error = |message: String| ConfigError::new(place, message);
    let size = std::fs::metadata(path).map_or(0, |m| m.len());
    if size > MAX_FILE_BYTES {
        return Err(error(format!("{path} is larger than 64 MiB")));
    }
    let text = std::fs::read(path).unwrap_or_else(|e| {
        // As in Fluent Bit, which starts with an empty list.
        let message = format!("cannot read {path}: {e}; no record is on the list");
        environment.warn(place, message);
        Vec::new()
    });
    let ignore_case = settings.bool("ignore_case", false)?;
    let lines = (text.split(|b| *b == b'\n'))
        .map(|line| line.strip_suffix(b"\r").unwrap_or(line))
        .filter(|line| !line.is_empty() && line[0] != b'#')
        .map(|line| {
            if ignore_case {
                line.to_ascii_lowercase()
            } else {
                line.to_vec()
            }
        });
    let list = if settings
        .text("mode", "exact")
        .eq_ignore_ascii_case("partial")
    {
        let patterns = lines.map(|line| regex::escape(&String::from_utf8_lossy(&line)));
        let set = regex::bytes::RegexSet::new(patterns)
            .map_err(|e| error(format!("{path} is too large to search for: {e}")))?;
        List::Partial(set)
    } else {
        List::Exact(lines.collect())
    };
    let key = settings.text("lookup_key", "log");
    let record = |s: &kansoku_model::plugin::Setting| {
        let mut words = words::split(&s.value, 2).into_iter();
        let key = words.next().unwrap_or_default();
        (key, words.next().unwrap_or_default())
    };
    Ok(Box::new(Checklist {
        list,
        key: Accessor::new(key).map_err(error)?,
        ignore_case,
        records: settings.all("record").map(record).collect(),
    }))
}

impl Checklist {
    fn lists(&self, text: &[u8]) -> bool {
        let lower;
        let text = if self.ignore_case {
            lower = text.to_ascii_lowercase();
            &lower
        } else {
            text
        };
        match &self.list {
            List::Exact(lines) => lines.contains(text),
            List::Partial(set) => set.is_match(text),
        }
    }
}

impl Filter for Checklist {
    fn apply(&self, batch: &mut LogBatch, _: &mut FilterContext) {
        let found: Vec<bool> = {
            let reading = self.key.over(batch);
            let listed = |row| reading.text_only(row).is_some_and(|text| self.lists(&text));
            (0..batch.len()).map(listed).collect()
        };
        if !found.contains(&true) {
            return;
        }
        for (key, text) in &self.records {
            let value = match text.to_ascii_lowercase().as_str() {
                "true" => Value::Bool(true),
                "false" => Value::Bool(false),
                "null" => Value::Null,
                _ => Value::Text(batch.store(text.as_bytes())),
            };
            let column = batch.column_index_or_insert(key);
            for (row, found) in found.iter().enumerate() {
                if *found {
                    batch.set(column, row, value);
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use kansoku_model::{Position, json};

    use super::*;

    #[test]
    fn listed_texts_get_the_records() {
        let folder = tempfile::tempdir().expect("folder");
        let file = folder.path().join("list");
        std::fs::write(&file, "# comment\n10.0.0.1\r\nBad (x)\n").expect("file");
        let run = |mode: &str, case: &str, text: &str| {
            let pairs = [
                ("file", file.to_str().expect("path")),
                ("mode", mode),
                ("ignore_case", case),
                ("lookup_key", "$ip"),
                ("record", "seen true"),
                ("record", "why on the list"),
            ];
            let filter = build(&Settings::of("checklist", &pairs), &Environment::default());
            let mut batch = LogBatch::new("t".into(), Arc::default(), Vec::new());
            batch.push(0, Position::at(1));
            batch.set_text("ip", 0, text.as_bytes());
            let context = &mut FilterContext::default();
            filter.expect("settings").apply(&mut batch, context);
            let mut out = Vec::new();
            json::write_fields(&mut out, &batch, 0, true);
            String::from_utf8_lossy(&out).contains(r#""seen":true,"why":"on the list""#)
        };
        for (mode, case, text, expected) in [
            ("exact", "off", "10.0.0.1", true),
            ("exact", "off", "10.0.0.12", false),
            ("exact", "off", "bad (x)", false),
            ("exact", "on", "bad (X)", true),
            ("exact", "off", "# comment", false),
            ("partial", "off", "from 10.0.0.12", true),
            ("partial", "off", "10a0.0.1", false),
            ("partial", "on", "so bad (x)!", true),
        ] {
            assert_eq!(run(mode, case, text), expected, "{mode} {case} {text}");
        }
    }
}
