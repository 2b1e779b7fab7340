//! The one HTTP client: connection reuse, TLS, deadlines, and what an answer means for a batch.
//!
//! Every request has a deadline. A refused login or a missing path is a mistake that an operator can
//! mend, so the data waits for it (retry); only what says "this body is bad" is final.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http_body_util::{BodyExt, Full, Limited};
use hyper::header::{AUTHORIZATION, HeaderMap, HeaderName, HeaderValue, RETRY_AFTER, USER_AGENT};
use hyper::{Method, Request, StatusCode, Uri};
use hyper_rustls::{ConfigBuilderExt, HttpsConnector, HttpsConnectorBuilder};
use hyper_util::client::legacy::Client;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::{TokioExecutor, TokioTimer};
use kansoku_model::{ConfigError, OptionKind, OptionSpec, Settings};
use rustls::ClientConfig;
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::CryptoProvider;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};

use crate::{Outcome, OutputEnvironment};

/// The options of every output that speaks HTTP.
pub const OPTIONS: &[OptionSpec] = &[
    OptionSpec::new(
        "host",
        OptionKind::Text,
        "127.0.0.1",
        "host name or address of the destination",
    ),
    OptionSpec::new("port", OptionKind::Int, "", "port of the destination"),
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
        "header",
        OptionKind::Pair,
        "",
        "a header to send: NAME VALUE",
    )
    .repeated(),
    OptionSpec::new("tls", OptionKind::Bool, "off", "speak https"),
    OptionSpec::new(
        "tls.verify",
        OptionKind::Bool,
        "on",
        "check the server's certificate",
    ),
    OptionSpec::new(
        "tls.ca_file",
        OptionKind::Text,
        "",
        "certificates to trust instead of the system's (PEM)",
    ),
    OptionSpec::new(
        "net.connect_timeout",
        OptionKind::Time,
        "10",
        "longest wait for a connection",
    ),
    OptionSpec::new(
        "http.response_timeout",
        OptionKind::Time,
        "60",
        "longest wait for an answer",
    ),
    OptionSpec::new(
        "net.keepalive",
        OptionKind::Bool,
        "on",
        "use a connection for several requests",
    ),
    OptionSpec::new(
        "net.keepalive_idle_timeout",
        OptionKind::Time,
        "30",
        "close a connection that was idle this long",
    ),
    OptionSpec::new(
        "net.max_worker_connections",
        OptionKind::Int,
        "2",
        "idle connections to keep",
    ),
];

/// The part of an error answer that is kept for the reason.
const ANSWER_KEPT_BYTES: usize = 512;
/// The part of an answer that is read before the connection is given up.
const ANSWER_MAX_BYTES: usize = 64 << 10;
/// The longest that a server may ask to wait; anything above is most likely a mistake.
const RETRY_AFTER_MAX: Duration = Duration::from_secs(3600);

/// A client for one destination.
pub struct HttpClient {
    client: Client<HttpsConnector<HttpConnector>, Full<Bytes>>,
    base: String,
    headers: HeaderMap,
    timeout: Duration,
}

impl HttpClient {
    /// A client from the options of [`OPTIONS`].
    ///
    /// # Errors
    /// When a host, header or certificate file cannot be used.
    pub fn build(
        settings: &Settings,
        environment: &OutputEnvironment,
        default_port: u16,
    ) -> Result<Self, ConfigError> {
        let fail = |key: &str, message: String| {
            let place = settings.get(key).map_or(&settings.place, |s| &s.place);
            ConfigError::new(place, message)
        };
        let tls = settings.bool("tls", false)?;
        let host = settings.text("host", "127.0.0.1");
        let host = if host.contains(':') && !host.starts_with('[') {
            format!("[{host}]")
        } else {
            host.to_owned()
        };
        let port = settings.int("port", i64::from(default_port))?;
        let port = u16::try_from(port)
            .map_err(|_| fail("port", format!("'port' is {port}, but must be 1 to 65535")))?;
        let scheme = if tls { "https" } else { "http" };
        let base = format!("{scheme}://{host}:{port}");
        base.parse::<Uri>().map_err(|_| {
            fail(
                "host",
                format!("'host' is '{host}', which is no host name or address"),
            )
        })?;

        let mut http = HttpConnector::new();
        http.enforce_http(false);
        http.set_nodelay(true);
        http.set_connect_timeout(Some(Duration::from_secs_f64(
            settings.seconds("net.connect_timeout", 10.0)?,
        )));
        let connector = HttpsConnectorBuilder::new()
            .with_tls_config(tls_config(settings, tls)?)
            .https_or_http()
            .enable_http1()
            .wrap_connector(http);
        let idle = if settings.bool("net.keepalive", true)? {
            usize::try_from(settings.int("net.max_worker_connections", 2)?.max(1)).unwrap_or(1)
        } else {
            0
        };
        let client = Client::builder(TokioExecutor::new())
            .pool_timer(TokioTimer::new())
            .pool_idle_timeout(Duration::from_secs_f64(
                settings.seconds("net.keepalive_idle_timeout", 30.0)?,
            ))
            .pool_max_idle_per_host(idle)
            .build(connector);
        Ok(Self {
            client,
            base,
            headers: headers(settings, environment)?,
            timeout: Duration::from_secs_f64(settings.seconds("http.response_timeout", 60.0)?),
        })
    }

