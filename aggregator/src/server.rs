//! The HTTP server: connections, their bounds, and the way from a request to a handler and back.
//!
//! Not here: what the paths mean ([`crate::http::routes`]). The one rule: whatever a client sends
//! or fails to send, it costs one connection slot and a bounded time, and gets an answer that says
//! what was wrong.

use std::convert::Infallible;
use std::net::SocketAddr;
use std::pin::pin;
use std::sync::Arc;
use std::time::{Duration, Instant};

use http_body_util::Full;
use hyper::body::{Bytes, Incoming};
use hyper::header::{self, HeaderValue};
use hyper::server::conn::{http1, http2};
use hyper::service::{Service, service_fn};
use hyper::upgrade::OnUpgrade;
use hyper::{HeaderMap, Method, Request, Response, StatusCode};
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use kansoku_model::tenant;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{Semaphore, watch};
use tokio::task::JoinSet;
use tokio_rustls::TlsAcceptor;

use crate::access::audit::Event;
use crate::access::{self, Denied, Principal, Right};
use crate::app::App;
use crate::http::patience::Patient;
use crate::http::reply::Packing;
use crate::http::routes::{self, Accepts, Found, Route};
use crate::http::{Call, Form, Peer, Reply, body, header as header_text};
use crate::journal;
use crate::tenants::View;

/// A client that has not sent its request's head by then, or sends nothing on an open connection,
/// is disconnected.
const HEAD_MAX: Duration = Duration::from_secs(60);
/// A client that takes nothing of its answer for this long is disconnected.
const WRITE_MAX: Duration = Duration::from_secs(60);
/// A handshake takes a few round trips.
const HANDSHAKE_MAX: Duration = Duration::from_secs(10);
/// Requests of one HTTP/2 connection at a time.
const STREAMS_MAX: u32 = 128;
/// Head and buffer of a connection. Long queries in URLs fit; longer ones are sent by POST.
const HEAD_MAX_BYTES: usize = 256 << 10;
/// A form with a query; the longest real ones are some tens of kilobytes.
const FORM_MAX_BYTES: usize = 4 << 20;
/// How long open requests may take to finish after the stop signal.
const DRAIN_MAX: Duration = Duration::from_secs(10);

/// Serves until `stop` turns true; then finishes the open requests and returns.
pub async fn serve(listener: TcpListener, app: Arc<App>, mut stop: watch::Receiver<bool>) {
    let slots = Arc::new(Semaphore::new(app.settings.max_connections as usize));
    let mut connections = JoinSet::new();
    loop {
        // The slot first: a client beyond the bound waits in the kernel's queue.
        let slot = tokio::select! {
            slot = slots.clone().acquire_owned() => slot,
            () = told_to_stop(&mut stop) => break,
        };
        let stream = tokio::select! {
            accepted = listener.accept() => accepted,
            () = told_to_stop(&mut stop) => break,
        };
        match stream {
            Ok((stream, peer)) => {
                let (app, stop) = (app.clone(), stop.clone());
                connections.spawn(async move {
                    serve_connection(stream, peer, app, stop).await;
                    drop(slot);
                });
            }
            Err(error) => {
                // Out of descriptors: rest, or this loop would spin until one is closed.
                journal::warn(&format!("failed to accept a connection: {error}"));
                tokio::time::sleep(Duration::from_millis(100)).await;
            }
        }
        while connections.try_join_next().is_some() {}
    }
    drop(listener);
    let drained = async { while connections.join_next().await.is_some() {} };
    if tokio::time::timeout(DRAIN_MAX, drained).await.is_err() {
        journal::warn("some requests did not finish in time and were cut off");
    }
}

/// Ends when `stop` turns true, or when nobody can turn it any more.
async fn told_to_stop(stop: &mut watch::Receiver<bool>) {
    let _ = stop.wait_for(|stop| *stop).await;
}

