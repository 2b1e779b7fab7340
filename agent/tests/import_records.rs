//! The records that Fluentd makes of its configurations, and those that the agent makes of the imported ones.
//!
//! What Fluentd printed stands in `fixtures/fluentd/records`, written there by `benches/peers/fluentd_import.py`.
//! Where the agent's records are others, the case holds them, and what the import has to say of it.

use std::path::{Path, PathBuf};
use std::process::Command;

use serde_json::Value;

/// A time that is nearer than this to the clock's is when a record was read.
const DAY_S: u64 = 86_400;

#[derive(Default)]
struct Case {
    name: String,
    configuration: String,
    files: Vec<(String, String)>,
    out: Vec<String>,
    told: Vec<String>,
    ours: Vec<String>,
}

fn cases(text: &str) -> Vec<Case> {
    let mut cases: Vec<Case> = Vec::new();
    let mut part = String::new();
    for line in text.lines() {
        if let Some(name) = line.strip_prefix("=== ") {
            cases.push(Case {
                name: name.to_owned(),
                ..Case::default()
            });
            part.clear();
            continue;
        }
        let case = cases.last_mut().expect("a case");
        if let Some(name) = line.strip_prefix("--- ") {
            name.clone_into(&mut part);
            if let Some(file) = name.strip_prefix("in ") {
                case.files.push((file.to_owned(), String::new()));
            }
            continue;
        }
        match part.as_str() {
            "" => case.configuration.push_str(&format!("{line}\n")),
            "out" | "told" | "ours" if line.is_empty() => {}
            "out" => case.out.push(line.to_owned()),
            "told" => case.told.push(line.to_owned()),
            "ours" => case.ours.push(line.to_owned()),
            _ => {
                let (_, content) = case.files.last_mut().expect("a file");
                content.push_str(&format!("{line}\n"));
            }
        }
    }
    cases
}

fn agent(folder: &Path) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_kansoku-agent"));
    command
        .current_dir(folder)
        .env_clear()
        .env("TZ", "UTC")
        .env("SET", "set")
        .env("KUBECONFIG", "/nonexistent")
        .env("HOME", "/nonexistent");
    command
}

/// The result with a state folder of its own, inputs that end, and outputs that show tag and time.
fn prepared(text: &str, folder: &str) -> String {
    let text = text
        .replace("/var/lib/kansoku", folder)
        .replace("    Path ", "    Exit_on_Eof on\n    Path ");
    let mut parts = text.split("[OUTPUT]\n");
    let mut out = parts.next().unwrap_or_default().to_owned();
    for part in parts {
        out.push_str("[OUTPUT]\n");
        for line in part.lines() {
            match line.split_whitespace().collect::<Vec<_>>().as_slice() {
                ["Name", "stdout"] => out.push_str(&format!(
                    "    Name file\n    Path {folder}\n    File out.txt\n    Format out_file\n"
                )),
                ["Format", "json_lines"] | ["json_date_key", _] => {}
                _ => out.push_str(&format!("{line}\n")),
            }
        }
    }
    out
}

/// A record in one form, places and times of the run taken out: `tag: [seconds, {…}]`.
fn shown(tag: &str, seconds: &str, record: &str, folder: &str) -> String {
    let tag = tag.replace(&folder.trim_matches('/').replace('/', "."), "DIR");
    let record: Value = serde_json::from_str(&record.replace(folder, "DIR")).expect(record);
    let whole: u64 = seconds
        .split('.')
        .next()
        .and_then(|s| s.parse().ok())
        .unwrap_or(0);
    let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH);
    let is_now = now.expect("a clock").as_secs().abs_diff(whole) < DAY_S;
    format!(
        "{tag}: [{}, {record}]",
        if is_now { "now" } else { seconds }
    )
}

/// A line as the output `file` writes it, or as a case holds it.
fn parsed(line: &str) -> Option<(&str, &str, &str)> {
    let (tag, rest) = line.split_once(": [")?;
    let (seconds, record) = rest.strip_suffix(']')?.split_once(", ")?;
    Some((tag, seconds, record))
}

/// What the import says, and the records of the agent.
fn run(case: &Case) -> (String, Vec<String>) {
    // Without a point in its name, which would be one of the tag's.
    let folder = tempfile::Builder::new().prefix("case").tempdir();
    let folder = folder.expect("a folder");
    let place = folder.path().to_str().expect("a name");
    let write = |name: &str, content: &str| {
        let path = folder.path().join(name);
        std::fs::create_dir_all(path.parent().expect("a folder")).expect("a folder");
        std::fs::write(path, content.replace("DIR", place)).expect("written");
    };
    for (name, content) in &case.files {
        write(name, content);
    }
    write("fluent.conf", &case.configuration);
    let args = ["import", "fluentd", "fluent.conf", "--output", "ours"];
    let import = agent(folder.path()).args(args).output().expect("it runs");
    let told = String::from_utf8_lossy(&import.stderr).into_owned();
    assert!(import.status.success(), "{}: {told}", case.name);
    let main = folder.path().join("ours/kansoku.conf");
    let text = std::fs::read_to_string(&main).expect("the result");
    std::fs::write(&main, prepared(&text, place)).expect("written");
    let out = agent(&folder.path().join("ours"))
        .args(["-c", "kansoku.conf"])
        .output()
        .expect("it runs");
    let errors = String::from_utf8_lossy(&out.stderr);
    assert!(out.status.success(), "{}: {errors}\n{text}", case.name);
    let lines = std::fs::read_to_string(folder.path().join("out.txt")).unwrap_or_default();
    let one = |line| {
        let (tag, seconds, record) = parsed(line).expect(line);
        shown(tag, seconds, record, place)
    };
    let mut records: Vec<String> = lines.lines().map(one).collect();
    records.sort();
    (told, records)
}

/// The lines of a case, with their fields in the order of this test's.
fn expected(case: &Case) -> Vec<String> {
    let lines = if case.told.is_empty() {
        &case.out
    } else {
        &case.ours
    };
    let one = |line: &String| {
        let (tag, seconds, record) = parsed(line).expect(line);
        shown(tag, seconds, record, "DIR")
    };
    let mut lines: Vec<String> = lines.iter().map(one).collect();
    lines.sort();
    lines
}

fn check(name: &str) {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../fixtures/fluentd/records");
    let path: PathBuf = folder.join(name);
    let cases = cases(&std::fs::read_to_string(&path).expect("the cases"));
    let mut wrong = Vec::new();
    for case in &cases {
        let (told, found) = run(case);
        let expected = expected(case);
        if found != expected {
            let (found, expected) = (found.join("\n"), expected.join("\n"));
            wrong.push(format!(
                "{}:\n{found}\nis not\n{expected}\n{told}",
                case.name
            ));
        }
        if !case.told.is_empty() && case.ours == case.out {
            wrong.push(format!("{}: told of, and no difference", case.name));
        }
        for message in &case.told {
            if !told.contains(message) {
                wrong.push(format!("{}: not told: {message}\n{told}", case.name));
            }
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n\n"));
}

#[test]
fn inputs_and_parsers_give_fluentds_records() {
    check("tail.cases");
}

#[test]
fn filters_give_fluentds_records() {
    check("filters.cases");
}

#[test]
fn routes_give_fluentds_records() {
    check("routes.cases");
}
