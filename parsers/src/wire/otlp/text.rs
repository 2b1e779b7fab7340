//! An attribute's value as text, as OpenTelemetry's Go library displays it, from which Prometheus and Loki
//! have their label values: texts as they are, lists and maps as JSON, bytes in base64.

use std::borrow::Cow;

use base64::Engine;
use serde_json::Value;

use super::super::WireError;
use super::super::protobuf::{Field, Message};
use super::any::{content, key_value};

/// How deep arrays and lists of keys may nest.
const MAX_DEPTH: u32 = 64;

/// A value as text; a missing one is empty.
pub fn text(value: Option<Field<'_>>) -> Result<Cow<'_, str>, WireError> {
    let Some((number, field)) = value.map(content).transpose()?.flatten() else {
        return Ok(Cow::Borrowed(""));
    };
    Ok(match number {
        1 => String::from_utf8_lossy(field.bytes()?.0),
        2 => Cow::Borrowed(if field.int()? != 0 { "true" } else { "false" }),
        3 => Cow::Owned(field.int()?.to_string()),
        4 => Cow::Owned(number_text(field.double()?)),
        5 | 6 => {
            let mut out = String::new();
            write_json(&mut out, value, 0)?;
            Cow::Owned(out)
        }
        7 => Cow::Owned(base64(field.bytes()?.0)),
        _ => Cow::Borrowed(""),
    })
}

/// The pairs of a value that is a map.
pub fn pairs(value: Option<Field<'_>>) -> Result<Option<Message<'_>>, WireError> {
    match value.map(content).transpose()?.flatten() {
        Some((6, field)) => Ok(Some(field.message()?)),
        _ => Ok(None),
    }
}

/// As JSON, with the keys in order, as Go writes a map.
fn write_json(out: &mut String, value: Option<Field<'_>>, depth: u32) -> Result<(), WireError> {
    if depth > MAX_DEPTH {
        return Err(WireError::new(0, "otlp: more than 64 nested levels"));
    }
    let found = value.map(content).transpose()?.flatten();
    match found {
        Some((1, field)) => write_str(out, &String::from_utf8_lossy(field.bytes()?.0)),
        Some((7, field)) => write_str(out, &base64(field.bytes()?.0)),
        Some((4, field)) => match field.double()? {
            n if n.is_finite() => out.push_str(&number_text(n)),
            // No JSON has a word for it.
            _ => out.push_str("null"),
        },
        Some((5, field)) => {
            let mut message = field.message()?;
            out.push('[');
            let mut comma = "";
            while let Some((number, field)) = message.next()? {
                if number == 1 {
                    out.push_str(std::mem::replace(&mut comma, ","));
                    write_json(out, Some(field), depth + 1)?;
                }
            }
            out.push(']');
        }
        Some((6, field)) => {
            let mut message = field.message()?;
            let mut pairs = Vec::new();
            while let Some((number, field)) = message.next()? {
                if number == 1 {
                    pairs.push(key_value(field)?);
                }
            }
            pairs.sort_by_key(|(key, _)| *key);
            out.push('{');
            let mut comma = "";
            for (key, value) in pairs {
                out.push_str(std::mem::replace(&mut comma, ","));
                write_str(out, key);
                out.push(':');
                write_json(out, value, depth + 1)?;
            }
            out.push('}');
        }
        Some((2 | 3, _)) => out.push_str(&text(value)?),
        _ => out.push_str("null"),
    }
    Ok(())
}

/// A JSON text with what HTML gives a meaning escaped, as in Go.
fn write_str(out: &mut String, text: &str) {
    let quoted = Value::String(text.to_owned()).to_string();
    for c in quoted.chars() {
        match c {
            '<' | '>' | '&' | '\u{2028}' | '\u{2029}' => {
                out.push_str(&format!("\\u{:04x}", u32::from(c)));
            }
            _ => out.push(c),
        }
    }
}

/// A decimal number: the shortest form, with an exponent where JavaScript has one.
fn number_text(n: f64) -> String {
    let size = n.abs();
    if !n.is_finite() {
        let word = match n {
            _ if n.is_nan() => "NaN",
            _ if n > 0.0 => "+Inf",
            _ => "-Inf",
        };
        return format!("json: unsupported value: {word}");
    }
    if size != 0.0 && !(1e-6..1e21).contains(&size) {
        let text = format!("{n:e}");
        return match text.split_once('e') {
            Some((digits, power)) if !power.starts_with('-') => format!("{digits}e+{power}"),
            _ => text,
        };
    }
    format!("{n}")
}

fn base64(bytes: &[u8]) -> String {
    base64::engine::general_purpose::STANDARD.encode(bytes)
}

#[cfg(test)]
mod tests {
    use super::super::json;
    use super::*;

    /// The text of the first attribute of the first resource.
    fn shown(value: &str) -> String {
        let body = format!(
            r#"{{"resourceLogs":[{{"resource":{{"attributes":[{{"key":"k","value":{value}}}]}}}}]}}"#
        );
        let body = json::logs(body.as_bytes()).unwrap();
        let mut message = Message::new(&body);
        for _ in 0..3 {
            let (_, field) = message.next().unwrap().unwrap();
            message = field.message().unwrap();
        }
        let (mut value, mut fields) = (None, message);
        while let Some((number, field)) = fields.next().unwrap() {
            if number == 2 {
                value = Some(field);
            }
        }
        text(value).unwrap().into_owned()
    }

    #[test]
    fn values_are_displayed_as_in_go() {
        for (value, expected) in [
            (r#"{"stringValue":"a<b"}"#, "a<b"),
            (r#"{"boolValue":true}"#, "true"),
            (r#"{"intValue":"-5"}"#, "-5"),
            (r#"{"doubleValue":1.5}"#, "1.5"),
            (r#"{"doubleValue":3}"#, "3"),
            (r#"{"doubleValue":1e21}"#, "1e+21"),
            (r#"{"doubleValue":0.0000001}"#, "1e-7"),
            (r#"{"bytesValue":"AQID/w=="}"#, "AQID/w=="),
            (r"{}", ""),
            (
                r#"{"arrayValue":{"values":[{"intValue":1},{"stringValue":"<\">"},{}]}}"#,
                r#"[1,"\u003c\"\u003e",null]"#,
            ),
            (
                r#"{"kvlistValue":{"values":[{"key":"b","value":{"boolValue":false}},{"key":"a","value":{"bytesValue":"AQ=="}}]}}"#,
                r#"{"a":"AQ==","b":false}"#,
            ),
        ] {
            assert_eq!(shown(value), expected, "{value}");
        }
    }
}
