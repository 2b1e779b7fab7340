//! What people made on the page: dashboards and objectives, kept as JSON in the storage of their tenant.
//!
//! The JSON is opaque here but for its title. The one rule: nobody's work is overwritten unseen; who saves
//! says which version it was made from.

pub mod api;
pub mod config_maps;
pub mod provisioned;
pub mod shelf;

use std::path::{Path, PathBuf};
use std::sync::Mutex;

use serde_json::Value;

pub use provisioned::Provisioned;

/// A kind of documents.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    Dashboard,
    Slo,
}

impl Kind {
    /// All of them.
    pub const ALL: [Self; 2] = [Self::Dashboard, Self::Slo];

    /// Their folder below that of the store.
    #[must_use]
    pub const fn folder(self) -> &'static str {
        match self {
            Self::Dashboard => "dashboards",
            Self::Slo => "slos",
        }
    }

    /// What one is called.
    #[must_use]
    pub const fn noun(self) -> &'static str {
        match self {
            Self::Dashboard => "dashboard",
            Self::Slo => "SLO",
        }
    }
}

/// What all requests about documents share.
#[derive(Debug)]
pub struct Documents {
    /// Held while documents are changed, so that a version is checked and replaced in one step.
    changing: Mutex<()>,
    pub provisioned: Provisioned,
}

impl Documents {
    /// With dashboards provisioned from the files below `path`, if there is one.
    #[must_use]
    pub fn new(path: Option<PathBuf>) -> Self {
        Self {
            changing: Mutex::default(),
            provisioned: Provisioned::new(path),
        }
    }
}

/// The largest document; the largest published dashboards have 1 MB.
pub const BYTES_MAX: usize = 4 << 20;
/// Characters of a title that are listed.
const TITLE_MAX_CHARS: usize = 200;

/// The title that a document gives itself, or what is wrong with it.
///
/// # Errors
/// When it is no JSON object, with the place.
pub fn title_of(text: &[u8]) -> Result<String, String> {
    let value: Value = serde_json::from_slice(text).map_err(|e| format!("not JSON: {e}"))?;
    let Value::Object(whole) = value else {
        return Err("the JSON is no object; expected the model of a dashboard or an SLO".into());
    };
    let inner = |key: &str| whole.get(key)?.get("title")?.as_str();
    let title = whole.get("title").and_then(Value::as_str);
    let title = title.or_else(|| inner("dashboard"));
    let title = title.or_else(|| inner("spec")).unwrap_or("");
    Ok(title.chars().take(TITLE_MAX_CHARS).collect())
}

/// The id that a name of a file stands for: what is no letter or digit of ASCII becomes a dash.
fn slug(text: &str) -> String {
    let plain = text.chars().map(|c| match c {
        'a'..='z' | 'A'..='Z' | '0'..='9' | '_' => c,
        _ => '-',
    });
    plain.collect::<String>().trim_matches('-').to_owned()
}

/// The files of a folder's documents for a backup: names with the folder, and lengths.
///
/// # Errors
/// When a folder is there and cannot be read.
pub fn files(store: &Path) -> Result<Vec<(String, u64)>, String> {
    let mut found = Vec::new();
    for kind in Kind::ALL {
        let folder = store.join(kind.folder());
        let versions = shelf::files(&folder)
            .map_err(|e| format!("failed to list {}: {e}", folder.display()))?;
        found.extend(
            versions
                .into_iter()
                .map(|(name, bytes)| (format!("{}/{name}", kind.folder()), bytes)),
        );
    }
    Ok(found)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn titles_are_found_where_exports_have_them() {
        for (text, expected) in [
            (r#"{"title":"a"}"#, Ok("a")),
            (r#"{"dashboard":{"title":"b"},"meta":{}}"#, Ok("b")),
            (r#"{"kind":"Dashboard","spec":{"title":"c"}}"#, Ok("c")),
            ("{}", Ok("")),
            ("[]", Err("no object")),
            (r#"{"title":"a""#, Err("line 1 column 12")),
        ] {
            match (title_of(text.as_bytes()), expected) {
                (Ok(title), Ok(expected)) => assert_eq!(title, expected),
                (Err(error), Err(part)) => assert!(error.contains(part), "{error}"),
                (found, _) => panic!("{text}: {found:?}"),
            }
        }
        let long = format!(r#"{{"title":"{}"}}"#, "é".repeat(1000));
        assert_eq!(title_of(long.as_bytes()).unwrap().chars().count(), 200);
    }
}
