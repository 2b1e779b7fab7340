//! `oauth2.validate`: only callers with a token of the issuer are heard.
//!
//! The issuer's keys are read when the first caller comes and again after `oauth2.jwks_refresh_interval`;
//! never because of what a token says, or anybody could make the agent ask. While the issuer is away the
//! keys are good for an hour more; without keys callers are asked to come again.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use hyper::header::{AUTHORIZATION, HeaderMap};
use hyper::{Method, StatusCode, Uri};
use kansoku_model::{ConfigError, OptionKind, OptionSpec, Settings};
use kansoku_outputs::client::fetch;
use kansoku_web::jwt::{Algorithm, KeySet, Token, Wanted};
use tokio::sync::Mutex;
use tokio::time::Instant;

use crate::log;

/// The options; listed with those of every HTTP server.
pub const OPTIONS: [OptionSpec; 6] = [
    OptionSpec::new(
        "oauth2.validate",
        OptionKind::Bool,
        "off",
        "hear only callers with a valid JWT (RS256) as bearer token",
    ),
    OptionSpec::new(
        "oauth2.issuer",
        OptionKind::Text,
        "",
        "the issuer ('iss') that tokens must name",
    ),
    OptionSpec::new(
        "oauth2.jwks_url",
        OptionKind::Text,
        "",
        "where the issuer's keys are read",
    ),
    OptionSpec::new(
        "oauth2.allowed_audience",
        OptionKind::Text,
        "",
        "an audience ('aud') that tokens must name",
    ),
    OptionSpec::new(
        "oauth2.allowed_clients",
        OptionKind::List,
        "",
        "the clients ('azp', 'client_id' or 'appid') that are heard; all when not set",
    )
    .repeated(),
    OptionSpec::new(
        "oauth2.jwks_refresh_interval",
        OptionKind::Int,
        "300",
        "seconds until the keys are read again",
    ),
];

const COMPONENT: &str = "oauth2";
/// As in Fluent Bit.
const ACCEPTED: [Algorithm; 1] = [Algorithm::Rs256];
/// How far the clock of the issuer may be ahead.
const LEEWAY_S: f64 = 60.0;
/// The longest wait for keys.
const FETCH_PATIENCE: Duration = Duration::from_secs(10);
/// After a failure the issuer is left alone for so long.
const AFTER_FAILURE: Duration = Duration::from_secs(10);
/// How long keys are good that could not be read again.
const MAX_STALE: Duration = Duration::from_secs(3600);

/// Who is heard.
pub struct Bearer {
    wanted: Wanted,
    url: String,
    refresh: Duration,
    /// Held while keys are read, so that all callers wait for them.
    keys: Mutex<Keys>,
    n_refused: AtomicU64,
}

#[derive(Default)]
struct Keys {
    known: Arc<KeySet>,
    read_at: Option<Instant>,
    failed: Option<(Instant, String)>,
}

/// Why a caller is not heard.
#[derive(Debug, PartialEq, Eq)]
pub enum Refusal {
    /// It has no token, or one that is not good.
    Unauthorized(String),
    /// Nobody can be checked now.
    NoKeys(String),
}

impl Refusal {
    /// The status that says so.
    pub fn status(&self) -> StatusCode {
        match self {
            Self::Unauthorized(_) => StatusCode::UNAUTHORIZED,
            Self::NoKeys(_) => StatusCode::SERVICE_UNAVAILABLE,
        }
    }

    /// The reason in words.
    pub fn reason(&self) -> &str {
        match self {
            Self::Unauthorized(reason) | Self::NoKeys(reason) => reason,
        }
    }
}

impl Bearer {
    /// Reads [`OPTIONS`]; `None` when `oauth2.validate` is off.
    ///
    /// # Errors
    /// When issuer or URL are missing, or that is no URL.
    pub fn of(s: &Settings) -> Result<Option<Self>, ConfigError> {
        if !s.bool("oauth2.validate", false)? {
            return Ok(None);
        }
        let url = s.required("oauth2.jwks_url")?.to_owned();
        let uri = url.parse::<Uri>().ok();
        let is_url = uri.is_some_and(|uri| {
            matches!(uri.scheme_str(), Some("http" | "https")) && uri.host().is_some()
        });
        if !is_url {
            let place = s.get("oauth2.jwks_url").map_or(&s.place, |k| &k.place);
            let message = format!("'oauth2.jwks_url' is '{url}', but must be http(s)://HOST/PATH");
            return Err(ConfigError::new(place, message));
        }
        let audience = s.get("oauth2.allowed_audience").map(|k| k.value.clone());
        let clients = s.all("oauth2.allowed_clients");
        let is_between = |c: char| c == ',' || c.is_whitespace();
        let clients = clients.flat_map(|k| k.value.split(is_between));
        // As in Fluent Bit anything below 1 is the default.
        let refresh = match s.int("oauth2.jwks_refresh_interval", 300)? {
            n if n > 0 => n.unsigned_abs(),
            _ => 300,
        };
        Ok(Some(Self {
            wanted: Wanted {
                issuer: s.required("oauth2.issuer")?.to_owned(),
                audiences: audience.filter(|a| !a.is_empty()).into_iter().collect(),
                clients: clients
                    .filter(|c| !c.is_empty())
                    .map(str::to_owned)
                    .collect(),
                leeway_s: LEEWAY_S,
                grace_s: 0.0,
                may_be_endless: false,
            },
            url,
            refresh: Duration::from_secs(refresh),
            keys: Mutex::default(),
            n_refused: AtomicU64::new(0),
        }))
    }

