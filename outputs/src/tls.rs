//! TLS towards a destination: which certificates are trusted, which one is shown, which versions.
//!
//! With `tls.verify on` both the chain and the host name are checked. Fluent Bit leaves the name
//! unchecked unless `tls.verify_hostname` is on; whoever wants that has to say so here.

use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError};

use kansoku_model::plugin::Setting;
use kansoku_model::{ConfigError, OptionKind, OptionSpec, Settings};
use kansoku_web::{AnyCertificate, WatchedFiles};
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::client::{VerifierBuilderError, WebPkiServerVerifier};
use rustls::crypto::CryptoProvider;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName, UnixTime};
use rustls::server::ParsedCertificate;
use rustls::{CertificateError, ClientConfig, RootCertStore, SupportedProtocolVersion};

use crate::OutputEnvironment;

/// The options of TLS.
pub const OPTIONS: &[OptionSpec] = &[
    OptionSpec::new("tls", OptionKind::Bool, "off", "encrypt the connection"),
    OptionSpec::new(
        "tls.verify",
        OptionKind::Bool,
        "on",
        "check the server's certificate",
    ),
    OptionSpec::new(
        "tls.verify_hostname",
        OptionKind::Bool,
        "on",
        "check that the certificate is for this host (off in Fluent Bit)",
    ),
    OptionSpec::new(
        "tls.ca_file",
        OptionKind::Text,
        "",
        "certificates to trust instead of the system's (PEM)",
    ),
    OptionSpec::new(
        "tls.ca_path",
        OptionKind::Text,
        "",
        "folder of certificates to trust instead of the system's",
    ),
    OptionSpec::new(
        "tls.crt_file",
        OptionKind::Text,
        "",
        "certificate to show to the server (PEM)",
    ),
    OptionSpec::new(
        "tls.key_file",
        OptionKind::Text,
        "",
        "private key of that certificate (PEM)",
    ),
    OptionSpec::new(
        "tls.key_passwd",
        OptionKind::Text,
        "",
        "refused: a key has to be stored decrypted",
    ),
    OptionSpec::new(
        "tls.vhost",
        OptionKind::Text,
        "",
        "host name to ask for and to check instead of 'host'",
    ),
    OptionSpec::new(
        "tls.min_version",
        OptionKind::Text,
        "",
        "oldest version to speak: TLSv1.2 or TLSv1.3",
    ),
    OptionSpec::new(
        "tls.max_version",
        OptionKind::Text,
        "",
        "newest version to speak: TLSv1.2 or TLSv1.3",
    ),
    OptionSpec::new(
        "tls.ciphers",
        OptionKind::Text,
        "",
        "no effect: only safe ciphers are spoken",
    ),
    OptionSpec::new("tls.debug", OptionKind::Int, "", "no effect"),
    OptionSpec::new(
        "tls.proxy.verify",
        OptionKind::Bool,
        "on",
        "check the certificate of an https proxy",
    ),
    OptionSpec::new(
        "tls.proxy.verify_hostname",
        OptionKind::Bool,
        "on",
        "check the name in the certificate of an https proxy",
    ),
    OptionSpec::new(
        "tls.proxy.ca_file",
        OptionKind::Text,
        "",
        "certificates to trust for an https proxy (PEM)",
    ),
    OptionSpec::new(
        "tls.proxy.ca_path",
        OptionKind::Text,
        "",
        "folder of certificates to trust for an https proxy",
    ),
];

/// The most files of a `tls.ca_path` folder that are read.
const CA_PATH_MAX_FILES: usize = 4096;

