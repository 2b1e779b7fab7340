//! The agent's HTTP server: metrics, health, and Fluent Bit's monitoring API.
//!
//! It answers GET and HEAD, and POST and PUT for a reload; it reads no bodies. A reload of the
//! configuration replaces what is shown, connections stay. The rule: whatever is sent to the port, the server
//! holds at most [`MAX_CONNECTIONS`] connections, each for a bounded time and with bounded memory.

mod delivery_metrics;
mod health;
mod own_metrics;
mod targets;

use std::convert::Infallible;
use std::net::SocketAddr;
use std::sync::{Arc, PoisonError, RwLock};
use std::time::{Duration, Instant};

use anyhow::Context;
use hyper::body::Incoming;
use hyper::header::{ALLOW, CONTENT_ENCODING, CONTENT_TYPE, HeaderValue, VARY};
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper::{Method, Request, Response, StatusCode};
use hyper_util::rt::{TokioIo, TokioTimer};
use kansoku_model::Plugin;
use kansoku_outputs::metric_text;
use serde_json::json;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{Mutex, OwnedSemaphorePermit, Semaphore};
use tokio::task::{JoinError, JoinHandle};

use crate::config::service::HealthCheck;
use crate::content_coding::Coding;
use crate::control::{Control, NoReload, ReloadAnswer};
use crate::inputs::unix_ms;
use crate::kube_state::Shown;
use crate::metrics_body::{Body, Done};
use crate::pipeline::Metrics;
use crate::{exposition, filters, inputs, log, resident, scrape_timeout};

use health::Health;
pub(crate) use own_metrics::{OwnMetrics, process};
use targets::Part;
pub use targets::Targets;

/// Connections at a time: a few scrapers, probes and curious people. More wait to be accepted.
const MAX_CONNECTIONS: usize = 64;
/// A request's head must be complete within this time; idle connections end with it too, and a
/// scraper opens another one for its next scrape.
const HEAD_PATIENCE: Duration = Duration::from_secs(15);
/// After so long a connection is asked to end, and its client opens another.
const CONNECTION_LIFE: Duration = Duration::from_secs(600);
/// Time to finish the answer under way after that.
const LAST_ANSWER: Duration = Duration::from_secs(10);
/// How long an asked reload may take to read and build its configuration.
const RELOAD_PATIENCE: Duration = Duration::from_secs(60);
/// Request heads are a few hundred bytes.
const MAX_HEAD_BYTES: usize = 16 << 10;
/// How long to wait when no connection can be accepted, for want of descriptors mostly.
const ACCEPT_PAUSE: Duration = Duration::from_millis(200);

/// What the server shows and where.
pub struct ServerSpec {
    /// Port 0 lets the system choose.
    pub listen: SocketAddr,
    /// The counters of the running pipeline.
    pub metrics: Arc<Metrics>,
    /// What `/metrics` collects besides.
    pub targets: Targets,
    /// `None` makes `/api/v1/health` always say ok.
    pub health: Option<HealthCheck>,
    /// Whether `/api/v1/storage` answers.
    pub storage_metrics: bool,
    /// Who reloads.
    pub control: Arc<Control>,
    pub host_name: Arc<str>,
    /// What `/metrics/kube-state` shows.
    pub kube_state: Arc<Shown>,
}

/// A server at work. It ends when this is dropped.
pub struct Server {
    /// Where it listens.
    pub address: SocketAddr,
    /// Where it was told to listen; the port may be 0.
    pub asked: SocketAddr,
    shared: Arc<Shared>,
    accepting: JoinHandle<()>,
    watching: JoinHandle<()>,
}

impl Drop for Server {
    fn drop(&mut self) {
        self.accepting.abort();
        self.watching.abort();
    }
}

impl Server {
    /// Shows another pipeline from now on. Must be called on the runtime.
    pub fn replace(&mut self, spec: ServerSpec) {
        let current = Arc::new(Current::new(spec, self.shared.start_ms));
        let old = std::mem::replace(&mut self.watching, watch(current.clone()));
        old.abort();
        let mut shown = (self.shared.current.write()).unwrap_or_else(PoisonError::into_inner);
        *shown = current;
    }
}

/// What all requests share.
struct Shared {
    /// Held for the moment of taking or replacing it.
    current: RwLock<Arc<Current>>,
    start: Instant,
    start_ms: u64,
    control: Arc<Control>,
}

