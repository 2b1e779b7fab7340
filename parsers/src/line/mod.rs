//! Log line formats: a line in, fields out.
//!
//! A [`Parser`] is what a `[PARSER]` section or a built-in name stands for. It reads bytes into
//! [`Parsed`], which holds ranges, not copies. It knows no clock: now is an argument, needed only
//! for times without a year.

pub mod builtin;
pub mod cri;
pub mod decode;
pub mod docker;
pub mod json;
pub mod logfmt;
pub mod multiline;
pub mod parsed;
pub mod pattern;

use std::ops::Range;
use std::sync::{Arc, LazyLock};

use jiff::tz::TimeZone;
use kansoku_model::{ConfigError, OptionKind, OptionSpec, Settings};

pub use decode::DecodeRule;
pub use parsed::{MAX_COLUMNS, Parsed};

use crate::time::{self, TimeFormat, Zone};
use cri::CriPattern;
use parsed::{FieldValue, KnownNames, Name, Span};
use pattern::Pattern;

/// The keys of a `[PARSER]` section.
pub const OPTIONS: &[OptionSpec] = &[
    OptionSpec::new("name", OptionKind::Text, "", "name of the parser"),
    OptionSpec::new(
        "format",
        OptionKind::Choice(&["json", "regex", "ltsv", "logfmt", "cri", "docker"]),
        "",
        "form of the line",
    ),
    OptionSpec::new(
        "regex",
        OptionKind::Text,
        "",
        "pattern with named groups, for format regex",
    ),
    OptionSpec::new(
        "skip_empty_values",
        OptionKind::Bool,
        "on",
        "leave out groups that are empty, for format regex",
    ),
    OptionSpec::new(
        "time_key",
        OptionKind::Text,
        "time",
        "field that holds the time",
    ),
    OptionSpec::new(
        "time_format",
        OptionKind::Text,
        "",
        "strptime format of the time; without one the field is left alone",
    ),
    OptionSpec::new(
        "time_keep",
        OptionKind::Bool,
        "off",
        "keep the time field in the record",
    ),
    OptionSpec::new(
        "time_strict",
        OptionKind::Bool,
        "on",
        "the time must fit the format to its end",
    ),
    OptionSpec::new(
        "time_offset",
        OptionKind::Text,
        "",
        "zone of times without one, such as +0200",
    ),
    OptionSpec::new(
        "time_zone",
        OptionKind::Text,
        "",
        "zone of times without one, by its IANA name",
    ),
    OptionSpec::new(
        "time_system_timezone",
        OptionKind::Bool,
        "off",
        "the system's zone for times without one",
    ),
    OptionSpec::new(
        "types",
        OptionKind::Text,
        "",
        "KEY:TYPE ...; types integer, float, bool, hex, string",
    ),
    OptionSpec::new(
        "decode_field",
        OptionKind::Pair,
        "",
        "decoder and key: add what the field holds",
    )
    .repeated(),
    OptionSpec::new(
        "decode_field_as",
        OptionKind::Pair,
        "",
        "decoder and key: replace the field",
    )
    .repeated(),
    OptionSpec::new(
        "logfmt_no_bare_keys",
        OptionKind::Bool,
        "off",
        "a key without a value does not fit",
    ),
];

/// Finds a zone of the IANA database; the empty name asks for the system's zone.
pub type Zones<'a> = &'a dyn Fn(&str) -> Option<TimeZone>;

/// A parser that a configuration names.
#[derive(Debug)]
pub struct Parser {
    name: String,
    format: Format,
    time: Option<Time>,
    /// The group of a pattern that is the record's time, when nothing else can change its text.
    time_group: Option<usize>,
    /// For a pattern that is the stock one for CRI lines.
    cri: Option<CriPattern>,
    types: Vec<(String, Type)>,
    decode: Vec<DecodeRule>,
}

