//! `statsd`: samples in StatsD's line protocol over UDP, as log records or as metrics.
//!
//! A line is a sample for itself, as in Fluent Bit: nothing is summed up here. A line that cannot be
//! read is reported and passed; its neighbours in the datagram are taken.

use std::net::SocketAddr;
use std::sync::Arc;

use kansoku_model::{
    ConfigError, MetricBatch, MetricKind, OptionKind, OptionSpec, Plugin, Resource, Settings, Value,
};
use kansoku_parsers::wire::records::Records;

use super::net::datagram::{self, Socket};
use super::net::{Net, listen, resource, run, stream::begin};
use super::unix_ms;
use crate::log;
use crate::pipeline::Link;
use crate::plugin::{Environment, Input, InputPlugin};

/// The plugin.
pub const PLUGIN: InputPlugin = Plugin {
    name: "statsd",
    about: "Takes StatsD samples over UDP.",
    options: &[
        OptionSpec::new(
            "listen",
            OptionKind::Text,
            "0.0.0.0",
            "address to listen on",
        ),
        OptionSpec::new("port", OptionKind::Int, "8125", "port to listen on"),
        OptionSpec::new(
            "metrics",
            OptionKind::Bool,
            "off",
            "make metrics of the samples instead of log records",
        ),
    ],
    example: "[INPUT]\n    Name     statsd\n    Listen   0.0.0.0\n    Port     8125\n    Metrics  on\n",
    build,
};

const PORT: u16 = 8125;
/// In the log.
const NAME: &str = "input:statsd";
/// Label pairs of one sample.
const MAX_TAGS: usize = 128;
/// What Fluent Bit says of a metric that has no help text.
const HELP: &str = "-";

struct Statsd {
    address: SocketAddr,
    metrics: bool,
    resource: Arc<Resource>,
}

fn build(settings: &Settings, environment: &Environment) -> Result<Box<dyn Input>, ConfigError> {
    settings.check(PLUGIN.options)?;
    Ok(Box::new(Statsd {
        address: listen::address(settings, PORT)?,
        metrics: settings.bool("metrics", false)?,
        resource: resource(environment),
    }))
}

impl Input for Statsd {
    fn can_wait(&self) -> bool {
        false
    }

    fn run(self: Box<Self>, link: Link) -> anyhow::Result<()> {
        let Self {
            address,
            metrics,
            resource,
        } = *self;
        run(link, move |Net { pipe }| async move {
            let socket = Socket::udp(address, None)?;
            if metrics {
                let tag = pipe.link.tag.clone();
                datagram::serve_metrics(NAME, socket, pipe, move |bytes| {
                    let mut batch =
                        MetricBatch::new(tag.clone(), resource.clone(), unix_ms() as i64);
                    samples(bytes).for_each(|sample| sample.add_to(&mut batch));
                    (!batch.points().is_empty()).then_some(batch)
                })
                .await
            } else {
                datagram::serve(NAME, socket, pipe, resource, |bytes, _, records| {
                    samples(bytes).for_each(|sample| sample.write(records));
                })
                .await
            }
        })
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    Counter,
    Gauge,
    Timer,
    Set,
}

/// `bucket:value|type|@rate|#key:value,...`
#[derive(Debug, Clone, PartialEq)]
struct Sample<'a> {
    bucket: &'a str,
    value: &'a str,
    kind: Kind,
    rate: f64,
    tags: &'a str,
}

/// The samples of a datagram.
fn samples(bytes: &[u8]) -> impl Iterator<Item = Sample<'_>> {
    // As in Fluent Bit, where a datagram is a C string.
    let end = memchr::memchr(0, bytes).unwrap_or(bytes.len());
    let lines = bytes[..end].split(|&b| b == b'\n');
    lines
        .filter(|line| !line.trim_ascii().is_empty())
        .filter_map(|line| {
            let sample = std::str::from_utf8(line).ok().and_then(Sample::parse);
            if sample.is_none() {
                let shown = String::from_utf8_lossy(&line[..line.len().min(100)]);
                log::warn(
                    NAME,
                    format_args!("'{shown}' is no sample; one is BUCKET:VALUE|TYPE"),
                );
            }
            sample
        })
}

