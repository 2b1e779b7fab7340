//! HTTP connections to one destination: made when needed, used again, closed when idle.
//!
//! One exchange at a time per connection. A request that a dying connection did not take is sent
//! again on a fresh one; one that it may have taken is left to the retry of the caller.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use bytes::Bytes;
use http_body_util::{BodyExt, Full};
use hyper::body::Incoming;
use hyper::client::conn::{http1, http2};
use hyper::header::HOST;
use hyper::{HeaderMap, Request, Response, StatusCode, Uri};
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use kansoku_model::{ConfigError, Settings};
use tokio::sync::Semaphore;
use tokio::time::Instant;

use crate::net::Net;

type Body = Full<Bytes>;

/// An answer, read to its end.
#[derive(Debug)]
pub struct Answer {
    pub status: StatusCode,
    /// Headers, and trailers behind them.
    pub headers: HeaderMap,
    pub body: Bytes,
}

enum Sender {
    H1(http1::SendRequest<Body>),
    H2(http2::SendRequest<Body>),
}

struct Idle {
    sender: Sender,
    uses: u64,
    since: Instant,
}

/// How HTTP/2 is chosen.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Protocol {
    Http1,
    /// Over TLS when the server agrees, HTTP/1.1 otherwise.
    Negotiated,
    /// At once, also without TLS.
    Http2,
}

/// Connections to one destination.
pub struct Pool {
    pub net: Net,
    protocol: Protocol,
    reuse: bool,
    idle_timeout: Duration,
    max_uses: u64,
    limit: Option<Semaphore>,
    /// Unused connections, the newest last. Held only to push and pop.
    idle: Arc<Mutex<Vec<Idle>>>,
    /// The longest silence within an answer.
    read_timeout: Option<Duration>,
}

/// The most unused connections that are kept.
const IDLE_MAX: usize = 32;

impl Pool {
    /// A pool from the `net.*` options.
    ///
    /// # Errors
    /// When a value cannot be read.
    pub fn build(net: Net, settings: &Settings, protocol: Protocol) -> Result<Self, ConfigError> {
        let count = |key: &str, default: i64| -> Result<u64, ConfigError> {
            Ok(u64::try_from(settings.int(key, default)?).unwrap_or(0))
        };
        let io = settings.seconds("net.io_timeout", 0.0)?;
        let idle = settings.seconds("http.read_idle_timeout", 0.0)?;
        let read = if idle > 0.0 { idle } else { io };
        let limit = count("net.max_worker_connections", 0)?;
        Ok(Self {
            net,
            protocol,
            reuse: settings.bool("net.keepalive", true)?,
            idle_timeout: Duration::from_secs_f64(
                settings
                    .seconds("net.keepalive_idle_timeout", 30.0)?
                    .min(86_400.0),
            ),
            max_uses: match count("net.keepalive_max_recycle", 2000)? {
                0 => u64::MAX,
                n => n,
            },
            limit: (limit > 0).then(|| Semaphore::new(limit as usize)),
            idle: Arc::default(),
            read_timeout: (read > 0.0).then(|| Duration::from_secs_f64(read.min(86_400.0))),
        })
    }

    /// One exchange: sends the request, whose target is a whole URL, and reads at most `max_bytes` of the answer's body.
    ///
    /// # Errors
    /// What went wrong, in words.
    pub async fn exchange(
        &self,
        mut request: Request<Body>,
        max_bytes: usize,
    ) -> Result<Answer, String> {
        let _permit = match &self.limit {
            Some(limit) => limit.acquire().await.ok(),
            None => None,
        };
        let full = request.uri().clone();
        while let Some(mut idle) = self.pop() {
            self.shape(&mut request, &idle.sender, &full);
            match idle.sender.send(request).await {
                Ok(answer) => return self.finish(idle, answer, max_bytes).await,
                Err((_, Some(not_sent))) => request = *not_sent,
                Err((reason, None)) => return Err(reason),
            }
        }
        let sender = self.connect().await?;
        let mut fresh = Idle {
            sender,
            uses: 0,
            since: Instant::now(),
        };
        self.shape(&mut request, &fresh.sender, &full);
        match fresh.sender.send(request).await {
            Ok(answer) => self.finish(fresh, answer, max_bytes).await,
            Err((reason, _)) => Err(reason),
        }
    }

    /// Makes the request's target what the connection wants: the whole URL for HTTP/2 and for a
    /// proxy, the path alone otherwise. HTTP/2 carries the host in the URL.
    fn shape(&self, request: &mut Request<Body>, sender: &Sender, full: &Uri) {
        *request.uri_mut() = full.clone();
        match sender {
            Sender::H2(_) => {
                request.headers_mut().remove(HOST);
            }
            Sender::H1(_) if self.net.is_tls() || self.net.proxy.is_none() => {
                if let Some(path) = full.path_and_query() {
                    *request.uri_mut() = Uri::from(path.clone());
                }
            }
            Sender::H1(_) => {}
        }
    }

