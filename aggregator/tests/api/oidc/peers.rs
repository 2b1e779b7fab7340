//! What Keycloak and Dex send, in the shapes of their documentation and source, and the examples of `docs/access.md`
//! for them.

use serde_json::{Value, json};

use super::provider::{now_s, signed};
use super::{Key, PAGE, Provider, World, session};

/// The lines below `    issuer` of an example in the documentation that is about a provider of this name.
fn example(name: &str) -> Vec<String> {
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../docs/access.md");
    let text = std::fs::read_to_string(path).expect("the documentation");
    let heading = format!("### {name}\n");
    let section = text.split(&heading).nth(1).expect("a section");
    let section = section.split("\n## ").next().expect("a section");
    let example = section
        .split("```yaml\noidc:\n")
        .nth(1)
        .expect("an example");
    let example = example.split("```").next().expect("an example");
    let lines = example
        .lines()
        .skip(2)
        .map(|line| line.trim_start_matches("    "));
    // Rules stand in lines of their own.
    let mut out: Vec<String> = Vec::new();
    for line in lines {
        match line.strip_prefix("  ") {
            Some(rule) => {
                let last = out.last_mut().expect("rules");
                *last += &format!("\n      {rule}");
            }
            None => out.push(line.to_owned()),
        }
    }
    out
}

async fn world(lines: &[String], document: Value, person: Value) -> World {
    let provider = Provider::start(false).await;
    {
        let mut state = provider.state();
        state.document = document;
        state.person = person;
        state.refreshing.lasts_s = Some(-5);
    }
    let lines: Vec<&str> = lines.iter().map(String::as_str).collect();
    World::with(provider, &lines, &[]).await
}

#[tokio::test(flavor = "multi_thread")]
async fn keycloak() {
    let key = concat!(env!("CARGO_MANIFEST_DIR"), "/../fixtures/tls/jwt.key");
    let lines: Vec<String> = example("Keycloak")
        .into_iter()
        .map(|line| match line.starts_with("private_key_file") {
            true => format!("private_key_file: {key}"),
            false => line,
        })
        // No secret beside it.
        .chain(["client_secret:".to_owned()])
        .collect();
    let document = json!({
        "token_endpoint_auth_methods_supported":
            ["private_key_jwt", "client_secret_basic", "client_secret_post", "tls_client_auth", "client_secret_jwt"],
        "backchannel_logout_supported": true,
        "backchannel_logout_session_supported": true,
    });
    let person = json!({
        "sub": "f0f1a5f2-9f3e-4f5e-9d0a-0b8f2f1f0c11", "typ": "ID", "azp": "kansoku", "acr": "1",
        "sid": "3ac1b8c4-0e3c-4bd9-8f6e-7c6c1f1a2b33", "email_verified": false,
        "preferred_username": "alice", "groups": ["/teams/shop", "/others"],
        "realm_access": {"roles": ["default-roles-main", "offline_access", "uma_authorization"]},
        "resource_access": {"account": {"roles": ["manage-account"]}, "kansoku": {"roles": ["reader"]}},
    });
    let world = world(&lines, document, person).await;
    world
        .provider
        .state()
        .clients
        .insert("kansoku".into(), Some("unused".into()));
    let keys = world.get("/api/v1/access/oidc/test/keys", "").await.json();
    world
        .provider
        .state()
        .client_keys
        .insert("kansoku".into(), keys);
    let cookie = session(&world.sign_in().await);
    let me = world.me(&cookie).await;
    assert_eq!(
        (&me["name"], &me["role"]),
        (&json!("test/alice"), &json!("viewer"))
    );
    assert_eq!(me["namespaces"], json!(["shop", "shop-.*"]));
    // Roles of the client, then of the realm.
    world.provider.state().person["resource_access"]["kansoku"]["roles"] = json!(["editor"]);
    assert_eq!(world.me(&cookie).await["role"], "editor");
    world.provider.state().person["realm_access"]["roles"] = json!(["kansoku-admin"]);
    assert_eq!(world.me(&cookie).await["role"], "admin");
    let told = json!({
        "iss": world.provider.issuer, "aud": "kansoku", "iat": now_s(), "exp": now_s() + 120,
        "jti": "8f0e", "typ": "Logout", "sub": "f0f1a5f2-9f3e-4f5e-9d0a-0b8f2f1f0c11",
        "sid": "3ac1b8c4-0e3c-4bd9-8f6e-7c6c1f1a2b33",
        "events": {"http://schemas.openid.net/event/backchannel-logout": {}, "revoke_offline_access": true},
    });
    let header = json!({"alg": "RS256", "typ": "JWT", "kid": "k1"});
    let form = format!("logout_token={}", signed(&Key::rsa(), &header, &told));
    let headers = [("content-type", "application/x-www-form-urlencoded")];
    let path = "/api/v1/access/oidc/test/backchannel_logout";
    let answer = world.server.post(path, &headers, form).await;
    assert_eq!(answer.status, 200, "{}", answer.text());
    assert_eq!(world.me(&cookie).await["signedIn"], false);
    world.server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn dex() {
    let lines: Vec<String> = example("Dex")
        .into_iter()
        .map(|line| match line.starts_with("client_secret_file") {
            true => "client_secret: 's3cret&+%'".to_owned(),
            false => line,
        })
        .collect();
    // Neither sign-out nor taking tokens back, and answers do not name the issuer.
    let document = json!({
        "end_session_endpoint": null, "revocation_endpoint": null,
        "authorization_response_iss_parameter_supported": null,
        "code_challenge_methods_supported": ["S256", "plain"],
        "token_endpoint_auth_methods_supported": ["client_secret_basic", "client_secret_post"],
        "scopes_supported": ["openid", "email", "groups", "profile", "offline_access"],
    });
    let person = json!({
        "sub": "CgQxMjM0EgZnaXRodWI", "name": "Alice", "preferred_username": "alice",
        "email": "alice@example.com", "email_verified": true,
        "groups": ["example-org:team-shop", "example-org:other"],
    });
    let world = world(&lines, document, person).await;
    // Its tokens have no kind.
    world.provider.state().bend = Some(Box::new(|header, _| header["typ"] = Value::Null));
    let (to, cookie) = world.begin().await;
    assert_eq!(
        super::parameters(&to).get("scope"),
        "openid profile email groups offline_access"
    );
    let back = world.at_provider(&to).await;
    let cookie = session(&world.get(&back, &cookie).await);
    let me = world.me(&cookie).await;
    assert_eq!(
        (&me["role"], &me["namespaces"]),
        (&json!("viewer"), &json!(["shop"]))
    );
    world.provider.state().person["groups"] = json!(["example-org:sre"]);
    assert_eq!(world.me(&cookie).await["role"], "admin");
    let headers = [("cookie", cookie.as_str()), PAGE];
    let answer = world
        .server
        .post("/api/v1/access/logout", &headers, "")
        .await;
    // There is nowhere to go.
    assert_eq!(answer.json()["data"], json!({}));
    world.server.stop().await;
}
