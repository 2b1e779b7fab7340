//! The provider tells that somebody has signed out, and what attackers tell.

use hyper::Method;
use serde_json::{Value, json};

use super::provider::{encode, now_s, signed};
use super::{Key, World, session};
use crate::harness::Answer;

const PATH: &str = "/api/v1/access/oidc/test/backchannel_logout";
const EVENT: &str = "http://schemas.openid.net/event/backchannel-logout";

/// What a good token says that has these claims over it; `null` takes one away.
fn claims(world: &World, more: &Value) -> Value {
    let mut claims = json!({
        "iss": world.provider.issuer, "aud": "kansoku", "iat": now_s(), "exp": now_s() + 120,
        "jti": kansoku_aggregator::access::token::random().expect("randomness"),
        "events": {EVENT: {}}, "sub": "42",
    });
    for (name, value) in more.as_object().expect("an object") {
        match value {
            Value::Null => drop(claims.as_object_mut().expect("an object").remove(name)),
            value => claims[name] = value.clone(),
        }
    }
    claims
}

impl World {
    fn logout_token(&self, header: &Value, more: &Value) -> String {
        let mut head = json!({"alg": "RS256", "kid": "k1", "typ": "logout+jwt"});
        for (name, value) in header.as_object().expect("an object") {
            head[name] = value.clone();
        }
        signed(&Key::rsa(), &head, &claims(self, more))
    }

    async fn tell(&self, token: &str) -> Answer {
        let headers = [("content-type", "application/x-www-form-urlencoded")];
        let form = format!("logout_token={token}");
        self.server.send(Method::POST, PATH, &headers, form).await
    }

    /// Signs in within a session of the provider that it calls `sid`.
    async fn sign_in_as(&self, sub: &str, sid: Option<&str>) -> String {
        {
            let mut state = self.provider.state();
            state.person["sub"] = json!(sub);
            match sid {
                Some(sid) => state.person["sid"] = json!(sid),
                None => drop(
                    state
                        .person
                        .as_object_mut()
                        .expect("an object")
                        .remove("sid"),
                ),
            }
        }
        session(&self.sign_in().await)
    }

