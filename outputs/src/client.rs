//! The one HTTP client: connection reuse, logins, deadlines, and what an answer means for a batch.
//!
//! Every request has a deadline. A refused login or a missing path is a mistake that an operator can
//! mend, so the data waits for it (retry); only what says "this body is bad" is final.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use http_body_util::Full;
use hyper::header::{
    AUTHORIZATION, HOST, HeaderMap, HeaderName, HeaderValue, PROXY_AUTHORIZATION, RETRY_AFTER,
    USER_AGENT,
};
use hyper::{Method, Request, StatusCode, Uri};
use kansoku_model::{ConfigError, OptionKind, OptionSpec, RecordBatch, Settings, joined};

use crate::aws::AwsLogin;
use crate::net::{self, Net, authority};
use crate::oauth2::OAuth2;
use crate::pool::Pool;
pub use crate::pool::{Answer, Protocol};
use crate::token_file::TokenFile;
use crate::{Outcome, OutputEnvironment};

const HTTP: &[OptionSpec] = &[
    OptionSpec::new(
        "http_user",
        OptionKind::Text,
        "",
        "user of basic authentication",
    ),
    OptionSpec::new(
        "http_passwd",
        OptionKind::Text,
        "",
        "password of basic authentication",
    ),
    OptionSpec::new(
        "bearer_token",
        OptionKind::Text,
        "",
        "token of bearer authentication",
    ),
    OptionSpec::new(
        "bearer_token_file",
        OptionKind::Text,
        "",
        "file with the token of bearer authentication; read again when it has changed",
    ),
    OptionSpec::new(
        "header",
        OptionKind::Pair,
        "",
        "a header to send: NAME VALUE",
    )
    .repeated(),
    OptionSpec::new(
        "http.response_timeout",
        OptionKind::Time,
        "60",
        "longest wait for an answer",
    ),
    OptionSpec::new(
        "http.read_idle_timeout",
        OptionKind::Time,
        "0",
        "longest pause within an answer, 0 for no own limit",
    ),
    OptionSpec::new(
        "proxy",
        OptionKind::Text,
        "",
        "HTTP proxy to go through: http://host:port",
    ),
];

/// The options of every output that speaks HTTP.
pub const OPTIONS: &[OptionSpec] =
    &joined::<{ HTTP.len() + net::OPTIONS.len() }>(HTTP, net::OPTIONS);

/// The part of an error answer that is kept for the reason.
const ANSWER_KEPT_BYTES: usize = 512;
/// The part of an answer that is read before the connection is given up.
const ANSWER_MAX_BYTES: usize = 64 << 10;
/// The longest that a server may ask to wait; anything above is most likely a mistake.
const RETRY_AFTER_MAX: Duration = Duration::from_secs(3600);
/// Body buffers that are kept for the next requests; a worker needs one or two.
const BUFFERS_KEPT: usize = 2;
/// How large bodies may be before they are compressed, where the batches allow it: a body is memory beside
/// the batches that it is made of, and what labels and annotations add to short records is several times them.
const BODY_WANTED_BYTES: u64 = 3 << 18;
/// Batches for one request, between these.
const REQUEST_BYTES: std::ops::RangeInclusive<u64> = 128 << 10..=1 << 20;
/// A buffer that grew beyond this is not kept.
const BUFFER_KEPT_MAX_BYTES: usize = 4 << 20;

/// Who the client says it is.
enum Login {
    /// Nobody, or a header that is sent each time.
    Fixed,
    /// What stands in a file now.
    File(Box<TokenFile>),
    OAuth2(Box<OAuth2>),
    Aws(Box<AwsLogin>),
}

/// A client for one destination.
pub struct HttpClient {
    pool: Pool,
    base: String,
    /// The value of `Host`, and what requests have before their path.
    authority: String,
    headers: HeaderMap,
    login: Login,
    timeout: Duration,
    /// Whether the text of an answer is part of the reason that is told.
    pub tells_answers: bool,
    /// The most of an answer that is read.
    pub answer_max_bytes: usize,
    /// Buffers of requests that are over. Held only to push and pop.
    buffers: Mutex<Vec<Vec<u8>>>,
    /// Bytes of body for 1024 bytes of batches, as it was lately.
    expansion: AtomicU64,
}

/// Stands in requests for a host that is none; connecting to that fails before.
const NO_HOST: &str = "host.invalid";

impl HttpClient {
    /// A client from the options of [`OPTIONS`], and of [`crate::oauth2::OPTIONS`] and
    /// [`crate::aws::OPTIONS`] where the output has them.
    ///
    /// # Errors
    /// When a host, header, login or certificate file cannot be used.
    pub fn build(
        settings: &Settings,
        environment: &OutputEnvironment,
        default_port: u16,
    ) -> Result<Self, ConfigError> {
        Self::with_protocol(settings, environment, default_port, Protocol::Http1)
    }

