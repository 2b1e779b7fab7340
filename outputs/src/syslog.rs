//! `syslog`: writes records as RFC 5424 or RFC 3164 messages over UDP, TCP or TLS.
//!
//! The protocol has no answer: a record counts as delivered once the operating system took it. A
//! message that would break its frame (a line break inside, over TCP) has the break written as a
//! space; Fluent Bit sends it as two messages there.

use std::borrow::Cow;

use jiff::Timestamp;
use kansoku_model::{
    ConfigError, LogBatch, OptionKind, OptionSpec, Plugin, RecordBatch, Settings, Value, joined,
};

use crate::net::{self, Net};
use crate::render::{kubernetes_json, split_seconds};
use crate::socket::Dialer;
use crate::tcp::{logs, write_once};
use crate::tree::Tree;
use crate::udp::{DATAGRAM_MAX_BYTES, send_all};
use crate::{Output, OutputEnvironment, OutputPlugin, Request, SendFuture};

const fn key(name: &'static str, about: &'static str) -> OptionSpec {
    OptionSpec::new(name, OptionKind::Text, "", about)
}

const OWN: &[OptionSpec] = &[
    OptionSpec::new(
        "mode",
        OptionKind::Choice(&["udp", "tcp", "tls"]),
        "udp",
        "how to send",
    ),
    OptionSpec::new(
        "syslog_format",
        OptionKind::Choice(&["rfc5424", "rfc3164"]),
        "rfc5424",
        "form of the messages",
    ),
    OptionSpec::new(
        "syslog_maxsize",
        OptionKind::Size,
        "0",
        "bytes at which a message is cut; 0 = 2048 for rfc5424, 1024 for rfc3164",
    ),
    key(
        "syslog_severity_key",
        "field with the severity, 0-7 or its name",
    ),
    OptionSpec::new(
        "syslog_severity_preset",
        OptionKind::Int,
        "6",
        "severity of records without one",
    ),
    key(
        "syslog_facility_key",
        "field with the facility, 0-23 or its name",
    ),
    OptionSpec::new(
        "syslog_facility_preset",
        OptionKind::Int,
        "1",
        "facility of records without one",
    ),
    key("syslog_hostname_key", "field with the host name"),
    key("syslog_hostname_preset", "host name of records without one"),
    key("syslog_appname_key", "field with the application's name"),
    key(
        "syslog_appname_preset",
        "application of records without one",
    ),
    key("syslog_procid_key", "field with the process"),
    key("syslog_procid_preset", "process of records without one"),
    key("syslog_msgid_key", "field with the kind of message"),
    key("syslog_msgid_preset", "kind of records without one"),
    key(
        "syslog_sd_key",
        "field whose map becomes structured data, with its own name as id",
    )
    .repeated(),
    key("syslog_message_key", "field with the message"),
    OptionSpec::new(
        "allow_longer_sd_id",
        OptionKind::Bool,
        "off",
        "let ids and names of structured data exceed 32 characters",
    ),
];
const OPTIONS: &[OptionSpec] = &joined::<{ OWN.len() + net::OPTIONS.len() }>(OWN, net::OPTIONS);

/// The plugin.
pub const PLUGIN: OutputPlugin = Plugin {
    name: "syslog",
    about: "Writes records as syslog messages over UDP, TCP or TLS.",
    options: OPTIONS,
    example: "[OUTPUT]\n    Name                syslog\n    Match               *\n    Host                syslog.example.org\n    Port                514\n    Mode                tcp\n    Syslog_Message_Key  log\n",
    build,
};

const SEVERITIES: [&str; 8] = [
    "emerg", "alert", "crit", "err", "warning", "notice", "info", "debug",
];

const FACILITIES: [(&str, u8); 23] = [
    ("kern", 0),
    ("user", 1),
    ("mail", 2),
    ("daemon", 3),
    ("auth", 4),
    ("syslog", 5),
    ("lpr", 6),
    ("news", 7),
    ("uucp", 8),
    ("cron", 9),
    ("authpriv", 10),
    ("ftp", 11),
    ("ntp", 12),
    ("security", 13),
    ("console", 14),
    ("local0", 16),
    ("local1", 17),
    ("local2", 18),
    ("local3", 19),
    ("local4", 20),
    ("local5", 21),
    ("local6", 22),
    ("local7", 23),
];

