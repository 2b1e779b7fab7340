//! Any text as a file that the main configuration names, classic or YAML: parsers, multiline parsers,
//! upstream servers, plugins, streams. It is read or refused with its place, and what works in one
//! reading works in the next.
#![no_main]

use kansoku_agent::command_line::Invocation;
use kansoku_agent::config;
use kansoku_parsers::line::builtin;

/// Around the file's name.
const MAINS: [(&str, &str); 4] = [
    ("[SERVICE]\n  parsers_file ", "\n[INPUT]\n  name dummy\n"),
    (
        "[INPUT]\n  name dummy\n[OUTPUT]\n  name forward\n  match *\n  upstream ",
        "\n",
    ),
    ("[SERVICE]\n  plugins_file ", "\n[INPUT]\n  name dummy\n"),
    ("[SERVICE]\n  streams_file ", "\n[INPUT]\n  name dummy\n"),
];

libfuzzer_sys::fuzz_target!(init: kansoku_fuzz::quiet(), |bytes: &[u8]| {
    let Some((&kind, text)) = bytes.split_first() else {
        return;
    };
    let dir = tempfile::tempdir().expect("a folder");
    let other = if kind & 4 == 0 { "o.conf" } else { "o.yaml" };
    let other = dir.path().join(other);
    std::fs::write(&other, text).expect("a file");
    let (before, after) = MAINS[usize::from(kind & 3)];
    let main = dir.path().join("main.conf");
    std::fs::write(&main, format!("{before}{}{after}", other.display())).expect("a file");
    let load = || {
        let outcome = config::load(&Invocation {
            config_file: Some(main.to_string_lossy().into_owned()),
            ..Invocation::default()
        });
        let warnings = outcome.warnings.iter().map(ToString::to_string);
        let warnings: Vec<String> = warnings.collect();
        match outcome.result {
            Ok(configuration) => {
                let parsers = &configuration.environment.parsers;
                // The built-in ones have a target of their own.
                let known = parsers.names().filter(|n| builtin::names().all(|b| b != *n));
                let mut names: Vec<String> = known.map(str::to_owned).collect();
                names.sort_unstable();
                for name in &names {
                    assert!(parsers.get(name).is_some(), "{name} is built");
                }
                (warnings, Ok(names))
            }
            Err(mistakes) => {
                let mistakes = mistakes.iter().map(|m| m.error.to_string());
                (warnings, Err(mistakes.collect::<Vec<_>>()))
            }
        }
    };
    assert_eq!(load(), load());
});