/// The TLS set-up of a destination, `None` when `tls` is off.
///
/// # Errors
/// When a certificate or key cannot be used.
pub fn client_config(
    settings: &Settings,
    environment: &OutputEnvironment,
    alpn: &[&[u8]],
) -> Result<Option<Arc<ClientConfig>>, ConfigError> {
    for key in ["tls.ciphers", "tls.debug"] {
        if let Some(s) = settings.get(key) {
            environment.warn(&s.place, format!("'{key}' has no effect"));
        }
    }
    if let (Some(s), Some(1)) = (
        settings.get("tls.min_version"),
        version(settings, "tls.min_version")?,
    ) {
        let message = "versions before TLSv1.2 are broken and never spoken: the oldest is TLSv1.2";
        environment.warn(&s.place, message);
    }
    if !settings.bool("tls", false)? {
        // Files are checked even while tls is off: a wrong path should not wait for its day.
        identity(settings)?;
        versions(settings)?;
        Trust::of(settings)?.named_roots(&mut Vec::new())?;
        return Ok(None);
    }
    let mut config = config(settings)?;
    config.alpn_protocols = alpn.iter().map(|p| p.to_vec()).collect();
    Ok(Some(Arc::new(config)))
}

/// A TLS set-up whose files are read again when they have changed: certificates are renewed while the agent
/// runs. Connections that are open stay; what cannot be read leaves the set-up as it was.
pub struct Reread {
    /// The options of TLS.
    settings: Settings,
    alpn: Vec<Vec<u8>>,
    /// Held while the files are looked at.
    state: Mutex<State>,
}

struct State {
    files: WatchedFiles,
    config: Arc<ClientConfig>,
    /// Why the files of now were not taken.
    trouble: Option<String>,
}

impl Reread {
    /// A set-up that was made of these settings.
    #[must_use]
    pub fn new(config: Arc<ClientConfig>, settings: &Settings, alpn: &[&[u8]]) -> Self {
        let mut own = settings.clone();
        own.settings.retain(|s| s.key.starts_with("tls."));
        let keys = ["tls.ca_file", "tls.crt_file", "tls.key_file"];
        let paths = keys.into_iter().filter_map(|key| own.get(key));
        let files = WatchedFiles::of(paths.map(|s| s.value.clone().into()));
        Self {
            settings: own,
            alpn: alpn.iter().map(|p| p.to_vec()).collect(),
            state: Mutex::new(State {
                files,
                config,
                trouble: None,
            }),
        }
    }

    /// What holds now, and why it is not what the files say if it is not.
    pub fn current(&self) -> (Arc<ClientConfig>, Option<String>) {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        if state.files.changed() {
            state.trouble = match config(&self.settings) {
                Ok(mut config) => {
                    config.alpn_protocols.clone_from(&self.alpn);
                    state.config = Arc::new(config);
                    None
                }
                Err(error) => Some(error.message),
            };
        }
        (Arc::clone(&state.config), state.trouble.clone())
    }
}

/// The TLS set-up that the options describe, whatever `tls` says.
///
/// # Errors
/// When a certificate or key cannot be used.
pub fn config(settings: &Settings) -> Result<ClientConfig, ConfigError> {
    let identity = identity(settings)?;
    Trust::of(settings)?.config(settings, &versions(settings)?, identity)
}

/// The TLS set-up towards an https proxy.
///
/// # Errors
/// When a certificate cannot be used.
pub fn proxy_config(settings: &Settings) -> Result<Arc<ClientConfig>, ConfigError> {
    let trust = Trust {
        verify: settings.bool("tls.proxy.verify", true)?,
        verify_name: settings.bool("tls.proxy.verify_hostname", true)?,
        ca_file: settings.get("tls.proxy.ca_file"),
        ca_path: settings.get("tls.proxy.ca_path"),
    };
    let config = trust.config(settings, rustls::DEFAULT_VERSIONS, None)?;
    Ok(Arc::new(config))
}

const ENCRYPTED_KEY: &str = "'tls.key_file' is encrypted, which is not supported; store it decrypted \
     (openssl pkey -in KEY -out PLAIN) in a file that only the agent may read, and remove 'tls.key_passwd'";

type Identity = (Vec<CertificateDer<'static>>, PrivateKeyDer<'static>);