/// A field by name, and what stands in for it.
struct Source {
    key: Option<String>,
    preset: Option<String>,
}

struct Style {
    rfc5424: bool,
    max_bytes: usize,
    /// Whether messages end with a line break.
    framed: bool,
    severity: (Option<String>, u8),
    facility: (Option<String>, u8),
    hostname: Source,
    appname: Source,
    procid: Source,
    msgid: Source,
    message: Source,
    sd_keys: Vec<String>,
    long_ids: bool,
}

enum Transport {
    Stream(Dialer),
    Datagrams(Net),
}

struct Syslog {
    style: Style,
    transport: Transport,
}

fn build(
    settings: &Settings,
    environment: &OutputEnvironment,
) -> Result<Box<dyn Output>, ConfigError> {
    settings.check(PLUGIN.options)?;
    let mode = settings.text("mode", "udp").to_ascii_lowercase();
    let tls = settings.bool("tls", false)?;
    if let ("udp", true, Some(s)) = (mode.as_str(), tls, settings.get("tls")) {
        let message = "'tls on' needs 'mode tls'; datagrams go unencrypted";
        return Err(ConfigError::new(&s.place, message));
    }
    Ok(Box::new(Syslog {
        style: Style::of(settings, mode != "udp")?,
        transport: match mode.as_str() {
            "udp" => Transport::Datagrams(Net::build(settings, environment, 514, &[])?),
            "tls" => Transport::Stream(Dialer::build_tls(settings, environment, 514)?),
            _ => Transport::Stream(Dialer::build(settings, environment, 514)?),
        },
    }))
}

impl Style {
    fn of(settings: &Settings, framed: bool) -> Result<Self, ConfigError> {
        let rfc5424 = !settings
            .text("syslog_format", "rfc5424")
            .eq_ignore_ascii_case("rfc3164");
        let name = |key: &str| settings.get(key).map(|s| s.value.clone());
        let source = |what: &str| Source {
            key: name(&format!("syslog_{what}_key")),
            preset: name(&format!("syslog_{what}_preset")),
        };
        let number = |what: &str, default: i64, max: u8| {
            let preset = format!("syslog_{what}_preset");
            let value = settings.int(&preset, default)?;
            match u8::try_from(value) {
                Ok(n) if n <= max => Ok((name(&format!("syslog_{what}_key")), n)),
                _ => {
                    let place = settings.get(&preset).map_or(&settings.place, |s| &s.place);
                    let message = format!("'{preset}' is {value}, but must be 0 to {max}");
                    Err(ConfigError::new(place, message))
                }
            }
        };
        Ok(Self {
            rfc5424,
            max_bytes: match settings.size("syslog_maxsize", 0)? as usize {
                0 if rfc5424 => 2048,
                0 => 1024,
                n => n.min(DATAGRAM_MAX_BYTES),
            },
            framed,
            severity: number("severity", 6, 7)?,
            facility: number("facility", 1, 23)?,
            hostname: source("hostname"),
            appname: source("appname"),
            procid: source("procid"),
            msgid: source("msgid"),
            message: Source {
                key: name("syslog_message_key"),
                preset: None,
            },
            sd_keys: settings
                .all("syslog_sd_key")
                .map(|s| s.value.clone())
                .collect(),
            long_ids: settings.bool("allow_longer_sd_id", false)?,
        })
    }

    /// The messages of a batch, one after the other; `ends` gets where each of them ends.
    fn write(&self, out: &mut Vec<u8>, ends: &mut Vec<usize>, batch: &LogBatch) {
        let columns = Columns {
            batch,
            severity: self.severity.0.as_ref().and_then(|k| batch.column_index(k)),
            facility: self.facility.0.as_ref().and_then(|k| batch.column_index(k)),
            hostname: self.hostname.column(batch),
            appname: self.appname.column(batch),
            procid: self.procid.column(batch),
            msgid: self.msgid.column(batch),
            message: self.message.column(batch),
            kubernetes: kubernetes_json(batch),
        };
        for row in 0..batch.len() {
            let start = out.len();
            self.write_message(out, &columns, row);
            if out.len() - start > self.max_bytes {
                let end = start + self.max_bytes;
                out.truncate(end - broken_tail(&out[start..end]));
            }
            if self.framed {
                for byte in out[start..].iter_mut().filter(|b| **b == b'\n') {
                    *byte = b' ';
                }
                out.push(b'\n');
            }
            ends.push(out.len());
        }
    }

