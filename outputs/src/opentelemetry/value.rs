//! Values of records as OTLP's `AnyValue` and `KeyValue`.

use kansoku_model::{LogBatch, Value};
use serde_json::value::RawValue;

use crate::rows::Object;
use kansoku_model::protobuf as proto;

/// Appends the members of an `AnyValue`; a null or missing value has none.
pub fn write_value(out: &mut Vec<u8>, batch: &LogBatch, value: Value) {
    match value {
        Value::Absent | Value::Null => {}
        Value::Bool(b) => proto::int(out, 2, u64::from(b)),
        Value::Int(i) => proto::int(out, 3, i as u64),
        Value::Float(f) => proto::double(out, 4, f),
        Value::Text(s) => write_text(out, batch.bytes(s)),
        Value::Json(s) => write_json(out, batch.bytes(s)),
    }
}

/// Appends a text; protobuf wants UTF-8, so what is none goes as bytes.
pub fn write_text(out: &mut Vec<u8>, text: &[u8]) {
    let field = if std::str::from_utf8(text).is_ok() {
        1
    } else {
        7
    };
    proto::bytes_always(out, field, text);
}

/// Appends what a JSON text says. Text that is no JSON becomes text.
pub fn write_json(out: &mut Vec<u8>, json: &[u8]) {
    let first = json.iter().find(|b| !b.is_ascii_whitespace());
    match first {
        Some(b'{') => {
            if let Ok(object) = serde_json::from_slice::<Object<'_>>(json) {
                proto::message(out, 6, |out| {
                    for (key, value) in &object.0 {
                        write_pair(out, 1, key, |out| write_json(out, value.get().as_bytes()));
                    }
                });
            }
        }
        Some(b'[') => {
            if let Ok(items) = serde_json::from_slice::<Vec<&RawValue>>(json) {
                proto::message(out, 5, |out| {
                    for item in items {
                        proto::message(out, 1, |out| write_json(out, item.get().as_bytes()));
                    }
                });
            }
        }
        _ => match serde_json::from_slice(json) {
            Ok(serde_json::Value::Bool(b)) => proto::int(out, 2, u64::from(b)),
            Ok(serde_json::Value::String(s)) => proto::bytes_always(out, 1, s.as_bytes()),
            Ok(serde_json::Value::Number(n)) => match n.as_i64() {
                Some(i) => proto::int(out, 3, i as u64),
                None => proto::double(out, 4, n.as_f64().unwrap_or(0.0)),
            },
            Ok(_) => {}
            Err(_) => write_text(out, json),
        },
    }
}

/// Appends a `KeyValue` whose value `write` writes.
pub fn write_pair(out: &mut Vec<u8>, field: u32, key: &str, write: impl FnOnce(&mut Vec<u8>)) {
    proto::message(out, field, |out| {
        proto::bytes(out, 1, key.as_bytes());
        proto::message(out, 2, write);
    });
}

/// Appends a `KeyValue` of text.
pub fn write_text_pair(out: &mut Vec<u8>, field: u32, key: &str, text: &str) {
    write_pair(out, field, key, |out| write_text(out, text.as_bytes()));
}
