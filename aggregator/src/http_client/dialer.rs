//! Connections of the client, straight or through an HTTP proxy.

use std::future::Future;
use std::io::{self, IoSlice};
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use hyper::Uri;
use hyper::header::{HeaderMap, HeaderValue};
use hyper::rt::{Read, ReadBufCursor, Write};
use hyper_util::client::legacy::connect::proxy::Tunnel;
use hyper_util::client::legacy::connect::{Connected, Connection, HttpConnector};
use hyper_util::client::proxy::matcher::{Intercept, Matcher};
use hyper_util::rt::TokioIo;
use tokio::net::TcpStream;
use tower_service::Service;

use super::config::{Proxy, Secret};

type Failure = Box<dyn std::error::Error + Send + Sync>;

/// Connects.
#[derive(Clone)]
pub struct Dialer {
    http: HttpConnector,
    proxy: Option<Arc<Through>>,
}

/// Which requests go through which proxy.
struct Through {
    matcher: Matcher,
    connect_headers: HeaderMap,
}

impl Dialer {
    /// A dialer.
    ///
    /// # Errors
    /// When a header for the proxy cannot be read.
    pub fn new(proxy: &Proxy) -> Result<Self, String> {
        let mut http = HttpConnector::new();
        // TLS begins on top of it.
        http.enforce_http(false);
        let matcher = match &proxy.url {
            Some(url) => {
                let builder = Matcher::builder().all(url.as_str());
                Some(builder.no(proxy.no_proxy.as_str()).build())
            }
            None => proxy.from_environment.then(Matcher::from_env),
        };
        let mut connect_headers = HeaderMap::new();
        for (name, values) in &proxy.connect_headers {
            for value in values {
                connect_headers.append(name.clone(), value_of(value)?);
            }
        }
        let through = |matcher| {
            Arc::new(Through {
                matcher,
                connect_headers,
            })
        };
        Ok(Self {
            http,
            proxy: matcher.map(through),
        })
    }

    fn through(&self, uri: &Uri) -> Option<(&Through, Intercept)> {
        let through = self.proxy.as_deref()?;
        through.matcher.intercept(uri).map(|i| (through, i))
    }

    /// What a request without TLS must carry for the proxy.
    #[must_use]
    pub fn proxy_authorization(&self, uri: &Uri) -> Option<HeaderValue> {
        let (_, intercept) = self.through(uri)?;
        let is_plain = uri.scheme_str() == Some("http");
        intercept.basic_auth().filter(|_| is_plain).cloned()
    }
}

/// The value of a header.
///
/// # Errors
/// When its file cannot be read or holds something else.
pub fn value_of(secret: &Secret) -> Result<HeaderValue, String> {
    let mut value = HeaderValue::from_str(&secret.read()?)
        .map_err(|_| format!("{secret:?} holds a control character and cannot be a header"))?;
    value.set_sensitive(true);
    Ok(value)
}

impl Service<Uri> for Dialer {
    type Response = Stream;
    type Error = Failure;
    type Future = Pin<Box<dyn Future<Output = Result<Stream, Failure>> + Send>>;

    fn poll_ready(&mut self, context: &mut Context<'_>) -> Poll<Result<(), Failure>> {
        self.http.poll_ready(context).map_err(Into::into)
    }

    fn call(&mut self, uri: Uri) -> Self::Future {
        let mut http = self.http.clone();
        let Some((through, intercept)) = self.through(&uri) else {
            let dialing = http.call(uri);
            return Box::pin(async move { Ok(Stream::new(dialing.await?, false)) });
        };
        let proxy = intercept.uri().clone();
        if uri.scheme_str() == Some("http") {
            let dialing = http.call(proxy);
            return Box::pin(async move { Ok(Stream::new(dialing.await?, true)) });
        }
        let mut tunnel = Tunnel::new(proxy, http).with_headers(through.connect_headers.clone());
        if let Some(value) = intercept.basic_auth() {
            tunnel = tunnel.with_auth(value.clone());
        }
        Box::pin(async move { Ok(Stream::new(tunnel.call(uri).await?, false)) })
    }
}

/// A connection.
pub struct Stream {
    io: TokioIo<TcpStream>,
    /// A proxy wants to hear whole URLs.
    is_proxy: bool,
}

impl Stream {
    fn new(io: TokioIo<TcpStream>, is_proxy: bool) -> Self {
        Self { io, is_proxy }
    }
}

impl Connection for Stream {
    fn connected(&self) -> Connected {
        self.io.connected().proxy(self.is_proxy)
    }
}

impl Read for Stream {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: ReadBufCursor<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut self.io).poll_read(context, buffer)
    }
}

impl Write for Stream {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.io).poll_write(context, bytes)
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.io).poll_flush(context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.io).poll_shutdown(context)
    }

    fn is_write_vectored(&self) -> bool {
        self.io.is_write_vectored()
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        pieces: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.io).poll_write_vectored(context, pieces)
    }
}
