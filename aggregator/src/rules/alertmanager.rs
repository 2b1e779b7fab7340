//! The HTTP client towards Alertmanagers: one POST, with its timeout, its credentials and its TLS.

use std::path::Path;
use std::time::Duration;

use bytes::Bytes;
use http_body_util::Full;
use hyper::header::{AUTHORIZATION, CONTENT_TYPE, HeaderValue, USER_AGENT};
use hyper::{Method, Request};
use hyper_rustls::{HttpsConnector, HttpsConnectorBuilder};
use hyper_util::client::legacy::Client as HyperClient;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::TokioExecutor;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::{ClientConfig, RootCertStore};

use super::config::{Alertmanagers, Tls};

/// Sends alerts.
#[derive(Debug, Clone)]
pub struct Client {
    http: HyperClient<HttpsConnector<HttpConnector>, Full<Bytes>>,
    authorization: Option<HeaderValue>,
    timeout: Duration,
}

/// Why a request failed, and whether another try may go better.
#[derive(Debug)]
pub struct SendError {
    pub message: String,
    pub is_temporary: bool,
}

impl Client {
    /// A client for Alertmanagers that are reached one way.
    ///
    /// # Errors
    /// When a certificate, a key or the credentials cannot be used.
    pub fn new(config: &Alertmanagers) -> Result<Self, String> {
        let builder = HttpsConnectorBuilder::new();
        let builder = if !config.is_https || config.tls == Tls::default() {
            let trusted = builder.with_native_roots();
            trusted.map_err(|e| format!("failed to read the system's certificates: {e}"))?
        } else {
            builder.with_tls_config(tls(&config.tls)?)
        };
        let connector = builder.https_or_http().enable_http1().build();
        let authorization = match &config.authorization {
            None => None,
            Some(text) => {
                let mut value = HeaderValue::from_str(text).map_err(|_| {
                    "credentials of alertmanagers hold a control character".to_owned()
                })?;
                value.set_sensitive(true);
                Some(value)
            }
        };
        Ok(Self {
            http: HyperClient::builder(TokioExecutor::new()).build(connector),
            authorization,
            timeout: Duration::from_millis(config.timeout_ms.unsigned_abs()),
        })
    }

    /// Sends a body.
    ///
    /// # Errors
    /// When it was not taken.
    pub async fn post(&self, url: &str, body: Bytes) -> Result<(), SendError> {
        let fail = |message: String, is_temporary| SendError {
            message,
            is_temporary,
        };
        let agent = concat!("kansoku-aggregator/", env!("CARGO_PKG_VERSION"));
        let mut request = Request::builder()
            .method(Method::POST)
            .uri(url)
            .header(CONTENT_TYPE, "application/json")
            .header(USER_AGENT, agent);
        if let Some(value) = &self.authorization {
            request = request.header(AUTHORIZATION, value.clone());
        }
        let request = request.body(Full::new(body));
        let request = request.map_err(|e| fail(format!("not a URL: {e}"), false))?;
        let answer = tokio::time::timeout(self.timeout, self.http.request(request)).await;
        let answer = answer
            .map_err(|_| fail(format!("no answer within {:?}", self.timeout), true))?
            .map_err(|e| fail(with_cause(&e), true))?;
        let status = answer.status();
        if status.is_success() {
            return Ok(());
        }
        let is_temporary = status.is_server_error() || status.as_u16() == 429;
        Err(fail(format!("bad response status {status}"), is_temporary))
    }
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

fn tls(tls: &Tls) -> Result<ClientConfig, String> {
    let unusable = |path: &Path, e: &dyn std::fmt::Display| {
        format!("failed to use {} of an alertmanager: {e}", path.display())
    };
    let mut roots = RootCertStore::empty();
    let certificates = |path: &Path| -> Result<Vec<CertificateDer<'static>>, String> {
        let read = CertificateDer::pem_file_iter(path).map_err(|e| unusable(path, &e))?;
        let read: Result<Vec<_>, _> = read.collect();
        read.map_err(|e| unusable(path, &e))
    };
    match &tls.ca_file {
        Some(path) => {
            for certificate in certificates(path)? {
                roots.add(certificate).map_err(|e| unusable(path, &e))?;
            }
        }
        None => {
            let found = rustls_native_certs::load_native_certs();
            roots.add_parsable_certificates(found.certs);
        }
    }
    let config = ClientConfig::builder().with_root_certificates(roots);
    match &tls.identity {
        None => Ok(config.with_no_client_auth()),
        Some((certificate, private)) => {
            let key = PrivateKeyDer::from_pem_file(private).map_err(|e| unusable(private, &e))?;
            config
                .with_client_auth_cert(certificates(certificate)?, key)
                .map_err(|e| unusable(certificate, &e))
        }
    }
}
