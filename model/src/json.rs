//! Writing JSON text from batch values, for outputs and for lines that are whole records.
//!
//! Only writing: nothing here reads JSON. Invalid UTF-8 becomes U+FFFD, as serde_json's lossy
//! callers do, so that the result is always valid JSON.

use crate::{KubernetesMetadata, LogBatch, Value};

const HEX: &[u8; 16] = b"0123456789abcdef";

/// Appends `text` as a JSON string with its quotes.
pub fn write_str(out: &mut Vec<u8>, text: &[u8]) {
    out.reserve(text.len() + 2);
    out.push(b'"');
    let clean = clean_prefix(text, is_special);
    out.extend_from_slice(&text[..clean]);
    let rest = &text[clean..];
    if !rest.is_empty() {
        match std::str::from_utf8(rest) {
            Ok(_) => write_escaped(out, rest),
            Err(_) => write_escaped(out, String::from_utf8_lossy(rest).as_bytes()),
        }
    }
    out.push(b'"');
}

/// Bytes looked at together: the comparison of a block compiles to a few vector instructions.
const BLOCK: usize = 32;

/// How many bytes at the start are none that `wanted` is true for.
fn clean_prefix(text: &[u8], wanted: impl Fn(u8) -> bool + Copy) -> usize {
    let (blocks, rest) = text.as_chunks::<BLOCK>();
    let has_wanted = |block: &[u8; BLOCK]| block.iter().fold(false, |any, &b| any | wanted(b));
    let n_blocks = (blocks.iter().position(has_wanted)).unwrap_or(blocks.len());
    let start = n_blocks * BLOCK;
    let tail = if n_blocks == blocks.len() {
        rest
    } else {
        &text[start..]
    };
    start + tail.iter().position(|&b| wanted(b)).unwrap_or(tail.len())
}

/// Whether a byte has to be escaped.
fn is_escaped(b: u8) -> bool {
    (b < 0x20) | (b == b'"') | (b == b'\\') | (b == 0x7f)
}

/// Whether a byte has to be escaped or is not ASCII.
fn is_special(b: u8) -> bool {
    is_escaped(b) | (b >= 0x80)
}

/// Appends valid UTF-8 with escapes.
fn write_escaped(out: &mut Vec<u8>, mut text: &[u8]) {
    loop {
        let clean = clean_prefix(text, is_escaped);
        out.extend_from_slice(&text[..clean]);
        let Some((&b, rest)) = text[clean..].split_first() else {
            return;
        };
        text = rest;
        match b {
            b'"' => out.extend_from_slice(b"\\\""),
            b'\\' => out.extend_from_slice(b"\\\\"),
            b'\n' => out.extend_from_slice(b"\\n"),
            b'\r' => out.extend_from_slice(b"\\r"),
            b'\t' => out.extend_from_slice(b"\\t"),
            0x08 => out.extend_from_slice(b"\\b"),
            0x0c => out.extend_from_slice(b"\\f"),
            _ => {
                out.extend_from_slice(b"\\u00");
                out.push(HEX[usize::from(b >> 4)]);
                out.push(HEX[usize::from(b & 15)]);
            }
        }
    }
}

/// Appends a number as JSON; NaN and the infinities, which JSON lacks, become `null`.
pub fn write_f64(out: &mut Vec<u8>, number: f64) {
    if number.is_finite() {
        out.extend_from_slice(ryu::Buffer::new().format_finite(number).as_bytes());
    } else {
        out.extend_from_slice(b"null");
    }
}

/// Appends a value of `batch`; an absent value writes nothing and must be skipped by the caller.
pub fn write_value(out: &mut Vec<u8>, batch: &LogBatch, value: Value) {
    match value {
        Value::Absent => {}
        Value::Null => out.extend_from_slice(b"null"),
        Value::Bool(true) => out.extend_from_slice(b"true"),
        Value::Bool(false) => out.extend_from_slice(b"false"),
        Value::Int(i) => out.extend_from_slice(itoa::Buffer::new().format(i).as_bytes()),
        Value::Float(f) => write_f64(out, f),
        Value::Text(s) => write_str(out, batch.bytes(s)),
        Value::Json(s) => out.extend_from_slice(batch.bytes(s)),
    }
}

