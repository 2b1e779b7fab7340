//! A configuration that is read again while lines come: none is lost, none comes twice, and a broken
//! one changes nothing.

use std::path::Path;

use kansoku_tests::http;
use kansoku_tests::log_writer::LogWriter;
use kansoku_tests::program::{Program, free_port, wait_for};
use kansoku_tests::sink::Sink;
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

/// A configuration with whatever else is given for the end.
fn configuration(folder: &Path, sink: u16, http: u16, more: &str) -> String {
    let folder = folder.display();
    format!(
        "[SERVICE]\n    Flush 0.1\n    Grace 10\n    Hot_Reload On\n    \
         HTTP_Server On\n    HTTP_Listen 127.0.0.1\n    HTTP_Port {http}\n    scheduler.base 1\n\
         [INPUT]\n    Name tail\n    Tag kube.*\n    Path {folder}/*.log\n    DB {folder}/tail.db\n    \
         Read_from_Head On\n    Refresh_Interval 1\n    multiline.parser cri\n\
         [OUTPUT]\n    Name kansoku\n    Match *\n    Host 127.0.0.1\n    Port {sink}\n{more}"
    )
}

fn n_reloads(port: u16) -> u64 {
    let reply = http::get(port, "/api/v2/reload").expect("the agent answers");
    reply.json()["hot_reload_count"].as_u64().expect("a number")
}

#[test]
fn reloads_under_load_lose_and_double_nothing() {
    let dir = tempfile::tempdir().unwrap();
    let sink = Sink::start();
    let port = free_port();
    let valid = |more: &str| configuration(dir.path(), sink.port, port, more);
    let mut agent = Program::agent(dir.path(), &valid(""));
    let file = dir.path().join("agent.conf");
    let mut log = LogWriter::new(dir.path(), "loaded");
    agent.start();
    log.lines(1);
    sink.wait_for(1);
    for round in 0..6 {
        log.lines(2_000);
        // Another filter each time, so that the configuration in force can be told.
        let filter = format!(
            "[FILTER]\n    Name grep\n    Match none\n    Alias round{round}\n    Regex log x\n"
        );
        std::fs::write(&file, valid(&filter)).unwrap();
        if round % 2 == 0 {
            let pid = i32::try_from(agent.pid()).unwrap();
            kill(Pid::from_raw(pid), Signal::SIGHUP).unwrap();
        } else {
            let reply = http::post(port, "/api/v2/reload", &[], b"{}").unwrap();
            assert_eq!(reply.json()["status"], 0, "{}", reply.text());
        }
        log.lines(2_000);
        wait_for("the reload", || {
            (n_reloads(port) == round + 1).then_some(())
        });
        let shown = http::get(port, "/api/v1/metrics").unwrap().json();
        assert!(
            shown["filter"][format!("round{round}")].is_object(),
            "{shown}"
        );
    }
    log.lines(1);
    sink.wait_for(log.written.len());
    sink.assert_holds(&log.written);
    assert_eq!(
        sink.n_repeated(),
        0,
        "what was delivered before a reload came again"
    );
}

#[test]
fn a_broken_configuration_leaves_the_old_one_running() {
    let dir = tempfile::tempdir().unwrap();
    let sink = Sink::start();
    let port = free_port();
    let valid = configuration(dir.path(), sink.port, port, "");
    let mut agent = Program::agent(dir.path(), &valid);
    let file = dir.path().join("agent.conf");
    let mut log = LogWriter::new(dir.path(), "kept");
    agent.start();
    log.lines(10);
    sink.wait_for(10);
    for (broken, message) in [
        (
            "[FILTER]\n    Name grpe\n    Match *\n",
            "unknown filter 'grpe'; did you mean 'grep'?",
        ),
        ("[FILTER]\n  Name grep\n", "indentation level is too low"),
        (
            "[OUTPUT]\n    Name file\n    Match *\n    Foo 1\n",
            "unknown key 'foo' for file",
        ),
    ] {
        std::fs::write(&file, format!("{valid}{broken}")).unwrap();
        let reply = http::post(port, "/api/v2/reload", &[], b"").unwrap();
        let answer = reply.json();
        assert_eq!(answer["status"], -3, "{answer}");
        assert!(
            answer["errors"][0].as_str().unwrap().contains(message),
            "{answer}"
        );
        log.lines(10);
        sink.wait_for(log.written.len());
    }
    std::fs::remove_file(&file).unwrap();
    let answer = http::post(port, "/api/v2/reload", &[], b"").unwrap().json();
    assert_eq!(answer["status"], -3, "{answer}");
    assert_eq!(n_reloads(port), 0);
    // It can be mended, and the state can be looked at meanwhile.
    let pid = Pid::from_raw(i32::try_from(agent.pid()).unwrap());
    kill(pid, Signal::SIGCONT).unwrap();
    agent.wait_to_say("===== Output =====");
    std::fs::write(&file, valid.replace("Hot_Reload On", "Hot_Reload Off")).unwrap();
    let answer = http::post(port, "/api/v2/reload", &[], b"").unwrap().json();
    assert_eq!(answer["status"], 0, "{answer}");
    wait_for("the reload", || (n_reloads(port) == 1).then_some(()));
    let answer = http::post(port, "/api/v2/reload", &[], b"").unwrap().json();
    assert_eq!(answer["status"], -1, "reloads are off now: {answer}");
    sink.assert_holds(&log.written);
}