    /// Sends `body` and says what the answer means.
    pub async fn send(
        &self,
        method: Method,
        path: &str,
        extra: &[(HeaderName, HeaderValue)],
        body: Bytes,
    ) -> Outcome {
        let mut request = match Request::builder()
            .method(method)
            .uri(format!("{}{path}", self.base))
            .body(Full::new(body))
        {
            Ok(request) => request,
            Err(e) => {
                return Outcome::Rejected {
                    reason: format!("cannot make a request for {}{path}: {e}", self.base),
                };
            }
        };
        let headers = request.headers_mut();
        headers.extend(self.headers.clone());
        headers.extend(
            extra
                .iter()
                .cloned()
                .map(|(name, value)| (Some(name), value)),
        );
        match tokio::time::timeout(self.timeout, self.exchange(request)).await {
            Ok(outcome) => outcome,
            Err(_) => self.retry(format!("no answer within {:?}", self.timeout), None),
        }
    }

    async fn exchange(&self, request: Request<Full<Bytes>>) -> Outcome {
        let answer = match self.client.request(request).await {
            Ok(answer) => answer,
            Err(e) => return self.retry(with_causes(&e), None),
        };
        let status = answer.status();
        let after = retry_after(answer.headers());
        let body = Limited::new(answer.into_body(), ANSWER_MAX_BYTES)
            .collect()
            .await;
        let body = body
            .map(http_body_util::Collected::to_bytes)
            .unwrap_or_default();
        let text = String::from_utf8_lossy(&body[..body.len().min(ANSWER_KEPT_BYTES)]);
        let reason = format!("{status}: {}", text.trim());
        match judge(status) {
            Verdict::Delivered => Outcome::Delivered,
            Verdict::TooLarge => Outcome::TooLarge,
            Verdict::Retry => self.retry(reason, after),
            Verdict::Rejected => Outcome::Rejected {
                reason: format!("{} answered {reason}", self.base),
            },
        }
    }

    fn retry(&self, reason: String, after: Option<Duration>) -> Outcome {
        Outcome::Retry {
            reason: format!("{}: {reason}", self.base),
            after,
        }
    }
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

fn retry_after(headers: &HeaderMap) -> Option<Duration> {
    let seconds = headers
        .get(RETRY_AFTER)?
        .to_str()
        .ok()?
        .trim()
        .parse()
        .ok()?;
    Some(Duration::from_secs(seconds).min(RETRY_AFTER_MAX))
}

fn with_causes(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(e) = cause {
        text = format!("{text}: {e}");
        cause = e.source();
    }
    text
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
        headers.append(
            name,
            HeaderValue::from_str(value.trim()).map_err(|_| bad())?,
        );
    }
    let login = match (settings.get("http_user"), settings.get("bearer_token")) {
        (Some(_), Some(token)) => {
            let message = "'bearer_token' and 'http_user' exclude each other; remove one";
            return Err(ConfigError::new(&token.place, message));
        }
        (Some(user), None) => {
            let pair = format!("{}:{}", user.value, settings.text("http_passwd", ""));
            Some((user, format!("Basic {}", base64(pair.as_bytes()))))
        }
        (None, Some(token)) => Some((token, format!("Bearer {}", token.value))),
        (None, None) => None,
    };
    if let Some((setting, text)) = login {
        let mut value = HeaderValue::from_str(&text).map_err(|_| {
            ConfigError::new(
                &setting.place,
                format!("'{}' has characters that no header may have", setting.key),
            )
        })?;
        value.set_sensitive(true);
        headers.insert(AUTHORIZATION, value);
    }
    Ok(headers)
}

fn base64(bytes: &[u8]) -> String {
    const DIGITS: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let mut out = String::with_capacity(bytes.len().div_ceil(3) * 4);
    for chunk in bytes.chunks(3) {
        let group =
            chunk.iter().fold(0u32, |g, &b| g << 8 | u32::from(b)) << (8 * (3 - chunk.len()));
        for i in 0..4 {
            if i <= chunk.len() {
                out.push(char::from(DIGITS[(group >> (18 - 6 * i) & 63) as usize]));
            } else {
                out.push('=');
            }
        }
    }
    out
}

