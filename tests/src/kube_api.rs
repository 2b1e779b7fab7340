//! A Kubernetes API server as far as lists and watches go, in this process: objects come, change and go
//! as a test says. What is posted to it as to an Alertmanager is kept, too.

use std::collections::BTreeMap;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use serde_json::{Value, json};

/// How the server behaves.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Mode {
    Answers,
    /// It has no such kinds of objects.
    KnowsNoKind,
    /// Closes every connection.
    Away,
}

struct State {
    mode: Mode,
    version: u64,
    /// By resource in the plural, and name.
    objects: BTreeMap<(String, String), Value>,
    /// All that happened: version, resource and event.
    history: Vec<(u64, String, String)>,
    /// Watches that are open, by resource.
    watches: Vec<(String, TcpStream)>,
    /// Watches that begin before this version have to list again.
    oldest: u64,
    queries: Vec<String>,
    alerts: Vec<Value>,
}

/// The server; it listens until the test's process ends.
#[derive(Clone)]
pub struct KubeApi {
    /// Where it listens on 127.0.0.1.
    pub port: u16,
    state: Arc<Mutex<State>>,
}

impl KubeApi {
    /// Listens on a port of the system's choice.
    ///
    /// # Panics
    /// When no port can be had.
    #[must_use]
    pub fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
        let port = listener.local_addr().expect("a bound socket").port();
        let api = Self {
            port,
            state: Arc::new(Mutex::new(State {
                mode: Mode::Answers,
                version: 1,
                objects: BTreeMap::new(),
                history: Vec::new(),
                watches: Vec::new(),
                oldest: 0,
                queries: Vec::new(),
                alerts: Vec::new(),
            })),
        };
        let shared = api.clone();
        std::thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                let api = shared.clone();
                std::thread::spawn(move || api.serve(stream));
            }
        });
        api
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Behaves otherwise from here on; open watches are closed, and begin with a list when `forgets`.
    pub fn set_mode(&self, mode: Mode, forgets: bool) {
        let mut state = self.lock();
        state.mode = mode;
        if forgets {
            state.oldest = state.version + 1;
            state.version += 1;
        }
        for (_, stream) in state.watches.drain(..) {
            let _ = stream.shutdown(Shutdown::Both);
        }
    }

    /// Adds or changes an object.
    ///
    /// # Panics
    /// When it has no metadata.
    pub fn put(&self, resource: &str, name: &str, mut object: Value) {
        let mut state = self.lock();
        state.version += 1;
        let metadata = object["metadata"].as_object_mut().expect("metadata");
        metadata.insert("name".into(), name.into());
        metadata.insert("uid".into(), format!("uid-of-{name}").into());
        metadata.insert("resourceVersion".into(), state.version.to_string().into());
        let key = (resource.to_owned(), name.to_owned());
        let kind = match state.objects.insert(key, object.clone()) {
            None => "ADDED",
            Some(_) => "MODIFIED",
        };
        state.tell(resource, kind, &object);
    }

    /// Deletes an object.
    ///
    /// # Panics
    /// When it is not there.
    pub fn delete(&self, resource: &str, name: &str) {
        let mut state = self.lock();
        state.version += 1;
        let key = (resource.to_owned(), name.to_owned());
        let mut object = state.objects.remove(&key).expect("it is there");
        object["metadata"]["resourceVersion"] = state.version.to_string().into();
        state.tell(resource, "DELETED", &object);
    }

    /// The paths and queries that were asked for.
    #[must_use]
    pub fn queries(&self) -> Vec<String> {
        self.lock().queries.clone()
    }

    /// The alerts that were posted.
    #[must_use]
    pub fn alerts(&self) -> Vec<Value> {
        self.lock().alerts.clone()
    }

    fn serve(&self, stream: TcpStream) {
        let Ok(mut writer) = stream.try_clone() else {
            return;
        };
        let mut reader = BufReader::new(stream);
        let (mut first, mut line, mut len) = (String::new(), String::new(), 0);
        if reader.read_line(&mut first).is_err() {
            return;
        }
        while reader.read_line(&mut line).is_ok_and(|n| n > 2) {
            let lower = line.to_ascii_lowercase();
            if let Some(value) = lower.strip_prefix("content-length:") {
                len = value.trim().parse().unwrap_or(0);
            }
            line.clear();
        }
        let mut body = vec![0; len];
        if reader.read_exact(&mut body).is_err() {
            return;
        }
        let target = first.split(' ').nth(1).unwrap_or_default().to_owned();
        let mut state = self.lock();
        if state.mode == Mode::Away {
            return;
        }
        if target.ends_with("/api/v2/alerts") {
            if let Ok(Value::Array(alerts)) = serde_json::from_slice(&body) {
                state.alerts.extend(alerts);
            }
            answer(&mut writer, 200, &json!({}));
            return;
        }
        state.queries.push(target.clone());
        if state.mode == Mode::KnowsNoKind {
            answer(&mut writer, 404, &json!({"kind": "Status", "code": 404}));
            return;
        }
        let (path, query) = target.split_once('?').unwrap_or((&target, ""));
        let resource = path.rsplit('/').next().unwrap_or_default().to_owned();
        let parameter = |name: &str| {
            let mut pairs = query.split('&').filter_map(|pair| pair.split_once('='));
            pairs.find(|(n, _)| *n == name).map(|(_, value)| value)
        };
        if parameter("watch") != Some("true") {
            let own = state
                .objects
                .iter()
                .filter(|((kind, _), _)| *kind == resource);
            let items: Vec<&Value> = own.map(|(_, object)| object).collect();
            let version = state.version.to_string();
            let list = json!({"metadata": {"resourceVersion": version}, "items": items});
            answer(&mut writer, 200, &list);
            return;
        }
        let since: u64 = parameter("resourceVersion")
            .and_then(|v| v.parse().ok())
            .unwrap_or(0);
        let _ = writer.write_all(
            b"HTTP/1.1 200 OK\r\ncontent-type: application/json\r\nconnection: close\r\n\r\n",
        );
        if since < state.oldest {
            let gone = json!({"type": "ERROR", "object": {"kind": "Status", "code": 410}});
            let _ = writeln!(writer, "{gone}");
            return;
        }
        for (version, of, event) in &state.history {
            if *of == resource && *version > since {
                let _ = writeln!(writer, "{event}");
            }
        }
        state.watches.push((resource, writer));
    }
}

impl State {
    fn tell(&mut self, resource: &str, kind: &str, object: &Value) {
        let event = json!({"type": kind, "object": object}).to_string();
        self.watches
            .retain_mut(|(of, stream)| of != resource || writeln!(stream, "{event}").is_ok());
        self.history
            .push((self.version, resource.to_owned(), event));
    }
}

fn answer(writer: &mut TcpStream, status: u16, body: &Value) {
    let body = body.to_string();
    let head = format!(
        "HTTP/1.1 {status} -\r\ncontent-type: application/json\r\ncontent-length: {}\r\nconnection: close\r\n\r\n",
        body.len()
    );
    let _ = writer.write_all(head.as_bytes());
    let _ = writer.write_all(body.as_bytes());
}
