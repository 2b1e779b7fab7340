//! Configurations by example: fixtures/config/*.case, a file of texts and what becomes of them.
//!
//! A case file starts with the main configuration; `--- NAME` starts another file beside it and
//! `=== expected` what the agent makes of it. The cases of yaml.case are YAML. UPDATE=1 rewrites the last part.

use std::fmt::Write;
use std::path::{Path, PathBuf};

use super::*;
use crate::command_line;

fn folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../fixtures/config")
}

fn show(outcome: &Outcome, root: &str) -> String {
    let mut out = String::new();
    for warning in &outcome.warnings {
        writeln!(out, "warning {warning}").expect("text");
    }
    match &outcome.result {
        Err(mistakes) => {
            for m in mistakes {
                writeln!(
                    out,
                    "{} {}",
                    if m.in_plugin { "refused" } else { "error" },
                    m.error
                )
                .expect("text");
            }
        }
        Ok(c) => {
            writeln!(
                out,
                "service flush={:?} grace={:?} http={} storage={}",
                c.service.flush,
                c.service.grace,
                c.service
                    .http
                    .map_or_else(|| "off".into(), |a| a.to_string()),
                c.service
                    .storage_path
                    .as_ref()
                    .map_or_else(|| "none".into(), |p| p.display().to_string())
            )
            .expect("text");
            for (i, own) in c.pipeline.inputs.iter().zip(&c.inputs) {
                let keys: Vec<String> = own
                    .settings
                    .iter()
                    .map(|s| format!("{}={}", s.key, s.value))
                    .collect();
                writeln!(
                    out,
                    "input {} tag={} mem_buf_limit={:?} {}",
                    i.name,
                    i.tag,
                    i.mem_buf_limit,
                    keys.join(" ")
                )
                .expect("text");
                for p in &i.processors {
                    writeln!(out, "  processor {}", p.name).expect("text");
                }
            }
            for f in &c.pipeline.filters {
                writeln!(out, "filter {} {:?}", f.name, f.matches).expect("text");
            }
            for o in &c.pipeline.outputs {
                writeln!(
                    out,
                    "output {} {:?} retries={:?} workers={}",
                    o.name, o.matches, o.retry.limit, o.workers
                )
                .expect("text");
                for p in &o.processors {
                    writeln!(out, "  processor {}", p.name).expect("text");
                }
            }
        }
    }
    without_lists(&out.replace(&format!("{root}/"), ""))
}

/// Lists of what is known change with every plugin; the cases are not about them.
fn without_lists(text: &str) -> String {
    let mut out = String::new();
    for line in text.lines() {
        let (head, list) = line.split_once("known: ").unwrap_or((line, ""));
        let rest = list.split_once(')').map_or("", |(_, rest)| rest);
        out += head;
        match (list.is_empty(), head.ends_with('(')) {
            (true, _) => {}
            (_, true) => out += &format!("known){rest}"),
            (_, false) => out += "known: all",
        }
        out.push('\n');
    }
    out
}

fn run(input: &str, main: &str) -> String {
    let dir = tempfile::tempdir().expect("a folder");
    let root = dir.path().to_str().expect("a name").to_owned();
    for (i, part) in input.split("\n--- ").enumerate() {
        let (name, text) = if i == 0 {
            (main, part)
        } else {
            part.split_once('\n').expect("a name and a text")
        };
        std::fs::write(
            dir.path().join(name),
            text.replace("ROOT", &root).replace("\\t", "\t"),
        )
        .expect("written");
    }
    let invocation = Invocation {
        config_file: Some(format!("{root}/{main}")),
        ..Invocation::default()
    };
    show(&load(&invocation), &root)
}

#[test]
fn cases() {
    let mut n = 0;
    let mut paths: Vec<PathBuf> = std::fs::read_dir(folder())
        .expect("fixtures/config")
        .map(|e| e.expect("an entry").path())
        .collect();
    paths.sort();
    for path in paths
        .iter()
        .filter(|p| p.extension().is_some_and(|e| e == "case"))
    {
        let text = std::fs::read_to_string(path).expect("a case file");
        let is_yaml = path.file_stem().is_some_and(|name| name == "yaml");
        let main = if is_yaml { "main.yaml" } else { "main.conf" };
        let mut rewritten = String::new();
        for case in text.split("\n##### ").enumerate().map(|(i, c)| {
            if i == 0 {
                c.trim_start_matches("##### ")
            } else {
                c
            }
        }) {
            let (title, rest) = case.split_once('\n').expect("a title");
            let (input, expected) = rest.split_once("\n=== expected").unwrap_or((rest, ""));
            let got = run(input, main);
            write!(rewritten, "##### {title}\n{input}\n=== expected\n{got}\n").expect("text");
            n += 1;
            if std::env::var_os("UPDATE").is_none() {
                assert_eq!(got.trim(), expected.trim(), "{}: {title}", path.display());
            }
        }
        if std::env::var_os("UPDATE").is_some() {
            std::fs::write(path, rewritten).expect("the case file can be written");
        }
    }
    assert!(n >= 20, "only {n} cases were found");
}

#[test]
fn the_running_file_is_known_by_its_text_and_its_includes() {
    let folder = tempfile::tempdir().expect("a folder");
    let path = |name: &str| folder.path().join(name).to_string_lossy().into_owned();
    let hash = |included: &str| {
        std::fs::write(path("in.conf"), included).expect("ours");
        let main = "@INCLUDE in.conf\n[OUTPUT]\n    name null\n    match ${KANSOKU_NO_SUCH}*\n";
        std::fs::write(path("main.conf"), main).expect("ours");
        let args = ["-c".to_owned(), path("main.conf")];
        let command_line::CommandLine::Run(invocation) = command_line::parse(args).expect("valid")
        else {
            panic!("runs")
        };
        let built = load(&invocation).result.unwrap_or_else(|_| panic!("valid"));
        let file = built.pipeline.config_file.expect("a file");
        assert_eq!(file.path, path("main.conf"));
        assert_eq!(file.sha256.len(), 12);
        file.sha256
    };
    let first = hash("[INPUT]\n    name dummy\n");
    assert_eq!(hash("[INPUT]\n    name dummy\n"), first);
    assert_ne!(hash("[INPUT]\n    name dummy\n    rate 2\n"), first);
}

#[test]
fn the_command_line_wins_and_one_pair_needs_no_match() {
    let args = "-i dummy -p rate=2 -o null -f 3 -q";
    let command_line::CommandLine::Run(invocation) =
        command_line::parse(args.split(' ').map(str::to_owned)).expect("valid")
    else {
        panic!("runs")
    };
    let shown = show(&load(&invocation), "");
    assert_eq!(
        shown,
        "service flush=3s grace=5s http=off storage=none\ninput dummy.0 tag=dummy.0 mem_buf_limit=None rate=2\noutput null.0 \"*\" retries=None workers=1\n"
    );
}