/// What is shown of the pipeline that runs now.
struct Current {
    own: OwnMetrics,
    /// Held while collecting: one scrape at a time, the others wait.
    targets: Arc<Mutex<Targets>>,
    health: Health,
    storage_metrics: bool,
    control: Arc<Control>,
    kube_state: Arc<Shown>,
}

impl Current {
    fn new(spec: ServerSpec, start_ms: u64) -> Self {
        Self {
            own: OwnMetrics::new(
                spec.metrics.clone(),
                spec.host_name,
                start_ms,
                Some(spec.control.clone()),
            ),
            targets: Arc::new(Mutex::new(spec.targets)),
            health: Health::new(spec.health, spec.metrics),
            storage_metrics: spec.storage_metrics,
            control: spec.control,
            kube_state: spec.kube_state,
        }
    }
}

fn watch(current: Arc<Current>) -> JoinHandle<()> {
    tokio::spawn(async move { current.health.watch().await })
}

/// Starts to listen, on the current tokio runtime.
///
/// # Errors
/// When the address cannot be had.
pub async fn start(spec: ServerSpec) -> anyhow::Result<Server> {
    let asked = spec.listen;
    let listener = TcpListener::bind(asked).await.with_context(|| {
        format!("failed to listen on {asked}; choose another http_listen or http_port")
    })?;
    let address = listener.local_addr()?;
    let start_ms = unix_ms();
    let control = spec.control.clone();
    let current = Arc::new(Current::new(spec, start_ms));
    let shared = Arc::new(Shared {
        current: RwLock::new(current.clone()),
        start: Instant::now(),
        start_ms,
        control,
    });
    Ok(Server {
        address,
        asked,
        shared: shared.clone(),
        accepting: tokio::spawn(accept(listener, shared)),
        watching: watch(current),
    })
}

async fn accept(listener: TcpListener, shared: Arc<Shared>) {
    let room = Arc::new(Semaphore::new(MAX_CONNECTIONS));
    loop {
        let Ok(permit) = room.clone().acquire_owned().await else {
            return; // never: the semaphore is not closed
        };
        match listener.accept().await {
            Ok((stream, _)) => {
                tokio::spawn(serve(stream, shared.clone(), permit));
            }
            Err(error) => {
                log::debug("http_server", format!("failed to accept: {error}"));
                tokio::time::sleep(ACCEPT_PAUSE).await;
            }
        }
    }
}

async fn serve(stream: TcpStream, shared: Arc<Shared>, permit: OwnedSemaphorePermit) {
    let service = service_fn(move |request: Request<Incoming>| {
        let shared = shared.clone();
        async move { Ok::<_, Infallible>(answer(&shared, &request).await) }
    });
    let connection = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(HEAD_PATIENCE)
        .max_buf_size(MAX_HEAD_BYTES)
        .serve_connection(TokioIo::new(stream), service);
    tokio::pin!(connection);
    // An error means that the client sent no HTTP or went away: nothing to do about it.
    tokio::select! {
        _ = connection.as_mut() => {}
        () = tokio::time::sleep(CONNECTION_LIFE) => {
            connection.as_mut().graceful_shutdown();
            let _ = tokio::time::timeout(LAST_ANSWER, connection).await;
        }
    }
    drop(permit);
}

/// What a path gives, before compression.
struct Answer {
    status: StatusCode,
    content_type: &'static str,
    body: Vec<u8>,
}

impl Answer {
    fn text(status: StatusCode, body: impl Into<Vec<u8>>) -> Self {
        Self {
            status,
            content_type: "text/plain; charset=utf-8",
            body: body.into(),
        }
    }

    fn json(value: &serde_json::Value) -> Self {
        Self {
            status: StatusCode::OK,
            content_type: "application/json",
            body: value.to_string().into_bytes(),
        }
    }

    fn exposition(body: Vec<u8>) -> Self {
        Self {
            status: StatusCode::OK,
            content_type: exposition::CONTENT_TYPE,
            body,
        }
    }
}

