//! `kansoku-agent node-exporter` on the trees that node_exporter's own end-to-end test reads, with
//! that test's flags: the whole exposition against a golden file. `UPDATE=1` rewrites it.

use std::fs;
use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

/// Families whose values are this machine's or this moment's.
const UNSTABLE: [&str; 8] = [
    "node_exporter_build_info",
    "node_scrape_collector_duration_seconds",
    "node_textfile_mtime_seconds",
    "node_time_seconds",
    "node_time_zone_offset_seconds",
    "node_network_receive_",
    "node_network_transmit_",
    "process_",
];

fn fixtures() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../fixtures/node_exporter")
}

fn read(path: &Path) -> String {
    fs::read_to_string(path).unwrap_or_else(|e| panic!("{}: {e}", path.display()))
}

fn unpacked() -> tempfile::TempDir {
    let folder = tempfile::tempdir().expect("a temporary folder");
    // The tests of node_exporter run in the root of its repository, and some labels are paths.
    let below = folder.path().join("collector/fixtures");
    for archive in ["proc", "sys", "udev", "other"] {
        let text = read(&fixtures().join(format!("{archive}.ttar")));
        kansoku_tests::ttar::unpack(&text, &below);
    }
    folder
}

/// Starts the program in the folder and scrapes it once.
fn exposition(folder: &Path) -> String {
    let flags = read(&fixtures().join("flags.txt"));
    let flags = flags.lines().filter(|line| !line.starts_with('#'));
    let mut command = Command::new(kansoku_tests::binary("kansoku-agent"));
    command
        .current_dir(folder)
        .arg("node-exporter")
        .args(flags)
        .arg("--web.listen-address=127.0.0.1:0")
        .stdin(Stdio::null())
        .stderr(Stdio::piped());
    let mut child = command.spawn().expect("the program starts");
    let mut log = BufReader::new(child.stderr.take().expect("standard error is a pipe"));
    let mut seen = String::new();
    let port: u16 = loop {
        let mut line = String::new();
        let n = log.read_line(&mut line).expect("the log is text");
        seen.push_str(&line);
        assert_ne!(n, 0, "the program ended: {seen}");
        if let Some((_, rest)) = line.split_once("listening on ") {
            let port = rest.trim().trim_matches('"').rsplit(':').next();
            break port.and_then(|p| p.parse().ok()).expect("a port");
        }
    };
    let reply = kansoku_tests::http::get(port, "/metrics");
    child.kill().expect("the program runs");
    child.wait().expect("the program ends");
    reply.expect("an answer").text()
}

#[test]
fn trees_give_what_the_golden_file_says() {
    let folder = unpacked();
    let text = exposition(folder.path());
    let is_stable = |line: &&str| {
        let name = line
            .strip_prefix("# HELP ")
            .or(line.strip_prefix("# TYPE "));
        let name = name.unwrap_or(line);
        !UNSTABLE.iter().any(|prefix| name.starts_with(prefix))
    };
    let lines: Vec<&str> = text.lines().filter(is_stable).collect();
    let text = lines.join("\n") + "\n";
    let expected = fixtures().join("expected.prom");
    if std::env::var_os("UPDATE").is_some() {
        fs::write(&expected, &text).expect("the golden file is written");
    }
    let golden = read(&expected);
    let mut pairs = text.lines().zip(golden.lines());
    if let Some((got, wanted)) = pairs.find(|(got, wanted)| got != wanted) {
        panic!("got\n{got}\nexpected\n{wanted}");
    }
    assert_eq!(text.len(), golden.len(), "one of the two goes on");
}
