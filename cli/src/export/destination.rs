//! Where an export goes: the standard output, or a file that appears under its name when it is
//! complete and on the disk.

use std::fs::{self, File};
use std::io::{self, BufWriter, Write};
use std::path::{Path, PathBuf};

use crate::error::{Error, Result};

/// An open destination.
pub struct Destination {
    out: Option<BufWriter<Sink>>,
    /// The unfinished file and the name it gets.
    file: Option<(PathBuf, PathBuf)>,
}

enum Sink {
    Stdout(io::Stdout),
    File(File),
}

impl Write for Sink {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        match self {
            Self::Stdout(out) => out.write(bytes),
            Self::File(out) => out.write(bytes),
        }
    }

    fn flush(&mut self) -> io::Result<()> {
        match self {
            Self::Stdout(out) => out.flush(),
            Self::File(out) => out.flush(),
        }
    }
}

impl Destination {
    /// Opens it; `-` is the standard output.
    ///
    /// # Errors
    /// When the file cannot be made.
    pub fn open(path: &Path) -> Result<Self> {
        if path == Path::new("-") {
            return Ok(Self {
                out: Some(BufWriter::new(Sink::Stdout(io::stdout()))),
                file: None,
            });
        }
        let bad = |e: io::Error| Error::failed(format!("cannot write {}: {e}", path.display()));
        if path.is_dir() {
            return Err(Error::failed(format!(
                "cannot write {}: it is a folder",
                path.display()
            )));
        }
        let mut partial = path.as_os_str().to_owned();
        partial.push(format!(".partial-{}", std::process::id()));
        let partial = PathBuf::from(partial);
        let file = File::options()
            .write(true)
            .create_new(true)
            .open(&partial)
            .map_err(bad)?;
        Ok(Self {
            out: Some(BufWriter::with_capacity(1 << 20, Sink::File(file))),
            file: Some((partial, path.to_owned())),
        })
    }

    /// Writes out what is left and gives the file its name.
    ///
    /// # Errors
    /// When that fails; there is then no new file.
    pub fn finish(mut self) -> Result<()> {
        let Some(mut out) = self.out.take() else {
            return Ok(());
        };
        out.flush()?;
        let Some((partial, path)) = &self.file else {
            return Ok(());
        };
        let bad = |e: io::Error| Error::failed(format!("cannot write {}: {e}", path.display()));
        if let Sink::File(file) = out.get_ref() {
            file.sync_all().map_err(bad)?;
        }
        fs::rename(partial, path).map_err(bad)?;
        self.file = None;
        Ok(())
    }
}

impl Write for Destination {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        match &mut self.out {
            Some(out) => out.write(bytes),
            None => Err(io::ErrorKind::NotConnected.into()),
        }
    }

    fn flush(&mut self) -> io::Result<()> {
        self.out.as_mut().map_or(Ok(()), Write::flush)
    }
}

impl Drop for Destination {
    fn drop(&mut self) {
        if let Some((partial, _)) = &self.file {
            let _ = fs::remove_file(partial);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_appears_when_it_is_complete() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("x");
        fs::write(&path, "old").unwrap();
        let mut broken_off = Destination::open(&path).unwrap();
        broken_off.write_all(b"half").unwrap();
        drop(broken_off);
        assert_eq!(fs::read_to_string(&path).unwrap(), "old");
        let mut whole = Destination::open(&path).unwrap();
        whole.write_all(b"new").unwrap();
        whole.finish().unwrap();
        assert_eq!(fs::read_to_string(&path).unwrap(), "new");
        assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 1);
        assert!(Destination::open(dir.path()).is_err());
        assert!(Destination::open(Path::new("/nowhere/x")).is_err());
    }
}
