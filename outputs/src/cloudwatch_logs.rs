//! `cloudwatch_logs`: puts records as events into log streams of Amazon CloudWatch.
//!
//! Events of a stream are sent in the order of their times, as the service asks for, in calls of at
//! most 10,000 events, 1 MiB and a day. What the service refuses as too old or too new is reported
//! record by record; Fluent Bit drops it silently.

use std::collections::{BTreeMap, HashSet};
use std::sync::Mutex;

use kansoku_model::{
    ConfigError, OptionKind, OptionSpec, Plugin, RecordBatch, Settings, joined, json,
};

use crate::accessor::{Accessor, Template, TemplateReading};
use crate::aws_call::{self, AwsService, error_name};
use crate::pool::Answer;
use crate::render::{kubernetes_json, write_object};
use crate::{
    Outcome, Output, OutputEnvironment, OutputPlugin, RecordRef, Request, SendFuture, Unicode, net,
};

const fn text(name: &'static str, about: &'static str) -> OptionSpec {
    OptionSpec::new(name, OptionKind::Text, "", about)
}

const NAMED: &[OptionSpec] = &[
    text(
        "log_group_name",
        "log group, and the one for records without that of the template",
    ),
    text("log_stream_name", "log stream"),
    text("log_stream_prefix", "log stream is this and the tag"),
    text(
        "log_group_template",
        "log group with record accessors: $kubernetes['namespace_name']",
    ),
    text("log_stream_template", "log stream with record accessors"),
    text("log_key", "field to send alone"),
    OptionSpec::new(
        "log_format",
        OptionKind::Text,
        "",
        "json/emf tells CloudWatch to make metrics of the events",
    ),
    OptionSpec::new(
        "auto_create_group",
        OptionKind::Bool,
        "off",
        "make log groups that are missing; streams always are",
    ),
    OptionSpec::new(
        "log_retention_days",
        OptionKind::Int,
        "0",
        "retention of groups that are made; 0 = for ever",
    ),
    text(
        "log_group_class",
        "class of groups that are made: STANDARD or INFREQUENT_ACCESS",
    ),
    text("extra_user_agent", "no effect: the agent names itself"),
];
const OWN: &[OptionSpec] =
    &joined::<{ NAMED.len() + aws_call::OPTIONS.len() }>(NAMED, aws_call::OPTIONS);
const OPTIONS: &[OptionSpec] = &joined::<{ OWN.len() + net::OPTIONS.len() }>(OWN, net::OPTIONS);

/// The plugin.
pub const PLUGIN: OutputPlugin = Plugin {
    name: "cloudwatch_logs",
    about: "Puts records into log streams of Amazon CloudWatch.",
    options: OPTIONS,
    example: "[OUTPUT]\n    Name               cloudwatch_logs\n    Match              *\n    Region             eu-central-1\n    Log_Group_Name     /kubernetes\n    Log_Stream_Prefix  node-\n    Auto_Create_Group  on\n",
    build,
};

const MAX_EVENTS: usize = 10_000;
const MAX_CALL_BYTES: usize = 1_048_576;
/// What the service counts for an event besides its text.
const EVENT_OVERHEAD_BYTES: usize = 26;
/// Longer events are cut, as Fluent Bit does.
const MAX_EVENT_BYTES: usize = 1_000_000;
const DAY_MS: i64 = 24 * 3600 * 1000;
/// Streams that are known to be there.
const MAX_KNOWN: usize = 100_000;

struct CloudWatch {
    service: AwsService,
    group: String,
    group_template: Option<Template>,
    stream: StreamName,
    stream_template: Option<Template>,
    log_key: Option<Accessor>,
    emf: bool,
    create_group: bool,
    retention_days: i64,
    group_class: Option<String>,
    /// Group and stream of those that exist. Held only to look up and to insert.
    known: Mutex<HashSet<(String, String)>>,
    unicode: Unicode,
}

enum StreamName {
    Fixed(String),
    Prefix(String),
}

