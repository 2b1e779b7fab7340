//! A provider as it runs: what it says of itself, its keys, and the exchange of a code for tokens.
//!
//! The one rule: the provider is asked at most every few seconds, whatever strangers send; while it is away, what
//! it said last is good for a while.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use bytes::Bytes;
use hyper::{Method, StatusCode, Uri};
use kansoku_web::RateLimit;
use kansoku_web::jwt::{Algorithm, Claims, KeySet, Token, Wanted};
use serde_json::{Map, Value};

use super::client_auth::Shows;
use super::config::OidcConfig;
use crate::http_client::Client;
use crate::http_client::oauth2::encoded;
use crate::{clock, journal};

/// How long a provider may take, and what it may say.
const BOUNDS: (Duration, usize) = (Duration::from_secs(10), 1 << 20);
/// So much of an error is shown.
const ERROR_SHOWN_BYTES: usize = 4096;
/// Errors of a token endpoint that are about the client or the moment, and not about who signs in.
const NOT_DECIDED: [&str; 4] = [
    "invalid_client",
    "server_error",
    "slow_down",
    "temporarily_unavailable",
];
/// After a failure it is left alone for so long.
const AFTER_FAILURE: Duration = Duration::from_secs(5);
/// What it says of itself is read again after that.
const DOCUMENT_FRESH: Duration = Duration::from_secs(300);
/// Keys are read again after that.
const KEYS_FRESH: Duration = Duration::from_secs(900);
/// What could not be read again is good for so long.
pub const STALE_MAX: Duration = Duration::from_secs(3600);
/// Tokens with keys that are not known make the keys be read again: so often at once, and once each time.
const UNKNOWN_KEY_BURST: u32 = 4;
const UNKNOWN_KEY_EVERY: Duration = Duration::from_secs(15);

/// What a provider says of itself (OpenID Connect Discovery 1.0, 4.2).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Document {
    pub authorization_endpoint: String,
    pub token_endpoint: String,
    jwks_uri: String,
    userinfo_endpoint: Option<String>,
    pub end_session_endpoint: Option<String>,
    revocation_endpoint: Option<String>,
    /// How clients show who they are; empty is not said.
    methods: Vec<String>,
    /// Its answers name it (RFC 9207).
    pub names_itself: bool,
}

/// Something that was read, and when.
#[derive(Debug)]
struct Kept<T> {
    value: Mutex<Option<(Arc<T>, Instant)>>,
    /// Held while it is asked for, so that all wait for one answer; when and why that failed last.
    asking: tokio::sync::Mutex<Option<(Instant, String)>>,
}

impl<T> Default for Kept<T> {
    fn default() -> Self {
        Self {
            value: Mutex::new(None),
            asking: tokio::sync::Mutex::new(None),
        }
    }
}

impl<T> Kept<T> {
    fn younger_than(&self, age: Duration) -> Option<Arc<T>> {
        let value = self.value.lock().unwrap_or_else(PoisonError::into_inner);
        let (value, at) = value.as_ref()?;
        (at.elapsed() < age).then(|| value.clone())
    }

    /// What is younger than `age`, asked for if need be.
    async fn get(
        &self,
        age: Duration,
        ask: impl Future<Output = Result<T, String>>,
    ) -> Result<Arc<T>, String> {
        if let Some(value) = self.younger_than(age) {
            return Ok(value);
        }
        let begun = Instant::now();
        let mut failed = self.asking.lock().await;
        // Somebody else may have asked meanwhile.
        if let Some(value) = self.younger_than(age.max(begun.elapsed())) {
            return Ok(value);
        }
        if let Some((at, why)) = &*failed
            && at.elapsed() < AFTER_FAILURE
        {
            return Err(why.clone());
        }
        match ask.await {
            Ok(value) => {
                *failed = None;
                let value = Arc::new(value);
                let mut kept = self.value.lock().unwrap_or_else(PoisonError::into_inner);
                *kept = Some((value.clone(), Instant::now()));
                Ok(value)
            }
            Err(why) => {
                journal::warn(&format!("OpenID Connect: {why}"));
                *failed = Some((Instant::now(), why.clone()));
                Err(why)
            }
        }
    }
}

