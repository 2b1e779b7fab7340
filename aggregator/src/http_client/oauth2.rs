//! OAuth 2.0's grant for clients (RFC 6749, 4.4): a token for a name and a secret, kept until it ends.

use std::time::{Duration, Instant};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use hyper::Method;
use kansoku_parsers::config::yaml::tree::Node;
use serde_json::Value;
use tokio::sync::Mutex;

use super::Client;
use super::config::{self, HttpConfig, Proxy, Read, Secret, Tls};

/// What the fields say.
#[derive(Debug, Clone, PartialEq)]
pub struct OAuth2 {
    pub client_id: String,
    pub secret: Secret,
    pub token_url: String,
    pub scopes: Vec<String>,
    pub parameters: Vec<(String, String)>,
    pub tls: Tls,
    pub proxy: Proxy,
}

const KEYS: [&str; 11] = [
    "client_id",
    "client_secret",
    "client_secret_file",
    "token_url",
    "scopes",
    "endpoint_params",
    "tls_config",
    "proxy_url",
    "no_proxy",
    "proxy_from_environment",
    "proxy_connect_header",
];

impl OAuth2 {
    /// Reads the section.
    ///
    /// # Errors
    /// What is wrong with it.
    pub fn read(node: &Node) -> Read<Self> {
        let mut out = Self {
            client_id: String::new(),
            secret: Secret::Text(String::new()),
            token_url: String::new(),
            scopes: Vec::new(),
            parameters: Vec::new(),
            tls: Tls::default(),
            proxy: Proxy::default(),
        };
        let mut n_secrets = 0;
        for (key, value) in node.checked_pairs(&KEYS)? {
            match key {
                "client_id" => value.text()?.clone_into(&mut out.client_id),
                "client_secret" => {
                    out.secret = Secret::Text(value.text()?.to_owned());
                    n_secrets += 1;
                }
                "client_secret_file" => {
                    out.secret = Secret::file(value)?;
                    n_secrets += 1;
                }
                "token_url" => value.text()?.clone_into(&mut out.token_url),
                "scopes" => out.scopes = config::texts(value)?,
                "endpoint_params" => out.parameters = config::parameters(value)?,
                "tls_config" => out.tls = config::tls(value)?,
                _ => out.proxy.take(key, value)?,
            }
        }
        out.proxy.check(node)?;
        if n_secrets > 1 {
            let message =
                "at most one of oauth2 client_secret & client_secret_file must be configured";
            return Err(node.error(message));
        }
        for (field, text) in [("client_id", &out.client_id), ("token_url", &out.token_url)] {
            if text.is_empty() {
                return Err(node.error(format!("oauth2 {field} must be configured")));
            }
        }
        Ok(out)
    }
}

/// How long a token server may take, and say.
const BOUNDS: (Duration, usize) = (Duration::from_secs(30), 1 << 20);
/// So long before its end a token is no longer used.
const MARGIN: Duration = Duration::from_secs(10);
/// What a token without an end is good for.
const ENDLESS: Duration = Duration::from_secs(3600);

/// The token of a client.
#[derive(Debug)]
pub struct Tokens {
    oauth2: OAuth2,
    client: Client,
    /// The header's text and until when it may be used; held while a new one is asked for.
    held: Mutex<Option<(String, Instant)>>,
}

impl Tokens {
    /// Asks for nothing yet.
    ///
    /// # Errors
    /// When a certificate cannot be used.
    pub fn new(oauth2: &OAuth2) -> Result<Self, String> {
        let client = HttpConfig {
            tls: oauth2.tls.clone(),
            proxy: oauth2.proxy.clone(),
            ..HttpConfig::default()
        };
        Ok(Self {
            client: Client::new(&client)?,
            oauth2: oauth2.clone(),
            held: Mutex::default(),
        })
    }

    /// The text of the Authorization header.
    ///
    /// # Errors
    /// When there is no token to be had.
    pub async fn authorization(&self) -> Result<String, String> {
        let mut held = self.held.lock().await;
        if let Some((text, until)) = &*held
            && Instant::now() < *until
        {
            return Ok(text.clone());
        }
        // A future that asks through the same kind of client holds itself otherwise.
        let new = Box::pin(self.ask()).await;
        let new = new.map_err(|e| format!("no token from {}: {e}", self.oauth2.token_url))?;
        Ok(held.insert(new).0.clone())
    }

    async fn ask(&self) -> Result<(String, Instant), String> {
        let (id, secret) = (&self.oauth2.client_id, self.oauth2.secret.read()?);
        let mut form = vec![("grant_type", "client_credentials".to_owned())];
        if !self.oauth2.scopes.is_empty() {
            form.push(("scope", self.oauth2.scopes.join(" ")));
        }
        let own = self.oauth2.parameters.iter();
        form.extend(own.map(|(name, value)| (name.as_str(), value.clone())));
        // Name and secret are encoded before they are joined (2.3.1).
        let both = STANDARD.encode(format!("{}:{}", encoded(id), encoded(&secret)));
        let basic = format!("Basic {both}");
        let pairs = form.iter();
        let pairs: Vec<String> = pairs
            .map(|(name, value)| format!("{}={}", encoded(name), encoded(value)))
            .collect();
        let headers = [
            ("content-type", "application/x-www-form-urlencoded"),
            ("accept", "application/json"),
            ("authorization", basic.as_str()),
        ];
        let body = Bytes::from(pairs.join("&"));
        let url = &self.oauth2.token_url;
        let answer = self.client.body(Method::POST, url, &headers, body, BOUNDS);
        let answer: Value = serde_json::from_slice(&answer.await?)
            .map_err(|e| format!("the answer is no JSON: {e}"))?;
        let token = answer.get("access_token").and_then(Value::as_str);
        let token = token.ok_or("the answer has no access_token")?;
        let kind = answer.get("token_type").and_then(Value::as_str);
        let kind = match kind {
            None | Some("") => "Bearer",
            Some(kind) if kind.eq_ignore_ascii_case("bearer") => "Bearer",
            Some(kind) => kind,
        };
        let seconds = answer.get("expires_in").and_then(Value::as_u64);
        let good_for = seconds.map_or(ENDLESS, |s| Duration::from_secs(s.min(86_400)));
        let until = Instant::now() + good_for.saturating_sub(MARGIN);
        Ok((format!("{kind} {token}"), until))
    }
}

/// A text as a form holds it.
#[must_use]
pub fn encoded(text: &str) -> String {
    use std::fmt::Write as _;
    let mut out = String::with_capacity(text.len());
    for byte in text.bytes() {
        match byte {
            b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'-' | b'_' | b'.' | b'~' => {
                out.push(char::from(byte));
            }
            _ => {
                let _ = write!(out, "%{byte:02X}");
            }
        }
    }
    out
}