async fn serve_connection(
    stream: TcpStream,
    peer: SocketAddr,
    app: Arc<App>,
    stop: watch::Receiver<bool>,
) {
    // Answers are written whole; waiting for more to send only adds latency.
    let _ = stream.set_nodelay(true);
    let tls = app.web.config().tls;
    let from = Peer {
        // v4 behind a v6 wildcard is v4.
        address: peer.ip().to_canonical(),
        is_tls: tls.is_some(),
    };
    let stream = Patient::new(stream, WRITE_MAX);
    let ended = match tls {
        None => serve_http1(stream, from, app, stop).await,
        Some(tls) => {
            let accepting = TlsAcceptor::from(tls).accept(stream);
            match tokio::time::timeout(HANDSHAKE_MAX, accepting).await {
                Err(_) => Err("no handshake in time".into()),
                Ok(Err(error)) => Err(error.to_string()),
                Ok(Ok(stream)) => match stream.get_ref().1.alpn_protocol() {
                    Some(b"h2") => serve_http2(stream, from, app, stop).await,
                    _ => serve_http1(stream, from, app, stop).await,
                },
            }
        }
    };
    if let Err(error) = ended {
        journal::debug(&format!("connection of {peer} ended early: {error}"));
    }
}

fn service(
    app: Arc<App>,
    from: Peer,
) -> impl Service<
    Request<Incoming>,
    Response = Response<Full<Bytes>>,
    Error = Infallible,
    Future: Send + 'static,
> {
    service_fn(move |request| {
        let app = app.clone();
        async move { Ok::<_, Infallible>(guarded(app, from, request).await) }
    })
}

async fn serve_http1(
    stream: impl AsyncRead + AsyncWrite + Unpin + Send + 'static,
    from: Peer,
    app: Arc<App>,
    mut stop: watch::Receiver<bool>,
) -> Result<(), String> {
    let connection = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(HEAD_MAX)
        .max_buf_size(HEAD_MAX_BYTES)
        .serve_connection(TokioIo::new(stream), service(app, from))
        .with_upgrades();
    let mut connection = pin!(connection);
    let ended = tokio::select! {
        ended = connection.as_mut() => ended,
        () = told_to_stop(&mut stop) => {
            connection.as_mut().graceful_shutdown();
            connection.await
        }
    };
    ended.map_err(|e| e.to_string())
}

async fn serve_http2(
    stream: impl AsyncRead + AsyncWrite + Unpin + Send + 'static,
    from: Peer,
    app: Arc<App>,
    mut stop: watch::Receiver<bool>,
) -> Result<(), String> {
    let connection = http2::Builder::new(TokioExecutor::new())
        .timer(TokioTimer::new())
        .keep_alive_interval(Some(HEAD_MAX))
        .keep_alive_timeout(WRITE_MAX)
        .max_concurrent_streams(STREAMS_MAX)
        .max_header_list_size(HEAD_MAX_BYTES as u32)
        .serve_connection(TokioIo::new(stream), service(app, from));
    let mut connection = pin!(connection);
    let ended = tokio::select! {
        ended = connection.as_mut() => ended,
        () = told_to_stop(&mut stop) => {
            connection.as_mut().graceful_shutdown();
            connection.await
        }
    };
    ended.map_err(|e| e.to_string())
}

/// Answers whom the web configuration lets in, with the headers that it sets.
async fn guarded(app: Arc<App>, from: Peer, request: Request<Incoming>) -> Response<Full<Bytes>> {
    let config = app.web.config();
    let mut response = match app.web.refuses(&config, &request).await {
        None => answer(app, from, request).await,
        Some(reply) => {
            let (head, incoming) = request.into_parts();
            body::discard(incoming).await;
            reply.into_response(&head.headers)
        }
    };
    for (name, value) in config.headers {
        response.headers_mut().insert(name, value);
    }
    response
}

