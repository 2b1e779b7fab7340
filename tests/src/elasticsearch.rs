//! A bulk API that is as strict as Elasticsearch 8's: what the real one refuses as a whole request is
//! refused here, and noted as a mistake of the agent; what it refuses document by document is answered
//! with the real one's errors. Troubles can be turned on at any time.

mod mapping;

use std::collections::HashMap;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use serde_json::json;

use mapping::{Json, Mapping, Refusal};

/// What goes wrong in the server.
#[derive(Debug, Clone, Copy, Default)]
pub struct Troubles {
    /// Every n-th document is refused with 429.
    pub busy_item_every: u64,
    /// Every n-th request is answered with this status.
    pub refuse_every: Option<(u64, u16)>,
    /// Every n-th request is kept, but the connection is reset instead of an answer.
    pub lose_answer_every: u64,
    /// `http.max_content_length`, 0 for none; answered before the body was read, as Netty does.
    pub max_content_length: usize,
}

/// What came of everything so far.
#[derive(Debug, Default)]
pub struct Seen {
    /// Documents by index and id.
    pub documents: HashMap<(String, String), String>,
    /// What the real server refuses as a whole because it is no bulk request.
    pub mistakes: Vec<String>,
    /// Creations of what was there already with the same content.
    pub n_repeats: usize,
    /// Creations of what was there already with other content: one of both is lost.
    pub n_clashes: usize,
    /// Documents that were refused for ever, with the reason.
    pub refused: Vec<String>,
    pub n_busy: usize,
    pub n_too_large: usize,
    n_requests: u64,
    n_documents: u64,
    mappings: HashMap<String, Mapping>,
    troubles: Troubles,
}

/// The server; it listens until the test's process ends.
#[derive(Clone)]
pub struct Elasticsearch {
    /// Where it listens on 127.0.0.1.
    pub port: u16,
    seen: Arc<Mutex<Seen>>,
}

/// Indexes that begin so are data streams, as with Elasticsearch's own template.
const DATA_STREAMS: &str = "logs-";
const ID_MAX_BYTES: usize = 512;

impl Elasticsearch {
    /// Listens on a port of the system's choice.
    ///
    /// # Panics
    /// When no port can be had.
    #[must_use]
    pub fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
        let server = Self {
            port: listener.local_addr().expect("a bound socket").port(),
            seen: Arc::default(),
        };
        let shared = server.clone();
        std::thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                let server = shared.clone();
                std::thread::spawn(move || server.serve(stream));
            }
        });
        server
    }

    /// What it knows.
    pub fn seen(&self) -> MutexGuard<'_, Seen> {
        self.seen.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Behaves differently from now on.
    pub fn trouble(&self, troubles: Troubles) {
        self.seen().troubles = troubles;
    }

    fn serve(&self, stream: TcpStream) -> Option<()> {
        let mut reader = BufReader::new(stream.try_clone().ok()?);
        let mut stream = stream;
        loop {
            let head = Head::read(&mut reader)?;
            let (troubles, n) = {
                let mut seen = self.seen();
                seen.n_requests += 1;
                (seen.troubles, seen.n_requests)
            };
            if troubles.max_content_length > 0 && head.length > troubles.max_content_length {
                self.seen().n_too_large += 1;
                stream
                    .write_all(
                        b"HTTP/1.1 413 Request Entity Too Large\r\ncontent-length: 0\r\n\r\n",
                    )
                    .ok()?;
                std::io::copy(
                    &mut (&mut reader).take(head.length as u64),
                    &mut std::io::sink(),
                )
                .ok()?;
                continue;
            }
            let mut body = vec![0; head.length];
            reader.read_exact(&mut body).ok()?;
            let (status, answer) = match troubles.refuse_every {
                Some((every, status)) if n.is_multiple_of(every) => (status, refusal_of(status)),
                _ => self.seen().answer(&head, &body),
            };
            if troubles.lose_answer_every > 0 && n.is_multiple_of(troubles.lose_answer_every) {
                return None;
            }
            let answer = answer.to_string();
            let length = answer.len();
            write!(
                stream,
                "HTTP/1.1 {status} x\r\nX-elastic-product: Elasticsearch\r\ncontent-type: application/vnd.elasticsearch+json;compatible-with=8\r\ncontent-length: {length}\r\n\r\n{answer}"
            )
            .ok()?;
        }
    }
}

struct Head {
    method: String,
    target: String,
    content_type: String,
    is_gzip: bool,
    length: usize,
}

