//! Rules of the tree that a machine can check: who may import whom, what may touch files, sockets
//! and clocks, and that every source file says at its top what it is.

use std::fs;
use std::path::{Path, PathBuf};

/// Which kansoku crates each crate may use.
const IMPORTS: &[(&str, &[&str])] = &[
    ("model", &[]),
    ("parsers", &["model"]),
    ("web", &[]),
    ("outputs", &["model", "web"]),
    ("agent", &["model", "parsers", "outputs", "web"]),
    ("store", &["model"]),
    ("query", &["model", "parsers"]),
    ("aggregator", &["model", "parsers", "store", "query", "web"]),
    // A client of HTTP APIs: what it needs of the others it asks over the network.
    ("cli", &[]),
];

/// Words that code of a crate (outside its tests) must not contain, and why.
const BANNED: &[(&str, &[&str], &str)] = &[
    (
        "model",
        &[
            "std::fs",
            "std::net",
            "tokio",
            "SystemTime",
            "Instant::now",
            "std::env",
        ],
        "the model is pure data",
    ),
    (
        "parsers",
        &[
            "std::fs",
            "std::net",
            "tokio",
            "SystemTime",
            "Instant::now",
            "std::env",
            "Timestamp::now",
        ],
        "parsing takes bytes and returns values",
    ),
    (
        "store",
        &[
            "std::net",
            "tokio",
            "hyper",
            "serde_json",
            "SystemTime",
            "Timestamp::now",
        ],
        "the store knows neither network nor JSON nor the time of day",
    ),
    (
        "query",
        &[
            "std::fs",
            "std::net",
            "tokio",
            "SystemTime",
            "Timestamp::now",
            "std::env",
        ],
        "a query works on what it is given; now is an argument",
    ),
];

/// The only files that may hold unsafe code: one call each of adjtimex(2), ioctl(2) (of btrfs and of
/// ethtool), perf_event_open(2) and madvise(2), for which there is no safe form.
const UNSAFE_FILES: &[&str] = &[
    "agent/src/collectors/adjtimex.rs",
    "agent/src/collectors/btrfs_ioctl.rs",
    "agent/src/collectors/ethtool_ioctl.rs",
    "agent/src/collectors/perf_event.rs",
    "agent/src/resident.rs",
];

/// The only file of the store that may touch the disk.
const STORE_DISK_FILE: &str = "store/src/fs.rs";

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .parent()
        .expect("the tests crate lies in the tree")
        .to_owned()
}

/// Every Rust file below `folder`, with its path from the root and its text.
fn rust_files(folder: &str) -> Vec<(String, String)> {
    fn walk(folder: &Path, out: &mut Vec<PathBuf>) {
        let Ok(entries) = fs::read_dir(folder) else {
            return;
        };
        for entry in entries.flatten() {
            let path = entry.path();
            let name = entry.file_name();
            if path.is_dir() && name != "target" && name != "node_modules" {
                walk(&path, out);
            } else if path.extension().is_some_and(|e| e == "rs") {
                out.push(path);
            }
        }
    }
    let mut paths = Vec::new();
    walk(&root().join(folder), &mut paths);
    paths.sort();
    assert!(!paths.is_empty(), "no source files below {folder}");
    paths
        .into_iter()
        .map(|path| {
            let text = fs::read_to_string(&path).expect("source is UTF-8");
            let name = path.strip_prefix(root()).expect("below the root");
            (name.display().to_string(), text)
        })
        .collect()
}

/// The lines of code before the tests at the bottom of the file, without comments.
fn code(text: &str) -> impl Iterator<Item = (usize, &str)> {
    text.lines()
        .enumerate()
        .take_while(|(_, line)| !line.starts_with("#[cfg(test)]") && !line.starts_with("mod tests"))
        .filter(|(_, line)| !line.trim_start().starts_with("//"))
        .map(|(at, line)| (at + 1, line))
}

fn is_test_file(name: &str) -> bool {
    name.contains("/tests/") || name.ends_with("/tests.rs")
}

#[test]
fn crates_import_only_what_the_design_allows() {
    let mut wrong = Vec::new();
    for (krate, allowed) in IMPORTS {
        let manifest = fs::read_to_string(root().join(krate).join("Cargo.toml")).expect("manifest");
        let runtime = manifest
            .split("[dev-dependencies]")
            .next()
            .unwrap_or_default();
        for line in runtime.lines() {
            let Some(rest) = line.strip_prefix("kansoku-") else {
                continue;
            };
            let other = rest.split(['.', ' ', '=']).next().unwrap_or_default();
            if !allowed.contains(&other) {
                wrong.push(format!(
                    "{krate}/Cargo.toml: {krate} must not depend on {other}"
                ));
            }
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn crates_touch_only_what_the_design_allows() {
    let mut wrong = Vec::new();
    for (krate, words, why) in BANNED {
        for (name, text) in rust_files(&format!("{krate}/src")) {
            if is_test_file(&name) {
                continue;
            }
            for (at, line) in code(&text) {
                for word in *words {
                    if line.contains(word) {
                        wrong.push(format!("{name}:{at}: {word}: {why}"));
                    }
                }
            }
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn only_one_file_of_the_store_touches_the_disk() {
    let mut wrong = Vec::new();
    for (name, text) in rust_files("store/src") {
        if name == STORE_DISK_FILE || name.starts_with("store/src/fs/") || is_test_file(&name) {
            continue;
        }
        for (at, line) in code(&text) {
            if line.contains("std::fs") || line.contains("nix::") {
                wrong.push(format!("{name}:{at}: go through {STORE_DISK_FILE}"));
            }
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn every_source_file_opens_with_a_module_paragraph() {
    let mut wrong = Vec::new();
    for folder in [
        "model",
        "parsers",
        "web",
        "outputs",
        "agent",
        "store",
        "query",
        "aggregator",
        "cli",
        "tests",
        "benches",
        "fuzz",
    ] {
        for (name, text) in rust_files(folder) {
            if !text.starts_with("//! ") {
                wrong.push(format!("{name}: the first line must start with `//! `"));
            }
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn unsafe_code_stays_in_named_files() {
    let mut wrong = Vec::new();
    for (krate, _) in IMPORTS {
        for (name, text) in rust_files(&format!("{krate}/src")) {
            let has_unsafe = code(&text).any(|(_, line)| {
                line.contains("unsafe {")
                    || line.contains("unsafe fn")
                    || line.contains("unsafe impl")
            });
            if has_unsafe && !UNSAFE_FILES.contains(&name.as_str()) {
                wrong.push(format!(
                    "{name}: unsafe code, but not listed in UNSAFE_FILES"
                ));
            }
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn nothing_is_left_unfinished() {
    let mut wrong = Vec::new();
    for (krate, _) in IMPORTS {
        for (name, text) in rust_files(&format!("{krate}/src")) {
            for (at, line) in text.lines().enumerate() {
                for word in ["todo!(", "unimplemented!(", "#[ignore", "TODO", "FIXME"] {
                    if line.contains(word) {
                        wrong.push(format!("{name}:{}: {word}", at + 1));
                    }
                }
            }
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}
