//! The server's side of TLS: certificate, key, and which clients are let in.

use std::path::Path;
use std::sync::Arc;

use kansoku_model::{ConfigError, OptionKind, OptionSpec, Settings};
use rustls::server::WebPkiClientVerifier;
use rustls::{RootCertStore, ServerConfig, SupportedProtocolVersion};
use rustls_pki_types::pem::PemObject;
use rustls_pki_types::{CertificateDer, PrivateKeyDer};
use tokio_rustls::TlsAcceptor;

use crate::plugin::Environment;

/// What Fluent Bit reads; before TLSv1.2 nothing is spoken.
const VERSIONS: &[&str] = &["SSLv2", "SSLv3", "TLSv1", "TLSv1.1", "TLSv1.2", "TLSv1.3"];
/// What only a client can do, or what rustls has no need of: real configurations carry it.
const NO_EFFECT: &[(&str, &str)] = &[
    ("tls.ciphers", "only safe ciphers are spoken"),
    ("tls.debug", "failed handshakes are always told"),
    ("tls.vhost", "a server does not ask for a host name"),
    ("tls.verify_hostname", "clients have no host name to check"),
    ("tls.proxy.ca_file", "no proxy is called"),
    ("tls.proxy.ca_path", "no proxy is called"),
    ("tls.proxy.verify", "no proxy is called"),
    ("tls.proxy.verify_hostname", "no proxy is called"),
];

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
    OptionSpec::new(
        "tls.key_passwd",
        OptionKind::Text,
        "",
        "not needed: a key has to be stored decrypted, and an encrypted one is refused",
    ),
    OptionSpec::new(
        "tls.ciphers",
        OptionKind::Text,
        "",
        "no effect: only safe ciphers are spoken",
    ),
    OptionSpec::new("tls.debug", OptionKind::Int, "", "no effect"),
    OptionSpec::new("tls.vhost", OptionKind::Text, "", "no effect on a server"),
    OptionSpec::new(
        "tls.verify_hostname",
        OptionKind::Bool,
        "",
        "no effect on a server",
    ),
    OptionSpec::new("tls.proxy.ca_file", OptionKind::Text, "", NO_PROXY),
    OptionSpec::new("tls.proxy.ca_path", OptionKind::Text, "", NO_PROXY),
    OptionSpec::new("tls.proxy.verify", OptionKind::Bool, "", NO_PROXY),
    OptionSpec::new("tls.proxy.verify_hostname", OptionKind::Bool, "", NO_PROXY),
];
const NO_PROXY: &str = "no effect: an input that listens calls no proxy";

/// Reads certificate and key; `None` when `tls` is off. `alpn` are the protocols to agree on.
///
/// # Errors
/// When a file is missing or not what it should be.
pub fn acceptor(
    s: &Settings,
    environment: &Environment,
    alpn: &[&[u8]],
) -> Result<Option<TlsAcceptor>, ConfigError> {
    for (key, why) in NO_EFFECT {
        if let Some(k) = s.get(key) {
            environment.warn(&k.place, format!("'{key}' has no effect: {why}"));
        }
    }
    if !s.bool("tls", false)? {
        return Ok(None);
    }
    let error = |key: &str, message: String| {
        let place = s.get(key).map_or(&s.place, |k| &k.place);
        ConfigError::new(place, message)
    };
    let (crt, key) = (s.required("tls.crt_file")?, s.required("tls.key_file")?);
    let chain = certificates(Path::new(crt)).map_err(|e| error("tls.crt_file", e))?;
    let key = private_key(key).map_err(|e| error("tls.key_file", e))?;
    if let Some(k) = s.get("tls.key_passwd") {
        environment.warn(
            &k.place,
            "'tls.key_passwd' is not needed: the key is not encrypted",
        );
    }
    let versions = versions(s, environment).ok_or_else(|| {
        let what = "'tls.min_version' and 'tls.max_version' leave no version; TLSv1.2 and TLSv1.3 are spoken";
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

fn private_key(path: &str) -> Result<PrivateKeyDer<'static>, String> {
    PrivateKeyDer::from_pem_file(path).map_err(|e| {
        let text = std::fs::read_to_string(path).unwrap_or_default();
        if text.contains("ENCRYPTED") {
            format!(
                "the key in {path} is encrypted, which is not supported; store it decrypted (openssl pkey -in {path} -out PLAIN) in a file that only the agent may read, and remove 'tls.key_passwd'"
            )
        } else {
            format!("failed to read a private key from {path}: {e}")
        }
    })
}

/// `None` when none is left.
fn versions(
    s: &Settings,
    environment: &Environment,
) -> Option<Vec<&'static SupportedProtocolVersion>> {
    if let Some(k) = s.get("tls.min_version")
        && number(&k.value) < 2
    {
        let message = "versions before TLSv1.2 are broken and never spoken: the oldest is TLSv1.2";
        environment.warn(&k.place, message);
    }
    let min = number(s.text("tls.min_version", "TLSv1.2")).max(2);
    let max = number(s.text("tls.max_version", "TLSv1.3"));
    let all = [&rustls::version::TLS12, &rustls::version::TLS13];
    (min <= max).then(|| all[min - 2..=max - 2].to_vec())
}

/// The last part of a version's number; what is older than TLSv1.2 is 1.
fn number(version: &str) -> usize {
    match version.to_ascii_lowercase().as_str() {
        "tlsv1.3" => 3,
        "tlsv1.2" => 2,
        _ => 1,
    }
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_real_configurations_carry_is_taken_with_a_word() {
        let environment = Environment::default();
        let pairs = [
            ("tls.ciphers", "HIGH"),
            ("tls.vhost", "logs.example"),
            ("tls.debug", "1"),
            ("tls.proxy.verify", "off"),
        ];
        let s = Settings::of("tcp", &pairs);
        s.check(OPTIONS).expect("all are known");
        assert!(acceptor(&s, &environment, &[]).expect("off").is_none());
        assert_eq!(environment.warnings.take().len(), pairs.len());
    }

    #[test]
    fn versions_are_those_that_are_spoken() {
        let environment = Environment::default();
        for (min, max, n) in [
            ("TLSv1.1", "TLSv1.3", 2),
            ("TLSv1.3", "TLSv1.3", 1),
            ("tlsv1.2", "TLSv1.2", 1),
            ("TLSv1.3", "TLSv1.2", 0),
            ("TLSv1", "TLSv1.1", 0),
        ] {
            let s = Settings::of("tcp", &[("tls.min_version", min), ("tls.max_version", max)]);
            s.check(OPTIONS).expect("known");
            let found = versions(&s, &environment).unwrap_or_default();
            assert_eq!(found.len(), n, "{min} {max}");
        }
        assert_eq!(environment.warnings.take().len(), 2);
    }

    #[test]
    fn an_encrypted_key_is_named_as_such() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("key.pem");
        let pem =
            "-----BEGIN ENCRYPTED PRIVATE KEY-----\nMIIB\n-----END ENCRYPTED PRIVATE KEY-----\n";
        std::fs::write(&path, pem).expect("written");
        let error = private_key(path.to_str().expect("UTF-8")).expect_err("encrypted");
        assert!(
            error.contains("is encrypted") && error.contains("openssl pkey"),
            "{error}"
        );
        let error = private_key("/none").expect_err("missing");
        assert!(
            error.starts_with("failed to read a private key from /none"),
            "{error}"
        );
    }
}
