//! `parser`: parses one field of each record, as Fluent Bit's filter of that name.
//!
//! A record whose field no parser fits stays as it is.

use std::sync::{Arc, Mutex, TryLockError};
use std::time::SystemTime;

use kansoku_model::{
    ConfigError, LogBatch, OptionKind, OptionSpec, Plugin, Settings, Slice, Value,
};
use kansoku_parsers::line::pattern::Pattern;
use kansoku_parsers::line::{Parsed, Parser};

use super::accessor::Accessor;
use crate::config::find_parser;
use crate::plugin::{Environment, Filter, FilterContext, FilterPlugin};

/// The plugin.
pub const PLUGIN: FilterPlugin = Plugin {
    name: "parser",
    about: "Parses a field of each record into more fields.",
    options: &[
        OptionSpec::new(
            "key_name",
            OptionKind::Text,
            "",
            "the field to parse, or $a['b'] for a nested one",
        ),
        OptionSpec::new(
            "parser",
            OptionKind::Text,
            "",
            "name of a parser; several are tried in order",
        )
        .repeated(),
        OptionSpec::new(
            "reserve_data",
            OptionKind::Bool,
            "off",
            "keep the other fields of the record",
        ),
        OptionSpec::new(
            "preserve_key",
            OptionKind::Bool,
            "off",
            "keep the parsed field itself",
        ),
        OptionSpec::new(
            "overwrite",
            OptionKind::Bool,
            "off",
            "a parsed field replaces what the record has under its name; Fluent Bit has no such option and keeps the record's own",
        ),
    ],
    example: "[FILTER]\n    Name          parser\n    Match         kube.*\n    Key_Name      log\n    Parser        json\n    Reserve_Data  On\n",
    build,
};

enum Key {
    Name(String),
    /// `$a['b']`: a nested field, which stays where it is.
    Nested(Accessor),
}

struct ParserFilter {
    key: Key,
    parsers: Vec<Arc<Parser>>,
    reserve_data: bool,
    preserve_key: bool,
    overwrite: bool,
    /// Scratch space; held while one batch is parsed. An input's thread that finds it taken makes
    /// its own.
    scratch: Mutex<Parsed>,
}

fn build(settings: &Settings, environment: &Environment) -> Result<Box<dyn Filter>, ConfigError> {
    settings.check(PLUGIN.options)?;
    settings.required("parser")?;
    let parsers = parsers_of(settings, environment)?;
    let key = settings.required("key_name")?;
    let key = if key.starts_with('$') {
        let place = settings
            .get("key_name")
            .map_or(&settings.place, |k| &k.place);
        Key::Nested(Accessor::new(key).map_err(|e| ConfigError::new(place, e))?)
    } else {
        Key::Name(key.to_owned())
    };
    Ok(Box::new(ParserFilter {
        key,
        parsers,
        reserve_data: settings.bool("reserve_data", false)?,
        preserve_key: settings.bool("preserve_key", false)?,
        overwrite: settings.bool("overwrite", false)?,
        scratch: Mutex::default(),
    }))
}

/// The parsers in order. As in Fluent Bit one that is unknown is left out, unless there is no other.
fn parsers_of(
    settings: &Settings,
    environment: &Environment,
) -> Result<Vec<Arc<Parser>>, ConfigError> {
    let (mut parsers, mut unknown) = (Vec::new(), Vec::new());
    for setting in settings.all("parser") {
        match find_parser(environment, setting) {
            Ok(parser) => parsers.push(parser),
            Err(error) => unknown.push(error),
        }
    }
    if parsers.is_empty() && !unknown.is_empty() {
        return Err(unknown.swap_remove(0));
    }
    for error in unknown {
        environment.warn(&error.place, format!("{}; it is left out", error.message));
    }
    Ok(parsers)
}

/// Unix nanoseconds.
pub fn now_ns() -> i64 {
    let since = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH);
    since.map_or(0, |d| i64::try_from(d.as_nanos()).unwrap_or(i64::MAX))
}

