//! Any settings of a `[PARSER]` section and any lines: the section is refused or reads every line.
#![no_main]

use kansoku_model::Settings;
use kansoku_parsers::line::{Parsed, Parser};

const FORMATS: [&str; 6] = ["json", "regex", "ltsv", "logfmt", "cri", "docker"];
const KEYS: [&str; 8] = [
    "regex",
    "time_key",
    "time_format",
    "time_keep",
    "types",
    "decode_field",
    "decode_field_as",
    "time_offset",
];

libfuzzer_sys::fuzz_target!(|input: (u8, Vec<(u8, String)>, String, Vec<u8>)| {
    let (format, settings, regex, line) = input;
    let format = FORMATS[usize::from(format) % FORMATS.len()];
    let mut pairs = vec![("name", "p"), ("format", format)];
    if format == "regex" {
        pairs.push(("regex", &regex));
    }
    for (key, value) in &settings {
        let key = KEYS[usize::from(*key) % KEYS.len()];
        if key.starts_with("decode") || !pairs.iter().any(|(k, _)| *k == key) {
            pairs.push((key, value));
        }
    }
    let Ok(parser) = Parser::new(&Settings::of("parser", &pairs), &|_| None) else {
        return;
    };
    let mut parsed = Parsed::default();
    for line in line.split(|b| *b == b'\n') {
        if parser.parse(line, 1_795_251_600_000_000_000, &mut parsed) {
            parsed.trim_texts(line);
        }
    }
});
