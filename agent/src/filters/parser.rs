//! `parser`: parses one field of each record, as Fluent Bit's filter of that name.
//!
//! A record whose field no parser fits stays as it is.

use std::sync::{Arc, Mutex, TryLockError};
use std::time::SystemTime;

use kansoku_model::{ConfigError, LogBatch, OptionKind, OptionSpec, Plugin, Settings, Value};
use kansoku_parsers::line::{Parsed, Parser};

use crate::config::find_parser;
use crate::plugin::{Environment, Filter, FilterContext, FilterPlugin};

/// The plugin.
pub const PLUGIN: FilterPlugin = Plugin {
    name: "parser",
    about: "Parses a field of each record into more fields.",
    options: &[
        OptionSpec::new("key_name", OptionKind::Text, "", "the field to parse"),
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
            "keep the parsed field itself, with reserve_data",
        ),
    ],
    example: "[FILTER]\n    Name          parser\n    Match         kube.*\n    Key_Name      log\n    Parser        json\n    Reserve_Data  On\n",
    build,
};

struct ParserFilter {
    key: String,
    parsers: Vec<Arc<Parser>>,
    reserve_data: bool,
    preserve_key: bool,
    /// Scratch space; held while one batch is parsed. An input's thread that finds it taken makes
    /// its own.
    scratch: Mutex<Parsed>,
}

fn build(settings: &Settings, environment: &Environment) -> Result<Box<dyn Filter>, ConfigError> {
    settings.check(PLUGIN.options)?;
    settings.required("parser")?;
    let parsers = settings.all("parser").map(|s| find_parser(environment, s));
    Ok(Box::new(ParserFilter {
        key: settings.required("key_name")?.to_owned(),
        parsers: parsers.collect::<Result<_, _>>()?,
        reserve_data: settings.bool("reserve_data", false)?,
        preserve_key: settings.bool("preserve_key", false)?,
        scratch: Mutex::default(),
    }))
}

/// Unix nanoseconds.
pub fn now_ns() -> i64 {
    let since = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH);
    since.map_or(0, |d| i64::try_from(d.as_nanos()).unwrap_or(i64::MAX))
}

impl Filter for ParserFilter {
    fn apply(&self, batch: &mut LogBatch, _: &mut FilterContext) {
        let Some(column) = batch.column_index(&self.key) else {
            return;
        };
        let now_ns = now_ns();
        with_scratch(&self.scratch, |parsed| {
            for row in 0..batch.len() {
                self.parse(batch, row, column, now_ns, parsed);
            }
        });
    }
}

impl ParserFilter {
    fn parse(
        &self,
        batch: &mut LogBatch,
        row: usize,
        column: usize,
        now_ns: i64,
        parsed: &mut Parsed,
    ) {
        let (Value::Text(slice) | Value::Json(slice)) = batch.columns()[column].values[row] else {
            return;
        };
        let fits = |p: &Arc<Parser>| p.parse(batch.bytes(slice), now_ns, parsed);
        if !self.parsers.iter().any(fits) {
            return;
        }
        let before: Vec<Value> = batch.columns().iter().map(|c| c.values[row]).collect();
        for (at, _) in before.iter().enumerate() {
            let keep = self.reserve_data && (at != column || self.preserve_key);
            if !keep {
                batch.set(at, row, Value::Absent);
            }
        }
        if !parsed.write(batch, row, slice) {
            for (at, value) in before.into_iter().enumerate() {
                batch.set(at, row, value);
            }
            return;
        }
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
            parsers: Arc::new(parsers),
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
                r#"7 "stream":2,"a":1"#,
            ),
            (
                with(&[("reserve_data", "on"), ("preserve_key", "on")]),
                r#"{"a":1}"#,
                r#"7 "log":"{\"a\":1}","stream":"stdout","a":1"#,
            ),
            (
                both.to_vec(),
                "2026-11-21T09:00:00Z stderr F x",
                r#"1795251600000000000 "stream":"stderr","time":"2026-11-21T09:00:00Z","logtag":"F","message":"x""#,
            ),
        ] {
            assert_eq!(run(&pairs, log).as_deref(), Ok(expected), "{pairs:?} {log}");
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
