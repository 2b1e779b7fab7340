//! Loki's push, the JSON form: `{"streams":[{"stream":{…},"values":[["ns","line",{…}], …]}]}`.
//!
//! Texts are borrowed from the body where JSON escapes nothing. Checks and batches are those of
//! [`super::loki_push`].

use std::borrow::Cow;
use std::fmt;

use kansoku_model::Labels;
use serde::Deserialize;
use serde::de::{Deserializer, Error, MapAccess, SeqAccess, Visitor};

use super::loki_labels;
use super::loki_push::{Limits, Push, PushBuilder};

/// Decodes the decompressed JSON body.
///
/// # Errors
/// When it is no JSON of this shape; the text names line and column.
pub fn decode(body: &[u8], limits: &Limits<'_>) -> Result<Push, String> {
    let request: Request<'_> =
        serde_json::from_slice(body).map_err(|e| format!("couldn't parse push request: {e}"))?;
    let mut builder = PushBuilder::new(limits);
    for stream in request.streams.iter().flatten() {
        builder.start_stream(labels_of(&stream.stream), stream.values.len());
        for entry in &stream.values {
            let metadata: Vec<(&str, &[u8])> = entry
                .metadata
                .0
                .iter()
                .map(|(n, v)| (&*n.0, v.0.as_bytes()))
                .collect();
            builder.entry(entry.time_ns, entry.line.0.as_bytes(), &metadata);
        }
    }
    Ok(builder.finish())
}

/// Decodes the form of before version 1: `{"streams":[{"labels":"{…}","entries":[{"ts":"…","line":"…"}]}]}`, with times as
/// RFC 3339.
///
/// # Errors
/// When it is no JSON of this shape; the text names line and column.
pub fn decode_legacy(body: &[u8], limits: &Limits<'_>) -> Result<Push, String> {
    #[derive(Deserialize)]
    struct Request<'a> {
        #[serde(borrow)]
        streams: Vec<Stream<'a>>,
    }
    #[derive(Deserialize)]
    struct Stream<'a> {
        #[serde(borrow)]
        labels: Text<'a>,
        #[serde(borrow, default)]
        entries: Vec<Entry<'a>>,
    }
    #[derive(Deserialize)]
    struct Entry<'a> {
        #[serde(borrow, alias = "timestamp")]
        ts: Text<'a>,
        #[serde(borrow)]
        line: Text<'a>,
    }
    let wrong = |what: String| format!("couldn't parse push request: {what}");
    let request: Request<'_> = serde_json::from_slice(body).map_err(|e| wrong(e.to_string()))?;
    let mut builder = PushBuilder::new(limits);
    for stream in &request.streams {
        let labels = loki_labels::parse(&stream.labels.0);
        let labels = labels.map_err(|e| format!("error parsing labels with error: {e}"));
        builder.start_stream(labels, stream.entries.len());
        for entry in &stream.entries {
            let time: jiff::Timestamp = entry.ts.0.parse().map_err(|e| {
                let shown: String = entry.ts.0.chars().take(40).collect();
                wrong(format!("{shown:?} is no time: {e}"))
            })?;
            let time_ns = i64::try_from(time.as_nanosecond()).ok();
            builder.entry(time_ns, entry.line.0.as_bytes(), &[]);
        }
    }
    Ok(builder.finish())
}

fn labels_of(pairs: &Pairs<'_>) -> Result<Labels, String> {
    if let Some((name, _)) = pairs.0.iter().find(|(n, _)| !loki_labels::is_name(&n.0)) {
        return Err(format!(
            "error parsing labels with error: '{}' is no label name; expected letters, digits and _, not beginning with a digit",
            name.0
        ));
    }
    Ok(Labels::from_pairs(
        pairs.0.iter().map(|(n, v)| (&*n.0, &*v.0)),
    ))
}

/// Without streams there is nothing to take, which is told as such.
#[derive(Deserialize)]
struct Request<'a> {
    #[serde(borrow)]
    streams: Option<Vec<Stream<'a>>>,
}

