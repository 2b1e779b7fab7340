//! The HTTP server that network inputs share: HTTP/1.1 and HTTP/2 on one port, bounded bodies,
//! decompression, and answers that tell the truth.
//!
//! The rule: "done" is answered only when all records of a request are delivered (or durable in the
//! spill). While there is no room the answer is 503 with `Retry-After`, and nothing of the request was
//! taken. What was taken is not refused afterwards, because the client would send it twice: its answer
//! waits as long as the delivery does.

use std::convert::Infallible;
use std::future::Future;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http_body_util::combinators::BoxBody;
use http_body_util::{BodyExt, Full, Limited};
use hyper::body::{Body, Incoming};
use hyper::header::{
    CONTENT_ENCODING, CONTENT_TYPE, HeaderMap, HeaderName, HeaderValue, RETRY_AFTER,
    WWW_AUTHENTICATE,
};
use hyper::service::service_fn;
use hyper::{Method, Request, Response, StatusCode};
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use hyper_util::server::conn::auto;
use kansoku_model::{ConfigError, OptionKind, OptionSpec, RecordBatch, Settings};
use kansoku_parsers::wire::compressed::{UnpackError, unpack};
use kansoku_parsers::wire::records::Stream;
use tokio::sync::{Mutex, Semaphore};

use super::bearer::{self, Bearer};
use super::listen::{self, Connection, Listen};
use super::pipe::{Net, Pipe};
use super::{MAX_GROWTH, buffer_size, int_within};
use crate::pipeline::Link;
use crate::plugin::Input;

const OWN: &[OptionSpec] = &[
    OptionSpec::new("http2", OptionKind::Bool, "on", "speak HTTP/2, too"),
    OptionSpec::new(
        "buffer_max_size",
        OptionKind::Size,
        "4M",
        "the largest body as it comes; decompressed it may have 16 times the size",
    ),
    OptionSpec::new(
        "buffer_chunk_size",
        OptionKind::Size,
        "512K",
        "of no meaning: buffers grow as bodies arrive",
    ),
    OptionSpec::new(
        "max_connections",
        OptionKind::Int,
        "0",
        "connections at a time; 0 = 1024. More wait",
    ),
    OptionSpec::new(
        "workers",
        OptionKind::Int,
        "1",
        "of no meaning: one thread serves all connections",
    ),
    OptionSpec::new("http_server.http2", OptionKind::Bool, "on", "as http2"),
    OptionSpec::new(
        "http_server.idle_timeout",
        OptionKind::Time,
        "10s",
        "an HTTP/1 connection without a request is closed after so long; 0 = an hour. net.io_timeout goes before it",
    ),
    OptionSpec::new(
        "http_server.buffer_max_size",
        OptionKind::Size,
        "4M",
        "as buffer_max_size",
    ),
    OptionSpec::new(
        "http_server.buffer_chunk_size",
        OptionKind::Size,
        "512K",
        "as buffer_chunk_size",
    ),
    OptionSpec::new(
        "http_server.max_connections",
        OptionKind::Int,
        "0",
        "as max_connections",
    ),
    OptionSpec::new("http_server.workers", OptionKind::Int, "1", "as workers"),
];
/// The options of every input that is an HTTP server.
pub const OPTIONS: [OptionSpec; OWN.len() + bearer::OPTIONS.len()] =
    kansoku_model::joined(OWN, &bearer::OPTIONS);
/// [`OPTIONS`] and those of the socket.
pub const N_OPTIONS: usize = OPTIONS.len() + listen::N_OPTIONS;
/// Joined behind a plugin's own options.
pub const ALL_OPTIONS: [OptionSpec; N_OPTIONS] =
    kansoku_model::joined(&OPTIONS, &listen::ALL_OPTIONS);
/// The protocols to agree on over TLS.
pub const ALPN: &[&[u8]] = &[b"h2", b"http/1.1"];

/// How long a request waits for room before it is sent away.
const ROOM_PATIENCE: Duration = Duration::from_secs(2);
/// How often it looks.
const ROOM_PAUSE: Duration = Duration::from_millis(20);
/// How long a client waits until its records are handed over; before that it can be refused.
const HANDOVER_PATIENCE: Duration = Duration::from_secs(30);
/// A body must be complete within this time.
const BODY_PATIENCE: Duration = Duration::from_secs(60);
/// All bodies under way, in units of a KiB; one body of any size always has its turn.
const BODIES_KIB: usize = 64 << 10;
/// Requests under way on one HTTP/2 connection.
const MAX_STREAMS: u32 = 64;
/// A dead peer of an HTTP/2 connection is noticed after so long.
const PING_EVERY: Duration = Duration::from_secs(60);

