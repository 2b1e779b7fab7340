//! Backups of the real program: taken while it takes data in, incremental, restored into another folder
//! with the same answers; damage of the backup and of the store is found.

use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use kansoku_tests::aggregator::Aggregator;
use kansoku_tests::pods::now_ns;
use kansoku_tests::{binary, http};

fn push(port: u16, time_ns: i64, lines: std::ops::Range<u32>) {
    let line = |n| format!("line {n} of a log that is backed up, with some more words");
    let values: Vec<_> = lines
        .map(|n| serde_json::json!([(time_ns + i64::from(n)).to_string(), line(n)]))
        .collect();
    let body = serde_json::json!({"streams": [{"stream": {"app": "a"}, "values": values}]});
    let headers = [("Content-Type", "application/json")];
    let body = body.to_string();
    let reply = http::post(port, "/loki/api/v1/push", &headers, body.as_bytes());
    assert_eq!(reply.expect("the aggregator answers").status, 204);
}

fn tool(arguments: &[&str]) -> Output {
    let output = Command::new(binary("kansoku-aggregator"))
        .args(arguments)
        .output();
    output.expect("the program starts")
}

#[track_caller]
fn good(arguments: &[&str]) -> String {
    let output = tool(arguments);
    let errors = String::from_utf8_lossy(&output.stderr);
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    assert!(output.status.success(), "{arguments:?}: {text} {errors}");
    text
}

#[track_caller]
fn bad(arguments: &[&str]) -> String {
    let output = tool(arguments);
    assert_eq!(output.status.code(), Some(1), "{arguments:?}");
    String::from_utf8_lossy(&[output.stdout, output.stderr].concat()).into_owned()
}

/// What is asked of a store and of its copy.
fn answers(aggregator: &Aggregator, time_ns: i64) -> Vec<String> {
    let (start, end) = (
        time_ns.to_string(),
        (time_ns + 3_600_000_000_000).to_string(),
    );
    let lines = [
        ("query", "{app=\"a\"}"),
        ("start", &start),
        ("end", &end),
        ("limit", "5000"),
    ];
    let logs = aggregator.get("/loki/api/v1/query_range", &lines).json();
    let streams = logs["data"]["result"].to_string();
    let time = (time_ns / 1_000_000_000 + 5).to_string();
    let up = [
        ("query", "{__name__=~\"up|kansoku.*\"}[1h]"),
        ("time", &time),
    ];
    let metrics = aggregator.get("/api/v1/query", &up).json();
    vec![streams, metrics["data"]["result"].to_string()]
}

fn largest(folder: &Path) -> PathBuf {
    let files = std::fs::read_dir(folder)
        .expect("a folder")
        .map(|f| f.expect("a file").path());
    let size = |p: &PathBuf| std::fs::metadata(p).map_or(0, |m| m.len());
    files.max_by_key(size).expect("there are files")
}

fn flip_a_byte(path: &Path) {
    let mut bytes = std::fs::read(path).expect("the file is there");
    let at = bytes.len() / 2;
    bytes[at] ^= 1;
    std::fs::write(path, bytes).expect("the folder is ours");
}