#[derive(Deserialize)]
struct Stream<'a> {
    #[serde(borrow)]
    stream: Pairs<'a>,
    #[serde(borrow, default)]
    values: Vec<Entry<'a>>,
}

struct Entry<'a> {
    /// `None` when it does not fit.
    time_ns: Option<i64>,
    line: Text<'a>,
    metadata: Pairs<'a>,
}

/// A text that borrows where it can, also inside lists.
struct Text<'a>(Cow<'a, str>);

/// An object with text values, in order.
#[derive(Default)]
struct Pairs<'a>(Vec<(Text<'a>, Text<'a>)>);

impl<'de: 'a, 'a> Deserialize<'de> for Text<'a> {
    fn deserialize<D: Deserializer<'de>>(d: D) -> Result<Self, D::Error> {
        struct Visit;
        impl<'de> Visitor<'de> for Visit {
            type Value = Text<'de>;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a string")
            }

            fn visit_borrowed_str<E: Error>(self, text: &'de str) -> Result<Text<'de>, E> {
                Ok(Text(Cow::Borrowed(text)))
            }

            fn visit_str<E: Error>(self, text: &str) -> Result<Text<'de>, E> {
                Ok(Text(Cow::Owned(text.to_owned())))
            }
        }
        d.deserialize_str(Visit)
    }
}

impl<'de: 'a, 'a> Deserialize<'de> for Pairs<'a> {
    fn deserialize<D: Deserializer<'de>>(d: D) -> Result<Self, D::Error> {
        struct Visit;
        impl<'de> Visitor<'de> for Visit {
            type Value = Pairs<'de>;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("an object with string values")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Pairs<'de>, A::Error> {
                let mut pairs = Vec::new();
                while let Some(pair) = map.next_entry()? {
                    pairs.push(pair);
                }
                Ok(Pairs(pairs))
            }
        }
        d.deserialize_map(Visit)
    }
}