    fn write_message(&self, out: &mut Vec<u8>, columns: &Columns<'_>, row: usize) {
        let message = columns.text(columns.message, &self.message, row);
        // A record that is a syslog message already goes out as it is.
        if let Some(message) = message.as_deref().filter(|m| m.starts_with(b"<")) {
            return out.extend_from_slice(message);
        }
        let severity = columns.plain(columns.severity, row);
        let severity = severity
            .and_then(|t| severity_of(&t))
            .unwrap_or(self.severity.1);
        let facility = columns.plain(columns.facility, row);
        let facility = facility
            .and_then(|t| facility_of(&t))
            .unwrap_or(self.facility.1);
        let priority = u32::from(facility) * 8 + u32::from(severity);
        let time = columns.batch.times()[row];
        let [host, app, process, id] = [
            (columns.hostname, &self.hostname),
            (columns.appname, &self.appname),
            (columns.procid, &self.procid),
            (columns.msgid, &self.msgid),
        ]
        .map(|(column, source)| columns.text(column, source, row));
        if self.rfc5424 {
            out.extend_from_slice(format!("<{priority}>1 {}Z ", iso_time(time)).as_bytes());
            for (text, max) in [(host, 255), (app, 48), (process, 128), (id, 32)] {
                match text.as_deref() {
                    Some(text) => out.extend_from_slice(&text[..text.len().min(max)]),
                    None => out.push(b'-'),
                }
                out.push(b' ');
            }
            self.write_structured(out, columns, row);
            if let Some(message) = message {
                out.extend_from_slice(b" \xef\xbb\xbf");
                out.extend_from_slice(&message);
            }
        } else {
            out.extend_from_slice(format!("<{priority}>{} ", bsd_time(time)).as_bytes());
            if let Some(host) = host {
                out.extend_from_slice(&host);
                out.push(b' ');
            }
            if let Some(app) = app {
                out.extend_from_slice(&app);
                if let Some(process) = process {
                    out.push(b'[');
                    out.extend_from_slice(&process);
                    out.push(b']');
                }
                out.extend_from_slice(b": ");
            }
            out.extend_from_slice(message.as_deref().unwrap_or_default());
        }
    }

    /// The maps of `syslog_sd_key`, in the order of the record.
    fn write_structured(&self, out: &mut Vec<u8>, columns: &Columns<'_>, row: usize) {
        let start = out.len();
        if !self.sd_keys.is_empty() {
            for column in columns.batch.columns() {
                if let Value::Json(slice) = column.values[row]
                    && self.sd_keys.iter().any(|k| **k == *column.name)
                {
                    self.write_element(out, &column.name, columns.batch.bytes(slice));
                }
            }
            if !columns.kubernetes.is_empty() && self.sd_keys.iter().any(|k| k == "kubernetes") {
                self.write_element(out, "kubernetes", &columns.kubernetes);
            }
        }
        if out.len() == start {
            out.push(b'-');
        }
    }

    fn write_element(&self, out: &mut Vec<u8>, name: &str, json: &[u8]) {
        let Some(Tree::Object(map)) = Tree::read(json) else {
            return;
        };
        out.push(b'[');
        self.write_name(out, name);
        for (key, value) in &map {
            let text: Cow<'_, str> = match value {
                Tree::Text(text) => text.into(),
                Tree::Bool(b) => b.to_string().into(),
                Tree::Int(i) => i.to_string().into(),
                Tree::Uint(u) => u.to_string().into(),
                Tree::Float(f) => format!("{f:.6}").into(),
                Tree::Null | Tree::Array(_) | Tree::Object(_) => continue,
            };
            out.push(b' ');
            self.write_name(out, key);
            out.extend_from_slice(b"=\"");
            for &byte in text.as_bytes() {
                if matches!(byte, b'"' | b'\\' | b']') {
                    out.push(b'\\');
                }
                out.push(byte);
            }
            out.push(b'"');
        }
        out.push(b']');
    }

    fn write_name(&self, out: &mut Vec<u8>, name: &str) {
        let max = if self.long_ids { name.len() } else { 32 };
        let bytes = name.bytes().take(max);
        out.extend(bytes.map(|b| match b {
            b'=' | b' ' | b']' | b'"' => b'_',
            0x21..=0x7e => b,
            _ => b'_',
        }));
    }
}