#[derive(Debug)]
enum Format {
    Json,
    Regex(Box<RegexFormat>),
    Ltsv,
    Logfmt { bare_keys: bool },
    Cri,
}

#[derive(Debug)]
struct RegexFormat {
    pattern: Pattern,
    /// What the groups of the pattern with a name become, in its order.
    names: KnownNames,
    groups: Vec<Group>,
    skip_empty: bool,
}

/// A group with a name.
#[derive(Debug)]
struct Group {
    index: usize,
    kind: Option<Type>,
}

#[derive(Debug)]
struct Time {
    key: String,
    format: TimeFormat,
    zone: Zone,
    keep: bool,
    strict: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Type {
    Int,
    Float,
    Bool,
    Hex,
    Text,
}

impl Parser {
    /// Builds a parser from its section.
    ///
    /// # Errors
    /// The first mistake.
    pub fn new(s: &Settings, zones: Zones<'_>) -> Result<Self, ConfigError> {
        s.check(OPTIONS)?;
        let name = s.required("name")?.to_owned();
        let time_format = |default| s.text("time_format", default).to_owned();
        let types = types(s)?;
        let (format, time_format) = match s.required("format")?.to_ascii_lowercase().as_str() {
            "regex" => (
                Format::Regex(Box::new(RegexFormat::new(s, &types)?)),
                time_format(""),
            ),
            "ltsv" => (Format::Ltsv, time_format("")),
            "logfmt" => {
                let bare_keys = !s.bool("logfmt_no_bare_keys", false)?;
                (Format::Logfmt { bare_keys }, time_format(""))
            }
            "cri" => (Format::Cri, String::new()),
            "docker" => (Format::Json, time_format("%Y-%m-%dT%H:%M:%S.%L%z")),
            _ => (Format::Json, time_format("")),
        };
        let decode: Vec<_> = (s.settings.iter())
            .filter(|k| k.key.starts_with("decode_field"))
            .map(DecodeRule::of)
            .collect::<Result<_, _>>()?;
        let time = if time_format.is_empty() {
            None
        } else {
            Some(Time::new(s, &time_format, zones)?)
        };
        let time_group = match (&format, &time) {
            (Format::Regex(format), Some(time)) if decode.is_empty() => {
                format.only_group(&time.key)
            }
            _ => None,
        };
        let cri = match (&format, &time) {
            (Format::Regex(format), Some(time)) if decode.is_empty() && types.is_empty() => {
                CriPattern::names_of(format.pattern.text())
                    .filter(|names| time.format.is_rfc3339() && *names[0] == *time.key)
                    .map(|names| CriPattern {
                        names,
                        keeps_time: time.keep,
                        skips_empty: format.skip_empty,
                    })
            }
            _ => None,
        };
        Ok(Self {
            name,
            time,
            time_group,
            cri,
            types,
            format,
            decode,
        })
    }

    /// The parser's name.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }

    /// What the parser is when it is the stock pattern for CRI lines: each line that this cuts,
    /// [`parse`](Self::parse) cuts in the same way.
    #[must_use]
    pub fn cri(&self) -> Option<&CriPattern> {
        self.cri.as_ref()
    }

    /// The pattern of a parser that has one.
    #[must_use]
    pub fn pattern(&self) -> Option<&Pattern> {
        match &self.format {
            Format::Regex(format) => Some(&format.pattern),
            _ => None,
        }
    }

