//! `kansoku-agent node-exporter`, started and scraped once.

use std::ffi::OsStr;
use std::io::{BufRead, BufReader};
use std::path::Path;
use std::process::{Command, Stdio};

/// The exposition of the program, started in the folder with these flags.
///
/// # Panics
/// When the program does not start, listen or answer.
pub fn exposition<F: AsRef<OsStr>>(folder: &Path, flags: impl IntoIterator<Item = F>) -> String {
    let mut command = Command::new(crate::binary("kansoku-agent"));
    command
        .current_dir(folder)
        .arg("node-exporter")
        .args(flags)
        .arg("--web.listen-address=127.0.0.1:0")
        .stdin(Stdio::null())
        .stderr(Stdio::piped());
    let mut child = command.spawn().expect("the program starts");
    let mut log = BufReader::new(child.stderr.take().expect("standard error is a pipe"));
    let mut seen = String::new();
    let port: u16 = loop {
        let mut line = String::new();
        let n = log.read_line(&mut line).expect("the log is text");
        seen.push_str(&line);
        assert_ne!(n, 0, "the program ended: {seen}");
        if let Some((_, rest)) = line.split_once("listening on ") {
            let port = rest.trim().trim_matches('"').rsplit(':').next();
            break port.and_then(|p| p.parse().ok()).expect("a port");
        }
    };
    let reply = crate::http::get(port, "/metrics");
    child.kill().expect("the program runs");
    child.wait().expect("the program ends");
    reply.expect("an answer").text()
}