fn build(
    settings: &Settings,
    environment: &OutputEnvironment,
) -> Result<Box<dyn Output>, ConfigError> {
    settings.check(PLUGIN.options)?;
    Ok(Box::new(cloudwatch(settings, environment)?))
}

fn cloudwatch(
    settings: &Settings,
    environment: &OutputEnvironment,
) -> Result<CloudWatch, ConfigError> {
    let template = |key: &str| {
        settings
            .get(key)
            .map(|s| Template::new(&s.value).map_err(|e| ConfigError::new(&s.place, e)))
            .transpose()
    };
    let stream = match (
        settings.get("log_stream_name"),
        settings.get("log_stream_prefix"),
    ) {
        (Some(s), None) => StreamName::Fixed(s.value.clone()),
        (None, Some(s)) => StreamName::Prefix(s.value.clone()),
        _ => {
            let message = "cloudwatch_logs needs either 'log_stream_name' or 'log_stream_prefix'";
            return Err(ConfigError::new(&settings.place, message));
        }
    };
    let log_key = settings.get("log_key");
    Ok(CloudWatch {
        service: AwsService::build(settings, environment, "logs", "Logs_20140328.")?,
        group: settings.required("log_group_name")?.to_owned(),
        group_template: template("log_group_template")?,
        stream,
        stream_template: template("log_stream_template")?,
        log_key: log_key
            .map(|s| Accessor::new(&s.value).map_err(|e| ConfigError::new(&s.place, e)))
            .transpose()?,
        emf: settings
            .text("log_format", "")
            .eq_ignore_ascii_case("json/emf"),
        create_group: settings.bool("auto_create_group", false)?,
        retention_days: settings.int("log_retention_days", 0)?,
        group_class: settings.get("log_group_class").map(|s| s.value.clone()),
        unicode: environment.unicode,
        known: Mutex::default(),
    })
}

struct Event {
    record: RecordRef,
    time_ms: i64,
    /// The text as a JSON string with its quotes.
    text: Vec<u8>,
}

type Streams = BTreeMap<(String, String), Vec<Event>>;

/// What became of some events; those named nowhere are delivered.
#[derive(Default)]
struct Done {
    retry: Vec<RecordRef>,
    rejected: Vec<(RecordRef, String)>,
    reason: String,
}

impl CloudWatch {
    fn streams(&self, request: &Request<'_>) -> Streams {
        let mut streams = Streams::new();
        for (index, batch) in request.batches.iter().enumerate() {
            let RecordBatch::Logs(batch) = &**batch else {
                continue;
            };
            let kubernetes = kubernetes_json(batch);
            let group = self.group_template.as_ref().map(|t| t.over(batch));
            let stream = self.stream_template.as_ref().map(|t| t.over(batch));
            let key = self.log_key.as_ref().map(|k| k.over(batch));
            let usual = match &self.stream {
                StreamName::Fixed(name) => name.clone(),
                StreamName::Prefix(prefix) => format!("{prefix}{}", batch.tag),
            };
            for row in 0..batch.len() {
                let mut text = Vec::new();
                match &key {
                    None => {
                        write_object(&mut text, batch, row, &kubernetes);
                        self.unicode.apply(&mut text, 0);
                    }
                    Some(key) => match key.text(row) {
                        Some(found) => text.extend_from_slice(&found),
                        None => continue,
                    },
                }
                if text.is_empty() {
                    continue;
                }
                let name = (
                    named(group.as_ref(), row, &self.group),
                    named(stream.as_ref(), row, &usual),
                );
                let mut quoted = Vec::with_capacity(text.len() + 2);
                json::write_str(&mut quoted, cut(&text));
                self.unicode.apply(&mut quoted, 0);
                streams.entry(name).or_default().push(Event {
                    record: RecordRef {
                        batch: index as u32,
                        row: row as u32,
                    },
                    time_ms: batch.times()[row].div_euclid(1_000_000),
                    text: quoted,
                });
            }
        }
        streams
    }

