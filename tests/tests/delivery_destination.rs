//! A destination that is down, refuses, dawdles or loses its answers: nothing is lost for it.

use std::time::Duration;

use kansoku_tests::agent::Agent;
use kansoku_tests::log_writer::LogWriter;
use kansoku_tests::sink::{Behaviour, Sink};

fn deliver_through(troubles: &[Behaviour]) -> Sink {
    let dir = tempfile::tempdir().unwrap();
    let sink = Sink::start();
    let pattern = dir.path().join("*.log").display().to_string();
    let mut agent = Agent::new(dir.path(), &pattern, sink.port, "");
    let mut log = LogWriter::new(dir.path(), "through");
    agent.start();
    // Generations that were rotated before the agent ever saw the name are not its business.
    log.lines(1);
    sink.wait_for(1);
    for &trouble in troubles {
        sink.behave(trouble);
        log.lines(3_000);
        log.rotate();
        std::thread::sleep(Duration::from_millis(300));
        // Killed and stopped in the middle of the trouble as well.
        agent.kill();
        log.lines(3_000);
        agent.start();
        std::thread::sleep(Duration::from_millis(300));
        agent.terminate();
        agent.start();
        sink.behave(Behaviour::Accept);
        sink.wait_for(log.written.len());
    }
    sink.assert_holds(&log.written);
    sink
}

#[test]
fn down_and_refusing() {
    deliver_through(&[
        Behaviour::Down,
        Behaviour::Refuse(500),
        Behaviour::Refuse(429),
    ]);
}

#[test]
fn slow_and_losing_its_answers() {
    let sink = deliver_through(&[
        Behaviour::Slow(Duration::from_millis(200)),
        Behaviour::LoseEveryNthAnswer(2),
    ]);
    assert!(
        sink.n_repeated() > 0,
        "lost answers make repeats, which the marks drop"
    );
}
