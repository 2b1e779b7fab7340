//! Multiline parsers by example: lines in, records out.

use kansoku_model::ConfigError;

use super::*;

fn built_in(names: &[&str]) -> Joiner {
    let all = builtin::all();
    let find = |name: &&str| {
        let found = all.iter().find(|m| m.name() == *name);
        Arc::new(found.expect("a built-in name").clone())
    };
    Joiner::new(names.iter().map(find).collect(), DEFAULT_LIMIT_BYTES)
}

fn of(pairs: &[(&str, &str)]) -> Result<Multiline, ConfigError> {
    let pairs = [&[("name", "m")], pairs].concat();
    Multiline::new(&Settings::of("MULTILINE_PARSER", &pairs), &|_| None)
}

/// A caller as the tail input is one: joins the lines of one stream, and marks cut records.
fn records<'a>(joiner: &Joiner, lines: impl IntoIterator<Item = &'a str>) -> Vec<String> {
    let mut stream = Stream::default();
    let mut pending: Vec<Option<String>> = Vec::new();
    let mut out = Vec::new();
    for line in lines {
        let step = joiner.push(&mut stream, line.as_bytes());
        pending.resize(pending.len().max(step.slot + 1), None);
        let cut = if step.cut { "…" } else { "" };
        match step.flush {
            Flush::Nothing => {}
            Flush::Slot => {
                let record = pending[step.slot].take();
                out.push(record.expect("a slot that is flushed holds something") + cut);
            }
            Flush::All => out.extend(pending.iter_mut().filter_map(Option::take)),
        }
        match step.place {
            Place::Alone => out.push(line.into()),
            Place::Start => {
                let before = pending[step.slot].replace(line.into());
                assert_eq!(before, None, "started over a pending record");
            }
            Place::Join { newlines } => {
                let record = pending[step.slot].as_mut().expect("pending");
                record.push_str(&"\n".repeat(newlines));
                record.push_str(line);
            }
        }
        if step.complete && step.place != Place::Alone {
            out.extend(pending[step.slot].take());
        }
        assert_eq!(stream.is_pending(), pending.iter().any(Option::is_some));
    }
    out.extend(pending.into_iter().flatten());
    out
}

#[test]
fn states_outlive_a_line_that_stands_alone_as_in_fluent_bit() {
    let lines = [
        "INFO one",
        "",
        "Exception in thread \"main\" java.lang.IllegalStateException: boom",
        "\tat a.b.C(D.java:1)",
        "Caused by: java.lang.NullPointerException",
        "\t... 2 more",
        "INFO two",
        "\tat orphan",
        "\tat orphan2",
        "last",
    ];
    let expected = [
        lines[0].to_owned(),
        String::new(),
        lines[2..6].join("\n"),
        lines[6].into(),
        lines[7..9].join("\n"),
        lines[9].into(),
    ];
    assert_eq!(records(&built_in(&["java"]), lines), expected);
}

/// Traces that java 17, python 3 and node printed here, and such as go and ruby print. Fluent Bit
/// 5.1.1 makes the same records, but for the marker lines of Python 3.11 and later.
#[test]
fn real_traces_are_joined() {
    let folder = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("../fixtures/multiline");
    for (file, parser) in [
        ("java", "java"),
        ("node", "java"),
        ("python", "python"),
        ("python-3.10", "python"),
        ("go", "go"),
        ("ruby", "ruby"),
    ] {
        let path = |end: &str| folder.join(format!("{file}.{end}"));
        let lines = std::fs::read_to_string(path("log")).expect(file);
        let got: String = (records(&built_in(&[parser]), lines.lines()).iter())
            .map(|record| serde_json::to_string(record).expect("json") + "\n")
            .collect();
        if std::env::var_os("UPDATE").is_some() {
            std::fs::write(path("json"), &got).expect("the fixture can be written");
        }
        let expected = std::fs::read_to_string(path("json")).unwrap_or_default();
        assert_eq!(got, expected, "{file}");
        assert!(got.contains("\\n"), "nothing of {file} was joined");
    }
}

#[test]
fn a_list_of_parsers_takes_each_line_once() {
    let lines = [
        "Traceback (most recent call last):",
        "  File \"a.py\", line 1, in <module>",
        "    f()",
        "ValueError: no",
        "x",
        "panic: oh",
        "",
        "goroutine 1 [running]:",
        "main.main()",
        "\t/tmp/a.go:5 +0x1",
        "a.Exception: b",
        "\tat c",
    ];
    let expected = [
        lines[..4].join("\n"),
        "x".into(),
        lines[5..10].join("\n"),
        lines[10..].join("\n"),
    ];
    assert_eq!(
        records(&built_in(&["java", "go", "python", "ruby"]), lines),
        expected
    );
}

