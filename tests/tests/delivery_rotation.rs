//! Files that are renamed, copied and truncated under the agent: every line arrives once.

use std::time::Duration;

use kansoku_tests::agent::Agent;
use kansoku_tests::log_writer::LogWriter;
use kansoku_tests::sink::Sink;

struct Bench {
    dir: tempfile::TempDir,
    sink: Sink,
    agent: Agent,
    log: LogWriter,
}

fn bench() -> Bench {
    let dir = tempfile::tempdir().unwrap();
    let sink = Sink::start();
    let pattern = dir.path().join("*.log").display().to_string();
    let agent = Agent::new(dir.path(), &pattern, sink.port, "");
    let log = LogWriter::new(dir.path(), "rotated");
    Bench {
        dir,
        sink,
        agent,
        log,
    }
}

#[test]
fn a_burst_of_renames_loses_nothing() {
    let mut b = bench();
    b.agent.start();
    b.log.lines(1);
    b.sink.wait_for(1);
    for _ in 0..30 {
        b.log.lines(500);
        b.log.rotate();
    }
    b.log.lines(1);
    b.sink.wait_for(b.log.written.len());
    b.sink.assert_holds(&b.log.written);
}

#[test]
fn copies_are_finished_after_truncation() {
    let mut b = bench();
    b.agent.start();
    for _ in 0..8 {
        b.log.lines(2_000);
        // It must have begun with the file, not finished it.
        b.sink.wait_for(b.log.written.len() - 1_999);
        b.log.copy_and_truncate();
        std::thread::sleep(Duration::from_millis(100));
    }
    b.sink.wait_for(b.log.written.len());
    b.sink.assert_holds(&b.log.written);
}

#[test]
fn rotations_while_the_agent_is_down_are_caught_up_with() {
    let mut b = bench();
    b.agent.start();
    b.log.lines(100);
    b.sink.wait_for(100);
    assert!(b.agent.terminate().success());
    for _ in 0..3 {
        b.log.lines(100);
        b.log.rotate();
    }
    b.log.lines(100);
    let mut other = LogWriter::new(b.dir.path(), "born-while-down");
    other.lines(100);
    b.agent.start();
    let expected: Vec<String> = b
        .log
        .written
        .iter()
        .chain(&other.written)
        .cloned()
        .collect();
    b.sink.wait_for(expected.len());
    b.sink.assert_holds(&expected);
    assert_eq!(
        b.sink.n_repeated(),
        0,
        "after a clean stop nothing is sent again"
    );
}
