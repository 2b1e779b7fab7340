//! Requests to the aggregator: URLs, headers, TLS, answers and their errors in words.
//!
//! Knows no command. One connection pool over HTTP/1, which the WebSocket of a tail needs; the size of
//! an answer and the time of a request are bounded.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http_body_util::{BodyExt, Full, Limited};
use hyper::header::{self, HeaderValue};
use hyper::{Method, Request, Response, Uri};
use hyper_rustls::{HttpsConnector, HttpsConnectorBuilder};
use hyper_util::client::legacy::Client as HttpClient;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::TokioExecutor;
use rustls::{ClientConfig, RootCertStore};
use rustls_pki_types::pem::PemObject;
use rustls_pki_types::{CertificateDer, PrivateKeyDer};
use serde::Deserialize;
use serde::de::DeserializeOwned;

use crate::config::Context;
use crate::error::{Error, Result};
use crate::login::Login;
use crate::output::say;
use crate::websocket::{self, WebSocket};

/// The largest answer that is read: 5000 lines of 50 KiB.
const BODY_MAX: usize = 256 << 20;
/// The longest error text that is shown.
const ERROR_MAX: usize = 4000;
/// A longer query string goes into the body of a POST.
const QUERY_MAX: usize = 4000;
const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);

/// Name and value of each parameter.
pub type Parameters<'a> = [(&'a str, String)];

/// Where the aggregator is and how to speak to it.
pub struct Client {
    /// Without a slash at its end.
    base: String,
    http: HttpClient<HttpsConnector<HttpConnector>, Full<Bytes>>,
    authorization: Option<HeaderValue>,
    tenant: Option<HeaderValue>,
    /// `None` waits for ever.
    timeout: Option<Duration>,
    /// Whether requests go through the API server's service proxy.
    through_cluster: bool,
}

/// The envelope of Prometheus' and Loki's answers.
#[derive(Debug, Deserialize)]
pub struct Answer<T> {
    pub data: T,
    #[serde(default)]
    pub warnings: Vec<String>,
    #[serde(default)]
    pub infos: Vec<String>,
}

impl Client {
    /// A client of the server at `url`, with the rest from a context.
    ///
    /// # Errors
    /// When the address, the token or a certificate is wrong.
    pub fn new(
        url: &str,
        context: &Context,
        login: Option<&Login>,
        timeout: Option<Duration>,
        through_cluster: bool,
    ) -> Result<Self> {
        let base = base_of(url)?;
        let authorization = login.map(Login::header).transpose()?;
        let tenant = context
            .tenant
            .as_deref()
            .map(|name| {
                HeaderValue::from_str(name).map_err(|_| {
                    Error::failed(format!("\"{name}\" cannot be the name of a tenant"))
                })
            })
            .transpose()?;
        let mut tcp = HttpConnector::new();
        tcp.enforce_http(false);
        tcp.set_connect_timeout(Some(CONNECT_TIMEOUT));
        tcp.set_nodelay(true);
        let connector = HttpsConnectorBuilder::new()
            .with_tls_config(tls(context)?)
            .https_or_http()
            .enable_http1()
            .wrap_connector(tcp);
        Ok(Self {
            base,
            http: HttpClient::builder(TokioExecutor::new()).build(connector),
            authorization,
            tenant,
            timeout,
            through_cluster,
        })
    }

    /// The `data` of an answer, with what the server warns of.
    ///
    /// # Errors
    /// When there is no answer, an error, or one of an unknown shape.
    pub async fn ask<T: DeserializeOwned>(
        &self,
        path: &str,
        parameters: &Parameters<'_>,
    ) -> Result<Answer<T>> {
        let body = self.body(path, parameters).await?;
        serde_json::from_slice(&body).map_err(|e| {
            Error::failed(format!(
                "{}{path} answered with what no aggregator says ({e}); is this a kansoku-aggregator?",
                self.base
            ))
        })
    }

    /// The `data` of an answer; warnings go to the standard error.
    ///
    /// # Errors
    /// As [`Client::ask`].
    pub async fn data<T: DeserializeOwned>(
        &self,
        path: &str,
        parameters: &Parameters<'_>,
    ) -> Result<T> {
        let answer: Answer<T> = self.ask(path, parameters).await?;
        for note in answer.warnings.iter().chain(&answer.infos) {
            say(&format!("warning: {note}"));
        }
        Ok(answer.data)
    }

