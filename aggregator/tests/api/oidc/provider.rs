//! A small OpenID Connect provider: discovery, keys, an authorization endpoint where one person is always signed
//! in, a token endpoint that checks client, redirect, code and PKCE, userinfo. What it says can be bent.

use std::collections::HashMap;
use std::convert::Infallible;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, MutexGuard};

use base64::Engine;
use base64::prelude::{BASE64_STANDARD, BASE64_URL_SAFE_NO_PAD};
use bytes::Bytes;
use http_body_util::{BodyExt, Full};
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper::{Request, Response};
use hyper_util::rt::TokioIo;
use kansoku_aggregator::access::token;
use kansoku_aggregator::http::Form;
use kansoku_web::jwt::{Algorithm, KeySet, Token};
use ring::digest::{SHA256, digest};
use ring::rand::SystemRandom;
use ring::signature::{
    ECDSA_P256_SHA256_FIXED_SIGNING, EcdsaKeyPair, KeyPair, RSA_PKCS1_SHA256, RsaKeyPair,
    RsaPublicKeyComponents,
};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use serde_json::{Value, json};
use tokio::net::TcpListener;
use tokio_rustls::TlsAcceptor;

const FIXTURES: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../fixtures/tls");

pub fn encode(bytes: impl AsRef<[u8]>) -> String {
    BASE64_URL_SAFE_NO_PAD.encode(bytes)
}

pub fn now_s() -> i64 {
    let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH);
    i64::try_from(now.expect("after 1970").as_secs()).expect("a time")
}

/// A key to sign with.
pub enum Key {
    Rsa(Box<RsaKeyPair>),
    Curve(Box<EcdsaKeyPair>),
}

impl Key {
    pub fn rsa() -> Self {
        let key = PrivateKeyDer::from_pem_file(format!("{FIXTURES}/jwt.key")).expect("a key");
        Self::Rsa(Box::new(
            RsaKeyPair::from_pkcs8(key.secret_der()).expect("an RSA key"),
        ))
    }

    pub fn curve() -> Self {
        let (signing, rng) = (&ECDSA_P256_SHA256_FIXED_SIGNING, SystemRandom::new());
        let pkcs8 = EcdsaKeyPair::generate_pkcs8(signing, &rng).expect("a key");
        let pair = EcdsaKeyPair::from_pkcs8(signing, pkcs8.as_ref(), &rng);
        Self::Curve(Box::new(pair.expect("a key")))
    }

    fn algorithm(&self) -> &'static str {
        match self {
            Self::Rsa(_) => "RS256",
            Self::Curve(_) => "ES256",
        }
    }

    fn public(&self, id: &str) -> Value {
        match self {
            Self::Rsa(key) => {
                let key = RsaPublicKeyComponents::<Vec<u8>>::from(key.public_key());
                json!({"kty": "RSA", "use": "sig", "alg": "RS256", "kid": id, "n": encode(key.n), "e": encode(key.e)})
            }
            Self::Curve(key) => {
                let point = key.public_key().as_ref();
                json!({"kty": "EC", "crv": "P-256", "kid": id, "x": encode(&point[1..33]), "y": encode(&point[33..])})
            }
        }
    }

    fn sign(&self, text: &str) -> Vec<u8> {
        let rng = SystemRandom::new();
        match self {
            Self::Rsa(key) => {
                let mut out = vec![0; key.public().modulus_len()];
                key.sign(&RSA_PKCS1_SHA256, &rng, text.as_bytes(), &mut out)
                    .expect("signed");
                out
            }
            Self::Curve(key) => {
                let signed = key.sign(&rng, text.as_bytes());
                signed.expect("signed").as_ref().to_vec()
            }
        }
    }
}

/// A code that waits to be exchanged.
struct Grant {
    client_id: String,
    redirect_uri: String,
    nonce: String,
    challenge: String,
}

/// Refresh tokens, each good once.
#[derive(Default)]
pub struct Refreshing {
    /// None are given without it; else for how many seconds the tokens are good.
    pub lasts_s: Option<i64>,
    /// Those that are good, with client and nonce of the sign-in.
    pub good: HashMap<String, (String, String)>,
    /// The same token is given again.
    pub keeps: bool,
    /// What the answer has no ID token of, or other claims in.
    pub without_id_token: bool,
    pub claims: Value,
    /// What is answered instead.
    pub fails: Option<(u16, Value)>,
    pub n_requests: u64,
    /// Tokens that were taken back.
    pub revoked: Vec<String>,
}