    /// The same with a choice of HTTP/2.
    ///
    /// # Errors
    /// As [`build`](Self::build).
    pub fn with_protocol(
        settings: &Settings,
        environment: &OutputEnvironment,
        default_port: u16,
        protocol: Protocol,
    ) -> Result<Self, ConfigError> {
        let alpn: &[&[u8]] = match protocol {
            Protocol::Http1 => &[b"http/1.1"],
            Protocol::Negotiated => &[b"h2", b"http/1.1"],
            Protocol::Http2 => &[b"h2"],
        };
        let net = Net::build(settings, environment, default_port, alpn)?;
        let authority = authority(&net.host, net.port);
        let scheme = if net.is_tls() { "https" } else { "http" };
        let base = format!("{scheme}://{authority}");
        let base = if base.parse::<Uri>().is_ok() {
            base
        } else {
            // Of TLS the name is checked, and told, before.
            if !net.is_tls() || settings.get("tls.vhost").is_some() {
                let place = settings.get("host").map_or(&settings.place, |s| &s.place);
                let host = &net.host;
                let message = format!(
                    "'host' is '{host}', which is no host name or address; until it is one nothing is sent"
                );
                environment.warn(place, message);
            }
            format!("{scheme}://{NO_HOST}")
        };
        let login = if let Some(oauth2) = OAuth2::of(settings, environment)? {
            Login::OAuth2(Box::new(oauth2))
        } else if let Some(aws) = AwsLogin::of(settings, environment)? {
            Login::Aws(Box::new(aws))
        } else if let Some(file) = TokenFile::of(settings)? {
            Login::File(Box::new(file))
        } else {
            Login::Fixed
        };
        let timeout = settings.seconds("http.response_timeout", 60.0)?;
        Ok(Self {
            pool: Pool::build(net, settings, protocol)?,
            base,
            authority,
            headers: headers(settings, environment)?,
            login,
            timeout: Duration::from_secs_f64(timeout.clamp(0.001, 86_400.0)),
            tells_answers: settings.bool("log_response_payload", true)?,
            answer_max_bytes: ANSWER_MAX_BYTES,
            buffers: Mutex::default(),
            expansion: AtomicU64::new(1024),
        })
    }

    /// Where requests go, for messages: `http://host:port`.
    #[must_use]
    pub fn base(&self) -> &str {
        &self.base
    }

    /// Adds a header to every request.
    pub fn set_header(&mut self, name: HeaderName, value: HeaderValue) {
        self.headers.insert(name, value);
    }

    /// Of several headers with one name keeps the last, as `allow_duplicated_headers off` says.
    pub fn keep_last_headers(&mut self) {
        let mut single = HeaderMap::new();
        for (name, value) in &self.headers {
            single.insert(name.clone(), value.clone());
        }
        self.headers = single;
    }

    /// An empty buffer for a body, used before where possible: its pages are warm.
    #[must_use]
    pub fn buffer(&self) -> Vec<u8> {
        let mut buffers = self.buffers.lock().expect("nobody panics with the lock");
        buffers.pop().unwrap_or_default()
    }

    /// Gives a buffer back.
    pub fn recycle(&self, mut buffer: Vec<u8>) {
        if buffer.capacity() > BUFFER_KEPT_MAX_BYTES {
            return;
        }
        buffer.clear();
        let mut buffers = self.buffers.lock().expect("nobody panics with the lock");
        if buffers.len() < BUFFERS_KEPT {
            buffers.push(buffer);
        }
    }

    /// Learns from a body how much larger than its batches bodies are here.
    pub fn note_body(&self, batches: &[Arc<RecordBatch>], body_bytes: usize) {
        let batch_bytes: usize = batches.iter().map(|b| b.size_bytes()).sum();
        let now = (body_bytes as u64).saturating_mul(1024) / (batch_bytes as u64).max(1);
        let before = self.expansion.load(Ordering::Relaxed);
        // Large at once, small step by step.
        let next = now.max((before * 7 + now) / 8);
        self.expansion.store(next, Ordering::Relaxed);
    }

    /// Bytes of batches for one request, see [`Output::max_request_bytes`](crate::Output::max_request_bytes).
    #[must_use]
    pub fn request_bytes(&self) -> usize {
        let expansion = self.expansion.load(Ordering::Relaxed).max(1);
        let wanted = BODY_WANTED_BYTES * 1024 / expansion;
        wanted.clamp(*REQUEST_BYTES.start(), *REQUEST_BYTES.end()) as usize
    }

    /// Sends `body` and says what the answer means.
    pub async fn send(
        &self,
        method: Method,
        path: &str,
        extra: &[(HeaderName, HeaderValue)],
        body: impl Into<Bytes>,
    ) -> Outcome {
        match self.exchange(method, path, extra, body).await {
            Ok(answer) => self.outcome(&answer),
            Err(reason) => self.retry(reason, None),
        }
    }