pub(crate) fn tls_config(settings: &Settings, tls: bool) -> Result<ClientConfig, ConfigError> {
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let builder = ClientConfig::builder_with_provider(provider.clone())
        .with_safe_default_protocol_versions()
        .expect("ring supports the default protocol versions");
    if !settings.bool("tls.verify", true)? {
        return Ok(builder
            .dangerous()
            .with_custom_certificate_verifier(Arc::new(AcceptAny(provider)))
            .with_no_client_auth());
    }
    let mut roots = rustls::RootCertStore::empty();
    match settings.get("tls.ca_file") {
        Some(s) => {
            let fail = |e: &dyn std::fmt::Display| {
                ConfigError::new(
                    &s.place,
                    format!("cannot read certificates from '{}': {e}", s.value),
                )
            };
            let certificates = CertificateDer::pem_file_iter(&s.value).map_err(|e| fail(&e))?;
            for certificate in certificates {
                roots
                    .add(certificate.map_err(|e| fail(&e))?)
                    .map_err(|e| fail(&e))?;
            }
            if roots.is_empty() {
                return Err(fail(&"no certificate in it"));
            }
            Ok(builder.with_root_certificates(roots).with_no_client_auth())
        }
        // The system's certificates take a while to read: only when they are needed.
        None if tls => {
            let trusting = builder.with_native_roots().map_err(|e| {
                let message =
                    format!("cannot read the system's certificates: {e}; set 'tls.ca_file'");
                ConfigError::new(&settings.place, message)
            })?;
            Ok(trusting.with_no_client_auth())
        }
        None => Ok(builder.with_root_certificates(roots).with_no_client_auth()),
    }
}

/// `tls.verify off`: the connection is private but may end anywhere. The user asked for it.
#[derive(Debug)]
struct AcceptAny(Arc<CryptoProvider>);

impl ServerCertVerifier for AcceptAny {
    fn verify_server_cert(
        &self,
        _: &CertificateDer<'_>,
        _: &[CertificateDer<'_>],
        _: &ServerName<'_>,
        _: &[u8],
        _: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &rustls::DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        let algorithms = &self.0.signature_verification_algorithms;
        rustls::crypto::verify_tls12_signature(message, certificate, signature, algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &rustls::DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        let algorithms = &self.0.signature_verification_algorithms;
        rustls::crypto::verify_tls13_signature(message, certificate, signature, algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<rustls::SignatureScheme> {
        self.0.signature_verification_algorithms.supported_schemes()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn answers_mean_what_they_should() {
        let cases = [
            (200, Verdict::Delivered),
            (204, Verdict::Delivered),
            (302, Verdict::Retry),
            (400, Verdict::Rejected),
            (401, Verdict::Retry),
            (404, Verdict::Retry),
            (409, Verdict::Rejected),
            (413, Verdict::TooLarge),
            (422, Verdict::Rejected),
            (429, Verdict::Retry),
            (500, Verdict::Retry),
            (507, Verdict::Retry),
        ];
        for (status, verdict) in cases {
            assert_eq!(
                judge(StatusCode::from_u16(status).expect("status")),
                verdict,
                "{status}"
            );
        }
    }

    #[test]
    fn base64_pads() {
        for (plain, coded) in [
            ("", ""),
            ("f", "Zg=="),
            ("fo", "Zm8="),
            ("foo", "Zm9v"),
            ("user:pass", "dXNlcjpwYXNz"),
        ] {
            assert_eq!(base64(plain.as_bytes()), coded);
        }
    }

    #[test]
    fn settings_that_cannot_work_are_refused_with_their_place() {
        let cases: &[(&[(&str, &str)], &str)] = &[
            (
                &[("port", "70000")],
                "'port' is 70000, but must be 1 to 65535",
            ),
            (
                &[("host", "no host")],
                "'host' is 'no host', which is no host name or address",
            ),
            (
                &[("header", "bad:name x")],
                "'header' is 'bad:name x', which is no valid NAME VALUE",
            ),
            (
                &[("http_user", "u"), ("bearer_token", "t")],
                "'bearer_token' and 'http_user' exclude each other; remove one",
            ),
            (
                &[("tls.ca_file", "/no/such.pem")],
                "cannot read certificates from '/no/such.pem': ",
            ),
        ];
        for (pairs, message) in cases {
            let error = HttpClient::build(
                &Settings::of("http", pairs),
                &OutputEnvironment::default(),
                80,
            )
            .err()
            .expect("refused");
            assert!(error.to_string().contains(message), "{error}");
        }
    }
}
