//! The file of `--web.config.file`: TLS, passwords, headers and a limit on requests, in the form of
//! Prometheus' exporter-toolkit.
//!
//! It is read at the start, where a mistake ends the program, and again when it or a file that it
//! names has changed; then a mistake is told and the last good one stays. Unknown keys are mistakes.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, bail, ensure};
use hyper::header::{HeaderName, HeaderValue};
use rustls::ServerConfig;
use serde::Deserialize;

use crate::duration::go_duration;
use crate::passwords::check_password_hash;
use crate::tls;
use crate::watched::{Severity, Tell, WatchedFiles};

/// Headers that may be set, and the values of those that have only a few.
const HEADERS: [(&str, &[&str]); 5] = [
    ("Strict-Transport-Security", &[]),
    ("X-Content-Type-Options", &["nosniff"]),
    ("X-Frame-Options", &["deny", "sameorigin"]),
    ("X-XSS-Protection", &[]),
    ("Content-Security-Policy", &[]),
];

/// What the file says, ready for use.
#[derive(Debug, Clone, Default)]
pub struct WebConfig {
    /// `None` serves plain HTTP.
    pub tls: Option<Arc<ServerConfig>>,
    pub headers: Vec<(HeaderName, HeaderValue)>,
    /// bcrypt hashes by user; empty lets everybody in.
    pub users: Arc<BTreeMap<String, String>>,
    /// Requests at once, and the time after which one more is let in; `None` limits nothing.
    pub rate_limit: Option<(u32, Duration)>,
}

/// The file's own form.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
struct File {
    tls_server_config: Option<tls::Section>,
    http_server_config: Http,
    rate_limit: RateLimit,
    basic_auth_users: BTreeMap<String, String>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields, default)]
struct Http {
    http2: bool,
    headers: BTreeMap<String, String>,
}

impl Default for Http {
    fn default() -> Self {
        Self {
            http2: true,
            headers: BTreeMap::new(),
        }
    }
}

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
struct RateLimit {
    burst: u32,
    interval: String,
}

/// The file, watched.
#[derive(Debug)]
pub struct WebConfigFile {
    path: PathBuf,
    current: WebConfig,
    /// The files that it is made of.
    files: WatchedFiles,
    tell: Tell,
}

impl WebConfigFile {
    /// Reads the file; without one there is nothing to watch.
    ///
    /// # Errors
    /// When it has a mistake.
    pub fn new(path: &str, tell: Tell) -> anyhow::Result<Self> {
        let path = PathBuf::from(path);
        let mut file = Self {
            path,
            current: WebConfig::default(),
            files: WatchedFiles::default(),
            tell,
        };
        if !file.path.as_os_str().is_empty() {
            file.current = file.read()?;
        }
        Ok(file)
    }

    /// What holds now.
    pub fn current(&mut self) -> &WebConfig {
        if self.files.changed() {
            match self.read() {
                Ok(config) => {
                    let message = format!("{} was read again", self.path.display());
                    (self.tell)(Severity::Info, &message);
                    self.current = config;
                }
                // Told once per change.
                Err(error) => (self.tell)(
                    Severity::Error,
                    &format!("{error:#}; the last good one stays"),
                ),
            }
        }
        &self.current
    }

    fn read(&mut self) -> anyhow::Result<WebConfig> {
        let path = &self.path;
        let place = || format!("--web.config.file {}", path.display());
        // The stamps first: what changes while it is read is read again.
        let own = WatchedFiles::of([path.clone()]);
        let text = std::fs::read_to_string(path).with_context(place)?;
        let folder = path.parent().unwrap_or(Path::new(""));
        let mut files = WatchedFiles::default();
        let config = parse(&text, folder, &mut files, self.tell).with_context(place)?;
        self.files = files.and(own);
        Ok(config)
    }
}