    /// Reads a line into `parsed` (cleared first). False when the line does not fit the format.
    #[must_use]
    pub fn parse(&self, line: &[u8], now_ns: i64, parsed: &mut Parsed) -> bool {
        parsed.clear();
        let fits = match &self.format {
            Format::Json => parsed.push_json(line),
            Format::Regex(format) => self.parse_regex(format, line, now_ns, parsed),
            Format::Ltsv => self.parse_ltsv(line, parsed),
            Format::Logfmt { bare_keys } => self.parse_logfmt(*bare_keys, line, parsed),
            Format::Cri => parse_cri(line, parsed),
        };
        if !fits {
            return false;
        }
        if !self.decode.is_empty() {
            decode::apply(&self.decode, line, parsed);
        }
        if let (Some(time), None) = (&self.time, self.time_group) {
            // Fluent Bit keeps a JSON time that it cannot read and drops any other, even with
            // `Time_Keep on`; here that keeps it.
            let keep_failed = matches!(self.format, Format::Json);
            time.apply(line, now_ns, keep_failed, parsed);
        }
        true
    }

    fn parse_regex(
        &self,
        format: &RegexFormat,
        line: &[u8],
        now_ns: i64,
        parsed: &mut Parsed,
    ) -> bool {
        if !format.pattern.find_groups(line, &mut parsed.groups) {
            return false;
        }
        parsed.set_known(&format.names);
        let mut has_any = false;
        for (name, group) in (0..).zip(&format.groups) {
            let Some((start, end)) = parsed.groups.get(group.index) else {
                continue;
            };
            if start == end && format.skip_empty {
                continue;
            }
            has_any = true;
            match (group.kind, &self.time) {
                (Some(kind), _) => push_typed(name, kind, line, start..end, parsed),
                (None, time) => {
                    let time = time.as_ref();
                    if let Some(time) = time.filter(|_| self.time_group == Some(group.index)) {
                        time.read(&line[start..end], now_ns, parsed);
                        if !time.keep {
                            continue;
                        }
                    }
                    parsed.push(Name::Known(name), FieldValue::Text(Span::line(start..end)));
                }
            }
        }
        // A match without any field would leave an empty record.
        has_any
    }

    fn parse_ltsv(&self, line: &[u8], parsed: &mut Parsed) -> bool {
        let mut at = 0;
        for pair in line.split(|b| *b == b'\t') {
            let (start, end) = (at, at + pair.len());
            at = end + 1;
            let Some(colon) = memchr::memchr(b':', pair) else {
                continue;
            };
            let key = start..start + colon;
            let name = String::from_utf8_lossy(&line[key.clone()]);
            let value = self.typed(&name, line, Span::line(start + colon + 1..end), parsed);
            parsed.push(Name::Span(Span::line(key)), value);
            if parsed.len() == json::MAX_FIELDS {
                break;
            }
        }
        !parsed.is_empty()
    }

    fn parse_logfmt(&self, bare_keys: bool, line: &[u8], parsed: &mut Parsed) -> bool {
        let mut fits = true;
        logfmt::pairs(line, |key, value| {
            let name = String::from_utf8_lossy(&line[key.clone()]);
            let value = match value {
                logfmt::LogfmtValue::Bare => {
                    fits &= bare_keys;
                    FieldValue::Bool(true)
                }
                logfmt::LogfmtValue::Text { range, escaped } => {
                    let span = if escaped {
                        parsed.unescaped(&line[range])
                    } else {
                        Span::line(range)
                    };
                    self.typed(&name, line, span, parsed)
                }
            };
            parsed.push(Name::Span(Span::line(key)), value);
            fits && parsed.len() < json::MAX_FIELDS
        });
        fits && !parsed.is_empty()
    }

