//! How an input reaches the Kubernetes API: the options are the same for all.

use std::path::PathBuf;

use kansoku_model::{ConfigError, OptionKind, OptionSpec, Settings};

use crate::kubernetes::Access;

pub const KUBE_URL: OptionSpec = OptionSpec::new(
    "kube_url",
    OptionKind::Text,
    "",
    "address of the API; default the service account's cluster or the kubeconfig's",
);
pub const KUBE_CA_FILE: OptionSpec = OptionSpec::new(
    "kube_ca_file",
    OptionKind::Text,
    "",
    "certificates to trust (PEM)",
);
pub const KUBE_CA_PATH: OptionSpec = OptionSpec::new(
    "kube_ca_path",
    OptionKind::Text,
    "",
    "folder of certificates to trust (PEM)",
);
pub const KUBE_TOKEN_FILE: OptionSpec = OptionSpec::new(
    "kube_token_file",
    OptionKind::Text,
    "",
    "file with the token",
);
pub const TLS_VERIFY: OptionSpec = OptionSpec::new(
    "tls.verify",
    OptionKind::Bool,
    "on",
    "check the API's certificate",
);
pub const TLS_VHOST: OptionSpec = OptionSpec::new(
    "tls.vhost",
    OptionKind::Text,
    "",
    "name that the certificate must hold",
);

/// What the options say.
///
/// # Errors
/// When `tls.verify` is neither on nor off.
pub fn access(settings: &Settings) -> Result<Access, ConfigError> {
    let own = |key: &str| settings.get(key).map(|s| s.value.clone());
    Ok(Access {
        url: own(KUBE_URL.name),
        ca_file: own(KUBE_CA_FILE.name).map(PathBuf::from),
        ca_path: own(KUBE_CA_PATH.name).map(PathBuf::from),
        token_file: own(KUBE_TOKEN_FILE.name).map(PathBuf::from),
        verify: settings.bool(TLS_VERIFY.name, true)?,
        server_name: own(TLS_VHOST.name),
        ..Access::default()
    })
}
