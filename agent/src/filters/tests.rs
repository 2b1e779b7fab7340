//! Every case of `fixtures/filters/*.cases` against what Fluent Bit 5.1.1 printed for it.
//!
//! A case holds filter sections, records, and the lines of Fluent Bit's `file` output. Where we differ
//! on purpose a part `--- ours: why` holds our lines. `benches/peers/fluent_bit_filters.py` makes the
//! expected lines anew.

use std::collections::VecDeque;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use kansoku_model::{LogBatch, Position, RecordBatch, Settings, SourceId, json};
use kansoku_parsers::line::{Parsed, Parser};

use super::ALL;
use crate::pipeline::TagMatch;
use crate::plugin::{Environment, Filter, FilterContext};

struct Stage {
    matches: TagMatch,
    filter: Box<dyn Filter>,
}

#[derive(Default)]
struct Case {
    name: String,
    sections: Vec<Vec<(String, String)>>,
    records: Vec<String>,
    expected: Vec<String>,
    ours: Vec<String>,
}

fn folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../fixtures/filters")
}

fn cases(text: &str) -> Vec<Case> {
    let mut cases: Vec<Case> = Vec::new();
    let mut part = "";
    for line in text.lines() {
        if let Some(name) = line.strip_prefix("=== ") {
            cases.push(Case {
                name: name.to_owned(),
                ..Case::default()
            });
            part = "filter";
        } else if let Some(name) = line.strip_prefix("--- ") {
            part = name.split(':').next().unwrap_or(name);
        } else if let Some(case) = cases.last_mut().filter(|_| !line.trim().is_empty()) {
            match part {
                "in" => case.records.push(line.to_owned()),
                "out" => case.expected.push(line.to_owned()),
                "ours" => case.ours.push(line.to_owned()),
                _ if line.starts_with('[') => case.sections.push(Vec::new()),
                _ => {
                    let line = line.trim();
                    let (key, value) = line.split_once(' ').unwrap_or((line, ""));
                    let pair = (key.to_ascii_lowercase(), value.trim().to_owned());
                    case.sections.last_mut().expect("a section").push(pair);
                }
            }
        }
    }
    cases
}

fn stage(section: &[(String, String)]) -> Stage {
    let of = |key: &str| {
        let found = section.iter().find(|(k, _)| k == key);
        found.map_or("", |(_, value)| value.as_str())
    };
    let folder = folder();
    let folder = folder.to_str().expect("path");
    let own: Vec<(String, String)> = (section.iter())
        .filter(|(key, _)| key != "name" && key != "match")
        .map(|(key, value)| (key.clone(), value.replace("DIR", folder)))
        .collect();
    let pairs: Vec<(&str, &str)> = own.iter().map(|(k, v)| (k.as_str(), v.as_str())).collect();
    let plugin = ALL.iter().find(|p| p.name == of("name")).expect("plugin");
    let settings = Settings::of(plugin.name, &pairs);
    let environment = Environment::default();
    Stage {
        matches: TagMatch::wildcard(of("match")),
        filter: (plugin.build)(&settings, &environment).unwrap_or_else(|e| panic!("{e}")),
    }
}

fn batch(records: &[String]) -> LogBatch {
    let pairs = [
        ("name", "j"),
        ("format", "json"),
        ("time_key", "ts"),
        ("time_format", "%s.%L"),
        ("time_keep", "off"),
    ];
    let parser = Parser::new(&Settings::of("PARSER", &pairs), &|_| None).expect("parser");
    let mut batch = LogBatch::new("app.web.log".into(), Arc::default(), Vec::new());
    batch.source.id = SourceId(1);
    let mut parsed = Parsed::default();
    for (i, record) in records.iter().enumerate() {
        let row = batch.push(0, Position::at(i as u64 + 1));
        let line = batch.store(record.as_bytes());
        assert!(parser.parse(record.as_bytes(), 0, &mut parsed), "{record}");
        assert!(parsed.write(&mut batch, row, line), "{record}");
        batch.set_time(row, parsed.time_ns.expect("records have a time"));
    }
    batch.source.to = Position::at(records.len() as u64);
    batch
}

/// What leaves the filters, as the lines of the `file` output.
fn run(stages: &[Stage], batch: LogBatch) -> Vec<String> {
    let mut lines = Vec::new();
    let mut waiting = VecDeque::from([(0, None, batch)]);
    let mut context = FilterContext::default();
    while let Some((first, maker, mut batch)) = waiting.pop_front() {
        context.set_maker(maker);
        for (number, stage) in stages.iter().enumerate().skip(first) {
            if batch.is_empty() || !stage.matches.fits(&batch.tag) {
                continue;
            }
            context.set_filter(number, &format!("filter.{number}").into());
            stage.filter.apply(&mut batch, &mut context);
            for emitted in context.take_emitted() {
                let first = if emitted.from_start { 0 } else { number + 1 };
                if let RecordBatch::Logs(logs) = emitted.batch {
                    waiting.push_back((first, emitted.maker, logs));
                }
            }
        }
        let positions = batch.positions();
        assert!(positions.windows(2).all(|w| w[0] < w[1]), "{positions:?}");
        for row in 0..batch.len() {
            let mut fields = Vec::new();
            json::write_fields(&mut fields, &batch, row, true);
            let time = batch.times()[row];
            let (seconds, nanos) = (
                time.div_euclid(1_000_000_000),
                time.rem_euclid(1_000_000_000),
            );
            let fields = String::from_utf8(fields).expect("UTF-8");
            let tag = &batch.tag;
            lines.push(format!("{tag}: [{seconds}.{nanos:09}, {{{fields}}}]"));
        }
    }
    lines
}

/// Keys sorted, so that only content counts: a batch has one order of keys for all its records.
fn normal(line: &str) -> String {
    let (head, record) = line.split_once(", {").unwrap_or((line, "}]"));
    let object = format!("{{{}", record.strip_suffix(']').unwrap_or(record));
    let tree: serde_json::Value =
        serde_json::from_str(&object).unwrap_or_else(|e| panic!("{object}: {e}"));
    format!("{head} {tree}")
}

fn sorted(lines: &[String]) -> Vec<String> {
    let mut lines: Vec<String> = lines.iter().map(|l| normal(l)).collect();
    lines.sort();
    lines
}

#[test]
fn filters_do_what_fluent_bit_does() {
    let (mut n, mut failed) = (0, Vec::new());
    for entry in std::fs::read_dir(folder()).expect("fixtures") {
        let path = entry.expect("entry").path();
        if path.extension().is_none_or(|e| e != "cases") {
            continue;
        }
        for case in cases(&std::fs::read_to_string(&path).expect("cases")) {
            let stages: Vec<Stage> = case.sections.iter().map(|s| stage(s)).collect();
            let found = run(&stages, batch(&case.records));
            let expected = if case.ours.is_empty() {
                &case.expected
            } else {
                &case.ours
            };
            assert!(
                !case.expected.is_empty(),
                "{} has no expectation",
                case.name
            );
            if sorted(&found) != sorted(expected) {
                failed.push(format!(
                    "{} in {}\nexpected:\n{}\nfound:\n{}\n",
                    case.name,
                    path.display(),
                    expected.join("\n"),
                    found.join("\n")
                ));
            }
            n += 1;
        }
    }
    assert!(
        failed.is_empty(),
        "{} of {n} differ:\n{}",
        failed.len(),
        failed.join("\n")
    );
    assert!(n > 20, "only {n} cases were found");
}