    async fn body(&self, path: &str, parameters: &Parameters<'_>) -> Result<Bytes> {
        let query = encode(parameters);
        let mut builder = Request::builder();
        let (uri, body) = if query.len() > QUERY_MAX {
            builder = builder
                .method(Method::POST)
                .header(header::CONTENT_TYPE, "application/x-www-form-urlencoded");
            (path.to_owned(), Full::from(query))
        } else if query.is_empty() {
            (path.to_owned(), Full::default())
        } else {
            (format!("{path}?{query}"), Full::default())
        };
        builder = builder.header(header::ACCEPT, "application/json");
        // Structured metadata and parsed labels apart from those of the stream.
        builder = builder.header("x-loki-response-encoding-flags", "categorize-labels");
        let request = self.finish(builder, &uri, body)?;
        let work = async {
            let response = self.send(request).await?;
            let status = response.status();
            let body = Limited::new(response.into_body(), BODY_MAX).collect().await;
            let body = body.map_err(|e| {
                if e.is::<http_body_util::LengthLimitError>() {
                    Error::Refused {
                        status: 413,
                        message: format!("the answer is larger than {BODY_MAX} bytes; ask for a shorter time or a lower limit"),
                    }
                } else {
                    Error::Unreachable(format!("the connection to {} broke: {e}", self.base))
                }
            })?;
            let body = body.to_bytes();
            if status.is_success() {
                Ok(body)
            } else {
                Err(self.refusal(status.as_u16(), &body))
            }
        };
        match self.timeout {
            None => work.await,
            Some(limit) => tokio::time::timeout(limit, work).await.unwrap_or_else(|_| {
                Err(Error::Unreachable(format!(
                    "{} gave no answer within {} s (--request-timeout)",
                    self.base,
                    limit.as_secs()
                )))
            }),
        }
    }

    fn finish(
        &self,
        mut builder: hyper::http::request::Builder,
        path: &str,
        body: Full<Bytes>,
    ) -> Result<Request<Full<Bytes>>> {
        if let Some(value) = &self.authorization {
            builder = builder.header(header::AUTHORIZATION, value);
        }
        if let Some(value) = &self.tenant {
            builder = builder.header("x-scope-orgid", value);
        }
        builder
            .uri(format!("{}{path}", self.base))
            .header(
                header::USER_AGENT,
                concat!("kansoku/", env!("CARGO_PKG_VERSION")),
            )
            .body(body)
            .map_err(|e| Error::failed(format!("cannot ask {}{path}: {e}", self.base)))
    }

    async fn send(&self, request: Request<Full<Bytes>>) -> Result<Response<hyper::body::Incoming>> {
        self.http.request(request).await.map_err(|e| {
            let mut reasons = vec![];
            let mut source: Option<&dyn std::error::Error> = Some(&e);
            while let Some(error) = source {
                reasons.push(error.to_string());
                source = error.source();
            }
            // The first says only that connecting or sending failed.
            let reason = reasons.pop().unwrap_or_default();
            let cure = self.other_scheme(&reason);
            Error::Unreachable(format!(
                "Unable to connect to the server {}: {reason}\n{}",
                self.base,
                cure.as_deref().unwrap_or_else(|| self.cure())
            ))
        })
    }

    /// What to do where one side speaks TLS and the other does not.
    fn other_scheme(&self, reason: &str) -> Option<String> {
        if self.through_cluster {
            return None;
        }
        if let Some(rest) = self.base.strip_prefix("https://") {
            let is_plain = reason.contains("InvalidContentType");
            return is_plain.then(|| {
                format!("the server seems to speak no TLS: name it with --server http://{rest}")
            });
        }
        let rest = self.base.strip_prefix("http://")?;
        reason
            .contains("invalid HTTP version")
            .then(|| format!("the server seems to speak TLS: name it with --server https://{rest}"))
    }

