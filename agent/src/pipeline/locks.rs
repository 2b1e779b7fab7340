//! Folders and files that only one agent may use at a time.
//!
//! What is locked is a file beside them, with the number of the process that holds it. The lock is the
//! kernel's and ends with the process, however that ends; the file stays. The rule: everything is
//! locked before the first thread begins and given back after the last one has ended, so that a
//! reload finds its own locks free.

use std::collections::BTreeSet;
use std::fs::{self, File, OpenOptions, TryLockError};
use std::io::{self, Read, Seek, Write};
use std::path::{Path, PathBuf};

use anyhow::Context;

/// In the folder that it locks.
const IN_FOLDER: &str = "kansoku-agent.lock";

/// What a pipeline holds; given back when it is dropped.
#[derive(Debug)]
pub(super) struct Locks {
    _files: Vec<File>,
}

impl Locks {
    /// Locks `storage.path` and the inputs' databases, each once.
    ///
    /// # Errors
    /// When another process holds one of them, or a lock cannot be made.
    pub(super) fn take(storage: Option<&Path>, databases: Vec<PathBuf>) -> anyhow::Result<Self> {
        let mut files = Vec::new();
        if let Some(folder) = storage {
            fs::create_dir_all(folder).with_context(|| {
                format!(
                    "cannot make the folder {} of storage.path",
                    folder.display()
                )
            })?;
            files.push(lock("storage.path", folder, &folder.join(IN_FOLDER))?);
        }
        let databases: BTreeSet<PathBuf> = databases.iter().map(|db| resolved(db)).collect();
        for database in databases {
            // Without its folder nobody can use it; who opens it says so.
            if database.parent().is_some_and(Path::is_dir) {
                let mut beside = database.clone().into_os_string();
                beside.push(".lock");
                files.push(lock("the database", &database, beside.as_ref())?);
            }
        }
        Ok(Self { _files: files })
    }
}

/// The path without symbolic links in its folders, so that two names of one file are known as such.
fn resolved(path: &Path) -> PathBuf {
    if let Ok(found) = path.canonicalize() {
        return found;
    }
    let folder = path.parent().filter(|f| !f.as_os_str().is_empty());
    let folder = folder.unwrap_or(Path::new(".")).canonicalize();
    match (folder, path.file_name()) {
        (Ok(folder), Some(name)) => folder.join(name),
        _ => path.to_owned(),
    }
}

fn lock(what: &str, owned: &Path, path: &Path) -> anyhow::Result<File> {
    let mut options = OpenOptions::new();
    let file = options.read(true).write(true).create(true).truncate(false);
    let file = file
        .open(path)
        .with_context(|| format!("cannot lock {what} {}: {}", owned.display(), path.display()))?;
    match file.try_lock() {
        Ok(()) => {}
        Err(TryLockError::WouldBlock) => {
            let holder = match holder(&file) {
                Some(pid) => format!("process {pid}"),
                None => "another process".to_owned(),
            };
            anyhow::bail!(
                "{what} {} is in use by {holder}; stop that agent, or give this one a place of its own",
                owned.display()
            );
        }
        // A file system without locks: as good as none was asked for.
        Err(TryLockError::Error(e)) if e.kind() == io::ErrorKind::Unsupported => {}
        Err(TryLockError::Error(e)) => {
            return Err(e).with_context(|| format!("cannot lock {}", path.display()));
        }
    }
    note_holder(&file).with_context(|| format!("cannot write {}", path.display()))?;
    Ok(file)
}

fn note_holder(mut file: &File) -> io::Result<()> {
    file.set_len(0)?;
    file.rewind()?;
    writeln!(file, "{}", std::process::id())
}

fn holder(mut file: &File) -> Option<u32> {
    let mut text = String::new();
    file.rewind().ok()?;
    file.take(32).read_to_string(&mut text).ok()?;
    text.trim().parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_second_one_is_told_who_holds_what() {
        let dir = tempfile::tempdir().unwrap();
        let storage = dir.path().join("storage");
        let database = dir.path().join("tail.db");
        let linked = dir.path().join("link");
        std::os::unix::fs::symlink(dir.path(), &linked).unwrap();
        // Two inputs of one agent may share a database.
        let databases = vec![database.clone(), linked.join("tail.db")];
        let held = Locks::take(Some(&storage), databases.clone()).unwrap();
        let pid = format!("is in use by process {};", std::process::id());
        let both = [
            (Some(storage.as_path()), Vec::new(), "storage.path "),
            (None, databases.clone(), "the database "),
        ];
        for (storage, databases, what) in both {
            let error = Locks::take(storage, databases).unwrap_err().to_string();
            assert!(error.starts_with(what), "{error}");
            assert!(error.contains(&pid), "{error}");
            assert!(error.contains(&dir.path().display().to_string()), "{error}");
        }
        drop(held);
        Locks::take(Some(&storage), databases).unwrap();
        Locks::take(None, vec![dir.path().join("missing/tail.db")]).unwrap();
    }
}
