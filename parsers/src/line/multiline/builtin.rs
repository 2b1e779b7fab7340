//! The multiline parsers that need no file: docker, cri, java, go, ruby, python.
//!
//! The names and decisions are Fluent Bit's; the patterns are written from the forms in which the
//! languages print their traces, and compared with it on the traces in fixtures/multiline.

use std::sync::Arc;

use kansoku_model::Settings;

use super::{Multiline, rule_text};
use crate::line::Parser;

/// Rules: states, pattern, next state.
type Rules = &'static [(&'static str, &'static str, &'static str)];

/// `at` frames, causes and elisions of Java, JavaScript and C#.
const JAVA: Rules = &[
    (
        "start_state, java_nested",
        r"/.(?:Error|Exception|Throwable|V8 errors stack trace)[\r\n:]/",
        "java_head",
    ),
    ("java_head", r"/^[ \t]*nested exception is:/", "java_nested"),
    ("java_head", r"/^[\r\n]*$/", "java_head"),
    (
        "java_head, java_frame",
        r"/^[ \t]+(?:eval )?at /",
        "java_frame",
    ),
    (
        "java_head, java_frame",
        r"/^[ \t]+--- End of inner exception stack trace ---$/",
        "java_frame",
    ),
    (
        "java_head, java_frame",
        r"/^--- End of stack trace from previous location where exception was thrown ---$/",
        "java_frame",
    ),
    (
        "java_head, java_frame",
        r"/^[ \t]*(?:Suppressed|Caused by):/",
        "java_head",
    ),
    (
        "java_head, java_frame",
        r"/^[ \t]*... \d+ (?:common frames omitted|more)/",
        "java_frame",
    ),
];

/// `panic:`, the signal, then goroutines with two lines per frame.
const GO: Rules = &[
    ("start_state", r"/\bpanic: /", "go_panic"),
    ("start_state", "/http: panic serving/", "go_goroutine"),
    ("go_panic, go_signal, go_call", "/^$/", "go_goroutine"),
    ("go_panic", r"/^\[signal /", "go_signal"),
    ("go_goroutine", r"/^goroutine \d+ \[[^\]]+\]:$/", "go_call"),
    (
        "go_call",
        r"/^(?:created by |(?:[^\s.:]+\.)*[^\s.():]+\()/",
        "go_place",
    ),
    ("go_place", r"/^\s/", "go_call"),
];

const RUBY: Rules = &[
    ("start_state, ruby_raise", r"/^.+:\d+:in\s+/", "ruby_head"),
    (
        "ruby_head, ruby_frame",
        r"/^\s+from\s+.*:\d+:in\s+/",
        "ruby_frame",
    ),
];

/// The head, pairs of place and source line, then the exception itself, which ends the record.
/// Python 3.11 and later mark the place in the source line with `^` and `~`; Fluent Bit does not know
/// that line and cuts such a trace into pieces.
const PYTHON: Rules = &[
    (
        "start_state",
        r"/^Traceback \(most recent call last\):$/",
        "python",
    ),
    ("python", r"/^[ \t]+File /", "python_source"),
    ("python_source", r"/[^ \t]/", "python"),
    ("python", r"/^[ \t]+[~^]+[ \t]*$/", "python"),
    ("python", r"/^(?:[^\s.():]+\.)*[^\s.():]+:/", "start_state"),
];

const OF_RULES: &[(&str, Rules)] = &[
    ("java", JAVA),
    ("go", GO),
    ("ruby", RUBY),
    ("python", PYTHON),
];

/// All built-in multiline parsers.
#[must_use]
pub fn all() -> Vec<Multiline> {
    names().filter_map(named).collect()
}

/// The names of all built-in multiline parsers.
pub fn names() -> impl Iterator<Item = &'static str> {
    ["docker", "cri"]
        .into_iter()
        .chain(OF_RULES.iter().map(|(name, _)| *name))
}

/// The built-in multiline parser of that name.
#[must_use]
pub fn named(name: &str) -> Option<Multiline> {
    match name {
        "docker" => return Some(docker()),
        "cri" => return Some(cri()),
        _ => {}
    }
    let (name, rules) = OF_RULES.iter().find(|(known, _)| *known == name)?;
    let rules: Vec<String> = (rules.iter())
        .map(|(from, pattern, to)| rule_text(from, pattern, to))
        .collect();
    let mut pairs = vec![("name", *name), ("type", "regex")];
    pairs.extend(rules.iter().map(|rule| ("rule", rule.as_str())));
    Some(of(&pairs, None))
}

/// Parts of a line that docker's json-file driver cut at 16 KiB.
fn docker() -> Multiline {
    let parser = parser(&[("format", "json"), ("time_format", "%Y-%m-%dT%H:%M:%S.%L")]);
    let mut multiline = of(
        &[
            ("name", "docker"),
            ("type", "endswith"),
            ("match_string", "?"),
            ("key_content", "log"),
            ("key_group", "stream"),
        ],
        Some(parser),
    );
    // No configuration file can hold it.
    multiline.kind = Arc::new(super::Kind::Until {
        text: b"\n".to_vec(),
        whole: false,
        negate: false,
    });
    multiline
}

/// Parts of a line that a CRI runtime cut at 16 KiB.
fn cri() -> Multiline {
    let parser = parser(&[
        ("format", "regex"),
        (
            "regex",
            "^(?<time>.+?) (?<stream>stdout|stderr) (?<_p>[FP]) (?<log>.*)$",
        ),
        ("skip_empty_values", "off"),
        ("time_format", "%Y-%m-%dT%H:%M:%S.%L%z"),
    ]);
    of(
        &[
            ("name", "cri"),
            ("type", "equal"),
            ("match_string", "F"),
            ("key_content", "log"),
            ("key_group", "stream"),
            ("key_pattern", "_p"),
        ],
        Some(parser),
    )
}

fn parser(pairs: &[(&str, &str)]) -> Arc<Parser> {
    let all = [
        &[("name", "_ml"), ("time_keep", "on"), ("time_strict", "off")],
        pairs,
    ]
    .concat();
    let settings = Settings::of("parser", &all);
    Arc::new(Parser::new(&settings, &|_| None).expect("built-in parsers are valid"))
}

fn of(pairs: &[(&str, &str)], parser: Option<Arc<Parser>>) -> Multiline {
    let settings = Settings::of("multiline parser", pairs);
    let built = Multiline::new(&settings, &|_| None).expect("built-in multiline parsers are valid");
    Multiline { parser, ..built }
}
