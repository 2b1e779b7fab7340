//! Batches of records in, batches of joined records out.

use kansoku_model::{Position, json};
use kansoku_parsers::line::multiline::builtin;

use super::*;

fn environment() -> Environment {
    let all = builtin::all().into_iter();
    Environment {
        multilines: Arc::new(all.map(|m| (m.name().to_owned(), Arc::new(m))).collect()),
        multiline_limit_bytes: 64,
        ..Environment::default()
    }
}

fn filter(pairs: &[(&str, &str)]) -> Result<Box<dyn Filter>, String> {
    build(&Settings::of("multiline", pairs), &environment()).map_err(|e| e.message)
}

/// Records of one source; each is its fields, and stands at the offset behind it.
fn batch(source: u128, from: u64, records: &[&[(&str, &str)]]) -> LogBatch {
    let mut batch = LogBatch::new("t".into(), Arc::default(), Vec::new());
    batch.source.id = SourceId(source);
    batch.source.from = Position::at(from);
    for (i, fields) in records.iter().enumerate() {
        let at = from + 1 + i as u64;
        let row = batch.push(at as i64, Position::at(at));
        for (key, value) in *fields {
            batch.set_text(key, row, value.as_bytes());
        }
    }
    batch.source.to = Position::at(from + records.len() as u64);
    batch
}

fn logs(source: u128, from: u64, lines: &[&str]) -> LogBatch {
    let records: Vec<Vec<(&str, &str)>> = lines.iter().map(|l| vec![("log", *l)]).collect();
    let records: Vec<&[(&str, &str)]> = records.iter().map(Vec::as_slice).collect();
    batch(source, from, &records)
}

/// What left: `TIME@OFFSET[.ORDINAL] RECORD`, and with `+n` the number of holds of each batch.
fn shown(context: &mut FilterContext) -> Vec<String> {
    let mut out = Vec::new();
    for emitted in context.take_emitted() {
        let RecordBatch::Logs(batch) = &emitted.batch else {
            panic!("logs")
        };
        assert!(!emitted.from_start);
        let mut last = batch.source.from;
        for row in 0..batch.len() {
            let at = batch.positions()[row];
            assert!(at > last, "{at:?} behind {last:?}");
            last = at;
            let mut record = Vec::new();
            json::write_fields(&mut record, batch, row, true);
            let ordinal = match at.ordinal {
                0 => String::new(),
                n => format!(".{n}"),
            };
            let mark = batch.metadata(row).map_or("", |_| " cut");
            let record = String::from_utf8_lossy(&record);
            out.push(format!(
                "{}@{}{ordinal} {record}{mark}",
                batch.times()[row],
                at.offset
            ));
        }
        assert_eq!(batch.source.to, last);
        if !emitted.holds.is_empty() {
            out.push(format!("+{}", emitted.holds.len()));
        }
    }
    out
}

fn run(filter: &dyn Filter, mut batch: LogBatch) -> Vec<String> {
    let mut context = FilterContext::default();
    filter.apply(&mut batch, &mut context);
    assert!(batch.is_empty());
    shown(&mut context)
}

fn flushed(filter: &dyn Filter, all: bool) -> Vec<String> {
    let mut context = FilterContext::default();
    filter.flush(all, &mut context);
    shown(&mut context)
}

const JAVA: &[(&str, &str)] = &[
    ("multiline.parser", "python,java"),
    ("multiline.key_content", "log"),
];

