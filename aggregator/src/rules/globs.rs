//! Patterns of file names in configurations, and the files they stand for.

use std::path::{Path, PathBuf};

/// The files of a pattern, by name; relative ones are looked for below `folder`. A pattern that is
/// the name of a file stands for it.
///
/// # Errors
/// When the pattern is malformed.
pub fn files(pattern: &str, folder: &Path) -> Result<Vec<PathBuf>, String> {
    let wrong = |e: &dyn std::fmt::Display| format!("invalid pattern '{pattern}': {e}");
    let whole = folder.join(pattern);
    let whole = whole.to_str().ok_or_else(|| wrong(&"no UTF-8"))?;
    let found = glob::glob(whole).map_err(|e| wrong(&e))?;
    // What cannot be looked into is not there, as in Prometheus.
    Ok(found.filter_map(Result::ok).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn patterns_stand_for_files_in_order() {
        let folder = tempfile::tempdir().unwrap();
        for name in ["b.yml", "a.yml", "c.json"] {
            std::fs::write(folder.path().join(name), "").unwrap();
        }
        let names = |pattern: &str| -> Vec<String> {
            let found = files(pattern, folder.path()).unwrap().into_iter();
            found
                .map(|p| p.file_name().unwrap().to_str().unwrap().to_owned())
                .collect()
        };
        assert_eq!(names("*.yml"), ["a.yml", "b.yml"]);
        assert_eq!(names("c.json"), ["c.json"]);
        assert!(names("none*").is_empty());
        assert!(files("a[", folder.path()).is_err());
    }
}
