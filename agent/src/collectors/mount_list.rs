//! The mount list, read again only when it has changed.
//!
//! A node with a hundred pods has hundreds of mounts with long options, and the kernel writes them anew
//! at each reading. It tells by `poll` that the list changed (proc_pid_mounts(5)); it does not tell that
//! a file system has become read-only after an error, which statfs tells. Now and then the list is read
//! all the same.

use std::fs::File;
use std::io;
use std::os::fd::AsFd;
use std::path::PathBuf;
use std::time::{Duration, Instant};

use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::statfs::{PROC_SUPER_MAGIC, fstatfs};

use super::kernel_file::{FIRST_READ_BYTES, read_all};

/// For what no event is seen of.
const READ_AFTER: Duration = Duration::from_secs(60);

/// A mountinfo file.
#[derive(Debug)]
pub struct MountList {
    path: PathBuf,
    /// Open, and of procfs.
    watched: Option<File>,
    read_at: Option<Instant>,
    text: Vec<u8>,
}

/// The list, and whether it may be another than before.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Mounts<'a> {
    pub text: &'a [u8],
    pub is_new: bool,
}

impl MountList {
    /// A list that is opened at its first reading.
    #[must_use]
    pub fn new(path: PathBuf) -> Self {
        Self {
            path,
            watched: None,
            read_at: None,
            text: Vec::new(),
        }
    }

    /// The list as it is now.
    ///
    /// # Errors
    /// When it cannot be read.
    pub fn read(&mut self) -> io::Result<Mounts<'_>> {
        let is_new = self.has_changed();
        if is_new {
            self.read_again()?;
        }
        Ok(Mounts {
            text: &self.text,
            is_new,
        })
    }

    fn has_changed(&self) -> bool {
        let Some(file) = &self.watched else {
            return true;
        };
        if self.read_at.is_none_or(|at| at.elapsed() >= READ_AFTER) {
            return true;
        }
        let mut asked = [PollFd::new(file.as_fd(), PollFlags::POLLPRI)];
        let told = PollFlags::POLLPRI | PollFlags::POLLERR | PollFlags::POLLHUP;
        poll(&mut asked, PollTimeout::ZERO).is_err()
            || asked[0]
                .revents()
                .is_none_or(|events| events.intersects(told))
    }

    fn read_again(&mut self) -> io::Result<()> {
        // The process that the list is of may have ended: then the file is opened anew.
        if let Some(file) = &self.watched
            && read_all(file, FIRST_READ_BYTES, 0, &mut self.text).is_ok()
        {
            self.read_at = Some(Instant::now());
            return Ok(());
        }
        self.watched = None;
        let file = File::open(&self.path)?;
        read_all(&file, FIRST_READ_BYTES, 0, &mut self.text)?;
        if fstatfs(&file).is_ok_and(|s| s.filesystem_type() == PROC_SUPER_MAGIC) {
            self.watched = Some(file);
        }
        self.read_at = Some(Instant::now());
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_unchanged_list_is_not_read_again() {
        let mut list = MountList::new("/proc/self/mountinfo".into());
        let first = list.read().expect("a list").text.to_vec();
        assert!(!first.is_empty());
        let second = list.read().expect("a list");
        // Another test or program may mount something meanwhile.
        if !second.is_new {
            assert_eq!(second.text, first);
        }
        list.read_at = list.read_at.and_then(|at| at.checked_sub(READ_AFTER));
        assert!(
            list.read().expect("a list").is_new,
            "it is read now and then"
        );
    }

    #[test]
    fn a_plain_file_is_read_each_time() {
        let dir = tempfile::tempdir().expect("a temporary folder");
        let path = dir.path().join("mountinfo");
        let mut list = MountList::new(path.clone());
        assert!(list.read().is_err());
        for text in ["one", "two"] {
            std::fs::write(&path, text).expect("the file is written");
            let mounts = list.read().expect("a list");
            assert_eq!((mounts.text, mounts.is_new), (text.as_bytes(), true));
        }
    }
}