type Bend = Box<dyn Fn(&mut Value, &mut Value) + Send>;

/// What the provider knows, and how it behaves.
pub struct State {
    pub issuer: String,
    /// The newest signs; all are published.
    pub keys: Vec<(String, Key)>,
    /// Secrets by client; none for a public one.
    pub clients: HashMap<String, Option<String>>,
    pub redirect_uris: Vec<String>,
    /// Who is signed in: claims of the ID token, and of userinfo.
    pub person: Value,
    pub userinfo: Value,
    /// What the discovery document says otherwise.
    pub document: Value,
    /// Changes header and claims of an ID token.
    pub bend: Option<Bend>,
    /// Replaces an ID token.
    pub forge: Option<fn(&str) -> String>,
    /// What the authorization endpoint answers instead of a code.
    pub refuses: Option<String>,
    codes: HashMap<String, Grant>,
    pub refreshing: Refreshing,
    /// Public keys of clients that show who they are by their signature.
    pub client_keys: HashMap<String, Value>,
    /// Numbers of tokens that clients made.
    pub assertions: Vec<String>,
    pub n_key_requests: u64,
    /// Requests to the token endpoint that were refused, and why.
    pub refused: Vec<String>,
}

#[derive(Clone)]
pub struct Provider {
    pub state: Arc<Mutex<State>>,
    pub issuer: String,
}

type Answer = Response<Full<Bytes>>;

fn answer(status: u16, content_type: &str, body: String) -> Answer {
    let answer = Response::builder().status(status);
    let answer = answer.header("content-type", content_type);
    answer.body(Full::new(body.into())).expect("an answer")
}

fn json_answer(status: u16, body: &Value) -> Answer {
    answer(status, "application/json", body.to_string())
}

fn form(text: &str) -> Form {
    let mut form = Form::default();
    form.read(text).expect("a form");
    form
}

/// A token in its compact form.
pub fn signed(key: &Key, header: &Value, claims: &Value) -> String {
    let text = format!(
        "{}.{}",
        encode(header.to_string()),
        encode(claims.to_string())
    );
    let signature = encode(key.sign(&text));
    format!("{text}.{signature}")
}

