//! `kinesis_streams`: puts records into an Amazon Kinesis data stream.
//!
//! Each record is a line of JSON, as Fluent Bit's is. The partition key is made of the source: a
//! source's records stay in one shard and keep their order, where Fluent Bit spreads them at random.
//! Kinesis answers record by record; those it was too busy for are sent again, alone.

use base64::Engine;
use jiff::Timestamp;
use kansoku_model::{
    ConfigError, LogBatch, OptionKind, OptionSpec, Plugin, RecordBatch, Settings, joined, json,
};

use crate::accessor::Accessor;
use crate::aws_call::{self, AwsService};
use crate::object::{Packing, pack, packing};
use crate::render::{kubernetes_json, split_seconds, write_fields};
use crate::{
    Outcome, Output, OutputEnvironment, OutputPlugin, RecordRef, Request, SendFuture, Unicode, net,
};

const fn text(name: &'static str, default: &'static str, about: &'static str) -> OptionSpec {
    OptionSpec::new(name, OptionKind::Text, default, about)
}

/// The options that `kinesis_firehose` has too.
pub(crate) const LINE_OPTIONS: &[OptionSpec] = &[
    text("time_key", "", "key that gets the time"),
    text(
        "time_key_format",
        "%Y-%m-%dT%H:%M:%S",
        "form of the time; also %3N, %6N, %9N and %L for parts of a second",
    ),
    text("log_key", "", "field to send alone"),
    text("compression", "", "gzip or zstd: compress each record"),
    OptionSpec::new(
        "simple_aggregation",
        OptionKind::Bool,
        "off",
        "put as many records into one as fit",
    ),
];
const NAMED: &[OptionSpec] = &joined::<{ 1 + LINE_OPTIONS.len() }>(
    &[text("stream", "", "name of the stream")],
    LINE_OPTIONS,
);
const OWN: &[OptionSpec] =
    &joined::<{ NAMED.len() + aws_call::OPTIONS.len() }>(NAMED, aws_call::OPTIONS);
const OPTIONS: &[OptionSpec] = &joined::<{ OWN.len() + net::OPTIONS.len() }>(OWN, net::OPTIONS);

/// The plugin.
pub const PLUGIN: OutputPlugin = Plugin {
    name: "kinesis_streams",
    about: "Puts records into an Amazon Kinesis data stream.",
    options: OPTIONS,
    example: "[OUTPUT]\n    Name    kinesis_streams\n    Match   *\n    Region  eu-central-1\n    Stream  logs\n",
    build,
};

fn build(
    settings: &Settings,
    environment: &OutputEnvironment,
) -> Result<Box<dyn Output>, ConfigError> {
    settings.check(PLUGIN.options)?;
    let service = AwsService::build(settings, environment, "kinesis", "Kinesis_20131202.")?;
    let stream = settings.required("stream")?;
    Ok(Box::new(Records::new(
        settings,
        environment,
        service,
        stream,
        STREAMS,
    )?))
}

/// What tells Kinesis and Firehose apart.
#[derive(Clone, Copy)]
pub(crate) struct Kind {
    pub(crate) operation: &'static str,
    pub(crate) stream_key: &'static str,
    /// Key of the list in the answer that has an entry per record.
    pub(crate) answers_key: &'static str,
    pub(crate) has_partition_key: bool,
    pub(crate) max_record_bytes: usize,
    pub(crate) max_call_bytes: usize,
}

const STREAMS: Kind = Kind {
    operation: "PutRecords",
    stream_key: "StreamName",
    answers_key: "Records",
    has_partition_key: true,
    max_record_bytes: 1_048_556,
    max_call_bytes: 5 << 20,
};

/// The most records of a call, for both services.
const MAX_RECORDS: usize = 500;

/// An output to either service.
pub(crate) struct Records {
    service: AwsService,
    stream: String,
    kind: Kind,
    time_key: Option<String>,
    time_format: String,
    log_key: Option<Accessor>,
    packing: Packing,
    aggregate: bool,
    unicode: Unicode,
}