    /// What an answer means for all that the request held.
    #[must_use]
    pub fn outcome(&self, answer: &Answer) -> Outcome {
        let status = answer.status;
        let body = &answer.body;
        let text = String::from_utf8_lossy(&body[..body.len().min(ANSWER_KEPT_BYTES)]);
        let reason = if self.tells_answers {
            format!("{status}: {}", text.trim())
        } else {
            status.to_string()
        };
        match judge(status) {
            Verdict::Delivered => Outcome::Delivered,
            Verdict::TooLarge => Outcome::TooLarge,
            Verdict::Retry => self.retry(reason, retry_after(&answer.headers)),
            Verdict::Rejected => Outcome::Rejected {
                reason: format!("{} answered {reason}", self.base),
            },
        }
    }

    /// An outcome that asks for the same again.
    #[must_use]
    pub fn retry(&self, reason: impl std::fmt::Display, after: Option<Duration>) -> Outcome {
        Outcome::Retry {
            reason: format!("{}: {reason}", self.base),
            after,
        }
    }

    /// Sends `body` and reads the answer, whatever it is.
    ///
    /// # Errors
    /// Why there is no answer.
    pub async fn exchange(
        &self,
        method: Method,
        path: &str,
        extra: &[(HeaderName, HeaderValue)],
        body: impl Into<Bytes>,
    ) -> Result<Answer, String> {
        let body: Bytes = body.into();
        let kept = body.clone();
        let work = self.logged_in(method, path, extra, body);
        let result = match tokio::time::timeout(self.timeout, work).await {
            Ok(result) => result,
            Err(_) => Err(format!("no answer within {:?}", self.timeout)),
        };
        if let Ok(buffer) = kept.try_into_mut() {
            self.recycle(buffer.into());
        }
        result
    }

    async fn logged_in(
        &self,
        method: Method,
        path: &str,
        extra: &[(HeaderName, HeaderValue)],
        body: Bytes,
    ) -> Result<Answer, String> {
        let mut request = self.request(&method, path, extra, body.clone())?;
        match &self.login {
            Login::Fixed => self.pool.exchange(request, self.answer_max_bytes).await,
            Login::File(file) => {
                request.headers_mut().insert(AUTHORIZATION, file.header()?);
                self.pool.exchange(request, self.answer_max_bytes).await
            }
            Login::Aws(aws) => {
                let host = HeaderValue::from_str(&self.pool.net.host)
                    .map_err(|_| "the host name cannot be sent".to_owned())?;
                // AWS signs the host without its port.
                request.headers_mut().insert(HOST, host);
                let signed = aws
                    .headers(&method, &self.pool.net.host, path, &body)
                    .await?;
                request.headers_mut().extend(some(&signed));
                self.pool.exchange(request, self.answer_max_bytes).await
            }
            Login::OAuth2(oauth2) => {
                let token = oauth2.header().await?;
                request.headers_mut().insert(AUTHORIZATION, token);
                let answer = self.pool.exchange(request, self.answer_max_bytes).await?;
                if answer.status != StatusCode::UNAUTHORIZED {
                    return Ok(answer);
                }
                // The token was taken back before its time: once more with a new one.
                oauth2.forget().await;
                let mut again = self.request(&method, path, extra, body)?;
                again
                    .headers_mut()
                    .insert(AUTHORIZATION, oauth2.header().await?);
                self.pool.exchange(again, self.answer_max_bytes).await
            }
        }
    }

    fn request(
        &self,
        method: &Method,
        path: &str,
        extra: &[(HeaderName, HeaderValue)],
        body: Bytes,
    ) -> Result<Request<Full<Bytes>>, String> {
        let mut request = Request::builder()
            .method(method)
            .uri(format!("{}{path}", self.base))
            .body(Full::new(body))
            .map_err(|e| format!("cannot make a request for {path}: {e}"))?;
        let headers = request.headers_mut();
        let host = HeaderValue::from_str(&self.authority)
            .map_err(|_| "the host name cannot be sent".to_owned())?;
        headers.insert(HOST, host);
        let net = &self.pool.net;
        let proxy = net.proxy.as_ref().filter(|_| !net.is_tls());
        if let Some(login) = proxy.and_then(|p| p.login.as_ref())
            && let Ok(value) = HeaderValue::from_str(login)
        {
            headers.insert(PROXY_AUTHORIZATION, value);
        }
        headers.extend(self.headers.clone());
        headers.extend(some(extra));
        Ok(request)
    }
}

fn some(
    headers: &[(HeaderName, HeaderValue)],
) -> impl Iterator<Item = (Option<HeaderName>, HeaderValue)> {
    headers
        .iter()
        .cloned()
        .map(|(name, value)| (Some(name), value))
}

