//! Any two texts as the agent's main configuration, classic or YAML, and what it names: every plugin is
//! built and nothing is started; each mistake says where and what, and a second reading says the same.
#![no_main]

use std::path::Path;

use kansoku_agent::command_line::Invocation;
use kansoku_agent::config::{self, Outcome};

/// Between the main file and the other; no configuration holds it.
const SEPARATOR: u8 = 0x1e;

fn load(main: &Path) -> Outcome {
    config::load(&Invocation {
        config_file: Some(main.to_string_lossy().into_owned()),
        dry_run: true,
        ..Invocation::default()
    })
}

fn said(outcome: &Outcome) -> Vec<String> {
    let mistakes = outcome.result.as_ref().err().into_iter().flatten();
    let mistakes = mistakes.map(|m| &m.error);
    mistakes
        .chain(&outcome.warnings)
        .map(ToString::to_string)
        .collect()
}

libfuzzer_sys::fuzz_target!(
    init: kansoku_fuzz::quiet(),
    |bytes: &[u8]| {
        let dir = tempfile::tempdir().expect("a folder");
        let mut parts = bytes.splitn(2, |b| *b == SEPARATOR);
        let main = parts.next().unwrap_or_default();
        // Sections, commands and comments of the classic form begin so.
        let is_yaml = !matches!(main.trim_ascii_start(), [b'[' | b'@', ..]);
        let (name, other) = if is_yaml { ("main.yaml", "o.yaml") } else { ("main.conf", "o.conf") };
        let path = dir.path().join(name);
        std::fs::write(&path, main).expect("a file");
        std::fs::write(dir.path().join(other), parts.next().unwrap_or_default()).expect("a file");
        let outcome = load(&path);
        let said_first = said(&outcome);
        assert!(said_first.iter().all(|text| !text.is_empty()));
        if let Err(mistakes) = &outcome.result {
            assert!(!mistakes.is_empty());
            assert_eq!(said_first, said(&load(&path)));
        }
    }
);
