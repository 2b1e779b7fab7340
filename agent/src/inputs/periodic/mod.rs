//! Inputs that make a record every so often: Fluent Bit's `cpu`, `mem`, `disk`, `netif`, `proc`, `head`,
//! `health` and `random`. Each is a [`Probe`] in a file of its own; when to ask it and how
//! its record becomes a batch stands here.
//!
//! The rule: a probe that fails says so once per kind of failure and is asked again; it never ends
//! the input.

pub mod cpu;
pub mod disk;
pub mod head;
pub mod health;
pub mod mem;
pub mod netif;
pub mod proc;
pub mod random;

use std::sync::Arc;
use std::time::Duration;

use kansoku_model::{
    ConfigError, LogBatch, OptionKind, OptionSpec, RecordBatch, Resource, Settings, Value,
};

use super::ticker::{MIN_INTERVAL, Tick, Ticker};
use crate::log;
use crate::pipeline::Link;
use crate::plugin::{Environment, Input};

/// The options that all of these inputs share.
pub const INTERVAL_OPTIONS: &[OptionSpec] = &[
    OptionSpec::new(
        "interval_sec",
        OptionKind::Int,
        "1",
        "seconds between records",
    ),
    OptionSpec::new(
        "interval_nsec",
        OptionKind::Int,
        "0",
        "nanoseconds on top of interval_sec",
    ),
];

/// A value of a record.
#[derive(Debug, Clone, PartialEq)]
pub enum Field {
    Bool(bool),
    Int(u64),
    Float(f64),
    Text(Vec<u8>),
}

/// Names and values in order.
pub type Record = Vec<(String, Field)>;

/// Something that can be asked for a record.
pub trait Probe: Send {
    /// Appends what is known now; nothing when there is nothing to tell (the first of two readings,
    /// or all is well and only alerts are wanted).
    ///
    /// # Errors
    /// When it cannot be known now.
    fn ask(&mut self, record: &mut Record) -> anyhow::Result<()>;

    /// How many records it gives at the most; then the input rests.
    fn limit(&self) -> Option<u64> {
        None
    }
}

/// A probe with its clock.
pub struct Periodic {
    probe: Box<dyn Probe>,
    every: Duration,
    host_name: Arc<str>,
}

/// Reads the interval and makes the input.
///
/// # Errors
/// When the interval is too long or too short.
pub fn input(
    settings: &Settings,
    environment: &Environment,
    probe: impl Probe + 'static,
) -> Result<Box<dyn Input>, ConfigError> {
    Ok(Box::new(Periodic {
        probe: Box::new(probe),
        every: interval(settings)?,
        host_name: environment.host_name.clone(),
    }))
}

/// `interval_sec` and `interval_nsec` together. Zero means one second, as in Fluent Bit.
///
/// # Errors
/// When one is negative, or both together are under a tenth of a second.
pub fn interval(settings: &Settings) -> Result<Duration, ConfigError> {
    let part = |key: &str, default: i64| {
        let value = settings.int(key, default)?;
        u64::try_from(value).map_err(|_| {
            let place = settings.get(key).map_or(&settings.place, |s| &s.place);
            ConfigError::new(
                place,
                format!("'{key}' is {value}, but must not be negative"),
            )
        })
    };
    let nanoseconds = part("interval_nsec", 0)?;
    let is_only_fraction = settings.get("interval_sec").is_none() && nanoseconds > 0;
    let seconds = part("interval_sec", i64::from(!is_only_fraction))?;
    let all = Duration::from_secs(seconds).saturating_add(Duration::from_nanos(nanoseconds));
    if all.is_zero() {
        return Ok(Duration::from_secs(1));
    }
    if all < MIN_INTERVAL {
        let message = "interval_sec and interval_nsec together must be at least 0.1 s";
        return Err(ConfigError::new(&settings.place, message));
    }
    Ok(all)
}

