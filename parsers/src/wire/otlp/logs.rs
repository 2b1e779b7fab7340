//! OTLP log records: the body becomes the record, all else its metadata, as in Fluent Bit.

use std::sync::Arc;

use kansoku_model::{Resource, Value, json};

use super::super::WireError;
use super::super::protobuf::{Field, Message};
use super::super::records::Records;
use super::{any, each_scope, fixed64, shared_resource};

/// How records are named.
#[derive(Debug, Clone)]
pub struct Names {
    /// Metadata stand under this key.
    pub metadata_key: String,
    /// Every body is put under this key; without it maps give the fields, and others go to `log`.
    pub body_key: Option<String>,
}

/// Reads a whole `ExportLogsServiceRequest`.
///
/// # Errors
/// When it is no such message; some of its records may be in `records` then.
pub fn decode(
    body: &[u8],
    now_ns: i64,
    names: &Names,
    base: &Arc<Resource>,
    records: &mut Records<'_>,
) -> Result<(), WireError> {
    each_scope(body, |shared, mut scope| {
        records.set_resource(shared_resource(shared, base));
        while let Some((number, field)) = scope.next()? {
            if number == 2 {
                record(field, now_ns, names, records)?;
            }
        }
        Ok(())
    })
}

/// The fields of a log record as they stand.
#[derive(Default)]
struct Raw<'a> {
    time: u64,
    observed: u64,
    severity: i64,
    severity_text: &'a [u8],
    body: Option<Field<'a>>,
    has_attributes: bool,
    flags: u32,
    trace: &'a [u8],
    span: &'a [u8],
    event: &'a [u8],
}

impl<'a> Raw<'a> {
    fn read(mut message: Message<'a>) -> Result<Self, WireError> {
        let mut raw = Self::default();
        while let Some((number, field)) = message.next()? {
            match number {
                1 => raw.time = fixed64(field)?,
                2 => raw.severity = field.int()?,
                3 => raw.severity_text = field.bytes()?.0,
                5 => raw.body = Some(field),
                6 => raw.has_attributes = true,
                8 => {
                    raw.flags = match field {
                        Field::Fixed32(n) => n,
                        other => other.int()? as u32,
                    }
                }
                9 => raw.trace = field.bytes()?.0,
                10 => raw.span = field.bytes()?.0,
                11 => raw.observed = fixed64(field)?,
                12 => raw.event = field.bytes()?.0,
                _ => {}
            }
        }
        Ok(raw)
    }

    fn time_ns(&self, now_ns: i64) -> i64 {
        let given = if self.time > 0 {
            self.time
        } else {
            self.observed
        };
        match i64::try_from(given) {
            Ok(ns) if ns > 0 => ns,
            _ => now_ns,
        }
    }
}

fn record(
    field: Field<'_>,
    now_ns: i64,
    names: &Names,
    records: &mut Records<'_>,
) -> Result<(), WireError> {
    let message = field.message()?;
    let raw = Raw::read(message.clone())?;
    records.begin(raw.time_ns(now_ns));
    let mut result = Ok(());
    let metadata = records.batch().store_with(|out| {
        out.push(b'{');
        json::write_str(out, names.metadata_key.as_bytes());
        out.push(b':');
        result = write_metadata(out, &raw, message);
        out.push(b'}');
    });
    result?;
    records.set_metadata(metadata);
    match (any::value(raw.body, records.batch())?, &names.body_key) {
        (Ok(value), key) => records.set(key.as_deref().unwrap_or("log").as_bytes(), value),
        (Err(map), Some(key)) => {
            let mut result = Ok(());
            let text = records
                .batch()
                .store_with(|out| result = any::write_pairs(out, map, 1, 0));
            result?;
            records.set(key.as_bytes(), Value::Json(text));
        }
        (Err(mut map), None) => {
            while let Some((number, field)) = map.next()? {
                if number == 1 {
                    field_of_map(field, records)?;
                }
            }
        }
    }
    Ok(())
}

fn field_of_map(field: Field<'_>, records: &mut Records<'_>) -> Result<(), WireError> {
    let (key, value) = any::key_value(field)?;
    let value = match any::value(value, records.batch())? {
        Ok(value) => value,
        Err(map) => {
            let mut result = Ok(());
            let text = records
                .batch()
                .store_with(|out| result = any::write_pairs(out, map, 1, 0));
            result?;
            Value::Json(text)
        }
    };
    records.set(key.as_bytes(), value);
    Ok(())
}

/// In Fluent Bit's order and names. Ids are hexadecimal text, where Fluent Bit puts raw bytes that most
/// outputs cannot write.
fn write_metadata(out: &mut Vec<u8>, raw: &Raw<'_>, message: Message<'_>) -> Result<(), WireError> {
    let start = out.len();
    let number = |out: &mut Vec<u8>, name: &str, n: u64| {
        out.extend_from_slice(format!(",\"{name}\":{n}").as_bytes());
    };
    let text = |out: &mut Vec<u8>, name: &str, text: &[u8]| {
        if !text.is_empty() {
            out.extend_from_slice(format!(",\"{name}\":").as_bytes());
            json::write_str(out, text);
        }
    };
    if raw.observed > 0 {
        number(out, "observed_timestamp", raw.observed);
    }
    if raw.time > 0 {
        number(out, "timestamp", raw.time);
    }
    if raw.severity > 0 {
        number(out, "severity_number", raw.severity.unsigned_abs());
    }
    text(out, "severity_text", raw.severity_text);
    if raw.has_attributes {
        out.extend_from_slice(b",\"attributes\":");
        any::write_pairs(out, message, 6, 0)?;
    }
    for (name, id) in [("trace_id", raw.trace), ("span_id", raw.span)] {
        let mut hex = Vec::new();
        any::write_hex(&mut hex, id);
        text(out, name, &hex);
    }
    number(out, "trace_flags", u64::from(raw.flags));
    text(out, "event_name", raw.event);
    out[start] = b'{';
    out.push(b'}');
    Ok(())
}
