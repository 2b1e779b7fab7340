//! Runs the cases in fixtures/logql over an in-memory source.
//!
//! A case file holds streams (`stream {..}` and indented entries) and queries (`log: ..`,
//! `instant at=60s: ..`, `range from=0s to=60s step=10s: ..`, `show: ..`) each with its indented
//! answer. `UPDATE=1` writes the answers anew; the difference is to be reviewed. Every query runs
//! over blocks of several sizes and must answer the same.

mod json;
mod limits;
mod mutations;
mod source;

use std::fmt::Write as _;
use std::path::PathBuf;

use kansoku_model::select::{Direction, MatchOp};
use kansoku_model::{Labels, Matcher};

use super::output::{InstantValue, Matrix, Streams};
use super::{Context, Engine, Expr, matchers_of_selector, parse, units};
use source::{MemorySource, TestEntry};

const BLOCK_SIZES: [usize; 3] = [1, 3, 1000];

fn folder() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../fixtures/logql")
}

/// Runs one file and compares, or rewrites it.
fn run_file(name: &str) {
    let path = folder().join(name);
    let text = std::fs::read_to_string(&path).unwrap();
    let actual = answer_all(&text);
    if std::env::var_os("UPDATE").is_some() {
        std::fs::write(&path, actual).unwrap();
        return;
    }
    for (number, (wanted, got)) in text.lines().zip(actual.lines()).enumerate() {
        assert_eq!(got, wanted, "{name} line {}", number + 1);
    }
    assert_eq!(actual, text, "{name}");
}

/// The file with every answer as it is now.
fn answer_all(text: &str) -> String {
    let mut source = MemorySource::default();
    let mut out = String::new();
    let mut in_stream = false;
    for line in text.lines() {
        if line.starts_with(' ') {
            if in_stream {
                source.push(read_entry(line.trim_start()));
                writeln!(out, "{line}").unwrap();
            }
            continue;
        }
        writeln!(out, "{line}").unwrap();
        in_stream = false;
        if line.is_empty() || line.starts_with('#') {
            continue;
        }
        if line == "clear" {
            source = MemorySource::default();
        } else if let Some(selector) = line.strip_prefix("stream ") {
            source.add_stream(labels_of(selector));
            in_stream = true;
        } else {
            let answers: Vec<String> = BLOCK_SIZES
                .iter()
                .map(|size| answer(&source.in_blocks_of(*size).leaving_out(), line))
                .collect();
            assert_eq!(answers[0], answers[1], "{line}");
            assert_eq!(answers[0], answers[2], "{line}");
            for answer in answers[0].lines() {
                writeln!(out, "  {answer}").unwrap();
            }
        }
    }
    out
}

fn labels_of(selector: &str) -> Labels {
    let matchers = matchers_of_selector(selector).unwrap();
    assert!(matchers.iter().all(|m| m.op == MatchOp::Equal));
    Labels::from_pairs(matchers.iter().map(|m: &Matcher| (&m.name, &m.value)))
}

/// `5s line`, `5s @{trace="x"} line`, `5s b"bytes\xff"`.
fn read_entry(text: &str) -> TestEntry {
    let (time, rest) = text.split_once(' ').unwrap_or((text, ""));
    let (metadata, line) = match rest.strip_prefix('@') {
        Some(rest) => {
            let (metadata, line) = rest.split_once("} ").unwrap();
            (labels_of(&format!("{metadata}}}")), line)
        }
        None => (Labels::default(), rest),
    };
    let line = match line.strip_prefix("b\"").and_then(|l| l.strip_suffix('"')) {
        Some(bytes) => unescape(bytes),
        None => line.as_bytes().to_vec(),
    };
    TestEntry {
        time_ns: units::query_duration(time).unwrap(),
        line,
        metadata,
    }
}

fn unescape(text: &str) -> Vec<u8> {
    let mut out = Vec::new();
    let mut rest = text;
    while let Some((before, after)) = rest.split_once("\\x") {
        out.extend_from_slice(before.as_bytes());
        out.push(u8::from_str_radix(&after[..2], 16).unwrap());
        rest = &after[2..];
    }
    out.extend_from_slice(rest.as_bytes());
    out
}