    async fn is_open(&self, cookie: &str) -> bool {
        self.me(cookie).await["signedIn"] == true
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn sessions_end_by_their_number_or_by_their_person() {
    // Sessions of alice (42), two of them with the number s1, and of bob (43).
    let all = [
        ("42", Some("s1")),
        ("42", Some("s1")),
        ("42", Some("s2")),
        ("42", None),
        ("43", Some("s3")),
    ];
    for (told, stay) in [
        (json!({"sub": null, "sid": "s1"}), &[2, 3, 4][..]),
        // One without a number may be the one that is meant.
        (json!({"sid": "s1"}), &[2, 4]),
        (json!({}), &[4]),
        (json!({"sub": "43"}), &[0, 1, 2, 3]),
        (json!({"sub": null, "sid": "s9"}), &[0, 1, 2, 3, 4]),
        (json!({"sub": "44"}), &[0, 1, 2, 3, 4]),
        // Keycloak before 26: without an end, and another event beside.
        (
            json!({"exp": null, "sid": "s2", "events": {EVENT: {}, "revoke_offline_access": true}}),
            &[0, 1, 4],
        ),
        // A number of another person's session.
        (json!({"sub": "43", "sid": "s1"}), &[0, 1, 2, 3, 4]),
        (
            json!({"events": {EVENT: {}, "other": 1}, "exp": now_s() + 9}),
            &[4],
        ),
    ] {
        let world = World::new(&[]).await;
        let mut cookies = Vec::new();
        for (sub, sid) in all {
            cookies.push(world.sign_in_as(sub, sid).await);
        }
        let answer = world.tell(&world.logout_token(&json!({}), &told)).await;
        assert_eq!(answer.status, 200, "{told}: {}", answer.text());
        assert_eq!(answer.header("cache-control"), "no-store");
        assert_eq!(answer.text(), "");
        let mut open = Vec::new();
        for (n, cookie) in cookies.iter().enumerate() {
            if world.is_open(cookie).await {
                open.push(n);
            }
        }
        assert_eq!(open, stay, "{told}");
        let noted = world.newest_audit().await;
        assert_eq!(noted["action"], "sign_out", "{noted}");
        let ended = format!("sessions={}", all.len() - stay.len());
        assert!(
            noted["detail"]
                .as_str()
                .is_some_and(|d| d.ends_with(&ended)),
            "{noted}"
        );
        world.server.stop().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn tokens_that_are_not_right_end_nothing() {
    let world = World::new(&[]).await;
    let cookie = world.sign_in_as("42", Some("s1")).await;
    let token = |header: Value, claims: Value| world.logout_token(&header, &claims);
    let good = token(json!({}), json!({"sub": "nobody"}));
    assert_eq!(world.tell(&good).await.status, 200);
    let cut = good.rsplit_once('.').expect("three parts").0;
    let none = {
        let header = encode(json!({"alg": "none", "typ": "logout+jwt"}).to_string());
        format!(
            "{header}.{}.",
            encode(claims(&world, &json!({})).to_string())
        )
    };
    let by_secret = {
        let header = encode(json!({"alg": "HS256", "typ": "logout+jwt"}).to_string());
        let text = format!(
            "{header}.{}",
            encode(claims(&world, &json!({})).to_string())
        );
        let key = ring::hmac::Key::new(ring::hmac::HMAC_SHA256, b"s3cret&+%");
        format!("{text}.{}", encode(ring::hmac::sign(&key, text.as_bytes())))
    };
    let stranger = {
        let header = json!({"alg": "ES256", "kid": "k1", "typ": "logout+jwt"});
        signed(&Key::curve(), &header, &claims(&world, &json!({})))
    };
    let other_claims = {
        let (head, rest) = good.split_once('.').expect("three parts");
        let signature = rest.rsplit_once('.').expect("three parts").1;
        format!(
            "{head}.{}.{signature}",
            encode(claims(&world, &json!({})).to_string())
        )
    };
    let now = now_s();
    for (token, why) in [
        (String::new(), "no logout_token"),
        ("x".into(), "three parts"),
        (good.clone(), "came before"),
        (format!("{cut}."), "signature"),
        (other_claims, "signature"),
        (none, "accepted"),
        (by_secret, "accepted"),
        (stranger, "unknown key"),
        (token(json!({"kid": "k9"}), json!({})), "unknown key"),
        (token(json!({"crit": ["x"]}), json!({})), "crit"),
        (token(json!({"typ": "at+jwt"}), json!({})), "another kind"),
        (
            token(json!({}), json!({"iss": "http://other"})),
            "another issuer",
        ),
        (token(json!({}), json!({"iss": null})), "another issuer"),
        (
            token(json!({}), json!({"aud": "other"})),
            "another audience",
        ),
        (token(json!({}), json!({"aud": null})), "another audience"),
        (token(json!({}), json!({"exp": now - 61})), "expired"),
        (
            token(json!({}), json!({"iat": now + 3600})),
            "in the future",
        ),
        (token(json!({}), json!({"iat": now - 700})), "too long ago"),
        (token(json!({}), json!({"iat": null})), "iat"),
        (
            token(json!({}), json!({"nbf": now + 3600})),
            "not valid yet",
        ),
        (token(json!({}), json!({"jti": null})), "jti"),
        (token(json!({}), json!({"jti": ""})), "jti"),
        (token(json!({}), json!({"jti": 1})), "jti"),
        (token(json!({}), json!({"nonce": "x"})), "nonce"),
        (token(json!({}), json!({"events": null})), "events"),
        (token(json!({}), json!({"events": {}})), "events"),
        (token(json!({}), json!({"events": [EVENT]})), "events"),
        (token(json!({}), json!({"events": {EVENT: true}})), "events"),
        (token(json!({}), json!({"events": {"other": {}}})), "events"),
        (token(json!({}), json!({"sub": null})), "neither who"),
        (token(json!({}), json!({"sub": 42})), "must be texts"),
        (
            token(json!({}), json!({"sub": "", "sid": "s1"})),
            "must be texts",
        ),
        // An ID token and a bearer of the same provider.
        (
            token(json!({"typ": "JWT"}), json!({"events": null, "nonce": "n"})),
            "events",
        ),
    ] {
        let answer = world.tell(&token).await;
        assert_eq!(answer.status, 400, "{why}: {}", answer.text());
        assert_eq!(answer.header("cache-control"), "no-store");
        let told = answer.json();
        assert_eq!(told["error"], "invalid_request");
        let text = told["error_description"].as_str().expect("a text");
        assert!(text.contains(why), "{why}: {text}");
        assert!(world.is_open(&cookie).await, "{why}");
    }
    // What was refused for its content is not taken for one that came before.
    let number = json!({"jti": "once", "sub": null, "sid": "s1"});
    let wrong = json!({"jti": "once", "sub": null, "sid": "s1", "nonce": "x"});
    assert_eq!(world.tell(&token(json!({}), wrong)).await.status, 400);
    assert_eq!(
        world
            .tell(&token(json!({"typ": "JWT"}), number.clone()))
            .await
            .status,
        200
    );
    assert!(!world.is_open(&cookie).await);
    let cookie = world.sign_in_as("42", Some("s1")).await;
    assert_eq!(world.tell(&token(json!({}), number)).await.status, 400);
    assert!(world.is_open(&cookie).await);
    // Only a form that is posted is looked at, and only of providers that there are.
    let good = token(json!({}), json!({}));
    let path = format!("{PATH}?logout_token={good}");
    assert_eq!(world.get(&path, "").await.status, 405);
    let other = PATH.replace("/test/", "/nope/");
    assert_eq!(world.server.post(&other, &[], "").await.status, 404);
    assert!(world.is_open(&cookie).await);
    world.server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_local_session_stays_and_one_that_may_be_renewed_ends() {
    let world = World::new(&[]).await;
    world.provider.state().refreshing.lasts_s = Some(-5);
    let cookie = world.sign_in_as("42", Some("s1")).await;
    assert!(world.is_open(&cookie).await);
    let headers = [
        super::PAGE,
        ("content-type", "application/x-www-form-urlencoded"),
    ];
    let form = "user=admin&password=secret";
    let answer = world
        .server
        .post("/api/v1/access/login", &headers, form)
        .await;
    let local = super::cookies(&answer).remove(0);
    let answer = world
        .tell(&world.logout_token(&json!({}), &json!({})))
        .await;
    assert_eq!(answer.status, 200);
    let before = world.provider.state().refreshing.n_requests;
    assert!(!world.is_open(&cookie).await);
    assert_eq!(world.provider.state().refreshing.n_requests, before);
    assert!(world.is_open(&local).await);
    world.server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn without_the_providers_keys_it_is_to_be_told_again() {
    let world = World::new(&[]).await;
    world.provider.state().document = json!({"jwks_uri": "http://127.0.0.1:1/keys"});
    let answer = world
        .tell(&world.logout_token(&json!({}), &json!({})))
        .await;
    assert_eq!(answer.status, 503, "{}", answer.text());
    world.server.stop().await;
}
