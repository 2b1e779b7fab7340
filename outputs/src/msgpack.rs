//! Records as msgpack events in Fluent Bit's (v2) layout: `[[EventTime, {metadata}], {fields}]`.
//!
//! Only writing. EventTime is the Fluentd extension type 0: seconds and nanoseconds, big-endian.

use kansoku_model::{LogBatch, Value};
use serde_json::Value as Tree;

use crate::render::split_seconds;

/// A JSON object as msgpack; empty when there is none.
#[must_use]
pub fn from_json(json: &[u8]) -> Vec<u8> {
    let mut out = Vec::new();
    if !json.is_empty() {
        write_tree(&mut out, &serde_json::from_slice(json).unwrap_or_default());
    }
    out
}

/// Appends record `row` as one event. `kubernetes` is that object as msgpack, made once for all
/// records of the batch.
pub fn write_event(out: &mut Vec<u8>, batch: &LogBatch, row: usize, kubernetes: &[u8]) {
    let (seconds, nanos) = split_seconds(batch.times()[row]);
    out.extend_from_slice(&[0x92, 0x92, 0xd7, 0x00]);
    out.extend_from_slice(&(seconds as u32).to_be_bytes());
    out.extend_from_slice(&nanos.to_be_bytes());
    match batch.metadata(row) {
        None => out.push(0x80),
        Some(json) => write_tree(out, &serde_json::from_slice(json).unwrap_or_default()),
    }
    let present = batch
        .columns()
        .iter()
        .filter(|c| c.values[row] != Value::Absent);
    write_map_header(
        out,
        present.clone().count() + usize::from(!kubernetes.is_empty()),
    );
    for column in present {
        write_text(out, column.name.as_bytes());
        write_value(out, batch, column.values[row]);
    }
    if !kubernetes.is_empty() {
        write_text(out, b"kubernetes");
        out.extend_from_slice(kubernetes);
    }
}

fn write_value(out: &mut Vec<u8>, batch: &LogBatch, value: Value) {
    match value {
        Value::Absent | Value::Null => out.push(0xc0),
        Value::Bool(b) => out.push(0xc2 + u8::from(b)),
        Value::Int(i) => write_int(out, i),
        Value::Float(f) => write_float(out, f),
        Value::Text(s) => write_text(out, batch.bytes(s)),
        Value::Json(s) => write_tree(
            out,
            &serde_json::from_slice(batch.bytes(s)).unwrap_or_default(),
        ),
    }
}

fn write_tree(out: &mut Vec<u8>, tree: &Tree) {
    match tree {
        Tree::Null => out.push(0xc0),
        Tree::Bool(b) => out.push(0xc2 + u8::from(*b)),
        Tree::Number(n) => match (n.as_i64(), n.as_u64()) {
            (Some(i), _) => write_int(out, i),
            (None, Some(u)) => {
                out.push(0xcf);
                out.extend_from_slice(&u.to_be_bytes());
            }
            _ => write_float(out, n.as_f64().unwrap_or(0.0)),
        },
        Tree::String(s) => write_text(out, s.as_bytes()),
        Tree::Array(items) => {
            write_header(out, items.len(), 0x90, 0xdc);
            items.iter().for_each(|item| write_tree(out, item));
        }
        Tree::Object(map) => {
            write_map_header(out, map.len());
            for (key, item) in map {
                write_text(out, key.as_bytes());
                write_tree(out, item);
            }
        }
    }
}

fn write_map_header(out: &mut Vec<u8>, n: usize) {
    write_header(out, n, 0x80, 0xde);
}

/// Header of a map or an array: `fix` for up to 15, then `wide` with 16 and `wide + 1` with 32 bits.
fn write_header(out: &mut Vec<u8>, n: usize, fix: u8, wide: u8) {
    if n < 16 {
        out.push(fix | n as u8);
    } else if let Ok(n) = u16::try_from(n) {
        out.push(wide);
        out.extend_from_slice(&n.to_be_bytes());
    } else {
        out.push(wide + 1);
        out.extend_from_slice(&(n as u32).to_be_bytes());
    }
}

fn write_text(out: &mut Vec<u8>, text: &[u8]) {
    match text.len() {
        n @ 0..32 => out.push(0xa0 | n as u8),
        n @ 32..256 => out.extend_from_slice(&[0xd9, n as u8]),
        n @ 256..65536 => {
            out.push(0xda);
            out.extend_from_slice(&(n as u16).to_be_bytes());
        }
        n => {
            out.push(0xdb);
            out.extend_from_slice(&(n as u32).to_be_bytes());
        }
    }
    out.extend_from_slice(text);
}

fn write_int(out: &mut Vec<u8>, i: i64) {
    if (0..128).contains(&i) || (-32..0).contains(&i) {
        out.push(i as u8);
    } else {
        out.push(0xd3);
        out.extend_from_slice(&i.to_be_bytes());
    }
}

fn write_float(out: &mut Vec<u8>, f: f64) {
    out.push(0xcb);
    out.extend_from_slice(&f.to_be_bytes());
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_event_is_time_metadata_and_map() {
        let batch = crate::render::tests::batch();
        let mut out = Vec::new();
        let kubernetes = from_json(&crate::render::kubernetes_json(&batch));
        write_event(&mut out, &batch, 0, &kubernetes);
        let mut expected =
            b"\x92\x92\xd7\x00\x65\x53\xf1\x00\x07\x5b\xcd\x15\x80\x82\xa3log\xafa \"quoted\" line"
                .to_vec();
        expected.extend_from_slice(
            b"\xaakubernetes\x82\xa6labels\x81\xa3app\xa3web\xa8pod_name\xa5web-1",
        );
        assert_eq!(out, expected);
    }

    #[test]
    fn numbers_and_lengths_take_their_widths() {
        let mut out = Vec::new();
        for i in [0, 127, -1, -32, 128, -33] {
            write_int(&mut out, i);
        }
        assert_eq!(out[..4], [0, 127, 0xff, 0xe0]);
        assert_eq!((out[4], out[13]), (0xd3, 0xd3));
        out.clear();
        write_text(&mut out, &[b'x'; 300]);
        assert_eq!(out[..3], [0xda, 1, 44]);
        out.clear();
        write_header(&mut out, 70_000, 0x80, 0xde);
        assert_eq!(out, [0xdf, 0, 1, 0x11, 0x70]);
    }
}
