//! TLS of a client as Prometheus's `tls_config` describes it.

use std::sync::Arc;

use kansoku_web::AnyCertificate;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::{ClientConfig, RootCertStore, SupportedProtocolVersion};

use super::config::{Pem, Tls};

/// The set-up.
///
/// # Errors
/// When a certificate or key cannot be used.
pub fn config(tls: &Tls) -> Result<ClientConfig, String> {
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let fail = |e: rustls::Error| format!("failed to set up TLS: {e}");
    let builder = ClientConfig::builder_with_provider(Arc::clone(&provider))
        .with_protocol_versions(&versions(tls))
        .map_err(fail)?;
    let builder = if tls.insecure_skip_verify {
        builder
            .dangerous()
            .with_custom_certificate_verifier(Arc::new(AnyCertificate::new(provider)))
    } else {
        builder.with_root_certificates(roots(tls)?)
    };
    match &tls.identity {
        None => Ok(builder.with_no_client_auth()),
        Some((certificate, private)) => {
            let key = key(private)?;
            let chain = certificates(certificate)?;
            let done = builder.with_client_auth_cert(chain, key);
            done.map_err(|e| unusable(certificate, &e))
        }
    }
}

fn versions(tls: &Tls) -> Vec<&'static SupportedProtocolVersion> {
    let (min, max) = (tls.min_version.unwrap_or(2), tls.max_version.unwrap_or(3));
    let all = [(2, &rustls::version::TLS12), (3, &rustls::version::TLS13)];
    let wanted = all.into_iter().filter(|(n, _)| (min..=max).contains(n));
    wanted.map(|(_, version)| version).collect()
}

fn roots(tls: &Tls) -> Result<RootCertStore, String> {
    let mut roots = RootCertStore::empty();
    match &tls.ca {
        Some(pem) => {
            let found = certificates(pem)?;
            if found.is_empty() {
                return Err(unusable(pem, &"it holds no certificate"));
            }
            for certificate in found {
                roots.add(certificate).map_err(|e| unusable(pem, &e))?;
            }
        }
        None => {
            let found = rustls_native_certs::load_native_certs();
            roots.add_parsable_certificates(found.certs);
        }
    }
    Ok(roots)
}

fn unusable(pem: &Pem, error: &dyn std::fmt::Display) -> String {
    match pem {
        Pem::File(path) => format!("failed to use {}: {error}", path.display()),
        Pem::Text(_) => format!("failed to use a certificate or key of tls_config: {error}"),
    }
}

fn certificates(pem: &Pem) -> Result<Vec<CertificateDer<'static>>, String> {
    let read: Result<Vec<_>, _> = match pem {
        Pem::File(path) => CertificateDer::pem_file_iter(path)
            .map_err(|e| unusable(pem, &e))?
            .collect(),
        Pem::Text(text) => CertificateDer::pem_slice_iter(text.read()?.as_bytes()).collect(),
    };
    read.map_err(|e| unusable(pem, &e))
}

fn key(pem: &Pem) -> Result<PrivateKeyDer<'static>, String> {
    let read = match pem {
        Pem::File(path) => PrivateKeyDer::from_pem_file(path),
        Pem::Text(text) => PrivateKeyDer::from_pem_slice(text.read()?.as_bytes()),
    };
    read.map_err(|e| unusable(pem, &e))
}
