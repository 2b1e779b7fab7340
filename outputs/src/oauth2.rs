//! OAuth 2 client credentials: a token from the token endpoint, kept until shortly before its end.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use base64::Engine;
use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};
use hyper::Method;
use hyper::header::{ACCEPT, AUTHORIZATION, CONTENT_TYPE, HeaderName, HeaderValue, USER_AGENT};
use kansoku_model::{ConfigError, OptionKind, OptionSpec, Settings};
use ring::digest;
use ring::rand::{SecureRandom, SystemRandom};
use ring::signature::{RSA_PKCS1_SHA256, RsaKeyPair};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use tokio::sync::Mutex;
use tokio::time::Instant;

use crate::OutputEnvironment;
use crate::aws_sign::{encoded, hex};
use crate::client::fetch;

const fn text(name: &'static str, default: &'static str, about: &'static str) -> OptionSpec {
    OptionSpec::new(name, OptionKind::Text, default, about)
}

/// The `oauth2.*` options.
pub const OPTIONS: &[OptionSpec] = &[
    OptionSpec::new(
        "oauth2.enable",
        OptionKind::Bool,
        "off",
        "log in with OAuth 2 client credentials",
    ),
    text("oauth2.token_url", "", "where tokens come from"),
    text("oauth2.client_id", "", "who asks for a token"),
    text("oauth2.client_secret", "", "secret of the client"),
    text("oauth2.user_agent", "", "User-Agent of token requests"),
    text("oauth2.scope", "", "scope to ask for"),
    text("oauth2.audience", "", "audience to ask for"),
    text("oauth2.resource", "", "resource to ask for"),
    OptionSpec::new(
        "oauth2.auth_method",
        OptionKind::Choice(&["basic", "post", "private_key_jwt"]),
        "basic",
        "how the client proves who it is",
    ),
    text(
        "oauth2.jwt_key_file",
        "",
        "RSA private key of private_key_jwt (PEM)",
    ),
    text(
        "oauth2.jwt_cert_file",
        "",
        "certificate whose thumbprint private_key_jwt sends (PEM)",
    ),
    text(
        "oauth2.jwt_aud",
        "",
        "audience of the assertion; the token URL when not set",
    ),
    OptionSpec::new(
        "oauth2.jwt_header",
        OptionKind::Choice(&["kid", "x5t", "x5t#S256"]),
        "kid",
        "header of the assertion that has the thumbprint",
    ),
    OptionSpec::new(
        "oauth2.jwt_ttl_seconds",
        OptionKind::Int,
        "300",
        "how long an assertion is valid",
    ),
    OptionSpec::new(
        "oauth2.refresh_skew_seconds",
        OptionKind::Int,
        "60",
        "how long before its end a token is renewed",
    ),
    OptionSpec::new(
        "oauth2.timeout",
        OptionKind::Time,
        "0",
        "longest wait for a token; http.response_timeout when 0",
    ),
    OptionSpec::new(
        "oauth2.connect_timeout",
        OptionKind::Time,
        "0",
        "longest wait for a connection to the token URL; net.connect_timeout when 0",
    ),
];

/// How long a token without a stated life is used.
const DEFAULT_LIFE: Duration = Duration::from_secs(300);
/// A token is asked for anew after this, however long it says it lives: clocks cannot add any number.
const MAX_LIFE: Duration = Duration::from_secs(30 * 86_400);

struct Assertion {
    key: RsaKeyPair,
    header: String,
    audience: String,
    life_s: u64,
}

enum Proof {
    Basic(String),
    Post(String),
    Jwt(Box<Assertion>),
}

/// A source of tokens.
pub struct OAuth2 {
    settings: Settings,
    url: String,
    client_id: String,
    proof: Proof,
    /// Scope, audience and resource, encoded.
    wishes: String,
    user_agent: Option<HeaderValue>,
    skew: Duration,
    timeout: Duration,
    /// The token and when to renew it. Held while one is fetched, so that all wait for it.
    token: Mutex<Option<(HeaderValue, Instant)>>,
}