    fn pop(&self) -> Option<Idle> {
        let mut idle = self.idle.lock().expect("nobody panics with the lock");
        while let Some(found) = idle.pop() {
            if found.since.elapsed() < self.idle_timeout && found.sender.is_usable() {
                return Some(found);
            }
        }
        None
    }

    async fn finish(
        &self,
        mut used: Idle,
        answer: Response<Incoming>,
        max_bytes: usize,
    ) -> Result<Answer, String> {
        let (parts, mut incoming) = answer.into_parts();
        let mut headers = parts.headers;
        let mut body: Vec<u8> = Vec::new();
        let mut is_whole = true;
        loop {
            let frame = match self.read_timeout {
                None => incoming.frame().await,
                Some(limit) => tokio::time::timeout(limit, incoming.frame())
                    .await
                    .map_err(|_| format!("the answer stopped for {limit:?}"))?,
            };
            let Some(frame) = frame else { break };
            let frame = frame.map_err(|e| format!("the answer broke off: {}", with_causes(&e)))?;
            match frame.into_data() {
                Ok(data) if body.len() + data.len() > max_bytes => {
                    body.extend_from_slice(&data[..max_bytes - body.len()]);
                    is_whole = false;
                    break;
                }
                Ok(data) => body.extend_from_slice(&data),
                Err(frame) => {
                    if let Ok(trailers) = frame.into_trailers() {
                        headers.extend(trailers);
                    }
                }
            }
        }
        used.uses += 1;
        if self.reuse && is_whole && used.uses < self.max_uses {
            self.push(used).await;
        }
        Ok(Answer {
            status: parts.status,
            headers,
            body: body.into(),
        })
    }

    /// Keeps a connection for the next request, and sees to it that it does not stay for ever.
    async fn push(&self, mut used: Idle) {
        // An HTTP/1 connection is ready again only once its task has seen the answer's end.
        if !used.sender.ready().await {
            return;
        }
        used.since = Instant::now();
        let is_first = {
            let mut idle = self.idle.lock().expect("nobody panics with the lock");
            if idle.len() >= IDLE_MAX {
                idle.remove(0);
            }
            idle.push(used);
            idle.len() == 1
        };
        if is_first {
            let (idle, timeout) = (Arc::downgrade(&self.idle), self.idle_timeout);
            tokio::spawn(async move {
                loop {
                    tokio::time::sleep(timeout.max(Duration::from_secs(1))).await;
                    let Some(idle) = idle.upgrade() else { return };
                    let mut idle = idle.lock().expect("nobody panics with the lock");
                    idle.retain(|i| i.since.elapsed() < timeout && i.sender.is_usable());
                    if idle.is_empty() {
                        return;
                    }
                }
            });
        }
    }

    async fn connect(&self) -> Result<Sender, String> {
        let connected = self.net.connect().await?;
        let io = TokioIo::new(connected.io);
        let is_h2 = match self.protocol {
            Protocol::Http1 => false,
            Protocol::Negotiated => connected.is_h2,
            Protocol::Http2 => true,
        };
        let failed = |e: hyper::Error| format!("no HTTP connection: {}", with_causes(&e));
        if is_h2 {
            let (sender, connection) = http2::Builder::new(TokioExecutor::new())
                .timer(TokioTimer::new())
                .handshake(io)
                .await
                .map_err(failed)?;
            tokio::spawn(connection);
            return Ok(Sender::H2(sender));
        }
        let (sender, connection) = http1::Builder::new()
            .max_buf_size(64 << 10)
            .handshake(io)
            .await
            .map_err(failed)?;
        tokio::spawn(connection);
        Ok(Sender::H1(sender))
    }
}

type NotSent = (String, Option<Box<Request<Body>>>);

impl Sender {
    async fn send(&mut self, request: Request<Body>) -> Result<Response<Incoming>, NotSent> {
        match self {
            Self::H1(sender) => sender.try_send_request(request).await.map_err(refused),
            Self::H2(sender) => {
                if let Err(e) = sender.ready().await {
                    return Err((with_causes(&e), Some(Box::new(request))));
                }
                sender.try_send_request(request).await.map_err(refused)
            }
        }
    }

    fn is_usable(&self) -> bool {
        match self {
            Self::H1(sender) => sender.is_ready(),
            Self::H2(sender) => !sender.is_closed(),
        }
    }

    async fn ready(&mut self) -> bool {
        match self {
            Self::H1(sender) => sender.ready().await.is_ok(),
            Self::H2(sender) => sender.ready().await.is_ok(),
        }
    }
}

fn refused(mut error: hyper::client::conn::TrySendError<Request<Body>>) -> NotSent {
    let request = error.take_message().map(Box::new);
    (with_causes(error.error()), request)
}

/// An error with what caused it.
#[must_use]
pub fn with_causes(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(e) = cause {
        text = format!("{text}: {e}");
        cause = e.source();
    }
    text
}
