//! The body of a bulk request: an action line and a document line per record.
//!
//! Without `id_key` and `generate_id` a record's `_id` is made of its source and position, so that a
//! repeat finds its documents there (409) and doubles nothing. Fluent Bit sends no `_id` then.

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use jiff::Timestamp;
use jiff::fmt::strtime;
use kansoku_model::plugin::Setting;
use kansoku_model::{ConfigError, LogBatch, Settings, json};
use xxhash_rust::xxh3::xxh3_128;

use crate::Unicode;
use crate::accessor::{Accessor, Template};
use crate::render::split_seconds;
use crate::rows::{RowOptions, Rows, digits};

/// The longest id that Elasticsearch takes.
const ID_MAX_BYTES: usize = 512;
/// The longest index name part that a record may give, as in Fluent Bit.
const PREFIX_MAX_BYTES: usize = 128;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Operation {
    Create,
    Index,
    Update,
    Upsert,
}

enum Ids {
    Position,
    Content,
    Key(Accessor),
}

/// A strftime pattern with what it gave last.
struct Dated {
    pattern: String,
    /// Seconds for which the text stays the same.
    step: i64,
}

impl Dated {
    fn new(
        setting: Option<&Setting>,
        settings: &Settings,
        pattern: &str,
    ) -> Result<Self, ConfigError> {
        strtime::format(pattern, Timestamp::UNIX_EPOCH).map_err(|e| {
            let place = setting.map_or(&settings.place, |s| &s.place);
            ConfigError::new(place, format!("'{pattern}' is no date format: {e}"))
        })?;
        let mut letters = pattern.split('%').skip(1).filter_map(|p| p.chars().next());
        let is_coarse = letters.all(|c| "YmdHyjebBaAUWVGuwCDFhk%".contains(c));
        Ok(Self {
            pattern: pattern.to_owned(),
            step: if is_coarse { 3600 } else { 1 },
        })
    }

    fn write(&self, out: &mut String, second: i64) {
        let time = Timestamp::from_second(second).unwrap_or_default();
        out.push_str(&strtime::format(&*self.pattern, time).unwrap_or_default());
    }
}

enum Index {
    /// `index`, with the date of the record where it has date letters.
    Plain(Dated),
    /// `index` with parts of the record.
    Record(Template),
    Logstash {
        prefix: String,
        prefix_key: Option<Template>,
        separator: String,
        date: Dated,
    },
}

/// How documents are written.
pub struct Bulk {
    index: Index,
    /// `_type` and its value, or nothing.
    kind: String,
    operation: Operation,
    ids: Ids,
    /// `"@timestamp":"`, quoted.
    time_key: Vec<u8>,
    time: Dated,
    nanos: bool,
    tag_key: Option<Vec<u8>>,
    replace_dots: bool,
    /// Keys of a record that the output writes itself: a document with one key twice is refused.
    without: Vec<Vec<String>>,
    pub current_time_index: bool,
    pub(crate) unicode: Unicode,
}

/// What became of a record that is not in the body.
pub const NO_ID: &str =
    "the record has no text under 'id_key' that can be an id, which an update needs";

impl Bulk {
    /// Reads the options of documents.
    ///
    /// # Errors
    /// When one cannot be used.
    pub fn of(settings: &Settings) -> Result<Self, ConfigError> {
        let operation = match settings
            .text("write_operation", "create")
            .to_ascii_lowercase()
            .as_str()
        {
            "index" => Operation::Index,
            "update" => Operation::Update,
            "upsert" => Operation::Upsert,
            _ => Operation::Create,
        };
        let generate = settings.bool("generate_id", false)?;
        let ids = match settings.get("id_key") {
            Some(s) => Ids::Key(
                Accessor::new(&s.value)
                    .map_err(|e| ConfigError::new(&s.place, format!("'id_key': {e}")))?,
            ),
            None if generate => Ids::Content,
            None => Ids::Position,
        };
        if matches!(operation, Operation::Update | Operation::Upsert)
            && matches!(ids, Ids::Position)
        {
            let place = settings
                .get("write_operation")
                .map_or(&settings.place, |s| &s.place);
            let message = "an update needs to know the document: set 'id_key' or 'generate_id on'";
            return Err(ConfigError::new(place, message));
        }
        let time_name = settings.text("time_key", "@timestamp");
        let mut without = vec![vec![time_name.to_owned()]];
        let mut time_key = Vec::new();
        json::write_str(&mut time_key, time_name.as_bytes());
        time_key.extend_from_slice(b":\"");
        let tag_key = settings.bool("include_tag_key", false)?.then(|| {
            let name = settings.text("tag_key", "flb-key");
            without.push(vec![name.to_owned()]);
            let mut key = vec![b','];
            json::write_str(&mut key, name.as_bytes());
            key.push(b':');
            key
        });
        let kind = if settings.bool("suppress_type_name", false)? {
            String::new()
        } else {
            format!(",\"_type\":{}", quoted(settings.text("type", "_doc")))
        };
        let format = settings.text("time_key_format", "%Y-%m-%dT%H:%M:%S");
        Ok(Self {
            index: index(settings)?,
            kind,
            operation,
            ids,
            time_key,
            time: Dated::new(settings.get("time_key_format"), settings, format)?,
            nanos: settings.bool("time_key_nanos", false)?,
            tag_key,
            replace_dots: settings.bool("replace_dots", false)?,
            without,
            current_time_index: settings.bool("current_time_index", false)?,
            unicode: Unicode::default(),
        })
    }