impl Provider {
    /// Serves plain HTTP, or TLS as `localhost`.
    pub async fn start(with_tls: bool) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let address = listener.local_addr().expect("an address");
        let issuer = match with_tls {
            true => format!("https://localhost:{}", address.port()),
            false => format!("http://{address}/realm"),
        };
        let state = State {
            issuer: issuer.clone(),
            keys: vec![("k1".into(), Key::rsa())],
            clients: HashMap::from([("kansoku".to_owned(), Some("s3cret&+%".to_owned()))]),
            redirect_uris: Vec::new(),
            person: json!({"sub": "42", "preferred_username": "alice", "groups": ["staff"]}),
            userinfo: json!({"sub": "42"}),
            document: json!({}),
            bend: None,
            forge: None,
            refuses: None,
            codes: HashMap::new(),
            refreshing: Refreshing {
                claims: json!({}),
                ..Refreshing::default()
            },
            client_keys: HashMap::new(),
            assertions: Vec::new(),
            n_key_requests: 0,
            refused: Vec::new(),
        };
        let provider = Self {
            state: Arc::new(Mutex::new(state)),
            issuer,
        };
        let tls = with_tls.then(acceptor);
        tokio::spawn(provider.clone().serve(listener, tls));
        provider
    }

    async fn serve(self, listener: TcpListener, tls: Option<TlsAcceptor>) {
        loop {
            let (stream, _): (_, SocketAddr) = listener.accept().await.expect("a client");
            let (provider, tls) = (self.clone(), tls.clone());
            tokio::spawn(async move {
                let service = service_fn(move |request| {
                    let provider = provider.clone();
                    async move { Ok::<_, Infallible>(provider.answer(request).await) }
                });
                let http = hyper::server::conn::http1::Builder::new();
                // A client that goes away is no matter.
                match tls {
                    None => drop(http.serve_connection(TokioIo::new(stream), service).await),
                    Some(tls) => {
                        if let Ok(stream) = tls.accept(stream).await {
                            drop(http.serve_connection(TokioIo::new(stream), service).await);
                        }
                    }
                }
            });
        }
    }

    pub fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().expect("no test panics with it")
    }

    async fn answer(&self, request: Request<Incoming>) -> Answer {
        let (head, body) = request.into_parts();
        let body = body.collect().await.expect("a body").to_bytes();
        let body = String::from_utf8_lossy(&body).into_owned();
        let mut state = self.state();
        let path = head.uri.path().trim_start_matches("/realm");
        let query = form(head.uri.query().unwrap_or_default());
        let authorization = head.headers.get("authorization");
        let authorization = authorization.map_or("", |v| v.to_str().expect("text"));
        match (head.method.as_str(), path) {
            ("GET", "/.well-known/openid-configuration") => json_answer(200, &state.discovery()),
            ("GET", "/keys") => {
                state.n_key_requests += 1;
                let keys = state.keys.iter().map(|(id, key)| key.public(id));
                json_answer(200, &json!({"keys": keys.collect::<Vec<_>>()}))
            }
            ("GET", "/auth") => state.authorize(&query),
            ("POST", "/token") => match state.token(authorization, &form(&body)) {
                Ok(tokens) => json_answer(200, &tokens),
                Err((status, error)) => {
                    state.refused.push(error.clone());
                    json_answer(status, &json!({"error": error}))
                }
            },
            ("POST", "/revoke") => match state.client(authorization, &form(&body)) {
                Ok(_) => {
                    let token = form(&body).get("token").to_owned();
                    state.refreshing.good.remove(&token);
                    state.refreshing.revoked.push(token);
                    answer(200, "text/plain", String::new())
                }
                Err((status, error)) => json_answer(status, &json!({"error": error})),
            },
            ("GET", "/userinfo") if authorization == "Bearer access" => {
                json_answer(200, &state.userinfo)
            }
            _ => answer(404, "text/plain", "nothing here".into()),
        }
    }

    /// A token of its own, with these claims over those that a good one has.
    pub fn token(&self, header: &Value, claims: &Value) -> String {
        let state = self.state();
        let (id, key) = state.keys.last().expect("a key");
        let mut whole = json!({
            "iss": state.issuer, "sub": "42", "aud": "api", "iat": now_s(), "exp": now_s() + 300,
            "groups": ["staff"],
        });
        merge(&mut whole, claims);
        let mut head = json!({"alg": key.algorithm(), "kid": id, "typ": "at+jwt"});
        merge(&mut head, header);
        signed(key, &head, &whole)
    }
}

fn merge(into: &mut Value, from: &Value) {
    for (name, value) in from.as_object().expect("an object") {
        into[name] = value.clone();
    }
}

impl State {
    fn discovery(&self) -> Value {
        let issuer = &self.issuer;
        let mut document = json!({
            "issuer": issuer,
            "authorization_endpoint": format!("{issuer}/auth"),
            "token_endpoint": format!("{issuer}/token"),
            "jwks_uri": format!("{issuer}/keys"),
            "userinfo_endpoint": format!("{issuer}/userinfo"),
            "end_session_endpoint": format!("{issuer}/logout"),
            "revocation_endpoint": format!("{issuer}/revoke"),
            "code_challenge_methods_supported": ["S256"],
            "authorization_response_iss_parameter_supported": true,
        });
        merge(&mut document, &self.document);
        document
    }