/// What is read of [`OPTIONS`].
#[derive(Clone)]
pub struct HttpOptions {
    http2: bool,
    max_body: usize,
    idle: Duration,
    keepalive: bool,
    /// Whose requests are heard, when not everybody's are.
    bearer: Option<Arc<Bearer>>,
}

impl HttpOptions {
    /// Reads [`OPTIONS`]; the bound on connections goes to `listen`.
    ///
    /// # Errors
    /// The first mistake.
    pub fn of(s: &Settings, listen: &mut Listen) -> Result<Self, ConfigError> {
        let either = |short: &'static str, long: &'static str| {
            if s.get(long).is_some() { long } else { short }
        };
        int_within(s, either("workers", "http_server.workers"), 1, 1..=1024)?;
        let key = either("buffer_chunk_size", "http_server.buffer_chunk_size");
        buffer_size(s, key, 512_000)?;
        let key = either("max_connections", "http_server.max_connections");
        let max_connections = int_within(s, key, 0, 0..=1_000_000)? as usize;
        if max_connections > 0 {
            listen.max_connections = max_connections;
        }
        let idle = s.seconds("http_server.idle_timeout", 10.0)?;
        let idle = if idle > 0.0 {
            idle.clamp(0.1, 1e6)
        } else {
            3600.0
        };
        let idle = listen.idle_timeout.unwrap_or(Duration::from_secs_f64(idle));
        Ok(Self {
            http2: s.bool(either("http2", "http_server.http2"), true)?,
            max_body: buffer_size(
                s,
                either("buffer_max_size", "http_server.buffer_max_size"),
                4_000_000,
            )?,
            idle,
            keepalive: listen.keepalive,
            bearer: Bearer::of(s)?.map(Arc::new),
        })
    }

    /// The most that a body may be as it comes.
    #[must_use]
    pub fn max_body(&self) -> usize {
        self.max_body
    }

    /// The most that a body may be when it is decompressed.
    #[must_use]
    pub fn max_plain(&self) -> usize {
        self.max_body.saturating_mul(MAX_GROWTH)
    }
}

/// One request, read and decompressed.
pub struct Call {
    pub method: Method,
    pub path: String,
    pub headers: HeaderMap,
    pub body: Vec<u8>,
}

impl Call {
    /// A header as text; empty when it is missing.
    #[must_use]
    pub fn header(&self, name: impl hyper::header::AsHeaderName) -> &str {
        let value = self.headers.get(name).and_then(|v| v.to_str().ok());
        value.unwrap_or_default()
    }

    /// The content type without its parameters, lower case.
    #[must_use]
    pub fn content_type(&self) -> String {
        let full = self.header(CONTENT_TYPE);
        full.split(';')
            .next()
            .unwrap_or_default()
            .trim()
            .to_ascii_lowercase()
    }
}

/// The bytes of an answer, perhaps with trailers.
pub type ReplyBody = BoxBody<Bytes, Infallible>;
/// An answer.
pub type Reply = Response<ReplyBody>;

/// An answer of one line of text, or of nothing.
#[must_use]
pub fn reply(status: StatusCode, text: &str) -> Reply {
    let body = Bytes::copy_from_slice(text.as_bytes());
    let mut reply = Response::new(Full::new(body).boxed());
    *reply.status_mut() = status;
    if !text.is_empty() {
        let plain = HeaderValue::from_static("text/plain; charset=utf-8");
        reply.headers_mut().insert(CONTENT_TYPE, plain);
    }
    reply
}

/// An answer with a content type.
#[must_use]
pub fn reply_with(status: StatusCode, content_type: &'static str, body: Vec<u8>) -> Reply {
    let mut reply = Response::new(Full::new(Bytes::from(body)).boxed());
    *reply.status_mut() = status;
    let content_type = HeaderValue::from_static(content_type);
    reply.headers_mut().insert(CONTENT_TYPE, content_type);
    reply
}

/// What an input does with requests.
pub trait Service: Send + Sync + 'static {
    /// Answers one request; `client` hands its records over.
    fn answer(&self, call: Call, client: &Client) -> impl Future<Output = Reply> + Send;

    /// Whether the body is to be decompressed as the header says.
    fn unpacks(&self, _headers: &HeaderMap) -> bool {
        true
    }

    /// How this protocol says that a request was refused before it came here.
    fn refusal(&self, _headers: &HeaderMap, status: StatusCode, reason: &str) -> Reply {
        refusal(status, reason)
    }
}

/// The plain way to say no.
#[must_use]
pub fn refusal(status: StatusCode, reason: &str) -> Reply {
    let mut reply = reply(status, &format!("error: {reason}\n"));
    if status == StatusCode::SERVICE_UNAVAILABLE {
        let seconds = HeaderValue::from_static("1");
        reply.headers_mut().insert(RETRY_AFTER, seconds);
    }
    reply
}