/// `name=5s` among the words before the colon.
fn option(words: &str, name: &str) -> Option<i64> {
    let value = words
        .split(' ')
        .find_map(|w| w.strip_prefix(name)?.strip_prefix('='))?;
    Some(units::query_duration(value).unwrap_or_else(|_| value.parse().unwrap()))
}

fn answer(source: &MemorySource, line: &str) -> String {
    let (words, query) = line.split_once(": ").unwrap();
    let expr = match parse(query) {
        Ok(expr) => expr,
        Err(error) => return error.to_string(),
    };
    let engine = Engine::default();
    let ctx = Context::uninterrupted();
    let hour_ns = 3600 * 1_000_000_000;
    let from = option(words, "from").unwrap_or(0);
    let to = option(words, "to").unwrap_or(hour_ns);
    let result = match (words.split(' ').next().unwrap(), expr) {
        ("show", Expr::Log(log)) => Ok(log.to_string()),
        ("log", Expr::Log(log)) => {
            let direction = if words.contains("forward") {
                Direction::Forward
            } else {
                Direction::Backward
            };
            let limit = option(words, "limit").unwrap_or(100) as usize;
            engine
                .log_query(source, &log, from, to, direction, limit, &ctx)
                .map(|streams| show_streams(&streams))
        }
        ("instant", Expr::Metric(metric)) => {
            let at = option(words, "at").unwrap_or(60 * 1_000_000_000);
            engine
                .metric_instant(source, &metric, at, &ctx)
                .map(|instant| show_instant(&instant.value))
        }
        ("range", Expr::Metric(metric)) => {
            let step = option(words, "step").unwrap();
            engine
                .metric_range(source, &metric, from, to, step, &ctx)
                .map(|matrix| show_matrix(&matrix, from, to, step))
        }
        (word, _) => panic!("{word} does not go with: {query}"),
    };
    result.unwrap_or_else(|error| format!("error: {error}"))
}

fn show_streams(streams: &Streams) -> String {
    let mut out = String::new();
    for stream in &streams.streams {
        writeln!(out, "{}", stream.labels.all).unwrap();
        for entry in &stream.entries {
            let time = units::write_duration(entry.time_ns);
            let line = String::from_utf8_lossy(&entry.line);
            writeln!(out, "  {time} {}", line.escape_debug()).unwrap();
        }
    }
    out
}

fn show_instant(value: &InstantValue) -> String {
    match value {
        InstantValue::Scalar { value, .. } => format!("scalar {value}"),
        InstantValue::Vector(samples) => samples
            .iter()
            .map(|s| format!("{} {}\n", s.labels, s.value))
            .collect(),
    }
}

fn show_matrix(matrix: &Matrix, from: i64, to: i64, step: i64) -> String {
    let mut out = String::new();
    for series in &matrix.series {
        write!(out, "{}", series.labels).unwrap();
        let mut points = series.points.iter().peekable();
        for time in (from..=to).step_by(step as usize) {
            match points.next_if(|(t, _)| *t == time) {
                Some((_, value)) => write!(out, " {value}").unwrap(),
                None => write!(out, " _").unwrap(),
            }
        }
        assert_eq!(points.next(), None, "a point between the steps");
        out.push('\n');
    }
    out
}

macro_rules! files {
    ($($name:ident)*) => {
        $(#[test] fn $name() { run_file(concat!(stringify!($name), ".test")); })*

        #[test]
        fn every_file_is_run() {
            let listed = [$(concat!(stringify!($name), ".test")),*];
            for entry in std::fs::read_dir(folder()).unwrap() {
                let name = entry.unwrap().file_name().into_string().unwrap();
                assert!(listed.contains(&name.as_str()), "{name} is not run");
            }
        }
    };
}

files! {
    syntax_errors selectors line_filters json json_expressions logfmt regexp pattern unpack
    line_format label_format label_filters drop_keep decolorize metadata unwrap ranges
    aggregations operators limits_and_order bad_input show required_text
}
