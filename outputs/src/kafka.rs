//! `kafka`: produces records to topics, acknowledged by all replicas.
//!
//! The client is rskafka, in Rust and a few seconds to build; librdkafka would bring CMake, OpenSSL
//! and a second queue with its own threads, whose contents are lost with the process. Here a request
//! is in no queue: it is delivered when every broker has said so. Records of one source stay in
//! order in their partition; after a lost answer the repeat may be stored twice (the client has no
//! idempotent producer).

pub mod msk_iam;
mod partition;
mod settings;

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use jiff::Timestamp;
use kansoku_model::{
    ConfigError, LogBatch, OptionSpec, Plugin, RecordBatch, Settings, Value, joined, json,
};
use rskafka::client::error::{Error, ProtocolError};
use rskafka::client::partition::{PartitionClient, UnknownTopicHandling};
use rskafka::client::{Client, ClientBuilder};
use rskafka::record::Record;
use tokio::sync::Mutex;

use crate::gelf::message::{self as gelf, Gelf};
use crate::render::{kubernetes_json, split_seconds, write_fields};
use crate::{
    Outcome, Output, OutputEnvironment, OutputPlugin, RecordRef, Request, SendFuture, Unicode,
    msgpack, tls,
};
use settings::Connect;

const OWN: &[OptionSpec] =
    &joined::<{ settings::OPTIONS.len() + gelf::OPTIONS.len() }>(settings::OPTIONS, gelf::OPTIONS);
const OPTIONS: &[OptionSpec] = &joined::<{ OWN.len() + tls::OPTIONS.len() }>(OWN, tls::OPTIONS);

/// The plugin.
pub const PLUGIN: OutputPlugin = Plugin {
    name: "kafka",
    about: "Produces records to Kafka topics.",
    options: OPTIONS,
    example: "[OUTPUT]\n    Name     kafka\n    Match    *\n    Brokers  kafka-0:9092,kafka-1:9092\n    Topics   logs\n",
    build,
};

/// The longest name Kafka allows.
const TOPIC_MAX_BYTES: usize = 249;
/// Topics that records may name; more of them is most likely a field that is no topic.
const MAX_TOPICS: usize = 1000;
/// What a record costs on the wire besides key and value.
const RECORD_OVERHEAD_BYTES: usize = 70;

enum Format {
    Json,
    Msgpack,
    Gelf(Gelf),
    Raw(String),
}

#[derive(Clone, Copy)]
enum TimeFormat {
    Double,
    Iso8601,
    Iso8601Nanos,
}

struct Kafka {
    connect: Connect,
    format: Format,
    topics: Vec<String>,
    topic_key: Option<String>,
    dynamic_topic: bool,
    message_key: Option<String>,
    message_key_field: Option<String>,
    timestamp_key: String,
    timestamp_format: TimeFormat,
    /// Made at the first request. Held only to make or copy it.
    cluster: Mutex<Option<Arc<Client>>>,
    /// The partitions of each topic in use. Held only to look up and to insert.
    known: Mutex<HashMap<String, Partitions>>,
    unicode: Unicode,
}

type Partitions = Arc<Vec<PartitionClient>>;

fn build(
    settings: &Settings,
    environment: &OutputEnvironment,
) -> Result<Box<dyn Output>, ConfigError> {
    let settings = &settings::without_unknown(settings, environment);
    settings.check(PLUGIN.options)?;
    let text = |key: &str| settings.get(key).map(|s| s.value.clone());
    let format = match settings
        .text("format", "json")
        .to_ascii_lowercase()
        .as_str()
    {
        "msgpack" => Format::Msgpack,
        "gelf" => Format::Gelf(Gelf::of(settings)?),
        "raw" => Format::Raw(settings.required("raw_log_key")?.to_owned()),
        _ => Format::Json,
    };
    let mut topics: Vec<String> = settings
        .list("topics")
        .iter()
        .map(|t| (*t).into())
        .collect();
    if topics.is_empty() {
        topics.push("fluent-bit".to_owned());
    }
    Ok(Box::new(Kafka {
        connect: Connect::of(settings, environment)?,
        format,
        topics,
        topic_key: text("topic_key"),
        dynamic_topic: settings::is_on(settings, "dynamic_topic"),
        message_key: text("message_key"),
        message_key_field: text("message_key_field"),
        timestamp_key: settings.text("timestamp_key", "@timestamp").to_owned(),
        timestamp_format: match settings.text("timestamp_format", "double") {
            word if word.eq_ignore_ascii_case("iso8601") => TimeFormat::Iso8601,
            word if word.eq_ignore_ascii_case("iso8601_ns") => TimeFormat::Iso8601Nanos,
            _ => TimeFormat::Double,
        },
        unicode: environment.unicode,
        cluster: Mutex::default(),
        known: Mutex::default(),
    }))
}

