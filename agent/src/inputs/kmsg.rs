//! `kmsg`: the kernel's log, from /dev/kmsg.
//!
//! The source is the boot and the position the kernel's own sequence number, so the native output's
//! receiver recognises what a restarted agent reads again. While the pipeline has no room nothing is
//! read: the kernel's ring is the buffer, and what it overwrites meanwhile is counted by the numbers.

use std::fs::File;
use std::io::{ErrorKind, Read};
use std::os::fd::AsFd;
use std::os::unix::fs::OpenOptionsExt;
use std::path::PathBuf;
use std::sync::Arc;

use anyhow::Context;
use kansoku_model::{
    ConfigError, LogBatch, OptionKind, OptionSpec, Plugin, Position, RecordBatch, Resource, Source,
    SourceId, Value,
};
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};

use crate::collectors::kernel_file::read_word;
use crate::filters::parser::now_ns;
use crate::log;
use crate::pipeline::Link;
use crate::plugin::{Input, InputPlugin};

/// The plugin.
pub const PLUGIN: InputPlugin = Plugin {
    name: "kmsg",
    about: "Reads the kernel's log.",
    options: &[OptionSpec::new(
        "prio_level",
        OptionKind::Int,
        "8",
        "leave out what is less important than this, 0 (emergency) to 8 (everything)",
    )],
    example: "[INPUT]\n    Name        kmsg\n    Tag         kernel\n    Prio_Level  4\n",
    build: |settings, environment| {
        settings.check(PLUGIN.options)?;
        let level = settings.int("prio_level", 8)?;
        let level = u8::try_from(level)
            .ok()
            .filter(|l| *l <= 8)
            .ok_or_else(|| {
                let place = settings
                    .get("prio_level")
                    .map_or(&settings.place, |s| &s.place);
                ConfigError::new(
                    place,
                    format!("'prio_level' is {level}, but must be 0 to 8"),
                )
            })?;
        Ok(Box::new(Kmsg {
            path: "/dev/kmsg".into(),
            level,
            host_name: environment.host_name.clone(),
        }))
    },
};

/// The kernel gives one record per read and never more than this.
const RECORD_BYTES: usize = 8192;
/// Records of one batch at the most.
const MAX_BATCH: usize = 1000;
/// How soon a stop is noticed.
const LOOK_MS: u16 = 250;

struct Kmsg {
    path: PathBuf,
    level: u8,
    host_name: Arc<str>,
}

/// One record of /dev/kmsg (Documentation/ABI/testing/dev-kmsg).
#[derive(Debug, PartialEq)]
struct Line<'a> {
    priority: u8,
    sequence: u64,
    /// Since boot.
    time_us: u64,
    text: &'a [u8],
}

fn parse(record: &[u8]) -> Option<Line<'_>> {
    let at = memchr::memchr(b';', record)?;
    let head = std::str::from_utf8(&record[..at]).ok()?;
    let mut parts = head.split(',');
    let facility_and_priority: u64 = parts.next()?.parse().ok()?;
    let (sequence, time_us) = (parts.next()?.parse().ok()?, parts.next()?.parse().ok()?);
    // Lines after the first are its dictionary: " SUBSYSTEM=pci".
    let text = record[at + 1..].split(|b| *b == b'\n').next()?;
    Some(Line {
        priority: (facility_and_priority & 7) as u8,
        sequence,
        time_us,
        text,
    })
}

impl Input for Kmsg {
    fn run(self: Box<Self>, link: Link) -> anyhow::Result<()> {
        let mut file = std::fs::OpenOptions::new()
            .read(true)
            .custom_flags(nix::libc::O_NONBLOCK)
            .open(&self.path)
            .with_context(|| format!("failed to open {}", self.path.display()))?;
        let resource = Arc::new(Resource::of_host(&self.host_name));
        let boot = read_word("/proc/sys/kernel/random/boot_id".as_ref()).unwrap_or_default();
        let source = SourceId(1).derived(&format!("kmsg {boot} {}", self.host_name));
        let mut last = Position::default();
        while link.stop.try_recv() == Err(crossbeam_channel::TryRecvError::Empty) {
            if !readable(&file)? {
                continue;
            }
            let mut batch = LogBatch::new(link.tag.clone(), resource.clone(), Vec::new());
            let to = self.read(&mut file, &mut batch, last, &link)?;
            batch.source = Source {
                id: source,
                from: last,
                to,
            };
            last = to;
            if !batch.is_empty() && link.send(RecordBatch::Logs(batch), None).is_err() {
                return Ok(());
            }
        }
        Ok(())
    }
}

fn readable(file: &File) -> anyhow::Result<bool> {
    let mut wanted = [PollFd::new(file.as_fd(), PollFlags::POLLIN)];
    match poll(&mut wanted, PollTimeout::from(LOOK_MS)) {
        Ok(n) => Ok(n > 0),
        Err(nix::errno::Errno::EINTR) => Ok(false),
        Err(error) => Err(error).context("failed to wait for the kernel's log"),
    }
}