#[test]
fn a_restored_backup_gives_the_same_answers() {
    let folder = tempfile::tempdir().expect("a folder");
    let path = |name: &str| folder.path().join(name).display().to_string();
    let (store, copies, restored) = (path("store"), path("copies"), path("restored/store"));
    let mut aggregator = Aggregator::new(folder.path(), &[]);
    aggregator.start();
    let time_ns = now_ns() - 60_000_000_000;
    push(aggregator.port, time_ns, 0..500);
    aggregator.end();
    aggregator.start();
    push(aggregator.port, time_ns, 500..600);
    let board = "/api/v1/dashboards/my_board";
    for title in ["one", "two"] {
        let text = format!("{{\"title\":\"{title}\"}}");
        let any = if title == "one" {
            ("If-None-Match", "*")
        } else {
            ("If-Match", "*")
        };
        let reply = http::send("PUT", aggregator.port, board, &[any], text.as_bytes());
        assert_eq!(reply.expect("the aggregator answers").status, 200);
    }
    let from_store = ["--storage.path", &store];
    let to_copies = ["--to", &copies];
    let first = good(&[&["backup"][..], &from_store, &to_copies].concat());
    assert!(first.starts_with("backup 20"), "{first}");
    assert!(bad(&[&["check"][..], &from_store].concat()).contains("in use"));
    push(aggregator.port, time_ns, 600..700);
    let second = good(&[&["backup"][..], &from_store, &to_copies].concat());
    let new = |text: &str| -> u64 {
        let tail = text.split("of which ").nth(1).expect("a size");
        tail.split(' ')
            .next()
            .and_then(|n| n.parse().ok())
            .expect("a number")
    };
    assert!(new(&first) > 0, "{first}");
    let total: u64 = second
        .split("files of ")
        .nth(1)
        .and_then(|t| t.split(' ').next())
        .and_then(|n| n.parse().ok())
        .expect("a size");
    assert!(new(&second) < total, "parts are not sent again: {second}");
    aggregator.end();
    let inspected = good(&[&["inspect"][..], &from_store].concat());
    assert!(inspected.contains("{app=\"a\", "), "{inspected}");
    // Whoever reads may go early, as head does; a disk that is full is told.
    let (reader, writer) = std::io::pipe().expect("a pipe");
    drop(reader);
    let full = std::fs::File::create("/dev/full").expect("Linux has it");
    for (stdout, code, told) in [
        (std::process::Stdio::from(writer), 0, ""),
        (
            full.into(),
            1,
            "failed to write to the standard output: No space left",
        ),
    ] {
        let mut inspect = Command::new(binary("kansoku-aggregator"));
        inspect.arg("inspect").args(from_store).stdout(stdout);
        let output = inspect.stderr(std::process::Stdio::piped()).spawn();
        let output = output.and_then(std::process::Child::wait_with_output);
        let output = output.expect("the program runs");
        let errors = String::from_utf8_lossy(&output.stderr);
        assert!(
            output.status.code() == Some(code)
                && errors.contains(told)
                && !errors.contains("panic"),
            "{errors}"
        );
    }
    assert!(good(&[&["check"][..], &from_store].concat()).contains("all is well"));

    let from = ["--from", &copies];
    let into = ["--storage.path", &restored];
    let done = good(&[&["restore"][..], &from, &into].concat());
    assert!(
        done.contains("restored and verified") && done.contains("all is well"),
        "{done}"
    );
    let refused = bad(&[&["restore"][..], &from, &into].concat());
    assert!(refused.contains("is not empty"), "{refused}");
    let listed = good(&[&["restore", "--list"][..], &from].concat());
    assert_eq!(listed.lines().count(), 2, "{listed}");

    aggregator.start();
    let expected = answers(&aggregator, time_ns);
    aggregator.end();
    let mut copy = Aggregator::new(&folder.path().join("restored"), &[]);
    copy.start();
    let found = answers(&copy, time_ns);
    let kept = copy.get(board, &[]).json();
    assert_eq!(kept["data"]["document"]["title"], "two");
    assert_eq!(
        copy.get(board, &[("version", "1")]).json()["data"]["title"],
        "one"
    );
    copy.end();
    assert_eq!(found[0].matches("line ").count(), 700);
    assert_eq!(found[0], expected[0]);
    // Metrics of its own that each wrote after the backup are newer than the asked time.
    assert_eq!(found[1], expected[1]);

    flip_a_byte(&largest(&folder.path().join("copies/data")));
    let elsewhere = path("elsewhere");
    let damaged = bad(&[&["restore"][..], &from, &["--storage.path", &elsewhere]].concat());
    assert!(damaged.contains("of the backup is damaged"), "{damaged}");
    assert!(
        !folder.path().join("elsewhere/MANIFEST").exists(),
        "no store"
    );
    flip_a_byte(&largest(&folder.path().join("restored/store/parts")));
    let damaged = bad(&[&["check"][..], &into].concat());
    assert!(
        damaged.contains("damaged: ") && damaged.contains("/parts/"),
        "{damaged}"
    );
}