/// Why records were not taken: the client has to send them again.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum NotTaken {
    #[error("the outputs are busy; send it again")]
    Full,
    #[error("the agent is stopping; send it again")]
    Stopping,
}

/// One connection's way into the pipeline.
pub struct Client {
    pub pipe: Pipe,
    /// Held while records get their positions and are handed over: their order is kept.
    stream: Mutex<Stream>,
}

impl Client {
    /// Builds records and waits until all outputs have them.
    ///
    /// # Errors
    /// `Err` is what `build` refused; the inner one tells that nothing was taken, or that the agent is
    /// leaving.
    pub async fn take<T, E>(
        &self,
        build: impl FnOnce(&mut Stream) -> Result<(Vec<RecordBatch>, T), E>,
    ) -> Result<Result<T, NotTaken>, E> {
        let mut stream = self.stream.lock().await;
        let (batches, value) = build(&mut stream)?;
        let sent = tokio::time::timeout(HANDOVER_PATIENCE, self.pipe.send(batches)).await;
        drop(stream);
        let receipt = match sent {
            Ok(Ok(receipt)) => receipt,
            Ok(Err(_)) => return Ok(Err(NotTaken::Stopping)),
            Err(_) => return Ok(Err(NotTaken::Full)),
        };
        Ok(match receipt.await {
            Ok(()) => Ok(value),
            Err(_) => Err(NotTaken::Stopping),
        })
    }

    /// Waits a little for room.
    async fn room(&self) -> bool {
        let end = tokio::time::Instant::now() + ROOM_PATIENCE;
        while !self.pipe.has_room() {
            if tokio::time::Instant::now() > end {
                return false;
            }
            tokio::time::sleep(ROOM_PAUSE).await;
        }
        true
    }
}

/// An input that is an HTTP server.
pub struct Server<S> {
    /// In the log.
    pub name: &'static str,
    pub listen: Listen,
    pub options: HttpOptions,
    pub service: S,
}

impl<S: Service> Input for Server<S> {
    fn run(self: Box<Self>, link: Link) -> anyhow::Result<()> {
        super::run(link, move |Net { pipe }| {
            serve(self.name, self.listen, self.options, pipe, self.service)
        })
    }
}

/// Listens and serves until the agent stops.
///
/// # Errors
/// When the address cannot be had.
async fn serve<S: Service>(
    name: &'static str,
    listen: Listen,
    options: HttpOptions,
    pipe: Pipe,
    service: S,
) -> anyhow::Result<()> {
    let (service, options) = (Arc::new(service), Arc::new(options));
    let bodies_kib = BODIES_KIB.max(kib(options.max_body) as usize);
    let bodies = Arc::new(Semaphore::new(bodies_kib));
    let one = pipe.clone();
    listen::serve(name, listen, pipe, move |connection| {
        let (service, bodies, pipe) = (service.clone(), bodies.clone(), one.clone());
        serve_one(connection, options.clone(), pipe, service, bodies)
    })
    .await
}

async fn serve_one<S: Service>(
    connection: Connection,
    options: Arc<HttpOptions>,
    pipe: Pipe,
    service: Arc<S>,
    bodies: Arc<Semaphore>,
) {
    let client = Arc::new(Client {
        pipe: pipe.clone(),
        stream: Mutex::new(super::new_stream()),
    });
    let shared = options.clone();
    let answering = service_fn(move |request: Request<Incoming>| {
        let (service, client, bodies) = (service.clone(), client.clone(), bodies.clone());
        let options = shared.clone();
        async move { Ok::<_, Infallible>(answer(request, &options, &*service, &client, &bodies).await) }
    });
    let mut builder = auto::Builder::new(TokioExecutor::new());
    builder
        .http1()
        .timer(TokioTimer::new())
        .keep_alive(options.keepalive)
        .header_read_timeout(options.idle);
    builder
        .http2()
        .timer(TokioTimer::new())
        .max_concurrent_streams(MAX_STREAMS)
        .keep_alive_interval(PING_EVERY);
    let builder = if options.http2 {
        builder
    } else {
        builder.http1_only()
    };
    let serving = builder.serve_connection(TokioIo::new(connection.io), answering);
    tokio::pin!(serving);
    // An error means that the client sent no HTTP or went away: nothing to do about it.
    tokio::select! {
        _ = serving.as_mut() => {}
        () = pipe.stopping() => {
            serving.as_mut().graceful_shutdown();
            let _ = serving.await;
        }
    }
}

fn kib(bytes: usize) -> u32 {
    u32::try_from(bytes / 1024 + 1).unwrap_or(u32::MAX)
}