async fn answer(shared: &Shared, request: &Request<Incoming>) -> Response<Body> {
    let path = request.uri().path();
    let path = path.strip_suffix('/').unwrap_or(path);
    if path == "/api/v2/reload" && [Method::POST, Method::PUT].contains(request.method()) {
        return respond(reload(&shared.control).await, Coding::Identity);
    }
    if request.method() != Method::GET && request.method() != Method::HEAD {
        let answer = Answer::text(
            StatusCode::METHOD_NOT_ALLOWED,
            "only GET is answered here, and POST to /api/v2/reload\n",
        );
        let mut response = respond(answer, Coding::Identity);
        let allowed = HeaderValue::from_static("GET, HEAD");
        response.headers_mut().insert(ALLOW, allowed);
        return response;
    }
    let current = {
        let shown = shared.current.read();
        shown.unwrap_or_else(PoisonError::into_inner).clone()
    };
    let limit = scrape_timeout::limit(request.headers());
    let coding = Coding::wanted(request.headers());
    let part = match path {
        "/metrics" => Part::All,
        "/metrics/cadvisor" => Part::Cadvisor,
        "/metrics/resource" => Part::Resource,
        "/metrics/kube-state" => return respond(kube_state(&current).await, coding),
        "/api/v1/uptime" => return respond(uptime(shared.start.elapsed().as_secs()), coding),
        _ => return respond(shown(&current, path), coding),
    };
    collected(current, part, limit, coding).await
}

/// The answers that need no waiting.
fn shown(current: &Current, path: &str) -> Answer {
    match path {
        "" => root(),
        "/api/v1/health" => health(current),
        "/api/v2/health" => Answer::json(&current.health.json()),
        "/api/v1/metrics" => Answer::json(&current.own.json()),
        "/api/v1/metrics/prometheus" => Answer::exposition(current.own.v1_exposition()),
        "/api/v1/plugins" => plugins(),
        "/api/v1/storage" if current.storage_metrics => Answer::json(&current.own.storage_json()),
        "/api/v2/metrics" => {
            let mut body = Vec::new();
            metric_text::write(&mut body, &current.own.batch());
            Answer::text(StatusCode::OK, body)
        }
        "/api/v2/metrics/prometheus" => {
            let mut body = Vec::new();
            exposition::write(&mut body, &[&current.own.batch()]);
            Answer::exposition(body)
        }
        "/api/v2/reload" => {
            let n = current.control.n_reloads();
            Answer::json(&json!({ "hot_reload_count": n }))
        }
        _ => Answer::text(StatusCode::NOT_FOUND, "not found; try /metrics\n"),
    }
}

/// Asks for a reload and waits until the new configuration is read. Fluent Bit answers before it
/// has looked; its status numbers are kept, -3 is ours.
async fn reload(control: &Control) -> Answer {
    let (status, body) = match control.reload() {
        Err(why @ NoReload::NotEnabled) => {
            let reason = why.text();
            let body = json!({ "reload": "not enabled", "status": -1, "reason": reason });
            (StatusCode::OK, body)
        }
        Err(NoReload::InProgress) => (
            StatusCode::OK,
            json!({ "reload": "in progress", "status": -2 }),
        ),
        Err(why @ NoReload::Stopping) => {
            let body = json!({ "reload": why.text(), "status": -2 });
            (StatusCode::SERVICE_UNAVAILABLE, body)
        }
        Ok(answer) => match tokio::time::timeout(RELOAD_PATIENCE, answer).await {
            Ok(Ok(ReloadAnswer::Done)) => {
                (StatusCode::OK, json!({ "reload": "done", "status": 0 }))
            }
            Ok(Ok(ReloadAnswer::Refused(errors))) => {
                let body = json!({ "reload": "refused", "status": -3, "errors": errors });
                (StatusCode::BAD_REQUEST, body)
            }
            _ => (
                StatusCode::OK,
                json!({ "reload": "in progress", "status": -2 }),
            ),
        },
    };
    Answer {
        status,
        ..Answer::json(&body)
    }
}

fn respond(answer: Answer, coding: Coding) -> Response<Body> {
    let (body, coding) = coding.pack(answer.body);
    response(answer.status, answer.content_type, body.into(), coding)
}