fn identity(settings: &Settings) -> Result<Option<Identity>, ConfigError> {
    let key_text = settings
        .get("tls.key_file")
        .and_then(|s| std::fs::read_to_string(&s.value).ok());
    if let Some(s) = settings.get("tls.key_passwd")
        && key_text.is_none_or(|text| text.contains("ENCRYPTED"))
    {
        return Err(ConfigError::new(&s.place, ENCRYPTED_KEY));
    }
    let (certificate, key) = match (settings.get("tls.crt_file"), settings.get("tls.key_file")) {
        (None, None) => return Ok(None),
        (Some(c), Some(k)) => (c, k),
        (Some(s), None) => {
            return Err(ConfigError::new(
                &s.place,
                "'tls.crt_file' needs 'tls.key_file', which is not set",
            ));
        }
        (None, Some(s)) => {
            return Err(ConfigError::new(
                &s.place,
                "'tls.key_file' needs 'tls.crt_file', which is not set",
            ));
        }
    };
    let chain = certificates(&certificate.value).map_err(|e| unreadable(certificate, &e))?;
    let key_der = PrivateKeyDer::from_pem_file(&key.value).map_err(|e| {
        let text = std::fs::read_to_string(&key.value).unwrap_or_default();
        if text.contains("ENCRYPTED") {
            ConfigError::new(&key.place, ENCRYPTED_KEY)
        } else {
            ConfigError::new(
                &key.place,
                format!("cannot read a private key from '{}': {e}", key.value),
            )
        }
    })?;
    Ok(Some((chain, key_der)))
}

fn unreadable(setting: &Setting, error: &str) -> ConfigError {
    ConfigError::new(
        &setting.place,
        format!("cannot read certificates from '{}': {error}", setting.value),
    )
}

fn certificates(path: &str) -> Result<Vec<CertificateDer<'static>>, String> {
    let found: Result<Vec<_>, _> = CertificateDer::pem_file_iter(path)
        .map_err(|e| e.to_string())?
        .collect();
    match found {
        Ok(found) if found.is_empty() => Err("no certificate in it".into()),
        Ok(found) => Ok(found),
        Err(e) => Err(e.to_string()),
    }
}

/// The last part of the version number; 1 stands for everything before TLSv1.2.
fn version(settings: &Settings, key: &str) -> Result<Option<u8>, ConfigError> {
    let Some(s) = settings.get(key) else {
        return Ok(None);
    };
    let word = s.value.to_ascii_lowercase();
    match word.trim_start_matches("tlsv").trim_start_matches("tls") {
        "1.3" => Ok(Some(3)),
        "1.2" => Ok(Some(2)),
        "1" | "1.0" | "1.1" | "sslv2" | "sslv3" => Ok(Some(1)),
        _ => Err(ConfigError::new(
            &s.place,
            format!("'{key}' is '{}', but must be TLSv1.2 or TLSv1.3", s.value),
        )),
    }
}

fn versions(settings: &Settings) -> Result<Vec<&'static SupportedProtocolVersion>, ConfigError> {
    let min = version(settings, "tls.min_version")?.unwrap_or(2).max(2);
    let max = version(settings, "tls.max_version")?.unwrap_or(3);
    if max < min {
        let place = settings
            .get("tls.max_version")
            .map_or(&settings.place, |s| &s.place);
        return Err(ConfigError::new(
            place,
            "'tls.max_version' leaves no version; TLSv1.2 and TLSv1.3 are spoken",
        ));
    }
    Ok((min..=max)
        .map(|n| match n {
            2 => &rustls::version::TLS12,
            _ => &rustls::version::TLS13,
        })
        .collect())
}

struct Trust<'a> {
    verify: bool,
    verify_name: bool,
    ca_file: Option<&'a Setting>,
    ca_path: Option<&'a Setting>,
}

