//! `http`: records in the bodies of POST requests: JSON objects, alone, in arrays or one behind the
//! other, and forms.
//!
//! A request is taken whole or refused whole. Unlike Fluent Bit it is answered only once its records
//! are delivered, so a client that repeats what was not answered loses nothing.

use std::sync::Arc;

use hyper::header::{HeaderName, HeaderValue};
use hyper::{Method, StatusCode};
use kansoku_model::{
    ConfigError, LogBatch, OptionKind, OptionSpec, Plugin, RecordBatch, Resource, Settings, joined,
};
use kansoku_parsers::line::Parser;
use kansoku_parsers::wire::json_stream::{self, Step};
use kansoku_parsers::wire::records::{Records, Stream};

use super::net::http::{
    self, ALL_OPTIONS, ALPN, Call, Client, HttpOptions, N_OPTIONS, Reply, Server, Service, refusal,
    reply, success_headers, success_status,
};
use super::net::listen::Listen;
use super::net::tag_key::TagKey;
use super::net::{clean_tag, json_parser, resource, stream::begin};
use crate::filters::parser::now_ns;
use crate::plugin::{Environment, Input, InputPlugin};

const OWN: &[OptionSpec] = &[
    OptionSpec::new(
        "tag_key",
        OptionKind::Text,
        "",
        "field whose text is the record's tag",
    ),
    OptionSpec::new(
        "successful_response_code",
        OptionKind::Int,
        "201",
        "answer to records that are delivered: 200, 201 or 204",
    ),
    OptionSpec::new(
        "success_header",
        OptionKind::Pair,
        "",
        "header and value to answer with",
    )
    .repeated(),
    OptionSpec::new(
        "add_remote_addr",
        OptionKind::Bool,
        "off",
        "add the first address of X-Forwarded-For to each record",
    ),
    OptionSpec::new(
        "remote_addr_key",
        OptionKind::Text,
        "REMOTE_ADDR",
        "field for that address",
    ),
    OptionSpec::new(
        "enable_health_endpoint",
        OptionKind::Bool,
        "off",
        "answer GET /health",
    ),
];
const OPTIONS: [OptionSpec; OWN.len() + N_OPTIONS] = joined(OWN, &ALL_OPTIONS);

/// The plugin.
pub const PLUGIN: InputPlugin = Plugin {
    name: "http",
    about: "Takes JSON over HTTP.",
    options: &OPTIONS,
    example: "[INPUT]\n    Name    http\n    Listen  0.0.0.0\n    Port    9880\n",
    build,
};

const PORT: u16 = 9880;
/// In the log.
const NAME: &str = "input:http";

struct Requests {
    json: Parser,
    tag_key: TagKey,
    success: StatusCode,
    headers: Vec<(HeaderName, HeaderValue)>,
    remote_addr_key: Option<String>,
    has_health: bool,
    resource: Arc<Resource>,
}

fn build(s: &Settings, environment: &Environment) -> Result<Box<dyn Input>, ConfigError> {
    s.check(PLUGIN.options)?;
    let mut listen = Listen::of(s, environment, PORT, ALPN)?;
    let remote_addr_key = s.text("remote_addr_key", "REMOTE_ADDR").to_owned();
    Ok(Box::new(Server {
        name: NAME,
        options: HttpOptions::of(s, &mut listen)?,
        listen,
        service: Requests {
            json: json_parser(),
            tag_key: TagKey::of(s)?,
            success: success_status(s)?,
            headers: success_headers(s)?,
            remote_addr_key: s.bool("add_remote_addr", false)?.then_some(remote_addr_key),
            has_health: s.bool("enable_health_endpoint", false)?,
            resource: resource(environment),
        },
    }))
}

impl Service for Requests {
    async fn answer(&self, call: Call, client: &Client) -> Reply {
        if self.has_health && call.method == Method::GET && call.path == "/health" {
            return health();
        }
        if call.method != Method::POST {
            return refusal(StatusCode::BAD_REQUEST, "invalid HTTP method");
        }
        let own_tag = client.pipe.link.tag.clone();
        let taken = client.take(|stream| {
            let batches = self.read(&call, stream, own_tag)?;
            Ok::<_, String>((batches.into_iter().map(RecordBatch::Logs).collect(), ()))
        });
        match taken.await {
            Ok(Ok(())) => {
                let mut reply = reply(self.success, "");
                reply.headers_mut().extend(self.headers.iter().cloned());
                reply
            }
            Ok(Err(not_taken)) => refusal(StatusCode::SERVICE_UNAVAILABLE, &not_taken.to_string()),
            Err(reason) => refusal(StatusCode::BAD_REQUEST, &reason),
        }
    }
}