    async fn deliver(&self, request: Request<'_>) -> Outcome {
        let mut done = Done::default();
        for ((group, stream), mut events) in self.streams(&request) {
            // Stable: lines of one millisecond keep their order.
            events.sort_by_key(|e| e.time_ms);
            let mut rest = events.as_slice();
            while !rest.is_empty() {
                let (call, after) = rest.split_at(call_len(rest));
                match self.put(&group, &stream, call, &mut done).await {
                    Outcome::Delivered => rest = after,
                    Outcome::Rejected { reason } => {
                        let refs = call.iter().map(|e| (e.record, reason.clone()));
                        done.rejected.extend(refs);
                        rest = after;
                    }
                    Outcome::Retry { reason, .. } => {
                        done.reason = reason;
                        done.retry.extend(rest.iter().map(|e| e.record));
                        break;
                    }
                    other => {
                        done.reason = format!("unexpected answer: {other:?}");
                        done.retry.extend(rest.iter().map(|e| e.record));
                        break;
                    }
                }
            }
        }
        if done.retry.is_empty() && done.rejected.is_empty() {
            return Outcome::Delivered;
        }
        done.retry.sort_unstable();
        Outcome::Partial {
            retry: done.retry,
            rejected: done.rejected,
            reason: done.reason,
            after: None,
        }
    }

    async fn put(&self, group: &str, stream: &str, call: &[Event], done: &mut Done) -> Outcome {
        if let Err(outcome) = self.ensure(group, stream).await {
            return outcome;
        }
        let body = put_body(group, stream, call);
        let emf: &[(&str, &str)] = match self.emf {
            true => &[("x-amzn-logs-format", "json/emf")],
            false => &[],
        };
        let answer = match self.service.call_with("PutLogEvents", emf, body).await {
            Ok(answer) => answer,
            Err(reason) => return self.service.no_answer(&reason),
        };
        if answer.status.is_success() {
            return match refused(&answer, call) {
                Some(refused) => {
                    done.rejected.extend(refused);
                    Outcome::Delivered
                }
                None => {
                    let reason = format!("{}: the answer is not CloudWatch's", answer.status);
                    self.service.no_answer(&reason)
                }
            };
        }
        match error_name(&answer.body).as_str() {
            "DataAlreadyAcceptedException" => Outcome::Delivered,
            "ResourceNotFoundException" => {
                self.known
                    .lock()
                    .expect("nobody panics with the lock")
                    .clear();
                self.service.failure(&answer)
            }
            _ => self.service.failure(&answer),
        }
    }

    /// Makes the stream, and the group when it may, unless they are known.
    async fn ensure(&self, group: &str, stream: &str) -> Result<(), Outcome> {
        let name = (group.to_owned(), stream.to_owned());
        if self
            .known
            .lock()
            .expect("nobody panics with the lock")
            .contains(&name)
        {
            return Ok(());
        }
        let made = serde_json::json!({"logGroupName": group, "logStreamName": stream});
        if let Err(answer) = self.make("CreateLogStream", &made).await? {
            if !self.create_group || error_name(&answer.body) != "ResourceNotFoundException" {
                return Err(self.service.failure(&answer));
            }
            self.make_group(group).await?;
            if let Err(answer) = self.make("CreateLogStream", &made).await? {
                return Err(self.service.failure(&answer));
            }
        }
        let mut known = self.known.lock().expect("nobody panics with the lock");
        if known.len() >= MAX_KNOWN {
            known.clear();
        }
        known.insert(name);
        Ok(())
    }

    async fn make_group(&self, group: &str) -> Result<(), Outcome> {
        let mut wanted = serde_json::json!({"logGroupName": group});
        if let Some(class) = &self.group_class {
            wanted["logGroupClass"] = class.as_str().into();
        }
        if let Err(answer) = self.make("CreateLogGroup", &wanted).await? {
            return Err(self.service.failure(&answer));
        }
        if self.retention_days > 0 {
            let days = self.retention_days;
            let wanted = serde_json::json!({"logGroupName": group, "retentionInDays": days});
            if let Err(answer) = self.make("PutRetentionPolicy", &wanted).await? {
                return Err(self.service.failure(&answer));
            }
        }
        Ok(())
    }