/// One record of the service: the rows in it, its bytes, and its partition key.
struct Entry {
    rows: Vec<RecordRef>,
    data: Vec<u8>,
    partition_key: String,
}

impl Records {
    pub(crate) fn new(
        settings: &Settings,
        environment: &OutputEnvironment,
        service: AwsService,
        stream: &str,
        kind: Kind,
    ) -> Result<Self, ConfigError> {
        if let (Some(s), Some(_)) = (settings.get("time_key"), settings.get("log_key")) {
            let message = "'time_key' and 'log_key' exclude each other; remove one";
            return Err(ConfigError::new(&s.place, message));
        }
        Ok(Self {
            service,
            stream: stream.to_owned(),
            kind,
            time_key: settings.get("time_key").map(|s| s.value.clone()),
            time_format: settings
                .text("time_key_format", "%Y-%m-%dT%H:%M:%S")
                .to_owned(),
            log_key: crate::object::log_key(settings)?,
            packing: packing(settings, "compression")?,
            aggregate: settings.bool("simple_aggregation", false)?,
            unicode: environment.unicode,
        })
    }

    fn entries(
        &self,
        request: &Request<'_>,
        rejected: &mut Vec<(RecordRef, String)>,
    ) -> Vec<Entry> {
        let mut entries: Vec<Entry> = Vec::new();
        let max = self.kind.max_record_bytes;
        for (index, batch) in request.batches.iter().enumerate() {
            let RecordBatch::Logs(batch) = &**batch else {
                continue;
            };
            let kubernetes = kubernetes_json(batch);
            let partition_key = format!("{:032x}", batch.source.id.0);
            let key = self.log_key.as_ref().map(|k| k.over(batch));
            for row in 0..batch.len() {
                let record = RecordRef {
                    batch: index as u32,
                    row: row as u32,
                };
                let mut line = Vec::new();
                match &key {
                    None => self.write_line(&mut line, batch, row, &kubernetes),
                    Some(key) => match key.text(row) {
                        Some(text) => line.extend_from_slice(&text),
                        None => continue,
                    },
                }
                line.push(b'\n');
                if line.len() > max {
                    let reason = format!("a record of {} bytes; the most is {max}", line.len());
                    rejected.push((record, reason));
                    continue;
                }
                match entries.last_mut() {
                    Some(last)
                        if self.aggregate
                            && last.partition_key == partition_key
                            && last.data.len() + line.len() <= max =>
                    {
                        last.rows.push(record);
                        last.data.append(&mut line);
                    }
                    _ => entries.push(Entry {
                        rows: vec![record],
                        data: line,
                        partition_key: partition_key.clone(),
                    }),
                }
            }
        }
        for entry in &mut entries {
            entry.data = pack(self.packing, std::mem::take(&mut entry.data));
        }
        entries
    }

    fn write_line(&self, out: &mut Vec<u8>, batch: &LogBatch, row: usize, kubernetes: &[u8]) {
        out.push(b'{');
        write_fields(out, batch, row, true, kubernetes);
        if let Some(key) = &self.time_key {
            if out.len() > 1 {
                out.push(b',');
            }
            json::write_str(out, key.as_bytes());
            out.push(b':');
            json::write_str(out, self.time(batch.times()[row]).as_bytes());
        }
        out.push(b'}');
        self.unicode.apply(out, 0);
    }

    /// Fluent Bit's `%3N`, `%9N` and `%L` (milliseconds) besides what strftime knows.
    fn time(&self, time_ns: i64) -> String {
        let (seconds, nanos) = split_seconds(time_ns);
        let digits = format!("{nanos:09}");
        let format = self
            .time_format
            .replace("%3N", &digits[..3])
            .replace("%6N", &digits[..6])
            .replace("%9N", &digits)
            .replace("%L", &digits[..3]);
        let time = Timestamp::from_second(seconds).unwrap_or_default();
        jiff::fmt::strtime::format(&format, time).unwrap_or(format)
    }

