//! The only file that touches the disk: create, append, read, sync, rename, remove, list, lock.
//!
//! It knows no format. Every operation can be made to fail by a hook, so that tests see what a
//! crash, a full or a broken disk does at each step. The rule: a name becomes durable only by
//! `rename_into_place` or `sync_folder`, and bytes only by `Output::sync`.

use std::fmt;
use std::fs::{self, File, OpenOptions, TryLockError};
use std::io::{self, Read, Write};
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use crate::StoreError;

/// What is about to be done; the argument of the fault hook.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Operation {
    Create,
    Write,
    Sync,
    SyncFolder,
    Rename,
    Truncate,
    Remove,
    Read,
}

/// How an operation is to fail.
#[cfg_attr(not(test), allow(dead_code, reason = "only tests make faults"))]
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fault {
    /// With this errno.
    Errno(i32),
    /// A write leaves only this many bytes, then fails with the errno.
    Short(usize, i32),
}

type Hook = Arc<dyn Fn(Operation, &Path) -> Option<Fault> + Send + Sync>;

/// The folder that the store owns.
#[derive(Clone)]
pub struct Disk {
    root: PathBuf,
    faults: Option<Hook>,
}

impl fmt::Debug for Disk {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Disk")
            .field("root", &self.root)
            .finish_non_exhaustive()
    }
}

impl Disk {
    pub fn new(root: &Path) -> Self {
        Self {
            root: root.to_owned(),
            faults: None,
        }
    }

    /// A disk whose operations ask `hook` first.
    #[cfg(test)]
    pub fn with_faults(root: &Path, hook: Hook) -> Self {
        Self {
            root: root.to_owned(),
            faults: Some(hook),
        }
    }

    /// The full path of a name within the folder; the empty name is the folder.
    pub fn path(&self, name: &str) -> PathBuf {
        if name.is_empty() {
            self.root.clone()
        } else {
            self.root.join(name)
        }
    }

    fn fault(&self, operation: Operation, path: &Path) -> io::Result<()> {
        match self.faults.as_ref().and_then(|hook| hook(operation, path)) {
            Some(Fault::Errno(n) | Fault::Short(_, n)) => Err(io::Error::from_raw_os_error(n)),
            None => Ok(()),
        }
    }

    /// Runs one operation after asking the hook, and names it in its error.
    fn run<T>(
        &self,
        operation: Operation,
        action: &'static str,
        path: &Path,
        body: impl FnOnce() -> io::Result<T>,
    ) -> Result<T, StoreError> {
        self.fault(operation, path)
            .and_then(|()| body())
            .map_err(|e| StoreError::io(action, path, &e))
    }

    /// Makes the folder `name` with its parents.
    pub fn make_folder(&self, name: &str) -> Result<(), StoreError> {
        let path = self.path(name);
        self.run(Operation::Create, "create folder", &path, || {
            fs::create_dir_all(&path)
        })
    }

    /// Takes the lock file `name` for this process; it is held until the lock is dropped.
    pub fn lock(&self, name: &str) -> Result<Lock, StoreError> {
        let path = self.path(name);
        let file = OpenOptions::new()
            .create(true)
            .truncate(false)
            .write(true)
            .open(&path)
            .map_err(|e| StoreError::io("open", &path, &e))?;
        match file.try_lock() {
            Ok(()) => Ok(Lock { _file: file }),
            Err(TryLockError::WouldBlock) => Err(StoreError::Locked {
                path: self.root.clone(),
                lock: path,
            }),
            Err(TryLockError::Error(e)) => Err(StoreError::io("lock", &path, &e)),
        }
    }

    /// Starts an empty file, replacing one of that name.
    pub fn create(&self, name: &str) -> Result<Output, StoreError> {
        let path = self.path(name);
        let file = self.run(Operation::Create, "create", &path, || File::create(&path))?;
        Ok(Output {
            disk: self.clone(),
            path,
            file,
            len: 0,
        })
    }

    /// Opens a file for reading.
    pub fn open(&self, name: &str) -> Result<Input, StoreError> {
        let path = self.path(name);
        let (file, len) = self.run(Operation::Read, "open", &path, || {
            let file = File::open(&path)?;
            let len = file.metadata()?.len();
            Ok((file, len))
        })?;
        Ok(Input {
            disk: self.clone(),
            path,
            file,
            len,
        })
    }

