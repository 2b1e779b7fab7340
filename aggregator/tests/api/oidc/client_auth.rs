//! Clients that show who they are by a token that they sign.

use kansoku_aggregator::access::oidc::client_auth::{ClientKey, SigningKey};
use ring::rand::SystemRandom;
use ring::signature::{
    ECDSA_P256_SHA256_FIXED_SIGNING, ECDSA_P384_SHA384_FIXED_SIGNING, EcdsaKeyPair,
};
use serde_json::{Value, json};

use super::{Provider, World, cookies, failed, session};

const RSA: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../fixtures/tls/jwt.key");

/// A file with a key of a curve, in PKCS#8.
fn curve(folder: &std::path::Path, is_384: bool) -> String {
    let signing = match is_384 {
        true => &ECDSA_P384_SHA384_FIXED_SIGNING,
        false => &ECDSA_P256_SHA256_FIXED_SIGNING,
    };
    let der = EcdsaKeyPair::generate_pkcs8(signing, &SystemRandom::new()).expect("a key");
    let text = base64::Engine::encode(&base64::prelude::BASE64_STANDARD, der.as_ref());
    let path = folder.join(format!("client-{is_384}.pem"));
    let pem = format!("-----BEGIN PRIVATE KEY-----\n{text}\n-----END PRIVATE KEY-----\n");
    std::fs::write(&path, pem).expect("written");
    path.display().to_string()
}

/// A world whose client has this key, which the provider knows as the client publishes it.
async fn world(file: &str, more: &[&str]) -> World {
    let provider = Provider::start(false).await;
    {
        let mut state = provider.state();
        state.clients.clear();
        state.document = json!({"token_endpoint_auth_methods_supported": ["private_key_jwt"]});
    }
    let line = format!("private_key_file: {file}");
    // No secret beside it.
    let lines = [&["client_secret:", line.as_str()], more].concat();
    let world = World::with(provider, &lines, &[]).await;
    world
        .provider
        .state()
        .clients
        .insert("kansoku".into(), Some("never shown".into()));
    let keys = world.get("/api/v1/access/oidc/test/keys", "").await.json();
    world
        .provider
        .state()
        .client_keys
        .insert("kansoku".into(), keys);
    world
}

#[tokio::test(flavor = "multi_thread")]
async fn a_private_key_stands_for_the_client() {
    let folder = tempfile::tempdir().expect("a folder");
    for (file, more, algorithm) in [
        (RSA.to_owned(), &[][..], "RS256"),
        (
            RSA.to_owned(),
            &["private_key_algorithm: PS256", "private_key_id: mine"],
            "PS256",
        ),
        (curve(folder.path(), false), &[], "ES256"),
        (
            curve(folder.path(), true),
            &["private_key_algorithm: ES384"],
            "ES384",
        ),
    ] {
        let world = world(&file, more).await;
        let published = world.provider.state().client_keys["kansoku"]["keys"][0].clone();
        assert_eq!(
            (&published["alg"], &published["use"]),
            (&json!(algorithm), &json!("sig"))
        );
        assert_eq!(published["kid"] == "mine", more.len() == 2);
        // The public half alone.
        for member in ["d", "p", "q", "dp", "dq", "qi", "k"] {
            assert_eq!(published[member], Value::Null);
        }
        let cookie = session(&world.sign_in().await);
        assert_eq!(world.me(&cookie).await["name"], "test/alice");
        session(&world.sign_in().await);
        // A number of its own each time.
        assert_eq!(world.provider.state().assertions.len(), 2);
        assert_eq!(world.provider.state().refused, Vec::<String>::new());
        world.server.stop().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn it_refreshes_and_revokes_by_its_key_as_well() {
    let world = world(RSA, &[]).await;
    world.provider.state().refreshing.lasts_s = Some(-5);
    let cookie = session(&world.sign_in().await);
    assert_eq!(world.me(&cookie).await["signedIn"], true);
    assert_eq!(world.provider.state().refreshing.n_requests, 1);
    assert_eq!(world.provider.state().assertions.len(), 2);
    let headers = [("cookie", cookie.as_str()), super::PAGE];
    world
        .server
        .post("/api/v1/access/logout", &headers, "")
        .await;
    let patience = std::time::Instant::now();
    while world.provider.state().refreshing.revoked.is_empty() {
        assert!(patience.elapsed().as_secs() < 60, "it is taken back");
        tokio::task::yield_now().await;
    }
    world.server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn another_key_lets_nobody_in() {
    let folder = tempfile::tempdir().expect("a folder");
    let file = curve(folder.path(), false);
    let world = world(&file, &[]).await;
    session(&world.sign_in().await);
    // The key is read at each use, and the provider knows the one before.
    curve(folder.path(), false);
    let (word, error) = failed(&world, &world.sign_in().await).await;
    assert_eq!(word, "failed");
    assert!(error.contains("invalid_client"), "{error}");
    let keys = world.get("/api/v1/access/oidc/test/keys", "").await.json();
    world
        .provider
        .state()
        .client_keys
        .insert("kansoku".into(), keys);
    session(&world.sign_in().await);
    world.server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_secret_signs_where_the_provider_takes_nothing_else() {
    let provider = Provider::start(false).await;
    provider.state().document =
        json!({"token_endpoint_auth_methods_supported": ["private_key_jwt", "client_secret_jwt"]});
    let world = World::with(provider, &[], &[]).await;
    session(&world.sign_in().await);
    assert_eq!(world.provider.state().assertions.len(), 1);
    // Nothing is published of a secret.
    let keys = world.get("/api/v1/access/oidc/test/keys", "").await.json();
    assert_eq!(keys, json!({"keys": []}));
    world.server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_provider_that_takes_no_keys_is_told_of() {
    let world = world(RSA, &[]).await;
    world.provider.state().document =
        json!({"token_endpoint_auth_methods_supported": ["client_secret_post"]});
    let (word, error) = failed(&world, &world.sign_in().await).await;
    assert_eq!(word, "failed");
    assert!(
        error.contains("with private_key_file that is private_key_jwt"),
        "{error}"
    );
    world.server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_sign_in_may_ask_for_more() {
    let world =
        World::new(&["authorization_parameters: {prompt: consent, kc_idp_hint: 'a b'}"]).await;
    let (to, cookie) = world.begin().await;
    let asked = super::parameters(&to);
    assert_eq!(
        (asked.get("prompt"), asked.get("kc_idp_hint")),
        ("consent", "a b")
    );
    let back = world.at_provider(&to).await;
    assert_eq!(cookies(&world.get(&back, &cookie).await).len(), 2);
    world.server.stop().await;
}

#[test]
fn numbers_of_keys_are_their_thumbprints() {
    let key = ClientKey {
        file: RSA.into(),
        id: None,
        with_pss: false,
    };
    let first = SigningKey::read(&key).expect("a key").public();
    let second = SigningKey::read(&ClientKey {
        with_pss: true,
        ..key
    })
    .expect("a key")
    .public();
    assert_eq!(first["kid"], second["kid"]);
    assert_eq!(first["kid"].as_str().map(str::len), Some(43));
}