/// A provider.
#[derive(Debug)]
pub struct Provider {
    pub config: Arc<OidcConfig>,
    client: Client,
    document: Kept<Document>,
    keys: Kept<KeySet>,
    unknown_keys: RateLimit,
}

/// What the token endpoint gives.
#[derive(Debug, Default)]
pub struct Tokens {
    pub id_token: Option<String>,
    pub access_token: Option<String>,
    pub refresh_token: Option<String>,
    /// For how long the access token is good.
    pub lasts_s: Option<f64>,
}

/// Why there are no tokens.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum NoTokens {
    /// The provider has decided: what it was shown is good for nothing any more.
    Refused(String),
    /// It does not answer, or not to this client; another time it may.
    Failed(String),
}

impl NoTokens {
    /// What happened.
    #[must_use]
    pub fn why(self) -> String {
        let (Self::Refused(why) | Self::Failed(why)) = self;
        why
    }
}

/// Why a token is not taken.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Untrusted {
    /// It is not good.
    Wrong(String),
    /// Nobody can say now.
    NoKeys(String),
}

impl Provider {
    /// Asks for nothing yet.
    ///
    /// # Errors
    /// When a certificate cannot be used.
    pub fn new(config: &Arc<OidcConfig>) -> Result<Self, String> {
        Ok(Self {
            client: Client::new(&config.http)?,
            config: config.clone(),
            document: Kept::default(),
            keys: Kept::default(),
            unknown_keys: RateLimit::new(UNKNOWN_KEY_BURST, UNKNOWN_KEY_EVERY, Instant::now()),
        })
    }

    fn place(&self) -> String {
        format!("provider '{}' ({})", self.config.name, self.config.issuer)
    }

