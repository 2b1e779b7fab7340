//! `bearer_token_file`: a token that somebody else renews, such as Kubernetes' projected ones.
//!
//! The one rule: while the file cannot be read the last token is sent, and a refusal says why.

use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};

use hyper::header::HeaderValue;
use kansoku_model::{ConfigError, Settings};
use kansoku_web::WatchedFiles;

/// Tokens are a few kilobytes.
const MAX_BYTES: u64 = 64 << 10;

/// A file with a token.
pub struct TokenFile {
    path: PathBuf,
    /// Held while the file is looked at.
    state: Mutex<(WatchedFiles, HeaderValue)>,
}

impl TokenFile {
    /// The file that the settings name.
    ///
    /// # Errors
    /// When it cannot be read, or another login is set as well.
    pub fn of(settings: &Settings) -> Result<Option<Self>, ConfigError> {
        let Some(s) = settings.get("bearer_token_file") else {
            return Ok(None);
        };
        for other in ["http_user", "bearer_token"] {
            if settings.get(other).is_some() {
                let message =
                    format!("'bearer_token_file' and '{other}' exclude each other; remove one");
                return Err(ConfigError::new(&s.place, message));
            }
        }
        let path = PathBuf::from(&s.value);
        let files = WatchedFiles::of([path.clone()]);
        let header = read(&path)
            .map_err(|e| ConfigError::new(&s.place, format!("'bearer_token_file': {e}")))?;
        Ok(Some(Self {
            path,
            state: Mutex::new((files, header)),
        }))
    }

    /// The value of `Authorization` now.
    ///
    /// # Errors
    /// When the file has changed and holds no token.
    pub fn header(&self) -> Result<HeaderValue, String> {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        // A changed file counts as seen, so a bad one is told once and then the last token is sent.
        if state.0.changed() {
            state.1 = read(&self.path)?;
        }
        Ok(state.1.clone())
    }
}

fn read(path: &Path) -> Result<HeaderValue, String> {
    let shown = path.display();
    let fail = |e: std::io::Error| format!("failed to read {shown}: {e}");
    if std::fs::metadata(path).map_err(fail)?.len() > MAX_BYTES {
        return Err(format!("{shown} is larger than a token can be"));
    }
    let text = std::fs::read_to_string(path).map_err(fail)?;
    let token = text.trim();
    if token.is_empty() {
        return Err(format!("{shown} is empty"));
    }
    let value = HeaderValue::from_str(&format!("Bearer {token}"));
    let mut value = value.map_err(|_| format!("{shown} has characters that no header may have"))?;
    value.set_sensitive(true);
    Ok(value)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_token_that_is_renewed_is_sent_and_a_broken_file_keeps_the_last() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("token");
        let write = |text: &str| std::fs::write(&path, text).expect("written");
        let build = |pairs: &[(&str, &str)]| TokenFile::of(&Settings::of("kansoku", pairs));
        let name = path.to_str().expect("text");
        assert!(build(&[]).expect("no file").is_none());
        let missing = build(&[("bearer_token_file", name)]).map(drop).unwrap_err();
        assert!(missing.to_string().contains("failed to read"), "{missing}");
        write("one\n");
        let both = build(&[("bearer_token_file", name), ("http_user", "u")]);
        let both = both.map(drop).unwrap_err().to_string();
        assert!(both.contains("exclude each other"), "{both}");
        let file = build(&[("bearer_token_file", name)])
            .expect("a token")
            .expect("a file");
        assert_eq!(file.header().expect("a token"), "Bearer one");
        // As Kubernetes does it: another file in its place.
        let next = folder.path().join("next");
        std::fs::write(&next, "two").expect("written");
        std::fs::rename(&next, &path).expect("renamed");
        assert_eq!(file.header().expect("a token"), "Bearer two");
        write("");
        assert!(file.header().unwrap_err().contains("is empty"));
        assert_eq!(file.header().expect("a token"), "Bearer two");
        write("three");
        assert_eq!(file.header().expect("a token"), "Bearer three");
    }
}