impl Filter for ParserFilter {
    fn apply(&self, batch: &mut LogBatch, _: &mut FilterContext) {
        let now_ns = now_ns();
        let mut work = Work::default();
        if !self.reserve_data {
            // It goes like any other field of a record that is parsed.
            batch.kubernetes_to_column();
        }
        with_scratch(&self.scratch, |parsed| match &self.key {
            Key::Name(name) => {
                let Some(column) = batch.column_index(name) else {
                    return;
                };
                for row in 0..batch.len() {
                    let value = batch.columns()[column].values[row];
                    if let Value::Text(text) | Value::Json(text) = value {
                        let at = (row, Some(column), text);
                        self.parse(batch, at, now_ns, parsed, &mut work);
                    }
                }
            }
            Key::Nested(accessor) => {
                let texts: Vec<_> = {
                    let reading = accessor.over(batch);
                    let text = |row| reading.text_only(row).map(std::borrow::Cow::into_owned);
                    (0..batch.len()).map(text).collect()
                };
                for (row, text) in texts.iter().enumerate() {
                    if let Some(text) = text {
                        let text = batch.store(text);
                        self.parse(batch, (row, None, text), now_ns, parsed, &mut work);
                    }
                }
            }
        });
        work.order(batch);
    }

    fn patterns(&self, visit: &mut dyn FnMut(&Pattern)) {
        self.parsers
            .iter()
            .filter_map(|p| p.pattern())
            .for_each(visit);
    }
}

/// What is known of a batch while its records are parsed.
#[derive(Default)]
struct Work {
    /// The fields of the record before it was parsed.
    before: Vec<Value>,
    /// The columns of parsed fields, in order of appearance.
    parsed: Vec<usize>,
    /// Columns that kept a value of their own; they stand behind.
    kept: Vec<bool>,
    /// How many columns there were when `parsed` was gathered.
    n_columns: usize,
}

impl Work {
    /// As in Fluent Bit parsed fields come first, what is reserved stands behind them.
    fn order(&mut self, batch: &mut LogBatch) {
        self.parsed
            .retain(|at| !self.kept.get(*at).is_some_and(|k| *k));
        let is_in_order = self.parsed.iter().enumerate().all(|(i, at)| i == *at);
        if !is_in_order {
            batch.put_columns_first(&self.parsed);
        }
    }

    /// Gives back what the record keeps of its own, which counts before what was parsed unless that
    /// overwrites it.
    fn keep(
        &mut self,
        batch: &mut LogBatch,
        row: usize,
        overwrite: bool,
        keeps: impl Fn(usize) -> bool,
    ) {
        self.kept
            .resize(self.before.len().max(self.kept.len()), false);
        for (at, value) in self.before.iter().enumerate() {
            let is_parsed = overwrite && batch.columns()[at].values[row] != Value::Absent;
            if keeps(at) && *value != Value::Absent && !is_parsed {
                self.kept[at] = true;
                batch.set(at, row, *value);
            }
        }
    }

    fn note(&mut self, batch: &LogBatch, columns: &[usize]) {
        if batch.columns().len() == self.n_columns && !self.parsed.is_empty() {
            return;
        }
        self.n_columns = batch.columns().len();
        for column in columns {
            if !self.parsed.contains(column) {
                self.parsed.push(*column);
            }
        }
    }
}

