//! A client of the API server or of a kubelet, whose certificate is checked as far as was asked for.
//!
//! The chain is always checked unless `tls.verify` is off. The name can be left out of it: a kubelet
//! is asked at 127.0.0.1, and a certificate that the cluster signed names the node's own addresses.

use hyper_rustls::{FixedServerNameResolver, HttpsConnectorBuilder};
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::TokioExecutor;
use kansoku_outputs::tls::any_name;
use kube::client::{ClientBuilder, ConfigExt};
use kube::{Client, Config};
use rustls::RootCertStore;
use rustls_pki_types::CertificateDer;
use rustls_pki_types::pem::PemObject;
use tower::{BoxError, ServiceExt};

/// The client; without `checks_name` the certificate may be for any name.
pub(super) fn client(config: Config, checks_name: bool) -> anyhow::Result<Client> {
    let is_plain = config.cluster_url.scheme_str() == Some("http");
    if is_plain || checks_name || config.accept_invalid_certs {
        return Ok(Client::try_from(config)?);
    }
    let mut tls = config.rustls_client_config()?;
    tls.dangerous()
        .set_certificate_verifier(any_name(roots(&config)?)?);
    let mut http = HttpConnector::new();
    http.enforce_http(false);
    let mut connector = HttpsConnectorBuilder::new()
        .with_tls_config(tls)
        .https_or_http();
    if let Some(name) = &config.tls_server_name {
        let name = name.clone().try_into()?;
        connector = connector.with_server_name_resolver(FixedServerNameResolver::new(name));
    }
    let connector = connector.enable_http1().wrap_connector(http);
    let service = hyper_util::client::legacy::Client::builder(TokioExecutor::new())
        .build(connector)
        .map_err(BoxError::from);
    let builder = ClientBuilder::new(service, config.default_namespace.clone())
        .with_layer(&config.base_uri_layer());
    Ok(match config.auth_layer()? {
        Some(auth) => builder.with_layer(&auth).build(),
        None => builder.build(),
    })
}

/// What the configuration trusts, else what the system trusts.
fn roots(config: &Config) -> anyhow::Result<RootCertStore> {
    let mut found: Vec<CertificateDer<'static>> = Vec::new();
    if let Some(file) = &config.root_cert_file {
        found = CertificateDer::pem_file_iter(file)?.collect::<Result<_, _>>()?;
    } else if let Some(certificates) = &config.root_cert {
        found.extend(certificates.iter().cloned().map(CertificateDer::from));
    } else {
        found = rustls_native_certs::load_native_certs().certs;
    }
    let mut roots = RootCertStore::empty();
    roots.add_parsable_certificates(found);
    Ok(roots)
}

#[cfg(test)]
mod tests {
    use std::path::PathBuf;
    use std::sync::Arc;

    use rustls_pki_types::PrivateKeyDer;
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    use tokio_rustls::TlsAcceptor;

    use super::super::Access;
    use super::*;

    /// The kubelet's certificate and key: signed by the cluster's authority, for `node1` only.
    const KUBELET: &[u8] = include_bytes!("../../../fixtures/kubernetes/kubelet.pem");

    fn acceptor() -> TlsAcceptor {
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let config = rustls::ServerConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .expect("versions")
            .with_no_client_auth()
            .with_single_cert(
                vec![CertificateDer::from_pem_slice(KUBELET).expect("a certificate")],
                PrivateKeyDer::from_pem_slice(KUBELET).expect("a key"),
            )
            .expect("a pair");
        TlsAcceptor::from(Arc::new(config))
    }

    async fn serve(listener: tokio::net::TcpListener) {
        let acceptor = acceptor();
        while let Ok((socket, _)) = listener.accept().await {
            let Ok(mut stream) = acceptor.accept(socket).await else {
                continue;
            };
            let mut request = [0; 4096];
            let n = stream.read(&mut request).await.expect("a request");
            let text = String::from_utf8_lossy(&request[..n]).to_lowercase();
            let body = if text.contains("authorization: bearer abc") {
                "let in"
            } else {
                "who?"
            };
            let answer = format!(
                "HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: {}\r\n\r\n{body}",
                body.len()
            );
            stream.write_all(answer.as_bytes()).await.expect("a reader");
            let _ = stream.shutdown().await;
        }
    }

    async fn ask(client: anyhow::Result<Client>) -> Result<String, String> {
        let request = hyper::Request::get("/pods").body(Vec::new());
        let client = client.map_err(|e| e.to_string())?;
        let answer = client.request_text(request.expect("a request")).await;
        answer.map_err(|e| format!("{:#}", anyhow::Error::from(e)))
    }

    #[tokio::test]
    async fn a_kubelets_certificate_may_name_another_host_but_must_be_the_clusters() {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await;
        let listener = listener.expect("a port");
        let url = format!("https://{}", listener.local_addr().expect("an address"));
        let server = tokio::spawn(serve(listener));
        let dir = tempfile::tempdir().expect("a folder");
        let token = dir.path().join("token");
        std::fs::write(&token, "abc").expect("a file");
        let fixture = |name: &str| {
            let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/../fixtures/kubernetes");
            Some(PathBuf::from(folder).join(name))
        };
        let access = Access {
            url: Some(url.clone()),
            kubelet: Some(url),
            ca_file: fixture("ca.pem"),
            token_file: Some(token),
            ..Access::default()
        };
        assert_eq!(
            ask(access.kubelet_client().await).await.as_deref(),
            Ok("let in")
        );
        assert!(
            ask(access.client().await).await.is_err(),
            "the API's name is checked"
        );
        for (change, is_good) in [
            (
                Access {
                    verify_name: Some(true),
                    ..access.clone()
                },
                false,
            ),
            (
                Access {
                    server_name: Some("node1".into()),
                    ..access.clone()
                },
                true,
            ),
            (
                Access {
                    server_name: Some("node2".into()),
                    ..access.clone()
                },
                false,
            ),
            // Another authority: the kubelet's own certificate is none.
            (
                Access {
                    ca_file: fixture("kubelet.pem"),
                    ..access.clone()
                },
                false,
            ),
            (
                Access {
                    ca_file: fixture("kubelet.pem"),
                    verify: false,
                    ..access.clone()
                },
                true,
            ),
        ] {
            let answer = ask(change.kubelet_client().await).await;
            assert_eq!(answer.is_ok(), is_good, "{change:?}: {answer:?}");
        }
        let any_name = Access {
            verify_name: Some(false),
            ..access
        };
        assert!(ask(any_name.client().await).await.is_ok());
        server.abort();
    }
}