/// What one partition gets of a request.
struct Share {
    partitions: Partitions,
    partition: usize,
    records: Vec<(RecordRef, Record)>,
}

/// What became of some records; those named nowhere are delivered.
#[derive(Default)]
struct Done {
    retry: Vec<RecordRef>,
    rejected: Vec<(RecordRef, String)>,
    reason: Option<String>,
}

impl Kafka {
    async fn deliver(&self, request: Request<'_>) -> Outcome {
        let mut done = Done::default();
        let shares = match self.shares(&request, &mut done.rejected).await {
            Ok(shares) => shares,
            Err(e) => {
                return Outcome::Retry {
                    reason: e,
                    after: None,
                };
            }
        };
        let sends = shares.into_iter().map(|share| self.produce(share));
        for result in futures_util::future::join_all(sends).await {
            done.retry.extend(result.retry);
            done.rejected.extend(result.rejected);
            done.reason = done.reason.or(result.reason);
        }
        if done.retry.is_empty() && done.rejected.is_empty() {
            return Outcome::Delivered;
        }
        done.retry.sort_unstable();
        Outcome::Partial {
            retry: done.retry,
            reason: done.reason.unwrap_or_else(|| "rejected records".to_owned()),
            rejected: done.rejected,
            after: None,
        }
    }

    /// The records of a request by partition, in order.
    async fn shares(
        &self,
        request: &Request<'_>,
        rejected: &mut Vec<(RecordRef, String)>,
    ) -> Result<Vec<Share>, String> {
        let mut shares: Vec<Share> = Vec::new();
        let mut at: HashMap<(String, usize), usize> = HashMap::new();
        for (index, batch) in request.batches.iter().enumerate() {
            let RecordBatch::Logs(batch) = &**batch else {
                continue;
            };
            let kubernetes = self.kubernetes(batch);
            let topic_column = self.topic_key.as_ref().and_then(|k| batch.column_index(k));
            let key_column = self
                .message_key_field
                .as_ref()
                .and_then(|k| batch.column_index(k));
            for row in 0..batch.len() {
                let record = RecordRef {
                    batch: index as u32,
                    row: row as u32,
                };
                let Some(value) = self.value(batch, row, &kubernetes) else {
                    let reason = "has not the field that is the message".to_owned();
                    rejected.push((record, reason));
                    continue;
                };
                let key = text_of(batch, key_column, row)
                    .or(self.message_key.as_ref().map(String::as_bytes));
                let topic = self.topic(text_of(batch, topic_column, row));
                let partitions = self.partitions(topic).await?;
                let partitioner = self.connect.partitioner;
                let partition = partitioner.partition(key, batch.source.id.0, partitions.len());
                let place = *at.entry((topic.to_owned(), partition)).or_insert_with(|| {
                    shares.push(Share {
                        partitions,
                        partition,
                        records: Vec::new(),
                    });
                    shares.len() - 1
                });
                let message = Record {
                    key: key.map(<[u8]>::to_vec),
                    value: Some(value),
                    headers: BTreeMap::new(),
                    timestamp: rskafka::chrono::DateTime::from_timestamp_nanos(batch.times()[row]),
                };
                shares[place].records.push((record, message));
            }
        }
        Ok(shares)
    }

