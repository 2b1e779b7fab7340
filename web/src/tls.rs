//! The section `tls_server_config` of the web configuration as rustls understands it.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use anyhow::{Context, bail, ensure};
use rustls::server::WebPkiClientVerifier;
use rustls::server::danger::ClientCertVerifier;
use rustls::{CipherSuite, RootCertStore, ServerConfig, SupportedProtocolVersion};
use rustls_pki_types::pem::PemObject;
use rustls_pki_types::{CertificateDer, PrivateKeyDer};
use serde::Deserialize;

use crate::watched::{Severity, Tell};

/// The section's own form.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(crate) struct Section {
    cert: String,
    key: String,
    client_ca: String,
    cert_file: PathBuf,
    key_file: PathBuf,
    client_auth_type: String,
    client_ca_file: PathBuf,
    cipher_suites: Vec<String>,
    curve_preferences: Vec<String>,
    min_version: String,
    max_version: String,
    /// The server's order always holds.
    #[serde(rename = "prefer_server_cipher_suites")]
    _prefer_server_cipher_suites: bool,
    client_allowed_sans: Vec<String>,
}

/// Names of curves and what they are to rustls; it has no P-521.
const CURVES: [(&str, rustls::NamedGroup); 4] = [
    ("CurveP256", rustls::NamedGroup::secp256r1),
    ("CurveP384", rustls::NamedGroup::secp384r1),
    ("CurveP521", rustls::NamedGroup::secp521r1),
    ("X25519", rustls::NamedGroup::X25519),
];

impl Section {
    /// Whether the section asks for TLS.
    pub fn is_enabled(&self) -> bool {
        let paths = [&self.cert_file, &self.key_file, &self.client_ca_file];
        let texts = [
            &self.cert,
            &self.key,
            &self.client_ca,
            &self.client_auth_type,
        ];
        paths.iter().any(|p| !p.as_os_str().is_empty()) || texts.iter().any(|t| !t.is_empty())
    }

    /// The files that the section names, as seen from the configuration's folder.
    pub fn files(&self, folder: &Path) -> Vec<PathBuf> {
        let paths = [&self.cert_file, &self.key_file, &self.client_ca_file];
        let named = paths.into_iter().filter(|p| !p.as_os_str().is_empty());
        named.map(|path| folder.join(path)).collect()
    }

    /// Reads the files.
    ///
    /// # Errors
    /// When one is missing or not what it should be, or a setting asks for what cannot be done.
    pub fn build(
        &self,
        folder: &Path,
        http2: bool,
        tell: Tell,
    ) -> anyhow::Result<Arc<ServerConfig>> {
        ensure!(
            !self.cert.is_empty() || !self.cert_file.as_os_str().is_empty(),
            "missing one of cert or cert_file"
        );
        ensure!(
            !self.key.is_empty() || !self.key_file.as_os_str().is_empty(),
            "missing one of key or key_file"
        );
        ensure!(
            self.client_allowed_sans.is_empty(),
            "client_allowed_sans is not supported: let client_ca_file name an authority that signs only these clients"
        );
        let provider = Arc::new(self.provider(tell)?);
        let builder = ServerConfig::builder_with_provider(provider.clone())
            .with_protocol_versions(&self.versions(tell)?)?;
        let builder = match self.verifier(folder, &provider)? {
            Some(verifier) => builder.with_client_cert_verifier(verifier),
            None => builder.with_no_client_auth(),
        };
        let chain = certificates(&text(&self.cert, &self.cert_file, folder)?)?;
        ensure!(
            !chain.is_empty(),
            "there is no certificate in cert or cert_file"
        );
        let key = text(&self.key, &self.key_file, folder)?;
        let key = PrivateKeyDer::from_pem_slice(key.as_bytes());
        let key = key.context("there is no private key in key or key_file")?;
        let mut config = builder
            .with_single_cert(chain, key)
            .context("certificate and key do not fit")?;
        if http2 {
            config.alpn_protocols.push(b"h2".to_vec());
        }
        config.alpn_protocols.push(b"http/1.1".to_vec());
        Ok(Arc::new(config))
    }

