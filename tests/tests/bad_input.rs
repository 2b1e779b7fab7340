//! What must not happen, happening to the real programs: each ends in a clear error or a counted
//! outcome, written down in docs/bad_input.md, and never in a crash or in silent loss.

use std::fs::{self, File};
use std::io::{Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};
use std::time::Duration;

use kansoku_tests::aggregator::{Aggregator, metric};
use kansoku_tests::http;
use kansoku_tests::pods::{ContainerLog, now_ns, service, shipping};
use kansoku_tests::program::{Program, free_port, wait_for, wait_for_equal};
use kansoku_tests::random::Random;
use kansoku_tests::sink::{Behaviour, Sink};

const MINUTE_NS: i64 = 60_000_000_000;
const JSON: (&str, &str) = ("content-type", "application/json");

/// A value of the agent's `/metrics`; `None` while it is not there.
fn agent_metric(port: u16, series: &str) -> Option<f64> {
    let reply = http::get(port, "/metrics").ok()?;
    metric(&reply.text(), series)
}

fn count(aggregator: &Aggregator, selector: &str) -> u64 {
    aggregator.counts(selector).values().sum()
}

/// Fills the disk that `folder` lies on, as a program sees it.
fn fill_disk(folder: &Path) -> PathBuf {
    let path = folder.join("ballast");
    let mut file = File::create(&path).expect("the disk is writable");
    for size in [1 << 20, 1 << 12, 1] {
        while file.write_all(&vec![1; size]).is_ok() {}
    }
    path
}

