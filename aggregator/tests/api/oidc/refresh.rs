//! Sessions that go on with refresh tokens, and how they end.

use hyper::Method;
use serde_json::{Value, json};

use super::{PAGE, Provider, World, session};

/// A provider whose tokens have just ended, by as much as the clocks of both may differ: every request refreshes.
async fn world(more: &[&str]) -> World {
    let provider = Provider::start(false).await;
    provider.state().refreshing.lasts_s = Some(-5);
    World::with(provider, more, &[]).await
}

impl World {
    fn n_refreshed(&self) -> u64 {
        self.provider.state().refreshing.n_requests
    }

    async fn status(&self, cookie: &str) -> u16 {
        self.get("/api/v1/labels", cookie).await.status
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_session_goes_on_and_its_roles_are_read_again() {
    let world = world(&[]).await;
    let answer = world.sign_in().await;
    // The browser keeps the cookie for as long as the session may be renewed.
    let set = answer.header("set-cookie").to_owned();
    assert!(set.contains("; Max-Age=2592000;"), "{set}");
    let cookie = session(&answer);
    assert_eq!(world.n_refreshed(), 0);
    let mut seen = Vec::new();
    for n in 1..4 {
        assert_eq!(world.me(&cookie).await["role"], "viewer");
        assert_eq!(world.n_refreshed(), n);
        // Each is good once, and the next one is the only one that is kept.
        let good: Vec<String> = world
            .provider
            .state()
            .refreshing
            .good
            .keys()
            .cloned()
            .collect();
        assert!(good.len() == 1 && !seen.contains(&good[0]), "{good:?}");
        seen.extend(good);
    }
    world.provider.state().person["groups"] = json!(["admins"]);
    let me = world.me(&cookie).await;
    assert_eq!(
        (&me["role"], &me["name"]),
        (&json!("admin"), &json!("test/alice"))
    );
    assert_eq!(world.get("/api/v1/access/audit", &cookie).await.status, 200);
    world.provider.state().person["groups"] = json!(["staff"]);
    assert_eq!(world.get("/api/v1/access/audit", &cookie).await.status, 403);
    // Whom no rule fits any more is not signed in any more, not even once one does again.
    world.provider.state().person["groups"] = json!(["visitors"]);
    assert_eq!(world.status(&cookie).await, 401);
    world.provider.state().person["groups"] = json!(["admins"]);
    assert_eq!(world.status(&cookie).await, 401);
    world.server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_session_ends_when_the_provider_refuses() {
    let world = world(&[]).await;
    let cookie = session(&world.sign_in().await);
    assert_eq!(world.status(&cookie).await, 200);
    world.provider.state().refreshing.good.clear();
    let answer = world.get("/api/v1/labels", &cookie).await;
    assert_eq!(answer.status, 401);
    assert!(answer.text().contains("sign in again"), "{}", answer.text());
    // It is not asked about that session any more.
    let before = world.n_refreshed();
    assert_eq!(world.status(&cookie).await, 401);
    assert_eq!(world.n_refreshed(), before);
    assert_eq!(world.me(&cookie).await["signedIn"], false);
    world.server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_provider_that_is_away_ends_no_session() {
    for (status, error) in [
        (500, json!("server_error")),
        (503, json!("temporarily_unavailable")),
        (429, json!("slow_down")),
        // Of the client, and not of who signed in.
        (401, json!("invalid_client")),
        (502, json!(null)),
    ] {
        let world = world(&[]).await;
        let cookie = session(&world.sign_in().await);
        world.provider.state().refreshing.fails = Some((status, error.clone()));
        for _ in 0..3 {
            assert_eq!(world.status(&cookie).await, 200, "{status} {error}");
        }
        // It is left alone for a while.
        assert_eq!(world.n_refreshed(), 1, "{status} {error}");
        assert_eq!(world.provider.state().refreshing.good.len(), 1);
        world.server.stop().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn answers_to_a_refresh_that_are_not_right_end_the_session() {
    let now = super::now_s();
    for (claims, is_good) in [
        (json!({}), true),
        (json!({"sub": "43"}), false),
        (json!({"sub": null}), false),
        (json!({"nonce": "another"}), false),
        (json!({"iss": "http://other.test"}), false),
        (json!({"aud": "other"}), false),
        (json!({"aud": ["kansoku", "other"]}), false),
        (json!({"azp": "other"}), false),
        (json!({"exp": now - 61}), false),
        (json!({"iat": now + 3600}), false),
        (json!({"at_hash": "AAAA"}), false),
    ] {
        let world = world(&[]).await;
        let cookie = session(&world.sign_in().await);
        world.provider.state().refreshing.claims = claims.clone();
        let expected = if is_good { 200 } else { 401 };
        assert_eq!(world.status(&cookie).await, expected, "{claims}");
        world.server.stop().await;
    }
    for bend in [
        (|h: &mut Value, _: &mut Value| h["alg"] = json!("none")) as fn(&mut Value, &mut Value),
        |h, _| h["typ"] = json!("logout+jwt"),
        |h, _| h["kid"] = json!("unknown"),
    ] {
        let world = world(&[]).await;
        let cookie = session(&world.sign_in().await);
        world.provider.state().bend = Some(Box::new(bend));
        assert_eq!(world.status(&cookie).await, 401);
        world.server.stop().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn many_requests_at_a_time_refresh_once() {
    let world = World::new(&[]).await;
    {
        let mut state = world.provider.state();
        state.refreshing.lasts_s = Some(-5);
        // What it says then is good for longer.
        state.refreshing.claims = json!({"exp": super::now_s() + 3000});
    }
    let cookie = session(&world.sign_in().await);
    let one = || world.status(&cookie);
    let (a, b, c, d, e, f) = tokio::join!(one(), one(), one(), one(), one(), one());
    assert_eq!([a, b, c, d, e, f], [200; 6]);
    assert_eq!(world.n_refreshed(), 1);
    world.server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn without_an_id_token_claims_are_those_of_userinfo_or_stay() {
    let world = world(&[]).await;
    {
        let mut state = world.provider.state();
        state.refreshing.without_id_token = true;
        state.refreshing.keeps = true;
    }
    let cookie = session(&world.sign_in().await);
    world.provider.state().person["groups"] = json!(["admins"]);
    for _ in 0..3 {
        assert_eq!(world.me(&cookie).await["role"], "viewer");
    }
    // Tokens that are good for longer than they came for are not asked for again.
    assert_eq!(world.n_refreshed(), 1);
    world.server.stop().await;

    let world = self::world(&["userinfo: true"]).await;
    {
        let mut state = world.provider.state();
        state.refreshing.without_id_token = true;
        state.person = json!({"sub": "42", "preferred_username": "alice"});
        state.userinfo = json!({"sub": "42", "groups": ["staff"]});
    }
    let cookie = session(&world.sign_in().await);
    world.provider.state().userinfo =
        json!({"sub": "42", "groups": ["admins"], "preferred_username": "eve"});
    let me = world.me(&cookie).await;
    assert_eq!(
        (&me["role"], &me["name"]),
        (&json!("admin"), &json!("test/alice"))
    );
    world.server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_session_without_refresh_tokens_is_what_it_was() {
    for more in [
        &["refresh: false"][..],
        &["refresh: false", "userinfo: true"],
    ] {
        let world = world(more).await;
        let answer = world.sign_in().await;
        assert!(answer.header("set-cookie").contains("; Max-Age=43200;"));
        let cookie = session(&answer);
        world.provider.state().refreshing.good.clear();
        assert_eq!(world.status(&cookie).await, 200);
        assert_eq!(world.n_refreshed(), 0);
        world.server.stop().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn who_signs_out_takes_the_refresh_token_back() {
    let world = world(&[]).await;
    let cookie = session(&world.sign_in().await);
    let token = world
        .provider
        .state()
        .refreshing
        .good
        .keys()
        .next()
        .cloned();
    let headers = [("cookie", cookie.as_str()), PAGE];
    let answer = world
        .server
        .send(Method::POST, "/api/v1/access/logout", &headers, "")
        .await;
    assert_eq!(answer.status, 200);
    let token = token.expect("a token");
    // Nobody waits for it.
    let patience = std::time::Instant::now();
    while !world.provider.state().refreshing.revoked.contains(&token) {
        assert!(patience.elapsed().as_secs() < 60, "it is taken back");
        tokio::task::yield_now().await;
    }
    assert!(world.provider.state().refreshing.good.is_empty());
    world.server.stop().await;
}