impl<'de: 'a, 'a> Deserialize<'de> for Entry<'a> {
    fn deserialize<D: Deserializer<'de>>(d: D) -> Result<Self, D::Error> {
        struct Visit;
        impl<'de> Visitor<'de> for Visit {
            type Value = Entry<'de>;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a value: [\"<unix nanoseconds>\", \"<line>\", {<metadata>}]")
            }

            fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<Entry<'de>, A::Error> {
                let time: Text<'de> = seq
                    .next_element()?
                    .ok_or_else(|| A::Error::invalid_length(0, &self))?;
                let line = seq
                    .next_element()?
                    .ok_or_else(|| A::Error::invalid_length(1, &self))?;
                let metadata = seq.next_element()?.unwrap_or_default();
                if seq.next_element::<serde::de::IgnoredAny>()?.is_some() {
                    return Err(A::Error::invalid_length(4, &self));
                }
                let time_ns = match time.0.parse::<i128>() {
                    Ok(time_ns) => i64::try_from(time_ns).ok(),
                    Err(_) => {
                        return Err(A::Error::custom(format!(
                            "timestamp {:?} is no whole number of nanoseconds",
                            time.0.chars().take(40).collect::<String>()
                        )));
                    }
                };
                Ok(Entry {
                    time_ns,
                    line,
                    metadata,
                })
            }
        }
        d.deserialize_seq(Visit)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::wire::Window;
    use crate::wire::loki_discover::Discovery;

    const LIMITS: Limits<'_> = Limits {
        max_labels: 15,
        max_line_bytes: 100,
        max_metadata: 128,
        max_metadata_bytes: 0,
        discovery: Discovery::NONE,
        window: Window::ANY,
    };

    #[test]
    fn the_old_form_is_read() {
        let body = br#"{"streams":[{"labels":"{job=\"a\"}","entries":[
            {"ts":"2023-11-14T22:13:20.000000001Z","line":"one"},{"ts":"2023-11-14T23:13:20+01:00","line":"two"}]},
            {"labels":"{","entries":[{"ts":"2023-11-14T22:13:20Z","line":"bad"}]}]}"#;
        let push = decode_legacy(body, &LIMITS).unwrap();
        let batch = &push.batches[0];
        assert_eq!(
            batch.times(),
            [1_700_000_000_000_000_001, 1_700_000_000_000_000_000]
        );
        assert_eq!(batch.resource.labels.to_string(), r#"{job="a"}"#);
        assert_eq!((push.n_streams, push.refused.count), (2, 1));
        let bad = br#"{"streams":[{"labels":"{a=\"b\"}","entries":[{"ts":"now","line":"x"}]}]}"#;
        let error = decode_legacy(bad, &LIMITS).unwrap_err();
        assert!(error.contains("\"now\" is no time"), "{error}");
    }

    #[test]
    fn values_with_and_without_metadata() {
        let body = br#"{"streams":[
            {"stream":{"job":"a","stream":"x"},"values":[["1700000000000000001","plain \"q\""],
              ["1700000000000000002","with",{"trace_id":"t1","time":"kept"}]]},
            {"stream":{"job":"b"},"values":[]},
            {"stream":{"job":"c"}}]}"#;
        let push = decode(body, &LIMITS).unwrap();
        assert_eq!((push.n_entries, push.batches.len()), (2, 1));
        let batch = &push.batches[0];
        assert_eq!(
            batch.resource.labels.to_string(),
            r#"{job="a", stream="x"}"#
        );
        assert_eq!(batch.times()[1], 1_700_000_000_000_000_002);
        let streams = kansoku_model::Streams::of(batch);
        assert_eq!(streams.line(0, &mut Vec::new()), b"plain \"q\"");
        let mut metadata = Vec::new();
        streams.metadata(1, |n, v| metadata.push((n.to_owned(), v.to_vec())));
        let expected = [("trace_id", "t1"), ("time", "kept")];
        assert_eq!(metadata, expected.map(|(n, v)| (n.to_owned(), v.into())));
    }

    #[test]
    fn mistakes_are_told() {
        let cases: &[(&str, &str)] = &[
            ("", "EOF while parsing"),
            ("[]", "couldn't parse push request"),
            (r#"{"streams":{}}"#, "expected a sequence"),
            (r#"{"streams":[{"values":[]}]}"#, "missing field `stream`"),
            (
                r#"{"streams":[{"stream":{"a":1},"values":[]}]}"#,
                "invalid type: integer `1`, expected a string at line 1",
            ),
            (
                r#"{"streams":[{"stream":{"a":"b"},"values":[["1"]]}]}"#,
                "invalid length 1",
            ),
            (
                r#"{"streams":[{"stream":{"a":"b"},"values":[["now","x"]]}]}"#,
                "timestamp \"now\" is no whole number of nanoseconds",
            ),
            (
                r#"{"streams":[{"stream":{"a":"b"},"values":[["1","x",{},3]]}]}"#,
                "invalid length 4",
            ),
        ];
        for (body, expected) in cases {
            let error = decode(body.as_bytes(), &LIMITS).unwrap_err();
            assert!(error.contains(expected), "{body}: {error}");
        }
        assert!(decode(b"{\"streams\":[{\"stream\":{\"a\":\"\xff\"}}]}", &LIMITS).is_err());
        assert_eq!(decode(b"{}", &LIMITS).unwrap().n_streams, 0);
        assert!(decode("[".repeat(100_000).as_bytes(), &LIMITS).is_err());
    }

    #[test]
    fn refused_streams_and_times() {
        let body = br#"{"streams":[{"stream":{"a.b":"x"},"values":[["1","x"],["2","y"]]},
            {"stream":{},"values":[]},
            {"stream":{"a":"b"},"values":[["99999999999999999999","x"],["5","kept"]]}]}"#;
        let push = decode(body, &LIMITS).unwrap();
        assert_eq!((push.n_entries, push.refused.count), (1, 3));
        let text = push.refused.text().unwrap();
        assert!(text.contains("'a.b' is no label name"), "{text}");
    }
}
