//! Files that are read again when they have changed.
//!
//! A change is told by inode, size and time of change, so that a file swapped by a rename, as
//! Kubernetes does with mounted secrets, counts as well.

use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

/// How severe what is told is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Severity {
    Info,
    Warn,
    Error,
}

/// Where a program tells what happened.
pub type Tell = fn(Severity, &str);

/// What tells a file that was changed: inode, size and time of change.
type Stamp = (u64, u64, i64, i64);

/// Files, and how they were when they were read.
#[derive(Debug, Default)]
pub struct WatchedFiles(Vec<(PathBuf, Option<Stamp>)>);

impl WatchedFiles {
    /// These files as they are now. Taken before they are read, so that a change in between is seen.
    #[must_use]
    pub fn of(paths: impl IntoIterator<Item = PathBuf>) -> Self {
        let stamped = |path: PathBuf| {
            let stamp = stamp(&path);
            (path, stamp)
        };
        Self(paths.into_iter().map(stamped).collect())
    }

    /// These and others.
    #[must_use]
    pub fn and(mut self, others: Self) -> Self {
        self.0.extend(others.0);
        self
    }

    /// Whether one of them is not as it was. Then it counts as seen.
    pub fn changed(&mut self) -> bool {
        let mut changed = false;
        for (path, before) in &mut self.0 {
            let now = stamp(path);
            changed |= now != *before;
            *before = now;
        }
        changed
    }
}

fn stamp(path: &Path) -> Option<Stamp> {
    let meta = std::fs::metadata(path).ok()?;
    Some((meta.ino(), meta.size(), meta.mtime(), meta.mtime_nsec()))
}
