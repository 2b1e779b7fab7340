//! The HTTP server: the metrics path, the landing page, and the bounds of both.

use std::convert::Infallible;
use std::net::SocketAddr;
use std::sync::atomic::Ordering;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use anyhow::Context;
use hyper::body::Incoming;
use hyper::header::{
    AUTHORIZATION, CONTENT_ENCODING, CONTENT_TYPE, HeaderValue, VARY, WWW_AUTHENTICATE,
};
use hyper::server::conn::{http1, http2};
use hyper::service::{Service, service_fn};
use hyper::{Request, Response, StatusCode};
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use kansoku_web::{Passwords, RateLimit, WebConfig, WebConfigFile};
use listenfd::ListenFd;
use tokio::net::{TcpListener, TcpStream};
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio_rustls::TlsAcceptor;

use super::command_line::{
    CONFIG_FILE, DISABLE_EXPORTER_METRICS, Invocation, LISTEN, SYSTEMD_SOCKET, TELEMETRY_PATH,
};
use super::own_metrics::OwnMetrics;
use super::scrape::Scraper;
use super::{COMPONENT, tell};
use crate::collectors::node::NodeCollectors;
use crate::content_coding::Coding;
use crate::metrics_body::Body;
use crate::{exposition, log, scrape_timeout};

/// Connections at a time; more wait to be accepted.
const MAX_CONNECTIONS: usize = 128;
/// A request's head must be complete within this time; idle connections end with it too.
const HEAD_PATIENCE: Duration = Duration::from_secs(120);
/// Request heads are a few hundred bytes.
const MAX_HEAD_BYTES: usize = 64 << 10;
/// A handshake takes a few round trips.
const HANDSHAKE_PATIENCE: Duration = Duration::from_secs(10);
/// Requests of one HTTP/2 connection at a time.
const MAX_STREAMS: u32 = 64;
/// How long to wait when no connection can be accepted, for want of descriptors mostly.
const ACCEPT_PAUSE: Duration = Duration::from_millis(200);

/// What all requests share.
struct Shared {
    scraper: Scraper,
    telemetry_path: String,
    /// 0 means any number.
    max_requests: usize,
    /// Counts the scrapes in flight also where nobody is told of them.
    own: Arc<OwnMetrics>,
    landing_page: String,
    /// Held for the moment in which the file is looked at.
    config: Mutex<WebConfigFile>,
    passwords: Passwords,
    /// As it was at the start, as in node_exporter.
    rate_limit: Option<RateLimit>,
}

impl Shared {
    fn new(invocation: &Invocation, collectors: NodeCollectors) -> anyhow::Result<Self> {
        let flags = &invocation.spec.flags;
        let own = Arc::new(OwnMetrics::default());
        let is_told = !flags.is_on(&DISABLE_EXPORTER_METRICS);
        let telemetry_path = flags.text(&TELEMETRY_PATH).to_owned();
        let mut config = WebConfigFile::new(flags.text(&CONFIG_FILE), tell)?;
        let rate_limit = config.current().rate_limit;
        Ok(Self {
            scraper: Scraper::new(collectors, is_told.then(|| own.clone())),
            landing_page: landing_page(&telemetry_path),
            telemetry_path,
            max_requests: invocation.max_requests,
            own,
            rate_limit: rate_limit
                .map(|(burst, every)| RateLimit::new(burst, every, Instant::now())),
            config: Mutex::new(config),
            passwords: Passwords::default(),
        })
    }

    fn config(&self) -> WebConfig {
        let mut config = self.config.lock().unwrap_or_else(PoisonError::into_inner);
        config.current().clone()
    }
}

/// Listens on every address and answers until a signal comes.
///
/// # Errors
/// When an address cannot be had or the web configuration has a mistake.
pub(super) fn serve(invocation: Invocation, collectors: NodeCollectors) -> anyhow::Result<()> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .context("failed to start the runtime")?;
    let flags = &invocation.spec.flags;
    let shared = Arc::new(Shared::new(&invocation, collectors)?);
    runtime.block_on(async {
        let listeners = match flags.is_on(&SYSTEMD_SOCKET) {
            true => activated()?,
            false => bind(flags.list(&LISTEN)).await?,
        };
        for at in start(&shared, listeners)? {
            let tls = match shared.config().tls {
                Some(_) => " with TLS",
                None => "",
            };
            log::info(COMPONENT, format_args!("listening on {at}{tls}"));
        }
        let mut terminate = signal(SignalKind::terminate())?;
        let mut interrupt = signal(SignalKind::interrupt())?;
        tokio::select! {
            _ = terminate.recv() => {}
            _ = interrupt.recv() => {}
        }
        Ok(())
    })
}

/// Answers on every listener for as long as the runtime lives; gives their addresses.
fn start(shared: &Arc<Shared>, listeners: Vec<TcpListener>) -> anyhow::Result<Vec<SocketAddr>> {
    let room = Arc::new(Semaphore::new(MAX_CONNECTIONS));
    let mut bound = Vec::new();
    for listener in listeners {
        bound.push(listener.local_addr()?);
        tokio::spawn(accept(listener, shared.clone(), room.clone()));
    }
    Ok(bound)
}

