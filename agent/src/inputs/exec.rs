//! `exec`: the output of a shell command, a record per line, every so often or once.
//!
//! The command runs under `/bin/sh -c`, one at a time, in a process group of its own; it is killed when
//! the agent stops.

use std::io::{BufRead, BufReader, Read};
use std::os::unix::process::CommandExt;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicU8, Ordering};
use std::time::Duration;

use anyhow::Context;
use crossbeam_channel::{Receiver, RecvTimeoutError, bounded};
use kansoku_model::{
    ConfigError, LogBatch, OptionKind, OptionSpec, Plugin, Position, RecordBatch, Resource,
    Settings, Source, SourceId, Value, joined,
};
use kansoku_parsers::line::{Parsed, Parser};
use nix::sys::signal::{Signal, kill, killpg};
use nix::unistd::Pid;

use super::periodic::{INTERVAL_OPTIONS, interval};
use super::ticker::{Ticker, random_source};
use crate::config::find_parser_or_raw;
use crate::filters::parser::now_ns;
use crate::log;
use crate::pipeline::Link;
use crate::plugin::{Environment, Input, InputPlugin};

const OWN: &[OptionSpec] = &[
    OptionSpec::new("command", OptionKind::Text, "", "what the shell runs"),
    OptionSpec::new("parser", OptionKind::Text, "", "parser for each line"),
    OptionSpec::new("buf_size", OptionKind::Size, "4096", "a longer line is cut"),
    OptionSpec::new(
        "oneshot",
        OptionKind::Bool,
        "off",
        "run it once, at the start",
    ),
    OptionSpec::new(
        "exit_after_oneshot",
        OptionKind::Bool,
        "off",
        "stop the agent when that has ended",
    ),
    OptionSpec::new(
        "propagate_exit_code",
        OptionKind::Bool,
        "on",
        "and leave with its exit status (128 + N after signal N)",
    ),
];
const OPTIONS: &[OptionSpec] =
    &joined::<{ OWN.len() + INTERVAL_OPTIONS.len() }>(OWN, INTERVAL_OPTIONS);

/// The plugin.
pub const PLUGIN: InputPlugin = Plugin {
    name: "exec",
    about: "Runs a command and takes its lines.",
    options: OPTIONS,
    example: "[INPUT]\n    Name          exec\n    Tag           uptime\n    Command       uptime\n    Interval_Sec  60\n",
    build,
};

/// The largest `buf_size`.
const MAX_LINE_BYTES: u64 = 16 << 20;
/// A batch is sent when it has grown this large, or when the command pauses this long.
const BATCH_BYTES: usize = 256 << 10;
const PAUSE: Duration = Duration::from_millis(200);
/// Lines that may wait for the input's thread.
const MAX_WAITING_LINES: usize = 1024;

/// What the agent should leave with after a command with `exit_after_oneshot`.
static EXIT_STATUS: AtomicU8 = AtomicU8::new(0);

/// The exit status that a command asked for; 0 when none did.
#[must_use]
pub fn exit_status() -> u8 {
    EXIT_STATUS.load(Ordering::Relaxed)
}

struct Exec {
    command: String,
    parser: Option<Arc<Parser>>,
    max_line_bytes: usize,
    /// `None` = once.
    every: Option<Duration>,
    exits: bool,
    propagates: bool,
    host_name: Arc<str>,
    source: SourceId,
    n_made: u64,
}

fn build(settings: &Settings, environment: &Environment) -> Result<Box<dyn Input>, ConfigError> {
    settings.check(OPTIONS)?;
    let size = settings.size("buf_size", 4096)?;
    if !(1..=MAX_LINE_BYTES).contains(&size) {
        let place = settings
            .get("buf_size")
            .map_or(&settings.place, |s| &s.place);
        return Err(ConfigError::new(
            place,
            "'buf_size' must be between 1 and 16MiB",
        ));
    }
    let every = interval(settings)?;
    Ok(Box::new(Exec {
        command: settings.required("command")?.to_owned(),
        parser: settings
            .get("parser")
            .and_then(|s| find_parser_or_raw(environment, s)),
        max_line_bytes: size as usize,
        every: (!settings.bool("oneshot", false)?).then_some(every),
        exits: settings.bool("exit_after_oneshot", false)?,
        propagates: settings.bool("propagate_exit_code", true)?,
        host_name: environment.host_name.clone(),
        source: random_source(),
        n_made: 0,
    }))
}