    fn authorize(&mut self, query: &Form) -> Answer {
        let redirect_uri = query.get("redirect_uri").to_owned();
        let is_known = self.clients.contains_key(query.get("client_id"));
        let is_good = query.get("response_type") == "code"
            && query.get("scope").split(' ').any(|s| s == "openid")
            && query.get("code_challenge_method") == "S256"
            && !query.get("state").is_empty();
        if !is_known || !is_good || !self.redirect_uris.contains(&redirect_uri) {
            // As the standard has it: no redirect to a place that is not known.
            return answer(
                400,
                "text/plain",
                format!("not a request of a client: {query:?}"),
            );
        }
        let result = match &self.refuses {
            Some(error) => format!("error={error}&error_description=nobody%20asked"),
            None => {
                let code = token::random().expect("randomness");
                let grant = Grant {
                    client_id: query.get("client_id").to_owned(),
                    redirect_uri: redirect_uri.clone(),
                    nonce: query.get("nonce").to_owned(),
                    challenge: query.get("code_challenge").to_owned(),
                };
                self.codes.insert(code.clone(), grant);
                format!("code={code}")
            }
        };
        let issuer = &self.issuer;
        let to = format!(
            "{redirect_uri}?{result}&state={}&iss={issuer}",
            query.get("state")
        );
        let answer = Response::builder().status(302).header("location", to);
        answer.body(Full::default()).expect("an answer")
    }

    /// Which client asks, if it shows that.
    fn client(&mut self, authorization: &str, form: &Form) -> Result<String, (u16, String)> {
        let refuse = || Err((401, "invalid_client".to_owned()));
        if !form.get("client_assertion").is_empty() {
            return self.asserted(form).map_or_else(refuse, Ok);
        }
        let (client_id, secret) = match authorization.strip_prefix("Basic ") {
            Some(basic) => {
                let pair = BASE64_STANDARD.decode(basic).expect("base64");
                let pair = String::from_utf8(pair).expect("text");
                let (id, secret) = pair.split_once(':').expect("a pair");
                let plain = |text| kansoku_aggregator::http::form::unescape(text, true);
                (
                    plain(id).expect("a name"),
                    Some(plain(secret).expect("a secret")),
                )
            }
            None => {
                let secret = form.get("client_secret");
                let secret = (!secret.is_empty()).then(|| secret.to_owned());
                (form.get("client_id").to_owned(), secret)
            }
        };
        if self.clients.get(&client_id) != Some(&secret) {
            return refuse();
        }
        Ok(client_id)
    }

    /// The client of a token that it made, as RFC 7523 asks to look at it.
    fn asserted(&mut self, form: &Form) -> Option<String> {
        let text = form.get("client_assertion");
        let kind = form.get("client_assertion_type");
        let part = |n: usize| -> Option<Value> {
            let bytes = BASE64_URL_SAFE_NO_PAD.decode(text.split('.').nth(n)?);
            serde_json::from_slice(&bytes.ok()?).ok()
        };
        let (header, claims) = (part(0)?, part(1)?);
        let client = claims["sub"].as_str()?.to_owned();
        let jti = claims["jti"].as_str()?.to_owned();
        let lasts_s = claims["exp"].as_i64()? - claims["iat"].as_i64()?;
        let is_right = kind == "urn:ietf:params:oauth:client-assertion-type:jwt-bearer"
            && claims["iss"] == client.as_str()
            && claims["aud"] == format!("{}/token", self.issuer)
            && claims["exp"].as_i64()? > now_s()
            && lasts_s <= 300
            && !self.assertions.contains(&jti)
            && [client.as_str(), ""].contains(&form.get("client_id"));
        let is_signed = match header["alg"].as_str()? {
            "HS256" => {
                let secret = self.clients.get(&client)?.as_ref()?;
                let key = ring::hmac::Key::new(ring::hmac::HMAC_SHA256, secret.as_bytes());
                let (signed, tag) = text.rsplit_once('.')?;
                let tag = BASE64_URL_SAFE_NO_PAD.decode(tag).ok()?;
                ring::hmac::verify(&key, signed.as_bytes(), &tag).is_ok()
            }
            _ => {
                let keys = self.client_keys.get(&client)?.to_string();
                let keys = KeySet::read(keys.as_bytes()).expect("keys");
                let token = Token::read(text, &Algorithm::ALL).ok()?;
                let key = keys.find(&token)?.clone();
                token.verify(&key).is_ok()
            }
        };
        self.assertions.push(jti);
        (is_right && is_signed).then_some(client)
    }

