//! Records as msgpack events in Fluent Bit's (v2) layout: `[[EventTime, {metadata}], {fields}]`.
//!
//! Only writing. EventTime is the Fluentd extension type 0: seconds and nanoseconds, big-endian.

use std::fmt;

use kansoku_model::{LogBatch, Value};
use serde::de::{DeserializeSeed, Deserializer, MapAccess, SeqAccess, Visitor};

use crate::render::split_seconds;

/// A JSON object as msgpack, its keys in their order; empty when there is none.
#[must_use]
pub fn from_json(json: &[u8]) -> Vec<u8> {
    let mut out = Vec::new();
    if !json.is_empty() {
        write_json(&mut out, json);
    }
    out
}

/// Appends record `row` as one event. `kubernetes` is that object as msgpack, made once for all
/// records of the batch.
pub fn write_event(out: &mut Vec<u8>, batch: &LogBatch, row: usize, kubernetes: &[u8]) {
    out.extend_from_slice(&[0x92, 0x92]);
    write_event_time(out, batch.times()[row]);
    match batch.metadata(row) {
        None => out.push(0x80),
        Some(json) => write_json(out, json),
    }
    write_record(out, batch, row, kubernetes);
}

/// The last second of EventTime: the two behind it are no times, but Fluent Bit's marks of groups.
const MAX_EVENT_SECONDS: i64 = u32::MAX as i64 - 2;

/// Appends a time as the Fluentd extension EventTime; what it cannot say becomes its first or last
/// second.
pub fn write_event_time(out: &mut Vec<u8>, time_ns: i64) {
    let (seconds, nanos) = split_seconds(time_ns);
    let seconds = seconds.clamp(0, MAX_EVENT_SECONDS);
    out.extend_from_slice(&[0xd7, 0x00]);
    out.extend_from_slice(&(seconds as u32).to_be_bytes());
    out.extend_from_slice(&nanos.to_be_bytes());
}

/// Appends the fields of record `row` as a map.
pub fn write_record(out: &mut Vec<u8>, batch: &LogBatch, row: usize, kubernetes: &[u8]) {
    let present = batch
        .columns()
        .iter()
        .filter(|c| c.values[row] != Value::Absent);
    write_map_header(out, present.count() + usize::from(!kubernetes.is_empty()));
    write_pairs(out, batch, row, kubernetes);
}

/// Appends the fields of record `row` without the header of their map.
pub fn write_pairs(out: &mut Vec<u8>, batch: &LogBatch, row: usize, kubernetes: &[u8]) {
    for column in batch.columns() {
        if column.values[row] != Value::Absent {
            write_text(out, column.name.as_bytes());
            write_value(out, batch, column.values[row]);
        }
    }
    if !kubernetes.is_empty() {
        write_text(out, b"kubernetes");
        out.extend_from_slice(kubernetes);
    }
}

/// Appends one value of a batch; an absent one becomes nil.
pub fn write_value(out: &mut Vec<u8>, batch: &LogBatch, value: Value) {
    match value {
        Value::Absent | Value::Null => out.push(0xc0),
        Value::Bool(b) => write_bool(out, b),
        Value::Int(i) => write_int(out, i),
        Value::Float(f) => write_float(out, f),
        Value::Text(s) => write_text(out, batch.bytes(s)),
        Value::Json(s) => write_json(out, batch.bytes(s)),
    }
}

/// Appends JSON text as msgpack without building a tree; keys keep their order. Text that is no
/// JSON becomes nil.
pub fn write_json(out: &mut Vec<u8>, json: &[u8]) {
    let start = out.len();
    let mut reader = serde_json::Deserializer::from_slice(json);
    if Transcode(out).deserialize(&mut reader).is_err() || reader.end().is_err() {
        out.truncate(start);
        out.push(0xc0);
    }
}

/// Writes each JSON value as it is read.
struct Transcode<'a>(&'a mut Vec<u8>);

impl<'de> DeserializeSeed<'de> for Transcode<'_> {
    type Value = ();

    fn deserialize<D: Deserializer<'de>>(self, reader: D) -> Result<(), D::Error> {
        reader.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for Transcode<'_> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("any JSON value")
    }

    fn visit_unit<E>(self) -> Result<(), E> {
        self.0.push(0xc0);
        Ok(())
    }

    fn visit_bool<E>(self, value: bool) -> Result<(), E> {
        write_bool(self.0, value);
        Ok(())
    }

    fn visit_i64<E>(self, value: i64) -> Result<(), E> {
        write_int(self.0, value);
        Ok(())
    }

    fn visit_u64<E>(self, value: u64) -> Result<(), E> {
        write_uint(self.0, value);
        Ok(())
    }

    fn visit_f64<E>(self, value: f64) -> Result<(), E> {
        write_float(self.0, value);
        Ok(())
    }

    fn visit_str<E>(self, value: &str) -> Result<(), E> {
        write_text(self.0, value.as_bytes());
        Ok(())
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut items: A) -> Result<(), A::Error> {
        let start = self.0.len();
        let mut n = 0;
        while items.next_element_seed(Transcode(self.0))?.is_some() {
            n += 1;
        }
        insert_header(self.0, start, n, 0x90, 0xdc);
        Ok(())
    }

    fn visit_map<A: MapAccess<'de>>(self, mut pairs: A) -> Result<(), A::Error> {
        let start = self.0.len();
        let mut n = 0;
        while pairs.next_key_seed(Transcode(self.0))?.is_some() {
            pairs.next_value_seed(Transcode(self.0))?;
            n += 1;
        }
        insert_header(self.0, start, n, 0x80, 0xde);
        Ok(())
    }
}