#[test]
fn sections_decide_as_written() {
    let rules = &[
        ("type", "regex"),
        ("rule", r#""start_state" "/^\d+/" "more""#),
        ("rule", r#""more" "/^\s+\"at/" "more""#),
    ][..];
    let until = |kind: &'static str, text: &'static str, negate: &'static str| {
        vec![("type", kind), ("match_string", text), ("negate", negate)]
    };
    let cases: [(Vec<(&str, &str)>, &[&str], &[&str]); 6] = [
        (
            rules.to_vec(),
            &["1 a", " \"at", "x", "2", "3"],
            &["1 a\n \"at", "x", "2", "3"],
        ),
        (
            until("endswith", ";", "off"),
            &["a", "b;", "c;", "", "d"],
            // Nothing is there yet that a newline could end.
            &["a\nb;", "c;", "d"],
        ),
        (
            until("endswith", "\\", "on"),
            &["a\\", "b\\", "c", "d"],
            &["a\\\nb\\\nc", "d"],
        ),
        (
            until("equal", "end", "off"),
            &["a", "end", "end"],
            &["a\nend", "end"],
        ),
        (until("EQ", "x", "on"), &["x", "x", "a"], &["x\nx\na"]),
        (
            [
                &until("endswith", "\n", "off")[..],
                &[("key_content", "log")],
            ]
            .concat(),
            &["a", "b\n", "c"],
            &["ab\n", "c"],
        ),
    ];
    for (pairs, lines, expected) in cases {
        let multiline = of(&pairs).expect("valid");
        let joiner = Joiner::new(vec![Arc::new(multiline)], DEFAULT_LIMIT_BYTES);
        let got = records(&joiner, lines.iter().copied());
        assert_eq!(got, expected, "{pairs:?}");
    }
}

#[test]
fn what_would_grow_beyond_the_limit_goes_on_as_the_next_record() {
    let multiline = of(&[
        ("type", "regex"),
        ("rule", r#""start_state" "/^s/" "more""#),
        ("rule", r#""more" "/^ /" "more""#),
    ]);
    let joiner = Joiner::new(vec![Arc::new(multiline.expect("valid"))], 8);
    assert_eq!(
        records(
            &joiner,
            ["start", " a", " b", " cc", " 1234567890", " d", "s"]
        ),
        ["start\n a…", " b\n cc…", " 1234567890…", " d", "s"]
    );
}

#[test]
fn groups_are_kept_apart_and_bounded() {
    let joiner = built_in(&["cri"]);
    let mut stream = Stream::default();
    let mut offer = |group: &[u8], flag: &[u8]| {
        let content = Content {
            text: b"x",
            pattern: Some(flag),
            group,
        };
        let step = joiner.offer(&mut stream, 0, content).expect("taken");
        (step.slot, step.flush, step.place, step.complete)
    };
    let join = Place::Join { newlines: 0 };
    assert_eq!(
        offer(b"stdout", b"P"),
        (0, Flush::Nothing, Place::Start, false)
    );
    assert_eq!(
        offer(b"stderr", b"P"),
        (1, Flush::Nothing, Place::Start, false)
    );
    assert_eq!(offer(b"stdout", b"F"), (0, Flush::Nothing, join, true));
    assert_eq!(offer(b"stderr", b"F"), (1, Flush::Nothing, join, true));
    for i in 0..16u8 {
        let slot = usize::from(if i < 14 { i + 2 } else { i - 14 });
        assert_eq!(
            offer(&[i], b"P"),
            (slot, Flush::Nothing, Place::Start, false)
        );
    }
    assert_eq!(
        offer(b"one more", b"P"),
        (0, Flush::Slot, Place::Start, false)
    );
}

#[test]
fn mistakes_in_sections_are_named() {
    let cases: &[(&[(&str, &str)], &str)] = &[
        (&[], "MULTILINE_PARSER needs 'type', which is not set"),
        (
            &[("type", "regexp")],
            "'type' is 'regexp', but must be one of regex, endswith, equal, eq",
        ),
        (
            &[("type", "regex")],
            "a multiline parser of type regex needs at least one 'rule'",
        ),
        (
            &[("type", "regex"), ("rule", r#""cont" "/a/" "cont""#)],
            "the first 'rule' must be one of \"start_state\"",
        ),
        (
            &[("type", "regex"), ("rule", r#""start_state" "/a/" "cnt""#)],
            "no rule belongs to the state 'cnt'",
        ),
        (
            &[("type", "regex"), ("rule", "start_state")],
            "rule 'start_state' must be \"state\" \"/pattern/\" \"next state\"",
        ),
        (
            &[("type", "regex"), ("rule", r#""start_state" "/(/" "c""#)],
            "pattern '/(/': unclosed group",
        ),
        (
            &[("type", "equal")],
            "MULTILINE_PARSER needs 'match_string', which is not set",
        ),
        (
            &[("type", "equal"), ("match_string", "a"), ("parser", "x")],
            "multiline parser 'm' names the parser 'x', which is not defined",
        ),
    ];
    for (pairs, message) in cases {
        let error = of(pairs).expect_err("a mistake").to_string();
        assert_eq!(error, format!("command line: {message}"), "{pairs:?}");
    }
}

#[test]
fn parts_of_a_yaml_rule_survive_their_quoting() {
    let pairs = [
        ("type", "regex"),
        ("rule", &rule_text("start_state", r#"/^"a\d/"#, "")),
    ];
    let joiner = Joiner::new(vec![Arc::new(of(&pairs).expect("valid"))], 99);
    let mut stream = Stream::default();
    assert_eq!(joiner.push(&mut stream, b"\"a1").place, Place::Start);
    assert_eq!(joiner.push(&mut stream, b"a1").place, Place::Alone);
}
