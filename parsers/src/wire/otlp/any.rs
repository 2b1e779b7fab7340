//! OTLP's `AnyValue` and `KeyValue`, as JSON text and as values of a batch.

use kansoku_model::{LogBatch, Value, json};

use super::super::WireError;
use super::super::protobuf::{Field, Message};

/// How deep arrays and lists of keys may nest.
const MAX_DEPTH: u32 = 64;

/// The one field that is set of an `AnyValue`, with its number; `None` is an empty value.
pub(super) fn content(field: Field<'_>) -> Result<Option<(u64, Field<'_>)>, WireError> {
    let mut message = field.message()?;
    let mut last = None;
    while let Some(found) = message.next()? {
        last = Some(found);
    }
    Ok(last)
}

/// Key and value of a `KeyValue`; a missing value is empty.
pub fn key_value(field: Field<'_>) -> Result<(&str, Option<Field<'_>>), WireError> {
    let (mut key, mut value) = ("", None);
    let mut message = field.message()?;
    while let Some((number, field)) = message.next()? {
        match number {
            1 => key = field.text()?,
            2 => value = Some(field),
            _ => {}
        }
    }
    Ok((key, value))
}

/// Appends a value as JSON.
pub fn write_json(
    out: &mut Vec<u8>,
    value: Option<Field<'_>>,
    depth: u32,
) -> Result<(), WireError> {
    if depth > MAX_DEPTH {
        return Err(WireError::new(0, "otlp: more than 64 nested levels"));
    }
    let Some((number, field)) = value.map(content).transpose()?.flatten() else {
        out.extend_from_slice(b"null");
        return Ok(());
    };
    match number {
        1 => json::write_str(out, field.bytes()?.0),
        2 => out.extend_from_slice(if field.int()? != 0 { b"true" } else { b"false" }),
        3 => out.extend_from_slice(field.int()?.to_string().as_bytes()),
        4 => json::write_f64(out, field.double()?),
        5 => list(out, b"[]", field.message()?, |out, field| {
            write_json(out, Some(field), depth + 1)
        })?,
        6 => write_pairs(out, field.message()?, 1, depth)?,
        7 => {
            let mut text = Vec::new();
            write_hex(&mut text, field.bytes()?.0);
            json::write_str(out, &text);
        }
        _ => out.extend_from_slice(b"null"),
    }
    Ok(())
}

/// Appends the `KeyValue`s that stand in field `wanted` of a message as an object.
pub fn write_pairs(
    out: &mut Vec<u8>,
    mut message: Message<'_>,
    wanted: u64,
    depth: u32,
) -> Result<(), WireError> {
    out.push(b'{');
    let mut first = true;
    while let Some((number, field)) = message.next()? {
        if number != wanted {
            continue;
        }
        if !std::mem::take(&mut first) {
            out.push(b',');
        }
        let (key, value) = key_value(field)?;
        json::write_str(out, key.as_bytes());
        out.push(b':');
        write_json(out, value, depth + 1)?;
    }
    out.push(b'}');
    Ok(())
}

fn list(
    out: &mut Vec<u8>,
    brackets: &[u8; 2],
    mut message: Message<'_>,
    mut write: impl FnMut(&mut Vec<u8>, Field<'_>) -> Result<(), WireError>,
) -> Result<(), WireError> {
    out.push(brackets[0]);
    let mut first = true;
    while let Some((number, field)) = message.next()? {
        if number == 1 {
            if !std::mem::take(&mut first) {
                out.push(b',');
            }
            write(out, field)?;
        }
    }
    out.push(brackets[1]);
    Ok(())
}

/// Bytes in hexadecimal: ids, and binary values, which no JSON can hold.
pub fn write_hex(out: &mut Vec<u8>, bytes: &[u8]) {
    const DIGITS: &[u8; 16] = b"0123456789abcdef";
    for byte in bytes {
        out.push(DIGITS[usize::from(byte >> 4)]);
        out.push(DIGITS[usize::from(byte & 15)]);
    }
}

/// A value of a batch; `Err(fields)` for a list of keys, whose pairs the caller wants apart.
pub fn value<'a>(
    value: Option<Field<'a>>,
    batch: &mut LogBatch,
) -> Result<Result<Value, Message<'a>>, WireError> {
    let Some((number, field)) = value.map(content).transpose()?.flatten() else {
        return Ok(Ok(Value::Null));
    };
    Ok(Ok(match number {
        1 => Value::Text(batch.store(field.bytes()?.0)),
        2 => Value::Bool(field.int()? != 0),
        3 => Value::Int(field.int()?),
        4 => Value::Float(field.double()?),
        6 => return Ok(Err(field.message()?)),
        _ => {
            let mut result = Ok(());
            let text = batch.store_with(|out| result = write_json(out, value, 0));
            result?;
            match number {
                5 => Value::Json(text),
                // A text with its quotes, or null.
                _ if text.len > 2 && number == 7 => Value::Text(text.sub(1, text.len as usize - 1)),
                _ => Value::Null,
            }
        }
    }))
}

/// Name and displayed value of an attribute.
pub fn attribute(field: Field<'_>) -> Result<(String, String), WireError> {
    let (key, value) = key_value(field)?;
    Ok((key.to_owned(), shown(value)?))
}

/// The displayed value of an attribute.
pub fn shown(value: Option<Field<'_>>) -> Result<String, WireError> {
    Ok(match value.map(content).transpose()?.flatten() {
        Some((1, text)) => String::from_utf8_lossy(text.bytes()?.0).into_owned(),
        _ => {
            let mut text = Vec::new();
            write_json(&mut text, value, 0)?;
            String::from_utf8_lossy(&text).trim_matches('"').to_owned()
        }
    })
}