    fn topic<'a>(&'a self, named: Option<&'a [u8]>) -> &'a str {
        let default = &self.topics[0];
        let Some(named) = named.and_then(|t| std::str::from_utf8(t).ok()) else {
            return default;
        };
        let valid = |t: &str| {
            !t.is_empty()
                && t.len() <= TOPIC_MAX_BYTES
                && t.bytes()
                    .all(|b| b.is_ascii_alphanumeric() || matches!(b, b'.' | b'_' | b'-'))
        };
        match self.topics.iter().find(|t| *t == named) {
            Some(known) => known,
            None if self.dynamic_topic && valid(named) => named,
            None => default,
        }
    }

    fn kubernetes(&self, batch: &LogBatch) -> Vec<u8> {
        let json = kubernetes_json(batch);
        match self.format {
            Format::Msgpack => msgpack::from_json(&json),
            _ => json,
        }
    }

    fn value(&self, batch: &LogBatch, row: usize, kubernetes: &[u8]) -> Option<Vec<u8>> {
        let mut out = Vec::new();
        match &self.format {
            Format::Json => {
                out.push(b'{');
                json::write_str(&mut out, self.timestamp_key.as_bytes());
                out.push(b':');
                match self.timestamp_format {
                    TimeFormat::Double => {
                        let (seconds, nanos) = split_seconds(batch.times()[row]);
                        out.extend_from_slice(format!("{seconds}.{:06}", nanos / 1000).as_bytes());
                    }
                    format => json::write_str(&mut out, iso(batch.times()[row], format).as_bytes()),
                }
                write_fields(&mut out, batch, row, false, kubernetes);
                out.push(b'}');
                self.unicode.apply(&mut out, 0);
            }
            Format::Msgpack => {
                let present = batch.columns().iter();
                let n = present.filter(|c| c.values[row] != Value::Absent).count();
                let n = n + 1 + usize::from(!kubernetes.is_empty());
                msgpack::write_map_header(&mut out, n);
                msgpack::write_text(&mut out, self.timestamp_key.as_bytes());
                match self.timestamp_format {
                    TimeFormat::Double => {
                        let (seconds, nanos) = split_seconds(batch.times()[row]);
                        let double = seconds as f64 + f64::from(nanos) / 1e9;
                        msgpack::write_value(&mut out, batch, Value::Float(double));
                    }
                    format => {
                        msgpack::write_text(&mut out, iso(batch.times()[row], format).as_bytes());
                    }
                }
                msgpack::write_pairs(&mut out, batch, row, kubernetes);
            }
            Format::Gelf(gelf) => {
                return gelf.write(&mut out, batch, row, kubernetes).then_some(out);
            }
            Format::Raw(key) => {
                let column = batch.column_index(key);
                return text_of(batch, column, row).map(<[u8]>::to_vec);
            }
        }
        Some(out)
    }

    async fn cluster(&self) -> Result<Arc<Client>, String> {
        let mut cluster = self.cluster.lock().await;
        if let Some(client) = &*cluster {
            return Ok(client.clone());
        }
        let connect = &self.connect;
        let backoff = rskafka::BackoffConfig {
            deadline: Some(connect.timeout),
            max_backoff: connect.timeout / 4,
            ..Default::default()
        };
        let mut builder = ClientBuilder::new(connect.brokers.clone())
            .client_id(connect.client_id.as_str())
            .backoff_config(backoff);
        if let Some(tls) = &connect.tls {
            builder = builder.tls_config(tls.clone());
        }
        if let Some(sasl) = &connect.sasl {
            builder = builder.sasl_config(sasl.clone());
        }
        let client = within(connect.timeout, builder.build()).await?;
        Ok(cluster.insert(Arc::new(client)).clone())
    }

    /// The partitions of a topic, which is made by the brokers if they make topics by themselves.
    async fn partitions(&self, topic: &str) -> Result<Partitions, String> {
        if let Some(known) = self.known.lock().await.get(topic) {
            return Ok(known.clone());
        }
        let client = self.cluster().await?;
        let limit = self.connect.timeout;
        let open =
            |partition| client.partition_client(topic, partition, UnknownTopicHandling::Error);
        let named = |e| format!("topic {topic}: {e}");
        let first = within(limit, open(0)).await.map_err(named)?;
        let all = within(limit, client.list_topics()).await.map_err(named)?;
        let n = all
            .iter()
            .find(|t| t.name == topic)
            .map_or(1, |t| t.partitions.len());
        let mut partitions = vec![first];
        for partition in 1..n {
            let partition = i32::try_from(partition).unwrap_or(i32::MAX);
            partitions.push(within(limit, open(partition)).await.map_err(named)?);
        }
        let partitions = Arc::new(partitions);
        let mut known = self.known.lock().await;
        if known.len() >= MAX_TOPICS {
            known.clear();
        }
        known.insert(topic.to_owned(), partitions.clone());
        Ok(partitions)
    }