impl Input for Exec {
    fn run(mut self: Box<Self>, link: Link) -> anyhow::Result<()> {
        let Some(every) = self.every else {
            let status = self.run_once(&link);
            if self.exits {
                self.leave(&status);
            }
            self.tell(&link, status);
            let _ = link.stop.recv();
            return Ok(());
        };
        let mut ticker = Ticker::new(&self.host_name, &[every]);
        while ticker.wait(&link.stop).is_some() {
            let status = self.run_once(&link);
            self.tell(&link, status);
        }
        Ok(())
    }
}

impl Exec {
    fn tell(&self, link: &Link, status: anyhow::Result<Option<ExitStatus>>) {
        let component = format!("input:{}", link.counters.name);
        match status {
            Err(error) => log::error(&component, format_args!("{error:#}")),
            Ok(Some(status)) if !status.success() => {
                log::warn(&component, format_args!("'{}': {status}", self.command));
            }
            Ok(_) => {}
        }
    }

    /// Stops the agent as a signal would, so that everything is delivered first.
    fn leave(&self, status: &anyhow::Result<Option<ExitStatus>>) {
        if self.propagates {
            use std::os::unix::process::ExitStatusExt;
            let code = match status {
                Ok(Some(s)) => s.code().unwrap_or_else(|| 128 + s.signal().unwrap_or(0)),
                Ok(None) => 0,
                Err(_) => 1,
            };
            EXIT_STATUS.store((code & 255) as u8, Ordering::Relaxed);
        }
        if let Err(error) = kill(Pid::this(), Signal::SIGTERM) {
            log::error("exec", format_args!("cannot stop the agent: {error}"));
        }
    }

    /// Runs the command to its end, or until the agent stops (`None`).
    fn run_once(&mut self, link: &Link) -> anyhow::Result<Option<ExitStatus>> {
        let mut child = Command::new("/bin/sh")
            .args(["-c", &self.command])
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .process_group(0)
            .spawn()
            .with_context(|| format!("failed to start '{}'", self.command))?;
        let lines = reader(&mut child, self.max_line_bytes)?;
        let finished = self.pump(link, &lines)?;
        if !finished {
            // The whole group: the shell's children hold the pipe as well.
            let group = Pid::from_raw(i32::try_from(child.id()).unwrap_or(i32::MAX));
            let _ = killpg(group, Signal::SIGKILL);
        }
        let status = child.wait().context("failed to wait for the command")?;
        Ok(finished.then_some(status))
    }

    /// Turns lines into batches; false when the agent stops before the last line.
    fn pump(&mut self, link: &Link, lines: &Receiver<Vec<u8>>) -> anyhow::Result<bool> {
        let mut batch = self.empty(link);
        loop {
            let line = crossbeam_channel::select! {
                recv(lines) -> line => line.map_err(|_| RecvTimeoutError::Disconnected),
                recv(link.stop) -> _ => return Ok(false),
                default(PAUSE) => Err(RecvTimeoutError::Timeout),
            };
            let is_end = line == Err(RecvTimeoutError::Disconnected);
            if let Ok(line) = &line {
                self.push(&mut batch, line);
            }
            if !batch.is_empty() && (line.is_err() || batch.size_bytes() >= BATCH_BYTES) {
                batch.source.to = Position::at(self.n_made);
                let full = std::mem::replace(&mut batch, self.empty(link));
                if link.send(RecordBatch::Logs(full), None).is_err() {
                    return Ok(false);
                }
            }
            if is_end {
                return Ok(true);
            }
        }
    }

    fn empty(&self, link: &Link) -> LogBatch {
        let resource = Resource::of_host(&self.host_name);
        let mut batch = LogBatch::new(link.tag.clone(), Arc::new(resource), Vec::new());
        batch.source = Source {
            id: self.source,
            from: Position::at(self.n_made),
            to: Position::at(self.n_made),
        };
        batch
    }