impl Head {
    /// The next request; `None` at the end of the connection.
    fn read(reader: &mut BufReader<TcpStream>) -> Option<Self> {
        let mut line = String::new();
        reader.read_line(&mut line).ok()?;
        let mut words = line.split(' ');
        let mut head = Self {
            method: words.next()?.to_owned(),
            target: words.next()?.to_owned(),
            content_type: String::new(),
            is_gzip: false,
            length: 0,
        };
        loop {
            let mut line = String::new();
            if reader.read_line(&mut line).ok()? == 0 {
                return None;
            }
            let Some((name, value)) = line.trim_end().split_once(':') else {
                return Some(head);
            };
            match name.to_ascii_lowercase().as_str() {
                "content-type" => value.trim().clone_into(&mut head.content_type),
                "content-encoding" => head.is_gzip = value.trim() == "gzip",
                "content-length" => head.length = value.trim().parse().ok()?,
                _ => {}
            }
        }
    }
}

/// The body of a whole refusal, as Elasticsearch writes it.
fn error(kind: &str, reason: &str, status: u16) -> serde_json::Value {
    json!({"error": {"root_cause": [{"type": kind, "reason": reason}], "type": kind, "reason": reason}, "status": status})
}

fn refusal_of(status: u16) -> serde_json::Value {
    match status {
        429 => error(
            "circuit_breaking_exception",
            "[parent] Data too large",
            status,
        ),
        503 => error(
            "cluster_block_exception",
            "blocked by: [SERVICE_UNAVAILABLE/1/state not recovered / initialized];",
            status,
        ),
        _ => error("exception", "trouble", status),
    }
}

/// An action line.
struct Action {
    name: String,
    index: String,
    id: Option<String>,
}

impl Seen {
    /// How often any document is there: by content, whatever its id.
    #[must_use]
    pub fn contents(&self) -> HashMap<&str, usize> {
        let mut all = HashMap::new();
        for document in self.documents.values() {
            *all.entry(&**document).or_default() += 1;
        }
        all
    }

    fn answer(&mut self, head: &Head, body: &[u8]) -> (u16, serde_json::Value) {
        match self.bulk(head, body) {
            Ok(items) => {
                let errors = items
                    .iter()
                    .filter_map(|item| item.as_object()?.values().next())
                    .any(|item| item.get("error").is_some());
                (200, json!({"errors": errors, "took": 3, "items": items}))
            }
            Err((status, kind, reason)) => {
                self.mistakes.push(format!("{status} {kind}: {reason}"));
                (status, error(kind, &reason, status))
            }
        }
    }

    /// Answers each action, or says why the request is none.
    fn bulk(
        &mut self,
        head: &Head,
        body: &[u8],
    ) -> Result<Vec<serde_json::Value>, (u16, &'static str, String)> {
        let (path, query) = head.target.split_once('?').unwrap_or((&head.target, ""));
        let is_known = query.is_empty() || query.starts_with("pipeline=");
        if !matches!(&*head.method, "POST" | "PUT") || !path.ends_with("/_bulk") || !is_known {
            let reason = format!("{} {}", head.method, head.target);
            return Err((405, "method_not_allowed", reason));
        }
        let kind = head.content_type.split(';').next().unwrap_or_default();
        if !matches!(kind, "application/x-ndjson" | "application/json") {
            let reason = format!("Content-Type header [{kind}] is not supported");
            return Err((406, "media_type_header_exception", reason));
        }
        let illegal = |reason: String| (400, "illegal_argument_exception", reason);
        let mut plain = Vec::new();
        let body = if head.is_gzip {
            let mut reader = flate2::read::GzDecoder::new(body);
            reader
                .read_to_end(&mut plain)
                .map_err(|e| illegal(format!("not gzip: {e}")))?;
            &plain
        } else {
            body
        };
        if body.last() != Some(&b'\n') {
            let reason = "The bulk request must be terminated by a newline [\\n]";
            return Err(illegal(reason.into()));
        }
        let mut lines = body[..body.len() - 1].split(|&b| b == b'\n').enumerate();
        let mut actions = Vec::new();
        while let Some((n, line)) = lines.next() {
            let action = action(line)
                .map_err(|e| illegal(format!("Malformed action/metadata line [{}], {e}", n + 1)))?;
            let document = match (&*action.name, lines.next()) {
                ("delete", _) => return Err(illegal("nobody deletes".into())),
                (_, Some((_, document))) => document,
                (_, None) => return Err(illegal("an action without a document".into())),
            };
            actions.push((action, document));
        }
        // Checked for the whole request before anything is done.
        for (action, _) in &actions {
            check(action).map_err(|e| (400, "action_request_validation_exception", e))?;
        }
        Ok(actions.into_iter().map(|(a, d)| self.act(a, d)).collect())
    }