#[test]
fn a_trace_goes_on_in_the_next_batch_and_is_held_until_it_is_complete() {
    let filter = filter(JAVA).expect("valid");
    assert_eq!(
        run(&*filter, logs(1, 0, &["one", "a.Exception: x", "\tat b"])),
        [r#"1@1 "log":"one""#]
    );
    // The stream of another source does not mix with it.
    assert_eq!(
        run(&*filter, logs(2, 0, &["\tat z"])),
        [r#"1@1 "log":"\tat z""#]
    );
    assert_eq!(
        run(&*filter, logs(1, 3, &["\tat c", "two", "b.Error: y"])),
        [
            r#"2@4 "log":"a.Exception: x\n\tat b\n\tat c""#,
            r#"5@5 "log":"two""#,
            "+1",
        ]
    );
    assert!(flushed(&*filter, false).is_empty());
    assert_eq!(flushed(&*filter, true), [r#"6@6 "log":"b.Error: y""#, "+1"]);
    assert!(flushed(&*filter, true).is_empty());
    // As in Fluent Bit, frames may still come: they are a record of their own.
    assert!(run(&*filter, logs(1, 6, &["\tat d"])).is_empty());
    assert_eq!(flushed(&*filter, true), [r#"7@7 "log":"\tat d""#, "+1"]);
}

#[test]
fn what_is_not_joined_leaves_as_it_came() {
    let filter = filter(JAVA).expect("valid");
    let records: &[&[(&str, &str)]] = &[
        &[("log", "one"), ("stream", "stdout")],
        &[("other", "x")],
        &[("log", "")],
    ];
    assert_eq!(
        run(&*filter, batch(1, 0, records)),
        [
            r#"1@1 "log":"one","stream":"stdout""#,
            r#"2@2 "other":"x""#,
            r#"3@3 "log":"""#,
        ]
    );
}

#[test]
fn without_buffer_a_batch_is_all_there_is() {
    let pairs = [JAVA, &[("buffer", "off")]].concat();
    let filter = filter(&pairs).expect("valid");
    assert_eq!(filter.flush_every(), None);
    assert_eq!(
        run(&*filter, logs(1, 0, &["a.Exception: x", "\tat b"])),
        [r#"1@2 "log":"a.Exception: x\n\tat b""#]
    );
    assert_eq!(
        run(&*filter, logs(1, 2, &["\tat c"])),
        [r#"3@3 "log":"\tat c""#]
    );
}

#[test]
fn what_grows_beyond_the_limit_is_marked_and_goes_on_as_the_next() {
    let filter = filter(JAVA).expect("valid");
    let frame = format!("\tat {}", "x".repeat(30));
    let lines = ["a.Exception: x", &frame, &frame, "end"];
    assert_eq!(
        run(&*filter, logs(1, 0, &lines)),
        [
            format!(r#"1@2 "log":"a.Exception: x\n\tat {}" cut"#, "x".repeat(30)),
            format!(r#"3@3 "log":"\tat {}""#, "x".repeat(30)),
            r#"4@4 "log":"end""#.into(),
        ]
    );
}

#[test]
fn runtimes_lines_are_parsed_and_joined_per_stream() {
    let filter = filter(&[("multiline.parser", "cri")]).expect("valid");
    let time = "2026-11-21T09:00:00.5Z";
    let lines = [
        format!("{time} stdout P a-"),
        format!("{time} stderr F err"),
        format!("{time} stdout F b"),
        "no cri".to_owned(),
    ];
    let lines: Vec<&str> = lines.iter().map(String::as_str).collect();
    let record = |stream: &str, flag: &str, log: &str| {
        format!(r#""time":"{time}","stream":"{stream}","_p":"{flag}","log":"{log}""#)
    };
    assert_eq!(
        run(&*filter, logs(1, 0, &lines)),
        [
            format!("1795251600500000000@2 {}", record("stderr", "F", "err")),
            format!("1795251600500000000@3 {}", record("stdout", "P", "a-b")),
            r#"4@4 "log":"no cri""#.into(),
        ]
    );
}

#[test]
fn parts_are_joined_by_their_id() {
    let pairs = [
        ("mode", "partial_message"),
        ("multiline.key_content", "log"),
    ];
    let filter = filter(&pairs).expect("valid");
    let part = |id: &'static str, log: &'static str, last: &'static str| {
        vec![
            ("log", log),
            ("c", "web"),
            ("partial_message", "true"),
            ("partial_id", id),
            ("partial_last", last),
        ]
    };
    let records = [
        part("1", "a", "false"),
        part("2", "x", "false"),
        vec![("log", "whole")],
        part("1", "b", "true"),
        vec![("log", "no id"), ("partial_message", "true")],
    ];
    let records: Vec<&[(&str, &str)]> = records.iter().map(Vec::as_slice).collect();
    assert_eq!(
        run(&*filter, batch(1, 0, &records)),
        [
            r#"3@3 "log":"whole""#,
            r#"1@4 "log":"ab","c":"web""#,
            r#"5@5 "log":"no id","partial_message":"true""#,
        ]
    );
    // What was overtaken stands behind what has left.
    assert_eq!(
        flushed(&*filter, true),
        [r#"2@5.1 "c":"web","log":"x""#, "+1"]
    );
}

#[test]
fn mistakes_are_named() {
    let cases: &[(&[(&str, &str)], &str)] = &[
        (&[], "multiline needs 'multiline.parser', which is not set"),
        (
            &[("multiline.parser", "jave")],
            "unknown multiline parser 'jave'; did you mean 'java'? (parsers come from parsers_file in [SERVICE])",
        ),
        (
            &[("mode", "partial_message")],
            "'mode partial_message' needs 'multiline.key_content', the field to join",
        ),
        (
            &[
                ("mode", "partial_message"),
                ("multiline.key_content", "log"),
                ("buffer", "off"),
            ],
            "'mode partial_message' needs 'buffer on'",
        ),
    ];
    for (pairs, message) in cases {
        assert_eq!(filter(pairs).map(|_| ()).unwrap_err(), *message);
    }
}