impl<'a> Trust<'a> {
    fn of(settings: &'a Settings) -> Result<Self, ConfigError> {
        Ok(Self {
            verify: settings.bool("tls.verify", true)?,
            verify_name: settings.bool("tls.verify_hostname", true)?,
            ca_file: settings.get("tls.ca_file"),
            ca_path: settings.get("tls.ca_path"),
        })
    }

    fn config(
        &self,
        settings: &Settings,
        versions: &[&'static SupportedProtocolVersion],
        identity: Option<Identity>,
    ) -> Result<ClientConfig, ConfigError> {
        let fail = |e: rustls::Error| {
            let place = settings
                .get("tls.crt_file")
                .map_or(&settings.place, |s| &s.place);
            ConfigError::new(place, format!("TLS cannot be set up: {e}"))
        };
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let builder = ClientConfig::builder_with_provider(provider.clone())
            .with_protocol_versions(versions)
            .map_err(fail)?
            .dangerous()
            .with_custom_certificate_verifier(self.verifier(settings, &provider)?);
        match identity {
            None => Ok(builder.with_no_client_auth()),
            Some((chain, key)) => builder.with_client_auth_cert(chain, key).map_err(fail),
        }
    }

    fn verifier(
        &self,
        settings: &Settings,
        provider: &Arc<CryptoProvider>,
    ) -> Result<Arc<dyn ServerCertVerifier>, ConfigError> {
        if !self.verify {
            // The connection is private but may end anywhere. The user asked for it.
            return Ok(Arc::new(AnyCertificate::new(provider.clone())));
        }
        let mut named = Vec::new();
        let roots = match self.named_roots(&mut named)? {
            Some(roots) => roots,
            None => system_roots(settings)?,
        };
        let checks = WebPkiServerVerifier::builder_with_provider(Arc::new(roots), provider.clone())
            .build()
            .map_err(|e| ConfigError::new(&settings.place, format!("no trust anchors: {e}")))?;
        Ok(Arc::new(Verifier {
            checks,
            named,
            any_name: !self.verify_name,
        }))
    }

    /// What `ca_file` and `ca_path` hold, also as it stands there; `None` when neither is set.
    fn named_roots(
        &self,
        named: &mut Vec<CertificateDer<'static>>,
    ) -> Result<Option<RootCertStore>, ConfigError> {
        if self.ca_file.is_none() && self.ca_path.is_none() {
            return Ok(None);
        }
        let mut roots = RootCertStore::empty();
        if let Some(s) = self.ca_file {
            for certificate in certificates(&s.value).map_err(|e| unreadable(s, &e))? {
                named.push(certificate.clone());
                roots
                    .add(certificate)
                    .map_err(|e| unreadable(s, &e.to_string()))?;
            }
        }
        if let Some(s) = self.ca_path {
            let before = roots.len();
            let folder = std::fs::read_dir(Path::new(&s.value))
                .map_err(|e| unreadable(s, &e.to_string()))?;
            for entry in folder.take(CA_PATH_MAX_FILES).flatten() {
                // Such folders hold other files too; each good certificate counts.
                let found = certificates(&entry.path().to_string_lossy()).unwrap_or_default();
                named.extend(found.iter().cloned());
                roots.add_parsable_certificates(found);
            }
            if roots.len() == before {
                return Err(unreadable(s, "no certificate in any file of it"));
            }
        }
        Ok(Some(roots))
    }
}

fn system_roots(settings: &Settings) -> Result<RootCertStore, ConfigError> {
    let found = rustls_native_certs::load_native_certs();
    let mut roots = RootCertStore::empty();
    roots.add_parsable_certificates(found.certs);
    if roots.is_empty() {
        let why = found
            .errors
            .first()
            .map_or_else(|| "none found".to_owned(), ToString::to_string);
        let message = format!("cannot read the system's certificates: {why}; set 'tls.ca_file'");
        return Err(ConfigError::new(&settings.place, message));
    }
    Ok(roots)
}

/// A verifier for which the chain to one of the roots has to be good and the name may be any.
///
/// # Errors
/// When there are no roots.
pub fn any_name(roots: RootCertStore) -> Result<Arc<dyn ServerCertVerifier>, VerifierBuilderError> {
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let checks = WebPkiServerVerifier::builder_with_provider(Arc::new(roots), provider).build()?;
    Ok(Arc::new(Verifier {
        checks,
        named: Vec::new(),
        any_name: true,
    }))
}

/// The chain has to be good, and the name as well unless `tls.verify_hostname` is off.
///
/// A certificate that signed itself and stands in `tls.ca_file` is good as it is, as with OpenSSL:
/// the checks alone would refuse it, since it says of itself that it is an authority.
#[derive(Debug)]
struct Verifier {
    checks: Arc<WebPkiServerVerifier>,
    /// The certificates of `tls.ca_file` and `tls.ca_path`.
    named: Vec<CertificateDer<'static>>,
    any_name: bool,
}

impl ServerCertVerifier for Verifier {
    fn verify_server_cert(
        &self,
        certificate: &CertificateDer<'_>,
        chain: &[CertificateDer<'_>],
        name: &ServerName<'_>,
        ocsp: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        let mut checked = self
            .checks
            .verify_server_cert(certificate, chain, name, ocsp, now)
            .map(|_| ());
        if let Err(rustls::Error::InvalidCertificate(error)) = &checked
            && is_authority(error)
            && self.named.contains(certificate)
        {
            // Its time was looked at before.
            let parsed = ParsedCertificate::try_from(certificate)?;
            checked = rustls::client::verify_server_name(&parsed, name);
        }
        match checked {
            // The name is looked at last: everything else was found good.
            Err(rustls::Error::InvalidCertificate(
                CertificateError::NotValidForName | CertificateError::NotValidForNameContext { .. },
            )) if self.any_name => {}
            other => other?,
        }
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &rustls::DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        self.checks
            .verify_tls12_signature(message, certificate, signature)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &rustls::DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        self.checks
            .verify_tls13_signature(message, certificate, signature)
    }

    fn supported_verify_schemes(&self) -> Vec<rustls::SignatureScheme> {
        self.checks.supported_verify_schemes()
    }
}

/// Whether a server was refused because its certificate is that of an authority.
fn is_authority(error: &CertificateError) -> bool {
    // The error behind it belongs to a crate that is not ours to name.
    matches!(error, CertificateError::Other(other) if format!("{other:?}").contains("CaUsedAsEndEntity"))
}

#[cfg(test)]
mod tests {
    use super::*;

