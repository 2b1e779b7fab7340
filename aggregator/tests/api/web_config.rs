//! The listener's own configuration: TLS with certificates that change, passwords, headers, HTTP/2.

use std::path::Path;
use std::sync::Arc;

use bytes::Bytes;
use http_body_util::{BodyExt, Empty};
use hyper::{Request, Version};
use hyper_rustls::HttpsConnectorBuilder;
use hyper_util::client::legacy::Client;
use hyper_util::rt::TokioExecutor;
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject;
use rustls::{ClientConfig, RootCertStore};

use crate::harness::Server;

const FIXTURES: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../fixtures/tls/mutual");
/// Of `secret`, at a cost that a test can wait for.
const HASH: &str = "$2b$04$abcdefghijklmnopqrstuu2r9OfJnfCsdneAXAGHnS4UpFFP8WIrW";

/// What a client that trusts `authority` gets, or why it gets nothing.
async fn get(server: &Server, authority: &str, path: &str) -> Result<(u16, Version), String> {
    let mut roots = RootCertStore::empty();
    let authority = CertificateDer::from_pem_file(authority).expect("a certificate");
    roots.add(authority).expect("an authority");
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let tls = ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .expect("versions")
        .with_root_certificates(roots)
        .with_no_client_auth();
    let connector = HttpsConnectorBuilder::new()
        .with_tls_config(tls)
        .https_only()
        .with_server_name_resolver(hyper_rustls::FixedServerNameResolver::new(
            "localhost".try_into().expect("a name"),
        ))
        .enable_all_versions()
        .build();
    let client = Client::builder(TokioExecutor::new()).build(connector);
    let request = Request::get(format!("https://{}{path}", server.running.address))
        .body(Empty::<Bytes>::new())
        .expect("a request");
    let answer = client
        .request(request)
        .await
        .map_err(|e| format!("{e:?}"))?;
    let (head, body) = answer.into_parts();
    body.collect().await.map_err(|e| e.to_string())?;
    Ok((head.status.as_u16(), head.version))
}

fn flag(path: &Path) -> String {
    format!("--web.config.file={}", path.display())
}

#[tokio::test(flavor = "multi_thread")]
async fn encrypted_with_http2_and_a_certificate_that_changes() {
    let folder = tempfile::tempdir().expect("a folder");
    let (config, pem) = (folder.path().join("web.yml"), folder.path().join("a.pem"));
    let text = "tls_server_config:\n  cert_file: a.pem\n  key_file: a.pem\nhttp_server_config:\n  headers:\n    X-Frame-Options: deny\n";
    std::fs::write(&config, text).expect("written");
    let install = |name: &str| {
        std::fs::copy(format!("{FIXTURES}/{name}"), &pem).expect("copied");
    };
    install("server.pem");
    let server = Server::start_with(&["--query.test-mode", &flag(&config)]).await;
    let authority = format!("{FIXTURES}/authority.pem");
    let got = get(&server, &authority, "/-/ready").await;
    assert_eq!(got, Ok((200, Version::HTTP_2)));
    // Another certificate, which that authority did not sign.
    install("server-next.pem");
    let refused = get(&server, &authority, "/-/ready").await.unwrap_err();
    assert!(refused.contains("UnknownIssuer"), "{refused}");
    let next = format!("{FIXTURES}/other.pem");
    let got = get(&server, &next, "/-/ready").await;
    assert_eq!(got, Ok((200, Version::HTTP_2)));
    // A broken file keeps the last good one.
    std::fs::write(&pem, "nonsense").expect("written");
    let got = get(&server, &next, "/-/ready").await;
    assert_eq!(got, Ok((200, Version::HTTP_2)));
    install("server.pem");
    // Without HTTP/2; the mapping of headers is the last in the file.
    std::fs::write(&config, format!("{text}  http2: false\n")).expect("written");
    let got = get(&server, &authority, "/-/ready").await;
    assert_eq!(got, Ok((200, Version::HTTP_11)));
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn passwords_and_headers_hold_on_every_path() {
    let folder = tempfile::tempdir().expect("a folder");
    let config = folder.path().join("web.yml");
    let text = format!(
        "basic_auth_users:\n  alice: {HASH}\nhttp_server_config:\n  headers:\n    X-Frame-Options: deny\n"
    );
    std::fs::write(&config, text).expect("written");
    let server = Server::start_with(&["--query.test-mode", &flag(&config)]).await;
    // alice:secret, alice:wrong
    let (right, wrong) = ("Basic YWxpY2U6c2VjcmV0", "Basic YWxpY2U6d3Jvbmc=");
    for path in ["/", "/-/healthy", "/api/v1/labels", "/nope"] {
        for (header, is_in) in [(right, true), (wrong, false), ("", false)] {
            let headers = [("authorization", header)];
            let answer = server.send(hyper::Method::GET, path, &headers, "").await;
            assert_eq!(answer.status != 401, is_in, "{path} {header}");
            assert_eq!(answer.header("x-frame-options"), "deny");
            assert_eq!(answer.header("www-authenticate") == "Basic", !is_in);
        }
    }
    server.stop().await;
}

#[tokio::test]
async fn a_mistake_in_the_file_refuses_the_start() {
    let folder = tempfile::tempdir().expect("a folder");
    let path = format!("--storage.path={}", folder.path().display());
    let flags = [
        "--web.listen-address=127.0.0.1:0",
        &path,
        "--web.config.file=/no/such",
    ];
    let settings = kansoku_aggregator::settings::Settings::from_arguments(flags).expect("flags");
    let error = kansoku_aggregator::run::listen(settings).await.unwrap_err();
    assert!(error.contains("--web.config.file /no/such"), "{error}");
}