/// Puts the header before what was written since `start`, now that the number of items is known.
fn insert_header(out: &mut Vec<u8>, start: usize, n: usize, fix: u8, wide: u8) {
    let mut header = Vec::with_capacity(5);
    write_header(&mut header, n, fix, wide);
    out.splice(start..start, header);
}

/// Appends the header of a map of `n` pairs.
pub fn write_map_header(out: &mut Vec<u8>, n: usize) {
    write_header(out, n, 0x80, 0xde);
}

/// Appends the header of an array of `n` items.
pub fn write_array_header(out: &mut Vec<u8>, n: usize) {
    write_header(out, n, 0x90, 0xdc);
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

/// Appends a text (`str`), whether it is UTF-8 or not, as Fluent Bit does.
pub fn write_text(out: &mut Vec<u8>, text: &[u8]) {
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

/// Appends the header of `n` bytes (`bin`).
pub fn write_bin_header(out: &mut Vec<u8>, n: usize) {
    match n {
        0..256 => out.extend_from_slice(&[0xc4, n as u8]),
        256..65536 => {
            out.push(0xc5);
            out.extend_from_slice(&(n as u16).to_be_bytes());
        }
        _ => {
            out.push(0xc6);
            out.extend_from_slice(&(n as u32).to_be_bytes());
        }
    }
}

/// Appends a boolean.
pub fn write_bool(out: &mut Vec<u8>, value: bool) {
    out.push(0xc2 + u8::from(value));
}

/// Appends a whole number in its shortest form.
pub fn write_int(out: &mut Vec<u8>, i: i64) {
    if let Ok(u) = u64::try_from(i) {
        return write_uint(out, u);
    }
    if i >= -32 {
        out.push(i as u8);
    } else if let Ok(i) = i8::try_from(i) {
        out.extend_from_slice(&[0xd0, i as u8]);
    } else if let Ok(i) = i16::try_from(i) {
        out.push(0xd1);
        out.extend_from_slice(&i.to_be_bytes());
    } else if let Ok(i) = i32::try_from(i) {
        out.push(0xd2);
        out.extend_from_slice(&i.to_be_bytes());
    } else {
        out.push(0xd3);
        out.extend_from_slice(&i.to_be_bytes());
    }
}

fn write_uint(out: &mut Vec<u8>, u: u64) {
    if u < 128 {
        out.push(u as u8);
    } else if let Ok(u) = u8::try_from(u) {
        out.extend_from_slice(&[0xcc, u]);
    } else if let Ok(u) = u16::try_from(u) {
        out.push(0xcd);
        out.extend_from_slice(&u.to_be_bytes());
    } else if let Ok(u) = u32::try_from(u) {
        out.push(0xce);
        out.extend_from_slice(&u.to_be_bytes());
    } else {
        out.push(0xcf);
        out.extend_from_slice(&u.to_be_bytes());
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
    fn a_time_is_never_a_mark_of_groups() {
        for (seconds, expected) in [
            (-1, 0),
            (-2, 0),
            (0, 0),
            (1_795_251_600, 1_795_251_600),
            (i64::from(u32::MAX) - 2, u32::MAX - 2),
            (i64::from(u32::MAX), u32::MAX - 2),
        ] {
            let mut out = Vec::new();
            write_event_time(&mut out, seconds * 1_000_000_000);
            assert_eq!(out[2..6], expected.to_be_bytes(), "{seconds}");
        }
    }

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
            b"\xaakubernetes\x82\xa8pod_name\xa5web-1\xa6labels\x81\xa3app\xa3web",
        );
        assert_eq!(out, expected);
    }

    #[test]
    fn nested_numbers_keep_their_last_digit() {
        for text in ["122.416294033786585", "1.7976931348623155e308", "0.1"] {
            let mut out = Vec::new();
            write_json(&mut out, format!("[{text}]").as_bytes());
            let number: f64 = text.parse().expect("a number");
            assert_eq!(out[2..], number.to_be_bytes(), "{text}");
        }
    }

    #[test]
    fn numbers_and_lengths_take_their_widths() {
        let mut out = Vec::new();
        for i in [0, 127, -1, -32, 128, 256, 65_536, 1 << 32] {
            write_int(&mut out, i);
        }
        assert_eq!(out[..4], [0, 127, 0xff, 0xe0]);
        assert_eq!(out[4..9], [0xcc, 128, 0xcd, 1, 0]);
        assert_eq!(out[9..15], [0xce, 0, 1, 0, 0, 0xcf]);
        out.clear();
        for i in [-33, -129, -32_769, i64::MIN] {
            write_int(&mut out, i);
        }
        assert_eq!(out[..5], [0xd0, 0xdf, 0xd1, 0xff, 0x7f]);
        assert_eq!((out[5], out[10]), (0xd2, 0xd3));
        out.clear();
        write_text(&mut out, &[b'x'; 300]);
        assert_eq!(out[..3], [0xda, 1, 44]);
        out.clear();
        write_header(&mut out, 70_000, 0x80, 0xde);
        assert_eq!(out, [0xdf, 0, 1, 0x11, 0x70]);
    }

    #[test]
    fn json_keeps_the_order_of_its_keys_and_bad_json_is_nil() {
        let mut out = Vec::new();
        write_json(&mut out, br#"{"z":[1,-1,2.5,null,true],"a":{"k":"v"}}"#);
        let mut expected = b"\x82\xa1z\x95\x01\xff\xcb\x40\x04\0\0\0\0\0\0\xc0\xc3".to_vec();
        expected.extend_from_slice(b"\xa1a\x81\xa1k\xa1v");
        assert_eq!(out, expected);
        out.clear();
        for bad in [&b"{\"a\":"[..], b"", b"{} x"] {
            write_json(&mut out, bad);
        }
        assert_eq!(out, [0xc0; 3]);
    }
}