/// Bytes at the end of a cut text that are a part of a character only.
fn broken_tail(text: &[u8]) -> usize {
    let from = text.len().saturating_sub(4);
    (from..text.len())
        .rev()
        .find(|&at| text[at] & 0xc0 != 0x80)
        .map_or(0, |at| {
            let whole = std::str::from_utf8(&text[at..]).is_ok();
            if whole { 0 } else { text.len() - at }
        })
}

/// The columns of the keys in one batch.
struct Columns<'a> {
    batch: &'a LogBatch,
    severity: Option<usize>,
    facility: Option<usize>,
    hostname: Option<usize>,
    appname: Option<usize>,
    procid: Option<usize>,
    msgid: Option<usize>,
    message: Option<usize>,
    kubernetes: Vec<u8>,
}

impl Source {
    fn column(&self, batch: &LogBatch) -> Option<usize> {
        self.key.as_ref().and_then(|key| batch.column_index(key))
    }
}

impl<'a> Columns<'a> {
    /// A field as text; maps, lists and null are no text.
    fn plain(&self, column: Option<usize>, row: usize) -> Option<Cow<'a, [u8]>> {
        match self.batch.columns()[column?].values[row] {
            Value::Text(slice) => Some(self.batch.bytes(slice).into()),
            Value::Bool(b) => Some(b.to_string().into_bytes().into()),
            Value::Int(i) => Some(i.to_string().into_bytes().into()),
            Value::Float(f) => Some(format!("{f:.6}").into_bytes().into()),
            Value::Absent | Value::Null | Value::Json(_) => None,
        }
    }

    fn text<'s>(
        &self,
        column: Option<usize>,
        source: &'s Source,
        row: usize,
    ) -> Option<Cow<'s, [u8]>>
    where
        'a: 's,
    {
        let preset = source.preset.as_ref();
        self.plain(column, row)
            .or_else(|| preset.map(|text| text.as_bytes().into()))
    }
}

fn severity_of(text: &[u8]) -> Option<u8> {
    if let [digit @ b'0'..=b'7'] = text {
        return Some(digit - b'0');
    }
    let known = |name: &&str| name.as_bytes().eq_ignore_ascii_case(text);
    SEVERITIES.iter().position(known).map(|n| n as u8)
}

fn facility_of(text: &[u8]) -> Option<u8> {
    if let Some(n) = std::str::from_utf8(text).ok().and_then(|t| t.parse().ok()) {
        return (n <= 23).then_some(n);
    }
    let known = FACILITIES
        .iter()
        .find(|(name, _)| name.as_bytes().eq_ignore_ascii_case(text));
    known.map(|&(_, n)| n)
}

fn iso_time(time_ns: i64) -> String {
    let (seconds, nanos) = split_seconds(time_ns);
    let time = Timestamp::from_second(seconds).unwrap_or_default();
    format!("{}.{:06}", time.strftime("%Y-%m-%dT%H:%M:%S"), nanos / 1000)
}

fn bsd_time(time_ns: i64) -> String {
    let time = Timestamp::from_second(split_seconds(time_ns).0).unwrap_or_default();
    time.strftime("%b %e %H:%M:%S").to_string()
}