#[test]
fn an_aggregator_that_is_away_costs_neither_lines_nor_memory() {
    let dir = tempfile::tempdir().expect("a folder");
    let root = dir.path();
    let mut log = ContainerLog::new(root, "away", "web-0", "app", now_ns() - 10 * MINUTE_NS);
    let mut aggregator = Aggregator::new(root, &[]);
    let port = free_port();
    let configuration = service(port) + &shipping(root, aggregator.port, "");
    let mut agent = Program::agent(root, &configuration);
    let text = "y".repeat(1000);
    let write_20_mb = |log: &mut ContainerLog| {
        (0..20_000).for_each(|n| log.line("stdout", format!("{n} {text}")));
        log.flush(usize::MAX);
    };
    write_20_mb(&mut log);
    agent.start();
    wait_for("a retry", || {
        let retries = agent_metric(port, r#"fluentbit_output_retries_total{name="kansoku.0"}"#)?;
        (retries >= 2.0).then_some(())
    });
    let paused = r#"fluentbit_input_ingestion_paused{name="tail.0"}"#;
    wait_for_equal(&Some(1.0), || agent_metric(port, paused));
    write_20_mb(&mut log);
    // Its name goes away, what the agent has open does not.
    assert!(agent.holds_open(&log.path));
    log.rotate();
    let rotated = log.path.with_file_name("0.log.20261121-000001");
    fs::remove_file(&rotated).expect("the rotated file is there");
    write_20_mb(&mut log);
    wait_for("the new file to be opened", || {
        agent.holds_open(&log.path).then_some(())
    });
    assert!(agent.holds_open(&rotated) && agent.is_running());
    let peak = agent.peak_rss_mib();
    assert!(peak < 150, "{peak} MiB for a buffer of 8 MiB");

    aggregator.start();
    wait_for_equal(&60_000, || count(&aggregator, r#"{namespace="away"}"#));
    wait_for_equal(&Some(0.0), || agent_metric(port, paused));
    wait_for("the removed file to be let go", || {
        (!agent.holds_open(&rotated)).then_some(())
    });
    assert_eq!(agent.terminate().code(), Some(0));
    assert_eq!(count(&aggregator, r#"{namespace="away"}"#), 60_000);
}

/// A push of one line of about 20 kB that does not compress.
fn push(aggregator: &Aggregator, random: &mut Random, time_ns: i64) -> u16 {
    let text: String = random
        .bytes(10_000)
        .iter()
        .map(|b| format!("{b:02x}"))
        .collect();
    let body = format!(
        r#"{{"streams":[{{"stream":{{"pod":"push","stream":"x"}},"values":[["{time_ns}","{text}"]]}}]}}"#
    );
    let reply = http::post(
        aggregator.port,
        "/loki/api/v1/push",
        &[JSON],
        body.as_bytes(),
    );
    let reply = reply.expect("the aggregator answers");
    if reply.status == 507 {
        assert!(reply.text().contains("no space left"), "{}", reply.text());
    }
    reply.status
}

#[test]
fn a_full_disk_refuses_and_recovers() {
    let dir = tempfile::tempdir().expect("a folder");
    let root = dir.path();
    let store = root.join("store");
    fs::create_dir(&store).expect("the folder is ours");
    let mut aggregator = Aggregator::new(root, &[]);
    if !aggregator.program.on_small_disk(&store, 64) {
        eprintln!("skipped: this system allows no mounts of one's own");
        return;
    }
    aggregator.start();
    let mut random = Random::new(3);
    let start_ns = now_ns() - 10 * MINUTE_NS;
    assert_eq!(push(&aggregator, &mut random, start_ns), 204);
    let ballast = fill_disk(&aggregator.program.sees(&store));
    // What was begun may fit into its last page; then it is full.
    let mut kept = 1;
    let mut refused = 0;
    for n in 1..=20 {
        match push(&aggregator, &mut random, start_ns + n) {
            204 => kept += 1,
            507 => refused += 1,
            other => panic!("status {other}"),
        }
    }
    assert!(refused >= 18, "{refused}");
    // An agent waits; nothing is lost meanwhile.
    let mut log = ContainerLog::new(root, "full", "web-0", "app", start_ns);
    (0..2000).for_each(|n| log.line("stdout", format!("{n} {}", random.number())));
    log.flush(usize::MAX);
    let port = free_port();
    let mut agent = Program::agent(
        root,
        &(service(port) + &shipping(root, aggregator.port, "")),
    );
    agent.start();
    agent.wait_to_say("507 Insufficient Storage");
    // Queries and health do not need the disk.
    assert_eq!(count(&aggregator, r#"{pod="push"}"#), kept);
    assert_eq!(aggregator.get("/-/ready", &[]).status, 200);
    assert!(
        aggregator.metric(r#"kansoku_ingest_failed_requests_total{protocol="loki"}"#) >= Some(18.0)
    );
    aggregator
        .program
        .wait_to_say("no space left on the disk of the store");

    fs::remove_file(ballast).expect("the ballast is ours");
    wait_for_equal(&2000, || count(&aggregator, r#"{pod="web-0"}"#));
    assert_eq!(push(&aggregator, &mut random, start_ns + 100), 204);
    assert_eq!(count(&aggregator, r#"{pod="push"}"#), kept + 1);
    let dropped = r#"fluentbit_output_dropped_records_total{name="kansoku.0"}"#;
    assert_eq!(agent_metric(port, dropped), Some(0.0));
    assert_eq!(agent.terminate().code(), Some(0));
    aggregator.end();
}

#[test]
fn a_full_disk_for_offsets_and_dead_letters_loses_nothing_silently() {
    let dir = tempfile::tempdir().expect("a folder");
    let root = dir.path();
    let sink = Sink::start();
    let state = root.join("state");
    let port = free_port();
    let configuration = service(port).replace(
        "[SERVICE]\n",
        &format!("[SERVICE]\n    storage.path {}\n", state.display()),
    ) + &shipping(root, sink.port, "");
    let mut agent = Program::agent(root, &configuration);
    if !agent.on_small_disk(&state, 4) {
        eprintln!("skipped: this system allows no mounts of one's own");
        return;
    }
    let time_ns = now_ns() - 10 * MINUTE_NS;
    let mut logs = vec![ContainerLog::new(root, "full", "web-0", "app", time_ns)];
    let write = |log: &mut ContainerLog, n: usize| {
        let first = log.written.len();
        (first..first + n).for_each(|n| {
            let text = format!("{} {n}", log.pod);
            log.line("stdout", text);
        });
        log.flush(usize::MAX);
    };
    write(&mut logs[0], 100);
    agent.start();
    sink.wait_for(100);
    let ballast = fill_disk(&agent.sees(&state));
    write(&mut logs[0], 100);
    // A file whose row cannot be stored waits or is read: either way it is told, and nothing is lost.
    logs.push(ContainerLog::new(root, "full", "web-1", "app", time_ns));
    write(&mut logs[1], 100);
    agent.wait_to_say("cannot write the offset database");
    assert!(agent.is_running());
    fs::remove_file(ballast).expect("the ballast is ours");
    let expected = |logs: &[ContainerLog]| -> Vec<String> {
        let lines = logs.iter().flat_map(|log| &log.written);
        lines.map(|line| line.text.clone()).collect()
    };
    sink.wait_for(300);
    sink.assert_holds(&expected(&logs));

    // Refused for ever while there is no room for dead letters: dropped, counted and told.
    let ballast = fill_disk(&agent.sees(&state));
    sink.behave(Behaviour::Refuse(400));
    let kept = expected(&logs);
    write(&mut logs[0], 10);
    let dropped = r#"fluentbit_output_dropped_records_total{name="kansoku.0"}"#;
    wait_for_equal(&Some(10.0), || agent_metric(port, dropped));
    agent.wait_to_say("dropped, as dead letters cannot be written");
    let letters = r#"kansoku_agent_output_dead_letter_records_total{name="kansoku.0"}"#;
    assert_eq!(agent_metric(port, letters), Some(0.0));
    fs::remove_file(ballast).expect("the ballast is ours");
    // With room they are kept.
    write(&mut logs[0], 5);
    wait_for_equal(&Some(5.0), || agent_metric(port, letters));
    assert!(agent.sees(&state.join("rejected/kansoku.0.jsonl")).exists());
    sink.assert_holds(&kept);
    assert_eq!(agent.terminate().code(), Some(0));
}

/// What no client sends.
fn garbage(random: &mut Random) -> Vec<Vec<u8>> {
    let mut all: Vec<Vec<u8>> = (0..40).map(|n| random.bytes(n * 97)).collect();
    let long = "a".repeat(1 << 20);
    let many: String = (0..5000).map(|n| format!("X-{n}: {n}\r\n")).collect();
    let texts = [
        "GET".to_owned(),
        "GET / HTTP/1.1\r\n".to_owned(),
        "GET / HTTP/9.9\r\n\r\n".to_owned(),
        "GET /metrics HTTP/1.1\r\nHost: x\r\nContent-Length: -1\r\n\r\n".to_owned(),
        "POST /api/v1/frames HTTP/1.1\r\nHost: x\r\nContent-Length: 99999999999999999999\r\n\r\nx".to_owned(),
        "POST /api/v1/write HTTP/1.1\r\nHost: x\r\nContent-Length: 5\r\nContent-Length: 6\r\n\r\nabcde".to_owned(),
        "POST /loki/api/v1/push HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\nZZ\r\n".to_owned(),
        "POST /api/v1/frames HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\nffffffffffffffff\r\n".to_owned(),
        "POST /api/v1/frames HTTP/1.1\r\nHost: x\r\nContent-Length: 1000\r\n\r\nhalf".to_owned(),
        format!("GET /{long} HTTP/1.1\r\nHost: x\r\n\r\n"),
        format!("GET / HTTP/1.1\r\nHost: x\r\nX: {long}\r\n\r\n"),
        format!("GET / HTTP/1.1\r\nHost: x\r\n{many}\r\n"),
        format!("GET {long}"),
    ];
    all.extend(texts.map(String::into_bytes));
    all
}

#[test]
fn garbage_on_every_port_harms_nobody() {
    let dir = tempfile::tempdir().expect("a folder");
    let root = dir.path();
    let mut aggregator = Aggregator::new(root, &[]);
    aggregator.start();
    let port = free_port();
    let mut agent = Program::agent(
        root,
        &(service(port) + &shipping(root, aggregator.port, "")),
    );
    agent.start();
    wait_for("the agent's server", || {
        http::get(port, "/api/v1/health").ok()
    });

    let mut random = Random::new(7);
    let all = garbage(&mut random);
    // At once, as an attacker does; a moment each, since a half request may wait for its end.
    std::thread::scope(|scope| {
        for bytes in &all {
            for to in [port, aggregator.port] {
                scope.spawn(move || {
                    let answer = http::exchange(to, bytes, Duration::from_secs(1));
                    let answer = answer.expect("somebody listens");
                    let is_error =
                        answer.starts_with(b"HTTP/1.1 4") || answer.starts_with(b"HTTP/1.1 5");
                    assert!(
                        answer.is_empty() || is_error,
                        "{}: {}",
                        String::from_utf8_lossy(&bytes[..bytes.len().min(80)]),
                        String::from_utf8_lossy(&answer[..answer.len().min(200)])
                    );
                });
            }
        }
    });
    let bodies = [
        random.bytes(3000),
        vec![0; 100],
        b"KSF1".to_vec(),
        b"{\"streams\":[{}".to_vec(),
    ];
    for path in ["/api/v1/frames", "/api/v1/write", "/loki/api/v1/push"] {
        for coding in [
            "identity",
            "gzip",
            "snappy",
            "zstd",
            "deflate",
            "br",
            "\u{1f980}",
        ] {
            for kind in [
                "application/json",
                "application/x-protobuf",
                "text/plain",
                "",
            ] {
                for body in &bodies {
                    let headers = [("content-encoding", coding), ("content-type", kind)];
                    let reply = http::post(aggregator.port, path, &headers, body);
                    let reply = reply.expect("the aggregator answers");
                    assert!(
                        (400..500).contains(&reply.status),
                        "{path} {coding} {kind}: {}",
                        reply.status
                    );
                }
            }
        }
    }
    assert_eq!(aggregator.get("/-/healthy", &[]).status, 200);
    assert_eq!(aggregator.get("/-/ready", &[]).status, 200);
    assert_eq!(
        http::get(port, "/metrics").map(|r| r.status).ok(),
        Some(200)
    );
    assert_eq!(aggregator.promql_value("vector(1 + 1)"), Some(2.0));
    let (ours, theirs) = (agent.peak_rss_mib(), aggregator.program.peak_rss_mib());
    assert!(ours < 150 && theirs < 400, "{ours} and {theirs} MiB");
    assert_eq!(agent.terminate().code(), Some(0));
    aggregator.end();
    for log in [agent.log(), aggregator.program.log()] {
        assert!(!log.contains("panicked"), "{log}");
    }
}

#[test]
fn a_line_of_100_mb_is_cut_and_counted_and_holds_up_nobody() {
    let dir = tempfile::tempdir().expect("a folder");
    let root = dir.path();
    let mut aggregator = Aggregator::new(root, &[]);
    aggregator.start();
    let port = free_port();
    let mut agent = Program::agent(
        root,
        &(service(port) + &shipping(root, aggregator.port, "")),
    );
    let time_ns = now_ns() - 10 * MINUTE_NS;
    let mut long = ContainerLog::new(root, "long", "web-0", "app", time_ns);
    let mut other = ContainerLog::new(root, "long", "web-1", "app", time_ns);
    long.line("stdout", "before");
    long.raw("stdout", 'F', &vec![b'z'; 100 << 20]);
    long.line("stdout", "after");
    other.line("stdout", "beside");
    long.flush(usize::MAX);
    other.flush(usize::MAX);
    agent.start();
    let found = |text: &str| {
        let query = format!("{{namespace=\"long\"}} |= \"{text}\"");
        count(&aggregator, &query)
    };
    for text in ["before", "after", "beside"] {
        wait_for_equal(&1, || found(text));
    }
    // Its beginning is kept.
    assert_eq!(found("zzzz"), 1);
    let cut = r#"fluentbit_input_long_line_truncated_total{name="tail.0"}"#;
    assert_eq!(agent_metric(port, cut), Some(1.0));
    let peak = agent.peak_rss_mib();
    assert!(peak < 150, "{peak} MiB for a line of which 2 MiB are kept");
    assert_eq!(agent.terminate().code(), Some(0));
}

/// The newest WAL segment.
fn wal(root: &Path) -> PathBuf {
    let entries = fs::read_dir(root.join("store/wal")).expect("the store has a WAL");
    let mut paths: Vec<PathBuf> = entries.flatten().map(|e| e.path()).collect();
    paths.sort();
    let full = |path: &&PathBuf| fs::metadata(path).is_ok_and(|m| m.len() > 1000);
    paths
        .iter()
        .rev()
        .find(full)
        .expect("something was written")
        .clone()
}

#[test]
fn a_damaged_wal_is_told_and_the_rest_is_served() {
    let cut = |path: &Path| {
        let file = File::options()
            .write(true)
            .open(path)
            .expect("the WAL is ours");
        let len = file.metadata().expect("the WAL is ours").len();
        file.set_len(len - 5).expect("the WAL can be cut");
    };
    let append = |path: &Path| {
        let mut file = File::options()
            .append(true)
            .open(path)
            .expect("the WAL is ours");
        file.write_all(&Random::new(5).bytes(3000))
            .expect("the WAL is ours");
    };
    let flip = |path: &Path| {
        let mut file = File::options()
            .write(true)
            .open(path)
            .expect("the WAL is ours");
        let len = file.metadata().expect("the WAL is ours").len();
        file.seek(SeekFrom::Start(len / 3))
            .expect("the WAL is ours");
        file.write_all(b"\0\0\0damage\0\0\0")
            .expect("the WAL is ours");
    };
    let cases: [(&str, &dyn Fn(&Path), u64, &str); 3] = [
        ("cut", &cut, 19, "the WAL ended in"),
        ("appended", &append, 20, "damage in"),
        ("flipped", &flip, 19, "damage in"),
    ];
    for (name, damage, n_left, said) in cases {
        let dir = tempfile::tempdir().expect("a folder");
        let root = dir.path();
        // Nothing but the pushes of this test lies in the WAL.
        fs::write(root.join("k.yaml"), "own_metrics:\n  interval: 0s\n")
            .expect("the folder is ours");
        let file = format!("--config.file={}", root.join("k.yaml").display());
        let mut aggregator = Aggregator::new(root, &[&file]);
        aggregator.start();
        let mut random = Random::new(9);
        let start_ns = now_ns() - 10 * MINUTE_NS;
        for n in 0..20 {
            assert_eq!(push(&aggregator, &mut random, start_ns + n), 204);
        }
        aggregator.program.kill();
        damage(&wal(root));
        aggregator.start();
        aggregator.program.wait_to_say(said);
        assert_eq!(count(&aggregator, r#"{pod="push"}"#), n_left, "{name}");
        assert_eq!(push(&aggregator, &mut random, start_ns + 20), 204);
        aggregator.end();
        aggregator.start();
        assert_eq!(count(&aggregator, r#"{pod="push"}"#), n_left + 1, "{name}");
        assert!(!aggregator.program.log().contains("panicked"));
    }
}

#[test]
fn lines_of_other_ages_are_taken_and_expire_by_their_time() {
    let dir = tempfile::tempdir().expect("a folder");
    let root = dir.path();
    let mut aggregator = Aggregator::new(root, &["--storage.retention.time=15d"]);
    aggregator.start();
    let port = free_port();
    let mut agent = Program::agent(
        root,
        &(service(port) + &shipping(root, aggregator.port, "")),
    );
    let mut log = ContainerLog::new(root, "clock", "web-0", "app", now_ns());
    log.line("stdout", "today");
    log.flush(usize::MAX);
    let mut file = File::options()
        .append(true)
        .open(&log.path)
        .expect("the log is ours");
    let odd = "1971-01-01T00:00:00.5Z stdout F long ago\n\
               2099-01-01T00:00:00.5Z stdout F far ahead\n\
               2026-99-99T99:99:99Z stdout F never\n\
               0000-00-00 stdout F no time\n";
    file.write_all(odd.as_bytes()).expect("the log is ours");
    agent.start();
    let all = |aggregator: &Aggregator| -> Vec<String> {
        let parameters = [
            ("query", r#"{namespace="clock"}"#),
            ("start", "0"),
            ("end", "4100000000"),
            ("direction", "forward"),
        ];
        aggregator
            .range(&parameters)
            .into_iter()
            .map(|f| f.text)
            .collect()
    };
    let sorted = |aggregator: &Aggregator| {
        let mut all = all(aggregator);
        all.sort();
        all
    };
    // A line whose time means nothing is kept whole, under the time at which it was read.
    let expected = [
        "0000-00-00 stdout F no time",
        "2026-99-99T99:99:99Z stdout F never",
        "far ahead",
        "long ago",
        "today",
    ];
    wait_for_equal(&expected.map(str::to_owned).to_vec(), || {
        sorted(&aggregator)
    });
    assert_eq!(agent.terminate().code(), Some(0));
    // Written out, what is older than the retention goes with its part, and that is counted.
    aggregator.end();
    aggregator.start();
    let expired = "kansoku_store_parts_expired_total";
    wait_for_equal(&Some(1.0), || aggregator.metric(expired));
    let expected = expected.iter().filter(|t| **t != "long ago");
    let expected: Vec<String> = expected.map(|&t| t.to_owned()).collect();
    assert_eq!(sorted(&aggregator), expected);
}
