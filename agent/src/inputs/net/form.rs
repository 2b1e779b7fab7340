//! The records of `tcp` and `udp`: JSON values behind each other, or text cut at a separator.

use std::sync::Arc;

use kansoku_model::{ConfigError, OptionKind, OptionSpec, Settings};
use kansoku_parsers::line::Parser;
use kansoku_parsers::wire::json_stream::{self, Step};
use kansoku_parsers::wire::records::Records;

use super::json_parser;
use super::stream::{Framing, begin};
use crate::config::find_parser;
use crate::plugin::Environment;

/// The options that both have.
pub const OPTIONS: &[OptionSpec] = &[
    OptionSpec::new(
        "format",
        OptionKind::Choice(&["json", "none"]),
        "json",
        "json: JSON objects; none: text in log, cut at the separator",
    ),
    OptionSpec::new(
        "separator",
        OptionKind::Text,
        "\\n",
        "what ends a record of format none; \\n, \\r, \\t, \\0 and \\xHH are understood",
    ),
    OptionSpec::new(
        "parser",
        OptionKind::Text,
        "",
        "parser for each record; makes the format none",
    ),
    OptionSpec::new(
        "chunk_size",
        OptionKind::Int,
        "32",
        "KiB that a buffer grows by",
    ),
    OptionSpec::new(
        "buffer_size",
        OptionKind::Int,
        "",
        "KiB of the longest record; default chunk_size. A longer one closes its connection",
    ),
    OptionSpec::new(
        "source_address_key",
        OptionKind::Text,
        "",
        "field for the sender's address",
    ),
    OptionSpec::new(
        "workers",
        OptionKind::Int,
        "1",
        "of no meaning: one thread serves all",
    ),
];

/// How bytes become records.
#[derive(Clone)]
pub struct Form {
    json: Arc<Parser>,
    is_json: bool,
    parser: Option<Arc<Parser>>,
    separator: Vec<u8>,
    pub address_key: Option<String>,
    pub chunk_bytes: usize,
    pub max_bytes: usize,
}

impl Form {
    /// Reads [`OPTIONS`].
    ///
    /// # Errors
    /// The first mistake.
    pub fn of(s: &Settings, environment: &Environment) -> Result<Self, ConfigError> {
        super::int_within(s, "workers", 1, 1..=1024)?;
        let chunk = super::int_within(s, "chunk_size", 32, 1..=262_144)?;
        let buffer = super::int_within(s, "buffer_size", chunk, 1..=262_144)?;
        let parser = s
            .get("parser")
            .map(|k| find_parser(environment, k))
            .transpose()?;
        let separator = unescape(s.text("separator", "\\n"));
        if separator.is_empty() {
            let place = s.get("separator").map_or(&s.place, |k| &k.place);
            return Err(ConfigError::new(place, "'separator' must not be empty"));
        }
        Ok(Self {
            json: Arc::new(json_parser()),
            is_json: parser.is_none() && s.text("format", "json").eq_ignore_ascii_case("json"),
            parser,
            separator,
            address_key: s.get("source_address_key").map(|k| k.value.clone()),
            chunk_bytes: chunk as usize * 1024,
            max_bytes: buffer as usize * 1024,
        })
    }

    /// Records of one peer.
    #[must_use]
    pub fn of_peer(&self, peer: &str) -> PeerForm {
        PeerForm {
            form: self.clone(),
            peer: peer.to_owned(),
        }
    }
}

fn unescape(text: &str) -> Vec<u8> {
    let mut out = Vec::new();
    let mut rest = text.as_bytes();
    while let Some((&first, after)) = rest.split_first() {
        rest = after;
        let Some((&escape, after)) = rest.split_first().filter(|_| first == b'\\') else {
            out.push(first);
            continue;
        };
        rest = after;
        match escape {
            b'n' => out.push(b'\n'),
            b'r' => out.push(b'\r'),
            b't' => out.push(b'\t'),
            b'0' => out.push(0),
            b'\\' => out.push(b'\\'),
            b'x' if rest.len() >= 2 => {
                let digits = std::str::from_utf8(&rest[..2]).unwrap_or_default();
                match u8::from_str_radix(digits, 16) {
                    Ok(byte) => {
                        out.push(byte);
                        rest = &rest[2..];
                    }
                    Err(_) => out.extend_from_slice(b"\\x"),
                }
            }
            other => out.extend_from_slice(&[b'\\', other]),
        }
    }
    out
}

/// A [`Form`] for one peer.
pub struct PeerForm {
    form: Form,
    peer: String,
}

impl PeerForm {
    fn address(&self, records: &mut Records<'_>) {
        if let Some(key) = &self.form.address_key
            && !self.peer.is_empty()
        {
            let value = records.text(self.peer.as_bytes());
            records.set(key.as_bytes(), value);
        }
    }

