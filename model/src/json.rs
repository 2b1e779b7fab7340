//! Writing JSON text from batch values, for outputs and for lines that are whole records.
//!
//! Only writing: nothing here reads JSON. Invalid UTF-8 becomes U+FFFD, as serde_json's lossy
//! callers do, so that the result is always valid JSON.

use crate::{KubernetesMetadata, LogBatch, Value};

const HEX: &[u8; 16] = b"0123456789abcdef";

/// One in each byte of a word, and the highest bit of each.
const ONES: u64 = 0x0101_0101_0101_0101;
const HIGH: u64 = ONES << 7;

/// Appends `text` as a JSON string with its quotes.
pub fn write_str(out: &mut Vec<u8>, text: &[u8]) {
    out.reserve(text.len() + 2);
    out.push(b'"');
    write_content(out, text);
    out.push(b'"');
}

/// Appends `text` as it stands between the quotes of a JSON string.
pub fn write_content(out: &mut Vec<u8>, text: &[u8]) {
    let clean = clean_prefix(text, is_special, special_bytes);
    out.extend_from_slice(&text[..clean]);
    let rest = &text[clean..];
    if !rest.is_empty() {
        match std::str::from_utf8(rest) {
            Ok(_) => write_escaped(out, rest),
            Err(_) => write_escaped(out, lossy(rest).as_bytes()),
        }
    }
}

/// Bytes as text, with one U+FFFD for each byte that is no UTF-8, as Go has it.
#[must_use]
pub fn lossy(bytes: &[u8]) -> std::borrow::Cow<'_, str> {
    if let Ok(text) = std::str::from_utf8(bytes) {
        return text.into();
    }
    let mut out = String::with_capacity(bytes.len() + 8);
    for chunk in bytes.utf8_chunks() {
        out.push_str(chunk.valid());
        out.extend(std::iter::repeat_n('\u{fffd}', chunk.invalid().len()));
    }
    out.into()
}

/// Whether `text` is ASCII that stands in a JSON string as it is.
#[must_use]
pub fn is_plain(text: &[u8]) -> bool {
    clean_prefix(text, is_special, special_bytes) == text.len()
}

/// Bytes looked at together: the comparison of a block compiles to a few vector instructions.
const BLOCK: usize = 32;

/// How many bytes at the start are none that `wanted` (of one byte) and `wanted_of` (of eight, the highest
/// bit of each) are true for.
#[inline]
fn clean_prefix(
    text: &[u8],
    wanted: impl Fn(u8) -> bool + Copy,
    wanted_of: impl Fn(u64) -> u64,
) -> usize {
    let (blocks, rest) = text.as_chunks::<BLOCK>();
    let has_wanted = |block: &[u8; BLOCK]| block.iter().fold(false, |any, &b| any | wanted(b));
    let n_blocks = (blocks.iter().position(has_wanted)).unwrap_or(blocks.len());
    let start = n_blocks * BLOCK;
    let tail = match blocks.get(n_blocks) {
        Some(block) => block.as_slice(),
        None => rest,
    };
    let (words, last) = tail.as_chunks::<8>();
    for (i, word) in words.iter().enumerate() {
        let found = wanted_of(u64::from_le_bytes(*word));
        if found != 0 {
            return start + i * 8 + found.trailing_zeros() as usize / 8;
        }
    }
    let n = last.iter().position(|&b| wanted(b)).unwrap_or(last.len());
    start + words.len() * 8 + n
}

/// Whether a byte has to be escaped.
fn is_escaped(b: u8) -> bool {
    (b < 0x20) | (b == b'"') | (b == b'\\') | (b == 0x7f)
}

/// Whether a byte has to be escaped or is not ASCII.
fn is_special(b: u8) -> bool {
    is_escaped(b) | (b >= 0x80)
}

/// The highest bit of each byte of `word` that has to be escaped or is not ASCII.
fn special_bytes(word: u64) -> u64 {
    escaped_bytes(word) | (word & HIGH)
}

/// Text with many escapes is gathered here before it is appended: eight bytes at a time are cheap to
/// write when there is always room for them.
const GATHER_BYTES: usize = 256;