    fn push(&mut self, batch: &mut LogBatch, line: &[u8]) {
        self.n_made += 1;
        let row = batch.push(now_ns(), Position::at(self.n_made));
        let slice = batch.store(line);
        let mut parsed = Parsed::default();
        let fits = self.parser.as_ref().is_some_and(|parser| {
            parser.parse(line, batch.times()[row], &mut parsed) && parsed.write(batch, row, slice)
        });
        if fits {
            if let Some(time_ns) = parsed.time_ns {
                batch.set_time(row, time_ns);
            }
            return;
        }
        let column = batch.column_index_or_insert("exec");
        batch.set(column, row, Value::Text(slice));
    }
}

/// Reads the command's lines on a thread of its own, which ends with the pipe.
fn reader(child: &mut Child, max_line_bytes: usize) -> anyhow::Result<Receiver<Vec<u8>>> {
    let output = child.stdout.take().context("the command has no output")?;
    let (sender, lines) = bounded(MAX_WAITING_LINES);
    std::thread::Builder::new()
        .name("exec-reader".into())
        .spawn(move || {
            let mut output = BufReader::new(output);
            while let Some(line) = next_line(&mut output, max_line_bytes) {
                if sender.send(line).is_err() {
                    return;
                }
            }
        })?;
    Ok(lines)
}

/// The next line without its end; what is longer than `max_line_bytes` is cut off. `None` at the end.
pub(crate) fn next_line(output: &mut impl BufRead, max_line_bytes: usize) -> Option<Vec<u8>> {
    let mut line = Vec::new();
    let limit = max_line_bytes as u64 + 1;
    let n = output.take(limit).read_until(b'\n', &mut line).ok()?;
    if n == 0 {
        return None;
    }
    if line.last() == Some(&b'\n') {
        line.pop();
    } else if line.len() > max_line_bytes {
        line.truncate(max_line_bytes);
        skip_line(output);
    }
    Some(line)
}

/// Reads on to the end of a line that was too long.
fn skip_line(input: &mut impl BufRead) {
    loop {
        let Ok(bytes) = input.fill_buf() else { return };
        let (n, found) = match memchr::memchr(b'\n', bytes) {
            Some(at) => (at + 1, true),
            None => (bytes.len(), bytes.is_empty()),
        };
        input.consume(n);
        if found {
            return;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn exec(pairs: &[(&str, &str)]) -> Exec {
        let settings = Settings::of("exec", pairs);
        settings.check(OPTIONS).expect("valid");
        Exec {
            command: settings.required("command").expect("given").to_owned(),
            parser: None,
            max_line_bytes: settings.size("buf_size", 4096).expect("valid") as usize,
            every: None,
            exits: false,
            propagates: true,
            host_name: "n".into(),
            source: SourceId(7),
            n_made: 0,
        }
    }

    fn lines(pairs: &[(&str, &str)]) -> (Vec<String>, Option<i32>) {
        let (link, captured) = Link::captured("t", Duration::from_secs(1));
        let status = exec(pairs).run_once(&link).expect("it runs");
        let mut texts = Vec::new();
        for batch in captured.take() {
            let RecordBatch::Logs(batch) = &*batch else {
                panic!("logs")
            };
            assert_eq!(
                batch.source.to.offset,
                batch.source.from.offset + batch.len() as u64
            );
            for value in &batch.column("exec").expect("text").values {
                let Value::Text(slice) = value else {
                    panic!("text")
                };
                texts.push(String::from_utf8_lossy(batch.bytes(*slice)).into_owned());
            }
        }
        (texts, status.and_then(|s| s.code()))
    }

    #[test]
    fn each_line_is_a_record() {
        let (texts, code) = lines(&[("command", "echo hi; echo; printf there; exit 3")]);
        assert_eq!(texts, ["hi", "", "there"]);
        assert_eq!(code, Some(3));
        let (texts, _) = lines(&[("command", "echo abcdefgh; echo x"), ("buf_size", "4")]);
        assert_eq!(texts, ["abcd", "x"]);
    }

    #[test]
    fn a_stop_kills_the_command() {
        let (link, mut captured) = Link::captured("t", Duration::from_secs(1));
        captured.stop();
        let status = exec(&[("command", "sleep 1000 | cat")]).run_once(&link);
        assert_eq!(status.expect("it ran"), None);
    }
}