async fn answer(
    app: Arc<App>,
    from: Peer,
    mut request: Request<Incoming>,
) -> Response<Full<Bytes>> {
    let begun = Instant::now();
    let path = request.uri().path().to_owned();
    let found = routes::find(request.method(), &path);
    let label = match &found {
        Found::Route(route, _) => route.path,
        Found::Page(_) => "page",
        Found::WrongMethod(_) | Found::Options | Found::Nothing => "other",
    };
    let wants_upgrade = request.headers().contains_key(header::UPGRADE);
    let upgrade = wants_upgrade.then(|| hyper::upgrade::on(&mut request));
    let (mut head, incoming) = request.into_parts();
    // HTTP/2 has it in another place.
    if let Some(authority) = head.uri.authority()
        && let Ok(host) = HeaderValue::from_str(authority.as_str())
    {
        head.headers.entry(header::HOST).or_insert(host);
    }
    let reply = match found {
        Found::Route(route, path_value) => {
            let input = Input {
                route,
                path_value,
                headers: &head.headers,
                query: head.uri.query().unwrap_or(""),
                method: head.method.clone(),
                peer: from,
                upgrade,
            };
            handle(&app, input, incoming).await
        }
        Found::Page(asset) => page(&asset, &head.headers),
        Found::Options => Reply::empty(StatusCode::NO_CONTENT),
        Found::WrongMethod(allowed) => {
            let text = format!("this path takes {allowed}");
            Reply::text(StatusCode::METHOD_NOT_ALLOWED, text)
                .with(header::ALLOW, HeaderValue::from_static(allowed))
        }
        Found::Nothing => Reply::text(StatusCode::NOT_FOUND, "404 page not found"),
    };
    app.telemetry.http(label, reply.status, begun.elapsed());
    let mut response = pack(reply, &head.headers).await;
    let origins = &app.settings.cors_origin;
    origins.allow(response.headers_mut(), &head.headers);
    response
}

async fn pack(reply: Reply, request_headers: &HeaderMap) -> Response<Full<Bytes>> {
    if reply.body.len() <= PACK_APART_FROM_BYTES {
        return reply.into_response(request_headers);
    }
    // Packing megabytes must not hold up the other connections of this thread.
    let headers = request_headers.clone();
    let packed = tokio::task::spawn_blocking(move || reply.into_response(&headers)).await;
    packed.unwrap_or_else(|_| {
        let text = "failed to pack the answer";
        Reply::text(StatusCode::INTERNAL_SERVER_ERROR, text).into_response(&HeaderMap::new())
    })
}

/// Larger bodies are compressed on a thread of their own.
const PACK_APART_FROM_BYTES: usize = 256 << 10;

struct Input<'a> {
    route: &'static Route,
    path_value: String,
    headers: &'a HeaderMap,
    query: &'a str,
    method: Method,
    peer: Peer,
    upgrade: Option<OnUpgrade>,
}

/// Lets in who may, and notes what they changed.
async fn handle(app: &Arc<App>, input: Input<'_>, incoming: Incoming) -> Reply {
    let (route, peer) = (input.route, input.peer);
    let right = route.right(&input.method);
    let admitted = app.access.admit(input.headers, &input.method, right).await;
    let is_noted = matches!(right, Right::Change | Right::Admin) && !access::is_safe(&input.method);
    let principal = match &admitted {
        Ok(principal) | Err(Denied::Forbidden(Some(principal), _)) => Some(principal.clone()),
        Err(_) => None,
    };
    let (method, headers) = (input.method.clone(), input.headers);
    let mut asked = String::new();
    let reply = match admitted {
        Ok(principal) => admitted_call(app, input, incoming, principal, &mut asked).await,
        Err(denied) => {
            body::discard(incoming).await;
            let (status, message) = denied.parts();
            denied.dress(routes::refused(route, status, message))
        }
    };
    // Who is nobody could write a line as often as they like.
    if is_noted && (principal.is_some() || app.access.audit.takes_failure()) {
        let action = format!("{method} {}", route.path);
        let is_bad = reply.status.as_u16() >= 400;
        let error = String::from_utf8_lossy(&reply.body).trim().to_owned();
        let event = Event {
            action: &action,
            principal: principal.as_deref(),
            from: peer.address,
            forwarded_for: header_text(headers, "x-forwarded-for"),
            tenant: header_text(headers, tenant::HEADER),
            detail: asked,
            status: reply.status.as_u16(),
            error: if is_bad { error } else { String::new() },
        };
        app.access.audit.note(app, &event).await;
    }
    reply
}