impl OAuth2 {
    /// Reads [`OPTIONS`]; `None` when `oauth2.enable` is off.
    ///
    /// # Errors
    /// When something that the chosen method needs is missing.
    pub fn of(settings: &Settings, _: &OutputEnvironment) -> Result<Option<Self>, ConfigError> {
        if !settings.bool("oauth2.enable", false)? {
            return Ok(None);
        }
        let url = settings.required("oauth2.token_url")?.to_owned();
        let client_id = settings.required("oauth2.client_id")?.to_owned();
        let secret = || settings.required("oauth2.client_secret").map(str::to_owned);
        let method = settings.text("oauth2.auth_method", "basic");
        let proof = match method.to_ascii_lowercase().as_str() {
            "post" => Proof::Post(secret()?),
            "private_key_jwt" => Proof::Jwt(Box::new(assertion(settings, &url)?)),
            _ => Proof::Basic(secret()?),
        };
        let wishes = ["scope", "audience", "resource"]
            .iter()
            .filter_map(|name| {
                let s = settings.get(&format!("oauth2.{name}"))?;
                Some(format!("&{name}={}", encoded(&s.value, false)))
            })
            .collect();
        let own = settings.seconds("oauth2.timeout", 0.0)?;
        let timeout = if own > 0.0 {
            own
        } else {
            settings.seconds("http.response_timeout", 60.0)?
        };
        let mut towards = settings.clone();
        let connect = settings.seconds("oauth2.connect_timeout", 0.0)?;
        if connect > 0.0 {
            let text = connect.to_string();
            let pairs = [("net.connect_timeout", text.as_str())];
            towards.settings.extend(Settings::of("", &pairs).settings);
        }
        Ok(Some(Self {
            url,
            client_id,
            proof,
            wishes,
            user_agent: settings
                .get("oauth2.user_agent")
                .and_then(|s| HeaderValue::from_str(&s.value).ok()),
            skew: Duration::from_secs(
                u64::try_from(settings.int("oauth2.refresh_skew_seconds", 60)?).unwrap_or(0),
            ),
            timeout: Duration::from_secs_f64(timeout.clamp(0.001, 86_400.0)),
            settings: towards,
            token: Mutex::new(None),
        }))
    }

    /// The value of `Authorization`.
    ///
    /// # Errors
    /// Why there is no token.
    pub async fn header(&self) -> Result<HeaderValue, String> {
        let mut token = self.token.lock().await;
        if let Some((value, until)) = &*token
            && Instant::now() < *until
        {
            return Ok(value.clone());
        }
        let (value, life) = self.fetch().await?;
        let until = Instant::now() + life.saturating_sub(self.skew).max(Duration::from_secs(1));
        *token = Some((value.clone(), until));
        Ok(value)
    }

    /// Forgets the token: the server does not take it any more.
    pub async fn forget(&self) {
        *self.token.lock().await = None;
    }

    async fn fetch(&self) -> Result<(HeaderValue, Duration), String> {
        let form = HeaderValue::from_static("application/x-www-form-urlencoded");
        let mut headers: Vec<(HeaderName, HeaderValue)> = vec![
            (CONTENT_TYPE, form),
            (ACCEPT, HeaderValue::from_static("application/json")),
        ];
        headers.extend(self.user_agent.clone().map(|v| (USER_AGENT, v)));
        let mut body = format!("grant_type=client_credentials{}", self.wishes);
        let id = encoded(&self.client_id, false);
        match &self.proof {
            Proof::Basic(secret) => {
                let pair = STANDARD.encode(format!("{}:{secret}", self.client_id));
                let value = HeaderValue::from_str(&format!("Basic {pair}"))
                    .map_err(|_| "the client's secret cannot be sent".to_owned())?;
                headers.push((AUTHORIZATION, value));
            }
            Proof::Post(secret) => body.push_str(&format!(
                "&client_id={id}&client_secret={}",
                encoded(secret, false)
            )),
            Proof::Jwt(assertion) => body.push_str(&format!(
                "&client_id={id}&client_assertion_type=\
                 urn%3Aietf%3Aparams%3Aoauth%3Aclient-assertion-type%3Ajwt-bearer\
                 &client_assertion={}",
                assertion.sign(&self.client_id)?
            )),
        }
        let fetched = Box::pin(fetch(
            &self.settings,
            Method::POST,
            &self.url,
            &headers,
            body,
            self.timeout,
        ));
        let answer = fetched
            .await
            .map_err(|e| format!("no token from {}: {e}", self.url))?;
        if !answer.status.is_success() {
            return Err(format!("no token from {}: {}", self.url, answer.status));
        }
        read_token(&answer.body).ok_or_else(|| format!("{} answered without a token", self.url))
    }
}

pub(crate) fn read_token(answer: &[u8]) -> Option<(HeaderValue, Duration)> {
    let tree: serde_json::Value = serde_json::from_slice(answer).ok()?;
    let token = tree.get("access_token")?.as_str()?;
    let kind = match tree.get("token_type").and_then(|t| t.as_str()) {
        None => "Bearer",
        Some(kind) if kind.eq_ignore_ascii_case("bearer") => "Bearer",
        Some(kind) => kind,
    };
    let mut value = HeaderValue::from_str(&format!("{kind} {token}")).ok()?;
    value.set_sensitive(true);
    let life = match tree.get("expires_in") {
        Some(serde_json::Value::Number(n)) => n.as_u64(),
        Some(serde_json::Value::String(s)) => s.parse().ok(),
        _ => None,
    };
    let life = life.map_or(DEFAULT_LIFE, Duration::from_secs);
    Some((value, life.min(MAX_LIFE)))
}