/// The sockets that systemd opened for us.
fn activated() -> anyhow::Result<Vec<TcpListener>> {
    let mut given = ListenFd::from_env();
    let mut listeners = Vec::new();
    for at in 0..given.len() {
        let taken = given.take_tcp_listener(at);
        let Some(listener) =
            taken.context("--web.systemd-socket: a socket that systemd gave is no TCP listener")?
        else {
            continue;
        };
        listener.set_nonblocking(true)?;
        listeners.push(TcpListener::from_std(listener)?);
    }
    anyhow::ensure!(
        !listeners.is_empty(),
        "--web.systemd-socket: systemd gave no socket; start the service with its .socket unit"
    );
    Ok(listeners)
}

/// Listens on the addresses, or where node_exporter does by default.
async fn bind(addresses: &[String]) -> anyhow::Result<Vec<TcpListener>> {
    let default = [LISTEN.default.to_owned()];
    let addresses = if addresses.is_empty() {
        &default
    } else {
        addresses
    };
    let mut listeners = Vec::new();
    for address in addresses {
        listeners.push(listen(address).await?);
    }
    Ok(listeners)
}

/// Go's address form: `:9100` is every address, v6 and v4.
async fn listen(address: &str) -> anyhow::Result<TcpListener> {
    let hint = || format!("failed to listen on '{address}'; choose another --web.listen-address");
    let (host, port) = address.rsplit_once(':').with_context(|| {
        format!("--web.listen-address is '{address}', but must be HOST:PORT or :PORT")
    })?;
    if !host.is_empty() {
        let resolved = tokio::net::lookup_host(address).await.with_context(hint)?;
        let resolved: Vec<SocketAddr> = resolved.collect();
        let listener = TcpListener::bind(resolved.as_slice()).await;
        return listener.with_context(hint);
    }
    let port: u16 = port.parse().with_context(hint)?;
    // The v6 wildcard takes v4 too, unless the system says otherwise or knows no v6.
    match TcpListener::bind((std::net::Ipv6Addr::UNSPECIFIED, port)).await {
        Ok(listener) => Ok(listener),
        Err(_) => {
            let narrow = TcpListener::bind((std::net::Ipv4Addr::UNSPECIFIED, port)).await;
            narrow.with_context(hint)
        }
    }
}

async fn accept(listener: TcpListener, shared: Arc<Shared>, room: Arc<Semaphore>) {
    loop {
        let Ok(permit) = room.clone().acquire_owned().await else {
            return; // never: the semaphore is not closed
        };
        match listener.accept().await {
            Ok((stream, _)) => {
                tokio::spawn(connection(stream, shared.clone(), permit));
            }
            Err(error) => {
                log::debug(COMPONENT, format_args!("failed to accept: {error}"));
                tokio::time::sleep(ACCEPT_PAUSE).await;
            }
        }
    }
}

async fn connection(stream: TcpStream, shared: Arc<Shared>, permit: OwnedSemaphorePermit) {
    let result = match shared.config().tls {
        None => serve_http(TokioIo::new(stream), shared).await,
        Some(tls) => serve_tls(stream, tls, shared).await,
    };
    if let Err(error) = result {
        log::debug(COMPONENT, format_args!("connection ended: {error:#}"));
    }
    drop(permit);
}

async fn serve_tls(
    stream: TcpStream,
    tls: Arc<rustls::ServerConfig>,
    shared: Arc<Shared>,
) -> anyhow::Result<()> {
    let accepting = TlsAcceptor::from(tls).accept(stream);
    let stream = tokio::time::timeout(HANDSHAKE_PATIENCE, accepting).await??;
    let is_http2 = stream.get_ref().1.alpn_protocol() == Some(b"h2");
    if !is_http2 {
        return serve_http(TokioIo::new(stream), shared).await;
    }
    http2::Builder::new(TokioExecutor::new())
        .timer(TokioTimer::new())
        .keep_alive_interval(Some(HEAD_PATIENCE))
        .max_concurrent_streams(MAX_STREAMS)
        .serve_connection(TokioIo::new(stream), service(shared))
        .await?;
    Ok(())
}

async fn serve_http<S>(stream: S, shared: Arc<Shared>) -> anyhow::Result<()>
where
    S: hyper::rt::Read + hyper::rt::Write + Unpin,
{
    http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(HEAD_PATIENCE)
        .max_buf_size(MAX_HEAD_BYTES)
        .serve_connection(stream, service(shared))
        .await?;
    Ok(())
}

fn service(
    shared: Arc<Shared>,
) -> impl Service<Request<Incoming>, Response = Response<Body>, Error = Infallible, Future: Send> {
    service_fn(move |request: Request<Incoming>| {
        let shared = shared.clone();
        async move { Ok(guarded(shared, &request).await) }
    })
}

