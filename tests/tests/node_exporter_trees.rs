//! `kansoku-agent node-exporter` on the trees that node_exporter's own end-to-end test reads, with
//! that test's flags: the whole exposition against a golden file. `UPDATE=1` rewrites it.

use std::fs;
use std::path::{Path, PathBuf};

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

#[test]
fn trees_give_what_the_golden_file_says() {
    let folder = unpacked();
    let flags = read(&fixtures().join("flags.txt"));
    let flags = flags.lines().filter(|line| !line.starts_with('#'));
    let text = kansoku_tests::drop_in::exposition(folder.path(), flags);
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