    /// The whole content of a file, `None` when there is no such file.
    pub fn read(&self, name: &str, max_bytes: u64) -> Result<Option<Vec<u8>>, StoreError> {
        let path = self.path(name);
        self.run(Operation::Read, "read", &path, || {
            let file = match File::open(&path) {
                Err(e) if e.kind() == io::ErrorKind::NotFound => return Ok(None),
                file => file?,
            };
            let mut bytes = Vec::new();
            file.take(max_bytes + 1).read_to_end(&mut bytes)?;
            if bytes.len() as u64 > max_bytes {
                return Err(io::Error::other(format!("larger than {max_bytes} bytes")));
            }
            Ok(Some(bytes))
        })
    }

    /// Renames a synced file to its final name and makes the name durable.
    pub fn rename_into_place(&self, from: &str, to: &str, folder: &str) -> Result<(), StoreError> {
        let (from, to) = (self.path(from), self.path(to));
        self.run(Operation::Rename, "rename", &from, || {
            fs::rename(&from, &to)
        })?;
        self.sync_folder(folder)
    }

    /// Writes and syncs a whole file; only its name is not durable yet. Leaves none on failure.
    pub fn write_synced(&self, name: &str, bytes: &[u8]) -> Result<(), StoreError> {
        let written = self.create(name).and_then(|mut out| {
            out.write(bytes)?;
            out.sync()
        });
        if written.is_err() {
            // Best effort: a leftover is removed at the next opening as well.
            let _ = self.remove(name);
        }
        written
    }

    /// Writes a whole file under a temporary name and puts it in place.
    pub fn write_atomically(
        &self,
        name: &str,
        folder: &str,
        bytes: &[u8],
    ) -> Result<(), StoreError> {
        let temporary = format!("{name}.tmp");
        self.write_synced(&temporary, bytes)?;
        self.rename_into_place(&temporary, name, folder)
    }

    /// Whether syncs reach the disk. With a hook they only ask it: thousands of faults are tried, and
    /// none of them is a power cut.
    fn really_syncs(&self) -> bool {
        self.faults.is_none()
    }

    /// Makes created, renamed and removed names of a folder durable.
    pub fn sync_folder(&self, name: &str) -> Result<(), StoreError> {
        let path = self.path(name);
        self.run(Operation::SyncFolder, "sync folder", &path, || {
            if self.really_syncs() {
                File::open(&path)?.sync_all()
            } else {
                Ok(())
            }
        })
    }

    /// Removes a file; one that is gone already is fine.
    pub fn remove(&self, name: &str) -> Result<(), StoreError> {
        self.remove_by(name, |path| fs::remove_file(path))
    }

    /// Removes a folder and all that is in it; one that is gone already is fine.
    pub fn remove_folder(&self, name: &str) -> Result<(), StoreError> {
        self.remove_by(name, |path| fs::remove_dir_all(path))
    }

    fn remove_by(
        &self,
        name: &str,
        remove: impl FnOnce(&Path) -> io::Result<()>,
    ) -> Result<(), StoreError> {
        let path = self.path(name);
        self.run(Operation::Remove, "remove", &path, || match remove(&path) {
            Err(e) if e.kind() == io::ErrorKind::NotFound => Ok(()),
            other => other,
        })
    }

    /// Cuts a closed file to `len` bytes, durably.
    pub fn truncate(&self, name: &str, len: u64) -> Result<(), StoreError> {
        let path = self.path(name);
        self.run(Operation::Truncate, "truncate", &path, || {
            let file = OpenOptions::new().write(true).open(&path)?;
            file.set_len(len)?;
            file.sync_all()
        })
    }

    /// Keeps a second name of a file, so that the first can be removed. A name that is there
    /// already is from an earlier opening and stays.
    pub fn keep_as(&self, from: &str, to: &str) -> Result<(), StoreError> {
        let (from, to) = (self.path(from), self.path(to));
        self.run(Operation::Create, "link", &to, || {
            match fs::hard_link(&from, &to) {
                Err(e) if e.kind() == io::ErrorKind::AlreadyExists => Ok(()),
                // Some file systems know no links.
                Err(_) => fs::copy(&from, &to).map(drop),
                Ok(()) => Ok(()),
            }
        })
    }

    /// The names of the files in a folder, sorted.
    pub fn list(&self, name: &str) -> Result<Vec<String>, StoreError> {
        let path = self.path(name);
        self.run(Operation::Read, "list", &path, || {
            let mut names = Vec::new();
            for entry in fs::read_dir(&path)? {
                // A name that is not UTF-8 is none of ours.
                if let Ok(name) = entry?.file_name().into_string() {
                    names.push(name);
                }
            }
            names.sort();
            Ok(names)
        })
    }
}

