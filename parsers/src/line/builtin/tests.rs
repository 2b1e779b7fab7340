//! Every built-in parser on the lines in fixtures/parsers: `NAME.log`, and `NAME.json`.
//!
//! Compared with Fluent Bit 5.1.1 and the parsers files that come with it: 161 of 167 lines are read
//! alike. It cannot read times without the fraction that the format asks for (cri, docker,
//! syslog-rfc5424), drops an unreadable time although it is to be kept (cri), takes JSON with
//! something behind it (json), and reads `key=` as true (logfmt).

use std::fmt::Write;
use std::path::Path;
use std::sync::Arc;

use kansoku_model::{LogBatch, Position, json};

use super::*;
use crate::line::Parsed;

/// 2026-11-21T09:00:00Z, for times without a year.
const NOW: i64 = 1_795_251_600_000_000_000;

/// Time in milliseconds (or a dash) and record of each line, or `no`.
fn run(parser: &Parser, lines: &str) -> String {
    let mut out = String::new();
    let mut parsed = Parsed::default();
    for line in lines.lines() {
        let mut batch = LogBatch::new("t".into(), Arc::default(), Vec::new());
        let slice = batch.store(line.as_bytes());
        let row = batch.push(0, Position::at(1));
        if !parser.parse(line.as_bytes(), NOW, &mut parsed) {
            out.push_str("no\n");
            continue;
        }
        assert!(parsed.write(&mut batch, row, slice));
        let mut record = Vec::new();
        json::write_fields(&mut record, &batch, row, true);
        let record = String::from_utf8(record).expect("json");
        match parsed.time_ns {
            Some(ns) => writeln!(out, "{} {{{record}}}", ns / 1_000_000),
            None => writeln!(out, "- {{{record}}}"),
        }
        .expect("a string takes it");
    }
    out
}

#[test]
fn real_lines_are_read_as_fluent_bit_reads_them() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../fixtures/parsers");
    for parser in all(&|_| None) {
        let file = |end: &str| folder.join(format!("{}.{end}", parser.name()));
        let lines = std::fs::read_to_string(file("log")).unwrap_or_default();
        let got = run(&parser, &lines);
        if std::env::var_os("UPDATE").is_some() {
            std::fs::write(file("json"), &got).expect("the fixture can be written");
        }
        let expected = std::fs::read_to_string(file("json")).unwrap_or_default();
        assert_eq!(got, expected, "{}", parser.name());
        assert!(got.contains('{'), "no line of {} fits", parser.name());
    }
}

#[test]
fn names_are_unique() {
    let mut names: Vec<String> = all(&|_| None).iter().map(|p| p.name().to_owned()).collect();
    names.sort();
    let n = names.len();
    names.dedup();
    assert_eq!(names.len(), n);
}