impl Input for Periodic {
    fn run(mut self: Box<Self>, link: Link) -> anyhow::Result<()> {
        let mut ticker = Ticker::new(&self.host_name, &[self.every]);
        let resource = Arc::new(Resource::of_host(&self.host_name));
        let (mut record, mut last_failure, mut n_records) = (Record::new(), String::new(), 0);
        while let Some(tick) = ticker.wait(&link.stop) {
            record.clear();
            if let Err(error) = self.probe.ask(&mut record) {
                let failure = format!("{error:#}");
                if failure != last_failure {
                    log::warn(
                        &format!("input:{}", link.counters.name),
                        format_args!("no record: {failure}"),
                    );
                    last_failure = failure;
                }
                continue;
            }
            last_failure.clear();
            if record.is_empty() {
                continue;
            }
            let batch = batch_of(link.tag.clone(), resource.clone(), &tick, &record);
            if link.send(RecordBatch::Logs(batch), None).is_err() {
                return Ok(());
            }
            n_records += 1;
            if self.probe.limit().is_some_and(|limit| n_records >= limit) {
                // As in Fluent Bit the agent goes on running.
                let _ = link.stop.recv();
                return Ok(());
            }
        }
        Ok(())
    }
}

fn batch_of(tag: Arc<str>, resource: Arc<Resource>, tick: &Tick, record: &Record) -> LogBatch {
    let mut batch = LogBatch::new(tag, resource, Vec::new());
    batch.source = tick.source;
    let row = batch.push(tick.now_ms * 1_000_000, tick.source.to);
    for (name, field) in record {
        let value = match field {
            Field::Bool(b) => Value::Bool(*b),
            Field::Int(n) => Value::Int(i64::try_from(*n).unwrap_or(i64::MAX)),
            Field::Float(f) => Value::Float(*f),
            Field::Text(text) => Value::Text(batch.store(text)),
        };
        let column = batch.column_index_or_insert(name);
        batch.set(column, row, value);
    }
    batch
}

/// What every probe of the kernel's files says when it is asked twice, with `change` between.
#[cfg(feature = "fuzzing")]
pub(crate) fn ask_all(
    proc: &std::path::Path,
    change: impl FnOnce(),
) -> Vec<anyhow::Result<Record>> {
    let mut probes: [Box<dyn Probe>; 5] = [
        Box::new(cpu::probe(proc)),
        Box::new(mem::probe(proc)),
        Box::new(disk::probe(proc)),
        Box::new(netif::probe(proc)),
        Box::new(proc::probe(proc)),
    ];
    let ask = |probe: &mut Box<dyn Probe>| {
        let mut record = Record::new();
        probe.ask(&mut record).map(|()| record)
    };
    let mut told: Vec<_> = probes.iter_mut().map(ask).collect();
    change();
    told.extend(probes.iter_mut().map(ask));
    told
}

/// What a probe says, as a JSON object: for tests.
#[cfg(test)]
fn told(probe: &mut dyn Probe) -> String {
    let mut record = Record::new();
    probe.ask(&mut record).expect("it can be known");
    let tick = Tick {
        now_ms: 0,
        is_due: Vec::new(),
        source: kansoku_model::Source::default(),
    };
    let batch = batch_of("t".into(), Arc::default(), &tick, &record);
    let mut out = Vec::new();
    kansoku_model::json::write_fields(&mut out, &batch, 0, true);
    String::from_utf8(out).expect("UTF-8")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_interval_has_two_parts() {
        let of = |pairs: &[(&str, &str)]| interval(&Settings::of("cpu", pairs)).ok();
        assert_eq!(of(&[]), Some(Duration::from_secs(1)));
        assert_eq!(of(&[("interval_sec", "0")]), Some(Duration::from_secs(1)));
        assert_eq!(
            of(&[("interval_sec", "2"), ("interval_nsec", "500000000")]),
            Some(Duration::from_millis(2500))
        );
        assert_eq!(
            of(&[("interval_nsec", "500000000")]),
            Some(Duration::from_millis(500))
        );
        assert_eq!(of(&[("interval_sec", "0"), ("interval_nsec", "5")]), None);
        assert_eq!(of(&[("interval_sec", "-1")]), None);
    }
}
