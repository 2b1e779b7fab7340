//! `file_sd_configs`: lists of targets in YAML or JSON files, looked at every few seconds.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::time::Duration;

use kansoku_parsers::config::yaml::tree::{self, Node};
use kansoku_parsers::relabel::label_set::LabelSet;

use super::{group, interval};
use crate::http_client::config::{self, Read};
use crate::journal;
use crate::rules::globs;

/// Files are few and small; whoever changes one should not wait long.
const LOOK: Duration = Duration::from_secs(5);
const FILE_MAX_BYTES: u64 = 4 << 20;

/// Patterns of files.
#[derive(Debug, Clone, PartialEq)]
pub struct Files {
    patterns: Vec<PathBuf>,
    refresh: Duration,
}

/// What the files say, by path.
type Found = BTreeMap<PathBuf, Vec<LabelSet>>;

impl Files {
    /// Reads the section.
    ///
    /// # Errors
    /// What is wrong with it.
    pub fn read(node: &Node) -> Read<Self> {
        let mut out = Self {
            patterns: Vec::new(),
            refresh: Duration::from_secs(300),
        };
        for (key, value) in node.checked_pairs(&["files", "refresh_interval"])? {
            match key {
                "files" => {
                    for item in value.items()? {
                        let path = config::path(item)?;
                        let is_known = ["json", "yml", "yaml"]
                            .iter()
                            .any(|e| path.extension().is_some_and(|x| x == *e));
                        if !is_known {
                            return Err(item.error(format!(
                                "path name \"{}\" is not valid for file discovery; expected *.json, *.yml or *.yaml",
                                path.display()
                            )));
                        }
                        out.patterns.push(path);
                    }
                }
                _ => out.refresh = interval(value)?,
            }
        }
        match out.patterns.is_empty() {
            true => {
                Err(node.error("file service discovery config must contain at least one path name"))
            }
            false => Ok(out),
        }
    }

    /// What the files say now.
    pub fn first(&self) -> Vec<LabelSet> {
        let mut found = Found::new();
        self.look(&mut found, &mut BTreeMap::new());
        found.into_values().flatten().collect()
    }

    /// Looks at all files; what cannot be read stays as it was. Gives whether something changed.
    fn look(&self, found: &mut Found, told: &mut BTreeMap<PathBuf, String>) -> bool {
        let before = std::mem::take(found);
        for pattern in &self.patterns {
            let paths = globs::files(&pattern.to_string_lossy(), Path::new(""));
            for path in paths.unwrap_or_default() {
                match of_file(&path) {
                    Ok(targets) => {
                        told.remove(&path);
                        found.insert(path, targets);
                    }
                    Err(message) => {
                        if told.get(&path) != Some(&message) {
                            journal::warn(&format!(
                                "{message}; the targets that it had before are kept"
                            ));
                            told.insert(path.clone(), message);
                        }
                        if let Some(old) = before.get(&path) {
                            found.insert(path, old.clone());
                        }
                    }
                }
            }
        }
        *found != before
    }

    /// Looks for ever.
    pub async fn run(self, tell: impl Fn(Vec<LabelSet>)) {
        let (mut found, mut told) = (Found::new(), BTreeMap::new());
        // What was told at once is not told again.
        self.look(&mut found, &mut told);
        loop {
            tokio::time::sleep(LOOK.min(self.refresh)).await;
            if self.look(&mut found, &mut told) {
                tell(found.values().flatten().cloned().collect());
            }
        }
    }
}

fn of_file(path: &Path) -> Result<Vec<LabelSet>, String> {
    let name = path.to_string_lossy();
    let fail = |e: std::io::Error| format!("failed to read {name}: {e}");
    let len = std::fs::metadata(path).map_err(fail)?.len();
    if len > FILE_MAX_BYTES {
        return Err(format!(
            "{name} has {len} bytes; expected at most {FILE_MAX_BYTES}"
        ));
    }
    let bytes = std::fs::read(path).map_err(fail)?;
    let mut targets = groups(&name, &bytes)?;
    for target in &mut targets {
        target.set("__meta_filepath", name.as_ref());
    }
    Ok(targets)
}

/// The targets of a list of groups, YAML or JSON.
///
/// # Errors
/// What is wrong with it.
pub fn groups(name: &str, bytes: &[u8]) -> Result<Vec<LabelSet>, String> {
    let read = || -> Read<Vec<LabelSet>> {
        let roots = tree::parse(name, bytes, &mut Vec::new())?;
        let Some(root) = roots.first().filter(|root| !root.is_null()) else {
            return Ok(Vec::new());
        };
        let mut all = Vec::new();
        for item in root.items()? {
            all.extend(group(item)?);
        }
        Ok(all)
    };
    read().map_err(|e| e.to_string())
}
