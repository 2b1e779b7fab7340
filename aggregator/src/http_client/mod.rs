//! The HTTP client towards other services: Alertmanagers, the Kubernetes API, token servers.
//!
//! Credentials, TLS, proxies and headers are what Prometheus's `http_config` has ([`config`]). The one
//! rule: what lies in a file (tokens, passwords) is read at every request, so that it may be rotated.

pub mod config;
mod dialer;
pub mod oauth2;
mod tls;

use std::sync::Arc;
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use http_body_util::{BodyExt as _, Full, Limited};
use hyper::body::Incoming;
use hyper::header::{AUTHORIZATION, HeaderValue, LOCATION, PROXY_AUTHORIZATION, USER_AGENT};
use hyper::{Method, Request, Response, StatusCode, Uri};
use hyper_rustls::{FixedServerNameResolver, HttpsConnector, HttpsConnectorBuilder};
use hyper_util::client::legacy::Client as HyperClient;
use hyper_util::rt::TokioExecutor;
use rustls::pki_types::ServerName;

use config::{Credentials, HttpConfig};
use dialer::{Dialer, value_of};
use oauth2::Tokens;

const AGENT: &str = concat!("kansoku-aggregator/", env!("CARGO_PKG_VERSION"));
/// As many as Go's client follows.
const REDIRECTS_MAX: usize = 10;
/// The most of an answer that is an error text.
const ERROR_MAX_BYTES: usize = 4096;

/// Sends requests.
#[derive(Debug, Clone)]
pub struct Client {
    http: HyperClient<HttpsConnector<Dialer>, Full<Bytes>>,
    dialer: Dialer,
    config: Arc<HttpConfig>,
    tokens: Option<Arc<Tokens>>,
}

impl std::fmt::Debug for Dialer {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Dialer")
    }
}

impl Client {
    /// A client.
    ///
    /// # Errors
    /// When a certificate or a key cannot be used.
    pub fn new(config: &HttpConfig) -> Result<Self, String> {
        let dialer = Dialer::new(&config.proxy)?;
        let builder = HttpsConnectorBuilder::new().with_tls_config(tls::config(&config.tls)?);
        let mut builder = builder.https_or_http();
        if let Some(name) = &config.tls.server_name {
            let name = ServerName::try_from(name.clone())
                .map_err(|_| format!("server_name '{name}' is no host name"))?;
            builder = builder.with_server_name_resolver(FixedServerNameResolver::new(name));
        }
        let connector = match config.http2 {
            true => builder.enable_all_versions().wrap_connector(dialer.clone()),
            false => builder.enable_http1().wrap_connector(dialer.clone()),
        };
        let tokens = match &config.credentials {
            Some(Credentials::OAuth2(oauth2)) => Some(Arc::new(Tokens::new(oauth2)?)),
            _ => None,
        };
        Ok(Self {
            http: HyperClient::builder(TokioExecutor::new()).build(connector),
            dialer,
            config: Arc::new(config.clone()),
            tokens,
        })
    }

    async fn authorization(&self) -> Result<Option<HeaderValue>, String> {
        let text = match &self.config.credentials {
            None => return Ok(None),
            Some(Credentials::Basic { name, password }) => {
                format!(
                    "Basic {}",
                    STANDARD.encode(format!("{}:{}", name.read()?, password.read()?))
                )
            }
            Some(Credentials::Header { scheme, secret }) => format!("{scheme} {}", secret.read()?),
            Some(Credentials::OAuth2(_)) => match &self.tokens {
                Some(tokens) => tokens.authorization().await?,
                None => return Ok(None),
            },
        };
        let mut value = HeaderValue::from_str(&text)
            .map_err(|_| "the credentials hold a control character".to_owned())?;
        value.set_sensitive(true);
        Ok(Some(value))
    }

