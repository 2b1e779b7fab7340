//! Mistakes in configuration files: the real binary says file, line and cure, and does not start.

use std::fs;
use std::path::Path;
use std::process::{Command, Stdio};

/// What the agent says to a configuration, and its status. `DIR` stands for the folder.
fn run(folder: &Path, text: &str) -> (Option<i32>, String) {
    let shown = folder.display().to_string();
    let path = folder.join("agent.conf");
    fs::write(&path, text.replace("DIR", &shown)).expect("the folder is ours");
    // A mistake that is not found would let it run for ever: then its status is 124.
    let out = Command::new("timeout")
        .args(["10", env!("CARGO_BIN_EXE_kansoku-agent"), "-c"])
        .arg(&path)
        .env("KUBECONFIG", "/nonexistent")
        .env_remove("FLB_LOG_LEVEL")
        .stdin(Stdio::null())
        .output()
        .expect("the agent runs");
    let stderr = String::from_utf8_lossy(&out.stderr).replace(&shown, "DIR");
    (out.status.code(), stderr)
}

#[test]
fn each_is_told_with_file_line_and_cure() {
    let dir = tempfile::tempdir().expect("a folder");
    fs::write(dir.path().join("file"), "").expect("the folder is ours");
    let out = "[OUTPUT]\n    Name null\n    Match *\n";
    let cases: &[(&str, i32, &[&str])] = &[
        (
            "[INPUT]\n    Name tial\n    Path /x\n",
            1,
            &["DIR/agent.conf:2: unknown input 'tial'", "tail"],
        ),
        (
            "[INPUT]\n    Name tail\n    Path /x\n    Read_form_Head on\n",
            1,
            &["DIR/agent.conf:4: ", "read_form_head", "read_from_head"],
        ),
        (
            "[INPUT]\n    Name tail\n    Path /x\n    Mem_Buf_Limit 5Q\n",
            1,
            &["DIR/agent.conf:4: 'mem_buf_limit' is '5Q', but must be a size"],
        ),
        (
            "[INPUT]\n    Name tail\n    Path /x\n    Buffer_Max_Size many\n",
            1,
            &["DIR/agent.conf:4: 'buffer_max_size' is 'many', but must be a size"],
        ),
        (
            "[INPUT]\n    Name tail\n",
            255,
            &["DIR/agent.conf:", "path"],
        ),
        (
            "[INPUT]\n    Name tail\n    Path /x\n    DB DIR/none/tail.db\n",
            255,
            &["DIR/agent.conf:4: ", "DIR/none is no folder; create it"],
        ),
        (
            "[INPUT]\n    Name tail\n    Path /x\n    DB DIR/file/tail.db\n",
            255,
            &["DIR/agent.conf:4: ", "DIR/file is no folder"],
        ),
        (
            "[INPUT]\n    Name stdin\n    Parser nope\n",
            255,
            &["DIR/agent.conf:3: ", "nope"],
        ),
        (
            "[SERVICE]\n    Parsers_File none.conf\n[INPUT]\n    Name dummy\n",
            1,
            &["DIR/agent.conf:2: ", "none.conf"],
        ),
        (
            "@INCLUDE none.conf\n[INPUT]\n    Name dummy\n",
            1,
            &["DIR/agent.conf:1: ", "none.conf"],
        ),
        (
            "[SERVICE]\n    Flush soon\n[INPUT]\n    Name dummy\n",
            1,
            &["DIR/agent.conf:2: 'flush' is 'soon', but must be"],
        ),
        (
            "[INPUT]\n    Name dummy\n[FILTER]\n    Name grep\n    Match *\n    Regex log (\n",
            255,
            &["DIR/agent.conf:6: "],
        ),
        (
            "[INPUT]\n    Name dummy\n[FILTER]\n    Name kubernets\n    Match *\n",
            1,
            &["DIR/agent.conf:4: unknown filter 'kubernets'", "kubernetes"],
        ),
    ];
    for (text, status, said) in cases {
        let (got, stderr) = run(dir.path(), &format!("{text}{out}"));
        assert_eq!(got, Some(*status), "{text}{stderr}");
        for words in *said {
            assert!(stderr.contains(words), "{text}'{words}' is not in {stderr}");
        }
        assert!(!stderr.contains("panicked"), "{stderr}");
    }
}

#[test]
fn several_are_told_at_once() {
    let dir = tempfile::tempdir().expect("a folder");
    let text = "[INPUT]\n    Name dummy\n    Rat 5\n[OUTPUT]\n    Name nul\n    Match *\n";
    let (status, stderr) = run(dir.path(), text);
    assert_eq!(status, Some(1), "{stderr}");
    for words in ["agent.conf:3: ", "'rat'", "rate", "agent.conf:5: ", "'nul'"] {
        assert!(stderr.contains(words), "'{words}' is not in {stderr}");
    }
}

#[test]
fn bytes_that_are_no_configuration() {
    let dir = tempfile::tempdir().expect("a folder");
    let path = dir.path().join("agent.conf");
    for bytes in [
        &b"\xff\xfe\x00\x01[\xc3"[..],
        b"[INPUT\n",
        b"Name x\n",
        b"[INPUT]\n  Name\n",
    ] {
        fs::write(&path, bytes).expect("the folder is ours");
        let out = Command::new(env!("CARGO_BIN_EXE_kansoku-agent"))
            .arg("-c")
            .arg(&path)
            .stdin(Stdio::null())
            .output()
            .expect("the agent runs");
        let stderr = String::from_utf8_lossy(&out.stderr);
        assert_eq!(out.status.code(), Some(1), "{bytes:?} {stderr}");
        assert!(
            stderr.contains("[error]") && !stderr.contains("panicked"),
            "{bytes:?} {stderr}"
        );
    }
}