/// Posts to a URL once, outside any output's own destination: for tokens and credentials. TLS options
/// of `settings` hold for it too.
///
/// # Errors
/// Why there is no answer.
pub async fn fetch(
    settings: &Settings,
    method: Method,
    url: &str,
    headers: &[(HeaderName, HeaderValue)],
    body: String,
    timeout: Duration,
) -> Result<Answer, String> {
    let uri: Uri = url.parse().map_err(|_| format!("'{url}' is no URL"))?;
    let host = uri.host().ok_or_else(|| format!("'{url}' has no host"))?;
    let is_tls = uri.scheme_str() == Some("https");
    let mut own = settings.clone();
    own.settings.retain(|s| {
        (s.key.starts_with("net.") || s.key.starts_with("tls.") || s.key == "proxy")
            && s.key != "tls.vhost"
    });
    let port = uri.port_u16().unwrap_or(if is_tls { 443 } else { 80 });
    let seconds = timeout.as_secs_f64().to_string();
    for (key, value) in [
        ("host", host),
        ("tls", if is_tls { "on" } else { "off" }),
        ("http.response_timeout", seconds.as_str()),
        ("net.keepalive", "off"),
    ] {
        own.settings
            .extend(Settings::of("", &[(key, value)]).settings);
    }
    let client =
        HttpClient::build(&own, &OutputEnvironment::default(), port).map_err(|e| e.to_string())?;
    let path = uri.path_and_query().map_or("/", |p| p.as_str());
    client.exchange(method, path, headers, body).await
}

#[derive(Debug, PartialEq, Eq)]
enum Verdict {
    Delivered,
    Retry,
    TooLarge,
    Rejected,
}

fn judge(status: StatusCode) -> Verdict {
    match status.as_u16() {
        200..=299 => Verdict::Delivered,
        413 => Verdict::TooLarge,
        // Cured on the other side or by the operator; the data must wait for that.
        401 | 403 | 404 | 405 | 407 | 408 | 425 | 429 => Verdict::Retry,
        400..=499 => Verdict::Rejected,
        _ => Verdict::Retry,
    }
}

/// The wait that `Retry-After` asks for, as seconds or as a date.
#[must_use]
pub fn retry_after(headers: &HeaderMap) -> Option<Duration> {
    let text = headers.get(RETRY_AFTER)?.to_str().ok()?.trim();
    let wait = match text.parse::<f64>() {
        Ok(seconds) => Duration::try_from_secs_f64(seconds).ok()?,
        Err(_) => {
            let at = jiff::fmt::rfc2822::parse(text).ok()?.timestamp();
            let seconds = at.as_second() - jiff::Timestamp::now().as_second();
            Duration::from_secs(u64::try_from(seconds).unwrap_or(0))
        }
    };
    Some(wait.min(RETRY_AFTER_MAX))
}

fn headers(settings: &Settings, environment: &OutputEnvironment) -> Result<HeaderMap, ConfigError> {
    let mut headers = HeaderMap::new();
    if let Ok(agent) = HeaderValue::from_str(&environment.user_agent) {
        headers.insert(USER_AGENT, agent);
    }
    for s in settings.all("header") {
        let bad = || {
            ConfigError::new(
                &s.place,
                format!("'header' is '{}', which is no valid NAME VALUE", s.value),
            )
        };
        let (name, value) = s.value.split_once(char::is_whitespace).ok_or_else(bad)?;
        let name = HeaderName::from_bytes(name.as_bytes()).map_err(|_| bad())?;
        let value = HeaderValue::from_str(value.trim()).map_err(|_| bad())?;
        if name == USER_AGENT {
            headers.insert(name, value);
        } else {
            headers.append(name, value);
        }
    }
    if let Some(value) = login(settings)? {
        headers.insert(AUTHORIZATION, value);
    }
    Ok(headers)
}

fn login(settings: &Settings) -> Result<Option<HeaderValue>, ConfigError> {
    let (setting, text) = match (settings.get("http_user"), settings.get("bearer_token")) {
        (Some(_), Some(token)) => {
            let message = "'bearer_token' and 'http_user' exclude each other; remove one";
            return Err(ConfigError::new(&token.place, message));
        }
        (Some(user), None) => {
            let pair = format!("{}:{}", user.value, settings.text("http_passwd", ""));
            (user, format!("Basic {}", STANDARD.encode(pair)))
        }
        (None, Some(token)) => (token, format!("Bearer {}", token.value)),
        (None, None) => return Ok(None),
    };
    let mut value = HeaderValue::from_str(&text).map_err(|_| {
        ConfigError::new(
            &setting.place,
            format!("'{}' has characters that no header may have", setting.key),
        )
    })?;
    value.set_sensitive(true);
    Ok(Some(value))
}

#[cfg(test)]
mod tests;