async fn answer<S: Service>(
    request: Request<Incoming>,
    options: &HttpOptions,
    service: &S,
    client: &Client,
    bodies: &Semaphore,
) -> Reply {
    let (head, body) = request.into_parts();
    let refuse = |status, reason: &str| service.refusal(&head.headers, status, reason);
    if let Some(bearer) = &options.bearer
        && let Err(refusal) = bearer.check(&head.headers).await
    {
        let mut reply = refuse(refusal.status(), refusal.reason());
        if refusal.status() == StatusCode::UNAUTHORIZED {
            let scheme = HeaderValue::from_static("Bearer");
            reply.headers_mut().insert(WWW_AUTHENTICATE, scheme);
        }
        return reply;
    }
    let has_body = head.method == Method::POST || head.method == Method::PUT;
    if has_body && !client.room().await {
        return refuse(StatusCode::SERVICE_UNAVAILABLE, &NotTaken::Full.to_string());
    }
    let too_large = || {
        let reason = format!(
            "the body is larger than buffer_max_size ({} bytes)",
            options.max_body
        );
        refuse(StatusCode::PAYLOAD_TOO_LARGE, &reason)
    };
    let size = body.size_hint().upper().unwrap_or(options.max_body as u64);
    let Ok(size) = usize::try_from(size) else {
        return too_large();
    };
    if size > options.max_body {
        return too_large();
    }
    // Held until the records are built, and the body with them is gone.
    let Ok(_permit) = bodies.acquire_many(kib(size)).await else {
        return refuse(
            StatusCode::SERVICE_UNAVAILABLE,
            &NotTaken::Stopping.to_string(),
        );
    };
    let limited = Limited::new(body, options.max_body).collect();
    let body = match tokio::time::timeout(BODY_PATIENCE, limited).await {
        Ok(Ok(body)) => body.to_bytes(),
        Ok(Err(error)) if error.is::<http_body_util::LengthLimitError>() => return too_large(),
        Ok(Err(error)) => return refuse(StatusCode::BAD_REQUEST, &error.to_string()),
        Err(_) => return refuse(StatusCode::REQUEST_TIMEOUT, "the body took too long"),
    };
    let body = match unpacked(service, &head.headers, body, options) {
        Ok(body) => body,
        Err(error @ UnpackError::TooLarge { .. }) => {
            return refuse(StatusCode::PAYLOAD_TOO_LARGE, &error.to_string());
        }
        Err(error @ UnpackError::Unknown(_)) => {
            return refuse(StatusCode::UNSUPPORTED_MEDIA_TYPE, &error.to_string());
        }
        Err(error) => return refuse(StatusCode::BAD_REQUEST, &error.to_string()),
    };
    let call = Call {
        method: head.method,
        path: head.uri.path().to_owned(),
        headers: head.headers,
        body,
    };
    service.answer(call, client).await
}

fn unpacked<S: Service>(
    service: &S,
    headers: &HeaderMap,
    body: Bytes,
    options: &HttpOptions,
) -> Result<Vec<u8>, UnpackError> {
    let encoding = headers.get(CONTENT_ENCODING).and_then(|v| v.to_str().ok());
    match encoding.map(str::trim) {
        Some(name)
            if !name.is_empty()
                && !name.eq_ignore_ascii_case("identity")
                && service.unpacks(headers) =>
        {
            unpack(name, &body, options.max_plain())
        }
        _ => Ok(body.into()),
    }
}

/// Reads `successful_response_code`.
///
/// # Errors
/// When it is none of 200, 201 and 204; Fluent Bit then answers 201.
pub fn success_status(s: &Settings) -> Result<StatusCode, ConfigError> {
    match s.int("successful_response_code", 201)? {
        200 => Ok(StatusCode::OK),
        201 => Ok(StatusCode::CREATED),
        204 => Ok(StatusCode::NO_CONTENT),
        other => {
            let place = s
                .get("successful_response_code")
                .map_or(&s.place, |k| &k.place);
            let message =
                format!("'successful_response_code' is {other}, but must be 200, 201 or 204");
            Err(ConfigError::new(place, message))
        }
    }
}

/// Reads the `success_header`s.
///
/// # Errors
/// When one is no valid header.
pub fn success_headers(s: &Settings) -> Result<Vec<(HeaderName, HeaderValue)>, ConfigError> {
    s.all("success_header")
        .map(|k| {
            let (name, value) = k
                .value
                .trim()
                .split_once(char::is_whitespace)
                .unwrap_or_default();
            let pair = HeaderName::try_from(name)
                .ok()
                .zip(HeaderValue::try_from(value.trim()).ok());
            pair.ok_or_else(|| {
                ConfigError::new(
                    &k.place,
                    format!(
                        "'success_header' is '{}', but must be a name and a value",
                        k.value
                    ),
                )
            })
        })
        .collect()
}