    /// Whether a document that is there already was written by an earlier try of the same request.
    #[must_use]
    pub fn conflict_is_done(&self) -> bool {
        self.operation == Operation::Create
    }

    /// Whether the operation changes documents that must be there.
    #[must_use]
    pub fn is_update(&self) -> bool {
        matches!(self.operation, Operation::Update)
    }

    /// Appends the records of a batch and tells `skip` which rows were left out. `now` is the
    /// second to use for the index with `current_time_index`.
    pub fn write(
        &self,
        out: &mut Vec<u8>,
        batch: &LogBatch,
        now: Option<i64>,
        mut skip: impl FnMut(usize),
    ) {
        let rows = Rows::with(
            batch,
            RowOptions {
                replace_dots: self.replace_dots,
                without: &self.without,
            },
        );
        let tag = self.tag_key.as_ref().map(|key| {
            let mut member = key.clone();
            json::write_str(&mut member, batch.tag.as_bytes());
            member
        });
        let mut heads = Heads::new(self, batch);
        let mut seconds = (None, String::new());
        let key = match &self.ids {
            Ids::Key(accessor) => Some(accessor.over(batch)),
            _ => None,
        };
        let start = out.len();
        out.reserve(batch.arena().len() * 5 / 4);
        for row in 0..batch.len() {
            let (second, nanos) = split_seconds(batch.times()[row]);
            heads.write(out, row, now.unwrap_or(second));
            let id_at = out.len();
            let has_id = match (&self.ids, &key) {
                (Ids::Position, _) => write_position_id(out, batch, row),
                (Ids::Key(_), Some(key)) => match key.text(row).filter(|t| is_id(t)) {
                    Some(text) => write_id(out, &text),
                    None => false,
                },
                _ => false,
            };
            if self.needs_id() && !has_id && !matches!(self.ids, Ids::Content) {
                out.truncate(heads.start);
                skip(row);
                continue;
            }
            out.extend_from_slice(b"}}\n");
            let document_at = out.len();
            match self.operation {
                Operation::Update => out.extend_from_slice(b"{\"doc\":"),
                Operation::Upsert => out.extend_from_slice(b"{\"doc_as_upsert\":true,\"doc\":"),
                _ => {}
            }
            let body_at = out.len();
            out.push(b'{');
            out.extend_from_slice(&self.time_key);
            if seconds.0 != Some(second) {
                seconds = (Some(second), String::new());
                self.time.write(&mut seconds.1, second);
            }
            out.extend_from_slice(seconds.1.as_bytes());
            out.push(b'.');
            if self.nanos {
                out.extend_from_slice(&digits::<9>(nanos));
            } else {
                out.extend_from_slice(&digits::<3>(nanos / 1_000_000));
            }
            out.extend_from_slice(b"Z\"");
            out.extend_from_slice(tag.as_deref().unwrap_or_default());
            rows.write(out, row, false);
            out.push(b'}');
            if matches!(self.ids, Ids::Content) {
                let mut id = Vec::new();
                write_id(&mut id, content_id(&out[body_at..]).as_bytes());
                out.splice(id_at..id_at, id);
            }
            debug_assert!(document_at > id_at);
            if matches!(self.operation, Operation::Update | Operation::Upsert) {
                out.push(b'}');
            }
            out.push(b'\n');
        }
        self.unicode.apply(out, start);
    }

    fn needs_id(&self) -> bool {
        matches!(self.operation, Operation::Update | Operation::Upsert)
    }
}

fn index(settings: &Settings) -> Result<Index, ConfigError> {
    let template = |s: &Setting| {
        Template::new(&s.value).map_err(|e| ConfigError::new(&s.place, format!("'{}': {e}", s.key)))
    };
    if settings.bool("logstash_format", false)? {
        let format = settings.text("logstash_dateformat", "%Y.%m.%d");
        let key = settings.get("logstash_prefix_key").map(|s| {
            let mut s = s.clone();
            if !s.value.starts_with('$') {
                s.value.insert(0, '$');
            }
            template(&s)
        });
        return Ok(Index::Logstash {
            prefix: settings.text("logstash_prefix", "logstash").to_owned(),
            prefix_key: key.transpose()?,
            separator: settings.text("logstash_prefix_separator", "-").to_owned(),
            date: Dated::new(settings.get("logstash_dateformat"), settings, format)?,
        });
    }
    match settings.get("index") {
        Some(s) if s.value.contains('$') => Ok(Index::Record(template(s)?)),
        setting => {
            let text = settings.text("index", "fluent-bit");
            Ok(Index::Plain(Dated::new(setting, settings, text)?))
        }
    }
}