impl ParserFilter {
    /// Parses the text of a record; `column` is the field it stands in, when it fills one.
    fn parse(
        &self,
        batch: &mut LogBatch,
        (row, column, text): (usize, Option<usize>, Slice),
        now_ns: i64,
        parsed: &mut Parsed,
        work: &mut Work,
    ) {
        let fits = |p: &Arc<Parser>| p.parse(batch.bytes(text), now_ns, parsed);
        if !self.parsers.iter().any(fits) {
            return;
        }
        let keeps = |at: usize| match Some(at) == column {
            true => self.preserve_key,
            false => self.reserve_data,
        };
        work.before.clear();
        work.before
            .extend(batch.columns().iter().map(|c| c.values[row]));
        let own = 0..work.before.len();
        (own.filter(|at| !keeps(*at))).for_each(|at| batch.set(at, row, Value::Absent));
        if !parsed.write(batch, row, text) {
            for (at, value) in work.before.drain(..).enumerate() {
                batch.set(at, row, value);
            }
            return;
        }
        work.keep(batch, row, self.overwrite, keeps);
        work.note(batch, parsed.columns());
        if let Some(time_ns) = parsed.time_ns {
            batch.set_time(row, time_ns);
        }
    }
}

/// Takes scratch space, or makes some when another thread has it.
pub fn with_scratch<T>(scratch: &Mutex<Parsed>, work: impl FnOnce(&mut Parsed) -> T) -> T {
    match scratch.try_lock() {
        Ok(mut guard) => work(&mut guard),
        Err(TryLockError::Poisoned(e)) => work(&mut e.into_inner()),
        Err(TryLockError::WouldBlock) => work(&mut Parsed::default()),
    }
}

#[cfg(test)]
mod tests {
    use std::collections::HashMap;

    use kansoku_model::{Position, json};
    use kansoku_parsers::line::builtin;

    use super::*;

    fn environment() -> Environment {
        let parsers: HashMap<String, Arc<Parser>> = builtin::all(&|_| None)
            .into_iter()
            .map(|p| (p.name().to_owned(), Arc::new(p)))
            .collect();
        Environment {
            parsers: Arc::new(parsers.into_iter().collect()),
            ..Environment::default()
        }
    }