    fn cure(&self) -> &'static str {
        if self.through_cluster {
            "check 'kubectl get --raw /readyz' and name the aggregator's service: --kube-service NAMESPACE/NAME:PORT"
        } else {
            "name it with --server URL, KANSOKU_SERVER or a context ('kansoku config set-context NAME --server URL'); in a cluster ask as 'kubectl kansoku'"
        }
    }

    /// An answer that is no success, in words.
    fn refusal(&self, status: u16, body: &[u8]) -> Error {
        let text = String::from_utf8_lossy(&body[..body.len().min(ERROR_MAX)]);
        let json: serde_json::Value = serde_json::from_slice(body).unwrap_or_default();
        // Prometheus' envelope, or a Status of Kubernetes.
        let told = json["error"].as_str().or_else(|| json["message"].as_str());
        let told = told.unwrap_or_else(|| text.trim());
        if status == 502 && self.through_cluster && json.is_null() && !told.starts_with('<') {
            // Of kubectl's proxy: it did not get as far as the API server.
            return Error::Unreachable(format!(
                "Unable to connect to the cluster's API server: {told}\ncheck 'kubectl cluster-info', or name the aggregator itself with --server URL"
            ));
        }
        let mut message = if told.is_empty() || told.starts_with('<') {
            format!("{} answered {status}", self.base)
        } else {
            told.chars().take(ERROR_MAX).collect()
        };
        match status {
            401 if told.contains("no org id") => {
                message.push_str(
                    "\nname the tenant: --tenant NAME, KANSOKU_TENANT, or 'tenant' of the context",
                );
            }
            401 if self.through_cluster => {
                message.push_str(PAST_THE_API_SERVER);
            }
            _ if self.through_cluster && told.contains("malformed HTTP response") => {
                message.push_str(
                    "\nthe service speaks TLS: name it --kube-service NAMESPACE/https:NAME:PORT",
                );
            }
            401 if self.authorization.is_none() => {
                message.push_str(
                    "\ngive a token: --token, KANSOKU_TOKEN, or 'token_file' of the context; or a user: --username and KANSOKU_PASSWORD",
                );
            }
            401 => {
                message.push_str(
                    "\nthe token comes from --token, KANSOKU_TOKEN, or the context's 'token_file' or 'token', the first that is there; a user from --username, KANSOKU_USERNAME or 'username'",
                );
            }
            404 | 503 if self.through_cluster && json["kind"] == "Status" => {
                message.push_str(
                    "\nname the aggregator's service: --kube-service NAMESPACE/NAME:PORT",
                );
            }
            404 if told == "404 page not found" || told == "not found" || told.starts_with('<') => {
                message = format!(
                    "{} has no such path; is this a kansoku-aggregator?",
                    self.base
                );
            }
            _ => {}
        }
        Error::Refused { status, message }
    }

    /// Opens a WebSocket.
    ///
    /// # Errors
    /// When the server does not open it.
    pub async fn websocket(&self, path: &str, parameters: &Parameters<'_>) -> Result<WebSocket> {
        let key = websocket::key();
        let builder = Request::builder()
            .header(header::CONNECTION, "Upgrade")
            .header(header::UPGRADE, "websocket")
            .header(header::SEC_WEBSOCKET_VERSION, "13")
            .header(header::SEC_WEBSOCKET_KEY, &key)
            .header("x-loki-response-encoding-flags", "categorize-labels");
        let request = self.finish(
            builder,
            &format!("{path}?{}", encode(parameters)),
            Full::default(),
        )?;
        let open = async {
            let response = self.send(request).await?;
            let status = response.status().as_u16();
            if status != 101 {
                let body = Limited::new(response.into_body(), ERROR_MAX)
                    .collect()
                    .await;
                let body = body
                    .map(http_body_util::Collected::to_bytes)
                    .unwrap_or_default();
                return Err(self.refusal(status, &body));
            }
            let accepted = response.headers().get(header::SEC_WEBSOCKET_ACCEPT);
            if accepted.map(HeaderValue::as_bytes) != Some(websocket::answer_to(&key).as_bytes()) {
                return Err(Error::failed(
                    "the server's handshake of the WebSocket is wrong",
                ));
            }
            let upgraded = hyper::upgrade::on(response).await;
            let upgraded = upgraded.map_err(|e| Error::Unreachable(e.to_string()))?;
            Ok(websocket::open(upgraded).await)
        };
        let limit = Duration::from_secs(30);
        tokio::time::timeout(limit, open).await.unwrap_or_else(|_| {
            Err(Error::Unreachable(format!(
                "{} opened no WebSocket within 30 s",
                self.base
            )))
        })
    }
}