fn assertion(settings: &Settings, url: &str) -> Result<Assertion, ConfigError> {
    let fail = |key: &str, why: String| {
        let place = settings.get(key).map_or(&settings.place, |s| &s.place);
        ConfigError::new(place, format!("'{key}' cannot be used: {why}"))
    };
    let key_file = settings.required("oauth2.jwt_key_file")?;
    let bad_key = |why: String| fail("oauth2.jwt_key_file", why);
    let key = match PrivateKeyDer::from_pem_file(key_file).map_err(|e| bad_key(e.to_string()))? {
        PrivateKeyDer::Pkcs8(der) => RsaKeyPair::from_pkcs8(der.secret_pkcs8_der()),
        PrivateKeyDer::Pkcs1(der) => RsaKeyPair::from_der(der.secret_pkcs1_der()),
        _ => return Err(bad_key("it is no RSA key".into())),
    }
    .map_err(|e| bad_key(e.to_string()))?;
    let certificate = CertificateDer::from_pem_file(settings.required("oauth2.jwt_cert_file")?)
        .map_err(|e| fail("oauth2.jwt_cert_file", e.to_string()))?;
    // Fluent Bit: x5t is base64url as its standard says, kid is upper-case hexadecimal.
    let sha1 = digest::digest(&digest::SHA1_FOR_LEGACY_USE_ONLY, &certificate);
    let sha256 = digest::digest(&digest::SHA256, &certificate);
    let name = settings.text("oauth2.jwt_header", "kid");
    let (name, thumbprint) = match name.to_ascii_lowercase().as_str() {
        "x5t" => ("x5t", URL_SAFE_NO_PAD.encode(sha1.as_ref())),
        "x5t#s256" => ("x5t#S256", URL_SAFE_NO_PAD.encode(sha256.as_ref())),
        _ => ("kid", hex(sha1.as_ref()).to_ascii_uppercase()),
    };
    Ok(Assertion {
        key,
        header: format!(r#"{{"alg":"RS256","typ":"JWT","{name}":"{thumbprint}"}}"#),
        audience: settings.text("oauth2.jwt_aud", url).to_owned(),
        life_s: u64::try_from(settings.int("oauth2.jwt_ttl_seconds", 300)?).unwrap_or(300),
    })
}

impl Assertion {
    fn sign(&self, client_id: &str) -> Result<String, String> {
        let random = SystemRandom::new();
        let mut id = [0; 16];
        random.fill(&mut id).map_err(|_| "no random numbers")?;
        let now = SystemTime::now()
            .duration_since(UNIX_EPOCH)
            .unwrap_or_default()
            .as_secs();
        let claims = serde_json::json!({
            "iss": client_id,
            "sub": client_id,
            "aud": self.audience,
            "iat": now,
            "exp": now + self.life_s,
            "jti": hex(&id),
        });
        let text = format!(
            "{}.{}",
            URL_SAFE_NO_PAD.encode(&self.header),
            URL_SAFE_NO_PAD.encode(claims.to_string())
        );
        let mut signature = vec![0; self.key.public().modulus_len()];
        self.key
            .sign(&RSA_PKCS1_SHA256, &random, text.as_bytes(), &mut signature)
            .map_err(|_| "the assertion cannot be signed")?;
        Ok(format!("{text}.{}", URL_SAFE_NO_PAD.encode(signature)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tokens_are_read_with_their_life() {
        let read = |text: &str| {
            read_token(text.as_bytes())
                .map(|(v, life)| (v.to_str().unwrap().to_owned(), life.as_secs()))
        };
        assert_eq!(
            read(r#"{"access_token":"t","token_type":"bearer","expires_in":3600}"#),
            Some(("Bearer t".into(), 3600))
        );
        assert_eq!(
            read(r#"{"access_token":"t","expires_in":"60"}"#),
            Some(("Bearer t".into(), 60))
        );
        assert_eq!(
            read(r#"{"access_token":"t","expires_in":18446744073709551615}"#),
            Some(("Bearer t".into(), MAX_LIFE.as_secs()))
        );
        assert_eq!(read(r#"{"error":"invalid_client"}"#), None);
    }

    #[test]
    fn what_a_method_needs_must_be_there() {
        let build = |pairs: &[(&str, &str)]| {
            OAuth2::of(&Settings::of("http", pairs), &OutputEnvironment::default())
                .err()
                .map(|e| e.to_string())
                .unwrap_or_default()
        };
        assert!(build(&[("oauth2.enable", "on")]).contains("needs 'oauth2.token_url'"));
        let id = [
            ("oauth2.enable", "on"),
            ("oauth2.token_url", "http://x/t"),
            ("oauth2.client_id", "me"),
        ];
        assert!(build(&id).contains("needs 'oauth2.client_secret'"));
        let mut jwt = id.to_vec();
        jwt.push(("oauth2.auth_method", "private_key_jwt"));
        assert!(build(&jwt).contains("needs 'oauth2.jwt_key_file'"));
    }
}
