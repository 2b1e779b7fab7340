//! `kansoku`, the command line, run as a person runs it, with nothing of this machine's configuration.

use std::path::Path;
use std::process::{Command, Stdio};

use serde_json::{Value, json};

use crate::aggregator::Aggregator;
use crate::http;

/// What a command gave.
#[derive(Debug)]
pub struct Given {
    pub code: Option<i32>,
    pub out: String,
    pub err: String,
}

impl Given {
    /// What becomes of a command.
    ///
    /// # Panics
    /// When it does not start.
    #[must_use]
    pub fn of(command: &mut Command) -> Self {
        let output = command.output().expect("the program starts");
        Self {
            code: output.status.code(),
            out: String::from_utf8_lossy(&output.stdout).into_owned(),
            err: String::from_utf8_lossy(&output.stderr).into_owned(),
        }
    }
}

/// A command that asks `aggregator`; `root` is the home folder.
#[must_use]
pub fn command(aggregator: &Aggregator, root: &Path, arguments: &[&str]) -> Command {
    let server = format!("http://127.0.0.1:{}", aggregator.port);
    let mut command = Command::new(crate::binary("kansoku"));
    command
        .args(arguments)
        .env("KANSOKU_SERVER", server)
        .env("HOME", root)
        .stdin(Stdio::null());
    for name in [
        "XDG_CONFIG_HOME",
        "KUBECONFIG",
        "KANSOKU_CONFIG",
        "KANSOKU_CONTEXT",
        "KANSOKU_TENANT",
        "KANSOKU_TOKEN",
        "KANSOKU_USERNAME",
        "KANSOKU_PASSWORD",
    ] {
        command.env_remove(name);
    }
    command
}

/// Runs it to its end.
#[must_use]
pub fn kansoku(aggregator: &Aggregator, root: &Path, arguments: &[&str]) -> Given {
    Given::of(&mut command(aggregator, root, arguments))
}

/// The output of a command that must succeed and say nothing else.
///
/// # Panics
/// When it does not.
#[must_use]
pub fn shown(aggregator: &Aggregator, root: &Path, arguments: &str) -> String {
    let arguments: Vec<&str> = arguments.split(' ').collect();
    let given = kansoku(aggregator, root, &arguments);
    assert_eq!(
        (given.code, given.err.as_str()),
        (Some(0), ""),
        "{arguments:?}: {}",
        given.out
    );
    given.out
}

/// Pushes lines of streams as a Loki client does.
///
/// # Panics
/// When they are not taken.
pub fn push(aggregator: &Aggregator, streams: &[(Value, Vec<(i64, &str)>)]) {
    let streams: Vec<Value> = streams
        .iter()
        .map(|(labels, lines)| {
            let values: Vec<Value> = lines
                .iter()
                .map(|(t, line)| json!([t.to_string(), line]))
                .collect();
            json!({"stream": labels, "values": values})
        })
        .collect();
    let body = json!({ "streams": streams }).to_string();
    let headers = [("Content-Type", "application/json")];
    let path = "/loki/api/v1/push";
    let reply = http::post(aggregator.port, path, &headers, body.as_bytes()).expect("an answer");
    assert_eq!(reply.status, 204, "{}", reply.text());
}
