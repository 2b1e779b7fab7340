//! `elasticsearch`: the bulk API, for senders that know no other way.
//!
//! An action and its document become one record, the action under `meta_key`. As with the other
//! listeners a request is answered once its records are delivered; each item says what became of it.

use std::collections::BTreeMap;
use std::fmt::Write;
use std::sync::Arc;

use hyper::header::{HeaderName, HeaderValue};
use hyper::{Method, StatusCode};
use kansoku_model::{
    ConfigError, LogBatch, OptionKind, OptionSpec, Plugin, RecordBatch, Resource, Settings, joined,
    json,
};
use kansoku_parsers::line::Parser;
use kansoku_parsers::wire::json_stream::{self, Step};
use kansoku_parsers::wire::records::{Records, Stream};
use serde::de::IgnoredAny;

use super::net::http::{
    ALL_OPTIONS, ALPN, Call, Client, HttpOptions, N_OPTIONS, Reply, Server, Service, refusal,
    reply, reply_with,
};
use super::net::listen::Listen;
use super::net::tag_key::TagKey;
use super::net::{json_parser, resource, stream::begin};
use crate::plugin::{Environment, Input, InputPlugin};

const OWN: &[OptionSpec] = &[
    OptionSpec::new(
        "tag_key",
        OptionKind::Text,
        "",
        "field whose text is the record's tag",
    ),
    OptionSpec::new(
        "meta_key",
        OptionKind::Text,
        "@meta",
        "field for the action and its metadata",
    ),
    OptionSpec::new(
        "hostname",
        OptionKind::Text,
        "localhost",
        "host that clients are told when they ask for nodes",
    ),
    OptionSpec::new(
        "version",
        OptionKind::Text,
        "8.0.0",
        "version of Elasticsearch that clients are told",
    ),
];
const OPTIONS: [OptionSpec; OWN.len() + N_OPTIONS] = joined(OWN, &ALL_OPTIONS);

/// The plugin.
pub const PLUGIN: InputPlugin = Plugin {
    name: "elasticsearch",
    about: "Takes records over Elasticsearch's bulk API.",
    options: &OPTIONS,
    example: "[INPUT]\n    Name    elasticsearch\n    Listen  0.0.0.0\n    Port    9200\n",
    build,
};

const PORT: u16 = 9200;
/// In the log.
const NAME: &str = "input:elasticsearch";

struct Requests {
    json: Parser,
    tag_key: TagKey,
    meta_key: String,
    /// Answers to `GET /` and `GET /_nodes/http`.
    version: String,
    nodes: String,
    resource: Arc<Resource>,
}

fn build(s: &Settings, environment: &Environment) -> Result<Box<dyn Input>, ConfigError> {
    s.check(PLUGIN.options)?;
    let mut listen = Listen::of(s, environment, PORT, ALPN)?;
    let options = HttpOptions::of(s, &mut listen)?;
    let host = s.text("hostname", "localhost");
    let nodes = nodes(
        &environment.host_name,
        host,
        s.int("port", i64::from(PORT))?,
        options.max_body(),
    );
    Ok(Box::new(Server {
        name: NAME,
        options,
        listen,
        service: Requests {
            json: json_parser(),
            tag_key: TagKey::of(s)?,
            meta_key: s.text("meta_key", "@meta").to_owned(),
            version: version(s.text("version", "8.0.0")),
            nodes,
            resource: resource(environment),
        },
    }))
}

fn quoted(text: &str) -> String {
    let mut out = Vec::new();
    json::write_str(&mut out, text.as_bytes());
    String::from_utf8_lossy(&out).into_owned()
}

/// What Fluent Bit says, with our own name.
fn version(number: &str) -> String {
    format!(
        "{{\"version\":{{\"number\":{},\"build_flavor\":\"kansoku\"}},\"tagline\":\"kansoku's Bulk API compatible endpoint\"}}",
        quoted(number)
    )
}

fn nodes(node: &str, host: &str, port: i64, max_body: usize) -> String {
    let address = quoted(&format!("{host}:{port}"));
    let node = quoted(node);
    format!(
        "{{\"_nodes\":{{\"total\":1,\"successful\":1,\"failed\":0}},\"nodes\":{{{node}:{{\"name\":{node},\"version\":\"8.0.0\",\
         \"http\":{{\"publish_address\":{address},\"max_content_length_in_bytes\":{max_body}}}}}}}}}"
    )
}

impl Service for Requests {
    async fn answer(&self, call: Call, client: &Client) -> Reply {
        let mut reply = self.answer_to(call, client).await;
        // Elasticsearch's own clients refuse to talk to a server without it.
        reply.headers_mut().insert(
            HeaderName::from_static("x-elastic-product"),
            HeaderValue::from_static("Elasticsearch"),
        );
        reply
    }
}

