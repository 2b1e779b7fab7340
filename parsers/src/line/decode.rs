//! `Decode_Field` and `Decode_Field_As`: fields that hold encoded text.
//!
//! `Decode_Field json KEY` adds the keys of the object in KEY to the record; `Decode_Field_As`
//! replaces the value of KEY. Several rules for one key form a chain.

mod escapes;

use kansoku_model::ConfigError;
use kansoku_model::plugin::Setting;

use super::json;
use super::parsed::{FieldValue, Name, Parsed, Span};

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Decoder {
    Json,
    /// Backslash escapes of one letter and `\u`; Fluent Bit leaves the digits of a `\u` as text.
    Escaped,
    /// Those of C as well: `\x41`, `\101`, `\U0001f600`.
    EscapedUtf8,
    /// Quotes around the text, and the escapes of MySQL.
    MysqlQuoted,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum After {
    Stop,
    /// Goes on when the decoder failed.
    TryNext,
    /// Goes on in any case.
    DoNext,
}

/// One rule.
#[derive(Debug, Clone)]
pub struct DecodeRule {
    key: String,
    decoder: Decoder,
    /// `Decode_Field_As`.
    replaces: bool,
    after: After,
}

impl DecodeRule {
    /// Reads `DECODER KEY [try_next|do_next]`.
    ///
    /// # Errors
    /// When a word is missing or unknown.
    pub fn of(setting: &Setting) -> Result<Self, ConfigError> {
        let error = |message: String| ConfigError::new(&setting.place, message);
        let mut words = setting.value.split_whitespace();
        let (Some(decoder), Some(key)) = (words.next(), words.next()) else {
            return Err(error(format!(
                "'{}' must be a decoder and a key, such as 'json log'",
                setting.key
            )));
        };
        let decoder = match decoder.to_ascii_lowercase().as_str() {
            "json" => Decoder::Json,
            "escaped" => Decoder::Escaped,
            "escaped_utf8" => Decoder::EscapedUtf8,
            "mysql_quoted" => Decoder::MysqlQuoted,
            other => {
                return Err(error(format!(
                    "unknown decoder '{other}'; use json, escaped, escaped_utf8 or mysql_quoted"
                )));
            }
        };
        let after = match words.next().map(str::to_ascii_lowercase).as_deref() {
            None => After::Stop,
            Some("try_next") => After::TryNext,
            Some("do_next") => After::DoNext,
            Some(other) => return Err(error(format!("'{other}' must be try_next or do_next"))),
        };
        Ok(Self {
            key: key.to_owned(),
            decoder,
            replaces: setting.key == "decode_field_as",
            after,
        })
    }
}

/// Applies all rules to the fields of a line.
pub(super) fn apply(rules: &[DecodeRule], line: &[u8], parsed: &mut Parsed) {
    for (i, first) in rules.iter().enumerate() {
        if rules[..i].iter().any(|earlier| earlier.key == first.key) {
            continue;
        }
        for rule in rules[i..].iter().filter(|r| r.key == first.key) {
            let done = apply_one(rule, line, parsed);
            let go_on = match rule.after {
                After::Stop => false,
                After::TryNext => !done,
                After::DoNext => true,
            };
            if !go_on {
                break;
            }
        }
    }
}

fn apply_one(rule: &DecodeRule, line: &[u8], parsed: &mut Parsed) -> bool {
    let Some(at) = parsed
        .fields
        .iter()
        .position(|f| parsed.name_is(line, f, &rule.key))
    else {
        return false;
    };
    let FieldValue::Text(span) = parsed.fields[at].value else {
        return false;
    };
    match rule.decoder {
        Decoder::Escaped | Decoder::EscapedUtf8 | Decoder::MysqlQuoted => {
            let text = parsed.bytes(line, &span).to_vec();
            let start = parsed.own.len();
            match rule.decoder {
                Decoder::MysqlQuoted => escapes::mysql(&text, &mut parsed.own),
                decoder => escapes::c(&text, decoder == Decoder::EscapedUtf8, &mut parsed.own),
            }
            let span = Span::own(start..parsed.own.len());
            parsed.fields[at].value = FieldValue::Text(span);
            true
        }
        Decoder::Json if rule.replaces => {
            let mut fields = std::mem::take(&mut parsed.json);
            let valid = json::fields(parsed.bytes(line, &span), &mut fields).is_ok();
            parsed.json = fields;
            if valid {
                let text = parsed.bytes(line, &span).trim_ascii().to_vec();
                parsed.fields[at].value = parsed.readable_json(&text);
            }
            valid
        }
        Decoder::Json => {
            // The object may lie in `own`, which grows while its fields are added: take a copy.
            let text = parsed.bytes(line, &span).to_vec();
            let mut inner = Parsed::default();
            if !inner.push_json(&text) {
                return false;
            }
            let base = parsed.own.len();
            parsed.own.extend_from_slice(&text);
            let base_own = parsed.own.len();
            parsed.own.extend_from_slice(&inner.own);
            for field in inner.fields {
                let name = match field.name {
                    Name::Span(span) => Name::Span(span.moved(base, base_own)),
                    known @ Name::Known(_) => known,
                };
                let value = match field.value {
                    FieldValue::Text(span) => FieldValue::Text(span.moved(base, base_own)),
                    FieldValue::Json(span) => FieldValue::Json(span.moved(base, base_own)),
                    other => other,
                };
                parsed.push(name, value);
            }
            true
        }
    }
}