    const FIXTURES: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../fixtures/tls");

    /// Whether a server that signed itself is taken for `name` when `ca_file` is trusted.
    fn is_taken(ca_file: &str, verify_name: &str, name: &'static str) -> bool {
        let path = format!("{FIXTURES}/{ca_file}");
        let settings = Settings::of(
            "http",
            &[("tls.ca_file", &path), ("tls.verify_hostname", verify_name)],
        );
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let trust = Trust::of(&settings).expect("valid");
        let verifier = trust.verifier(&settings, &provider).expect("valid");
        let shown = certificates(&format!("{FIXTURES}/self-signed.pem")).expect("readable");
        let name = ServerName::try_from(name).expect("a name");
        let now = UnixTime::since_unix_epoch(std::time::Duration::from_secs(1_800_000_000));
        let result = verifier.verify_server_cert(&shown[0], &[], &name, &[], now);
        result.is_ok()
    }

    #[test]
    fn a_server_that_signed_itself_is_good_when_it_is_named() {
        assert!(is_taken("self-signed.pem", "on", "localhost"));
        assert!(!is_taken("self-signed.pem", "on", "example.com"));
        assert!(is_taken("self-signed.pem", "off", "example.com"));
        assert!(!is_taken("other.pem", "on", "localhost"));
        assert!(!is_taken("other.pem", "off", "localhost"));
    }
}