impl Requests {
    async fn answer_to(&self, call: Call, client: &Client) -> Reply {
        let json = |text: &str| reply_with(StatusCode::OK, "application/json", text.into());
        match call.method {
            _ if is_bulk(&call) => {}
            Method::HEAD => return reply(StatusCode::OK, ""),
            Method::PUT => return json("{}"),
            Method::GET if call.path.starts_with("/_nodes/http") => return json(&self.nodes),
            Method::GET if call.path == "/" => return json(&self.version),
            Method::GET => return json("{}"),
            Method::POST => return refusal(StatusCode::BAD_REQUEST, "invalid HTTP endpoint"),
            _ => return refusal(StatusCode::BAD_REQUEST, "invalid HTTP method"),
        }
        let own_tag = client.pipe.link.tag.clone();
        let taken = client.take(|stream| {
            let (batches, items) = self.read(&call, stream, own_tag)?;
            Ok::<_, String>((batches.into_iter().map(RecordBatch::Logs).collect(), items))
        });
        match taken.await {
            Ok(Ok(items)) => {
                let errors = items.contains("\"status\":40");
                json(&format!("{{\"errors\":{errors},\"items\":[{items}]}}"))
            }
            Ok(Err(not_taken)) => refusal(StatusCode::SERVICE_UNAVAILABLE, &not_taken.to_string()),
            Err(reason) => refusal(StatusCode::BAD_REQUEST, &reason),
        }
    }

    /// The records of a request, and the answers to its items.
    fn read(
        &self,
        call: &Call,
        stream: &mut Stream,
        own_tag: Arc<str>,
    ) -> Result<(Vec<LogBatch>, String), String> {
        match call.content_type().as_str() {
            "" => return Err("header 'Content-Type' is not set".into()),
            "application/x-ndjson" | "application/json" => {}
            // What Elasticsearch's own clients of version 8 send.
            "application/vnd.elasticsearch+x-ndjson" | "application/vnd.elasticsearch+json" => {}
            _ => return Err("invalid 'Content-Type'".into()),
        }
        if call.body.is_empty() {
            return Err("no payload found".into());
        }
        let mut records = Records::new(stream, own_tag, self.resource.clone());
        let mut items = String::new();
        let mut at = 0;
        while let Some(action) = object(&call.body, &mut at)? {
            let operation = operation(action)?;
            let (status, result) = match operation.as_str() {
                "index" | "create" => (201, "created"),
                "update" => (403, "forbidden"),
                "delete" => (404, "not_found"),
                _ => (400, "bad_request"),
            };
            let known = if status == 400 { "unknown" } else { &operation };
            let comma = if items.is_empty() { "" } else { "," };
            let _ = write!(
                items,
                "{comma}{{\"{known}\":{{\"status\":{status},\"result\":\"{result}\"}}}}"
            );
            match status {
                // What follows cannot be told apart any more.
                400 => break,
                404 => continue,
                _ => {}
            }
            let Some(document) = object(&call.body, &mut at)? else {
                return Err("an action without a document".into());
            };
            if status != 201 {
                continue;
            }
            begin(&mut records);
            let meta = records.json(action);
            records.set(self.meta_key.as_bytes(), meta);
            if !records.parse(&self.json, document) {
                return Err(format!("invalid JSON in the document before byte {at}"));
            }
        }
        let batches = records.finish();
        Ok((self.tag_key.split(batches), items))
    }
}

/// The records of a bulk request, and the answers to its items.
#[cfg(feature = "fuzzing")]
pub(crate) fn read_bulk(body: &[u8]) -> Result<(Vec<LogBatch>, String), String> {
    let requests = Requests {
        json: json_parser(),
        tag_key: TagKey::testing("app"),
        meta_key: "@meta".to_owned(),
        version: String::new(),
        nodes: String::new(),
        resource: Arc::default(),
    };
    let mut headers = hyper::HeaderMap::new();
    let content_type = HeaderValue::from_static("application/x-ndjson");
    headers.insert(hyper::header::CONTENT_TYPE, content_type);
    let call = Call {
        method: Method::POST,
        path: "/_bulk".to_owned(),
        headers,
        body: body.to_vec(),
    };
    let mut stream = Stream::new(kansoku_model::SourceId(1));
    requests.read(&call, &mut stream, "t".into())
}

/// Elasticsearch's own clients PUT. (Fluent Bit answers that with `{}` and takes nothing.)
fn is_bulk(call: &Call) -> bool {
    call.path == "/_bulk" && matches!(call.method, Method::POST | Method::PUT)
}