    /// Calls an operation that makes something; that it is there already is well.
    async fn make(
        &self,
        operation: &str,
        wanted: &serde_json::Value,
    ) -> Result<Result<(), Answer>, Outcome> {
        let body = wanted.to_string().into_bytes();
        match self.service.call(operation, body).await {
            Err(reason) => Err(self.service.no_answer(&reason)),
            Ok(answer) if answer.status.is_success() => Ok(Ok(())),
            Ok(answer) if error_name(&answer.body) == "ResourceAlreadyExistsException" => {
                Ok(Ok(()))
            }
            Ok(answer) => Ok(Err(answer)),
        }
    }
}

fn put_body(group: &str, stream: &str, call: &[Event]) -> Vec<u8> {
    let mut body = b"{\"logGroupName\":".to_vec();
    json::write_str(&mut body, group.as_bytes());
    body.extend_from_slice(b",\"logStreamName\":");
    json::write_str(&mut body, stream.as_bytes());
    body.extend_from_slice(b",\"logEvents\":[");
    for (i, event) in call.iter().enumerate() {
        if i > 0 {
            body.push(b',');
        }
        let head = format!("{{\"timestamp\":{},\"message\":", event.time_ms);
        body.extend_from_slice(head.as_bytes());
        body.extend_from_slice(&event.text);
        body.push(b'}');
    }
    body.extend_from_slice(b"]}");
    body
}

/// The name a template gives, or the usual one when the record lacks a field.
fn named(template: Option<&TemplateReading<'_>>, row: usize, usual: &str) -> String {
    let mut text = Vec::new();
    let complete = template.is_some_and(|t| t.write(&mut text, row));
    match String::from_utf8(text) {
        Ok(text) if complete && !text.is_empty() => text,
        _ => usual.to_owned(),
    }
}

fn cut(text: &[u8]) -> &[u8] {
    let mut end = text.len().min(MAX_EVENT_BYTES);
    while end < text.len() && end > 0 && text[end] & 0xc0 == 0x80 {
        end -= 1;
    }
    &text[..end]
}

/// How many of the first events fit into one call.
fn call_len(events: &[Event]) -> usize {
    let mut bytes = 0;
    let first_ms = events.first().map_or(0, |e| e.time_ms);
    let fits = events.iter().take(MAX_EVENTS).take_while(|event| {
        bytes += event.text.len() + EVENT_OVERHEAD_BYTES;
        bytes <= MAX_CALL_BYTES && event.time_ms - first_ms < DAY_MS
    });
    fits.count().max(1)
}

/// The events that the service did not take although it answered well; `None` when it is somebody
/// else's answer: a proxy says 200, too.
fn refused(answer: &Answer, call: &[Event]) -> Option<Vec<(RecordRef, String)>> {
    let tree: serde_json::Value = serde_json::from_slice(&answer.body).ok()?;
    let info = tree.as_object()?.get("rejectedLogEventsInfo");
    let index = |key: &str| {
        let index = info?.get(key)?.as_u64()?;
        Some(usize::try_from(index).map_or(call.len(), |n| n.min(call.len())))
    };
    let mut found = Vec::new();
    let old = index("tooOldLogEventEndIndex").max(index("expiredLogEventEndIndex"));
    let n_old = old.unwrap_or(0);
    for event in &call[..n_old] {
        found.push((event.record, "too old for the log group".to_owned()));
    }
    let new = index("tooNewLogEventStartIndex").unwrap_or(call.len());
    for event in &call[new.max(n_old)..] {
        found.push((event.record, "too far in the future".to_owned()));
    }
    Some(found)
}

impl Output for CloudWatch {
    fn send<'a>(&'a self, request: Request<'a>) -> SendFuture<'a> {
        Box::pin(self.deliver(request))
    }

    fn takes(&self, batch: &RecordBatch) -> bool {
        matches!(batch, RecordBatch::Logs(_))
    }
}

#[cfg(test)]
mod tests;