impl Output for Syslog {
    fn send<'a>(&'a self, request: Request<'a>) -> SendFuture<'a> {
        Box::pin(async move {
            let (mut bytes, mut ends) = (Vec::new(), Vec::new());
            logs(&request).for_each(|batch| self.style.write(&mut bytes, &mut ends, batch));
            let net = match &self.transport {
                Transport::Stream(dialer) => return write_once(dialer, &bytes).await,
                Transport::Datagrams(net) => net,
            };
            let starts = std::iter::once(0).chain(ends.iter().copied());
            let pieces: Vec<&[u8]> = starts.zip(&ends).map(|(a, &b)| &bytes[a..b]).collect();
            send_all(net, pieces).await
        })
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

    /// A record of everything the options can name, as Fluent Bit's answers below were made from.
    fn batch() -> LogBatch {
        let mut b = LogBatch::new("t".into(), Arc::default(), Vec::new());
        let row = b.push(1_700_000_000_123_456_000, Position::at(1));
        for (name, text) in [
            ("log", "two\nlines"),
            ("level", "Err"),
            ("fac", "local0"),
            ("h", "node-1"),
            ("app", "web"),
        ] {
            b.set_text(name, row, text.as_bytes());
        }
        let at = b.column_index_or_insert("pid");
        b.set(at, row, Value::Int(42));
        let json = br#"{"a b":"q\"]\\","n":1.5,"t":true,"list":[1],"i":-3}"#;
        let value = Value::Json(b.store(json));
        let at = b.column_index_or_insert("sd");
        b.set(at, row, value);
        b
    }

    const KEYS: &[(&str, &str)] = &[
        ("syslog_message_key", "log"),
        ("syslog_severity_key", "level"),
        ("syslog_facility_key", "fac"),
        ("syslog_hostname_key", "h"),
        ("syslog_appname_key", "app"),
        ("syslog_procid_key", "pid"),
        ("syslog_sd_key", "sd"),
    ];

    fn render(pairs: &[(&str, &str)], framed: bool, batch: &LogBatch) -> String {
        let settings = Settings::of("syslog", pairs);
        settings.check(PLUGIN.options).expect("valid settings");
        let style = Style::of(&settings, framed).expect("valid");
        let (mut out, mut ends) = (Vec::new(), Vec::new());
        style.write(&mut out, &mut ends, batch);
        assert_eq!(ends.last(), Some(&out.len()));
        String::from_utf8(out).expect("text")
    }

    #[test]
    fn both_formats_carry_every_field() {
        let b = batch();
        assert_eq!(
            render(KEYS, false, &b),
            "<131>1 2023-11-14T22:13:20.123456Z node-1 web 42 - \
             [sd a_b=\"q\\\"\\]\\\\\" n=\"1.500000\" t=\"true\" i=\"-3\"] \u{feff}two\nlines"
        );
        let old = [KEYS, &[("syslog_format", "rfc3164")]].concat();
        assert_eq!(
            render(&old, true, &b),
            "<131>Nov 14 22:13:20 node-1 web[42]: two lines\n"
        );
        let presets = [
            ("syslog_hostname_preset", "h"),
            ("syslog_severity_preset", "2"),
        ];
        assert_eq!(
            render(&presets, false, &b),
            "<10>1 2023-11-14T22:13:20.123456Z h - - - -"
        );
    }

    #[test]
    fn messages_are_cut_at_their_size_and_finished_ones_pass() {
        let mut b = LogBatch::new("t".into(), Arc::default(), Vec::new());
        for text in ["<13>whole", "ééé"] {
            let row = b.push(0, Position::at(1));
            b.set_text("log", row, text.as_bytes());
        }
        let pairs = [
            ("syslog_message_key", "log"),
            ("syslog_format", "rfc3164"),
            ("syslog_maxsize", "23"),
        ];
        assert_eq!(
            render(&pairs, true, &b),
            "<13>whole\n<14>Jan  1 00:00:00 é\n"
        );
    }

    #[test]
    fn words_of_severity_and_facility() {
        assert_eq!(severity_of(b"WARNING"), Some(4));
        assert_eq!(severity_of(b"8"), None);
        assert_eq!(facility_of(b"local7"), Some(23));
        assert_eq!((facility_of(b"23"), facility_of(b"24")), (Some(23), None));
    }

    #[test]
    fn settings_that_cannot_work_are_refused() {
        for (pairs, message) in [
            ([("mode", "dtls"), ("port", "1")], "one of udp, tcp, tls"),
            ([("tls", "on"), ("port", "1")], "'tls on' needs 'mode tls'"),
            (
                [("syslog_severity_preset", "8"), ("port", "1")],
                "'syslog_severity_preset' is 8, but must be 0 to 7",
            ),
        ] {
            let error = build(
                &Settings::of("syslog", &pairs),
                &OutputEnvironment::default(),
            )
            .err()
            .expect("refused");
            assert!(error.to_string().contains(message), "{error}");
        }
    }
}
