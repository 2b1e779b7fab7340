//! Signing in at an OpenID Connect provider, its tokens as bearers, and what attackers try.

mod client_auth;
mod logout;
mod peers;
mod provider;
mod refresh;

use std::path::{Path, PathBuf};

use bytes::Bytes;
use http_body_util::{BodyExt, Full};
use hyper::{Method, Request};
use hyper_util::client::legacy::Client;
use hyper_util::rt::TokioExecutor;
use kansoku_aggregator::http::Form;
use kansoku_aggregator::tools::token::{AccessTool, run_access};
use serde_json::{Value, json};

use self::provider::{Key, Provider, encode, now_s, signed};
use crate::harness::{Answer, Server};

/// Of `secret`, at a cost that a test can wait for.
const HASH: &str = "$2b$04$abcdefghijklmnopqrstuu2r9OfJnfCsdneAXAGHnS4UpFFP8WIrW";
const LOGIN: &str = "/api/v1/access/oidc/test/login";
const CALLBACK: &str = "/api/v1/access/oidc/test/callback";
const PAGE: (&str, &str) = ("x-requested-with", "kansoku");
const RULES: &str = "[{claim: groups, values: [admins], role: admin}, {claim: groups, values: [staff], role: viewer}]";

/// A file with a local user `admin` (secret) and the provider `test`.
fn write_file(folder: &Path, issuer: &str, more: &[&str]) -> PathBuf {
    let mut text = format!(
        "users: {{admin: {{password: {HASH}, role: admin}}}}\noidc:\n  test:\n    label: Sign in with Test\n    issuer: {issuer}\n"
    );
    let mut keys: Vec<&str> = more.to_vec();
    let has = |key: &str| more.iter().any(|line| line.starts_with(key));
    let rules = format!("rules: {RULES}");
    for (key, line) in [
        ("client_id", "client_id: kansoku"),
        ("client_secret", "client_secret: 's3cret&+%'"),
        ("rules", rules.as_str()),
    ] {
        if !has(key) {
            keys.push(line);
        }
    }
    for line in keys {
        text += &format!("    {line}\n");
    }
    let path = folder.join("access.yaml");
    std::fs::write(&path, text).expect("written");
    path
}

/// A provider and an aggregator that knows it.
struct World {
    provider: Provider,
    server: Server,
    folder: tempfile::TempDir,
}

impl World {
    async fn new(more: &[&str]) -> Self {
        Self::with(Provider::start(false).await, more, &[]).await
    }

    async fn with(provider: Provider, more: &[&str], flags: &[&str]) -> Self {
        let folder = tempfile::tempdir().expect("a folder");
        let file = write_file(folder.path(), &provider.issuer, more);
        let flag = format!("--access.file={}", file.display());
        let flags = [&["--query.test-mode", flag.as_str()], flags].concat();
        let server = Server::start_with(&flags).await;
        let home = format!("http://{}{CALLBACK}", server.running.address);
        provider.state().redirect_uris.push(home);
        Self {
            provider,
            server,
            folder,
        }
    }

    async fn get(&self, path: &str, cookies: &str) -> Answer {
        let headers = [("cookie", cookies)];
        self.server.send(Method::GET, path, &headers, "").await
    }

    /// Begins a sign-in: where the browser is sent to, and its cookie.
    async fn begin(&self) -> (String, String) {
        let answer = self.get(&format!("{LOGIN}?return=/logs%3Fq%3Dx"), "").await;
        assert_eq!(answer.status, 303, "{}", answer.text());
        assert_eq!(answer.header("cache-control"), "no-store");
        let to = answer.header("location").to_owned();
        (to, cookies(&answer).remove(0))
    }

    /// What the provider sends the browser back to: a path of the aggregator.
    async fn at_provider(&self, url: &str) -> String {
        let client = Client::builder(TokioExecutor::new()).build_http::<Full<Bytes>>();
        let request = Request::get(url).body(Full::default()).expect("a request");
        let answer = client.request(request).await.expect("an answer");
        let (head, body) = answer.into_parts();
        let body = body.collect().await.expect("a body").to_bytes();
        assert_eq!(head.status, 302, "{}", String::from_utf8_lossy(&body));
        let to = head.headers["location"].to_str().expect("text");
        let home = format!("http://{}", self.server.running.address);
        to.strip_prefix(&home).expect("a path").to_owned()
    }