    /// Checks the token of a request.
    ///
    /// # Errors
    /// Why the caller is not heard.
    pub async fn check(&self, headers: &HeaderMap) -> Result<(), Refusal> {
        let checked = self.check_token(headers).await;
        if let Err(refusal) = &checked {
            // Whoever keeps calling must not fill the log: 1, 2, 4, 8, ...
            let n = self.n_refused.fetch_add(1, Ordering::Relaxed) + 1;
            if n.is_power_of_two() {
                let reason = refusal.reason();
                log::warn(
                    COMPONENT,
                    format_args!("{n} requests refused, the last: {reason}"),
                );
            }
        }
        checked
    }

    async fn check_token(&self, headers: &HeaderMap) -> Result<(), Refusal> {
        let no = |reason: &str| Refusal::Unauthorized(reason.to_owned());
        let header = headers.get(AUTHORIZATION).and_then(|v| v.to_str().ok());
        let (scheme, token) = header
            .and_then(|text| text.trim().split_once(' '))
            .ok_or_else(|| no("there is no bearer token"))?;
        if !scheme.eq_ignore_ascii_case("bearer") {
            return Err(no("there is no bearer token"));
        }
        let token = Token::read(token.trim(), &ACCEPTED).map_err(no)?;
        if token.key_id.is_none() {
            return Err(no("the token names no key ('kid')"));
        }
        let keys = self.keys().await.map_err(Refusal::NoKeys)?;
        let key = keys.find(&token);
        let key = key.ok_or_else(|| no("the token is signed with an unknown key"))?;
        let now = SystemTime::now().duration_since(UNIX_EPOCH);
        let now_s = now.map_or(0.0, |d| d.as_secs_f64());
        let claims = token.verify(key).map_err(no)?;
        claims.check(&self.wanted, now_s).map_err(no)
    }

    /// The keys, after they have been read if it is time.
    async fn keys(&self) -> Result<Arc<KeySet>, String> {
        let mut keys = self.keys.lock().await;
        let age = keys.read_at.map(|at| at.elapsed());
        let is_due = age.is_none_or(|age| age >= self.refresh);
        let may_ask = |(at, _): &(Instant, String)| at.elapsed() >= AFTER_FAILURE;
        if is_due && keys.failed.as_ref().is_none_or(may_ask) {
            match self.fetch().await {
                Ok(known) => {
                    *keys = Keys {
                        known: Arc::new(known),
                        read_at: Some(Instant::now()),
                        failed: None,
                    };
                }
                Err(error) => {
                    let message = format!("cannot read keys from {}: {error}", self.url);
                    log::warn(COMPONENT, &message);
                    keys.failed = Some((Instant::now(), message));
                }
            }
        }
        let is_good = |at: Instant| at.elapsed() < self.refresh + MAX_STALE;
        if keys.read_at.is_some_and(is_good) {
            return Ok(keys.known.clone());
        }
        let failed = keys.failed.as_ref().map(|(_, message)| message.clone());
        Err(failed.unwrap_or_default())
    }

    async fn fetch(&self) -> Result<KeySet, String> {
        let none = Settings::default();
        let answer = fetch(
            &none,
            Method::GET,
            &self.url,
            &[],
            String::new(),
            FETCH_PATIENCE,
        );
        let answer = answer.await?;
        if answer.status != StatusCode::OK {
            return Err(format!("the answer was {}", answer.status));
        }
        KeySet::read(&answer.body)
    }
}

#[cfg(test)]
mod tests {
    use std::io::{Read, Write};
    use std::net::TcpListener;

    use base64::Engine;
    use base64::engine::general_purpose::URL_SAFE_NO_PAD;
    use ring::rand::SystemRandom;
    use ring::signature::{KeyPair, RSA_PKCS1_SHA256, RsaKeyPair, RsaPublicKeyComponents};
    use rustls_pki_types::PrivateKeyDer;
    use rustls_pki_types::pem::PemObject;

    use super::*;

    fn pair() -> RsaKeyPair {
        let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../fixtures/tls/jwt.key");
        let key = PrivateKeyDer::from_pem_file(path).expect("a key");
        RsaKeyPair::from_pkcs8(key.secret_der()).expect("an RSA key")
    }