/// The next object of a body.
fn object<'a>(body: &'a [u8], at: &mut usize) -> Result<Option<&'a [u8]>, String> {
    match json_stream::next(body, *at) {
        Step::Object(range) => {
            *at = range.end;
            Ok(Some(&body[range]))
        }
        Step::End => Ok(None),
        Step::Array(range) | Step::Other(range) => {
            Err(format!("no JSON object at byte {}", range.start))
        }
        Step::Incomplete(start) => Err(format!("JSON data is incomplete from byte {start} on")),
    }
}

/// `index` of `{"index":{...}}`.
fn operation(action: &[u8]) -> Result<String, String> {
    let members: BTreeMap<String, IgnoredAny> =
        serde_json::from_slice(action).map_err(|e| format!("invalid JSON in an action: {e}"))?;
    let first = members.into_keys().next();
    first.ok_or_else(|| "an action without a name".into())
}

#[cfg(test)]
mod tests {
    use super::super::net::new_stream;
    use super::super::net::testing::show;
    use super::*;

    fn requests(tag_key: Option<&str>) -> Requests {
        Requests {
            json: json_parser(),
            tag_key: tag_key.map(TagKey::testing).unwrap_or_default(),
            meta_key: "@meta".into(),
            version: version("8.0.0"),
            nodes: nodes("n", "localhost", 9200, 4_000_000),
            resource: Arc::default(),
        }
    }

    fn call(method: Method, path: &str, body: &str) -> Call {
        let mut headers = hyper::HeaderMap::new();
        headers.insert(
            "content-type",
            HeaderValue::from_static("application/vnd.elasticsearch+x-ndjson; compatible-with=8"),
        );
        Call {
            method,
            path: path.into(),
            headers,
            body: body.as_bytes().to_vec(),
        }
    }

    fn read(tag_key: Option<&str>, body: &str) -> Result<(Vec<String>, String), String> {
        let call = call(Method::POST, "/_bulk", body);
        let (batches, items) = requests(tag_key).read(&call, &mut new_stream(), "own".into())?;
        let batches = batches.into_iter();
        let records = batches.flat_map(|b| show(&RecordBatch::Logs(b)));
        Ok((records.collect(), items))
    }

    /// The answers are what Fluent Bit 5.1.1 gave.
    #[test]
    fn each_item_is_answered_for_itself() {
        let (records, items) = read(
            None,
            "{\"index\":{\"_index\":\"a\"}}\n{\"n\":1}\n{\"delete\":{\"_id\":\"1\"}}\n{\"update\":{\"_id\":\"1\"}}\n{\"doc\":{}}\n\
             {\"create\":{}}\n{\"n\":2}\n{\"drop\":{}}\n{\"n\":3}\n",
        )
        .expect("readable");
        assert_eq!(
            records,
            [
                r#"own {"@meta":{"index":{"_index":"a"}},"n":1}"#,
                r#"own {"@meta":{"create":{}},"n":2}"#
            ]
        );
        assert_eq!(
            items,
            "{\"index\":{\"status\":201,\"result\":\"created\"}},{\"delete\":{\"status\":404,\"result\":\"not_found\"}},\
             {\"update\":{\"status\":403,\"result\":\"forbidden\"}},{\"create\":{\"status\":201,\"result\":\"created\"}},\
             {\"unknown\":{\"status\":400,\"result\":\"bad_request\"}}"
        );
        let (records, _) =
            read(Some("$t"), "{\"index\":{}}\n{\"t\":\"app.x\"}\n").expect("readable");
        assert_eq!(records, [r#"app.x {"@meta":{"index":{}},"t":"app.x"}"#]);
    }

    #[test]
    fn wrong_requests_are_refused_whole() {
        for (body, reason) in [
            ("", "no payload found"),
            ("{\"index\":{}}\n", "an action without a document"),
            (
                "{\"index\":{}}\n{\"a\":",
                "JSON data is incomplete from byte 13 on",
            ),
            ("[]\n", "no JSON object at byte 0"),
            ("{}\n{}\n", "an action without a name"),
        ] {
            assert_eq!(read(None, body).unwrap_err(), reason);
        }
    }

    #[test]
    fn bulk_requests_are_posted_or_put() {
        for (method, path, expected) in [
            (Method::POST, "/_bulk", true),
            (Method::PUT, "/_bulk", true),
            (Method::GET, "/_bulk", false),
            (Method::PUT, "/index", false),
        ] {
            assert_eq!(is_bulk(&call(method, path, "")), expected, "{path}");
        }
    }

    #[test]
    fn clients_are_told_about_the_server() {
        let known = requests(None);
        for text in [&known.version, &known.nodes] {
            serde_json::from_str::<serde_json::Value>(text).expect("JSON");
        }
        assert!(
            known
                .nodes
                .contains("\"publish_address\":\"localhost:9200\"")
        );
    }
}
