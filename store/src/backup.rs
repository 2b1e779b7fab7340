//! A second name for every file of the store, so that a copy of one moment can be carried away while
//! the store goes on.
//!
//! Parts are never changed, so links to them are enough. The rule: the folder becomes a store with the
//! rename of its manifest, which comes last; what has none is nothing.

use std::path::{Path, PathBuf};

use crate::check::read_manifest;
use crate::fs::Disk;
use crate::manifest::{self, Entry, Manifest};
use crate::store::{LOCK, Store};
use crate::{StoreError, part, wal};

/// Where snapshots lie in the store's folder.
pub const FOLDER: &str = "snapshots";

/// Snapshots that a backup made for itself are called so, and are removed by the next one.
const OF_BACKUPS: &str = "backup-";
/// How often files are linked anew because the store has changed meanwhile.
const ATTEMPTS: usize = 20;

/// The files of a store that a manifest names.
fn named_by(manifest: &Manifest) -> Vec<String> {
    let mut names: Vec<String> = manifest.parts.iter().map(Entry::file_name).collect();
    if manifest.state != 0 {
        names.push(manifest::state_name(manifest.state));
    }
    if manifest.deletes != 0 {
        names.push(manifest::deletes_name(manifest.deletes));
    }
    names
}

/// The files of one moment of a store.
#[derive(Debug)]
pub struct Linked {
    /// Where links to them lie.
    pub folder: PathBuf,
    /// Names within the folder, and how many of their bytes count: a segment of the WAL may grow.
    pub files: Vec<(String, u64)>,
    disk: Disk,
    name: String,
}

impl Drop for Linked {
    fn drop(&mut self) {
        // What stays is removed by the next backup.
        let _ = self.disk.remove_folder(&self.name);
    }
}

/// Links all files of the store in `path`, WAL included. The store may be open: nothing is asked of it,
/// and what it has acknowledged before is in.
///
/// # Errors
/// When the folder is no store, or cannot be written to.
pub fn link_files(path: &Path) -> Result<Linked, StoreError> {
    let disk = Disk::new(path);
    read_manifest(&disk)?;
    disk.make_folder(FOLDER)?;
    for old in disk.list(FOLDER)? {
        if old.starts_with(OF_BACKUPS) {
            disk.remove_folder(&format!("{FOLDER}/{old}"))?;
        }
    }
    let mut problem = None;
    for attempt in 0..ATTEMPTS {
        let name = format!("{FOLDER}/{OF_BACKUPS}{}-{attempt}", std::process::id());
        let linked = Linked {
            folder: disk.path(&name),
            files: Vec::new(),
            disk: disk.clone(),
            name,
        };
        match link_moment(linked) {
            Ok(Some(linked)) => return Ok(linked),
            Ok(None) => {}
            // A file that the manifest named a moment ago may be gone by now.
            Err(e) => problem = Some(e),
        }
    }
    Err(problem.unwrap_or_else(|| {
        StoreError::damaged(path, "the store changes too fast to be linked; try again")
    }))
}

/// None when the manifest was replaced meanwhile.
fn link_moment(mut linked: Linked) -> Result<Option<Linked>, StoreError> {
    let (disk, folder) = (linked.disk.clone(), linked.name.clone());
    for inner in [part::FOLDER, wal::FOLDER] {
        disk.make_folder(&format!("{folder}/{inner}"))?;
    }
    let manifest = read_manifest(&disk)?;
    let mut names = named_by(&manifest);
    for name in disk.list(wal::FOLDER)? {
        if wal::segment_number(&name).is_some_and(|n| n >= manifest.wal_from) {
            names.push(format!("{}/{name}", wal::FOLDER));
        }
    }
    for name in names {
        let link = format!("{folder}/{name}");
        disk.keep_as(&name, &link)?;
        let len = disk.open(&link)?.len();
        linked.files.push((name, len));
    }
    // Segments that were started after the listing hold what was acknowledged after it.
    if read_manifest(&disk)? != manifest {
        return Ok(None);
    }
    let content = manifest.encode();
    let name = manifest::NAME.to_owned();
    disk.write_synced(&format!("{folder}/{name}"), &content)?;
    linked.files.push((name, content.len() as u64));
    Ok(Some(linked))
}

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
        for name in &named_by(&manifest) {
            disk.keep_as(name, &format!("{folder}/{name}"))?;
        }
        disk.sync_folder(&format!("{folder}/{}", part::FOLDER))?;
        let content = manifest.encode();
        disk.write_atomically(&format!("{folder}/{}", manifest::NAME), &folder, &content)?;
        disk.sync_folder(FOLDER)?;
        Ok(disk.path(&folder))
    }
}