    /// The set of the one key of the tests, `k`.
    fn key_set() -> String {
        let key = RsaPublicKeyComponents::<Vec<u8>>::from(pair().public_key());
        let encode = |bytes: &[u8]| URL_SAFE_NO_PAD.encode(bytes);
        format!(
            r#"{{"keys":[{{"kty":"RSA","use":"sig","kid":"k","n":"{}","e":"{}"}}]}}"#,
            encode(&key.n),
            encode(&key.e)
        )
    }

    /// A token with these claims.
    fn signed(header: &str, claims: &str) -> String {
        let encode = |text: &str| URL_SAFE_NO_PAD.encode(text);
        let text = format!("{}.{}", encode(header), encode(claims));
        let key = pair();
        let mut signature = vec![0; key.public().modulus_len()];
        let rng = SystemRandom::new();
        key.sign(&RSA_PKCS1_SHA256, &rng, text.as_bytes(), &mut signature)
            .expect("signed");
        format!("{text}.{}", URL_SAFE_NO_PAD.encode(signature))
    }

    fn bearer(pairs: &[(&str, &str)]) -> Result<Option<Bearer>, String> {
        Bearer::of(&Settings::of("http", pairs)).map_err(|e| e.message)
    }

    #[test]
    fn what_is_needed_is_asked_for() {
        let on = ("oauth2.validate", "on");
        let issuer = ("oauth2.issuer", "i");
        assert!(bearer(&[issuer]).is_ok_and(|b| b.is_none()));
        for (pairs, expected) in [
            (vec![on, issuer], "oauth2.jwks_url"),
            (vec![on, ("oauth2.jwks_url", "http://x/")], "oauth2.issuer"),
            (
                vec![on, issuer, ("oauth2.jwks_url", "x")],
                "must be http(s)://HOST/PATH",
            ),
        ] {
            let error = bearer(&pairs).err().expect("refused");
            assert!(error.contains(expected), "{error}");
        }
    }

    /// Serves each answer once, then nothing.
    fn issuer(answers: Vec<(&'static str, String)>) -> (String, std::thread::JoinHandle<()>) {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
        let url = format!("http://{}/keys", listener.local_addr().expect("an address"));
        let serving = std::thread::spawn(move || {
            for (status, body) in answers {
                let (mut stream, _) = listener.accept().expect("a caller");
                let _ = stream.read(&mut [0; 4096]);
                let length = body.len();
                write!(stream, "HTTP/1.1 {status}\r\nContent-Length: {length}\r\nConnection: close\r\n\r\n{body}")
                    .expect("an answer");
            }
        });
        (url, serving)
    }

    #[test]
    fn callers_with_a_good_token_are_heard() {
        let (url, serving) = issuer(vec![("500 Broken", String::new()), ("200 OK", key_set())]);
        let pairs = [
            ("oauth2.validate", "on"),
            ("oauth2.issuer", "i"),
            ("oauth2.jwks_url", &url),
            ("oauth2.allowed_clients", "a, b"),
        ];
        let bearer = bearer(&pairs).expect("valid").expect("on");
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build();
        let runtime = runtime.expect("a runtime");
        let check = |authorization: &str| {
            let mut headers = HeaderMap::new();
            headers.insert(AUTHORIZATION, authorization.parse().expect("a header"));
            runtime
                .block_on(bearer.check(&headers))
                .map_err(|r| r.status().as_u16())
        };
        let good = signed(
            r#"{"alg":"RS256","kid":"k"}"#,
            r#"{"exp":1e11,"iss":"i","azp":"b"}"#,
        );
        let good = format!("Bearer {good}");
        // Without keys nobody is heard, nor sent away for good; the issuer is left alone for a while.
        assert_eq!(check(&good), Err(503));
        assert_eq!(check(&good), Err(503));
        runtime.block_on(async { bearer.keys.lock().await.failed = None });
        assert_eq!(check(&good), Ok(()));
        // Keys that cannot be read again are good a while longer.
        runtime.block_on(async {
            let mut keys = bearer.keys.lock().await;
            keys.read_at = keys
                .read_at
                .and_then(|at| at.checked_sub(Duration::from_secs(400)));
        });
        serving.join().expect("both answered");
        assert_eq!(check(&good), Ok(()));
        let unknown = signed(
            r#"{"alg":"RS256","kid":"x"}"#,
            r#"{"exp":1e11,"iss":"i","azp":"b"}"#,
        );
        let claims = r#"{"exp":1e11,"iss":"i","azp":"b"}"#;
        let nameless = signed(r#"{"alg":"RS256"}"#, claims);
        let other = signed(r#"{"alg":"RS512","kid":"k"}"#, claims);
        for bad in [
            "Basic x",
            "Bearer",
            "Bearer x.y.z",
            &format!("Bearer {unknown}"),
            &format!("Bearer {nameless}"),
            &format!("Bearer {other}"),
        ] {
            assert_eq!(check(bad), Err(401), "{bad}");
        }
        assert!(runtime.block_on(bearer.check(&HeaderMap::new())).is_err());
    }
}
