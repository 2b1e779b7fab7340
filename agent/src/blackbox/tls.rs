//! TLS of probes: how to connect, and what the connection says of itself.

use std::sync::Arc;

use kansoku_model::Place;
use kansoku_model::Settings;
use kansoku_model::plugin::Setting;
use kansoku_outputs::net::Io;
use kansoku_parsers::wire::certificate::{self, Certificate};
use ring::digest::{SHA256, digest};
use rustls::{ClientConfig, ProtocolVersion};
use rustls_pki_types::pem::PemObject;
use rustls_pki_types::{CertificateDer, ServerName};
use tokio_rustls::TlsConnector;

use super::report::Report;

/// What Go shows for a time that was never set.
const NEVER: f64 = -62_135_596_800.0;
/// The longest chain that is followed.
const MAX_CHAIN: usize = 10;

/// A `tls_config`.
#[derive(Debug, Default)]
pub struct Tls {
    pub place: Place,
    pub ca_file: Option<String>,
    pub certificate_file: Option<String>,
    pub key_file: Option<String>,
    pub server_name: Option<String>,
    pub verifies: bool,
    pub min_version: Option<String>,
    pub max_version: Option<String>,
    /// Made when it is needed first, because the system's certificates are many.
    pub(super) made: std::sync::OnceLock<Result<Arc<ClientConfig>, String>>,
}

/// What a connection says of itself.
#[derive(Debug, Clone)]
pub struct Facts {
    version: &'static str,
    cipher: String,
    certificates: Vec<Vec<u8>>,
    pub is_h2: bool,
}

impl Tls {
    /// A client that offers these protocols.
    ///
    /// # Errors
    /// When a file cannot be used.
    pub fn client(&self, alpn: &[&[u8]]) -> Result<Arc<ClientConfig>, String> {
        let made = self.made.get_or_init(|| {
            let config = kansoku_outputs::tls::config(&self.settings());
            config.map(Arc::new).map_err(|e| e.message)
        });
        let config = made.clone()?;
        if alpn.is_empty() {
            return Ok(config);
        }
        let mut own = (*config).clone();
        own.alpn_protocols = alpn.iter().map(|p| p.to_vec()).collect();
        Ok(Arc::new(own))
    }

    fn settings(&self) -> Settings {
        let pairs = [
            ("tls.verify", (!self.verifies).then(|| "off".to_owned())),
            ("tls.ca_file", self.ca_file.clone()),
            ("tls.crt_file", self.certificate_file.clone()),
            ("tls.key_file", self.key_file.clone()),
            ("tls.min_version", self.min_version.clone()),
            ("tls.max_version", self.max_version.clone()),
        ];
        let settings = pairs.into_iter().filter_map(|(key, value)| {
            Some(Setting {
                key: key.to_owned(),
                value: value?,
                place: self.place.clone(),
            })
        });
        Settings {
            plugin: "blackbox".to_owned(),
            place: self.place.clone(),
            settings: settings.collect(),
        }
    }

    /// Encrypts a connection to `host`, unless another name is configured.
    ///
    /// # Errors
    /// Why it cannot be.
    pub async fn connect(
        &self,
        io: Box<dyn Io>,
        host: &str,
        alpn: &[&[u8]],
    ) -> Result<(Box<dyn Io>, Facts), String> {
        let name = self.server_name.as_deref().unwrap_or(host);
        let name = ServerName::try_from(name.to_owned())
            .map_err(|_| format!("'{name}' is no name that a certificate can hold"))?;
        let connector = TlsConnector::from(self.client(alpn)?);
        let stream = connector.connect(name, io).await;
        let stream = stream.map_err(|e| format!("TLS handshake failed: {e}"))?;
        let (_, connection) = stream.get_ref();
        let facts = Facts {
            version: match connection.protocol_version() {
                Some(ProtocolVersion::TLSv1_2) => "TLS 1.2",
                Some(ProtocolVersion::TLSv1_3) => "TLS 1.3",
                _ => "unknown",
            },
            cipher: connection
                .negotiated_cipher_suite()
                .map_or_else(String::new, |suite| {
                    format!("{:?}", suite.suite()).replacen("TLS13_", "TLS_", 1)
                }),
            certificates: connection
                .peer_certificates()
                .into_iter()
                .flatten()
                .map(|der| der.to_vec())
                .collect(),
            is_h2: connection.alpn_protocol() == Some(b"h2"),
        };
        Ok((Box::new(stream), facts))
    }

    /// Adds the series of a connection.
    pub fn report(&self, facts: &Facts, with_cipher: bool, with_chain: bool, report: &mut Report) {
        let read = |der: &Vec<u8>| certificate::parse(der);
        let chain: Vec<Certificate> = facts.certificates.iter().filter_map(read).collect();
        let Some(leaf) = chain.first() else {
            report.say("the server's certificate cannot be read");
            return;
        };
        let earliest = chain.iter().map(|c| c.not_after).min().unwrap_or_default();
        report.set("probe_ssl_earliest_cert_expiry", earliest as f64);
        report.set_with("probe_tls_version_info", &[("version", facts.version)], 1.0);
        if with_cipher {
            report.set_with(
                "probe_tls_cipher_info",
                &[("cipher", facts.cipher.as_str())],
                1.0,
            );
        }
        if with_chain {
            let end = self.verifies.then(|| self.chain_end(&chain) as f64);
            report.set(
                "probe_ssl_last_chain_expiry_timestamp_seconds",
                end.unwrap_or(NEVER),
            );
        }
        let sum = digest(&SHA256, &facts.certificates[0]);
        let fingerprint: String = sum.as_ref().iter().map(|b| format!("{b:02x}")).collect();
        let dns_names = leaf.dns_names.join(",");
        let labels = [
            ("fingerprint_sha256", fingerprint.as_str()),
            ("subject", leaf.subject.as_str()),
            ("issuer", leaf.issuer.as_str()),
            ("subjectalternative", dns_names.as_str()),
            ("serialnumber", leaf.serial.as_str()),
        ];
        report.set_with("probe_ssl_last_chain_info", &labels, 1.0);
    }

    /// The earliest end among the certificates from the server's to a trusted one. Of the system's own
    /// certificates only what the server sends is seen.
    fn chain_end(&self, sent: &[Certificate]) -> i64 {
        let mut trusted = Vec::new();
        if let Some(file) = &self.ca_file
            && let Ok(found) = CertificateDer::pem_file_iter(file)
        {
            trusted.extend(found.flatten().filter_map(|der| certificate::parse(&der)));
        }
        let mut at = &sent[0];
        let mut end = at.not_after;
        for _ in 0..MAX_CHAIN {
            if at.issuer_der == at.subject_der {
                break;
            }
            let is_issuer = |c: &&Certificate| c.subject_der == at.issuer_der;
            let Some(issuer) = trusted
                .iter()
                .find(is_issuer)
                .or(sent.iter().find(is_issuer))
            else {
                break;
            };
            end = end.min(issuer.not_after);
            at = issuer;
        }
        end
    }
}