    fn body(&self, call: &[Entry]) -> Vec<u8> {
        let mut body = format!("{{\"{}\":", self.kind.stream_key).into_bytes();
        json::write_str(&mut body, self.stream.as_bytes());
        body.extend_from_slice(b",\"Records\":[");
        for (i, entry) in call.iter().enumerate() {
            if i > 0 {
                body.push(b',');
            }
            let data = base64::engine::general_purpose::STANDARD.encode(&entry.data);
            body.extend_from_slice(format!("{{\"Data\":\"{data}\"").as_bytes());
            if self.kind.has_partition_key {
                let key = format!(",\"PartitionKey\":\"{}\"", entry.partition_key);
                body.extend_from_slice(key.as_bytes());
            }
            body.push(b'}');
        }
        body.extend_from_slice(b"]}");
        body
    }

    async fn deliver(&self, request: Request<'_>) -> Outcome {
        let (mut retry, mut rejected) = (Vec::new(), Vec::new());
        let mut reason = String::new();
        let entries = self.entries(&request, &mut rejected);
        let mut rest = entries.as_slice();
        while !rest.is_empty() {
            let (call, after) = rest.split_at(self.call_len(rest));
            let answer = self
                .service
                .call(self.kind.operation, self.body(call))
                .await;
            let failed = match answer {
                Err(e) => self.service.no_answer(&e),
                Ok(answer) if answer.status.is_success() => {
                    let (rows, why) = self.not_taken(&answer.body, call);
                    retry.extend(rows);
                    reason = why.unwrap_or(reason);
                    rest = after;
                    // What follows must not overtake what has to be sent again.
                    if retry.is_empty() {
                        continue;
                    }
                    retry.extend(rest.iter().flat_map(|e| &e.rows).copied());
                    break;
                }
                Ok(answer) => self.service.failure(&answer),
            };
            match failed {
                Outcome::Rejected { reason } => {
                    let rows = call.iter().flat_map(|e| &e.rows);
                    rejected.extend(rows.map(|row| (*row, reason.clone())));
                    rest = after;
                }
                Outcome::Retry { reason: why, .. } => {
                    reason = why;
                    retry.extend(rest.iter().flat_map(|e| &e.rows).copied());
                    break;
                }
                other => {
                    reason = format!("unexpected answer: {other:?}");
                    retry.extend(rest.iter().flat_map(|e| &e.rows).copied());
                    break;
                }
            }
        }
        if retry.is_empty() && rejected.is_empty() {
            return Outcome::Delivered;
        }
        Outcome::Partial {
            retry,
            rejected,
            reason,
            after: None,
        }
    }

    /// How many of the first entries fit into one call.
    fn call_len(&self, entries: &[Entry]) -> usize {
        let mut bytes = 0;
        let fits = entries.iter().take(MAX_RECORDS).take_while(|entry| {
            bytes += entry.data.len() + entry.partition_key.len();
            bytes <= self.kind.max_call_bytes
        });
        fits.count().max(1)
    }

    /// The rows of the entries that the service had no room for, and why.
    fn not_taken(&self, body: &[u8], call: &[Entry]) -> (Vec<RecordRef>, Option<String>) {
        let tree: serde_json::Value = serde_json::from_slice(body).unwrap_or_default();
        let answers = tree[self.kind.answers_key].as_array();
        let n_answers = answers.map_or(0, Vec::len);
        let (mut rows, mut reason) = (Vec::new(), None);
        if n_answers != call.len() {
            // Not the service's own words, whatever its status says: nothing is known to be taken.
            let rows = call.iter().flat_map(|e| &e.rows).copied().collect();
            let n = call.len();
            return (rows, Some(format!("{n_answers} answers for {n} records")));
        }
        for (entry, answer) in call.iter().zip(answers.into_iter().flatten()) {
            if let Some(code) = answer["ErrorCode"].as_str() {
                rows.extend_from_slice(&entry.rows);
                let message = answer["ErrorMessage"].as_str().unwrap_or_default();
                reason = Some(format!("{code}: {message}"));
            }
        }
        (rows, reason)
    }
}

impl Output for Records {
    fn send<'a>(&'a self, request: Request<'a>) -> SendFuture<'a> {
        Box::pin(self.deliver(request))
    }