    /// Produces to one partition, piece by piece; after a failure the rest waits, or it would
    /// overtake.
    async fn produce(&self, share: Share) -> Done {
        let mut result = Done::default();
        let client = &share.partitions[share.partition];
        let mut pieces = pieces(share.records, self.connect.max_bytes);
        pieces.reverse();
        while let Some(piece) = pieces.pop() {
            let records = piece.iter().map(|(_, record)| record.clone()).collect();
            let sent = client.produce(records, self.connect.compression);
            let error = match tokio::time::timeout(self.connect.timeout, sent).await {
                Ok(Ok(_)) => continue,
                Ok(Err(error)) => Some(error),
                Err(_) => None,
            };
            let reason = match &error {
                Some(error) => format!("{}: {error}", client.topic()),
                None => format!(
                    "{}: no answer within {:?}",
                    client.topic(),
                    self.connect.timeout
                ),
            };
            match error.as_ref().map_or(Verdict::Retry, judge) {
                Verdict::TooLarge if piece.len() > 1 => {
                    let mut first = piece;
                    let second = first.split_off(first.len() / 2);
                    pieces.push(second);
                    pieces.push(first);
                }
                Verdict::TooLarge | Verdict::Rejected => {
                    let refs = piece.iter().map(|(at, _)| (*at, reason.clone()));
                    result.rejected.extend(refs);
                }
                Verdict::Retry => {
                    let rest = std::iter::once(piece)
                        .chain(pieces.into_iter().rev())
                        .flatten();
                    result.retry.extend(rest.map(|(at, _)| at));
                    result.reason = Some(reason);
                    // The number of partitions or the leader may have changed.
                    self.known.lock().await.remove(client.topic());
                    break;
                }
            }
        }
        result
    }
}

fn text_of(batch: &LogBatch, column: Option<usize>, row: usize) -> Option<&[u8]> {
    match batch.columns()[column?].values[row] {
        Value::Text(slice) => Some(batch.bytes(slice)),
        _ => None,
    }
}

/// Cuts records into runs of at most `max_bytes`; one that is larger goes alone.
fn pieces(records: Vec<(RecordRef, Record)>, max_bytes: usize) -> Vec<Vec<(RecordRef, Record)>> {
    let mut pieces: Vec<Vec<_>> = Vec::new();
    let mut size = usize::MAX;
    for record in records {
        let own = record.1.approximate_size() + RECORD_OVERHEAD_BYTES;
        match pieces.last_mut() {
            Some(piece) if size + own <= max_bytes => {
                size += own;
                piece.push(record);
            }
            _ => {
                size = own;
                pieces.push(vec![record]);
            }
        }
    }
    pieces
}

enum Verdict {
    Retry,
    TooLarge,
    Rejected,
}

fn judge(error: &Error) -> Verdict {
    let Error::ServerError { protocol_error, .. } = error else {
        return Verdict::Retry;
    };
    match protocol_error {
        ProtocolError::MessageTooLarge | ProtocolError::RecordListTooLarge => Verdict::TooLarge,
        ProtocolError::InvalidTopicException | ProtocolError::InvalidRecord => Verdict::Rejected,
        // The rest is cured on the other side or by the operator.
        _ => Verdict::Retry,
    }
}

async fn within<T>(
    limit: std::time::Duration,
    work: impl Future<Output = Result<T, Error>>,
) -> Result<T, String> {
    match tokio::time::timeout(limit, work).await {
        Ok(Ok(value)) => Ok(value),
        Ok(Err(e)) => Err(e.to_string()),
        Err(_) => Err(format!("no answer within {limit:?}")),
    }
}

