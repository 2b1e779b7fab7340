//! Prometheus remote read: a `prometheus.ReadRequest` becomes the selections it asks for.
//!
//! Not here: answering, which is the server's. The one rule: patterns are not compiled here, so that decoding costs
//! no more than the body is long. Source: Prometheus, `prompb/remote.proto` and `types.proto`.

use kansoku_model::MatchOp;

use super::WireError;
use super::protobuf::{Field, Message};

/// The most queries of one request; Prometheus sends one.
const QUERIES_MAX: usize = 1000;
/// The most matchers of one query; people write a handful.
const MATCHERS_MAX: usize = 1000;

/// A decoded request.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct ReadRequest {
    pub queries: Vec<ReadQuery>,
    /// Numbers of the kinds of answer that the client takes, the dearest first; none stands for samples.
    pub accepted: Vec<u64>,
}

/// One selection.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct ReadQuery {
    /// Unix milliseconds, both included.
    pub from_ms: i64,
    pub to_ms: i64,
    pub matchers: Vec<ReadMatcher>,
    pub hints: Option<ReadHints>,
}

/// A condition on a label, as it was written.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ReadMatcher {
    pub op: MatchOp,
    pub name: String,
    pub value: String,
}

/// What the client will do with the samples, as far as it changes which it needs.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct ReadHints {
    /// Unix milliseconds, both included; mostly narrower than the query's.
    pub from_ms: i64,
    pub to_ms: i64,
    /// Only the labels of the series are asked for.
    pub labels_only: bool,
}

/// Decodes a decompressed body.
///
/// # Errors
/// When it is no protobuf of this shape, or asks for too much at once.
pub fn decode(body: &[u8]) -> Result<ReadRequest, WireError> {
    let mut request = ReadRequest::default();
    let mut message = Message::new(body);
    while let Some((number, field)) = message.next()? {
        match number {
            1 => {
                bounded(&request.queries, QUERIES_MAX, "queries", message.position())?;
                request.queries.push(query(field)?);
            }
            2 => field.varints(&mut |kind| {
                // There are two; who repeats them says nothing new.
                if !request.accepted.contains(&kind) && request.accepted.len() < 16 {
                    request.accepted.push(kind);
                }
            })?,
            _ => {}
        }
    }
    Ok(request)
}

fn bounded<T>(items: &[T], max: usize, what: &str, at: usize) -> Result<(), WireError> {
    if items.len() < max {
        return Ok(());
    }
    Err(WireError::new(
        at,
        format!("remote read: more than {max} {what}"),
    ))
}

fn query(field: Field<'_>) -> Result<ReadQuery, WireError> {
    let mut query = ReadQuery::default();
    let mut message = field.message()?;
    while let Some((number, field)) = message.next()? {
        match number {
            1 => query.from_ms = field.int()?,
            2 => query.to_ms = field.int()?,
            3 => {
                bounded(
                    &query.matchers,
                    MATCHERS_MAX,
                    "matchers",
                    message.position(),
                )?;
                query.matchers.push(matcher(field)?);
            }
            4 => query.hints = Some(hints(field)?),
            _ => {}
        }
    }
    Ok(query)
}

fn matcher(field: Field<'_>) -> Result<ReadMatcher, WireError> {
    let mut matcher = ReadMatcher {
        op: MatchOp::Equal,
        name: String::new(),
        value: String::new(),
    };
    let mut message = field.message()?;
    while let Some((number, field)) = message.next()? {
        match number {
            1 => {
                matcher.op = match field.int()? {
                    0 => MatchOp::Equal,
                    1 => MatchOp::NotEqual,
                    2 => MatchOp::Regex,
                    3 => MatchOp::NotRegex,
                    other => {
                        let what = format!("remote read: invalid matcher type {other}");
                        return Err(WireError::new(message.position(), what));
                    }
                }
            }
            2 => field.text()?.clone_into(&mut matcher.name),
            3 => field.text()?.clone_into(&mut matcher.value),
            _ => {}
        }
    }
    Ok(matcher)
}

fn hints(field: Field<'_>) -> Result<ReadHints, WireError> {
    let mut hints = ReadHints::default();
    let mut message = field.message()?;
    while let Some((number, field)) = message.next()? {
        match number {
            2 => hints.labels_only = field.text()? == "series",
            3 => hints.from_ms = field.int()?,
            4 => hints.to_ms = field.int()?,
            _ => {}
        }
    }
    Ok(hints)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::wire::protobuf::write;

    fn body() -> Vec<u8> {
        let mut body = Vec::new();
        write::message(&mut body, 1, |out| {
            write::int(out, 1, -5);
            write::int(out, 2, 7);
            write::message(out, 3, |out| {
                write::int(out, 1, 3);
                write::bytes(out, 2, b"job");
                write::bytes(out, 3, b"a|b");
            });
            write::message(out, 4, |out| {
                write::bytes(out, 2, b"series");
                write::int(out, 3, 1);
                write::int(out, 4, 6);
            });
        });
        write::bytes(&mut body, 2, &[1, 0, 1]);
        body
    }

    #[test]
    fn queries_have_matchers_times_and_hints() {
        let request = decode(&body()).unwrap();
        let matcher = ReadMatcher {
            op: MatchOp::NotRegex,
            name: "job".into(),
            value: "a|b".into(),
        };
        let query = ReadQuery {
            from_ms: -5,
            to_ms: 7,
            matchers: vec![matcher],
            hints: Some(ReadHints {
                from_ms: 1,
                to_ms: 6,
                labels_only: true,
            }),
        };
        assert_eq!(request.queries, [query]);
        assert_eq!(request.accepted, [1, 0], "packed, each once");
        assert_eq!(decode(b"").unwrap(), ReadRequest::default());
    }

    #[test]
    fn what_is_too_much_or_unknown_is_an_error() {
        let queries = b"\x0a\x00".repeat(QUERIES_MAX + 1);
        let error = decode(&queries).unwrap_err().to_string();
        assert!(
            error.starts_with("remote read: more than 1000 queries"),
            "{error}"
        );
        assert!(decode(&queries[2..]).is_ok());
        let mut many = Vec::new();
        let matchers = b"\x1a\x00".repeat(MATCHERS_MAX + 1);
        write::bytes(&mut many, 1, &matchers);
        let error = decode(&many).unwrap_err().to_string();
        assert!(
            error.starts_with("remote read: more than 1000 matchers"),
            "{error}"
        );
        let mut unknown = Vec::new();
        write::message(&mut unknown, 1, |out| {
            write::message(out, 3, |out| write::int(out, 1, 4));
        });
        let error = decode(&unknown).unwrap_err().to_string();
        assert!(
            error.starts_with("remote read: invalid matcher type 4"),
            "{error}"
        );
    }

    #[test]
    fn every_truncation_is_an_error_or_a_shorter_request() {
        let whole = body();
        let full = decode(&whole).unwrap();
        for cut in 0..whole.len() {
            if let Ok(request) = decode(&whole[..cut]) {
                assert_ne!(request, full, "cut at {cut}");
            }
        }
    }
}