/// Appends `"name":value` pairs of one record, comma separated, without braces. `first` tells
/// whether a comma is owed before the first pair. Returns whether a comma is owed after it.
pub fn write_fields(out: &mut Vec<u8>, batch: &LogBatch, row: usize, mut first: bool) -> bool {
    for column in batch.columns() {
        let value = column.values[row];
        if value == Value::Absent {
            continue;
        }
        if !first {
            out.push(b',');
        }
        first = false;
        write_str(out, column.name.as_bytes());
        out.push(b':');
        write_value(out, batch, value);
    }
    first
}

/// Appends the object that Fluent Bit's kubernetes filter puts under the key `kubernetes`.
pub fn write_kubernetes(out: &mut Vec<u8>, meta: &KubernetesMetadata) {
    let start = out.len();
    for (i, (name, value)) in meta.scalars().into_iter().enumerate() {
        // labels and annotations stand between pod_id and host
        if i == 3 {
            write_map(out, "labels", &meta.labels);
            write_map(out, "annotations", &meta.annotations);
        }
        if !value.is_empty() {
            out.push(b',');
            write_str(out, name.as_bytes());
            out.push(b':');
            write_str(out, value.as_bytes());
        }
    }
    if out.len() == start {
        out.push(b'{');
    } else {
        out[start] = b'{';
    }
    out.push(b'}');
}

fn write_map(out: &mut Vec<u8>, name: &str, pairs: &[(String, String)]) {
    if pairs.is_empty() {
        return;
    }
    out.push(b',');
    write_str(out, name.as_bytes());
    out.push(b':');
    for (i, (key, value)) in pairs.iter().enumerate() {
        out.push(if i == 0 { b'{' } else { b',' });
        write_str(out, key.as_bytes());
        out.push(b':');
        write_str(out, value.as_bytes());
    }
    out.push(b'}');
}

#[cfg(test)]
mod tests {
    use super::*;

    fn string(text: &[u8]) -> String {
        let mut out = Vec::new();
        write_str(&mut out, text);
        String::from_utf8(out).expect("json text is UTF-8")
    }

    #[test]
    fn escapes_what_json_wants_escaped() {
        assert_eq!(
            string(b"a\"b\\c\n\t\x01\x7f"),
            r#""a\"b\\c\n\t\u0001\u007f""#
        );
        assert_eq!(string("観測".as_bytes()), "\"観測\"");
        assert_eq!(string(b"x\xffy"), "\"x\u{fffd}y\"");
        // Around the ends of blocks, every byte at every place.
        for n in [30, 31, 32, 33, 63, 64, 65] {
            for at in 0..n {
                for special in ["\"", "\\", "\n", "\x7f", "\u{e9}", "\u{1f980}"] {
                    let text = format!("{}{special}{}", "x".repeat(at), "y".repeat(n - at));
                    let escaped = match special {
                        "\"" => "\\\"",
                        "\\" => "\\\\",
                        "\n" => "\\n",
                        "\x7f" => "\\u007f",
                        other => other,
                    };
                    assert_eq!(
                        string(text.as_bytes()),
                        format!("\"{}\"", text.replace(special, escaped))
                    );
                }
            }
        }
    }

    #[test]
    fn kubernetes_keys_keep_their_order() {
        let mut meta = KubernetesMetadata {
            pod_name: "p".into(),
            pod_id: "u".into(),
            host: "n".into(),
            ..Default::default()
        };
        meta.labels.push(("app".into(), "x".into()));
        let mut out = Vec::new();
        write_kubernetes(&mut out, &meta);
        assert_eq!(
            String::from_utf8_lossy(&out),
            r#"{"pod_name":"p","pod_id":"u","labels":{"app":"x"},"host":"n"}"#
        );
        out.clear();
        write_kubernetes(&mut out, &KubernetesMetadata::default());
        assert_eq!(out, b"{}");
    }
}
