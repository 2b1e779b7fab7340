//! A file of the kernel that is read again and again: opened once, then one `pread` per reading.
//!
//! Opening costs more than reading on procfs and cgroupfs. The rule: a descriptor is kept only while
//! fewer than [`MAX_KEPT`] are, because the process shares its limit with log files and sockets.

use std::borrow::Cow;
use std::fs::File;
use std::io;
use std::os::fd::OwnedFd;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use anyhow::Context;
use kansoku_parsers::kernel::scan;
use nix::fcntl::{OFlag, open, openat};
use nix::sys::stat::Mode;

/// Descriptors kept open by all collectors together: 500 cgroups with 15 files each and their folders,
/// and the node's own. Each saves some 3 µs per reading and costs the kernel 4 to 5 KiB, for the page
/// that the text was made in stays with it. Collectors keep fewer when the process is allowed fewer,
/// see [`allowed`].
pub const MAX_KEPT: usize = 12_288;
/// The largest file that is read: /proc/stat of a machine with thousands of CPUs and interrupts has
/// a few MiB.
const MAX_BYTES: usize = 16 << 20;
/// The first read asks for so much until the size is known; nearly all files fit.
pub(super) const FIRST_READ_BYTES: usize = 16 << 10;
/// The kernel gives a text whole in one read, unless it is a list that fills the page it is made in. No
/// entry of the lists that are read so is so long that less than this could be left out.
const WHOLE_BELOW_BYTES: usize = 3584;
/// Reads ask for no less; most files have less to say.
const MIN_READ_BYTES: usize = 512;

/// Descriptors kept now, by all files and folders of the process.
static KEPT: AtomicUsize = AtomicUsize::new(0);

/// One file.
#[derive(Debug)]
pub struct KernelFile {
    place: Place,
    /// Counted in [`KEPT`] while it is there.
    file: Option<File>,
    /// A first read that gives less is all there is, where the kernel gives the file whole.
    is_whole_below: u16,
    /// Bytes that it had when it was read last; 0 before.
    usual_bytes: u32,
}

#[derive(Debug)]
enum Place {
    Path(PathBuf),
    /// A file of cgroupfs.
    In(Arc<Folder>, &'static str),
}

/// A folder of cgroupfs. While its descriptor is kept, its files are opened without a walk down the path.
#[derive(Debug)]
pub struct Folder {
    path: PathBuf,
    descriptor: Option<OwnedFd>,
}

impl Folder {
    /// A folder that is there; `None` when it is not.
    #[must_use]
    pub fn open(path: PathBuf) -> Option<Self> {
        if !keep_one() {
            return path.is_dir().then_some(Self {
                path,
                descriptor: None,
            });
        }
        let flags = OFlag::O_PATH | OFlag::O_DIRECTORY | OFlag::O_CLOEXEC;
        let Ok(descriptor) = open(&path, flags, Mode::empty()) else {
            KEPT.fetch_sub(1, Ordering::Relaxed);
            return None;
        };
        Some(Self {
            path,
            descriptor: Some(descriptor),
        })
    }

    /// The folder's path.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }

    fn open_file(&self, name: &str) -> io::Result<File> {
        if let Some(folder) = &self.descriptor {
            let flags = OFlag::O_RDONLY | OFlag::O_CLOEXEC;
            if let Ok(file) = openat(folder, name, flags, Mode::empty()) {
                return Ok(file.into());
            }
            // The folder may have been removed and made anew.
        }
        File::open(self.path.join(name))
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        if self.descriptor.is_some() {
            KEPT.fetch_sub(1, Ordering::Relaxed);
        }
    }
}

impl KernelFile {
    /// A file that is opened at its first reading.
    pub fn new(path: impl Into<PathBuf>) -> Self {
        Self {
            place: Place::Path(path.into()),
            file: None,
            is_whole_below: 0,
            usual_bytes: 0,
        }
    }

    /// The same for a text of the kernel that comes whole when it is short: one that is made at once, or
    /// a list of which no line is longer than 500 bytes. It is read without asking whether there is more.
    pub fn whole(path: impl Into<PathBuf>) -> Self {
        let mut file = Self::new(path);
        file.is_whole_below = WHOLE_BELOW_BYTES as u16;
        file
    }

    /// A file of a cgroup, likewise opened at its first reading.
    #[must_use]
    pub fn of(folder: &Arc<Folder>, name: &'static str) -> Self {
        Self {
            place: Place::In(folder.clone(), name),
            file: None,
            is_whole_below: WHOLE_BELOW_BYTES as u16,
            usual_bytes: 0,
        }
    }

    /// The file's path.
    #[must_use]
    pub fn path(&self) -> Cow<'_, Path> {
        match &self.place {
            Place::Path(path) => path.into(),
            Place::In(folder, name) => folder.path.join(name).into(),
        }
    }

    /// Replaces the content of `buf` by that of the file.
    ///
    /// # Errors
    /// When the file cannot be opened or read, or is larger than any kernel file should be.
    pub fn read(&mut self, buf: &mut Vec<u8>) -> anyhow::Result<()> {
        self.try_read(buf)
            .with_context(|| format!("failed to read {}", self.path().display()))
    }

    /// Reads a file that holds one number and nothing else, negative ones too.
    ///
    /// # Errors
    /// When the file cannot be read or holds something else.
    pub fn read_number(&mut self, buf: &mut Vec<u8>) -> anyhow::Result<f64> {
        self.read(buf)?;
        scan::decimal(buf.trim_ascii())
            .with_context(|| format!("{} does not hold a number", self.path().display()))
    }