    /// The value as `types` wants it; text that does not read as its type stays text.
    fn typed(&self, name: &str, line: &[u8], span: Span, parsed: &Parsed) -> FieldValue {
        match self.types.iter().find(|(key, _)| key == name) {
            Some((_, kind)) => typed(*kind, line, span, parsed),
            None => FieldValue::Text(span),
        }
    }
}

/// Apart from the plain texts of [`Parser::parse_regex`]: so their fields are made where they will lie.
#[inline(never)]
fn push_typed(name: u32, kind: Type, line: &[u8], range: Range<usize>, parsed: &mut Parsed) {
    let value = typed(kind, line, Span::line(range), parsed);
    parsed.push(Name::Known(name), value);
}

fn typed(kind: Type, line: &[u8], span: Span, parsed: &Parsed) -> FieldValue {
    let text = std::str::from_utf8(parsed.bytes(line, &span))
        .unwrap_or_default()
        .trim();
    let starts_with = |word: &str| {
        text.get(..word.len())
            .is_some_and(|t| t.eq_ignore_ascii_case(word))
    };
    let value = match kind {
        Type::Int => leading_int(text).map(FieldValue::Int),
        Type::Float => text.parse().ok().map(FieldValue::Float),
        Type::Hex => {
            let digits = text.trim_start_matches("0x").trim_start_matches("0X");
            i64::from_str_radix(digits, 16).ok().map(FieldValue::Int)
        }
        Type::Bool if starts_with("true") => Some(FieldValue::Bool(true)),
        Type::Bool if starts_with("false") => Some(FieldValue::Bool(false)),
        Type::Bool | Type::Text => None,
    };
    value.unwrap_or(FieldValue::Text(span))
}

/// C's `atoll`, as Fluent Bit reads integers, but text without any digit is none.
fn leading_int(text: &str) -> Option<i64> {
    let sign = usize::from(text.starts_with(['-', '+']));
    let digits = text[sign..].bytes().take_while(u8::is_ascii_digit).count();
    text[..sign + digits].parse().ok()
}

fn parse_cri(line: &[u8], parsed: &mut Parsed) -> bool {
    let Some(cut) = cri::split(line) else {
        return false;
    };
    static NAMES: LazyLock<KnownNames> = LazyLock::new(|| {
        ["time", "stream", "logtag", "message"]
            .map(Arc::from)
            .into()
    });
    parsed.set_known(&NAMES);
    let texts = [cut.time, cut.stream, cut.flag, cut.log];
    for (name, range) in (0..).zip(texts) {
        parsed.push(Name::Known(name), FieldValue::Text(Span::line(range)));
    }
    parsed.time_ns = Some(cut.time_ns);
    true
}

impl RegexFormat {
    /// The group that alone gives the text of a name.
    fn only_group(&self, name: &str) -> Option<usize> {
        let mut with_name = (self.names.iter().zip(&self.groups)).filter(|(n, _)| ***n == *name);
        match (with_name.next(), with_name.next()) {
            (Some((_, group)), None) if group.kind.is_none() => Some(group.index),
            _ => None,
        }
    }

    fn new(s: &Settings, types: &[(String, Type)]) -> Result<Self, ConfigError> {
        let pattern = s.required("regex")?;
        let place = s.get("regex").map_or(&s.place, |r| &r.place);
        let pattern = Pattern::new(pattern).map_err(|e| ConfigError::new(place, e.to_string()))?;
        if pattern.names().is_empty() {
            let message = "'regex' has no named group such as (?<message>.*), so it gives no field";
            return Err(ConfigError::new(place, message));
        }
        let kind_of = |name: &str| types.iter().find(|(key, _)| key == name).map(|(_, k)| *k);
        Ok(Self {
            names: pattern
                .names()
                .iter()
                .map(|(_, name)| name.clone())
                .collect(),
            groups: (pattern.names().iter())
                .map(|(index, name)| Group {
                    index: *index,
                    kind: kind_of(name),
                })
                .collect(),
            pattern,
            skip_empty: s.bool("skip_empty_values", true)?,
        })
    }
}

impl Time {
    fn new(s: &Settings, format: &str, zones: Zones<'_>) -> Result<Self, ConfigError> {
        let error = |key: &str, message: String| {
            let place = s.get(key).map_or(&s.place, |found| &found.place);
            ConfigError::new(place, message)
        };
        let zone = if let Some(offset) = s.get("time_offset") {
            let seconds = time::parse_offset(&offset.value);
            Zone::Fixed(seconds.ok_or_else(|| {
                error(
                    "time_offset",
                    format!(
                        "'time_offset' is '{}', but must be such as +0200",
                        offset.value
                    ),
                )
            })?)
        } else if let Some(zone) = s.get("time_zone") {
            Zone::Named(zones(&zone.value).ok_or_else(|| {
                error(
                    "time_zone",
                    format!(
                        "'time_zone' is '{}', which this system's zone database lacks",
                        zone.value
                    ),
                )
            })?)
        } else if s.bool("time_system_timezone", false)? {
            let zone = zones("");
            Zone::Named(zone.ok_or_else(|| {
                error(
                    "time_system_timezone",
                    "the system's time zone is not known".into(),
                )
            })?)
        } else {
            Zone::Utc
        };
        Ok(Self {
            key: s.text("time_key", "time").to_owned(),
            format: TimeFormat::new(format).map_err(|e| error("time_format", e.to_string()))?,
            zone,
            keep: s.bool("time_keep", false)?,
            strict: s.bool("time_strict", true)?,
        })
    }

