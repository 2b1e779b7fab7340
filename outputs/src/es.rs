//! `es`: indexes records in Elasticsearch over its bulk API.
//!
//! The answer is read item by item: one bad document neither holds up nor takes down the others.

pub mod answer;
mod bulk;

use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{SystemTime, UNIX_EPOCH};

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use hyper::Method;
use hyper::header::{AUTHORIZATION, CONTENT_TYPE, HeaderValue};
use kansoku_model::{ConfigError, OptionKind, OptionSpec, Plugin, RecordBatch, Settings, joined};

use crate::aws_sign::encoded;
use crate::client::{self, HttpClient};
use crate::compress::Compression;
use crate::http::{idempotency_key, path_of};
use crate::{
    Outcome, Output, OutputEnvironment, OutputPlugin, RecordRef, Request, SendFuture, aws, upstream,
};
use answer::Judge;
use bulk::Bulk;

const fn text(name: &'static str, default: &'static str, about: &'static str) -> OptionSpec {
    OptionSpec::new(name, OptionKind::Text, default, about)
}

const fn switch(name: &'static str, about: &'static str) -> OptionSpec {
    OptionSpec::new(name, OptionKind::Bool, "off", about)
}

const BULK: &[OptionSpec] = &[
    text(
        "index",
        "fluent-bit",
        "index; may have date letters (%Y) or parts of the record ($key)",
    ),
    text("type", "_doc", "type of the document"),
    switch(
        "suppress_type_name",
        "leave out the type, as Elasticsearch 8 wants it",
    ),
    switch("logstash_format", "an index per day: PREFIX-DATE"),
    text("logstash_prefix", "logstash", "start of such an index"),
    text("logstash_prefix_separator", "-", "between prefix and date"),
    text(
        "logstash_prefix_key",
        "",
        "field that is the prefix, where a record has it",
    ),
    text("logstash_dateformat", "%Y.%m.%d", "date of such an index"),
    text("time_key", "@timestamp", "key of the time"),
    text(
        "time_key_format",
        "%Y-%m-%dT%H:%M:%S",
        "form of the time up to the second",
    ),
    switch(
        "time_key_nanos",
        "nine digits after the second instead of three",
    ),
    switch("include_tag_key", "add the tag"),
    text("tag_key", "flb-key", "key of the tag"),
    switch("generate_id", "make the document's id from its content"),
    text("id_key", "", "field that is the document's id"),
    OptionSpec::new(
        "write_operation",
        OptionKind::Choice(&["create", "index", "update", "upsert"]),
        "create",
        "what to do with a document",
    ),
    switch("replace_dots", "dots in keys become underscores"),
    switch(
        "current_time_index",
        "date the index by the time of sending",
    ),
    text("path", "", "path before /_bulk"),
    text("pipeline", "", "ingest pipeline"),
    OptionSpec::new(
        "compress",
        OptionKind::Choice(&["gzip"]),
        "",
        "compress the body",
    ),
    text(
        "buffer_size",
        "512k",
        "no effect: answers are read up to 64 MiB",
    ),
    switch("trace_output", "print requests to standard output"),
    switch("trace_error", "print refused answers to standard error"),
];

/// The options of outputs that use the bulk API.
pub(crate) const SHARED: &[OptionSpec] = &joined::<{ BULK.len() + HTTP.len() }>(BULK, HTTP);
const HTTP: &[OptionSpec] =
    &joined::<{ client::OPTIONS.len() + aws::OPTIONS.len() }>(client::OPTIONS, aws::OPTIONS);

const OWN: &[OptionSpec] = &[
    text("http_api_key", "", "API key to log in with"),
    text(
        "cloud_id",
        "",
        "Elastic Cloud deployment, instead of a host",
    ),
    text("cloud_auth", "", "login for Elastic Cloud: user:password"),
    text("upstream", "", "upstream file whose nodes take turns"),
];

const OPTIONS: &[OptionSpec] = &joined::<{ OWN.len() + SHARED.len() }>(OWN, SHARED);

/// The plugin.
pub const PLUGIN: OutputPlugin = Plugin {
    name: "es",
    about: "Indexes records in Elasticsearch.",
    options: OPTIONS,
    example: "[OUTPUT]\n    Name                es\n    Match               kube.*\n    Host                elasticsearch.logging\n    Logstash_Format     On\n    Suppress_Type_Name  On\n",
    build,
};

/// The most of an answer that is read: some hundred bytes per record of a request.
const ANSWER_MAX_BYTES: usize = 64 << 20;
const DEFAULT_PORT: u16 = 9200;

