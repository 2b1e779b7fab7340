//! Why the store refused or failed.
//!
//! A variant exists when some caller acts differently on it: `Busy` asks for a retry, `Full` for
//! disk space, `Poisoned` for a restart, `Invalid` is the sender's fault; the rest is a message.

use std::io;
use std::path::{Path, PathBuf};

/// The store's error.
#[derive(Debug, Clone, thiserror::Error)]
pub enum StoreError {
    /// Another process works on the same folder.
    #[error("the store {} is in use by another process (it holds {}); stop that one or choose another folder", path.display(), lock.display())]
    Locked { path: PathBuf, lock: PathBuf },
    /// The disk has no room. Nothing of the call was stored; it may be repeated.
    #[error("no space left on the disk of the store: {}; free some, or lower the retention", path.display())]
    Full { path: PathBuf },
    /// The memory bound is reached and writing out has not caught up. Repeat the call later.
    #[error(
        "the store is busy: {held_bytes} bytes wait to be written out, {limit_bytes} are allowed; try again later"
    )]
    Busy {
        held_bytes: usize,
        limit_bytes: usize,
    },
    /// An earlier write or sync failed, so nothing more is accepted. Queries go on.
    #[error("the store refuses writes since a write failed: {0}; check the disk and restart")]
    Poisoned(String),
    /// The caller's data is no batch. Nothing of the call was stored; repeating it is useless.
    #[error("refused: {0}")]
    Invalid(String),
    /// A file of the store is not what it must be.
    #[error("{}: {what}", path.display())]
    Damaged { path: PathBuf, what: String },
    /// The operating system said no.
    #[error("failed to {action} {}: {message}", path.display())]
    Io {
        action: &'static str,
        path: PathBuf,
        kind: io::ErrorKind,
        errno: Option<i32>,
        message: String,
    },
}

/// The medium cannot give back what was written.
const EIO: i32 = 5;

impl StoreError {
    /// The error of a failed operation on `path`.
    pub(crate) fn io(action: &'static str, path: &Path, error: &io::Error) -> Self {
        // 28 is ENOSPC, 122 EDQUOT: a quota is a full disk to its user.
        if matches!(error.raw_os_error(), Some(28 | 122)) {
            return Self::Full { path: path.into() };
        }
        Self::Io {
            action,
            path: path.into(),
            kind: error.kind(),
            errno: error.raw_os_error(),
            message: error.to_string(),
        }
    }

    /// Whether a file is lost or broken, and will be the next time as well. Anything else (no
    /// descriptors, no memory, no permission) may pass.
    pub(crate) fn is_damage(&self) -> bool {
        match self {
            Self::Damaged { .. } => true,
            Self::Io { kind, errno, .. } => {
                matches!(kind, io::ErrorKind::NotFound | io::ErrorKind::UnexpectedEof)
                    || *errno == Some(EIO)
            }
            _ => false,
        }
    }

    /// A file that does not follow its format.
    pub(crate) fn damaged(path: &Path, what: impl Into<String>) -> Self {
        Self::Damaged {
            path: path.into(),
            what: what.into(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_full_disk_is_told_from_other_failures() {
        let path = Path::new("/x");
        let full = StoreError::io("write", path, &io::Error::from_raw_os_error(28));
        assert!(matches!(full, StoreError::Full { .. }), "{full}");
        let other = StoreError::io("write", path, &io::Error::from_raw_os_error(5));
        assert!(matches!(other, StoreError::Io { .. }), "{other}");
        assert!(other.to_string().starts_with("failed to write /x: "));
    }
}
