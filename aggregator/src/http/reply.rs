//! A reply before it becomes HTTP: status, type, body; and how it is packed for the client.
//!
//! Compression and CORS are applied to all replies alike, so handlers do not know of them.

use std::io::Write;

use flate2::Compression;
use flate2::write::GzEncoder;
use http_body_util::Full;
use hyper::body::Bytes;
use hyper::header::{self, HeaderName, HeaderValue};
use hyper::{HeaderMap, Response, StatusCode};

/// Smaller bodies fit a packet or two and are not worth the time.
const COMPRESS_FROM_BYTES: usize = 1400;

/// What a handler answers.
#[derive(Debug)]
pub struct Reply {
    pub status: StatusCode,
    pub content_type: &'static str,
    pub body: Bytes,
    pub headers: Vec<(HeaderName, HeaderValue)>,
    /// The body is gzip already.
    pub gzipped: bool,
}

impl Reply {
    /// A reply with a body.
    pub fn new(status: StatusCode, content_type: &'static str, body: impl Into<Bytes>) -> Self {
        Self {
            status,
            content_type,
            body: body.into(),
            headers: Vec::new(),
            gzipped: false,
        }
    }

    /// Plain text.
    pub fn text(status: StatusCode, text: impl Into<String>) -> Self {
        let mut text = text.into();
        if !text.ends_with('\n') {
            text.push('\n');
        }
        Self::new(status, "text/plain; charset=utf-8", text)
    }

    /// JSON text.
    pub fn json(status: StatusCode, body: impl Into<Bytes>) -> Self {
        Self::new(status, "application/json", body)
    }

    /// Nothing but a status.
    #[must_use]
    pub fn empty(status: StatusCode) -> Self {
        Self::new(status, "", Bytes::new())
    }

    /// The same with one more header.
    #[must_use]
    pub fn with(mut self, name: HeaderName, value: impl Into<HeaderValue>) -> Self {
        self.headers.push((name, value.into()));
        self
    }

    /// The same with the advice to come back in a few seconds.
    #[must_use]
    pub fn retry_after(self, seconds: u32) -> Self {
        self.with(header::RETRY_AFTER, seconds)
    }

    /// The HTTP response to a client that sent `request_headers`.
    #[must_use]
    pub fn into_response(mut self, request_headers: &HeaderMap) -> Response<Full<Bytes>> {
        let compressible = !self.gzipped && self.body.len() >= COMPRESS_FROM_BYTES;
        if compressible && accepts_gzip(request_headers) {
            self.body = gzip(&self.body).into();
            self.gzipped = true;
        }
        let mut response = Response::new(Full::new(self.body));
        *response.status_mut() = self.status;
        let headers = response.headers_mut();
        if !self.content_type.is_empty() {
            let content_type = HeaderValue::from_static(self.content_type);
            headers.insert(header::CONTENT_TYPE, content_type);
        }
        if self.gzipped {
            let gzip = HeaderValue::from_static("gzip");
            headers.insert(header::CONTENT_ENCODING, gzip);
        }
        if compressible || self.gzipped {
            headers.append(header::VARY, HeaderValue::from_static("Accept-Encoding"));
        }
        allow_origins(headers, request_headers);
        headers.extend(self.headers);
        response
    }
}

/// Whether the client takes gzip.
#[must_use]
pub fn accepts_gzip(request_headers: &HeaderMap) -> bool {
    super::header(request_headers, header::ACCEPT_ENCODING)
        .split(',')
        .any(|coding| {
            let (name, quality) = coding.split_once(';').unwrap_or((coding, ""));
            let refused = matches!(quality.trim(), "q=0" | "q=0.0" | "q=0.00" | "q=0.000");
            name.trim().eq_ignore_ascii_case("gzip") && !refused
        })
}

fn gzip(body: &[u8]) -> Vec<u8> {
    let mut encoder = GzEncoder::new(Vec::with_capacity(body.len() / 4), Compression::fast());
    encoder.write_all(body).expect("a vector takes all bytes");
    encoder.finish().expect("a vector takes all bytes")
}

/// As Prometheus: every origin may ask, if it says who it is.
fn allow_origins(headers: &mut HeaderMap, request_headers: &HeaderMap) {
    if !request_headers.contains_key(header::ORIGIN) {
        return;
    }
    let mut set = |name, value| headers.append(name, HeaderValue::from_static(value));
    set(header::ACCESS_CONTROL_ALLOW_ORIGIN, "*");
    set(
        header::ACCESS_CONTROL_ALLOW_HEADERS,
        "Accept, Authorization, Content-Type, Origin",
    );
    set(header::ACCESS_CONTROL_ALLOW_METHODS, "GET, POST, OPTIONS");
    set(header::ACCESS_CONTROL_EXPOSE_HEADERS, "Date");
    set(header::VARY, "Origin");
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn gzip_only_for_those_who_take_it() {
        for (accepts, expected) in [
            ("gzip", true),
            ("deflate, GZIP;q=0.8", true),
            ("gzip;q=0", false),
            ("identity", false),
            ("", false),
        ] {
            let mut headers = HeaderMap::new();
            headers.insert(header::ACCEPT_ENCODING, HeaderValue::from_static(accepts));
            let reply = Reply::text(StatusCode::OK, "x".repeat(COMPRESS_FROM_BYTES));
            let response = reply.into_response(&headers);
            let coded = response.headers().contains_key(header::CONTENT_ENCODING);
            assert_eq!(coded, expected, "{accepts}");
        }
    }
}