struct Node {
    client: HttpClient,
    bulk: Bulk,
    uri: String,
    compression: Compression,
    trace_output: bool,
    trace_error: bool,
}

/// The bulk API at one or several nodes.
pub(crate) struct Es {
    nodes: Vec<Node>,
    /// Which node is next.
    turn: AtomicUsize,
}

fn build(
    settings: &Settings,
    environment: &OutputEnvironment,
) -> Result<Box<dyn Output>, ConfigError> {
    settings.check(PLUGIN.options)?;
    build_checked(settings, environment)
}

pub(crate) fn build_checked(
    settings: &Settings,
    environment: &OutputEnvironment,
) -> Result<Box<dyn Output>, ConfigError> {
    let nodes = upstream::nodes(settings, environment)?
        .into_iter()
        .map(|settings| Node::build(&cloud(settings)?, environment))
        .collect::<Result<Vec<_>, ConfigError>>()?;
    Ok(Box::new(Es {
        nodes,
        turn: AtomicUsize::new(0),
    }))
}

/// Puts what `cloud_id` and `cloud_auth` say in the place of host and login.
fn cloud(mut settings: Settings) -> Result<Settings, ConfigError> {
    let mut pairs: Vec<(&str, String)> = Vec::new();
    if let Some(s) = settings.get("cloud_id") {
        let (host, port) = cloud_host(&s.value).ok_or_else(|| {
            ConfigError::new(
                &s.place,
                format!("'cloud_id' is '{}', which is none", s.value),
            )
        })?;
        pairs.push(("host", host));
        pairs.push(("port", port.to_string()));
        pairs.push(("tls", "on".into()));
    }
    if let Some(s) = settings.get("cloud_auth") {
        let (user, password) = s
            .value
            .split_once(':')
            .ok_or_else(|| ConfigError::new(&s.place, "'cloud_auth' must be user:password"))?;
        pairs.push(("http_user", user.to_owned()));
        pairs.push(("http_passwd", password.to_owned()));
    }
    for (key, value) in pairs {
        settings.settings.retain(|s| s.key != key);
        settings
            .settings
            .extend(Settings::of("", &[(key, &value)]).settings);
    }
    Ok(settings)
}

/// `name:base64(host[:port]$uuid[:port]$kibana)` gives `uuid.host` and the port.
fn cloud_host(id: &str) -> Option<(String, u16)> {
    let (_, coded) = id.rsplit_once(':')?;
    let plain = String::from_utf8(STANDARD.decode(coded.trim()).ok()?).ok()?;
    let mut parts = plain.split('$');
    let (host, uuid) = (parts.next()?, parts.next()?);
    let (host, of_all) = host.split_once(':').unwrap_or((host, "443"));
    let (uuid, port) = uuid.split_once(':').unwrap_or((uuid, of_all));
    let port = port.parse().ok()?;
    (!host.is_empty() && !uuid.is_empty()).then(|| (format!("{uuid}.{host}"), port))
}

impl Node {
    fn build(settings: &Settings, environment: &OutputEnvironment) -> Result<Self, ConfigError> {
        let mut client = HttpClient::build(settings, environment, DEFAULT_PORT)?;
        client.answer_max_bytes = ANSWER_MAX_BYTES;
        if let Some(s) = settings.get("http_api_key") {
            let mut key = HeaderValue::from_str(&format!("ApiKey {}", s.value)).map_err(|_| {
                ConfigError::new(
                    &s.place,
                    "'http_api_key' has characters that no header may have",
                )
            })?;
            key.set_sensitive(true);
            client.set_header(AUTHORIZATION, key);
        }
        let mut bulk = Bulk::of(settings)?;
        bulk.unicode = environment.unicode;
        let path = settings.text("path", "").trim_end_matches('/');
        let query = settings.get("pipeline").map_or(String::new(), |s| {
            format!("?pipeline={}", encoded(&s.value, false))
        });
        Ok(Self {
            client,
            bulk,
            uri: path_of(&format!("{path}/_bulk{query}")),
            compression: Compression::of(settings),
            trace_output: settings.bool("trace_output", false)?,
            trace_error: settings.bool("trace_error", false)?,
        })
    }

