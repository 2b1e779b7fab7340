//! A reply before it becomes HTTP: status, type, body; and how it is packed for the client.
//!
//! Compression is applied to all replies alike, so handlers do not know of it.

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
    pub packing: Packing,
}

/// How a body is packed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Packing {
    /// Not yet: it may be, for a client that takes that.
    Open,
    /// It is gzip already.
    Gzip,
    /// It stays as it is.
    Closed,
}

impl Reply {
    /// A reply with a body.
    pub fn new(status: StatusCode, content_type: &'static str, body: impl Into<Bytes>) -> Self {
        Self {
            status,
            content_type,
            body: body.into(),
            headers: Vec::new(),
            packing: Packing::Open,
        }
    }

    /// Plain text.
    pub fn text(status: StatusCode, text: impl Into<String>) -> Self {
        let mut text = text.into();
        if !text.ends_with('\n') {
            text.push('\n');
        }
        let reply = Self::new(status, "text/plain; charset=utf-8", text);
        if status.is_success() {
            return reply;
        }
        reply.unsniffed()
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

    /// The same, whose type is not to be guessed: what a text repeats of a request is no page. Go's servers say so with every error.
    #[must_use]
    pub fn unsniffed(self) -> Self {
        let value = HeaderValue::from_static("nosniff");
        self.with(header::X_CONTENT_TYPE_OPTIONS, value)
    }

    /// The same with the advice to come back in a few seconds.
    #[must_use]
    pub fn retry_after(self, seconds: u32) -> Self {
        self.with(header::RETRY_AFTER, seconds)
    }

    /// The same, not to be packed any further.
    #[must_use]
    pub fn packed(mut self) -> Self {
        self.packing = Packing::Closed;
        self
    }

    /// The HTTP response to a client that sent `request_headers`.
    #[must_use]
    pub fn into_response(mut self, request_headers: &HeaderMap) -> Response<Full<Bytes>> {
        let compressible = self.packing == Packing::Open && self.body.len() >= COMPRESS_FROM_BYTES;
        let mut coding = (self.packing == Packing::Gzip).then_some("gzip");
        if compressible && accepts(request_headers, "zstd") {
            self.body = zstd(&self.body).into();
            coding = Some("zstd");
        } else if compressible && accepts(request_headers, "gzip") {
            self.body = gzip(&self.body).into();
            coding = Some("gzip");
        }
        let mut response = Response::new(Full::new(self.body));
        *response.status_mut() = self.status;
        let headers = response.headers_mut();
        if !self.content_type.is_empty() {
            let content_type = HeaderValue::from_static(self.content_type);
            headers.insert(header::CONTENT_TYPE, content_type);
        }
        if let Some(coding) = coding {
            headers.insert(header::CONTENT_ENCODING, HeaderValue::from_static(coding));
        }
        if compressible || coding.is_some() {
            headers.append(header::VARY, HeaderValue::from_static("Accept-Encoding"));
        }
        headers.extend(self.headers);
        response
    }
}

/// Whether the client takes a content coding.
#[must_use]
pub fn accepts(request_headers: &HeaderMap, wanted: &str) -> bool {
    super::header(request_headers, header::ACCEPT_ENCODING)
        .split(',')
        .any(|coding| {
            let (name, quality) = coding.split_once(';').unwrap_or((coding, ""));
            let refused = matches!(quality.trim(), "q=0" | "q=0.0" | "q=0.00" | "q=0.000");
            name.trim().eq_ignore_ascii_case(wanted) && !refused
        })
}

fn gzip(body: &[u8]) -> Vec<u8> {
    let mut encoder = GzEncoder::new(Vec::with_capacity(body.len() / 4), Compression::fast());
    encoder.write_all(body).expect("a vector takes all bytes");
    encoder.finish().expect("a vector takes all bytes")
}

/// Packs better than gzip in less time.
fn zstd(body: &[u8]) -> Vec<u8> {
    zstd::bulk::compress(body, 1).expect("a vector takes all bytes")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_type_of_errors_is_not_guessed() {
        for (status, expected) in [(StatusCode::OK, ""), (StatusCode::BAD_REQUEST, "nosniff")] {
            let response = Reply::text(status, "x").into_response(&HeaderMap::new());
            let name = header::X_CONTENT_TYPE_OPTIONS;
            assert_eq!(super::super::header(response.headers(), name), expected);
        }
    }

    #[test]
    fn codings_are_those_the_client_takes() {
        for (accepts, expected) in [
            ("gzip", "gzip"),
            ("deflate, GZIP;q=0.8", "gzip"),
            ("gzip, deflate, br, zstd", "zstd"),
            ("gzip, zstd;q=0", "gzip"),
            ("gzip;q=0", ""),
            ("identity", ""),
            ("", ""),
        ] {
            let mut headers = HeaderMap::new();
            headers.insert(header::ACCEPT_ENCODING, HeaderValue::from_static(accepts));
            let reply = Reply::text(StatusCode::OK, "x".repeat(COMPRESS_FROM_BYTES));
            let response = reply.into_response(&headers);
            let coding = super::super::header(response.headers(), header::CONTENT_ENCODING);
            assert_eq!(coding, expected, "{accepts}");
        }
    }
}
