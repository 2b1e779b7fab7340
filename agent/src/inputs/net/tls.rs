//! The server's side of TLS: certificate, key, and which clients are let in.

use std::path::Path;
use std::sync::Arc;

use kansoku_model::{ConfigError, OptionKind, OptionSpec, Settings};
use rustls::server::WebPkiClientVerifier;
use rustls::{RootCertStore, ServerConfig, SupportedProtocolVersion};
use rustls_pki_types::pem::PemObject;
use rustls_pki_types::{CertificateDer, PrivateKeyDer};
use tokio_rustls::TlsAcceptor;

const VERSIONS: &[&str] = &["TLSv1.2", "TLSv1.3"];

/// The TLS options of every input that listens.
pub const OPTIONS: &[OptionSpec] = &[
    OptionSpec::new("tls", OptionKind::Bool, "off", "serve TLS only"),
    OptionSpec::new(
        "tls.verify",
        OptionKind::Bool,
        "on",
        "of no meaning for a server but with tls.verify_client_cert",
    ),
    OptionSpec::new(
        "tls.verify_client_cert",
        OptionKind::Bool,
        "off",
        "take only clients with a certificate that tls.ca_file or tls.ca_path knows",
    ),
    OptionSpec::new(
        "tls.crt_file",
        OptionKind::Text,
        "",
        "certificate chain, PEM",
    ),
    OptionSpec::new(
        "tls.key_file",
        OptionKind::Text,
        "",
        "private key, PEM, not encrypted",
    ),
    OptionSpec::new(
        "tls.ca_file",
        OptionKind::Text,
        "",
        "authorities of client certificates, PEM",
    ),
    OptionSpec::new("tls.ca_path", OptionKind::Text, "", "folder of such files"),
    OptionSpec::new(
        "tls.min_version",
        OptionKind::Choice(VERSIONS),
        "TLSv1.2",
        "the oldest version that is spoken",
    ),
    OptionSpec::new(
        "tls.max_version",
        OptionKind::Choice(VERSIONS),
        "TLSv1.3",
        "the newest version that is spoken",
    ),
];

/// Reads certificate and key; `None` when `tls` is off. `alpn` are the protocols to agree on.
///
/// # Errors
/// When a file is missing or not what it should be.
pub fn acceptor(s: &Settings, alpn: &[&[u8]]) -> Result<Option<TlsAcceptor>, ConfigError> {
    if !s.bool("tls", false)? {
        return Ok(None);
    }
    let error = |key: &str, message: String| {
        let place = s.get(key).map_or(&s.place, |k| &k.place);
        ConfigError::new(place, message)
    };
    let (crt, key) = (s.required("tls.crt_file")?, s.required("tls.key_file")?);
    let chain = certificates(Path::new(crt)).map_err(|e| error("tls.crt_file", e))?;
    let key = PrivateKeyDer::from_pem_file(key).map_err(|e| {
        let what = format!(
            "failed to read a private key from {key}: {e}; an encrypted key must be decrypted first"
        );
        error("tls.key_file", what)
    })?;
    let versions = versions(s).ok_or_else(|| {
        let what = "'tls.max_version' is older than 'tls.min_version'";
        error("tls.max_version", what.to_owned())
    })?;
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let builder = ServerConfig::builder_with_provider(provider.clone())
        .with_protocol_versions(&versions)
        .map_err(|e| error("tls.min_version", e.to_string()))?;
    let builder = if s.bool("tls.verify_client_cert", false)? {
        if !s.bool("tls.verify", true)? {
            let what = "'tls.verify off' and 'tls.verify_client_cert on' contradict each other; remove one";
            return Err(error("tls.verify", what.to_owned()));
        }
        let roots = Arc::new(roots(s).map_err(|e| error("tls.ca_file", e))?);
        let verifier = WebPkiClientVerifier::builder_with_provider(roots, provider)
            .build()
            .map_err(|e| error("tls.ca_file", e.to_string()))?;
        builder.with_client_cert_verifier(verifier)
    } else {
        builder.with_no_client_auth()
    };
    let mut config = builder.with_single_cert(chain, key).map_err(|e| {
        error(
            "tls.key_file",
            format!("certificate and key do not fit: {e}"),
        )
    })?;
    config.alpn_protocols = alpn.iter().map(|p| p.to_vec()).collect();
    Ok(Some(TlsAcceptor::from(Arc::new(config))))
}

fn versions(s: &Settings) -> Option<Vec<&'static SupportedProtocolVersion>> {
    let number = |key: &str, default: &str| usize::from(s.text(key, default).ends_with('3'));
    let all = [&rustls::version::TLS12, &rustls::version::TLS13];
    let chosen = all.get(number("tls.min_version", "2")..=number("tls.max_version", "3"))?;
    (!chosen.is_empty()).then(|| chosen.to_vec())
}

fn certificates(path: &Path) -> Result<Vec<CertificateDer<'static>>, String> {
    let failed = |e| format!("failed to read a certificate from {}: {e}", path.display());
    let all: Result<Vec<_>, _> = CertificateDer::pem_file_iter(path)
        .map_err(failed)?
        .collect();
    let all = all.map_err(failed)?;
    if all.is_empty() {
        return Err(format!("there is no certificate in {}", path.display()));
    }
    Ok(all)
}

fn roots(s: &Settings) -> Result<RootCertStore, String> {
    let mut files: Vec<_> = s
        .get("tls.ca_file")
        .map(|k| k.value.clone().into())
        .into_iter()
        .collect();
    if let Some(folder) = s.get("tls.ca_path") {
        let failed = |e| format!("failed to list {}: {e}", folder.value);
        for entry in std::fs::read_dir(&folder.value).map_err(failed)? {
            files.push(entry.map_err(failed)?.path());
        }
    }
    let mut roots = RootCertStore::empty();
    for file in files {
        roots.add_parsable_certificates(certificates(&file)?);
    }
    if roots.is_empty() {
        return Err(
            "'tls.verify_client_cert' needs authorities in 'tls.ca_file' or 'tls.ca_path'".into(),
        );
    }
    Ok(roots)
}
