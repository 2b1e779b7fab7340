//! The HTTP server: the metrics path, the landing page, and the bounds of both.

use std::convert::Infallible;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use anyhow::Context;
use bytes::Bytes;
use http_body_util::Full;
use hyper::body::Incoming;
use hyper::header::{CONTENT_ENCODING, CONTENT_TYPE, HeaderValue, VARY};
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper::{Request, Response, StatusCode};
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::net::{TcpListener, TcpStream};
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use super::COMPONENT;
use super::command_line::{DISABLE_EXPORTER_METRICS, Invocation, LISTEN, TELEMETRY_PATH};
use super::own_metrics::OwnMetrics;
use super::scrape::Scraper;
use crate::collectors::node::NodeCollectors;
use crate::content_coding::Coding;
use crate::{exposition, log};

/// Connections at a time; more wait to be accepted.
const MAX_CONNECTIONS: usize = 128;
/// A request's head must be complete within this time; idle connections end with it too.
const HEAD_PATIENCE: Duration = Duration::from_secs(120);
/// Request heads are a few hundred bytes.
const MAX_HEAD_BYTES: usize = 64 << 10;
/// How long to wait when no connection can be accepted, for want of descriptors mostly.
const ACCEPT_PAUSE: Duration = Duration::from_millis(200);
const DEFAULT_ADDRESS: &str = ":9100";

/// What all requests share.
struct Shared {
    scraper: Scraper,
    telemetry_path: String,
    /// 0 means any number.
    max_requests: usize,
    /// Counts the scrapes in flight also where nobody is told of them.
    own: Arc<OwnMetrics>,
    landing_page: String,
}

/// Listens on every address and answers until a signal comes.
///
/// # Errors
/// When an address cannot be had.
pub(super) fn serve(invocation: Invocation, collectors: NodeCollectors) -> anyhow::Result<()> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .context("failed to start the runtime")?;
    let flags = invocation.spec.flags;
    let own = Arc::new(OwnMetrics::default());
    let is_told = !flags.is_on(&DISABLE_EXPORTER_METRICS);
    let telemetry_path = flags.text(&TELEMETRY_PATH).to_owned();
    let shared = Arc::new(Shared {
        scraper: Scraper::new(collectors, is_told.then(|| own.clone())),
        landing_page: landing_page(&telemetry_path),
        telemetry_path,
        max_requests: invocation.max_requests,
        own,
    });
    let given = flags.list(&LISTEN);
    let default = [DEFAULT_ADDRESS.to_owned()];
    let addresses = if given.is_empty() { &default } else { given };
    runtime.block_on(async {
        let room = Arc::new(Semaphore::new(MAX_CONNECTIONS));
        for address in addresses {
            for listener in listen(address).await? {
                let at = listener.local_addr()?;
                log::info(COMPONENT, format_args!("listening on {at}"));
                tokio::spawn(accept(listener, shared.clone(), room.clone()));
            }
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

/// Go's address form: `:9100` is every address, v6 and v4.
async fn listen(address: &str) -> anyhow::Result<Vec<TcpListener>> {
    let hint = || format!("failed to listen on '{address}'; choose another --web.listen-address");
    let (host, port) = address.rsplit_once(':').with_context(|| {
        format!("--web.listen-address is '{address}', but must be HOST:PORT or :PORT")
    })?;
    if !host.is_empty() {
        let resolved: Vec<SocketAddr> = tokio::net::lookup_host(address)
            .await
            .with_context(hint)?
            .collect();
        return Ok(vec![
            TcpListener::bind(resolved.as_slice())
                .await
                .with_context(hint)?,
        ]);
    }
    let port: u16 = port.parse().with_context(hint)?;
    // The v6 wildcard takes v4 too, unless the system says otherwise or knows no v6.
    let wide = TcpListener::bind((std::net::Ipv6Addr::UNSPECIFIED, port)).await;
    match wide {
        Ok(listener) => Ok(vec![listener]),
        Err(_) => {
            let narrow = TcpListener::bind((std::net::Ipv4Addr::UNSPECIFIED, port)).await;
            Ok(vec![narrow.with_context(hint)?])
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
    let service = service_fn(move |request: Request<Incoming>| {
        let shared = shared.clone();
        async move { Ok::<_, Infallible>(answer(shared, &request).await) }
    });
    let served = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(HEAD_PATIENCE)
        .max_buf_size(MAX_HEAD_BYTES)
        .serve_connection(TokioIo::new(stream), service)
        .await;
    if let Err(error) = served {
        log::debug(COMPONENT, format_args!("connection ended: {error}"));
    }
    drop(permit);
}

async fn answer(shared: Arc<Shared>, request: &Request<Incoming>) -> Response<Full<Bytes>> {
    let path = request.uri().path();
    if path == shared.telemetry_path {
        let response = metrics(shared.clone(), request).await;
        shared.own.answered(response.status().as_u16());
        return response;
    }
    if path == "/" {
        return text(
            StatusCode::OK,
            "text/html; charset=UTF-8",
            shared.landing_page.clone(),
        );
    }
    plain(StatusCode::NOT_FOUND, "404 page not found\n")
}

async fn metrics(shared: Arc<Shared>, request: &Request<Incoming>) -> Response<Full<Bytes>> {
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
    // Reading files blocks, so it does not belong on the runtime's thread.
    let collecting =
        tokio::task::spawn_blocking(move || coding.pack(shared.scraper.scrape(&wanted)));
    let Ok((body, coding)) = collecting.await else {
        return plain(
            StatusCode::INTERNAL_SERVER_ERROR,
            "failed to collect metrics\n",
        );
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

fn plain(status: StatusCode, body: impl Into<Vec<u8>>) -> Response<Full<Bytes>> {
    text(status, "text/plain; charset=utf-8", body)
}

fn text(
    status: StatusCode,
    content_type: &'static str,
    body: impl Into<Vec<u8>>,
) -> Response<Full<Bytes>> {
    let mut response = Response::new(Full::new(Bytes::from(body.into())));
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
