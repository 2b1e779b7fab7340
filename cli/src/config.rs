//! The configuration file: contexts, each a server and how to speak to it, and which is used.
//!
//! ```yaml
//! current-context: home
//! contexts:
//!   home:
//!     server: https://kansoku.example:9428
//!     token_file: /home/me/.config/kansoku/token
//! ```

use std::collections::BTreeMap;
use std::fs;
use std::io::Write;
use std::path::{Path, PathBuf};

use serde::Deserialize;
use serde_json::{Map, Value, json};

use crate::error::{Error, Result};
use crate::output::yaml;

/// A file larger than this is no configuration.
const FILE_MAX: u64 = 1 << 20;

/// The file.
#[derive(Debug, Default, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct File {
    /// The context that is used when none is named.
    #[serde(rename = "current-context", default)]
    pub current: Option<String>,
    #[serde(default)]
    pub contexts: BTreeMap<String, Context>,
}

/// A server and how to speak to it.
#[derive(Debug, Default, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Context {
    pub server: Option<String>,
    pub token: Option<String>,
    pub token_file: Option<PathBuf>,
    pub username: Option<String>,
    pub password: Option<String>,
    pub password_file: Option<PathBuf>,
    pub tenant: Option<String>,
    pub ca: Option<PathBuf>,
    pub client_certificate: Option<PathBuf>,
    pub client_key: Option<PathBuf>,
    pub namespace: Option<String>,
    pub kube_service: Option<String>,
    pub kubeconfig: Option<PathBuf>,
    pub kube_context: Option<String>,
}

impl Context {
    /// Name and value of what is set, in the order in which it is written.
    fn fields(&self) -> Vec<(&'static str, String)> {
        let path = |path: &Option<PathBuf>| path.as_ref().map(|p| p.display().to_string());
        let fields = [
            ("server", self.server.clone()),
            ("token", self.token.clone()),
            ("token_file", path(&self.token_file)),
            ("username", self.username.clone()),
            ("password", self.password.clone()),
            ("password_file", path(&self.password_file)),
            ("tenant", self.tenant.clone()),
            ("ca", path(&self.ca)),
            ("client_certificate", path(&self.client_certificate)),
            ("client_key", path(&self.client_key)),
            ("namespace", self.namespace.clone()),
            ("kube_service", self.kube_service.clone()),
            ("kubeconfig", path(&self.kubeconfig)),
            ("kube_context", self.kube_context.clone()),
        ];
        let set = fields.into_iter();
        set.filter_map(|(name, value)| Some((name, value?)))
            .collect()
    }
}

/// Where the file lies when nobody says it.
#[must_use]
pub fn default_path() -> Option<PathBuf> {
    let folder = std::env::var_os("XDG_CONFIG_HOME")
        .filter(|f| !f.is_empty())
        .map(PathBuf::from)
        .or_else(|| Some(PathBuf::from(std::env::var_os("HOME")?).join(".config")))?;
    Some(folder.join("kansoku/config.yaml"))
}

/// Reads the file; one that nobody named may be missing.
///
/// # Errors
/// When it cannot be read or is wrong.
pub fn read(path: &Path, must_exist: bool) -> Result<File> {
    let bad = |why: String| Error::failed(format!("{}: {why}", path.display()));
    match fs::metadata(path) {
        Err(e) if e.kind() == std::io::ErrorKind::NotFound && !must_exist => {
            return Ok(File::default());
        }
        Err(e) => return Err(bad(e.to_string())),
        Ok(meta) if meta.len() > FILE_MAX => {
            return Err(bad("is no configuration: too large".into()));
        }
        Ok(_) => {}
    }
    let text = fs::read_to_string(path).map_err(|e| bad(e.to_string()))?;
    parse(&text).map_err(bad)
}

/// Reads a file's text.
///
/// # Errors
/// With the place of the mistake.
pub(crate) fn parse(text: &str) -> std::result::Result<File, String> {
    if text.trim().is_empty() {
        return Ok(File::default());
    }
    serde_saphyr::from_str(text).map_err(|e| e.to_string())
}

/// The file as YAML; with `hide`, tokens and passwords are not shown.
#[must_use]
pub fn write(file: &File, hide: bool) -> String {
    let mut contexts = Map::new();
    for (name, context) in &file.contexts {
        let fields = context.fields().into_iter().map(|(field, value)| {
            let hidden = hide && matches!(field, "token" | "password");
            let value = if hidden { "REDACTED".into() } else { value };
            (field.to_owned(), Value::String(value))
        });
        contexts.insert(name.clone(), Value::Object(fields.collect()));
    }
    let mut whole = Map::new();
    if let Some(current) = &file.current {
        whole.insert("current-context".into(), json!(current));
    }
    whole.insert("contexts".into(), Value::Object(contexts));
    yaml::text(&Value::Object(whole))
}

/// Writes the file anew; only its owner may read it, because it can hold tokens and passwords.
///
/// # Errors
/// When it cannot be written; the old one is then as it was.
pub fn save(path: &Path, file: &File) -> Result<()> {
    use std::os::unix::fs::OpenOptionsExt;
    let bad = |e: std::io::Error| Error::failed(format!("cannot write {}: {e}", path.display()));
    if let Some(folder) = path.parent().filter(|f| !f.as_os_str().is_empty()) {
        fs::create_dir_all(folder).map_err(bad)?;
    }
    // Behind a symbolic link, so that the link stays one.
    let target = fs::canonicalize(path).unwrap_or_else(|_| path.to_owned());
    let mut partial = target.clone().into_os_string();
    partial.push(format!(".{}", std::process::id()));
    let partial = PathBuf::from(partial);
    let written = (|| {
        let mut out = fs::File::options()
            .write(true)
            .create_new(true)
            .mode(0o600)
            .open(&partial)?;
        out.write_all(write(file, false).as_bytes())?;
        out.sync_all()?;
        fs::rename(&partial, &target)
    })();
    written.map_err(|e| {
        let _ = fs::remove_file(&partial);
        bad(e)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_written_is_read_back() {
        let context = Context {
            server: Some("https://a:1".into()),
            token: Some("no: \"#1\"".into()),
            ca: Some("/x y".into()),
            namespace: Some("true".into()),
            ..Context::default()
        };
        let file = File {
            current: Some("0x10".into()),
            contexts: [
                ("0x10".to_owned(), context),
                ("b".to_owned(), Context::default()),
            ]
            .into(),
        };
        let text = write(&file, false);
        assert_eq!(parse(&text).unwrap(), file, "{text}");
        let hidden = write(&file, true);
        assert!(
            hidden.contains("REDACTED") && !hidden.contains("#1"),
            "{hidden}"
        );
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("new/config.yaml");
        assert!(read(&path, true).is_err());
        assert_eq!(read(&path, false).unwrap(), File::default());
        save(&path, &file).unwrap();
        assert_eq!(read(&path, true).unwrap(), file);
        let mode =
            std::os::unix::fs::PermissionsExt::mode(&fs::metadata(&path).unwrap().permissions());
        assert_eq!(mode & 0o777, 0o600);
        assert_eq!(fs::read_dir(path.parent().unwrap()).unwrap().count(), 1);
    }

    #[test]
    fn mistakes_are_named_with_their_place() {
        for (text, expected) in [
            ("contexts: {a: {sever: x}}", "sever"),
            ("contexts: 5", "line 1"),
            ("contexts: {", "line 1"),
        ] {
            let error = parse(text).unwrap_err();
            assert!(error.contains(expected), "{text}: {error}");
        }
        assert_eq!(parse(" \n").unwrap(), File::default());
    }
}