/// The way of a request that is let in; `asked` becomes its parameters.
async fn admitted_call(
    app: &Arc<App>,
    input: Input<'_>,
    incoming: Incoming,
    principal: Arc<Principal>,
    asked: &mut String,
) -> Reply {
    let route = input.route;
    if route.needs_store && !app.tenants.is_ready() {
        body::discard(incoming).await;
        return routes::not_ready(route).retry_after(1);
    }
    let writes = matches!(route.accepts, Accepts::Body(_) | Accepts::Group(_))
        || (matches!(route.accepts, Accepts::Document(_)) && input.method == Method::PUT);
    let tenant = if route.needs_store {
        app.tenants.of_request(input.headers, &principal, writes)
    } else {
        Ok(app.tenants.default().clone())
    };
    let tenant = match tenant {
        Ok(tenant) => tenant,
        Err((status, message)) => {
            body::discard(incoming).await;
            return routes::refused(route, status, &message);
        }
    };
    let max_bytes = match route.accepts {
        Accepts::Nothing => 0,
        Accepts::Form | Accepts::Change(_) => FORM_MAX_BYTES,
        Accepts::Body(max_bytes)
        | Accepts::Question(max_bytes)
        | Accepts::Group(max_bytes)
        | Accepts::Document(max_bytes) => max_bytes(app),
    };
    let mut share = None;
    let mut content = Bytes::new();
    let has_body = matches!(input.method, Method::POST | Method::PUT);
    if max_bytes > 0 && has_body {
        if route.accepts.is_body() {
            // A length that is not declared may become the largest.
            let wanted = body::declared_bytes(input.headers).unwrap_or(max_bytes);
            share = app.bodies.take(wanted.min(max_bytes)).await;
            if share.is_none() {
                body::discard(incoming).await;
                let text = "too many requests are being received; try again later";
                return Reply::text(StatusCode::SERVICE_UNAVAILABLE, text).retry_after(5);
            }
        }
        content = match body::read(incoming, input.headers, max_bytes).await {
            Ok(content) => content,
            Err(error) => return routes::refused(route, error.status, &error.message),
        };
    }
    let mut form = Form::default();
    let mut read = Ok(());
    if !route.accepts.is_body() && has_body {
        read = form.read(&String::from_utf8_lossy(&content));
        content = Bytes::new();
    }
    if let Err(message) = read.and_then(|()| form.read(input.query)) {
        let message = format!("error parsing form values: {message}");
        return routes::refused(route, StatusCode::BAD_REQUEST, &message);
    }
    *asked = form.shown();
    let call = Call {
        tenant: View::new(tenant, &principal),
        peer: input.peer,
        principal,
        method: input.method,
        form,
        path_value: input.path_value,
        headers: input.headers.clone(),
        body: content,
        upgrade: input.upgrade,
    };
    let reply = (route.handle)(app.clone(), call).await;
    drop(share);
    reply
}

fn page(asset: &crate::ui::Asset, headers: &HeaderMap) -> Reply {
    let takes_gzip = crate::http::reply::accepts(headers, "gzip");
    let mut reply = if asset.gzipped && !takes_gzip {
        Reply::new(
            StatusCode::OK,
            asset.content_type,
            asset.plain().into_owned(),
        )
    } else {
        Reply::new(StatusCode::OK, asset.content_type, asset.bytes)
    };
    if asset.gzipped && takes_gzip {
        reply.packing = Packing::Gzip;
    }
    let cache = HeaderValue::from_static(asset.cache_control());
    reply.with(header::CACHE_CONTROL, cache)
}