fn health() -> Reply {
    let now = now_ns();
    let text = format!(
        "{{\"status\":\"ok\",\"timestamp\":{}.{:09}}}\n",
        now / 1_000_000_000,
        now % 1_000_000_000
    );
    http::reply_with(StatusCode::OK, "application/json", text.into_bytes())
}

impl Requests {
    fn read(
        &self,
        call: &Call,
        stream: &mut Stream,
        own_tag: Arc<str>,
    ) -> Result<Vec<LogBatch>, String> {
        let content_type = call.content_type();
        if content_type.is_empty() {
            return Err("header 'Content-Type' is not set".into());
        }
        if call.body.is_empty() {
            return Err("no payload found".into());
        }
        let tag = match call.path.strip_prefix('/') {
            None | Some("") => own_tag,
            Some(path) => clean_tag(path).into(),
        };
        let mut records = Records::new(stream, tag, self.resource.clone());
        let address = self.remote_address(call);
        match content_type.as_str() {
            // The newline forms are not known to Fluent Bit by their own names.
            "application/json"
            | "application/x-ndjson"
            | "application/jsonl"
            | "application/json-lines" => {
                self.read_json(&call.body, address, &mut records)?;
            }
            "application/x-www-form-urlencoded" => {
                begin(&mut records);
                read_form(&call.body, &mut records);
                add_address(address, &mut records);
            }
            _ => return Err("invalid 'Content-Type'".into()),
        }
        let batches = records.finish();
        Ok(self.tag_key.split(batches))
    }

    fn remote_address<'a>(&'a self, call: &'a Call) -> Option<(&'a str, &'a str)> {
        let key = self.remote_addr_key.as_ref()?;
        let first = call.header("x-forwarded-for").split(',').next()?.trim();
        (!first.is_empty()).then_some((key, first))
    }

    fn read_json(
        &self,
        body: &[u8],
        address: Option<(&str, &str)>,
        records: &mut Records<'_>,
    ) -> Result<(), String> {
        let mut at = 0;
        let mut stack_end = None;
        loop {
            // Inside an array its closing bracket is no value.
            let bytes = &body[..stack_end.unwrap_or(body.len())];
            match json_stream::next(bytes, at) {
                Step::Object(range) => {
                    at = range.end;
                    begin(records);
                    if !records.parse(&self.json, &bytes[range.clone()]) {
                        return Err(format!(
                            "invalid JSON in the object at byte {}",
                            range.start
                        ));
                    }
                    add_address(address, records);
                }
                Step::Array(range) if stack_end.is_none() => {
                    at = range.start + 1;
                    stack_end = Some(range.end - 1);
                }
                Step::End => match stack_end.take() {
                    Some(end) => at = end + 1,
                    None => return Ok(()),
                },
                Step::Array(range) | Step::Other(range) => {
                    return Err(format!(
                        "unable to process records: no JSON object at byte {}",
                        range.start
                    ));
                }
                Step::Incomplete(start) => {
                    return Err(format!("JSON data is incomplete from byte {start} on"));
                }
            }
        }
    }
}

fn add_address(address: Option<(&str, &str)>, records: &mut Records<'_>) {
    if let Some((key, address)) = address
        && !records.has(key)
    {
        let value = records.text(address.as_bytes());
        records.set(key.as_bytes(), value);
    }
}

/// `key=value&...`; a part without `=` or without a key is passed over.
fn read_form(body: &[u8], records: &mut Records<'_>) {
    for part in body.split(|b| *b == b'&') {
        let Some(at) = memchr::memchr(b'=', part).filter(|at| *at > 0) else {
            continue;
        };
        let (key, value) = (part[..at].trim_ascii(), part[at + 1..].trim_ascii());
        let value = records.text(&decoded(value));
        records.set(key, value);
    }
}