/// The cure where a token is wanted: the API server keeps the header to itself.
const PAST_THE_API_SERVER: &str = "\nthe API server passes no token on: 'kubectl -n kansoku port-forward svc/kansoku-aggregator 9428' and --server https://127.0.0.1:9428 with --token and the context's 'ca'";

/// The address as requests are appended to it.
pub(crate) fn base_of(url: &str) -> Result<String> {
    let bad = |why: &str| {
        Error::Usage(format!(
            "\"{url}\" is no address of a server: {why}; expected http://HOST:PORT or https://HOST:PORT"
        ))
    };
    let with_scheme = if url.contains("://") {
        url.to_owned()
    } else {
        format!("http://{url}")
    };
    let uri: Uri = with_scheme.parse().map_err(|_| bad("it cannot be read"))?;
    if !matches!(uri.scheme_str(), Some("http" | "https")) {
        return Err(bad("it is neither http nor https"));
    }
    if uri.host().is_none_or(str::is_empty) {
        return Err(bad("it has no host"));
    }
    if uri.query().is_some() {
        return Err(bad("it has a query"));
    }
    if uri.authority().is_some_and(|a| a.as_str().contains('@')) {
        return Err(bad(
            "user and password do not belong there, use --username and KANSOKU_PASSWORD, or --token",
        ));
    }
    Ok(with_scheme.trim_end_matches('/').to_owned())
}

fn tls(context: &Context) -> Result<ClientConfig> {
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let mut roots = RootCertStore::empty();
    match &context.ca {
        Some(path) => {
            for certificate in certificates(path)? {
                roots.add(certificate).map_err(|e| bad_file(path, &e))?;
            }
        }
        // Certificates that cannot be read are missed when one of them is needed.
        None => {
            roots.add_parsable_certificates(rustls_native_certs::load_native_certs().certs);
        }
    }
    let builder = ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .map_err(|e| Error::failed(e.to_string()))?
        .with_root_certificates(roots);
    match (&context.client_certificate, &context.client_key) {
        (Some(certificate), Some(key)) => {
            let chain = certificates(certificate)?;
            let private = PrivateKeyDer::from_pem_file(key).map_err(|e| bad_file(key, &e))?;
            let config = builder.with_client_auth_cert(chain, private);
            config.map_err(|e| bad_file(certificate, &e))
        }
        (None, None) => Ok(builder.with_no_client_auth()),
        _ => Err(Error::failed(
            "a context with client_certificate needs client_key, and the other way round",
        )),
    }
}

fn certificates(path: &Path) -> Result<Vec<CertificateDer<'static>>> {
    let read = CertificateDer::pem_file_iter(path).map_err(|e| bad_file(path, &e))?;
    let all: std::result::Result<Vec<_>, _> = read.collect();
    let all = all.map_err(|e| bad_file(path, &e))?;
    if all.is_empty() {
        return Err(Error::failed(format!(
            "{}: holds no certificate",
            path.display()
        )));
    }
    Ok(all)
}

fn bad_file(path: &Path, why: &dyn std::fmt::Display) -> Error {
    Error::failed(format!("{}: {why}", path.display()))
}

/// Parameters as a query string.
#[must_use]
pub fn encode(parameters: &Parameters<'_>) -> String {
    let mut out = String::new();
    for (name, value) in parameters {
        if !out.is_empty() {
            out.push('&');
        }
        out.push_str(&escape(name));
        out.push('=');
        out.push_str(&escape(value));
    }
    out
}