fn quoted(text: &str) -> String {
    let mut out = Vec::new();
    json::write_str(&mut out, text.as_bytes());
    String::from_utf8(out).expect("JSON is UTF-8")
}

/// Whether a text can stand in an action line as it is.
fn is_safe(text: &[u8]) -> bool {
    std::str::from_utf8(text).is_ok() && !text.iter().any(|&b| b < 0x20 || b == b'"' || b == b'\\')
}

/// An empty or long id makes Elasticsearch refuse the whole request.
fn is_id(text: &[u8]) -> bool {
    (1..=ID_MAX_BYTES).contains(&text.len()) && is_safe(text)
}

fn write_id(out: &mut Vec<u8>, id: &[u8]) -> bool {
    out.extend_from_slice(b",\"_id\":\"");
    out.extend_from_slice(id);
    out.push(b'"');
    true
}

fn write_position_id(out: &mut Vec<u8>, batch: &LogBatch, row: usize) -> bool {
    if !batch.source.id.is_some() {
        return false;
    }
    let position = batch.positions()[row];
    let mut bytes = [0; 28];
    bytes[..16].copy_from_slice(&batch.source.id.0.to_be_bytes());
    bytes[16..24].copy_from_slice(&position.offset.to_be_bytes());
    bytes[24..].copy_from_slice(&position.ordinal.to_be_bytes());
    let mut text = [0; 22];
    let hash = xxh3_128(&bytes).to_be_bytes();
    URL_SAFE_NO_PAD
        .encode_slice(hash, &mut text)
        .expect("16 bytes are 22 digits");
    write_id(out, &text)
}

/// Fluent Bit's form of a hash.
fn content_id(document: &[u8]) -> String {
    let hash = format!("{:032x}", xxh3_128(document));
    let parts = [
        &hash[..8],
        &hash[8..12],
        &hash[12..16],
        &hash[16..20],
        &hash[20..],
    ];
    parts.join("-")
}

/// Writes the start of action lines; made anew only when the index changes.
struct Heads<'a> {
    bulk: &'a Bulk,
    /// Where the last action line began.
    start: usize,
    head: Vec<u8>,
    /// The date part that `head` was made with.
    step: Option<i64>,
    record: Option<crate::accessor::TemplateReading<'a>>,
    name: Vec<u8>,
    /// The record's part that `head` was made with.
    known: Vec<u8>,
}

impl<'a> Heads<'a> {
    fn new(bulk: &'a Bulk, batch: &'a LogBatch) -> Self {
        let record = match &bulk.index {
            Index::Record(template)
            | Index::Logstash {
                prefix_key: Some(template),
                ..
            } => Some(template.over(batch)),
            _ => None,
        };
        Self {
            bulk,
            start: 0,
            head: Vec::new(),
            step: None,
            record,
            name: Vec::new(),
            known: Vec::new(),
        }
    }

    fn write(&mut self, out: &mut Vec<u8>, row: usize, second: i64) {
        let step = match &self.bulk.index {
            Index::Plain(date) | Index::Logstash { date, .. } => second.div_euclid(date.step),
            Index::Record(_) => 0,
        };
        let mut is_known = self.step == Some(step);
        if let Some(record) = &self.record {
            self.name.clear();
            record.write(&mut self.name, row);
            if !is_safe(&self.name) {
                self.name.clear();
            }
            is_known &= self.name == self.known;
        }
        if !is_known {
            self.step = Some(step);
            self.known.clone_from(&self.name);
            self.make(second);
        }
        self.start = out.len();
        out.extend_from_slice(&self.head);
    }

    fn make(&mut self, second: i64) {
        let mut index = String::new();
        let of_record = String::from_utf8_lossy(&self.name);
        match &self.bulk.index {
            Index::Plain(date) => date.write(&mut index, second),
            Index::Record(_) if of_record.is_empty() => index.push_str("fluent-bit"),
            Index::Record(_) => index.push_str(&of_record),
            Index::Logstash {
                prefix,
                separator,
                date,
                ..
            } => {
                let prefix = if of_record.is_empty() {
                    prefix
                } else {
                    &*of_record
                };
                let mut end = prefix.len().min(PREFIX_MAX_BYTES);
                while !prefix.is_char_boundary(end) {
                    end -= 1;
                }
                index.push_str(&prefix[..end]);
                index.push_str(separator);
                date.write(&mut index, second);
            }
        }
        let action = match self.bulk.operation {
            Operation::Create => "create",
            Operation::Index => "index",
            Operation::Update | Operation::Upsert => "update",
        };
        let head = format!(
            "{{\"{action}\":{{\"_index\":{}{}",
            quoted(&index),
            self.bulk.kind
        );
        self.head = head.into_bytes();
    }
}
