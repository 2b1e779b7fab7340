//! The payload of a batch of log records.

use std::sync::Arc;

use super::payload::{
    COLUMN_SAME, COLUMN_TAGGED, COLUMN_TEXTS, COLUMN_TIMES, KUBERNETES_IN_RECORDS, Reader,
    put_resource, put_text, put_varint, unzigzag, zigzag,
};
use super::time_texts::TimeTexts;
use super::{FrameError, MAX_PAYLOAD_BYTES};
use crate::{Column, LogBatch, Position, Source, Value};

/// tag, resource, record count, times (first, then differences, zigzag), positions (offset
/// differences; then 0, or 1 and all ordinals), column count, columns (name, layout, values), and
/// when any record has metadata one more column (layout, values).
pub(super) fn encode_logs(b: &LogBatch, w: &mut Vec<u8>) {
    w.reserve(b.size_bytes() + 256);
    put_text(w, b.tag.as_bytes());
    let kind_at = put_resource(w, &b.resource);
    if b.kubernetes_is_column && b.resource.kubernetes.is_some() {
        w[kind_at] = KUBERNETES_IN_RECORDS;
    }
    put_varint(w, b.len() as u64);
    let mut last = 0i64;
    for &t in b.times() {
        put_varint(w, zigzag(t.wrapping_sub(last)));
        last = t;
    }
    let mut last = 0u64;
    for p in b.positions() {
        put_varint(w, zigzag(p.offset.wrapping_sub(last) as i64));
        last = p.offset;
    }
    let ordinals = b.positions().iter().any(|p| p.ordinal != 0);
    w.push(u8::from(ordinals));
    if ordinals {
        for p in b.positions() {
            put_varint(w, u64::from(p.ordinal));
        }
    }
    put_varint(w, b.columns().len() as u64);
    for c in b.columns() {
        put_text(w, c.name.as_bytes());
        put_column(w, b, &c.values);
    }
    // Nothing follows the columns of records without metadata.
    if !b.metadata_values().is_empty() {
        put_column(w, b, b.metadata_values());
    }
}

fn put_column(w: &mut Vec<u8>, b: &LogBatch, values: &[Value]) {
    let texts = values.iter().all(|v| matches!(v, Value::Text(_)));
    let same = values.len() > 1
        && values[1..].iter().all(|v| match (v, &values[0]) {
            (Value::Text(x), Value::Text(y)) | (Value::Json(x), Value::Json(y)) => {
                x == y || b.bytes(*x) == b.bytes(*y)
            }
            (x, y) => x == y,
        });
    if same {
        w.push(COLUMN_SAME);
        put_value(w, b, values[0]);
    } else if let Some(form) = texts.then(|| form_of(b, values)).flatten() {
        w.push(COLUMN_TIMES);
        w.push(form.n_digits as u8);
        put_text(w, form.suffix());
    } else if texts {
        w.push(COLUMN_TEXTS);
        let slices = || {
            values.iter().map(|v| match v {
                Value::Text(s) => b.bytes(*s),
                _ => unreachable!("all values are text"),
            })
        };
        slices().for_each(|s| put_varint(w, s.len() as u64));
        slices().for_each(|s| w.extend_from_slice(s));
    } else {
        w.push(COLUMN_TAGGED);
        values.iter().for_each(|v| put_value(w, b, *v));
    }
}

/// The form in which all of these texts are their records' times.
fn form_of(b: &LogBatch, values: &[Value]) -> Option<TimeTexts> {
    let text = |value: &Value| match value {
        Value::Text(slice) => Some(b.bytes(*slice)),
        _ => None,
    };
    let mut form = TimeTexts::of(text(values.first()?)?)?;
    let fits = values.len() * form.len() <= MAX_PAYLOAD_BYTES;
    let mut rows = values.iter().zip(b.times());
    (fits && rows.all(|(value, time)| text(value) == form.text(*time))).then_some(form)
}

fn put_value(w: &mut Vec<u8>, b: &LogBatch, value: Value) {
    match value {
        Value::Absent => w.push(0),
        Value::Null => w.push(1),
        Value::Bool(v) => w.push(2 + u8::from(v)),
        Value::Int(v) => {
            w.push(4);
            put_varint(w, zigzag(v));
        }
        Value::Float(v) => {
            w.push(5);
            w.extend_from_slice(&v.to_bits().to_le_bytes());
        }
        Value::Text(s) => {
            w.push(6);
            put_text(w, b.bytes(s));
        }
        Value::Json(s) => {
            w.push(7);
            put_text(w, b.bytes(s));
        }
    }
}

pub(super) fn decode_logs(mut payload: Vec<u8>, source: Source) -> Result<LogBatch, FrameError> {
    let mut r = Reader {
        bytes: &payload,
        at: 0,
    };
    let tag: Arc<str> = r.str()?.into();
    let (resource, kubernetes_is_column) = r.resource()?;
    let n = r.count(2)?;
    let mut times = Vec::with_capacity(n);
    let mut last = 0i64;
    for _ in 0..n {
        last = last.wrapping_add(unzigzag(r.varint()?));
        times.push(last);
    }
    let mut positions = Vec::with_capacity(n);
    let mut offset = 0u64;
    for _ in 0..n {
        offset = offset.wrapping_add(unzigzag(r.varint()?) as u64);
        positions.push(Position::at(offset));
    }
    if r.byte()? != 0 {
        for p in &mut positions {
            p.ordinal = r.u32()?;
        }
    }
    let mut columns = Vec::new();
    // Texts that follow from the times lie behind the payload.
    let mut made = Vec::new();
    for _ in 0..r.count(2)? {
        let name: Arc<str> = r.str()?.into();
        // A damaged count of columns must not multiply with the count of records.
        if columns.len() * n > 4 * MAX_PAYLOAD_BYTES / size_of::<Value>() {
            return Err(FrameError::Damaged("too many fields"));
        }
        columns.push(Column {
            name,
            values: r.column(&times, &mut made)?,
        });
    }
    let metadata = if r.at < payload.len() {
        r.column(&times, &mut made)?
    } else {
        Vec::new()
    };
    r.end()?;
    payload.append(&mut made);
    let mut batch = LogBatch::new(tag, Arc::new(resource), payload);
    batch.source = source;
    batch.kubernetes_is_column = kubernetes_is_column;
    for (time, position) in times.into_iter().zip(positions) {
        batch.push(time, position);
    }
    for column in columns {
        batch.put_column(column);
    }
    batch.put_metadata(metadata);
    Ok(batch)
}
