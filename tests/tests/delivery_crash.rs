//! kill -9 at any moment: no line is lost, and none is stored twice.

use kansoku_tests::agent::Agent;
use kansoku_tests::log_writer::LogWriter;
use kansoku_tests::sink::Sink;

#[test]
fn killed_again_and_again_while_catching_up() {
    let dir = tempfile::tempdir().unwrap();
    let sink = Sink::start();
    let mut expected = Vec::new();
    for file in 0..4 {
        let mut log = LogWriter::new(dir.path(), &format!("catch-up-{file}"));
        log.lines(15_000);
        expected.append(&mut log.written);
    }
    let pattern = dir.path().join("*.log").display().to_string();
    let mut agent = Agent::new(dir.path(), &pattern, sink.port, "");
    for kill in 1..=8 {
        agent.start();
        sink.wait_for(expected.len() * kill / 10);
        agent.kill();
    }
    agent.start();
    sink.wait_for(expected.len());
    sink.assert_holds(&expected);
}

#[test]
fn killed_while_lines_are_written_and_files_rotate() {
    let dir = tempfile::tempdir().unwrap();
    let sink = Sink::start();
    let pattern = dir.path().join("*.log").display().to_string();
    let mut agent = Agent::new(dir.path(), &pattern, sink.port, "");
    let mut logs: Vec<LogWriter> = (0..3)
        .map(|n| LogWriter::new(dir.path(), &format!("live-{n}")))
        .collect();
    agent.start();
    let n_written = |logs: &[LogWriter]| logs.iter().map(|l| l.written.len()).sum::<usize>();
    // Generations that were rotated before the agent ever saw the name are not its business.
    logs.iter_mut().for_each(|log| log.lines(1));
    sink.wait_for(logs.len());
    for round in 0..60 {
        for (n, log) in logs.iter_mut().enumerate() {
            log.lines(40);
            if round % 5 == n {
                log.rotate();
            }
        }
        match round % 12 {
            // Some rotations happen while nobody looks.
            3 => agent.kill(),
            6 => agent.start(),
            // At other times it is killed in the middle of what it just began.
            9 => {
                sink.wait_for(n_written(&logs) / 2);
                agent.kill();
                agent.start();
            }
            _ => std::thread::sleep(std::time::Duration::from_millis(20)),
        }
    }
    let expected: Vec<String> = logs.iter().flat_map(|l| l.written.clone()).collect();
    sink.wait_for(expected.len());
    sink.assert_holds(&expected);
}

#[test]
fn killed_between_the_parts_of_a_record() {
    let dir = tempfile::tempdir().unwrap();
    let sink = Sink::start();
    let pattern = dir.path().join("*.log").display().to_string();
    let mut agent = Agent::new(dir.path(), &pattern, sink.port, "");
    let mut log = LogWriter::new(dir.path(), "partial");
    agent.start();
    for round in 0..6 {
        log.lines(10);
        let so_far = log.written.len();
        log.partial_lines(|_, part| {
            sink.wait_for(so_far);
            if part == round % 3 {
                agent.kill();
                agent.start();
            }
        });
    }
    sink.wait_for(log.written.len());
    sink.assert_holds(&log.written);
}

#[test]
fn killed_while_a_record_lies_in_two_generations() {
    let dir = tempfile::tempdir().unwrap();
    let sink = Sink::start();
    let pattern = dir.path().join("*.log").display().to_string();
    // However slow this machine is, a part waits for its rest.
    let patient = "    Multiline_Flush 600\n";
    let mut agent = Agent::new(dir.path(), &pattern, sink.port, patient);
    let mut log = LogWriter::new(dir.path(), "across");
    agent.start();
    for round in 0..8 {
        log.lines(10);
        let so_far = log.written.len();
        sink.wait_for(so_far);
        log.partial_lines(|log, part| {
            // After the first part, after the second, or after both; killed before it, after it, or
            // as soon as a line behind it has come.
            if part == round % 2 || round >= 6 && part < 2 {
                if round % 3 == 0 {
                    agent.kill();
                }
                log.rotate();
                if round % 3 == 0 {
                    agent.start();
                }
                if round % 3 == 1 {
                    log.error_line();
                    sink.wait_for(so_far + 1);
                    agent.kill();
                    agent.start();
                }
            }
        });
        if round % 3 == 2 {
            agent.kill();
            agent.start();
        }
    }
    sink.wait_for(log.written.len());
    sink.assert_holds(&log.written);
}
