//! `flowcounter`: prints how many records and bytes came in each second, minute, hour or day.
//!
//! An interval is printed when the first record after it arrives. With `event_based` the records'
//! own times count; a late record is counted in the open interval, where Fluent Bit leaves it out.

use std::sync::Mutex;

use kansoku_model::{ConfigError, OptionKind, OptionSpec, Plugin, RecordBatch, Settings};

use crate::counter::{now_seconds, print};
use crate::render::{kubernetes_json, split_seconds};
use crate::tcp::logs;
use crate::{Output, OutputEnvironment, OutputPlugin, Request, SendFuture, msgpack};

/// The plugin.
pub const PLUGIN: OutputPlugin = Plugin {
    name: "flowcounter",
    about: "Prints records and bytes per second, minute, hour or day.",
    options: &[
        OptionSpec::new(
            "unit",
            OptionKind::Choice(&["second", "minute", "hour", "day"]),
            "minute",
            "length of an interval",
        ),
        OptionSpec::new(
            "event_based",
            OptionKind::Bool,
            "off",
            "go by the records' times instead of the clock",
        ),
    ],
    example: "[OUTPUT]\n    Name   flowcounter\n    Match  *\n    Unit   second\n",
    build,
};

#[derive(Clone, Copy, Default)]
struct Interval {
    until: i64,
    counts: u64,
    bytes: u64,
}

struct FlowCounter {
    unit: &'static str,
    tick: i64,
    event_based: bool,
    /// The open interval; held while a request is counted.
    open: Mutex<Interval>,
}

fn build(settings: &Settings, _: &OutputEnvironment) -> Result<Box<dyn Output>, ConfigError> {
    settings.check(PLUGIN.options)?;
    let unit = settings.text("unit", "minute").to_ascii_lowercase();
    let (unit, tick) = match unit.as_str() {
        "second" => ("second", 1),
        "hour" => ("hour", 3600),
        "day" => ("day", 86_400),
        _ => ("minute", 60),
    };
    Ok(Box::new(FlowCounter {
        unit,
        tick,
        event_based: settings.bool("event_based", false)?,
        open: Mutex::default(),
    }))
}

impl FlowCounter {
    /// Counts one record; appends the interval that it ends.
    fn count(&self, open: &mut Interval, seconds: i64, bytes: u64, out: &mut String) {
        if open.until == 0 {
            open.until = seconds + self.tick;
        } else if seconds > open.until {
            let Interval {
                until,
                counts,
                bytes,
            } = *open;
            let (unit, tick) = (self.unit, self.tick as u64);
            out.push_str(&format!(
                "[out_flowcounter] [{until}, {{\"counts\":{counts}, \"bytes\":{bytes}, \
                 \"counts/{unit}\":{}, \"bytes/{unit}\":{} }}]\n",
                counts / tick,
                bytes / tick
            ));
            let steps = (seconds - until + self.tick - 1) / self.tick;
            *open = Interval {
                until: until + steps * self.tick,
                ..Interval::default()
            };
        }
        open.counts += 1;
        open.bytes += bytes;
    }

    fn lines(&self, request: &Request<'_>, now: i64) -> String {
        let mut open = self.open.lock().expect("nobody panics with the lock");
        let (mut text, mut event) = (String::new(), Vec::new());
        for batch in logs(request) {
            let kubernetes = msgpack::from_json(&kubernetes_json(batch));
            for row in 0..batch.len() {
                event.clear();
                msgpack::write_event(&mut event, batch, row, &kubernetes);
                let seconds = match self.event_based {
                    true => split_seconds(batch.times()[row]).0,
                    false => now,
                };
                self.count(&mut open, seconds, event.len() as u64, &mut text);
            }
        }
        text
    }
}

impl Output for FlowCounter {
    fn send<'a>(&'a self, request: Request<'a>) -> SendFuture<'a> {
        Box::pin(print(self.lines(&request, now_seconds() as i64)))
    }

    fn takes(&self, batch: &RecordBatch) -> bool {
        matches!(batch, RecordBatch::Logs(_))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_interval_is_printed_when_it_is_over() {
        let counter = FlowCounter {
            unit: "minute",
            tick: 60,
            event_based: false,
            open: Mutex::default(),
        };
        let (mut open, mut out) = (Interval::default(), String::new());
        for seconds in [100, 130, 160, 90] {
            counter.count(&mut open, seconds, 60, &mut out);
        }
        assert_eq!(out, "");
        counter.count(&mut open, 400, 1, &mut out);
        assert_eq!(
            out,
            "[out_flowcounter] [160, {\"counts\":4, \"bytes\":240, \"counts/minute\":0, \"bytes/minute\":4 }]\n"
        );
        assert_eq!((open.until, open.counts), (400, 1));
    }
}