/// Holds the folder's lock; the kernel releases it when the process ends, however it ends.
#[derive(Debug)]
pub struct Lock {
    _file: File,
}

/// A file that is being written at its end.
#[derive(Debug)]
pub struct Output {
    disk: Disk,
    path: PathBuf,
    file: File,
    len: u64,
}

impl Output {
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Bytes written whole.
    pub fn len(&self) -> u64 {
        self.len
    }

    /// Appends all bytes. After an error the file may hold a part of them past `len`.
    pub fn write(&mut self, bytes: &[u8]) -> Result<(), StoreError> {
        let fault = self
            .disk
            .faults
            .as_ref()
            .and_then(|hook| hook(Operation::Write, &self.path));
        let result = match fault {
            Some(Fault::Short(n, errno)) => {
                let _ = self.file.write_all(&bytes[..n.min(bytes.len())]);
                Err(io::Error::from_raw_os_error(errno))
            }
            Some(Fault::Errno(errno)) => Err(io::Error::from_raw_os_error(errno)),
            None => self.file.write_all(bytes),
        };
        result.map_err(|e| StoreError::io("write", &self.path, &e))?;
        self.len += bytes.len() as u64;
        Ok(())
    }

    /// Makes the bytes durable (not the name).
    pub fn sync(&self) -> Result<(), StoreError> {
        self.disk.run(Operation::Sync, "sync", &self.path, || {
            if self.disk.really_syncs() {
                self.file.sync_data()
            } else {
                Ok(())
            }
        })
    }

    /// Drops what a failed write may have left past `len`.
    pub fn cut_back(&mut self, len: u64) -> Result<(), StoreError> {
        use std::io::{Seek, SeekFrom};
        self.disk
            .run(Operation::Truncate, "truncate", &self.path, || {
                self.file.set_len(len)?;
                self.file.seek(SeekFrom::Start(len))?;
                Ok(())
            })?;
        self.len = len;
        Ok(())
    }
}

/// A file that is read at any place by any thread.
#[derive(Debug)]
pub struct Input {
    disk: Disk,
    path: PathBuf,
    file: File,
    len: u64,
}

impl Input {
    pub fn len(&self) -> u64 {
        self.len
    }

    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Reads exactly `out.len()` bytes.
    pub fn read_at(&self, offset: u64, out: &mut [u8]) -> Result<(), StoreError> {
        self.disk.run(Operation::Read, "read", &self.path, || {
            self.file.read_exact_at(out, offset)
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_one_holds_the_lock() {
        let dir = tempfile::tempdir().unwrap();
        let disk = Disk::new(dir.path());
        let held = disk.lock("LOCK").unwrap();
        let refused = disk.lock("LOCK").unwrap_err();
        assert!(
            refused.to_string().contains("in use by another process"),
            "{refused}"
        );
        drop(held);
        disk.lock("LOCK").unwrap();
    }

    #[test]
    fn a_failed_atomic_write_leaves_the_old_file_and_no_other() {
        for (operation, n) in [
            (Operation::Create, 1),
            (Operation::Write, 1),
            (Operation::Sync, 1),
            (Operation::Rename, 1),
        ] {
            let dir = tempfile::tempdir().unwrap();
            let (disk, once) =
                crate::testing::FailOnce::disk(dir.path(), operation, n, Fault::Errno(5));
            disk.write_atomically("f", "", b"old").unwrap();
            assert!(disk.write_atomically("f", "", b"new").is_err());
            assert!(once.happened());
            assert_eq!(
                disk.read("f", 10).unwrap().unwrap(),
                b"old",
                "{operation:?}"
            );
        }
    }

    #[test]
    fn a_short_write_can_be_cut_back() {
        let dir = tempfile::tempdir().unwrap();
        let (disk, _) =
            crate::testing::FailOnce::disk(dir.path(), Operation::Write, 1, Fault::Short(3, 28));
        let mut out = disk.create("f").unwrap();
        out.write(b"whole").unwrap();
        assert!(matches!(out.write(b"broken"), Err(StoreError::Full { .. })));
        out.cut_back(5).unwrap();
        out.write(b"!").unwrap();
        assert_eq!(disk.read("f", 10).unwrap().unwrap(), b"whole!");
        assert!(disk.read("f", 5).is_err(), "larger than allowed");
        assert_eq!(disk.read("none", 5).unwrap(), None);
    }
}