/// Reads the text; `files` become the further ones that it is made of.
fn parse(
    text: &str,
    folder: &Path,
    files: &mut WatchedFiles,
    tell: Tell,
) -> anyhow::Result<WebConfig> {
    let file: File = match text.trim() {
        "" => File::default(),
        text => serde_saphyr::from_str(text)?,
    };
    let mut headers = Vec::new();
    for (name, value) in &file.http_server_config.headers {
        let known = HEADERS.iter().find(|(known, _)| known == name);
        let Some((_, values)) = known else {
            bail!("http_server_config: header '{name}' cannot be configured");
        };
        ensure!(
            values.is_empty() || values.contains(&value.as_str()),
            "http_server_config: header '{name}' is '{value}', but must be one of {}",
            values.join(", ")
        );
        headers.push((name.parse()?, value.parse()?));
    }
    for (user, hash) in &file.basic_auth_users {
        check_password_hash(hash).with_context(|| {
            format!("basic_auth_users: the password of '{user}' is no bcrypt hash")
        })?;
    }
    let http2 = file.http_server_config.http2;
    let tls = file.tls_server_config.filter(tls::Section::is_enabled);
    *files = WatchedFiles::of(tls.iter().flat_map(|tls| tls.files(folder)));
    let tls = tls.map(|tls| tls.build(folder, http2, tell)).transpose();
    Ok(WebConfig {
        tls: tls.context("tls_server_config")?,
        headers,
        users: Arc::new(file.basic_auth_users),
        rate_limit: rate_limit(&file.rate_limit)?,
    })
}

fn rate_limit(limit: &RateLimit) -> anyhow::Result<Option<(u32, Duration)>> {
    if limit.interval.is_empty() {
        return Ok(None);
    }
    let interval = go_duration(&limit.interval);
    let interval = interval.with_context(|| {
        format!(
            "rate_limit: interval '{}' must be a duration such as 1s",
            limit.interval
        )
    })?;
    Ok((!interval.is_zero()).then_some((limit.burst, interval)))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parsed(text: &str) -> String {
        let folder = Path::new("/no/such/folder");
        match parse(text, folder, &mut WatchedFiles::default(), |_, _| {}) {
            Err(error) => format!("{error:#}"),
            Ok(config) => format!(
                "{} tls, {} headers, {} users, {:?}",
                config.tls.is_some(),
                config.headers.len(),
                config.users.len(),
                config.rate_limit
            ),
        }
    }

    #[test]
    fn files_and_their_mistakes() {
        let hash = "$2b$10$qX24G8IKzbUKq2FqEU2tEuJfA02WcKUQqXiya7kaRT.9rbRHzh3Dy";
        let users = format!("basic_auth_users:\n  alice: {hash}\n");
        for (text, expected) in [
            ("", "false tls, 0 headers, 0 users, None"),
            (&users, "false tls, 0 headers, 1 users, None"),
            (
                "http_server_config:\n  http2: false\n  headers:\n    X-Frame-Options: deny\nrate_limit:\n  burst: 3\n  interval: 1s\n",
                "false tls, 1 headers, 0 users, Some((3, 1s))",
            ),
            (
                "http_server_config:\n  headers:\n    Server: x\n",
                "http_server_config: header 'Server' cannot be configured",
            ),
            (
                "http_server_config:\n  headers:\n    X-Frame-Options: maybe\n",
                "http_server_config: header 'X-Frame-Options' is 'maybe', but must be one of deny, sameorigin",
            ),
            (
                "tls_server_config:\n  cert_file: a.crt\n",
                "tls_server_config: missing one of key or key_file",
            ),
        ] {
            assert_eq!(parsed(text), expected, "{text}");
        }
        let error = parsed("basic_auth_users:\n  alice: secret\n");
        assert!(
            error.contains("the password of 'alice' is no bcrypt hash"),
            "{error}"
        );
        assert!(parsed("tls_config:\n  x: 1\n").contains("tls_config"));
        let error = parsed("tls_server_config:\n  cert_file: a.crt\n  key_file: a.key\n");
        assert!(error.contains("/no/such/folder/a.crt"), "{error}");
    }

    #[test]
    fn a_changed_file_is_read_again_and_a_mistake_keeps_the_last() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("web.yml");
        let write = |text: &str| std::fs::write(&path, text).expect("the file is written");
        write("");
        let mut watched =
            WebConfigFile::new(path.to_str().expect("text"), |_, _| {}).expect("no mistake");
        assert!(watched.current().headers.is_empty());
        write("http_server_config:\n  headers:\n    X-Frame-Options: deny\n");
        assert_eq!(watched.current().headers.len(), 1);
        write("nonsense: 1\n");
        assert_eq!(watched.current().headers.len(), 1);
        write("");
        assert!(watched.current().headers.is_empty());
        assert!(WebConfigFile::new("/no/such/file", |_, _| {}).is_err());
        assert!(
            WebConfigFile::new("", |_, _| {})
                .expect("no file")
                .current()
                .tls
                .is_none()
        );
    }
}
