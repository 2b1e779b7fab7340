//! Signing in at the certified oidc-provider of npm, staying while claims change, and leaving by either side, with
//! every way in which a client shows who it is. `deploy/setup.sh test` installs it.

use std::path::Path;
use std::process::Command;

use kansoku_tests::aggregator::Aggregator;
use kansoku_tests::program::free_port;
use serde_json::Value;

/// What the provider saw that takes `method`, where the client has this line.
fn seen(method: &str, line: &str) -> Value {
    let tree = Path::new(env!("CARGO_MANIFEST_DIR"));
    let folder = tempfile::tempdir().expect("a folder");
    let port = free_port();
    let file = folder.path().join("access.yaml");
    let key = tree.join("../fixtures/tls/jwt.key");
    let line = line.replace("KEY", &key.display().to_string());
    let text = format!(
        "oidc:\n  test:\n    issuer: http://127.0.0.1:{port}\n    client_id: kansoku\n    {line}\n    scopes: [openid, profile, groups]\n    \
         rules: [{{claim: groups, values: [admins], role: admin}}, {{claim: groups, values: [staff], role: viewer}}]\n"
    );
    std::fs::write(&file, text).expect("the folder is ours");
    let flag = format!("--access.file={}", file.display());
    let mut aggregator = Aggregator::new(folder.path(), &[&flag]);
    aggregator.start();
    // Node looks for packages beside the script.
    let clients = tree.join("../target/clients");
    let script = clients.join(format!("{port}-oidc_provider.mjs"));
    std::fs::copy(tree.join("clients/oidc_provider.mjs"), &script)
        .expect("deploy/setup.sh test was run");
    let base = format!("http://127.0.0.1:{}", aggregator.port);
    let output = Command::new("node")
        .arg(&script)
        .args([&base, &port.to_string(), method])
        .output();
    std::fs::remove_file(&script).expect("the copy is ours");
    let output = output.expect("node is there (deploy/setup.sh test)");
    let out = String::from_utf8_lossy(&output.stdout).into_owned();
    let errors = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{method}: {out}{errors}");
    aggregator.end();
    let last = out.lines().last().expect("a line");
    serde_json::from_str(last).expect("JSON")
}

#[test]
fn a_client_with_a_key_stays_and_leaves() {
    let seen = seen("private_key_jwt", "private_key_file: KEY");
    assert_eq!(
        (&seen["revoked"], &seen["logouts"]),
        (&2.into(), &1.into()),
        "{seen}"
    );
}

#[test]
fn a_client_with_a_secret_stays_and_leaves() {
    let secret = "client_secret: 'of the test, 32 bytes or more of it'";
    for method in [
        "client_secret_basic",
        "client_secret_post",
        "client_secret_jwt",
    ] {
        let seen = seen(method, secret);
        assert_eq!(
            (&seen["revoked"], &seen["logouts"]),
            (&2.into(), &1.into()),
            "{method}: {seen}"
        );
    }
}