    async fn send(&self, request: Request<'_>) -> Outcome {
        let now = self.bulk.current_time_index.then(|| {
            let since = SystemTime::now().duration_since(UNIX_EPOCH);
            since.map_or(0, |d| d.as_secs() as i64)
        });
        let mut body = self.client.buffer();
        let mut skipped = Vec::new();
        for (at, batch) in request.batches.iter().enumerate() {
            if let RecordBatch::Logs(batch) = &**batch {
                let mut skip = |row: usize| skipped.push(record(at, row));
                self.bulk.write(&mut body, batch, now, &mut skip);
            }
        }
        self.client.note_body(request.batches, body.len());
        if self.trace_output {
            use std::io::Write;
            let _ = std::io::stdout().lock().write_all(&body);
        }
        let outcome = if body.is_empty() {
            self.client.recycle(body);
            Outcome::Delivered
        } else {
            self.deliver(request, body, &skipped).await
        };
        with_skipped(outcome, skipped)
    }

    async fn deliver(&self, request: Request<'_>, body: Vec<u8>, skipped: &[RecordRef]) -> Outcome {
        let mut headers = vec![
            (
                CONTENT_TYPE,
                HeaderValue::from_static("application/x-ndjson"),
            ),
            idempotency_key(request.id),
        ];
        headers.extend(self.compression.header());
        let body = if self.compression == Compression::None {
            body
        } else {
            let into = self.client.buffer();
            self.compression
                .apply(body, into, |b| self.client.recycle(b))
        };
        let sent = self
            .client
            .exchange(Method::POST, &self.uri, &headers, body);
        let answer = match sent.await {
            Ok(answer) => answer,
            Err(reason) => return self.client.retry(reason, None),
        };
        let outcome = if answer.status.is_success() {
            let judge = Judge {
                conflict_is_done: self.bulk.conflict_is_done(),
                missing_is_final: self.bulk.is_update(),
            };
            let judged = judge.outcome_of(&answer.body, || records(request, skipped));
            judged.unwrap_or_else(|e| self.client.retry(e, None))
        } else if refuses_types(&answer.body) {
            // Nothing is wrong with the records: they wait until the option is set.
            self.client.retry(TYPES_REFUSED, None)
        } else {
            self.client.outcome(&answer)
        };
        if self.trace_error && outcome != Outcome::Delivered {
            eprintln!("{}", String::from_utf8_lossy(&answer.body));
        }
        outcome
    }
}

const TYPES_REFUSED: &str = "this server takes no types (Elasticsearch 8 and OpenSearch 2 do not): set 'suppress_type_name on'";

fn refuses_types(body: &[u8]) -> bool {
    memchr::memmem::find(body, b"unknown parameter [_type]").is_some()
}

fn record(batch: usize, row: usize) -> RecordRef {
    RecordRef {
        batch: batch as u32,
        row: row as u32,
    }
}

/// The records of a request's body, in its order.
fn records(request: Request<'_>, skipped: &[RecordRef]) -> Vec<RecordRef> {
    let mut all = Vec::new();
    for (at, batch) in request.batches.iter().enumerate() {
        if let RecordBatch::Logs(batch) = &**batch {
            all.extend((0..batch.len()).map(|row| record(at, row)));
        }
    }
    if !skipped.is_empty() {
        all.retain(|r| skipped.binary_search(r).is_err());
    }
    all
}

/// Adds the records that could not be written to what came of the others.
fn with_skipped(outcome: Outcome, skipped: Vec<RecordRef>) -> Outcome {
    if skipped.is_empty() {
        return outcome;
    }
    let mut refused: Vec<(RecordRef, String)> = skipped
        .into_iter()
        .map(|r| (r, bulk::NO_ID.to_owned()))
        .collect();
    match outcome {
        Outcome::Delivered => Outcome::Partial {
            retry: Vec::new(),
            rejected: refused,
            reason: String::new(),
            after: None,
        },
        Outcome::Partial {
            retry,
            mut rejected,
            reason,
            after,
        } => {
            rejected.append(&mut refused);
            Outcome::Partial {
                retry,
                rejected,
                reason,
                after,
            }
        }
        // They are found again when the rest is.
        other => other,
    }
}

impl Output for Es {
    fn max_request_bytes(&self) -> usize {
        // Nodes that were not asked yet know nothing.
        let learned = self.nodes.iter().map(|node| node.client.request_bytes());
        learned.min().unwrap_or(1 << 20)
    }

    fn send<'a>(&'a self, request: Request<'a>) -> SendFuture<'a> {
        let turn = self.turn.fetch_add(1, Ordering::Relaxed);
        let node = &self.nodes[turn % self.nodes.len()];
        Box::pin(node.send(request))
    }

    fn takes(&self, batch: &RecordBatch) -> bool {
        matches!(batch, RecordBatch::Logs(_))
    }
}

#[cfg(test)]
mod tests;