    /// Like [`read`](Self::read), for files whose absence is nothing special.
    pub fn read_if_there(&mut self, buf: &mut Vec<u8>) -> bool {
        self.try_read(buf).is_ok()
    }

    fn try_read(&mut self, buf: &mut Vec<u8>) -> io::Result<()> {
        let whole = usize::from(self.is_whole_below);
        let first = match self.usual_bytes as usize {
            0 if whole > 0 => whole,
            0 => FIRST_READ_BYTES,
            n => (n + n / 4 + 64).next_multiple_of(MIN_READ_BYTES),
        };
        if let Some(file) = &self.file {
            // A cgroup that was removed and made anew leaves a dead descriptor: open it again.
            match read_all(file, first, whole, buf) {
                Ok(()) => {
                    self.usual_bytes = buf.len() as u32;
                    return Ok(());
                }
                Err(error) if will_not_say(&error) => return Err(error),
                Err(_) => self.close(),
            }
        }
        let file = match &self.place {
            Place::Path(path) => File::open(path)?,
            Place::In(folder, name) => folder.open_file(name)?,
        };
        let read = read_all(&file, first, whole, buf);
        if read.as_ref().is_err_and(|error| !will_not_say(error)) {
            return read;
        }
        self.usual_bytes = buf.len() as u32;
        if keep_one() {
            self.file = Some(file);
        }
        read
    }

    fn close(&mut self) {
        if self.file.take().is_some() {
            KEPT.fetch_sub(1, Ordering::Relaxed);
        }
    }
}

impl Drop for KernelFile {
    fn drop(&mut self) {
        self.close();
    }
}

/// Whether a device has no value for an attribute, as the loopback has no speed: it may have one at the next reading, of
/// the same descriptor.
fn will_not_say(error: &io::Error) -> bool {
    error.raw_os_error() == Some(nix::libc::EINVAL)
}

/// Whether one more descriptor may be kept, which is counted then.
fn keep_one() -> bool {
    let may = KEPT.fetch_add(1, Ordering::Relaxed) < allowed();
    if !may {
        KEPT.fetch_sub(1, Ordering::Relaxed);
    }
    may
}

/// Descriptors that may be kept: half of what the process may have, at most [`MAX_KEPT`].
fn allowed() -> usize {
    static ALLOWED: std::sync::OnceLock<usize> = std::sync::OnceLock::new();
    *ALLOWED.get_or_init(|| {
        let limit = nix::sys::resource::getrlimit(nix::sys::resource::Resource::RLIMIT_NOFILE);
        let soft = limit.map_or(1024, |(soft, _)| soft);
        usize::try_from(soft / 2).unwrap_or(MAX_KEPT).min(MAX_KEPT)
    })
}

/// Reads from the start to the end, whatever the file's size pretends to be; `first` bytes at first. When
/// they are not all filled, and less than `whole_below` are, then that is all there is.
pub(super) fn read_all(
    file: &File,
    first: usize,
    whole_below: usize,
    buf: &mut Vec<u8>,
) -> io::Result<()> {
    let mut filled = 0;
    // What the kernel will not fill need not be zeroed each time.
    buf.resize(first, 0);
    loop {
        if filled == buf.len() {
            if filled >= MAX_BYTES {
                let message = format!("larger than {MAX_BYTES} bytes");
                return Err(io::Error::new(io::ErrorKind::FileTooLarge, message));
            }
            buf.resize(filled * 2, 0);
        }
        match file.read_at(&mut buf[filled..], filled as u64) {
            Ok(0) => break,
            Ok(n) => {
                let is_first = filled == 0;
                filled += n;
                if is_first && n < whole_below.min(first) {
                    break;
                }
            }
            Err(e) if e.kind() == io::ErrorKind::Interrupted => {}
            Err(e) => return Err(e),
        }
    }
    buf.truncate(filled);
    Ok(())
}

/// Reads a small file once, without its trailing newline; `None` when it is not there or no text.
#[must_use]
pub fn read_word(path: &Path) -> Option<String> {
    let mut buf = Vec::new();
    KernelFile::whole(path).try_read(&mut buf).ok()?;
    Some(std::str::from_utf8(&buf).ok()?.trim().to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_what_the_file_holds_now() {
        let dir = tempfile::tempdir().expect("a temporary folder");
        let path = dir.path().join("stat");
        let mut file = KernelFile::new(&path);
        let mut buf = Vec::new();
        let error = file.read(&mut buf).expect_err("the file is not there yet");
        assert!(
            error.to_string().contains(path.to_str().expect("text")),
            "{error}"
        );
        for content in [
            vec![b'x'; FIRST_READ_BYTES * 3 + 1],
            b"short".to_vec(),
            Vec::new(),
        ] {
            std::fs::write(&path, &content).expect("file is written");
            file.read(&mut buf).expect("file is read");
            assert_eq!(buf, content);
        }
        let mut whole = KernelFile::whole(&path);
        for size in [0, 511, 512, 3583, 3584, 3585, 9000, 700, 1024] {
            let content = vec![b'x'; size];
            std::fs::write(&path, &content).expect("file is written");
            whole.read(&mut buf).expect("file is read");
            assert_eq!(buf, content);
        }
        std::fs::write(&path, "").expect("file is written");
        assert_eq!(read_word(&path).as_deref(), Some(""));
        assert_eq!(read_word(dir.path()), None);
    }
}