    fn takes(&self, batch: &RecordBatch) -> bool {
        matches!(batch, RecordBatch::Logs(_))
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use kansoku_model::Position;

    use super::*;
    use crate::aws_call::tests::service;

    fn records(url: &str, pairs: &[(&str, &str)]) -> Records {
        let mut all = vec![("region", "r"), ("endpoint", url), ("stream", "s")];
        all.extend_from_slice(pairs);
        let settings = Settings::of("kinesis_streams", &all);
        settings.check(PLUGIN.options).expect("valid");
        let environment = OutputEnvironment::default();
        let service = AwsService::build(&settings, &environment, "kinesis", "Kinesis_20131202.");
        let service = service.expect("valid").with_key();
        Records::new(&settings, &environment, service, "s", STREAMS).expect("valid")
    }

    fn batch(lines: &[&str]) -> Vec<Arc<RecordBatch>> {
        let mut batch = LogBatch::new("t".into(), Arc::default(), Vec::new());
        for (i, line) in lines.iter().enumerate() {
            let row = batch.push(1_700_000_000_123_000_000, Position::at(i as u64 + 1));
            batch.set_text("log", row, line.as_bytes());
        }
        vec![Arc::new(RecordBatch::Logs(batch))]
    }

    #[tokio::test]
    async fn records_that_had_no_room_are_sent_again() {
        let busy = r#"{"FailedRecordCount":1,"Records":[{"SequenceNumber":"1"},{"ErrorCode":"ProvisionedThroughputExceededException","ErrorMessage":"slow"}]}"#;
        let fine =
            r#"{"FailedRecordCount":0,"Records":[{"SequenceNumber":"1"},{"SequenceNumber":"2"}]}"#;
        let (url, calls) = service(vec![(200, busy), (200, "<html>"), (200, fine)]).await;
        let output = records(
            &url,
            &[("time_key", "t"), ("time_key_format", "%H:%M:%S.%3N")],
        );
        let batches = batch(&["a", "b"]);
        let request = Request {
            batches: &batches,
            id: "1",
        };
        let Outcome::Partial {
            retry,
            rejected,
            reason,
            ..
        } = output.send(request).await
        else {
            panic!("one record had no room")
        };
        assert_eq!(
            (retry, rejected.len()),
            (vec![RecordRef { batch: 0, row: 1 }], 0)
        );
        assert!(reason.contains("slow"), "{reason}");
        let Outcome::Partial { retry, .. } = output.send(request).await else {
            panic!("a proxy says 200 to anything")
        };
        assert_eq!(retry.len(), 2);
        assert_eq!(output.send(request).await, Outcome::Delivered);
        let data = |line: &str| base64::engine::general_purpose::STANDARD.encode(line);
        let key = "0".repeat(32);
        let expected = format!(
            r#"PutRecords {{"StreamName":"s","Records":[{{"Data":"{}","PartitionKey":"{key}"}},{{"Data":"{}","PartitionKey":"{key}"}}]}}"#,
            data("{\"log\":\"a\",\"t\":\"22:13:20.123\"}\n"),
            data("{\"log\":\"b\",\"t\":\"22:13:20.123\"}\n"),
        );
        assert_eq!(*calls.lock().expect("lock"), vec![expected; 3]);
    }

    #[test]
    fn aggregation_joins_lines_and_large_records_are_told() {
        let output = records(
            "http://h",
            &[("simple_aggregation", "on"), ("log_key", "log")],
        );
        let big = "x".repeat(1_048_560);
        let batches = batch(&["a", "b", &big, "c"]);
        let request = Request {
            batches: &batches,
            id: "1",
        };
        let mut rejected = Vec::new();
        let entries = output.entries(&request, &mut rejected);
        assert_eq!(entries.len(), 1);
        assert_eq!(
            (&entries[0].data[..], entries[0].rows.len()),
            (&b"a\nb\nc\n"[..], 3)
        );
        assert_eq!(rejected[0].0.row, 2);
    }
}