    fn provider(&self, tell: Tell) -> anyhow::Result<rustls::crypto::CryptoProvider> {
        let mut provider = rustls::crypto::ring::default_provider();
        if !self.cipher_suites.is_empty() {
            let is_wanted = |suite: CipherSuite| {
                let name = format!("{suite:?}");
                // As in Go, the suites of TLS 1.3 cannot be chosen.
                name.starts_with("TLS13_") || self.cipher_suites.contains(&name)
            };
            for name in &self.cipher_suites {
                let mut known = provider.cipher_suites.iter();
                if !known.any(|s| format!("{:?}", s.suite()).replace("TLS13_", "TLS_") == *name) {
                    tell(
                        Severity::Warn,
                        &format!("cipher_suites: {name} is not spoken"),
                    );
                }
            }
            provider
                .cipher_suites
                .retain(|suite| is_wanted(suite.suite()));
        }
        if !self.curve_preferences.is_empty() {
            let mut groups = Vec::new();
            for name in &self.curve_preferences {
                let known = CURVES.iter().find(|(curve, _)| curve == name);
                let (_, group) = known
                    .with_context(|| format!("curve_preferences: there is no curve '{name}'"))?;
                match provider.kx_groups.iter().find(|g| g.name() == *group) {
                    Some(group) => groups.push(*group),
                    None => tell(
                        Severity::Warn,
                        &format!("curve_preferences: {name} is not spoken"),
                    ),
                }
            }
            ensure!(!groups.is_empty(), "curve_preferences leave no curve");
            provider.kx_groups = groups;
        }
        Ok(provider)
    }

    fn versions(&self, tell: Tell) -> anyhow::Result<Vec<&'static SupportedProtocolVersion>> {
        let number = |key: &str, text: &str, default: u8| match text {
            "" => Ok(default),
            "TLS13" => Ok(3),
            "TLS12" => Ok(2),
            "TLS11" | "TLS10" => Ok(1),
            other => bail!("{key} is '{other}', but must be one of TLS10, TLS11, TLS12, TLS13"),
        };
        let min = number("min_version", &self.min_version, 2)?;
        let max = number("max_version", &self.max_version, 3)?;
        if min < 2 {
            tell(
                Severity::Warn,
                "min_version: the oldest version that is spoken is TLS12",
            );
        }
        let all = [(2, &rustls::version::TLS12), (3, &rustls::version::TLS13)];
        let spoken = all.into_iter().filter(|(n, _)| (min..=max).contains(n));
        let spoken: Vec<_> = spoken.map(|(_, version)| version).collect();
        ensure!(
            !spoken.is_empty(),
            "min_version and max_version leave no version"
        );
        Ok(spoken)
    }

    fn verifier(
        &self,
        folder: &Path,
        provider: &Arc<rustls::crypto::CryptoProvider>,
    ) -> anyhow::Result<Option<Arc<dyn ClientCertVerifier>>> {
        let has_authority =
            !self.client_ca.is_empty() || !self.client_ca_file.as_os_str().is_empty();
        let is_optional = match self.client_auth_type.as_str() {
            "" | "NoClientCert" => {
                ensure!(
                    !has_authority,
                    "client_ca has been configured without a client_auth_type"
                );
                return Ok(None);
            }
            // What a client shows would be looked at by nobody.
            "RequestClientCert" => return Ok(None),
            "VerifyClientCertIfGiven" => true,
            "RequireAndVerifyClientCert" => false,
            "RequireAnyClientCert" | "RequireClientCert" => bail!(
                "client_auth_type {} is not supported, because anybody can make a certificate: use RequireAndVerifyClientCert",
                self.client_auth_type
            ),
            other => bail!("there is no client_auth_type '{other}'"),
        };
        ensure!(
            has_authority,
            "client_auth_type {} needs client_ca_file",
            self.client_auth_type
        );
        let authorities = certificates(&text(&self.client_ca, &self.client_ca_file, folder)?)?;
        let mut roots = RootCertStore::empty();
        roots.add_parsable_certificates(authorities);
        ensure!(
            !roots.is_empty(),
            "there is no certificate in client_ca or client_ca_file"
        );
        let builder =
            WebPkiClientVerifier::builder_with_provider(Arc::new(roots), provider.clone());
        let builder = if is_optional {
            builder.allow_unauthenticated()
        } else {
            builder
        };
        Ok(Some(builder.build()?))
    }
}

/// The file's text where one is named, else the text that stands in the configuration.
fn text(inline: &str, path: &Path, folder: &Path) -> anyhow::Result<String> {
    if path.as_os_str().is_empty() {
        return Ok(inline.to_owned());
    }
    let path = folder.join(path);
    std::fs::read_to_string(&path).with_context(|| format!("failed to read {}", path.display()))
}

fn certificates(text: &str) -> anyhow::Result<Vec<CertificateDer<'static>>> {
    let all: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(text.as_bytes()).collect();
    all.context("a certificate cannot be read")
}