    fn apply(&self, line: &[u8], now_ns: i64, keep_failed: bool, parsed: &mut Parsed) {
        let Some(at) = parsed
            .fields
            .iter()
            .position(|f| parsed.name_is(line, f, &self.key))
        else {
            return;
        };
        let number;
        let mut own = Vec::new();
        let text = match &parsed.fields[at].value {
            FieldValue::Text(Span::Line(extent)) => &line[extent.range()],
            FieldValue::Text(span) => {
                own.extend_from_slice(parsed.bytes(line, span));
                &own
            }
            FieldValue::Int(i) => {
                number = i.to_string();
                number.as_bytes()
            }
            FieldValue::Float(f) => {
                number = f.to_string();
                number.as_bytes()
            }
            _ => b"",
        };
        self.read(text, now_ns, parsed);
        let keep = if parsed.time_failed {
            keep_failed || self.keep
        } else {
            self.keep
        };
        if !keep {
            parsed.fields.remove(at);
        }
    }

    /// Takes the record's time from its text.
    fn read(&self, text: &[u8], now_ns: i64, parsed: &mut Parsed) {
        let read = || self.format.parse(text, &self.zone, now_ns, self.strict);
        let last = &mut parsed.last_time;
        let of = std::ptr::from_ref(self) as usize;
        let time_ns = if !self.format.is_coarse() {
            read()
        } else if last.of == of && last.text == text {
            Some(last.ns)
        } else {
            let time_ns = read();
            if let Some(ns) = time_ns {
                (last.of, last.ns) = (of, ns);
                last.text.clear();
                last.text.extend_from_slice(text);
            }
            time_ns
        };
        parsed.time_ns = time_ns;
        parsed.time_failed = time_ns.is_none();
    }
}

fn types(s: &Settings) -> Result<Vec<(String, Type)>, ConfigError> {
    let Some(setting) = s.get("types") else {
        return Ok(Vec::new());
    };
    setting
        .value
        // Fluent Bit knows blanks only and silently makes `a:integer,b:integer` one text field.
        .split(|c: char| c.is_whitespace() || c == ',')
        .filter(|pair| !pair.is_empty())
        .map(|pair| {
            let error = || {
                let message = format!("'types' holds '{pair}', but must be KEY:TYPE with integer, float, bool, hex or string");
                ConfigError::new(&setting.place, message)
            };
            let (key, kind) = pair.rsplit_once(':').ok_or_else(error)?;
            let kind = match kind.to_ascii_lowercase().as_str() {
                "integer" | "int" => Type::Int,
                "float" => Type::Float,
                "bool" | "boolean" => Type::Bool,
                "hex" => Type::Hex,
                "string" => Type::Text,
                _ => return Err(error()),
            };
            Ok((key.to_owned(), kind))
        })
        .collect()
}

#[cfg(test)]
mod tests;
