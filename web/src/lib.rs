//! How the programs know whom they talk with: the file of `--web.config.file` (TLS, passwords, headers, a
//! limit on requests) in the form of Prometheus' exporter-toolkit, the tokens of an issuer, certificates.
//!
//! Not here: sockets and requests. The one rule: a file is read again when it has changed, and a
//! mistake in it leaves what held before.
#![forbid(unsafe_code)]

mod any_certificate;
mod config;
mod duration;
pub mod jwt;
mod passwords;
mod rate_limit;
mod tls;
mod watched;

pub use any_certificate::AnyCertificate;
pub use config::{WebConfig, WebConfigFile};
pub use duration::go_duration;
pub use passwords::{Passwords, basic_credentials, check_password_hash, hash_password};
pub use rate_limit::RateLimit;
pub use watched::{Severity, Tell, WatchedFiles};