    fn text(&self, text: &[u8], records: &mut Records<'_>) {
        begin(records);
        let parsed = (self.form.parser.as_ref()).is_some_and(|parser| records.parse(parser, text));
        if !parsed {
            let value = records.text(text);
            records.set(b"log", value);
        }
        self.address(records);
    }

    fn object(&self, text: &[u8], records: &mut Records<'_>) {
        begin(records);
        if !records.parse(&self.form.json, text) {
            let value = records.text(text);
            records.set(b"log", value);
        }
        self.address(records);
    }

    fn cut_json(&self, bytes: &[u8], end: bool, records: &mut Records<'_>) -> usize {
        let mut at = 0;
        loop {
            match json_stream::next(bytes, at) {
                Step::Object(range) => {
                    at = range.end;
                    self.object(&bytes[range], records);
                }
                // As in Fluent Bit an array is one record with the key `msg`.
                Step::Array(range) => {
                    at = range.end;
                    let wrapped = [b"{\"msg\":", &bytes[range], b"}"].concat();
                    self.object(&wrapped, records);
                }
                // Fluent Bit drops what is no JSON, and all that was read with it.
                Step::Other(range) if range.end < bytes.len() || end => {
                    at = range.end;
                    self.text(bytes[range].trim_ascii(), records);
                }
                Step::Incomplete(start) if end => {
                    self.text(bytes[start..].trim_ascii(), records);
                    return bytes.len();
                }
                Step::Other(range) => return range.start,
                Step::Incomplete(start) => return start,
                Step::End => return bytes.len(),
            }
        }
    }

    fn cut_text(&self, bytes: &[u8], end: bool, records: &mut Records<'_>) -> usize {
        let separator = &self.form.separator;
        let finder = memchr::memmem::Finder::new(separator);
        let mut start = 0;
        while let Some(len) = finder.find(&bytes[start..]) {
            let text = &bytes[start..start + len];
            // Fluent Bit stops at an empty record and keeps all that follows for ever.
            if !text.is_empty() {
                self.text(text, records);
            }
            start += len + separator.len();
        }
        if end && start < bytes.len() {
            self.text(&bytes[start..], records);
            start = bytes.len();
        }
        start
    }
}

impl Framing for PeerForm {
    fn cut(
        &mut self,
        bytes: &[u8],
        end: bool,
        records: &mut Records<'_>,
    ) -> (usize, Result<(), String>) {
        let n = if self.form.is_json {
            self.cut_json(bytes, end, records)
        } else {
            self.cut_text(bytes, end, records)
        };
        (n, Ok(()))
    }
}

#[cfg(test)]
mod tests {
    use kansoku_model::json;
    use kansoku_parsers::wire::records::Stream;

    use super::*;

    fn cut(pairs: &[(&str, &str)], bytes: &[u8], end: bool) -> (usize, Vec<String>) {
        let form = Form::of(&Settings::of("tcp", pairs), &Environment::default()).expect("valid");
        let mut stream = Stream::new(kansoku_model::SourceId(1));
        let mut records = Records::new(&mut stream, "t".into(), Arc::default());
        let (n, result) = form.of_peer("10.0.0.1").cut(bytes, end, &mut records);
        result.expect("never fails");
        let mut out = Vec::new();
        for batch in records.finish() {
            for row in 0..batch.len() {
                let mut text = Vec::new();
                json::write_fields(&mut text, &batch, row, true);
                out.push(String::from_utf8(text).expect("text"));
            }
        }
        (n, out)
    }

    #[test]
    fn json_values_become_records() {
        let text = b"{\"a\":1}{\"a\":2}\n[1,2]\nhello\n{\"a\":";
        let expected = ["\"a\":1", "\"a\":2", "\"msg\":[1,2]", "\"log\":\"hello\""];
        assert_eq!(
            cut(&[], text, false),
            (text.len() - 5, expected.map(Into::into).to_vec())
        );
        let (n, all) = cut(&[], text, true);
        assert_eq!((n, all[4].as_str()), (text.len(), r#""log":"{\"a\":""#));
    }

    #[test]
    fn text_is_cut_at_the_separator() {
        let pairs = [
            ("format", "none"),
            ("separator", "\\x7c"),
            ("source_address_key", "from"),
        ];
        let (n, all) = cut(&pairs, b"one||two|thr", false);
        assert_eq!(n, 9);
        assert_eq!(
            all,
            [
                r#""log":"one","from":"10.0.0.1""#,
                r#""log":"two","from":"10.0.0.1""#
            ]
        );
        assert_eq!(cut(&pairs, b"thr", true).1.len(), 1);
    }
}