impl<'a> Sample<'a> {
    fn parse(line: &'a str) -> Option<Self> {
        let (bucket, rest) = line.split_once(':')?;
        let (value, rest) = rest.split_once('|')?;
        let kind = match rest.as_bytes() {
            [b'g', ..] => Kind::Gauge,
            [b's', ..] => Kind::Set,
            [b'm', b's', ..] => Kind::Timer,
            _ => Kind::Counter,
        };
        let behind = |mark: &str| rest.split_once(mark).map(|(_, text)| text);
        let rate = behind("|@").map_or(0.0, leading_number);
        Some(Self {
            bucket,
            value,
            kind,
            rate: if rate == 0.0 { 1.0 } else { rate },
            tags: behind("|#").unwrap_or_default(),
        })
    }

    fn is_incremental(&self) -> bool {
        self.value.starts_with(['+', '-'])
    }

    /// As a log record.
    fn write(&self, records: &mut Records<'_>) {
        begin(records);
        let kind = match self.kind {
            Kind::Counter => "counter",
            Kind::Gauge => "gauge",
            Kind::Timer => "timer",
            Kind::Set => "set",
        };
        for (key, text) in [("type", kind), ("bucket", self.bucket)] {
            let value = records.text(text.as_bytes());
            records.set(key.as_bytes(), value);
        }
        let number = Value::Float(leading_number(self.value));
        match self.kind {
            Kind::Counter | Kind::Timer => {
                records.set(b"value", number);
                records.set(b"sample_rate", Value::Float(self.rate));
            }
            Kind::Gauge => {
                records.set(b"value", number);
                records.set(b"incremental", Value::Int(self.is_incremental().into()));
            }
            Kind::Set => {
                let text = records.text(self.value.as_bytes());
                records.set(b"value", text);
            }
        }
    }

    /// As a sample of a metric.
    fn add_to(&self, batch: &mut MetricBatch) {
        let kind = match self.kind {
            Kind::Counter => MetricKind::Counter,
            Kind::Gauge | Kind::Timer => MetricKind::Gauge,
            Kind::Set => MetricKind::Unknown,
        };
        let number = leading_number(self.value);
        let value = if self.rate > 0.0 && self.rate < 1.0 {
            number / self.rate
        } else {
            number
        };
        let tags = self.tags.split('|').next().unwrap_or_default();
        let tags = tags.split(',').filter_map(|tag| tag.split_once(':'));
        let incremental = self.is_incremental().then_some(("incremental", "true"));
        let mut labels: Vec<(&str, &str)> = Vec::new();
        for (name, value) in incremental.into_iter().chain(tags).take(MAX_TAGS) {
            // A name twice would be no series.
            if !labels.iter().any(|(known, _)| *known == name) {
                labels.push((name, value));
            }
        }
        let family = batch.family(self.bucket, kind, HELP);
        batch.sample(family, &labels, value);
    }
}

/// What a datagram becomes, as log records and as metrics.
#[cfg(feature = "fuzzing")]
pub(crate) fn read_datagram(bytes: &[u8]) -> (Vec<kansoku_model::LogBatch>, MetricBatch) {
    use kansoku_parsers::wire::records::Stream;

    let mut stream = Stream::new(kansoku_model::SourceId(1));
    let mut records = Records::new(&mut stream, "t".into(), Arc::default());
    samples(bytes).for_each(|sample| sample.write(&mut records));
    let logs = records.finish();
    let mut metrics = MetricBatch::new("t".into(), Arc::default(), 1);
    samples(bytes).for_each(|sample| sample.add_to(&mut metrics));
    (logs, metrics)
}

/// The number that a text begins with, 0 where there is none: C's strtod in what StatsD uses of it.
fn leading_number(text: &str) -> f64 {
    let text = text.trim_start();
    let number = |c: char| c.is_ascii_digit() || matches!(c, '+' | '-' | '.' | 'e' | 'E');
    let end = text.find(|c| !number(c)).unwrap_or(text.len());
    // Short texts only: each try is a parse.
    let longest = end.min(64);
    (1..=longest)
        .rev()
        .find_map(|end| text[..end].parse().ok())
        .unwrap_or(0.0)
}