    fn run(pairs: &[(&str, &str)], log: &str) -> Result<String, String> {
        let filter =
            build(&Settings::of("parser", pairs), &environment()).map_err(|e| e.message)?;
        let mut batch = LogBatch::new("t".into(), Arc::default(), Vec::new());
        let row = batch.push(7, Position::at(1));
        batch.set_text("log", row, log.as_bytes());
        batch.set_text("stream", row, b"stdout");
        if pairs.iter().any(|(_, value)| value.starts_with('$')) {
            let meta = Value::Json(batch.store(br#"{"a":"{\"b\":2}"}"#));
            let column = batch.column_index_or_insert("meta");
            batch.set(column, row, meta);
        }
        filter.apply(&mut batch, &mut FilterContext::default());
        let mut out = Vec::new();
        json::write_fields(&mut out, &batch, row, true);
        Ok(format!(
            "{} {}",
            batch.times()[row],
            String::from_utf8_lossy(&out)
        ))
    }

    #[test]
    fn fields_replace_or_join_the_record() {
        let both: &[(&str, &str)] = &[("key_name", "log"), ("parser", "cri"), ("parser", "json")];
        let with = |more: &[(&'static str, &'static str)]| [both, more].concat();
        for (pairs, log, expected) in [
            (both.to_vec(), r#"{"a":1}"#, r#"7 "a":1"#),
            (both.to_vec(), "text", r#"7 "log":"text","stream":"stdout""#),
            (
                with(&[("reserve_data", "on")]),
                r#"{"a":1,"stream":2}"#,
                r#"7 "a":1,"stream":"stdout""#,
            ),
            (
                with(&[("reserve_data", "on"), ("overwrite", "on")]),
                r#"{"a":1,"stream":2}"#,
                r#"7 "a":1,"stream":2"#,
            ),
            (
                with(&[("reserve_data", "on"), ("preserve_key", "on")]),
                r#"{"a":1}"#,
                r#"7 "a":1,"log":"{\"a\":1}","stream":"stdout""#,
            ),
            (
                with(&[("preserve_key", "on")]),
                r#"{"a":1}"#,
                r#"7 "a":1,"log":"{\"a\":1}""#,
            ),
            (
                vec![("key_name", "$meta['a']"), ("parser", "json")],
                "x",
                r#"7 "b":2"#,
            ),
            (
                vec![
                    ("key_name", "$meta['a']"),
                    ("parser", "json"),
                    ("reserve_data", "on"),
                ],
                "x",
                r#"7 "b":2,"log":"x","stream":"stdout","meta":{"a":"{\"b\":2}"}"#,
            ),
            (
                both.to_vec(),
                "2026-11-21T09:00:00Z stderr F x",
                r#"1795251600000000000 "time":"2026-11-21T09:00:00Z","stream":"stderr","logtag":"F","message":"x""#,
            ),
        ] {
            assert_eq!(run(&pairs, log).as_deref(), Ok(expected), "{pairs:?} {log}");
        }
    }

    /// Each as Fluent Bit 5.1.1 wrote it: reserved fields stand behind the parsed ones, and count
    /// before them.
    #[test]
    fn what_is_kept_stands_behind_what_is_parsed() {
        let parsed = r#"{"first":9,"z":1,"log":"inner","a":2}"#;
        let escaped = r#""log":"{\"first\":9,\"z\":1,\"log\":\"inner\",\"a\":2}""#;
        for (reserve, preserve, expected) in [
            (
                "off",
                "off",
                r#""first":9,"z":1,"log":"inner","a":2"#.to_owned(),
            ),
            ("off", "on", format!(r#""first":9,"z":1,"a":2,{escaped}"#)),
            (
                "on",
                "off",
                r#""z":1,"log":"inner","a":2,"first":1,"last":2"#.to_owned(),
            ),
            (
                "on",
                "on",
                format!(r#""z":1,"a":2,"first":1,{escaped},"last":2"#),
            ),
        ] {
            let pairs = [
                ("key_name", "log"),
                ("parser", "json"),
                ("reserve_data", reserve),
                ("preserve_key", preserve),
            ];
            let filter = build(&Settings::of("parser", &pairs), &environment()).expect("valid");
            let mut batch = LogBatch::new("t".into(), Arc::default(), Vec::new());
            for offset in 1..3 {
                let row = batch.push(7, Position::at(offset));
                batch.column_mut("first").values[row] = Value::Int(1);
                batch.set_text("log", row, parsed.as_bytes());
                batch.column_mut("last").values[row] = Value::Int(2);
            }
            filter.apply(&mut batch, &mut FilterContext::default());
            for row in 0..2 {
                let mut out = Vec::new();
                json::write_fields(&mut out, &batch, row, true);
                let found = String::from_utf8_lossy(&out);
                assert_eq!(found, expected, "{reserve} {preserve}");
            }
        }
    }

    #[test]
    fn numbers_keep_their_digits() {
        let pairs = [("key_name", "log"), ("parser", "json")];
        for (log, expected) in [
            (
                r#"{"a":18446744073709551615,"b":[9223372036854775808]}"#,
                r#"7 "a":18446744073709551615,"b":[9223372036854775808]"#,
            ),
            // No float can hold it: Fluent Bit leaves the record as it is.
            (
                r#"{"a":1e999}"#,
                r#"7 "log":"{\"a\":1e999}","stream":"stdout""#,
            ),
        ] {
            assert_eq!(run(&pairs, log).as_deref(), Ok(expected), "{log}");
        }
    }

    #[test]
    fn mistakes_are_named() {
        assert_eq!(
            run(&[("key_name", "log")], "").unwrap_err(),
            "parser needs 'parser', which is not set"
        );
        assert_eq!(
            run(&[("parser", "json")], "").unwrap_err(),
            "parser needs 'key_name', which is not set"
        );
        assert_eq!(
            run(&[("key_name", "log"), ("parser", "jsn")], "").unwrap_err(),
            "unknown parser 'jsn'; did you mean 'json'? (parsers come from parsers_file in [SERVICE])"
        );
    }
}
