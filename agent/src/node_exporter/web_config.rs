//! The file of `--web.config.file`: TLS, passwords, headers and a limit on requests, in the form of
//! Prometheus' exporter-toolkit.
//!
//! It is read at the start, where a mistake ends the program, and again when it or a file that it
//! names has changed; then a mistake is told and the last good one stays. Unknown keys are mistakes.

use std::collections::BTreeMap;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, bail, ensure};
use hyper::header::{HeaderName, HeaderValue};
use rustls::ServerConfig;
use serde::Deserialize;

use super::COMPONENT;
use super::web_tls;
use crate::collectors::flags::go_duration;
use crate::log;

/// Headers that may be set, and the values of those that have only a few.
const HEADERS: [(&str, &[&str]); 5] = [
    ("Strict-Transport-Security", &[]),
    ("X-Content-Type-Options", &["nosniff"]),
    ("X-Frame-Options", &["deny", "sameorigin"]),
    ("X-XSS-Protection", &[]),
    ("Content-Security-Policy", &[]),
];

/// What the file says, ready for use.
#[derive(Clone, Default)]
pub(super) struct WebConfig {
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
    tls_server_config: Option<web_tls::Section>,
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
pub(super) struct Watched {
    path: PathBuf,
    current: WebConfig,
    /// The files that it is made of, and how they were when it was read.
    files: Vec<(PathBuf, Option<Stamp>)>,
}

/// What tells a file that was changed: inode, size and time of change.
type Stamp = (u64, u64, i64, i64);

impl Watched {
    /// Reads the file; without one there is nothing to watch.
    ///
    /// # Errors
    /// When it has a mistake.
    pub fn new(path: &str) -> anyhow::Result<Self> {
        let path = PathBuf::from(path);
        if path.as_os_str().is_empty() {
            return Ok(Self {
                path,
                current: WebConfig::default(),
                files: Vec::new(),
            });
        }
        let (current, files) = read(&path)?;
        Ok(Self {
            current,
            files: stamped(files),
            path,
        })
    }

    /// What holds now.
    pub fn current(&mut self) -> &WebConfig {
        let is_same = |(path, before): &(PathBuf, Option<Stamp>)| stamp(path) == *before;
        if !self.files.iter().all(is_same) {
            match read(&self.path) {
                Ok((config, files)) => {
                    log::info(
                        COMPONENT,
                        format_args!("{} was read again", self.path.display()),
                    );
                    self.current = config;
                    self.files = stamped(files);
                }
                Err(error) => {
                    log::error(
                        COMPONENT,
                        format_args!("{error:#}; the last good one stays"),
                    );
                    // Told once per change.
                    for (path, before) in &mut self.files {
                        *before = stamp(path);
                    }
                }
            }
        }
        &self.current
    }
}

fn stamped(files: Vec<PathBuf>) -> Vec<(PathBuf, Option<Stamp>)> {
    let with_stamp = |path: PathBuf| {
        let stamp = stamp(&path);
        (path, stamp)
    };
    files.into_iter().map(with_stamp).collect()
}

fn stamp(path: &Path) -> Option<Stamp> {
    let meta = std::fs::metadata(path).ok()?;
    Some((meta.ino(), meta.size(), meta.mtime(), meta.mtime_nsec()))
}

/// The file's content, and the files that it is made of.
fn read(path: &Path) -> anyhow::Result<(WebConfig, Vec<PathBuf>)> {
    let place = || format!("--web.config.file {}", path.display());
    let text = std::fs::read_to_string(path).with_context(place)?;
    let folder = path.parent().unwrap_or(Path::new(""));
    let (config, mut files) = parse(&text, folder).with_context(place)?;
    files.push(path.to_owned());
    Ok((config, files))
}

fn parse(text: &str, folder: &Path) -> anyhow::Result<(WebConfig, Vec<PathBuf>)> {
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
        let parts = hash.parse::<bcrypt::HashParts>();
        parts.with_context(|| {
            format!("basic_auth_users: the password of '{user}' is no bcrypt hash")
        })?;
    }
    let http2 = file.http_server_config.http2;
    let tls = file.tls_server_config.filter(web_tls::Section::is_enabled);
    let files = tls.as_ref().map_or_else(Vec::new, |tls| tls.files(folder));
    let tls = tls.map(|tls| tls.build(folder, http2)).transpose();
    Ok((
        WebConfig {
            tls: tls.context("tls_server_config")?,
            headers,
            users: Arc::new(file.basic_auth_users),
            rate_limit: rate_limit(&file.rate_limit)?,
        },
        files,
    ))
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
        match parse(text, Path::new("/no/such/folder")) {
            Err(error) => format!("{error:#}"),
            Ok((config, _)) => format!(
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
        let mut watched = Watched::new(path.to_str().expect("text")).expect("no mistake");
        assert!(watched.current().headers.is_empty());
        write("http_server_config:\n  headers:\n    X-Frame-Options: deny\n");
        assert_eq!(watched.current().headers.len(), 1);
        write("nonsense: 1\n");
        assert_eq!(watched.current().headers.len(), 1);
        write("");
        assert!(watched.current().headers.is_empty());
        assert!(Watched::new("/no/such/file").is_err());
        assert!(Watched::new("").expect("no file").current().tls.is_none());
    }
}