/// A text as a part of a path or query.
#[must_use]
pub fn escape(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for byte in text.bytes() {
        if byte.is_ascii_alphanumeric() || b"-_.~".contains(&byte) {
            out.push(char::from(byte));
        } else {
            out.push_str(&format!("%{byte:02X}"));
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    fn client(token: Option<&str>) -> Client {
        let login = token.map(|token| Login::Bearer(token.into()));
        Client::new(
            "127.0.0.1:1/",
            &Context::default(),
            login.as_ref(),
            None,
            false,
        )
        .unwrap()
    }

    #[test]
    fn addresses() {
        for (url, expected) in [
            ("http://a:1", Ok("http://a:1")),
            ("https://a/k/", Ok("https://a/k")),
            ("a:1", Ok("http://a:1")),
            ("[::1]:9428", Ok("http://[::1]:9428")),
            ("ftp://a", Err("neither http nor https")),
            ("http://a?x=1", Err("has a query")),
            ("http://me:secret@a", Err("--token")),
            ("http://", Err("no address")),
            ("a b", Err("cannot be read")),
        ] {
            match (base_of(url), expected) {
                (Ok(got), Ok(expected)) => assert_eq!(got, expected),
                (Err(got), Err(expected)) => assert!(got.to_string().contains(expected), "{got}"),
                (got, _) => panic!("{url}: {got:?}"),
            }
        }
    }

    #[test]
    fn refusals_tell_the_cure() {
        let open = client(None);
        for (status, body, expected) in [
            (
                400,
                r#"{"status":"error","errorType":"bad_data","error":"1:2: parse error: x"}"#,
                "1:2: parse error: x",
            ),
            (
                400,
                "parse error at line 1, col 2: y\n",
                "parse error at line 1, col 2: y",
            ),
            (
                401,
                "no org id\n",
                "no org id\nname the tenant: --tenant NAME, KANSOKU_TENANT, or 'tenant' of the context",
            ),
            (
                401,
                "",
                "http://127.0.0.1:1 answered 401\ngive a token: --token, KANSOKU_TOKEN, or 'token_file' of the context; or a user: --username and KANSOKU_PASSWORD",
            ),
            (
                404,
                "<html>",
                "http://127.0.0.1:1 has no such path; is this a kansoku-aggregator?",
            ),
            (502, "<html>", "http://127.0.0.1:1 answered 502"),
        ] {
            let error = open.refusal(status, body.as_bytes());
            assert_eq!(error.to_string(), expected);
            assert_eq!(error.may_pass(), status == 502);
        }
        let inside = Client::new("http://a", &Context::default(), None, None, true);
        let inside = inside.expect("an address");
        let told = br#"{"kind":"Status","message":"malformed HTTP response \"\\x15\""}"#;
        let error = inside.refusal(503, told).to_string();
        assert!(error.ends_with("NAMESPACE/https:NAME:PORT"), "{error}");
        let error = inside.refusal(401, b"").to_string();
        assert!(error.contains("port-forward"), "{error}");
        // What kubectl's proxy says when there is no cluster.
        let error = inside.refusal(
            502,
            b"dial tcp 127.0.0.1:8080: connect: connection refused\n",
        );
        assert!(
            matches!(&error, Error::Unreachable(text) if text.contains("API server: dial tcp") && text.contains("--server URL")),
            "{error}"
        );
        let error = client(Some("t")).refusal(401, b"");
        let error = error.to_string();
        assert!(error.contains("the token comes from --token"), "{error}");
        for (base, reason, cure) in [
            (
                "https://h:1",
                "received corrupt message of type InvalidContentType",
                Some("--server http://h:1"),
            ),
            (
                "http://h:1",
                "invalid HTTP version parsed",
                Some("--server https://h:1"),
            ),
            ("http://h:1", "connection refused", None),
        ] {
            let other = Client::new(base, &Context::default(), None, None, false);
            let told = other.expect("an address").other_scheme(reason);
            let is_right = told
                .as_deref()
                .map(|t| cure.is_some_and(|c| t.ends_with(c)));
            assert_eq!(is_right, cure.map(|_| true), "{reason}: {told:?}");
        }
    }

    #[test]
    fn parameters_are_escaped() {
        let parameters = [("query", "{a=\"b c\"}&é".to_owned()), ("x", "1".to_owned())];
        assert_eq!(
            encode(&parameters),
            "query=%7Ba%3D%22b%20c%22%7D%26%C3%A9&x=1"
        );
    }
}
