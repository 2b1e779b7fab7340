//! Fields as they stand in the lines, or the lines whole.

use kansoku_model::{Extraction, FieldBlock, FieldValues, FieldsWanted, PatternPiece};

use super::super::{Encoder, Search, decode_fields, encode};
use crate::column::Effort;
use kansoku_model::Slice;

const ENTRY: i64 = 1_795_132_892_730_624_238;

/// What is expected of a line: the bytes of its wanted fields, or that it comes whole.
type Expected = Option<Vec<(&'static str, String)>>;

fn fields_of(
    lines: &[String],
    of: &Extraction,
    rows: std::ops::Range<usize>,
) -> (FieldBlock, bool) {
    let times: Vec<i64> = (0..lines.len() as i64).map(|i| ENTRY + i * 99).collect();
    let (mut text, mut slices) = (Vec::new(), Vec::new());
    for line in lines {
        slices.push(Slice {
            start: text.len() as u32,
            len: line.len() as u32,
        });
        text.extend_from_slice(line.as_bytes());
    }
    let mut encoder = Encoder::new(Effort::Merge).unwrap();
    let streams = encode(&mut encoder, &text, &slices, &times);
    let wanted = FieldsWanted {
        of: of.clone(),
        names: ["status", "at", "a_t"].map(String::from).to_vec(),
    };
    let search = Search {
        rows,
        needles: &[],
        automata: &[],
    };
    let mut block = FieldBlock::default();
    let known = decode_fields(
        streams.parts(),
        &times,
        text.len(),
        &search,
        &wanted,
        &mut block,
    )
    .unwrap();
    (block, known)
}

/// 300 lines of one shape: each row's fields, or its line, must be what is expected.
fn check(of: &Extraction, shape: fn(u64) -> (String, Expected)) {
    let pairs: Vec<_> = (0..300).map(|i| shape(i * 7919 % 1000)).collect();
    let lines: Vec<String> = pairs.iter().map(|(line, _)| line.clone()).collect();
    let (block, known) = fields_of(&lines, of, 10..290);
    if !known {
        assert!(
            pairs.iter().all(|(_, expected)| expected.is_none()),
            "{}",
            lines[0]
        );
        return;
    }
    assert_eq!(block.times.len(), 280);
    let mut n_seen = 0;
    for (row, slice) in block.line_rows.iter().zip(&block.lines.lines) {
        let (line, expected) = &pairs[10 + *row as usize];
        assert_eq!(block.lines.bytes(*slice), line.as_bytes());
        assert!(expected.is_none(), "{line} came whole");
        n_seen += 1;
    }
    for group in &block.groups {
        for (at, row) in group.rows.iter().enumerate() {
            let (line, expected) = &pairs[10 + *row as usize];
            assert_eq!(
                block.times[*row as usize],
                ENTRY + (i64::from(*row) + 10) * 99
            );
            let found = ["status", "at", "a_t"].iter().zip(&group.fields);
            let found: Vec<_> = found
                .filter_map(|(name, field)| {
                    let mut bytes = Vec::new();
                    field.as_ref()?.values.put(at, &mut bytes);
                    Some((*name, String::from_utf8(bytes).unwrap()))
                })
                .collect();
            assert_eq!(Some(&found), expected.as_ref(), "{line}");
            n_seen += 1;
        }
    }
    assert_eq!(n_seen, 280);
}

#[test]
fn members_of_json_objects() {
    let shapes: &[fn(u64) -> (String, Expected)] = &[
        |n| {
            let status = 200 + n % 400;
            (
                format!(
                    r#"{{"ts":"2026-11-20T00:01:32Z", "x":{{"y":{n}}}, "status":{status},"at":"a{n}b","ok":true}}"#
                ),
                Some(vec![
                    ("status", status.to_string()),
                    ("at", format!("a{n}b")),
                ]),
            )
        },
        // No wanted field; two spellings of one; an object that has fields of a wanted name.
        |n| (format!(r#"{{"id":{n},"l":null}}"#), Some(Vec::new())),
        |n| (format!(r#"{{"a-t":{n}}}"#), None),
        |n| (format!(r#"{{"a":{{"t":{n}}},"status":1}}"#), None),
        |n| (format!(r#"{{"status":{n},"status":2}}"#), None),
        // Values with escapes, one that ends its quotes early, and faults.
        |n| {
            let text = format!(r#"say \"{n}\" \\"#);
            (format!(r#"{{"at":"{text}"}}"#), Some(vec![("at", text)]))
        },
        |n| match n % 3 {
            0 => (format!(r#"{{"k":"v{n}x"y","status":5}}"#), None),
            _ => (
                format!(r#"{{"k":"v{n}xzy","status":5}}"#),
                Some(vec![("status", "5".into())]),
            ),
        },
        |n| (format!(r#"{{"status":{n}"#), None),
        |n| (format!(r#"{{"status":{n}x,"at":"1"}}"#), None),
        |n| (format!(r#"{{"status":[{n}]}}"#), None),
        |n| (format!("no object {n}"), None),
    ];
    shapes
        .iter()
        .for_each(|shape| check(&Extraction::Json, *shape));
}

#[test]
fn pairs_of_logfmt() {
    let shapes: &[fn(u64) -> (String, Expected)] = &[
        |n| {
            (
                format!(r#"level=info at="to {n} and back" status={} done"#, n % 7),
                Some(vec![
                    ("status", (n % 7).to_string()),
                    ("at", format!("to {n} and back")),
                ]),
            )
        },
        |n| (format!("a={n} b=2"), Some(Vec::new())),
        |n| {
            (
                format!("status= b={n}"),
                Some(vec![("status", String::new())]),
            )
        },
        // One name twice, another spelling, faults that a value brings in, escapes, keys that vary.
        |n| (format!("status={n} status=2"), None),
        |n| (format!("a.t={n}"), None),
        |n| (format!("status={n}=5 at=1"), None),
        |n| (format!(r#"at="a \" {n}""#), None),
        |n| (format!(r#"at="a {n}"#), None),
        |n| (format!("k{n}=1 status=5"), None),
        |n| (format!("=x{n} status=5"), None),
    ];
    shapes
        .iter()
        .for_each(|shape| check(&Extraction::Logfmt, *shape));
}

#[test]
fn text_between_literals() {
    let literal = |text: &str| PatternPiece::Literal(text.into());
    let capture = |name: &str| PatternPiece::Capture(name.into());
    let pattern = Extraction::Pattern(vec![
        capture("_"),
        literal("\" "),
        capture("status"),
        literal(" "),
        capture("at"),
    ]);
    let shapes: &[fn(u64) -> (String, Expected)] = &[
        |n| {
            let status = 200 + n % 4;
            (
                format!(
                    r#"10.0.{}.1 - "GET /a/{n} HTTP/1.1" {status} {n} "-""#,
                    n % 200
                ),
                Some(vec![
                    ("status", status.to_string()),
                    ("at", format!("{n} \"-\"")),
                ]),
            )
        },
        // The last literals are missing; the first is.
        |n| {
            let status = format!("{n}x");
            (
                format!(r#"a {n}" {status}"#),
                Some(vec![("status", status)]),
            )
        },
        |n| (format!("a {n} b"), Some(Vec::new())),
    ];
    shapes.iter().for_each(|shape| check(&pattern, *shape));
    let anchored = Extraction::Pattern(vec![literal("took "), capture("at"), literal(" ms")]);
    let shapes: &[fn(u64) -> (String, Expected)] = &[
        |n| (format!("took {n} ms"), Some(vec![("at", n.to_string())])),
        |n| (format!("it took {n} ms"), Some(Vec::new())),
        |n| {
            let at = format!("{n} m {n} s");
            (format!("took {at}"), Some(vec![("at", at)]))
        },
        // Values that may hold what a literal begins with: whole, or up to the first of them.
        |n| match n % 2 {
            0 => (format!("took <{n} ms> ms"), None),
            _ => (format!("took <{n} nm> ms"), None),
        },
    ];
    for shape in &shapes[..3] {
        check(&anchored, *shape);
    }
    let (block, _) = fields_of(
        &(0..300).map(|n| shapes[3](n).0).collect::<Vec<_>>(),
        &anchored,
        0..300,
    );
    // Whatever came as a field is right: up to the first literal.
    for group in &block.groups {
        for at in 0..group.rows.len() {
            let mut bytes = Vec::new();
            group.fields[1].as_ref().unwrap().values.put(at, &mut bytes);
            let n = group.rows[at];
            let expected = match n % 2 {
                0 => format!("<{n}"),
                _ => format!("<{n} nm>"),
            };
            assert_eq!(bytes, expected.as_bytes());
        }
    }
}

#[test]
fn columns_keep_their_types() {
    let line = |n: u64| {
        format!(
            r#"{{"status":{},"at":{}.{:03},"a_t":"x"}}"#,
            200 + n % 300,
            n * 7,
            n
        )
    };
    let lines: Vec<String> = (0..300).map(|i| line(i * 31 % 977)).collect();
    let (block, known) = fields_of(&lines, &Extraction::Json, 0..300);
    assert!(known && block.line_rows.is_empty());
    let [group] = &block.groups[..] else {
        panic!("{} groups", block.groups.len());
    };
    let [Some(status), Some(at), Some(a_t)] = &group.fields[..] else {
        panic!("{:?}", group.fields);
    };
    assert!(matches!(&status.values, FieldValues::Integers { values, .. } if values[1] == 231));
    assert!(
        matches!(&at.values, FieldValues::Decimals { mantissas, .. } if mantissas[1] == 217_031)
    );
    assert_eq!(a_t.values, FieldValues::Same(b"x".to_vec()));
}
