//! The file of `--web.config.file`: TLS, headers, passwords and a limit on requests, as Prometheus has
//! them.
//!
//! It stands before everything else: also health and readiness are for those only whom its
//! `basic_auth_users` let in, as there. Users with roles are another matter ([`crate::access`]).

use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Instant;

use hyper::body::Incoming;
use hyper::header::{self, HeaderValue};
use hyper::{Request, StatusCode};
use kansoku_web::{Passwords, RateLimit, Severity, WebConfig, WebConfigFile};

use super::Reply;
use crate::journal;

/// The listener's configuration.
#[derive(Debug)]
pub struct Web {
    /// Held for the moment in which the file is looked at.
    config: Mutex<WebConfigFile>,
    passwords: Arc<Passwords>,
    /// As it was at the start, as in Prometheus.
    rate_limit: Option<RateLimit>,
}

fn tell(severity: Severity, message: &str) {
    match severity {
        Severity::Info => journal::info(message),
        Severity::Warn => journal::warn(message),
        Severity::Error => journal::error(message),
    }
}

impl Web {
    /// Reads the file, if there is one.
    ///
    /// # Errors
    /// What is wrong with it.
    pub fn new(path: Option<&Path>) -> Result<Self, String> {
        let path = path.map_or_else(String::new, |p| p.display().to_string());
        let mut config = WebConfigFile::new(&path, tell).map_err(|e| format!("{e:#}"))?;
        let rate_limit = config.current().rate_limit;
        Ok(Self {
            config: Mutex::new(config),
            passwords: Arc::default(),
            rate_limit: rate_limit
                .map(|(burst, every)| RateLimit::new(burst, every, Instant::now())),
        })
    }

    /// What holds now.
    #[must_use]
    pub fn config(&self) -> WebConfig {
        let mut config = self.config.lock().unwrap_or_else(PoisonError::into_inner);
        config.current().clone()
    }

    /// `http` or `https`, for addresses of its own.
    #[must_use]
    pub fn scheme(&self) -> &'static str {
        match self.config().tls {
            Some(_) => "https",
            None => "http",
        }
    }

    /// The answer to whom it does not let in.
    pub async fn refuses(&self, config: &WebConfig, request: &Request<Incoming>) -> Option<Reply> {
        let limit = self.rate_limit.as_ref();
        if limit.is_some_and(|limit| !limit.is_allowed(Instant::now())) {
            return Some(Reply::text(
                StatusCode::TOO_MANY_REQUESTS,
                "Too Many Requests",
            ));
        }
        if config.users.is_empty() {
            return None;
        }
        let given = super::header(request.headers(), header::AUTHORIZATION).to_owned();
        let (passwords, users) = (self.passwords.clone(), config.users.clone());
        // A hash takes its time.
        let judged =
            tokio::task::spawn_blocking(move || passwords.is_right(&users, Some(&given))).await;
        let is_right = judged.unwrap_or(false);
        (!is_right).then(|| {
            Reply::text(StatusCode::UNAUTHORIZED, "Unauthorized")
                .with(header::WWW_AUTHENTICATE, HeaderValue::from_static("Basic"))
        })
    }
}