/// Appends valid UTF-8 with escapes.
fn write_escaped(out: &mut Vec<u8>, mut text: &[u8]) {
    let mut gathered = [0; GATHER_BYTES];
    let mut n = 0;
    while let Some(word) = text.first_chunk::<8>() {
        // A word and an escape.
        if n + 8 + 6 > GATHER_BYTES {
            out.extend_from_slice(&gathered[..n]);
            n = 0;
        }
        gathered[n..n + 8].copy_from_slice(word);
        let escaped = escaped_bytes(u64::from_le_bytes(*word));
        if escaped == 0 {
            n += 8;
            text = &text[8..];
            continue;
        }
        let clean = escaped.trailing_zeros() as usize / 8;
        n += clean;
        let (escape, len) = escape_of(word[clean]);
        gathered[n..n + 6].copy_from_slice(&escape);
        n += len;
        text = &text[clean + 1..];
    }
    out.extend_from_slice(&gathered[..n]);
    for &byte in text {
        if is_escaped(byte) {
            let (escape, len) = escape_of(byte);
            out.extend_from_slice(&escape[..len]);
        } else {
            out.push(byte);
        }
    }
}

/// The highest bit of each byte of `word` that has to be escaped.
fn escaped_bytes(word: u64) -> u64 {
    // With the highest bits away no sum carries into the next byte.
    let low = word & !HIGH;
    let differs = |from: u8| (low ^ (ONES * u64::from(from))) + ONES * 0x7f;
    let is_printable = low + ONES * 0x60;
    let plain = is_printable & differs(b'"') & differs(b'\\') & differs(0x7f);
    !(plain | word) & HIGH
}

/// The escape of a byte, and its length.
fn escape_of(byte: u8) -> ([u8; 6], usize) {
    let letter = match byte {
        b'"' | b'\\' => byte,
        b'\n' => b'n',
        b'\r' => b'r',
        b'\t' => b't',
        0x08 => b'b',
        0x0c => b'f',
        _ => {
            let (high, low) = (HEX[usize::from(byte >> 4)], HEX[usize::from(byte & 15)]);
            return ([b'\\', b'u', b'0', b'0', high, low], 6);
        }
    };
    ([b'\\', letter, 0, 0, 0, 0], 2)
}

/// Rewrites the JSON text behind `from` so that it is ASCII: what lies beyond becomes `\u00e9`, or two
/// escapes of a surrogate pair. In JSON only strings hold such characters.
pub fn escape_unicode(out: &mut Vec<u8>, from: usize) {
    if out[from..].is_ascii() {
        return;
    }
    let is_beyond = |b: u8| b >= 0x80;
    let first = from + clean_prefix(&out[from..], is_beyond, |word| word & HIGH);
    let text = out.split_off(first);
    out.reserve(text.len() * 2);
    let mut rest = text.as_slice();
    while !rest.is_empty() {
        let n_beyond = rest.iter().position(u8::is_ascii).unwrap_or(rest.len());
        let (beyond, after) = rest.split_at(n_beyond);
        for unit in String::from_utf8_lossy(beyond).encode_utf16() {
            let digit = |shift: u16| HEX[usize::from(unit >> shift & 15)];
            out.extend_from_slice(&[b'\\', b'u', digit(12), digit(8), digit(4), digit(0)]);
        }
        let (plain, after) = after.split_at(clean_prefix(after, is_beyond, |word| word & HIGH));
        out.extend_from_slice(plain);
        rest = after;
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
    fn long_texts_of_all_characters_read_back_as_they_were() {
        let all: String = (0..=127u8).chain(0..=127).map(char::from).collect();
        let all = all.replace('m', "\u{e9}\u{1f980}");
        for from in 0..20 {
            for len in [5, 8, 40, 200] {
                let text: String = all.chars().cycle().skip(from * 11).take(len).collect();
                let text = text.repeat(4);
                let read: String = serde_json::from_str(&string(text.as_bytes())).expect("JSON");
                assert_eq!(read, text);
            }
        }
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
    fn unicode_is_escaped_as_in_fluent_bit() {
        for (text, expected) in [
            ("", ""),
            ("plain \\n \u{7f}", "plain \\n \u{7f}"),
            ("\"k\u{e9}\":[\"\u{fc}\",1]", r#""k\u00e9":["\u00fc",1]"#),
            ("\u{89b3}\u{1f980}\u{2028}x", r"\u89b3\ud83e\udd80\u2028x"),
            ("x\u{ffff}\u{10ffff}", r"x\uffff\udbff\udfff"),
        ] {
            for before in ["", "\u{e9}"] {
                for padding in [0, 31, 64, 100] {
                    let padding = "a".repeat(padding);
                    let mut out = format!("{before}{padding}{text}{padding}").into_bytes();
                    escape_unicode(&mut out, before.len());
                    let out = String::from_utf8(out).expect("text");
                    assert_eq!(out, format!("{before}{padding}{expected}{padding}"));
                }
            }
        }
        let mut out = b"a\xffb\xc3".to_vec();
        escape_unicode(&mut out, 0);
        assert_eq!(out, br"a\ufffdb\ufffd");
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
