//! One request to an Alertmanager: a POST with its timeout.

use std::time::Duration;

use bytes::Bytes;
use hyper::Method;

use super::config::Alertmanagers;
use crate::http_client;

/// Sends alerts.
#[derive(Debug, Clone)]
pub struct Client {
    http: http_client::Client,
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
        let http = http_client::Client::new(&config.http);
        Ok(Self {
            http: http.map_err(|e| format!("alertmanagers: {e}"))?,
            timeout: Duration::from_millis(config.timeout_ms.unsigned_abs()),
        })
    }

    /// Sends a body, in the name of a tenant if there is one.
    ///
    /// # Errors
    /// When it was not taken.
    pub async fn post(&self, url: &str, tenant: &str, body: Bytes) -> Result<(), SendError> {
        let fail = |message: String, is_temporary| SendError {
            message,
            is_temporary,
        };
        let mut headers = vec![("content-type", "application/json")];
        if !tenant.is_empty() {
            headers.push(("x-scope-orgid", tenant));
        }
        let sent = self.http.send(Method::POST, url, &headers, body);
        let answer = tokio::time::timeout(self.timeout, sent).await;
        let answer = answer
            .map_err(|_| fail(format!("no answer within {:?}", self.timeout), true))?
            .map_err(|e| fail(e, true))?;
        let status = answer.status();
        if status.is_success() {
            return Ok(());
        }
        let is_temporary = status.is_server_error() || status.as_u16() == 429;
        Err(fail(format!("bad response status {status}"), is_temporary))
    }
}