    fn token(&mut self, authorization: &str, form: &Form) -> Result<Value, (u16, String)> {
        let refuse = |status, error: &str| Err((status, error.to_owned()));
        let client_id = self.client(authorization, form)?;
        match form.get("grant_type") {
            "authorization_code" => {}
            "refresh_token" => return self.refresh(&client_id, form),
            _ => return refuse(400, "unsupported_grant_type"),
        }
        // A code is good once, whatever comes of it.
        let Some(grant) = self.codes.remove(form.get("code")) else {
            return refuse(400, "invalid_grant");
        };
        let challenge = encode(digest(&SHA256, form.get("code_verifier").as_bytes()));
        if grant.client_id != client_id
            || grant.redirect_uri != form.get("redirect_uri")
            || grant.challenge != challenge
        {
            return refuse(400, "invalid_grant");
        }
        let lasts_s = self.refreshing.lasts_s.unwrap_or(300);
        let nonce = json!({"nonce": grant.nonce});
        let mut tokens = json!({
            "access_token": "access", "token_type": "Bearer", "expires_in": lasts_s,
            "id_token": self.id_token(&client_id, lasts_s, &nonce),
        });
        if self.refreshing.lasts_s.is_some() {
            tokens["refresh_token"] = json!(self.new_refresh_token(&client_id, &grant.nonce));
        }
        Ok(tokens)
    }

    fn new_refresh_token(&mut self, client_id: &str, nonce: &str) -> String {
        let token = token::random().expect("randomness");
        let known = (client_id.to_owned(), nonce.to_owned());
        self.refreshing.good.insert(token.clone(), known);
        token
    }

    fn refresh(&mut self, client_id: &str, form: &Form) -> Result<Value, (u16, String)> {
        self.refreshing.n_requests += 1;
        if let Some((status, error)) = &self.refreshing.fails {
            return Err((*status, error.as_str().unwrap_or_default().to_owned()));
        }
        let given = form.get("refresh_token").to_owned();
        let known = match self.refreshing.keeps {
            true => self.refreshing.good.get(&given).cloned(),
            false => self.refreshing.good.remove(&given),
        };
        let Some((of, nonce)) = known.filter(|(of, _)| of == client_id) else {
            return Err((400, "invalid_grant".into()));
        };
        let lasts_s = self.refreshing.lasts_s.unwrap_or(300);
        let mut tokens =
            json!({"access_token": "access", "token_type": "Bearer", "expires_in": lasts_s});
        if !self.refreshing.keeps {
            tokens["refresh_token"] = json!(self.new_refresh_token(&of, &nonce));
        }
        if !self.refreshing.without_id_token {
            let claims = self.refreshing.claims.clone();
            tokens["id_token"] = json!(self.id_token(client_id, lasts_s, &claims));
        }
        Ok(tokens)
    }

    fn id_token(&self, client_id: &str, lasts_s: i64, more: &Value) -> String {
        let mut claims = json!({
            "iss": self.issuer, "aud": client_id, "iat": now_s(), "exp": now_s() + lasts_s,
            "at_hash": encode(&digest(&SHA256, b"access").as_ref()[..16]),
        });
        merge(&mut claims, &self.person);
        merge(&mut claims, more);
        let (id, key) = self.keys.last().expect("a key");
        let mut header = json!({"alg": key.algorithm(), "kid": id, "typ": "JWT"});
        if let Some(bend) = &self.bend {
            bend(&mut header, &mut claims);
        }
        let id_token = signed(key, &header, &claims);
        match self.forge {
            Some(forge) => forge(&id_token),
            None => id_token,
        }
    }
}

fn acceptor() -> TlsAcceptor {
    let path = format!("{FIXTURES}/mutual/server.pem");
    let chain = CertificateDer::pem_file_iter(&path).expect("a file");
    let chain: Result<Vec<_>, _> = chain.collect();
    let key = PrivateKeyDer::from_pem_file(&path).expect("a key");
    let crypto = Arc::new(rustls::crypto::ring::default_provider());
    let config = rustls::ServerConfig::builder_with_provider(crypto)
        .with_safe_default_protocol_versions()
        .expect("versions")
        .with_no_client_auth()
        .with_single_cert(chain.expect("a chain"), key)
        .expect("a server");
    TlsAcceptor::from(Arc::new(config))
}