    /// The whole way.
    async fn sign_in(&self) -> Answer {
        let (to, cookie) = self.begin().await;
        let back = self.at_provider(&to).await;
        self.get(&back, &cookie).await
    }

    async fn me(&self, cookies: &str) -> Value {
        self.get("/api/v1/access/me", cookies).await.json()["data"].take()
    }

    /// The newest line of the audit log.
    async fn newest_audit(&self) -> Value {
        let path = "/api/v1/access/audit?limit=1";
        // admin:secret
        let headers = [("authorization", "Basic YWRtaW46c2VjcmV0")];
        let answer = self.server.send(Method::GET, path, &headers, "").await;
        answer.json()["data"][0].take()
    }

    async fn bearer(&self, token: &str, path: &str) -> Answer {
        let header = format!("Bearer {token}");
        let headers = [("authorization", header.as_str())];
        self.server.send(Method::GET, path, &headers, "").await
    }
}

/// `NAME=VALUE` of the cookies that an answer sets.
fn cookies(answer: &Answer) -> Vec<String> {
    let all = answer.headers.get_all("set-cookie").iter();
    let first = |v: &hyper::header::HeaderValue| {
        let text = v.to_str().expect("text");
        text.split(';').next().expect("a pair").to_owned()
    };
    all.map(first).collect()
}

fn parameters(url: &str) -> Form {
    let mut form = Form::default();
    form.read(url.split_once('?').expect("a query").1)
        .expect("a query");
    form
}

/// The cookie of the session, after a sign-in that went well.
fn session(answer: &Answer) -> String {
    assert_eq!(answer.status, 303, "{}", answer.text());
    assert_eq!(answer.header("location"), "../../../../../#/logs?q=x");
    let all = cookies(answer);
    assert_eq!(all[1], "kansoku_oidc=", "the other cookie is forgotten");
    all[0].clone()
}

