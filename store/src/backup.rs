//! A second name for every file of the store, so that a copy of one moment can be carried away while
//! the store goes on.
//!
//! Parts are never changed, so links to them are enough. The rule: the folder becomes a store with the
//! rename of its manifest, which comes last; what has none is nothing.

use std::path::PathBuf;

use crate::StoreError;
use crate::manifest::{self, Entry};
use crate::part;
use crate::store::{LOCK, Store};

/// Where snapshots lie in the store's folder.
pub const FOLDER: &str = "snapshots";

impl Store {
    /// Makes `snapshots/<name>/` in the store's folder: a store of its own with what was appended so
    /// far, or, without the head, with what was written out so far. Returns its path.
    ///
    /// # Errors
    /// `Invalid` for a name that is no plain file name; others when writing failed.
    pub fn link_snapshot(&self, name: &str, with_head: bool) -> Result<PathBuf, StoreError> {
        let is_plain = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '_');
        if name.is_empty() || !name.chars().all(is_plain) {
            let what = format!("{name:?} is no name for a snapshot");
            return Err(StoreError::Invalid(what));
        }
        if with_head {
            self.flush_all()?;
        }
        let disk = &self.inner.disk;
        let folder = format!("{FOLDER}/{name}");
        disk.make_folder(&format!("{folder}/{}", part::FOLDER))?;
        // No file that the manifest names goes while it is held.
        let manifest = self.inner.manifest.lock().expect(LOCK);
        let mut names: Vec<String> = manifest.parts.iter().map(Entry::file_name).collect();
        if manifest.state != 0 {
            names.push(manifest::state_name(manifest.state));
        }
        if manifest.deletes != 0 {
            names.push(manifest::deletes_name(manifest.deletes));
        }
        for name in &names {
            disk.keep_as(name, &format!("{folder}/{name}"))?;
        }
        disk.sync_folder(&format!("{folder}/{}", part::FOLDER))?;
        let content = manifest.encode();
        disk.write_atomically(&format!("{folder}/{}", manifest::NAME), &folder, &content)?;
        disk.sync_folder(FOLDER)?;
        Ok(disk.path(&folder))
    }
}
