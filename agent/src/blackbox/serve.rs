//! `/probe?target=&module=&hostname=&debug=`: probes on demand, as Prometheus' jobs ask blackbox_exporter.

use std::collections::HashMap;
use std::convert::Infallible;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http_body_util::Full;
use hyper::header::{CONTENT_TYPE, HeaderValue};
use hyper::service::service_fn;
use hyper::{HeaderMap, Request, Response, StatusCode};
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::net::TcpListener;
use tokio::sync::Semaphore;

use super::config::Config;
use super::{probe, timeout};
use crate::exposition;

/// Connections at a time; more wait in the kernel's queue.
const MAX_CONNECTIONS: usize = 256;
/// How long a caller may take to send its request.
const HEAD_TIMEOUT: Duration = Duration::from_secs(10);
const TEXT: HeaderValue = HeaderValue::from_static("text/plain; version=0.0.4; charset=utf-8");

/// Answers until the task ends.
///
/// # Errors
/// When the address cannot be listened on.
pub async fn serve(
    address: SocketAddr,
    config: Arc<Config>,
    offset: Duration,
) -> std::io::Result<()> {
    let listener = TcpListener::bind(address).await?;
    let room = Arc::new(Semaphore::new(MAX_CONNECTIONS));
    loop {
        let permit = room.clone().acquire_owned().await;
        let Ok((stream, _)) = listener.accept().await else {
            // For want of descriptors mostly.
            tokio::time::sleep(Duration::from_millis(200)).await;
            continue;
        };
        let config = config.clone();
        tokio::spawn(async move {
            let _permit = permit;
            let service = service_fn(move |request: Request<hyper::body::Incoming>| {
                let config = config.clone();
                async move {
                    let query = request.uri().query().unwrap_or_default().to_owned();
                    let (path, headers) =
                        (request.uri().path().to_owned(), request.headers().clone());
                    Ok::<_, Infallible>(answer(&config, &path, &query, &headers, offset).await)
                }
            });
            // A caller that goes away is none of our business.
            let _ = hyper::server::conn::http1::Builder::new()
                .timer(TokioTimer::new())
                .header_read_timeout(HEAD_TIMEOUT)
                .serve_connection(TokioIo::new(stream), service)
                .await;
        });
    }
}

async fn answer(
    config: &Config,
    path: &str,
    query: &str,
    headers: &HeaderMap,
    offset: Duration,
) -> Response<Full<Bytes>> {
    match path {
        "/probe" => {}
        "/-/healthy" => return text(StatusCode::OK, "Healthy\n".into()),
        "/" => {
            let names: Vec<&str> = config.modules.keys().map(String::as_str).collect();
            let page = format!(
                "/probe?target=TARGET&module=MODULE&debug=true\nmodules: {}\n",
                names.join(", ")
            );
            return text(StatusCode::OK, page);
        }
        _ => return text(StatusCode::NOT_FOUND, "404 page not found\n".into()),
    }
    let params = params(query);
    let param = |name: &str| params.get(name).map_or("", String::as_str);
    let name = match param("module") {
        "" => "http_2xx",
        name => name,
    };
    let Some(module) = config.modules.get(name) else {
        return text(
            StatusCode::BAD_REQUEST,
            format!("Unknown module {name:?}\n"),
        );
    };
    let target = param("target");
    if target.is_empty() {
        return text(
            StatusCode::BAD_REQUEST,
            "Target parameter is missing\n".into(),
        );
    }
    let granted = headers.get("x-prometheus-scrape-timeout-seconds");
    let granted = match granted.map(|v| v.to_str().ok().and_then(|v| v.parse::<f64>().ok())) {
        None => None,
        Some(seconds) => {
            let duration = seconds.and_then(|s| Duration::try_from_secs_f64(s).ok());
            let Some(duration) = duration else {
                let message = "Failed to parse timeout from Prometheus header\n";
                return text(StatusCode::INTERNAL_SERVER_ERROR, message.into());
            };
            Some(duration).filter(|d| !d.is_zero())
        }
    };
    let host_name = Some(param("hostname")).filter(|h| !h.is_empty());
    let report = probe(module, target, host_name, timeout(module, granted, offset)).await;
    let batch = report.batch("".into(), Arc::default(), 0);
    let mut page = Vec::new();
    exposition::write(&mut page, &[&batch]);
    if param("debug") == "true" {
        let metrics = String::from_utf8_lossy(&page);
        let log = &report.log;
        let page = format!(
            "Logs for the probe:\n{log}\n\n\nMetrics that would have been returned:\n{metrics}\n\n\nModule configuration:\nprober: {}\ntimeout: {:?}\n",
            module.prober.name(),
            module.timeout
        );
        return text(StatusCode::OK, page);
    }
    let mut response = Response::new(Full::new(Bytes::from(page)));
    response.headers_mut().insert(CONTENT_TYPE, TEXT);
    response
}

fn text(status: StatusCode, text: String) -> Response<Full<Bytes>> {
    let mut response = Response::new(Full::new(Bytes::from(text)));
    *response.status_mut() = status;
    let plain = HeaderValue::from_static("text/plain; charset=utf-8");
    response.headers_mut().insert(CONTENT_TYPE, plain);
    response
}

/// The first value of each name.
fn params(query: &str) -> HashMap<String, String> {
    let mut params = HashMap::new();
    for pair in query.split('&') {
        let (name, value) = pair.split_once('=').unwrap_or((pair, ""));
        params
            .entry(decoded(name))
            .or_insert_with(|| decoded(value));
    }
    params
}

/// `+` is a blank, `%xx` a byte; what is no such thing stays.
fn decoded(text: &str) -> String {
    let mut out = Vec::with_capacity(text.len());
    let mut bytes = text.as_bytes();
    while let Some((&byte, rest)) = bytes.split_first() {
        bytes = rest;
        match (byte, rest) {
            (b'+', _) => out.push(b' '),
            (b'%', [a, b, after @ ..]) if a.is_ascii_hexdigit() && b.is_ascii_hexdigit() => {
                let digit = |d: u8| char::from(d).to_digit(16).unwrap_or_default() as u8;
                out.push(digit(*a) << 4 | digit(*b));
                bytes = after;
            }
            _ => out.push(byte),
        }
    }
    String::from_utf8_lossy(&out).into_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_query_is_read() {
        let found = params("target=http%3A%2F%2Fh%3a1%2f%3Fa%3Db+c&module=&x&target=2&bad=%zz%");
        assert_eq!(found["target"], "http://h:1/?a=b c");
        assert_eq!(found["module"], "");
        assert_eq!(found["bad"], "%zz%");
    }
}