#[cfg(test)]
mod tests {
    use std::net::UdpSocket;
    use std::time::Duration;

    use kansoku_model::RecordBatch;

    use super::super::net::testing::{start, until};
    use super::*;

    fn input(metrics: bool) -> (Box<dyn Input>, SocketAddr) {
        let free = UdpSocket::bind("127.0.0.1:0").expect("a port");
        let address = free.local_addr().expect("bound");
        let input = Statsd {
            address,
            metrics,
            resource: Arc::default(),
        };
        assert!(
            !input.can_wait(),
            "datagrams come whether there is room or not"
        );
        (Box::new(input), address)
    }

    fn send(address: SocketAddr, text: &str) {
        let socket = UdpSocket::bind("127.0.0.1:0").expect("a port");
        socket.send_to(text.as_bytes(), address).expect("sent");
    }

    /// As Fluent Bit 5.1.1 gives them, but for the timer: it writes type, bucket and value of one twice.
    #[test]
    fn lines_become_records() {
        let (input, address) = input(false);
        let running = start(input, "s");
        // Until it listens.
        until(|| {
            send(address, "c:1|c");
            std::thread::sleep(Duration::from_millis(20));
            (!running.captured.take().is_empty()).then_some(())
        });
        send(
            address,
            "a.b:2|c|@0.1|#t:1\nbad\ng:-3.5|g\ng:7|g\nt:320|ms|@0.5\nu:765|s\nn:x|c\n",
        );
        let records = running.records(6);
        let last: Vec<&str> = records[records.len() - 6..].iter().map(|r| &**r).collect();
        assert_eq!(
            last,
            [
                r#"s {"type":"counter","bucket":"a.b","value":2.0,"sample_rate":0.1}"#,
                r#"s {"type":"gauge","bucket":"g","value":-3.5,"incremental":1}"#,
                r#"s {"type":"gauge","bucket":"g","value":7.0,"incremental":0}"#,
                r#"s {"type":"timer","bucket":"t","value":320.0,"sample_rate":0.5}"#,
                r#"s {"type":"set","bucket":"u","value":"765"}"#,
                r#"s {"type":"counter","bucket":"n","value":0.0,"sample_rate":1.0}"#,
            ]
        );
        running.stop();
    }

    #[test]
    fn lines_become_metrics() {
        let (input, address) = input(true);
        let running = start(input, "s");
        let text = "a.b:2|c|@0.1|#t:1,u:2,v:3,t:4\ng:+3|g|#x:y\nu:5|s\nt:320|ms\n";
        let batch = until(|| {
            send(address, text);
            std::thread::sleep(Duration::from_millis(20));
            running.captured.take().pop()
        });
        let RecordBatch::Metrics(batch) = &*batch else {
            panic!("metrics")
        };
        let shown: Vec<String> = batch
            .points()
            .iter()
            .map(|point| {
                let family = batch.family_of(point);
                let labels: Vec<_> = batch.labels_of(point).collect();
                let name = batch.text(family.name);
                format!("{} {name} {labels:?} {}", family.kind.as_str(), point.value)
            })
            .collect();
        assert_eq!(
            shown,
            [
                r#"counter a.b [("t", "1"), ("u", "2"), ("v", "3")] 20"#,
                r#"gauge g [("incremental", "true"), ("x", "y")] 3"#,
                "untyped u [] 5",
                "gauge t [] 320",
            ]
        );
        running.stop();
    }

    #[test]
    fn numbers_are_read_as_far_as_they_go() {
        for (text, expected) in [
            ("12", 12.0),
            (" -1.5e2x", -150.0),
            ("1e", 1.0),
            ("+7", 7.0),
            ("x", 0.0),
            ("", 0.0),
            ("-", 0.0),
            (".5", 0.5),
        ] {
            assert_eq!(
                leading_number(text).to_bits(),
                f64::to_bits(expected),
                "{text}"
            );
        }
    }
}