impl Kmsg {
    /// Reads what is there, up to a batch. Returns the position of the last record.
    fn read(
        &self,
        file: &mut File,
        batch: &mut LogBatch,
        from: Position,
        link: &Link,
    ) -> anyhow::Result<Position> {
        let (mut buffer, mut last) = ([0; RECORD_BYTES], from);
        let boot_ns = now_ns().saturating_sub(uptime_ns());
        while batch.len() < MAX_BATCH {
            let n = match file.read(&mut buffer) {
                Ok(0) => break,
                Ok(n) => n,
                Err(e) if e.kind() == ErrorKind::WouldBlock => break,
                Err(e) if e.kind() == ErrorKind::Interrupted => continue,
                // The ring was overwritten before it was read; the next read goes on behind the gap.
                Err(e) if e.raw_os_error() == Some(nix::libc::EPIPE) => {
                    log::warn(
                        &format!("input:{}", link.counters.name),
                        "the kernel overwrote records before they were read",
                    );
                    continue;
                }
                Err(e) => return Err(e).context("failed to read the kernel's log"),
            };
            if let Some(line) = parse(&buffer[..n]) {
                let n_missed = self.take(batch, &line, &mut last, boot_ns);
                link.counters.missed_records.add(n_missed);
            }
        }
        Ok(last)
    }

    /// Adds a line behind `last`; how many the kernel has overwritten before it.
    fn take(
        &self,
        batch: &mut LogBatch,
        line: &Line<'_>,
        last: &mut Position,
        boot_ns: i64,
    ) -> u64 {
        let position = position_of(line);
        if position <= *last {
            return 0;
        }
        // What was overwritten before the first reading was perhaps read by an earlier life.
        let is_first = *last == Position::default();
        let n_missed = line.sequence.saturating_sub(last.offset);
        *last = position;
        if line.priority <= self.level {
            push(batch, line, boot_ns);
        }
        if is_first { 0 } else { n_missed }
    }
}

/// Behind the line; the kernel counts from 0.
fn position_of(line: &Line<'_>) -> Position {
    Position::at(line.sequence.saturating_add(1))
}

fn push(batch: &mut LogBatch, line: &Line<'_>, boot_ns: i64) {
    let time_ns = boot_ns.saturating_add_unsigned(line.time_us.saturating_mul(1000));
    let row = batch.push(time_ns, position_of(line));
    let int = |n: u64| Value::Int(i64::try_from(n).unwrap_or(i64::MAX));
    let text = Value::Text(batch.store(line.text));
    for (name, value) in [
        ("priority", int(line.priority.into())),
        ("sequence", int(line.sequence)),
        ("sec", int(line.time_us / 1_000_000)),
        ("usec", int(line.time_us % 1_000_000)),
        ("msg", text),
    ] {
        let column = batch.column_index_or_insert(name);
        batch.set(column, row, value);
    }
}

/// A record of /dev/kmsg as a batch.
#[cfg(feature = "fuzzing")]
pub(crate) fn read_record(record: &[u8]) -> Option<LogBatch> {
    let line = parse(record)?;
    let mut batch = LogBatch::default();
    push(&mut batch, &line, 1_795_251_600_000_000_000);
    Some(batch)
}

/// Time since boot as the kernel's log counts it: without suspension.
fn uptime_ns() -> i64 {
    let clock = nix::time::clock_gettime(nix::time::ClockId::CLOCK_MONOTONIC);
    clock.map_or(0, |t| t.tv_sec() * 1_000_000_000 + t.tv_nsec())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn overwritten_records_are_counted_and_the_last_number_is_one() {
        let kmsg = Kmsg {
            path: "".into(),
            level: 6,
            host_name: "h".into(),
        };
        let (mut batch, mut last) = (LogBatch::default(), Position::default());
        for (line, n_missed, n_records) in [
            ("6,10,1;first", 0, 1),
            ("6,11,1;next", 0, 2),
            ("6,11,1;again", 0, 2),
            ("7,15,1;unimportant", 3, 2),
            ("6,16,1;next", 0, 3),
            (
                "6,18446744073709551615,1;the last there can be",
                u64::MAX - 17,
                4,
            ),
            ("6,18446744073709551615,1;again", 0, 4),
        ] {
            let line = parse(line.as_bytes()).expect("a line");
            assert_eq!(kmsg.take(&mut batch, &line, &mut last, 0), n_missed);
            assert_eq!(batch.len(), n_records);
        }
        assert_eq!(last, Position::at(u64::MAX));
    }

    #[test]
    fn records_are_read_as_the_kernel_writes_them() {
        let record = b"30,17,1234567,-,caller=T1;systemd[1]: Started x; y\n SUBSYSTEM=pci\n";
        let line = parse(record).expect("a record");
        assert_eq!(
            line,
            Line {
                priority: 6,
                sequence: 17,
                time_us: 1_234_567,
                text: b"systemd[1]: Started x; y",
            }
        );
        for bad in [&b""[..], b";", b"6,1;x", b"a,1,2;x", b"6,1,2"] {
            assert_eq!(parse(bad), None);
        }
        let mut batch = LogBatch::default();
        push(&mut batch, &line, 1_000);
        assert_eq!(batch.times(), [1_234_568_000]);
        let mut out = Vec::new();
        kansoku_model::json::write_fields(&mut out, &batch, 0, true);
        assert_eq!(
            String::from_utf8_lossy(&out),
            r#""priority":6,"sequence":17,"sec":1,"usec":234567,"msg":"systemd[1]: Started x; y""#
        );
    }
}
