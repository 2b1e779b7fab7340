//! What a server says of a request that it took: that it refused some of the records.
//!
//! The rule: such an answer is final. The records are not named, so nothing can be sent again or kept;
//! they are counted.

use hyper::header::CONTENT_TYPE;

use crate::Outcome;
use crate::pool::Answer;

/// Flag and length before a gRPC message.
const GRPC_HEAD_BYTES: usize = 5;

/// The records that were refused, and why.
#[derive(Debug, Default, PartialEq, Eq)]
struct Refused {
    n_records: u64,
    message: String,
}

/// What became of a request that was answered with success.
pub(super) fn outcome(answer: &Answer, is_grpc: bool) -> Outcome {
    let is_json = (answer.headers.get(CONTENT_TYPE))
        .and_then(|v| v.to_str().ok())
        .is_some_and(|v| v.starts_with("application/json"));
    let refused = match (is_grpc, is_json) {
        (true, _) => grpc_message(&answer.body).and_then(protobuf),
        (false, true) => json(&answer.body),
        (false, false) => protobuf(&answer.body),
    };
    match refused {
        // Without a number and words it says nothing.
        Some(Refused { n_records, message }) if n_records > 0 || !message.is_empty() => {
            let reason = match message.is_empty() {
                true => "the server gave no reason".to_owned(),
                false => message,
            };
            Outcome::SomeRejected { n_records, reason }
        }
        _ => Outcome::Delivered,
    }
}

/// The message of an answer that is not compressed: nobody asked for that.
fn grpc_message(body: &[u8]) -> Option<&[u8]> {
    let (head, rest) = body.split_at_checked(GRPC_HEAD_BYTES)?;
    let len = u32::from_be_bytes(head[1..].try_into().ok()?) as usize;
    (head[0] == 0).then(|| rest.get(..len)).flatten()
}

/// `partial_success`, field 1 of the answer: field 1 the number, field 2 the message.
fn protobuf(body: &[u8]) -> Option<Refused> {
    let mut refused = None;
    let mut fields = Fields(body);
    while let Some((number, value)) = fields.next() {
        if let (1, Value::Bytes(partial)) = (number, value) {
            let refused = refused.get_or_insert_with(Refused::default);
            let mut fields = Fields(partial);
            while let Some(field) = fields.next() {
                match field {
                    // Negative numbers have no meaning.
                    (1, Value::Int(n)) => refused.n_records = i64::max(n as i64, 0) as u64,
                    (2, Value::Bytes(text)) => {
                        refused.message = String::from_utf8_lossy(text).into_owned();
                    }
                    _ => {}
                }
            }
        }
    }
    refused
}

fn json(body: &[u8]) -> Option<Refused> {
    let tree: serde_json::Value = serde_json::from_slice(body).ok()?;
    let partial = tree.get("partialSuccess")?;
    let number = ["rejectedLogRecords", "rejectedDataPoints"];
    let number = number.iter().find_map(|key| partial.get(key));
    // A 64-bit number is a string in JSON.
    let n_records = number.and_then(|n| n.as_u64().or_else(|| n.as_str()?.parse().ok()));
    let message = partial.get("errorMessage").and_then(|m| m.as_str());
    Some(Refused {
        n_records: n_records.unwrap_or(0),
        message: message.unwrap_or_default().to_owned(),
    })
}

enum Value<'a> {
    Int(u64),
    Bytes(&'a [u8]),
    Other,
}

/// The fields of a message; ends where it is none.
struct Fields<'a>(&'a [u8]);

impl<'a> Fields<'a> {
    fn next(&mut self) -> Option<(u64, Value<'a>)> {
        let tag = self.varint()?;
        let value = match tag & 7 {
            0 => Value::Int(self.varint()?),
            1 => self.take(8).map(|_| Value::Other)?,
            2 => {
                let len = self.varint()?;
                Value::Bytes(self.take(len)?)
            }
            5 => self.take(4).map(|_| Value::Other)?,
            _ => return None,
        };
        Some((tag >> 3, value))
    }

    fn take(&mut self, len: u64) -> Option<&'a [u8]> {
        let (taken, rest) = self.0.split_at_checked(usize::try_from(len).ok()?)?;
        self.0 = rest;
        Some(taken)
    }

    fn varint(&mut self) -> Option<u64> {
        let mut n = 0;
        for (at, byte) in self.0.iter().take(10).enumerate() {
            n |= u64::from(byte & 0x7f) << (7 * at);
            if byte & 0x80 == 0 {
                self.0 = &self.0[at + 1..];
                return Some(n);
            }
        }
        None
    }
}

#[cfg(test)]
mod tests {
    use hyper::StatusCode;
    use hyper::header::{HeaderMap, HeaderValue};

    use super::*;
    use kansoku_model::protobuf as proto;

    fn answer(content_type: &'static str, body: Vec<u8>) -> Answer {
        let mut headers = HeaderMap::new();
        headers.insert(CONTENT_TYPE, HeaderValue::from_static(content_type));
        Answer {
            status: StatusCode::OK,
            headers,
            body: body.into(),
        }
    }

    fn partial(n: u64, message: &str) -> Vec<u8> {
        let mut out = Vec::new();
        proto::fixed64(&mut out, 9, 5);
        proto::message(&mut out, 1, |out| {
            proto::int(out, 1, n);
            proto::bytes(out, 2, message.as_bytes());
        });
        out
    }

    fn framed(message: &[u8]) -> Vec<u8> {
        let mut out = vec![0];
        out.extend_from_slice(&(message.len() as u32).to_be_bytes());
        out.extend_from_slice(message);
        out
    }

    #[test]
    fn refused_records_are_counted_in_every_form_of_the_answer() {
        let some = |n_records, reason: &str| Outcome::SomeRejected {
            n_records,
            reason: reason.to_owned(),
        };
        let protobuf = |body| outcome(&answer("application/x-protobuf", body), false);
        let json = |body: &str| outcome(&answer("application/json", body.into()), false);
        assert_eq!(protobuf(partial(3, "too old")), some(3, "too old"));
        assert_eq!(
            protobuf(partial(300, "")),
            some(300, "the server gave no reason")
        );
        assert_eq!(protobuf(partial(0, "a warning")), some(0, "a warning"));
        let grpc = |body| outcome(&answer("application/grpc", body), true);
        assert_eq!(grpc(framed(&partial(2, "x"))), some(2, "x"));
        for (body, expected) in [
            (
                r#"{"partialSuccess":{"rejectedLogRecords":"4","errorMessage":"m"}}"#,
                some(4, "m"),
            ),
            (
                r#"{"partialSuccess":{"rejectedDataPoints":5}}"#,
                some(5, "the server gave no reason"),
            ),
            (r#"{"partialSuccess":{}}"#, Outcome::Delivered),
            ("{}", Outcome::Delivered),
            ("no JSON", Outcome::Delivered),
        ] {
            assert_eq!(json(body), expected, "{body}");
        }
        for body in [
            vec![],
            partial(0, ""),
            partial(-3_i64 as u64, ""),
            vec![0xff; 30],
        ] {
            assert_eq!(protobuf(body.clone()), Outcome::Delivered, "{body:?}");
            assert_eq!(grpc(framed(&body)), Outcome::Delivered, "{body:?}");
        }
        let whole = partial(3, "too old");
        for cut in 0..whole.len() {
            protobuf(whole[..cut].to_vec());
            grpc(whole[..cut].to_vec());
        }
    }
}
