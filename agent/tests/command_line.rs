//! The real binary from its command line: what it prints, how it ends, what it delivers.

use std::io::{BufRead, BufReader, Write};
use std::process::{Command, Output, Stdio};

fn agent(args: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_kansoku-agent"));
    // No cluster of whoever runs the tests.
    command
        .args(args)
        .env("KUBECONFIG", "/nonexistent")
        .env_remove("FLB_LOG_LEVEL")
        .env("HOME", "/nonexistent");
    command
}

fn run(args: &[&str], stdin: &[u8]) -> Output {
    let mut child = agent(args)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("the agent starts");
    let mut input = child.stdin.take().expect("piped");
    input.write_all(stdin).expect("stdin is read");
    drop(input);
    child.wait_with_output().expect("the agent ends")
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

/// Lines of JSON without their date.
fn records(stdout: &[u8]) -> Vec<String> {
    let undated = |line: &str| {
        let rest = line.split_once(',').map_or("", |(_, rest)| rest);
        format!("{{{rest}")
    };
    text(stdout).lines().map(undated).collect()
}

const TO_STDOUT: &[&str] = &["-o", "stdout", "-p", "format=json_lines"];

#[test]
fn stdin_is_delivered_to_its_end() {
    let lines: Vec<String> = (0..20_000).map(|i| format!("{{\"n\":{i}}}\n")).collect();
    let out = run(
        &[&["-i", "stdin"], TO_STDOUT].concat(),
        lines.concat().as_bytes(),
    );
    assert!(out.status.success(), "{}", text(&out.stderr));
    let expected: Vec<String> = (0..20_000).map(|i| format!("{{\"n\":{i}}}")).collect();
    assert!(
        records(&out.stdout) == expected,
        "{} lines came",
        records(&out.stdout).len()
    );
}

#[test]
fn filters_run_in_order() {
    let filters = [
        "-i",
        "stdin",
        "-t",
        "app",
        "-F",
        "parser",
        "-m",
        "app",
        "-p",
        "key_name=log",
        "-p",
        "parser=logfmt",
        "-F",
        "grep",
        "-m",
        "a*",
        "-p",
        "exclude=level ^debug$",
    ];
    let out = run(
        &[&filters, TO_STDOUT].concat(),
        b"level=info msg=\"a b\"\nlevel=debug msg=c\nlevel=warn n=1\n",
    );
    assert_eq!(
        records(&out.stdout),
        [
            r#"{"level":"info","msg":"a b"}"#,
            r#"{"level":"warn","n":"1"}"#
        ]
    );
}

#[test]
fn a_signal_ends_the_agent_cleanly() {
    let args = [
        &[
            "-i",
            "dummy",
            "-p",
            "dummy={\"a\":1}",
            "-p",
            "rate=50",
            "-f",
            "0.1",
        ],
        TO_STDOUT,
    ]
    .concat();
    let mut child = agent(&args)
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("the agent starts");
    let mut first = String::new();
    let mut stdout = BufReader::new(child.stdout.take().expect("piped"));
    stdout.read_line(&mut first).expect("a record");
    assert!(first.ends_with(",\"a\":1}\n"), "{first}");
    let pid = nix::unistd::Pid::from_raw(i32::try_from(child.id()).expect("a pid"));
    nix::sys::signal::kill(pid, nix::sys::signal::Signal::SIGTERM).expect("a running agent");
    // Draining: what stands in the pipe must be read for the agent to end.
    std::io::copy(&mut stdout, &mut std::io::sink()).expect("the rest");
    assert!(child.wait().expect("the agent ends").success());
}

#[test]
fn mistakes_end_in_their_exit_status_and_a_message() {
    let dir = tempfile::tempdir().expect("a folder");
    let config = dir.path().join("agent.conf");
    let config_text = config.to_str().expect("a name");
    let write = |text: &str| std::fs::write(&config, text).expect("written");
    write("[INPUT]\n    Name dummy\n[OUTPUT]\n    Name null\n");
    let cases: &[(&[&str], i32, &str)] = &[
        (
            &["-c", config_text, "--dry-run"],
            0,
            "configuration test is successful",
        ),
        (
            &["-i", "dummy", "-o", "stdout", "-p", "format=xml", "-D"],
            1,
            "'format' is 'xml', but must be one of",
        ),
        (
            &["-i", "dummy", "-p", "dummy=x", "-o", "null", "-D"],
            255,
            "'dummy' must be a JSON object",
        ),
        (
            &["-i", "nosuchthing", "-o", "null"],
            1,
            "unknown input 'nosuchthing'; known: ",
        ),
        (
            &["-c", "/nonexistent/x.conf"],
            1,
            "cannot read /nonexistent/x.conf",
        ),
        (
            &["-c", "/nonexistent/x.yaml"],
            1,
            "cannot read /nonexistent/x.yaml",
        ),
        (
            &["-o", "null", "--strict"],
            1,
            "there is no input: nothing is read; add an [INPUT] section or -i NAME (--strict)",
        ),
        (
            &["-i", "dummy", "-o", "null", "-w", "/nonexistent"],
            1,
            "cannot change to folder /nonexistent",
        ),
        (
            &["-i", "dummy", "-o", "null", "-l", "/nonexistent/log"],
            1,
            "cannot open log_file /nonexistent/log",
        ),
        (
            &["-i", "dummy", "-o", "null", "-P", "70000", "-H"],
            1,
            "'http_port' must be between 0 and 65535",
        ),
        (
            &["-d"],
            1,
            "option '-d' is not supported: the agent stays in the foreground",
        ),
    ];
    for (args, status, message) in cases {
        let out = run(args, b"");
        assert_eq!(
            out.status.code(),
            Some(*status),
            "{args:?}: {}",
            text(&out.stderr)
        );
        assert!(
            text(&out.stderr).contains(message),
            "{args:?}: {}",
            text(&out.stderr)
        );
        assert!(out.stdout.is_empty());
    }
}

#[test]
fn a_port_that_is_taken_is_named() {
    let taken = std::net::TcpListener::bind("127.0.0.1:0").expect("a port");
    let port = taken.local_addr().expect("an address").port().to_string();
    let out = run(
        &[
            "-i",
            "dummy",
            "-o",
            "null",
            "-H",
            "-L",
            "127.0.0.1",
            "-P",
            &port,
        ],
        b"",
    );
    assert_eq!(out.status.code(), Some(1));
    let message =
        format!("failed to listen on 127.0.0.1:{port}; choose another http_listen or http_port");
    assert!(
        text(&out.stderr).contains(&message),
        "{}",
        text(&out.stderr)
    );
}

#[test]
fn log_lines_look_like_fluent_bits() {
    let out = run(&["-i", "stdin", "-o", "null"], b"");
    let stderr = text(&out.stderr);
    let first = stderr.lines().next().expect("a line");
    let (time, rest) = first.split_at(first.find("] ").expect("a time") + 2);
    let shape: String = time
        .chars()
        .map(|c| if c.is_ascii_digit() { '0' } else { c })
        .collect();
    assert_eq!(shape, "[0000/00/00 00:00:00] ");
    assert!(
        rest.starts_with("[ info] [agent] kansoku-agent v"),
        "{first}"
    );
    assert!(text(&run(&["-q", "-i", "stdin", "-o", "null"], b"").stderr).is_empty());
}

#[test]
fn help_and_version_go_to_standard_output() {
    for (args, start) in [
        (&["-V"][..], "kansoku-agent v"),
        (&["--help"], "Usage: kansoku-agent [OPTION]...\n"),
        (&["-o", "stdout", "-h"], "output stdout: "),
        (&["-F", "kubernetes", "--help"], "filter kubernetes: "),
    ] {
        let out = run(args, b"");
        assert!(out.status.success() && out.stderr.is_empty());
        assert!(text(&out.stdout).starts_with(start), "{args:?}");
    }
}