/// Undoes percent encoding; a wrong escape keeps the text as it is, as in Fluent Bit.
fn decoded(text: &[u8]) -> Vec<u8> {
    let mut out = Vec::with_capacity(text.len());
    let mut rest = text.iter();
    while let Some(b) = rest.next() {
        match b {
            b'+' => out.push(b' '),
            b'%' => {
                let mut digit = || rest.next().and_then(|d| char::from(*d).to_digit(16));
                match (digit(), digit()) {
                    (Some(high), Some(low)) => out.push((high * 16 + low) as u8),
                    _ => return text.to_vec(),
                }
            }
            other => out.push(*other),
        }
    }
    out
}

/// Requests that add addresses, without a server.
#[cfg(any(test, feature = "fuzzing"))]
fn requests(tag_key: Option<&str>) -> Requests {
    Requests {
        json: json_parser(),
        tag_key: tag_key.map(TagKey::testing).unwrap_or_default(),
        success: StatusCode::CREATED,
        headers: Vec::new(),
        remote_addr_key: Some("REMOTE_ADDR".into()),
        has_health: false,
        resource: Arc::default(),
    }
}

/// The records of one request.
#[cfg(feature = "fuzzing")]
pub(crate) fn read_call(
    call: &Call,
    tag_key: Option<&str>,
    stream: &mut Stream,
) -> Result<Vec<LogBatch>, String> {
    requests(tag_key).read(call, stream, "own".into())
}

#[cfg(test)]
mod tests {
    use super::super::net::new_stream;
    use super::super::net::testing::show;
    use super::*;

    fn read(
        tag_key: Option<&str>,
        path: &str,
        content_type: &str,
        body: &str,
    ) -> Result<Vec<String>, String> {
        let mut headers = hyper::HeaderMap::new();
        headers.insert(
            "content-type",
            HeaderValue::try_from(content_type).expect("valid"),
        );
        headers.insert(
            "x-forwarded-for",
            HeaderValue::from_static("1.2.3.4, 9.9.9.9"),
        );
        let call = Call {
            method: Method::POST,
            path: path.into(),
            headers,
            body: body.as_bytes().to_vec(),
        };
        let batches = requests(tag_key).read(&call, &mut new_stream(), "own".into())?;
        Ok(batches
            .into_iter()
            .flat_map(|b| show(&RecordBatch::Logs(b)))
            .collect())
    }

    #[test]
    fn bodies_of_every_kind_become_records() {
        let address = r#","REMOTE_ADDR":"1.2.3.4""#;
        let json = "application/json; charset=utf-8";
        assert_eq!(
            read(None, "/", json, "{\"a\":1}").unwrap(),
            [format!(r#"own {{"a":1{address}}}"#)]
        );
        assert_eq!(
            read(None, "/a/b-c.d", json, "[{\"a\":1}, {\"a\":2}]\n{\"a\":3}").unwrap(),
            [1, 2, 3].map(|i| format!(r#"a_b_c.d {{"a":{i}{address}}}"#))
        );
        let form = "application/x-www-form-urlencoded";
        assert_eq!(
            read(None, "/", form, "a=b+c%21&=x&y&z=%zz&REMOTE_ADDR=me").unwrap(),
            [r#"own {"a":"b c!","z":"%zz","REMOTE_ADDR":"me"}"#]
        );
        let by_tag = read(
            Some("$k['t']"),
            "/",
            json,
            r#"[{"i":1},{"i":2,"k":{"t":"x/y"}},{"i":3}]"#,
        )
        .unwrap();
        let tags: Vec<&str> = by_tag
            .iter()
            .map(|r| &r[..r.find(' ').expect("a tag")])
            .collect();
        assert_eq!(tags, ["own", "own", "x_y"]);
    }

    #[test]
    fn wrong_requests_are_refused_whole() {
        for (content_type, body, reason) in [
            ("text/plain", "{}", "invalid 'Content-Type'"),
            ("application/json", "", "no payload found"),
            (
                "application/json",
                "[{},1]",
                "unable to process records: no JSON object at byte 4",
            ),
            (
                "application/json",
                "{\"a\":}",
                "invalid JSON in the object at byte 0",
            ),
            (
                "application/json",
                "{}[[]]",
                "unable to process records: no JSON object at byte 3",
            ),
        ] {
            assert_eq!(read(None, "/", content_type, body).unwrap_err(), reason);
        }
    }
}