    /// Sends a request and gives the head of the answer, whatever its status.
    ///
    /// # Errors
    /// When there is no answer.
    pub async fn send(
        &self,
        method: Method,
        url: &str,
        headers: &[(&'static str, &str)],
        body: Bytes,
    ) -> Result<Response<Incoming>, String> {
        let authorization = self.authorization().await?;
        let mut uri: Uri = url.parse().map_err(|e| format!("not a URL: {url}: {e}"))?;
        let first = uri.authority().cloned();
        for _ in 0..REDIRECTS_MAX {
            let mut request = Request::builder()
                .method(method.clone())
                .uri(uri.clone())
                .header(USER_AGENT, AGENT);
            for (name, value) in headers {
                request = request.header(*name, *value);
            }
            for (name, values) in &self.config.headers {
                for value in values {
                    request = request.header(name, value_of(value)?);
                }
            }
            // Who is at another place is not told.
            if let Some(value) = authorization
                .clone()
                .filter(|_| uri.authority() == first.as_ref())
            {
                request = request.header(AUTHORIZATION, value);
            }
            if let Some(value) = self.dialer.proxy_authorization(&uri) {
                request = request.header(PROXY_AUTHORIZATION, value);
            }
            let request = request.body(Full::new(body.clone()));
            let request = request.map_err(|e| format!("not a request: {e}"))?;
            let answer = self
                .http
                .request(request)
                .await
                .map_err(|e| with_cause(&e))?;
            match self
                .config
                .follows_redirects
                .then(|| redirect(&answer, &uri))
                .flatten()
            {
                Some(next) => uri = next,
                None => return Ok(answer),
            }
        }
        Err(format!("stopped after {REDIRECTS_MAX} redirects"))
    }

    /// Sends a request and gives status and body of the answer, whatever the status.
    ///
    /// # Errors
    /// When there is no answer within `timeout`, or one of more than `max_bytes`.
    pub async fn answer(
        &self,
        method: Method,
        url: &str,
        headers: &[(&'static str, &str)],
        body: Bytes,
        (timeout, max_bytes): (Duration, usize),
    ) -> Result<(StatusCode, Bytes), String> {
        let ask = async {
            let answer = self.send(method, url, headers, body).await?;
            let status = answer.status();
            let read = Limited::new(answer.into_body(), max_bytes).collect().await;
            let read = read.map_err(|e| format!("failed to read the answer: {e}"))?;
            Ok((status, read.to_bytes()))
        };
        match tokio::time::timeout(timeout, ask).await {
            Ok(done) => done,
            Err(_) => Err(format!("no answer within {timeout:?}")),
        }
    }

    /// Sends a request and gives its body, if the status is a good one.
    ///
    /// # Errors
    /// When there is no such answer within `timeout`, or one of more than `max_bytes`.
    pub async fn body(
        &self,
        method: Method,
        url: &str,
        headers: &[(&'static str, &str)],
        body: Bytes,
        (timeout, max_bytes): (Duration, usize),
    ) -> Result<Bytes, String> {
        let ask = async {
            let answer = self.send(method, url, headers, body).await?;
            let status = answer.status();
            if !status.is_success() {
                return Err(format!("{status}: {}", error_text(answer).await));
            }
            let read = Limited::new(answer.into_body(), max_bytes).collect().await;
            read.map(http_body_util::Collected::to_bytes)
                .map_err(|e| format!("failed to read the answer: {e}"))
        };
        match tokio::time::timeout(timeout, ask).await {
            Ok(done) => done,
            Err(_) => Err(format!("no answer within {timeout:?}")),
        }
    }
}

/// What an answer that is an error says, shortened.
pub async fn error_text(answer: Response<Incoming>) -> String {
    let read = Limited::new(answer.into_body(), ERROR_MAX_BYTES)
        .collect()
        .await;
    let bytes = read.map_or_else(|_| Bytes::new(), http_body_util::Collected::to_bytes);
    String::from_utf8_lossy(&bytes).trim().to_owned()
}

/// Where an answer sends the same request to.
fn redirect(answer: &Response<Incoming>, from: &Uri) -> Option<Uri> {
    if !matches!(answer.status().as_u16(), 307 | 308) {
        return None;
    }
    let to: Uri = answer
        .headers()
        .get(LOCATION)?
        .to_str()
        .ok()?
        .parse()
        .ok()?;
    if to.authority().is_some() {
        return Some(to);
    }
    let mut parts = from.clone().into_parts();
    parts.path_and_query = Some(to.path_and_query()?.clone());
    Uri::from_parts(parts).ok()
}

/// The client's own errors say only "client error".
fn with_cause(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        text = format!("{text}: {error}");
        cause = error.source();
    }
    text
}

#[cfg(test)]
mod tests;