/// Answers whom the web configuration lets in.
async fn guarded(shared: Arc<Shared>, request: &Request<Incoming>) -> Response<Body> {
    let config = shared.config();
    let limit = &shared.rate_limit;
    let mut response = if limit
        .as_ref()
        .is_some_and(|l| !l.is_allowed(Instant::now()))
    {
        plain(StatusCode::TOO_MANY_REQUESTS, "Too Many Requests\n")
    } else if is_let_in(&shared, &config, request).await {
        answer(&shared, request).await
    } else {
        let mut response = plain(StatusCode::UNAUTHORIZED, "Unauthorized\n");
        let basic = HeaderValue::from_static("Basic");
        response.headers_mut().insert(WWW_AUTHENTICATE, basic);
        response
    };
    for (name, value) in config.headers {
        response.headers_mut().insert(name, value);
    }
    response
}

async fn is_let_in(shared: &Arc<Shared>, config: &WebConfig, request: &Request<Incoming>) -> bool {
    if config.users.is_empty() {
        return true;
    }
    let header = request.headers().get(AUTHORIZATION);
    let header = header.and_then(|h| h.to_str().ok()).map(str::to_owned);
    let (shared, users) = (shared.clone(), config.users.clone());
    let judging =
        tokio::task::spawn_blocking(move || shared.passwords.is_right(&users, header.as_deref()));
    judging.await.unwrap_or(false)
}

async fn answer(shared: &Shared, request: &Request<Incoming>) -> Response<Body> {
    let path = request.uri().path();
    if path == shared.telemetry_path {
        let response = metrics(shared, request).await;
        shared.own.answered(response.status().as_u16());
        return response;
    }
    if path == "/" {
        let page = shared.landing_page.clone();
        return text(StatusCode::OK, "text/html; charset=UTF-8", page);
    }
    plain(StatusCode::NOT_FOUND, "404 page not found\n")
}

async fn metrics(shared: &Shared, request: &Request<Incoming>) -> Response<Body> {
    let in_flight = InFlight::new(shared.own.clone());
    let max = shared.max_requests;
    if max > 0 && in_flight.n > max as u64 {
        let body = format!("Limit of concurrent requests reached ({max}), try again later.\n");
        return plain(StatusCode::SERVICE_UNAVAILABLE, body);
    }
    let wanted = match shared
        .scraper
        .wanted(request.uri().query().unwrap_or_default())
    {
        Ok(wanted) => wanted,
        Err(message) => return plain(StatusCode::BAD_REQUEST, message),
    };
    let coding = Coding::wanted(request.headers());
    let limit = scrape_timeout::limit(request.headers());
    let Some((body, coding)) = shared.scraper.scrape(&wanted, limit, coding).await else {
        let body = "Other scrapes took all the time of this one, try again later.\n";
        return plain(StatusCode::SERVICE_UNAVAILABLE, body);
    };
    let mut response = text(StatusCode::OK, exposition::CONTENT_TYPE, body);
    let headers = response.headers_mut();
    headers.insert(VARY, HeaderValue::from_static("Accept-Encoding"));
    if let Some(name) = coding.name() {
        headers.insert(CONTENT_ENCODING, HeaderValue::from_static(name));
    }
    response
}

/// A scrape being served.
struct InFlight {
    own: Arc<OwnMetrics>,
    /// How many there are with this one.
    n: u64,
}

impl InFlight {
    fn new(own: Arc<OwnMetrics>) -> Self {
        let n = own.in_flight.fetch_add(1, Ordering::Relaxed) + 1;
        Self { own, n }
    }
}

impl Drop for InFlight {
    fn drop(&mut self) {
        self.own.in_flight.fetch_sub(1, Ordering::Relaxed);
    }
}

fn plain(status: StatusCode, body: impl Into<Body>) -> Response<Body> {
    text(status, "text/plain; charset=utf-8", body)
}

fn text(status: StatusCode, content_type: &'static str, body: impl Into<Body>) -> Response<Body> {
    let mut response = Response::new(body.into());
    *response.status_mut() = status;
    let content_type = HeaderValue::from_static(content_type);
    response.headers_mut().insert(CONTENT_TYPE, content_type);
    response
}

fn landing_page(telemetry_path: &str) -> String {
    let path = telemetry_path
        .replace('&', "&amp;")
        .replace('"', "&quot;")
        .replace('<', "&lt;");
    format!(
        "<!DOCTYPE html>\n<html lang=\"en\">\n<head>\n<meta charset=\"UTF-8\">\n\
         <title>Node Exporter</title>\n</head>\n<body>\n<h1>Node Exporter</h1>\n\
         <h2>Prometheus Node Exporter</h2>\n<div>Version: {}</div>\n\
         <ul>\n<li><a href=\"{path}\">Metrics</a></li>\n</ul>\n</body>\n</html>\n",
        env!("CARGO_PKG_VERSION"),
    )
}

#[cfg(test)]
mod tests;