fn response(
    status: StatusCode,
    content_type: &'static str,
    body: Body,
    coding: Coding,
) -> Response<Body> {
    let mut response = Response::new(body);
    *response.status_mut() = status;
    let headers = response.headers_mut();
    headers.insert(CONTENT_TYPE, HeaderValue::from_static(content_type));
    headers.insert(VARY, HeaderValue::from_static("Accept-Encoding"));
    if let Some(name) = coding.name() {
        headers.insert(CONTENT_ENCODING, HeaderValue::from_static(name));
    }
    response
}

fn root() -> Answer {
    // Fluent Bit's shape, which probes look for.
    Answer::json(&json!({
        "fluent-bit": {
            "version": env!("CARGO_PKG_VERSION"),
            "edition": "kansoku",
            "flags": [],
        }
    }))
}

fn health(shared: &Current) -> Answer {
    if shared.health.is_ok() {
        Answer::text(StatusCode::OK, "ok\n")
    } else {
        Answer::text(StatusCode::INTERNAL_SERVER_ERROR, "error\n")
    }
}

fn uptime(seconds: u64) -> Answer {
    let (days, hours, minutes) = (seconds / 86400, seconds / 3600 % 24, seconds / 60 % 60);
    let part = |n: u64, unit: &str| format!("{n} {unit}{}", if n > 1 { "s" } else { "" });
    let text = format!(
        "kansoku has been running:  {}, {}, {} and {}",
        part(days, "day"),
        part(hours, "hour"),
        part(minutes, "minute"),
        part(seconds % 60, "second"),
    );
    Answer::json(&json!({ "uptime_sec": seconds, "uptime_hr": text }))
}

/// Every plugin that there is, in use or not, as Fluent Bit lists them.
fn plugins() -> Answer {
    fn names<T: ?Sized, E>(all: &[&'static Plugin<T, E>]) -> Vec<&'static str> {
        all.iter().map(|p| p.name).collect()
    }
    Answer::json(&json!({
        "plugins": {
            "inputs": names(inputs::ALL),
            "filters": names(filters::ALL),
            "outputs": names(kansoku_outputs::ALL),
        }
    }))
}

/// Node, containers and the agent itself, read now; node collectors that hang are left out by the limit.
async fn collected(
    shared: Arc<Current>,
    part: Part,
    limit: Option<Instant>,
    coding: Coding,
) -> Response<Body> {
    let own = (part == Part::All).then(|| shared.own.batch());
    let mut targets = shared.targets.clone().lock_owned().await;
    // Reading files blocks, for about a millisecond, so it does not belong on a runtime's thread.
    let collecting = tokio::task::spawn_blocking(move || {
        let batch = targets.collect(part, limit);
        let done = shared.clone();
        let done: Done = Box::new(move |batches, n_duplicates| {
            done.own.duplicate_series.add(n_duplicates);
            // Who scrapes meanwhile has a batch of its own.
            if let (Some(batch), Ok(mut targets)) =
                (batches.into_iter().next(), done.targets.try_lock())
            {
                targets.take_back(batch);
            }
        });
        let batches = std::iter::once(batch).chain(own).collect();
        drop(targets);
        let answer = Body::of_metrics(batches, coding, done);
        resident::give_back_freed();
        answer
    });
    match collecting.await {
        Ok((body, coding)) => response(StatusCode::OK, exposition::CONTENT_TYPE, body, coding),
        Err(error) => respond(failed(&error), Coding::Identity),
    }
}

/// The objects of the cluster that inputs keep.
async fn kube_state(shared: &Current) -> Answer {
    let shown = shared.kube_state.clone();
    // Some ten thousand objects take a while.
    let collecting = tokio::task::spawn_blocking(move || {
        let mut body = Vec::new();
        let n_duplicates = shown.expose(&mut body);
        (body, n_duplicates)
    });
    match collecting.await {
        Ok((_, None)) => Answer::text(
            StatusCode::NOT_FOUND,
            "no kube_state_metrics input is configured, or it has not reached the API yet\n",
        ),
        Ok((body, Some(n_duplicates))) => {
            shared.own.duplicate_series.add(n_duplicates);
            Answer::exposition(body)
        }
        Err(error) => failed(&error),
    }
}

fn failed(error: &JoinError) -> Answer {
    log::error("http_server", format!("failed to collect metrics: {error}"));
    Answer::text(
        StatusCode::INTERNAL_SERVER_ERROR,
        "failed to collect metrics\n",
    )
}

#[cfg(test)]
mod tests;