    async fn json(&self, url: &str, headers: &[(&'static str, &str)]) -> Result<Value, String> {
        let answer = self
            .client
            .body(Method::GET, url, headers, Bytes::new(), BOUNDS);
        let answer = answer.await.map_err(|e| format!("{url}: {e}"))?;
        serde_json::from_slice(&answer).map_err(|e| format!("{url}: the answer is no JSON: {e}"))
    }

    /// What it says of itself, not older than `age`.
    ///
    /// # Errors
    /// When it does not say so.
    pub async fn document(&self, age: Duration) -> Result<Arc<Document>, String> {
        let ask = async {
            let issuer = self.config.issuer.trim_end_matches('/');
            let url = format!("{issuer}/.well-known/openid-configuration");
            let read = self.json(&url, &[("accept", "application/json")]).await;
            let read = read.and_then(|json| Document::read(&self.config.issuer, &json));
            read.map_err(|e| format!("{} cannot be used: {e}", self.place()))
        };
        self.document.get(age, ask).await
    }

    /// The same for a sign-in.
    ///
    /// # Errors
    /// When it does not say so.
    pub async fn fresh_document(&self) -> Result<Arc<Document>, String> {
        self.document(DOCUMENT_FRESH).await
    }

    /// What it said last, if it did; it is not asked.
    #[must_use]
    pub fn last_document(&self) -> Option<Arc<Document>> {
        self.document.younger_than(STALE_MAX)
    }

    async fn keys(&self, age: Duration) -> Result<Arc<KeySet>, String> {
        let ask = async {
            // Its address seldom changes.
            let document = match self.last_document() {
                Some(document) => document,
                None => self.fresh_document().await?,
            };
            let url = &document.jwks_uri;
            let headers = [("accept", "application/json")];
            let answer = self
                .client
                .body(Method::GET, url, &headers, Bytes::new(), BOUNDS);
            let read = answer.await.and_then(|answer| KeySet::read(&answer));
            read.map_err(|e| format!("no keys of {} from {url}: {e}", self.place()))
        };
        let got = self.keys.get(age, ask).await;
        got.or_else(|why| self.keys.younger_than(STALE_MAX).ok_or(why))
    }

    /// What a token of it says, after its signature was checked.
    ///
    /// # Errors
    /// When it is none of its tokens.
    pub async fn verified(&self, text: &str) -> Result<(Claims, Option<String>), Untrusted> {
        let read = || {
            let token = Token::read(text, &Algorithm::ALL);
            token.map_err(|e| Untrusted::Wrong(e.to_owned()))
        };
        let attempt = |keys: &KeySet| {
            let token = read()?;
            let kind = token.kind.clone();
            let wrong = |e: &str| Untrusted::Wrong(e.to_owned());
            let key = keys.find(&token);
            let key = key.ok_or_else(|| wrong("the token is signed with an unknown key"))?;
            Ok((token.verify(key).map_err(wrong)?, kind))
        };
        let token = read()?;
        let keys = self.keys(KEYS_FRESH).await.map_err(Untrusted::NoKeys)?;
        // The issuer may have changed its keys. One that has a name does not change behind it.
        let may_be_other = keys.find(&token).is_none() || token.key_id.is_none();
        match attempt(&keys) {
            Err(_) if may_be_other && self.unknown_keys.is_allowed(Instant::now()) => {
                let keys = self.keys(Duration::ZERO).await.map_err(Untrusted::NoKeys)?;
                attempt(&keys)
            }
            attempted => attempted,
        }
    }

    /// What an ID token for this client says, but for what it is bound to.
    ///
    /// # Errors
    /// When it is none.
    pub async fn id_token(&self, text: &str) -> Result<Claims, Untrusted> {
        let (claims, kind) = self.verified(text).await?;
        if kind.is_some_and(|kind| kind != "jwt") {
            let why = "what came as ID token is of another kind ('typ')";
            return Err(Untrusted::Wrong(why.into()));
        }
        let audience = std::slice::from_ref(&self.config.client_id);
        self.check(&claims, audience).map_err(Untrusted::Wrong)?;
        Ok(claims)
    }

    /// Checks issuer, audience and times.
    ///
    /// # Errors
    /// The first thing that is wrong.
    pub fn check(&self, claims: &Claims, audiences: &[String]) -> Result<(), String> {
        self.check_times(claims, audiences, false)
    }

    /// The same of a token that says that somebody has signed out. Keycloak before 26 gives it no end; how old it
    /// may be is looked at elsewhere.
    ///
    /// # Errors
    /// The first thing that is wrong.
    pub fn check_logout(&self, claims: &Claims) -> Result<(), String> {
        self.check_times(claims, std::slice::from_ref(&self.config.client_id), true)
    }

    fn check_times(
        &self,
        claims: &Claims,
        audiences: &[String],
        may_be_endless: bool,
    ) -> Result<(), String> {
        let leeway_s = self.config.leeway.as_secs_f64();
        let wanted = Wanted {
            issuer: self.config.issuer.clone(),
            audiences: audiences.to_vec(),
            clients: Vec::new(),
            leeway_s,
            grace_s: leeway_s,
            may_be_endless,
        };
        let now_s = clock::now_ms() as f64 / 1000.0;
        claims.check(&wanted, now_s).map_err(|why| {
            let is_about_time = why.contains("future") || why.contains("yet");
            let cure = "; set the clocks of the provider and of this host, or raise leeway";
            format!("{why}{}", if is_about_time { cure } else { "" })
        })
    }

    /// Asks it for all that can be asked for without anybody signing in.
    ///
    /// # Errors
    /// Why nobody could.
    pub async fn try_out(&self) -> Result<(), String> {
        let document = self.fresh_document().await?;
        self.shows(&document)?;
        if self.config.userinfo && document.userinfo_endpoint.is_none() {
            return Err(format!("{} has no userinfo_endpoint", self.place()));
        }
        self.keys(KEYS_FRESH).await.map(drop)
    }

    /// How this client shows who it is.
    fn shows(&self, document: &Document) -> Result<Shows, String> {
        Shows::of(&self.config, &document.methods, &self.place())
    }

    /// Sends a form to an endpoint at which the client shows who it is.
    async fn ask_as_client(
        &self,
        document: &Document,
        url: &str,
        mut form: Vec<(&'static str, String)>,
    ) -> Result<(StatusCode, Bytes), String> {
        let id = &self.config.client_id;
        let shown = self.shows(document)?;
        let header = shown.add(id, &document.token_endpoint, &mut form)?;
        let pairs = form.iter();
        let pairs: Vec<String> = pairs
            .map(|(name, value)| format!("{name}={}", encoded(value)))
            .collect();
        let mut headers = vec![
            ("content-type", "application/x-www-form-urlencoded"),
            ("accept", "application/json"),
        ];
        if let Some(header) = &header {
            headers.push(("authorization", header));
        }
        let body = Bytes::from(pairs.join("&"));
        self.client
            .answer(Method::POST, url, &headers, body, BOUNDS)
            .await
    }

    async fn tokens(
        &self,
        document: &Document,
        form: Vec<(&'static str, String)>,
    ) -> Result<Tokens, NoTokens> {
        let url = &document.token_endpoint;
        let failed = |why: String| NoTokens::Failed(format!("no tokens from {url}: {why}"));
        let asked = self.ask_as_client(document, url, form).await;
        let (status, answer) = asked.map_err(failed)?;
        let json: Result<Value, _> = serde_json::from_slice(&answer);
        if !status.is_success() {
            let text = String::from_utf8_lossy(&answer[..answer.len().min(ERROR_SHOWN_BYTES)]);
            let why = format!("no tokens from {url}: {status}: {}", text.trim());
            let error = json.as_ref().ok().and_then(|json| json["error"].as_str());
            return Err(match error {
                Some(error) if status.is_client_error() && !NOT_DECIDED.contains(&error) => {
                    NoTokens::Refused(why)
                }
                _ => NoTokens::Failed(why),
            });
        }
        let json = json.map_err(|e| failed(format!("the answer is no JSON: {e}")))?;
        let text = |name: &str| json[name].as_str().map(str::to_owned);
        // Some write the number as a text.
        let lasts = &json["expires_in"];
        let lasts_s = lasts.as_f64().or_else(|| lasts.as_str()?.parse().ok());
        Ok(Tokens {
            id_token: text("id_token"),
            access_token: text("access_token"),
            refresh_token: text("refresh_token"),
            lasts_s: lasts_s.filter(|s| s.is_finite() && *s > 0.0),
        })
    }

    /// Exchanges a code.
    ///
    /// # Errors
    /// When the provider does not.
    pub async fn exchange(
        &self,
        document: &Document,
        code: &str,
        verifier: &str,
        redirect_url: &str,
    ) -> Result<Tokens, NoTokens> {
        let form = vec![
            ("grant_type", "authorization_code".to_owned()),
            ("code", code.to_owned()),
            ("redirect_uri", redirect_url.to_owned()),
            ("code_verifier", verifier.to_owned()),
        ];
        self.tokens(document, form).await
    }

    /// Exchanges a refresh token (OpenID Connect Core 1.0, 12).
    ///
    /// # Errors
    /// When the provider does not.
    pub async fn refresh(
        &self,
        document: &Document,
        refresh_token: &str,
    ) -> Result<Tokens, NoTokens> {
        let form = vec![
            ("grant_type", "refresh_token".to_owned()),
            ("refresh_token", refresh_token.to_owned()),
        ];
        self.tokens(document, form).await
    }

    /// Tells that a refresh token is not needed any more (RFC 7009), where the provider takes that.
    ///
    /// # Errors
    /// When it cannot be told.
    pub async fn revoke(&self, refresh_token: &str) -> Result<(), String> {
        let document = self.fresh_document().await?;
        let Some(url) = &document.revocation_endpoint else {
            return Ok(());
        };
        let form = vec![
            ("token", refresh_token.to_owned()),
            ("token_type_hint", "refresh_token".to_owned()),
        ];
        let (status, _) = self.ask_as_client(&document, url, form).await?;
        match status.is_success() {
            true => Ok(()),
            false => Err(format!("{url}: {status}")),
        }
    }

    /// What it says of somebody at its userinfo endpoint.
    ///
    /// # Errors
    /// When it says nothing, or of somebody else.
    pub async fn userinfo(
        &self,
        document: &Document,
        access_token: Option<&str>,
        subject: &str,
    ) -> Result<Map<String, Value>, String> {
        let url = document.userinfo_endpoint.as_deref();
        let url = url.ok_or_else(|| format!("{} has no userinfo_endpoint", self.place()))?;
        let token = access_token.ok_or("userinfo needs an access token, and there is none")?;
        let header = format!("Bearer {token}");
        let headers = [
            ("authorization", header.as_str()),
            ("accept", "application/json"),
        ];
        let Value::Object(claims) = self.json(url, &headers).await? else {
            return Err(format!("{url}: the answer is no JSON object"));
        };
        if claims.get("sub").and_then(Value::as_str) != Some(subject) {
            return Err(format!("{url}: the answer is about somebody else ('sub')"));
        }
        Ok(claims)
    }
}

impl Document {
    fn read(issuer: &str, json: &Value) -> Result<Self, String> {
        let own = json["issuer"].as_str().unwrap_or_default();
        if own != issuer {
            return Err(format!(
                "it calls itself '{own}'; issuer must be that to the letter (a slash at the end counts)"
            ));
        }
        let has_tls = issuer.starts_with("https:");
        let url = |name: &str| -> Result<Option<String>, String> {
            let Some(text) = json[name].as_str() else {
                return Ok(None);
            };
            let uri: Option<Uri> = text.parse().ok();
            let scheme = uri.as_ref().and_then(Uri::scheme_str).unwrap_or_default();
            let is_safe = scheme == "https" || (scheme == "http" && !has_tls);
            match is_safe && uri.is_some_and(|uri| uri.host().is_some()) {
                true => Ok(Some(text.to_owned())),
                false => Err(format!("its {name} '{text}' is no https URL")),
            }
        };
        let needed = |name: &str| url(name)?.ok_or_else(|| format!("it names no {name}"));
        let list = |name: &str| -> Vec<String> {
            let items = json[name].as_array().map_or(&[][..], Vec::as_slice);
            let texts = items.iter().filter_map(Value::as_str);
            texts.map(str::to_owned).collect()
        };
        let challenges = list("code_challenge_methods_supported");
        if !challenges.is_empty() && !challenges.iter().any(|m| m == "S256") {
            return Err("it does not speak PKCE with S256".into());
        }
        Ok(Self {
            authorization_endpoint: needed("authorization_endpoint")?,
            token_endpoint: needed("token_endpoint")?,
            jwks_uri: needed("jwks_uri")?,
            userinfo_endpoint: url("userinfo_endpoint")?,
            end_session_endpoint: url("end_session_endpoint")?,
            revocation_endpoint: url("revocation_endpoint")?,
            methods: list("token_endpoint_auth_methods_supported"),
            names_itself: json["authorization_response_iss_parameter_supported"] == true,
        })
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn documents_are_held_to_the_issuer() {
        let good = json!({
            "issuer": "https://i/a",
            "authorization_endpoint": "https://i/auth",
            "token_endpoint": "https://i/token",
            "jwks_uri": "https://i/keys",
        });
        let read = |issuer: &str, change: Value| {
            let mut json = good.clone();
            for (key, value) in change.as_object().expect("an object") {
                json[key] = value.clone();
            }
            let read = Document::read(issuer, &json);
            read.map_or_else(|e| e, |_| String::new())
        };
        for (issuer, change, expected) in [
            ("https://i/a", json!({}), ""),
            ("https://i/a/", json!({}), "a slash at the end counts"),
            ("https://i/a", json!({"issuer": null}), "it calls itself ''"),
            (
                "https://i/a",
                json!({"token_endpoint": null}),
                "no token_endpoint",
            ),
            (
                "https://i/a",
                json!({"token_endpoint": "http://i/token"}),
                "token_endpoint 'http://i/token' is no https URL",
            ),
            ("https://i/a", json!({"jwks_uri": "/keys"}), "no https URL"),
            (
                "https://i/a",
                json!({"end_session_endpoint": "javascript:alert(1)"}),
                "no https URL",
            ),
            (
                "http://i/a",
                json!({"issuer": "http://i/a", "token_endpoint": "http://i/token"}),
                "",
            ),
            (
                "https://i/a",
                json!({"code_challenge_methods_supported": ["plain"]}),
                "PKCE",
            ),
        ] {
            let found = read(issuer, change.clone());
            assert!(
                found.contains(expected) && found.is_empty() == expected.is_empty(),
                "{change}: {found}"
            );
        }
    }
}