    fn act(&mut self, action: Action, document: &[u8]) -> serde_json::Value {
        self.n_documents += 1;
        let every = self.troubles.busy_item_every;
        let id = action
            .id
            .clone()
            .unwrap_or_else(|| format!("generated-{:012}", self.n_documents));
        let done = if every > 0 && self.n_documents.is_multiple_of(every) {
            self.n_busy += 1;
            let reason = "rejected execution of coordinating operation [max_coordinating_and_primary_bytes=1]";
            Err((429, ("es_rejected_execution_exception", reason.to_owned())))
        } else {
            self.write(&action, &id, document)
        };
        let result = match done {
            Ok((status, result)) => {
                json!({"_index": action.index, "_id": id, "_version": 1, "result": result,
                       "_shards": {"total": 2, "successful": 1, "failed": 0}, "_seq_no": self.n_documents, "_primary_term": 1, "status": status})
            }
            Err((status, (kind, reason))) => {
                if status != 409 && status != 429 {
                    self.refused.push(format!("{kind}: {reason}"));
                }
                json!({"_index": action.index, "_id": id, "status": status, "error": {"type": kind, "reason": reason}})
            }
        };
        json!({action.name: result})
    }

    fn write(
        &mut self,
        action: &Action,
        id: &str,
        document: &[u8],
    ) -> Result<(u16, &'static str), (u16, Refusal)> {
        check_index(&action.index).map_err(|e| (400, ("invalid_index_name_exception", e)))?;
        let is_stream = action.index.starts_with(DATA_STREAMS);
        if is_stream && action.name != "create" {
            let reason = "only write ops with an op_type of create are allowed in data streams";
            return Err((400, ("illegal_argument_exception", reason.into())));
        }
        let parsing = |reason: String| (400, ("document_parsing_exception", reason));
        let json: Json = serde_json::from_slice(document)
            .map_err(|e| parsing(format!("[1:1] {e}, in document with id '{id}'")))?;
        let json = match (&*action.name, json.get("doc")) {
            ("update", Some(inner)) => inner.clone(),
            ("update", None) => return Err(parsing("an update without a doc".into())),
            _ => json,
        };
        if is_stream && !matches!(json.get("@timestamp"), Some(Json::Text(_))) {
            let reason = "data stream timestamp field [@timestamp] is missing";
            return Err(parsing(reason.into()));
        }
        let text = String::from_utf8_lossy(document).into_owned();
        let key = (action.index.clone(), id.to_owned());
        if let Some(there) = self.documents.get(&key)
            && action.name == "create"
        {
            if *there == text {
                self.n_repeats += 1;
            } else {
                self.n_clashes += 1;
            }
            let reason =
                format!("[{id}]: version conflict, document already exists (current version [1])");
            return Err((409, ("version_conflict_engine_exception", reason)));
        }
        let mapping = self.mappings.entry(action.index.clone()).or_default();
        mapping.take(&json).map_err(|(kind, reason)| {
            let at = document.len();
            let reason = format!(
                "[1:{at}] {reason} in document with id '{id}'. Preview of field's value: ''"
            );
            (400, (kind, reason))
        })?;
        Ok(match self.documents.insert(key, text) {
            None => (201, "created"),
            Some(_) => (200, "updated"),
        })
    }
}

fn action(line: &[u8]) -> Result<Action, String> {
    let json: Json = serde_json::from_slice(line).map_err(|e| e.to_string())?;
    let Json::Object(members) = &json else {
        return Err("expected START_OBJECT".into());
    };
    let [(name, Json::Object(metadata))] = &members[..] else {
        return Err("expected one action with an object".into());
    };
    if !["create", "index", "update", "delete"].contains(&&**name) {
        return Err(format!(
            "expected field [create], [delete], [index] or [update] but found [{name}]"
        ));
    }
    let mut action = Action {
        name: name.clone(),
        index: String::new(),
        id: None,
    };
    for (key, value) in metadata {
        let Json::Text(text) = value else {
            return Err(format!("expected a simple value for field [{key}]"));
        };
        match &**key {
            "_index" => action.index.clone_from(text),
            "_id" => action.id = Some(text.clone()),
            "routing" | "pipeline" => {}
            _ => return Err(format!("unknown parameter [{key}]")),
        }
    }
    Ok(action)
}

/// What fails the whole request.
fn check(action: &Action) -> Result<(), String> {
    let id = action.id.as_deref();
    if action.index.is_empty() {
        return Err("index is missing".into());
    }
    if id == Some("") {
        return Err("if _id is specified it must not be empty".into());
    }
    if id.is_some_and(|id| id.len() > ID_MAX_BYTES) {
        return Err("id is too long, must be no longer than 512 bytes".into());
    }
    if action.name == "update" && id.is_none() {
        return Err("id is missing".into());
    }
    Ok(())
}

fn check_index(name: &str) -> Result<(), String> {
    let bad = |why: &str| Err(format!("Invalid index name [{name}], {why}"));
    if name.contains(|c: char| " \"*\\<|,>/?#:".contains(c)) {
        return bad(
            "must not contain the following characters [' ','\"','*','\\','<','|',',','>','/','?']",
        );
    }
    if name.starts_with(['_', '-', '+']) || matches!(name, "." | "..") {
        return bad("must not start with '_', '-', or '+'");
    }
    if name.to_lowercase() != name {
        return bad("must be lowercase");
    }
    if name.len() > 255 {
        return bad("index name is too long");
    }
    Ok(())
}