#[tokio::test(flavor = "multi_thread")]
async fn somebody_signs_in_and_out() {
    let world = World::new(&[]).await;
    let listed = world.get("/api/v1/access/oidc", "").await.json();
    assert_eq!(
        listed["data"],
        json!({
            "providers": [{"name": "test", "label": "Sign in with Test", "ready": true}],
            "passwords": true,
        })
    );
    let (to, cookie) = world.begin().await;
    let asked = parameters(&to);
    for (name, expected) in [
        ("response_type", "code"),
        ("client_id", "kansoku"),
        ("scope", "openid profile email"),
        ("code_challenge_method", "S256"),
    ] {
        assert_eq!(asked.get(name), expected);
    }
    let back = world.at_provider(&to).await;
    let answer = world.get(&back, &cookie).await;
    let first = answer.header("set-cookie").to_owned();
    assert!(
        first.starts_with("kansoku_session=")
            && first.ends_with("; Path=/; Max-Age=43200; HttpOnly; SameSite=Strict"),
        "{first}"
    );
    let cookie = session(&answer);
    let me = world.me(&cookie).await;
    assert_eq!(me["name"], "test/alice");
    assert_eq!(
        (&me["kind"], &me["role"]),
        (&json!("oidc"), &json!("viewer"))
    );
    assert_eq!(world.get("/api/v1/labels", &cookie).await.status, 200);
    let noted = world.newest_audit().await;
    assert_eq!(
        (&noted["who"], &noted["detail"], &noted["result"]),
        (
            &json!("test/alice"),
            &json!("oidc=test sub=42"),
            &json!("done")
        )
    );
    let headers = [("cookie", cookie.as_str()), PAGE];
    let answer = world
        .server
        .post("/api/v1/access/logout", &headers, "")
        .await;
    let url = answer.json()["data"]["redirect"]
        .as_str()
        .expect("a URL")
        .to_owned();
    assert!(
        url.starts_with(&format!("{}/logout?", world.provider.issuer)),
        "{url}"
    );
    let asked = parameters(&url);
    let home = format!("http://{}/", world.server.running.address);
    assert_eq!(asked.get("post_logout_redirect_uri"), home);
    assert_eq!(asked.get("id_token_hint").split('.').count(), 3);
    assert_eq!(world.get("/api/v1/labels", &cookie).await.status, 401);
    world.server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn clients_show_who_they_are_in_the_way_that_the_provider_takes() {
    for (more, secret, document) in [
        (&[][..], Some("s3cret&+%"), json!({})),
        (
            &[],
            Some("s3cret&+%"),
            json!({"token_endpoint_auth_methods_supported": ["client_secret_post"]}),
        ),
        (
            &["client_secret_file: secret"],
            Some("from a file"),
            json!({}),
        ),
    ] {
        let provider = Provider::start(false).await;
        {
            let mut state = provider.state();
            state.document = document;
            let secret = secret.map(str::to_owned);
            state.clients.insert("kansoku".into(), secret);
            state.keys.push(("k2".into(), Key::curve()));
        }
        let folder = tempfile::tempdir().expect("a folder");
        std::fs::write(folder.path().join("secret"), "from a file\n").expect("written");
        let file = write_file(folder.path(), &provider.issuer, more);
        let text = std::fs::read_to_string(&file).expect("read");
        let flag = format!("--access.file={}", file.display());
        let server = Server::start_with(&["--query.test-mode", &flag]).await;
        let home = format!("http://{}{CALLBACK}", server.running.address);
        provider.state().redirect_uris.push(home);
        let world = World {
            provider,
            server,
            folder,
        };
        let cookie = session(&world.sign_in().await);
        assert_eq!(world.me(&cookie).await["name"], "test/alice", "{text}");
        world.server.stop().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_public_client_has_pkce_alone() {
    let provider = Provider::start(false).await;
    provider.state().clients.insert("open".into(), None);
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("access.yaml");
    let issuer = &provider.issuer;
    let text = format!(
        "oidc: {{test: {{issuer: '{issuer}', client_id: open, rules: [{{role: viewer}}]}}}}"
    );
    std::fs::write(&path, text).expect("written");
    let flag = format!("--access.file={}", path.display());
    let external = "--web.external-url=http://kansoku.test/under/";
    let server = Server::start_with(&["--query.test-mode", &flag, external]).await;
    // Where people reach it is told, not guessed.
    let outside = "http://kansoku.test/under/api/v1/access/oidc/test/callback";
    provider.state().redirect_uris.push(outside.into());
    let listed = server.get("/api/v1/access/oidc").await.json();
    assert_eq!(listed["data"]["passwords"], false);
    let answer = server.get(LOGIN).await;
    let to = answer.header("location").to_owned();
    assert_eq!(parameters(&to).get("redirect_uri"), outside);
    let client = Client::builder(TokioExecutor::new()).build_http::<Full<Bytes>>();
    let request = Request::get(&to).body(Full::default()).expect("a request");
    let sent_back = client.request(request).await.expect("an answer");
    let back = sent_back.headers()["location"].to_str().expect("text");
    let back = back
        .strip_prefix("http://kansoku.test/under")
        .expect("ours");
    let cookie = cookies(&answer).remove(0);
    let answer = server
        .send(Method::GET, back, &[("cookie", &cookie)], "")
        .await;
    assert_eq!(answer.header("location"), "../../../../../#");
    server.stop().await;
}

/// What came of a sign-in that must fail, and what the audit log says of it.
async fn failed(world: &World, answer: &Answer) -> (String, String) {
    assert_eq!(answer.status, 303, "{}", answer.text());
    let set = cookies(answer);
    assert!(
        !set.iter().any(|c| c.starts_with("kansoku_session")),
        "{set:?}"
    );
    let word = parameters(answer.header("location"))
        .get("sign_in")
        .to_owned();
    let word = word.split('#').next().expect("a word").to_owned();
    let noted = world.newest_audit().await;
    assert_eq!(noted["result"], "refused", "{noted}");
    (word, noted["error"].as_str().expect("text").to_owned())
}

#[tokio::test(flavor = "multi_thread")]
async fn id_tokens_that_are_not_right_let_nobody_in() {
    type Bend = fn(&mut Value, &mut Value);
    let world = World::new(&["allowed_domains: [x.test]"]).await;
    let good: Bend = |_, c| {
        c["email"] = json!("alice@x.test");
        c["email_verified"] = json!(true);
    };
    let cases: &[(Bend, &str, &str)] = &[
        (|_, c| c["nonce"] = json!("another"), "failed", "nonce"),
        (|_, c| c["nonce"] = Value::Null, "failed", "nonce"),
        (
            |_, c| c["aud"] = json!("other"),
            "failed",
            "another audience",
        ),
        (|_, c| c["aud"] = Value::Null, "failed", "another audience"),
        (
            |_, c| c["aud"] = json!(["kansoku", "other"]),
            "failed",
            "azp",
        ),
        (|_, c| c["azp"] = json!("other"), "failed", "azp"),
        (
            |_, c| c["iss"] = json!("http://other.test"),
            "failed",
            "another issuer",
        ),
        (|_, c| c["exp"] = json!(now_s() - 61), "failed", "expired"),
        (|_, c| c["exp"] = Value::Null, "failed", "no end"),
        (
            |_, c| c["iat"] = json!(now_s() + 3600),
            "failed",
            "raise leeway",
        ),
        (
            |_, c| c["nbf"] = json!(now_s() + 3600),
            "failed",
            "raise leeway",
        ),
        (|_, c| c["iat"] = Value::Null, "failed", "iat"),
        (|_, c| c["sub"] = Value::Null, "failed", "sub"),
        (|_, c| c["at_hash"] = json!("AAAA"), "failed", "at_hash"),
        (|h, _| h["kid"] = json!("unknown"), "failed", "unknown key"),
        (|h, _| h["alg"] = json!("none"), "failed", "accepted"),
        (|h, _| h["alg"] = json!("HS256"), "failed", "accepted"),
        (|h, _| h["alg"] = json!("PS256"), "failed", "unknown key"),
        (|h, _| h["typ"] = json!("logout+jwt"), "failed", "typ"),
        (|h, _| h["crit"] = json!(["x"]), "failed", "crit"),
        (
            |_, c| c["groups"] = json!(["visitors"]),
            "not_allowed",
            "no rule fits",
        ),
        (
            |_, c| c["email_verified"] = json!(false),
            "not_allowed",
            "email_verified",
        ),
        (
            |_, c| c["email"] = json!("alice@y.test"),
            "not_allowed",
            "domain 'y.test'",
        ),
    ];
    for (bend, word, expected) in cases {
        let bend = *bend;
        world.provider.state().bend = Some(Box::new(move |h, c| {
            good(h, c);
            bend(h, c);
        }));
        let answer = world.sign_in().await;
        let (found, error) = failed(&world, &answer).await;
        assert_eq!(&found, word, "{error}");
        assert!(error.contains(expected), "{expected}: {error}");
    }
    // Within the leeway all is well: clocks differ.
    world.provider.state().bend = Some(Box::new(move |h, c| {
        good(h, c);
        c["iat"] = json!(now_s() + 30);
        c["exp"] = json!(now_s() - 5);
    }));
    session(&world.sign_in().await);
    // Signatures: cut off, of other claims, by the public key as a secret.
    let forgeries: [fn(&str) -> String; 3] = [
        |token| format!("{}.", token.rsplit_once('.').expect("parts").0),
        |token| {
            let parts: Vec<&str> = token.split('.').collect();
            let claims = encode(json!({"sub": "1"}).to_string());
            format!("{}.{claims}.{}", parts[0], parts[2])
        },
        |_| {
            signed(
                &Key::curve(),
                &json!({"alg": "ES256", "kid": "k1"}),
                &json!({}),
            )
        },
    ];
    for forge in forgeries {
        world.provider.state().forge = Some(forge);
        let answer = world.sign_in().await;
        let (word, error) = failed(&world, &answer).await;
        assert_eq!(word, "failed", "{error}");
    }
    world.server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_sign_in_ends_once_in_the_browser_that_began_it() {
    let world = World::new(&[]).await;
    let (to, cookie) = world.begin().await;
    let back = world.at_provider(&to).await;
    let stranger = world.begin().await.1;
    let state = parameters(&back).get("state").to_owned();
    let code = parameters(&back).get("code").to_owned();
    for (path, cookie, expected, why) in [
        (back.clone(), "", "stale", "no sign-in under way"),
        (
            back.clone(),
            "kansoku_oidc=AAAA",
            "stale",
            "no sign-in under way",
        ),
        (back.clone(), &stranger, "stale", "'state' is another"),
        (
            back.replace(&state, "x"),
            &cookie,
            "stale",
            "'state' is another",
        ),
        (
            format!("{CALLBACK}?code={code}"),
            &cookie,
            "stale",
            "'state' is another",
        ),
        (
            format!("{CALLBACK}?state={state}&code={code}&iss=http%3A%2F%2Fother"),
            &cookie,
            "failed",
            "another issuer",
        ),
        (
            format!("{CALLBACK}?state={state}&error=access_denied"),
            &cookie,
            "refused",
            "access_denied",
        ),
    ] {
        let answer = world.get(&path, cookie).await;
        let (word, error) = failed(&world, &answer).await;
        assert_eq!(word, expected, "{path}: {error}");
        assert!(error.contains(why), "{path}: {error}");
    }
    // None of that spoiled it for whom it belongs to.
    session(&world.get(&back, &cookie).await);
    let (word, error) = failed(&world, &world.get(&back, &cookie).await).await;
    assert_eq!(word, "stale", "{error}");
    // A code that was overheard, in a sign-in of the attacker's own: the verifier does not fit.
    let (to, _) = world.begin().await;
    let overheard = parameters(&world.at_provider(&to).await)
        .get("code")
        .to_owned();
    let (to, own) = world.begin().await;
    let state = parameters(&to).get("state").to_owned();
    let issuer = &world.provider.issuer;
    let path = format!("{CALLBACK}?state={state}&code={overheard}&iss={issuer}");
    let (word, error) = failed(&world, &world.get(&path, &own).await).await;
    assert_eq!(word, "failed", "{error}");
    assert!(error.contains("invalid_grant"), "{error}");
    // One that was used.
    let (to, own) = world.begin().await;
    let state = parameters(&to).get("state").to_owned();
    let path = format!("{CALLBACK}?state={state}&code={code}&iss={issuer}");
    let (word, _) = failed(&world, &world.get(&path, &own).await).await;
    assert_eq!(word, "failed");
    // The answer has to name the issuer where the provider says that it does.
    let (to, own) = world.begin().await;
    let back = world.at_provider(&to).await;
    let nameless = back.split("&iss=").next().expect("a path").to_owned();
    let (word, error) = failed(&world, &world.get(&nameless, &own).await).await;
    assert_eq!(word, "failed");
    assert!(error.contains("'iss'"), "{error}");
    // A wrong secret.
    let other = Some("other".to_owned());
    world
        .provider
        .state()
        .clients
        .insert("kansoku".into(), other);
    let (_, error) = failed(&world, &world.sign_in().await).await;
    assert!(error.contains("invalid_client"), "{error}");
    assert_eq!(
        world.provider.state().refused,
        ["invalid_grant", "invalid_grant", "invalid_client"]
    );
    world.server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn keys_change_and_strangers_cannot_make_the_provider_be_asked() {
    let world = World::new(&["api_audiences: [api]"]).await;
    session(&world.sign_in().await);
    assert_eq!(world.provider.state().n_key_requests, 1);
    world
        .provider
        .state()
        .keys
        .push(("k2".into(), Key::curve()));
    session(&world.sign_in().await);
    assert_eq!(world.provider.state().n_key_requests, 2);
    let of_before = world.provider.token(&json!({}), &json!({}));
    assert_eq!(world.bearer(&of_before, "/api/v1/labels").await.status, 200);
    // A key that is gone is not taken any more once the keys were read again.
    world.provider.state().keys = vec![("k3".into(), Key::curve())];
    session(&world.sign_in().await);
    assert_eq!(world.bearer(&of_before, "/api/v1/labels").await.status, 401);
    let before = world.provider.state().n_key_requests;
    for n in 0..50 {
        let token = world
            .provider
            .token(&json!({"kid": n.to_string()}), &json!({}));
        assert_eq!(world.bearer(&token, "/api/v1/labels").await.status, 401);
    }
    let asked = world.provider.state().n_key_requests - before;
    assert!(asked < 25, "{asked}");
    world.server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn tokens_of_the_provider_are_bearers_where_that_is_configured() {
    let world = World::new(&["api_audiences: [api, other-api]"]).await;
    let rsa_as_secret = || {
        let text = format!(
            "{}.{}",
            encode(json!({"alg": "HS256", "kid": "k1"}).to_string()),
            encode(
                json!({"iss": world.provider.issuer, "aud": "api", "exp": now_s() + 300})
                    .to_string()
            )
        );
        let key = ring::hmac::Key::new(ring::hmac::HMAC_SHA256, b"k1");
        let tag = ring::hmac::sign(&key, text.as_bytes());
        format!("{text}.{}", encode(tag))
    };
    let none = || {
        let header = encode(json!({"alg": "none"}).to_string());
        let claims = json!({"iss": world.provider.issuer, "aud": "api", "exp": now_s() + 300, "groups": ["admins"]});
        format!("{header}.{}.", encode(claims.to_string()))
    };
    let token = |header: Value, claims: Value| world.provider.token(&header, &claims);
    for (token, status, why) in [
        (token(json!({}), json!({})), 200, ""),
        (
            token(json!({"typ": "JWT"}), json!({"aud": ["x", "other-api"]})),
            200,
            "",
        ),
        (
            token(json!({}), json!({"aud": "kansoku"})),
            401,
            "another audience",
        ),
        (
            token(json!({}), json!({"aud": null})),
            401,
            "another audience",
        ),
        (
            token(json!({}), json!({"exp": now_s() - 61})),
            401,
            "expired",
        ),
        (
            token(json!({}), json!({"nbf": now_s() + 600})),
            401,
            "not valid yet",
        ),
        (
            token(json!({}), json!({"iss": "http://other"})),
            401,
            "issuer that is not known",
        ),
        (
            token(json!({}), json!({"iss": null})),
            401,
            "issuer that is not known",
        ),
        (
            token(json!({"typ": "logout+jwt"}), json!({})),
            401,
            "no bearer token",
        ),
        (
            token(json!({}), json!({"groups": ["x"]})),
            403,
            "no rule fits",
        ),
        (rsa_as_secret(), 401, "accepted"),
        (none(), 401, "accepted"),
        ("a.b.c".into(), 401, "token"),
        ("kansoku_x".into(), 401, "there is no such token"),
    ] {
        let answer = world.bearer(&token, "/api/v1/labels").await;
        assert_eq!(answer.status, status, "{why}: {}", answer.text());
        assert!(answer.text().contains(why), "{why}: {}", answer.text());
    }
    // The rights are those of the rule.
    let viewer = token(json!({}), json!({}));
    assert_eq!(
        world.bearer(&viewer, "/api/v1/access/audit").await.status,
        403
    );
    let admin = token(json!({}), json!({"groups": ["admins"]}));
    assert_eq!(
        world.bearer(&admin, "/api/v1/access/audit").await.status,
        200
    );
    // It is no key to the page's form.
    let headers = [PAGE, ("content-type", "application/x-www-form-urlencoded")];
    let form = format!("token={admin}");
    let answer = world
        .server
        .post("/api/v1/access/login", &headers, form)
        .await;
    assert_eq!(answer.status, 401);
    world.server.stop().await;
    // Without the key nothing of that is taken.
    let world = World::new(&[]).await;
    let good = world.provider.token(&json!({}), &json!({}));
    assert_eq!(world.bearer(&good, "/api/v1/labels").await.status, 401);
    world.server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn without_the_provider_users_of_the_file_are_let_in() {
    let provider = Provider::start(false).await;
    // A port that was free a moment ago, and a provider that calls itself otherwise.
    let listener = std::net::TcpListener::bind("127.0.0.1:0").expect("a port");
    let gone = format!("http://{}", listener.local_addr().expect("an address"));
    drop(listener);
    let other = format!("{}/", provider.issuer);
    for issuer in [gone, other] {
        let own = Provider {
            issuer,
            ..provider.clone()
        };
        let world = World::with(own, &["api_audiences: [api]"], &[]).await;
        let listed = world.get("/api/v1/access/oidc", "").await.json();
        assert_eq!(listed["data"]["providers"][0]["ready"], false);
        let answer = world.get(LOGIN, "").await;
        let (word, error) = failed(&world, &answer).await;
        assert_eq!(word, "down");
        assert!(error.contains("provider 'test'"), "{error}");
        let token = {
            let claims = json!({"iss": world.provider.issuer});
            world.provider.token(&json!({}), &claims)
        };
        let answer = world.bearer(&token, "/api/v1/labels").await;
        assert_eq!(answer.status, 503, "{}", answer.text());
        assert_eq!(answer.header("retry-after"), "1");
        let headers = [PAGE, ("content-type", "application/x-www-form-urlencoded")];
        let form = "user=admin&password=secret";
        let answer = world
            .server
            .post("/api/v1/access/login", &headers, form)
            .await;
        assert_eq!(answer.status, 200, "{}", answer.text());
        assert_eq!(
            world.get("/api/v1/access/oidc/nope/login", "").await.status,
            404
        );
        world.server.stop().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_provider_is_tried_out_before_anybody_signs_in() {
    for (document, more, expected) in [
        (json!({}), "leeway: 60s", ""),
        (
            json!({"issuer": "http://other"}),
            "leeway: 60s",
            "it calls itself 'http://other'",
        ),
        (
            json!({"token_endpoint_auth_methods_supported": ["private_key_jwt"]}),
            "leeway: 60s",
            "wants clients to show who they are by private_key_jwt",
        ),
        (
            json!({"userinfo_endpoint": null}),
            "userinfo: true",
            "no userinfo_endpoint",
        ),
        (
            json!({"jwks_uri": "http://127.0.0.1:1/x"}),
            "leeway: 60s",
            "no keys of provider",
        ),
    ] {
        let provider = Provider::start(false).await;
        provider.state().document = document;
        let folder = tempfile::tempdir().expect("a folder");
        let file = write_file(folder.path(), &provider.issuer, &[more]);
        let tool = AccessTool::Check { file, ask: true };
        let tried = run_access(tool)
            .await
            .map_or_else(|e| e, |()| String::new());
        assert!(
            tried.contains(expected) && tried.is_empty() == expected.is_empty(),
            "{expected}: {tried}"
        );
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn namespaces_come_from_groups_and_hold() {
    let rules = "rules: [{claim: groups, values: ['team-(.*)'], role: viewer, namespaces: ['$1']}]";
    let world = World::new(&[rules]).await;
    world.provider.state().person["groups"] = json!(["team-shop", "x", "team-cart"]);
    let cookie = session(&world.sign_in().await);
    let me = world.me(&cookie).await;
    assert_eq!(me["namespaces"], json!(["cart", "shop"]));
    assert_eq!(me["rights"], json!(["read"]));
    assert_eq!(world.get("/api/v1/rules", &cookie).await.status, 403);
    world.server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn userinfo_adds_claims_of_the_same_person() {
    let world = World::new(&["userinfo: true", "name_claim: nick"]).await;
    {
        let mut state = world.provider.state();
        state.person = json!({"sub": "42"});
        state.userinfo = json!({"sub": "42", "nick": "al", "groups": ["staff"]});
    }
    let cookie = session(&world.sign_in().await);
    assert_eq!(world.me(&cookie).await["name"], "test/al");
    world.provider.state().userinfo["sub"] = json!("43");
    let (word, error) = failed(&world, &world.sign_in().await).await;
    assert_eq!(word, "failed");
    assert!(error.contains("somebody else"), "{error}");
    world.server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_session_ends_when_its_provider_is_configured_otherwise() {
    let world = World::new(&[]).await;
    let cookie = session(&world.sign_in().await);
    let issuer = world.provider.issuer.clone();
    let status = async || world.get("/api/v1/labels", &cookie).await.status;
    // The same in other words ends nothing.
    write_file(
        world.folder.path(),
        &issuer,
        &["name_claim:", "leeway: 60s"],
    );
    assert_eq!(status().await, 200);
    write_file(world.folder.path(), &issuer, &["allowed_groups: [other]"]);
    assert_eq!(status().await, 401);
    let (word, error) = failed(&world, &world.sign_in().await).await;
    assert_eq!(word, "not_allowed");
    assert!(error.contains("allowed_groups"), "{error}");
    world.server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_authority_of_its_own_vouches_for_the_issuer() {
    let provider = Provider::start(true).await;
    let authority = concat!(
        env!("CARGO_MANIFEST_DIR"),
        "/../fixtures/tls/mutual/authority.pem"
    );
    for (more, is_ready) in [
        (format!("ca_file: {authority}"), true),
        (format!("tls_config: {{ca_file: {authority}}}"), true),
        ("name_claim:".to_owned(), false),
    ] {
        let world = World::with(provider.clone(), &[&more], &[]).await;
        let listed = world.get("/api/v1/access/oidc", "").await.json();
        let ready = &listed["data"]["providers"][0]["ready"];
        assert_eq!(*ready, is_ready, "{more}");
        world.server.stop().await;
    }
}