fn iso(time_ns: i64, format: TimeFormat) -> String {
    let (seconds, nanos) = split_seconds(time_ns);
    let time = Timestamp::from_second(seconds).unwrap_or_default();
    let time = time.strftime("%Y-%m-%dT%H:%M:%S");
    match format {
        TimeFormat::Iso8601Nanos => format!("{time}.{nanos:09}Z"),
        _ => format!("{time}.{:06}Z", nanos / 1000),
    }
}

impl Output for Kafka {
    fn send<'a>(&'a self, request: Request<'a>) -> SendFuture<'a> {
        Box::pin(self.deliver(request))
    }

    fn takes(&self, batch: &RecordBatch) -> bool {
        matches!(batch, RecordBatch::Logs(_))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn value(pairs: &[(&str, &str)]) -> Option<Vec<u8>> {
        let mut all = vec![("brokers", "a:1")];
        all.extend_from_slice(pairs);
        let kafka = kafka(&all);
        let batch = crate::render::tests::batch();
        let kubernetes = kafka.kubernetes(&batch);
        kafka.value(&batch, 0, &kubernetes)
    }

    fn kafka(pairs: &[(&str, &str)]) -> Kafka {
        let settings = Settings::of("kafka", pairs);
        build(&settings, &OutputEnvironment::default()).expect("valid settings");
        let environment = OutputEnvironment::default();
        Kafka {
            connect: Connect::of(&settings, &environment).expect("valid"),
            format: match settings.text("format", "json") {
                "msgpack" => Format::Msgpack,
                "raw" => Format::Raw(settings.text("raw_log_key", "").into()),
                "gelf" => Format::Gelf(Gelf::of(&settings).expect("valid")),
                _ => Format::Json,
            },
            topics: vec!["one".into(), "two".into()],
            topic_key: None,
            dynamic_topic: settings::is_on(&settings, "dynamic_topic"),
            message_key: None,
            message_key_field: None,
            timestamp_key: "@timestamp".into(),
            timestamp_format: TimeFormat::Double,
            unicode: Unicode::default(),
            cluster: Mutex::default(),
            known: Mutex::default(),
        }
    }

    #[test]
    fn values_take_every_form() {
        let text = |pairs| value(pairs).map(|v| String::from_utf8_lossy(&v).into_owned());
        let pod = r#""kubernetes":{"pod_name":"web-1","labels":{"app":"web"}}"#;
        let json = format!(r#"{{"@timestamp":1700000000.123456,"log":"a \"quoted\" line",{pod}}}"#);
        assert_eq!(text(&[]), Some(json));
        assert_eq!(
            text(&[("format", "raw"), ("raw_log_key", "log")]).as_deref(),
            Some("a \"quoted\" line")
        );
        assert_eq!(text(&[("format", "raw"), ("raw_log_key", "x")]), None);
        assert_eq!(text(&[("format", "gelf")]), None, "no short message");
        let packed = value(&[("format", "msgpack")]).expect("packed");
        assert!(packed.starts_with(b"\x83\xaa@timestamp\xcb"));
    }

    #[test]
    fn topics_come_from_the_list_unless_any_will_do() {
        let fixed = kafka(&[("brokers", "a")]);
        assert_eq!(fixed.topic(None), "one");
        assert_eq!(fixed.topic(Some(b"two")), "two");
        assert_eq!(fixed.topic(Some(b"three")), "one");
        let any = kafka(&[("brokers", "a"), ("dynamic_topic", "on")]);
        assert_eq!(any.topic(Some(b"three")), "three");
        assert_eq!(any.topic(Some(b"a,b")), "one");
        assert_eq!(any.topic(Some(&[b'x'; 250])), "one");
    }

    #[test]
    fn pieces_keep_their_order_and_size() {
        let record = |row: u32, n: usize| {
            let record = Record {
                key: None,
                value: Some(vec![0; n]),
                headers: BTreeMap::new(),
                timestamp: Default::default(),
            };
            (RecordRef { batch: 0, row }, record)
        };
        let all = vec![record(0, 100), record(1, 100), record(2, 900), record(3, 1)];
        let rows: Vec<Vec<u32>> = pieces(all, 400)
            .iter()
            .map(|p| p.iter().map(|(at, _)| at.row).collect())
            .collect();
        assert_eq!(rows, [vec![0, 1], vec![2], vec![3]]);
    }
}
